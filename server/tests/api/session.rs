//! `/api/v1/session` and `/api/v1/setup`: logging in and out.

use crate::support::{PASSWORD, TestServer, time};
use chrono::Duration;
use reqwest::Method;
use serde_json::{Value, json};
use test_support::{DatabaseKind, on_both_databases};

on_both_databases![login_creates_a_session,];

on_both_databases![sqlite only:
    session_expires_after_seven_days,
    logout_ends_the_session,
    login_ends_the_old_session_of_the_browser,
    sessions_are_listed_and_ended,
    known_device_logs_in_while_others_are_throttled,
    failed_logins_get_one_message,
    invalid_credential_fields_are_named,
    failed_logins_are_throttled,
    failed_logins_are_throttled_across_usernames,
    session_and_token_are_not_interchangeable,
    other_authorization_schemes_are_ignored_next_to_a_session,
    csrf_login_from_another_site_is_rejected,
];

async fn login_creates_a_session(t: TestServer) {
    let reply = t.log_in("alice", PASSWORD, 200).await;
    let cookie = reply.header("set-cookie");
    let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
    assert_eq!(attributes, ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=604800"], "not Secure without TLS");
    assert!(!reply.text.contains(&reply.session()), "the session token is only in the cookie");
    let browser = t.anonymous.with_session(&reply.session());
    let who = browser.get("/session", 200).await;
    assert_eq!(who.body, reply.body);
    assert_eq!(who.body["user"]["username"], "alice");
    assert_eq!(who.body["user"]["email"], "alice@example.com");
    assert_eq!(who.body["user"]["role"], "user");
    assert_eq!(who.body["scopes"], json!(["read", "reserve", "admin"]));
    let lasts = time(&who.body["expires_at"]) - t.now();
    assert!(lasts <= Duration::days(7) && lasts > Duration::days(7) - Duration::minutes(1), "{lasts}");
    t.anonymous.get("/session", 401).await;
}

async fn session_expires_after_seven_days(t: TestServer) {
    let browser = t.browser("alice").await;
    for _ in 0..7 {
        t.clock.advance(Duration::hours(23));
        browser.get("/session", 200).await;
    }
    t.clock.advance(Duration::hours(7 * 24 - 7 * 23));
    browser.get("/session", 401).await;
    browser.get("/reservations", 401).await;
}

async fn logout_ends_the_session(t: TestServer) {
    let browser = t.browser("alice").await;
    let other = t.browser("alice").await;
    let reply = browser.delete("/session", 204).await;
    assert!(reply.session().is_empty() && reply.header("set-cookie").contains("Max-Age=0"));
    browser.get("/session", 401).await;
    other.get("/session", 200).await;
    t.anonymous.delete("/session", 204).await;
    // An invented cookie must not clear the cached credentials of all users.
    let generation = t.service.accounts().credential_generation();
    t.anonymous.with_session("invented").delete("/session", 204).await;
    assert_eq!(t.service.accounts().credential_generation(), generation);
}

async fn login_ends_the_old_session_of_the_browser(t: TestServer) {
    let browser = t.browser("alice").await;
    browser.get("/session", 200).await;
    let input = json!({"username": "bob", "password": PASSWORD});
    let reply = browser.post("/session", input, 200).await;
    browser.get("/session", 401).await;
    t.anonymous.with_session(&reply.session()).get("/session", 200).await;
}

async fn sessions_are_listed_and_ended(t: TestServer) {
    let (one, two) = (t.browser("alice").await, t.browser("alice").await);
    let list = one.get("/sessions", 200).await;
    assert_eq!(list.items().len(), 2);
    let current: Vec<&Value> = list.items().iter().filter(|session| session["current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["source"], "127.0.0.1");
    let other = list.items().iter().find(|session| session["current"] == false).unwrap()["id"].as_str().unwrap();
    let path = format!("/sessions/{other}");
    t.bob.delete(&path, 404).await;
    one.delete(&path, 204).await;
    two.get("/session", 401).await;
    one.delete(&path, 404).await;
    one.delete("/sessions", 204).await;
    one.get("/session", 401).await;
    // Administrators end the sessions of a user.
    let browser = t.browser("alice").await;
    t.bob.delete("/users/alice/sessions", 403).await;
    browser.get("/session", 200).await;
    t.root.delete("/users/alice/sessions", 204).await;
    browser.get("/session", 401).await;
    t.root.delete("/users/nobody/sessions", 404).await;
    t.alice.get("/session", 200).await;
}

/// Guesses from many addresses do not lock out a user who has logged in with the browser before.
async fn known_device_logs_in_while_others_are_throttled(t: TestServer) {
    let cookies = t.log_in("alice", PASSWORD, 200).await;
    let cookies: Vec<&str> =
        cookies.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    let device = cookies.iter().find(|cookie| cookie.starts_with("berth_device=")).unwrap();
    assert!(device.contains("HttpOnly") && device.contains("Max-Age=31536000"), "{device}");
    let device = device.split(';').next().unwrap().to_owned();
    for _ in 0..10 {
        t.log_in("alice", "wrong horse battery", 401).await;
    }
    t.log_in("alice", PASSWORD, 429).await;
    let input = json!({"username": "alice", "password": PASSWORD});
    t.anonymous.send(Method::POST, "/session", 200, |r| r.json(&input).header("cookie", device)).await;
}

/// The response reveals neither existing usernames nor disabled accounts.
async fn failed_logins_get_one_message(t: TestServer) {
    t.root.patch("/users/bob", json!({"disabled": true}), 200).await;
    let long = "x".repeat(201);
    let wrong = t.log_in("alice", "wrong horse battery", 401).await;
    for (username, password) in [
        ("anonymous", PASSWORD),
        ("bob", PASSWORD),
        ("ali\0ce", PASSWORD),
        ("ALICE", PASSWORD),
        ("alice", &*long),
        ("", ""),
    ] {
        let reply = t.log_in(username, password, 401).await;
        assert_eq!(reply.without_request_id(), wrong.without_request_id(), "{username:?}");
        assert_eq!(reply.header("set-cookie"), "");
    }
}

async fn invalid_credential_fields_are_named(t: TestServer) {
    t.anonymous.post_invalid("/session", json!({"username": "alice"}), &["password"]).await;
    t.anonymous.post_invalid("/session", json!({"username": 1, "password": "x"}), &["username"]).await;
    t.anonymous.post_invalid("/session", json!(["alice"]), &["body"]).await;
    t.anonymous.post_invalid("/session", json!("alice"), &["body"]).await;
}

async fn failed_logins_are_throttled(t: TestServer) {
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

async fn failed_logins_are_throttled_across_usernames(t: TestServer) {
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

async fn session_and_token_are_not_interchangeable(t: TestServer) {
    let session = t.log_in("alice", PASSWORD, 200).await.session();
    t.anonymous.with_token(&session).get("/session", 401).await;
    let token = t.token("alice", json!({"name": "script"})).await.text("token").to_owned();
    t.anonymous.with_session(&token).get("/session", 401).await;
    t.anonymous.with_token(&token).get("/session", 200).await;
    // An invalid token is rejected even if a valid session is present.
    let both = t.anonymous.with_session(&session);
    both.send(Method::GET, "/session", 401, |request| request.header("authorization", "Bearer made-up")).await;
}

/// A proxy with HTTP authentication adds its header to the requests of a browser.
async fn other_authorization_schemes_are_ignored_next_to_a_session(t: TestServer) {
    let browser = t.browser("alice").await;
    for scheme in ["Basic YWxpY2U6eA==", "Negotiate YII", "Bearer"] {
        let get = async |path: &str| {
            let request = browser.request(Method::GET, path).header("authorization", scheme);
            request.send().await.unwrap().status().as_u16()
        };
        assert_eq!(get("/session").await, 200, "{scheme}");
        assert_eq!(get("/reservations").await, 200, "{scheme}");
        assert_eq!(get("/stream").await, 200, "{scheme}");
    }
    t.anonymous.send(Method::GET, "/session", 401, |r| r.header("authorization", "Basic YWxpY2U6eA==")).await;
}

/// Login CSRF: another site could otherwise log its visitors in to its own account.
async fn csrf_login_from_another_site_is_rejected(t: TestServer) {
    let input = json!({"username": "alice", "password": PASSWORD});
    for (name, value) in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        let reply = t.anonymous.send(Method::POST, "/session", 403, |r| r.json(&input).header(name, value)).await;
        assert_eq!(reply.text("type"), "/problems/foreign-origin");
    }
    let ours = t.url.clone();
    t.anonymous.send(Method::POST, "/session", 200, |r| r.json(&input).header("origin", ours)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_cookie_is_secure_in_production() {
    let t = TestServer::start_in_production().await;
    let reply = t.log_in("alice", PASSWORD, 200).await;
    let attributes: Vec<&str> = reply.header("set-cookie").split("; ").skip(1).collect();
    assert_eq!(attributes, ["HttpOnly", "SameSite=Lax", "Secure", "Path=/", "Max-Age=604800"]);
    assert!(reply.header("set-cookie").starts_with("__Host-berth_session="), "only this host can set it");
    assert!(reply.header("strict-transport-security").contains("max-age=63072000"));
    // Behind a proxy the origin is the public URL, independent of the Host header.
    let session = reply.session();
    let reply = t
        .anonymous
        .send(Method::DELETE, "/session", 204, |request| {
            request
                .header("cookie", format!("__Host-berth_session={session}"))
                .header("origin", "https://berth.example.com")
        })
        .await;
    assert!(reply.header("set-cookie").contains("; Secure;"));
}

async fn first_administrator_is_created_once_and_only_locally(kind: DatabaseKind) {
    let t = TestServer::start_empty(kind, |_| {}).await;
    let state = t.anonymous.get("/setup", 200).await;
    assert_eq!(state.body, json!({"needs_setup": true, "local": true}));
    let input = |code: Value, password: &str| json!({"code": code, "username": "root", "email": "root@example.com", "password": password});
    // Requests through a proxy are not local, and those under a foreign host name are not served.
    let body = input(Value::Null, PASSWORD);
    t.anonymous.send(Method::POST, "/setup", 421, |r| r.json(&body).header("host", "evil.example")).await;
    for (name, value) in [("x-real-ip", "127.0.0.1"), ("via", "1.1 proxy")] {
        let body = input(Value::Null, PASSWORD);
        t.anonymous.send(Method::POST, "/setup", 403, |r| r.json(&body).header(name, value)).await;
        let state = t.anonymous.send(Method::GET, "/setup", 200, |r| r.header(name, value)).await;
        assert_eq!(state.body["local"], false, "{name}");
    }
    for code in [Value::Null, json!(""), json!("0123456789abcdef0123456789abcdef")] {
        let body = input(code, PASSWORD);
        t.anonymous.send(Method::POST, "/setup", 403, |r| r.json(&body).header("x-forwarded-for", "203.0.113.9")).await;
    }
    let weak = json!({"username": "Root", "email": "root", "password": "short"});
    t.anonymous.post_invalid("/setup", weak, &["username", "email", "password"]).await;
    let reply = t.anonymous.post("/setup", input(Value::Null, PASSWORD), 200).await;
    assert_eq!(reply.body["user"]["role"], "administrator");
    t.anonymous.with_session(&reply.session()).get("/webhooks", 200).await;
    t.anonymous.post("/setup", input(Value::Null, PASSWORD), 409).await;
    assert_eq!(t.anonymous.get("/setup", 200).await.body["needs_setup"], false);
}

on_both_databases![first_administrator_is_created_once_and_only_locally];

/// A client can send its own X-Forwarded-For values, which precede the proxy's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trusted_proxy_sets_the_client_address() {
    let t =
        TestServer::start_with(DatabaseKind::Sqlite, |config| config.trusted_proxies = "true".parse().unwrap()).await;
    let log_in = async |password: &str, forwarded: &str, status: u16| {
        let input = json!({"username": "alice", "password": password});
        let made_up = format!("198.51.100.{}, 198.51.100.1", rand::random::<u8>());
        t.anonymous
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

/// The proxy in front of the last one appends the client's address, the last one appends the first proxy's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_behind_two_proxies_have_their_own_login_limits() {
    for setting in ["2", "127.0.0.0/8,10.0.0.0/8"] {
        let proxies = setting.parse().unwrap();
        let t = TestServer::start_with(DatabaseKind::Sqlite, |config| config.trusted_proxies = proxies).await;
        let log_in = async |username: &str, password: &str, client: &str, status: u16| {
            let input = json!({"username": username, "password": password});
            let forwarded = format!("{client}, 10.0.0.5");
            t.anonymous
                .send(Method::POST, "/session", status, |r| r.json(&input).header("x-forwarded-for", forwarded))
                .await
        };
        for n in 0..30 {
            log_in(&format!("person{n}"), "wrong horse battery", "203.0.113.1", 401).await;
        }
        log_in("alice", PASSWORD, "203.0.113.1", 429).await;
        log_in("alice", PASSWORD, "203.0.113.2", 200).await;
    }
}

/// The same rule for server functions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setup_is_not_local_under_a_foreign_host_name() {
    let t = TestServer::start_empty(DatabaseKind::Sqlite, |config| {
        config.additional_hosts = vec!["berth.internal".into()];
    })
    .await;
    let visit = async |host: &str, status: u16| {
        t.anonymous
            .send(Method::POST, "//rpc/visit", status, |r| {
                r.json(&json!({})).header("host", host).header("sec-fetch-site", "same-origin")
            })
            .await
    };
    assert_eq!(visit("127.0.0.1", 200).await.body["local"], true);
    assert_eq!(visit("berth.internal", 200).await.body["local"], false);
    visit("evil.example", 421).await;
}

/// Another host of the domain can set the name of earlier releases, but not the one with the prefix.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn legacy_session_cookie_is_not_accepted_over_https() {
    let t = TestServer::start_in_production().await;
    let session = t.log_in("alice", PASSWORD, 200).await.session();
    let legacy = format!("berth_session={session}");
    let reply = t.anonymous.send(Method::GET, "/session", 401, |r| r.header("cookie", legacy.clone())).await;
    let set: Vec<&str> = reply.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(set.len(), 1, "{set:?}");
    assert!(set[0].starts_with("berth_session=;") && set[0].contains("Max-Age=0"), "{set:?}");
    let both = format!("__Host-berth_session={session}; berth_session=invented");
    let reply = t.anonymous.send(Method::GET, "/session", 200, |r| r.header("cookie", both)).await;
    assert_eq!(reply.headers.get_all("set-cookie").iter().count(), 1, "only the removal");
    // Nor can it be ended or used by a server function.
    let origin = |r: reqwest::RequestBuilder| r.header("cookie", legacy).header("origin", "https://berth.example.com");
    t.anonymous.send(Method::DELETE, "/session", 204, origin).await;
    let current = format!("__Host-berth_session={session}");
    t.anonymous.send(Method::GET, "/session", 200, |r| r.header("cookie", current)).await;
}

/// Development can be behind a proxy with TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookies_are_secure_if_the_public_url_is_https() {
    let https = |config: &mut server::config::Config| config.public_url = "https://berth.example.com".into();
    let t = TestServer::start_with(DatabaseKind::Sqlite, https).await;
    assert!(t.log_in("alice", PASSWORD, 200).await.header("set-cookie").contains("; Secure;"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_limits_are_settings() {
    let adjust = |config: &mut server::config::Config| {
        config.service.accounts.session_idle = Duration::hours(1);
        config.service.accounts.session_lifetime = Duration::hours(2);
    };
    let t = TestServer::start_with(DatabaseKind::Sqlite, adjust).await;
    let (used, idle) = (t.log_in("alice", PASSWORD, 200).await, t.browser("alice").await);
    assert!(used.header("set-cookie").contains("Max-Age=7200"));
    let used = t.anonymous.with_session(&used.session());
    t.clock.advance(Duration::minutes(50));
    used.get("/session", 200).await;
    t.clock.advance(Duration::minutes(50));
    used.get("/session", 200).await;
    // Clears the cached credentials, which are valid for 3 s of real time.
    t.root.delete("/users/bob/sessions", 204).await;
    idle.get("/session", 401).await;
    t.clock.advance(Duration::minutes(20));
    used.get("/session", 401).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_out_clears_the_cache_of_the_browser() {
    let t = TestServer::start_with(DatabaseKind::Sqlite, |_| {}).await;
    let browser = t.browser("alice").await;
    assert_eq!(browser.delete("/session", 204).await.header("clear-site-data"), "\"cache\"");
    let origin = |r: reqwest::RequestBuilder| r.json(&json!({})).header("origin", &t.url);
    let reply = t.anonymous.send(Method::POST, "//rpc/log-out", 200, origin).await;
    assert_eq!(reply.header("clear-site-data"), "\"cache\"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_responses_are_saved_under_a_fixed_name() {
    let t = TestServer::start_with(DatabaseKind::Sqlite, |_| {}).await;
    for (path, status) in [("/session", 200), ("/unknown.bat", 404)] {
        let reply = t.root.get(path, status).await;
        assert_eq!(reply.header("content-disposition"), "attachment; filename=\"api.json\"", "{path}");
    }
    let script = |r: reqwest::RequestBuilder| r.header("sec-fetch-dest", "empty");
    let reply = t.root.send(Method::GET, "/session", 200, script).await;
    assert!(reply.headers.get("content-disposition").is_none());
}
