//! The check of a webhook's settings before they are saved.

use crate::support::{TestServer, webhook_input};
use domain::signature::{Secret, sign_body};
use serde_json::{Value, json};
use test_support::{ReceivedRequest, Receiver, Response, on_both_databases};

on_both_databases![draft_is_checked_and_not_saved];

on_both_databases![sqlite only:
    each_property_of_a_receiver_has_a_verdict_and_a_remedy,
    unreachable_receiver_gets_a_remedy_and_no_further_request,
    draft_of_a_stored_webhook_uses_its_secrets,
    stored_credentials_are_not_sent_to_another_server,
    invalid_draft_names_its_fields_and_sends_nothing,
    blocked_address_is_not_called,
];

const SECRET: &str = "a-secret-of-16-bytes";
const PATH: &str = "/tools/webhook-check";

/// Responds with 401 unless the request is signed with [`SECRET`].
fn verify(got: &ReceivedRequest) -> Response {
    let secret = Secret::parse(SECRET).unwrap();
    match got.path == "/health" || sign_body(&secret, &got.raw) == got.header("x-webhook-signature") {
        true => Response::json(200, json!({"status": "success"})),
        false => Response::json(401, json!({"detail": "Invalid webhook signature"})),
    }
}

fn draft(receiver: &Receiver, with: Value) -> Value {
    let mut webhook = webhook_input(&receiver.url, json!({"secret": SECRET, "events": EVENTS}));
    for (name, value) in with.as_object().into_iter().flatten() {
        webhook[name] = value.clone();
    }
    json!({"webhook": webhook})
}

const EVENTS: [&str; 3] = ["reservation.created", "reservation.updated", "reservation.cancelled"];

/// The verdicts by title.
fn verdicts(report: &Value) -> Vec<(&str, &str)> {
    let rows = report["checks"].as_array().unwrap().iter();
    rows.map(|row| (row["title"].as_str().unwrap(), row["verdict"].as_str().unwrap())).collect()
}

async fn draft_is_checked_and_not_saved(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    receiver.respond_with(verify);
    let report = t.root.post(PATH, draft(&receiver, json!({})), 200).await.body;
    let expected = [
        ("Reachable", "passed"),
        ("TLS", "warning"),
        ("Accepts the signature", "passed"),
        ("Rejects a wrong signature", "passed"),
        ("Answers reservation.created", "passed"),
        ("Answers reservation.updated", "passed"),
        ("Answers reservation.cancelled", "passed"),
        ("Health path", "passed"),
    ];
    assert_eq!(verdicts(&report), expected, "{report:#}");
    assert_eq!((&report["failed"], &report["warnings"]), (&json!(0), &json!(1)));
    let requests = receiver.requests();
    let events = requests.iter().filter(|got| got.path != "/health");
    assert!(events.clone().all(|got| got.body["test"] == true && got.text("resource_type") == "gpu-cluster"));
    // The reservation of the first event is released.
    let first = requests[0].reservation().to_owned();
    assert!(events.clone().any(|got| got.event() == "reservation.cancelled" && got.reservation() == first));
    // Neither a webhook nor a delivery is stored, and the audit log has one entry without the secret.
    assert_eq!(t.root.get("/webhooks", 200).await.items().len(), 0);
    assert_eq!(t.root.get("/deliveries", 200).await.items().len(), 0);
    let entries = t.root.get("/audit?action=webhook.checked", 200).await;
    assert_eq!((entries.items().len(), &entries.items()[0]["target"]["name"]), (1, &json!("Provisioner")));
    assert!(!entries.text.contains(SECRET), "{}", entries.text);
}

async fn each_property_of_a_receiver_has_a_verdict_and_a_remedy(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    // It verifies no signature, and serves no cancellation and no health path.
    receiver.respond_with(|got| match got.path.as_str() {
        "/api/webhook/reservation" => Response::json(200, json!({"status": "success"})),
        _ => Response::status(404),
    });
    let report = t.root.post(PATH, draft(&receiver, json!({})), 200).await.body;
    let failed: Vec<_> = verdicts(&report).into_iter().filter(|(_, verdict)| *verdict == "failed").collect();
    assert_eq!(failed, [("Rejects a wrong signature", "failed"), ("Answers reservation.cancelled", "failed")]);
    let row =
        |title: &str| report["checks"].as_array().unwrap().iter().find(|row| row["title"] == title).unwrap().clone();
    let wrong = row("Rejects a wrong signature");
    assert!(wrong["remedy"].as_str().unwrap().contains("respond with 401"), "{wrong}");
    let cancelled = row("Answers reservation.cancelled");
    assert!(cancelled["url"].as_str().unwrap().ends_with("/api/webhook/reservation/cancel"), "{cancelled}");
    assert_ne!(cancelled["remedy"], "");
    assert_eq!(row("Health path")["verdict"], "skipped");

    receiver.respond(Response::json(401, json!({"detail": "Invalid webhook signature"})));
    let report = t.root.post(PATH, draft(&receiver, json!({})), 200).await.body;
    let signature =
        report["checks"].as_array().unwrap().iter().find(|row| row["check"] == "accepts_signature").unwrap();
    assert_eq!(signature["verdict"], "failed", "{report:#}");
    assert!(signature["remedy"].as_str().unwrap().contains("secret"), "{signature}");
}

