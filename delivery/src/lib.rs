//! One delivery attempt: build, sign, authenticate, check the address, send, time, classify. No database.
//!
//! [`Sender::attempt`] is the entry point. `connector` connects to allowed addresses only, `diagnosis` describes
//! failures, `redaction` removes credentials from the record.

mod certificate;
mod certification;
mod client;
mod connection;
mod connector;
mod diagnosis;
mod draft_check;
mod encoding;
mod exchange;
mod forward;
mod happy_eyeballs;
mod header_case;
mod headers;
mod oauth;
mod recorded_signatures;
mod redaction;
mod response;
mod ssrf;
#[cfg(test)]
mod tests;
mod timing;
mod tls;
mod tls_clients;
mod transcript;

pub use certificate::SeenCertificate;
pub use certification::{Certification, Sources, certify};
pub use draft_check::check_draft;
pub use forward::{Forwarded, ReceiverReply};
pub use tls::{TlsSettings, certificate_details, client_certificate_expiry, tls_config};
pub use transcript::Transcript;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::delivery::{Attempt, Diagnosis, Outcome, Timings};
use domain::endpoint::UrlPolicy;
use domain::event::EventType;
use domain::header::Header;
use domain::id::{DeliveryId, EventId, WebhookId};
use domain::payload::PayloadFormat;
use domain::signature::{Secret, SigningKey};
use domain::webhook::{CustomHeader, TokenStatus};
use std::sync::Arc;
use std::time::Duration;

/// Credentials of a webhook, in clear text.
#[derive(Clone)]
pub enum Auth {
    /// No credentials; requests are signed.
    None,
    /// A header with a key.
    ApiKey {
        /// The header's name.
        header: String,
        /// The key.
        key: String,
    },
    /// OAuth 2.0 client credentials.
    Oauth2 {
        /// The token endpoint.
        token_url: String,
        /// The client id.
        client_id: String,
        /// The client secret.
        client_secret: String,
        /// Space-separated scopes.
        scope: Option<String>,
        /// Audience.
        audience: Option<String>,
    },
}

/// The settings of a webhook that all its deliveries share.
pub struct Target {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The credentials.
    pub auth: Auth,
    /// Signing secrets, the current one first.
    pub secrets: Vec<Secret>,
    /// Ed25519 keys for `v1a` signatures, the current one first; empty without them.
    pub keys: Vec<SigningKey>,
    /// Custom headers, in clear text. Secret ones are redacted in the record.
    pub headers: Vec<CustomHeader>,
    /// The base URL of Berth, without a trailing slash: the source of CloudEvents.
    pub public_url: Arc<str>,
    /// Client certificate and additional authorities, also for token requests; `None` without them.
    pub tls: Option<Arc<TlsSettings>>,
}

/// The URL of requests, parsed once.
pub struct Destination {
    /// The normalised URL, which is called and recorded.
    text: String,
    /// `None` for an invalid URL; registration rejects those.
    uri: Option<http::Uri>,
}

impl Destination {
    /// Parses and normalises a full URL.
    pub fn new(text: impl Into<String>) -> Arc<Self> {
        let text = text.into();
        Arc::new(match url::Url::parse(&text) {
            Ok(mut url) => {
                url.set_fragment(None);
                let text = String::from(url);
                Self { uri: text.parse().ok(), text }
            }
            // The transcript is line-based.
            Err(_) => Self { text: text.replace(['\n', '\r'], ""), uri: None },
        })
    }
}

/// The request of one attempt.
#[derive(Clone)]
pub struct DeliveryRequest {
    /// The webhook's settings.
    pub target: Arc<Target>,
    /// The full URL.
    pub url: Arc<Destination>,
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// The event.
    pub event_id: EventId,
    /// The event type.
    pub event_type: EventType,
    /// 1, 2, 3, …
    pub attempt: u32,
    /// Whether it is a test event. Tests use a new connection, so that every step is timed.
    pub test: bool,
    /// The form of the body, which determines its content type and further headers.
    pub format: PayloadFormat,
    /// The exact bytes to sign and send.
    pub body: Bytes,
}

/// A change of a signature header or of `X-Webhook-Event`, for requests that a receiver must reject or ignore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeaderChange {
    /// The header is not sent. The name is in lower case.
    Remove(&'static str),
    /// The header is sent with this value.
    Set(&'static str, String),
}

impl HeaderChange {
    /// The header's name in lower case.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Remove(name) | Self::Set(name, _) => name,
        }
    }
}

/// The result of one attempt.
pub struct AttemptOutcome {
    /// 1, 2, 3, …
    pub attempt: u32,
    /// Start time.
    pub started_at: DateTime<Utc>,
    /// Whether it succeeded.
    pub outcome: Outcome,
    /// The response's status code.
    pub status_code: Option<u16>,
    /// Durations of its steps.
    pub timings: Timings,
    /// The diagnosis.
    pub diagnosis: Diagnosis,
    /// The transcript, with secrets redacted.
    pub transcript: Transcript,
    /// The delay of `Retry-After` (429, 503).
    pub retry_after: Option<chrono::Duration>,
    /// The decoded body of the response without a byte order mark, at most 64 KiB, with echoed credentials redacted;
    /// empty without a response.
    pub response_body: Bytes,
    /// Whether the response's content type is JSON.
    pub response_is_json: bool,
    /// A sentence, if the body could not be decoded. Then `response_body` contains the received bytes.
    pub response_error: Option<String>,
}

