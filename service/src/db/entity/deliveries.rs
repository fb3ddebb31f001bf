//! The delivery log.

use crate::db::column::Text;
use domain::delivery::DeliveryStatus;
use domain::event::EventType;
use domain::payload::PayloadFormat;
use sea_orm::entity::prelude::*;

/// One event to one webhook.
///
/// While a delivery is open, its row in `outbox` has its state. A success changes neither `status` nor `attempts` here,
/// which saves an update of the log: the successful row in `attempts` has the result.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "deliveries")]
pub(crate) struct Model {
    /// Position in the log.
    #[sea_orm(primary_key)]
    pub seq: i64,
    /// Identifier (`dlv_…`).
    #[sea_orm(unique)]
    pub id: String,
    /// The event (`evt_…`).
    pub event_id: String,
    /// Type of the event.
    pub event_type: Text<EventType>,
    /// The webhook.
    pub webhook_id: i64,
    /// Deliveries of one webhook with the same key are sent in order.
    pub ordering_key: String,
    /// The reservation of the event; NULL for access requests.
    pub reservation_id: Option<String>,
    /// The signed body.
    pub body: String,
    /// The form of the body; NULL for the default one.
    pub payload_format: Option<Text<PayloadFormat>>,
    /// Status; see the table's description.
    pub status: Text<DeliveryStatus>,
    /// Whether it is a test event.
    pub test: bool,
    /// Number of recorded failed attempts.
    pub attempts: i32,
    /// Maximum number of attempts, by the retry policy at creation.
    pub max_attempts: i32,
    /// Status code of the last failed attempt's response.
    pub status_code: Option<i32>,
    /// Duration of the last failed attempt in milliseconds.
    pub duration_ms: Option<f64>,
    /// Diagnosis of the last failed attempt.
    pub problem: Option<String>,
    /// Creation time.
    pub created_at: i64,
    /// Time of the last change.
    pub updated_at: i64,
    /// Time of the final failure or the cancellation.
    pub ended_at: Option<i64>,
    /// The delivery that this one repeats.
    pub redelivery_of: Option<String>,
    /// Time of the final failure; set on failed deliveries only, for their partial index.
    pub failed_at: Option<i64>,
    /// The webhook.
    #[sea_orm(belongs_to, from = "webhook_id", to = "id", skip_fk)]
    pub webhook: BelongsTo<super::webhooks::Entity>,
    /// The reservation.
    #[sea_orm(belongs_to, from = "reservation_id", to = "id", skip_fk)]
    pub reservation: BelongsTo<Option<super::reservations::Entity>>,
    /// The row in the queue, while the delivery is open.
    #[sea_orm(has_one)]
    pub queued: HasOne<super::outbox::Entity>,
    /// Attempts that ended.
    #[sea_orm(has_many)]
    pub attempt_log: HasMany<super::attempts::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
