//! Webhooks: an endpoint, its event triggers, its credentials and its delivery settings.

mod auth;
mod credentials;
mod filter;
mod listener;
mod monitoring;
mod provision;
mod stats;
mod tls;
mod validate;

pub use auth::{AuthInput, AuthView, default_key_header};
pub use credentials::{CustomHeader, StoredCredentials, is_secret_header};
pub use filter::{EventFilter, FieldCondition, FilterOperator, FilterSubject};
pub use listener::{
    CONNECTED_SECONDS, DeliveryMode, ForwardedResponse, ListenerClaimInput, ListenerConnection, ListenerDeliveries,
    ListenerDelivery, ListenerRecorded, ListenerResult, LocalListener, MAX_CLAIMED, MAX_RESULT_BODY,
    MAX_RESULT_HEADERS, MAX_WAIT_SECONDS,
};
pub use monitoring::{
    AutomaticPause, CertificateStatus, DEFAULT_HEALTH_INTERVAL, HEALTH_INTERVAL, HealthCheck, HealthCheckStatus,
    MonitoringPatch, MonitoringSettings, PAUSE_AFTER_MINUTES, RecoverInput, TokenStatus, WebhookMonitoring,
    WebhookRule, failure_start, has_recovered, health_url,
};
pub use provision::ProvisionTime;
pub use stats::{StatsPoint, StatsWindow, WebhookHealth, WebhookStats, WebhookSummary};
pub use tls::{CertificateDetails, MAX_PEM, TlsInput, TlsView, normalized_certificates};
pub use validate::{RESERVED_HEADERS, check, check_new_secret};

use crate::event::EventType;
use crate::id::WebhookId;
use crate::payload::PayloadFormat;
use crate::redacted_debug;
use crate::retry::RetryPolicy;
use crate::routing::DeliveryPaths;
use crate::signature::Jwk;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};

/// Body of `POST /api/v1/webhooks`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WebhookInput {
    /// 1 to 100 characters.
    pub name: String,
    /// The endpoint URL (docs/contract.md §5).
    pub endpoint_url: String,
    /// The slug of a type; null = every type.
    #[serde(default)]
    pub resource_type: Option<String>,
    /// At least one.
    pub events: Vec<EventType>,
    /// Authentication.
    pub auth: AuthInput,
    /// Delivery paths; a path per event when absent.
    #[serde(default)]
    pub delivery_paths: Option<DeliveryPaths>,
    /// Signing secret; generated when absent.
    #[serde(default)]
    pub secret: Option<String>,
    /// At most 20 custom headers.
    #[serde(default)]
    pub headers: Vec<CustomHeader>,
    /// Retry policy; delays of 1, 2 and 4 s when absent.
    #[serde(default)]
    pub retry: Option<RetryPolicy>,
    /// Whether events are delivered; true when absent.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Concurrent requests, 1 to 2,000; 64 when absent.
    #[serde(default)]
    pub max_in_flight: Option<u32>,
    /// Requests per second, 1 to 10,000; no limit when absent.
    #[serde(default)]
    pub rate_limit: Option<u32>,
    /// Whether `webhook-signature` also contains a `v1a` (Ed25519) signature, verified with a public key; false when
    /// absent.
    #[serde(default)]
    pub ed25519: Option<bool>,
    /// Whether its responses, failures and status updates change the reservation's provisioning status; true when
    /// absent. False for services that do not provision, such as an inventory or a chat bot.
    #[serde(default)]
    pub provisions: Option<bool>,
    /// The form of the payload; `berth` when absent.
    #[serde(default)]
    pub payload_format: Option<PayloadFormat>,
    /// Limits its events by resource and configuration; every event when absent.
    #[serde(default)]
    pub filter: Option<EventFilter>,
    /// How deliveries reach the receiver; `http` when absent. It cannot be changed later.
    // Absent unless it is set: during an upgrade, a replica of the previous release rejects it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_mode: Option<DeliveryMode>,
    /// Client certificate (mutual TLS) and trusted authorities; none when absent. In a check of a stored webhook before it is
    /// saved, the stored ones when absent.
    // Absent unless it is set: during an upgrade, a replica of the previous release rejects it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsInput>,
    /// When it receives `reservation.created`; `booking` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provision: Option<ProvisionTime>,
}

impl WebhookInput {
    /// A webhook for the events of [`EventType::DEFAULT`] of every resource type, with the defaults of all other settings.
    pub fn new(name: impl Into<String>, endpoint_url: impl Into<String>, auth: AuthInput) -> Self {
        Self {
            name: name.into(),
            endpoint_url: endpoint_url.into(),
            resource_type: None,
            events: EventType::DEFAULT.to_vec(),
            auth,
            delivery_paths: None,
            secret: None,
            headers: Vec::new(),
            retry: None,
            enabled: None,
            max_in_flight: None,
            rate_limit: None,
            ed25519: None,
            provisions: None,
            payload_format: None,
            filter: None,
            delivery_mode: None,
            tls: None,
            provision: None,
        }
    }
}

