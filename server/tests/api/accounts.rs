//! `/api/v1/users` and `/api/v1/notifications`.

use crate::support::{PASSWORD, TestServer};
use serde_json::{Value, json};
use test_support::on_both_databases;

on_both_databases![notifications_are_visible_only_to_their_recipients,];

on_both_databases![sqlite only:
    administrators_manage_accounts,
    users_change_only_their_own_account,
    own_password_change_requires_the_current_password,
    password_reset_revokes_sessions_and_tokens,
    disabled_account_is_rejected_at_once,
    disabling_can_cancel_reservations,
    last_administrator_cannot_be_removed,
    invalid_account_fields_are_named,
];

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7pZLsoUSJmAfc4CAsqYFBZQCcdNI0JVXI9Qw5YbmLS alice@laptop";

async fn administrators_manage_accounts(t: TestServer) {
    let input = json!({"username": "carol", "email": "carol@example.com", "password": PASSWORD, "role": "user"});
    let made = t.root.post("/users", input.clone(), 201).await;
    assert_eq!(made.body["username"], "carol");
    assert_eq!(made.body["disabled"], false);
    assert!(!made.text.contains("\"password") && !made.text.contains("argon2"));
    t.root.post("/users", input.clone(), 409).await;
    t.alice.post("/users", input, 403).await;
    let list = t.root.get("/users", 200).await;
    let names: Vec<&Value> = list.items().iter().map(|user| &user["username"]).collect();
    assert_eq!(names, ["alice", "bob", "carol", "root"]);
    assert!(!list.text.contains("\"password") && !list.text.contains("argon2"));
    let changed = t.root.patch("/users/carol", json!({"role": "administrator"}), 200).await;
    assert_eq!(changed.body["role"], "administrator");
    t.browser("carol").await.get("/users", 200).await;
    t.root.patch("/users/anonymous", json!({"email": "x@example.com"}), 404).await;
}

async fn users_change_only_their_own_account(t: TestServer) {
    let browser = t.browser("alice").await;
    let changed =
        browser.patch("/users/alice", json!({"email": "a@example.com", "ssh_key": format!(" {KEY}\n")}), 200).await;
    assert_eq!((&changed.body["email"], &changed.body["ssh_key"]), (&json!("a@example.com"), &json!(KEY)));
    for refused in [json!({"role": "administrator"}), json!({"disabled": false})] {
        browser.patch("/users/alice", refused, 403).await;
    }
    browser.patch("/users/bob", json!({"email": "b@example.com"}), 403).await;
    browser.patch("/users/anonymous", json!({"email": "b@example.com"}), 403).await;
    assert_eq!(t.bob.get("/session", 200).await.body["user"]["email"], "bob@example.com");
    // A new password ends every other session of the account, and its tokens.
    let other = t.browser("alice").await;
    let change = |current: &str| json!({"password": "battery horse correct", "current_password": current});
    browser.patch("/users/alice", change(PASSWORD), 200).await;
    browser.get("/session", 200).await;
    other.get("/session", 401).await;
    t.alice.get("/session", 401).await;
    t.log_in("alice", PASSWORD, 401).await;
    t.log_in("alice", "battery horse correct", 200).await;
}

/// An unattended session or a leaked token must not suffice to take over the account.
async fn own_password_change_requires_the_current_password(t: TestServer) {
    let new = "battery horse correct";
    for (who, path) in [(&t.alice, "/users/alice"), (&t.root, "/users/root")] {
        for current in [Value::Null, json!(""), json!("wrong horse battery"), json!("x".repeat(201))] {
            let patch = json!({"password": new, "current_password": current, "email": "taken@example.com"});
            who.patch_invalid(path, patch, &["current_password"]).await;
        }
        who.patch_invalid(path, json!({"password": "short"}), &["password", "current_password"]).await;
        assert_ne!(
            who.get("/session", 200).await.body["user"]["email"],
            "taken@example.com",
            "a rejected change has no effect"
        );
        // Other changes of the own account need the password too, unless the user has just logged in.
        who.patch_invalid(path, json!({"email": "other@example.com"}), &["current_password"]).await;
        who.patch(path, json!({"email": "other@example.com", "current_password": PASSWORD}), 200).await;
        let notifications = who.get("/notifications", 200).await;
        assert!(notifications.items()[0]["message"].as_str().unwrap().contains("e-mail address was changed"));
    }
    let right = json!({"password": new, "current_password": PASSWORD, "keep_tokens": true});
    t.alice.patch("/users/alice", right.clone(), 200).await;
    t.log_in("alice", new, 200).await;
    t.alice.get("/session", 200).await;
    t.alice.patch_invalid("/users/alice", right, &["current_password"]).await;
    // Ten wrong passwords are allowed, including those above, only for this account.
    let guess = json!({"password": new, "current_password": "wrong horse battery"});
    for _ in 0..7 {
        t.alice.patch_invalid("/users/alice", guess.clone(), &["current_password"]).await;
    }
    t.alice.patch("/users/alice", json!({"password": new, "current_password": new}), 429).await;
    t.log_in("alice", new, 200).await;
    t.bob.patch("/users/bob", json!({"password": new, "current_password": PASSWORD}), 200).await;
}

