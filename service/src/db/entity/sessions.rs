//! Log-in sessions.

use sea_orm::entity::prelude::*;

/// One session of one account.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub(crate) struct Model {
    /// SHA-256 of the cookie's value, in hex.
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_hash: String,
    /// The account.
    pub username: String,
    /// Log-in time.
    pub created_at: i64,
    /// The session is invalid from this time on.
    pub expires_at: i64,
    /// Time of the last use, to the minute; NULL for a session of an earlier release before its first use.
    pub last_used_at: Option<i64>,
    /// Client address at log-in; empty if unknown.
    pub source: String,
    /// Browser and operating system at log-in; empty if unknown.
    pub device: String,
    /// Issuer of the provider at which the user logged in; NULL after a log-in with a password.
    pub issuer: Option<String>,
    /// Digest of the session at the provider (claim `sid`); NULL if the provider sent none.
    pub provider_session: Option<String>,
    /// ID token, encrypted, for the log-out at the provider; NULL after a log-in with a password.
    pub id_token: Option<String>,
    /// Time at which the user entered a credential. NULL is the time of the log-in; 0 is unknown.
    pub authenticated_at: Option<i64>,
    /// The account.
    #[sea_orm(belongs_to, from = "username", to = "username", on_delete = "Cascade")]
    pub user: BelongsTo<super::users::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
