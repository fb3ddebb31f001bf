//! Status updates of receivers (docs/contract.md §4). The tests compute signatures independently, as a receiver does.

use crate::client::{Reply, TestClient};
use crate::support::{TestServer, time, wire};
use chrono::Duration;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use test_support::{Receiver, Response, on_both_databases};

on_both_databases![
    repeated_status_update_is_idempotent,
    invalid_status_update_fields_are_named,
    status_update_is_bound_to_its_reservation_and_webhook,
];

on_both_databases![sqlite only:
    signed_status_update_returns_the_provisioning_state,
    invalid_status_transition_is_rejected,
    release_before_the_end_is_rejected,
    status_update_without_mac_needs_its_reservation_in_the_body,
    own_event_sent_to_status_url_has_no_effect,
    status_update_sent_to_a_receiver_has_no_effect,
    control_characters_of_access_info_are_replaced,
    users_see_no_addresses_of_receivers,
    invalid_signatures_get_one_message,
    webhook_updates_only_its_resource_type,
    status_update_of_unknown_reservation_is_not_found,
    status_update_timestamp_off_by_more_than_5_minutes_is_rejected,
    status_update_is_limited_to_64_kib,
    status_update_accepts_both_secrets_during_rotation,
    late_202_does_not_override_newer_status_update,
    session_or_token_does_not_replace_a_signature,
];

/// `X-Webhook-Signature` as docs/contract.md §1 defines it.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// A webhook, its secret and a reservation that it serves.
struct Fixture {
    webhook: i64,
    secret: String,
    reservation: String,
    resource: i64,
}

/// The `status_url` of a reservation for a webhook, as a path of the API. The tests of requests show that events contain it.
fn status_path(t: &TestServer, reservation: &str, webhook: i64) -> String {
    let url = t.service.status_url(&domain::id::ReservationId(reservation.into()), webhook);
    url.strip_prefix(&format!("{}/api/v1", t.url)).unwrap().to_owned()
}

/// The webhook receives only `reservation.expired`, so that only status updates change provisioning.
async fn fixture(t: &TestServer) -> Fixture {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let made = t.webhook(&receiver, json!({"events": ["reservation.expired"]})).await;
    let reservation = t.booking(&t.alice, resource, 1, 2).await;
    Fixture { webhook: made.id(), secret: made.text("secret").to_owned(), reservation, resource }
}

impl Fixture {
    fn path(&self, t: &TestServer) -> String {
        status_path(t, &self.reservation, self.webhook)
    }

    /// Sends a body with a valid signature.
    async fn send(&self, t: &TestServer, body: impl Into<Vec<u8>>, expected: u16) -> Reply {
        let body = body.into();
        let signature = sign(&self.secret, &body);
        self.send_with(t, body, &self.webhook.to_string(), &signature, expected).await
    }

    async fn send_with(&self, t: &TestServer, body: Vec<u8>, webhook: &str, signature: &str, expected: u16) -> Reply {
        self.send_to(t, &self.path(t), body, webhook, signature, expected).await
    }

    /// Sends a body to a path.
    async fn send_to(
        &self,
        t: &TestServer,
        path: &str,
        body: Vec<u8>,
        webhook: &str,
        signature: &str,
        expected: u16,
    ) -> Reply {
        t.anonymous
            .send(Method::POST, path, expected, |request| {
                request
                    .header("content-type", "application/json")
                    .header("x-webhook-id", webhook)
                    .header("x-webhook-signature", signature)
                    .body(body)
            })
            .await
    }

    /// An update with a status and the current time.
    fn update(t: &TestServer, status: &str) -> Value {
        json!({"status": status, "timestamp": wire(t.now())})
    }

    async fn state(&self, t: &TestServer) -> Value {
        t.alice.get(&format!("/reservations/{}", self.reservation), 200).await.body["provisioning"].clone()
    }
}

