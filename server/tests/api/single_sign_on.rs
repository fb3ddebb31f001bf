//! Log-in at an identity provider: accounts, roles, links, confirmation, log-out. Attacks are in
//! `attacks/single_sign_on.rs`.

use crate::identity_provider::{IdentityProvider, Signature, session_of};
use crate::support::{PASSWORD, TestServer};
use chrono::Duration;
use domain::single_sign_on::LocalLogIn;
use reqwest::Method;
use serde_json::{Value, json};
use test_support::{DatabaseKind, on_both_databases};

on_both_databases![
    first_log_in_creates_an_account_and_the_next_one_finds_it_by_subject,
    groups_decide_on_the_role_and_losing_it_ends_other_sessions,
    username_of_another_account_is_refused_until_an_administrator_links_it,
    user_links_the_own_account_after_confirmation,
    link_by_username_is_an_option_and_spares_the_break_glass_account,
    accounts_are_created_only_with_permission_and_a_verified_address,
    members_of_other_groups_are_refused_and_their_sessions_end,
    disabled_account_stays_disabled,
    change_of_a_credential_needs_a_new_log_in_at_the_provider,
    back_channel_log_out_ends_the_session,
];
on_both_databases![sqlite only:
    start_redirects_with_pkce_and_a_bound_cookie,
    missing_claims_come_from_the_user_info_endpoint,
    keys_are_read_again_for_an_unknown_key_but_not_for_each_token,
    clock_skew_is_tolerated_up_to_the_setting,
    provider_that_is_down_is_reported_and_tried_again,
    refusal_of_the_provider_shows_a_page_with_a_way_back,
    password_log_in_can_be_limited_to_the_break_glass_administrator,
    password_log_in_can_be_switched_off,
    provider_pages_have_no_cache_and_a_strict_policy,
];

/// The user of a session.
async fn user(t: &TestServer, session: &str) -> Value {
    t.anonymous.with_session(session).get("/session", 200).await.body["user"].clone()
}

async fn first_log_in_creates_an_account_and_the_next_one_finds_it_by_subject(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let reply = provider.log_in(&t, json!({}), 303).await;
    assert_eq!(reply.header("location"), "/oidc/done?to=%2Freservations");
    let carol = user(&t, &session_of(&reply)).await;
    assert_eq!(carol["username"], "carol");
    assert_eq!((carol["email"].as_str(), carol["role"].as_str()), (Some("carol@corp.example"), Some("user")));
    assert_eq!((carol["has_password"].as_bool(), carol["role_provider"].as_str()), (Some(false), Some("corp")));
    t.log_in("carol", "", 401).await;
    t.log_in("carol", PASSWORD, 401).await;
    // The name and the address at the provider change, and the account stays.
    let renamed = json!({"preferred_username": "dave", "email": "dave@corp.example"});
    let session = session_of(&provider.log_in(&t, renamed, 303).await);
    assert_eq!(user(&t, &session).await["username"], "carol");
    // Another person takes over the name at the provider.
    let other = provider.log_in(&t, json!({"sub": "43"}), 409).await;
    assert!(other.text.contains("carol exists and is not linked to Corp"), "{}", other.text);
    let identities = t.root.get("/users/carol/identities", 200).await;
    assert_eq!(identities.items().len(), 1);
    assert_eq!((&identities.items()[0]["subject"], &identities.items()[0]["provider"]), (&json!("42"), &json!("Corp")));
}

async fn groups_decide_on_the_role_and_losing_it_ends_other_sessions(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let admin = json!({"groups": ["staff", "admins"]});
    let first = session_of(&provider.log_in(&t, admin.clone(), 303).await);
    assert_eq!(user(&t, &first).await["role"], "administrator");
    t.anonymous.with_session(&first).get("/users", 200).await;
    let refused = t.root.patch_invalid("/users/carol", json!({"role": "user"}), &["role"]).await;
    assert!(refused.text.contains("groups at Corp"), "{}", refused.text);
    t.root.patch("/users/carol", json!({"role": "administrator", "email": "c@corp.example"}), 200).await;
    let second = session_of(&provider.log_in(&t, json!({"groups": ["staff"]}), 303).await);
    assert_eq!(user(&t, &second).await["role"], "user");
    t.anonymous.with_session(&first).get("/session", 401).await;
    t.anonymous.with_session(&second).get("/users", 403).await;
    let third = session_of(&provider.log_in(&t, admin, 303).await);
    assert_eq!(user(&t, &third).await["role"], "administrator");
    assert_eq!(user(&t, &second).await["role"], "administrator", "the role belongs to the account");
    let auditor = session_of(&provider.log_in(&t, json!({"groups": ["auditors"]}), 303).await);
    assert_eq!(user(&t, &auditor).await["role"], "auditor");
    t.anonymous.with_session(&third).get("/session", 401).await;
    let third = session_of(&provider.log_in(&t, json!({"groups": ["admins"]}), 303).await);
    assert_eq!(user(&t, &third).await["role"], "administrator");
}