async fn unreachable_receiver_gets_a_remedy_and_no_further_request(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let input = draft(&receiver, json!({"endpoint_url": "http://127.0.0.1:9/api/webhook"}));
    let report = t.root.post(PATH, input, 200).await.body;
    let rows = report["checks"].as_array().unwrap();
    assert_eq!(rows[0]["verdict"], "failed", "{report:#}");
    assert!(rows[0]["remedy"].as_str().unwrap().contains("Start your service"), "{report:#}");
    assert!(rows[1..].iter().all(|row| row["verdict"] == "skipped"), "{report:#}");
    assert_eq!(receiver.count(), 0);
}

async fn draft_of_a_stored_webhook_uses_its_secrets(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    receiver.respond_with(|got| match got.header("x-api-key") {
        "api-key-8675309" if got.header("x-own-token") == "own-8675309" => verify(got),
        _ if got.path == "/health" => Response::status(200),
        _ => Response::status(403),
    });
    let auth = json!({"method": "api_key", "header": "X-API-Key", "key": "api-key-8675309"});
    let headers = json!([{"name": "X-Own-Token", "value": "own-8675309"}]);
    let id = t.webhook(&receiver, json!({"secret": SECRET, "auth": auth, "headers": headers})).await.id();
    let auth = json!({"method": "api_key", "header": "X-API-Key", "key": ""});
    let headers = json!([{"name": "X-Own-Token", "value": "", "secret": true}]);
    let mut input = draft(&receiver, json!({"auth": auth, "headers": headers, "name": "Renamed"}));
    input["webhook"].as_object_mut().unwrap().remove("secret");
    input["webhook_id"] = id.into();
    let reply = t.root.post(PATH, input.clone(), 200).await;
    assert_eq!(reply.body["failed"], 0, "{}", reply.text);
    assert!(!reply.text.contains("8675309") && !reply.text.contains(SECRET), "{}", reply.text);
    assert_eq!(receiver.requests()[0].webhook(), id);
    // The draft does not change the webhook.
    assert_eq!(t.root.get(&format!("/webhooks/{id}"), 200).await.text("name"), "Provisioner");
    input["webhook_id"] = 999.into();
    t.root.post(PATH, input, 404).await;
}

async fn stored_credentials_are_not_sent_to_another_server(t: TestServer) {
    t.resource("node-1", "available").await;
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let auth = json!({"method": "api_key", "header": "X-API-Key", "key": "api-key-8675309"});
    let id = t.webhook(&receiver, json!({"secret": SECRET, "auth": auth})).await.id();
    let kept = json!({"method": "api_key", "header": "X-API-Key", "key": ""});
    let mut input = draft(&other, json!({"auth": kept}));
    input["webhook_id"] = id.into();
    t.root.post_invalid(PATH, input, &["auth.key"]).await;
    assert_eq!(other.count(), 0);
}

async fn invalid_draft_names_its_fields_and_sends_nothing(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let input = draft(&receiver, json!({"events": [], "secret": "short", "resource_type": "unknown"}));
    t.root.post_invalid(PATH, input, &["events", "secret", "resource_type"]).await;
    t.alice.post(PATH, draft(&receiver, json!({})), 403).await;
    t.anonymous.post(PATH, draft(&receiver, json!({})), 401).await;
    assert_eq!(receiver.count(), 0);
    assert_eq!(t.root.get("/audit?action=webhook.checked", 200).await.items().len(), 0);
}

async fn blocked_address_is_not_called(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let input = draft(&receiver, json!({"endpoint_url": "http://169.254.169.254/latest"}));
    t.root.post_invalid(PATH, input, &["endpoint_url"]).await;
}
