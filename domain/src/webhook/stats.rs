//! Health, the 24-hour summary and the statistics of a webhook.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The health of a webhook, from at most 5,000 attempts of the last 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WebhookHealth {
    /// No delivery ended in the last 24 hours.
    Unknown,
    /// At least 99 % of deliveries succeeded, and the last attempt did not fail.
    Healthy,
    /// Fewer than 99 % of deliveries succeeded, or the last attempt will be retried.
    Degraded,
    /// Fewer than 50 % of deliveries succeeded, or an alert about failures is open.
    Failing,
}

/// Summary of a webhook's last 24 hours, from at most 5,000 attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookSummary {
    /// The health.
    pub health: WebhookHealth,
    /// Number of deliveries that ended in the last 24 hours.
    pub deliveries: u64,
    /// Share of ended deliveries that succeeded, 0.0 to 1.0; null without deliveries.
    pub success_rate: Option<f64>,
    /// 95th percentile of the attempts' duration in milliseconds.
    pub p95_ms: Option<f64>,
    /// Start time of the newest attempt.
    pub last_delivery_at: Option<DateTime<Utc>>,
    /// The delivery's status after the last attempt.
    pub last_status: Option<crate::delivery::DeliveryStatus>,
    /// Number of queued deliveries (pending, sending or retrying).
    pub waiting: u64,
}

/// The time window of `GET /api/v1/webhooks/{id}/stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StatsWindow {
    /// The last hour, in steps of one minute.
    #[serde(rename = "1h")]
    Hour,
    /// The last day, in steps of 30 minutes.
    #[serde(rename = "24h")]
    Day,
    /// The last week, in steps of three hours.
    #[serde(rename = "7d")]
    Week,
}

impl StatsWindow {
    /// The length of the window in seconds.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 604_800,
        }
    }

    /// The length of one step of the series in seconds.
    pub fn step(self) -> i64 {
        match self {
            Self::Hour => 60,
            Self::Day => 1_800,
            Self::Week => 10_800,
        }
    }
}

/// The response of `GET /api/v1/webhooks/{id}/stats`. Test events are excluded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookStats {
    /// The requested window.
    pub window: StatsWindow,
    /// Number of succeeded deliveries.
    pub succeeded: u64,
    /// Number of failed deliveries.
    pub failed: u64,
    /// Number of attempts.
    pub attempts: u64,
    /// failed / (succeeded + failed); null without deliveries.
    pub error_rate: Option<f64>,
    /// 50th percentile of the attempts' duration in milliseconds.
    pub p50_ms: Option<f64>,
    /// 95th percentile in milliseconds.
    pub p95_ms: Option<f64>,
    /// 99th percentile in milliseconds.
    pub p99_ms: Option<f64>,
    /// The window in equal steps, oldest first.
    pub series: Vec<StatsPoint>,
}

/// One step of the series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatsPoint {
    /// Start of the step.
    pub at: DateTime<Utc>,
    /// Number of succeeded deliveries in this step.
    pub succeeded: u64,
    /// Number of failed deliveries in this step.
    pub failed: u64,
    /// 95th percentile of the attempts' duration in this step, in milliseconds.
    pub p95_ms: Option<f64>,
}
