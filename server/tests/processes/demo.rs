//! `berth serve --demo`: the sample receiver.

use super::database::Database;
use super::eventually;
use super::load::Api;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use test_support::{Receiver, on_both_databases};

on_both_databases![sqlite only: sample_receiver_provisions_only_types_without_another_service];

/// Whether each sample webhook drives provisioning, by its resource type.
async fn provisioned(api: &Api, base: &str) -> BTreeMap<String, bool> {
    let reply = api.call(base, Method::GET, "/webhooks", Value::Null).await.unwrap();
    let text = |webhook: &Value, name: &str| webhook[name].as_str().unwrap_or_default().to_owned();
    let webhooks = reply.body["items"].as_array().unwrap().iter();
    webhooks
        .filter(|webhook| text(webhook, "name").starts_with("Sample receiver"))
        .map(|webhook| (text(webhook, "resource_type"), webhook["provisions"].as_bool().unwrap()))
        .collect()
}

async fn sample_receiver_provisions_only_types_without_another_service(database: Database) {
    let settings = database.settings(5.0);
    let berth = settings.demo().await;
    let api = Api::of_user(&settings, "admin").await;
    let all = BTreeMap::from(
        [("gpu-cluster", true), ("server", true), ("switch-port", true)].map(|(k, v)| (k.to_owned(), v)),
    );
    assert_eq!(provisioned(&api, &berth.url).await, all);
    let receiver = Receiver::start().await;
    let listening = api.webhook(&berth.url, &receiver, 4).await;
    let path = format!("/webhooks/{listening}");
    let mut without_clusters = all.clone();
    without_clusters.insert("gpu-cluster".into(), false);
    let becomes = async |expected: &BTreeMap<String, bool>| {
        eventually("the sample webhooks", async || (provisioned(&api, &berth.url).await == *expected).then_some(()))
            .await;
    };
    becomes(&without_clusters).await;
    let patch = json!({"provisions": false});
    assert_eq!(api.call(&berth.url, Method::PATCH, &path, patch).await.unwrap().status, 200);
    becomes(&all).await;
    assert_eq!(
        api.call(&berth.url, Method::PATCH, &path, json!({"provisions": true, "resource_type": null}))
            .await
            .unwrap()
            .status,
        200
    );
    becomes(&all.keys().map(|slug| (slug.clone(), false)).collect()).await;
    assert_eq!(api.call(&berth.url, Method::DELETE, &path, Value::Null).await.unwrap().status, 204);
    becomes(&all).await;
}
