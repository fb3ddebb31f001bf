//! Random faults: events keep their order and are delivered under any sequence of faults.

use super::{Fixture, any_delivery, fixture, of_webhook, retitled};
use crate::support::{TestService, step};
use chrono::{DateTime, Duration, Utc};
use domain::delivery::DeliveryStatus::*;
use domain::delivery::{DeliveryFilter, DeliverySummary, ReplayInput};
use domain::event::EventType;
use domain::id::{DeliveryId, ReservationId};
use domain::webhook::{ResumeInput, WebhookPatch};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use service::Service;
use service::dispatcher::Dispatcher;
use service::outbox::{AttemptResult, ClaimedDelivery, WebhookSet};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use test_support::{DatabaseKind, Fixture as _, Response, on_both_databases};

on_both_databases![random_faults_never_reorder_events];

/// One received request.
struct Arrival {
    delivery: DeliveryId,
    attempt: u32,
    accepted: bool,
    /// Whether its lease may have expired before it was sent.
    late: bool,
}

/// Counts of the faults of all runs, without the responses 503.
#[derive(Debug, Default)]
struct Faults {
    fast_path: usize,
    late: usize,
    failed: usize,
    redelivered: usize,
}

/// One run: random failures, pauses, cancellations, redeliveries, replays and expired leases, on the fast path and with dispatchers that
/// crash, stall before they send or are slow to record.
struct Run<'a> {
    t: &'a TestService,
    s: Fixture,
    seed: u64,
    random: StdRng,
    webhooks: [i64; 2],
    /// On PostgreSQL two replicas, on SQLite one process twice.
    services: [Service; 2],
    /// Two dispatchers of each service.
    dispatchers: [[Dispatcher; 2]; 2],
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    /// Each reservation with its events.
    reservations: Vec<(ReservationId, Vec<EventType>)>,
    /// Claims of stalled dispatchers, with the time of the claim.
    unsent: Vec<(Dispatcher, DateTime<Utc>, Vec<ClaimedDelivery>)>,
    unrecorded: Vec<(Dispatcher, Vec<AttemptResult>)>,
    faults: &'a mut Faults,
}

impl<'a> Run<'a> {
    async fn new(t: &'a TestService, seed: u64, faults: &'a mut Faults) -> Self {
        let s = fixture(t).await;
        let second = t.webhook(&s.root, &s.receiver).await;
        // Two attempts instead of four, so that more deliveries fail for good.
        let retry = Some(domain::retry::RetryPolicy { delays: vec![1] });
        t.webhooks().update(&s.root, second, WebhookPatch { retry, ..Default::default() }).await.unwrap();
        let other = if t.is_postgres() { t.replica().await } else { t.service.clone() };
        let services = [t.service.clone(), other];
        let run = Self {
            t,
            seed,
            random: StdRng::seed_from_u64(seed),
            webhooks: [s.webhook, second],
            dispatchers: services.each_ref().map(|service| [service.dispatcher(), service.dispatcher()]),
            services,
            arrivals: Arc::default(),
            reservations: Vec::new(),
            unsent: Vec::new(),
            unrecorded: Vec::new(),
            faults,
            s,
        };
        run.script_receiver();
        run
    }

    /// The receiver rejects 40 % of the requests.
    fn script_receiver(&self) {
        let (seed, arrivals) = (self.seed, self.arrivals.clone());
        let mut attempts: HashMap<u64, u64> = HashMap::new();
        self.s.receiver.respond_with(move |request| {
            // Decided by what is the same in every run of a seed: ids differ, and so does the order of concurrent requests.
            let mut hasher = DefaultHasher::new();
            let webhook = request.body["webhook_id"].as_i64();
            (seed, webhook, request.text("start_time"), request.event(), request.text("title")).hash(&mut hasher);
            let key = hasher.finish();
            let attempt = attempts.entry(key).or_default();
            *attempt += 1;
            let accepted = StdRng::seed_from_u64(key ^ *attempt).random_bool(0.6);
            arrivals.lock().push(Arrival {
                delivery: request.delivery().into(),
                attempt: request.attempt(),
                accepted,
                late: false,
            });
            Response::status(if accepted { 200 } else { 503 })
        });
    }

