//! Events of reservations that are due at a later time.

use sea_orm::entity::prelude::*;

/// An event of an active reservation that is due at a later time.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "scheduled_events")]
pub(crate) struct Model {
    /// The reservation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub reservation_id: String,
    /// Name of the event.
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_type: String,
    /// The webhook for which `reservation.created` is held; 0 = each webhook that receives the event.
    #[sea_orm(primary_key, auto_increment = false)]
    pub webhook_id: i64,
    /// When it is published; NULL = it was.
    pub due_at: Option<i64>,
    /// Whether it waits for the hand-over of the resource.
    pub blocked: bool,
    /// Whether the managers of the resource were notified that it waits.
    pub alerted: bool,
}

impl ActiveModelBehavior for ActiveModel {}