async fn signed_status_update_returns_the_provisioning_state(t: TestServer) {
    let s = fixture(&t).await;
    let body = json!({
        "status": "provisioning", "timestamp": wire(t.now()), "progress": 40, "message": "Installing drivers …",
        "details": {"step": 2, "estimated_ready_time": "3 minutes"},
    });
    let reply = s.send(&t, body.to_string(), 200).await;
    let mut expected = json!({
        "status": "provisioning", "message": "Installing drivers …", "progress": 40, "estimated_ready_time": "3 minutes",
        "access_info": null, "details": {"step": 2},
    });
    expected["updated_at"] = reply.body["updated_at"].clone();
    let mut service = expected.clone();
    service["webhook_id"] = json!(s.webhook);
    service["webhook_name"] = json!("Provisioner");
    service["required"] = json!(true);
    service["pending_change"] = Value::Null;
    service["last_status_update"] = reply.body["services"][0]["last_status_update"].clone();
    expected["services"] = json!([service]);
    assert!((t.now() - time(&reply.body["updated_at"])).num_seconds() < 60);
    assert_eq!(reply.body, expected);
    assert_eq!(s.state(&t).await, reply.body, "the reservation shows the returned state");
    let access = json!({"ip_address": "10.0.0.7", "port": 22, "username": "user-alice", "connection_command": "ssh user-alice@10.0.0.7"});
    let body = json!({"status": "ready", "timestamp": wire(t.now()), "details": {"access_info": access}});
    let reply = s.send(&t, body.to_string(), 200).await;
    assert_eq!((&reply.body["status"], &reply.body["access_info"]), (&json!("ready"), &access));
    assert_eq!(reply.body["progress"], Value::Null, "progress of an earlier update is cleared");
    assert_eq!(reply.body["message"], "", "the message of an earlier status is cleared");
    assert_eq!(reply.body["estimated_ready_time"], "3 minutes", "omitted fields are kept");
    // Surrounding white space of the signature is ignored.
    let body =
        json!({"status": "failed", "timestamp": wire(t.now()), "message": "Out of GPUs"}).to_string().into_bytes();
    let signature = format!(" {} ", sign(&s.secret, &body));
    let reply = s.send_with(&t, body, &s.webhook.to_string(), &signature, 200).await;
    assert_eq!(reply.body["message"], "Out of GPUs");
}

async fn repeated_status_update_is_idempotent(t: TestServer) {
    let s = fixture(&t).await;
    let first = json!({"status": "provisioning", "timestamp": wire(t.now()), "progress": 10}).to_string();
    let second = json!({"status": "ready", "timestamp": wire(t.now())}).to_string();
    s.send(&t, first.clone(), 200).await;
    let ready = s.send(&t, second.clone(), 200).await;
    for repeat in [&second, &first, &first] {
        let reply = s.send(&t, repeat.clone(), 200).await;
        assert_eq!(reply.body, ready.body, "a repeated old update does not override a newer one");
    }
    assert_eq!(s.state(&t).await, ready.body);
    // The same status with another timestamp is a new update.
    let again = s
        .send(&t, json!({"status": "provisioning", "timestamp": wire(t.now()), "progress": 10}).to_string(), 200)
        .await;
    assert_eq!(again.body["status"], "provisioning");
    // Concurrent repeats apply once.
    let body = json!({"status": "ready", "timestamp": wire(t.now()), "message": "at last"}).to_string();
    let replies = futures::future::join_all((0..10).map(|_| s.send(&t, body.clone(), 200))).await;
    assert!(replies.iter().all(|reply| reply.body["updated_at"] == replies[0].body["updated_at"]));
}

