//! Health, metrics, errors, CSRF protection, limits, security headers and shutdown.

use crate::client::{Reply, is_problem};
use crate::support::{PASSWORD, TestServer};
use domain::account::ApiTokenInput;
use domain::authorization::Role;
use reqwest::Method;
use serde_json::{Value, json};
use test_support::{DatabaseKind, Fixture as _, Receiver, eventually, on_both_databases};

on_both_databases![liveness_and_readiness_respond_ok];

on_both_databases![sqlite only:
    metrics_count_deliveries_and_requests,
    unknown_methods_share_one_metric_label,
    request_id_is_returned_and_taken_from_valid_requests,
    unknown_paths_return_problems,
    method_not_allowed_lists_allowed_methods,
    invalid_json_is_rejected_with_its_position,
    other_content_types_are_rejected,
    request_body_is_limited_to_256_kib,
    csrf_cross_site_requests_cannot_use_a_session,
    safe_methods_change_nothing,
    rpc_accepts_only_json_from_the_own_origin,
    rpc_with_a_malformed_body_answers_400,
    page_has_a_content_security_policy,
    api_docs_page_loads_under_its_policy,
    responses_are_compressed_by_accept_encoding,
];

async fn liveness_and_readiness_respond_ok(t: TestServer) {
    assert_eq!(t.anonymous.get("//healthz", 200).await.text, "ok\n");
    let ready = t.anonymous.get("//readyz", 200).await;
    assert_eq!(ready.body, json!({"status": "ready", "database": "ok", "dispatcher": "ok", "stopping": false}));
}

async fn metrics_count_deliveries_and_requests(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    t.webhook(&Receiver::start().await, json!({})).await;
    t.booking(&t.alice, resource, 1, 2).await;
    t.finished("", 1).await;
    let reply = t.anonymous.get("//metrics", 200).await;
    assert!(reply.header("content-type").starts_with("text/plain"), "{}", reply.header("content-type"));
    // Other test servers in this process share the metrics, so only lower bounds can be asserted.
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
    // Counters exist before their first increase.
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
    // Paths with ids are counted by route: a label per id would grow without bound.
    assert!(!reply.text.contains("rsv-"));
}

/// A client can send any method, and a label per method would grow without bound.
async fn unknown_methods_share_one_metric_label(t: TestServer) {
    let long = "X".repeat(1_000);
    for method in ["PROPFIND", "BERTHTEST", &long] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for path in ["//healthz", "/session", "//nowhere"] {
            let status = t.anonymous.request(method.clone(), path).send().await.unwrap().status();
            assert!(status.is_client_error(), "{method} {path}: {status}");
        }
    }
    let text = t.anonymous.get("//metrics", 200).await.text;
    assert!(text.contains("method=\"other\""));
    for method in ["PROPFIND", "BERTHTEST", &long] {
        assert!(!text.contains(method), "{method}");
    }
}

/// [`is_problem`] checks in every test that the problem contains the id of the header.
async fn request_id_is_returned_and_taken_from_valid_requests(t: TestServer) {
    let request_id = async |path: &str, sent: &[&str], status: u16| {
        let with = |request: reqwest::RequestBuilder| {
            sent.iter().fold(request, |request, id| request.header("x-request-id", *id))
        };
        t.anonymous.send(Method::GET, path, status, with).await.header("x-request-id").to_owned()
    };
    for (path, status) in [("//healthz", 200), ("/session", 401), ("//api/nothing", 404)] {
        let (first, second) = (request_id(path, &[], status).await, request_id(path, &[], status).await);
        assert!(first.starts_with("req_") && second.starts_with("req_") && first != second, "{first} {second}");
        for valid in ["7", "client-4711", "1-67891233-abcdef012345678912345678", &"x".repeat(128)] {
            assert_eq!(request_id(path, &[valid], status).await, valid);
        }
        for invalid in [&["two words"][..], &["<script>"], &["a\"b"], &[""], &[&"x".repeat(129)], &["one", "two"]] {
            assert!(request_id(path, invalid, status).await.starts_with("req_"), "{invalid:?}");
        }
    }
}

async fn unknown_paths_return_problems(t: TestServer) {
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
        for client in [&t.anonymous, &t.root] {
            let reply = client.send(Method::GET, path, 404, |request| request).await;
            is_problem(&reply, 404);
            assert!(reply.text("detail").contains("/api/docs"), "the problem should point to the documentation");
            is_problem(&client.send(Method::POST, path, 404, |request| request.json(&json!({}))).await, 404);
        }
    }
    is_problem(
        &t.anonymous.send(Method::POST, "//reservations", 405, |r| r.json(&json!({})).header("x", "y")).await,
        405,
    );
}

