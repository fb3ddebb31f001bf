//! Webhooks: an endpoint with what it wants to be told and how it is authenticated to.

use crate::event::EventType;
use crate::id::WebhookId;
use crate::problem::{Problem, Validator};
use crate::retry::RetryPolicy;
use crate::routing::DeliveryPaths;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};

/// How Berth authenticates to the receiver, as entered (with secrets).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum AuthInput {
    /// Signature only.
    None,
    /// A header with a key.
    ApiKey {
        /// `X-API-Key` when absent; with `Authorization` write the key as `Bearer …`.
        #[serde(default = "default_key_header")]
        header: String,
        /// The key; in a PATCH, absent or empty keeps the stored one.
        #[serde(default)]
        key: String,
    },
    /// OAuth 2.0 client credentials (RFC 6749 §4.4).
    Oauth2 {
        /// Where tokens come from.
        token_url: String,
        /// The client.
        client_id: String,
        /// Its secret; in a PATCH, absent or empty keeps the stored one.
        #[serde(default)]
        client_secret: String,
        /// Space-separated scopes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        /// Audience, where the server wants one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audience: Option<String>,
    },
}

impl std::fmt::Debug for AuthInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.redacted().fmt(f)
    }
}

/// `X-API-Key`, the default header of [`AuthInput::ApiKey`].
pub fn default_key_header() -> String {
    "X-API-Key".to_owned()
}

/// [`AuthInput`] without its secrets, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum AuthView {
    /// Signature only.
    None,
    /// A header with a key.
    ApiKey {
        /// The header's name.
        header: String,
    },
    /// OAuth 2.0 client credentials.
    Oauth2 {
        /// Where tokens come from.
        token_url: String,
        /// The client.
        client_id: String,
        /// Space-separated scopes.
        scope: Option<String>,
        /// Audience.
        audience: Option<String>,
    },
}

impl AuthInput {
    /// The same without secrets.
    pub fn redacted(&self) -> AuthView {
        match self {
            Self::None => AuthView::None,
            Self::ApiKey { header, .. } => AuthView::ApiKey { header: header.clone() },
            Self::Oauth2 { token_url, client_id, scope, audience, .. } => AuthView::Oauth2 {
                token_url: token_url.clone(),
                client_id: client_id.clone(),
                scope: scope.clone(),
                audience: audience.clone(),
            },
        }
    }
}

/// A header of the administrator's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Header {
    /// Its name, a token of RFC 9110.
    pub name: String,
    /// Its value; visible in the UI.
    pub value: String,
}

/// `POST /api/v1/webhooks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WebhookInput {
    /// 1 to 100 characters.
    pub name: String,
    /// See [`crate::endpoint::check_url`].
    pub endpoint_url: String,
    /// The slug of a type; null = every type.
    #[serde(default)]
    pub resource_type: Option<String>,
    /// At least one.
    pub events: Vec<EventType>,
    /// How Berth authenticates.
    pub auth: AuthInput,
    /// The guide's layout when absent.
    #[serde(default)]
    pub delivery_paths: Option<DeliveryPaths>,
    /// Generated when absent.
    #[serde(default)]
    pub secret: Option<String>,
    /// At most 20 headers of one's own.
    #[serde(default)]
    pub headers: Vec<Header>,
    /// 1, 2, 4 s when absent.
    #[serde(default)]
    pub retry: Option<RetryPolicy>,
    /// True when absent.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Requests at once, 1 to 2,000; 64 when absent.
    #[serde(default)]
    pub max_in_flight: Option<u32>,
    /// Requests a second, 1 to 10,000; no limit when absent.
    #[serde(default)]
    pub rate_limit: Option<u32>,
    /// Whether `webhook-signature` also carries a `v1a` (Ed25519) signature, which a receiver verifies with a public key;
    /// false when absent.
    #[serde(default)]
    pub ed25519: Option<bool>,
    /// Whether its answers, failures and status updates drive the reservation's provisioning status; true when absent.
    /// False for services that only listen, such as an inventory or a chat.
    #[serde(default)]
    pub provisions: Option<bool>,
}