async fn username_of_another_account_is_refused_until_an_administrator_links_it(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let alice = json!({"sub": "7", "preferred_username": "alice"});
    let refused = provider.log_in(&t, alice.clone(), 409).await;
    assert!(refused.text.contains("subject 7"), "{}", refused.text);
    t.root
        .post_invalid("/users/alice/identities", json!({"provider": "x", "subject": ""}), &["provider", "subject"])
        .await;
    t.alice.post("/users/alice/identities", json!({"provider": "corp", "subject": "7"}), 403).await;
    let added = t.root.post("/users/alice/identities", json!({"provider": "corp", "subject": "7"}), 201).await;
    t.root.post("/users/alice/identities", json!({"provider": "corp", "subject": "8"}), 409).await;
    t.root.post("/users/bob/identities", json!({"provider": "corp", "subject": "7"}), 409).await;
    t.root.post("/users/nobody/identities", json!({"provider": "corp", "subject": "9"}), 404).await;
    assert!(t.alice.get("/notifications", 200).await.text.contains("linked to Corp by root"));
    let session = session_of(&provider.log_in(&t, alice.clone(), 303).await);
    let linked = user(&t, &session).await;
    assert_eq!((linked["username"].as_str(), linked["has_password"].as_bool()), (Some("alice"), Some(true)));
    t.log_in("alice", PASSWORD, 200).await;
    t.bob.get("/users/alice/identities", 403).await;
    assert_eq!(t.alice.get("/users/alice/identities", 200).await.items().len(), 1);
    let id = added.text("id").to_owned();
    t.root.delete("/users/alice/identities/idn_0", 404).await;
    t.root.delete(&format!("/users/alice/identities/{id}"), 204).await;
    t.anonymous.with_session(&session).get("/session", 401).await;
    provider.log_in(&t, alice, 409).await;
}

/// Starts the link of the user's account on the page; returns the response.
async fn start_link(t: &TestServer, session: &str, password: Option<&str>, expected: u16) -> crate::client::Reply {
    let body = json!({"provider": "corp", "current_password": password});
    let client = t.anonymous.with_session(session);
    client.send(Method::POST, "//rpc/link-identity", expected, |r| r.json(&body)).await
}

async fn user_links_the_own_account_after_confirmation(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let session = t.log_in("alice", PASSWORD, 200).await.session();
    t.clock.advance(Duration::minutes(11));
    let refused = start_link(&t, &session, None, 403).await;
    assert_eq!(refused.text("kind"), "confirmation_required");
    start_link(&t, &session, Some("wrong"), 422).await;
    let started = start_link(&t, &session, Some(PASSWORD), 200).await;
    let visit = provider.visit_of(started.body.as_str().unwrap(), started.header("set-cookie"));
    let claims = provider.claims(&t, &visit, json!({"sub": "7"}));
    let finish = async |session: Option<&str>, expected| {
        let code = provider.code(&visit, &claims, &Signature::Current, json!({}));
        let cookies = match session {
            Some(session) => format!("{}; berth_session={session}", visit.cookie),
            None => visit.cookie.clone(),
        };
        let path = format!("//oidc/corp/callback?code={code}&state={}", visit.state);
        t.anonymous.send(Method::GET, &path, expected, |r| r.header("cookie", cookies)).await
    };
    let linked = finish(Some(&session), 303).await;
    assert_eq!(linked.header("location"), "/oidc/done?to=%2Fsettings%2Faccount");
    assert!(!format!("{:?}", linked.headers).contains("berth_session="), "the session stays");
    finish(Some(&session), 400).await;
    assert!(t.alice.get("/notifications", 200).await.text.contains("linked to Corp"));
    let at_provider = session_of(&provider.log_in(&t, json!({"sub": "7"}), 303).await);
    assert_eq!(user(&t, &at_provider).await["username"], "alice");
    // Another user is logged in when the browser returns.
    let started = start_link(&t, &t.log_in("bob", PASSWORD, 200).await.session(), None, 200).await;
    let visit = provider.visit_of(started.body.as_str().unwrap(), started.header("set-cookie"));
    let code = provider.code(&visit, &provider.claims(&t, &visit, json!({"sub": "8"})), &Signature::Current, json!({}));
    let path = format!("//oidc/corp/callback?code={code}&state={}", visit.state);
    let cookies = format!("{}; berth_session={session}", visit.cookie);
    t.anonymous.send(Method::GET, &path, 401, |r| r.header("cookie", cookies)).await;
    assert!(t.root.get("/users/bob/identities", 200).await.items().is_empty());
}

