//! The fast path from a commit to the dispatcher.

use super::{any_delivery, fixture, retitled};
use crate::support::{TestService, drain, step};
use chrono::Duration;
use domain::delivery::DeliveryStatus::*;
use test_support::on_both_databases;

on_both_databases![fast_path_needs_no_claim, closed_fast_path_loses_no_event];

async fn fast_path_needs_no_claim(t: TestService) {
    let s = fixture(&t).await;
    let dispatcher = t.dispatcher();
    let mut fast_path = dispatcher.open_fast_path();
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let sending = t.deliveries(&s.root, any_delivery()).await.remove(0);
    assert_eq!((sending.status, sending.attempts), (Sending, 1), "it is claimed by the commit of the reservation");
    t.reservations().update(&s.alice, &reservation.id, retitled("Changed")).await.unwrap();
    assert_eq!(step(&dispatcher).await, 0, "its successor waits for it");
    let direct = fast_path.try_recv().unwrap();
    let results = dispatcher.send_claimed(direct).await;
    dispatcher.record_once(&results).await.unwrap();
    assert_eq!(step(&dispatcher).await, 1);
    assert_eq!(
        s.receiver.requests().iter().map(|g| g.event().to_owned()).collect::<Vec<_>>(),
        ["reservation.created", "reservation.updated"]
    );
    // Its lease expires like any other.
    t.booking(&s.alice, s.resource, 5, 6).await;
    drop(fast_path);
    t.clock.advance(Duration::seconds(18));
    assert_eq!(dispatcher.reap_expired_leases(false).await.unwrap(), 1);
}

async fn closed_fast_path_loses_no_event(t: TestService) {
    let s = fixture(&t).await;
    drop(t.dispatcher().open_fast_path());
    t.booking(&s.alice, s.resource, 1, 3).await;
    assert_eq!(t.deliveries(&s.root, any_delivery()).await[0].status, Pending);
    drain(&t).await;
    assert_eq!(s.receiver.count(), 1);
}
