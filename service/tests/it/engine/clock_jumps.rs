//! Clock jumps during delivery: nothing is lost or reordered, and leases and retries continue.

use crate::support::{TestService, drain, step};
use chrono::Duration;
use domain::authorization::{Actor, Role};
use domain::delivery::{DeliveryFilter, DeliveryStatus};
use domain::reservation::{Reservation, ReservationPatch};
use domain::resource::ResourceStatus;
use service::Service;
use service::outbox::{ClaimedDelivery, WebhookSet};
use std::collections::HashMap;
use test_support::{Receiver, Response, on_both_databases};

on_both_databases![
    clock_set_a_day_ahead_with_requests_in_flight,
    clock_set_an_hour_back_with_requests_in_flight,
    clock_set_an_hour_back_before_the_start,
    running_clock_triggers_no_repair,
];

/// Three weeks ahead, so that no clock jump ends a reservation.
const AHEAD: i64 = 24 * 21;

/// One reservation in each state that a clock jump can affect.
struct Fixture {
    root: Actor,
    alice: Actor,
    receiver: Receiver,
    /// Its first event is leased to a dispatcher that has ended; a second event is queued behind it.
    orphaned: Reservation,
    /// Its first event is claimed and not sent.
    in_flight: (Vec<ClaimedDelivery>, Reservation),
    /// Its first attempt failed: the next is due in 1 s.
    retrying: Reservation,
    /// Its receiver responded with `Retry-After: 600`.
    retry_after: Reservation,
    /// Its event is queued.
    queued: Reservation,
}

async fn fixture(t: &TestService) -> Fixture {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = Receiver::start().await;
    t.webhook(&root, &receiver).await;
    // A dispatcher does this when it starts.
    assert_eq!(t.dispatcher().reap_expired_leases(false).await.unwrap(), 0);
    let book = async |slot: i64| t.booking(&alice, resource, AHEAD + slot, AHEAD + slot + 1).await;

    let orphaned = book(0).await;
    assert_eq!(t.dispatcher().claim_once(&WebhookSet::All, 1).await.unwrap().items.len(), 1);
    let patch = ReservationPatch { title: Some("Changed".into()), ..Default::default() };
    t.reservations().update(&alice, &orphaned.id, patch).await.unwrap();

    let dispatcher = t.dispatcher();
    receiver.respond(Response::status(500));
    let retrying = book(1).await;
    assert_eq!(step(&dispatcher).await, 1);
    receiver.respond(Response::status(503).with_header("retry-after", "600"));
    let retry_after = book(2).await;
    assert_eq!(step(&dispatcher).await, 1);
    receiver.respond(Response::status(200));

    let reservation = book(3).await;
    let claims = dispatcher.claim_once(&WebhookSet::All, 1).await.unwrap().items;
    assert_eq!(claims.len(), 1);
    let queued = book(4).await;
    Fixture { root, alice, receiver, orphaned, in_flight: (claims, reservation), retrying, retry_after, queued }
}

impl Fixture {
    /// The events that the receiver got of a reservation, in order.
    fn received_events(&self, reservation: &Reservation) -> Vec<String> {
        let requests = self.receiver.requests().into_iter();
        let of_reservation = requests.filter(|request| request.reservation() == reservation.id.as_str());
        of_reservation.map(|request| request.event().to_owned()).collect()
    }

    async fn all_succeeded(&self, t: &TestService) {
        for delivery in t.deliveries(&self.root, DeliveryFilter::default()).await {
            assert_eq!(delivery.status, DeliveryStatus::Succeeded, "{delivery:?}");
        }
        // No event of a reservation overtook an earlier one.
        let mut reached: HashMap<String, usize> = HashMap::new();
        for got in self.receiver.requests() {
            let place = ["reservation.created", "reservation.updated"].iter().position(|e| *e == got.event()).unwrap();
            let before = reached.insert(got.text("reservation_id").to_owned(), place);
            assert!(before.is_none_or(|before| before <= place), "{got:?}");
        }
    }
}

const CREATED: &str = "reservation.created";
const UPDATED: &str = "reservation.updated";