async fn link_by_username_is_an_option_and_spares_the_break_glass_account(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider
        .server(kind, |config| {
            let settings = &mut config.service.single_sign_on;
            settings.providers[0].links_by_username = true;
            (settings.local_log_in, settings.break_glass) = (LocalLogIn::BreakGlass, Some("root".into()));
        })
        .await;
    let session = session_of(&provider.log_in(&t, json!({"preferred_username": "alice"}), 303).await);
    assert_eq!(user(&t, &session).await["username"], "alice");
    provider.log_in(&t, json!({"sub": "43", "preferred_username": "alice"}), 409).await;
    provider.log_in(&t, json!({"sub": "44", "preferred_username": "root", "groups": ["admins"]}), 409).await;
}

async fn accounts_are_created_only_with_permission_and_a_verified_address(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    for (claims, part) in [
        (json!({"email_verified": false}), "verified e-mail address"),
        (json!({"email_verified": null}), "verified e-mail address"),
        (json!({"preferred_username": "42"}), "does not begin with a Latin letter"),
        (json!({"preferred_username": null}), "preferred_username"),
    ] {
        let refused = provider.log_in(&t, claims, 403).await;
        assert!(refused.text.contains(part), "{part}: {}", refused.text);
    }
    let empty = TestServer::start_empty(kind, |config| {
        config.service.single_sign_on.providers.push(provider.settings("corp"));
    })
    .await;
    let refused = provider.log_in(&empty, json!({}), 403).await;
    assert!(refused.text.contains("not set up yet"), "{}", refused.text);
    provider.log_in(&empty, json!({"groups": ["admins"]}), 303).await;
    let closed =
        provider.server(kind, |config| config.service.single_sign_on.providers[0].creates_accounts = false).await;
    let refused = provider.log_in(&closed, json!({}), 403).await;
    assert!(refused.text.contains("You have no account here"), "{}", refused.text);
}

async fn members_of_other_groups_are_refused_and_their_sessions_end(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider
        .server(kind, |config| {
            config.service.single_sign_on.providers[0].claims.user_groups = vec!["staff".into()];
        })
        .await;
    let session = session_of(&provider.log_in(&t, json!({}), 303).await);
    let refused = provider.log_in(&t, json!({"groups": ["guests"]}), 403).await;
    assert!(refused.text.contains("in no group that may use Berth"), "{}", refused.text);
    t.anonymous.with_session(&session).get("/session", 401).await;
    provider.log_in(&t, json!({"sub": "43", "groups": []}), 403).await;
    provider.log_in(&t, json!({"groups": ["admins"]}), 303).await;
}

async fn disabled_account_stays_disabled(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let session = session_of(&provider.log_in(&t, json!({}), 303).await);
    t.root.patch("/users/carol", json!({"disabled": true}), 200).await;
    t.anonymous.with_session(&session).get("/session", 401).await;
    let refused = provider.log_in(&t, json!({"groups": ["admins"]}), 403).await;
    assert!(refused.text.contains("disabled"), "{}", refused.text);
    let users = t.root.get("/users?limit=200", 200).await;
    let carol = users.items().iter().find(|user| user["username"] == "carol").unwrap().clone();
    assert_eq!((carol["role"].as_str(), carol["disabled"].as_bool()), (Some("user"), Some(true)));
}

