//! The number of recent changes of each reservation, for the limit on them.

use sea_orm::entity::prelude::*;

/// Changes of one reservation within a minute.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reservation_changes")]
pub(crate) struct Model {
    /// The reservation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub reservation_id: String,
    /// Start of the counted minute.
    pub since: i64,
    /// Changes since then.
    pub changes: i64,
}

impl ActiveModelBehavior for ActiveModel {}
