//! Deliveries and their attempts, as recorded and shown.

use crate::event::EventType;
use crate::header::Header;
use crate::id::{DeliveryId, EventId, ReplayId, WebhookId};
use crate::provisioning::{ReceiverResponse, is_json_content_type};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Map;

/// The status of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DeliveryStatus {
    /// Queued for its first attempt; also behind an earlier event of the same reservation, or while the webhook is
    /// paused.
    Pending,
    /// An attempt is in flight.
    Sending,
    /// An attempt failed; the next one is scheduled.
    Retrying,
    /// The receiver responded with 2xx.
    Succeeded,
    /// The last attempt failed. It can be redelivered.
    Failed,
    /// Discarded before it succeeded: the webhook was deleted, or its queue was discarded on resume.
    Cancelled,
}

impl DeliveryStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Sending, Self::Retrying, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The status with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// Whether the delivery has ended.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// 2xx.
    Succeeded,
    /// Anything else.
    Failed,
}

impl Outcome {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A delivery in lists and on the live feed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliverySummary {
    /// `dlv_…`
    pub id: DeliveryId,
    /// `evt_…`
    pub event_id: EventId,
    /// The event type.
    pub event_type: EventType,
    /// The webhook that receives it.
    pub webhook_id: WebhookId,
    /// The webhook's name.
    pub webhook_name: String,
    /// Slug of the webhook's only resource type; null = every type.
    #[serde(default)]
    pub resource_type: Option<String>,
    /// The reservation of the event; null for access requests.
    pub reservation_id: Option<String>,
    /// The current status.
    pub status: DeliveryStatus,
    /// Whether it is a test event.
    pub test: bool,
    /// Number of attempts started.
    pub attempts: u32,
    /// Maximum number of attempts by the retry policy.
    pub max_attempts: u32,
    /// The last response's status code.
    pub status_code: Option<u16>,
    /// The last attempt's duration in milliseconds.
    pub duration_ms: Option<f64>,
    /// The last attempt's diagnosis in one sentence, when it failed.
    pub problem: Option<String>,
    /// Due time of the next attempt, while pending or retrying.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
    /// The delivery that this one redelivers.
    pub redelivery_of: Option<DeliveryId>,
}

/// The request of an attempt, with secrets redacted. It is the token request if no OAuth token was available.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SentRequest {
    /// Always `POST`.
    pub method: String,
    /// The full URL, as it was called.
    pub url: String,
    /// Headers in the order sent; values of credentials are `••••`.
    pub headers: Vec<Header>,
    /// The exact signed text.
    pub body: String,
    /// Whether the request was sent. It is false if no connection was established.
    #[serde(default = "sent_by_default")]
    pub sent: bool,
}

/// Attempts of early versions have no field `sent`.
fn sent_by_default() -> bool {
    true
}

/// The response of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReceivedResponse {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// Headers in the order received.
    pub headers: Vec<Header>,
    /// The body after decoding of `Content-Encoding`, at most 64 KiB. Invalid UTF-8 is shown as replacement characters,
    /// NUL as `␀`.
    pub body: String,
    /// Whether the body was longer than 64 KiB.
    pub truncated: bool,
    /// Why the body could not be decoded; null if it was.
    pub problem: Option<String>,
}

/// Duration of each step in milliseconds; null for a step that did not happen (reused connection, earlier failure).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Timings {
    /// DNS look-up.
    pub dns_ms: Option<f64>,
    /// TCP connection.
    pub connect_ms: Option<f64>,
    /// TLS handshake.
    pub tls_ms: Option<f64>,
    /// From the sent request to the first byte of the response (TTFB).
    pub first_byte_ms: Option<f64>,
    /// The whole exchange, body included.
    pub total_ms: f64,
    /// Whether a kept-alive connection was reused.
    pub reused: bool,
    /// Whether the request was sent again on a new connection, because a kept-alive connection closed before the first
    /// byte of the response.
    pub resent: bool,
}

