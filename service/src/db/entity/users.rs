//! Accounts.

use crate::db::column::Text;
use domain::authorization::Role;
use sea_orm::entity::prelude::*;

/// One account.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub(crate) struct Model {
    /// Login name; never changes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// Argon2id hash in PHC format; empty without a password.
    pub password_hash: String,
    /// Administrator or user.
    pub role: Text<Role>,
    /// A disabled account cannot log in.
    pub disabled: bool,
    /// Default SSH public key for reservations; empty if none.
    pub ssh_key: String,
    /// Creation time.
    pub created_at: i64,
    /// Name of the provider whose groups decide on the role; NULL if administrators do.
    pub role_provider: Option<String>,
    /// Open sessions.
    #[sea_orm(has_many)]
    pub sessions: HasMany<super::sessions::Entity>,
    /// Links to users of identity providers.
    #[sea_orm(has_many)]
    pub identities: HasMany<super::identities::Entity>,
    /// Passkeys.
    #[sea_orm(has_many)]
    pub passkeys: HasMany<super::passkeys::Entity>,
    /// The authenticator app.
    #[sea_orm(has_one)]
    pub authenticator_app: HasOne<super::authenticator_apps::Entity>,
    /// Recovery codes.
    #[sea_orm(has_many)]
    pub recovery_codes: HasMany<super::recovery_codes::Entity>,
    /// API tokens.
    #[sea_orm(has_many)]
    pub api_tokens: HasMany<super::api_tokens::Entity>,
    /// Restricted resources that this account may reserve.
    #[sea_orm(has_many)]
    pub access_grants: HasMany<super::access_grants::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
