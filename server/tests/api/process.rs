//! The process itself: health, metrics, errors, protection against other sites, limits, the page's headers.

use crate::client::{Reply, is_problem};
use crate::support::{PASSWORD, TestServer};
use reqwest::Method;
use serde_json::{Value, json};
use test_support::{DatabaseKind, Fixture as _, Receiver, eventually, on_both_databases};

on_both_databases![it_says_that_it_lives_and_is_ready];

on_both_databases![sqlite only:
    metrics_count_what_happened,
    methods_that_are_made_up_share_one_count,
    unknown_paths_are_problems_too,
    a_method_that_a_path_does_not_take_names_those_it_does,
    a_body_that_is_not_json_is_refused_where_it_breaks,
    a_body_of_another_type_is_refused,
    a_body_has_at_most_256_kib,
    another_site_cannot_use_a_session,
    reading_changes_nothing,
    the_pages_own_door_takes_json_of_its_own_page_alone,
    the_page_comes_with_its_policy,
    the_documentation_can_be_browsed,
    answers_are_compressed_when_asked_for,
];

async fn it_says_that_it_lives_and_is_ready(t: TestServer) {
    assert_eq!(t.nobody.get("//healthz", 200).await.text, "ok\n");
    let ready = t.nobody.get("//readyz", 200).await;
    assert_eq!(ready.body, json!({"status": "ready", "database": "ok", "dispatcher": "ok", "stopping": false}));
}

async fn metrics_count_what_happened(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    t.webhook(&Receiver::start().await, json!({})).await;
    t.booking(&t.alice, resource, 1, 2).await;
    t.finished("", 1).await;
    let reply = t.nobody.get("//metrics", 200).await;
    assert!(reply.header("content-type").starts_with("text/plain"), "{}", reply.header("content-type"));
    // Other servers of this process count along, so that only "at least one" can be said.
    let value = |name: &str| -> f64 {
        let lines = reply.text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    for name in [
        "berth_events_enqueued_total",
        "berth_attempts_total{outcome=\"succeeded\"}",
        "berth_deliveries_total{outcome=\"succeeded\"}",
        "berth_attempt_duration_seconds_count",
        "berth_http_request_duration_seconds_count{method=\"POST\",route=\"/api/v1/reservations\",status=\"201\"}",
    ] {
        assert!(value(name) >= 1.0, "{name} in {}", reply.text);
    }
    // What has not happened is there too, so that its first time is seen.
    for name in [
        "berth_attempts_total{outcome=\"failed\"}",
        "berth_leases_lapsed_total",
        "berth_results_without_lease_total",
        "berth_retention_deleted_total{kind=\"delivery\"}",
        "berth_requests_in_flight",
        "berth_deliveries_waiting",
        "berth_delivery_lag_seconds",
    ] {
        assert!(reply.text.lines().any(|line| line.starts_with(name)), "{name} in {}", reply.text);
    }
    // A path with an id counts under its route: ids would fill the memory.
    assert!(!reply.text.contains("rsv-"));
}

/// Anybody may send any method, and each label would stay in memory.
async fn methods_that_are_made_up_share_one_count(t: TestServer) {
    let long = "X".repeat(1_000);
    for method in ["PROPFIND", "BERTHTEST", &long] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for path in ["//healthz", "/session", "//nowhere"] {
            let status = t.nobody.request(method.clone(), path).send().await.unwrap().status();
            assert!(status.is_client_error(), "{method} {path}: {status}");
        }
    }
    let text = t.nobody.get("//metrics", 200).await.text;
    assert!(text.contains("method=\"other\""));
    for method in ["PROPFIND", "BERTHTEST", &long] {
        assert!(!text.contains(method), "{method}");
    }
}

async fn unknown_paths_are_problems_too(t: TestServer) {
    for path in [
        "//api",
        "//api/",
        "//api/v2/session",
        "//api/v1",
        "//api/v1/",
        "//api/v1/nothing",
        "//api/v1/session/x",
        "//api/v1/resources/1/x",
    ] {
        for client in [&t.nobody, &t.root] {
            let reply = client.send(Method::GET, path, 404, |request| request).await;
            is_problem(&reply, 404);
            assert!(reply.text("detail").contains("/api/docs"), "the answer says where the API is described");
            is_problem(&client.send(Method::POST, path, 404, |request| request.json(&json!({}))).await, 404);
        }
    }
    is_problem(&t.nobody.send(Method::POST, "//reservations", 405, |r| r.json(&json!({})).header("x", "y")).await, 405);
}

