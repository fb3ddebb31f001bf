//! Passkeys (WebAuthn credentials).

use sea_orm::entity::prelude::*;

/// One passkey of one account.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "passkeys")]
pub(crate) struct Model {
    /// Public id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The account.
    pub username: String,
    /// The name that its owner chose.
    pub name: String,
    /// The authenticator's id of the credential, in base64url.
    pub credential_id: String,
    /// Random id of the account for authenticators, in hex. All passkeys of an account have the same.
    pub user_handle: String,
    /// Public key and signature counter, as JSON. It contains no secret.
    pub credential: String,
    /// Time of the registration.
    pub created_at: i64,
    /// Time of the last use; NULL before the first one.
    pub last_used_at: Option<i64>,
    /// The account.
    #[sea_orm(belongs_to, from = "username", to = "username", on_delete = "Cascade")]
    pub user: BelongsTo<super::users::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