async fn invalid_status_transition_is_rejected(t: TestServer) {
    let s = fixture(&t).await;
    for status in ["provisioning", "ready", "provisioning", "failed", "ready"] {
        s.send(&t, Fixture::update(&t, status).to_string(), 200).await;
    }
    t.alice.post(&format!("/reservations/{}/cancel", s.reservation), json!({}), 200).await;
    // The webhook does not receive the cancellation, so that Berth has completed the release.
    s.send(&t, Fixture::update(&t, "releasing").to_string(), 409).await;
    t.root.delete(&format!("/webhooks/{}", s.webhook), 204).await;
    let receiver = Receiver::start().await;
    receiver.respond(Response::status(202));
    let made = t.webhook(&receiver, json!({"events": ["reservation.expired"]})).await;
    let reservation = t.booking(&t.alice, s.resource, 5, 6).await;
    let s = Fixture { webhook: made.id(), secret: made.text("secret").to_owned(), reservation, resource: s.resource };
    t.clock.advance(Duration::hours(6));
    t.provisioning(&s.reservation, "releasing").await;
    for status in ["releasing", "releasing"] {
        s.send(&t, Fixture::update(&t, status).to_string(), 200).await;
    }
    for status in ["provisioning", "ready"] {
        let reply = s.send(&t, Fixture::update(&t, status).to_string(), 409).await;
        assert!(reply.text("detail").contains(status) && reply.text("detail").contains("releasing"), "{}", reply.text);
    }
    assert_eq!(s.state(&t).await["status"], "releasing");
    s.send(&t, Fixture::update(&t, "released").to_string(), 200).await;
    for status in ["provisioning", "ready", "failed", "releasing"] {
        s.send(&t, Fixture::update(&t, status).to_string(), 409).await;
    }
    s.send(&t, Fixture::update(&t, "released").to_string(), 200).await;
}

async fn release_before_the_end_is_rejected(t: TestServer) {
    let s = fixture(&t).await;
    s.send(&t, Fixture::update(&t, "ready").to_string(), 200).await;
    for status in ["releasing", "released"] {
        let reply = s.send(&t, Fixture::update(&t, status).to_string(), 409).await;
        assert!(reply.text("detail").contains("ended or was cancelled"), "{}", reply.text);
    }
    assert_eq!(s.state(&t).await["status"], "ready");
}

async fn status_update_is_bound_to_its_reservation_and_webhook(t: TestServer) {
    let a = fixture(&t).await;
    let other =
        t.webhook(&Receiver::start().await, json!({"secret": a.secret, "events": ["reservation.expired"]})).await;
    let b = Fixture {
        secret: a.secret.clone(),
        reservation: t.booking(&t.alice, a.resource, 3, 4).await,
        webhook: a.webhook,
        resource: a.resource,
    };
    let mine = a.webhook.to_string();
    let captured = Fixture::update(&t, "ready").to_string().into_bytes();
    let signature = sign(&a.secret, &captured);
    a.send_with(&t, captured.clone(), &mine, &signature, 200).await;
    // The captured update, replayed to the other reservation, with the MAC of the first one and without a MAC.
    let plain = format!("/reservations/{}/status", b.reservation);
    let mac_of_a = a.path(&t).split_once('?').unwrap().1.to_owned();
    for path in [plain.clone(), format!("{plain}?{mac_of_a}"), format!("{plain}?mac="), format!("{plain}?mac=00")] {
        let reply = b.send_to(&t, &path, captured.clone(), &mine, &signature, 422).await;
        assert_eq!(reply.invalid_fields(), ["reservation_id"], "{path}");
    }
    // Two webhooks with one secret: the MAC belongs to one of them.
    let reply = a.send_to(&t, &a.path(&t), captured, &other.id().to_string(), &signature, 422).await;
    assert_eq!(reply.invalid_fields(), ["reservation_id"]);
    // The body names another reservation or webhook than the URL.
    for (more, field) in [
        (json!({"reservation_id": a.reservation}), "reservation_id"),
        (json!({"reservation_id": 1}), "reservation_id"),
        (json!({"webhook_id": other.id()}), "webhook_id"),
        (json!({"webhook_id": "x"}), "webhook_id"),
    ] {
        let mut body = Fixture::update(&t, "ready");
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = b.send(&t, body.to_string(), 422).await;
        assert_eq!(reply.invalid_fields(), [field], "{body}");
    }
    assert_eq!(b.state(&t).await["status"], "waiting", "rejected updates have no effect");
    let mut body = Fixture::update(&t, "ready");
    body["reservation_id"] = json!(b.reservation);
    body["webhook_id"] = json!(b.webhook);
    assert_eq!(b.send(&t, body.to_string(), 200).await.body["status"], "ready");
}