async fn change_of_a_credential_needs_a_new_log_in_at_the_provider(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let change = json!({"email": "new@corp.example"});
    // The session at the provider is old, or of unknown age: the log-in alone confirms nothing.
    let old = t.now().timestamp() - 3_600;
    for auth_time in [json!(old), Value::Null] {
        let session = session_of(&provider.log_in(&t, json!({"auth_time": auth_time}), 303).await);
        let client = t.anonymous.with_session(&session);
        let refused = client.patch("/users/carol", change.clone(), 403).await;
        assert_eq!(refused.text("type"), "/problems/confirmation-required");
        client.post("/tokens", json!({"name": "ci"}), 403).await;
        // The account has no password that could confirm.
        let password = json!({"password": PASSWORD});
        let refused = client.post_invalid("/session/confirmation", password, &["password"]).await;
        assert!(refused.text.contains("Log in again with Corp"), "{}", refused.text);
    }
    let confirm = async |auth_time: Value, expected| {
        let visit = provider.visit(&t, "//oidc/corp/start?to=/oidc/done&confirm=true").await;
        assert_eq!((visit.parameters["prompt"].as_str(), visit.parameters["max_age"].as_str()), ("login", "0"));
        let claims = provider.claims(&t, &visit, json!({"auth_time": auth_time}));
        let code = provider.code(&visit, &claims, &Signature::Current, json!({}));
        provider.finish(&t, &visit, &format!("code={code}&state={}", visit.state), expected).await
    };
    let ignored = confirm(json!(old), 403).await;
    assert!(ignored.text.contains("did not ask for your credentials"), "{}", ignored.text);
    let unknown = confirm(Value::Null, 403).await;
    assert!(unknown.text.contains("auth_time"), "{}", unknown.text);
    let confirmed = confirm(json!(t.now().timestamp()), 303).await;
    let client = t.anonymous.with_session(&session_of(&confirmed));
    client.patch("/users/carol", change, 200).await;
    client.post("/tokens", json!({"name": "ci"}), 201).await;
    // The only way to log in cannot be removed.
    let id = client.get("/users/carol/identities", 200).await.items()[0]["id"].as_str().unwrap().to_owned();
    client.delete(&format!("/users/carol/identities/{id}"), 409).await;
}

async fn back_channel_log_out_ends_the_session(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let first = session_of(&provider.log_in(&t, json!({"sid": "a"}), 303).await);
    let second = session_of(&provider.log_in(&t, json!({"sid": "b"}), 303).await);
    let now = t.now().timestamp();
    let event = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    let valid = json!({
        "iss": provider.issuer, "aud": "berth", "iat": now, "exp": now + 120, "jti": "1", "sub": "42", "sid": "a", "events": event,
    });
    let send = async |claims: &Value, signature: Signature, expected| {
        let token = provider.sign(claims, &signature);
        let form = [("logout_token", token)];
        t.anonymous.send(Method::POST, "//oidc/corp/back-channel-log-out", expected, |r| r.form(&form)).await
    };
    for (name, value) in [
        ("aud", json!("other")),
        ("iss", json!("https://evil.example")),
        ("exp", json!(now - 120)),
        ("events", json!({})),
        ("nonce", json!("x")),
    ] {
        let mut claims = valid.clone();
        claims[name] = value;
        send(&claims, Signature::Current, 403).await;
    }
    send(&valid, Signature::None, 403).await;
    send(&valid, Signature::Foreign("k1".into()), 403).await;
    t.anonymous.with_session(&first).get("/session", 200).await;
    send(&valid, Signature::Current, 200).await;
    t.anonymous.with_session(&first).get("/session", 401).await;
    t.anonymous.with_session(&second).get("/session", 200).await;
    // The provider sends no session in the ID token, and one in the log-out token.
    let unnamed = session_of(&provider.log_in(&t, json!({"sid": null}), 303).await);
    send(&valid, Signature::Current, 200).await;
    t.anonymous.with_session(&unnamed).get("/session", 401).await;
    t.anonymous.with_session(&second).get("/session", 200).await;
    let mut all = valid;
    all.as_object_mut().unwrap().remove("sid");
    send(&all, Signature::Current, 200).await;
    t.anonymous.with_session(&second).get("/session", 401).await;
}

