//! One attempt against real servers on loopback.

mod common;

use common::{attempt, request, request_with, sender, try_url};
use delivery::Auth;
use domain::delivery::{DiagnosisCode as Code, Outcome};
use domain::signature::Secret;
use domain::webhook::CustomHeader;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use test_support::{RawReceiver, Receiver, Response};
use tokio::net::TcpListener;

/// The URL of a server that reads a request, then writes these parts with a pause after each.
async fn raw(parts: Vec<Vec<u8>>, pause: Duration) -> String {
    RawReceiver::start(parts, pause).await.url
}

#[tokio::test]
async fn delivery_is_signed_twice_and_recorded_without_secrets() {
    let receiver = Receiver::start().await;
    receiver.respond(Response::json(201, json!({"status": "success"})));
    let auth = Auth::ApiKey { header: "X-API-Key".into(), key: "very-secret-key".into() };
    let own = vec![CustomHeader::new("X-Team", "gpu"), CustomHeader::new("X-Own-Token", "own-token-8675309")];
    let mut request = request_with(&format!("{}/hook", receiver.url), auth, own);
    request.test = true;
    let done = attempt(&sender(true, Duration::from_secs(5)), &request).await;
    assert_eq!(done.attempt.outcome, Outcome::Succeeded, "{:?}", done.attempt.diagnosis);
    assert_eq!(done.attempt.status_code, Some(201));
    let received = receiver.last();
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/hook"));
    assert_eq!(received.raw, request.body);
    assert_eq!(received.event(), "reservation.created");
    assert_eq!(received.delivery(), "dlv_1");
    assert_eq!(received.attempt(), 2);
    assert_eq!(received.header("x-webhook-test"), "true");
    assert_eq!(received.event_id(), "evt_1");
    assert_eq!(received.header("x-team"), "gpu");
    assert_eq!(received.header("x-api-key"), "very-secret-key");
    assert_eq!(received.header("user-agent"), "Berth-Webhooks/test");
    assert_eq!(received.header("content-type"), "application/json");
    let secret = Secret::parse("your-secret-key").unwrap();
    assert!(domain::signature::verify_body(&secret, &received.raw, received.header("x-webhook-signature")));
    let recorded = serde_json::to_string(&done.attempt).unwrap();
    let signature = received.header("x-webhook-signature");
    assert!(!recorded.contains(signature) && recorded.contains(&signature[..19]), "{recorded}");
    assert!(!recorded.contains(received.header("webhook-signature")));
    assert_eq!(received.header("x-own-token"), "own-token-8675309");
    assert!(!recorded.contains("own-token-8675309"));
    assert!(!recorded.contains("very-secret-key") && !recorded.contains("your-secret-key"));
    let timings = done.attempt.timings;
    assert!(
        !timings.reused && timings.connect_ms.is_some() && timings.first_byte_ms.is_some() && timings.dns_ms.is_none()
    );
}

#[tokio::test]
async fn deliveries_reuse_kept_alive_connections() {
    let receiver = Receiver::start().await;
    receiver.respond(Response::status(200).with_body("ok"));
    let sender = sender(true, Duration::from_secs(5));
    assert!(!attempt(&sender, &request(&receiver.url)).await.attempt.timings.reused);
    assert!(attempt(&sender, &request(&receiver.url)).await.attempt.timings.reused);
}

