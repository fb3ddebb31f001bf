//! Wake-ups: which queues are claimed when.

use super::fixture;
use crate::support::{TestService, step};
use chrono::Duration;
use domain::webhook::WebhookPatch;
use sea_orm::ConnectionTrait as _;
use service::outbox::WebhookSet;
use test_support::{Response, on_both_databases};

on_both_databases![
    wakeup_names_the_webhooks_with_work,
    delivery_of_unknown_event_waits_without_blocking_others,
    retries_of_other_processes_are_found_before_they_are_due,
];

/// The webhooks of the next wake-up.
async fn wait_for_wakeup(t: &TestService) -> WebhookSet {
    tokio::time::timeout(std::time::Duration::from_secs(20), t.change_feed().wait_for_wakeup())
        .await
        .expect("a wake-up")
}

/// A wake-up names the webhooks with due deliveries, and a claim can be limited to them.
async fn wakeup_names_the_webhooks_with_work(t: TestService) {
    let s = fixture(&t).await;
    let other = t.webhook(&s.root, &s.receiver).await;
    let patch = WebhookPatch { max_in_flight: Some(2), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    let both: WebhookSet = [s.webhook, other].into_iter().collect();
    assert_eq!(wait_for_wakeup(&t).await, both, "their settings changed");
    let mut reservations = Vec::new();
    for n in 0..3 {
        reservations.push(t.booking(&s.alice, s.resource, n, n + 1).await);
    }
    assert_eq!(wait_for_wakeup(&t).await, both);
    let dispatcher = t.dispatcher();
    let claim = dispatcher.claim_once(&s.webhook.into(), 10).await.unwrap();
    assert!(claim.items.len() == 2 && claim.items.iter().all(|item| item.webhook_id() == s.webhook));
    assert_eq!(claim.blocked, s.webhook.into(), "the third delivery waits until one of these requests ends");
    let again = dispatcher.claim_once(&s.webhook.into(), 10).await.unwrap();
    assert_eq!((again.items.len(), again.blocked), (0, s.webhook.into()));
    let others = dispatcher.claim_once(&other.into(), 10).await.unwrap();
    assert!(others.items.len() == 3 && others.items.iter().all(|item| item.webhook_id() == other));
    assert_eq!(others.blocked, WebhookSet::empty());
    // The end of a delivery wakes the dispatcher for its successor.
    t.reservations().cancel(&s.alice, &reservations[0].id, None).await.unwrap();
    assert_eq!(wait_for_wakeup(&t).await, both);
    let mut results = dispatcher.send_claimed(others.items).await;
    results.sort_by_key(|results| results.lease().seq);
    dispatcher.record_once(&results).await.unwrap();
    assert_eq!(wait_for_wakeup(&t).await, other.into());
    let next = dispatcher.claim_once(&other.into(), 10).await.unwrap().items;
    assert_eq!(next.len(), 1);
    // A scheduled retry names its webhook.
    s.receiver.respond(Response::status(500));
    let recorded = dispatcher.record_once(&dispatcher.send_claimed(next).await).await.unwrap();
    assert_eq!(recorded.due.iter().map(|(_, webhook)| *webhook).collect::<Vec<_>>(), [other]);
}

/// An event of a later version, after a downgrade to this one.
async fn delivery_of_unknown_event_waits_without_blocking_others(t: TestService) {
    let s = fixture(&t).await;
    t.booking(&s.alice, s.resource, 1, 2).await;
    t.booking(&s.alice, s.resource, 2, 3).await;
    let database = t.database().await;
    let first = "SELECT MIN(seq) FROM deliveries";
    let unknown = format!("UPDATE deliveries SET event_type = 'reservation.moved' WHERE seq = ({first})");
    database.execute_unprepared(&unknown).await.unwrap();
    let patch = WebhookPatch { max_in_flight: Some(1), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    wait_for_wakeup(&t).await;
    let first_claim = t.dispatcher().claim_once(&WebhookSet::All, 10).await.unwrap();
    assert_eq!(
        (first_claim.items.len(), first_claim.blocked),
        (0, WebhookSet::empty()),
        "it does not cause another claim"
    );
    let claim = t.dispatcher().claim_once(&WebhookSet::All, 10).await.unwrap();
    assert_eq!(claim.items.len(), 1, "it does not block later deliveries");
    let wakeup = tokio::time::timeout(std::time::Duration::ZERO, t.change_feed().wait_for_wakeup()).await;
    assert!(wakeup.is_err(), "a wake-up would claim it again at once: {wakeup:?}");
    drop(claim.items);
    let waiting = format!("SELECT attempts FROM outbox WHERE lease_owner IS NULL AND seq = ({first})");
    let waiting = sea_orm::Statement::from_string(database.get_database_backend(), waiting);
    let row = database.query_one_raw(waiting).await.unwrap().expect("it waits");
    assert_eq!(row.try_get_by_index::<i32>(0).unwrap(), 0);
    // After the upgrade.
    let known = unknown.replace("reservation.moved", "reservation.created");
    database.execute_unprepared(&known).await.unwrap();
    t.clock.advance(Duration::minutes(1));
    assert_eq!(t.dispatcher().claim_once(&WebhookSet::All, 10).await.unwrap().items.len(), 1);
}

/// Retries that another process recorded.
async fn retries_of_other_processes_are_found_before_they_are_due(t: TestService) {
    let s = fixture(&t).await;
    s.receiver.respond(Response::status(500));
    t.booking(&s.alice, s.resource, 1, 2).await;
    t.booking(&s.alice, s.resource, 2, 3).await;
    assert_eq!(step(&t.dispatcher()).await, 2);
    let soon = async |seconds| t.outbox().due_within(std::time::Duration::from_secs(seconds)).await.unwrap();
    let due = t.now() + Duration::seconds(1);
    assert_eq!(soon(5).await, [(due, s.webhook)]);
    t.clock.advance(Duration::milliseconds(500));
    assert_eq!(soon(5).await, [(due, s.webhook)]);
    assert_eq!(soon(0).await, []);
    let queue = t.outbox().stats().await.unwrap();
    assert_eq!((queue.queued, queue.lag), (2, std::time::Duration::ZERO));
    t.clock.advance(Duration::seconds(2));
    assert_eq!(soon(5).await, [], "it is due already");
    let queue = t.outbox().stats().await.unwrap();
    assert_eq!((queue.queued, queue.lag), (2, std::time::Duration::from_millis(1_500)));
    t.webhooks().update(&s.root, s.webhook, WebhookPatch { enabled: Some(false), ..Default::default() }).await.unwrap();
    let queue = t.outbox().stats().await.unwrap();
    assert_eq!(
        (queue.queued, queue.lag),
        (2, std::time::Duration::ZERO),
        "deliveries of a paused webhook are not late"
    );
}