async fn start_redirects_with_pkce_and_a_bound_cookie(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let reply = t.anonymous.send(Method::GET, "//oidc/corp/start?to=/reservations", 303, |r| r).await;
    let cookie = reply.header("set-cookie");
    assert!(cookie.starts_with("berth_log_in=v2.") && cookie.contains("HttpOnly; SameSite=Lax"), "{cookie}");
    assert!(cookie.contains("Max-Age=600") && cookie.contains("Path=/"), "{cookie}");
    assert_eq!(reply.header("cache-control"), "no-store");
    let visit = provider.visit_of(reply.header("location"), cookie);
    let parameters = &visit.parameters;
    assert_eq!(parameters["response_type"], "code");
    assert_eq!(parameters["code_challenge_method"], "S256");
    assert_eq!(parameters["scope"], "openid profile email");
    assert_eq!(parameters["max_age"], "31536000", "so that the provider states auth_time");
    assert_eq!(parameters["redirect_uri"], format!("{}/oidc/corp/callback", t.url));
    assert!(!parameters.contains_key("prompt") && visit.state.len() >= 20 && visit.nonce.len() >= 20);
    t.anonymous.send(Method::GET, "//oidc/other/start", 404, |r| r).await;
    // The provider returns the browser to the public URL, so the cookie must belong to its host.
    let local = |r: reqwest::RequestBuilder| r.header("host", "localhost:1");
    let moved = t.anonymous.send(Method::GET, "//oidc/corp/start?to=/reservations", 303, local).await;
    let expected = format!("{}/oidc/corp/start?to=%2Freservations&confirm=false&moved=true", t.url);
    assert_eq!(moved.header("location"), expected);
    t.anonymous.send(Method::GET, "//oidc/corp/start?moved=true", 303, local).await;
    // The provider also accepts an end of the session there.
    let session = session_of(&provider.log_in(&t, json!({}), 303).await);
    let client = t.anonymous.with_session(&session);
    let url = client.send(Method::POST, "//rpc/log-out", 200, |r| r.json(&json!({}))).await;
    let url = url::Url::parse(url.body.as_str().unwrap()).unwrap();
    let parameters: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(parameters["post_logout_redirect_uri"], format!("{}/login", t.url));
    assert_eq!(parameters["client_id"], "berth");
    assert_eq!(parameters["id_token_hint"].split('.').count(), 3);
    client.get("/session", 401).await;
}

async fn missing_claims_come_from_the_user_info_endpoint(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let log_in = async |info: Value, expected| {
        let visit = provider.visit(&t, "//oidc/corp/start").await;
        let claims = provider.claims(&t, &visit, json!({"preferred_username": null, "groups": null}));
        let code = provider.code(&visit, &claims, &Signature::Current, info);
        provider.finish(&t, &visit, &format!("code={code}&state={}", visit.state), expected).await
    };
    let info = json!({"sub": "42", "preferred_username": "carol", "groups": ["admins"], "email": "x@evil.example"});
    let session = session_of(&log_in(info, 303).await);
    let carol = user(&t, &session).await;
    assert_eq!(carol["role"], "administrator");
    assert_eq!(carol["email"], "carol@corp.example", "the signed claim wins");
    log_in(json!({"sub": "43", "preferred_username": "root", "groups": ["admins"]}), 403).await;
}

async fn keys_are_read_again_for_an_unknown_key_but_not_for_each_token(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    provider.log_in(&t, json!({}), 303).await;
    let before = provider.key_reads();
    provider.log_in(&t, json!({}), 303).await;
    assert_eq!(provider.key_reads(), before, "the keys are cached");
    provider.rotate("k2");
    provider.log_in(&t, json!({}), 303).await;
    assert_eq!(provider.key_reads(), before + 1);
    for _ in 0..3 {
        let visit = provider.visit(&t, "//oidc/corp/start").await;
        let signature = Signature::Foreign("unknown".into());
        let code = provider.code(&visit, &provider.claims(&t, &visit, json!({})), &signature, json!({}));
        provider.finish(&t, &visit, &format!("code={code}&state={}", visit.state), 403).await;
    }
    assert_eq!(provider.key_reads(), before + 1, "invented keys cause no requests");
    t.clock.advance(Duration::seconds(11));
    provider.rotate("k3");
    provider.log_in(&t, json!({}), 303).await;
    assert_eq!(provider.key_reads(), before + 2);
}

