//! Keys that outlive a rotation of the master key.

use sea_orm::entity::prelude::*;

/// A key of 32 bytes.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stored_keys")]
pub(crate) struct Model {
    /// The use of the key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub purpose: String,
    /// The key in hex, encrypted.
    pub encrypted: String,
}

impl ActiveModelBehavior for ActiveModel {}