    /// Makes one random step.
    async fn turn(&mut self, turn: usize) {
        let replica = self.random.random_range(0..2);
        let service = self.services[replica].clone();
        let dispatcher = self.dispatchers[replica][self.random.random_range(0..2)].clone();
        let webhook = self.webhooks[self.random.random_range(0..2)];
        match self.random.random_range(0..18) {
            0 | 1 if self.reservations.len() < 8 => self.reserve().await,
            what @ 2..=5 if !self.reservations.is_empty() => self.change(&service, turn, what == 5).await,
            6 if self.random.random_bool(0.3) => drop(self.t.webhooks().pause(&self.s.root, webhook).await.unwrap()),
            6 => drop(self.t.webhooks().resume(&self.s.root, webhook, ResumeInput::default()).await.unwrap()),
            // A process that claims and crashes.
            7 => drop(dispatcher.claim_once(&WebhookSet::All, 2).await.unwrap()),
            // A process that stalls before it sends.
            8 => {
                let claims = dispatcher.claim_once(&WebhookSet::All, 2).await.unwrap().items;
                self.unsent.push((dispatcher, self.t.now(), claims));
            }
            9 if !self.unsent.is_empty() => {
                let n = self.random.random_range(0..self.unsent.len());
                let claim = self.unsent.swap_remove(n);
                self.send(claim).await;
            }
            // A process that is slow to record.
            10 => {
                let claims = dispatcher.claim_once(&WebhookSet::All, 3).await.unwrap().items;
                let results = dispatcher.send_claimed(claims).await;
                self.unrecorded.push((dispatcher, results));
            }
            11 if !self.unrecorded.is_empty() => {
                let n = self.random.random_range(0..self.unrecorded.len());
                let (dispatcher, results) = self.unrecorded.swap_remove(n);
                dispatcher.record_once(&results).await.unwrap();
            }
            12 if !self.reservations.is_empty() => self.redeliver(&service, webhook).await,
            13 => {
                let input = ReplayInput { filter: any_delivery(), dry_run: false };
                service.deliveries().replay(&self.s.root, &input).await.unwrap();
            }
            _ => {
                self.t.clock.advance(Duration::milliseconds(self.random.random_range(0..6_000)));
                dispatcher.reap_expired_leases(false).await.unwrap();
                step(&dispatcher).await;
            }
        }
    }

    /// Reserves, mostly with an open fast path whose dispatcher stalls.
    async fn reserve(&mut self) {
        let dispatcher = self.dispatchers[0][0].clone();
        let mut fast_path = dispatcher.open_fast_path();
        if self.random.random_bool(0.4) {
            dispatcher.close_fast_path();
        }
        let n = self.reservations.len() as i64;
        let reservation = self.t.booking(&self.s.alice, self.s.resource, 1 + n, 2 + n).await;
        self.reservations.push((reservation.id, vec![EventType::ReservationCreated]));
        while let Ok(claims) = fast_path.try_recv() {
            self.faults.fast_path += claims.len();
            self.unsent.push((dispatcher.clone(), self.t.now(), claims));
        }
        dispatcher.close_fast_path();
    }

    /// Changes a reservation, or perhaps cancels it.
    async fn change(&mut self, service: &Service, turn: usize, cancel: bool) {
        let n = self.random.random_range(0..self.reservations.len());
        let (id, events) = &mut self.reservations[n];
        if events.ends_with(&[EventType::ReservationCancelled]) {
            return;
        }
        if !cancel {
            service.reservations().update(&self.s.alice, id, retitled(&format!("Step {turn}"))).await.unwrap();
            events.push(EventType::ReservationUpdated);
        } else if self.random.random_bool(0.3) {
            service.reservations().cancel(&self.s.alice, id, None).await.unwrap();
            events.push(EventType::ReservationCancelled);
        }
    }

    /// Redelivers a finished delivery of a random reservation.
    async fn redeliver(&mut self, service: &Service, webhook: i64) {
        let n = self.random.random_range(0..self.reservations.len());
        let mut ended = self.log(webhook, &self.reservations[n].0).await;
        ended.retain(|delivery| delivery.status.is_final());
        if !ended.is_empty() {
            let id = &ended[self.random.random_range(0..ended.len())].id;
            service.deliveries().redeliver(&self.s.root, id).await.unwrap();
        }
    }

    /// Sends claims that stalled, and marks their requests if the leases may have expired.
    async fn send(&mut self, (dispatcher, since, claims): (Dispatcher, DateTime<Utc>, Vec<ClaimedDelivery>)) {
        let before = self.arrivals.lock().len();
        let results = dispatcher.send_claimed(claims).await;
        // A lease lasts the time-out (2 s in tests) and 15 s; here it is not renewed.
        let late = self.t.now() - since > Duration::seconds(17);
        self.arrivals.lock()[before..].iter_mut().for_each(|arrival| arrival.late = late);
        self.unrecorded.push((dispatcher, results));
    }

