//! What the live feed carries (docs/contract.md §6 `GET /api/v1/stream`).

use crate::delivery::DeliverySummary;
use crate::id::WebhookId;
use crate::reservation::Reservation;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One change, announced as it commits. The SSE `event` is [`Change::name`], `data` the inner value as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Change {
    /// A delivery came to be, started an attempt, waits for its retry, or ended. Administrators only.
    Delivery(Box<DeliverySummary>),
    /// A reservation or its provisioning changed. Its owner and administrators.
    Reservation(Box<Reservation>),
    /// A webhook changed (settings, pause, health). Administrators only; refetch it.
    Webhook(WebhookChange),
    /// Something a person should know.
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

    /// Whether this person may see it: administrators everything, others what concerns them.
    pub fn visible_to(&self, actor: &crate::authorization::Actor) -> bool {
        if actor.role == crate::authorization::Role::Administrator {
            return match self {
                Self::Notification(n) => n.username.as_deref().is_none_or(|u| u == actor.username),
                _ => true,
            };
        }
        match self {
            Self::Delivery(_) | Self::Webhook(_) => false,
            Self::Reservation(r) => r.user_id == actor.username,
            Self::Notification(n) => n.username.as_deref() == Some(actor.username.as_str()),
        }
    }
}

/// A webhook changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookChange {
    /// Which.
    pub id: WebhookId,
    /// Whether it is gone.
    pub deleted: bool,
}

/// A message to a person (or to all administrators), kept until read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Notification {
    /// A positive integer.
    pub id: i64,
    /// For whom; null = every administrator.
    pub username: Option<String>,
    /// `info`, `warning` or `error`.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
    /// A path of the page to look at, e.g. `/settings/webhooks/3`.
    pub link: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
    /// Whether it has been read.
    pub read: bool,
}

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it soon.
    Warning,
    /// Look at it now.
    Error,
}
