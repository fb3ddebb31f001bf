//! The recorder: writes results with their effects in one transaction, in batches.

use super::{BATCH_LINGER, Dispatcher};
use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::db::codec::time;
use crate::deliveries::succeeded_at;
use crate::error::Result;
use crate::notifications::Notifications;
use crate::outbox::{AttemptResult, Mode, Outbox};
use crate::provisioning::{self, DeliveryEffect, ProvisioningUpdate};
use crate::reservations::changes_of;
use crate::webhooks::health;
use chrono::{DateTime, Utc};
use domain::change::Change;
use domain::delivery::{DeliveryStatus, Outcome};
use domain::event::EventType;
use domain::id::WebhookId;
use domain::provisioning::ReceiverResponse;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Maximum number of results of one transaction.
pub(super) const RECORD_BATCH: usize = 512;
/// Number of results from which a batch indicates load and lingers for more.
const LOAD_AT: usize = 16;
/// Linger of a batch while claims wait for admission.
const BACKLOG_LINGER: Duration = Duration::from_millis(6);
/// Linger of a batch that contains only retries. Only their own next attempts depend on them, and each commit delays
/// all others.
const RETRY_LINGER: Duration = Duration::from_millis(20);
/// Number of rejections by the database after which the results of a batch are recorded one by one.
const MAX_REJECTIONS: u32 = 5;
/// The delay before a failed batch is recorded again; it doubles up to [`MAX_RETRY_DELAY`].
const RETRY_DELAY: Duration = Duration::from_millis(50);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);

/// The retries that recording scheduled.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// Due time and webhook of each retry.
    pub due: Vec<(DateTime<Utc>, WebhookId)>,
    /// Number of results that were applied. The others had lost their lease.
    pub applied: usize,
}

/// Records batches of results.
pub(crate) struct Recorder {
    pub(crate) context: Context,
    pub(crate) outbox: Outbox,
    pub(crate) feed: ChangeFeed,
    pub(crate) notifications: Notifications,
}

impl Recorder {
    /// Records a batch in one commit: attempts, delivery states, provisioning and webhook health. Then announces the
    /// changes. A result whose lease was lost is kept as an attempt and changes nothing else. After an error nothing is
    /// recorded, and the same batch can be recorded again.
    #[tracing::instrument(level = "debug", skip_all, err(level = "debug"), fields(results = batch.len()))]
    pub(crate) async fn record(&self, batch: &[AttemptResult]) -> Result<Recorded> {
        if let Some(recorded) = self.try_record(Mode::Optimistic, batch).await? {
            return Ok(recorded);
        }
        Ok(self.try_record(Mode::Verified, batch).await?.unwrap_or_default())
    }

    /// Records a batch. Returns `None`, and records nothing, if the assumptions of the optimistic mode do not hold.
    async fn try_record(&self, mode: Mode, batch: &[AttemptResult]) -> Result<Option<Recorded>> {
        let now = self.context.now();
        // Copied before the transaction, which blocks others.
        let rows = batch.iter().map(|result| result.row.clone()).collect();
        let tx = self.context.db.begin_record().await?;
        let Some(applied) = self.outbox.record(&tx, mode, batch, rows, now).await? else {
            tx.rollback().await?;
            return Ok(None);
        };
        let results: Vec<&AttemptResult> =
            batch.iter().zip(&applied).filter_map(|(result, applied)| applied.then_some(result)).collect();
        let db = &self.context.db;
        let updates = results.iter().filter_map(|result| provisioning_update(result)).collect();
        let changed = provisioning::apply(db, &tx, updates, now).await?;
        let mut changes = changes_of(&self.context, &self.feed, &tx, &changed).await?;
        let (health_changes, records) = health::apply(&self.notifications, &tx, results.iter().copied(), now).await?;
        changes.extend(health_changes);
        self.context.trail.append(&tx, &records).await?;
        tx.commit().await?;
        record_metrics(batch, &applied);
        if self.feed.has_subscribers() {
            changes
                .extend(results.iter().map(|result| Change::Delivery(Box::new(result.summary(ended_at(result, now))))));
        }
        self.feed.publish(changes);
        let finished: Vec<_> = results.iter().copied().filter(|result| result.status.is_final()).collect();
        self.feed.wake_dispatchers(self.outbox.webhooks_with_successors(&finished).await);
        let due = results.iter().filter_map(|result| Some((result.due?, result.config().id))).collect();
        Ok(Some(Recorded { due, applied: results.len() }))
    }
}

