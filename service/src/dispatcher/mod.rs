//! The dispatcher: takes claims from the direct lane and from the outbox, sends them in their turn, a few at once, and
//! records what came of them in batches.

mod admission;
mod poll_schedule;

use crate::Service;
use crate::outbox::{AttemptResult, ClaimedDelivery, Lease, Recorded, WebhookSet};
use admission::{AdmissionQueue, Admitted, Origin};
use domain::ProblemKind;
use parking_lot::Mutex;
use poll_schedule::{CAPACITY_POLL, CapacityWatch, PollSchedule, RetryTimers};
use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often the dispatcher polls all queues although nothing woke it.
const POLL: Duration = Duration::from_secs(5);
/// Deliveries that one claim takes at most.
const CLAIM_BATCH: u32 = 512;
/// Results that one commit records at most.
const RECORD_BATCH: usize = 512;
/// While one batch is at the database, another is made ready. An event's successor is only claimed when it is recorded, so
/// that nothing overtakes.
const RECORDERS: usize = 2;
/// SQLite has one writer, where a second batch would only stand in line before the next claim.
const RECORDERS_SQLITE: usize = 1;
/// While so many results wait to be recorded, nothing more is claimed: the database is what is short, and what is claimed
/// only lies in the way of the next claim. Nor while as many as a claim takes wait for their turn.
const BACKPRESSURE_AT: u32 = 4 * RECORD_BATCH as u32;
/// Under load, claims and commits wait this long for what joins them: fewer and larger ones cost less in all.
const BATCH_LINGER: Duration = Duration::from_millis(2);
/// Retries that are due wait this long for others: each was to wait for a second at least.
const RETRY_DUE_LINGER: Duration = Duration::from_millis(10);
/// As long as claims wait for their turn, results may wait longer for each other.
const BACKLOG_LINGER: Duration = Duration::from_millis(6);
/// Failures that are to be retried wait this long for other results to be recorded with. Nobody waits for them, and each commit
/// delays all others.
const RETRY_LINGER: Duration = Duration::from_millis(20);
/// So many results at once mean load.
const LOAD: usize = 16;
/// How long a stopping dispatcher waits for what is under way; then it hands the rest back.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests to receivers that answer at once are made so many at a time for each processor.
const SOFT_LIMIT_PER_CORE: usize = 16;
/// Requests that take this long, or twice as long, let others begin beside them.
const SLOW_AFTER: Duration = Duration::from_millis(5);
/// What is left of attempts that ended is cleared away after this long at the latest.
const REAP_INTERVAL: Duration = Duration::from_millis(250);
/// A lease is renewed this often; it lasts the time-out and 15 s more.
const RENEW: Duration = Duration::from_secs(10);
/// Times that the database may refuse a batch before its results are recorded one by one.
const REFUSALS: u32 = 5;
/// Leases that lapsed are looked for this often.
const RECLAIM: Duration = Duration::from_secs(15);

/// Whether the dispatcher lives, for readiness. Not by the wall clock: that one jumps.
#[derive(Default)]
pub struct Heartbeat {
    beat: Mutex<Option<Instant>>,
}

impl Heartbeat {
    fn beat(&self) {
        *self.beat.lock() = Some(Instant::now());
    }

    /// How long ago the dispatcher last went round; `None` before its first.
    pub fn age(&self) -> Option<Duration> {
        self.beat.lock().map(|beat| beat.elapsed())
    }
}

/// What is under way, and since when.
#[derive(Default)]
struct InFlight(Mutex<HashMap<Lease, Instant>>);

impl InFlight {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<Lease, Instant>) -> T) -> T {
        act(&mut self.0.lock())
    }
}

/// What the tasks of a dispatcher share.
struct Shared {
    open: InFlight,
    /// Claims whose requests are still to be started.
    admission: AdmissionQueue<ClaimedDelivery>,
    room: CapacityWatch,
    due: RetryTimers,
}

impl Shared {
    /// Claims that are not to be sent by this process; their leases, which it no longer renews.
    fn give_up(&self, claims: Vec<ClaimedDelivery>) -> Vec<Lease> {
        let leases: Vec<Lease> = claims.into_iter().map(|claim| claim.lease).collect();
        self.open.with(|since| {
            for lease in &leases {
                since.remove(lease);
            }
        });
        leases
    }
}

/// Where claims are made and results recorded.
struct DbRuntime {
    handle: Handle,
    /// Its own thread ends when this is dropped.
    _end: Option<oneshot::Sender<()>>,
}

