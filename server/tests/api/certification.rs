//! Certification of a webhook's receiver, and the check of signatures.

use crate::support::TestServer;
use domain::signature::{Secret, sign_body};
use serde_json::{Value, json};
use test_support::{Receiver, Response, on_both_databases};

on_both_databases![receiver_of_a_webhook_is_certified];

on_both_databases![sqlite only: certification_uses_the_settings_of_the_webhook, signature_check_names_the_cause];

/// The result of a check.
fn result<'a>(report: &'a Value, check: &str) -> &'a Value {
    report["checks"].as_array().unwrap().iter().find(|result| result["check"] == check).unwrap()
}

async fn receiver_of_a_webhook_is_certified(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let made = t.webhook(&receiver, json!({"secret": "a-secret-of-16-bytes"})).await;
    let secret = Secret::parse(made.text("secret")).unwrap();
    receiver.respond_with(move |got| match sign_body(&secret, &got.raw) == got.header("x-webhook-signature") {
        true => Response::json(200, json!({"status": "success", "message": "done"})),
        false => Response::json(500, json!({"detail": "Internal server error: 401: Invalid webhook signature"})),
    });
    let path = format!("/webhooks/{}", made.id());
    let report = t.root.post(&format!("{path}/conformance"), Value::Null, 200).await.body;
    assert_eq!(result(&report, "created")["verdict"], "passed", "{report:#}");
    assert_eq!(result(&report, "wrong_signature")["verdict"], "warning", "{report:#}");
    assert_eq!(result(&report, "missing_signature")["verdict"], "passed", "{report:#}");
    assert_eq!(result(&report, "old_timestamp")["verdict"], "warning", "{report:#}");
    assert_eq!(report["failed"], 0, "{report:#}");
    let counts = ["passed", "warnings", "failed", "skipped"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counts.iter().sum::<u64>() as usize, report["checks"].as_array().unwrap().len());
    let requests = receiver.requests();
    assert!(requests.iter().filter(|got| got.path != "/health").all(|got| got.body["test"] == true));
    assert_eq!(requests[0].text("resource_type"), "gpu-cluster");
    assert!(requests[0].text("status_url").starts_with(&t.url), "{}", requests[0].text("status_url"));
    // Neither log nor queue contain the requests, and the audit log has one entry.
    assert_eq!(t.root.get(&format!("/deliveries?webhook_id={}", made.id()), 200).await.items().len(), 0);
    let entries = t.root.get("/audit?action=webhook.certified", 200).await;
    assert_eq!(entries.items().len(), 1);
    assert_eq!(entries.items()[0]["target"]["id"], made.id().to_string());
}

async fn certification_uses_the_settings_of_the_webhook(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let auth = json!({"method": "api_key", "header": "X-API-Key", "key": "api-key-8675309"});
    let with = json!({
        "auth": auth, "delivery_paths": {"layout": "single"}, "headers": [{"name": "X-Team", "value": "ml"}],
        "events": ["reservation.created"], "enabled": false,
    });
    let id = t.webhook(&receiver, with).await.id();
    receiver.respond_with(|got| match got.header("x-api-key") {
        "api-key-8675309" => Response::json(200, json!({"status": "success"})),
        _ => Response::status(401),
    });
    let reply = t.root.post(&format!("/webhooks/{id}/conformance"), Value::Null, 200).await;
    assert_eq!(result(&reply.body, "credentials")["verdict"], "passed", "{}", reply.text);
    assert_eq!(result(&reply.body, "wrong_signature")["verdict"], "failed", "{}", reply.text);
    assert_eq!(result(&reply.body, "missing_signature")["verdict"], "skipped", "{}", reply.text);
    assert!(!reply.text.contains("api-key-8675309"), "{}", reply.text);
    let paths: Vec<String> = receiver.requests().into_iter().map(|got| got.path).collect();
    assert!(paths.iter().all(|path| path == &paths[0] || path == "/health"), "{paths:?}");
    assert_eq!(receiver.requests()[0].header("x-team"), "ml");
    t.alice.post(&format!("/webhooks/{id}/conformance"), Value::Null, 403).await;
    t.root.post("/webhooks/999/conformance", Value::Null, 404).await;
}

async fn signature_check_names_the_cause(t: TestServer) {
    let secret = Secret::parse("a-secret-of-16-bytes").unwrap();
    let body = r#"{"event_type":"reservation.created"}"#;
    let input = |body: &str, value: &str| {
        json!({
            "body": body, "secret": "a-secret-of-16-bytes",
            "headers": [{"name": "X-Webhook-Signature", "value": value}],
        })
    };
    let signature = sign_body(&secret, body.as_bytes());
    for (input, valid, cause) in [
        (input(body, &signature), true, "none"),
        (input(&format!("{body}\n"), &signature), false, "body_trimmed"),
        (input(&body.replace(':', ": "), &signature), false, "body_reserialised"),
        (input(body, &signature[7..]), false, "prefix_missing"),
        (input(&body.replace("created", "updated"), &signature), false, "wrong_secret"),
    ] {
        let reply = t.alice.post("/tools/signature-check", input, 200).await;
        assert_eq!((&reply.body["valid"], &reply.body["headers"][0]["cause"]), (&json!(valid), &json!(cause)));
        assert!(!reply.text.contains("a-secret"), "{}", reply.text);
    }
    let empty = json!({"body": "", "headers": [], "secret": ""});
    t.alice.post_invalid("/tools/signature-check", empty, &["secret"]).await;
    t.anonymous.post("/tools/signature-check", input(body, &signature), 401).await;
}
