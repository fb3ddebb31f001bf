//! One attempt against real servers on loopback.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{any, post};
use delivery::{AttemptOutcome, Auth, DeliveryRequest, Destination, Sender, SenderConfig, Target};
use domain::delivery::{Attempt, DiagnosisCode as Code, Outcome};
use domain::endpoint::{Network, UrlPolicy};
use domain::event::EventType;
use domain::header::Header;
use domain::signature::Secret;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use test_support::RawReceiver;
use tokio::net::TcpListener;

fn sender(allow: bool, timeout: Duration) -> Sender {
    let allow_networks =
        if allow { vec![Network::parse("127.0.0.0/8").unwrap(), Network::parse("::1").unwrap()] } else { Vec::new() };
    Sender::new(SenderConfig {
        url_policy: UrlPolicy { allow_http: true, allow_networks },
        timeout,
        user_agent: "Berth-Webhooks/test".into(),
    })
    .unwrap()
}

fn request(url: &str) -> DeliveryRequest {
    request_with(url, Auth::None, Vec::new())
}

fn request_with(url: &str, auth: Auth, headers: Vec<Header>) -> DeliveryRequest {
    DeliveryRequest {
        target: Arc::new(Target {
            webhook_id: 1,
            auth,
            secrets: vec![Secret::parse("your-secret-key").unwrap()],
            keys: Vec::new(),
            headers,
        }),
        url: Destination::new(url),
        delivery_id: "dlv_1".into(),
        event_id: "evt_1".into(),
        event_type: EventType::ReservationCreated,
        attempt: 2,
        test: false,
        body: Bytes::from_static(br#"{"event_type":"reservation.created"}"#),
    }
}

/// The displayed attempt and the remaining outcome.
struct Done {
    attempt: Attempt,
    retry_after: Option<chrono::Duration>,
    response_body: Bytes,
}

async fn attempt(sender: &Sender, request: &DeliveryRequest) -> Done {
    let done = sender.attempt(request, chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap()).await;
    let attempt = done.to_attempt("dlv_1".into()).unwrap();
    let AttemptOutcome { retry_after, response_body, .. } = done;
    Done { attempt, retry_after, response_body }
}

async fn try_url(url: &str) -> Done {
    attempt(&sender(true, Duration::from_secs(5)), &request(url)).await
}

async fn serve(router: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// The URL of a server that reads a request, then writes these parts with a pause after each.
async fn raw(parts: Vec<Vec<u8>>, pause: Duration) -> String {
    RawReceiver::start(parts, pause).await.url
}

#[tokio::test]
async fn delivery_is_signed_twice_and_recorded_without_secrets() {
    type Seen = Arc<Mutex<Option<(HeaderMap, Bytes)>>>;
    let seen = Seen::default();
    let router = axum::Router::new()
        .route(
            "/hook",
            post(async |State(seen): State<Seen>, headers: HeaderMap, body: Bytes| {
                *seen.lock() = Some((headers, body));
                (StatusCode::CREATED, r#"{"status":"success"}"#)
            }),
        )
        .with_state(seen.clone());
    let url = serve(router).await;
    let auth = Auth::ApiKey { header: "X-API-Key".into(), key: "very-secret-key".into() };
    let custom = vec![Header { name: "X-Team".into(), value: "gpu".into() }];
    let mut request = request_with(&format!("{url}/hook"), auth, custom);
    request.test = true;
    let done = attempt(&sender(true, Duration::from_secs(5)), &request).await;
    assert_eq!(done.attempt.outcome, Outcome::Succeeded, "{:?}", done.attempt.diagnosis);
    assert_eq!(done.attempt.status_code, Some(201));
    let (headers, body) = seen.lock().take().unwrap();
    let value = |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    assert_eq!(body, request.body);
    assert_eq!(value("x-webhook-event"), "reservation.created");
    assert_eq!(value("x-webhook-delivery"), "dlv_1");
    assert_eq!(value("x-webhook-attempt"), "2");
    assert_eq!(value("x-webhook-test"), "true");
    assert_eq!(value("webhook-id"), "evt_1");
    assert_eq!(value("x-team"), "gpu");
    assert_eq!(value("x-api-key"), "very-secret-key");
    assert_eq!(value("user-agent"), "Berth-Webhooks/test");
    assert_eq!(value("content-type"), "application/json");
    assert!(domain::signature::verify_body(
        &Secret::parse("your-secret-key").unwrap(),
        &body,
        &value("x-webhook-signature")
    ));
    let recorded = serde_json::to_string(&done.attempt).unwrap();
    assert!(!recorded.contains("very-secret-key") && !recorded.contains("your-secret-key"));
    let timings = done.attempt.timings;
    assert!(
        !timings.reused && timings.connect_ms.is_some() && timings.first_byte_ms.is_some() && timings.dns_ms.is_none()
    );
}

#[tokio::test]
async fn deliveries_reuse_kept_alive_connections() {
    let url = serve(axum::Router::new().route("/", any(async || "ok"))).await;
    let sender = sender(true, Duration::from_secs(5));
    assert!(!attempt(&sender, &request(&url)).await.attempt.timings.reused);
    assert!(attempt(&sender, &request(&url)).await.attempt.timings.reused);
}

#[tokio::test]
async fn each_status_has_its_diagnosis() {
    let router = axum::Router::new().route(
        "/{status}",
        any(async |axum::extract::Path(status): axum::extract::Path<u16>| {
            let mut headers = HeaderMap::new();
            headers.insert("location", "/elsewhere".parse().unwrap());
            headers.insert("retry-after", "7".parse().unwrap());
            (StatusCode::from_u16(status).unwrap(), headers, r#"{"detail":"no such thing"}"#)
        }),
    );
    let url = serve(router).await;
    for (status, code) in [
        (301, Code::Redirected),
        (307, Code::Redirected),
        (304, Code::Redirected),
        (400, Code::BodyRefused),
        (401, Code::CredentialsRefused),
        (403, Code::CredentialsRefused),
        (404, Code::NotFound),
        (405, Code::MethodNotAllowed),
        (410, Code::Gone),
        (413, Code::TooLargeForReceiver),
        (418, Code::ClientError),
        (429, Code::RateLimited),
        (500, Code::ServerError),
        (503, Code::ServerError),
    ] {
        let done = try_url(&format!("{url}/{status}")).await;
        assert_eq!(done.attempt.diagnosis.code, code, "{status}");
        assert_eq!(done.attempt.outcome, Outcome::Failed);
        assert_eq!(done.attempt.status_code, Some(status));
        assert!(!done.attempt.diagnosis.hint.is_empty());
        assert_eq!(done.retry_after, matches!(status, 429 | 503).then(|| chrono::Duration::seconds(7)), "{status}");
    }
}

#[tokio::test]
async fn wrapped_401_of_a_fastapi_receiver_is_a_signature_error() {
    let router = axum::Router::new().route(
        "/",
        any(async || {
            (StatusCode::INTERNAL_SERVER_ERROR, r#"{"detail":"Internal server error: 401: Invalid webhook signature"}"#)
                .into_response()
        }),
    );
    let done = try_url(&serve(router).await).await;
    assert_eq!(done.attempt.diagnosis.code, Code::SignatureRefused);
    // Responses of FastAPI when the receiver's error handler fails.
    for opaque_500 in ["Internal Server Error", r#"{"detail":"Internal server error: "}"#] {
        let router = axum::Router::new()
            .route("/", any(async move || (StatusCode::INTERNAL_SERVER_ERROR, opaque_500).into_response()));
        let diagnosis = try_url(&serve(router).await).await.attempt.diagnosis;
        assert_eq!(diagnosis.code, Code::ServerError);
        assert!(diagnosis.hint.starts_with("Compare the webhook's secret"), "{}", diagnosis.hint);
    }
}

#[tokio::test]
async fn token_endpoint_errors_are_storable() {
    let router = axum::Router::new().route(
        "/token",
        post(async || (StatusCode::BAD_REQUEST, r#"{"error":"a\u0000b","error_description":"c\u001b[2Jd"}"#)),
    );
    let url = serve(router).await;
    let auth = Auth::Oauth2 {
        token_url: format!("{url}/token"),
        client_id: "berth".into(),
        client_secret: "s3cret-s3cret".into(),
        scope: None,
        audience: None,
    };
    let done =
        attempt(&sender(true, Duration::from_secs(5)), &request_with(&format!("{url}/hook"), auth, Vec::new())).await;
    assert_eq!(done.attempt.diagnosis.code, Code::TokenFailed);
    let message = done.attempt.diagnosis.message;
    assert!(message.contains("a b") && !message.contains(char::is_control), "{message:?}");
}

#[tokio::test]
async fn echoed_credentials_are_redacted() {
    let echo = any(async |headers: HeaderMap| {
        let key = headers["x-api-key"].to_str().unwrap().to_owned();
        let body = format!(r#"{{"detail":"you sent {key}"}}"#);
        let in_a_name = http::HeaderName::try_from(format!("x-{key}")).unwrap();
        (StatusCode::BAD_REQUEST, [(http::HeaderName::from_static("x-echo"), key), (in_a_name, "yes".into())], body)
    });
    let url = serve(axum::Router::new().route("/", echo)).await;
    let auth = Auth::ApiKey { header: "X-API-Key".into(), key: "Very-secret-key".into() };
    let done = attempt(&sender(true, Duration::from_secs(5)), &request_with(&url, auth, Vec::new())).await;
    let recorded = serde_json::to_string(&done.attempt).unwrap();
    assert!(recorded.contains("you sent ••••"), "{recorded}");
    assert!(!recorded.to_ascii_lowercase().contains("very-secret-key"), "{recorded}");
    assert!(!done.response_body.windows(15).any(|w| w.eq_ignore_ascii_case(b"very-secret-key")));
}

#[tokio::test]
async fn malformed_and_slow_responses_are_diagnosed() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n".to_vec();
    let fast = sender(true, Duration::from_millis(400));
    // One byte every 100 ms: the time limit covers the whole exchange.
    let drip =
        raw(std::iter::once(head).chain((0..100).map(|_| b"x".to_vec())).collect(), Duration::from_millis(100)).await;
    let done = attempt(&fast, &request(&drip)).await;
    assert_eq!(done.attempt.diagnosis.code, Code::TimedOut);
    assert!(done.attempt.diagnosis.message.contains("body"), "{}", done.attempt.diagnosis.message);
    // No response.
    let silent = raw(vec![Vec::new()], Duration::from_secs(5)).await;
    let done = attempt(&fast, &request(&silent)).await;
    assert_eq!(done.attempt.diagnosis.code, Code::TimedOut);
    assert!(done.attempt.diagnosis.message.contains("sent"), "{}", done.attempt.diagnosis.message);
    // Not HTTP.
    let ssh = raw(vec![b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()], Duration::ZERO).await;
    assert_eq!(try_url(&ssh).await.attempt.diagnosis.code, Code::NotHttp);
    // TLS to a plain-text port.
    let plain = raw(vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()], Duration::ZERO).await;
    assert_eq!(try_url(&plain.replace("http://", "https://")).await.attempt.diagnosis.code, Code::TlsFailed);
    // Invalid UTF-8 and NUL.
    let odd = raw(vec![b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na\xff\0b".to_vec()], Duration::ZERO).await;
    let done = try_url(&odd).await;
    assert_eq!(done.attempt.outcome, Outcome::Succeeded);
    assert_eq!(done.attempt.response.unwrap().body, "a\u{fffd}\u{2400}b");
}

#[tokio::test]
async fn response_body_is_capped_at_64_kib() {
    let router = axum::Router::new().route("/", any(async || vec![b'x'; 100 * 1024 * 1024]));
    let done = try_url(&serve(router).await).await;
    assert_eq!(done.attempt.diagnosis.code, Code::ResponseTooLarge);
    assert_eq!(done.attempt.outcome, Outcome::Failed);
    let response = done.attempt.response.unwrap();
    assert!(response.truncated && response.body.len() == 64 * 1024);
}

#[tokio::test]
async fn connection_refused_and_dns_failures_are_diagnosed() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(try_url(&format!("http://{free}/")).await.attempt.diagnosis.code, Code::ConnectionRefused);
    let done = try_url("http://nonexistent.invalid/").await;
    assert_eq!(done.attempt.diagnosis.code, Code::DnsFailed, "{:?}", done.attempt.diagnosis);
}

#[tokio::test]
async fn blocked_addresses_are_not_called() {
    let calls = Arc::new(AtomicU32::new(0));
    let router = axum::Router::new()
        .route(
            "/",
            any(async |State(calls): State<Arc<AtomicU32>>| {
                calls.fetch_add(1, Ordering::SeqCst);
            }),
        )
        .with_state(calls.clone());
    let url = serve(router).await;
    let strict = sender(false, Duration::from_secs(5));
    let port = url.rsplit_once(':').unwrap().1;
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "[::1]"] {
        let done = attempt(&strict, &request(&format!("http://{host}:{port}/"))).await;
        assert_eq!(done.attempt.diagnosis.code, Code::AddressNotAllowed, "{host}: {:?}", done.attempt.diagnosis);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn oauth_token_is_cached_and_renewed_once_on_401() {
    #[derive(Default)]
    struct Counts {
        tokens: AtomicU32,
        basic: AtomicU32,
    }
    let counts = Arc::new(Counts::default());
    let router =
        axum::Router::new()
            .route(
                "/token",
                post(async |State(counts): State<Arc<Counts>>, headers: HeaderMap, body: String| {
                    assert!(body.contains("grant_type=client_credentials") && body.contains("scope=gpu"));
                    if headers.contains_key("authorization") {
                        counts.basic.fetch_add(1, Ordering::SeqCst);
                    }
                    let n = counts.tokens.fetch_add(1, Ordering::SeqCst) + 1;
                    format!(r#"{{"access_token":"token-{n}","token_type":"Bearer","expires_in":3600}}"#)
                }),
            )
            .route(
                "/old",
                post(async |headers: HeaderMap| {
                    if headers["authorization"] == "Bearer token-1" { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
                }),
            )
            .route(
                "/new",
                post(async |headers: HeaderMap| {
                    if headers["authorization"] == "Bearer token-2" { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
                }),
            )
            .route("/never", post(async || StatusCode::UNAUTHORIZED))
            .route("/refuses", post(async || (StatusCode::UNAUTHORIZED, r#"{"error":"invalid_client"}"#)))
            .with_state(counts.clone());
    let url = serve(router).await;
    let sender = sender(true, Duration::from_secs(5));
    let auth = |token: &str| Auth::Oauth2 {
        token_url: format!("{url}{token}"),
        client_id: "berth".into(),
        client_secret: "s3cret-s3cret".into(),
        scope: Some("gpu".into()),
        audience: None,
    };
    let attempt_at = async |path: &str, token: &str| {
        attempt(&sender, &request_with(&format!("{url}{path}"), auth(token), Vec::new())).await.attempt
    };
    for _ in 0..3 {
        assert_eq!(attempt_at("/old", "/token").await.outcome, Outcome::Succeeded);
    }
    assert_eq!(counts.tokens.load(Ordering::SeqCst), 1);
    let renewed = attempt_at("/new", "/token").await;
    assert_eq!(renewed.outcome, Outcome::Succeeded);
    assert!(!serde_json::to_string(&renewed).unwrap().contains("token-2"));
    assert_eq!(counts.tokens.load(Ordering::SeqCst), 2);
    assert_eq!(attempt_at("/never", "/token").await.diagnosis.code, Code::CredentialsRefused);
    assert_eq!(counts.tokens.load(Ordering::SeqCst), 3);
    let refused = attempt_at("/old", "/refuses").await;
    assert_eq!(refused.diagnosis.code, Code::TokenFailed);
    assert!(refused.diagnosis.message.contains("invalid_client"), "{}", refused.diagnosis.message);
}

#[tokio::test]
async fn unknown_authority_is_a_certificate_error() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let done = try_url(&format!("https://localhost:{port}/")).await;
    assert_eq!(done.attempt.diagnosis.code, Code::CertificateInvalid, "{:?}", done.attempt.diagnosis);
    assert!(done.attempt.timings.dns_ms.is_some());
}
