//! Clocks that jump while deliveries are under way: nothing is lost, nothing is reordered, leases and retries go on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "support/receiver.rs"]
mod receiver;
mod support;

use chrono::Duration;
use domain::authorization::{Actor, Role};
use domain::delivery::{DeliveryFilter, DeliveryStatus};
use domain::reservation::{Reservation, ReservationPatch};
use domain::resource::ResourceStatus;
use receiver::{Answer, Receiver, drain, step};
use service::Service;
use service::outbox::{ClaimedDelivery, WebhookSet};
use std::collections::HashMap;
use support::{TestService, on_both_engines};

on_both_engines![
    a_day_ahead_in_mid_flight,
    an_hour_back_in_mid_flight,
    an_hour_back_before_the_start,
    a_clock_that_runs_mends_nothing,
];

/// Three weeks ahead, so that no jump ends a reservation.
const AHEAD: i64 = 24 * 21;

/// One reservation in each state that a clock can meet.
struct Stage {
    root: Actor,
    alice: Actor,
    receiver: Receiver,
    /// Its first event is leased to a dispatcher that is gone; a second event waits behind it.
    orphaned: Reservation,
    /// Its first event is on its way.
    under_way: (Vec<ClaimedDelivery>, Reservation),
    /// Its first attempt failed: the next is due in 1 s.
    retrying: Reservation,
    /// Its receiver asked to wait for ten minutes.
    patient: Reservation,
    /// Its event waits for a claim.
    waiting: Reservation,
}

async fn stage(t: &TestService) -> Stage {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = Receiver::start().await;
    t.webhook(&root, &receiver).await;
    // As a dispatcher does when it starts.
    assert_eq!(t.dispatcher().reap_expired_leases(false).await.unwrap(), 0);
    let book = async |slot: i64| t.booking(&alice, resource, AHEAD + slot, AHEAD + slot + 1).await;

    let orphaned = book(0).await;
    assert_eq!(t.dispatcher().claim_once(&WebhookSet::All, 1).await.unwrap().items.len(), 1);
    let patch = ReservationPatch { title: Some("Changed".into()), ..Default::default() };
    t.patch_reservation(&alice, &orphaned.id, patch).await.unwrap();

    let living = t.dispatcher();
    receiver.answer_status(500);
    let retrying = book(1).await;
    assert_eq!(step(&living).await, 1);
    receiver.answer(|_| Answer::Full { status: 503, headers: vec![("retry-after", "600".into())], body: Vec::new() });
    let patient = book(2).await;
    assert_eq!(step(&living).await, 1);
    receiver.answer_status(200);

    let reservation = book(3).await;
    let claims = living.claim_once(&WebhookSet::All, 1).await.unwrap().items;
    assert_eq!(claims.len(), 1);
    let waiting = book(4).await;
    Stage { root, alice, receiver, orphaned, under_way: (claims, reservation), retrying, patient, waiting }
}

impl Stage {
    /// The events that the receiver got of a reservation, in order.
    fn got(&self, reservation: &Reservation) -> Vec<String> {
        let of_it = |got: &receiver::Got| got.text("reservation_id") == reservation.id.as_str();
        self.receiver.got().iter().filter(|got| of_it(got)).map(|got| got.event().to_owned()).collect()
    }

    async fn all_succeeded(&self, t: &TestService) {
        for delivery in t.deliveries(&self.root, DeliveryFilter::default()).await {
            assert_eq!(delivery.status, DeliveryStatus::Succeeded, "{delivery:?}");
        }
        // To the end nothing of a reservation overtook an earlier event of it.
        let mut reached: HashMap<String, usize> = HashMap::new();
        for got in self.receiver.got() {
            let place = ["reservation.created", "reservation.updated"].iter().position(|e| *e == got.event()).unwrap();
            let before = reached.insert(got.text("reservation_id").to_owned(), place);
            assert!(before.is_none_or(|before| before <= place), "{got:?}");
        }
    }
}

const CREATED: &str = "reservation.created";
const UPDATED: &str = "reservation.updated";