async fn status_update_without_mac_needs_its_reservation_in_the_body(t: TestServer) {
    let s = fixture(&t).await;
    let (mine, plain) = (s.webhook.to_string(), format!("/reservations/{}/status", s.reservation));
    let mut body = Fixture::update(&t, "provisioning");
    let send = async |body: &Value, expected: u16| {
        let body = body.to_string().into_bytes();
        let signature = sign(&s.secret, &body);
        s.send_to(&t, &plain, body, &mine, &signature, expected).await
    };
    let reply = send(&body, 422).await;
    assert!(reply.text("detail").contains("status_url"), "the remedy: {}", reply.text);
    assert_eq!(s.state(&t).await["status"], "waiting");
    body["reservation_id"] = json!(s.reservation);
    assert_eq!(send(&body, 200).await.body["status"], "provisioning");
}

/// Both directions are signed with the same secret.
async fn own_event_sent_to_status_url_has_no_effect(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    receiver.respond(Response::status(202));
    let made = t.webhook(&receiver, json!({})).await;
    let reservation = t.booking(&t.alice, resource, 1, 2).await;
    t.finished("", 1).await;
    t.alice.post(&format!("/reservations/{reservation}/cancel"), json!({}), 200).await;
    t.finished("", 2).await;
    let s = Fixture { webhook: made.id(), secret: made.text("secret").to_owned(), reservation, resource };
    let before = s.state(&t).await;
    for event in receiver.wait_for(2).await {
        let (webhook, signature) = (s.webhook.to_string(), event.header("x-webhook-signature").to_owned());
        let reply = s.send_with(&t, event.raw.to_vec(), &webhook, &signature, 422).await;
        assert!(reply.invalid_fields().contains(&"event_type"), "{}", reply.text);
    }
    // Even if an event had the status of an update.
    let mut body = Fixture::update(&t, "released");
    body["event_type"] = json!("reservation.cancelled");
    body["event_id"] = json!("evt_01m876qmvr0z24xt4w8nkskacw");
    assert_eq!(s.send(&t, body.to_string(), 422).await.invalid_fields(), ["event_type"]);
    assert_eq!(s.state(&t).await, before);
}

/// The receiver of another webhook with the same secret accepts the signature of a captured update. Berth does not notice.
async fn status_update_sent_to_a_receiver_has_no_effect(t: TestServer) {
    let s = fixture(&t).await;
    let receiver = Receiver::start().await;
    let before = s.state(&t).await;
    let body = Fixture::update(&t, "ready").to_string();
    let signature = sign(&s.secret, body.as_bytes());
    let request = TestClient::new(&receiver.url).request(Method::POST, "//reservation");
    request.header("x-webhook-signature", signature).body(body).send().await.unwrap();
    let got = receiver.wait_for(1).await;
    assert_eq!(s.state(&t).await, before);
    // It is no event: it has no event type, and no Standard Webhooks signature of Berth covers it.
    assert!(got[0].body.get("event_type").is_none());
    assert_eq!(got[0].headers.get("webhook-signature"), None);
}

