//! Items of replays.

use sea_orm::entity::prelude::*;

/// A delivery to send again, or a reservation whose creation a webhook has not received.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "replay_items")]
pub(crate) struct Model {
    /// The replay.
    #[sea_orm(primary_key, auto_increment = false)]
    pub replay_id: String,
    /// Its place in the order of the replay.
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    /// The id of the delivery or of the reservation.
    pub item: String,
    /// Whether it was queued or skipped.
    pub done: bool,
    /// The new delivery; absent if it was skipped.
    pub seq: Option<i64>,
    /// The new delivery.
    #[sea_orm(belongs_to, from = "seq", to = "seq", skip_fk)]
    pub delivery: BelongsTo<Option<super::deliveries::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}