async fn a_method_that_a_path_does_not_take_names_those_it_does(t: TestServer) {
    for (method, path, allowed) in [
        (Method::PUT, "/session", &["DELETE", "GET", "HEAD", "POST"][..]),
        (Method::PATCH, "/tokens", &["GET", "HEAD", "POST"]),
        (Method::GET, "/tokens/tok_x", &["DELETE"]),
        (Method::DELETE, "/reservations", &["GET", "HEAD", "POST"]),
        (Method::DELETE, "/reservations/rsv-x", &["GET", "HEAD", "PATCH"]),
        (Method::GET, "/reservations/rsv-x/status", &["POST"]),
        (Method::PUT, "/webhooks/1", &["DELETE", "GET", "HEAD", "PATCH"]),
        (Method::POST, "/deliveries", &["GET", "HEAD"]),
        (Method::POST, "/stream", &["GET", "HEAD"]),
        (Method::POST, "/openapi.json", &["GET", "HEAD"]),
    ] {
        let reply = t.root.send(method.clone(), path, 405, |request| request).await;
        let mut allow: Vec<&str> = reply.header("allow").split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow, allowed, "{method} {path}");
    }
}

async fn raw(t: &TestServer, body: &[u8], content_type: Option<&str>, status: u16) -> Reply {
    let body = body.to_vec();
    t.root
        .send(Method::POST, "/resource-types", status, |request| match content_type {
            Some(content_type) => request.header("content-type", content_type).body(body),
            None => request.body(body),
        })
        .await
}

async fn a_body_that_is_not_json_is_refused_where_it_breaks(t: TestServer) {
    let json = Some("application/json");
    for (body, place) in [
        (&b""[..], "line 1, column 0"),
        (b"{", "line 1, column 1"),
        (b"{\"slug\": \"vm\",\n  name: 1}", "line 2, column 3"),
        (b"{\"slug\": \"vm\", \"name\": \"VM\"} {}", "line 1, column 30"),
        (b"{\"slug\": \"vm\", \"name\": \"\xff\"}", "line 1, column"),
        (b"slug=vm", "line 1, column 1"),
    ] {
        let reply = raw(&t, body, json, 400).await;
        assert_eq!(reply.text("type"), "/problems/malformed");
        assert!(reply.text("detail").contains(place), "{}", reply.text);
    }
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let body = [&b"{\"slug\": \"vm\", \"name\": \"VM\", \"config_schema\": "[..], &deep, b"}"].concat();
    raw(&t, &body, json, 400).await;
    // Another shape is 422: it is JSON.
    for (body, field) in
        [("null", "body"), ("7", "body"), ("\"x\"", "body"), ("{\"slug\": {}}", "slug"), ("{\"name\": \"x\"}", "slug")]
    {
        assert_eq!(raw(&t, body.as_bytes(), json, 422).await.faults(), [field], "{body}");
    }
    let same = raw(&t, b"{\"slug\": \"a\", \"slug\": \"b\", \"name\": \"x\"}", json, 422).await;
    assert!(same.text("detail").contains("slug"), "{}", same.text);
}

async fn a_body_of_another_type_is_refused(t: TestServer) {
    let body = br#"{"slug": "vm", "name": "VM"}"#;
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/jsonx"),
    ] {
        let reply = raw(&t, body, content_type, 415).await;
        assert_eq!(reply.text("type"), "/problems/unsupported-media-type");
    }
    assert!(t.root.get("/resource-types", 200).await.items().is_empty());
    raw(&t, body, Some("Application/JSON; charset=utf-8"), 201).await;
}

