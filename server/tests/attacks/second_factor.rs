//! Attempts to get around the second factor and the confirmation of sensitive changes.

use crate::client::TestClient;
use crate::openapi::operations;
use crate::support::{PASSWORD, TestServer};
use domain::second_factor::SecondFactorPolicy;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use test_support::{Authenticator, DatabaseKind, on_both_databases};

on_both_databases![
    password_alone_opens_no_session,
    planted_session_is_replaced_by_the_second_step,
    second_step_cannot_be_guessed_replayed_or_moved,
];

on_both_databases![sqlite only:
    session_without_a_required_second_factor_reaches_nothing_else,
    stolen_old_session_makes_no_sensitive_change,
    server_functions_of_passkeys_reject_foreign_pages_and_strangers,
];

async fn required_for_everyone(kind: DatabaseKind) -> TestServer {
    TestServer::start_with(kind, |config| {
        config.service.accounts.second_factor_required = SecondFactorPolicy::Everyone;
    })
    .await
}

fn kind_of(t: &TestServer) -> DatabaseKind {
    if t.service.is_postgres() { DatabaseKind::Postgres } else { DatabaseKind::Sqlite }
}

fn with_cookie(t: &TestServer, cookie: &str, body: &Value) -> impl FnOnce(RequestBuilder) -> RequestBuilder + use<> {
    let (cookie, origin, body) = (cookie.to_owned(), t.url.clone(), body.clone());
    move |r| r.header("cookie", cookie).header("origin", origin).json(&body)
}

async fn finish(t: &TestServer, cookie: &str, body: Value, expected: u16) -> crate::client::Reply {
    t.anonymous.send(Method::POST, "/session/second-factor", expected, with_cookie(t, cookie, &body)).await
}

async fn rpc(client: &TestClient, t: &TestServer, function: &str, body: Value, expected: u16) -> crate::client::Reply {
    let request = |r: RequestBuilder| r.header("origin", &t.url).json(&body);
    client.send(Method::POST, &format!("//rpc/{function}"), expected, request).await
}

async fn password_alone_opens_no_session(t: TestServer) {
    let key = t.add_app("alice").await;
    let (problem, token) = t.second_step("alice").await;
    assert_eq!(problem.text("type"), "/problems/second-factor-required");
    assert_eq!(problem.headers.get_all("set-cookie").iter().count(), 1, "no session cookie");
    let pending = format!("berth_second_step={token}");
    // The token of the pending log-in is no credential.
    t.anonymous.with_session(&token).get("/session", 401).await;
    t.anonymous.with_token(&token).get("/session", 401).await;
    for path in ["/session", "/reservations", "/tokens"] {
        t.anonymous.send(Method::GET, path, 401, |r| r.header("cookie", &pending)).await;
    }
    t.anonymous.send(Method::GET, "/session", 401, |r| r.basic_auth("alice", Some(PASSWORD))).await;
    // A session token is no pending log-in either.
    let session = t.browser("bob").await;
    let body = json!({"code": t.code(&key)});
    session.post("/session/second-factor", body.clone(), 401).await;
    let session = t.log_in("bob", PASSWORD, 200).await.session();
    finish(&t, &format!("berth_second_step={session}"), body, 401).await;
    // The page's own function gives no session either.
    let credentials = json!({"credentials": {"username": "alice", "password": PASSWORD}});
    let reply = rpc(&t.anonymous, &t, "log-in", credentials, 200).await;
    assert!(reply.body["SecondStep"]["code"].as_bool().unwrap(), "{}", reply.text);
    assert!(!reply.header("set-cookie").contains("berth_session"), "{}", reply.header("set-cookie"));
    // The password change by API token still needs the password, and opens no session.
    let sessions = t.alice.get("/sessions", 200).await.items().len();
    assert_eq!(sessions, 1, "only the session that added the app");
}

async fn planted_session_is_replaced_by_the_second_step(t: TestServer) {
    let key = t.add_app("alice").await;
    let planted = t.log_in("bob", PASSWORD, 200).await.session();
    let (_, token) = t.second_step("alice").await;
    let cookies = format!("berth_session={planted}; berth_second_step={token}");
    let reply = finish(&t, &cookies, json!({"code": t.code(&key)}), 200).await;
    let session = reply.session();
    assert!(session != planted && session != token, "the session has a new token");
    t.anonymous.with_session(&planted).get("/session", 401).await;
    assert_eq!(t.anonymous.with_session(&session).get("/session", 200).await.body["user"]["username"], "alice");
    let removed = reply
        .headers
        .get_all("set-cookie")
        .iter()
        .any(|cookie| cookie.to_str().unwrap().starts_with("berth_second_step=;"));
    assert!(removed, "the cookie of the pending log-in is removed");
}

async fn second_step_cannot_be_guessed_replayed_or_moved(t: TestServer) {
    let key = t.add_app("alice").await;
    let his_key = t.add_app("bob").await;
    let (_, token) = t.second_step("alice").await;
    let pending = format!("berth_second_step={token}");
    for cookie in ["", "berth_second_step=", "berth_second_step=x", "berth_session=x"] {
        finish(&t, cookie, json!({"code": t.code(&key)}), 401).await;
    }
    let foreign = json!({"code": t.code(&key)});
    let request =
        |r: RequestBuilder| r.header("cookie", &pending).header("origin", "https://evil.example").json(&foreign);
    t.anonymous.send(Method::POST, "/session/second-factor", 403, request).await;
    for body in [json!({}), json!({"code": null}), json!({"code": "1", "recovery_code": "2"})] {
        finish(&t, &pending, body, 422).await;
    }
    finish(&t, &pending, json!({"code": t.code(&his_key)}), 422).await;
    let code = t.code(&key);
    finish(&t, &pending, json!({"code": code}), 200).await;
    finish(&t, &pending, json!({"code": code}), 401).await;
    let (_, token) = t.second_step("alice").await;
    let pending = format!("berth_second_step={token}");
    finish(&t, &pending, json!({"code": code}), 422).await;
    for _ in 0..12 {
        let body = json!({"recovery_code": "0000-0000-0000-0000"});
        let request = with_cookie(&t, &pending, &body);
        request(t.anonymous.request(Method::POST, "/session/second-factor")).send().await.unwrap();
    }
    t.clock.advance(chrono::Duration::seconds(30));
    let limited = finish(&t, &pending, json!({"code": t.code(&key)}), 429).await;
    assert!(limited.text("detail").contains("wrong codes"), "{}", limited.text);
    let entries = t.root.get("/audit?action=second_factor.rejected", 200).await;
    assert_eq!(entries.items()[0]["target"]["id"], "alice");
}

