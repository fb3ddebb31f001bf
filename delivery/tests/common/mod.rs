//! Attempts against servers on loopback.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test binary uses a part")]

use bytes::Bytes;
use delivery::{AttemptOutcome, Auth, DeliveryRequest, Destination, Sender, SenderConfig, Target};
use domain::delivery::Attempt;
use domain::endpoint::{Network, UrlPolicy};
use domain::event::EventType;
use domain::payload::PayloadFormat;
use domain::signature::Secret;
use domain::webhook::CustomHeader;
use std::sync::Arc;
use std::time::Duration;

/// A sender that may call loopback addresses if `allow` is true.
pub fn sender(allow: bool, timeout: Duration) -> Sender {
    let allow_networks =
        if allow { vec![Network::parse("127.0.0.0/8").unwrap(), Network::parse("::1").unwrap()] } else { Vec::new() };
    Sender::new(SenderConfig {
        url_policy: UrlPolicy { allow_http: true, allow_networks },
        timeout,
        user_agent: "Berth-Webhooks/test".into(),
    })
    .unwrap()
}

/// A request without credentials.
pub fn request(url: &str) -> DeliveryRequest {
    request_with(url, Auth::None, Vec::new())
}

/// A request with credentials and custom headers.
pub fn request_with(url: &str, auth: Auth, headers: Vec<CustomHeader>) -> DeliveryRequest {
    DeliveryRequest {
        target: Arc::new(Target {
            webhook_id: 1,
            auth,
            secrets: vec![Secret::parse("your-secret-key").unwrap()],
            keys: Vec::new(),
            headers,
            public_url: "https://berth.example.com".into(),
            tls: None,
        }),
        url: Destination::new(url),
        delivery_id: "dlv_1".into(),
        event_id: "evt_1".into(),
        event_type: EventType::ReservationCreated,
        attempt: 2,
        test: false,
        format: PayloadFormat::Berth,
        body: Bytes::from_static(br#"{"event_type":"reservation.created"}"#),
    }
}

/// The displayed attempt and the remaining outcome.
pub struct Done {
    /// The displayed attempt.
    pub attempt: Attempt,
    /// See [`AttemptOutcome`].
    pub retry_after: Option<chrono::Duration>,
    /// See [`AttemptOutcome`].
    pub response_body: Bytes,
    /// See [`AttemptOutcome`].
    pub response_is_json: bool,
    /// See [`AttemptOutcome`].
    pub response_error: Option<String>,
}

/// Makes an attempt at a fixed time.
pub async fn attempt(sender: &Sender, request: &DeliveryRequest) -> Done {
    attempt_after(sender, request, Duration::ZERO).await
}

/// Makes an attempt at a time after that of [`attempt`].
pub async fn attempt_after(sender: &Sender, request: &DeliveryRequest, later: Duration) -> Done {
    let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap() + later;
    let done = sender.attempt(request, now).await;
    let attempt = done.to_attempt("dlv_1".into()).unwrap();
    let AttemptOutcome { retry_after, response_body, response_is_json, response_error, .. } = done;
    Done { attempt, retry_after, response_body, response_is_json, response_error }
}

/// Makes an attempt without credentials.
pub async fn try_url(url: &str) -> Done {
    attempt(&sender(true, Duration::from_secs(5)), &request(url)).await
}
