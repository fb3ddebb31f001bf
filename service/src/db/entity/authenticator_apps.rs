//! Authenticator apps that show codes (TOTP, RFC 6238).

use sea_orm::entity::prelude::*;

/// The authenticator app of one account.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "authenticator_apps")]
pub(crate) struct Model {
    /// The account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub username: String,
    /// The key in base32, encrypted.
    pub secret: String,
    /// The time step of the last accepted code. Codes of this step and of earlier ones are rejected.
    pub last_step: i64,
    /// Time at which it was added.
    pub created_at: i64,
    /// Time of the last accepted code.
    pub last_used_at: i64,
    /// The account.
    #[sea_orm(belongs_to, from = "username", to = "username", on_delete = "Cascade")]
    pub user: BelongsTo<super::users::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