async fn session_without_a_required_second_factor_reaches_nothing_else(t: TestServer) {
    let t = required_for_everyone(kind_of(&t)).await;
    let session = t.log_in("root", PASSWORD, 200).await;
    assert_eq!(session.body["needs_second_factor"], true);
    let root = t.anonymous.with_session(&session.session());
    // The second factors of other accounts, which the path of the test names, are not among them.
    let allowed = ["session_get_session", "session_log_out", "session_confirm"];
    let public =
        ["session_get_setup", "session_set_up", "session_log_in", "session_finish_log_in", "receivers_status_update"];
    for operation in operations().filter(|operation| !public.contains(&operation.id())) {
        let request = root.request(operation.method(), &operation.path());
        let request = match operation.example() {
            Some(example) => request.json(example),
            None => request,
        };
        if operation.id() == "session_log_out" {
            continue;
        }
        let response = request.send().await.unwrap();
        let body: Value = response.json().await.unwrap_or_default();
        let is_refused = body["type"] == "/problems/second-factor-setup-required";
        assert_eq!(is_refused, !allowed.contains(&operation.id()), "{}: {body}", operation.id());
    }
    for (function, body) in [
        ("list-users", json!({})),
        ("list-tokens", json!({})),
        ("list-notifications", json!({})),
        ("list-providers", json!({})),
        ("reset-second-factors", json!({"username": "bob"})),
    ] {
        let reply = rpc(&root, &t, function, body, 403).await;
        assert!(reply.text.contains("needs a second factor"), "{function}: {}", reply.text);
    }
    root.get("/users/root/second-factors", 200).await;
    rpc(&root, &t, "start-app", json!({}), 200).await;
    root.delete("/session", 204).await;
}

async fn stolen_old_session_makes_no_sensitive_change(t: TestServer) {
    let root = t.browser("root").await;
    t.clock.advance(chrono::Duration::minutes(10));
    let user = json!({"username": "mallory", "email": "m@example.com", "password": PASSWORD, "role": "administrator"});
    let refused = root.post("/users", user.clone(), 403).await;
    assert_eq!(refused.text("type"), "/problems/confirmation-required");
    root.patch("/users/alice", json!({"role": "administrator"}), 403).await;
    root.delete("/users/alice/sessions", 403).await;
    root.delete("/users/alice/second-factors", 403).await;
    let refused = rpc(&root, &t, "create-user", json!({"input": user}), 403).await;
    assert!(refused.text.contains("confirmation_required"), "{}", refused.text);
    // Guesses of the password have the budget of confirmations.
    for _ in 0..10 {
        root.post_invalid("/session/confirmation", json!({"password": "wrong"}), &["password"]).await;
    }
    root.post("/session/confirmation", json!({"password": PASSWORD}), 429).await;
    t.root.post("/session/confirmation", json!({"password": PASSWORD}), 403).await;
    t.clock.advance(chrono::Duration::minutes(3));
    root.post("/session/confirmation", json!({"password": PASSWORD}), 204).await;
    root.post("/users", user, 201).await;
}

async fn server_functions_of_passkeys_reject_foreign_pages_and_strangers(t: TestServer) {
    let origin = format!("http://localhost:{}", t.url.rsplit(':').next().unwrap());
    let alice = t.browser("alice").await;
    let started = rpc(&alice, &t, "start-passkey", json!({}), 200).await;
    let mut passkey = Authenticator::new(&origin);
    let credential = passkey.register(started.text("options"));
    let response = json!({"challenge": started.text("challenge"), "credential": credential});
    let input = json!({"name": "Laptop", "response": response});
    let bob = t.browser("bob").await;
    rpc(&bob, &t, "add-passkey", input.clone(), 409).await;
    rpc(&alice, &t, "add-passkey", input, 409).await;
    let started = rpc(&alice, &t, "start-passkey", json!({}), 200).await;
    let credential = passkey.register(started.text("options"));
    let response = json!({"challenge": started.text("challenge"), "credential": credential});
    rpc(&alice, &t, "add-passkey", json!({"name": "Laptop", "response": response}), 200).await;

    let started = rpc(&t.anonymous, &t, "start-passkey-log-in", json!({}), 200).await;
    let credential = passkey.answer(started.text("options"));
    let body = json!({"response": {"challenge": started.text("challenge"), "credential": credential}});
    let foreign = |r: RequestBuilder| r.header("origin", "https://evil.example").json(&body);
    t.anonymous.send(Method::POST, "//rpc/log-in-with-passkey", 403, foreign).await;
    let reply = rpc(&t.anonymous, &t, "log-in-with-passkey", body.clone(), 200).await;
    assert_eq!(reply.body["user"]["username"], "alice");
    rpc(&t.anonymous, &t, "log-in-with-passkey", body, 409).await;
}