async fn clock_set_a_day_ahead_with_requests_in_flight(t: TestService) {
    let mut s = fixture(&t).await;
    let start = t.now();
    t.clock.advance(Duration::days(1));
    assert_eq!(t.dispatcher().reap_expired_leases(false).await.unwrap(), 2, "every lease has expired");
    drain(&t).await;
    assert_eq!(s.received_events(&s.orphaned), [CREATED, UPDATED]);
    assert_eq!(s.received_events(&s.retrying), [CREATED, CREATED]);
    assert_eq!(s.received_events(&s.retry_after), [CREATED, CREATED]);
    assert_eq!(s.received_events(&s.queued), [CREATED]);
    assert_eq!(s.received_events(&s.in_flight.1), [CREATED]);
    // The request in flight ends after all. It was claimed again, so its receiver sees it twice.
    let claims = std::mem::take(&mut s.in_flight.0);
    let results = t.dispatcher().send_claimed(claims).await;
    t.dispatcher().record_once(&results).await.unwrap();
    assert_eq!(s.received_events(&s.in_flight.1), [CREATED, CREATED]);
    s.all_succeeded(&t).await;

    // The clock is corrected.
    t.clock.set(start + Duration::seconds(5));
    let patch = ReservationPatch { title: Some("Changed".into()), ..Default::default() };
    t.reservations().update(&s.alice, &s.queued.id, patch).await.unwrap();
    drain(&t).await;
    assert_eq!(s.received_events(&s.queued), [CREATED, UPDATED]);
}

/// After a rollback, deliveries continue as if the clock had paused.
async fn roll_back(t: &TestService, mut s: Fixture, service: &Service) {
    t.clock.advance(Duration::hours(-1));
    assert_eq!(
        service.dispatcher().reap_expired_leases(false).await.unwrap(),
        0,
        "a lease keeps its remaining duration"
    );
    drain(service).await;
    assert_eq!(s.received_events(&s.queued), [CREATED], "a due delivery stays due");
    let claims = std::mem::take(&mut s.in_flight.0);
    let results = t.dispatcher().send_claimed(claims).await;
    t.dispatcher().record_once(&results).await.unwrap();
    assert_eq!(s.received_events(&s.in_flight.1), [CREATED], "the request in flight has ended");
    t.clock.advance(Duration::milliseconds(999));
    drain(service).await;
    assert_eq!(s.received_events(&s.retrying), [CREATED]);
    t.clock.advance(Duration::milliseconds(1));
    drain(service).await;
    assert_eq!(s.received_events(&s.retrying), [CREATED, CREATED], "a retry keeps its backoff");
    t.clock.advance(Duration::seconds(17));
    assert_eq!(
        service.dispatcher().reap_expired_leases(false).await.unwrap(),
        1,
        "the lease of the ended dispatcher expires"
    );
    drain(service).await;
    assert_eq!(s.received_events(&s.orphaned), [CREATED, UPDATED]);
    t.clock.advance(Duration::seconds(600 - 18) - Duration::milliseconds(1));
    drain(service).await;
    assert_eq!(s.received_events(&s.retry_after), [CREATED], "Retry-After is still respected");
    t.clock.advance(Duration::milliseconds(1));
    drain(service).await;
    assert_eq!(s.received_events(&s.retry_after), [CREATED, CREATED]);
    s.all_succeeded(t).await;
}

async fn clock_set_an_hour_back_with_requests_in_flight(t: TestService) {
    let s = fixture(&t).await;
    roll_back(&t, s, &t.service).await;
}

/// The process that detects the rollback did not write the rows.
async fn clock_set_an_hour_back_before_the_start(t: TestService) {
    let s = fixture(&t).await;
    let next = t.replica().await;
    roll_back(&t, s, &next).await;
}

/// A small difference between the clocks of replicas is no rollback, and reaping expired leases does not bring retries forward.
async fn running_clock_triggers_no_repair(t: TestService) {
    let s = fixture(&t).await;
    drain(&t).await;
    for _ in 0..3 {
        t.clock.advance(Duration::milliseconds(300));
        t.dispatcher().reap_expired_leases(false).await.unwrap();
        assert_eq!(step(&t.dispatcher()).await, 0);
    }
    t.clock.advance(Duration::seconds(-3));
    let behind = t.replica().await;
    behind.dispatcher().reap_expired_leases(false).await.unwrap();
    t.clock.advance(Duration::seconds(3));
    t.dispatcher().reap_expired_leases(false).await.unwrap();
    assert_eq!(step(&t.dispatcher()).await, 0);
    assert_eq!((s.received_events(&s.retrying).len(), s.received_events(&s.retry_after).len()), (1, 1));
    t.clock.advance(Duration::milliseconds(100));
    drain(&t).await;
    assert_eq!((s.received_events(&s.retrying).len(), s.received_events(&s.retry_after).len()), (2, 1));
}
