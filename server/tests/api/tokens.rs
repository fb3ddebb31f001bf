//! `/api/v1/tokens`.

use crate::support::{PASSWORD, TestServer, time, wire};
use chrono::Duration;
use serde_json::{Value, json};
use test_support::on_both_databases;

on_both_databases![token_is_shown_only_once,];

on_both_databases![sqlite only:
    expired_token_is_rejected,
    token_scopes_limit_permissions,
    deleted_token_is_rejected_at_once,
    token_creation_requires_a_recent_login_or_the_password,
    invalid_token_fields_are_named,
    admin_scope_does_not_grant_the_administrator_role,
];

async fn token_is_shown_only_once(t: TestServer) {
    let made = t.token("alice", json!({"name": "CI"})).await;
    let mut names: Vec<&String> = made.body.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["id", "name", "token"]);
    assert!(made.text("id").starts_with("tok_") && made.body["name"] == "CI");
    let token = made.text("token").to_owned();
    assert_eq!(t.anonymous.with_token(&token).get("/session", 200).await.body["user"]["username"], "alice");
    let list = t.alice.get("/tokens", 200).await;
    let secret = token.strip_prefix("berth_").unwrap();
    assert!(!list.text.contains(secret), "the list never shows a token");
    assert_eq!(list.items().len(), 2, "the new token and the client's own");
    let item = &list.items()[0];
    assert_eq!(item["id"], made.body["id"]);
    assert_eq!(item["name"], "CI");
    assert_eq!(item["scopes"], json!(["read", "reserve", "admin"]));
    let lasts = time(&item["expires_at"]) - time(&item["created_at"]);
    assert_eq!(lasts, Duration::days(365), "the maximum by default");
    assert!((t.now() - time(&item["created_at"])).num_seconds() < 60);
    assert!((t.now() - time(&item["last_used_at"])).num_seconds() < 120, "its last use is recorded");
    assert_eq!(t.bob.get("/tokens", 200).await.items().len(), 1, "users see only their own tokens");
}

async fn expired_token_is_rejected(t: TestServer) {
    let until = t.now() + Duration::hours(1);
    let made = t.token("alice", json!({"name": "short", "expires_at": wire(until)})).await;
    let client = t.anonymous.with_token(made.text("token"));
    let who = client.get("/session", 200).await;
    assert_eq!(time(&who.body["expires_at"]), until);
    t.clock.advance(Duration::hours(1));
    client.get("/session", 401).await;
    assert_eq!(t.alice.get("/tokens", 200).await.items().len(), 2, "an expired token is still listed");
}

async fn token_scopes_limit_permissions(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let scoped = async |scopes: &[&str]| {
        let made = t.token("root", json!({"name": "scoped", "scopes": scopes})).await;
        t.anonymous.with_token(made.text("token"))
    };
    let resource_type = json!({"slug": "vm", "name": "VM"});

    let reads = scoped(&["read"]).await;
    assert_eq!(reads.get("/session", 200).await.body["scopes"], json!(["read"]));
    reads.get("/resources", 200).await;
    reads.get("/webhooks", 200).await;
    let reply = reads.post("/reservations", t.span(resource, 1, 2), 403).await;
    assert!(reply.text("detail").contains("\"reserve\""), "the problem names the missing scope");
    reads.post("/resource-types", resource_type.clone(), 403).await;
    reads.post("/tokens", json!({"name": "more"}), 403).await;
    reads.get("/tokens", 403).await;

    let reserves = scoped(&["reserve"]).await;
    let reservation = t.booking(&reserves, resource, 1, 2).await;
    reserves.get(&format!("/reservations/{reservation}"), 200).await;
    reserves.post("/resource-types", resource_type.clone(), 403).await;
    reserves.get("/users", 403).await;

    // The scope `admin` includes all others.
    let administers = scoped(&["admin"]).await;
    administers.post("/resource-types", resource_type, 201).await;
    t.booking(&administers, resource, 3, 4).await;
    // A token cannot create tokens, not even narrower ones.
    let reply = administers.post("/tokens", json!({"name": "less", "scopes": ["read"]}), 403).await;
    assert!(reply.text("detail").contains("Settings → API tokens"), "{}", reply.text);
    reads.post("/notifications/read", json!({"id": 1}), 403).await;
}

