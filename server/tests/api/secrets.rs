//! The end of a rotation, and reminders of old signing secrets.

use crate::support::TestServer;
use chrono::Duration;
use serde_json::{Value, json};
use test_support::{DatabaseKind, Receiver, on_both_databases};

on_both_databases![
    expiring_token_is_reminded_of_once,
    old_secret_is_reminded_of_once_and_again_after_30_days,
    revoked_secret_signs_no_more,
];

/// The messages about old secrets, newest first.
async fn reminders(t: &TestServer) -> Vec<String> {
    let reply = t.browser("root").await.get("/notifications", 200).await;
    let messages = reply.items().iter().map(|item| item["message"].as_str().unwrap().to_owned());
    messages.filter(|message| message.contains("days old")).collect()
}

async fn expiring_token_is_reminded_of_once(t: TestServer) {
    let root = t.browser("root").await;
    let create = async |name: &str, days: i64| {
        let input = json!({"name": name, "expires_at": t.now() + Duration::days(days)});
        root.post("/tokens", input, 201).await;
    };
    create("nightly", 100).await;
    create("short", 4).await;
    let remind = async || t.service.accounts().remind_of_expiring_tokens().await.unwrap();
    assert_eq!(remind().await, 0, "a new token needs no reminder");
    t.clock.advance(Duration::days(3));
    assert!(remind().await <= 1, "the worker of the server may have been first");
    t.clock.advance(Duration::days(84));
    assert!(remind().await <= 1);
    assert_eq!(remind().await, 0);
    let reply = t.browser("root").await.get("/notifications", 200).await;
    let messages: Vec<&str> = reply.items().iter().map(|item| item["message"].as_str().unwrap()).collect();
    let of = |name: &str| {
        messages.iter().filter(|message| message.starts_with(&format!("The API token {name} expires on"))).count()
    };
    assert_eq!((of("nightly"), of("short")), (1, 1), "{messages:?}");
}

async fn old_secret_is_reminded_of_once_and_again_after_30_days(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let id = t.webhook(&receiver, json!({})).await.id();
    let remind = async || t.service.webhooks().remind_of_old_secrets().await.unwrap();
    t.clock.advance(Duration::days(179));
    assert_eq!(remind().await, 0);
    t.clock.advance(Duration::days(1));
    // The worker of the server may have been first.
    assert!(remind().await <= 1);
    assert_eq!(remind().await, 0);
    assert_eq!(
        reminders(&t).await,
        ["The signing secret of Provisioner is 180 days old. Rotate it on the settings tab of the webhook."]
    );
    t.clock.advance(Duration::days(30));
    assert_eq!(remind().await, 1);
    assert_eq!(reminders(&t).await.len(), 2);
    // A rotation ends the reminders until the new secret is old too.
    t.browser("root").await.post(&format!("/webhooks/{id}/rotate-secret"), Value::Null, 200).await;
    t.clock.advance(Duration::days(40));
    assert_eq!(remind().await, 0);
    t.clock.advance(Duration::days(140));
    assert_eq!(remind().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reminders_can_be_turned_off() {
    let t = TestServer::start_with(DatabaseKind::Sqlite, |config| config.service.secret_reminder_days = 0).await;
    t.resource("node-1", "available").await;
    t.webhook(&Receiver::start().await, json!({})).await;
    t.clock.advance(Duration::days(1_000));
    assert_eq!(t.service.webhooks().remind_of_old_secrets().await.unwrap(), 0);
}

async fn revoked_secret_signs_no_more(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let made = t.webhook(&receiver, json!({"secret": "a-secret-of-16-bytes", "ed25519": true})).await;
    let path = format!("/webhooks/{}", made.id());
    let reply = t.root.post(&format!("{path}/revoke-secrets"), Value::Null, 409).await;
    assert!(reply.text("detail").contains("nothing to revoke"), "{}", reply.text);
    let created = made.body["secret_changed_at"].clone();
    t.clock.advance(Duration::hours(1));
    t.root.post(&format!("{path}/rotate-secret"), json!({"overlap_hours": 24}), 200).await;
    let signatures = async || {
        t.root.post(&format!("{path}/test"), Value::Null, 200).await;
        receiver.last().header("webhook-signature").split(' ').count()
    };
    assert_eq!(signatures().await, 4, "each secret has a v1 and a v1a signature");
    t.alice.post(&format!("{path}/revoke-secrets"), Value::Null, 403).await;
    let revoked = t.root.post(&format!("{path}/revoke-secrets"), Value::Null, 200).await;
    assert_eq!(
        (&revoked.body["previous_secrets_until"], &revoked.body["previous_secret_until"]),
        (&json!([]), &Value::Null)
    );
    assert_ne!(revoked.body["secret_changed_at"], created);
    assert_eq!(signatures().await, 2);
    let entries = t.root.get("/audit?action=webhook.secrets_revoked", 200).await;
    assert_eq!((entries.items().len(), &entries.items()[0]["target"]["id"]), (1, &json!(made.id().to_string())));
    t.root.post(&format!("{path}/revoke-secrets"), Value::Null, 409).await;
}
