//! HTTP as servers and proxies speak it: tolerated and malformed responses, closed connections, encodings, header names.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{attempt, attempt_after, request, request_with, sender, try_url};
use delivery::Auth;
use domain::delivery::{DiagnosisCode as Code, Outcome};
use domain::webhook::CustomHeader;
use serde_json::json;
use std::io::Write as _;
use std::time::Duration;
use test_support::{RawReceiver, Receiver, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The URL of a server that responds to each request with these bytes.
async fn raw(response: impl Into<Vec<u8>>) -> String {
    RawReceiver::start(vec![response.into()], Duration::ZERO).await.url
}

/// Reads one request with `Content-Length`; `None` when the connection ends.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_lowercase();
            let length = lower.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                return Some(text);
            }
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

/// A server that keeps its first connection alive for one response. It closes this connection at the first byte of the
/// next request, or, if `second` is not empty, after sending it as the response. Further connections work. Counts the
/// requests with a whole response.
async fn closing_after_one_response(second: &'static [u8]) -> (String, tokio::sync::watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (requests, count) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        let mut is_first = true;
        while let Ok((mut stream, _)) = listener.accept().await {
            while read_request(&mut stream).await.is_some() {
                requests.send_modify(|count| *count += 1);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                if std::mem::take(&mut is_first) {
                    if second.is_empty() {
                        let _ = stream.read(&mut [0; 1]).await;
                    } else {
                        read_request(&mut stream).await.unwrap();
                        stream.write_all(second).await.unwrap();
                    }
                    break;
                }
            }
        }
    });
    (url, count)
}

#[tokio::test]
async fn request_on_a_connection_that_closes_is_sent_again_without_a_new_attempt() {
    let (url, count) = closing_after_one_response(b"").await;
    let sender = sender(true, Duration::from_secs(5));
    let first = attempt(&sender, &request(&url)).await.attempt;
    assert!(first.outcome == Outcome::Succeeded && !first.timings.resent && !first.timings.reused);
    let second = attempt(&sender, &request(&url)).await.attempt;
    assert_eq!(second.outcome, Outcome::Succeeded, "{:?}", second.diagnosis);
    assert!(second.timings.resent && !second.timings.reused && second.timings.connect_ms.is_some());
    assert_eq!(second.attempt, first.attempt, "it is not counted");
    assert_eq!(*count.borrow(), 2);
}

#[tokio::test]
async fn request_is_not_sent_again_after_a_byte_of_the_response_or_on_a_new_connection() {
    for first_bytes in [&b"H"[..], b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"] {
        let (url, count) = closing_after_one_response(first_bytes).await;
        let sender = sender(true, Duration::from_secs(5));
        assert_eq!(attempt(&sender, &request(&url)).await.attempt.outcome, Outcome::Succeeded);
        let broken = attempt(&sender, &request(&url)).await.attempt;
        assert_eq!(broken.diagnosis.code, Code::ConnectionFailed, "{:?}", broken.diagnosis);
        assert!(!broken.timings.resent);
        assert_eq!(*count.borrow(), 1);
    }
    let closed = raw("").await;
    let done = try_url(&closed).await.attempt;
    assert_eq!((done.diagnosis.code, done.timings.resent), (Code::ConnectionFailed, false));
}

#[tokio::test]
async fn token_request_on_a_connection_that_closes_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let token_url = format!("http://{}/token", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_request(&mut stream).await.unwrap();
            let body = r#"{"access_token":"token-1","expires_in":0}"#;
            let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(response.as_bytes()).await.unwrap();
            let _ = stream.read(&mut [0; 1]).await;
        }
    });
    let receiver = Receiver::start().await;
    let auth = Auth::Oauth2 {
        token_url,
        client_id: "berth".into(),
        client_secret: "s3cret-s3cret".into(),
        scope: None,
        audience: None,
    };
    let sender = sender(true, Duration::from_secs(5));
    for later in [0, 10, 20].map(Duration::from_secs) {
        let done = attempt_after(&sender, &request_with(&receiver.url, auth.clone(), Vec::new()), later).await;
        assert_eq!(done.attempt.outcome, Outcome::Succeeded, "{:?}", done.attempt.diagnosis);
    }
}