async fn method_not_allowed_lists_allowed_methods(t: TestServer) {
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

async fn invalid_json_is_rejected_with_its_position(t: TestServer) {
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
    // Valid JSON of another type is 422.
    for (body, field) in
        [("null", "body"), ("7", "body"), ("\"x\"", "body"), ("{\"slug\": {}}", "slug"), ("{\"name\": \"x\"}", "slug")]
    {
        assert_eq!(raw(&t, body.as_bytes(), json, 422).await.invalid_fields(), [field], "{body}");
    }
    let same = raw(&t, b"{\"slug\": \"a\", \"slug\": \"b\", \"name\": \"x\"}", json, 422).await;
    assert!(same.text("detail").contains("slug"), "{}", same.text);
}

async fn other_content_types_are_rejected(t: TestServer) {
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

async fn request_body_is_limited_to_256_kib(t: TestServer) {
    const MOST: usize = 256 * 1_024;
    let of_size = |size: usize| {
        let empty = r#"{"slug": "vm", "name": ""}"#;
        empty.replace("\"\"", &format!("\"{}\"", "x".repeat(size - empty.len())))
    };
    assert_eq!(of_size(MOST).len(), MOST);
    let json = Some("application/json");
    assert_eq!(
        raw(&t, of_size(MOST).as_bytes(), json, 422).await.invalid_fields(),
        ["name"],
        "within the size limit, so validated"
    );
    assert_eq!(raw(&t, of_size(MOST + 1).as_bytes(), json, 413).await.text("type"), "/problems/too-large");
    // A chunked body is counted while it is read. Server functions have the same limit.
    let chunks = || {
        let chunk = bytes::Bytes::from(vec![b' '; 64 * 1_024]);
        reqwest::Body::wrap_stream(futures::stream::iter((0..5).map(move |_| Ok::<_, std::io::Error>(chunk.clone()))))
    };
    let request = |r: reqwest::RequestBuilder| r.header("content-type", "application/json").body(chunks());
    t.root.send(Method::POST, "/resource-types", 413, request).await;
    let origin = t.url.clone();
    let reply = t.anonymous.send(Method::POST, "//rpc/log-in", 413, |r| request(r).header("origin", origin)).await;
    is_problem(&reply, 413);
}

async fn csrf_cross_site_requests_cannot_use_a_session(t: TestServer) {
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
        // Origin takes precedence.
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
            let reply = t.anonymous.send(method.clone(), path, 403, with).await;
            assert_eq!(reply.text("type"), "/problems/foreign-origin", "{method} {path} {headers:?}");
        }
    }
    let ours: [(&str, &str); 2] = [("origin", &t.url), ("sec-fetch-site", "same-origin")];
    for (name, value) in ours {
        let slug = format!("vm-{}", name.len());
        let body = json!({"slug": slug, "name": "VM"});
        t.anonymous
            .send(Method::POST, "/resource-types", 201, |r| r.header("cookie", &cookie).header(name, value).json(&body))
            .await;
    }
    // Browsers do not send tokens by themselves, so the origin does not matter.
    let reply = t
        .root
        .send(Method::POST, "/resource-types", 201, |r| r.header("origin", "https://evil.example").json(&body))
        .await;
    // CORS stays closed: other pages cannot read responses.
    assert_eq!(reply.header("access-control-allow-origin"), "");
    let preflight = t.anonymous.request(Method::OPTIONS, "/resource-types").header("origin", "https://evil.example");
    let preflight = preflight.header("access-control-request-method", "POST").send().await.unwrap();
    assert!(!preflight.headers().contains_key("access-control-allow-origin"));
}

async fn safe_methods_change_nothing(t: TestServer) {
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
        is_problem(&t.anonymous.send(method, "//rpc/log-out", 405, |r| r.header("origin", origin)).await, 405);
    }
    // Safe methods are accepted from any origin.
    let session = t.log_in("root", PASSWORD, 200).await.session();
    let cookie = format!("berth_session={session}");
    t.anonymous
        .send(Method::GET, "/webhooks", 200, |r| r.header("cookie", cookie).header("origin", "https://evil.example"))
        .await;
    assert_eq!(everything().await, before);
}

