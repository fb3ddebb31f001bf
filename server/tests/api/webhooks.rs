//! `/api/v1/webhooks`: settings, secrets, test events, pausing, statistics. `requests` tests the requests to receivers.

use crate::client::TestClient;
use crate::support::{TestServer, time, webhook_input};
use chrono::Duration;
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::{Value, json};
use test_support::{Receiver, Response, eventually, on_both_databases};

on_both_databases![
    webhook_is_created_read_updated_and_deleted_with_each_auth_method,
    paused_webhook_keeps_events_until_resumed,
    deleting_a_webhook_cancels_queued_deliveries,
    webhook_stats_count_each_window,
    test_event_is_sent_at_once_and_logged_as_test,
];

on_both_databases![sqlite only:
    unknown_webhook_field_is_named_and_changes_nothing,
    secrets_are_shown_only_once,
    resume_can_discard_queued_events,
    webhook_patch_keeps_secrets_and_omitted_fields,
    stored_credentials_do_not_follow_a_changed_url,
    secret_header_values_are_encrypted_and_not_shown,
    weak_secret_gets_a_warning_in_development,
    blocked_endpoint_urls_are_rejected,
    invalid_webhook_fields_are_named,
    payload_format_and_filter_are_saved_and_logged,
    rotation_validates_overlap_and_secret,
    repeated_rotation_and_redelivery_with_a_key_run_once,
    test_event_response_redacts_credentials,
    test_event_returns_a_diagnosis,
    every_event_type_can_be_tested,
    status_410_disables_the_webhook,
    webhooks_are_limited_to_administrators,
    webhook_list_is_paginated,
];

fn oauth2(url: &str) -> Value {
    json!({
        "method": "oauth2", "token_url": format!("{url}/token"), "client_id": "berth", "client_secret": "client-secret-5309",
        "scope": "provision", "audience": "https://cluster.example.com",
    })
}

fn api_key() -> Value {
    json!({"method": "api_key", "header": "X-API-Key", "key": "api-key-8675309"})
}

/// Responds to token requests, and with 200 to all others.
fn with_token_endpoint(receiver: &Receiver) {
    receiver.respond_with(|got| {
        if got.path == "/token" {
            return Response::json(
                200,
                json!({"access_token": "access-token-42", "token_type": "Bearer", "expires_in": 600}),
            );
        }
        Response::status(200)
    });
}

async fn unknown_webhook_field_is_named_and_changes_nothing(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let id = t.webhook(&Receiver::start().await, json!({})).await.id();
    let before = t.root.get(&format!("/webhooks/{id}"), 200).await.body;
    t.root
        .patch_invalid(&format!("/webhooks/{id}"), json!({"name": "New", "max_inflight": 3}), &["max_inflight"])
        .await;
    assert_eq!(t.root.get(&format!("/webhooks/{id}"), 200).await.body, before);
    let input = json!({"resource_id": resource, "start": "2030-01-01T00:00:00Z"});
    t.alice.post_invalid("/reservations", input, &["start"]).await;
}

async fn webhook_is_created_read_updated_and_deleted_with_each_auth_method(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let shown_oauth2 = {
        let mut shown = oauth2(&receiver.url);
        shown.as_object_mut().unwrap().remove("client_secret");
        shown
    };
    let custom = json!({"layout": "custom", "paths": {"reservation.created": "/new", "reservation.cancelled": ""}});
    for (auth, shown, more) in [
        (json!({"method": "none"}), json!({"method": "none"}), json!({})),
        (
            api_key(),
            json!({"method": "api_key", "header": "X-API-Key"}),
            json!({"resource_type": null, "secret": "your-secret-key"}),
        ),
        (
            json!({"method": "api_key", "header": "Authorization", "key": "Bearer abc"}),
            json!({"method": "api_key", "header": "Authorization"}),
            json!({"delivery_paths": {"layout": "single"}, "max_in_flight": 1, "rate_limit": 10}),
        ),
        (json!({"method": "api_key", "key": "abc"}), json!({"method": "api_key", "header": "X-API-Key"}), json!({})),
        (
            oauth2(&receiver.url),
            shown_oauth2,
            json!({"delivery_paths": custom, "headers": [{"name": "X-Team", "value": "infra"}], "enabled": false, "retry": {"waits": [1, 2, 4, 30]}}),
        ),
    ] {
        let mut with = more.clone();
        with["auth"] = auth;
        let made = t.webhook(&receiver, with.clone()).await;
        let mut expected = webhook_input(&receiver.url, with.clone());
        for (name, value) in [
            ("auth", shown),
            ("delivery_paths", more.get("delivery_paths").cloned().unwrap_or(json!({"layout": "guide"}))),
            ("headers", more.get("headers").cloned().unwrap_or(json!([]))),
            ("max_in_flight", more.get("max_in_flight").cloned().unwrap_or(json!(64))),
            ("rate_limit", more.get("rate_limit").cloned().unwrap_or(Value::Null)),
            ("enabled", more.get("enabled").cloned().unwrap_or(json!(true))),
        ] {
            expected[name] = value;
        }
        let secret = made.text("secret").to_owned();
        match more["secret"].as_str() {
            Some(pasted) => assert_eq!(secret, pasted),
            None => assert!(secret.starts_with("whsec_") && secret.len() == 6 + 44, "{secret}"),
        }
        for (name, value) in expected.as_object().unwrap() {
            assert!(name == "secret" || made.body[name] == *value, "{name}: {} and not {value}", made.body[name]);
        }
        assert_eq!(made.body["state"], if more["enabled"] == false { "paused" } else { "enabled" });
        assert!(secret.ends_with(made.text("secret_hint")), "the hint identifies the secret");
        let path = format!("/webhooks/{}", made.id());
        let read = t.root.get(&path, 200).await;
        let mut without = made.body.clone();
        without.as_object_mut().unwrap().retain(|name, _| !["secret", "warning"].contains(&name.as_str()));
        assert_eq!(read.body, without, "the same, without the secret");
        assert_eq!(read.body["summary"]["health"], "unknown");
        assert!(t.root.get("/webhooks", 200).await.items().contains(&read.body));
        let renamed = t.root.patch(&path, json!({"name": "Renamed"}), 200).await;
        assert_eq!(renamed.body["name"], "Renamed");
        t.root.delete(&path, 204).await;
        t.root.get(&path, 404).await;
        t.root.patch(&path, json!({"name": "x"}), 404).await;
        t.root.delete(&path, 404).await;
        for action in ["test", "rotate-secret", "pause", "resume"] {
            t.root.post(&format!("{path}/{action}"), Value::Null, 404).await;
        }
        t.root.get(&format!("{path}/stats"), 404).await;
        assert!(t.root.get("/webhooks", 200).await.items().is_empty());
    }
}

