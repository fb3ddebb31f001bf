//! The classic payload format: `EVENT_START` at the start, `EVENT_END` at the end, `EVENT_DELETED` after a cancellation.

use super::{Fixture, fixture, of_webhook, retitled};
use crate::support::{TestService, drain, refused, webhook_input};
use chrono::Duration;
use domain::ProblemKind::{Conflict, Invalid};
use domain::delivery::DeliveryStatus;
use domain::event::EventType;
use domain::id::WebhookId;
use domain::provisioning::ProvisioningStatus;
use domain::reservation::ReservationPatch;
use domain::signature::{Secret, verify_body, verify_classic};
use domain::webhook::{TestInput, WebhookPatch};
use serde_json::{Value, json};
use test_support::{Receiver, Response, on_both_databases};

on_both_databases![
    start_is_sent_at_the_start_and_end_at_the_end,
    reservation_cancelled_before_its_start_sends_only_the_deletion,
    start_follows_a_moved_reservation_and_its_last_values,
    replicas_publish_a_start_once,
    start_and_end_after_an_outage_keep_their_order,
    reservations_from_before_the_webhook_start_too,
];

on_both_databases![sqlite only: test_events_of_the_classic_format];

const SECRET: &str = "your-secret-key";

/// A classic webhook with its own receiver.
async fn classic(t: &TestService, s: &Fixture) -> (Receiver, WebhookId) {
    let receiver = Receiver::start().await;
    let mut input = serde_json::to_value(webhook_input(&receiver.url)).unwrap();
    input["payload_format"] = "classic".into();
    let input = serde_json::from_value(input).unwrap();
    let id = t.webhooks().create(&s.root, input).await.unwrap().webhook.id;
    (receiver, id)
}

/// Publishes due starts and ends as the worker does, and delivers.
async fn tick(t: &TestService) {
    t.reservations().start_due(100).await.unwrap();
    t.reservations().expire_due(100).await.unwrap();
    drain(t).await;
}

fn names(receiver: &Receiver) -> Vec<String> {
    receiver.requests().iter().map(|got| got.text("eventType").to_owned()).collect()
}

async fn start_is_sent_at_the_start_and_end_at_the_end(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = classic(&t, &s).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    tick(&t).await;
    assert!(receiver.requests().is_empty(), "nothing before the start");
    assert_eq!(s.receiver.requests().len(), 1, "other formats get the creation at once");
    let seen = async || t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
    assert_eq!(seen().await.status, ProvisioningStatus::Waiting, "one of two services has not started");
    t.clock.set(reservation.start_time - Duration::milliseconds(1));
    tick(&t).await;
    assert!(receiver.requests().is_empty());

    t.clock.set(reservation.start_time);
    tick(&t).await;
    let start = receiver.requests().pop().unwrap();
    assert_eq!(names(&receiver), ["EVENT_START"]);
    assert_eq!(start.path, "/api/webhook", "the URL as entered");
    let secret = Secret::parse(SECRET).unwrap();
    let signature = start.header("x-webhook-signature");
    assert!(verify_classic(&secret, &start.raw, signature), "{signature}");
    assert!(!verify_body(&secret, &start.raw, signature));
    assert!(!verify_classic(&Secret::parse("another-secret").unwrap(), &start.raw, signature));
    for (field, value) in [
        ("webhookId", json!(webhook)),
        ("userId", json!("alice")),
        ("username", json!("alice")),
        ("email", json!("alice@example.com")),
        ("resourceId", json!(s.resource)),
        ("resourceName", json!("node-1")),
        ("resourceType", json!("GPU cluster")),
        ("customParameters", json!("{}")),
        ("siteId", json!("berth")),
    ] {
        assert_eq!(start.body[field], value, "{field}");
    }
    assert!(start.body["eventId"].is_string());
    assert_eq!(seen().await.status, ProvisioningStatus::Ready);
    tick(&t).await;
    assert_eq!(receiver.requests().len(), 1, "a start is published once");
    let recorded = t.deliveries(&s.root, of_webhook(webhook)).await;
    let attempt = &t.delivery(&s.root, &recorded[0].id).await.attempt_log[0];
    let shown = attempt.request.headers.iter().find(|header| header.name == "X-Webhook-Signature").unwrap();
    assert!(shown.value.len() < signature.len(), "the log has a shortened signature: {}", shown.value);

    t.clock.set(reservation.end_time);
    tick(&t).await;
    assert_eq!(names(&receiver), ["EVENT_START", "EVENT_END"]);
    assert_eq!(receiver.requests()[1].body["eventId"], start.body["eventId"]);
    assert_eq!(seen().await.status, ProvisioningStatus::Released);
}

