//! Leases: expiry, renewal, release, and results that arrive after the lease was lost.

use super::{any_delivery, fixture};
use crate::support::{TestService, step};
use chrono::Duration;
use domain::delivery::DeliveryStatus::*;
use domain::delivery::Outcome;
use domain::provisioning::ProvisioningStatus;
use domain::webhook::{WebhookPatch, WebhookState};
use sea_orm::ConnectionTrait as _;
use service::outbox::{Lease, WebhookSet};
use test_support::{Response, on_both_databases};

on_both_databases![
    expired_lease_is_claimed_by_another_dispatcher,
    result_after_lost_lease_changes_nothing,
    late_result_is_not_taken_for_a_later_claim_of_the_same_dispatcher,
    renewed_lease_does_not_expire,
    released_claim_does_not_count_as_attempt,
    entry_requeued_before_the_scan_cursor_is_claimed,
];

on_both_databases![sqlite only: delivery_cancelled_during_claim_is_not_claimed];

on_both_databases![postgres only: claim_skips_locked_row, renewal_skips_rows_being_recorded];

async fn expired_lease_is_claimed_by_another_dispatcher(t: TestService) {
    let s = fixture(&t).await;
    t.booking(&s.alice, s.resource, 1, 3).await;
    let dead = t.dispatcher();
    let lost = dead.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!(lost.len(), 1);
    let sending = t.deliveries(&s.root, any_delivery()).await.remove(0);
    assert_eq!((sending.status, sending.attempts), (Sending, 1));
    // Its process ends here. The lease lasts the time-out (2 s in tests) and the margin of 15 s.
    drop(lost);
    let successor = t.dispatcher();
    t.clock.advance(Duration::seconds(17));
    assert_eq!(t.dispatcher().reap_expired_leases(false).await.unwrap(), 0);
    assert_eq!(step(&successor).await, 0);
    t.clock.advance(Duration::milliseconds(1));
    assert_eq!(t.dispatcher().reap_expired_leases(false).await.unwrap(), 1);
    assert_eq!(step(&successor).await, 1);
    assert_eq!(s.receiver.last().header("x-webhook-attempt"), "1", "an attempt without a result does not count");
    assert_eq!(t.deliveries(&s.root, any_delivery()).await[0].status, Succeeded);
    // After a crash, the only process of a database does not wait for its own leases.
    t.booking(&s.alice, s.resource, 5, 6).await;
    drop(dead.claim_once(&WebhookSet::All, 10).await.unwrap());
    assert_eq!(t.dispatcher().reap_expired_leases(true).await.unwrap(), 1);
    assert_eq!(step(&successor).await, 1);
}

async fn result_after_lost_lease_changes_nothing(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let (slow, successor) = (t.dispatcher(), t.dispatcher());
    s.receiver.respond(Response::status(500));
    let late = slow.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    let late = t.dispatcher().send_claimed(late).await;
    t.clock.advance(Duration::seconds(18));
    t.dispatcher().reap_expired_leases(false).await.unwrap();
    let reclaimed = successor.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!(reclaimed.len(), 1);
    // The first process was only slow: its result arrives while the second one is sending.
    assert!(t.dispatcher().record_once(&late).await.unwrap().due.is_empty());
    let delivery = t.deliveries(&s.root, any_delivery()).await.remove(0);
    assert_eq!(delivery.status, Sending);
    s.receiver.respond(Response::status(200));
    let results = t.dispatcher().send_claimed(reclaimed).await;
    t.dispatcher().record_once(&results).await.unwrap();
    // And once more, as after a commit whose confirmation was lost.
    t.dispatcher().record_once(&late).await.unwrap();
    t.dispatcher().record_once(&results).await.unwrap();
    let detail = t.delivery(&s.root, &delivery.id).await;
    assert_eq!((detail.delivery.status, detail.delivery.attempts), (Succeeded, 1));
    assert_eq!(detail.attempt_log.len(), 1);
    assert_eq!(detail.attempt_log[0].outcome, Outcome::Succeeded, "the log shows the result that was applied");
    let provisioning = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
    assert_eq!(provisioning.status, ProvisioningStatus::Ready);
    let summary = t.webhooks().get(&s.root, s.webhook).await.unwrap().summary;
    assert_eq!((summary.deliveries, summary.success_rate), (1, Some(1.0)));
}