/// Every response that shows a webhook, as raw text.
async fn everything(t: &TestServer, webhook: i64) -> String {
    let mut all = String::new();
    let mut paths =
        vec!["/webhooks".to_owned(), "/deliveries".to_owned(), "/reservations".to_owned(), "/notifications".to_owned()];
    paths.push(format!("/webhooks/{webhook}"));
    for window in ["1h", "24h", "7d"] {
        paths.push(format!("/webhooks/{webhook}/stats?window={window}"));
    }
    for delivery in t.root.get("/deliveries", 200).await.items() {
        paths.push(format!("/deliveries/{}", delivery["id"].as_str().unwrap()));
    }
    for reservation in t.root.get("/reservations", 200).await.items() {
        paths.push(format!("/reservations/{}", reservation["id"].as_str().unwrap()));
    }
    for path in paths {
        all.push_str(&t.root.get(&path, 200).await.text);
    }
    for with in
        [json!({"name": "Renamed"}), json!({"headers": []}), json!({"events": []}), json!({"auth": {"method": "x"}})]
    {
        let request = t.root.request(reqwest::Method::PATCH, &format!("/webhooks/{webhook}")).json(&with);
        all.push_str(&request.send().await.unwrap().text().await.unwrap());
    }
    for action in ["pause", "resume", "test"] {
        all.push_str(&t.root.post(&format!("/webhooks/{webhook}/{action}"), Value::Null, 200).await.text);
    }
    all.push_str(&t.root.get("//metrics", 200).await.text);
    all
}

async fn secrets_are_shown_only_once(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    with_token_endpoint(&receiver);
    let by_key = t.webhook(&receiver, json!({"auth": api_key(), "secret": "pasted-secret-of-old"})).await;
    let by_token = t.webhook(&receiver, json!({"auth": oauth2(&receiver.url)})).await;
    let mut secrets = vec!["pasted-secret-of-old".to_owned(), by_token.text("secret").to_owned()];
    secrets.extend(["api-key-8675309", "client-secret-5309", "access-token-42"].map(str::to_owned));
    for made in [&by_key, &by_token] {
        let count = secrets.iter().filter(|secret| made.text.contains(secret.as_str())).count();
        assert_eq!(count, 1, "the creation response shows only the signing secret");
    }
    t.booking(&t.alice, resource, 1, 2).await;
    t.finished("", 2).await;
    let rotated = t.root.post(&format!("/webhooks/{}/rotate-secret", by_key.id()), Value::Null, 200).await;
    assert!(!secrets.iter().any(|secret| rotated.text.contains(secret.as_str())), "only the new secret is shown");
    secrets.push(rotated.text("secret").to_owned());
    for webhook in [by_key.id(), by_token.id()] {
        let all = everything(&t, webhook).await;
        for secret in &secrets {
            // JSON does not escape `/` and `+` of Base64.
            assert!(!all.contains(secret.as_str()), "{secret} is shown again");
            let bare = secret.strip_prefix("whsec_").unwrap_or(secret);
            assert!(!all.contains(bare), "{bare} is shown again");
        }
    }
    // The receiver got the credentials.
    let sent = |name: &str, value: &str| receiver.requests().iter().any(|got| got.header(name) == value);
    assert!(sent("x-api-key", "api-key-8675309") && sent("authorization", "Bearer access-token-42"));
}

/// Who may change a webhook could otherwise read its credentials on a server of their own.
async fn stored_credentials_do_not_follow_a_changed_url(t: TestServer) {
    t.resource("node-1", "available").await;
    let (receiver, stranger) = (Receiver::start().await, Receiver::start().await);
    with_token_endpoint(&receiver);
    with_token_endpoint(&stranger);
    let headers = json!([{"name": "X-Own-Token", "value": "own-token-8675309"}, {"name": "X-Team", "value": "ml"}]);
    let by_key = t.webhook(&receiver, json!({"auth": api_key(), "headers": headers})).await;
    let by_token = t.webhook(&receiver, json!({"auth": oauth2(&receiver.url)})).await;
    let keyed = format!("/webhooks/{}", by_key.id());
    let granted = format!("/webhooks/{}", by_token.id());
    let before = (t.root.get(&keyed, 200).await.body, t.root.get(&granted, 200).await.body);
    let elsewhere = json!({"endpoint_url": format!("{}/api/webhook", stranger.url)});
    t.root.patch_invalid(&keyed, elsewhere.clone(), &["auth.key", "headers.0.value"]).await;
    t.root.patch_invalid(&granted, elsewhere.clone(), &["auth.client_secret"]).await;
    let mut token_url = oauth2(&stranger.url);
    token_url.as_object_mut().unwrap().remove("client_secret");
    t.root.patch_invalid(&granted, json!({"auth": token_url}), &["auth.client_secret"]).await;
    t.root
        .patch_invalid(&keyed, json!({"headers": [{"name": "X-New-Token", "value": ""}]}), &["headers.0.value"])
        .await;
    let after = (t.root.get(&keyed, 200).await.body, t.root.get(&granted, 200).await.body);
    assert_eq!(after, before, "rejected changes have no effect");
    for path in [&keyed, &granted] {
        t.root.post(&format!("{path}/test"), Value::Null, 200).await;
    }
    assert!(stranger.requests().is_empty());
    // Another path on the same server keeps them; with the credentials, another server is accepted.
    t.root.patch(&keyed, json!({"endpoint_url": format!("{}/other", receiver.url)}), 200).await;
    t.root.post(&format!("{keyed}/test"), Value::Null, 200).await;
    let got = receiver.requests().pop().unwrap();
    assert_eq!((got.header("x-api-key"), got.header("x-own-token")), ("api-key-8675309", "own-token-8675309"));
    let mut again = elsewhere;
    again["auth"] = json!({"method": "api_key", "header": "X-API-Key", "key": "for-the-new-server"});
    again["headers"] = json!([{"name": "X-Own-Token", "value": "new-token"}]);
    t.root.patch(&keyed, again, 200).await;
    t.root.post(&format!("{keyed}/test"), Value::Null, 200).await;
    let got = stranger.requests().pop().unwrap();
    assert_eq!((got.header("x-api-key"), got.header("x-own-token")), ("for-the-new-server", "new-token"));
}