#[tokio::test]
async fn each_status_has_its_diagnosis() {
    let receiver = Receiver::start().await;
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
        let response = Response::status(status).with_header("location", "/elsewhere").with_header("retry-after", "7");
        receiver.respond(response.with_body(r#"{"detail":"no such thing"}"#));
        let done = try_url(&receiver.url).await;
        assert_eq!(done.attempt.diagnosis.code, code, "{status}");
        assert_eq!(done.attempt.outcome, Outcome::Failed);
        assert_eq!(done.attempt.status_code, Some(status));
        assert!(!done.attempt.diagnosis.hint.is_empty());
        assert_eq!(done.retry_after, matches!(status, 429 | 503).then(|| chrono::Duration::seconds(7)), "{status}");
    }
}

#[tokio::test]
async fn wrapped_401_of_a_fastapi_receiver_is_a_signature_error() {
    let receiver = Receiver::start().await;
    let wrapped = json!({"detail": "Internal server error: 401: Invalid webhook signature"});
    receiver.respond(Response::json(500, wrapped));
    assert_eq!(try_url(&receiver.url).await.attempt.diagnosis.code, Code::SignatureRefused);
    // Responses of FastAPI when the receiver's error handler fails.
    for opaque_500 in ["Internal Server Error", r#"{"detail":"Internal server error: "}"#] {
        receiver.respond(Response::status(500).with_body(opaque_500));
        let diagnosis = try_url(&receiver.url).await.attempt.diagnosis;
        assert_eq!(diagnosis.code, Code::ServerError);
        assert!(diagnosis.hint.starts_with("Compare the webhook's secret"), "{}", diagnosis.hint);
    }
}

#[tokio::test]
async fn echoed_credentials_are_redacted() {
    let receiver = Receiver::start().await;
    receiver.respond_with(|request| {
        let key = request.header("x-api-key").to_owned();
        Response::status(400)
            .with_body(format!(r#"{{"detail":"you sent {key}"}}"#))
            .with_header("x-echo", key)
            .with_header("x-very-secret-key", "yes")
    });
    let auth = Auth::ApiKey { header: "X-API-Key".into(), key: "Very-secret-key".into() };
    let request = request_with(&receiver.url, auth, Vec::new());
    let done = attempt(&sender(true, Duration::from_secs(5)), &request).await;
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
    let receiver = Receiver::start().await;
    receiver.respond(Response::status(200).with_body(vec![b'x'; 100 * 1024 * 1024]));
    let done = try_url(&receiver.url).await;
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
    let receiver = Receiver::start().await;
    let strict = sender(false, Duration::from_secs(5));
    let port = receiver.url.rsplit_once(':').unwrap().1;
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "[::1]"] {
        let done = attempt(&strict, &request(&format!("http://{host}:{port}/"))).await;
        assert_eq!(done.attempt.diagnosis.code, Code::AddressNotAllowed, "{host}: {:?}", done.attempt.diagnosis);
    }
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn unknown_authority_is_a_certificate_error() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
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

#[tokio::test]
async fn forwarded_request_is_recorded_like_an_own_one() {
    let receiver = Receiver::start().await;
    receiver.respond_with(|got| Response::json(401, json!({"error": got.header("x-webhook-signature")})));
    let sender = sender(true, Duration::from_secs(5));
    let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let own = vec![CustomHeader::new("X-Team", "gpu"), CustomHeader::new("x_odd_Name", "1")];
    let request = request_with(&format!("{}/hook", receiver.url), Auth::None, own);
    let sent = attempt(&sender, &request).await.attempt;
    let headers = sender.hand_over(&request, now);
    assert!(headers.iter().any(|header| header.name == "x_odd_Name"), "names keep their letter case: {headers:?}");
    let forwarded = sender.forward(&request.url, &headers, request.body.clone()).await;
    let reported = sender.reported(&request, now, forwarded).to_attempt("dlv_1".into()).unwrap();
    assert_eq!(reported.request, sent.request);
    assert_eq!((&reported.diagnosis, reported.status_code), (&sent.diagnosis, Some(401)));
    let body = reported.response.unwrap().body;
    assert_eq!(body, sent.response.unwrap().body);
    assert!(!body.contains("sha256=") || body.contains('•'), "echoed signatures are redacted: {body}");
    let [one, other] = &receiver.requests()[..] else { panic!("two requests") };
    assert_eq!((&one.headers, &one.raw), (&other.headers, &other.raw));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = request_with(&format!("http://{}/hook", listener.local_addr().unwrap()), Auth::None, Vec::new());
    drop(listener);
    let sent = attempt(&sender, &refused).await.attempt;
    let forwarded = sender.forward(&refused.url, &sender.hand_over(&refused, now), refused.body.clone()).await;
    let reported = sender.reported(&refused, now, forwarded).to_attempt("dlv_1".into()).unwrap();
    assert_eq!(reported.diagnosis, sent.diagnosis);
    assert_eq!(reported.diagnosis.code, Code::ConnectionRefused);
}
