//! Call-backs of receivers of the older reservation system (docs/contract.md §8).

use crate::support::{TestServer, wire};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Duration;
use domain::signature::{Secret, sign_classic};
use reqwest::Method;
use serde_json::{Value, json};
use test_support::{Receiver, Response, eventually, on_both_databases};

on_both_databases![
    notification_reaches_the_user_and_the_reservation_once,
    call_back_during_the_open_request_is_served,
    log_is_an_entry_of_the_audit_log,
];

on_both_databases![sqlite only: call_backs_without_a_valid_signature_change_nothing];

const SECRET: &str = "classic-secret-5309";

async fn classic(t: &TestServer) -> (Receiver, i64, i64) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let with = json!({"payload_format": "classic", "secret": SECRET});
    let webhook = t.webhook(&receiver, with).await.id();
    (receiver, webhook, resource)
}

/// Posts a call-back as a receiver of the older system does. Returns the status.
async fn call_back(t: &TestServer, path: &str, body: &Value, signature: Option<String>) -> u16 {
    let text = body.to_string();
    let mut request = t.anonymous.request(Method::POST, path).header("content-type", "application/json");
    if let Some(signature) = signature {
        request = request.header("x-webhook-signature", signature);
    }
    request.body(text).send().await.unwrap().status().as_u16()
}

fn sign(body: &Value) -> Option<String> {
    Some(sign_classic(&Secret::parse(SECRET).unwrap(), body.to_string().as_bytes()))
}

fn notification(t: &TestServer, webhook: i64, event_id: &Value, event_type: &str) -> Value {
    json!({
        "webhookId": webhook.to_string(), "userId": "bob", "message": "Your server is ready.", "type": "SUCCESS",
        "eventId": event_id, "resourceId": "node-1", "eventType": event_type,
        "metadata": {"timestamp": wire(t.now())},
    })
}

/// Starts a reservation of bob; returns its id and the number of its event.
async fn started(t: &TestServer, receiver: &Receiver, resource: i64) -> (String, Value) {
    let id = t.booking(&t.bob, resource, 1, 3).await;
    t.clock.advance(Duration::hours(1) + Duration::seconds(1));
    let event_id = eventually("EVENT_START", async || {
        receiver
            .requests()
            .iter()
            .find(|got| got.text("eventType") == "EVENT_START")
            .map(|got| got.body["eventId"].clone())
    })
    .await;
    (id, event_id)
}

const NOTIFY: &str = "//api/notifications/webhook";
const LOG: &str = "//api/webhooks/log";

async fn notification_reaches_the_user_and_the_reservation_once(t: TestServer) {
    let (receiver, webhook, resource) = classic(&t).await;
    receiver.respond(Response::json(202, json!({"status": "accepted"})));
    let (id, event_id) = started(&t, &receiver, resource).await;
    t.finished(&format!("reservation_id={id}"), 1).await;
    let status = async || t.bob.get(&format!("/reservations/{id}"), 200).await.body["provisioning"]["status"].clone();
    assert_eq!(status().await, "provisioning");
    let body = notification(&t, webhook, &event_id, "PROVISIONING_COMPLETED");
    assert_eq!(call_back(&t, NOTIFY, &body, sign(&body)).await, 200);
    assert_eq!(status().await, "ready");
    let messages = async || {
        let reply = t.bob.get("/notifications", 200).await;
        reply.items().iter().filter(|one| one["message"] == "Your server is ready.").count()
    };
    assert_eq!(messages().await, 1);
    assert_eq!(call_back(&t, NOTIFY, &body, sign(&body)).await, 200, "a repeated one is accepted");
    assert_eq!(messages().await, 1, "and has no effect");
    // Without a known event id, the active reservation of the user on the resource is meant.
    let mut other = notification(&t, webhook, &json!("event-0b2c"), "PROVISIONING_FAILED");
    other["message"] = json!("It broke.");
    assert_eq!(call_back(&t, NOTIFY, &other, sign(&other)).await, 200);
    assert_eq!(status().await, "failed");
    other["userId"] = json!("alice");
    assert_eq!(call_back(&t, NOTIFY, &other, sign(&other)).await, 404, "not a reservation of alice");
}