async fn weak_secret_gets_a_warning_in_development(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    for (secret, word) in [("your-secret-key", "published"), ("whsec_AA==", "16 bytes"), ("12345678", "16 bytes")] {
        let made = t.webhook(&receiver, json!({"secret": secret})).await;
        assert!(made.text("warning").contains(word), "{}", made.text);
        let path = format!("/webhooks/{}/rotate-secret", made.id());
        assert!(t.root.post(&path, json!({"secret": secret}), 200).await.text("warning").contains(word));
        let rotated = t.root.post(&path, json!({}), 200).await;
        assert_eq!(rotated.body.get("warning"), None, "a generated secret is strong");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn production_rejects_weak_secrets() {
    let t = TestServer::start_in_production().await;
    let input = |secret: &str| {
        let with = json!({"endpoint_url": "https://example.com/", "resource_type": null, "secret": secret});
        webhook_input("", with)
    };
    let made = t.root.post("/webhooks", input("0123456789abcdef"), 201).await;
    let path = format!("/webhooks/{}/rotate-secret", made.id());
    for weak in ["your-secret-key", "whsec_AA==", "12345678"] {
        t.root.post_invalid("/webhooks", input(weak), &["secret"]).await;
        t.root.post_invalid(&path, json!({"secret": weak}), &["secret"]).await;
    }
    assert_eq!(t.root.get("/webhooks", 200).await.items().len(), 1);
}

async fn stored_headers(t: &TestServer) -> String {
    let database = t.database().await;
    let statement = Statement::from_string(database.get_database_backend(), "SELECT headers FROM webhooks");
    database.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

async fn secret_header_values_are_encrypted_and_not_shown(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let headers = json!([
        {"name": "X-Own-Token", "value": "own-token-8675309"},
        {"name": "X-Pin", "value": "pin-8675309", "secret": true},
        {"name": "X-Keyboard", "value": "layout-us", "secret": false},
    ]);
    let made = t.webhook(&receiver, json!({"headers": headers})).await;
    let path = format!("/webhooks/{}", made.id());
    let shown = json!([
        {"name": "X-Own-Token", "value": "", "secret": true},
        {"name": "X-Pin", "value": "", "secret": true},
        {"name": "X-Keyboard", "value": "layout-us", "secret": false},
    ]);
    assert_eq!(made.body["headers"], shown);
    let stored = async || stored_headers(&t).await;
    assert!(!stored().await.contains("8675309"), "encrypted");
    let is_sent = async || {
        let reply = t.root.post(&format!("{path}/test"), Value::Null, 200).await;
        assert!(!reply.text.contains("8675309"), "redacted in the log: {}", reply.text);
        let got = receiver.requests().pop().unwrap();
        let sent = (got.header("x-own-token"), got.header("x-pin"), got.header("x-keyboard"));
        sent == ("own-token-8675309", "pin-8675309", "layout-us")
    };
    assert!(is_sent().await);
    // What was read can be written back.
    let changed = t.root.patch(&path, json!({"name": "Renamed", "headers": shown}), 200).await;
    assert_eq!(changed.body["headers"], shown);
    assert!(is_sent().await);
    // A row of an earlier release has values in clear text.
    let database = t.database().await;
    let old = "UPDATE webhooks SET headers = '[{\"name\":\"X-Own-Token\",\"value\":\"own-token-8675309\"},{\"name\":\"X-Pin\",\"value\":\"pin-8675309\"},{\"name\":\"X-Keyboard\",\"value\":\"layout-us\",\"secret\":false}]', revision = revision + 1";
    database.execute_unprepared(old).await.unwrap();
    assert_eq!(t.root.get(&path, 200).await.body["headers"][0], shown[0]);
    let reply = t.root.post(&format!("{path}/test"), Value::Null, 200).await;
    assert!(!reply.text.contains("own-token-8675309"), "{}", reply.text);
    assert_eq!(receiver.requests().pop().unwrap().header("x-own-token"), "own-token-8675309");
    t.root.patch(&path, json!({"name": "Saved again"}), 200).await;
    assert!(!stored().await.contains("own-token-8675309"), "encrypted with the next change");
    t.root.post(&format!("{path}/test"), Value::Null, 200).await;
    assert_eq!(receiver.requests().pop().unwrap().header("x-own-token"), "own-token-8675309");
    t.root.delete(&path, 204).await;
    assert_eq!(stored().await, "[]");
}

async fn webhook_patch_keeps_secrets_and_omitted_fields(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let made = t.webhook(&receiver, json!({"auth": api_key(), "rate_limit": 50, "secret": "your-secret-key"})).await;
    let path = format!("/webhooks/{}", made.id());
    let last_key = async || {
        t.root.post(&format!("{path}/test"), Value::Null, 200).await;
        let got = receiver.requests().pop().unwrap();
        assert!(crate::requests::is_signed(&got, &["your-secret-key"]), "every change keeps the signing secret");
        (got.header("x-api-key").to_owned(), got.header("x-key").to_owned())
    };
    assert_eq!(last_key().await, ("api-key-8675309".into(), String::new()));
    let mut expected = t.root.get(&path, 200).await.body;
    for (patch, shown) in [
        (json!({"name": "Second"}), json!({"name": "Second"})),
        (
            json!({"events": ["reservation.cancelled", "reservation.created", "reservation.created"]}),
            json!({"events": ["reservation.created", "reservation.cancelled"]}),
        ),
        (json!({"resource_type": null}), json!({"resource_type": null})),
        (json!({"resource_type": "gpu-cluster"}), json!({"resource_type": "gpu-cluster"})),
        (json!({"rate_limit": null, "max_in_flight": 3}), json!({"rate_limit": null, "max_in_flight": 3})),
        (
            json!({"headers": [{"name": "X-Team", "value": "infra"}]}),
            json!({"headers": [{"name": "X-Team", "value": "infra"}]}),
        ),
        (json!({"delivery_paths": {"layout": "single"}}), json!({"delivery_paths": {"layout": "single"}})),
        (json!({"retry": {"waits": [5]}}), json!({"retry": {"waits": [5]}})),
        // Without a key the stored one is kept.
        (json!({"auth": {"method": "api_key"}}), json!({"auth": {"method": "api_key", "header": "X-API-Key"}})),
        (
            json!({"auth": {"method": "api_key", "header": "x-api-key", "key": ""}}),
            json!({"auth": {"method": "api_key", "header": "x-api-key"}}),
        ),
        (json!({"enabled": false}), json!({"enabled": false, "state": "paused"})),
        (json!({"enabled": true}), json!({"enabled": true, "state": "enabled"})),
    ] {
        let changed = t.root.patch(&path, patch.clone(), 200).await;
        for (name, value) in shown.as_object().unwrap() {
            expected[name] = value.clone();
        }
        expected["updated_at"] = changed.body["updated_at"].clone();
        assert_eq!(changed.body, expected, "{patch}");
    }
    assert_eq!(last_key().await, ("api-key-8675309".into(), String::new()));
    t.root.patch_invalid(&path, json!({"auth": {"method": "api_key", "header": "X-Key"}}), &["auth.key"]).await;
    assert_eq!(last_key().await, ("api-key-8675309".into(), String::new()), "a rejected change has no effect");
    t.root.patch(&path, json!({"auth": {"method": "api_key", "header": "X-Key", "key": "another"}}), 200).await;
    assert_eq!(last_key().await, (String::new(), "another".into()));
    // Another method needs its own secret: an API key is not a client secret.
    let mut without = oauth2(&receiver.url);
    without["client_secret"] = json!("");
    t.root.patch_invalid(&path, json!({"auth": without}), &["auth.client_secret"]).await;
    assert_eq!(last_key().await, (String::new(), "another".into()), "a rejected change has no effect");
    t.root.patch(&path, json!({"auth": {"method": "none"}}), 200).await;
    assert_eq!(last_key().await, (String::new(), String::new()));
    t.root.patch_invalid(&path, json!({"auth": {"method": "api_key"}}), &["auth.key"]).await;
}

/// URLs that production rejects (docs/contract.md §5), and development too unless a network is allowed.
async fn refuses_urls(client: &TestClient, urls: &[String]) {
    for url in urls {
        let input = webhook_input("https://example.com", json!({"endpoint_url": url, "resource_type": null}));
        client.post_invalid("/webhooks", input, &["endpoint_url"]).await;
        let auth = json!({"method": "oauth2", "token_url": url, "client_id": "x", "client_secret": "y"});
        let input = webhook_input("https://example.com", json!({"auth": auth, "resource_type": null}));
        client.post_invalid("/webhooks", input, &["auth.token_url"]).await;
    }
    assert!(client.get("/webhooks", 200).await.items().is_empty(), "a rejected webhook is not created");
}

/// Rejected in every environment.
fn bad_urls() -> Vec<String> {
    let mut urls: Vec<String> = [
        "",
        " ",
        "x",
        "//example.com/",
        "/api/webhook",
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "javascript:alert(1)",
        "data:text/plain,x",
        "https://",
        "https:///path",
        "https:example.com",
        "https:/example.com",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://:secret@example.com/",
        "https://example.com/#part",
        "https://example.com/#",
        " https://example.com/",
        "https://example.com/ ",
        "https://exa mple.com/",
        "https://example.com/a\nb",
        "https://example.com/a\0b",
        "https://example.com\\@127.0.0.1/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://192.168.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://168.63.129.16/",
        "https://[fe80::1]/",
        "https://[fc00::1]/",
        "https://[fd00:ec2::254]/",
        "https://[ff02::1]/",
        "https://[::]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[::ffff:a00:1]/",
        "https://[64:ff9b::10.0.0.1]/",
        "https://[64:ff9b:1::a00:1]/",
        "https://[2002:a00:1::]/",
        "https://[2001:0:a00:1::]/",
        "https://[2a00:1450::5efe:a00:1]/",
        "https://[::10.0.0.1]/",
    ]
    .map(str::to_owned)
    .to_vec();
    urls.push(format!("https://example.com/{}", "x".repeat(2_029)));
    urls
}

async fn blocked_endpoint_urls_are_rejected(t: TestServer) {
    refuses_urls(&t.root, &bad_urls()).await;
    // The longest accepted URL.
    let longest = format!("https://example.com/{}", "x".repeat(2_028));
    let single = json!({"endpoint_url": longest, "resource_type": null, "delivery_paths": {"layout": "single"}});
    t.root.post("/webhooks", webhook_input("", single), 201).await;
    let guide = json!({"endpoint_url": longest, "resource_type": null});
    t.root.post_invalid("/webhooks", webhook_input("", guide), &["endpoint_url"]).await;
    // Development allows loopback and http.
    for url in [
        "http://127.0.0.1:9/api",
        "http://localhost:9/",
        "http://[::1]:9/",
        "https://[::ffff:127.0.0.1]:9/",
        "http://example.com/",
    ] {
        let input = webhook_input("", json!({"endpoint_url": url, "resource_type": null}));
        let made = t.root.post("/webhooks", input, 201).await;
        let path = format!("/webhooks/{}", made.id());
        t.root.patch_invalid(&path, json!({"endpoint_url": "file:///etc/passwd"}), &["endpoint_url"]).await;
        assert_eq!(t.root.get(&path, 200).await.body["endpoint_url"], url, "the URL is stored unchanged");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn production_rejects_http_and_loopback_endpoints() {
    let t = TestServer::start_in_production().await;
    let mut urls = bad_urls();
    urls.extend(
        [
            "http://example.com/",
            "http://127.0.0.1/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://localhost/",
            "https://LOCALHOST/",
            "https://localhost./",
            "https://api.localhost/",
            "https://[::1]/",
            "https://[0:0:0:0:0:0:0:1]/",
            "https://[::0001]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[::ffff:0:127.0.0.1]/",
            "https://[::127.0.0.1]/",
            "https://[64:ff9b::127.0.0.1]/",
            "https://[2002:7f00:1::1]/",
        ]
        .map(str::to_owned),
    );
    refuses_urls(&t.root, &urls).await;
    for url in [
        "https://example.com/",
        "https://example.com:8443/api?tenant=7",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]/",
    ] {
        let input = webhook_input(
            "",
            json!({"endpoint_url": url, "resource_type": null, "auth": oauth2("https://id.example.com")}),
        );
        t.root.post("/webhooks", input, 201).await;
    }
}

async fn payload_format_and_filter_are_saved_and_logged(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let made = t.webhook(&receiver, json!({})).await;
    assert_eq!((&made.body["payload_format"], &made.body["filter"]), (&json!("berth"), &json!({})));
    let path = format!("/webhooks/{}", made.id());
    let change = json!({"payload_format": "thin", "filter": {"resource_ids": [resource]}});
    t.root.patch(&path, change.clone(), 200).await;
    let read = t.root.patch(&path, json!({"name": "Renamed"}), 200).await;
    assert_eq!((&read.body["payload_format"], &read.body["filter"]), (&change["payload_format"], &change["filter"]));
    assert_eq!(t.root.get(&path, 200).await.body["filter"], change["filter"]);
    let entries = t.root.get(&format!("/audit?action=webhook.updated&target_id={}", made.id()), 200).await;
    let changes = entries.items()[1]["changes"].as_array().unwrap();
    let field = |name: &str| changes.iter().find(|change| change["field"] == name).unwrap();
    assert_eq!(
        (&field("payload_format")["before"], &field("payload_format")["after"]),
        (&json!("berth"), &json!("thin"))
    );
    assert_eq!(field("filter.resource_ids")["after"], json!([resource]));
    let cleared = t.root.patch(&path, json!({"filter": {}}), 200).await;
    assert_eq!((&cleared.body["filter"], &cleared.body["payload_format"]), (&json!({}), &json!("thin")));
    let custom = json!({"headers": [{"name": "ce-source", "value": "x"}]});
    t.root.patch(&path, custom, 200).await;
    t.root.patch_invalid(&path, json!({"payload_format": "cloudevents_binary"}), &["headers.0.name"]).await;
}

async fn invalid_webhook_fields_are_named(t: TestServer) {
    t.resource("node-1", "available").await;
    let url = "http://127.0.0.1:9";
    let header = |name: &str, value: &str| json!({"headers": [{"name": "X-Fine", "value": "1"}, {"name": name, "value": value}]});
    let key = |header: &str, key: &str| json!({"auth": {"method": "api_key", "header": header, "key": key}});
    let long = "x".repeat(101);
    let condition = |field: &str, operator: &str, values: Value| json!({"filter": {"fields": [{"field": field, "operator": operator, "values": values}]}});
    let binary = |mut with: Value| {
        with["payload_format"] = json!("cloudevents_binary");
        with
    };
    let mut table = vec![
        (json!({"name": ""}), vec!["name"]),
        (json!({"name": " \t"}), vec!["name"]),
        (json!({"name": long}), vec!["name"]),
        (json!({"name": "a\0b"}), vec!["name"]),
        (json!({"name": null}), vec!["name"]),
        (json!({"events": []}), vec!["events"]),
        (json!({"events": ["reservation.created", "reservation.exploded"]}), vec!["events.1"]),
        (json!({"events": "reservation.created"}), vec!["events"]),
        (json!({"resource_type": "vm"}), vec!["resource_type"]),
        (json!({"resource_type": ""}), vec!["resource_type"]),
        (json!({"resource_type": "a\0"}), vec!["resource_type"]),
        (json!({"resource_type": 1}), vec!["resource_type"]),
        (json!({"secret": "1234567"}), vec!["secret"]),
        (json!({"secret": ""}), vec!["secret"]),
        (json!({"secret": "x".repeat(256)}), vec!["secret"]),
        (json!({"secret": "line\nbreak"}), vec!["secret"]),
        (json!({"secret": "whsec_not base64!"}), vec!["secret"]),
        (
            json!({"delivery_paths": {"layout": "custom", "paths": {"reservation.created": "new"}}}),
            vec!["delivery_paths.paths.reservation.created"],
        ),
        (
            json!({"delivery_paths": {"layout": "custom", "paths": {"reservation.expired": "/../admin"}}}),
            vec!["delivery_paths.paths.reservation.expired"],
        ),
        (json!({"delivery_paths": {"layout": "spiral"}}), vec!["delivery_paths.layout"]),
        (json!({"retry": {"waits": [0]}}), vec!["retry.waits"]),
        (json!({"retry": {"waits": [86_401]}}), vec!["retry.waits"]),
        (json!({"retry": {"waits": vec![1; 13]}}), vec!["retry.waits"]),
        (json!({"retry": {"waits": [1, -1]}}), vec!["retry.waits.1"]),
        (json!({"max_in_flight": 0}), vec!["max_in_flight"]),
        (json!({"max_in_flight": 2_001}), vec!["max_in_flight"]),
        (json!({"rate_limit": 0}), vec!["rate_limit"]),
        (json!({"rate_limit": 10_001}), vec!["rate_limit"]),
        (json!({"headers": vec![json!({"name": "X-A", "value": "1"}); 2]}), vec!["headers.1.name"]),
        (json!({"headers": [{"name": "X-A", "value": "1"}, {"name": "x-a", "value": "2"}]}), vec!["headers.1.name"]),
        (
            json!({"headers": (0..21).map(|n| json!({"name": format!("X-{n}"), "value": "1"})).collect::<Vec<_>>()}),
            vec!["headers"],
        ),
        (json!({"headers": [{"name": "X-A"}]}), vec!["headers.0.value"]),
        (header("", "1"), vec!["headers.1.name"]),
        (header("X Team", "1"), vec!["headers.1.name"]),
        (header("X-Team:", "1"), vec!["headers.1.name"]),
        (header("X-Team", "a\r\nX-Injected: 1"), vec!["headers.1.value"]),
        (header("X-Team", "a\0"), vec!["headers.1.value"]),
        (header("X-Team", " padded"), vec!["headers.1.value"]),
        (header("X-Team", "naïve"), vec!["headers.1.value"]),
        (header("X-Team", &"x".repeat(4_097)), vec!["headers.1.value"]),
        (key("X-API-Key", ""), vec!["auth.key"]),
        (key("X-API-Key", "a\nb"), vec!["auth.key"]),
        (key("X API Key", "abc"), vec!["auth.header"]),
        (
            json!({"auth": {"method": "api_key", "header": "X-Mine", "key": "abc"}, "headers": [{"name": "x-mine", "value": "1"}]}),
            vec!["headers.0.name"],
        ),
        (
            json!({"auth": {"method": "oauth2", "token_url": "http://127.0.0.1:9/token", "client_id": " ", "client_secret": ""}}),
            vec!["auth.client_id", "auth.client_secret"],
        ),
        (json!({"auth": {"method": "oauth2", "client_id": "x", "client_secret": "y"}}), vec!["auth.token_url"]),
        (
            json!({"auth": {"method": "oauth2", "token_url": "http://127.0.0.1:9/token", "client_id": "a\0", "client_secret": "a\0", "scope": "a\0", "audience": "a\0"}}),
            vec!["auth.client_id", "auth.client_secret", "auth.scope", "auth.audience"],
        ),
        (json!({"payload_format": "avro"}), vec!["payload_format"]),
        (json!({"payload_format": {}}), vec!["payload_format"]),
        (json!({"filter": []}), vec!["filter"]),
        (json!({"filter": {"users": ["alice"]}}), vec!["filter.users"]),
        (json!({"filter": {"resource_ids": [99]}}), vec!["filter.resource_ids"]),
        (json!({"filter": {"resource_ids": ["1"]}}), vec!["filter.resource_ids.0"]),
        (condition("gpu", "equals", json!(["a"])), vec!["filter.fields.0.field"]),
        (condition("gpu", "matches", json!(["a"])), vec!["filter.fields.0.operator"]),
        (condition("gpu", "equals", json!(["a", "b"])), vec!["filter.fields.0.values"]),
        (condition("gpu", "one_of", json!([])), vec!["filter.fields.0.values"]),
        (condition("gpu", "one_of", json!([4])), vec!["filter.fields.0.values.0"]),
        (binary(json!({"headers": [{"name": "CE-Source", "value": "x"}]})), vec!["headers.0.name"]),
        (binary(json!({"auth": {"method": "api_key", "header": "ce-key", "key": "abc"}})), vec!["auth.header"]),
        (json!({"auth": {"method": "basic"}}), vec!["auth.method"]),
        (json!({"auth": {}}), vec!["auth.method"]),
        (json!({"auth": null}), vec!["auth"]),
        (
            json!({"name": "", "endpoint_url": "x", "events": [], "secret": "x", "resource_type": "vm", "rate_limit": 0}),
            vec!["name", "endpoint_url", "events", "secret", "rate_limit", "resource_type"],
        ),
    ];
    // Headers that Berth sets cannot be overridden, in any letter case (docs/contract.md §1).
    for reserved in [
        "X-Webhook-Signature",
        "x-webhook-event",
        "X-WEBHOOK-DELIVERY",
        "X-Webhook-Attempt",
        "X-Webhook-Test",
        "Webhook-Id",
        "webhook-timestamp",
        "Webhook-Signature",
        "Content-Type",
        "User-Agent",
        "Host",
        "Content-Length",
        "Authorization",
        "Transfer-Encoding",
        "Connection",
    ] {
        table.push((header(reserved, "1"), vec!["headers.1.name"]));
        if reserved != "Authorization" {
            table.push((key(reserved, "abc"), vec!["auth.header"]));
        }
    }
    for (with, invalid_fields) in table {
        t.root.post_invalid("/webhooks", webhook_input(url, with), &invalid_fields).await;
    }
    t.root.post_invalid("/webhooks", json!({}), &["name"]).await;
    assert!(t.root.get("/webhooks", 200).await.items().is_empty(), "a rejected webhook is not created");
    // Values at the limits are accepted.
    let with = json!({"secret": "12345678", "max_in_flight": 2_000, "rate_limit": 10_000, "retry": {"waits": vec![86_400; 12]}});
    t.root.post("/webhooks", webhook_input(url, with), 201).await;
    t.root
        .post(
            "/webhooks",
            webhook_input(url, json!({"secret": "x".repeat(255), "max_in_flight": 1, "rate_limit": 1})),
            201,
        )
        .await;
}

async fn rotation_validates_overlap_and_secret(t: TestServer) {
    t.resource("node-1", "available").await;
    let made = t.webhook(&Receiver::start().await, json!({})).await;
    let path = format!("/webhooks/{}/rotate-secret", made.id());
    for (input, invalid_fields) in [
        (json!({"overlap_hours": 169}), &["overlap_hours"][..]),
        (json!({"overlap_hours": -1}), &["overlap_hours"]),
        (json!({"secret": "short"}), &["secret"]),
    ] {
        t.root.post_invalid(&path, input, invalid_fields).await;
    }
    let hint = |reply: &crate::client::Reply| reply.body["secret_hint"].clone();
    let read = t.root.get(&format!("/webhooks/{}", made.id()), 200).await;
    assert_eq!(
        (hint(&read), &read.body["previous_secret_until"]),
        (hint(&made), &Value::Null),
        "a rejected rotation has no effect"
    );
    let rotated = t.root.post(&path, Value::Null, 200).await;
    let until = time(&rotated.body["previous_secret_until"]);
    assert!((until - t.now() - Duration::hours(24)).num_seconds().abs() < 60, "24 h by default");
    assert_ne!(rotated.text("secret"), made.text("secret"));
    let pasted = t.root.post(&path, json!({"secret": "a-pasted-secret", "overlap_hours": 0}), 200).await;
    assert_eq!((pasted.text("secret"), &pasted.body["previous_secret_until"]), ("a-pasted-secret", &Value::Null));
}

/// A client that lost the response repeats the request and gets the same secret.
async fn repeated_rotation_and_redelivery_with_a_key_run_once(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let id = t.webhook(&receiver, json!({})).await.id();
    let keyed = async |path: &str, body: &Value, key: &str, status: u16| {
        let with = |request: reqwest::RequestBuilder| {
            let request = request.header("idempotency-key", key);
            if body.is_null() { request } else { request.json(body) }
        };
        t.root.send(reqwest::Method::POST, path, status, with).await
    };
    let path = format!("/webhooks/{id}/rotate-secret");
    let first = keyed(&path, &Value::Null, "rotation", 200).await;
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = keyed(&path, &Value::Null, "rotation", 200).await;
    assert_eq!((&again.text, again.header("idempotency-replayed")), (&first.text, "true"));
    let read = t.root.get(&format!("/webhooks/{id}"), 200).await;
    assert_eq!(read.body["previous_secrets_until"].as_array().unwrap().len(), 1, "it was rotated once");
    let other = keyed(&path, &json!({"overlap_hours": 1}), "rotation", 422).await;
    assert_eq!(other.invalid_fields(), ["Idempotency-Key"]);
    assert_ne!(keyed(&path, &Value::Null, "second-rotation", 200).await.text("secret"), first.text("secret"));

    t.booking(&t.alice, resource, 1, 2).await;
    let delivery = t.finished("", 1).await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/deliveries/{delivery}/redeliver");
    let first = keyed(&path, &Value::Null, "redelivery", 202).await;
    assert_eq!(keyed(&path, &Value::Null, "redelivery", 202).await.text, first.text);
    t.finished("", 2).await;
}

async fn paused_webhook_keeps_events_until_resumed(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let path = format!("/webhooks/{}", t.webhook(&receiver, json!({})).await.id());
    let paused = t.root.post(&format!("{path}/pause"), Value::Null, 200).await;
    assert_eq!((&paused.body["enabled"], &paused.body["state"]), (&json!(false), &json!("paused")));
    let reservation = t.booking(&t.alice, resource, 1, 2).await;
    t.alice.patch(&format!("/reservations/{reservation}"), json!({"title": "x"}), 200).await;
    let waiting = t.root.get("/deliveries?status=pending", 200).await;
    assert_eq!(waiting.items().len(), 2);
    assert_eq!(t.root.get(&path, 200).await.body["summary"]["waiting"], 2);
    // Other webhooks receive events in the meantime; the paused one does not.
    let other = Receiver::start().await;
    t.webhook(&other, json!({})).await;
    t.booking(&t.alice, resource, 3, 4).await;
    other.wait_for(1).await;
    assert!(receiver.requests().is_empty());
    let resumed = t.root.post(&format!("{path}/resume"), Value::Null, 200).await;
    assert_eq!((&resumed.body["enabled"], &resumed.body["state"]), (&json!(true), &json!("enabled")));
    let got = receiver.wait_for(3).await;
    let events: Vec<&str> =
        got.iter().filter(|got| got.body["reservation_id"] == reservation.as_str()).map(|got| got.event()).collect();
    assert_eq!(events, ["reservation.created", "reservation.updated"], "in order");
    t.finished("", 4).await;
    assert_eq!(t.root.get(&path, 200).await.body["summary"]["waiting"], 0);
}

async fn resume_can_discard_queued_events(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let path = format!("/webhooks/{}", t.webhook(&receiver, json!({})).await.id());
    t.root.post(&format!("{path}/pause"), Value::Null, 200).await;
    t.booking(&t.alice, resource, 1, 2).await;
    t.root.post(&format!("{path}/resume"), json!({"drop_pending": true}), 200).await;
    assert_eq!(t.finished("", 1).await[0]["status"], "cancelled");
    let next = t.booking(&t.alice, resource, 3, 4).await;
    let got = receiver.wait_for(1).await;
    assert_eq!(got[0].body["reservation_id"], next, "earlier events were discarded");
}

async fn deleting_a_webhook_cancels_queued_deliveries(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let id = t.webhook(&receiver, json!({})).await.id();
    t.root.post(&format!("/webhooks/{id}/pause"), Value::Null, 200).await;
    t.booking(&t.alice, resource, 1, 2).await;
    t.root.delete(&format!("/webhooks/{id}"), 204).await;
    let cancelled = t.finished(&format!("webhook_id={id}"), 1).await;
    assert_eq!((&cancelled[0]["status"], &cancelled[0]["webhook_name"]), (&json!("cancelled"), &json!("Provisioner")));
    assert_eq!(cancelled[0]["next_attempt_at"], Value::Null);
    let delivery = cancelled[0]["id"].as_str().unwrap();
    t.root.post(&format!("/deliveries/{delivery}/redeliver"), Value::Null, 409).await;
    let all = json!({"filter": {"status": "cancelled"}});
    let skipped = json!({"redelivered": 0, "test": 0, "webhook_deleted": 1, "filtered": 0, "already_sent": 0});
    let replay = t.root.post("/deliveries/replay", all, 200).await.body;
    assert_eq!((&replay["matched"], &replay["redelivered"], &replay["skipped"]), (&json!(0), &json!(0), &skipped));
    let webhooks = replay["webhooks"].as_array().unwrap();
    assert_eq!((webhooks.len(), &webhooks[0]["skipped"]), (1, &skipped));
    // No further delivery is created for it.
    t.booking(&t.alice, resource, 3, 4).await;
    assert_eq!(t.root.get("/deliveries", 200).await.items().len(), 1);
    assert!(receiver.requests().is_empty());
}

async fn webhook_stats_count_each_window(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let id = t.webhook(&receiver, json!({})).await.id();
    let stats = async |window: &str| t.root.get(&format!("/webhooks/{id}/stats?window={window}"), 200).await.body;
    let empty = stats("1h").await;
    assert_eq!((&empty["attempts"], &empty["error_rate"], &empty["p50_ms"]), (&json!(0), &Value::Null, &Value::Null));
    // One success two days ago, one failure two hours ago, two successes and one failure now.
    t.booking(&t.alice, resource, 100, 101).await;
    t.finished("", 1).await;
    t.clock.advance(Duration::days(2));
    receiver.respond(Response::status(500));
    t.booking(&t.alice, resource, 102, 103).await;
    t.finished("", 2).await;
    t.clock.advance(Duration::hours(2));
    t.booking(&t.alice, resource, 104, 105).await;
    t.finished("", 3).await;
    receiver.respond(Response::status(200));
    t.booking(&t.alice, resource, 106, 107).await;
    t.booking(&t.alice, resource, 108, 109).await;
    t.finished("", 5).await;
    // Test events are not counted.
    t.root.post(&format!("/webhooks/{id}/test"), Value::Null, 200).await;
    for (window, points, step, succeeded, failed) in
        [("1h", 60, 60, 2, 1), ("24h", 48, 1_800, 2, 2), ("7d", 56, 10_800, 3, 2)]
    {
        let stats = stats(window).await;
        assert_eq!(stats["window"], window);
        assert_eq!((&stats["succeeded"], &stats["failed"]), (&json!(succeeded), &json!(failed)), "{window}");
        assert_eq!(stats["attempts"], succeeded + failed);
        assert_eq!(stats["error_rate"], f64::from(failed) / f64::from(succeeded + failed));
        let [p50, p95, p99] = ["p50_ms", "p95_ms", "p99_ms"].map(|name| stats[name].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p95 && p95 <= p99, "{p50} {p95} {p99}");
        let series = stats["series"].as_array().unwrap();
        assert_eq!(series.len(), points);
        let sum = |name: &str| series.iter().map(|point| point[name].as_i64().unwrap()).sum::<i64>();
        assert_eq!((sum("succeeded"), sum("failed")), (i64::from(succeeded), i64::from(failed)), "{window}");
        for pair in series.windows(2) {
            assert_eq!((time(&pair[1]["at"]) - time(&pair[0]["at"])).num_seconds(), step);
        }
        let last = time(&series[points - 1]["at"]);
        assert!(last <= t.now() && t.now() < last + Duration::seconds(step), "the last step contains the current time");
        for point in series {
            let quiet = point["succeeded"] == 0 && point["failed"] == 0;
            assert_eq!(point["p95_ms"].is_null(), quiet, "{point}");
        }
    }
    assert_eq!(t.root.get(&format!("/webhooks/{id}/stats"), 200).await.body["window"], "24h");
    assert_eq!(t.root.get(&format!("/webhooks/{id}/stats?window=1y"), 422).await.invalid_fields(), ["window"]);
    let summary = t.root.get(&format!("/webhooks/{id}"), 200).await.body["summary"].clone();
    assert_eq!((&summary["deliveries"], &summary["success_rate"]), (&json!(4), &json!(0.5)));
    assert_eq!((&summary["health"], &summary["last_status"]), (&json!("degraded"), &json!("succeeded")));
}

async fn test_event_is_sent_at_once_and_logged_as_test(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    receiver.respond(
        Response::json(200, json!({"status": "success"}))
            // The white space shows that the response is recorded as it was sent.
            .with_body(r#"{"status": "success"}"#)
            .with_header("x-served-by", "node-7")
            .with_header("set-cookie", "session=1"),
    );
    // A paused webhook can be tested too.
    let id = t.webhook(&receiver, json!({"enabled": false})).await.id();
    let reply = t.root.post(&format!("/webhooks/{id}/test"), Value::Null, 200).await;
    let got = &receiver.wait_for(1).await[0];
    let fields: Vec<&String> = reply.body.as_object().unwrap().keys().collect();
    let expected = [
        "delivery_id",
        "attempt",
        "started_at",
        "outcome",
        "status_code",
        "duration_ms",
        "timings",
        "request",
        "response",
        "diagnosis",
        "effect",
    ];
    assert_eq!(fields, expected);
    assert_eq!(reply.body["effect"]["status"], "ready");
    assert_eq!(
        (&reply.body["outcome"], &reply.body["status_code"], &reply.body["attempt"]),
        (&json!("succeeded"), &json!(200), &json!(1))
    );
    let timings = &reply.body["timings"];
    assert_eq!(reply.body["duration_ms"], timings["total_ms"]);
    let ms = |name: &str| timings[name].as_f64().unwrap_or_else(|| panic!("{name} should be timed: {timings}"));
    assert!(ms("connect_ms") >= 0.0 && ms("first_byte_ms") > 0.0 && ms("total_ms") >= ms("first_byte_ms"), "{timings}");
    assert_eq!(
        (&timings["reused"], &timings["tls_ms"]),
        (&json!(false), &Value::Null),
        "a test has its own connection"
    );
    let request = &reply.body["request"];
    assert_eq!(
        (&request["method"], &request["url"]),
        (&json!("POST"), &json!(format!("{}/api/webhook/reservation", receiver.url)))
    );
    assert_eq!(request["body"].as_str().unwrap().as_bytes(), got.raw, "the exact bytes");
    for header in request["headers"].as_array().unwrap() {
        let (sent, shown) = (got.header(header["name"].as_str().unwrap()), header["value"].as_str().unwrap());
        match shown.strip_suffix('…') {
            Some(prefix) => assert!(sent.starts_with(prefix) && sent != prefix, "{header}"),
            None => assert_eq!(sent, shown, "{header}"),
        }
    }
    let response = &reply.body["response"];
    assert_eq!((&response["body"], &response["truncated"]), (&json!("{\"status\": \"success\"}"), &json!(false)));
    let response_headers = response["headers"].as_array().unwrap();
    assert!(response_headers.contains(&json!({"name": "x-served-by", "value": "node-7"})));
    assert!(
        response_headers.contains(&json!({"name": "set-cookie", "value": "••••"})),
        "the receiver's cookies are its secrets"
    );
    assert_eq!(reply.body["diagnosis"]["code"], "ok");

    assert_eq!(got.header("x-webhook-test"), "true");
    assert_eq!((&got.body["test"], &got.body["event_type"]), (&json!(true), &json!("reservation.created")));
    assert!(got.body["reservation_id"].as_str().unwrap().starts_with("test-"));
    assert!(got.body["title"].as_str().unwrap().to_lowercase().contains("test"));
    assert_eq!(
        got.body["additional_config"],
        json!({"gpu_type": "nvidia-a100", "gpu_count": 4}),
        "of the type's schema"
    );
    assert_eq!((&got.body["resource_type"], &got.body["user_id"]), (&json!("gpu-cluster"), &json!("root")));

    let log = t.root.get("/deliveries", 200).await;
    assert_eq!(log.items().len(), 1);
    let entry = &log.items()[0];
    assert_eq!(
        (&entry["id"], &entry["test"], &entry["status"]),
        (&reply.body["delivery_id"], &json!(true), &json!("succeeded"))
    );
    assert_eq!(got.header("x-webhook-delivery"), entry["id"].as_str().unwrap());
    let detail = t.root.get(&format!("/deliveries/{}", entry["id"].as_str().unwrap()), 200).await;
    assert_eq!(detail.body["attempt_log"], json!([reply.body]), "the log keeps the whole exchange");
    t.root.post(&format!("/deliveries/{}/redeliver", entry["id"].as_str().unwrap()), Value::Null, 409).await;
    assert!(t.root.get("/reservations", 200).await.items().is_empty(), "a test reserves nothing");
}

async fn test_event_response_redacts_credentials(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    with_token_endpoint(&receiver);
    for (auth, name, shown, sent) in [
        (api_key(), "X-API-Key", "••••", "api-key-8675309"),
        (
            json!({"method": "api_key", "header": "Authorization", "key": "Bearer abc-token"}),
            "Authorization",
            "Bearer ••••",
            "Bearer abc-token",
        ),
        (oauth2(&receiver.url), "Authorization", "Bearer ••••", "Bearer access-token-42"),
    ] {
        let made = t.webhook(&receiver, json!({"auth": auth})).await;
        let reply = t.root.post(&format!("/webhooks/{}/test", made.id()), Value::Null, 200).await;
        let headers = reply.body["request"]["headers"].as_array().unwrap();
        assert!(headers.contains(&json!({"name": name, "value": shown})), "{headers:?}");
        assert!(!reply.text.contains(sent.trim_start_matches("Bearer ")));
        assert_eq!(receiver.requests().last().unwrap().header(name), sent);
    }
}

async fn test_event_returns_a_diagnosis(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let path = format!("/webhooks/{}/test", t.webhook(&receiver, json!({})).await.id());
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let mut expected = 0;
    for (status, code) in [
        (204, "ok"),
        (301, "redirected"),
        (400, "body_refused"),
        (401, "credentials_refused"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (410, "gone"),
        (413, "too_large_for_receiver"),
        (418, "client_error"),
        (422, "body_refused"),
        (429, "rate_limited"),
        (500, "server_error"),
        (503, "server_error"),
    ] {
        receiver.respond(Response::status(status).with_header("location", "http://127.0.0.1:1/"));
        let reply = t.root.post(&path, Value::Null, 200).await;
        let diagnosis = &reply.body["diagnosis"];
        assert_eq!(diagnosis["code"], code, "{status}");
        assert!(!diagnosis["message"].as_str().unwrap().is_empty());
        assert_eq!(diagnosis["hint"].as_str().unwrap().is_empty(), code == "ok", "every failure needs a hint");
        assert_eq!(reply.body["outcome"], if code == "ok" { "succeeded" } else { "failed" });
        assert_eq!(reply.body["status_code"], status);
        expected += 1;
        assert_eq!(receiver.requests().len(), expected, "exactly one request: no retries, no redirects");
    }
    // The connection was refused.
    let webhook = t.root.post("/webhooks", webhook_input(&closed, json!({})), 201).await.id();
    let reply = t.root.post(&format!("/webhooks/{webhook}/test"), Value::Null, 200).await;
    assert_eq!(reply.body["diagnosis"]["code"], "connection_refused");
    assert_eq!((&reply.body["status_code"], &reply.body["response"]), (&Value::Null, &Value::Null));
    // An oversized response is truncated and counts as failed.
    receiver.respond(Response::status(200).with_body("x".repeat(65_537)));
    let reply = t.root.post(&path, Value::Null, 200).await;
    assert_eq!(
        (&reply.body["diagnosis"]["code"], &reply.body["response"]["truncated"]),
        (&json!("response_too_large"), &json!(true))
    );
    assert_eq!(reply.body["response"]["body"].as_str().unwrap().len(), 65_536);
    // Test results, 410 included, do not change the webhook.
    assert_eq!(t.root.get(path.trim_end_matches("/test"), 200).await.body["state"], "enabled");
}

async fn every_event_type_can_be_tested(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let id = t.webhook(&receiver, json!({"events": ["reservation.cancelled", "user.access_requested"]})).await.id();
    let path = format!("/webhooks/{id}/test");
    for (event, url) in [
        ("reservation.created", "/api/webhook/reservation"),
        ("reservation.updated", "/api/webhook/reservation"),
        ("reservation.cancelled", "/api/webhook/reservation/cancel"),
        ("reservation.expired", "/api/webhook/reservation/cancel"),
        ("user.access_requested", "/api/webhook/access-request"),
    ] {
        t.root.post(&path, json!({"event_type": event}), 200).await;
        let got = receiver.requests().pop().unwrap();
        assert_eq!((got.event(), got.path.as_str(), &got.body["event_type"]), (event, url, &json!(event)));
        crate::requests::has_the_fields_of(&got.body, event);
    }
    // The default is the first subscribed event type.
    for body in [Value::Null, json!({}), json!({"event_type": null})] {
        t.root.post(&path, body, 200).await;
        assert_eq!(receiver.requests().pop().unwrap().event(), "reservation.cancelled");
    }
    t.root.post_invalid(&path, json!({"event_type": "reservation.exploded"}), &["event_type"]).await;
}

async fn status_410_disables_the_webhook(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    receiver.respond(Response::status(410));
    let path = format!("/webhooks/{}", t.webhook(&receiver, json!({"retry": {"waits": [1, 2, 4]}})).await.id());
    t.booking(&t.alice, resource, 1, 2).await;
    let failed = &t.finished("", 1).await[0];
    assert_eq!((&failed["status"], &failed["attempts"]), (&json!("failed"), &json!(1)), "410 is not tried again");
    let webhook = eventually("a disabled webhook", async || {
        let body = t.root.get(&path, 200).await.body;
        (body["state"] == "gone").then_some(body)
    })
    .await;
    assert_eq!(webhook["enabled"], false);
    let notifications = t.root.get("/notifications", 200).await;
    assert!(notifications.items()[0]["message"].as_str().unwrap().contains("410"), "administrators are notified");
    assert_eq!(notifications.items()[0]["severity"], "error");
    // Its events are kept until it is enabled again.
    t.booking(&t.alice, resource, 3, 4).await;
    assert_eq!(t.root.get("/deliveries?status=pending", 200).await.items().len(), 1);
    receiver.respond(Response::status(200));
    t.root.post(&format!("{path}/resume"), Value::Null, 200).await;
    assert_eq!(t.finished("", 2).await[1]["status"], "succeeded");
}

async fn webhooks_are_limited_to_administrators(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let id = t.webhook(&receiver, json!({})).await.id();
    let path = format!("/webhooks/{id}");
    for (client, status) in [(&t.alice, 403), (&t.anonymous, 401)] {
        client.get("/webhooks", status).await;
        client.post("/webhooks", webhook_input(&receiver.url, json!({})), status).await;
        client.get(&path, status).await;
        client.patch(&path, json!({"name": "x"}), status).await;
        client.delete(&path, status).await;
        client.get(&format!("{path}/stats"), status).await;
        for action in ["test", "rotate-secret", "pause", "resume"] {
            client.post(&format!("{path}/{action}"), Value::Null, status).await;
        }
        // The response does not reveal which ids exist.
        client.get("/webhooks/999999", status).await;
        client.post("/webhooks/999999/test", Value::Null, status).await;
    }
    assert!(receiver.requests().is_empty());
    assert_eq!(t.root.get(&path, 200).await.body["name"], "Provisioner");
}

async fn webhook_list_is_paginated(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(json!(t.webhook(&receiver, json!({})).await.id()));
    }
    for limit in [1, 2, 5] {
        let ids: Vec<Value> = t.root.pages("/webhooks", limit).await.iter().map(|item| item["id"].clone()).collect();
        assert_eq!(ids, made, "oldest first, limit {limit}");
    }
}