async fn a_body_has_at_most_256_kib(t: TestServer) {
    const MOST: usize = 256 * 1_024;
    let of_size = |size: usize| {
        let empty = r#"{"slug": "vm", "name": ""}"#;
        empty.replace("\"\"", &format!("\"{}\"", "x".repeat(size - empty.len())))
    };
    assert_eq!(of_size(MOST).len(), MOST);
    let json = Some("application/json");
    assert_eq!(raw(&t, of_size(MOST).as_bytes(), json, 422).await.faults(), ["name"], "read, and found too long");
    assert_eq!(raw(&t, of_size(MOST + 1).as_bytes(), json, 413).await.text("type"), "/problems/too-large");
    // Without a length the body is counted as it comes. The page's own door has the same limit.
    let chunks = || {
        let chunk = bytes::Bytes::from(vec![b' '; 64 * 1_024]);
        reqwest::Body::wrap_stream(futures::stream::iter((0..5).map(move |_| Ok::<_, std::io::Error>(chunk.clone()))))
    };
    let request = |r: reqwest::RequestBuilder| r.header("content-type", "application/json").body(chunks());
    t.root.send(Method::POST, "/resource-types", 413, request).await;
    let origin = t.url.clone();
    let reply = t.nobody.send(Method::POST, "//rpc/log-in", 413, |r| request(r).header("origin", origin)).await;
    is_problem(&reply, 413);
}

async fn another_site_cannot_use_a_session(t: TestServer) {
    let session = t.log_in("root", PASSWORD, 200).await.session();
    let cookie = format!("berth_session={session}");
    let body = json!({"slug": "vm", "name": "VM"});
    let foreign: [&[(&str, &str)]; 9] = [
        &[],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "")],
        &[("origin", "http://127.0.0.1.evil.example")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        // What Origin says outweighs the rest.
        &[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")],
    ];
    for headers in foreign {
        let with = |mut request: reqwest::RequestBuilder| {
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.header("cookie", &cookie).json(&body)
        };
        for (method, path) in [
            (Method::POST, "/resource-types"),
            (Method::PATCH, "/resource-types/vm"),
            (Method::DELETE, "/resource-types/vm"),
            (Method::DELETE, "/session"),
            (Method::POST, "/webhooks/1/test"),
            (Method::POST, "/deliveries/replay"),
        ] {
            let reply = t.nobody.send(method.clone(), path, 403, with).await;
            assert_eq!(reply.text("type"), "/problems/foreign-origin", "{method} {path} {headers:?}");
        }
    }
    let ours: [(&str, &str); 2] = [("origin", &t.url), ("sec-fetch-site", "same-origin")];
    for (name, value) in ours {
        let slug = format!("vm-{}", name.len());
        let body = json!({"slug": slug, "name": "VM"});
        t.nobody
            .send(Method::POST, "/resource-types", 201, |r| r.header("cookie", &cookie).header(name, value).json(&body))
            .await;
    }
    // A token is not sent by a browser of itself: where it comes from does not matter.
    let reply = t
        .root
        .send(Method::POST, "/resource-types", 201, |r| r.header("origin", "https://evil.example").json(&body))
        .await;
    // And nobody else's page may read an answer.
    assert_eq!(reply.header("access-control-allow-origin"), "");
    let preflight = t.nobody.request(Method::OPTIONS, "/resource-types").header("origin", "https://evil.example");
    let preflight = preflight.header("access-control-request-method", "POST").send().await.unwrap();
    assert!(!preflight.headers().contains_key("access-control-allow-origin"));
}

async fn reading_changes_nothing(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let webhook = t.webhook(&Receiver::start().await, json!({})).await.id();
    let reservation = t.booking(&t.alice, resource, 1, 2).await;
    let delivery = t.finished("", 1).await[0]["id"].as_str().unwrap().to_owned();
    let everything = async || {
        let mut all = Vec::new();
        for path in [
            "/resource-types",
            "/resources",
            "/reservations",
            "/access-requests",
            "/deliveries",
            "/notifications",
            "/users",
            "/webhooks",
        ] {
            all.push(t.root.get(path, 200).await.text);
        }
        all
    };
    let before = everything().await;
    for path in [
        format!("/reservations/{reservation}/cancel"),
        format!("/reservations/{reservation}/status"),
        format!("/webhooks/{webhook}/pause"),
        format!("/webhooks/{webhook}/test"),
        format!("/webhooks/{webhook}/rotate-secret"),
        format!("/deliveries/{delivery}/redeliver"),
        "/access-requests/acr_x/approve".into(),
        "/notifications/read".into(),
    ] {
        t.root.get(&path, 405).await;
        assert_eq!(t.root.request(Method::HEAD, &path).send().await.unwrap().status(), 405, "{path}");
    }
    t.root.get("/deliveries/replay", 405).await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let origin = t.url.clone();
        is_problem(&t.nobody.send(method, "//rpc/log-out", 405, |r| r.header("origin", origin)).await, 405);
    }
    // A browser's GET may come from anywhere: a link is no attack.
    let session = t.log_in("root", PASSWORD, 200).await.session();
    let cookie = format!("berth_session={session}");
    t.nobody
        .send(Method::GET, "/webhooks", 200, |r| r.header("cookie", cookie).header("origin", "https://evil.example"))
        .await;
    assert_eq!(everything().await, before);
}

