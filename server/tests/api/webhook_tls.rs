//! Client certificates and own authorities of webhooks over the API.

use crate::support::{TestServer, webhook_input};
use serde_json::{Value, json};
use test_support::{MutualTlsReceiver, on_both_databases};

on_both_databases![sqlite only: private_key_is_used_and_never_shown, invalid_tls_fields_are_named];

async fn private_key_is_used_and_never_shown(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = MutualTlsReceiver::start().await;
    let (client, other) = (receiver.client("berth"), receiver.client("other"));
    let tls =
        json!({"ca_certificates": receiver.ca, "client_certificate": client.certificate, "client_key": client.key});
    let made = t.root.post("/webhooks", webhook_input(&receiver.url, json!({"tls": tls})), 201).await;
    let path = format!("/webhooks/{}", made.id());
    assert_eq!(made.body["tls"]["client_details"][0]["expires_at"], "2090-01-01T00:00:00Z");
    let tested = t.root.post(&format!("{path}/test"), Value::Null, 200).await;
    assert_eq!(tested.body["outcome"], "succeeded", "{}", tested.text);
    let reservation = t.booking(&t.alice, resource, 1, 2).await;
    receiver.receiver.wait_for(2).await;
    t.provisioning(&reservation, "ready").await;
    t.root.post(&format!("{path}/conformance"), Value::Null, 200).await;
    let changed = json!({"tls": {"client_certificate": other.certificate, "client_key": other.key}});
    let patched = t.root.patch(&path, changed, 200).await;
    let failed = t.root.post(&format!("{path}/test"), Value::Null, 200).await;
    assert_eq!(failed.body["diagnosis"]["code"], "certificate_invalid", "{}", failed.text);
    let stored = t.root.get(&path, 200).await;
    assert_eq!(stored.body["tls"]["ca_certificates"], "");
    let list = t.root.get("/webhooks", 200).await;
    let audit = t.root.get("/audit", 200).await;
    assert!(audit.text.contains("tls.client_key") && audit.text.contains("CN=other"), "{}", audit.text);
    assert!(!audit.text.contains("BEGIN CERTIFICATE"), "{}", audit.text);
    let deliveries = t.root.get("/deliveries", 200).await;
    for reply in [made, tested, patched, failed, stored, list, audit, deliveries] {
        for key in [&client.key, &other.key] {
            let body = key.lines().nth(1).unwrap();
            assert!(!reply.text.contains(body) && !reply.text.contains("PRIVATE KEY"), "{}", reply.text);
        }
    }
    let removed = t.root.patch(&path, json!({"tls": {}}), 200).await;
    assert_eq!(removed.body["tls"], Value::Null);
}

async fn invalid_tls_fields_are_named(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = MutualTlsReceiver::start().await;
    let (client, other) = (receiver.client("berth"), receiver.client("other"));
    let expired = receiver.client_until("berth", 2_021);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
    let pair = |certificate: &str, key: &str| json!({"client_certificate": certificate, "client_key": key});
    for (tls, field) in [
        (pair(&client.certificate, &other.key), "tls.client_key"),
        (pair(&client.certificate, ""), "tls.client_key"),
        (pair(&client.certificate, encrypted), "tls.client_key"),
        (pair(&client.certificate, &client.certificate), "tls.client_key"),
        (pair(&expired.certificate, &expired.key), "tls.client_certificate"),
        (pair("", &client.key), "tls.client_certificate"),
        (pair(&format!("{}{}", client.certificate, client.key), &client.key), "tls.client_certificate"),
        (json!({"ca_certificates": client.key}), "tls.ca_certificates"),
        (
            json!({"ca_certificates": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}),
            "tls.ca_certificates",
        ),
        (json!({"ca": ""}), "tls.ca"),
    ] {
        let reply = t.root.post_invalid("/webhooks", webhook_input(&receiver.url, json!({"tls": tls})), &[field]).await;
        assert!(!reply.text.contains("BEGIN PRIVATE KEY-----\\n"), "{}", reply.text);
    }
}
