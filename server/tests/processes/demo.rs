//! `berth serve --demo`: the sample receiver.

use super::database::Database;
use super::eventually;
use super::load::{Api, client};
use super::process::Berth;
use super::stop::STOP_TIMEOUT;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use test_support::{Receiver, on_both_databases};

on_both_databases![sqlite only:
    sample_receiver_provisions_only_types_without_another_service,
    demo_prints_random_passwords_at_the_first_start,
    demo_is_refused_in_production_and_on_other_databases,
];

/// The password that the welcome text names for an account.
async fn printed_password(berth: &mut Berth, username: &str) -> String {
    let welcome = berth.output_until("Log in as admin").await;
    let marker = format!(" {username} / ");
    let line = welcome.lines().find_map(|line| line.split_once(&marker)).expect(&welcome);
    line.1.to_owned()
}

/// The status of a log-in.
async fn log_in(berth: &Berth, username: &str, password: &str) -> u16 {
    let request = client().post(format!("{}/api/v1/session", berth.url));
    request.json(&json!({"username": username, "password": password})).send().await.unwrap().status().as_u16()
}

async fn demo_prints_random_passwords_at_the_first_start(database: Database) {
    let settings = database.settings(5.0);
    let mut berth = settings.demo().await;
    let first = printed_password(&mut berth, "admin").await;
    assert_eq!(log_in(&berth, "admin", &first).await, 200);
    for (username, published) in [("admin", "berth-demo-admin"), ("alice", "berth-demo-alice"), ("alice", &*first)] {
        assert_eq!(log_in(&berth, username, published).await, 401, "{username}");
    }
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());

    let mut berth = settings.demo().await;
    assert_eq!(printed_password(&mut berth, "admin").await, "(as printed at the first start)");
    assert_eq!(log_in(&berth, "admin", &first).await, 200);
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());

    let chosen = "a password of the tests";
    let mut berth = settings.demo_with(&[("BERTH_DEMO_PASSWORD", Some(chosen))]).await;
    assert_eq!(printed_password(&mut berth, "alice").await, chosen);
    assert_eq!(log_in(&berth, "admin", &first).await, 401);
    for username in ["admin", "alice"] {
        assert_eq!(log_in(&berth, username, chosen).await, 200, "{username}");
    }
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
    let (code, error) = settings.run_with(&["serve", "--demo"], &[("BERTH_DEMO_PASSWORD", Some("short"))]).await;
    assert!(code == 1 && error.contains("password"), "{error}");
}

async fn demo_is_refused_in_production_and_on_other_databases(database: Database) {
    let settings = database.settings(5.0);
    let production = [("BERTH_ENV", Some("production")), ("BERTH_PUBLIC_URL", Some("https://berth.example.com"))];
    let (code, error) = settings.run_with(&["serve", "--demo"], &production).await;
    assert!(code == 2 && error.contains("--demo") && error.contains("BERTH_ENV"), "{error}");
    let berth = settings.serve().await;
    assert_eq!(log_in(&berth, "admin", "berth-demo-admin").await, 401);
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
    let (code, error) = settings.run_with(&["serve", "--demo"], &[]).await;
    assert!(code == 1 && error.contains("empty database"), "{error}");
    // Nothing was created.
    let berth = settings.serve().await;
    let api = Api::of(&settings).await;
    let users = api.call(&berth.url, Method::GET, "/users", Value::Null).await.unwrap().body;
    assert_eq!(users["items"].as_array().unwrap().len(), 1, "{users}");
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
}

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
