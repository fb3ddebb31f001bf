//! Password guessing from many sources.

use crate::support::{PASSWORD, TestServer};
use futures::StreamExt as _;
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeMap;
use test_support::{DatabaseKind, eventually, on_both_databases};

on_both_databases![ten_thousand_guesses_from_a_thousand_sources_lock_nobody_out];

/// Sources of the attacker, each in a network of its own.
const SOURCES: usize = 1_000;
/// Wrong log-ins of each source.
const GUESSES: usize = 10;
/// Concurrent connections of the attacker.
const CONNECTIONS: usize = 20;

/// The attacker tries passwords of alice. Meanwhile alice logs in with her browser, and bob with a new one.
async fn ten_thousand_guesses_from_a_thousand_sources_lock_nobody_out(kind: DatabaseKind) {
    let t = TestServer::start_with(kind, |config| config.trusted_proxies = "true".parse().unwrap()).await;
    let known = t.log_in("alice", PASSWORD, 200).await;
    let cookies = known.headers.get_all("set-cookie").into_iter().map(|cookie| cookie.to_str().unwrap());
    let device =
        cookies.filter_map(|cookie| cookie.split(';').next()).find(|cookie| cookie.contains("device")).unwrap();

    let guess = async |n: usize| {
        let source = n % SOURCES;
        let address = format!("2001:db8:{source:x}::{n:x}");
        let input = json!({"username": "alice", "password": format!("wrong horse battery {n}")});
        let request = t.anonymous.request(Method::POST, "/session").json(&input).header("x-forwarded-for", address);
        request.send().await.unwrap().status().as_u16()
    };
    let attack = async {
        let mut statuses = futures::stream::iter(0..SOURCES * GUESSES).map(guess).buffer_unordered(CONNECTIONS);
        let mut counts = BTreeMap::<u16, usize>::new();
        while let Some(status) = statuses.next().await {
            *counts.entry(status).or_default() += 1;
        }
        counts
    };
    let log_ins = async {
        for n in 0..10 {
            let address = format!("198.51.100.{n}");
            let log_in = |username: &str| {
                let input = json!({"username": username, "password": PASSWORD});
                t.anonymous.request(Method::POST, "/session").json(&input).header("x-forwarded-for", &address)
            };
            // The device of alice has capacity of its own.
            assert_eq!(log_in("alice").header("cookie", device).send().await.unwrap().status(), 200);
            // Bob shares the capacity of unknown devices, so he may have to try again, as the response says.
            eventually("a log-in of bob", async || {
                let response = log_in("bob").send().await.unwrap();
                let has_waited = response.headers().contains_key("retry-after");
                assert!(response.status() == 200 || has_waited, "{response:?}");
                (response.status() == 200).then_some(())
            })
            .await;
        }
    };
    let (counts, ()) = tokio::join!(attack, log_ins);

    // The budget of the account: 50 failures, and one more every five minutes. The rest was not even compared.
    let (wrong, refused) = (counts[&401], counts[&429]);
    assert_eq!(wrong + refused, SOURCES * GUESSES, "{counts:?}");
    assert!((50..60).contains(&wrong), "{counts:?}");
    // The right password from an unknown device is refused too: the attacker would learn it.
    let input = json!({"username": "alice", "password": PASSWORD});
    let reply = t
        .anonymous
        .send(Method::POST, "/session", 429, |r| r.json(&input).header("x-forwarded-for", "192.0.2.1"))
        .await;
    assert!(reply.text("detail").contains("a device that you have logged in on before"), "{:?}", reply.body);
}