async fn password_reset_revokes_sessions_and_tokens(t: TestServer) {
    let browser = t.browser("alice").await;
    browser.get("/session", 200).await;
    t.alice.get("/session", 200).await;
    t.bob.get("/session", 200).await;
    t.root.patch("/users/alice", json!({"password": "battery horse correct"}), 200).await;
    browser.get("/session", 401).await;
    t.alice.get("/session", 401).await;
    t.log_in("alice", "battery horse correct", 200).await;
    t.bob.get("/session", 200).await;
    t.root.get("/session", 200).await;
}

async fn disabled_account_is_rejected_at_once(t: TestServer) {
    let browser = t.browser("alice").await;
    browser.get("/session", 200).await;
    t.alice.get("/session", 200).await;
    t.root.patch("/users/alice", json!({"disabled": true}), 200).await;
    browser.get("/session", 401).await;
    t.alice.get("/session", 401).await;
    t.root.patch("/users/alice", json!({"disabled": false}), 200).await;
    t.alice.get("/session", 401).await;
    browser.get("/session", 401).await;
    t.log_in("alice", PASSWORD, 200).await;
}

async fn last_administrator_cannot_be_removed(t: TestServer) {
    t.root.patch("/users/root", json!({"role": "user"}), 409).await;
    t.root.patch("/users/root", json!({"disabled": true}), 409).await;
    t.root.patch("/users/alice", json!({"role": "administrator"}), 200).await;
    t.root.patch("/users/root", json!({"role": "user"}), 200).await;
    t.root.get("/users", 403).await;
}

async fn invalid_account_fields_are_named(t: TestServer) {
    let input = |username: &str, email: &str, password: &str| json!({"username": username, "email": email, "password": password, "role": "user"});
    let long = "x".repeat(201);
    for (input, invalid_fields) in [
        (input("Carol", "carol", "short"), &["username", "email", "password"][..]),
        (input("carol", "carol@example.com", "elevenchars"), &["password"]),
        (input("carol", "carol@example.com", "password123456"), &["password"]),
        (input("carol", "carol@example.com", "Carol and her horse battery"), &["password"]),
        (input("", "carol@example.com", PASSWORD), &["username"]),
        (input("1carol", "carol@example.com", PASSWORD), &["username"]),
        (input("carol\0", "carol@example.com", PASSWORD), &["username"]),
        (input("carol", "carol @example.com", &long), &["email", "password"]),
        (json!({"username": "carol", "email": "carol@example.com", "password": PASSWORD, "role": "king"}), &["role"]),
    ] {
        t.root.post_invalid("/users", input, invalid_fields).await;
    }
    t.root
        .patch_invalid(
            "/users/alice",
            json!({"ssh_key": "ssh-rsa nonsense", "password": "short"}),
            &["password", "ssh_key"],
        )
        .await;
    assert_eq!(t.root.get("/users", 200).await.items().len(), 3);
}

async fn notifications_are_visible_only_to_their_recipients(t: TestServer) {
    let resource = t.resource("node-1", "restricted").await;
    let request =
        t.alice.post("/access-requests", json!({"resource_id": resource, "reason": "A paper is due."}), 201).await;
    let all = t.root.get("/notifications", 200).await;
    assert_eq!(all.items().len(), 1);
    let notification = &all.items()[0];
    assert_eq!(
        (&notification["username"], &notification["severity"], &notification["read"]),
        (&Value::Null, &json!("info"), &json!(false))
    );
    assert!(notification["message"].as_str().unwrap().contains("alice"));
    assert!(t.alice.get("/notifications", 200).await.items().is_empty());
    // Users cannot mark notifications of others.
    t.alice.post("/notifications/read", json!({"id": notification["id"]}), 204).await;
    assert_eq!(t.root.get("/notifications", 200).await.items()[0]["read"], false);
    t.root.post("/notifications/read", json!({"id": notification["id"]}), 204).await;
    assert_eq!(t.root.get("/notifications", 200).await.items()[0]["read"], true);
    t.root.post(&format!("/access-requests/{}/approve", request.text("id")), Value::Null, 200).await;
    let notification = t.alice.get("/notifications", 200).await;
    assert_eq!((notification.items().len(), &notification.items()[0]["username"]), (1, &json!("alice")));
    assert!(t.bob.get("/notifications", 200).await.items().is_empty());
    assert_eq!(t.root.get("/notifications", 200).await.items().len(), 1);
}

async fn disabling_can_cancel_reservations(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let reservation = t.booking(&t.alice, resource, 1, 2).await;
    t.root.patch_invalid("/users/alice", json!({"reservations": "cancel"}), &["reservations"]).await;
    t.root.patch_invalid("/users/alice", json!({"disabled": true, "reservations": "drop"}), &["reservations"]).await;
    t.root.patch("/users/alice", json!({"disabled": true, "reservations": "cancel"}), 200).await;
    let cancelled = t.root.get(&format!("/reservations/{reservation}"), 200).await;
    assert_eq!((&cancelled.body["status"], &cancelled.body["cancelled_by"]), (&json!("cancelled"), &json!("root")));
}
