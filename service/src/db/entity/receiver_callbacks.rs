//! Call-backs of classic receivers that were processed, to detect repeats.

use sea_orm::entity::prelude::*;

/// The digest of one call-back.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "receiver_callbacks")]
pub(crate) struct Model {
    /// SHA-256 of route, webhook id and body, in hex.
    #[sea_orm(primary_key, auto_increment = false)]
    pub digest: String,
    /// Time of receipt; old rows are deleted.
    pub received_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