redacted_debug!(WebhookInput { name, endpoint_url, resource_type, events, auth, delivery_paths, headers, retry, enabled, max_in_flight, rate_limit, ed25519, provisions, payload_format, filter, delivery_mode, tls, provision } hides { secret });

/// Body of `PATCH /api/v1/webhooks/{id}`; absent fields are unchanged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct WebhookPatch {
    /// 1 to 100 characters.
    pub name: Option<String>,
    /// The endpoint URL (docs/contract.md §5).
    pub endpoint_url: Option<String>,
    /// The slug of a type; null = every type; absent = unchanged.
    #[serde(deserialize_with = "double_option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub resource_type: Option<Option<String>>,
    /// At least one.
    pub events: Option<Vec<EventType>>,
    /// Authentication; empty secrets keep the stored ones. They are required again with another origin (scheme, host,
    /// port) of `endpoint_url` or `auth.token_url`, or another `auth.header`.
    pub auth: Option<AuthInput>,
    /// The URL of each event.
    pub delivery_paths: Option<DeliveryPaths>,
    /// Custom headers; empty secret values keep the stored ones. They are required again with another origin of
    /// `endpoint_url`.
    pub headers: Option<Vec<CustomHeader>>,
    /// Retry policy.
    pub retry: Option<RetryPolicy>,
    /// Enables or pauses the webhook.
    pub enabled: Option<bool>,
    /// Concurrent requests, 1 to 2,000.
    pub max_in_flight: Option<u32>,
    /// Requests per second, 1 to 10,000; null = no limit; absent = unchanged.
    #[serde(deserialize_with = "double_option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>))]
    pub rate_limit: Option<Option<u32>>,
    /// Turns the `v1a` (Ed25519) signature on (with a new key) or off.
    pub ed25519: Option<bool>,
    /// Whether its responses update the reservation.
    pub provisions: Option<bool>,
    /// The form of the payload. Queued deliveries and redeliveries keep theirs.
    // Absent unless it is set: during an upgrade, a replica of the previous release rejects it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_format: Option<PayloadFormat>,
    /// Limits its events by resource and configuration; `{}` = every event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<EventFilter>,
    /// Client certificate (mutual TLS) and trusted authorities, which replace the stored ones; `{}` = none. An empty
    /// `client_key` keeps the stored one if it belongs to the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsInput>,
    /// When it receives `reservation.created` of reservations that are made from now on. Held events stay held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provision: Option<ProvisionTime>,
}

/// Distinguishes `null` (`Some(None)`) from an absent field (`None`).
fn double_option<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// The status of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum WebhookState {
    /// Events are delivered.
    Enabled,
    /// An administrator paused it. Events are queued.
    Paused,
    /// Disabled after the receiver responded 410 Gone. Events are queued; resume the webhook to deliver them.
    Gone,
}

impl WebhookState {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The state with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A webhook without its secrets.
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
    /// Its event triggers.
    pub events: Vec<EventType>,
    /// Authentication, without secrets.
    pub auth: AuthView,
    /// The URL of each event.
    pub delivery_paths: DeliveryPaths,
    /// Custom headers, without secret values.
    pub headers: Vec<CustomHeader>,
    /// Retry policy.
    pub retry: RetryPolicy,
    /// Concurrency limit.
    pub max_in_flight: u32,
    /// Rate limit in requests per second; null = no limit.
    pub rate_limit: Option<u32>,
    /// Whether its responses, failures and status updates change the reservation's provisioning status.
    pub provisions: bool,
    /// The form of the payload.
    #[serde(default)]
    pub payload_format: PayloadFormat,
    /// The events that it receives, by resource and configuration; `{}` = every event.
    #[serde(default)]
    pub filter: EventFilter,
    /// How deliveries reach the receiver.
    #[serde(default)]
    pub delivery_mode: DeliveryMode,
    /// When it receives `reservation.created`.
    #[serde(default)]
    pub provision: ProvisionTime,
    /// With the delivery mode `local`: the listener that connected last; null without one.
    #[serde(default)]
    pub listener: Option<LocalListener>,
    /// Client certificate and trusted authorities, without the private key; null without them.
    #[serde(default)]
    pub tls: Option<TlsView>,
    /// Whether events are delivered (`state` is `enabled`).
    pub enabled: bool,
    /// The status.
    pub state: WebhookState,
    /// The last characters of the secret: at most four, and at most a quarter of it.
    pub secret_hint: String,
    /// The public key (`whpk_…`) for its `v1a` signatures, if it has them.
    pub public_key: Option<String>,
    /// Latest of `previous_secrets_until`; null if only the current secret signs.
    pub previous_secret_until: Option<DateTime<Utc>>,
    /// End of each previous secret, with its Ed25519 key, that also signs; latest first.
    #[serde(default)]
    pub previous_secrets_until: Vec<DateTime<Utc>>,
    /// During the overlap of a rotation: the secrets by which the receiver has verified requests since, as its responses
    /// report them; null otherwise.
    #[serde(default)]
    pub secret_use: Option<SecretUse>,
    /// Time since which the secret is the current one: of its rotation, or of the creation of the webhook.
    // Optional, because a replica of the previous release does not send it during an upgrade.
    #[serde(default)]
    pub secret_changed_at: Option<DateTime<Utc>>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Time of the last change to its settings.
    pub updated_at: DateTime<Utc>,
    /// Summary of the last 24 hours.
    pub summary: WebhookSummary,
}