/// `PATCH /api/v1/webhooks/{id}`; absent fields stay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct WebhookPatch {
    /// 1 to 100 characters.
    pub name: Option<String>,
    /// See [`crate::endpoint::check_url`].
    pub endpoint_url: Option<String>,
    /// The slug of a type; null = every type; absent = as it is.
    #[serde(deserialize_with = "double_option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub resource_type: Option<Option<String>>,
    /// At least one.
    pub events: Option<Vec<EventType>>,
    /// How Berth authenticates; empty secrets keep the stored ones.
    pub auth: Option<AuthInput>,
    /// Where events go.
    pub delivery_paths: Option<DeliveryPaths>,
    /// Own headers.
    pub headers: Option<Vec<Header>>,
    /// Retry policy.
    pub retry: Option<RetryPolicy>,
    /// On or off.
    pub enabled: Option<bool>,
    /// Requests at once, 1 to 2,000.
    pub max_in_flight: Option<u32>,
    /// Requests a second, 1 to 10,000; null = no limit; absent = as it is.
    #[serde(deserialize_with = "double_option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
    pub rate_limit: Option<Option<u32>>,
    /// Turns the `v1a` (Ed25519) signature on, with a new key, or off.
    pub ed25519: Option<bool>,
    /// Whether its answers drive provisioning.
    pub provisions: Option<bool>,
}

/// Tells `null` (`Some(None)`) from absent (`None`).
fn double_option<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// Why a webhook does not deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WebhookState {
    /// It delivers.
    Enabled,
    /// An administrator paused it; events are kept.
    Paused,
    /// The receiver answered 410 Gone; events are kept, resume to enable.
    Gone,
}

impl WebhookState {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Paused => "paused",
            Self::Gone => "gone",
        }
    }

    /// The state with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Enabled, Self::Paused, Self::Gone].into_iter().find(|s| s.as_str() == text)
    }
}

/// How a webhook is doing, at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WebhookHealth {
    /// Nothing was sent in the window.
    Unknown,
    /// At least 99 % of deliveries succeeded and none failed last.
    Healthy,
    /// Some fail.
    Degraded,
    /// The last five attempts failed, or fewer than half succeed.
    Failing,
}

/// The last 24 hours of a webhook, for the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookSummary {
    /// How it is doing.
    pub health: WebhookHealth,
    /// Deliveries that ended in the window.
    pub deliveries: u64,
    /// Succeeded / ended, 0.0 to 1.0; null without deliveries.
    pub success_rate: Option<f64>,
    /// 95th percentile of attempts' duration, in milliseconds.
    pub p95_ms: Option<f64>,
    /// When the last attempt ended.
    pub last_delivery_at: Option<DateTime<Utc>>,
    /// How the last one stands.
    pub last_status: Option<crate::delivery::DeliveryStatus>,
    /// Deliveries that wait (pending or retrying).
    pub waiting: u64,
}

/// A webhook as shown; no secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Webhook {
    /// A positive integer.
    pub id: WebhookId,
    /// Its name.
    pub name: String,
    /// Its endpoint.
    pub endpoint_url: String,
    /// The slug of a type; null = every type.
    pub resource_type: Option<String>,
    /// What it is told.
    pub events: Vec<EventType>,
    /// How Berth authenticates, without secrets.
    pub auth: AuthView,
    /// Where events go.
    pub delivery_paths: DeliveryPaths,
    /// Own headers.
    pub headers: Vec<Header>,
    /// Retry policy.
    pub retry: RetryPolicy,
    /// Requests at once.
    pub max_in_flight: u32,
    /// Requests a second.
    pub rate_limit: Option<u32>,
    /// Whether its answers, failures and status updates drive the reservation's provisioning status.
    pub provisions: bool,
    /// Whether it delivers (`state` is `enabled`).
    pub enabled: bool,
    /// Why not, if not.
    pub state: WebhookState,
    /// The last characters of the secret, at most four and at most a quarter of it, to tell secrets apart.
    pub secret_hint: String,
    /// The public key (`whpk_…`) that verifies its `v1a` signatures, where it has them.
    pub public_key: Option<String>,
    /// Until when the previous secret, and the previous Ed25519 key, sign too.
    pub previous_secret_until: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When its settings last changed.
    pub updated_at: DateTime<Utc>,
    /// The last 24 hours.
    pub summary: WebhookSummary,
}

