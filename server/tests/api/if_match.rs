//! `ETag` and `If-Match` of webhooks: a change does not overwrite a concurrent one.

use crate::client::Reply;
use crate::support::TestServer;
use reqwest::Method;
use serde_json::{Value, json};
use test_support::{Receiver, on_both_databases};

on_both_databases![change_with_an_old_etag_is_refused_and_changes_nothing];

on_both_databases![sqlite only: etag_follows_each_change, invalid_if_match_is_named];

/// The path of a new webhook.
async fn webhook(t: &TestServer) -> String {
    t.resource("node-1", "available").await;
    format!("/webhooks/{}", t.webhook(&Receiver::start().await, json!({})).await.id())
}

async fn conditional(t: &TestServer, method: Method, path: &str, etag: &str, body: Value, expected: u16) -> Reply {
    let with = |request: reqwest::RequestBuilder| {
        let request = request.header("if-match", etag);
        if body.is_null() { request } else { request.json(&body) }
    };
    t.root.send(method, path, expected, with).await
}

async fn change_with_an_old_etag_is_refused_and_changes_nothing(t: TestServer) {
    let path = webhook(&t).await;
    let old = t.root.get(&path, 200).await.header("etag").to_owned();
    let changed = conditional(&t, Method::PATCH, &path, &old, json!({"name": "First"}), 200).await;
    assert_eq!(changed.text("name"), "First");
    let new = changed.header("etag").to_owned();
    assert_ne!(old, new);
    let refused = conditional(&t, Method::PATCH, &path, &old, json!({"name": "Second"}), 412).await;
    assert_eq!(refused.text("type"), "/problems/precondition-failed");
    let hint = t.root.get(&path, 200).await.text("secret_hint").to_owned();
    conditional(&t, Method::POST, &format!("{path}/rotate-secret"), &old, Value::Null, 412).await;
    conditional(&t, Method::DELETE, &path, &old, Value::Null, 412).await;
    let read = t.root.get(&path, 200).await;
    assert_eq!(
        (read.text("name"), read.text("secret_hint"), read.header("etag")),
        ("First", hint.as_str(), new.as_str())
    );
    // Of two changes with the same tag, one is made.
    let patches = ["A", "B"]
        .map(|name| t.root.request(Method::PATCH, &path).header("if-match", &new).json(&json!({"name": name})).send());
    let statuses = futures::future::join_all(patches).await.into_iter().map(|reply| reply.unwrap().status().as_u16());
    let mut statuses: Vec<u16> = statuses.collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    let current = t.root.get(&path, 200).await.header("etag").to_owned();
    conditional(&t, Method::POST, &format!("{path}/rotate-secret"), &current, Value::Null, 200).await;
    conditional(&t, Method::DELETE, &path, "*", Value::Null, 204).await;
}

async fn etag_follows_each_change(t: TestServer) {
    let path = webhook(&t).await;
    let etag = async || t.root.get(&path, 200).await.header("etag").to_owned();
    let mut seen = vec![etag().await];
    assert_eq!(seen[0], etag().await, "reading changes nothing");
    for action in ["pause", "resume", "rotate-secret"] {
        t.root.post(&format!("{path}/{action}"), Value::Null, 200).await;
        let now = etag().await;
        assert!(!seen.contains(&now), "{action}");
        seen.push(now);
    }
    // A proxy that compresses the response makes its tag weak.
    let weak = format!("W/{}", etag().await);
    conditional(&t, Method::PATCH, &path, &weak, json!({"name": "Renamed"}), 200).await;
}

async fn invalid_if_match_is_named(t: TestServer) {
    let path = webhook(&t).await;
    for invalid in ["3", "\"3", ""] {
        let reply = conditional(&t, Method::PATCH, &path, invalid, json!({"name": "x"}), 422).await;
        assert_eq!(reply.invalid_fields(), ["If-Match"], "{invalid:?}");
    }
}
