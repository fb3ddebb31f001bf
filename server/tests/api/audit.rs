//! `/api/v1/audit`: filters, pages, export.

use crate::support::TestServer;
use serde_json::{Value, json};
use test_support::on_both_databases;

on_both_databases![list_is_filtered_and_paged, export_is_one_json_object_per_line];

on_both_databases![sqlite only: invalid_filters_are_named, repeated_request_that_shows_a_secret_has_an_entry];

async fn list_is_filtered_and_paged(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    t.booking(&t.alice, resource, 1, 2).await;
    let entry = t.root.get("/audit?actor=alice", 200).await.items()[0].clone();
    assert_eq!(entry["action"], "reservation.created");
    assert_eq!(entry["credential"]["type"], "api_token");
    assert_eq!(entry["credential"]["name"], "test");
    assert_eq!(entry["source"], "127.0.0.1");
    assert!(entry["request_id"].as_str().unwrap().starts_with("req_"), "{entry}");
    let count = async |query: &str| t.root.pages(&format!("/audit?{query}"), 2).await.len();
    assert_eq!(count("action=resource.created").await, 1);
    assert_eq!(count(&format!("target_type=resource&target_id={resource}")).await, 1);
    assert_eq!(count("source=192.0.2.1").await, 0);
    assert_eq!(count("outcome=refused").await, 0);
    assert_eq!(count(&format!("since={}", t.hours(1))).await, 0);
    assert!(count(&format!("until={}", t.hours(1))).await > 5);
    t.alice.get("/audit", 403).await;
    assert_eq!(count("outcome=refused&action=request.refused&actor=alice").await, 1);
}

async fn export_is_one_json_object_per_line(t: TestServer) {
    let reply = t.root.get("/audit/export?target_type=user", 200).await;
    assert_eq!(reply.header("content-type"), "application/jsonl");
    assert!(reply.header("content-disposition").contains("berth-audit.jsonl"));
    let lines: Vec<Value> = reply.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let listed = t.root.get("/audit?target_type=user", 200).await;
    let mut listed = listed.items().to_vec();
    listed.reverse();
    assert_eq!(lines, listed, "oldest first, with the same entries");
    assert_eq!(t.root.get("/audit?action=audit_log.exported", 200).await.items().len(), 1);
    t.alice.get("/audit/export", 403).await;
}

async fn invalid_filters_are_named(t: TestServer) {
    for (query, field) in [
        ("action=webhook.exploded", "action"),
        ("target_type=planet", "target_type"),
        ("outcome=maybe", "outcome"),
        ("since=yesterday", "since"),
        ("until=2026-13-01", "until"),
        ("cursor=x", "cursor"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("colour=red", "colour"),
    ] {
        let reply = t.root.get(&format!("/audit?{query}"), 422).await;
        assert_eq!(reply.invalid_fields(), [field], "{query}: {}", reply.text);
    }
    for (query, field) in [("action=x", "action"), ("limit=5", "limit"), ("since=x", "since")] {
        let reply = t.root.get(&format!("/audit/export?{query}"), 422).await;
        assert_eq!(reply.invalid_fields(), [field], "{query}: {}", reply.text);
    }
    assert_eq!(t.root.get("/audit?actor=%00", 422).await.invalid_fields(), ["actor"]);
}

async fn repeated_request_that_shows_a_secret_has_an_entry(t: TestServer) {
    let input = json!({"name": "ci"});
    let browser = t.browser("alice").await;
    let request = |r: reqwest::RequestBuilder| r.header("idempotency-key", "key-1").json(&input);
    let first = browser.send(reqwest::Method::POST, "/tokens", 201, request).await;
    let second = browser.send(reqwest::Method::POST, "/tokens", 201, request).await;
    assert_eq!(first.text("token"), second.text("token"));
    let repeated = t.root.get("/audit?action=request.repeated", 200).await.items().to_vec();
    assert_eq!(repeated.len(), 1);
    assert_eq!((&repeated[0]["actor"], &repeated[0]["target"]["id"]), (&json!("alice"), &json!("key-1")));
    assert_eq!(repeated[0]["source"], "127.0.0.1");
    assert_eq!(t.root.get("/audit?action=token.created&actor=alice", 200).await.items().len(), 1);
}
