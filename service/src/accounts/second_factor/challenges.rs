//! Steps of authentications that have begun and not ended.
//!
//! They are stored, so every replica can finish them, and deleted by the answer, so each is answered once. The client has
//! a random token, of which only the digest is stored. The state is encrypted and bound to its row.

use super::super::Accounts;
use crate::Result;
use crate::audit_trail::AuditedTransaction;
use crate::db::entity::challenges;
use crate::secrets::{SecretUse, digest, new_token};
use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use sea_orm::{ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set};
use serde::{Deserialize, Serialize};
use webauthn_rs::prelude::{DiscoverableAuthentication, PasskeyAuthentication, PasskeyRegistration};

/// Time in which a challenge must be answered, and a log-in finished.
pub const CHALLENGE_LIFETIME: Duration = Duration::minutes(5);
/// Maximum number of open challenges of one account, session or pending log-in. The oldest ones are dropped.
const MAX_OF_ACCOUNT: u64 = 20;
/// Maximum number of open challenges for clients at one address, at which many people can work.
const MAX_OF_SOURCE: u64 = 200;

/// Who may answer a challenge, for the limits on open ones.
pub(in crate::accounts) enum Holder<'a> {
    /// A user whose password was correct.
    LogIn(&'a str),
    /// A user with a session, or with a pending log-in.
    User(&'a str),
    /// A client without an account.
    Source(&'a str),
}

impl Holder<'_> {
    fn key(&self) -> String {
        match self {
            Self::LogIn(username) => format!("log-in {username}"),
            Self::User(username) => format!("user {username}"),
            Self::Source(source) => format!("source {source}"),
        }
    }

    fn limit(&self) -> u64 {
        match self {
            Self::LogIn(_) | Self::User(_) => MAX_OF_ACCOUNT,
            Self::Source(_) => MAX_OF_SOURCE,
        }
    }
}

/// What the server needs to check the answer.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::accounts) enum State {
    /// A log-in whose password was correct.
    LogIn {
        username: String,
        /// Digest of the password's hash: a new password ends the log-in.
        password: String,
        /// Time at which the challenge expires.
        expires_at: DateTime<Utc>,
    },
    /// The second step of a log-in with a passkey.
    SecondStep {
        /// Digest of the token of the pending log-in.
        log_in: String,
        passkey: Box<PasskeyAuthentication>,
    },
    /// A log-in with a passkey alone.
    PasskeyLogIn { passkey: Box<DiscoverableAuthentication> },
    /// A confirmation with a passkey.
    Confirmation { session: String, passkey: Box<PasskeyAuthentication> },
    /// The registration of a passkey.
    Registration { session: String, user_handle: String, passkey: Box<PasskeyRegistration> },
    /// A new authenticator app.
    App {
        session: String,
        /// The key in base32.
        key: String,
    },
}

impl Accounts {
    /// Stores a challenge. Returns the token for the client.
    pub(in crate::accounts) async fn start_challenge(
        &self,
        holder: Holder<'_>,
        state: &State,
    ) -> Result<String, Problem> {
        let token = new_token();
        let token_hash = digest(&token);
        let text = serde_json::to_string(state).map_err(|_| Problem::internal())?;
        let state = self.cipher.encrypt(SecretUse::Challenge(&token_hash), &text)?;
        self.insert_challenge(holder, token_hash, state).await?;
        Ok(token)
    }

    async fn insert_challenge(&self, holder: Holder<'_>, token_hash: String, state: String) -> Result<()> {
        let key = holder.key();
        let tx = self.context.db.begin_unaudited().await?;
        let row = challenges::ActiveModel {
            token_hash: Set(token_hash),
            holder: Set(key.clone()),
            state: Set(state),
            expires_at: Set((self.context.now() + CHALLENGE_LIFETIME).timestamp_millis()),
        };
        challenges::Entity::insert(row).exec_without_returning(&tx).await?;
        let surplus: Vec<String> = challenges::Entity::find()
            .select_only()
            .column(challenges::Column::TokenHash)
            .filter(challenges::COLUMN.holder.eq(key))
            .order_by_desc(challenges::Column::ExpiresAt)
            .order_by_asc(challenges::Column::TokenHash)
            .offset(holder.limit())
            // SQLite accepts an offset only with a limit.
            .limit(MAX_OF_SOURCE)
            .into_tuple()
            .all(&tx)
            .await?;
        if !surplus.is_empty() {
            let surplus = challenges::COLUMN.token_hash.is_in(surplus);
            challenges::Entity::delete_many().filter(surplus).exec(&tx).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The state of a challenge that is open; `None` for an unknown or expired token.
    pub(in crate::accounts) async fn find_challenge(&self, token: &str) -> Result<Option<State>> {
        let hash = digest(token);
        let found = challenges::Entity::find_by_id(hash.as_str())
            .filter(challenges::COLUMN.expires_at.gt(self.context.now().timestamp_millis()))
            .one(&self.context.db.read)
            .await?;
        Ok(found.and_then(|row| {
            let text = self.cipher.try_decrypt(SecretUse::Challenge(&hash), &row.state)?;
            serde_json::from_str(&text).ok()
        }))
    }

    /// Takes a challenge, so that nobody can answer it again.
    pub(in crate::accounts) async fn take_challenge(&self, token: &str) -> Result<Option<State>> {
        let found = self.find_challenge(token).await?;
        if found.is_none() || !self.delete_challenge(&self.context.db.write, token).await? {
            return Ok(None);
        }
        Ok(found)
    }

    /// Whether the challenge was still open in the transaction, which ends it.
    pub(in crate::accounts) async fn end_challenge(&self, tx: &AuditedTransaction, token: &str) -> Result<bool> {
        self.delete_challenge(&**tx, token).await
    }

    async fn delete_challenge(&self, connection: &impl ConnectionTrait, token: &str) -> Result<bool> {
        Ok(challenges::Entity::delete_by_id(digest(token)).exec(connection).await?.rows_affected == 1)
    }
}

/// The problem if a challenge is unknown, expired or was answered before.
pub(in crate::accounts) fn expired() -> Problem {
    Problem::conflict("This step has expired or was finished before. Start again.")
}
