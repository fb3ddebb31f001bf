//! Access information before the start of a reservation, in every response of the API and of the page.

use crate::client::TestClient;
use crate::support::TestServer;
use chrono::Duration;
use domain::authorization::Role;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use test_support::{Receiver, Response, eventually, on_both_databases};

on_both_databases![no_response_of_the_api_contains_hidden_access_information];

on_both_databases![sqlite only: delivery_log_of_auditors_withholds_responses_until_the_start];

/// A text that occurs nowhere else.
const SECRET: &str = "hiddenuntilthestart";

/// A type that hides access information, a receiver that sends it, and a reservation of Alice that is ready. Returns the ids of
/// objects by the part of the path before the id.
async fn hidden_reservation(t: &TestServer) -> (Receiver, BTreeMap<&'static str, String>) {
    let resource = t.resource("node-1", "available").await;
    t.root.patch("/resource-types/gpu-cluster", json!({"access_before_start": "hide"}), 200).await;
    let receiver = Receiver::start().await;
    let access = json!({"ip_address": SECRET, "connection_command": format!("ssh {SECRET}")});
    let details = json!({"access_info": access, "console": SECRET});
    receiver.respond(Response::json(200, json!({"status": "success", "details": details})));
    let webhook = t.webhook(&receiver, json!({})).await.id();
    let id = t.booking(&t.alice, resource, 1, 2).await;
    t.provisioning(&id, "ready").await;
    let delivery = t.finished("", 1).await[0]["id"].as_str().unwrap().to_owned();
    let ids = [
        ("reservations", id),
        ("webhooks", webhook.to_string()),
        ("deliveries", delivery),
        ("resource-types", "gpu-cluster".to_owned()),
        ("resources", resource.to_string()),
        ("users", "alice".to_owned()),
    ];
    (receiver, ids.into())
}

/// The paths of all operations that read, with existing ids and the required parameters. The live feed has its own test.
async fn paths(t: &TestServer, ids: &BTreeMap<&'static str, String>) -> Vec<String> {
    let document = t.anonymous.get("/openapi.json", 200).await.body;
    let mut paths = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        if item["get"].is_null() || path.ends_with("/stream") {
            continue;
        }
        let path = path.trim_start_matches("/api/v1");
        let mut previous = "";
        let with_id = |part| {
            let known = ids.get(std::mem::replace(&mut previous, part));
            if part.starts_with('{') { known.map_or("1", String::as_str) } else { part }
        };
        let parts: Vec<&str> = path.split('/').map(with_id).collect();
        let query = match path {
            "/calendar" | "/metrics/deliveries" => format!("?from={}&to={}", t.hours(0), t.hours(3)),
            "/lookup" => format!("?id={}", ids["reservations"]),
            "/deliveries/export" => "?format=jsonl".to_owned(),
            _ => String::new(),
        };
        paths.push(format!("{}{query}", parts.join("/")));
    }
    assert!(paths.len() > 30, "{paths:?}");
    paths
}

async fn body_of(client: &TestClient, path: &str) -> String {
    client.request(Method::GET, path).send().await.unwrap().text().await.unwrap()
}

async fn no_response_of_the_api_contains_hidden_access_information(t: TestServer) {
    let (_receiver, ids) = hidden_reservation(&t).await;
    let id = ids["reservations"].clone();
    let auditor = t.person("eve", Role::Auditor).await;
    let owner = t.person("olga", Role::User).await;
    t.owners("/resource-types/gpu-cluster", json!({"users": ["olga"]})).await;
    for (who, client) in [("alice", &t.alice), ("bob", &t.bob), ("root", &t.root), ("eve", &auditor), ("olga", &owner)]
    {
        for path in paths(&t, &ids).await {
            // They operate the receiver.
            let manages = matches!(who, "root" | "olga");
            if manages && path.starts_with("/deliveries/dlv_") {
                continue;
            }
            let body = body_of(client, &path).await;
            assert!(!body.contains(SECRET), "{who}: {path} returns {body}");
        }
    }
    let path = format!("/reservations/{id}");
    let changed = t.alice.patch(&path, json!({"title": "Renamed"}), 200).await;
    assert!(!changed.text.contains(SECRET), "{}", changed.text);
    let start = changed.body["start_time"].clone();
    assert_eq!(changed.body["provisioning"]["access_available_at"], start);
    assert_eq!(changed.body["provisioning"]["services"][0]["access_available_at"], start);
    let extended = t.alice.post(&format!("{path}/extend"), json!({"minutes": 30}), 200).await;
    assert!(!extended.text.contains(SECRET), "{}", extended.text);
    let browser = t.browser("alice").await;
    let functions = [
        ("get-reservation", json!({"id": id})),
        ("list-reservations", json!({"filter": {}, "page": {}})),
        ("next-reservations", json!({})),
    ];
    let rpc = async |name: &str, body: &Value| {
        browser.send(Method::POST, &format!("//rpc/{name}"), 200, |request| request.json(body)).await.text
    };
    for (name, body) in &functions {
        let text = rpc(name, body).await;
        assert!(text.contains(&id) && !text.contains(SECRET), "{name} returns {text}");
    }

    t.clock.advance(Duration::hours(1) + Duration::seconds(1));
    let shown = t.alice.get(&path, 200).await;
    assert_eq!(shown.body["provisioning"]["access_info"]["ip_address"], SECRET);
    assert_eq!(shown.body["provisioning"].get("access_available_at"), None);
    for (name, body) in &functions {
        assert!(rpc(name, body).await.contains(SECRET), "{name}");
    }
    // No event has the access information, also after the start.
    for delivery in t.finished("", 3).await {
        let detail = t.root.get(&format!("/deliveries/{}", delivery["id"].as_str().unwrap()), 200).await;
        assert!(!detail.text("body").contains(SECRET), "{}", detail.text);
    }
}

async fn delivery_log_of_auditors_withholds_responses_until_the_start(t: TestServer) {
    let (_receiver, ids) = hidden_reservation(&t).await;
    let auditor = t.person("eve", Role::Auditor).await;
    let path = format!("/deliveries/{}", ids["deliveries"]);
    let count = async |client: &TestClient| {
        client.get(&format!("/deliveries/count?q={SECRET}"), 200).await.body["count"].as_i64().unwrap()
    };
    eventually("the index of the texts", async || (count(&t.root).await == 1).then_some(())).await;
    assert_eq!(count(&auditor).await, 0);
    let seen = t.root.get(&path, 200).await;
    assert!(seen.text.contains(SECRET) && seen.body["responses_withheld"] == false, "{}", seen.text);
    let seen = auditor.get(&path, 200).await;
    assert_eq!(seen.body["responses_withheld"], true);
    let attempt = &seen.body["attempt_log"][0];
    assert_eq!((&attempt["status_code"], &attempt["response"]["body"]), (&json!(200), &json!("")));
    assert_eq!((&attempt["response"]["headers"], &attempt["effect"]), (&json!([]), &Value::Null));
    t.clock.advance(Duration::hours(1) + Duration::seconds(1));
    assert!(auditor.get(&path, 200).await.text.contains(SECRET));
    assert_eq!(count(&auditor).await, 1);
}