impl AttemptOutcome {
    /// A failed attempt without a response and transcript.
    fn without_response(attempt: u32, started_at: DateTime<Utc>, timings: Timings, diagnosis: Diagnosis) -> Self {
        Self {
            attempt,
            started_at,
            outcome: Outcome::Failed,
            status_code: None,
            timings,
            diagnosis,
            transcript: Transcript::default(),
            retry_after: None,
            response_body: Bytes::new(),
            response_is_json: false,
            response_error: None,
        }
    }

    /// The attempt for display. The request's body is empty, unless it is a token request.
    pub fn to_attempt(&self, delivery: DeliveryId) -> Option<Attempt> {
        self.transcript.to_attempt(delivery, self.attempt, self.started_at, self.outcome, self.status_code)
    }
}

/// The settings of a [`Sender`].
#[derive(Clone)]
pub struct SenderConfig {
    /// The URLs and addresses that may be called.
    pub url_policy: UrlPolicy,
    /// Time limit of the whole exchange.
    pub timeout: Duration,
    /// The value of `User-Agent`.
    pub user_agent: String,
}

/// Sends attempts over kept-alive connections; one per process, cheap to clone.
#[derive(Clone)]
pub struct Sender {
    inner: Arc<exchange::Clients>,
}

impl Sender {
    /// Builds the HTTP clients.
    ///
    /// # Errors
    /// A sentence for the operator when TLS cannot be configured.
    pub fn new(config: SenderConfig) -> Result<Self, String> {
        Ok(Self { inner: Arc::new(exchange::Clients::new(config)?) })
    }

    /// Makes one attempt. Failures are part of the outcome. `now` is the wall-clock time of the start.
    pub async fn attempt(&self, request: &DeliveryRequest, now: DateTime<Utc>) -> AttemptOutcome {
        exchange::attempt(&self.inner, request, &[], now).await
    }

    /// Makes one attempt with changed headers.
    pub(crate) async fn attempt_with(
        &self,
        request: &DeliveryRequest,
        changes: &[HeaderChange],
        now: DateTime<Utc>,
    ) -> AttemptOutcome {
        exchange::attempt(&self.inner, request, changes, now).await
    }

    /// The headers of a request for a local listener, with its signatures at the time `now`.
    pub fn hand_over(&self, request: &DeliveryRequest, now: DateTime<Utc>) -> Vec<Header> {
        forward::hand_over(&self.inner, request, now)
    }

    /// The outcome of an attempt that a local listener has reported; `now` is the time of the signatures.
    pub fn reported(&self, request: &DeliveryRequest, now: DateTime<Utc>, forwarded: Forwarded) -> AttemptOutcome {
        forward::reported(&self.inner, request, now, forwarded)
    }

    /// Sends a handed-over request. A failure is part of the result.
    pub async fn forward(&self, url: &Destination, headers: &[Header], body: Bytes) -> Forwarded {
        forward::forward(&self.inner, url, headers, body).await
    }

    /// Makes one attempt with another value of `X-Webhook-Event`, for requests that are no events of the catalogue.
    pub async fn attempt_as(&self, request: &DeliveryRequest, event: &str, now: DateTime<Utc>) -> AttemptOutcome {
        let changes = [HeaderChange::Set("x-webhook-event", event.to_owned())];
        exchange::attempt(&self.inner, request, &changes, now).await
    }

    /// Requests a new OAuth token, also if the cached one is valid. After a failure the cached one is kept. `None` for another
    /// authentication.
    ///
    /// # Errors
    /// The diagnosis if the token endpoint issues no token.
    pub async fn fetch_token(&self, target: &Target, now: DateTime<Utc>) -> Option<Result<(), Diagnosis>> {
        exchange::fetch_token(&self.inner, target, now).await
    }

    /// The state of the OAuth token in this process. `None` for another authentication, and before the first request for a
    /// token.
    pub fn token_status(&self, target: &Target) -> Option<TokenStatus> {
        exchange::token_status(&self.inner, target)
    }

    /// The certificate of the server of a URL, as of the last connection of this process.
    pub fn certificate(&self, url: &str) -> Option<SeenCertificate> {
        exchange::certificate(&self.inner, url)
    }

    /// Sends an unsigned `GET`, e.g. to a health path, and returns the status code. `tls` are the settings of the webhook.
    ///
    /// # Errors
    /// The diagnosis if no complete response arrives.
    pub async fn get(&self, url: &Destination, tls: Option<&Arc<TlsSettings>>) -> Result<u16, Diagnosis> {
        exchange::get(&self.inner, url, tls).await
    }

    /// The time limit of an attempt.
    pub(crate) fn timeout(&self) -> Duration {
        self.inner.timeout()
    }
}
