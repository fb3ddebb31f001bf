//! Changes sent on the live feed (docs/contract.md §6, `GET /api/v1/stream`).

use crate::authorization::{Action, Actor, Role, authorize};
use crate::delivery::DeliverySummary;
use crate::id::WebhookId;
use crate::reservation::Reservation;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One committed change. The SSE `event` is [`Change::name`]; `data` is the inner value as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Change {
    /// A delivery was created, started an attempt, was scheduled for a retry, or ended. For administrators, auditors and
    /// owners of the webhook's resource type.
    Delivery(Box<DeliverySummary>),
    /// A reservation or its provisioning changed. For its user, the owners of its resource, administrators and auditors.
    Reservation(Box<Reservation>),
    /// A webhook changed (settings, status, health). For administrators, auditors and owners of its resource type;
    /// clients refetch it.
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

    /// Whether `actor` may see the change: as for the lists of these objects ([`authorize`]). A notification to all
    /// administrators is for them alone.
    pub fn visible_to(&self, actor: &Actor) -> bool {
        match self {
            Self::Delivery(delivery) => {
                authorize(actor, Action::ReadWebhook { resource_type: delivery.resource_type.as_deref() }).is_ok()
            }
            Self::Webhook(webhook) => {
                let types = [&webhook.resource_type, &webhook.previous_resource_type];
                types
                    .into_iter()
                    .any(|slug| authorize(actor, Action::ReadWebhook { resource_type: slug.as_deref() }).is_ok())
            }
            Self::Reservation(reservation) => authorize(actor, reservation.read_action()).is_ok(),
            Self::Notification(notification) => match &notification.username {
                Some(username) => *username == actor.username,
                None => actor.role == Role::Administrator,
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
    /// Slug of its only resource type; null = every type.
    #[serde(default)]
    pub resource_type: Option<String>,
    /// Slug of its resource type before the change, whose owners lose sight of it; null if there was none.
    #[serde(default)]
    pub previous_resource_type: Option<String>,
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