#[tokio::test]
async fn deviations_that_rfc_9112_tolerates_are_accepted() {
    let many = "X-Trace: 1\r\n".repeat(499);
    for head in [
        "HTTP/1.1 200 OK\r\nX-Folded: a\r\n  b\r\n\tc\r\n",
        "HTTP/1.1 200 OK\r\nX-Spaced : a\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\n",
        "HTTP/1.1 200 OK\r\n leading: space\r\nX-A: 1\r\n",
        "HTTP/1.1 200 OK\r\nX(invalid): a\r\n",
        "HTTP/1.1 200 OK\r\n: no name\r\n",
        "HTTP/1.1 200 OK\r\nX-Latin: \u{fc}\r\n",
        "HTTP/1.1 200\r\n",
        "HTTP/1.1 200 \r\n",
        "HTTP/1.1 299 Whatever\r\n",
        "\r\n\r\nHTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\nX-A: 1\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
        &format!("HTTP/1.1 200 OK\r\n{many}"),
    ] {
        let done = try_url(&raw(format!("{head}Content-Length: 2\r\n\r\nok")).await).await;
        assert_eq!(done.attempt.outcome, Outcome::Succeeded, "{head:?}: {:?}", done.attempt.diagnosis);
        assert_eq!(&done.response_body[..], b"ok", "{head:?}");
    }
    let folded = raw("HTTP/1.1 200 OK\r\nX-Folded: a\r\n  b\r\nX-Spaced : c\r\nContent-Length: 0\r\n\r\n").await;
    let headers = try_url(&folded).await.attempt.response.unwrap().headers;
    let value = |name: &str| headers.iter().find(|header| header.name == name).unwrap().value.clone();
    assert_eq!((value("x-folded").split_whitespace().collect::<Vec<_>>(), &*value("x-spaced")), (vec!["a", "b"], "c"));
}

#[tokio::test]
async fn malformed_header_is_named_in_the_diagnosis() {
    let many = "X-Trace: 1\r\n".repeat(501);
    for (response, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", "“Content-Length: two”"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "different values, 2 and 3"),
        ("HTTP/1.1 200 OK\r\nX-Bad: a\0b\r\n\r\n", "“X-Bad” contains a NUL"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "“Transfer-Encoding” is not allowed"),
        ("HTTP/1.1 OK\r\n\r\n", "the status line “HTTP/1.1 OK”"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "invalid chunk"),
        (&format!("HTTP/1.1 200 OK\r\n{many}\r\n"), "more than 500 headers"),
    ] {
        let diagnosis = try_url(&raw(response).await).await.attempt.diagnosis;
        assert_eq!(diagnosis.code, Code::NotHttp, "{response:?}: {diagnosis:?}");
        assert!(diagnosis.message.contains(expected), "{response:?}: {diagnosis:?}");
    }
}

#[tokio::test]
async fn response_without_the_end_of_its_headers_is_named() {
    let url = RawReceiver::start(vec![b"HTTP/1.1 200 OK\r\nX-A: 1\r\n".to_vec()], Duration::from_secs(60)).await.url;
    let done = attempt(&sender(true, Duration::from_millis(300)), &request(&url)).await;
    assert_eq!(done.attempt.diagnosis.code, Code::TimedOut);
    assert!(done.attempt.diagnosis.message.contains("headers did not end"), "{:?}", done.attempt.diagnosis);
}

#[tokio::test]
async fn http_version_of_the_response_is_recorded() {
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        let done = try_url(&raw(format!("{version} 200 OK\r\nContent-Length: 0\r\n\r\n")).await).await;
        assert_eq!(done.attempt.response.unwrap().version, version);
    }
}