/// Beginning of the names of the webhooks of the built-in sample receiver. It stops provisioning a type as soon as
/// another webhook does.
pub const SAMPLE_RECEIVER: &str = "Sample receiver";

impl Webhook {
    /// The settings, with empty secrets, which stand for the stored ones.
    pub fn settings(&self) -> WebhookInput {
        let auth = match self.auth.clone() {
            AuthView::None => AuthInput::None,
            AuthView::ApiKey { header } => AuthInput::ApiKey { header, key: String::new() },
            AuthView::Oauth2 { token_url, client_id, scope, audience } => {
                AuthInput::Oauth2 { token_url, client_id, client_secret: String::new(), scope, audience }
            }
        };
        WebhookInput {
            resource_type: self.resource_type.clone(),
            events: self.events.clone(),
            delivery_paths: Some(self.delivery_paths.clone()),
            headers: self.headers.clone(),
            payload_format: Some(self.payload_format),
            provision: (self.provision != ProvisionTime::Booking).then_some(self.provision),
            delivery_mode: (self.delivery_mode != DeliveryMode::Http).then_some(self.delivery_mode),
            tls: self.tls.as_ref().map(TlsView::settings),
            ..WebhookInput::new(&self.name, &self.endpoint_url, auth)
        }
    }

    /// Whether the webhook drives the provisioning of reservations of a type, or of any type if it is `None`.
    pub fn drives(&self, resource_type: Option<&str>) -> bool {
        let own = self.resource_type.as_deref();
        self.provisions
            && self.events.iter().any(|event| event.provisions())
            && (own.is_none() || resource_type.is_none() || own == resource_type)
    }

    /// Whether a listener (`berth listen`) forwards its deliveries.
    pub fn is_local(&self) -> bool {
        self.delivery_mode == DeliveryMode::Local
    }

    /// Whether it belongs to the built-in sample receiver.
    pub fn is_sample(&self) -> bool {
        self.name.starts_with(SAMPLE_RECEIVER)
    }
}

/// A webhook with its secret: the response to its creation and to a rotation. No other response
/// contains the secret.
#[derive(Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookWithSecret {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// The signing secret.
    pub secret: String,
    /// Why the secret is weak; absent for a strong one. Production rejects weak ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl<'de> Deserialize<'de> for WebhookWithSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = serde_json::Map::deserialize(deserializer)?;
        let secret = crate::json::take_field(&mut fields, "secret")?;
        let warning = crate::json::take_field_or_default(&mut fields, "warning")?;
        Ok(Self { webhook: crate::json::from_object(fields)?, secret, warning })
    }
}

/// The header of a response by which a receiver reports the secret that verified the request: `current` or `previous`.
pub const SECRET_USED_HEADER: &str = "X-Webhook-Secret-Used";

/// The secrets by which a receiver has verified requests since the last rotation, from the newest 100 successful deliveries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecretUse {
    /// Number of deliveries.
    pub deliveries: u64,
    /// Those that the current secret verified (`X-Webhook-Secret-Used: current`).
    pub current: u64,
    /// Those that an old secret verified (`X-Webhook-Secret-Used: previous`).
    pub previous: u64,
}

/// A public key of `/.well-known/jwks.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WebhookKey {
    /// The webhook whose requests it verifies.
    pub webhook_id: WebhookId,
    /// The key.
    #[serde(flatten)]
    pub key: Jwk,
}

/// Body of `POST /api/v1/webhooks/{id}/rotate-secret`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RotateInput {
    /// Overlap in hours, 0 to 168, in which the current secret also signs; 24 when absent. Secrets of earlier rotations
    /// sign until their own end. 0 revokes all of them at once.
    pub overlap_hours: Option<u32>,
    /// The new secret, generated when absent.
    pub secret: Option<String>,
}

redacted_debug!(RotateInput { overlap_hours } hides { secret });

/// Body of `POST /api/v1/webhooks/{id}/resume`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ResumeInput {
    /// Discard the queued deliveries instead of sending them.
    pub drop_pending: bool,
}

/// Body of `POST /api/v1/webhooks/{id}/test`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TestInput {
    /// Event type; the first trigger of the webhook when absent.
    pub event_type: Option<EventType>,
    /// Fields that replace those of the sample event, in the form `berth`. `event_type`, `event_id`, `webhook_id`, `status_url`
    /// and `test` have no effect.
    // Absent unless it is set: during an upgrade, a replica of the previous release rejects it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Map<String, serde_json::Value>>,
}
