//! Notifications to all administrators that one of them has read.

use sea_orm::entity::prelude::*;

/// One read notification of one account.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "notification_reads")]
pub(crate) struct Model {
    /// The account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub username: String,
    /// The notification.
    #[sea_orm(primary_key, auto_increment = false)]
    pub notification_id: i64,
}

impl ActiveModelBehavior for ActiveModel {}
