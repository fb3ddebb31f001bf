//! The claimer: claims due deliveries after a wake-up, and polls all queues periodically.

use super::admission::Origin;
use super::held_leases::renew;
use super::poll_schedule::{CAPACITY_POLL, PollSchedule};
use super::{BACKPRESSURE_AT, BATCH_LINGER, CLAIM_BATCH, Dispatcher, POLL_INTERVAL};
use crate::outbox::{ClaimedDelivery, WebhookSet};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Due retries wait this long for others, so that they share one claim. Their backoff was at least 1 s.
const RETRY_DUE_LINGER: Duration = Duration::from_millis(10);
/// Interval of the search for expired leases.
const REAP_EXPIRED_INTERVAL: Duration = Duration::from_secs(15);
/// The delay before a claim that failed is repeated.
const RETRY_AFTER_ERROR: Duration = Duration::from_secs(1);

/// Claims until `cancel`, and sends the claims to `claims`.
pub(super) async fn run(
    dispatcher: Dispatcher,
    cancel: CancellationToken,
    claims: mpsc::UnboundedSender<Vec<ClaimedDelivery>>,
) {
    let mut claimer = Claimer {
        schedule: PollSchedule::new(Instant::now()),
        reap_at: Instant::now(),
        retries_loaded: false,
        dispatcher,
        claims,
    };
    let engine = claimer.dispatcher.engine.clone();
    loop {
        engine.heartbeat.beat();
        metrics::gauge!("berth_requests_in_flight").set(f64::from(engine.outbox.in_flight()));
        let blocked = engine.capacity.blocked();
        let mut webhooks = tokio::select! {
            () = cancel.cancelled() => return,
            webhooks = claimer.next_work(&blocked) => webhooks,
        };
        claimer.schedule.begin_poll(Instant::now(), blocked, &mut webhooks);
        claimer.reap().await;
        if claimer.has_backpressure() {
            // The end of any request can end the back-pressure.
            engine.capacity.begin_poll(&WebhookSet::All);
            claimer.schedule.postpone(Instant::now() + CAPACITY_POLL, webhooks);
            continue;
        }
        if !claimer.poll(webhooks).await {
            return;
        }
    }
}

struct Claimer {
    dispatcher: Dispatcher,
    claims: mpsc::UnboundedSender<Vec<ClaimedDelivery>>,
    schedule: PollSchedule,
    /// Time of the next search for expired leases.
    reap_at: Instant,
    /// Whether the retries of an earlier process are loaded.
    retries_loaded: bool,
}

impl Claimer {
    /// Waits for work: freed capacity, a wake-up, a due retry, or the next scheduled poll.
    async fn next_work(&self, blocked: &WebhookSet) -> WebhookSet {
        let engine = &self.dispatcher.engine;
        let now = || engine.context.now();
        tokio::select! {
            mut webhooks = engine.capacity.freed(), if !blocked.is_empty() => {
                tokio::time::sleep(BATCH_LINGER).await;
                webhooks.union(engine.capacity.take_freed());
                webhooks
            }
            webhooks = engine.feed.wait_for_wakeup() => webhooks,
            mut webhooks = engine.retries.next(now) => {
                tokio::time::sleep(RETRY_DUE_LINGER).await;
                webhooks.union(engine.retries.take_due(now()));
                webhooks
            }
            () = tokio::time::sleep_until(self.schedule.next(blocked).into()) => WebhookSet::empty(),
        }
    }

    /// Reaps expired leases at a fixed interval, regardless of load.
    async fn reap(&mut self) {
        if Instant::now() < self.reap_at {
            return;
        }
        // Its own leases first: a pause of the machine or of the database may have let them expire while this process
        // runs.
        renew(&self.dispatcher, &self.dispatcher.engine.held_leases.leases()).await;
        if let Err(error) = self.dispatcher.reap_expired_leases(false).await {
            tracing::warn!(%error, "expired leases were not reaped; the next round tries again");
        }
        self.reap_at = Instant::now() + REAP_EXPIRED_INTERVAL;
    }

    /// Whether recording or admission lags behind, so that more claims would only wait.
    fn has_backpressure(&self) -> bool {
        let engine = &self.dispatcher.engine;
        engine.outbox.unrecorded() >= BACKPRESSURE_AT || engine.admission.waiting(Origin::Queue) >= CLAIM_BATCH as usize
    }

    /// Claims once. Returns false if the dispatcher has stopped.
    async fn poll(&mut self, webhooks: WebhookSet) -> bool {
        let engine = &self.dispatcher.engine;
        engine.capacity.begin_poll(&webhooks);
        match self.dispatcher.claim_once(&webhooks, CLAIM_BATCH).await {
            Ok(claim) => {
                engine.capacity.finish_poll(&webhooks, claim.blocked);
                if !claim.items.is_empty() && self.claims.send(claim.items).is_err() {
                    return false;
                }
                // Retries of an earlier process are loaded once, those of other replicas at each poll of all webhooks.
                if webhooks == WebhookSet::All && (!self.retries_loaded || engine.feed.has_peers()) {
                    self.load_retries().await;
                    self.retries_loaded = true;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "claiming failed; it is repeated in 1 s");
                engine.capacity.finish_poll(&webhooks, WebhookSet::empty());
                self.schedule.postpone(Instant::now() + RETRY_AFTER_ERROR, webhooks);
            }
        }
        true
    }

    /// Sets timers for retries that other processes recorded.
    async fn load_retries(&self) {
        let engine = &self.dispatcher.engine;
        match engine.outbox.due_within(POLL_INTERVAL).await {
            Ok(due) => due.into_iter().for_each(|(at, webhook)| engine.retries.add(at, webhook)),
            Err(error) => {
                tracing::warn!(%error, "retries of other processes were not loaded; the next poll finds them")
            }
        }
    }
}
