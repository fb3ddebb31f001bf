#![doc = include_str!("README.md")]

mod admission;
mod claimer;
mod db_runtime;
mod heartbeat;
mod held_leases;
mod membership;
mod poll_schedule;
mod reaper;
mod recorder;
mod sender;

pub use heartbeat::Heartbeat;
pub use recorder::Recorded;
pub(crate) use recorder::Recorder;

use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::error::Result;
use crate::notifications::Notifications;
use crate::outbox::{AttemptResult, Claim, ClaimedDelivery, Lease, Outbox, WebhookSet};
use admission::{AdmissionQueue, Origin};
use db_runtime::DbRuntime;
use held_leases::HeldLeases;
use poll_schedule::{CapacityWatch, RetryTimers};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Interval of polls of all queues without a wake-up.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum number of deliveries of one claim.
const CLAIM_BATCH: u32 = 512;
/// Concurrent recorders: while the database commits one batch, another one is prepared. Concurrent batches do not
/// reorder events, because a delivery's successor is claimed only after its record.
const RECORDERS: usize = 2;
/// SQLite has one writer: a second batch would only delay the next claim.
const RECORDERS_SQLITE: usize = 1;
/// Number of unrecorded results from which nothing is claimed (back-pressure): the database is the bottleneck.
const BACKPRESSURE_AT: u32 = 4 * recorder::RECORD_BATCH as u32;
/// Time that claims and commits wait for more work under load: fewer and larger batches cost less in total.
const BATCH_LINGER: Duration = Duration::from_millis(2);
/// Maximum number of concurrent requests to fast receivers, for each processor.
const SOFT_LIMIT_PER_CORE: usize = 16;
/// A request counts as slow after once to twice this time. Then it no longer counts against the soft limit.
const SLOW_AFTER: Duration = Duration::from_millis(5);
/// Interval at which finished attempt tasks are reaped: a wake-up for each would cost more than its memory.
const JOIN_INTERVAL: Duration = Duration::from_millis(250);
/// Time that a stopping dispatcher waits for each group of tasks before it releases the remaining leases.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// A dispatcher: claims, sends and records deliveries. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    engine: Arc<Engine>,
}

/// State shared by the tasks of a dispatcher.
struct Engine {
    /// The dispatcher's unique name, for the tokens of its claims.
    owner: String,
    context: Context,
    outbox: Outbox,
    feed: ChangeFeed,
    sender: delivery::Sender,
    recorder: Recorder,
    held_leases: HeldLeases,
    /// Claims whose requests have not started.
    admission: AdmissionQueue<ClaimedDelivery>,
    capacity: CapacityWatch,
    retries: RetryTimers,
    heartbeat: Arc<Heartbeat>,
}

/// The steps of a dispatcher. [`run`](Self::run) repeats them concurrently; tests call them one by one.
impl Dispatcher {
    pub(crate) fn new(
        context: Context,
        outbox: Outbox,
        feed: ChangeFeed,
        notifications: Notifications,
        sender: delivery::Sender,
    ) -> Self {
        let processors = std::thread::available_parallelism().map_or(2, NonZero::get);
        let recorder = Recorder { context: context.clone(), outbox: outbox.clone(), feed: feed.clone(), notifications };
        let engine = Engine {
            owner: outbox.new_owner(),
            context,
            outbox,
            feed,
            sender,
            recorder,
            held_leases: HeldLeases::default(),
            admission: AdmissionQueue::new(SOFT_LIMIT_PER_CORE * processors),
            capacity: CapacityWatch::default(),
            retries: RetryTimers::default(),
            heartbeat: Arc::default(),
        };
        Self { engine: Arc::new(engine) }
    }

    /// Claims at most `limit` due deliveries of enabled webhooks in `webhooks`, for each webhook at most as many as its
    /// limits allow. Skips deliveries with an earlier unfinished delivery of the same ordering key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_once(&self, webhooks: &WebhookSet, limit: u32) -> Result<Claim> {
        self.engine.outbox.claim(&self.engine.owner, webhooks, limit).await
    }

    /// Sends claims, all at once. Returns their results in the same order.
    pub async fn send_claimed(&self, claims: Vec<ClaimedDelivery>) -> Vec<AttemptResult> {
        futures::future::join_all(claims.into_iter().map(|claim| self.engine.send(claim))).await
    }

    /// Records results with their effects in one transaction. After an error nothing is recorded, and the same results
    /// can be recorded again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record_once(&self, results: &[AttemptResult]) -> Result<Recorded> {
        self.engine.recorder.record(results).await
    }

    /// Claims, sends and records once. Returns the number of attempts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn step(&self) -> Result<usize> {
        let claims = self.claim_once(&WebhookSet::All, CLAIM_BATCH).await?.items;
        let results = self.send_claimed(claims).await;
        if !results.is_empty() {
            self.record_once(&results).await?;
        }
        Ok(results.len())
    }

    /// Opens the fast path for events that this process commits. It closes when the returned channel is dropped.
    pub fn open_fast_path(&self) -> mpsc::UnboundedReceiver<Vec<ClaimedDelivery>> {
        self.engine.outbox.open_fast_path(&self.engine.owner)
    }

    /// Closes the fast path: later events go to the queue.
    pub fn close_fast_path(&self) {
        self.engine.outbox.close_fast_path();
    }

    /// The heartbeat of [`run`](Self::run).
    pub fn heartbeat(&self) -> Arc<Heartbeat> {
        self.engine.heartbeat.clone()
    }
}

