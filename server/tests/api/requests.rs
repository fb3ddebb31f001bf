//! Requests to receivers, header by header and field by field (docs/contract.md §1).

use crate::support::{TestServer, time, wire};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::Duration;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use test_support::{ReceivedRequest, Receiver, Response, on_both_databases};

on_both_databases![every_event_type_has_its_body];

on_both_databases![sqlite only:
    retry_keeps_delivery_id_and_renews_timestamp_and_signature,
    webhook_request_has_the_headers_of_the_contract,
    each_layout_has_its_delivery_paths,
    rotation_signs_with_current_and_previous_secret,
    each_old_secret_signs_until_its_own_end,
    standard_webhooks_library_verifies_requests,
    ed25519_signature_verifies_with_the_public_key,
    oauth_token_is_fetched_and_renewed,
    webhook_receives_only_its_events_and_resource_type,
];

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// The key of `webhook-signature`: the decoded bytes of a `whsec_` secret, or the bytes of any other secret.
fn standard_key(secret: &str) -> Vec<u8> {
    secret.strip_prefix("whsec_").map_or_else(|| secret.as_bytes().to_vec(), |encoded| BASE64.decode(encoded).unwrap())
}

/// Whether the signatures match exactly these secrets, the current one first.
pub fn is_signed(got: &ReceivedRequest, secrets: &[&str]) -> bool {
    let hex = format!("sha256={}", hex::encode(mac(secrets[0].as_bytes(), &got.raw)));
    let message =
        [format!("{}.{}.", got.header("webhook-id"), got.header("webhook-timestamp")).as_bytes(), &got.raw].concat();
    let standard: Vec<String> =
        secrets.iter().map(|secret| format!("v1,{}", BASE64.encode(mac(&standard_key(secret), &message)))).collect();
    let sent: Vec<&str> = got.header("webhook-signature").split(' ').filter(|one| one.starts_with("v1,")).collect();
    got.header("x-webhook-signature") == hex && sent == standard
}

/// The fields of a body in the order of the contract.
pub fn has_the_fields_of(body: &Value, event: &str) {
    let mut fields = vec!["event_type", "event_id", "timestamp", "webhook_id", "test"];
    if event == "user.access_requested" {
        fields.extend(["access_request_id", "user_id", "user_email", "resource_type", "resource_id", "resource_name"]);
        fields.extend(["reason", "requested_at", "user_ssh_key"]);
    } else {
        fields.extend([
            "reservation_id",
            "user_id",
            "user_email",
            "resource_type",
            "resource_id",
            "resource_name",
            "title",
        ]);
        fields.extend(["start_time", "end_time", "user_ssh_key", "additional_config", "status", "status_url"]);
    }
    match event {
        "reservation.updated" => fields.push("previous"),
        "reservation.cancelled" => fields.extend(["cancelled_by", "reason"]),
        _ => {}
    }
    let object = body.as_object().unwrap();
    assert_eq!(object.keys().collect::<Vec<_>>(), fields, "{event}");
    for (name, value) in object {
        let right = match name.as_str() {
            "webhook_id" | "resource_id" => value.is_i64(),
            "test" => value.is_boolean(),
            "additional_config" | "previous" => value.is_object(),
            // Absent strings are "", because receivers expect a string.
            _ => value.is_string(),
        };
        assert!(right, "{event}: {name} is {value}");
        if ["timestamp", "start_time", "end_time", "requested_at"].contains(&name.as_str()) {
            time(value);
        }
    }
}