async fn invalid_status_update_fields_are_named(t: TestServer) {
    let s = fixture(&t).await;
    let now = wire(t.now());
    for (body, invalid_fields) in [
        (json!({}), &["status", "timestamp"][..]),
        (json!({"status": "waiting", "timestamp": now}), &["status"]),
        (json!({"status": "done", "timestamp": now}), &["status"]),
        (json!({"status": ["ready"], "timestamp": now}), &["status"]),
        (json!({"status": "ready", "timestamp": "now"}), &["timestamp"]),
        (json!({"status": "ready", "timestamp": 1_767_225_600}), &["timestamp"]),
        (json!({"status": "ready", "timestamp": now, "progress": 101}), &["progress"]),
        (json!({"status": "ready", "timestamp": now, "progress": -1}), &["progress"]),
        (json!({"status": "ready", "timestamp": now, "progress": "50"}), &["progress"]),
        (json!({"status": "ready", "timestamp": now, "progress": 5.5}), &["progress"]),
        (json!({"status": "ready", "timestamp": now, "message": "x".repeat(501)}), &["message"]),
        (json!({"status": "ready", "timestamp": now, "message": "a\0b"}), &["message"]),
        (json!({"status": "ready", "timestamp": now, "message": {}}), &["message"]),
        (json!({"status": "ready", "timestamp": now, "details": []}), &["details"]),
        (
            json!({"status": "ready", "timestamp": now, "details": {"access_info": {"connection_command": "ssh a\nrm -rf ~"}}}),
            &["details.access_info.connection_command"],
        ),
        (
            json!({"status": "x", "timestamp": "x", "progress": 200, "message": 1, "details": 1}),
            &["status", "timestamp", "progress", "message", "details"],
        ),
    ] {
        let reply = s.send(&t, body.to_string(), 422).await;
        assert_eq!(reply.invalid_fields(), invalid_fields, "{body}");
    }
    for body in ["", "{", "ready", "[]", "null", "\"ready\"", "{} {}", "status=ready", "\u{feff}[]"] {
        s.send(&t, body, 400).await;
    }
    s.send(&t, b"{\"status\": \"\xff\"}".to_vec(), 400).await;
    assert_eq!(s.state(&t).await["status"], "waiting", "rejected requests have no effect");
    // A byte order mark is ignored, and the case of the status does not matter.
    let body = format!("\u{feff}{}", json!({"status": "Provisioning", "timestamp": wire(t.now())}));
    assert_eq!(s.send(&t, body, 200).await.body["status"], "provisioning");
    // Unusual details, NUL included, are kept for display, and unknown fields are ignored.
    let body = json!({"status": "ready", "timestamp": wire(t.now()), "details": {"a\0": ["\0", {"b": null}]}, "more": 1, "message": "x".repeat(500), "progress": null});
    let reply = s.send(&t, body.to_string(), 200).await;
    assert_eq!(reply.body["details"], json!({"a␀": ["␀", {"b": null}]}));
    assert_eq!(s.state(&t).await, reply.body);
}

async fn invalid_signatures_get_one_message(t: TestServer) {
    let s = fixture(&t).await;
    let other = t.webhook(&Receiver::start().await, json!({})).await;
    let paused = t.webhook(&Receiver::start().await, json!({"enabled": false})).await;
    let deleted = t.webhook(&Receiver::start().await, json!({})).await;
    t.root.delete(&format!("/webhooks/{}", deleted.id()), 204).await;
    let body = Fixture::update(&t, "ready").to_string().into_bytes();
    let right = sign(&s.secret, &body);
    let mine = s.webhook.to_string();
    let with_last_changed = {
        let (most, last) = right.split_at(right.len() - 1);
        format!("{most}{}", if last == "0" { "1" } else { "0" })
    };
    let mut responses = Vec::new();
    for (webhook, signature) in [
        (mine.as_str(), sign("another secret", &body)),
        (&mine, sign(&s.secret, b"another body")),
        (&mine, sign("", &body)),
        (&mine, with_last_changed),
        (&mine, right.trim_start_matches("sha256=").to_owned()),
        (&mine, right.replace("sha256=", "sha1=")),
        (&mine, right[..right.len() - 2].to_owned()),
        (&mine, format!("{right}00")),
        (&mine, "sha256=".into()),
        (&mine, "sha256=zz".into()),
        (&mine, String::new()),
        ("999999", right.clone()),
        ("0", right.clone()),
        ("-1", right.clone()),
        ("one", right.clone()),
        ("", right.clone()),
        ("99999999999999999999", right.clone()),
        (&other.id().to_string(), right.clone()),
        (&paused.id().to_string(), sign(paused.text("secret"), &body)),
        (&deleted.id().to_string(), sign(deleted.text("secret"), &body)),
        (&deleted.id().to_string(), sign("", &body)),
    ] {
        responses.push(s.send_with(&t, body.clone(), webhook, &signature, 401).await);
    }
    for headers in [vec![], vec![("x-webhook-id", mine.as_str())], vec![("x-webhook-signature", right.as_str())]] {
        let with = |mut request: reqwest::RequestBuilder| {
            for (name, value) in headers {
                request = request.header(name, value);
            }
            request.body(body.clone())
        };
        responses.push(t.anonymous.send(Method::POST, &s.path(&t), 401, with).await);
    }
    // The response reveals neither whether the reservation exists nor errors in the body.
    let nothing = "/reservations/rsv-00000000000000000000000000/status";
    responses.push(t.anonymous.send(Method::POST, nothing, 401, |r| r.body("{")).await);
    assert!(
        responses.iter().all(|reply| reply.without_request_id() == responses[0].without_request_id()),
        "one message for all of them"
    );
    assert_eq!(s.state(&t).await["status"], "waiting");
    s.send_with(&t, body, &mine, &right, 200).await;
}

