//! Local listeners: `berth listen` receives the deliveries of a webhook over an outbound connection and forwards them to a
//! receiver on the developer's machine (docs/contract.md §7).

use crate::delivery::{DeliveryStatus, Diagnosis, DiagnosisCode, Timings};
use crate::event::EventType;
use crate::header::Header;
use crate::id::{DeliveryId, EventId, ReservationId};
use crate::problem::{Problem, Validator};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Maximum duration of one claim in seconds. It is shorter than the idle limits of common proxies.
pub const MAX_WAIT_SECONDS: u32 = 30;
/// Maximum number of deliveries of one claim.
pub const MAX_CLAIMED: u32 = 32;
/// Maximum number of leases that a claim names as held.
pub const MAX_HELD: usize = 256;
/// Time in seconds since its last request after which a listener counts as disconnected.
pub const CONNECTED_SECONDS: i64 = 45;
/// Maximum number of response headers of a result.
pub const MAX_RESULT_HEADERS: usize = 100;
/// Maximum size of a reported response body in bytes.
pub const MAX_RESULT_BODY: usize = 64 * 1024;
/// Maximum length of a reported text in characters.
const MAX_REPORTED_TEXT: usize = 1_000;
/// Maximum duration of a reported step in milliseconds.
const MAX_DURATION_MS: f64 = 3_600_000.0;

/// How the deliveries of a webhook reach its receiver. It is fixed at creation.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DeliveryMode {
    /// Berth sends requests to the endpoint URL.
    #[default]
    Http,
    /// A listener (`berth listen`) receives the requests and forwards them. Berth never calls the endpoint URL.
    Local,
}

impl DeliveryMode {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The mode with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// The listener of a webhook with the delivery mode `local`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LocalListener {
    /// Whether it is connected: its last request is at most 45 s old, and it has not disconnected.
    pub connected: bool,
    /// Time of its connection.
    pub connected_at: DateTime<Utc>,
    /// Time of its last request.
    pub last_seen_at: DateTime<Utc>,
}

/// Response of `POST /api/v1/webhooks/{id}/listener`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListenerConnection {
    /// Id of the connection, for claims and results. Another connection ends it.
    pub listener: String,
    /// Time limit of a forwarded request in milliseconds.
    pub timeout_ms: u64,
}

/// Body of `POST /api/v1/webhooks/{id}/listener/claims`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ListenerClaimInput {
    /// Id of the connection.
    pub listener: String,
    /// Maximum number of deliveries, 0 to 32. 0 only reports that the listener is connected.
    pub limit: u32,
    /// Time to wait for a delivery in seconds, 0 to 30.
    #[serde(default)]
    pub wait_seconds: u32,
    /// The leases whose results the listener has not reported yet. Berth requeues the other leases of the listener at once:
    /// their response was lost.
    #[serde(default)]
    pub held: Vec<String>,
}

impl ListenerClaimInput {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Invalid, naming each field.
    pub fn check(&self) -> Result<(), Problem> {
        let mut validator = Validator::new();
        if self.limit > MAX_CLAIMED {
            validator.error("limit", format!("Claim at most {MAX_CLAIMED} deliveries."));
        }
        if self.wait_seconds > MAX_WAIT_SECONDS {
            validator.error("wait_seconds", format!("Wait at most {MAX_WAIT_SECONDS} seconds."));
        }
        if self.held.len() > MAX_HELD {
            validator.error("held", format!("Hold at most {MAX_HELD} leases."));
        }
        validator.finish()
    }
}

/// Response of `POST /api/v1/webhooks/{id}/listener/claims`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListenerDeliveries {
    /// Deliveries to forward now, in the order of their events; empty after `wait_seconds` without one.
    pub deliveries: Vec<ListenerDelivery>,
}

