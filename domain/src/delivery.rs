//! Deliveries and their attempts, as recorded and shown.

use crate::event::EventType;
use crate::id::{DeliveryId, EventId, WebhookId};
use crate::webhook::Header;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Map;

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Waits for its first attempt (or for an earlier event of the same reservation, or for the webhook to resume).
    Pending,
    /// An attempt is under way.
    Sending,
    /// Waits for its next attempt.
    Retrying,
    /// A 2xx came.
    Succeeded,
    /// The last attempt failed; redeliver by hand.
    Failed,
    /// Not to be delivered any more (webhook deleted, or dropped on resuming).
    Cancelled,
}

impl DeliveryStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Sending, Self::Retrying, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Whether nothing more will happen to it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// 2xx.
    Succeeded,
    /// Anything else.
    Failed,
}

impl Outcome {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// A delivery as listed and as announced by the live feed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliverySummary {
    /// `dlv_…`
    pub id: DeliveryId,
    /// `evt_…`
    pub event_id: EventId,
    /// What happened.
    pub event_type: EventType,
    /// To whom it goes.
    pub webhook_id: WebhookId,
    /// The webhook's name.
    pub webhook_name: String,
    /// The reservation it is about, or the access request.
    pub reservation_id: Option<String>,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// Whether it is a test event.
    pub test: bool,
    /// Attempts begun so far.
    pub attempts: u32,
    /// Most attempts the policy allows.
    pub max_attempts: u32,
    /// The last response's status code.
    pub status_code: Option<u16>,
    /// The last attempt's duration in milliseconds.
    pub duration_ms: Option<f64>,
    /// The last attempt's diagnosis in one sentence, when it failed.
    pub problem: Option<String>,
    /// When the next attempt is due, while pending or retrying.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When the event happened.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// The delivery that this one repeats.
    pub redelivery_of: Option<DeliveryId>,
}

/// What was sent, with secrets redacted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SentRequest {
    /// Always `POST`.
    pub method: String,
    /// The full URL.
    pub url: String,
    /// In the order sent; values of credentials are `••••`.
    pub headers: Vec<Header>,
    /// The exact signed text.
    pub body: String,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReceivedResponse {
    /// `HTTP/1.1` or `HTTP/2`.
    pub version: String,
    /// In the order received.
    pub headers: Vec<Header>,
    /// At most 64 KiB; what is not UTF-8 is shown with replacement characters, NUL as `␀`.
    pub body: String,
    /// Whether more came than was kept.
    pub truncated: bool,
}

/// How long each step took, in milliseconds; null where it did not happen (kept-alive connection, failure before).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Timings {
    /// Name look-up.
    pub dns_ms: Option<f64>,
    /// TCP connection.
    pub connect_ms: Option<f64>,
    /// TLS handshake.
    pub tls_ms: Option<f64>,
    /// From the request's being sent to the response's first byte.
    pub first_byte_ms: Option<f64>,
    /// The whole exchange, body included.
    pub total_ms: f64,
    /// Whether a kept-alive connection served.
    pub reused: bool,
}

/// What went wrong, as a closed list: each has a remedy in plain words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DiagnosisCode {
    /// 2xx.
    Ok,
    /// 401/403 and the receiver speaks of the signature.
    SignatureRefused,
    /// 401/403 otherwise: the API key or token was refused.
    CredentialsRefused,
    /// Nothing, or not everything, came within 30 s.
    TimedOut,
    /// The certificate is expired, for another name, or of an unknown authority.
    CertificateInvalid,
    /// TLS failed otherwise.
    TlsFailed,
    /// 429.
    RateLimited,
    /// 404: wrong path.
    NotFound,
    /// 405: the path does not take POST.
    MethodNotAllowed,
    /// The name does not resolve.
    DnsFailed,
    /// Nothing listens there.
    ConnectionRefused,
    /// The connection broke.
    ConnectionFailed,
    /// The address is private or reserved and not on the operator's allow-list.
    AddressNotAllowed,
    /// 3xx: redirects are not followed.
    Redirected,
    /// 410: the receiver asked for no more.
    Gone,
    /// 400/422: the receiver did not understand the body.
    BodyRefused,
    /// 413: the receiver does not take a body of this size.
    TooLargeForReceiver,
    /// The response was longer than 64 KiB.
    ResponseTooLarge,
    /// The response is not HTTP.
    NotHttp,
    /// Another 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// No OAuth token could be had.
    TokenFailed,
    /// The process ended during the attempt; the outcome is not known.
    Interrupted,
}

/// What went wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Diagnosis {
    /// Which case.
    pub code: DiagnosisCode,
    /// What happened, one sentence.
    pub message: String,
    /// What to do, one or two sentences; `""` on success.
    pub hint: String,
}

/// One attempt, whole: the record of a delivery's try and the answer of Test Webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// The delivery it belongs to.
    pub delivery_id: DeliveryId,
    /// 1, 2, 3, …
    pub attempt: u32,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How it ended.
    pub outcome: Outcome,
    /// The response's status code; null when none came.
    pub status_code: Option<u16>,
    /// The whole exchange in milliseconds.
    pub duration_ms: f64,
    /// Its steps.
    pub timings: Timings,
    /// What was sent.
    pub request: SentRequest,
    /// What came back; null when nothing did.
    pub response: Option<ReceivedResponse>,
    /// What it means.
    pub diagnosis: Diagnosis,
}

/// `GET /api/v1/deliveries/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryDetail {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: DeliverySummary,
    /// The signed body.
    pub body: String,
    /// Its attempts, oldest first. (`attempts` is their number; these are the records.)
    pub attempt_log: Vec<Attempt>,
}

impl<'de> Deserialize<'de> for DeliveryDetail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let body = crate::json::take(&mut fields, "body")?;
        let attempt_log = crate::json::take(&mut fields, "attempt_log")?;
        Ok(Self { delivery: crate::json::rest(fields)?, body, attempt_log })
    }
}

/// Filters of `GET /api/v1/deliveries` and of a replay. A misspelt one is refused: ignoring it would replay too much.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams, utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryFilter {
    /// Only to this webhook.
    pub webhook_id: Option<WebhookId>,
    /// Only of this event type.
    pub event_type: Option<EventType>,
    /// Only with this status.
    pub status: Option<DeliveryStatus>,
    /// Only about this reservation.
    pub reservation_id: Option<String>,
    /// Only created at or after.
    pub since: Option<DateTime<Utc>>,
    /// Only created before.
    pub until: Option<DateTime<Utc>>,
}

/// `POST /api/v1/deliveries/replay`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReplayInput {
    /// Which deliveries; without `status` the failed ones.
    pub filter: DeliveryFilter,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// The answer of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplayResult {
    /// How many deliveries match.
    pub matched: u64,
    /// How many new deliveries were made (0 on a dry run; at most 10,000 at once).
    pub redelivered: u64,
}
