//! The delivery log: filters, redelivery and replay.

use super::{any_delivery, fixture, of_webhook, retitled};
use crate::support::{TestService, drain, refused, step};
use chrono::Duration;
use domain::ProblemKind::*;
use domain::delivery::DeliveryStatus::*;
use domain::delivery::{DeliveryFilter, ReplayInput};
use domain::webhook::WebhookPatch;
use sea_orm::ConnectionTrait as _;
use service::outbox::WebhookSet;
use test_support::{Response, on_both_databases};

on_both_databases![
    log_filters_open_deliveries_by_status,
    log_derives_success_from_its_attempt,
    redelivery_is_a_new_delivery_of_the_same_event,
    failed_deliveries_are_replayed_in_bulk_once,
];

on_both_databases![sqlite only: attempt_record_of_older_version_is_shown];

async fn log_filters_open_deliveries_by_status(t: TestService) {
    let s = fixture(&t).await;
    let dispatcher = t.dispatcher();
    let mut made = Vec::new();
    t.booking(&s.alice, s.resource, 0, 1).await;
    drain(&t).await;
    s.receiver.respond(Response::status(500));
    made.push(t.booking(&s.alice, s.resource, 1, 2).await);
    assert_eq!(step(&dispatcher).await, 1);
    made.push(t.booking(&s.alice, s.resource, 2, 3).await);
    let in_flight = dispatcher.claim_once(&WebhookSet::All, 1).await.unwrap().items;
    assert_eq!(in_flight.len(), 1);
    made.push(t.booking(&s.alice, s.resource, 3, 4).await);
    for (status, reservation) in [Retrying, Sending, Pending].into_iter().zip(&made) {
        let filter = DeliveryFilter { status: Some(status), ..Default::default() };
        let found = t.deliveries(&s.root, filter.clone()).await;
        assert_eq!(found.len(), 1, "{status:?}");
        assert_eq!((found[0].status, found[0].reservation_id.as_deref()), (status, Some(reservation.id.as_str())));
        let elsewhere = DeliveryFilter { webhook_id: Some(s.webhook + 1), ..filter };
        assert!(t.deliveries(&s.root, elsewhere).await.is_empty());
    }
    assert_eq!(t.deliveries(&s.root, any_delivery()).await.len(), 4);
}

/// A success does not update the delivery's row: the log derives it from the attempt.
async fn log_derives_success_from_its_attempt(t: TestService) {
    let s = fixture(&t).await;
    let dispatcher = t.dispatcher();
    t.booking(&s.alice, s.resource, 0, 1).await;
    drain(&t).await;
    s.receiver.respond(Response::status(500));
    let late = t.booking(&s.alice, s.resource, 1, 2).await;
    assert_eq!(step(&dispatcher).await, 1);
    t.clock.advance(Duration::seconds(1));
    s.receiver.respond(Response::status(202));
    let sent = t.now();
    assert_eq!(step(&dispatcher).await, 1);
    let by = |status| DeliveryFilter { status: Some(status), ..any_delivery() };
    // Recorded long after the response: the change feed and the log agree.
    t.booking(&s.alice, s.resource, 4, 5).await;
    let claims = dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    let mut feed = t.change_feed().subscribe();
    let results = dispatcher.send_claimed(claims).await;
    t.clock.advance(Duration::seconds(5));
    dispatcher.record_once(&results).await.unwrap();
    let announced = std::iter::from_fn(|| feed.try_recv().ok()).find_map(|update| match update {
        service::change_feed::Update::Change(change) => match &*change {
            domain::change::Change::Delivery(delivery) => Some((**delivery).clone()),
            _ => None,
        },
        service::change_feed::Update::Resync => None,
    });
    assert_eq!(announced.as_ref(), t.deliveries(&s.root, by(Succeeded)).await.last());
    s.receiver.respond(Response::status(410));
    t.booking(&s.alice, s.resource, 2, 3).await;
    assert_eq!(step(&dispatcher).await, 1);
    let succeeded = t.deliveries(&s.root, by(Succeeded)).await;
    assert_eq!(
        succeeded.iter().map(|d| (d.attempts, d.status_code)).collect::<Vec<_>>(),
        [(1, Some(200)), (2, Some(202)), (1, Some(202))]
    );
    assert_eq!(succeeded[1].reservation_id.as_deref(), Some(late.id.as_str()));
    for delivery in &succeeded {
        assert_eq!((delivery.status, delivery.next_attempt_at, &delivery.problem), (Succeeded, None, &None));
    }
    assert!(succeeded[1].duration_ms.is_some() && succeeded[1].updated_at >= sent);
    assert_eq!(t.deliveries(&s.root, by(Failed)).await.len(), 1);
    for status in [Pending, Sending, Retrying, Cancelled] {
        assert!(t.deliveries(&s.root, by(status)).await.is_empty(), "{status:?}");
    }
    let everything = t.deliveries(&s.root, any_delivery()).await;
    assert_eq!(everything.iter().map(|d| d.status).collect::<Vec<_>>(), [Succeeded, Succeeded, Succeeded, Failed]);
    let detail = t.delivery(&s.root, &succeeded[1].id).await;
    assert_eq!(detail.delivery, succeeded[1]);
    assert_eq!(detail.attempt_log.iter().map(|a| a.status_code).collect::<Vec<_>>(), [Some(500), Some(202)]);
    let of_reservation = t.reservations().get(&s.alice, &late.id).await.unwrap().deliveries;
    assert_eq!(of_reservation, [succeeded[1].clone()]);
    let replay = ReplayInput { filter: by(Succeeded), dry_run: false };
    assert_eq!(t.service.deliveries().replay(&s.root, &replay).await.unwrap().redelivered, 3);
    refused(t.service.deliveries().redeliver(&s.root, &t.deliveries(&s.root, by(Pending)).await[0].id).await, Conflict);
}