/// A delivery under the lease of a listener: the complete signed request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListenerDelivery {
    /// The right to report the result.
    pub lease: String,
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// The event.
    pub event_id: EventId,
    /// The event type.
    pub event_type: EventType,
    /// The reservation, if it is an event of one.
    pub reservation_id: Option<ReservationId>,
    /// 1, 2, 3, …
    pub attempt: u32,
    /// The delivery of which it is a redelivery.
    pub redelivery_of: Option<DeliveryId>,
    /// The headers of the request, with its signatures.
    pub headers: Vec<Header>,
    /// The exact body.
    pub body: String,
}

/// Body of `POST /api/v1/webhooks/{id}/listener/results`: the response to a forwarded request, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ListenerResult {
    /// The lease of the delivery.
    pub lease: String,
    /// The durations of the steps of the exchange.
    pub timings: Timings,
    /// The response; absent if there is none.
    #[serde(default)]
    pub response: Option<ForwardedResponse>,
    /// Why there is no response; absent with one. The code is one of a failure before a response, e.g. `connection_refused`.
    #[serde(default)]
    pub failure: Option<Diagnosis>,
}

/// The response of a local receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ForwardedResponse {
    /// The status code, 200 to 599.
    pub status_code: u16,
    /// The headers, at most 100.
    pub headers: Vec<Header>,
    /// The decoded body in Base64; at most 64 KiB before the Base64 encoding.
    pub body_base64: String,
    /// Whether the body is longer.
    #[serde(default)]
    pub truncated: bool,
    /// A sentence, if the body could not be decoded. Then `body_base64` contains the received bytes.
    #[serde(default)]
    pub decode_error: Option<String>,
}

/// The causes that a listener may report.
const FORWARD_FAILURES: [DiagnosisCode; 7] = [
    DiagnosisCode::TimedOut,
    DiagnosisCode::CertificateInvalid,
    DiagnosisCode::TlsFailed,
    DiagnosisCode::DnsFailed,
    DiagnosisCode::ConnectionRefused,
    DiagnosisCode::ConnectionFailed,
    DiagnosisCode::NotHttp,
];

impl ListenerResult {
    /// Checks the ranges, and that it contains a response or a failure.
    ///
    /// # Errors
    /// Invalid, naming each field.
    pub fn check(&self) -> Result<(), Problem> {
        let mut validator = Validator::new();
        let timings = &self.timings;
        let steps = [timings.dns_ms, timings.connect_ms, timings.tls_ms, timings.first_byte_ms, Some(timings.total_ms)];
        if !steps.into_iter().flatten().all(|step| (0.0..=MAX_DURATION_MS).contains(&step)) {
            validator.error("timings", "Report durations of at most one hour.");
        }
        match (&self.response, &self.failure) {
            (Some(_), Some(_)) => validator.error("failure", "A result has a response or a failure, not both."),
            (None, None) => validator.error("response", "A result has a response or a failure."),
            (Some(response), None) => {
                if !(200..=599).contains(&response.status_code) {
                    validator.error("response.status_code", "Use a status code of 200 to 599.");
                }
                if response.headers.len() > MAX_RESULT_HEADERS {
                    validator.error("response.headers", format!("Report at most {MAX_RESULT_HEADERS} headers."));
                }
                let decode_error = response.decode_error.as_deref().unwrap_or_default();
                validator.check("response.decode_error", crate::validation::text(decode_error, MAX_REPORTED_TEXT));
            }
            (None, Some(failure)) => {
                if !FORWARD_FAILURES.contains(&failure.code) {
                    validator.error("failure.code", "Report a failure before a response.");
                }
                validator.check("failure.message", crate::validation::text(&failure.message, MAX_REPORTED_TEXT));
                validator.check("failure.hint", crate::validation::text(&failure.hint, MAX_REPORTED_TEXT));
            }
        }
        validator.finish()
    }
}

/// Response of `POST /api/v1/webhooks/{id}/listener/results`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListenerRecorded {
    /// Whether the result was recorded. False if the lease was lost: the delivery is claimed again, or was recorded before.
    pub recorded: bool,
    /// The status of the delivery after the result; null if it was not recorded.
    pub status: Option<DeliveryStatus>,
    /// Time of the next attempt, if there is one.
    pub next_attempt_at: Option<DateTime<Utc>>,
}
