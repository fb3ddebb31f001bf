//! DNS rebinding: a web page lets its own host name resolve to this machine, and sends requests in the reader's browser. To
//! the browser they are requests of the same origin, so only the host gives them away.

use super::{send_raw, status_of};
use crate::client::is_problem;
use crate::support::{PASSWORD, TestServer};
use reqwest::Method;
use serde_json::json;
use test_support::{DatabaseKind, on_both_databases};

on_both_databases![sqlite only:
    rebound_page_cannot_log_in_or_read,
    every_route_checks_the_host,
    probes_answer_under_any_host,
    absolute_form_and_repeated_hosts_are_checked,
];

/// A host name of the attacker, with the port of the server.
fn evil(t: &TestServer) -> String {
    format!("evil.example:{}", t.url.rsplit(':').next().unwrap())
}

async fn rebound_page_cannot_log_in_or_read(t: TestServer) {
    let host = evil(&t);
    let origin = format!("http://{host}");
    let credentials = json!({"username": "root", "password": PASSWORD});
    for path in ["/session", "//rpc/log-in"] {
        let body = if path == "/session" { credentials.clone() } else { json!({"credentials": credentials}) };
        let request = |r: reqwest::RequestBuilder| {
            r.header("host", &host).header("origin", &origin).header("sec-fetch-site", "same-origin").json(&body)
        };
        let reply = t.anonymous.send(Method::POST, path, 421, request).await;
        is_problem(&reply, 421);
        assert_eq!(reply.text("type"), "/problems/misdirected");
        assert!(
            reply.text("detail").contains("evil.example") && reply.text("detail").contains(&t.url),
            "{}",
            reply.text
        );
        assert_eq!(reply.header("set-cookie"), "", "{path}");
    }
    // A session that the reader has already does not help, e.g. if the cookie of `localhost` is sent.
    let session = t.log_in("root", PASSWORD, 200).await.session();
    let cookie = format!("berth_session={session}");
    for (method, path) in [(Method::GET, "/webhooks"), (Method::POST, "/webhooks"), (Method::GET, "/stream")] {
        let request = |r: reqwest::RequestBuilder| {
            r.header("host", &host).header("origin", &origin).header("cookie", &cookie).json(&json!({}))
        };
        t.anonymous.send(method, path, 421, request).await;
    }
    t.root.get("/webhooks", 200).await;
}

async fn every_route_checks_the_host(t: TestServer) {
    for operation in crate::openapi::operations() {
        let request = |r: reqwest::RequestBuilder| r.header("host", "evil.example");
        t.root.send(operation.method(), &operation.path(), 421, request).await;
    }
    for path in
        ["//", "//index.html", "//api/docs/", "//api/v1/openapi.json", "//api/nothing", "//nothing.js", "//setup"]
    {
        let reply = t.anonymous.request(Method::GET, path).header("host", "evil.example").send().await.unwrap();
        assert_eq!(reply.status(), 421, "{path}");
        assert_eq!(reply.headers()["content-type"], "application/problem+json", "{path}");
    }
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:3000"] {
        t.anonymous.send(Method::GET, "/setup", 200, |r| r.header("host", host)).await;
    }
}

/// Orchestrators and load balancers send the address of the process.
async fn probes_answer_under_any_host(t: TestServer) {
    for host in ["10.1.2.3:3000", "berth.default.svc", "evil.example"] {
        t.anonymous.send(Method::GET, "//healthz", 200, |r| r.header("host", host)).await;
        t.anonymous.send(Method::GET, "//readyz", 200, |r| r.header("host", host)).await;
        // A page could read the metrics too, so they are for this machine.
        t.anonymous.send(Method::GET, "//metrics", 403, |r| r.header("host", host)).await;
    }
    t.anonymous.get("//metrics", 200).await;
    // `berth healthcheck` and old load balancers use HTTP/1.0 without a host.
    assert_eq!(status_of(&send_raw(&t, "GET /readyz HTTP/1.0\r\n\r\n").await), 200);
}

async fn absolute_form_and_repeated_hosts_are_checked(t: TestServer) {
    let address = t.url.strip_prefix("http://").unwrap();
    let send = async |target: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        status_of(&send_raw(&t, &format!("GET {target} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n")).await)
    };
    let own = format!("http://{address}/api/v1/setup");
    assert_eq!(send("/api/v1/setup", &[address]).await, 200);
    assert_eq!(send(&own, &[address]).await, 200);
    assert_eq!(send("http://evil.example/api/v1/setup", &[address]).await, 421);
    assert_eq!(send(&own, &["evil.example"]).await, 421);
    assert_eq!(send("/api/v1/setup", &[address, "evil.example"]).await, 400);
    assert_eq!(send("/api/v1/setup", &[]).await, 400);
    assert_eq!(send("/api/v1/setup", &[""]).await, 421);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn public_and_additional_hosts_are_served_and_the_cookie_follows_https() {
    let t = TestServer::start_with(DatabaseKind::Sqlite, |config| {
        config.public_url = "https://berth.example.com".into();
        config.additional_hosts = vec!["berth.internal".into()];
    })
    .await;
    for host in ["berth.example.com", "Berth.Example.com:443", "berth.internal:3000"] {
        t.anonymous.send(Method::GET, "/setup", 200, |r| r.header("host", host)).await;
    }
    for host in ["example.com", "berth.example.com.evil.example", "xberth.internal"] {
        t.anonymous.send(Method::GET, "/setup", 421, |r| r.header("host", host)).await;
    }
    // In development too: the cookie is for TLS only if people use https.
    let cookie = t.log_in("alice", PASSWORD, 200).await.header("set-cookie").to_owned();
    assert!(cookie.contains("; Secure"), "{cookie}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_with_a_token_are_served_only_to_its_holder() {
    let token = "a token of the monitoring";
    let t = TestServer::start_with(DatabaseKind::Sqlite, |config| {
        config.metrics.token = Some(service::secrets::digest(token));
    })
    .await;
    let bearer = |value: &str| format!("Bearer {value}");
    for wrong in ["", "Bearer ", &bearer("another token"), token, &bearer(&format!("{token}x"))] {
        let reply = t.anonymous.send(Method::GET, "//metrics", 401, |r| r.header("authorization", wrong)).await;
        assert!(reply.header("www-authenticate").starts_with("Bearer") && !reply.text.contains("berth_"), "{wrong}");
    }
    t.root.get("//metrics", 401).await;
    let right = |r: reqwest::RequestBuilder| r.header("authorization", bearer(token)).header("host", "10.1.2.3");
    assert!(t.anonymous.send(Method::GET, "//metrics", 200, right).await.text.contains("berth_attempts_total"));
}

/// A proxy on this machine must not publish the metrics.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_not_served_through_a_proxy() {
    let t = TestServer::start_with(DatabaseKind::Sqlite, |_| {}).await;
    for (name, value) in [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9"), ("via", "1.1 proxy")] {
        let reply = t.anonymous.send(Method::GET, "//metrics", 403, |r| r.header(name, value)).await;
        assert!(reply.text("detail").contains("BERTH_METRICS_TOKEN"), "{}", reply.text);
    }
}
