//! Delivery: from the committed change to the recorded response.

use super::{any_delivery, fixture};
use crate::support::{TestService, drain, refused, step};
use chrono::Duration;
use domain::ProblemKind::*;
use domain::delivery::DeliveryStatus::*;
use domain::delivery::{DeliveryFilter, DiagnosisCode};
use domain::provisioning::ProvisioningStatus;
use domain::reservation::ReservationPatch;
use domain::webhook::WebhookPatch;
use sea_orm::ConnectionTrait as _;
use serde_json::json;
use service::Service;
use test_support::{ReceivedRequest, Response, on_both_databases};

on_both_databases![
    event_is_published_with_its_change,
    failed_change_publishes_nothing,
    ed25519_signature_is_added_and_rotation_renews_its_key,
    retries_after_1_2_and_4_seconds_then_fails,
    retry_after_longer_than_backoff_wins,
    unusual_responses_are_recorded,
    events_wait_for_webhook_with_undecryptable_secrets,
    one_transaction_enqueues_and_cancels_any_number,
];

async fn event_is_published_with_its_change(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let waiting = t.deliveries(&s.root, any_delivery()).await;
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].status, waiting[0].attempts, waiting[0].max_attempts), (Pending, 0, 4));
    drain(&t).await;
    let got = s.receiver.last();
    assert_eq!(s.receiver.count(), 1);
    assert_eq!(got.path, "/api/webhook/reservation");
    assert_eq!(got.event(), "reservation.created");
    assert_eq!(got.header("x-webhook-attempt"), "1");
    assert_eq!(got.header("x-webhook-delivery"), waiting[0].id.as_str());
    assert_eq!(got.header("webhook-id"), waiting[0].event_id.as_str());
    assert_eq!(got.header("content-type"), "application/json");
    let secret = domain::signature::Secret::parse("your-secret-key").unwrap();
    assert!(domain::signature::verify_body(&secret, &got.raw, got.header("x-webhook-signature")));
    assert_eq!(got.text("reservation_id"), reservation.id.as_str());
    assert_eq!(got.text("user_id"), "alice");
    assert_eq!(got.text("user_email"), "alice@example.com");
    assert_eq!(got.text("user_ssh_key"), "");
    assert_eq!(got.body["additional_config"], json!({}));
    assert_eq!(got.body["webhook_id"], s.webhook);
    let expected = format!("https://berth.example.com/api/v1/reservations/{}/status?mac=", reservation.id);
    let mac = got.text("status_url").strip_prefix(&expected).unwrap();
    assert!(mac.len() == 32 && mac.bytes().all(|digit| digit.is_ascii_hexdigit()), "{mac}");
    let detail = t.delivery(&s.root, &waiting[0].id).await;
    assert_eq!((detail.delivery.status, detail.delivery.status_code), (Succeeded, Some(200)));
    assert_eq!(detail.body.as_bytes(), &got.raw[..], "the log shows the exact bytes that were signed");
    assert_eq!(detail.attempt_log.len(), 1);
    assert_eq!(detail.attempt_log[0].request.body, detail.body);
}

async fn failed_change_publishes_nothing(t: TestService) {
    let s = fixture(&t).await;
    t.booking(&s.alice, s.resource, 1, 3).await;
    let later = t.booking(&s.alice, s.resource, 5, 6).await;
    assert_eq!(t.deliveries(&s.root, any_delivery()).await.len(), 2);
    refused(t.reservations().create(&s.alice, t.span(s.resource, 2, 4)).await, Conflict);
    // Here the event is in the transaction already when the conflict is found.
    let conflicting = ReservationPatch { start_time: Some(t.now() + Duration::hours(2)), ..Default::default() };
    refused(t.reservations().update(&s.alice, &later.id, conflicting).await, Conflict);
    assert_eq!(t.deliveries(&s.root, any_delivery()).await.len(), 2);
    assert_eq!(t.reservations().get(&s.alice, &later.id).await.unwrap().reservation, later);
}