async fn the_pages_own_door_takes_json_of_its_own_page_alone(t: TestServer) {
    let body = json!({"credentials": {"username": "alice", "password": PASSWORD}});
    let reply = t.nobody.send(Method::POST, "//rpc/log-in", 403, |r| r.json(&body)).await;
    assert_eq!(reply.text("type"), "/problems/foreign-origin");
    t.nobody.send(Method::POST, "//rpc/log-in", 403, |r| r.json(&body).header("origin", "https://evil.example")).await;
    let ours = |r: reqwest::RequestBuilder| r.header("origin", &t.url);
    let form = [("credentials[username]", "alice"), ("credentials[password]", PASSWORD)];
    is_problem(&t.nobody.send(Method::POST, "//rpc/log-in", 415, |r| ours(r).form(&form)).await, 415);
    let reply = t.nobody.send(Method::POST, "//rpc/log-in", 200, |r| ours(r).json(&body)).await;
    assert_eq!(reply.body["user"]["username"], "alice");
    let attributes: Vec<&str> = reply.header("set-cookie").split("; ").skip(1).collect();
    assert_eq!(attributes, ["Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=604800"], "the same cookie as the API's");
    assert_eq!(reply.header("cache-control"), "no-store");
    let browser = t.nobody.with_session(&reply.session());
    let visit = browser.send(Method::POST, "//rpc/visit", 200, |r| r.json(&json!({}))).await;
    assert_eq!(visit.body["session"]["user"]["username"], "alice");
    // The same rules behind both doors.
    let denied = browser.send(Method::POST, "//rpc/list-webhooks", 403, |r| r.json(&json!({}))).await;
    assert_eq!(denied.body["kind"], "forbidden");
    let denied = t.nobody.send(Method::POST, "//rpc/list-tokens", 401, |r| ours(r).json(&json!({}))).await;
    assert_eq!(denied.body["kind"], "unauthenticated");
    let unknown = browser.send(Method::POST, "//rpc/format-disk", 404, |r| r.json(&json!({}))).await;
    is_problem(&unknown, 404);
    // An API token opens the API, not the page's door.
    let token = t.alice.send(Method::POST, "//rpc/list-tokens", 401, |r| ours(r).json(&json!({}))).await;
    assert_eq!(token.body["kind"], "unauthenticated");
}

/// What the browser is told about every page; the page itself may not have been built where this runs.
async fn the_page_comes_with_its_policy(t: TestServer) {
    let dist = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist");
    let built = dist.join("index.html").exists();
    for path in ["//", "//reservations", "//settings/webhooks/3", "//index.html", "//setup?code=x"] {
        let reply = t.nobody.get(path, if built { 200 } else { 503 }).await;
        assert!(reply.header("content-type").starts_with("text/html"), "{path}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(reply.header(name), value, "{path}");
        }
        assert!(reply.header("permissions-policy").contains("camera=()"));
        assert_eq!(reply.header("strict-transport-security"), "", "not without TLS");
        let policy = reply.header("content-security-policy");
        for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(
            !policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'") && !policy.contains('*'),
            "{policy}"
        );
        if built {
            assert!(policy.contains("script-src 'self' 'wasm-unsafe-eval'"), "{policy}");
            assert_eq!(reply.header("cache-control"), "no-cache");
        }
    }
    for path in ["//nothing.js", "//assets/nothing.css", "//../Cargo.toml", "//%2e%2e/Cargo.toml", "//.env"] {
        let reply = t.nobody.get(path, 404).await;
        assert!(!reply.text.contains("<html") && !reply.text.contains("[package]"), "{path}: {}", reply.text);
    }
    let policy = t.nobody.get("/setup", 200).await.header("content-security-policy").to_owned();
    assert!(policy.contains("default-src 'none'"), "an answer of the API is no page: {policy}");
}