/// The effect of a result on its reservation; `None` for a webhook that does not drive provisioning, and for a retry of
/// anything but a change.
fn provisioning_update(result: &AttemptResult) -> Option<ProvisioningUpdate<'_>> {
    let reservation_id = result.reservation_id().filter(|_| result.config().provisions)?;
    let event = result.event_type();
    // The owner of the reservation sees it. Administrators see the complete diagnosis in the log.
    let reason = result.diagnosis.public_message();
    let effect = match result.status {
        DeliveryStatus::Succeeded => {
            let status_code = result.row.status_code.unwrap_or_default();
            let response = match &result.response_error {
                Some(problem) => ReceiverResponse::undecodable(event, problem),
                None => ReceiverResponse::parse(event, status_code, result.response_is_json, &result.response),
            };
            DeliveryEffect::Response(Box::new(response), time(result.row.started_at))
        }
        DeliveryStatus::Failed => DeliveryEffect::Failure(reason),
        _ if event == EventType::ReservationUpdated => DeliveryEffect::Retry(reason, result.due?),
        _ => return None,
    };
    Some(ProvisioningUpdate { reservation_id, webhook: result.config().driving_webhook(), event, effect })
}

/// Time of a delivery's last update. For a success it is derived from the attempt, as in the log.
fn ended_at(result: &AttemptResult, now: DateTime<Utc>) -> DateTime<Utc> {
    match result.status {
        DeliveryStatus::Succeeded => succeeded_at(result.row.started_at, result.row.duration_ms),
        _ => now,
    }
}

/// Counts a recorded batch in the metrics.
fn record_metrics(batch: &[AttemptResult], applied: &[bool]) {
    let duration = metrics::histogram!("berth_attempt_duration_seconds");
    let outcomes = [Outcome::Succeeded, Outcome::Failed];
    let mut attempts = [0; 2];
    let mut deliveries = [0; 2];
    let mut without_lease = 0;
    for (result, applied) in batch.iter().zip(applied) {
        let outcome = usize::from(result.outcome == Outcome::Failed);
        duration.record(result.row.duration_ms / 1_000.0);
        attempts[outcome] += 1;
        deliveries[outcome] += u64::from(*applied && result.status.is_final());
        without_lease += u64::from(!applied);
    }
    for (n, outcome) in outcomes.iter().enumerate() {
        let label = outcome.as_str();
        metrics::counter!("berth_attempts_total", "outcome" => label).increment(attempts[n]);
        metrics::counter!("berth_deliveries_total", "outcome" => label).increment(deliveries[n]);
    }
    if without_lease > 0 {
        metrics::counter!("berth_results_without_lease_total").increment(without_lease);
    }
}

/// Records results as they arrive, until the last sender is dropped. Results that arrive during a commit share the next
/// one.
pub(super) async fn run(
    dispatcher: Dispatcher,
    results: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<AttemptResult>>>,
) {
    let engine = &dispatcher.engine;
    let mut batch = Vec::with_capacity(RECORD_BATCH);
    loop {
        {
            let mut results = results.lock().await;
            if results.recv_many(&mut batch, RECORD_BATCH).await == 0 {
                return;
            }
            linger_for_batch(&mut results, &mut batch, AttemptResult::is_retry, tokio::time::sleep(RETRY_LINGER)).await;
            let has_backlog = engine.admission.has_backlog();
            if batch.len() < RECORD_BATCH && (has_backlog || batch.len() >= LOAD_AT) {
                tokio::time::sleep(if has_backlog { BACKLOG_LINGER } else { BATCH_LINGER }).await;
                while batch.len() < RECORD_BATCH
                    && let Ok(result) = results.try_recv()
                {
                    batch.push(result);
                }
            }
        }
        let recorded = record_until_stored(&engine.recorder, &mut batch).await;
        engine.held_leases.remove(batch.iter().map(AttemptResult::lease));
        batch.clear();
        for (at, webhook) in recorded.due {
            engine.retries.add(at, webhook);
        }
        engine.capacity.batch_recorded();
    }
}

