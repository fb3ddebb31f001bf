//! The running dispatchers.

use sea_orm::entity::prelude::*;

/// A dispatcher that divides the limits of webhooks with others. Only PostgreSQL has several.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "dispatchers")]
pub(crate) struct Model {
    /// The unique name of the dispatcher.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// Time of its last heartbeat, in milliseconds since the epoch, by the clock of the database.
    pub heartbeat_at: i64,
    /// The names of the dispatchers with which it divides the limits, sorted, separated by spaces.
    pub members: String,
}

impl ActiveModelBehavior for ActiveModel {}
