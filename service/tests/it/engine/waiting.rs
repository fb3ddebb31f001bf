//! The reason why an open delivery is not being sent.

use super::{any_delivery, fixture, retitled};
use crate::support::{TestService, step};
use chrono::Duration;
use domain::authorization::Actor;
use domain::delivery::{DeliveryWait, WaitReason};
use domain::id::DeliveryId;
use domain::webhook::{ResumeInput, WebhookPatch};
use service::outbox::WebhookSet;
use test_support::{Response, on_both_databases};

on_both_databases![
    delivery_of_paused_webhook_waits_for_it,
    delivery_waits_for_earlier_event_and_scheduled_retry,
    due_delivery_waits_for_the_exhausted_limit,
];

/// The id of the newest delivery but `earlier`.
async fn newest(t: &TestService, root: &Actor, earlier: usize) -> DeliveryId {
    let deliveries = t.deliveries(root, any_delivery()).await;
    deliveries[deliveries.len() - 1 - earlier].id.clone()
}

/// Why the newest delivery but `earlier` waits.
async fn wait(t: &TestService, root: &Actor, earlier: usize) -> Option<DeliveryWait> {
    t.delivery(root, &newest(t, root, earlier).await).await.waiting
}

async fn delivery_of_paused_webhook_waits_for_it(t: TestService) {
    let s = fixture(&t).await;
    t.webhooks().pause(&s.root, s.webhook).await.unwrap();
    t.booking(&s.alice, s.resource, 1, 3).await;
    assert_eq!(wait(&t, &s.root, 0).await, Some(DeliveryWait::new(WaitReason::Paused)));
    t.webhooks().resume(&s.root, s.webhook, ResumeInput { drop_pending: false }).await.unwrap();
    assert_eq!(wait(&t, &s.root, 0).await, Some(DeliveryWait::new(WaitReason::Queued)));
    step(&t.dispatcher()).await;
    assert_eq!(wait(&t, &s.root, 0).await, None);
    // 410 disables the webhook, and a later event waits.
    s.receiver.respond(Response::status(410));
    t.booking(&s.alice, s.resource, 5, 6).await;
    step(&t.dispatcher()).await;
    t.booking(&s.alice, s.resource, 7, 8).await;
    assert_eq!(wait(&t, &s.root, 0).await, Some(DeliveryWait::new(WaitReason::Disabled)));
}

async fn delivery_waits_for_earlier_event_and_scheduled_retry(t: TestService) {
    let s = fixture(&t).await;
    s.receiver.respond(Response::status(503));
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    t.reservations().update(&s.alice, &reservation.id, retitled("Changed")).await.unwrap();
    t.reservations().update(&s.alice, &reservation.id, retitled("Changed again")).await.unwrap();
    let first = newest(&t, &s.root, 2).await;
    let behind = Some(DeliveryWait { behind: Some(first.clone()), ..DeliveryWait::new(WaitReason::EarlierEvent) });
    assert_eq!(wait(&t, &s.root, 1).await, behind);
    assert_eq!(wait(&t, &s.root, 0).await, behind, "the first of all earlier events");
    assert_eq!(step(&t.dispatcher()).await, 1);
    let retrying = t.delivery(&s.root, &first).await;
    assert!(retrying.delivery.next_attempt_at.is_some());
    let scheduled =
        DeliveryWait { until: retrying.delivery.next_attempt_at, ..DeliveryWait::new(WaitReason::ScheduledRetry) };
    assert_eq!(retrying.waiting, Some(scheduled));
    assert_eq!(wait(&t, &s.root, 0).await, behind);
    t.clock.advance(Duration::seconds(10));
    assert_eq!(wait(&t, &s.root, 2).await, Some(DeliveryWait::new(WaitReason::Queued)));
}

async fn due_delivery_waits_for_the_exhausted_limit(t: TestService) {
    let s = fixture(&t).await;
    let limits = WebhookPatch { max_in_flight: Some(1), rate_limit: Some(Some(1)), ..WebhookPatch::default() };
    t.webhooks().update(&s.root, s.webhook, limits).await.unwrap();
    t.booking(&s.alice, s.resource, 1, 2).await;
    t.booking(&s.alice, s.resource, 3, 4).await;
    let dispatcher = t.dispatcher();
    let claimed = dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!(claimed.len(), 1);
    // Also another process, which has no requests of its own, finds the leases.
    let replica = t.replica().await;
    let id = newest(&t, &s.root, 0).await;
    let concurrency = Some(DeliveryWait { limit: Some(1), ..DeliveryWait::new(WaitReason::ConcurrencyLimit) });
    assert_eq!(replica.deliveries().get(&s.root, &id).await.unwrap().waiting, concurrency);
    assert_eq!(wait(&t, &s.root, 0).await, concurrency);
    let results = dispatcher.send_claimed(claimed).await;
    dispatcher.record_once(&results).await.unwrap();
    let rate = Some(DeliveryWait { limit: Some(1), ..DeliveryWait::new(WaitReason::RateLimit) });
    assert_eq!(wait(&t, &s.root, 0).await, rate);
    t.clock.advance(Duration::seconds(1));
    assert_eq!(wait(&t, &s.root, 0).await, Some(DeliveryWait::new(WaitReason::Queued)));
}