async fn the_documentation_can_be_browsed(t: TestServer) {
    let mut path = "//api/docs".to_owned();
    let mut reply = t.nobody.request(Method::GET, &path).send().await.unwrap();
    if reply.status().is_redirection() {
        path = format!("/{}", reply.headers()["location"].to_str().unwrap());
        reply = t.nobody.request(Method::GET, &path).send().await.unwrap();
    }
    assert_eq!(reply.status(), 200, "{path}");
    assert!(reply.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let policy = reply.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(reply.text().await.unwrap().contains("swagger-ui"));
    let script = t.nobody.request(Method::GET, "//api/docs/swagger-initializer.js").send().await.unwrap();
    assert!(script.text().await.unwrap().contains("/api/v1/openapi.json"), "it shows our document and no other");
}

async fn answers_are_compressed_when_asked_for(t: TestServer) {
    for (accept, encoding) in [("gzip, br", "br"), ("gzip", "gzip"), ("identity", "")] {
        let request = t.nobody.request(Method::GET, "/openapi.json").header("accept-encoding", accept);
        let reply = request.send().await.unwrap();
        let sent = reply.headers().get("content-encoding").map_or("", |value| value.to_str().unwrap());
        assert_eq!(sent, encoding, "{accept}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_too_often_has_to_wait() {
    let t = TestServer::start_with(DatabaseKind::Sqlite, |config| config.api_rate = 5).await;
    // Five a second, ten at once; the eleventh comes too soon whatever the machine does in between.
    let mut refused: Option<Reply> = None;
    for _ in 0..200 {
        let response = t.alice.request(Method::GET, "/session").send().await.unwrap();
        if response.status() == 429 {
            let headers = response.headers().clone();
            let text = response.text().await.unwrap();
            refused = Some(Reply { headers, body: serde_json::from_str(&text).unwrap(), text });
            break;
        }
        assert_eq!(response.status(), 200);
    }
    let refused = refused.expect("the limit should be reached");
    is_problem(&refused, 429);
    assert_eq!(refused.text("type"), "/problems/rate-limited");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 2);
    // Another token, and whoever comes without one, has a limit of their own; health has none.
    t.bob.get("/session", 200).await;
    t.nobody.get("/session", 401).await;
    for _ in 0..20 {
        t.nobody.get("//healthz", 200).await;
    }
    eventually("room for the next request", async || {
        (t.alice.request(Method::GET, "/session").send().await.unwrap().status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_made_up_share_the_limit_of_their_address() {
    let t = TestServer::start_with(DatabaseKind::Sqlite, |config| config.api_rate = 5).await;
    let mut statuses = Vec::new();
    for n in 0..200 {
        let made_up = t.nobody.with_token(&format!("made-up-{n}"));
        statuses.push(made_up.request(Method::GET, "/session").send().await.unwrap().status().as_u16());
        if statuses.ends_with(&[429]) {
            break;
        }
    }
    assert!(statuses.ends_with(&[401, 429]), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_production_browsers_are_told_to_come_by_https_alone() {
    let t = TestServer::start_in_production().await;
    for path in ["//healthz", "/session"] {
        let reply = t.nobody.get(path, if path == "/session" { 401 } else { 200 }).await;
        assert_eq!(reply.header("strict-transport-security"), "max-age=63072000; includeSubDomains");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stops_in_peace_when_told_to() {
    let mut t = TestServer::start(DatabaseKind::Sqlite).await;
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    receiver.hold();
    t.webhook(&receiver, json!({})).await;
    let reservation = t.booking(&t.alice, resource, 1, 2).await;
    receiver.wait_for(1).await;
    let service = t.service.clone();
    let actor = domain::authorization::Actor {
        username: "root".into(),
        role: domain::authorization::Role::Administrator,
        scopes: domain::authorization::Scope::ALL.to_vec(),
    };
    tokio::join!(t.stop(), async { receiver.release() });
    // What was under way has been recorded, not thrown away.
    let detail = service.get_reservation(&actor, &reservation.as_str().into()).await.unwrap();
    let shown = serde_json::to_value(&detail.deliveries).unwrap();
    assert_eq!((&shown[0]["status"], &shown[1]), (&json!("succeeded"), &Value::Null));
}
