//! `/api/v1/session` and `/api/v1/setup`: logging in and out.

use crate::support::{Engine, PASSWORD, TestServer, on_both_engines, on_one_engine, time};
use chrono::Duration;
use reqwest::Method;
use serde_json::{Value, json};

on_both_engines![logging_in_gives_a_session_that_knows_who_one_is,];

on_one_engine![
    a_session_ends_after_seven_days,
    logging_out_ends_the_session,
    every_wrong_log_in_gets_the_same_answer,
    credentials_of_another_shape_are_named,
    failed_log_ins_are_throttled,
    a_session_is_no_token_and_a_token_no_session,
    a_session_cannot_be_made_by_another_site,
];

async fn logging_in_gives_a_session_that_knows_who_one_is(t: TestServer) {
    let reply = t.log_in("alice", PASSWORD, 200).await;
    let cookie = reply.header("set-cookie");
    let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
    assert_eq!(attributes, ["Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=604800"], "no Secure without TLS");
    assert!(!reply.text.contains(&reply.session()), "only the cookie holds the session");
    let browser = t.nobody.with_session(&reply.session());
    let who = browser.get("/session", 200).await;
    assert_eq!(who.body, reply.body);
    assert_eq!(who.body["user"]["username"], "alice");
    assert_eq!(who.body["user"]["email"], "alice@example.com");
    assert_eq!(who.body["user"]["role"], "user");
    assert_eq!(who.body["scopes"], json!(["read", "reserve", "admin"]));
    let lasts = time(&who.body["expires_at"]) - t.now();
    assert!(lasts <= Duration::days(7) && lasts > Duration::days(7) - Duration::minutes(1), "{lasts}");
    t.nobody.get("/session", 401).await;
}

async fn a_session_ends_after_seven_days(t: TestServer) {
    let browser = t.browser("alice").await;
    t.clock.advance(Duration::days(7) - Duration::minutes(1));
    browser.get("/session", 200).await;
    t.clock.advance(Duration::minutes(1));
    browser.get("/session", 401).await;
    browser.get("/reservations", 401).await;
}

async fn logging_out_ends_the_session(t: TestServer) {
    let browser = t.browser("alice").await;
    let other = t.browser("alice").await;
    let reply = browser.delete("/session", 204).await;
    assert!(reply.session().is_empty() && reply.header("set-cookie").contains("Max-Age=0"));
    browser.get("/session", 401).await;
    other.get("/session", 200).await;
    t.nobody.delete("/session", 204).await;
}

/// Nobody learns which names exist, or which accounts are disabled.
async fn every_wrong_log_in_gets_the_same_answer(t: TestServer) {
    t.root.patch("/users/bob", json!({"disabled": true}), 200).await;
    let long = "x".repeat(201);
    let wrong = t.log_in("alice", "wrong horse battery", 401).await;
    for (username, password) in [
        ("nobody", PASSWORD),
        ("bob", PASSWORD),
        ("ali\0ce", PASSWORD),
        ("ALICE", PASSWORD),
        ("alice", &*long),
        ("", ""),
    ] {
        let reply = t.log_in(username, password, 401).await;
        assert_eq!(reply.text, wrong.text, "{username:?}");
        assert_eq!(reply.header("set-cookie"), "");
    }
}

async fn credentials_of_another_shape_are_named(t: TestServer) {
    t.nobody.post_at_fault("/session", json!({"username": "alice"}), &["password"]).await;
    t.nobody.post_at_fault("/session", json!({"username": 1, "password": "x"}), &["username"]).await;
    t.nobody.post_at_fault("/session", json!(["alice"]), &["body"]).await;
    t.nobody.post_at_fault("/session", json!("alice"), &["body"]).await;
}

async fn failed_log_ins_are_throttled(t: TestServer) {
    for _ in 0..10 {
        t.log_in("alice", "wrong horse battery", 401).await;
    }
    let reply = t.log_in("alice", PASSWORD, 429).await;
    let wait: i64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    t.log_in("bob", PASSWORD, 200).await;
    t.clock.advance(Duration::seconds(wait + 1));
    t.log_in("alice", PASSWORD, 200).await;
    t.log_in("alice", "wrong horse battery", 401).await;
}

