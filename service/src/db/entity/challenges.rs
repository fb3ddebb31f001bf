//! Steps of authentications that have begun and not ended: pending log-ins, and challenges for authenticators.

use sea_orm::entity::prelude::*;

/// One challenge. It is deleted when it is answered.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "challenges")]
pub(crate) struct Model {
    /// SHA-256 of the token that the client has, in hex.
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_hash: String,
    /// Its purpose, and who may answer it: an account, a session, a pending log-in or a client address.
    pub holder: String,
    /// What the server needs to check the answer, encrypted.
    pub state: String,
    /// The challenge is invalid from this time on.
    pub expires_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