async fn clock_skew_is_tolerated_up_to_the_setting(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let now = t.now().timestamp();
    provider.log_in(&t, json!({"iat": now + 50, "exp": now + 350, "auth_time": now + 50}), 303).await;
    provider.log_in(&t, json!({"iat": now - 350, "exp": now - 50}), 303).await;
    provider.log_in(&t, json!({"iat": now + 70, "exp": now + 350}), 403).await;
    provider.log_in(&t, json!({"iat": now - 370, "exp": now - 70}), 403).await;
}

async fn provider_that_is_down_is_reported_and_tried_again(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    provider.set_down(true);
    let t = provider.server(kind, |_| {}).await;
    let reply = t.anonymous.send(Method::GET, "//oidc/corp/start", 503, |r| r).await;
    assert!(reply.text.contains("Corp cannot be reached") && reply.text.contains("/login"), "{}", reply.text);
    assert_eq!(reply.header("retry-after"), "10");
    t.log_in("alice", PASSWORD, 200).await;
    provider.set_down(false);
    t.clock.advance(Duration::seconds(11));
    provider.log_in(&t, json!({}), 303).await;
    // It fails again, after the configuration has become old.
    provider.set_down(true);
    t.clock.advance(Duration::hours(2));
    provider.log_in(&t, json!({}), 303).await;
}

async fn refusal_of_the_provider_shows_a_page_with_a_way_back(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    for (error, status, part) in [
        ("access_denied", 403, "was cancelled"),
        ("temporarily_unavailable", 503, "not available right now"),
        ("%3Cscript%3Ealert(1)", 403, "refused the log-in (scriptalert1)"),
    ] {
        let visit = provider.visit(&t, "//oidc/corp/start").await;
        let query = format!("error={error}&error_description=x&state={}", visit.state);
        let reply = provider.finish(&t, &visit, &query, status).await;
        assert!(reply.text.contains(part) && reply.text.contains("href=\"/oidc/corp/start\""), "{}", reply.text);
        assert!(reply.header("set-cookie").contains("Max-Age=0"), "the cookie is removed");
    }
}

async fn password_log_in_can_be_limited_to_the_break_glass_administrator(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider
        .server(kind, |config| {
            let settings = &mut config.service.single_sign_on;
            (settings.local_log_in, settings.break_glass) = (LocalLogIn::BreakGlass, Some("root".into()));
        })
        .await;
    let refused = t.log_in("alice", PASSWORD, 401).await;
    assert!(refused.text("detail").contains("Log in with Corp"), "{}", refused.text);
    let wrong = t.log_in("root", "not the password", 401).await;
    assert_eq!(refused.text("detail"), wrong.text("detail"), "the response does not name the account");
    t.log_in("root", PASSWORD, 200).await;
    let notified = t.root.get("/notifications", 200).await;
    assert!(notified.text.contains("break-glass administrator root has logged in"), "{}", notified.text);
}

async fn password_log_in_can_be_switched_off(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |config| config.service.single_sign_on.local_log_in = LocalLogIn::Off).await;
    let refused = t.log_in("root", PASSWORD, 403).await;
    assert!(refused.text("detail").contains("switched off. Log in with Corp"), "{}", refused.text);
    t.root.get("/session", 200).await;
    provider.log_in(&t, json!({}), 303).await;
}

async fn provider_pages_have_no_cache_and_a_strict_policy(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    for path in ["//oidc/done", "//oidc/done?to=/reservations", "//oidc/done?to=https://evil.example"] {
        let reply = t.anonymous.send(Method::GET, path, 200, |r| r).await;
        assert_eq!(reply.header("cache-control"), "no-store");
        let policy = reply.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe-inline"), "{policy}");
        assert!(!reply.text.contains("evil.example"), "{}", reply.text);
    }
}