/// The receiver calls back before it responds to `EVENT_START`.
async fn call_back_during_the_open_request_is_served(t: TestServer) {
    let (receiver, webhook, resource) = classic(&t).await;
    receiver.hold();
    let (id, event_id) = started(&t, &receiver, resource).await;
    let body = notification(&t, webhook, &event_id, "PROVISIONING_COMPLETED");
    assert_eq!(call_back(&t, NOTIFY, &body, sign(&body)).await, 200);
    let log = json!({"webhookId": webhook.to_string(), "eventType": "EVENT_START", "success": true, "statusCode": 200});
    assert_eq!(call_back(&t, LOG, &log, sign(&log)).await, 201);
    receiver.release();
    t.finished(&format!("reservation_id={id}"), 1).await;
    let seen = t.bob.get(&format!("/reservations/{id}"), 200).await.body;
    assert_eq!(seen["provisioning"]["status"], "ready");
}

async fn log_is_an_entry_of_the_audit_log(t: TestServer) {
    let (_receiver, webhook, _) = classic(&t).await;
    let body = json!({
        "webhookId": webhook.to_string(), "eventType": "EVENT_START", "payload": "{}", "statusCode": 500,
        "response": "No image", "success": false, "retryCount": 0,
        "metadata": {"errorMessage": "image not found", "timestamp": wire(t.now())},
    });
    assert_eq!(call_back(&t, LOG, &body, sign(&body)).await, 201);
    assert_eq!(call_back(&t, LOG, &body, sign(&body)).await, 201);
    let entries = t.root.get("/audit?action=webhook.log_received", 200).await;
    assert_eq!(entries.items().len(), 1, "a repeated one has no entry");
    let entry = &entries.items()[0];
    assert_eq!(entry["target"]["id"], webhook.to_string());
    let value = |field: &str| {
        let changes = entry["changes"].as_array().unwrap();
        changes.iter().find(|change| change["field"] == field).map(|change| change["after"].clone())
    };
    assert_eq!(value("status_code"), Some(json!(500)));
    assert_eq!(value("error"), Some(json!("image not found")));
    let mut old = body.clone();
    old["metadata"]["timestamp"] = json!(wire(t.now() - Duration::minutes(6)));
    assert_eq!(call_back(&t, LOG, &old, sign(&old)).await, 401, "too old");
}

async fn call_backs_without_a_valid_signature_change_nothing(t: TestServer) {
    let (receiver, webhook, resource) = classic(&t).await;
    let (_, event_id) = started(&t, &receiver, resource).await;
    let body = notification(&t, webhook, &event_id, "PROVISIONING_FAILED");
    let other = sign_classic(&Secret::parse("another-secret-1").unwrap(), body.to_string().as_bytes());
    let hex = domain::signature::sign_body(&Secret::parse(SECRET).unwrap(), body.to_string().as_bytes());
    for signature in [None, Some(other), Some(hex), Some(STANDARD.encode([0; 32])), Some(String::new())] {
        for path in [NOTIFY, LOG] {
            assert_eq!(call_back(&t, path, &body, signature.clone()).await, 401, "{signature:?}");
        }
    }
    // A webhook of another format is not named by its secret alone.
    let usual = t.webhook(&Receiver::start().await, json!({"secret": SECRET})).await.id();
    let named = notification(&t, usual, &event_id, "PROVISIONING_FAILED");
    assert_eq!(call_back(&t, NOTIFY, &named, sign(&named)).await, 401);
    let large = json!({"webhookId": webhook, "userId": "bob", "message": "x".repeat(65 * 1024)});
    assert_eq!(call_back(&t, NOTIFY, &large, sign(&large)).await, 413);
    let empty = json!({"webhookId": webhook});
    assert_eq!(call_back(&t, NOTIFY, &empty, sign(&empty)).await, 422);
    let messages = t.bob.get("/notifications", 200).await;
    assert!(messages.items().iter().all(|one| one["message"] != "Your server is ready."));
}