impl DbRuntime {
    /// On SQLite a thread of its own. A batch takes many short steps, to and fro between it and the thread that writes, and
    /// among the requests under way each step would wait for hundreds of them to have their turn, while nobody writes.
    /// On PostgreSQL two batches at once make up for that, and connections belong to the threads that opened them.
    async fn start(service: &Service) -> Self {
        let here = Self { handle: Handle::current(), _end: None };
        if service.is_postgres() {
            return here;
        }
        let (started, starting) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("bookkeeping".into()).spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    let _ = started.send(runtime.handle().clone());
                    let _ = runtime.block_on(ended);
                }
                Err(error) => tracing::warn!(%error, "bookkeeping has no thread of its own"),
            }
        });
        match (thread, starting.await) {
            (Ok(_), Ok(handle)) => Self { handle, _end: Some(end) },
            _ => here,
        }
    }
}

/// Runs until `cancel`; then waits for what is under way, at most ten seconds, and hands the rest back.
pub async fn run(service: Service, cancel: CancellationToken, pulse: Arc<Heartbeat>) {
    let owner = service.new_owner();
    let processors = std::thread::available_parallelism().map_or(2, NonZero::get);
    let shared = Arc::new(Shared {
        open: InFlight::default(),
        admission: AdmissionQueue::new(SOFT_LIMIT_PER_CORE * processors),
        room: CapacityWatch::default(),
        due: RetryTimers::default(),
    });
    let (results, received) = mpsc::unbounded_channel();
    let received = Arc::new(tokio::sync::Mutex::new(received));
    let bookkeeping = DbRuntime::start(&service).await;
    let mut recorders = JoinSet::new();
    for _ in 0..if service.is_postgres() { RECORDERS } else { RECORDERS_SQLITE } {
        recorders.spawn_on(record(service.clone(), received.clone(), shared.clone()), &bookkeeping.handle);
    }
    let renewer = tokio::spawn(renew(service.clone(), shared.clone()));
    let mut lane = service.open_fast_path(&owner);
    // Claiming has a task of its own: while it waits for the database, the direct lane goes on.
    let (claims, mut claimed) = mpsc::unbounded_channel();
    let claimer = claim(service.clone(), owner, cancel.clone(), claims, shared.clone(), pulse);
    let claimer = bookkeeping.handle.spawn(claimer);
    let mut attempts: JoinSet<()> = JoinSet::new();
    let join = |origin, claims: Vec<ClaimedDelivery>| {
        let now = Instant::now();
        shared.open.with(|since| since.extend(claims.iter().map(|claim| (claim.lease.clone(), now))));
        shared.admission.push(origin, claims);
    };
    let mut ticker = tokio::time::interval(SLOW_AFTER);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while let Some(turn) = shared.admission.next() {
            attempts.spawn(make(service.clone(), results.clone(), shared.clone(), turn));
        }
        tokio::select! {
            () = cancel.cancelled() => break,
            Some(claims) = lane.recv() => join(Origin::FastPath, claims),
            Some(claims) = claimed.recv() => join(Origin::Queue, claims),
            _ = ticker.tick(), if shared.admission.is_busy() => shared.admission.tick(),
            // Those that ended are cleared away soft_limit: to be woken for each would cost more than it frees.
            () = tokio::time::sleep(REAP_INTERVAL), if !attempts.is_empty() => {}
        }
        while attempts.try_join_next().is_some() {}
    }
    service.close_fast_path();
    lane.close();
    // Others take up at once what was not begun. A claim that the database is at may still come through.
    let unsent = shared.give_up(shared.admission.drain());
    let (_, ()) = tokio::join!(tokio::time::timeout(SHUTDOWN_TIMEOUT, claimer), release_leases(&service, unsent));
    let mut unsent = Vec::new();
    while let Ok(claims) = lane.try_recv() {
        unsent.extend(claims);
    }
    while let Ok(claims) = claimed.try_recv() {
        unsent.extend(claims);
    }
    let unsent = shared.give_up(unsent);
    let finish = tokio::time::timeout(SHUTDOWN_TIMEOUT, async { while attempts.join_next().await.is_some() {} });
    let (finished, ()) = tokio::join!(finish, release_leases(&service, unsent));
    if finished.is_err() {
        attempts.shutdown().await;
    }
    drop(results);
    // The recorders end when the last result is recorded; a database that is away must not hold the process for ever.
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, async { while recorders.join_next().await.is_some() {} }).await.is_err() {
        tracing::error!("results could not be recorded before the stop; their deliveries will be made again");
    }
    renewer.abort();
    release_leases(&service, shared.open.with(|since| since.keys().cloned().collect())).await;
}

/// Puts claims back into the queue, unless the database is away: then their leases lapse.
async fn release_leases(service: &Service, leases: Vec<Lease>) {
    match tokio::time::timeout(SHUTDOWN_TIMEOUT, service.release(&leases)).await {
        Ok(Ok(())) => {}
        Ok(Err(problem)) => tracing::warn!(%problem, "claims could not be handed back; their leases will lapse"),
        Err(_) => tracing::warn!("claims could not be handed back in time; their leases will lapse"),
    }
}