    /// Ends all faults and delivers the remaining events.
    async fn drain(&mut self) {
        for claim in std::mem::take(&mut self.unsent) {
            self.send(claim).await;
        }
        for (dispatcher, results) in std::mem::take(&mut self.unrecorded) {
            dispatcher.record_once(&results).await.unwrap();
        }
        for webhook in self.webhooks {
            self.t.webhooks().resume(&self.s.root, webhook, ResumeInput::default()).await.unwrap();
        }
        let dispatcher = &self.dispatchers[0][0];
        let mut idle = 0;
        // No backoff is longer than one of these steps, and no lease lasts longer than four.
        while idle < 5 {
            self.t.clock.advance(Duration::seconds(5));
            dispatcher.reap_expired_leases(false).await.unwrap();
            idle = if step(dispatcher).await == 0 { idle + 1 } else { 0 };
        }
    }

    /// The deliveries of a reservation to a webhook, oldest first.
    async fn log(&self, webhook: i64, reservation: &ReservationId) -> Vec<DeliverySummary> {
        let filter = DeliveryFilter { reservation_id: Some(reservation.0.clone()), ..of_webhook(webhook) };
        let log = self.t.deliveries(&self.s.root, filter).await;
        assert!(log.len() < 200, "seed {}: a page may not show all deliveries", self.seed);
        log
    }

    /// Asserts that every delivery ended, and that to each webhook an event of a reservation was sent only after every earlier one was
    /// accepted or had its last attempt; then none of the earlier ones was sent again. Exceptions: redeliveries, and requests of a
    /// dispatcher that stalled until its lease expired.
    async fn assert_guarantees(&mut self) {
        let seed = self.seed;
        let arrivals = std::mem::take(&mut *self.arrivals.lock());
        let mut known = HashSet::new();
        for (id, events) in &self.reservations {
            for webhook in self.webhooks {
                let log = self.log(webhook, id).await;
                for delivery in &log {
                    let last = delivery.status == Succeeded
                        || (delivery.status == Failed && delivery.attempts == delivery.max_attempts);
                    assert!(last, "seed {seed}: not finished: {delivery:?}");
                    assert!(
                        end(&arrivals, delivery).is_some(),
                        "seed {seed}: its last attempt never arrived: {delivery:?}"
                    );
                    self.faults.failed += usize::from(delivery.status == Failed);
                    known.insert(delivery.id.clone());
                }
                let (originals, redeliveries): (Vec<_>, Vec<_>) =
                    log.iter().partition(|delivery| delivery.redelivery_of.is_none());
                self.faults.redelivered += redeliveries.len();
                let delivered: Vec<_> = originals.iter().map(|delivery| delivery.event_type).collect();
                assert_eq!(delivered, *events, "seed {seed}");
                for pair in originals.windows(2) {
                    assert_order(seed, &arrivals, pair[0], pair[1]);
                }
            }
        }
        self.faults.late += arrivals.iter().filter(|arrival| arrival.late).count();
        let committed = arrivals.iter().all(|arrival| known.contains(&arrival.delivery));
        assert!(committed, "seed {seed}: a delivery was sent that was never committed");
    }
}

/// The position of the arrival of the attempt that ended a delivery, according to the log.
fn end(arrivals: &[Arrival], delivery: &DeliverySummary) -> Option<usize> {
    arrivals.iter().position(|arrival| {
        arrival.delivery == delivery.id
            && arrival.attempt == delivery.attempts
            && (arrival.accepted || delivery.status == Failed)
    })
}

fn assert_order(seed: u64, arrivals: &[Arrival], earlier: &DeliverySummary, later: &DeliverySummary) {
    let began = arrivals.iter().position(|arrival| arrival.delivery == later.id).unwrap();
    assert!(end(arrivals, earlier) < Some(began), "seed {seed}: {later:?} was sent before the end of {earlier:?}");
    let straggler = arrivals[began..].iter().find(|arrival| arrival.delivery == earlier.id && !arrival.late);
    let straggler = straggler.map(|arrival| arrival.attempt);
    assert_eq!(straggler, None, "seed {seed}: {earlier:?} was sent once more after {later:?}");
}

async fn random_faults_never_reorder_events(kind: DatabaseKind) {
    // Some fixed seeds, and some new ones.
    let seeds = match std::env::var("BERTH_TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("BERTH_TEST_SEED is a number")],
        Err(_) => (0..4).chain(std::iter::repeat_with(rand::random::<u64>).take(3)).collect(),
    };
    let single = seeds.len() == 1;
    let mut faults = Faults::default();
    for seed in seeds {
        // A failed test prints its output: the last of these lines repeats the failure.
        eprintln!("BERTH_TEST_SEED={seed}");
        let t = TestService::start(kind).await;
        let mut run = Run::new(&t, seed, &mut faults).await;
        for turn in 0..180 {
            run.turn(turn).await;
        }
        run.drain().await;
        run.assert_guarantees().await;
    }
    let Faults { fast_path, late, failed, redelivered } = faults;
    let conclusive = single || ![fast_path, late, failed, redelivered].contains(&0);
    assert!(conclusive, "these runs had too few faults to be conclusive: {faults:?}");
}
