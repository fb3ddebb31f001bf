//! The accounts of `berth serve --demo`.

use super::Accounts;
use super::passwords::{self, Capacity};
use super::session_list::delete_sessions;
use super::tokens::delete_tokens;
use super::users::any_user;
use crate::Result;
use crate::audit_trail::{Author, Record, Target};
use crate::db::entity::{demo, users};
use crate::db::table_lock::lock_users;
use domain::Problem;
use domain::account::UserInput;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use sea_orm::sea_query::Expr;
use sea_orm::{EntityTrait as _, QueryFilter as _, SelectExt as _, Set};
use tracing::instrument;

/// Accounts and passwords that earlier releases created. They are published in the source code.
const PUBLISHED: [(&str, &str); 2] = [("admin", "berth-demo-admin"), ("alice", "berth-demo-alice")];

impl Accounts {
    /// Marks an empty database as one with demo data. Returns whether the database is marked, now or by an earlier call.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn mark_as_demo(&self) -> Result<bool, Problem> {
        Ok(self.try_mark().await?)
    }

    async fn try_mark(&self) -> Result<bool> {
        let tx = self.context.db.begin_unaudited().await?;
        lock_users(&tx).await?;
        if demo::Entity::find_by_id(demo::ID).exists(&tx).await? {
            return Ok(true);
        }
        if any_user(&tx).await? {
            return Ok(false);
        }
        demo::Entity::insert(demo::ActiveModel { id: Set(demo::ID) }).exec_without_returning(&tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Creates a demo account if it is missing. The password of an existing one is replaced if `replace`, or if it is the
    /// published one of an earlier release; its sessions and API tokens then end. Returns whether the account has the
    /// password of `input`.
    ///
    /// # Errors
    /// 422 that names invalid fields; 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn prepare_demo_account(&self, input: UserInput, replace: bool) -> Result<bool, Problem> {
        let Some(user) = self.read_user(&input.username).await? else {
            self.create_user_as_operator(input).await?;
            return Ok(true);
        };
        if passwords::verify(input.password.clone().into(), user.password_hash.clone(), Capacity::Shared).await {
            return Ok(true);
        }
        if !replace && !has_published_password(&user).await {
            return Ok(false);
        }
        super::users::validate_new(&input)?;
        let hash = passwords::hash(input.password.into()).await?;
        self.replace_password(&input.username, hash).await?;
        self.invalidate_credentials();
        Ok(true)
    }

    /// Enabled accounts with a published password, which anybody can use to log in.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn accounts_with_published_password(&self) -> Result<Vec<String>, Problem> {
        let mut found = Vec::new();
        for (username, _) in PUBLISHED {
            let user = self.read_user(username).await?;
            if let Some(user) = user.filter(|user| !user.disabled)
                && has_published_password(&user).await
            {
                found.push(user.username);
            }
        }
        Ok(found)
    }

    async fn read_user(&self, username: &str) -> Result<Option<users::Model>> {
        Ok(users::Entity::find_by_id(username).one(&self.context.db.read).await?)
    }

    async fn replace_password(&self, username: &str, hash: String) -> Result<()> {
        let tx = self.context.begin_change().await?;
        users::Entity::update_many()
            .col_expr(users::Column::PasswordHash, Expr::value(hash))
            .filter(users::COLUMN.username.eq(username))
            .exec(&tx)
            .await?;
        delete_sessions(&tx, username, None).await?;
        delete_tokens(&tx, username).await?;
        let target = Target::new(AuditTargetType::User, username);
        let record = Record::new(Author::Operator, AuditAction::UserUpdated, target);
        tx.commit(record.changes(Changes::none().secret("password")).detail("The demo set a new password.")).await
    }
}

async fn has_published_password(user: &users::Model) -> bool {
    match PUBLISHED.iter().find(|(username, _)| *username == user.username) {
        Some((_, password)) => {
            passwords::verify((*password).to_owned().into(), user.password_hash.clone(), Capacity::Shared).await
        }
        None => false,
    }
}