async fn reservation_cancelled_before_its_start_sends_only_the_deletion(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = classic(&t, &s).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    t.reservations().cancel(&s.alice, &reservation.id, None).await.unwrap();
    t.clock.set(reservation.end_time);
    tick(&t).await;
    assert_eq!(names(&receiver), ["EVENT_DELETED"]);
    let deleted = &receiver.requests()[0].body;
    assert!(deleted["webhookId"].is_string() && deleted["data"]["id"].is_u64());
    assert_eq!(deleted["data"]["resource"], json!({"id": s.resource, "name": "node-1"}));
    assert_eq!(deleted["data"]["keycloakId"], "alice");
    let left = t.reservations().next_due().await.unwrap();
    assert_eq!(left, None, "no start is left");
}

async fn start_follows_a_moved_reservation_and_its_last_values(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = classic(&t, &s).await;
    let reservation = t.booking(&s.alice, s.resource, 4, 6).await;
    let earlier = reservation.start_time - Duration::hours(2);
    let patch = ReservationPatch { start_time: Some(earlier), ..Default::default() };
    t.reservations().update(&s.alice, &reservation.id, patch).await.unwrap();
    t.reservations().update(&s.alice, &reservation.id, retitled("Final title")).await.unwrap();
    assert_eq!(t.reservations().next_due().await.unwrap(), Some(earlier));
    t.clock.set(earlier);
    tick(&t).await;
    assert_eq!(names(&receiver), ["EVENT_START"], "changes have no event of their own");
    assert_eq!(receiver.requests()[0].body["eventTitle"], "Final title");
}

async fn replicas_publish_a_start_once(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = classic(&t, &s).await;
    let replica = t.replica().await;
    let mut last = None;
    for hour in 0..10 {
        last = Some(t.booking(&s.alice, s.resource, 1 + hour, 2 + hour).await);
    }
    t.clock.set(last.unwrap().start_time);
    t.ready_to_race().await;
    let (one, other) = (t.reservations().clone(), replica.reservations().clone());
    let (one, other) = tokio::join!(one.start_due(100), other.start_due(100));
    let _ = (one.unwrap(), other.unwrap());
    drain(&t).await;
    assert_eq!(names(&receiver), ["EVENT_START"; 10]);
}

async fn start_and_end_after_an_outage_keep_their_order(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = classic(&t, &s).await;
    receiver.respond(Response::status(500));
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    // No worker ran between start and end.
    t.clock.set(reservation.end_time + Duration::hours(1));
    t.reservations().expire_due(100).await.unwrap();
    assert_eq!(t.reservations().start_due(100).await.unwrap(), 0);
    receiver.respond(Response::status(200));
    drain(&t).await;
    assert_eq!(names(&receiver), ["EVENT_START", "EVENT_END"]);
}

async fn reservations_from_before_the_webhook_start_too(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    tick(&t).await;
    let patch = WebhookPatch { payload_format: Some(domain::payload::PayloadFormat::Classic), ..Default::default() };
    let changed = t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    assert_eq!(serde_json::to_value(&changed.delivery_paths).unwrap(), json!({"layout": "single"}));
    tick(&t).await;
    t.clock.set(reservation.start_time);
    tick(&t).await;
    let got: Vec<Value> = s.receiver.requests().into_iter().map(|got| got.body).collect();
    assert_eq!(got[0]["event_type"], "reservation.created", "the format at that time");
    assert_eq!(got[1]["eventType"], "EVENT_START");
    assert_eq!(got.len(), 2);
}

async fn test_events_of_the_classic_format(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = classic(&t, &s).await;
    let test = |event_type| TestInput { event_type, ..Default::default() };
    t.webhooks().send_test(&s.root, webhook, test(None)).await.unwrap();
    t.webhooks().send_test(&s.root, webhook, test(Some(EventType::ReservationCancelled))).await.unwrap();
    assert_eq!(names(&receiver), ["EVENT_START", "EVENT_DELETED"]);
    refused(t.webhooks().send_test(&s.root, webhook, test(Some(EventType::ReservationUpdated))).await, Invalid);
    refused(t.webhooks().certify(&s.root, webhook).await, Conflict);
    let status = t.deliveries(&s.root, of_webhook(webhook)).await;
    assert!(status.iter().all(|delivery| delivery.status == DeliveryStatus::Succeeded));
    let only_updates = WebhookPatch { events: Some(vec![EventType::ReservationUpdated]), ..Default::default() };
    refused(t.webhooks().update(&s.root, webhook, only_updates).await, Invalid);
}