/// The tasks of a running dispatcher.
struct Tasks {
    fast_path: mpsc::UnboundedReceiver<Vec<ClaimedDelivery>>,
    claimed: mpsc::UnboundedReceiver<Vec<ClaimedDelivery>>,
    claimer: JoinHandle<()>,
    recorders: JoinSet<()>,
    renewer: JoinHandle<()>,
    /// Divides the limits of webhooks with other dispatchers; only PostgreSQL has several.
    membership: Option<membership::Member>,
    attempts: JoinSet<()>,
    results: mpsc::UnboundedSender<AttemptResult>,
    /// Kept until the recorders have ended.
    _db_runtime: DbRuntime,
}

impl Dispatcher {
    /// Dispatches until `cancel`. Then it waits for requests in flight, for a limited time, and releases the rest.
    pub async fn run(self, cancel: CancellationToken) {
        let mut tasks = self.start(&cancel).await;
        self.dispatch(&mut tasks, &cancel).await;
        self.stop(tasks).await;
    }

    async fn start(&self, cancel: &CancellationToken) -> Tasks {
        let is_postgres = self.engine.context.db.is_postgres();
        let db_runtime = DbRuntime::start(is_postgres).await;
        let (results, received) = mpsc::unbounded_channel();
        let received = Arc::new(tokio::sync::Mutex::new(received));
        let mut recorders = JoinSet::new();
        for _ in 0..if is_postgres { RECORDERS } else { RECORDERS_SQLITE } {
            recorders.spawn_on(recorder::run(self.clone(), received.clone()), &db_runtime.handle);
        }
        let renewer = tokio::spawn(held_leases::renew_periodically(self.clone()));
        let membership = is_postgres.then(|| membership::join(self));
        let fast_path = self.open_fast_path();
        // A separate task: while it waits for the database, the fast path continues.
        let (claims, claimed) = mpsc::unbounded_channel();
        let claimer = db_runtime.handle.spawn(claimer::run(self.clone(), cancel.clone(), claims));
        let attempts = JoinSet::new();
        Tasks {
            fast_path,
            claimed,
            claimer,
            recorders,
            renewer,
            membership,
            attempts,
            results,
            _db_runtime: db_runtime,
        }
    }

    /// Admits claims of both origins and starts their attempts, until `cancel`.
    async fn dispatch(&self, tasks: &mut Tasks, cancel: &CancellationToken) {
        let engine = &self.engine;
        let admit = |origin, claims: Vec<ClaimedDelivery>| {
            engine.held_leases.add(&claims);
            engine.admission.push(origin, claims);
        };
        let mut ticker = tokio::time::interval(SLOW_AFTER);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some(admitted) = engine.admission.next() {
                let attempts = sender::run_attempts(self.clone(), tasks.results.clone(), admitted);
                // Tokio moves a future several times before and after it runs; this one has 5 KB.
                tasks.attempts.spawn(Box::pin(attempts));
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(claims) = tasks.fast_path.recv() => admit(Origin::FastPath, claims),
                Some(claims) = tasks.claimed.recv() => admit(Origin::Queue, claims),
                _ = ticker.tick(), if engine.admission.is_busy() => engine.admission.tick(),
                () = tokio::time::sleep(JOIN_INTERVAL), if !tasks.attempts.is_empty() => {}
            }
            while tasks.attempts.try_join_next().is_some() {}
        }
    }

    async fn stop(&self, mut tasks: Tasks) {
        let engine = &self.engine;
        self.close_fast_path();
        tasks.fast_path.close();
        // Claims whose requests have not started are released at once. A claim that the database is processing may
        // still arrive.
        let unsent = self.stop_renewing(engine.admission.drain());
        let claimer = tokio::time::timeout(SHUTDOWN_TIMEOUT, tasks.claimer);
        let (_, ()) = tokio::join!(claimer, self.release_leases(unsent));
        let mut unsent = Vec::new();
        while let Ok(claims) = tasks.fast_path.try_recv() {
            unsent.extend(claims);
        }
        while let Ok(claims) = tasks.claimed.try_recv() {
            unsent.extend(claims);
        }
        let unsent = self.stop_renewing(unsent);
        let mut attempts = tasks.attempts;
        let finish = tokio::time::timeout(SHUTDOWN_TIMEOUT, async { while attempts.join_next().await.is_some() {} });
        let (finished, ()) = tokio::join!(finish, self.release_leases(unsent));
        if finished.is_err() {
            attempts.shutdown().await;
        }
        if let Some(membership) = tasks.membership {
            // Not earlier, because requests were in flight.
            membership.leave(self).await;
        }
        drop(tasks.results);
        // The recorders end after the last result. A database outage must not delay the end of the process forever.
        let mut recorders = tasks.recorders;
        let finish = async { while recorders.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, finish).await.is_err() {
            tracing::error!("results were not recorded before the stop; their deliveries are sent again");
        }
        tasks.renewer.abort();
        self.release_leases(engine.held_leases.leases()).await;
    }

    /// Stops renewing the leases of claims that this process will not send, and returns the leases.
    fn stop_renewing(&self, claims: Vec<ClaimedDelivery>) -> Vec<Lease> {
        let leases: Vec<Lease> = claims.into_iter().map(|claim| claim.lease).collect();
        self.engine.held_leases.remove(&leases);
        leases
    }

    /// Requeues claims. During a database outage their leases expire instead.
    async fn release_leases(&self, leases: Vec<Lease>) {
        match tokio::time::timeout(SHUTDOWN_TIMEOUT, self.engine.outbox.release(&leases)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "claims were not released; their leases will expire"),
            Err(_) => tracing::warn!("claims were not released in time; their leases will expire"),
        }
    }
}