/// The cause of a failure; the diagnosis has its remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DiagnosisCode {
    /// 2xx.
    Ok,
    /// 401/403, and the response mentions the signature.
    SignatureRefused,
    /// Any other 401/403: the receiver rejected the API key or token.
    CredentialsRefused,
    /// The response was not complete within the time limit (30 s).
    TimedOut,
    /// The certificate is expired, issued for another name, or signed by an unknown authority.
    CertificateInvalid,
    /// Any other TLS failure.
    TlsFailed,
    /// 429.
    RateLimited,
    /// 404: wrong path.
    NotFound,
    /// 405: the path does not accept POST.
    MethodNotAllowed,
    /// The host name does not resolve.
    DnsFailed,
    /// Nothing listens on the port.
    ConnectionRefused,
    /// The connection broke.
    ConnectionFailed,
    /// The address is private or reserved and not on the operator's allow-list.
    AddressNotAllowed,
    /// The URL begins with `http://`, which is accepted only in development.
    HttpsRequired,
    /// 3xx: redirects are not followed.
    Redirected,
    /// 410: the receiver rejects all further events.
    Gone,
    /// 400/415/422, also inside a 500: the receiver rejected the body.
    BodyRefused,
    /// 413: the body is too large for the receiver.
    TooLargeForReceiver,
    /// The response was longer than 64 KiB.
    ResponseTooLarge,
    /// The response is not valid HTTP.
    NotHttp,
    /// Another 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// The token endpoint issued no access token.
    TokenFailed,
    /// The process ended during the attempt; the outcome is unknown.
    Interrupted,
    /// A cause that only a newer release of Berth knows. The message describes it.
    #[serde(other)]
    Unknown,
}

impl DiagnosisCode {
    /// Every cause of a failure that this release knows.
    pub const FAILURES: [Self; 23] = [
        Self::SignatureRefused,
        Self::CredentialsRefused,
        Self::TimedOut,
        Self::CertificateInvalid,
        Self::TlsFailed,
        Self::RateLimited,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::DnsFailed,
        Self::ConnectionRefused,
        Self::ConnectionFailed,
        Self::AddressNotAllowed,
        Self::HttpsRequired,
        Self::Redirected,
        Self::Gone,
        Self::BodyRefused,
        Self::TooLargeForReceiver,
        Self::ResponseTooLarge,
        Self::NotHttp,
        Self::ClientError,
        Self::ServerError,
        Self::TokenFailed,
        Self::Interrupted,
    ];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The code with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// The cause of a failure and its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Diagnosis {
    /// The cause.
    pub code: DiagnosisCode,
    /// Description of the cause, in one sentence.
    pub message: String,
    /// Remedy, in one or two sentences; `""` on success.
    pub hint: String,
}

impl Diagnosis {
    /// The message for people who may not see the webhook: without host names and addresses of the receiver's network.
    pub fn public_message(&self) -> &str {
        use DiagnosisCode::*;
        match self.code {
            DnsFailed | ConnectionRefused | ConnectionFailed => "The service cannot be reached.",
            AddressNotAllowed | HttpsRequired => "The settings of the webhook do not allow the request.",
            CertificateInvalid | TlsFailed => "The service has no valid TLS certificate or connection.",
            TokenFailed => "The service cannot be called, because no access token was issued.",
            NotHttp => "The response of the service is not valid HTTP.",
            Redirected => "The service redirected the request, and Berth follows no redirects.",
            _ => &self.message,
        }
    }
}

/// One attempt with its request, response, timings and diagnosis; also the result of a test event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// 1, 2, 3, …
    pub attempt: u32,
    /// Start time.
    pub started_at: DateTime<Utc>,
    /// The outcome.
    pub outcome: Outcome,
    /// The response's status code; null without a response.
    pub status_code: Option<u16>,
    /// Duration of the whole exchange in milliseconds.
    pub duration_ms: f64,
    /// Duration of each step.
    pub timings: Timings,
    /// The request.
    pub request: SentRequest,
    /// The response; null when none arrived.
    pub response: Option<ReceivedResponse>,
    /// The diagnosis.
    pub diagnosis: Diagnosis,
    /// What the response does to a reservation, or would do if the event were no test; null without a 2xx response.
    #[serde(default)]
    pub effect: Option<ReceiverResponse>,
}

impl Attempt {
    /// The attempt with the effect of its response to `event`.
    pub fn with_effect(mut self, event: EventType) -> Self {
        let succeeded = self.outcome == Outcome::Succeeded;
        self.effect = self.response.as_ref().zip(self.status_code).filter(|_| succeeded).map(|(response, code)| {
            let is_json = response
                .headers
                .iter()
                .any(|header| header.name.eq_ignore_ascii_case("content-type") && is_json_content_type(&header.value));
            match &response.problem {
                Some(problem) => ReceiverResponse::undecodable(event, problem),
                None => ReceiverResponse::parse(event, code, is_json, response.body.as_bytes()),
            }
        });
        self
    }
}