/// Makes an attempt, and others in its place as long as it is their turn.
async fn make(
    service: Service,
    results: mpsc::UnboundedSender<AttemptResult>,
    shared: Arc<Shared>,
    first: Admitted<ClaimedDelivery>,
) {
    let mut next = Some(first);
    while let Some(Admitted { claim, began }) = next {
        let mut broken = PanicGuard { shared: shared.clone(), lease: Some(claim.lease.clone()) };
        let webhook = claim.webhook_id();
        let attempted = service.sender().attempt(&claim.job, service.now()).await;
        let ended = service.now();
        // The recorder outlives every attempt.
        let _ = results.send(AttemptResult::new(claim, attempted, ended));
        broken.lease = None;
        shared.room.end(Some(webhook));
        next = shared.admission.on_complete(began);
    }
}

/// An attempt that ends by a panic has no result: its lease is no longer renewed, so that it lapses and is taken up again.
struct PanicGuard {
    shared: Arc<Shared>,
    lease: Option<Lease>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take().filter(|_| std::thread::panicking()) {
            self.shared.open.with(|since| since.remove(&lease));
        }
    }
}

/// Claims what is due whenever something says that there may be work, and every few seconds although nothing does.
async fn claim(
    service: Service,
    owner: String,
    cancel: CancellationToken,
    claims: mpsc::UnboundedSender<Vec<ClaimedDelivery>>,
    shared: Arc<Shared>,
    pulse: Arc<Heartbeat>,
) {
    let mut timetable = PollSchedule::new(Instant::now());
    let mut reclaim = Instant::now();
    // What a process before this one left is read once, what others add again and again.
    let mut is_new = true;
    loop {
        pulse.beat();
        metrics::gauge!("berth_requests_in_flight").set(f64::from(service.in_flight()));
        let awaited = shared.room.awaited();
        let mut whose = tokio::select! {
            () = cancel.cancelled() => return,
            mut whose = shared.room.next(), if !awaited.is_empty() => {
                tokio::time::sleep(BATCH_LINGER).await;
                whose.union(shared.room.ended());
                whose
            }
            whose = service.change_feed().wait_for_wakeup() => whose,
            mut whose = shared.due.next(|| service.now()) => {
                tokio::time::sleep(RETRY_DUE_LINGER).await;
                whose.union(shared.due.now(service.now()));
                whose
            }
            () = tokio::time::sleep_until(timetable.next(&awaited).into()) => WebhookSet::empty(),
        };
        timetable.begin_poll(Instant::now(), awaited, &mut whose);
        // Leases of processes that died; looked for by the clock, however busy this one is.
        if Instant::now() >= reclaim {
            // First its own: after a pause of the machine or of the database they may have lapsed although this one lives.
            let mine: Vec<Lease> = shared.open.with(|since| since.keys().cloned().collect());
            renew_all(&service, &mine).await;
            if let Err(problem) = service.reap_expired_leases(false).await {
                tracing::warn!(%problem, "lapsed leases wait for the database");
            }
            reclaim = Instant::now() + RECLAIM;
        }
        if service.unrecorded() >= BACKPRESSURE_AT || shared.admission.waiting(Origin::Queue) >= CLAIM_BATCH as usize {
            // Whatever ends brings the time nearer.
            shared.room.begin_poll(&WebhookSet::All);
            timetable.postpone(Instant::now() + CAPACITY_POLL, whose);
            continue;
        }
        shared.room.begin_poll(&whose);
        match service.claim(&owner, &whose, CLAIM_BATCH).await {
            Ok(claim) => {
                shared.room.finish_poll(&whose, claim.awaited);
                if !claim.items.is_empty() && claims.send(claim.items).is_err() {
                    return;
                }
                if whose == WebhookSet::All && (is_new || service.change_feed().has_peers()) {
                    load_retry_timers(&service, &shared.due).await;
                    is_new = false;
                }
            }
            Err(problem) => {
                tracing::warn!(%problem, "dispatching waits for the database");
                shared.room.finish_poll(&whose, WebhookSet::empty());
                timetable.postpone(Instant::now() + Duration::from_secs(1), whose);
            }
        }
    }
}

/// Retries that others recorded, or a process that died, come due here too.
async fn load_retry_timers(service: &Service, due: &RetryTimers) {
    match service.due_within(POLL).await {
        Ok(soon) => soon.into_iter().for_each(|(at, webhook)| due.add(at, webhook)),
        Err(problem) => tracing::warn!(%problem, "what comes due is looked for later"),
    }
}