fn is_ulid(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

async fn webhook_request_has_the_headers_of_the_contract(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let auth = json!({"method": "api_key", "header": "X-API-Key", "key": "abc"});
    let headers = json!([{"name": "X-Team", "value": "infra"}, {"name": "Accept", "value": "application/json"}]);
    let made = t.webhook(&receiver, json!({"auth": auth, "headers": headers, "secret": "your-secret-key"})).await;
    let before = t.now().timestamp();
    t.booking(&t.alice, resource, 1, 2).await;
    let got = receiver.wait_for(1).await.remove(0);
    let delivery = &t.finished("", 1).await[0];
    let length = got.raw.len().to_string();
    let host = receiver.url.trim_start_matches("http://").to_owned();
    let agent = concat!("Berth-Webhooks/", env!("CARGO_PKG_VERSION"));
    let timestamp: i64 = got.header("webhook-timestamp").parse().unwrap();
    assert!(before <= timestamp && timestamp <= t.now().timestamp(), "Unix seconds of the attempt");
    for (name, value) in [
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("content-length", length.as_str()),
        ("content-type", "application/json"),
        ("host", &host),
        ("user-agent", agent),
        ("webhook-id", delivery["event_id"].as_str().unwrap()),
        ("webhook-timestamp", got.header("webhook-timestamp")),
        ("webhook-signature", got.header("webhook-signature")),
        ("x-api-key", "abc"),
        ("x-team", "infra"),
        ("x-webhook-attempt", "1"),
        ("x-webhook-delivery", delivery["id"].as_str().unwrap()),
        ("x-webhook-event", "reservation.created"),
        ("x-webhook-signature", got.header("x-webhook-signature")),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }
    let names = [
        "accept",
        "accept-encoding",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
        "x-api-key",
        "x-team",
        "x-webhook-attempt",
        "x-webhook-delivery",
        "x-webhook-event",
        "x-webhook-signature",
    ];
    assert_eq!(got.header_names(), names, "exactly these headers");
    assert_eq!(got.method, "POST");
    assert!(is_signed(&got, &["your-secret-key"]), "{got:#?}");
    let event = got.header("webhook-id").strip_prefix("evt_").unwrap();
    let delivery = got.header("x-webhook-delivery").strip_prefix("dlv_").unwrap();
    assert!(is_ulid(event) && is_ulid(delivery));
    let signature = got.header("x-webhook-signature").strip_prefix("sha256=").unwrap();
    assert!(signature.len() == 64 && signature.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
    assert_eq!(got.body["webhook_id"], made.id());
}

async fn every_event_type_has_its_body(t: TestServer) {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7pZLsoUSJmAfc4CAsqYFBZQCcdNI0JVXI9Qw5YbmLS alice@laptop";
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let webhook = t.webhook(&receiver, json!({})).await.id();
    let input = json!({
        "resource_id": resource, "title": "Training", "start_time": t.hours(1), "end_time": t.hours(2), "user_ssh_key": KEY,
        "additional_config": {"gpu_count": 8},
    });
    let made = t.alice.post("/reservations", input, 201).await.body;
    let id = made["id"].as_str().unwrap();
    let path = format!("/reservations/{id}");
    let new_end = wire(t.now() + Duration::hours(3));
    let patch = json!({"title": "Training, longer", "end_time": new_end, "user_ssh_key": "", "additional_config": {"gpu_count": 4}});
    let changed = t.alice.patch(&path, patch, 200).await.body;
    t.root.post(&format!("{path}/cancel"), json!({"reason": "Power cut"}), 200).await;
    let got = receiver.wait_for(3).await;
    let expected = |got: &ReceivedRequest, event: &str, reservation: &Value| {
        json!({
            "event_type": event, "event_id": got.header("webhook-id"), "timestamp": got.body["timestamp"], "webhook_id": webhook,
            "test": false, "reservation_id": id, "user_id": "alice", "user_email": "alice@example.com",
            "resource_type": "gpu-cluster", "resource_id": resource, "resource_name": "node-1", "title": reservation["title"],
            "start_time": reservation["start_time"], "end_time": reservation["end_time"],
            "user_ssh_key": reservation["user_ssh_key"], "additional_config": reservation["additional_config"],
            "status": "active", "status_url": got.body["status_url"],
        })
    };
    let created = expected(&got[0], "reservation.created", &made);
    assert_eq!((&got[0].body, got[0].path.as_str()), (&created, "/api/webhook/reservation"));
    let prefix = format!("{}/api/v1/reservations/{id}/status?mac=", t.url);
    assert!(got.iter().all(|got| got.body["status_url"].as_str().unwrap().starts_with(&prefix)));
    let since = time(&got[0].body["timestamp"]) - time(&made["created_at"]);
    assert!(since >= Duration::zero() && since < Duration::minutes(1), "{since}");
    let mut updated = expected(&got[1], "reservation.updated", &changed);
    updated["previous"] = json!({
        "end_time": made["end_time"], "title": "Training", "user_ssh_key": KEY,
        "additional_config": {"gpu_type": "nvidia-a100", "gpu_count": 8},
    });
    assert_eq!((&got[1].body, got[1].path.as_str()), (&updated, "/api/webhook/reservation"));
    let mut cancelled = expected(&got[2], "reservation.cancelled", &changed);
    cancelled["status"] = json!("cancelled");
    cancelled["cancelled_by"] = json!("root");
    cancelled["reason"] = json!("Power cut");
    assert_eq!((&got[2].body, got[2].path.as_str()), (&cancelled, "/api/webhook/reservation/cancel"));

    // Absent reason and key are "", an absent configuration is {}.
    t.root.patch("/resource-types/gpu-cluster", json!({"config_schema": {}}), 200).await;
    let plain = t.booking(&t.alice, resource, 5, 6).await;
    t.alice.post(&format!("/reservations/{plain}/cancel"), Value::Null, 200).await;
    let got = receiver.wait_for(5).await;
    assert_eq!(
        (&got[3].body["user_ssh_key"], &got[3].body["additional_config"], &got[3].body["title"]),
        (&json!(""), &json!({}), &json!(""))
    );
    assert_eq!((&got[4].body["cancelled_by"], &got[4].body["reason"]), (&json!("alice"), &json!("")));

    // The reservation expires.
    let short = t.booking(&t.alice, resource, 0, 1).await;
    t.clock.advance(Duration::hours(1));
    let got = receiver.wait_for(7).await;
    let last = &got[6];
    assert_eq!((last.event(), last.path.as_str()), ("reservation.expired", "/api/webhook/reservation/cancel"));
    assert_eq!((&last.body["reservation_id"], &last.body["status"]), (&json!(short), &json!("expired")));
    assert!(time(&last.body["timestamp"]) >= time(&last.body["end_time"]));
    assert_eq!(t.alice.get(&format!("/reservations/{short}"), 200).await.body["status"], "expired");
    for got in &got {
        has_the_fields_of(&got.body, got.event());
        assert!(!got.headers.contains_key("x-webhook-test"), "only test events have X-Webhook-Test");
    }
}

async fn retry_keeps_delivery_id_and_renews_timestamp_and_signature(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let mut answers = vec![Response::status(200), Response::status(503)];
    receiver.respond_with(move |_| answers.pop().unwrap_or(Response::status(200)));
    let made = t.webhook(&receiver, json!({"retry": {"waits": [1]}})).await;
    t.booking(&t.alice, resource, 1, 2).await;
    let got = receiver.wait_for(2).await;
    for name in ["x-webhook-delivery", "webhook-id", "x-webhook-event", "x-webhook-signature"] {
        assert_eq!(got[0].header(name), got[1].header(name), "{name} is stable");
    }
    assert_eq!(got[0].raw, got[1].raw);
    assert_eq!((got[0].header("x-webhook-attempt"), got[1].header("x-webhook-attempt")), ("1", "2"));
    let at = |got: &ReceivedRequest| got.header("webhook-timestamp").parse::<i64>().unwrap();
    assert!(at(&got[1]) > at(&got[0]), "each attempt has its own timestamp");
    assert_ne!(got[0].header("webhook-signature"), got[1].header("webhook-signature"));
    assert!(got.iter().all(|got| is_signed(got, &[made.text("secret")])));
    let done = &t.finished("", 1).await[0];
    assert_eq!(
        (&done["status"], &done["attempts"], &done["max_attempts"]),
        (&json!("succeeded"), &json!(2), &json!(2))
    );
}

async fn each_layout_has_its_delivery_paths(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let custom =
        json!({"layout": "custom", "paths": {"reservation.created": "/new?x=1", "reservation.updated": "/same/"}});
    let mut expected = 0;
    for (n, (endpoint, paths, urls)) in [
        ("/hook", json!({"layout": "guide"}), ["/hook/reservation", "/hook/reservation", "/hook/reservation/cancel"]),
        ("/hook/", json!({"layout": "guide"}), ["/hook/reservation", "/hook/reservation", "/hook/reservation/cancel"]),
        (
            "/hook?t=7",
            json!({"layout": "guide"}),
            ["/hook/reservation?t=7", "/hook/reservation?t=7", "/hook/reservation/cancel?t=7"],
        ),
        ("/hook/?t=7", json!({"layout": "single"}), ["/hook/?t=7"; 3]),
        ("/hook", custom, ["/hook/new?x=1", "/hook/same/", "/hook"]),
    ]
    .into_iter()
    .enumerate()
    {
        let receiver = Receiver::start().await;
        let url = format!("{}{endpoint}", receiver.url);
        let id = t.webhook(&receiver, json!({"endpoint_url": url, "delivery_paths": paths})).await.id();
        let hour = 1 + n as i64;
        let reservation = t.booking(&t.alice, resource, hour, hour + 1).await;
        t.alice.patch(&format!("/reservations/{reservation}"), json!({"title": "x"}), 200).await;
        t.alice.post(&format!("/reservations/{reservation}/cancel"), Value::Null, 200).await;
        let got: Vec<String> = receiver.wait_for(3).await.into_iter().map(|got| got.path).collect();
        assert_eq!(got, urls, "{endpoint} {paths}");
        expected += 3;
        t.finished("", expected).await;
        t.root.delete(&format!("/webhooks/{id}"), 204).await;
    }
}

async fn rotation_signs_with_current_and_previous_secret(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let made = t.webhook(&receiver, json!({"secret": "your-secret-key"})).await;
    let rotate = format!("/webhooks/{}/rotate-secret", made.id());
    let mut count = 0;
    let mut next = async || {
        count += 1;
        let hour = 2 * count as i64;
        t.booking(&t.alice, resource, hour, hour + 1).await;
        receiver.wait_for(count).await.pop().unwrap()
    };
    assert!(is_signed(&next().await, &["your-secret-key"]));
    let second = t.root.post(&rotate, json!({"overlap_hours": 1}), 200).await.text("secret").to_owned();
    let got = next().await;
    assert!(is_signed(&got, &[&second, "your-secret-key"]), "{}", got.header("webhook-signature"));
    // Each of the two secrets verifies the request, also with the Standard Webhooks library.
    standardwebhooks::Webhook::new(&second).unwrap().verify(&got.raw, &got.headers).unwrap();
    let old = standardwebhooks::Webhook::from_bytes(b"your-secret-key".to_vec()).unwrap();
    old.verify(&got.raw, &got.headers).unwrap();
    // Test events are signed the same way.
    t.root.post(&format!("/webhooks/{}/test", made.id()), Value::Null, 200).await;
    assert!(is_signed(receiver.requests().last().unwrap(), &[&second, "your-secret-key"]));
    count += 1;
    // The overlap has ended.
    t.clock.advance(Duration::hours(1));
    count += 1;
    t.booking(&t.alice, resource, 50, 51).await;
    let got = receiver.wait_for(count).await.pop().unwrap();
    assert!(is_signed(&got, &[&second]), "{}", got.header("webhook-signature"));
    // Without an overlap only the new secret signs.
    let third = t.root.post(&rotate, json!({"overlap_hours": 0}), 200).await.text("secret").to_owned();
    count += 1;
    t.booking(&t.alice, resource, 52, 53).await;
    assert!(is_signed(&receiver.wait_for(count).await.pop().unwrap(), &[&third]));
}

async fn each_old_secret_signs_until_its_own_end(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let made = t.webhook(&receiver, json!({"secret": "the-first-secret", "ed25519": true})).await;
    let path = format!("/webhooks/{}", made.id());
    let key = |reply: &crate::client::Reply| reply.text("public_key").to_owned();
    let rotate = async |secret: &str, hours: u32| {
        let input = json!({"secret": secret, "overlap_hours": hours});
        t.root.post(&format!("{path}/rotate-secret"), input, 200).await
    };
    let expect = async |secrets: &[&str], keys: &[&str]| {
        t.root.post(&format!("{path}/test"), Value::Null, 200).await;
        let got = receiver.requests().pop().unwrap();
        assert!(
            is_signed(&got, secrets) && is_signed_for(&got, keys),
            "{secrets:?}: {}",
            got.header("webhook-signature")
        );
    };
    // The first secret signs until 3 h, the second one until 2 h.
    let first = key(&made);
    let second = key(&rotate("the-second-secret", 3).await);
    t.clock.advance(Duration::hours(1));
    let rotated = rotate("the-third-secret", 1).await;
    let third = key(&rotated);
    let until: Vec<_> = rotated.body["previous_secrets_until"].as_array().unwrap().iter().map(time).collect();
    assert!(until.len() == 2 && until[0] > until[1], "{until:?}");
    assert_eq!(time(&rotated.body["previous_secret_until"]), until[0]);
    expect(&["the-third-secret", "the-second-secret", "the-first-secret"], &[&third, &second, &first]).await;
    t.clock.advance(Duration::hours(1));
    expect(&["the-third-secret", "the-first-secret"], &[&third, &first]).await;
    // A third rotation keeps the first secret too.
    let fourth = key(&rotate("the-fourth-secret", 24).await);
    expect(&["the-fourth-secret", "the-third-secret", "the-first-secret"], &[&fourth, &third, &first]).await;
    t.clock.advance(Duration::hours(1));
    expect(&["the-fourth-secret", "the-third-secret"], &[&fourth, &third]).await;
    // An overlap of 0 revokes all old secrets.
    let fifth = rotate("the-fifth-secret", 0).await;
    assert_eq!(fifth.body["previous_secrets_until"], json!([]));
    expect(&["the-fifth-secret"], &[&key(&fifth)]).await;
    // Each old secret adds to the headers of every request, so their number is limited.
    for n in 0..10 {
        rotate(&format!("secret-number-{n}"), 24).await;
    }
    let reply = t.root.post(&format!("{path}/rotate-secret"), Value::Null, 409).await;
    assert!(reply.text("detail").starts_with("10 old secrets still sign requests."), "{}", reply.text);
    rotate("the-last-secret", 0).await;
}

async fn standard_webhooks_library_verifies_requests(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let made = t.webhook(&receiver, json!({})).await;
    let mut input = t.span(resource, 1, 2);
    input["title"] = json!("Ünïcödé 🚀 \"quoted\" \\ /");
    t.alice.post("/reservations", input, 201).await;
    let got = receiver.wait_for(1).await.remove(0);
    let library = standardwebhooks::Webhook::new(made.text("secret")).unwrap();
    library.verify(&got.raw, &got.headers).unwrap();
    assert!(library.verify(&[&got.raw[..], b" "].concat(), &got.headers).is_err());
    assert!(is_signed(&got, &[made.text("secret")]));
    assert_eq!(got.body["title"], "Ünïcödé 🚀 \"quoted\" \\ /");
}

/// Whether the `v1a` signatures match exactly these public keys, the current one first.
fn is_signed_for(got: &ReceivedRequest, public_keys: &[&str]) -> bool {
    use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
    let head = format!("{}.{}.", got.header("webhook-id"), got.header("webhook-timestamp"));
    let message = [head.as_bytes(), &got.raw].concat();
    let sent: Vec<&str> =
        got.header("webhook-signature").split(' ').filter_map(|one| one.strip_prefix("v1a,")).collect();
    let verifies = |(signature, key): (&&str, &&str)| {
        let key = BASE64.decode(key.strip_prefix("whpk_").unwrap()).unwrap();
        let key = VerifyingKey::from_bytes(&key.try_into().unwrap()).unwrap();
        let signature = Signature::from_slice(&BASE64.decode(signature).unwrap()).unwrap();
        key.verify(&message, &signature).is_ok()
    };
    sent.len() == public_keys.len() && sent.iter().zip(public_keys).all(verifies)
}

async fn ed25519_signature_verifies_with_the_public_key(t: TestServer) {
    t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let made = t.webhook(&receiver, json!({"ed25519": true})).await;
    let path = format!("/webhooks/{}", made.id());
    let mut secret = made.text("secret").to_owned();
    let first = made.text("public_key").to_owned();
    let test = async || {
        t.root.post(&format!("{path}/test"), Value::Null, 200).await;
        receiver.requests().pop().unwrap()
    };
    let got = test().await;
    assert!(is_signed(&got, &[&secret]) && is_signed_for(&got, &[&first]), "{}", got.header("webhook-signature"));
    // A rotation also renews the key; both sign during the overlap.
    let rotated = t.root.post(&format!("{path}/rotate-secret"), json!({"overlap_hours": 1}), 200).await;
    let second = rotated.text("public_key").to_owned();
    assert_ne!(first, second);
    let got = test().await;
    assert!(is_signed(&got, &[rotated.text("secret"), &secret]) && is_signed_for(&got, &[&second, &first]));
    secret = rotated.text("secret").to_owned();
    t.clock.advance(Duration::hours(1));
    let got = test().await;
    assert!(is_signed(&got, &[&secret]) && is_signed_for(&got, &[&second]));
    // The public key is always visible. Turning Ed25519 off and on again creates another key.
    assert_eq!(t.root.patch(&path, json!({"name": "Renamed", "ed25519": true}), 200).await.text("public_key"), second);
    assert_eq!(t.root.patch(&path, json!({"ed25519": false}), 200).await.body["public_key"], Value::Null);
    assert!(is_signed_for(&test().await, &[]));
    assert_ne!(t.root.patch(&path, json!({"ed25519": true}), 200).await.text("public_key"), second);
}

async fn oauth_token_is_fetched_and_renewed(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let mut issued = 0;
    receiver.respond_with(move |got| {
        if got.path == "/token" {
            issued += 1;
            return Response::json(
                200,
                json!({"access_token": format!("token-{issued}"), "token_type": "Bearer", "expires_in": 3_600}),
            );
        }
        // The first token is revoked before the second delivery.
        let stale = got.header("authorization") == "Bearer token-1" && got.body["title"] == "second";
        Response::status(if stale { 401 } else { 200 })
    });
    let auth = json!({
        "method": "oauth2", "token_url": format!("{}/token", receiver.url), "client_id": "berth", "client_secret": "s3cret:/",
        "scope": "provision release", "audience": "https://cluster.example.com",
    });
    t.webhook(&receiver, json!({"auth": auth})).await;
    for (n, title) in ["first", "second", "third"].into_iter().enumerate() {
        let hour = 1 + n as i64;
        let mut input = t.span(resource, hour, hour + 1);
        input["title"] = json!(title);
        t.alice.post("/reservations", input, 201).await;
        t.finished("", n + 1).await;
    }
    let got = receiver.requests();
    let seen: Vec<(&str, &str)> = got.iter().map(|got| (got.path.as_str(), got.header("authorization"))).collect();
    let basic = format!("Basic {}", BASE64.encode("berth:s3cret%3A%2F"));
    assert_eq!(
        seen,
        [
            ("/token", basic.as_str()),
            ("/api/webhook/reservation", "Bearer token-1"),
            ("/api/webhook/reservation", "Bearer token-1"),
            ("/token", basic.as_str()),
            ("/api/webhook/reservation", "Bearer token-2"),
            ("/api/webhook/reservation", "Bearer token-2"),
        ],
        "a token is reused until it is rejected"
    );
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&got[0].raw).into_owned().collect();
    let expected = [
        ("grant_type", "client_credentials"),
        ("scope", "provision release"),
        ("audience", "https://cluster.example.com"),
    ];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert!(t.finished("", 3).await.iter().all(|delivery| delivery["attempts"] == 1), "a token renewal is not a retry");
}

async fn webhook_receives_only_its_events_and_resource_type(t: TestServer) {
    let gpu = t.resource("node-1", "available").await;
    t.root.post("/resource-types", json!({"slug": "vm", "name": "VM"}), 201).await;
    let vm = t.root.post("/resources", json!({"name": "vm-1", "resource_type": "vm"}), 201).await.id();
    let [created_gpu, every, cancelled] = [Receiver::start().await, Receiver::start().await, Receiver::start().await];
    t.webhook(&created_gpu, json!({"events": ["reservation.created"]})).await;
    t.webhook(&every, json!({"resource_type": null})).await;
    t.webhook(&cancelled, json!({"events": ["reservation.cancelled"], "resource_type": "vm"})).await;
    for resource in [gpu, vm] {
        let id = t.booking(&t.alice, resource, 1, 2).await;
        t.alice.post(&format!("/reservations/{id}/cancel"), Value::Null, 200).await;
    }
    t.finished("", 6).await;
    let heard = |receiver: &Receiver| -> Vec<(String, String)> {
        let mut heard: Vec<_> = receiver
            .requests()
            .iter()
            .map(|got| (got.event().to_owned(), got.body["resource_type"].as_str().unwrap().to_owned()))
            .collect();
        heard.sort();
        heard
    };
    let pair = |event: &str, slug: &str| (format!("reservation.{event}"), slug.to_owned());
    assert_eq!(heard(&created_gpu), [pair("created", "gpu-cluster")]);
    assert_eq!(heard(&cancelled), [pair("cancelled", "vm")]);
    let all = [("cancelled", "gpu-cluster"), ("cancelled", "vm"), ("created", "gpu-cluster"), ("created", "vm")];
    assert_eq!(heard(&every), all.map(|(event, slug)| pair(event, slug)));
}