/// A webhook with its secret: the answer to its creation and to a rotation, the only times it is shown.
#[derive(Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookWithSecret {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// The signing secret.
    pub secret: String,
}

impl<'de> Deserialize<'de> for WebhookWithSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = serde_json::Map::deserialize(deserializer)?;
        let secret = crate::json::take(&mut fields, "secret")?;
        Ok(Self { webhook: crate::json::rest(fields)?, secret })
    }
}

/// `POST /api/v1/webhooks/{id}/rotate-secret`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RotateInput {
    /// 0 to 168 hours during which the old secret signs too; 24 when absent.
    pub overlap_hours: Option<u32>,
    /// The new secret, generated when absent.
    pub secret: Option<String>,
}

/// `POST /api/v1/webhooks/{id}/resume`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ResumeInput {
    /// Drop what waited instead of delivering it.
    pub drop_pending: bool,
}

/// `POST /api/v1/webhooks/{id}/test`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TestInput {
    /// The first ticked event when absent.
    pub event_type: Option<EventType>,
}

/// The window of `GET /api/v1/webhooks/{id}/stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StatsWindow {
    /// The last hour, by the minute.
    #[serde(rename = "1h")]
    Hour,
    /// The last day, by the half hour.
    #[serde(rename = "24h")]
    Day,
    /// The last week, by three hours.
    #[serde(rename = "7d")]
    Week,
}

impl StatsWindow {
    /// Its length in seconds.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 604_800,
        }
    }

    /// The length of one point of the series in seconds.
    pub fn step(self) -> i64 {
        match self {
            Self::Hour => 60,
            Self::Day => 1_800,
            Self::Week => 10_800,
        }
    }
}

/// The answer of `GET /api/v1/webhooks/{id}/stats`. Test events do not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookStats {
    /// The window asked for.
    pub window: StatsWindow,
    /// Deliveries that succeeded.
    pub succeeded: u64,
    /// Deliveries that failed for good.
    pub failed: u64,
    /// Attempts made.
    pub attempts: u64,
    /// failed / (succeeded + failed); null without any.
    pub error_rate: Option<f64>,
    /// Percentiles of attempts' duration in milliseconds.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// The window in equal steps, oldest first.
    pub series: Vec<StatsPoint>,
}

/// One step of the series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatsPoint {
    /// The step's beginning.
    pub at: DateTime<Utc>,
    /// Deliveries that succeeded in it.
    pub succeeded: u64,
    /// Deliveries that failed for good in it.
    pub failed: u64,
    /// 95th percentile of attempts' duration in it, in milliseconds.
    pub p95_ms: Option<f64>,
}

/// Headers that an administrator's own may not override (docs/contract.md §1), in lower case.
pub const RESERVED_HEADERS: [&str; 17] = [
    "x-webhook-signature",
    "x-webhook-event",
    "x-webhook-delivery",
    "x-webhook-attempt",
    "x-webhook-test",
    "x-webhook-id",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "authorization",
    "content-type",
    "content-length",
    "transfer-encoding",
    "connection",
    "host",
    "user-agent",
    "te",
];