impl Attempt {
    /// Removes what the receiver has sent, except the status code.
    pub fn withhold_response(&mut self) {
        if let Some(response) = &mut self.response {
            response.headers.clear();
            response.body.clear();
        }
        self.effect = None;
    }

    /// Inserts the delivery's body into a request without one. A token request has its own body.
    pub fn insert_body(&mut self, body: &str) {
        if self.request.body.is_empty() {
            body.clone_into(&mut self.request.body);
        }
    }
}

/// The reason why an open delivery is not being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// The webhook is paused.
    Paused,
    /// The receiver responded with 410, which disabled the webhook.
    Disabled,
    /// An earlier event of the same reservation or access request must end first.
    EarlierEvent,
    /// An attempt failed, and the next one is scheduled.
    ScheduledRetry,
    /// The circuit breaker is open: the receiver does not respond, and one request at a time probes it.
    CircuitOpen,
    /// The webhook has as many requests in flight as its concurrency limit allows.
    ConcurrencyLimit,
    /// The webhook's rate limit is used up for this second.
    RateLimit,
    /// The delivery is due, and the next free dispatcher sends it.
    Queued,
    /// The delivery is due, and no local listener of its webhook is connected (`berth listen`).
    NoListener,
}

/// Why an open delivery is not being sent, with the values of the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryWait {
    /// The reason. Circuit breaker and rate limit are those of the process that responds.
    pub reason: WaitReason,
    /// `scheduled_retry`: time of the next attempt.
    pub until: Option<DateTime<Utc>>,
    /// `earlier_event`: the delivery that must end first.
    pub behind: Option<DeliveryId>,
    /// `concurrency_limit`: requests at once; `rate_limit`: requests per second.
    pub limit: Option<u32>,
}

impl DeliveryWait {
    /// A reason without values.
    pub fn new(reason: WaitReason) -> Self {
        Self { reason, until: None, behind: None, limit: None }
    }
}

/// Response of `GET /api/v1/deliveries/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryDetail {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: DeliverySummary,
    /// The signed body.
    pub body: String,
    /// The recorded attempts, oldest first (`attempts` is their number).
    pub attempt_log: Vec<Attempt>,
    /// The newest 50 deliveries that redeliver this one, newest first.
    pub redeliveries: Vec<DeliverySummary>,
    /// The `cursor` of `GET /api/v1/deliveries?redelivery_of={id}` for older redeliveries; null if there are none.
    pub redeliveries_next_cursor: Option<String>,
    /// Whether the webhook was deleted, so that the delivery cannot be redelivered.
    pub webhook_deleted: bool,
    /// Whether headers and bodies of responses are withheld from the caller, because access information in them is hidden
    /// before the start of the reservation.
    pub responses_withheld: bool,
    /// Why the delivery is not being sent; null unless it is pending or retrying.
    pub waiting: Option<DeliveryWait>,
}

impl<'de> Deserialize<'de> for DeliveryDetail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let body = crate::json::take_field(&mut fields, "body")?;
        let attempt_log = crate::json::take_field(&mut fields, "attempt_log")?;
        let redeliveries = crate::json::take_field_or_default(&mut fields, "redeliveries")?;
        let redeliveries_next_cursor = crate::json::take_field_or_default(&mut fields, "redeliveries_next_cursor")?;
        let webhook_deleted = crate::json::take_field_or_default(&mut fields, "webhook_deleted")?;
        let responses_withheld = crate::json::take_field_or_default(&mut fields, "responses_withheld")?;
        let waiting = crate::json::take_field_or_default(&mut fields, "waiting")?;
        let delivery = crate::json::from_object(fields)?;
        Ok(Self {
            delivery,
            body,
            attempt_log,
            redeliveries,
            redeliveries_next_cursor,
            webhook_deleted,
            responses_withheld,
            waiting,
        })
    }
}