async fn a_day_ahead_in_mid_flight(t: TestService) {
    let mut s = stage(&t).await;
    let start = t.now();
    t.clock.advance(Duration::days(1));
    assert_eq!(t.dispatcher().reap_expired_leases(false).await.unwrap(), 2, "every lease seems to have lapsed");
    drain(&t).await;
    assert_eq!(s.got(&s.orphaned), [CREATED, UPDATED]);
    assert_eq!(s.got(&s.retrying), [CREATED, CREATED]);
    assert_eq!(s.got(&s.patient), [CREATED, CREATED]);
    assert_eq!(s.got(&s.waiting), [CREATED]);
    assert_eq!(s.got(&s.under_way.1), [CREATED]);
    // The one that was under way ends after all; it was taken for lost, so that its receiver sees it twice.
    let claims = std::mem::take(&mut s.under_way.0);
    let finished = t.dispatcher().send_claimed(claims).await;
    t.dispatcher().record_once(&finished).await.unwrap();
    assert_eq!(s.got(&s.under_way.1), [CREATED, CREATED]);
    s.all_succeeded(&t).await;

    // The clock is put right again.
    t.clock.set(start + Duration::seconds(5));
    let patch = ReservationPatch { title: Some("Changed".into()), ..Default::default() };
    t.patch_reservation(&s.alice, &s.waiting.id, patch).await.unwrap();
    drain(&t).await;
    assert_eq!(s.got(&s.waiting), [CREATED, UPDATED]);
}

/// What waits goes on after a jump back as if the clock had stood still for a moment.
async fn back(t: &TestService, mut s: Stage, service: &Service) {
    t.clock.advance(Duration::hours(-1));
    assert_eq!(
        service.dispatcher().reap_expired_leases(false).await.unwrap(),
        0,
        "a lease lasts as long as it would have"
    );
    drain(service).await;
    assert_eq!(s.got(&s.waiting), [CREATED], "what was due is due");
    let claims = std::mem::take(&mut s.under_way.0);
    let finished = t.dispatcher().send_claimed(claims).await;
    t.dispatcher().record_once(&finished).await.unwrap();
    assert_eq!(s.got(&s.under_way.1), [CREATED], "what was under way has ended");
    t.clock.advance(Duration::milliseconds(999));
    drain(service).await;
    assert_eq!(s.got(&s.retrying), [CREATED]);
    t.clock.advance(Duration::milliseconds(1));
    drain(service).await;
    assert_eq!(s.got(&s.retrying), [CREATED, CREATED], "a retry comes after its second");
    t.clock.advance(Duration::seconds(17));
    assert_eq!(
        service.dispatcher().reap_expired_leases(false).await.unwrap(),
        1,
        "the lease of the one that is gone lapses"
    );
    drain(service).await;
    assert_eq!(s.got(&s.orphaned), [CREATED, UPDATED]);
    t.clock.advance(Duration::seconds(600 - 18) - Duration::milliseconds(1));
    drain(service).await;
    assert_eq!(s.got(&s.patient), [CREATED], "a wish to wait is still heard");
    t.clock.advance(Duration::milliseconds(1));
    drain(service).await;
    assert_eq!(s.got(&s.patient), [CREATED, CREATED]);
    s.all_succeeded(t).await;
}

async fn an_hour_back_in_mid_flight(t: TestService) {
    let s = stage(&t).await;
    back(&t, s, &t.service).await;
}

/// The process that meets the jump is not the one that wrote.
async fn an_hour_back_before_the_start(t: TestService) {
    let s = stage(&t).await;
    let next = t.replica().await;
    back(&t, s, &next).await;
}

/// Clocks of replicas differ by a little, and looking for lapsed leases brings no retry forward.
async fn a_clock_that_runs_mends_nothing(t: TestService) {
    let s = stage(&t).await;
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
    assert_eq!((s.got(&s.retrying).len(), s.got(&s.patient).len()), (1, 1));
    t.clock.advance(Duration::milliseconds(100));
    drain(&t).await;
    assert_eq!((s.got(&s.retrying).len(), s.got(&s.patient).len()), (2, 1));
}
