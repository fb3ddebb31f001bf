//! Line breaks and control characters in paths, headers and names do not reach response headers.

use super::{send_raw, status_of};
use crate::support::TestServer;
use reqwest::Method;
use serde_json::json;
use test_support::on_both_databases;

on_both_databases![sqlite only:
    encoded_line_breaks_add_no_response_header,
    control_characters_in_headers_are_rejected,
    smuggled_requests_are_rejected,
];

async fn encoded_line_breaks_add_no_response_header(t: TestServer) {
    // 503 if the page has not been built, otherwise 200.
    let page = t.root.request(Method::GET, "//login").send().await.unwrap().status();
    let injected = "%0d%0aSet-Cookie:%20berth_session=evil%0d%0aX-Injected:%201";
    for path in [
        format!("//{injected}"),
        format!("//frontend_bg-0123456789abcdef.wasm?attempt={injected}"),
        format!("//api/{injected}"),
        format!("/reservations/{injected}"),
        format!("/reservations?status={injected}"),
        format!("//api/docs?{injected}"),
        format!("//login?to={injected}"),
    ] {
        let reply = t.root.request(Method::GET, &path).send().await.unwrap();
        assert!(!reply.headers().contains_key("x-injected") && !reply.headers().contains_key("set-cookie"), "{path}");
        assert!(reply.status().as_u16() < 500 || reply.status() == page, "{path}: {}", reply.status());
    }
    // A name with a line break is data, or it is rejected.
    let alice = t.browser("alice").await;
    for name in ["a\r\nX-Injected: 1", "a\nb", "\u{1b}[2J"] {
        let body = json!({"username": name, "password": "wrong password"});
        let reply = t.anonymous.send(Method::POST, "/session", 401, |r| r.json(&body)).await;
        assert_eq!(reply.header("x-injected"), "");
        alice.post_invalid("/tokens", json!({"name": name}), &["name"]).await;
    }
}

async fn control_characters_in_headers_are_rejected(t: TestServer) {
    let address = t.url.strip_prefix("http://").unwrap();
    for header in ["X-Request-Id: a\u{0}b", "X-Request-Id: a\u{1b}[2Jb", "Cookie: berth_session=a\u{0}b", "X-Y\u{0}: 1"]
    {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n{header}\r\nConnection: close\r\n\r\n");
        let response = send_raw(&t, &request).await;
        // An invalid request id may also be replaced.
        assert!(!response.contains('\u{0}') && !response.contains('\u{1b}'), "{response:?}");
        assert!(matches!(status_of(&response), 200 | 400), "{response:?}");
    }
    let request =
        format!("GET /api/v1/setup HTTP/1.1\r\nHost: {address}\r\nX-Request-Id: a b\r\nConnection: close\r\n\r\n");
    assert!(send_raw(&t, &request).await.contains("x-request-id: req_"), "an invalid id is not logged");
}

/// A second request hidden in the body of the first one must not be handled.
async fn smuggled_requests_are_rejected(t: TestServer) {
    let address = t.url.strip_prefix("http://").unwrap();
    let hidden = format!("GET /api/v1/setup HTTP/1.1\r\nHost: {address}\r\n\r\n");
    for framing in [
        format!("Content-Length: {}\r\nContent-Length: 0\r\n", hidden.len()),
        "Content-Length: 5, 6\r\n".to_owned(),
        "Content-Length: +5\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
    ] {
        let request = format!(
            "POST /api/v1/session HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n{framing}\r\n{hidden}"
        );
        let response = send_raw(&t, &request).await;
        assert_eq!(status_of(&response), 400, "{framing:?}: {response:?}");
        assert!(!response.contains("needs_setup"), "{framing:?}: {response:?}");
    }
}