/// Filters of `GET /api/v1/deliveries` and of a replay. Unknown filters are rejected: an ignored filter would
/// replay too many deliveries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams, utoipa::ToSchema), into_params(parameter_in = Query))]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryFilter {
    /// Deliveries to this webhook.
    pub webhook_id: Option<WebhookId>,
    /// Deliveries of this event type.
    pub event_type: Option<EventType>,
    /// Deliveries with this status.
    pub status: Option<DeliveryStatus>,
    /// Deliveries of this reservation.
    pub reservation_id: Option<String>,
    /// Redeliveries of this delivery.
    // Absent unless it is set: during an upgrade, a replica of the previous release rejects it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redelivery_of: Option<DeliveryId>,
    /// Deliveries that this replay has queued.
    // Absent unless it is set, as `redelivery_of`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayId>,
    /// Deliveries created at or after this time.
    #[serde(deserialize_with = "crate::timestamp::deserialize_optional")]
    pub since: Option<DateTime<Utc>>,
    /// Deliveries created before this time.
    #[serde(deserialize_with = "crate::timestamp::deserialize_optional")]
    pub until: Option<DateTime<Utc>>,
    /// Deliveries that this search finds, e.g. `status:failed code:5xx -error:timeout "no free node"`. The keys are in the
    /// documentation of deliveries.
    // Absent unless it is set, as `redelivery_of`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
}

/// How far the index of searches reaches. It follows the log within seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IndexState {
    /// Whether every delivery of the log is in the index. If not, searches, failures and metrics lack the rest.
    pub complete: bool,
    /// Creation time of the newest delivery in the index; null while it is empty.
    pub until: Option<DateTime<Utc>>,
    /// Number of deliveries that are not in the index yet.
    pub behind: u64,
    /// Whether texts of requests, responses and diagnoses can be searched (`BERTH_SEARCH_TEXT`).
    pub text: bool,
}

/// The number of deliveries that match a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryCount {
    /// The number, at most 10,000.
    pub count: u64,
    /// Whether there are more than `count`.
    pub more: bool,
    /// How far the index reaches in which the deliveries were counted.
    pub index: IndexState,
}

/// Failed deliveries of one webhook with one cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FailureGroup {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// Its name.
    pub webhook_name: String,
    /// Whether the webhook was deleted, so that the deliveries cannot be redelivered.
    pub webhook_deleted: bool,
    /// The cause of the last attempt; null if no attempt was recorded.
    pub cause: Option<DiagnosisCode>,
    /// The diagnosis of the newest of the deliveries, in one sentence.
    pub problem: Option<String>,
    /// Number of failed deliveries.
    pub count: u64,
    /// Number of them that were not redelivered yet.
    pub unresolved: u64,
    /// Time of the first failure.
    pub first_at: DateTime<Utc>,
    /// Time of the last failure.
    pub last_at: DateTime<Utc>,
    /// Number of affected reservations and access requests.
    pub reservations: u64,
    /// Number of users who reserved, or who requested access.
    pub users: u64,
    /// Number of failures in each of the 24 equal parts of the period, oldest first.
    pub series: Vec<u64>,
    /// The search that finds exactly these deliveries within the period.
    pub q: String,
}

/// Response of `GET /api/v1/deliveries/failures`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Failures {
    /// Start of the period.
    pub since: DateTime<Utc>,
    /// End of the period, exclusive.
    pub until: DateTime<Utc>,
    /// The groups, those with the latest failures first; at most 200.
    pub groups: Vec<FailureGroup>,
    /// How far the index reaches from which the groups were counted.
    pub index: IndexState,
}

/// The kind of an object that an id belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LookupKind {
    /// A delivery.
    Delivery,
    /// An event, which can have deliveries to several webhooks.
    Event,
    /// A reservation.
    Reservation,
    /// An access request.
    AccessRequest,
    /// A webhook.
    Webhook,
    /// A request to this server, which the audit log contains.
    Request,
}

/// An object with its page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lookup {
    /// The kind of object.
    pub kind: LookupKind,
    /// Its whole id.
    pub id: String,
    /// The path of its page, e.g. `/deliveries/dlv_…`.
    pub link: String,
}

/// The format of an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// Comma-separated values with a header line (RFC 4180).
    #[default]
    Csv,
    /// One JSON object per line, each a delivery as in the list.
    Jsonl,
}

/// Body of `POST /api/v1/deliveries/replay`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReplayInput {
    /// The deliveries to replay; failed ones unless `status` is set, or `q` selects a status.
    pub filter: DeliveryFilter,
    /// Count the matching deliveries without redelivering them.
    #[serde(default)]
    pub dry_run: bool,
}