/// The number of `v1a` signatures of a request, and the positions of those that `key` verifies.
fn verify_v1a(got: &ReceivedRequest, key: &str) -> (usize, Vec<usize>) {
    let decode = |text: &str| base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
    let key: [u8; 32] = decode(key.strip_prefix("whpk_").unwrap()).try_into().unwrap();
    let key = ed25519_dalek::VerifyingKey::from_bytes(&key).unwrap();
    let head = format!("{}.{}.", got.header("webhook-id"), got.header("webhook-timestamp"));
    let message = [head.as_bytes(), &got.raw].concat();
    let signatures: Vec<_> =
        got.header("webhook-signature").split(' ').filter_map(|one| one.strip_prefix("v1a,")).map(decode).collect();
    let fitting = signatures.iter().enumerate().filter(|(_, signature)| {
        key.verify_strict(&message, &ed25519_dalek::Signature::from_slice(signature).unwrap()).is_ok()
    });
    (signatures.len(), fitting.map(|(n, _)| n).collect())
}

async fn ed25519_signature_is_added_and_rotation_renews_its_key(t: TestService) {
    let s = fixture(&t).await;
    let mut hour = 1;
    let mut send = async || {
        t.booking(&s.alice, s.resource, hour, hour + 1).await;
        hour += 1;
        drain(&t).await;
        s.receiver.last()
    };
    assert!(!send().await.header("webhook-signature").contains("v1a,"));
    let set = async |ed25519| {
        let patch = WebhookPatch { ed25519: Some(ed25519), ..Default::default() };
        t.webhooks().update(&s.root, s.webhook, patch).await.unwrap().public_key
    };
    let first = set(true).await.unwrap();
    assert_eq!(set(true).await.as_ref(), Some(&first), "enabling it again keeps the key");
    let got = send().await;
    assert_eq!(verify_v1a(&got, &first), (1, vec![0]));
    assert!(got.header("webhook-signature").starts_with("v1,"), "the HMAC signature stays and comes first");
    let rotation = domain::webhook::RotateInput { overlap_hours: Some(1), secret: None };
    let second = t.webhooks().rotate_secret(&s.root, s.webhook, rotation).await.unwrap().webhook.public_key.unwrap();
    assert_ne!(first, second);
    let got = send().await;
    assert_eq!((verify_v1a(&got, &second), verify_v1a(&got, &first)), ((2, vec![0]), (2, vec![1])));
    t.clock.advance(Duration::hours(1));
    let got = send().await;
    assert_eq!((verify_v1a(&got, &second), verify_v1a(&got, &first)), ((1, vec![0]), (1, vec![])));
    assert_eq!(set(false).await, None);
    assert!(!send().await.header("webhook-signature").contains("v1a,"));
}