async fn rpc_accepts_only_json_from_the_own_origin(t: TestServer) {
    let body = json!({"credentials": {"username": "alice", "password": PASSWORD}});
    let reply = t.anonymous.send(Method::POST, "//rpc/log-in", 403, |r| r.json(&body)).await;
    assert_eq!(reply.text("type"), "/problems/foreign-origin");
    t.anonymous
        .send(Method::POST, "//rpc/log-in", 403, |r| r.json(&body).header("origin", "https://evil.example"))
        .await;
    let ours = |r: reqwest::RequestBuilder| r.header("origin", &t.url);
    let form = [("credentials[username]", "alice"), ("credentials[password]", PASSWORD)];
    is_problem(&t.anonymous.send(Method::POST, "//rpc/log-in", 415, |r| ours(r).form(&form)).await, 415);
    let reply = t.anonymous.send(Method::POST, "//rpc/log-in", 200, |r| ours(r).json(&body)).await;
    assert_eq!(reply.body["Started"]["user"]["username"], "alice");
    let attributes: Vec<&str> = reply.header("set-cookie").split("; ").skip(1).collect();
    assert_eq!(attributes, ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=604800"], "same cookie as the API");
    assert_eq!(reply.header("cache-control"), "no-store");
    let browser = t.anonymous.with_session(&reply.session());
    let visit = browser.send(Method::POST, "//rpc/visit", 200, |r| r.json(&json!({}))).await;
    assert_eq!(visit.body["session"]["user"]["username"], "alice");
    // The API and server functions apply the same rules.
    let denied = browser.send(Method::POST, "//rpc/list-webhooks", 403, |r| r.json(&json!({}))).await;
    assert_eq!(denied.body["kind"], "forbidden");
    let denied = t.anonymous.send(Method::POST, "//rpc/list-tokens", 401, |r| ours(r).json(&json!({}))).await;
    assert_eq!(denied.body["kind"], "unauthenticated");
    let unknown = browser.send(Method::POST, "//rpc/format-disk", 404, |r| r.json(&json!({}))).await;
    is_problem(&unknown, 404);
    // Server functions do not accept API tokens.
    let token = t.alice.send(Method::POST, "//rpc/list-tokens", 401, |r| ours(r).json(&json!({}))).await;
    assert_eq!(token.body["kind"], "unauthenticated");
}

async fn rpc_with_a_malformed_body_answers_400(t: TestServer) {
    let browser = t.browser("alice").await;
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"[]",
        b"7",
        b"{}",
        b"\xff\xfe",
        br#"{"id": 7}"#,
        br#"{"id": "rsv-1"} rest"#,
        br#"{"id": "rsv-1", "reason": {"text": "x"}}"#,
    ];
    for body in bodies {
        let request = |r: reqwest::RequestBuilder| r.header("content-type", "application/json").body(body.to_vec());
        let reply = browser.send(Method::POST, "//rpc/cancel-reservation", 400, request).await;
        assert_eq!(reply.body["kind"], "malformed", "{}: {}", String::from_utf8_lossy(body), reply.text);
    }
}