async fn webhook_updates_only_its_resource_type(t: TestServer) {
    let s = fixture(&t).await;
    t.root.post("/resource-types", json!({"slug": "vm", "name": "VM"}), 201).await;
    let receiver = Receiver::start().await;
    let stranger = t.webhook(&receiver, json!({"resource_type": "vm"})).await;
    let every = t.webhook(&receiver, json!({"resource_type": null, "events": ["user.access_requested"]})).await;
    let body = Fixture::update(&t, "ready").to_string().into_bytes();
    let signature = sign(stranger.text("secret"), &body);
    s.send_with(&t, body.clone(), &stranger.id().to_string(), &signature, 403).await;
    assert_eq!(s.state(&t).await["status"], "waiting");
    let signature = sign(every.text("secret"), &body);
    let path = status_path(&t, &s.reservation, every.id());
    s.send_to(&t, &path, body, &every.id().to_string(), &signature, 200).await;
}

async fn status_update_of_unknown_reservation_is_not_found(t: TestServer) {
    let mut s = fixture(&t).await;
    for id in ["rsv-00000000000000000000000000", "nonsense", "test-01arz3ndektsv4rrffq69g5fav"] {
        s.reservation = id.into();
        s.send(&t, Fixture::update(&t, "ready").to_string(), 404).await;
    }
}

async fn status_update_timestamp_off_by_more_than_5_minutes_is_rejected(t: TestServer) {
    let s = fixture(&t).await;
    let update = |off: Duration| json!({"status": "ready", "timestamp": wire(t.now() + off)}).to_string();
    for off in [Duration::seconds(301), Duration::seconds(-301), Duration::days(400)] {
        let reply = s.send(&t, update(off), 401).await;
        assert!(reply.text("detail").contains("5 minutes"), "a signed request gets the reason");
    }
    assert_eq!(s.state(&t).await["status"], "waiting");
    for off in [Duration::seconds(290), Duration::seconds(-290)] {
        s.send(&t, update(off), 200).await;
    }
    // Any RFC 3339 offset is accepted.
    let there = t.now().with_timezone(&chrono::FixedOffset::east_opt(5 * 3_600 + 1_800).unwrap());
    s.send(&t, json!({"status": "ready", "timestamp": there.to_rfc3339()}).to_string(), 200).await;
}

async fn status_update_is_limited_to_64_kib(t: TestServer) {
    let s = fixture(&t).await;
    let of_size = |size: usize| {
        let body = json!({"status": "ready", "timestamp": wire(t.now()), "details": {"log": ""}}).to_string();
        body.replace("\"log\":\"\"", &format!("\"log\":\"{}\"", "x".repeat(size - body.len())))
    };
    assert_eq!(of_size(65_536).len(), 65_536);
    s.send(&t, of_size(65_536), 200).await;
    s.send(&t, of_size(65_537), 413).await;
    s.send(&t, of_size(300 * 1_024), 413).await;
}

