//! Positions of the streams of the audit log.

use sea_orm::entity::prelude::*;

/// A stream of the audit log to another system.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_streams")]
pub(crate) struct Model {
    /// Kind of system, e.g. `syslog`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// Number of the last row that was sent.
    pub seq: i64,
    /// The process that sends; empty if none does.
    pub lease_owner: String,
    /// Until when it may send without renewing its lease.
    pub lease_until: i64,
}

impl ActiveModelBehavior for ActiveModel {}
