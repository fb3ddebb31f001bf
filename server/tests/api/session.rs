//! `/api/v1/session` and `/api/v1/setup`: logging in and out.

use crate::support::{PASSWORD, TestServer, time};
use chrono::Duration;
use reqwest::Method;
use serde_json::{Value, json};
use test_support::{DatabaseKind, on_both_databases};

on_both_databases![logging_in_gives_a_session_that_knows_who_one_is,];

on_both_databases![sqlite only:
    a_session_ends_after_seven_days,
    logging_out_ends_the_session,
    every_wrong_log_in_gets_the_same_answer,
    credentials_of_another_shape_are_named,
    failed_log_ins_are_throttled,
    failed_log_ins_are_throttled_whatever_the_name,
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

async fn failed_log_ins_are_throttled_whatever_the_name(t: TestServer) {
    for n in 0..30 {
        t.log_in(&format!("person{n}"), "wrong horse battery", 401).await;
    }
    let reply = t.log_in("alice", PASSWORD, 429).await;
    let wait: i64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    t.clock.advance(Duration::seconds(wait + 1));
    t.log_in("alice", PASSWORD, 200).await;
    t.log_in("bob", PASSWORD, 429).await;
    t.clock.advance(Duration::minutes(15));
    t.log_in("bob", PASSWORD, 200).await;
    t.log_in("alice", PASSWORD, 200).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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

async fn the_first_administrator_is_made_once_and_only_from_here(kind: DatabaseKind) {
    let t = TestServer::start_empty(kind, |_| {}).await;
    let state = t.nobody.get("/setup", 200).await;
    assert_eq!(state.body, json!({"needs_setup": true, "local": true}));
    let input = |code: Value, password: &str| json!({"code": code, "username": "root", "email": "root@example.com", "password": password});
    // What comes through a proxy is not this machine, nor a page of another name that leads here.
    for (name, value) in [("x-real-ip", "127.0.0.1"), ("via", "1.1 proxy"), ("host", "evil.example")] {
        let body = input(Value::Null, PASSWORD);
        t.nobody.send(Method::POST, "/setup", 403, |r| r.json(&body).header(name, value)).await;
        let state = t.nobody.send(Method::GET, "/setup", 200, |r| r.header(name, value)).await;
        assert_eq!(state.body["local"], false, "{name}");
    }
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

on_both_databases![the_first_administrator_is_made_once_and_only_from_here];

/// A client can send lines of its own, which come before the proxy's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy_only_its_own_word_names_the_client() {
    let t = TestServer::start_with(DatabaseKind::Sqlite, |config| config.trust_proxy = true).await;
    let log_in = async |password: &str, forwarded: &str, status: u16| {
        let input = json!({"username": "alice", "password": password});
        let made_up = format!("198.51.100.{}, 198.51.100.1", rand::random::<u8>());
        t.nobody
            .send(Method::POST, "/session", status, |r| {
                r.json(&input).header("x-forwarded-for", made_up).header("x-forwarded-for", forwarded)
            })
            .await
    };
    for n in 0..10 {
        log_in("wrong horse battery", &format!("2001:db8:0:1::{n:x}"), 401).await;
    }
    log_in(PASSWORD, "2001:db8:0:1:ffff::1", 429).await;
    log_in(PASSWORD, "2001:db8:0:2::1", 200).await;
}

/// Through the page's own door the same holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_not_told_that_it_is_local_under_another_name() {
    let t = TestServer::start_empty(DatabaseKind::Sqlite, |_| {}).await;
    let visit = async |host: &str| {
        t.nobody
            .send(Method::POST, "//rpc/visit", 200, |r| {
                r.json(&json!({})).header("host", host).header("sec-fetch-site", "same-origin")
            })
            .await
    };
    assert_eq!(visit("127.0.0.1").await.body["local"], true);
    assert_eq!(visit("evil.example").await.body["local"], false);
}