/// Records results as they come; those that come during a commit share the next.
async fn record(
    service: Service,
    results: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<AttemptResult>>>,
    shared: Arc<Shared>,
) {
    let mut batch = Vec::with_capacity(RECORD_BATCH);
    loop {
        {
            let mut results = results.lock().await;
            if results.recv_many(&mut batch, RECORD_BATCH).await == 0 {
                return;
            }
            linger_for_batch(&mut results, &mut batch, AttemptResult::is_retry, tokio::time::sleep(RETRY_LINGER)).await;
            let crowded = shared.admission.has_backlog();
            if batch.len() < RECORD_BATCH && (crowded || batch.len() >= LOAD) {
                tokio::time::sleep(if crowded { BACKLOG_LINGER } else { BATCH_LINGER }).await;
                while batch.len() < RECORD_BATCH
                    && let Ok(finished) = results.try_recv()
                {
                    batch.push(finished);
                }
            }
        }
        let recorded = record_batch(&service, &mut batch).await;
        shared.open.with(|since| {
            for finished in &batch {
                since.remove(finished.lease());
            }
        });
        batch.clear();
        for (at, webhook) in recorded.due {
            shared.due.add(at, webhook);
        }
        shared.room.end(None);
    }
}

/// Lets results that can wait do so for one that cannot, unless they are many or it is `enough`.
async fn linger_for_batch<R>(
    results: &mut mpsc::UnboundedReceiver<R>,
    batch: &mut Vec<R>,
    can_wait: fn(&R) -> bool,
    enough: impl Future<Output = ()>,
) {
    let mut enough = std::pin::pin!(enough);
    while batch.len() < LOAD && batch.iter().all(can_wait) {
        tokio::select! {
            more = results.recv_many(batch, RECORD_BATCH - LOAD) => if more == 0 { return },
            () = &mut enough => return,
        }
    }
}

/// The only copy of what receivers said: tried until the database takes it. What the database refuses although it is there
/// must not hold up the rest: of such a batch each result is recorded alone, and one that is refused still without what was
/// said.
async fn record_batch(service: &Service, batch: &mut [AttemptResult]) -> Recorded {
    let mut wait = Duration::from_millis(50);
    let mut refused = 0;
    loop {
        match service.record(batch).await {
            Ok(recorded) => return recorded,
            Err(problem) => {
                tracing::warn!(%problem, results = batch.len(), "results wait for the database");
                refused += u32::from(problem.kind != ProblemKind::Unavailable);
            }
        }
        if refused >= REFUSALS {
            break;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(2));
    }
    let mut all = Recorded::default();
    for finished in batch {
        let mut recorded = service.record(std::slice::from_ref(finished)).await;
        if recorded.is_err() {
            finished.drop_response();
            recorded = service.record(std::slice::from_ref(finished)).await;
        }
        // What is refused even so is made again when its lease lapses.
        all.due.extend(recorded.unwrap_or_default().due);
    }
    all
}

/// Renews the leases of what takes long.
async fn renew(service: Service, shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(RENEW).await;
        let old: Vec<Lease> = shared.open.with(|since| {
            since.iter().filter(|(_, at)| at.elapsed() >= RENEW).map(|(lease, _)| lease.clone()).collect()
        });
        renew_all(&service, &old).await;
    }
}

async fn renew_all(service: &Service, leases: &[Lease]) {
    if let Err(problem) = service.renew(leases).await {
        tracing::warn!(%problem, "leases could not be renewed; they last some time yet");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_can_wait_finds_company_but_does_not_wait_for_ever() {
        use std::future::{pending, ready};
        const WAITS: bool = true;
        let can_wait = |waits: &bool| *waits;
        let (sender, mut results) = mpsc::unbounded_channel();
        let mut batch = vec![WAITS, !WAITS];
        linger_for_batch(&mut results, &mut batch, can_wait, pending()).await;
        assert_eq!(batch.len(), 2);
        let mut batch = vec![WAITS; LOAD];
        linger_for_batch(&mut results, &mut batch, can_wait, pending()).await;
        assert_eq!(batch.len(), LOAD, "they are company enough");
        let mut batch = vec![WAITS];
        linger_for_batch(&mut results, &mut batch, can_wait, ready(())).await;
        assert_eq!(batch, [WAITS], "nobody came in time");
        sender.send(WAITS).unwrap();
        let later = async {
            tokio::task::yield_now().await;
            sender.send(!WAITS).unwrap();
            sender.send(!WAITS).unwrap();
        };
        tokio::join!(linger_for_batch(&mut results, &mut batch, can_wait, pending()), later);
        assert_eq!(batch, [WAITS, WAITS, !WAITS, !WAITS]);
        drop(sender);
        let mut batch = vec![WAITS];
        linger_for_batch(&mut results, &mut batch, can_wait, pending()).await;
        assert_eq!(batch, [WAITS], "nobody comes any more");
    }
}
