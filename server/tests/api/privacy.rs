//! `/api/v1/account/export`, `/api/v1/users/{username}/export` and `/api/v1/users/{username}/erase`.

use crate::support::{PASSWORD, TestServer};
use serde_json::{Value, json};
use test_support::on_both_databases;

on_both_databases![export_is_a_download_and_an_erased_user_cannot_log_in];

on_both_databases![sqlite only: users_export_and_erase_their_own_account];

async fn export_is_a_download_and_an_erased_user_cannot_log_in(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let reservation = t.booking(&t.alice, resource, 1, 2).await;
    let reply = t.root.get("/users/alice/export", 200).await;
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("content-disposition"), "attachment; filename=\"berth-alice.json\"");
    let export: Value = serde_json::from_str(&reply.text).unwrap();
    assert_eq!(export["user"]["email"], "alice@example.com");
    assert_eq!(export["reservations"][0]["id"], reservation);
    t.bob.get("/users/alice/export", 403).await;
    t.root.get("/users/nobody/export", 404).await;

    let refused = t.root.post("/users/alice/erase", json!({}), 409).await;
    assert!(refused.text("detail").contains("1 active reservation"), "{}", refused.text);
    t.alice.post(&format!("/reservations/{reservation}/cancel"), json!({}), 200).await;
    t.bob.post("/users/alice/erase", json!({}), 403).await;
    let erased = t.root.post("/users/alice/erase", json!({}), 200).await;
    let pseudonym = erased.text("pseudonym").to_owned();
    t.log_in("alice", PASSWORD, 401).await;
    t.alice.get("/session", 401).await;
    let found = t.root.get(&format!("/reservations/{reservation}"), 200).await;
    assert_eq!(found.body["user_id"], pseudonym.as_str());
    assert!(!t.root.get("/audit?limit=200", 200).await.text.contains("alice"));
    let again = json!({"username": "alice", "email": "a@example.com", "password": PASSWORD, "role": "user"});
    t.root.post("/users", again, 409).await;
}

async fn users_export_and_erase_their_own_account(t: TestServer) {
    let browser = t.browser("alice").await;
    let export = browser.get("/account/export", 200).await;
    assert_eq!(export.body["sessions"][0]["current"], true);
    // An API token is no recent log-in.
    let refused = t.alice.post("/users/alice/erase", json!({}), 422).await;
    assert_eq!(refused.invalid_fields(), ["current_password"]);
    browser.post("/users/alice/erase", json!({"ignore_unreleased": true}), 403).await;
    browser.post("/users/alice/erase", json!({}), 200).await;
    browser.get("/session", 401).await;
    let last = t.root.post("/users/root/erase", json!({"current_password": PASSWORD}), 409).await;
    assert!(last.text("detail").contains("last enabled administrator"), "{}", last.text);
}
