//! The event catalogue: JSON Schemas, public keys, and the OpenAPI description of requests to receivers.

use crate::openapi::DOCUMENT;
use crate::support::TestServer;
use domain::event::EventType;
use domain::event_catalogue::{catalogue, schema_files};
use domain::payload::PayloadFormat;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use test_support::{Receiver, on_both_databases};

on_both_databases![sqlite only:
    schema_files_match_the_repository_and_are_public,
    openapi_webhooks_are_the_event_catalogue,
    public_keys_are_served_during_a_rotation,
];

/// The files below `folder`, relative to it.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in std::fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

async fn schema_files_match_the_repository_and_are_public(t: TestServer) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let bless = std::env::var("BERTH_BLESS").is_ok_and(|bless| bless == "1");
    let mut paths = BTreeSet::new();
    for (path, schema) in schema_files() {
        let served = t.anonymous.get(&format!("/{path}"), 200).await;
        assert_eq!(served.body, schema, "{path}");
        assert_eq!(served.headers["content-type"], "application/schema+json");
        assert!(served.headers["cache-control"].to_str().unwrap().starts_with("public, max-age="));
        let file = docs.join(path.trim_start_matches('/'));
        let pretty = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        if bless {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &pretty).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(kept == pretty, "docs{path} differs. Run this test with BERTH_BLESS=1 and commit the file.");
        paths.insert(path.trim_start_matches("/schemas/").to_owned());
    }
    assert_eq!(files(&docs.join("schemas")), paths, "no other file is kept");
    t.anonymous.get("//schemas/events/reservation.moved.json", 404).await;
}

async fn openapi_webhooks_are_the_event_catalogue(_: TestServer) {
    let webhooks = DOCUMENT["webhooks"].as_object().unwrap();
    assert_eq!(webhooks.keys().collect::<Vec<_>>(), EventType::ALL.map(EventType::as_str));
    for entry in catalogue().unwrap() {
        let operation = &webhooks[entry.event_type.as_str()]["post"];
        let content = &operation["requestBody"]["content"];
        for (media_type, format) in [
            ("application/json", PayloadFormat::Berth),
            ("application/cloudevents+json", PayloadFormat::CloudeventsStructured),
        ] {
            let example = entry.examples.iter().find(|example| example.format == format).unwrap();
            assert_eq!(content[media_type]["example"], example.body);
        }
        assert!(operation["description"].as_str().unwrap().contains(&entry.delivery_path));
        assert_eq!(operation["externalDocs"]["url"], entry.schema_path);
    }
}

/// The public keys in the form of the API (`whpk_…`), with their webhooks.
fn keys(set: &Value) -> Vec<(i64, String)> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let key = |jwk: &Value| {
        assert_eq!((&jwk["kty"], &jwk["crv"], &jwk["alg"]), (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA")));
        assert_eq!(jwk["kid"].as_str().unwrap().len(), 43);
        let bytes = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
        (jwk["webhook_id"].as_i64().unwrap(), format!("whpk_{}", STANDARD.encode(bytes)))
    };
    set["keys"].as_array().unwrap().iter().map(key).collect()
}

async fn public_keys_are_served_during_a_rotation(t: TestServer) {
    t.resource("node-1", "available").await;
    let set = async || t.anonymous.get("//.well-known/jwks.json", 200).await;
    assert_eq!(set().await.body, json!({"keys": []}));
    let receiver = Receiver::start().await;
    t.webhook(&receiver, json!({"name": "without a key"})).await;
    let made = t.webhook(&receiver, json!({"ed25519": true})).await;
    let (id, first) = (made.id(), made.text("public_key").to_owned());
    let served = set().await;
    assert_eq!(keys(&served.body), [(id, first.clone())]);
    assert_eq!(served.headers["content-type"], "application/jwk-set+json");
    assert_eq!(served.headers["cache-control"], "public, max-age=300");
    let rotated = t.root.post(&format!("/webhooks/{id}/rotate-secret"), json!({"overlap_hours": 1}), 200).await;
    let second = rotated.text("public_key").to_owned();
    assert_eq!(keys(&set().await.body), [(id, second.clone()), (id, first)], "the current key is first");
    t.root.post(&format!("/webhooks/{id}/rotate-secret"), json!({"overlap_hours": 0}), 200).await;
    let third = t.root.get(&format!("/webhooks/{id}"), 200).await.text("public_key").to_owned();
    assert_eq!(keys(&set().await.body), [(id, third)], "revoked keys are not served");
    t.root.delete(&format!("/webhooks/{id}"), 204).await;
    assert_eq!(set().await.body, json!({"keys": []}));
}