/// Waits for more results while the batch is small and all its results can wait, until `timeout` is ready.
async fn linger_for_batch<R>(
    results: &mut mpsc::UnboundedReceiver<R>,
    batch: &mut Vec<R>,
    can_wait: fn(&R) -> bool,
    timeout: impl Future<Output = ()>,
) {
    let mut timeout = std::pin::pin!(timeout);
    while batch.len() < LOAD_AT && batch.iter().all(can_wait) {
        tokio::select! {
            more = results.recv_many(batch, RECORD_BATCH - LOAD_AT) => if more == 0 { return },
            () = &mut timeout => return,
        }
    }
}

/// Records a batch, the only copy of its responses, and retries until the database accepts it. A batch that an
/// available database rejects must not block the others. Its results are then recorded one by one, without the response
/// if rejected again.
async fn record_until_stored(recorder: &Recorder, batch: &mut [AttemptResult]) -> Recorded {
    let mut delay = RETRY_DELAY;
    let mut rejections = 0;
    loop {
        match recorder.record(batch).await {
            Ok(recorded) => return recorded,
            Err(error) => {
                tracing::warn!(%error, results = batch.len(), "results were not recorded; trying again");
                rejections += u32::from(!error.is_outage());
            }
        }
        if rejections >= MAX_REJECTIONS {
            break;
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(MAX_RETRY_DELAY);
    }
    let mut all = Recorded::default();
    for result in batch {
        let mut recorded = recorder.record(std::slice::from_ref(result)).await;
        if recorded.is_err() {
            result.drop_response();
            recorded = recorder.record(std::slice::from_ref(result)).await;
        }
        match recorded {
            Ok(recorded) => {
                all.due.extend(recorded.due);
                all.applied += recorded.applied;
            }
            Err(error) => {
                tracing::error!(%error, "a result was rejected; its delivery is sent again when its lease expires")
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn retries_linger_for_other_results_but_not_forever() {
        use std::future::{pending, ready};
        const RETRY: bool = true;
        let can_wait = |is_retry: &bool| *is_retry;
        let (sender, mut results) = mpsc::unbounded_channel();
        let mut batch = vec![RETRY, !RETRY];
        linger_for_batch(&mut results, &mut batch, can_wait, pending()).await;
        assert_eq!(batch.len(), 2);
        let mut batch = vec![RETRY; LOAD_AT];
        linger_for_batch(&mut results, &mut batch, can_wait, pending()).await;
        assert_eq!(batch.len(), LOAD_AT, "a large batch does not wait");
        let mut batch = vec![RETRY];
        linger_for_batch(&mut results, &mut batch, can_wait, ready(())).await;
        assert_eq!(batch, [RETRY], "no result arrived in time");
        sender.send(RETRY).unwrap();
        let later = async {
            tokio::task::yield_now().await;
            sender.send(!RETRY).unwrap();
            sender.send(!RETRY).unwrap();
        };
        tokio::join!(linger_for_batch(&mut results, &mut batch, can_wait, pending()), later);
        assert_eq!(batch, [RETRY, RETRY, !RETRY, !RETRY]);
        drop(sender);
        let mut batch = vec![RETRY];
        linger_for_batch(&mut results, &mut batch, can_wait, pending()).await;
        assert_eq!(batch, [RETRY], "the channel is closed");
    }
}