async fn deleted_token_is_rejected_at_once(t: TestServer) {
    let made = t.token("alice", json!({"name": "old"})).await;
    let (path, client) = (format!("/tokens/{}", made.text("id")), t.anonymous.with_token(made.text("token")));
    client.get("/session", 200).await;
    t.bob.delete(&path, 404).await;
    t.root.delete(&path, 404).await;
    client.get("/session", 200).await;
    t.alice.delete(&path, 204).await;
    client.get("/session", 401).await;
    t.alice.delete(&path, 404).await;
    t.alice.delete("/tokens/tok_nothing", 404).await;
}

/// An unattended session must not suffice to create a credential.
async fn token_creation_requires_a_recent_login_or_the_password(t: TestServer) {
    let browser = t.browser("alice").await;
    t.clock.advance(Duration::minutes(10));
    let with = |password: Value| json!({"name": "CI", "current_password": password});
    for password in [Value::Null, json!("")] {
        let refused = browser.post("/tokens", with(password), 403).await;
        assert_eq!(refused.text("type"), "/problems/confirmation-required");
    }
    browser.post_invalid("/tokens", with(json!("wrong horse battery")), &["current_password"]).await;
    browser.post("/tokens", with(json!(PASSWORD)), 201).await;
    assert_eq!(t.alice.get("/tokens", 200).await.items().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_lifetime_is_a_setting() {
    let adjust = |config: &mut server::config::Config| config.service.accounts.token_lifetime = Duration::days(800);
    let t = TestServer::start_with(test_support::DatabaseKind::Sqlite, adjust).await;
    let late = json!({"name": "late", "expires_at": wire(t.now() + Duration::days(801))});
    let reply = t.browser("alice").await.post_invalid("/tokens", late, &["expires_at"]).await;
    assert!(reply.text.contains("800 days"), "{}", reply.text);
    // A leap second means the next second.
    let year = chrono::Datelike::year(&t.now()) + 1;
    let leap = format!("{year}-06-30T23:59:60Z");
    let token = t.token("alice", json!({"name": "leap", "expires_at": leap})).await;
    let listed = t.alice.get("/tokens", 200).await;
    let listed = listed.items().iter().find(|item| item["id"] == token.body["id"]).unwrap();
    assert_eq!(listed["expires_at"], format!("{year}-07-01T00:00:00Z"));
}

async fn invalid_token_fields_are_named(t: TestServer) {
    let alice = t.browser("alice").await;
    for (input, invalid_fields) in [
        (json!({"name": "", "scopes": []}), &["name", "scopes"][..]),
        (json!({"name": "x".repeat(101)}), &["name"]),
        (json!({"name": "a\0b"}), &["name"]),
        (json!({"name": "late", "expires_at": wire(t.now() - Duration::seconds(1))}), &["expires_at"]),
        (json!({"name": "late", "expires_at": wire(t.now() + Duration::days(366))}), &["expires_at"]),
        (json!({"name": "x", "expires_at": "tomorrow"}), &["expires_at"]),
        (json!({"name": "x", "scopes": ["read", "root"]}), &["scopes.1"]),
        (json!({"name": "x", "scopes": "read"}), &["scopes"]),
        (json!({}), &["name"]),
    ] {
        alice.post_invalid("/tokens", input, invalid_fields).await;
    }
    assert_eq!(t.alice.get("/tokens", 200).await.items().len(), 1);
}

async fn admin_scope_does_not_grant_the_administrator_role(t: TestServer) {
    assert_eq!(t.alice.get("/session", 200).await.body["scopes"], json!(["read", "reserve", "admin"]));
    t.alice.get("/webhooks", 403).await;
    t.alice.get("/deliveries", 403).await;
    t.alice.get("/users", 403).await;
}