async fn redelivery_is_a_new_delivery_of_the_same_event(t: TestService) {
    let s = fixture(&t).await;
    t.booking(&s.alice, s.resource, 1, 3).await;
    let first = t.deliveries(&s.root, any_delivery()).await.remove(0);
    refused(t.service.deliveries().redeliver(&s.root, &first.id).await, Conflict);
    drain(&t).await;
    refused(t.service.deliveries().redeliver(&s.alice, &first.id).await, Forbidden);
    refused(t.service.deliveries().redeliver(&s.root, &"dlv_none".into()).await, NotFound);
    let again = t.service.deliveries().redeliver(&s.root, &first.id).await.unwrap();
    assert_eq!((again.status, again.redelivery_of.as_ref()), (Pending, Some(&first.id)));
    assert_eq!(again.event_id, first.event_id);
    drain(&t).await;
    let got = s.receiver.requests();
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].raw, got[1].raw);
    assert_eq!(got[0].header("webhook-id"), got[1].header("webhook-id"));
    assert_ne!(got[0].header("x-webhook-delivery"), got[1].header("x-webhook-delivery"));
}

async fn failed_deliveries_are_replayed_in_bulk_once(t: TestService) {
    let s = fixture(&t).await;
    let patch = WebhookPatch { retry: Some(domain::retry::RetryPolicy { delays: vec![] }), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    s.receiver.respond(Response::status(500));
    let failing = t.booking(&s.alice, s.resource, 1, 2).await;
    drain(&t).await;
    t.reservations().update(&s.alice, &failing.id, retitled("Changed")).await.unwrap();
    drain(&t).await;
    s.receiver.respond(Response::status(200));
    t.booking(&s.alice, s.resource, 3, 4).await;
    drain(&t).await;
    let replay = async |filter: DeliveryFilter, dry_run: bool| {
        let result = t.service.deliveries().replay(&s.root, &ReplayInput { filter, dry_run }).await.unwrap();
        (result.matched, result.redelivered)
    };
    refused(t.service.deliveries().replay(&s.alice, &ReplayInput::default()).await, Forbidden);
    let unfinished = DeliveryFilter { status: Some(Retrying), ..Default::default() };
    refused(t.service.deliveries().replay(&s.root, &ReplayInput { filter: unfinished, dry_run: true }).await, Invalid);
    assert_eq!(replay(of_webhook(s.webhook + 1), false).await, (0, 0));
    assert_eq!(replay(any_delivery(), true).await, (2, 0));
    assert_eq!(s.receiver.count(), 3);
    assert_eq!(replay(any_delivery(), false).await, (2, 2));
    drain(&t).await;
    let events: Vec<_> = s.receiver.requests()[3..].iter().map(|g| g.event().to_owned()).collect();
    assert_eq!(events, ["reservation.created", "reservation.updated"], "in their original order");
    assert_eq!(replay(any_delivery(), false).await, (0, 0), "a second replay sends nothing");
}

/// Attempts that were recorded before transcripts existed are shown as before.
async fn attempt_record_of_older_version_is_shown(t: TestService) {
    let s = fixture(&t).await;
    t.booking(&s.alice, s.resource, 1, 2).await;
    drain(&t).await;
    let id = t.deliveries(&s.root, any_delivery()).await[0].id.clone();
    let shown = t.delivery(&s.root, &id).await;
    let database = t.database().await;
    for (record, readable) in [(serde_json::to_string(&shown.attempt_log[0]).unwrap(), true), ("POST".into(), false)] {
        let sql = "UPDATE attempts SET record = $1";
        let statement = sea_orm::Statement::from_sql_and_values(sea_orm::DbBackend::Sqlite, sql, [record.into()]);
        database.execute_raw(statement).await.unwrap();
        assert_eq!(t.service.deliveries().get(&s.root, &id).await.ok(), readable.then(|| shown.clone()));
    }
}
