//! Log-in, log-out and the check of session cookies.

use super::login_throttle::too_many_requests;
use super::users::to_user;
use super::{Accounts, passwords};
use crate::db::codec::time;
use crate::db::entity::{sessions, users};
use crate::secrets::{digest, new_token};
use crate::{Error, Result};
use chrono::Duration;
use domain::account::{Credentials, SessionInfo};
use domain::authorization::{Actor, Scope};
use domain::{Problem, validation};
use sea_orm::{EntityTrait as _, QueryFilter as _, Set};
use tracing::instrument;

/// Time from log-in to the end of a session. Use does not extend it.
pub const SESSION_LIFETIME: Duration = Duration::days(7);

/// A new session.
pub struct LoggedIn {
    /// The user and the scopes, for display.
    pub info: SessionInfo,
    /// The session token; only the cookie contains it.
    pub token: String,
}

impl Accounts {
    /// Logs in.
    ///
    /// Failures are throttled by username and `source` (an address or network) after 10 of them, and by `source` alone
    /// after 30. From then on, one log-in per 30 s is allowed.
    ///
    /// # Errors
    /// 401 with the same message for every reason; 429 if it is throttled or too many people log in at once.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn log_in(&self, credentials: Credentials, source: &str) -> Result<LoggedIn, Problem> {
        // The permit is acquired first, so that a log-in without one does not count as failed.
        let _permit =
            self.state.log_ins.try_acquire().map_err(|_| {
                too_many_requests("Too many people are logging in right now. Try again in a second.", 1)
            })?;
        let counted = credentials.username.chars().take(64).collect::<String>();
        self.throttle().record_attempt(&counted, source, self.context.now())?;
        // An invalid username (PostgreSQL rejects NUL) takes the same path as an unknown one.
        let valid = validation::username(&credentials.username).is_ok();
        let username = if valid { credentials.username.as_str() } else { "" };
        let user = users::Entity::find_by_id(username).one(&self.context.db.read).await.map_err(|error| {
            self.throttle().undo_attempt(&counted, source);
            Error::from(error)
        })?;
        let stored = user.as_ref().map_or(passwords::DUMMY_HASH, |user| &user.password_hash).to_owned();
        let matches = passwords::verify(credentials.password.into(), stored).await;
        if !matches || user.is_none_or(|user| user.disabled) {
            return Err(Problem::unauthenticated("The username or the password is wrong. Check both and try again."));
        }
        self.throttle().record_success(&counted, source);
        self.open_session(username).await
    }

    /// Opens a session for an authenticated user.
    pub(super) async fn open_session(&self, username: &str) -> Result<LoggedIn, Problem> {
        let token = new_token();
        self.insert_session(username, &token).await?;
        let (_, info) = self.authenticate_session(&token).await?;
        Ok(LoggedIn { info, token })
    }

    async fn insert_session(&self, username: &str, token: &str) -> Result<()> {
        let now = self.context.now();
        let session = sessions::ActiveModel {
            token_hash: Set(digest(token)),
            username: Set(username.to_owned()),
            created_at: Set(now.timestamp_millis()),
            expires_at: Set((now + SESSION_LIFETIME).timestamp_millis()),
        };
        sessions::Entity::insert(session).exec_without_returning(&self.context.db.write).await?;
        Ok(())
    }

    /// Ends a session. An unknown token is not an error.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn log_out(&self, session_token: &str) -> Result<(), Problem> {
        self.delete_session(session_token).await?;
        self.invalidate_credentials();
        Ok(())
    }

    async fn delete_session(&self, session_token: &str) -> Result<()> {
        sessions::Entity::delete_by_id(digest(session_token)).exec(&self.context.db.write).await?;
        Ok(())
    }

    /// The user of a session cookie.
    ///
    /// # Errors
    /// 401 if the session is unknown or expired, or the account is disabled.
    pub async fn authenticate_session(&self, session_token: &str) -> Result<(Actor, SessionInfo), Problem> {
        let hash = digest(session_token);
        let credential = format!("session {hash}");
        let generation = self.credential_generation();
        if let Some(holder) = self.cached_credential(&credential) {
            return Ok(holder);
        }
        let Some((session, user)) = self.find_session(&hash).await? else {
            return Err(Problem::unauthenticated("Your session has ended. Log in again."));
        };
        let user = to_user(user);
        let scopes = Scope::ALL.to_vec();
        let actor = Actor { username: user.username.clone(), role: user.role, scopes: scopes.clone() };
        let holder = (actor, SessionInfo { user, scopes, expires_at: Some(time(session.expires_at)) });
        self.cache_credential(credential, generation, &holder);
        Ok(holder)
    }

    /// A session that has not expired, with its enabled account.
    async fn find_session(&self, hash: &str) -> Result<Option<(sessions::Model, users::Model)>> {
        let found = sessions::Entity::find_by_id(hash)
            .filter(sessions::COLUMN.expires_at.gt(self.context.now().timestamp_millis()))
            .filter(users::COLUMN.disabled.eq(false))
            .find_also_related(users::Entity)
            .one(&self.context.db.read)
            .await?;
        Ok(found.and_then(|(session, user)| Some((session, user?))))
    }
}