/// A process that stalled claims its own expired delivery again: two requests of one process for one attempt.
async fn late_result_is_not_taken_for_a_later_claim_of_the_same_dispatcher(t: TestService) {
    let s = fixture(&t).await;
    t.booking(&s.alice, s.resource, 1, 3).await;
    let dispatcher = t.dispatcher();
    s.receiver.respond(Response::status(410));
    let first = dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    let first = dispatcher.send_claimed(first).await;
    t.clock.advance(Duration::seconds(18));
    assert_eq!(dispatcher.reap_expired_leases(false).await.unwrap(), 1);
    s.receiver.respond(Response::status(200));
    let second = dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!((second.len(), second[0].request.attempt), (1, 1));
    dispatcher.record_once(&first).await.unwrap();
    assert_eq!(t.deliveries(&s.root, any_delivery()).await[0].status, Sending, "the second request is still in flight");
    assert_eq!(t.webhooks().get(&s.root, s.webhook).await.unwrap().state, WebhookState::Enabled);
    let second = dispatcher.send_claimed(second).await;
    dispatcher.record_once(&second).await.unwrap();
    assert_eq!(t.deliveries(&s.root, any_delivery()).await[0].status, Succeeded);
}

async fn renewed_lease_does_not_expire(t: TestService) {
    let s = fixture(&t).await;
    t.booking(&s.alice, s.resource, 1, 3).await;
    let dispatcher = t.dispatcher();
    let claims = dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    for _ in 0..5 {
        t.clock.advance(Duration::seconds(10));
        t.outbox().renew(&[claims[0].lease.clone()]).await.unwrap();
        assert_eq!(dispatcher.reap_expired_leases(false).await.unwrap(), 0);
    }
    let foreign_lease = Lease { token: "another/0".into(), ..claims[0].lease.clone() };
    t.outbox().renew(&[foreign_lease]).await.unwrap();
    t.clock.advance(Duration::seconds(18));
    assert_eq!(dispatcher.reap_expired_leases(false).await.unwrap(), 1, "another dispatcher's lease is not renewed");
}

async fn released_claim_does_not_count_as_attempt(t: TestService) {
    let s = fixture(&t).await;
    s.receiver.respond(Response::status(500));
    t.booking(&s.alice, s.resource, 1, 3).await;
    let dispatcher = t.dispatcher();
    step(&dispatcher).await;
    t.clock.advance(Duration::seconds(1));
    let claims = dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    let leases: Vec<Lease> = claims.iter().map(|c| c.lease.clone()).collect();
    let foreign_leases: Vec<Lease> = leases.iter().map(|l| Lease { token: "another/0".into(), ..l.clone() }).collect();
    t.outbox().release(&foreign_leases).await.unwrap();
    assert_eq!(
        t.deliveries(&s.root, any_delivery()).await[0].status,
        Sending,
        "another dispatcher's claim is not released"
    );
    t.outbox().release(&leases).await.unwrap();
    let delivery = &t.deliveries(&s.root, any_delivery()).await[0];
    assert_eq!((delivery.status, delivery.attempts), (Retrying, 1));
    step(&t.dispatcher()).await;
    assert_eq!(s.receiver.last().header("x-webhook-attempt"), "2");
}

async fn entry_requeued_before_the_scan_cursor_is_claimed(t: TestService) {
    let s = fixture(&t).await;
    let patch = WebhookPatch { max_in_flight: Some(2_000), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    for n in 0..60 {
        t.booking(&s.alice, s.resource, n, n + 1).await;
    }
    let dispatcher = t.dispatcher();
    let database = t.database().await;
    // As another process does when it releases its claims.
    let requeue = async |leases: &[Lease]| {
        let seqs = leases.iter().map(|lease| lease.seq.to_string()).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "UPDATE outbox SET attempts = attempts - 1, lease_owner = NULL, lease_until = NULL WHERE seq IN ({seqs})"
        );
        database.execute_unprepared(&sql).await.unwrap();
    };
    let mut open = Vec::new();
    let mut claim = async |limit: u32| {
        let claim = dispatcher.claim_once(&WebhookSet::All, limit).await.unwrap();
        let leases: Vec<Lease> = claim.items.iter().map(|claimed| claimed.lease.clone()).collect();
        open.extend(claim.items);
        leases
    };
    let first = claim(4).await;
    claim(4).await;
    requeue(&first).await;
    // While the queue is full, within a few claims.
    let mut claims = 0;
    loop {
        claims += 1;
        let leases = claim(4).await;
        assert_eq!(leases.len(), 4);
        if leases.iter().map(|lease| lease.seq).eq(first.iter().map(|lease| lease.seq)) {
            break;
        }
        assert!(claims < 10, "the released entry waits behind all others");
    }
    // At once when the rest of the queue is claimed.
    let second = claim(4).await;
    let left = 60 - 8 - 4 * (claims - 1) - 4;
    requeue(&second[..2]).await;
    assert_eq!(claim(60).await.len(), left + 2);
    assert!(claim(60).await.is_empty());
}

