//! Attempts that ended.

use crate::db::column::{Text, WireName};
use domain::delivery::{DeliveryStatus, Outcome};
use sea_orm::entity::prelude::*;

/// The status of a delivery after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusAfter {
    /// The attempt succeeded.
    Succeeded,
    /// It was the last attempt and failed.
    Failed,
    /// It failed and another attempt follows.
    Retrying,
    /// The delivery was cancelled during the attempt.
    Cancelled,
    /// Another process had taken over the delivery: the result has no effect.
    Superseded,
    /// A test event, outside the queue.
    Test,
}

impl WireName for StatusAfter {
    const UNKNOWN: Self = Self::Superseded;

    fn wire_name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Retrying => "retrying",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::Test => "test",
        }
    }

    fn from_wire_name(name: &str) -> Option<Self> {
        [Self::Succeeded, Self::Failed, Self::Retrying, Self::Cancelled, Self::Superseded, Self::Test]
            .into_iter()
            .find(|status| status.wire_name() == name)
    }
}

impl StatusAfter {
    /// The delivery's status, if this attempt determined it.
    pub(crate) fn delivery_status(self) -> Option<DeliveryStatus> {
        match self {
            Self::Succeeded => Some(DeliveryStatus::Succeeded),
            Self::Failed => Some(DeliveryStatus::Failed),
            Self::Retrying => Some(DeliveryStatus::Retrying),
            Self::Cancelled => Some(DeliveryStatus::Cancelled),
            Self::Superseded | Self::Test => None,
        }
    }
}

/// One attempt of one delivery.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "attempts")]
pub(crate) struct Model {
    /// Position of the delivery in the log.
    #[sea_orm(primary_key, auto_increment = false)]
    pub delivery_seq: i64,
    /// 1, 2, 3, …
    #[sea_orm(primary_key, auto_increment = false)]
    pub attempt: i32,
    /// The webhook.
    pub webhook_id: i64,
    /// Start time.
    pub started_at: i64,
    /// Success or failure.
    pub outcome: Text<Outcome>,
    /// Status code of the response; NULL if none arrived.
    pub status_code: Option<i32>,
    /// Duration of the whole exchange in milliseconds.
    pub duration_ms: f64,
    /// Status of the delivery after this attempt.
    pub delivery_status: Text<StatusAfter>,
    /// The transcript of the exchange (`delivery::Transcript`), or JSON in rows of early versions.
    pub record: String,
    /// The delivery.
    #[sea_orm(belongs_to, from = "delivery_seq", to = "seq", skip_fk)]
    pub delivery: BelongsTo<super::deliveries::Entity>,
    /// The webhook.
    #[sea_orm(belongs_to, from = "webhook_id", to = "id", skip_fk)]
    pub webhook: BelongsTo<super::webhooks::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