async fn retries_after_1_2_and_4_seconds_then_fails(t: TestService) {
    let s = fixture(&t).await;
    s.receiver.respond(Response::status(500));
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let id = t.deliveries(&s.root, any_delivery()).await[0].id.clone();
    let dispatcher = t.dispatcher();
    assert_eq!(step(&dispatcher).await, 1);
    for (attempts, wait) in [(1, 1_000), (2, 2_000), (3, 4_000)] {
        let delivery = t.delivery(&s.root, &id).await.delivery;
        assert_eq!((delivery.status, delivery.attempts, delivery.status_code), (Retrying, attempts, Some(500)));
        assert_eq!(delivery.next_attempt_at, Some(t.now() + Duration::milliseconds(wait)));
        let still_waiting = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
        assert_eq!(still_waiting.status, ProvisioningStatus::Waiting);
        t.clock.advance(Duration::milliseconds(wait - 1));
        assert_eq!(step(&dispatcher).await, 0, "nothing is sent before it is due");
        t.clock.advance(Duration::milliseconds(1));
        assert_eq!(step(&dispatcher).await, 1);
    }
    let detail = t.delivery(&s.root, &id).await;
    assert_eq!((detail.delivery.status, detail.delivery.attempts), (Failed, 4));
    assert_eq!(detail.delivery.next_attempt_at, None);
    assert!(detail.delivery.problem.unwrap().contains("500"));
    assert_eq!(detail.attempt_log.iter().map(|a| a.attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    t.clock.advance(Duration::days(1));
    assert_eq!(step(&dispatcher).await, 0);
    let got = s.receiver.requests();
    assert_eq!(got.iter().map(|g| g.header("x-webhook-attempt")).collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    for name in ["webhook-id", "x-webhook-delivery"] {
        assert!(got.iter().all(|g| g.header(name) == got[0].header(name)), "{name} is stable across retries");
    }
    assert!(got.iter().all(|g| g.raw == got[0].raw));
    let provisioning = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
    assert_eq!(provisioning.status, ProvisioningStatus::Failed);
    assert!(provisioning.message.contains("500"), "{}", provisioning.message);
}

async fn retry_after_longer_than_backoff_wins(t: TestService) {
    let s = fixture(&t).await;
    let dispatcher = t.dispatcher();
    for (n, (status, wait, expected)) in
        [(429, "60", 60), (503, "999999999999", 3_600), (503, "0", 1), (500, "60", 1), (429, "soon", 1)]
            .into_iter()
            .enumerate()
    {
        s.receiver.respond(Response::status(status).with_header("retry-after", wait));
        let reservation = t.booking(&s.alice, s.resource, 10 + n as i64, 11 + n as i64).await;
        assert_eq!(step(&dispatcher).await, 1);
        let filter = DeliveryFilter { reservation_id: Some(reservation.id.0), ..Default::default() };
        let next = t.deliveries(&s.root, filter).await[0].next_attempt_at;
        assert_eq!(next, Some(t.now() + Duration::seconds(expected)), "{status} with Retry-After {wait}");
    }
}

async fn unusual_responses_are_recorded(t: TestService) {
    let s = fixture(&t).await;
    let nul = br#"{"status":"su\u0000ccess","message":"a\u0000b","details":{"a\u0000":["\u0000"],"access_info":{"username":"u\u0000"}},"x\u0000":"\u0000"}"#;
    let long =
        json!({"message": "é".repeat(60_000 / 2), "details": {"estimated_ready_time": "x".repeat(4_000)}}).to_string();
    let responses: Vec<(u16, Vec<u8>, &str)> = vec![
        (200, nul.to_vec(), "NUL escaped"),
        (200, b"\0\0\0".to_vec(), "NUL"),
        (500, br#"{"detail":"a\u0000b\ud83d"}"#.to_vec(), "an error with NUL"),
        (500, vec![0, 159, 146, 150, 0xff], "invalid UTF-8"),
        (200, b"<html><body>It works</body></html>".to_vec(), "HTML"),
        (200, long.into_bytes(), "long"),
        (200, vec![b'x'; 1_000_000], "too long"),
        (200, br#"[1,2,3]"#.to_vec(), "an array"),
        (200, b"".to_vec(), "nothing"),
        (200, "[".repeat(50_000).into_bytes(), "nested"),
    ];
    for (n, (status, body, what)) in responses.into_iter().enumerate() {
        let n = n as i64;
        s.receiver.respond(Response::status(status).with_body(body));
        let reservation = t.booking(&s.alice, s.resource, n, n + 1).await;
        let dispatcher = t.dispatcher();
        assert_eq!(step(&dispatcher).await, 1, "{what}");
        let filter = DeliveryFilter { reservation_id: Some(reservation.id.0.clone()), ..Default::default() };
        let delivery = t.deliveries(&s.root, filter).await.remove(0);
        let expected = if what == "too long" || status == 500 { Retrying } else { Succeeded };
        assert_eq!(delivery.status, expected, "{what}");
        let detail = t.delivery(&s.root, &delivery.id).await;
        let response = detail.attempt_log[0].response.as_ref().unwrap();
        assert!(response.body.len() <= 3 * 64 * 1024 && !response.body.contains('\0'), "{what}");
        if what == "too long" {
            assert!(response.truncated);
            assert_eq!(detail.attempt_log[0].diagnosis.code, DiagnosisCode::ResponseTooLarge);
        }
        let provisioning = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
        assert!(provisioning.message.chars().count() <= 500, "{what}");
    }
}

async fn events_wait_for_webhook_with_undecryptable_secrets(t: TestService) {
    let s = fixture(&t).await;
    // A process with another master key, such as a replica that was started without it.
    let mut settings = t.settings.clone();
    settings.master_key = [8; 32].into();
    let other_key = Service::open(settings, t.clock.source()).await.unwrap();
    let reservation = other_key.reservations().create(&s.alice, t.span(s.resource, 1, 2)).await.unwrap();
    let dispatcher = other_key.dispatcher();
    assert_eq!(step(&dispatcher).await, 0, "it cannot sign, so it sends nothing");
    assert_eq!(t.deliveries(&s.root, any_delivery()).await[0].status, Pending);
    drain(&t).await;
    assert_eq!(s.receiver.last().text("reservation_id"), reservation.id.as_str());
}

/// More rows than one statement accepts parameters for.
async fn one_transaction_enqueues_and_cancels_any_number(t: TestService) {
    let s = fixture(&t).await;
    for _ in 1..40 {
        t.webhook(&s.root, &s.receiver).await;
    }
    // The first one has its own transaction; those that arrive during its commit share the next one.
    let bookings = (0..100).map(|n| t.booking(&s.alice, s.resource, n, n + 1));
    futures::future::join_all(bookings).await;
    let database = t.database().await;
    let count = async |sql: &str| {
        let row = database.query_one_raw(sea_orm::Statement::from_string(database.get_database_backend(), sql)).await;
        row.unwrap().unwrap().try_get_by_index::<i64>(0).unwrap()
    };
    assert_eq!(count("SELECT COUNT(*) FROM outbox").await, 4_000);
    assert_eq!(count("SELECT COUNT(*) FROM deliveries").await, 4_000);
    // As many again, all of one webhook: the queue after a long outage of its receiver.
    // Their states have no services, so they belong to the first webhook that changes them.
    let state = r#"{"status":"releasing","message":"","progress":null,"estimated_ready_time":null,"access_info":null,"details":{},"updated_at":"2026-01-01T00:00:00Z"}"#;
    let more = format!(
        "INSERT INTO reservations (id, username, resource_id, title, start_at, end_at, user_ssh_key, additional_config, status, cancel_reason, provisioning, created_at, updated_at)
         SELECT 'res_' || n.seq || '_' || v.id, v.username, v.resource_id, v.title, v.start_at, v.end_at, v.user_ssh_key, v.additional_config, 'cancelled', '', '{state}', v.created_at, v.updated_at
         FROM reservations v CROSS JOIN (SELECT seq FROM outbox ORDER BY seq LIMIT 400) n"
    );
    database.execute_unprepared(&more).await.unwrap();
    let more = "INSERT INTO provisioning (reservation_id, state) SELECT id, provisioning FROM reservations WHERE status = 'cancelled'";
    database.execute_unprepared(more).await.unwrap();
    let more = format!(
        "INSERT INTO deliveries (id, event_id, event_type, webhook_id, ordering_key, reservation_id, body, status, attempts, max_attempts, test, created_at, updated_at)
         SELECT 'dlv_' || v.id, 'evt_' || v.id, 'reservation.cancelled', {0}, v.id, v.id, '{{}}', 'pending', 0, 4, (SELECT test FROM deliveries LIMIT 1), 0, 0 FROM reservations v WHERE v.status = 'cancelled'",
        s.webhook
    );
    database.execute_unprepared(&more).await.unwrap();
    let more = "INSERT INTO outbox (seq, webhook_id, ordering_key, due_at, attempts, updated_at)
         SELECT seq, webhook_id, ordering_key, 0, 0, 0 FROM deliveries WHERE event_type = 'reservation.cancelled'";
    database.execute_unprepared(more).await.unwrap();
    let releasing = "SELECT COUNT(*) FROM provisioning WHERE state LIKE '%releasing%'";
    assert_eq!(count(releasing).await, 40_000);
    t.webhooks().delete(&s.root, s.webhook).await.unwrap();
    assert_eq!(count("SELECT COUNT(*) FROM deliveries WHERE status = 'cancelled'").await, 40_100);
    assert_eq!(count("SELECT COUNT(*) FROM outbox").await, 3_900);
    assert_eq!(count(releasing).await, 0);
}
