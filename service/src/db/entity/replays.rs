//! Replays, which send deliveries again in the background.

use crate::db::column::{JsonText, Text};
use domain::delivery::DeliveryFilter;
use domain::replay::{ReplaySource, ReplayStatus};
use sea_orm::entity::prelude::*;

/// One replay.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "replays")]
pub(crate) struct Model {
    /// Identifier (`rpl_…`).
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Running, paused, completed or cancelled.
    pub status: Text<ReplayStatus>,
    /// What is sent.
    pub source: Text<ReplaySource>,
    /// The filter at the start.
    pub filter: JsonText<DeliveryFilter>,
    /// Whether it pauses after the first delivery.
    pub one_first: bool,
    /// The highest rate in deliveries per minute.
    pub per_minute: Option<i32>,
    /// The account that started it.
    pub created_by: String,
    /// Time of the start.
    pub created_at: i64,
    /// Time of the last change of its status.
    pub updated_at: i64,
    /// While it runs: the time of the next batch.
    pub due_at: i64,
    /// Increases with each batch and change. The process that increases it has the batch.
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}
