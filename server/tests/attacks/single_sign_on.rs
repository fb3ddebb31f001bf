//! Attacks on log-in at an identity provider: forged tokens, responses of other providers, replayed and foreign states.

use crate::identity_provider::{CLIENT_SECRET, IdentityProvider, Signature, session_of};
use crate::support::TestServer;
use chrono::Duration;
use reqwest::Method;
use serde_json::{Value, json};
use test_support::{DatabaseKind, on_both_databases};

on_both_databases![state_is_valid_once_and_for_ten_minutes_and_only_in_its_browser,];
on_both_databases![sqlite only:
    forged_tokens_are_rejected,
    wrong_claims_are_rejected,
    response_of_another_provider_is_rejected,
    code_of_another_log_in_is_rejected,
    destination_stays_on_this_site,
    planted_session_is_replaced_by_log_in_at_a_provider,
    foreign_page_cannot_start_the_link_of_an_account,
];

async fn rejected(t: &TestServer, provider: &IdentityProvider, claims: Value, signature: &Signature) {
    let visit = provider.visit(t, "//oidc/corp/start").await;
    let claims = provider.claims(t, &visit, claims);
    let code = provider.code(&visit, &claims, signature, json!({}));
    let reply = provider.finish(t, &visit, &format!("code={code}&state={}", visit.state), 403).await;
    assert!(reply.text.contains("could not be verified"), "{claims}: {}", reply.text);
    assert!(!format!("{:?}", reply.headers).contains("berth_session="), "{claims}");
}

async fn forged_tokens_are_rejected(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    for signature in [
        Signature::None,
        Signature::Foreign("k1".into()),
        Signature::Foreign("unknown".into()),
        // The provider offers HS256, and the client has a secret.
        Signature::Hmac(CLIENT_SECRET.as_bytes().to_vec()),
        Signature::Hmac(provider.public_key()),
    ] {
        rejected(&t, &provider, json!({}), &signature).await;
    }
    assert_eq!(t.root.get("/users?limit=200", 200).await.items().len(), 3, "no account was created");
    provider.log_in(&t, json!({}), 303).await;
}

async fn wrong_claims_are_rejected(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let now = t.now().timestamp();
    for claims in [
        json!({"nonce": "another"}),
        json!({"nonce": null}),
        json!({"aud": "another"}),
        json!({"aud": ["berth", "another"]}),
        json!({"aud": []}),
        json!({"azp": "another"}),
        json!({"iss": "https://evil.example"}),
        json!({"iss": format!("{}/", provider.issuer)}),
        json!({"exp": now - 3_600, "iat": now - 7_200}),
        json!({"iat": now + 3_600, "exp": now + 7_200}),
        json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
    ] {
        rejected(&t, &provider, claims, &Signature::Current).await;
    }
}

async fn response_of_another_provider_is_rejected(kind: DatabaseKind) {
    let (provider, other) = (IdentityProvider::start().await, IdentityProvider::start().await);
    provider.name_issuer();
    let t = provider
        .server(kind, |config| {
            let mut settings = other.settings("other");
            settings.display_name = "Other".into();
            config.service.single_sign_on.providers.push(settings);
        })
        .await;
    let visit = provider.visit(&t, "//oidc/corp/start").await;
    let code = provider.code(&visit, &provider.claims(&t, &visit, json!({})), &Signature::Current, json!({}));
    let query = format!("code={code}&state={}", visit.state);
    // Mix-up: the browser returns with the code of another provider, or to the address of another one.
    provider.finish(&t, &visit, &format!("{query}&iss={}", other.issuer), 403).await;
    provider.finish(&t, &visit, &query, 403).await;
    let path = format!("//oidc/other/callback?{query}");
    t.anonymous.send(Method::GET, &path, 400, |r| r.header("cookie", &visit.cookie)).await;
    provider.finish(&t, &visit, &format!("{query}&iss={}", provider.issuer), 303).await;
    // A token of the other provider, with the claims of this one.
    let visit = provider.visit(&t, "//oidc/corp/start").await;
    other.rotate("other key");
    let token_claims = provider.claims(&t, &visit, json!({}));
    let code = other.code(&visit, &token_claims, &Signature::Current, json!({}));
    provider.finish(&t, &visit, &format!("code={code}&state={}&iss={}", visit.state, provider.issuer), 403).await;
}

