//! Usernames of erased accounts, which new accounts cannot have.

use sea_orm::entity::prelude::*;

/// One erased username.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "erased_usernames")]
pub(crate) struct Model {
    /// HMAC of the username with the key of the audit log, in hex.
    #[sea_orm(primary_key, auto_increment = false)]
    pub digest: String,
    /// Time of the erasure.
    pub erased_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