async fn a_session_is_no_token_and_a_token_no_session(t: TestServer) {
    let session = t.log_in("alice", PASSWORD, 200).await.session();
    t.nobody.with_token(&session).get("/session", 401).await;
    let token = t.alice.post("/tokens", json!({"name": "script"}), 201).await.text("token").to_owned();
    t.nobody.with_session(&token).get("/session", 401).await;
    t.nobody.with_token(&token).get("/session", 200).await;
    // A credential that is there but wrong is not skipped in favour of another.
    let both = t.nobody.with_session(&session);
    both.send(Method::GET, "/session", 401, |request| request.header("authorization", "Basic YWxpY2U6eA==")).await;
}

/// Otherwise another site could log its visitors in as somebody of its choice.
async fn a_session_cannot_be_made_by_another_site(t: TestServer) {
    let input = json!({"username": "alice", "password": PASSWORD});
    for (name, value) in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        let reply = t.nobody.send(Method::POST, "/session", 403, |r| r.json(&input).header(name, value)).await;
        assert_eq!(reply.text("type"), "/problems/foreign-origin");
    }
    let ours = t.url.clone();
    t.nobody.send(Method::POST, "/session", 200, |r| r.json(&input).header("origin", ours)).await;
}

#[tokio::test]
async fn in_production_the_cookie_is_secure() {
    let t = TestServer::start_in_production().await;
    let reply = t.log_in("alice", PASSWORD, 200).await;
    let attributes: Vec<&str> = reply.header("set-cookie").split("; ").skip(1).collect();
    assert_eq!(attributes, ["Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=604800", "Secure"]);
    assert!(reply.header("strict-transport-security").contains("max-age=63072000"));
    // Behind a proxy the page's origin is the public URL, whatever Host the proxy sends.
    let session = reply.session();
    let reply = t
        .nobody
        .send(Method::DELETE, "/session", 204, |request| {
            request.header("cookie", format!("berth_session={session}")).header("origin", "https://berth.example.com")
        })
        .await;
    assert!(reply.header("set-cookie").ends_with("; Secure"));
}

async fn the_first_administrator_is_made_once_and_only_from_here(engine: Engine) {
    let t = TestServer::start_empty(engine, |_| {}).await;
    let state = t.nobody.get("/setup", 200).await;
    assert_eq!(state.body, json!({"needs_setup": true, "local": true}));
    let input = |code: Value, password: &str| json!({"code": code, "username": "root", "email": "root@example.com", "password": password});
    // What comes through a proxy is not this machine.
    for code in [Value::Null, json!(""), json!("0123456789abcdef0123456789abcdef")] {
        let body = input(code, PASSWORD);
        t.nobody.send(Method::POST, "/setup", 403, |r| r.json(&body).header("x-forwarded-for", "203.0.113.9")).await;
    }
    let weak = json!({"username": "Root", "email": "root", "password": "short"});
    t.nobody.post_at_fault("/setup", weak, &["username", "email", "password"]).await;
    let reply = t.nobody.post("/setup", input(Value::Null, PASSWORD), 200).await;
    assert_eq!(reply.body["user"]["role"], "administrator");
    t.nobody.with_session(&reply.session()).get("/webhooks", 200).await;
    t.nobody.post("/setup", input(Value::Null, PASSWORD), 409).await;
    assert_eq!(t.nobody.get("/setup", 200).await.body["needs_setup"], false);
}

mod the_first_administrator_is_made_once_and_only_from_here {
    use crate::support::{Engine, postgres};

    #[tokio::test]
    async fn on_sqlite() {
        super::the_first_administrator_is_made_once_and_only_from_here(Engine::Sqlite).await;
    }

    #[tokio::test]
    async fn on_postgres() {
        if postgres().is_some() {
            super::the_first_administrator_is_made_once_and_only_from_here(Engine::Postgres).await;
        }
    }
}
