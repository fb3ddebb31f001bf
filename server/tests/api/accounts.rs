//! `/api/v1/users` and `/api/v1/notifications`.

use crate::support::{PASSWORD, TestServer};
use serde_json::{Value, json};
use test_support::on_both_databases;

on_both_databases![notifications_are_read_by_those_they_are_for,];

on_both_databases![sqlite only:
    administrators_run_the_accounts,
    people_change_their_own_account_and_no_other,
    ones_own_password_is_changed_with_the_present_one,
    a_password_that_an_administrator_sets_ends_what_the_account_had,
    a_disabled_account_stops_at_once,
    the_last_administrator_stays,
    accounts_at_fault_are_named,
];

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7pZLsoUSJmAfc4CAsqYFBZQCcdNI0JVXI9Qw5YbmLS alice@laptop";

async fn administrators_run_the_accounts(t: TestServer) {
    let input = json!({"username": "carol", "email": "carol@example.com", "password": PASSWORD, "role": "user"});
    let made = t.root.post("/users", input.clone(), 201).await;
    assert_eq!(made.body["username"], "carol");
    assert_eq!(made.body["disabled"], false);
    assert!(!made.text.contains("password") && !made.text.contains("argon2"));
    t.root.post("/users", input.clone(), 409).await;
    t.alice.post("/users", input, 403).await;
    let list = t.root.get("/users", 200).await;
    let names: Vec<&Value> = list.items().iter().map(|user| &user["username"]).collect();
    assert_eq!(names, ["alice", "bob", "carol", "root"]);
    assert!(!list.text.contains("password") && !list.text.contains("argon2"));
    let changed = t.root.patch("/users/carol", json!({"role": "administrator"}), 200).await;
    assert_eq!(changed.body["role"], "administrator");
    t.browser("carol").await.get("/users", 200).await;
    t.root.patch("/users/nobody", json!({"email": "x@example.com"}), 404).await;
}

async fn people_change_their_own_account_and_no_other(t: TestServer) {
    let browser = t.browser("alice").await;
    let changed =
        browser.patch("/users/alice", json!({"email": "a@example.com", "ssh_key": format!(" {KEY}\n")}), 200).await;
    assert_eq!((&changed.body["email"], &changed.body["ssh_key"]), (&json!("a@example.com"), &json!(KEY)));
    for refused in [json!({"role": "administrator"}), json!({"disabled": false})] {
        browser.patch("/users/alice", refused, 403).await;
    }
    browser.patch("/users/bob", json!({"email": "b@example.com"}), 403).await;
    browser.patch("/users/nobody", json!({"email": "b@example.com"}), 403).await;
    assert_eq!(t.bob.get("/session", 200).await.body["user"]["email"], "bob@example.com");
    // A new password ends every session of the account, this one too.
    let change = |current: &str| json!({"password": "battery horse correct", "current_password": current});
    browser.patch("/users/alice", change(PASSWORD), 200).await;
    browser.get("/session", 401).await;
    t.log_in("alice", PASSWORD, 401).await;
    t.log_in("alice", "battery horse correct", 200).await;
}

/// A session left open, or a token that leaked, must not be enough to take the account over.
async fn ones_own_password_is_changed_with_the_present_one(t: TestServer) {
    let new = "battery horse correct";
    for (who, path) in [(&t.alice, "/users/alice"), (&t.root, "/users/root")] {
        for current in [Value::Null, json!(""), json!("wrong horse battery"), json!("x".repeat(201))] {
            let patch = json!({"password": new, "current_password": current, "email": "taken@example.com"});
            who.patch_at_fault(path, patch, &["current_password"]).await;
        }
        who.patch_at_fault(path, json!({"password": "short"}), &["password", "current_password"]).await;
        assert_ne!(who.get("/session", 200).await.body["user"]["email"], "taken@example.com", "nothing was changed");
        // Nothing else needs it.
        who.patch(path, json!({"email": "other@example.com"}), 200).await;
    }
    let right = json!({"password": new, "current_password": PASSWORD});
    t.alice.patch("/users/alice", right.clone(), 200).await;
    t.log_in("alice", new, 200).await;
    t.alice.get("/session", 200).await;
    t.alice.patch_at_fault("/users/alice", right, &["current_password"]).await;
    // Guessing is slowed down, for this account alone.
    let guess = json!({"password": new, "current_password": "wrong horse battery"});
    for _ in 0..9 {
        t.alice.patch_at_fault("/users/alice", guess.clone(), &["current_password"]).await;
    }
    t.alice.patch("/users/alice", json!({"password": new, "current_password": new}), 429).await;
    t.log_in("alice", new, 200).await;
    t.bob.patch("/users/bob", json!({"password": new, "current_password": PASSWORD}), 200).await;
}