/// A claim that waits for a row of another transaction would delay every webhook.
async fn claim_skips_locked_row(t: TestService) {
    let s = fixture(&t).await;
    t.booking(&s.alice, s.resource, 1, 2).await;
    t.booking(&s.alice, s.resource, 2, 3).await;
    let database = t.database().await;
    let lock = sea_orm::TransactionTrait::begin(&database).await.unwrap();
    lock.execute_unprepared("SELECT seq FROM outbox ORDER BY seq LIMIT 1 FOR UPDATE").await.unwrap();
    let dispatcher = t.dispatcher();
    assert_eq!(step(&dispatcher).await, 1);
    lock.rollback().await.unwrap();
    assert_eq!(step(&dispatcher).await, 1);
}

/// Renewal does not wait for locks: a recorder holds some rows and waits for others, and the two would deadlock.
async fn renewal_skips_rows_being_recorded(t: TestService) {
    let s = fixture(&t).await;
    t.booking(&s.alice, s.resource, 1, 2).await;
    t.booking(&s.alice, s.resource, 2, 3).await;
    let claims = t.dispatcher().claim_once(&WebhookSet::All, 10).await.unwrap().items;
    let leases: Vec<Lease> = claims.iter().map(|claim| claim.lease.clone()).collect();
    let database = t.database().await;
    let recording = sea_orm::TransactionTrait::begin(&database).await.unwrap();
    recording.execute_unprepared("DELETE FROM outbox WHERE seq = (SELECT MIN(seq) FROM outbox)").await.unwrap();
    t.clock.advance(Duration::seconds(10));
    // Without SKIP LOCKED it would wait forever here.
    t.outbox().renew(&leases).await.unwrap();
    recording.commit().await.unwrap();
    t.clock.advance(Duration::seconds(10));
    assert_eq!(t.dispatcher().reap_expired_leases(false).await.unwrap(), 0, "the other one was renewed");
    assert_eq!(
        t.deliveries(&s.root, any_delivery()).await.iter().filter(|delivery| delivery.status == Sending).count(),
        1
    );
}

/// SQLite finds due deliveries before it writes their leases: a delivery that is cancelled in between is not claimed.
async fn delivery_cancelled_during_claim_is_not_claimed(t: TestService) {
    let s = fixture(&t).await;
    for n in 0..3 {
        t.booking(&s.alice, s.resource, n, n + 1).await;
    }
    let database = t.database().await;
    let cancelling = sea_orm::TransactionTrait::begin(&database).await.unwrap();
    let first = "(SELECT MIN(seq) FROM outbox)";
    cancelling.execute_unprepared(&format!("DELETE FROM outbox WHERE seq = {first}")).await.unwrap();
    cancelling.execute_unprepared(&format!("UPDATE outbox SET attempts = 1 WHERE seq = {first}")).await.unwrap();
    let dispatcher = t.dispatcher();
    let mut claim = std::pin::pin!(dispatcher.claim_once(&WebhookSet::All, 10));
    // The only writer is busy, so the claim may have read, but has not written.
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), claim.as_mut()).await.is_err());
    cancelling.commit().await.unwrap();
    let claims = claim.await.unwrap().items;
    assert_eq!(claims.iter().map(|claim| claim.request.attempt).collect::<Vec<_>>(), [1]);
    let again = dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!(
        again.iter().map(|claim| claim.request.attempt).collect::<Vec<_>>(),
        [2],
        "read again, it has its new number"
    );
}
