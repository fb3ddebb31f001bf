//! Pausing, resuming, changing and deleting a webhook with queued deliveries.

use super::{any_delivery, fixture, retitled};
use crate::support::{TestService, drain, refused};
use chrono::Duration;
use domain::ProblemKind::*;
use domain::delivery::DeliveryStatus::*;
use domain::webhook::{ResumeInput, WebhookPatch, WebhookState};
use service::outbox::WebhookSet;
use test_support::{Response, on_both_databases};

on_both_databases![
    concurrent_settings_changes_are_all_kept,
    events_of_paused_webhook_are_kept,
    queued_events_can_be_discarded_on_resume,
    deleting_webhook_cancels_queued_deliveries,
];

async fn concurrent_settings_changes_are_all_kept(t: TestService) {
    let s = fixture(&t).await;
    t.ready_to_race().await;
    let name = WebhookPatch { name: Some("Renamed".into()), ..Default::default() };
    let limit = WebhookPatch { rate_limit: Some(Some(7)), ..Default::default() };
    let room = WebhookPatch { max_in_flight: Some(9), ..Default::default() };
    let key = WebhookPatch { ed25519: Some(true), ..Default::default() };
    let patches = [name, limit, room, key].map(|patch| t.webhooks().update(&s.root, s.webhook, patch));
    let rotation = domain::webhook::RotateInput { overlap_hours: Some(0), secret: Some("a-secret-of-my-own".into()) };
    let (patched, rotated) =
        futures::join!(futures::future::join_all(patches), t.webhooks().rotate_secret(&s.root, s.webhook, rotation));
    patched.into_iter().for_each(|result| drop(result.unwrap()));
    rotated.unwrap();
    let webhook = t.webhooks().get(&s.root, s.webhook).await.unwrap();
    assert_eq!((webhook.name.as_str(), webhook.rate_limit, webhook.max_in_flight), ("Renamed", Some(7), 9));
    assert_eq!(webhook.secret_hint, "-own");
    assert!(webhook.public_key.is_some());
}

async fn events_of_paused_webhook_are_kept(t: TestService) {
    let s = fixture(&t).await;
    let paused = t.webhooks().pause(&s.root, s.webhook).await.unwrap();
    assert_eq!((paused.state, paused.enabled), (WebhookState::Paused, false));
    // The fast path is closed to it too.
    let mut fast_path = t.dispatcher().open_fast_path();
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    t.reservations().update(&s.alice, &reservation.id, retitled("Changed")).await.unwrap();
    assert!(fast_path.try_recv().is_err());
    t.dispatcher().close_fast_path();
    t.clock.advance(Duration::days(1));
    drain(&t).await;
    assert_eq!(s.receiver.count(), 0);
    assert!(t.deliveries(&s.root, any_delivery()).await.iter().all(|d| d.status == Pending));
    assert_eq!(t.webhooks().get(&s.root, s.webhook).await.unwrap().summary.waiting, 2);
    t.webhooks().resume(&s.root, s.webhook, ResumeInput { drop_pending: false }).await.unwrap();
    drain(&t).await;
    assert_eq!(
        s.receiver.requests().iter().map(|g| g.event().to_owned()).collect::<Vec<_>>(),
        ["reservation.created", "reservation.updated"]
    );
}

async fn queued_events_can_be_discarded_on_resume(t: TestService) {
    let s = fixture(&t).await;
    t.webhooks().pause(&s.root, s.webhook).await.unwrap();
    t.booking(&s.alice, s.resource, 1, 3).await;
    let mut feed = t.change_feed().subscribe();
    let resumed = t.webhooks().resume(&s.root, s.webhook, ResumeInput { drop_pending: true }).await.unwrap();
    assert!(resumed.enabled);
    let dropped = &t.deliveries(&s.root, any_delivery()).await[0];
    assert_eq!((dropped.status, dropped.next_attempt_at), (Cancelled, None));
    let announced = std::iter::from_fn(|| feed.try_recv().ok())
        .any(|update| matches!(update, service::change_feed::Update::Change(change) if matches!(&*change, domain::change::Change::Delivery(d) if d.id == dropped.id && d.status == Cancelled)));
    assert!(announced, "the cancellation is announced");
    t.booking(&s.alice, s.resource, 5, 6).await;
    drain(&t).await;
    assert_eq!(s.receiver.count(), 1, "later events are delivered");
}

async fn deleting_webhook_cancels_queued_deliveries(t: TestService) {
    let s = fixture(&t).await;
    s.receiver.respond(Response::status(500));
    let first = t.booking(&s.alice, s.resource, 1, 3).await;
    t.reservations().update(&s.alice, &first.id, retitled("Changed")).await.unwrap();
    let dispatcher = t.dispatcher();
    let in_flight = dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!(in_flight.len(), 1);
    t.webhooks().delete(&s.root, s.webhook).await.unwrap();
    refused(t.webhooks().get(&s.root, s.webhook).await, NotFound);
    let results = dispatcher.send_claimed(in_flight).await;
    dispatcher.record_once(&results).await.unwrap();
    drop(results);
    // The request in flight failed and would be retried, but its webhook is deleted.
    dispatcher.reap_expired_leases(false).await.unwrap();
    let statuses: Vec<_> = t.deliveries(&s.root, any_delivery()).await.iter().map(|d| d.status).collect();
    assert_eq!(statuses, [Cancelled, Cancelled]);
    t.clock.advance(Duration::hours(1));
    drain(&t).await;
    assert_eq!(s.receiver.count(), 1);
    t.booking(&s.alice, s.resource, 5, 6).await;
    let log = t.deliveries(&s.root, any_delivery()).await;
    assert_eq!(log.len(), 2, "a deleted webhook gets no events");
    assert_eq!(log[0].webhook_name, "Provisioner", "the log keeps its name");
    refused(t.service.deliveries().redeliver(&s.root, &log[0].id).await, Conflict);
}
