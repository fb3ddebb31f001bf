//! Changes sent on the live feed (docs/contract.md §6, `GET /api/v1/stream`).

use crate::delivery::DeliverySummary;
use crate::id::WebhookId;
use crate::reservation::Reservation;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One committed change. The SSE `event` is [`Change::name`]; `data` is the inner value as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Change {
    /// A delivery was created, started an attempt, was scheduled for a retry, or ended. Administrators only.
    Delivery(Box<DeliverySummary>),
    /// A reservation or its provisioning changed. Visible to its owner and to administrators.
    Reservation(Box<Reservation>),
    /// A webhook changed (settings, status, health). Administrators only; clients refetch it.
    Webhook(WebhookChange),
    /// A notification for a user or for all administrators.
    Notification(Notification),
}

impl Change {
    /// The SSE event name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delivery(_) => "delivery",
            Self::Reservation(_) => "reservation",
            Self::Webhook(_) => "webhook",
            Self::Notification(_) => "notification",
        }
    }

    /// Whether `actor` may see the change: administrators and auditors see all, users see their own. A notification to
    /// all administrators is for them alone.
    pub fn visible_to(&self, actor: &crate::authorization::Actor) -> bool {
        let reads_everything = actor.role.reads_everything();
        match self {
            Self::Delivery(_) | Self::Webhook(_) => reads_everything,
            Self::Reservation(r) => reads_everything || r.user_id == actor.username,
            Self::Notification(n) => match &n.username {
                Some(username) => *username == actor.username,
                None => actor.role == crate::authorization::Role::Administrator,
            },
        }
    }
}

/// A change of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookChange {
    /// The webhook.
    pub id: WebhookId,
    /// Whether it was deleted.
    pub deleted: bool,
}

/// A message to one user or to all administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Notification {
    /// A positive integer.
    pub id: i64,
    /// Login name of the recipient; null = every administrator.
    pub username: Option<String>,
    /// The urgency.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
    /// A path of the page with details, e.g. `/settings/webhooks/3`.
    pub link: Option<String>,
    /// Creation time.
    pub at: DateTime<Utc>,
    /// Whether it has been read.
    pub read: bool,
}

/// The urgency of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Information; no action is needed.
    Info,
    /// Action is needed soon.
    Warning,
    /// Action is needed now.
    Error,
}
