//! One attempt, whole: build, sign, authenticate, guard, send, time, classify. No database.

mod auth;
mod diagnosis;
mod exchange;
mod ssrf;
mod timing;
mod transcript;

pub use transcript::Transcript;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::delivery::{Attempt, Diagnosis, Outcome, Timings};
use domain::endpoint::UrlPolicy;
use domain::event::EventType;
use domain::id::{DeliveryId, EventId, WebhookId};
use domain::signature::{Secret, SigningKey};
use domain::webhook::Header;
use std::sync::Arc;
use std::time::Duration;

/// How to authenticate, with secrets.
#[derive(Clone)]
pub enum Auth {
    /// Signature only.
    None,
    /// A header with a key.
    ApiKey {
        /// Its name.
        header: String,
        /// Its value.
        key: String,
    },
    /// OAuth 2.0 client credentials.
    Oauth2 {
        /// Where tokens come from.
        token_url: String,
        /// The client.
        client_id: String,
        /// Its secret.
        client_secret: String,
        /// Scopes.
        scope: Option<String>,
        /// Audience.
        audience: Option<String>,
    },
}

/// What stays the same for all deliveries of a webhook until its settings change.
pub struct Target {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// How to authenticate.
    pub auth: Auth,
    /// Signing secrets, the current one first.
    pub secrets: Vec<Secret>,
    /// Ed25519 keys for `v1a` signatures, the current one first; empty where the webhook does without.
    pub keys: Vec<SigningKey>,
    /// The administrator's own headers.
    pub headers: Vec<Header>,
}

/// Where requests go, read once for all of them.
pub struct Destination {
    text: String,
    /// `None` where it is no URL, which registering does not allow.
    url: Option<url::Url>,
}

impl Destination {
    /// Reads a full URL.
    pub fn new(text: impl Into<String>) -> Arc<Self> {
        let text = text.into();
        // Line ends are no part of a URL (WHATWG URL §4.4), and would break its line of the record.
        Arc::new(Self { url: url::Url::parse(&text).ok(), text: text.replace(['\n', '\r'], "") })
    }
}

/// One attempt to be made.
#[derive(Clone)]
pub struct DeliveryRequest {
    /// To whom.
    pub target: Arc<Target>,
    /// The full URL.
    pub url: Arc<Destination>,
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// The event.
    pub event_id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// 1, 2, 3, …
    pub attempt: u32,
    /// Whether it is a test; tests use a connection of their own so that every step is timed.
    pub test: bool,
    /// The exact bytes to sign and send.
    pub body: Bytes,
}

/// What came of an attempt.
pub struct AttemptOutcome {
    /// 1, 2, 3, …
    pub attempt: u32,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How it ended.
    pub outcome: Outcome,
    /// The response's status code.
    pub status_code: Option<u16>,
    /// How long it took.
    pub timings: Timings,
    /// What it means.
    pub diagnosis: Diagnosis,
    /// The record, secrets redacted.
    pub transcript: Transcript,
    /// The receiver's wish (429, 503).
    pub retry_after: Option<chrono::Duration>,
    /// The raw body of the response, at most 64 KiB; empty when none came.
    pub answer: Bytes,
}

impl AttemptOutcome {
    /// The attempt as it is shown, without the request's body.
    pub fn to_attempt(&self, delivery: DeliveryId) -> Option<Attempt> {
        self.transcript.to_attempt(delivery, self.attempt, self.started_at, self.outcome, self.status_code)
    }
}

/// What a sender is made with.
#[derive(Clone)]
pub struct SenderConfig {
    /// What may be called.
    pub url_policy: UrlPolicy,
    /// For the whole exchange.
    pub timeout: Duration,
    /// `User-Agent`.
    pub user_agent: String,
}

/// Sends attempts over kept-alive connections; one per process, cheap to clone.
#[derive(Clone)]
pub struct Sender {
    inner: Arc<exchange::Clients>,
}

impl Sender {
    /// Makes the clients.
    ///
    /// # Errors
    /// A sentence for the operator, when TLS cannot be set up.
    pub fn new(config: SenderConfig) -> Result<Self, String> {
        Ok(Self { inner: Arc::new(exchange::Clients::new(config)?) })
    }

    /// Makes one attempt; never fails, for a failure is what it records. `now` is the wall-clock time of its start.
    pub async fn attempt(&self, job: &DeliveryRequest, now: DateTime<Utc>) -> AttemptOutcome {
        exchange::attempt(&self.inner, job, now).await
    }
}
