//! The head of the audit log's chain.

use sea_orm::entity::prelude::*;

/// The newest and the last deleted row of the audit log. The table has one row.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_head")]
pub(crate) struct Model {
    /// Always [`ID`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// Number of the newest row; 0 without one.
    pub seq: i64,
    /// Its hash; empty without one.
    pub hash: String,
    /// Number of the last row that retention deleted; 0 without one.
    pub pruned_seq: i64,
    /// Its hash, with which the chain begins; empty without one.
    pub pruned_hash: String,
    /// Id of the key of `mac`.
    pub key_id: String,
    /// HMAC of the other columns; empty before the first row.
    pub mac: String,
}

/// The id of the only row.
pub(crate) const ID: i64 = 1;

impl ActiveModelBehavior for ActiveModel {}