async fn a_password_that_an_administrator_sets_ends_what_the_account_had(t: TestServer) {
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

async fn a_disabled_account_stops_at_once(t: TestServer) {
    let browser = t.browser("alice").await;
    browser.get("/session", 200).await;
    t.alice.get("/session", 200).await;
    t.root.patch("/users/alice", json!({"disabled": true}), 200).await;
    browser.get("/session", 401).await;
    t.alice.get("/session", 401).await;
    t.root.patch("/users/alice", json!({"disabled": false}), 200).await;
    t.alice.get("/session", 200).await;
    browser.get("/session", 401).await;
}

async fn the_last_administrator_stays(t: TestServer) {
    t.root.patch("/users/root", json!({"role": "user"}), 409).await;
    t.root.patch("/users/root", json!({"disabled": true}), 409).await;
    t.root.patch("/users/alice", json!({"role": "administrator"}), 200).await;
    t.root.patch("/users/root", json!({"role": "user"}), 200).await;
    t.root.get("/users", 403).await;
}

async fn accounts_at_fault_are_named(t: TestServer) {
    let input = |username: &str, email: &str, password: &str| json!({"username": username, "email": email, "password": password, "role": "user"});
    let long = "x".repeat(201);
    for (input, faults) in [
        (input("Carol", "carol", "short"), &["username", "email", "password"][..]),
        (input("", "carol@example.com", PASSWORD), &["username"]),
        (input("1carol", "carol@example.com", PASSWORD), &["username"]),
        (input("carol\0", "carol@example.com", PASSWORD), &["username"]),
        (input("carol", "carol @example.com", &long), &["email", "password"]),
        (json!({"username": "carol", "email": "carol@example.com", "password": PASSWORD, "role": "king"}), &["role"]),
    ] {
        t.root.post_at_fault("/users", input, faults).await;
    }
    t.root
        .patch_at_fault(
            "/users/alice",
            json!({"ssh_key": "ssh-rsa nonsense", "password": "short"}),
            &["password", "ssh_key"],
        )
        .await;
    assert_eq!(t.root.get("/users", 200).await.items().len(), 3);
}

async fn notifications_are_read_by_those_they_are_for(t: TestServer) {
    let resource = t.resource("node-1", "restricted").await;
    let request =
        t.alice.post("/access-requests", json!({"resource_id": resource, "reason": "A paper is due."}), 201).await;
    let all = t.root.get("/notifications", 200).await;
    assert_eq!(all.items().len(), 1);
    let told = &all.items()[0];
    assert_eq!((&told["username"], &told["severity"], &told["read"]), (&Value::Null, &json!("info"), &json!(false)));
    assert!(told["message"].as_str().unwrap().contains("alice"));
    assert!(t.alice.get("/notifications", 200).await.items().is_empty());
    // What is not theirs they cannot mark either.
    t.alice.post("/notifications/read", json!({"id": told["id"]}), 204).await;
    assert_eq!(t.root.get("/notifications", 200).await.items()[0]["read"], false);
    t.root.post("/notifications/read", json!({"id": told["id"]}), 204).await;
    assert_eq!(t.root.get("/notifications", 200).await.items()[0]["read"], true);
    t.root.post(&format!("/access-requests/{}/approve", request.text("id")), Value::Null, 200).await;
    let told = t.alice.get("/notifications", 200).await;
    assert_eq!((told.items().len(), &told.items()[0]["username"]), (1, &json!("alice")));
    assert!(t.bob.get("/notifications", 200).await.items().is_empty());
    assert_eq!(t.root.get("/notifications", 200).await.items().len(), 1);
}