#[tokio::test]
async fn header_names_are_sent_and_recorded_as_documented() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heads = Vec::new();
        for _ in 0..2 {
            heads.push(read_request(&mut stream).await.unwrap().split_once("\r\n\r\n").unwrap().0.to_owned());
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        }
        heads
    });
    let own = [("X-Team", "gpu"), ("x-lower", "1"), ("X-ODD-Case", "2")];
    let headers = own.map(|(name, value)| CustomHeader::new(name, value));
    let auth = Auth::ApiKey { header: "X-API-Key".into(), key: "very-secret-key".into() };
    let request = request_with(&url, auth, headers.into());
    let sender = sender(true, Duration::from_secs(5));
    let mut recorded = Vec::new();
    for _ in 0..2 {
        let done = attempt(&sender, &request).await;
        recorded = done.attempt.request.headers.into_iter().map(|header| header.name).collect();
    }
    let documented = [
        "Content-Type",
        "User-Agent",
        "Accept",
        "Accept-Encoding",
        "X-Webhook-Signature",
        "X-Webhook-Event",
        "X-Webhook-Delivery",
        "X-Webhook-Attempt",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "X-Team",
        "x-lower",
        "X-ODD-Case",
        "X-API-Key",
    ];
    assert_eq!(recorded, documented);
    for head in server.await.unwrap() {
        let names: Vec<&str> = head.lines().skip(1).map(|line| line.split_once(':').unwrap().0).collect();
        let mut expected = documented.to_vec();
        expected.extend(["Host", "Content-Length"]);
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        assert_eq!(
            sorted(names.into_iter().map(str::to_owned).collect()),
            sorted(expected.into_iter().map(str::to_owned).collect())
        );
        assert!(head.contains("Accept-Encoding: identity"), "{head}");
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn encoded_body_is_decoded_for_status_diagnosis_and_log() {
    const BODY: &str = r#"{"status":"failed","message":"no GPU"}"#;
    let receiver = Receiver::start().await;
    let marked = [b"\xef\xbb\xbf", BODY.as_bytes()].concat();
    for response in [
        Response::status(200).with_header("content-encoding", "gzip").with_body(gzip(BODY.as_bytes())),
        Response::status(200).with_body(marked.clone()),
        Response::status(200).with_header("content-encoding", "gzip").with_body(gzip(&marked)),
    ] {
        receiver.respond(response);
        let done = try_url(&receiver.url).await;
        assert_eq!(&done.response_body[..], BODY.as_bytes());
        assert_eq!(done.attempt.response.unwrap().body, BODY);
        assert_eq!(done.response_error, None);
    }
    let error = gzip(br#"{"detail":"Unsupported gpu_type"}"#);
    receiver.respond(Response::status(422).with_header("content-encoding", "gzip").with_body(error));
    let diagnosis = try_url(&receiver.url).await.attempt.diagnosis;
    assert!(diagnosis.message.contains("Unsupported gpu_type"), "{diagnosis:?}");
    // The cap of 64 KiB applies to decoded bytes.
    let bomb = gzip(&vec![b' '; 10 * 1_024 * 1_024]);
    receiver.respond(Response::status(200).with_header("content-encoding", "gzip").with_body(bomb));
    let done = try_url(&receiver.url).await;
    assert_eq!(done.attempt.diagnosis.code, Code::ResponseTooLarge);
    assert_eq!(done.response_body.len(), 64 * 1_024);
    // A body that cannot be decoded is a success whose meaning is unknown.
    receiver.respond(
        Response::status(200)
            .with_header("content-encoding", "gzip")
            .with_header("content-type", "application/json")
            .with_body("\x1f\x08broken"),
    );
    let done = try_url(&receiver.url).await;
    assert_eq!(done.attempt.outcome, Outcome::Succeeded);
    assert!(done.response_is_json && done.response_error.unwrap().contains("gzip"));
}

#[tokio::test]
async fn url_is_recorded_as_it_is_called() {
    let receiver = Receiver::start().await;
    let url = format!("{}/a/../b/%2e%2e/c d?x=\u{e4}", receiver.url.replace("http", "HTTP"));
    let done = try_url(&url).await;
    assert_eq!(receiver.last().path, "/c%20d?x=%C3%A4");
    assert_eq!(done.attempt.request.url, format!("{}{}", receiver.url, receiver.last().path));
}

#[tokio::test]
async fn request_without_a_connection_is_recorded_as_not_sent() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(!try_url(&format!("http://{closed}/")).await.attempt.request.sent);
    assert!(!try_url("http://nonexistent.invalid/").await.attempt.request.sent);
    assert!(try_url(&raw("").await).await.attempt.request.sent);
}

#[tokio::test]
async fn client_error_that_the_receiver_wraps_into_a_500_is_named() {
    let receiver = Receiver::start().await;
    let body = r#"{"event_type":"reservation.created","resource_type":"vm"}"#;
    let mut request = request(&receiver.url);
    request.body = body.into();
    for (status, detail, code, expected) in [
        (500, "Internal server error: 400: Unsupported resource type: vm", Code::BodyRefused, "resource type “vm”"),
        (400, "Unsupported resource type: vm", Code::BodyRefused, "resource type “vm”"),
        (500, "Internal server error: 400: Invalid JSON payload", Code::BodyRefused, "error 400: it did not accept"),
        (
            500,
            "Internal server error: 1 validation error for ReservationPayload\nuser_ssh_key\n  Field required",
            Code::BodyRefused,
            "1 validation error",
        ),
        (500, "Internal server error: 403: Forbidden", Code::CredentialsRefused, "error 403"),
        (500, "Internal server error: 404: no such cluster", Code::ClientError, "error 404"),
        (500, "Internal server error: Cannot connect to gpu-api:443: refused", Code::ServerError, "gpu-api:443"),
    ] {
        receiver.respond(Response::json(status, json!({"detail": detail})));
        let diagnosis = attempt(&sender(true, Duration::from_secs(5)), &request).await.attempt.diagnosis;
        assert_eq!(diagnosis.code, code, "{detail}: {diagnosis:?}");
        assert!(diagnosis.message.contains(expected), "{detail}: {diagnosis:?}");
    }
}
