//! The list of a user's sessions, and their end.

use super::Accounts;
use super::sessions::{has_session_id, session_id};
use crate::Result;
use crate::audit_trail::{Record, Target};
use crate::db::codec::time;
use crate::db::entity::sessions;
use domain::Problem;
use domain::account::LogInSession;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    Condition, ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use tracing::instrument;

/// Maximum number of listed sessions.
const MAX_LISTED: u64 = 200;

impl Accounts {
    /// Lists the actor's newest 200 open sessions, newest first.
    ///
    /// # Errors
    /// 403 if the credential may not manage sessions.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list_sessions(&self, actor: &Actor) -> Result<Vec<LogInSession>, Problem> {
        authorize(actor, Action::ManageOwnTokens)?;
        let current = actor.session.as_ref().map(|session| session.id.as_str());
        Ok(self.sessions_of(&actor.username).await?.into_iter().map(|row| to_session(row, current)).collect())
    }

    pub(super) async fn sessions_of(&self, username: &str) -> Result<Vec<sessions::Model>> {
        let rows = sessions::Entity::find()
            .filter(sessions::COLUMN.username.eq(username))
            .filter(self.is_open())
            .order_by_desc(sessions::Column::CreatedAt)
            .order_by_asc(sessions::Column::TokenHash)
            .limit(MAX_LISTED)
            .all(&self.context.db.read)
            .await?;
        Ok(rows)
    }

    /// Ends one of the actor's sessions.
    ///
    /// # Errors
    /// 404 if the actor has no such session.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn end_session(&self, actor: &Actor, id: &str) -> Result<(), Problem> {
        authorize(actor, Action::ManageOwnTokens)?;
        if !self.delete_session_by_id(actor, id).await? {
            return Err(Problem::not_found("session"));
        }
        self.invalidate_credentials();
        Ok(())
    }

    async fn delete_session_by_id(&self, actor: &Actor, id: &str) -> Result<bool> {
        let Some(has_id) = has_session_id(id) else { return Ok(false) };
        let tx = self.context.begin_change().await?;
        let deleted = sessions::Entity::delete_many()
            .filter(sessions::COLUMN.username.eq(actor.username.as_str()))
            .filter(has_id)
            .exec(&tx)
            .await?;
        if deleted.rows_affected == 0 {
            return Ok(false);
        }
        tx.commit(Record::new(actor, AuditAction::SessionEnded, Target::new(AuditTargetType::Session, id))).await?;
        Ok(true)
    }

    /// Ends all sessions of an account, also the one of the request. Administrators may end those of every account.
    ///
    /// # Errors
    /// 403 for other users, and for another account without a recent confirmation; 404 for an unknown account.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn end_all_sessions(&self, actor: &Actor, username: &str) -> Result<(), Problem> {
        let is_own = actor.username == username;
        authorize(actor, if is_own { Action::ManageOwnTokens } else { Action::ManageUsers })?;
        self.get_user(username).await?;
        if !is_own {
            self.context.require_confirmation(actor).await?;
        }
        self.delete_all_sessions(actor, username).await?;
        self.invalidate_credentials();
        Ok(())
    }

    async fn delete_all_sessions(&self, actor: &Actor, username: &str) -> Result<()> {
        let tx = self.context.begin_change().await?;
        let ended = delete_sessions(&tx, username, None).await?;
        let record = Record::new(actor, AuditAction::SessionEnded, Target::new(AuditTargetType::User, username));
        tx.commit(record.changes(Changes::none().field("ended_sessions", (), ended))).await
    }
}

/// The session of a row. `current` is the public id of the session of the request.
pub(super) fn to_session(row: sessions::Model, current: Option<&str>) -> LogInSession {
    let id = session_id(&row.token_hash);
    LogInSession {
        current: current == Some(id.as_str()),
        id,
        device: row.device,
        source: row.source,
        created_at: time(row.created_at),
        last_used_at: row.last_used_at.map(time),
        expires_at: time(row.expires_at),
    }
}

/// Ends the sessions of an account, except one. Returns their number.
pub(super) async fn delete_sessions(
    connection: &impl ConnectionTrait,
    username: &str,
    except: Option<Expr>,
) -> Result<u64, DbErr> {
    let deleted = sessions::Entity::delete_many()
        .filter(sessions::COLUMN.username.eq(username))
        .filter(Condition::all().add_option(except.map(|except| except.not())))
        .exec(connection)
        .await?;
    Ok(deleted.rows_affected)
}