async fn state_is_valid_once_and_for_ten_minutes_and_only_in_its_browser(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let visit = provider.visit(&t, "//oidc/corp/start").await;
    let claims = provider.claims(&t, &visit, json!({}));
    let query =
        || format!("code={}&state={}", provider.code(&visit, &claims, &Signature::Current, json!({})), visit.state);
    // Log-in CSRF: an attacker sends the victim a link with the code of the attacker.
    let path = format!("//oidc/corp/callback?{}", query());
    t.anonymous.send(Method::GET, &path, 400, |r| r).await;
    let victim = provider.visit(&t, "//oidc/corp/start").await;
    t.anonymous.send(Method::GET, &path, 400, |r| r.header("cookie", &victim.cookie)).await;
    for state in ["", "x", &victim.state] {
        provider.finish(&t, &visit, &format!("code=x&state={state}"), 400).await;
    }
    provider.finish(&t, &visit, &format!("state={}", visit.state), 400).await;
    provider.finish(&t, &visit, &query(), 303).await;
    let replayed = provider.finish(&t, &visit, &query(), 400).await;
    assert!(replayed.text.contains("already been finished"), "{}", replayed.text);
    let late = provider.visit(&t, "//oidc/corp/start").await;
    t.clock.advance(Duration::minutes(11));
    let code = provider.code(&late, &provider.claims(&t, &late, json!({})), &Signature::Current, json!({}));
    provider.finish(&t, &late, &format!("code={code}&state={}", late.state), 400).await;
}

/// The code of another log-in fits neither the PKCE challenge nor the nonce.
async fn code_of_another_log_in_is_rejected(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let attacker = provider.visit(&t, "//oidc/corp/start").await;
    let code = provider.code(&attacker, &provider.claims(&t, &attacker, json!({})), &Signature::Current, json!({}));
    let victim = provider.visit(&t, "//oidc/corp/start").await;
    provider.finish(&t, &victim, &format!("code={code}&state={}", victim.state), 403).await;
}

async fn destination_stays_on_this_site(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    for to in ["https://evil.example", "//evil.example", "/%5Cevil.example", "javascript:alert(1)"] {
        let visit = provider.visit(&t, &format!("//oidc/corp/start?to={to}")).await;
        let code = provider.code(&visit, &provider.claims(&t, &visit, json!({})), &Signature::Current, json!({}));
        let reply = provider.finish(&t, &visit, &format!("code={code}&state={}", visit.state), 303).await;
        assert_eq!(reply.header("location"), "/oidc/done?to=%2F", "{to}");
    }
}

async fn planted_session_is_replaced_by_log_in_at_a_provider(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let attacker = t.log_in("bob", crate::support::PASSWORD, 200).await.session();
    let visit = provider.visit(&t, "//oidc/corp/start").await;
    let code = provider.code(&visit, &provider.claims(&t, &visit, json!({})), &Signature::Current, json!({}));
    let path = format!("//oidc/corp/callback?code={code}&state={}", visit.state);
    let cookies = format!("{}; berth_session={attacker}", visit.cookie);
    let reply = t.anonymous.send(Method::GET, &path, 303, |r| r.header("cookie", cookies)).await;
    assert_ne!(session_of(&reply), attacker);
    t.anonymous.with_session(&attacker).get("/session", 401).await;
}

/// A foreign page could link the account of its reader to the attacker's user of the provider.
async fn foreign_page_cannot_start_the_link_of_an_account(kind: DatabaseKind) {
    let provider = IdentityProvider::start().await;
    let t = provider.server(kind, |_| {}).await;
    let session = t.log_in("alice", crate::support::PASSWORD, 200).await.session();
    let body = json!({"provider": "corp", "current_password": null});
    let cookie = format!("berth_session={session}");
    let send = async |origin: &str, expected| {
        let request = |r: reqwest::RequestBuilder| r.header("cookie", &cookie).header("origin", origin).json(&body);
        t.anonymous.send(Method::POST, "//rpc/link-identity", expected, request).await
    };
    send("https://evil.example", 403).await;
    t.anonymous.send(Method::GET, "//rpc/link-identity", 405, |r| r.header("cookie", &cookie)).await;
    send(&t.url, 200).await;
}