/// The result of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplayResult {
    /// Number of matching deliveries that can be redelivered.
    pub matched: u64,
    /// Number of new deliveries (0 on a dry run, at most 10,000).
    pub redelivered: u64,
    /// The other deliveries that match the filter. They are never part of a replay.
    #[serde(default)]
    pub skipped: ReplaySkipped,
    /// The same numbers for each webhook with matching deliveries, by name.
    #[serde(default)]
    pub webhooks: Vec<ReplayWebhook>,
}

/// The part of a replay that concerns one webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplayWebhook {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// Its name.
    pub webhook_name: String,
    /// Whether it is paused: redeliveries wait until it is resumed.
    pub paused: bool,
    /// Number of matching deliveries that can be redelivered.
    pub matched: u64,
    /// Number of them after which a later event of the same reservation succeeded. The receiver gets an older state again.
    pub superseded: u64,
    /// The other deliveries that match the filter.
    pub skipped: ReplaySkipped,
}

/// Numbers of deliveries that match the filter of a replay, but are not redelivered. Each is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplaySkipped {
    /// They were redelivered before.
    pub redelivered: u64,
    /// They are test events.
    pub test: u64,
    /// Their webhook was deleted.
    pub webhook_deleted: u64,
    /// Active reservations that the filter of the webhook excludes. Only for events that were never sent.
    #[serde(default)]
    pub filtered: u64,
    /// Active reservations of which the webhook has a delivery. Only for events that were never sent.
    #[serde(default)]
    pub already_sent: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn detail() -> Value {
        json!({
            "id": "dlv_1", "event_id": "evt_1", "event_type": "reservation.created", "webhook_id": 7,
            "webhook_name": "GPU", "reservation_id": null, "status": "retrying", "test": false, "attempts": 2,
            "max_attempts": 4, "status_code": 503, "duration_ms": 12.0, "problem": "503", "next_attempt_at": null,
            "created_at": "2026-11-24T10:00:00Z", "updated_at": "2026-11-24T10:00:01.500Z", "redelivery_of": null,
            "body": "{}",
            "attempt_log": [{
                "delivery_id": "dlv_1", "attempt": 1, "started_at": "2026-11-24T10:00:00Z", "outcome": "failed",
                "status_code": null, "duration_ms": 0.25, "timings": { "dns_ms": 0.1, "total_ms": 1 },
                "request": { "method": "POST", "url": "https://a.example/", "headers": [], "body": "{}" },
                "response": null, "diagnosis": { "code": "dns_failed", "message": "m", "hint": "h" },
            }],
            "redeliveries": [], "redeliveries_next_cursor": "MQ", "webhook_deleted": false, "responses_withheld": false,
            "waiting": { "reason": "scheduled_retry", "until": "2026-11-24T10:00:02Z", "behind": null, "limit": null },
        })
    }

    #[test]
    fn delivery_detail_contains_the_fields_of_the_delivery() {
        let detail: DeliveryDetail = serde_json::from_value(detail()).unwrap();
        assert_eq!((detail.delivery.attempts, detail.attempt_log.len()), (2, 1));
        assert_eq!(detail.attempt_log[0].timings, Timings { dns_ms: Some(0.1), total_ms: 1.0, ..Default::default() });
        assert_eq!(detail.redeliveries_next_cursor.as_deref(), Some("MQ"));
        let text = serde_json::to_string(&detail).unwrap();
        assert_eq!(serde_json::from_str::<DeliveryDetail>(&text).unwrap(), detail);
    }

    #[test]
    fn delivery_detail_of_the_previous_release_is_read() {
        let mut value = detail();
        let added = ["redeliveries", "redeliveries_next_cursor", "webhook_deleted", "responses_withheld", "waiting"];
        for field in added {
            value.as_object_mut().unwrap().remove(field);
        }
        let detail: DeliveryDetail = serde_json::from_value(value).unwrap();
        assert_eq!(
            (detail.redeliveries.len(), detail.redeliveries_next_cursor, detail.webhook_deleted, detail.waiting),
            (0, None, false, None)
        );
    }

    #[test]
    fn unset_filter_is_accepted_by_the_previous_release() {
        let sent = serde_json::to_value(DeliveryFilter::default()).unwrap();
        assert!(!sent.as_object().unwrap().contains_key("redelivery_of"), "{sent}");
    }

    #[test]
    fn delivery_detail_without_attempt_log_is_rejected() {
        let mut value = detail();
        value.as_object_mut().unwrap().remove("attempt_log");
        assert!(serde_json::from_value::<DeliveryDetail>(value).is_err());
    }
}
