//! The index of the delivery log for searches.

use crate::db::column::Text;
use domain::delivery::DeliveryStatus;
use sea_orm::entity::prelude::*;

/// The narrow row of one delivery, which the worker of the index writes after the log.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "delivery_index")]
pub(crate) struct Model {
    /// Position of the delivery in the log.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// Identifier (`dlv_…`).
    pub id: String,
    /// The event (`evt_…`).
    pub event_id: String,
    /// The reservation or access request.
    pub ordering_key: String,
    /// Type of the event, as the log has it: a newer release may have written another one.
    pub event_type: String,
    /// The webhook.
    pub webhook_id: i64,
    /// Status; `pending` while the delivery is open.
    pub status: Text<DeliveryStatus>,
    /// Whether it is a test event.
    pub test: bool,
    /// Number of the last attempt that is counted.
    pub attempts: i32,
    /// Status code of the last response.
    pub status_code: Option<i32>,
    /// Duration of the last attempt in milliseconds.
    pub duration_ms: Option<f64>,
    /// Code of the diagnosis of the last failed attempt.
    pub cause: Option<String>,
    /// Creation time.
    pub created_at: i64,
    /// Time of the end; NULL while the delivery is open.
    pub ended_at: Option<i64>,
    /// Whether the delivery was open, so that the worker reads it again.
    pub is_open: bool,
    /// Whether the words of its texts are missing or outdated.
    pub needs_text: bool,
    /// The delivery.
    #[sea_orm(belongs_to, from = "seq", to = "seq", skip_fk)]
    pub delivery: BelongsTo<super::deliveries::Entity>,
    /// The webhook.
    #[sea_orm(belongs_to, from = "webhook_id", to = "id", skip_fk)]
    pub webhook: BelongsTo<super::webhooks::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
