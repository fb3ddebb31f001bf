//! Monitoring of webhooks and alerts over HTTP.

use crate::support::TestServer;
use serde_json::{Value, json};
use test_support::{Receiver, eventually, on_both_databases};

on_both_databases![
    monitoring_is_changed_and_its_errors_name_fields,
    channel_secret_is_shown_once_and_its_url_is_masked,
    worker_checks_health_and_sends_the_alert,
];

async fn monitoring_is_changed_and_its_errors_name_fields(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let id = t.webhook(&receiver, json!({})).await.id();
    let path = format!("/webhooks/{id}/monitoring");
    let first = t.root.get(&path, 200).await.body;
    assert_eq!(first["settings"]["health_path"], Value::Null);
    assert_eq!(first["rules"].as_array().unwrap().len(), 7);
    assert_eq!((&first["token"], &first["pause"]), (&Value::Null, &Value::Null));
    let invalid =
        json!({"health_path": "https://other.example/", "health_interval_seconds": 5, "pause_after_minutes": 0});
    t.root.patch_invalid(&path, invalid, &["health_path", "health_interval_seconds", "pause_after_minutes"]).await;
    let rule = json!({"kind": "error_rate", "enabled": true, "threshold": 2, "clear_threshold": 0.1, "for_seconds": 0});
    t.root.patch_invalid(&path, json!({"rules": [rule]}), &["rules.0.threshold"]).await;
    t.root.patch_invalid(&path, json!({"resume_on_recovery": true}), &["resume_on_recovery"]).await;
    let patch = json!({"health_path": "/health", "pause_after_minutes": 30, "resume_on_recovery": true});
    let changed = t.root.patch(&path, patch, 200).await.body;
    assert_eq!(
        changed["settings"],
        json!({"health_path": "/health", "health_interval_seconds": 60, "pause_after_minutes": 30, "resume_on_recovery": true})
    );
    // An absent field is unchanged, and null turns a setting off.
    let changed = t.root.patch(&path, json!({"pause_after_minutes": null}), 200).await.body;
    assert_eq!(changed["settings"]["health_path"], "/health");
    assert_eq!(changed["settings"]["pause_after_minutes"], Value::Null);
    t.root.get("/webhooks/999/monitoring", 404).await;
    t.root.post(&format!("/webhooks/{id}/oauth-token"), Value::Null, 409).await;
    t.root.post(&format!("/webhooks/{id}/recover"), Value::Null, 409).await;
    let muted = json!({"kind": "health", "until": crate::support::wire(t.now() + chrono::Duration::days(31))});
    t.root.post_invalid(&format!("/webhooks/{id}/alerts/mute"), muted, &["until"]).await;
    t.root.get("/alerts?firing=perhaps", 422).await;
}

async fn channel_secret_is_shown_once_and_its_url_is_masked(t: TestServer) {
    let receiver = Receiver::start().await;
    let url = format!("{}/services/T0000/B0000/very-secret", receiver.url);
    let set = t.root.put("/alerts/channels", json!({"webhook": {"url": url}}), 200).await;
    assert!(set.text("secret").starts_with("whsec_"));
    let read = t.root.get("/alerts/channels", 200).await;
    assert_eq!(read.body.get("secret"), None);
    assert!(!read.text.contains("T0000"), "{}", read.text);
    // A change of the format keeps URL and secret.
    let changed = t.root.put("/alerts/channels", json!({"webhook": {"format": "slack"}}), 200).await.body;
    assert_eq!(changed["webhook"]["secret_hint"], read.body["webhook"]["secret_hint"]);
    assert_eq!((changed.get("secret"), &changed["webhook"]["format"]), (None, &json!("slack")));
    let results = t.root.post("/alerts/test", Value::Null, 200).await.body;
    assert_eq!(results["results"][0]["error"], Value::Null);
    assert_eq!(receiver.last().path, "/services/T0000/B0000/very-secret");
    // Like those of webhooks, its address is checked.
    let invalid = t.root.put("/alerts/channels", json!({"webhook": {"url": "http://10.0.0.1/"}}), 422).await;
    assert_eq!(invalid.invalid_fields(), ["webhook.url"]);
    t.root.put("/alerts/channels", json!({"webhook": null}), 200).await;
    t.root.post("/alerts/test", Value::Null, 409).await;
}

async fn worker_checks_health_and_sends_the_alert(t: TestServer) {
    t.resource("node-1", "available").await;
    let (receiver, operations) = (Receiver::start().await, Receiver::start().await);
    receiver.respond(test_support::Response::status(503));
    let id = t.webhook(&receiver, json!({})).await.id();
    let channel = json!({"webhook": {"url": format!("{}/alerts", operations.url)}});
    t.root.put("/alerts/channels", channel, 200).await;
    let rule = json!({"kind": "health", "enabled": true, "threshold": 1, "clear_threshold": 0, "for_seconds": 0});
    let patch = json!({"health_path": "/health", "rules": [rule]});
    t.root.patch(&format!("/webhooks/{id}/monitoring"), patch, 200).await;
    let alert = eventually("an alert", async || {
        let alerts = t.root.get("/alerts?firing=true", 200).await;
        alerts.items().first().cloned()
    })
    .await;
    assert_eq!((&alert["kind"], &alert["webhook_id"]), (&json!("health"), &json!(id)));
    operations.wait_for(1).await;
    assert_eq!(operations.last().header("x-webhook-event"), "alert.firing");
}