/// Headers of every page. The page itself may not be built where this test runs.
async fn page_has_a_content_security_policy(t: TestServer) {
    let dist = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist");
    let built = dist.join("index.html").exists();
    for path in ["//", "//reservations", "//settings/webhooks/3", "//index.html", "//setup?code=x"] {
        let reply = t.anonymous.get(path, if built { 200 } else { 503 }).await;
        assert!(reply.header("content-type").starts_with("text/html"), "{path}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
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
        let reply = t.anonymous.get(path, 404).await;
        assert!(!reply.text.contains("<html") && !reply.text.contains("[package]"), "{path}: {}", reply.text);
    }
    let policy = t.anonymous.get("/setup", 200).await.header("content-security-policy").to_owned();
    assert!(policy.contains("default-src 'none'"), "API responses have no active content: {policy}");
}

async fn api_docs_page_loads_under_its_policy(t: TestServer) {
    let mut path = "//api/docs".to_owned();
    let mut reply = t.anonymous.request(Method::GET, &path).send().await.unwrap();
    if reply.status().is_redirection() {
        path = format!("/{}", reply.headers()["location"].to_str().unwrap());
        reply = t.anonymous.request(Method::GET, &path).send().await.unwrap();
    }
    assert_eq!(reply.status(), 200, "{path}");
    assert!(reply.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let policy = reply.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(policy.contains("script-src 'self';"), "no inline scripts: {policy}");
    let html = reply.text().await.unwrap();
    assert!(html.contains("swagger-ui"));
    assert!(html.split("<script").skip(1).all(|script| script.trim_start().starts_with("src=\"./")), "{html}");
    let script = t.anonymous.request(Method::GET, "//api/docs/swagger-initializer.js").send().await.unwrap();
    assert!(script.text().await.unwrap().contains("/api/v1/openapi.json"), "it should show this server's document");
}

async fn responses_are_compressed_by_accept_encoding(t: TestServer) {
    for (accept, encoding) in [("gzip, br", "br"), ("gzip", "gzip"), ("identity", "")] {
        let request = t.anonymous.request(Method::GET, "/openapi.json").header("accept-encoding", accept);
        let reply = request.send().await.unwrap();
        let sent = reply.headers().get("content-encoding").map_or("", |value| value.to_str().unwrap());
        assert_eq!(sent, encoding, "{accept}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_limit_rejects_with_retry_after() {
    let t = TestServer::start_with(DatabaseKind::Sqlite, |config| config.api_rate = 5).await;
    // Five per second with bursts of ten: some of these requests must exceed the limit on any machine.
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
    // Other users and anonymous clients have their own budgets, and so have health endpoints and the page.
    t.bob.get("/session", 200).await;
    t.anonymous.get("/session", 401).await;
    for path in ["//healthz", "//nothing.js"] {
        let mut statuses = Vec::new();
        while statuses.len() < 2_000 && !statuses.ends_with(&[429]) {
            statuses.push(t.anonymous.request(Method::GET, path).send().await.unwrap().status().as_u16());
        }
        assert!(statuses.ends_with(&[429]), "{path} should have a limit");
        // Files have ten times the rate.
        assert!(statuses.len() > if path == "//healthz" { 10 } else { 100 }, "{path}: {}", statuses.len());
    }
    eventually("room for the next request", async || {
        (t.alice.request(Method::GET, "/session").send().await.unwrap().status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_tokens_share_the_rate_limit_of_their_address() {
    let t = TestServer::start_with(DatabaseKind::Sqlite, |config| config.api_rate = 5).await;
    let mut statuses = Vec::new();
    for n in 0..200 {
        let made_up = t.anonymous.with_token(&format!("made-up-{n}"));
        statuses.push(made_up.request(Method::GET, "/session").send().await.unwrap().status().as_u16());
        if statuses.ends_with(&[429]) {
            break;
        }
    }
    assert!(statuses.ends_with(&[401, 429]), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_at_one_address_have_separate_rate_limits() {
    // The first request of each token counts for the address. Bursts are twice the rate.
    let t = TestServer::start_with(DatabaseKind::Sqlite, |config| config.api_rate = 10).await;
    let mut people = Vec::new();
    for n in 0..8 {
        people.push(t.person(&format!("user-{n}"), Role::User).await);
    }
    let requests = people.iter().map(async |person| {
        for path in ["/session", "/stream", "/session", "/notifications", "/session", "/session"] {
            let response = person.request(Method::GET, path).send().await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
        }
    });
    futures::future::join_all(requests).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_sessions_of_a_user_share_one_rate_limit() {
    let t = TestServer::start_with(DatabaseKind::Sqlite, |config| config.api_rate = 10).await;
    let mut credentials = vec![t.alice.clone(), t.browser("alice").await];
    for _ in 0..4 {
        let input = ApiTokenInput { name: "more".into(), ..Default::default() };
        let made = t.service.accounts().create_token_as_operator("alice", input).await.unwrap();
        credentials.push(t.anonymous.with_token(&made.token));
    }
    // The first request of each credential counts for the address.
    for client in &credentials {
        client.get("/session", 200).await;
    }
    let mut accepted = 0;
    let mut refused = 0;
    for n in 0..120 {
        let client = &credentials[n % credentials.len()];
        match client.request(Method::GET, "/session").send().await.unwrap().status().as_u16() {
            200 => accepted += 1,
            429 => refused += 1,
            status => panic!("{status}"),
        }
    }
    // Six budgets would accept all 120 requests.
    assert!(refused > 0 && accepted < 120, "{accepted} accepted");
    t.bob.get("/session", 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn production_sends_hsts() {
    let t = TestServer::start_in_production().await;
    for path in ["//healthz", "/session"] {
        let reply = t.anonymous.get(path, if path == "/session" { 401 } else { 200 }).await;
        assert_eq!(reply.header("strict-transport-security"), "max-age=63072000; includeSubDomains");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_records_attempts_in_flight() {
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
        session: None,
        token: None,
        owns: Default::default(),
    };
    tokio::join!(t.stop(), async { receiver.release() });
    // The attempt in flight was recorded.
    let detail = service.reservations().get(&actor, &reservation.as_str().into()).await.unwrap();
    let shown = serde_json::to_value(&detail.deliveries).unwrap();
    assert_eq!((&shown[0]["status"], &shown[1]), (&json!("succeeded"), &Value::Null));
}