async fn status_update_accepts_both_secrets_during_rotation(t: TestServer) {
    let s = fixture(&t).await;
    let path = format!("/webhooks/{}/rotate-secret", s.webhook);
    let rotated = t.root.post(&path, json!({"overlap_hours": 2}), 200).await;
    let mine = s.webhook.to_string();
    s.send(&t, Fixture::update(&t, "provisioning").to_string(), 200).await;
    let body = Fixture::update(&t, "ready").to_string().into_bytes();
    let signature = sign(rotated.text("secret"), &body);
    s.send_with(&t, body, &mine, &signature, 200).await;
    t.clock.advance(Duration::hours(2));
    s.send(&t, Fixture::update(&t, "failed").to_string(), 401).await;
    let body = Fixture::update(&t, "failed").to_string().into_bytes();
    let signature = sign(rotated.text("secret"), &body);
    s.send_with(&t, body, &mine, &signature, 200).await;
}

/// Users copy the command into a terminal.
async fn control_characters_of_access_info_are_replaced(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let access = json!({"ip_address": "10.0.0.7", "connection_command": "ssh a\u{1b}[2K\nrm -rf ~ \u{202e}"});
    receiver.respond(Response::json(200, json!({"status": "success", "details": {"access_info": access}})));
    t.webhook(&receiver, json!({})).await;
    let reservation = t.booking(&t.alice, resource, 1, 2).await;
    let state = t.provisioning(&reservation, "ready").await;
    let expected = json!({"ip_address": "10.0.0.7", "connection_command": "ssh a\u{fffd}[2K\u{fffd}rm -rf ~ \u{fffd}"});
    assert_eq!(state["access_info"], expected);
}

async fn users_see_no_addresses_of_receivers(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let with = json!({"endpoint_url": format!("http://{address}/hook"), "retry": {"waits": []}});
    t.webhook(&Receiver::start().await, with).await;
    let reservation = t.booking(&t.alice, resource, 1, 2).await;
    t.finished("", 1).await;
    let path = format!("/reservations/{reservation}");
    for path in [path.clone(), format!("{path}/deliveries"), "/reservations".to_owned()] {
        let shown = t.alice.get(&path, 200).await.text;
        assert!(!shown.contains("127.0.0.1"), "{path}: {shown}");
    }
    let state = t.provisioning(&reservation, "failed").await;
    assert_eq!(state["message"], "The service cannot be reached.");
    let problem = t.root.get(&path, 200).await.body["deliveries"][0]["problem"].clone();
    assert!(problem.as_str().unwrap().contains("127.0.0.1"), "{problem}");
}

async fn late_202_does_not_override_newer_status_update(t: TestServer) {
    let s = fixture(&t).await;
    let receiver = Receiver::start().await;
    receiver.respond(Response::status(202));
    receiver.hold();
    let made = t.webhook(&receiver, json!({"events": ["reservation.created"]})).await;
    let s = Fixture {
        webhook: made.id(),
        secret: made.text("secret").to_owned(),
        reservation: t.booking(&t.alice, s.resource, 3, 4).await,
        ..s
    };
    receiver.wait_for(1).await;
    s.send(&t, Fixture::update(&t, "ready").to_string(), 200).await;
    // The later 202 response does not override the status `ready`.
    receiver.release();
    t.finished("", 1).await;
    assert_eq!(s.state(&t).await["status"], "ready");
}

async fn session_or_token_does_not_replace_a_signature(t: TestServer) {
    let s = fixture(&t).await;
    let body = Fixture::update(&t, "ready");
    t.root.post(&s.path(&t), body.clone(), 401).await;
    t.browser("root").await.post(&s.path(&t), body, 401).await;
}
