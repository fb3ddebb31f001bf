//! Cross-site requests and session fixation. `process.rs` has the variants of `Origin` for operations with a session.

use crate::support::{PASSWORD, TestServer};
use reqwest::Method;
use serde_json::json;
use test_support::on_both_databases;

on_both_databases![sqlite only:
    foreign_page_cannot_log_a_reader_in,
    simple_requests_of_forms_are_rejected,
    method_cannot_be_overridden,
    planted_session_is_replaced_at_log_in,
];

/// A foreign page could log its reader in to the account of the attacker, and read what the reader enters.
async fn foreign_page_cannot_log_a_reader_in(t: TestServer) {
    let body = json!({"username": "alice", "password": PASSWORD});
    let address = t.url.strip_prefix("http://").unwrap();
    for (name, value) in [
        ("origin", "https://evil.example".to_owned()),
        ("origin", "null".to_owned()),
        ("origin", format!("https://{address}.evil.example")),
        ("origin", format!("http://evil.example/{address}")),
        ("origin", format!("http://user@{address}")),
        ("sec-fetch-site", "cross-site".to_owned()),
        ("sec-fetch-site", "same-site".to_owned()),
    ] {
        let reply = t.anonymous.send(Method::POST, "/session", 403, |r| r.header(name, &value).json(&body)).await;
        assert_eq!(reply.text("type"), "/problems/foreign-origin", "{name}: {value}");
        assert_eq!(reply.header("set-cookie"), "", "{name}: {value}");
    }
}

/// Forms of a foreign page can send three content types without a preflight request.
async fn simple_requests_of_forms_are_rejected(t: TestServer) {
    let session = t.log_in("root", PASSWORD, 200).await.session();
    let body = r#"{"slug": "vm", "name": "VM"}"#;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let request = |r: reqwest::RequestBuilder| {
            r.header("cookie", format!("berth_session={session}")).header("content-type", content_type).body(body)
        };
        t.anonymous.send(Method::POST, "/resource-types", 403, request).await;
        let own = |r: reqwest::RequestBuilder| request(r).header("origin", &t.url);
        t.anonymous.send(Method::POST, "/resource-types", 415, own).await;
    }
    assert!(t.root.get("/resource-types", 200).await.items().is_empty());
}

async fn method_cannot_be_overridden(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let path = format!("/resources/{resource}");
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        t.root.send(Method::GET, &path, 200, |r| r.header(name, "DELETE")).await;
    }
    t.root.send(Method::GET, &format!("//api/v1{path}"), 200, |r| r).await;
    t.root.send(Method::GET, &format!("{path}?_method=DELETE"), 422, |r| r).await;
    t.root.get(&path, 200).await;
}

/// An attacker who can set a cookie knows its value.
async fn planted_session_is_replaced_at_log_in(t: TestServer) {
    let body = json!({"username": "alice", "password": PASSWORD});
    let attacker = t.log_in("bob", PASSWORD, 200).await.session();
    for planted in ["planted", &attacker] {
        let request = |r: reqwest::RequestBuilder| {
            r.header("cookie", format!("berth_session={planted}")).header("origin", &t.url).json(&body)
        };
        let reply = t.anonymous.send(Method::POST, "/session", 200, request).await;
        assert_ne!(reply.session(), planted);
        let known = t.anonymous.with_session(planted).request(Method::GET, "/session").send().await.unwrap();
        assert!(!known.text().await.unwrap().contains("\"alice\""), "the attacker has no session of alice");
    }
    let (first, second) = (t.log_in("alice", PASSWORD, 200).await, t.log_in("alice", PASSWORD, 200).await);
    assert_ne!(first.session(), second.session());
}