/// Checks everything of a webhook that needs no database; the same code runs in the form. `needs_secrets` is false in a
/// PATCH, where empty auth secrets keep the stored ones.
///
/// # Errors
/// [`crate::ProblemKind::Invalid`] naming every field at fault: `name`, `endpoint_url`, `events`, `auth.key`,
/// `delivery_paths.paths.<event>`, `headers.<n>.name`, `retry.waits` …
pub fn check(input: &WebhookInput, policy: &crate::endpoint::UrlPolicy, needs_secrets: bool) -> Result<(), Problem> {
    let mut validator = Validator::new();
    validator.check("name", crate::validation::name(&input.name));
    let url = validator.check("endpoint_url", crate::endpoint::check_url(&input.endpoint_url, policy));
    if input.events.is_empty() {
        validator.error("events", "Tick at least one event.");
    }
    check_auth(&mut validator, &input.auth, policy, needs_secrets);
    let paths = input.delivery_paths.clone().unwrap_or_default();
    match paths.check() {
        Err(faults) => {
            for (event, message) in faults {
                validator.error(format!("delivery_paths.paths.{event}"), message);
            }
        }
        Ok(()) => {
            let too_long = |event: &EventType| paths.url(&input.endpoint_url, *event).len() > crate::endpoint::MAX_URL;
            if url.is_some() && input.events.iter().any(too_long) {
                validator.error("endpoint_url", "With its delivery path the URL is longer than 2048 characters.");
            }
        }
    }
    if let Some(secret) = &input.secret {
        validator.check("secret", crate::signature::Secret::parse(secret));
    }
    check_headers(&mut validator, &input.headers, &input.auth);
    if let Some(retry) = &input.retry {
        validator.check("retry.waits", retry.check());
    }
    if input.max_in_flight.is_some_and(|n| !(1..=2_000).contains(&n)) {
        validator.error("max_in_flight", "Choose 1 to 2000 requests at once.");
    }
    if input.rate_limit.is_some_and(|n| !(1..=10_000).contains(&n)) {
        validator.error("rate_limit", "Choose 1 to 10000 requests a second, or leave it empty for no limit.");
    }
    validator.finish()
}

fn check_auth(validator: &mut Validator, auth: &AuthInput, policy: &crate::endpoint::UrlPolicy, needs_secrets: bool) {
    match auth {
        AuthInput::None => {}
        AuthInput::ApiKey { header, key } => {
            if let Err(message) = crate::validation::header_name(header) {
                validator.error("auth.header", message);
            } else {
                let lower = header.to_ascii_lowercase();
                if lower != "authorization" && RESERVED_HEADERS.contains(&lower.as_str()) {
                    validator.error("auth.header", "Berth sets this header itself. Choose another, e.g. X-API-Key.");
                }
            }
            if key.is_empty() && needs_secrets {
                validator.error("auth.key", "Enter the key that your service expects.");
            }
            validator.check("auth.key", crate::validation::header_value(key));
        }
        AuthInput::Oauth2 { token_url, client_id, client_secret, scope, audience } => {
            validator.check("auth.token_url", crate::endpoint::check_url(token_url, policy));
            if client_id.trim().is_empty() {
                validator.error("auth.client_id", "Enter the client id.");
            }
            validator.check("auth.client_id", crate::validation::text(client_id, 255));
            if client_secret.is_empty() && needs_secrets {
                validator.error("auth.client_secret", "Enter the client secret.");
            }
            validator.check("auth.client_secret", crate::validation::text(client_secret, 1_000));
            validator.check("auth.scope", crate::validation::text(scope.as_deref().unwrap_or_default(), 1_000));
            validator.check("auth.audience", crate::validation::text(audience.as_deref().unwrap_or_default(), 1_000));
        }
    }
}

fn check_headers(validator: &mut Validator, headers: &[Header], auth: &AuthInput) {
    if headers.len() > 20 {
        validator.error("headers", "At most 20 headers.");
    }
    let auth_header = match auth {
        AuthInput::ApiKey { header, .. } => header.to_ascii_lowercase(),
        _ => String::new(),
    };
    let mut seen: Vec<String> = Vec::new();
    for (n, header) in headers.iter().enumerate() {
        let lower = header.name.to_ascii_lowercase();
        if validator.check(format!("headers.{n}.name"), crate::validation::header_name(&header.name)).is_some() {
            if RESERVED_HEADERS.contains(&lower.as_str()) || lower == auth_header {
                validator.error(format!("headers.{n}.name"), "Berth sets this header itself. Choose another name.");
            } else if seen.contains(&lower) {
                validator.error(format!("headers.{n}.name"), "This header is there twice. Remove one.");
            }
        }
        validator.check(format!("headers.{n}.value"), crate::validation::header_value(&header.value));
        seen.push(lower);
    }
}
