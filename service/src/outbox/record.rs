//! Recording of results: ends leases, and writes attempts and the states of deliveries. The caller's transaction also
//! contains the effects on reservations and webhooks.

use super::{ClaimedDelivery, Lease, Outbox, WebhookConfig, WebhookSet};
use crate::db::attempts::{AttemptRow, OnConflict, insert_attempts};
use crate::db::link::DatabaseTransaction;
use crate::db::queue_record::{DeliveryUpdate, LeaseEndings, update_deliveries, webhooks_with_successors};
use crate::error::Result;
use chrono::{DateTime, Utc};
use delivery::AttemptOutcome;
use domain::delivery::{DeliveryStatus, DeliverySummary, Diagnosis, DiagnosisCode, Outcome};
use domain::event::EventType;
use std::collections::HashSet;

/// Number of results in one batch from which the queue has a backlog. Then it is claimed continuously, so successors
/// need not be searched.
const BACKLOG_AT: usize = 128;

/// The result of an attempt, to be recorded.
pub struct AttemptResult {
    claim: ClaimedDelivery,
    pub(crate) outcome: Outcome,
    pub(crate) diagnosis: Diagnosis,
    /// The delivery's new status.
    pub(crate) status: DeliveryStatus,
    /// Due time of the next attempt, if there is one.
    pub(crate) due: Option<DateTime<Utc>>,
    /// The body of the response.
    pub(crate) response: bytes::Bytes,
    /// Whether its content type is JSON.
    pub(crate) response_is_json: bool,
    /// Why its body could not be decoded.
    pub(crate) response_error: Option<String>,
    pub(crate) row: AttemptRow,
    ended: DateTime<Utc>,
}

impl AttemptResult {
    /// Combines a claim with its attempt's outcome, and ends the request: the webhook may start another one.
    pub fn new(mut claim: ClaimedDelivery, mut attempted: AttemptOutcome, ended: DateTime<Utc>) -> Self {
        use rand::Rng as _;
        if let Some(permit) = &mut claim.permit {
            permit.end_request(attempted.status_code.is_some());
        }
        let transcript = std::mem::take(&mut attempted.transcript);
        let (status, due) = if attempted.outcome == Outcome::Succeeded {
            (DeliveryStatus::Succeeded, None)
        } else {
            let jitter = rand::rng().random::<f64>();
            match claim.config.retry.next_attempt(claim.request.attempt, ended, attempted.retry_after, jitter) {
                Some(due) if attempted.diagnosis.code != DiagnosisCode::Gone => (DeliveryStatus::Retrying, Some(due)),
                _ => (DeliveryStatus::Failed, None),
            }
        };
        let row = AttemptRow::new(claim.lease.seq, claim.config.id, status.as_str(), &attempted, transcript);
        let AttemptOutcome { outcome, diagnosis, response_body: response, response_is_json, response_error, .. } =
            attempted;
        Self { claim, outcome, diagnosis, status, due, response, response_is_json, response_error, row, ended }
    }

    /// The claim's lease.
    pub fn lease(&self) -> &Lease {
        &self.claim.lease
    }

    /// Whether only the delivery's own next attempt, which is at least 1 s later, depends on the record.
    pub fn is_retry(&self) -> bool {
        self.due.is_some()
    }

    /// The webhook's settings at the time of the claim.
    pub(crate) fn config(&self) -> &WebhookConfig {
        &self.claim.config
    }

    pub(crate) fn event_type(&self) -> EventType {
        self.claim.request.event_type
    }

    pub(crate) fn reservation_id(&self) -> Option<&str> {
        self.claim.reservation_id.as_deref()
    }

    /// The delivery for subscribers, last updated at `at`.
    pub(crate) fn summary(&self, at: DateTime<Utc>) -> DeliverySummary {
        DeliverySummary {
            status_code: self.row.status_code,
            duration_ms: Some(self.row.duration_ms),
            problem: self.problem().map(str::to_owned),
            next_attempt_at: self.due,
            ..self.claim.summary(self.status, at)
        }
    }

    /// The failure as text, if the attempt failed.
    fn problem(&self) -> Option<&str> {
        (self.outcome == Outcome::Failed).then_some(self.diagnosis.message.as_str())
    }

    /// Drops a response that the database rejects. The outcome is kept.
    pub(crate) fn drop_response(&mut self) {
        self.diagnosis.message = "The response could not be stored.".into();
        self.response = bytes::Bytes::new();
        self.response_is_json = false;
        self.response_error = Some(self.diagnosis.message.clone());
        self.row.drop_response(&self.diagnosis);
    }

    fn update(&self) -> DeliveryUpdate<'_> {
        DeliveryUpdate {
            seq: self.claim.lease.seq,
            status: self.status.as_str(),
            attempts: self.row.attempt,
            status_code: self.row.status_code,
            duration_ms: self.row.duration_ms,
            problem: self.problem().unwrap_or_default(),
            failed_at: (self.status == DeliveryStatus::Failed).then(|| self.ended.timestamp_millis()),
        }
    }
}

/// The mode of recording a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Assumes that every lease is still held and that no attempt's number exists, which is nearly always true. Counts
    /// rows and reads none.
    Optimistic,
    /// Reads which leases are still held.
    Verified,
}

impl Outbox {
    /// Ends the leases of a batch and writes its attempts and delivery states. `rows` are the attempts of the batch.
    /// Returns for each result whether it was applied: one whose lease was lost is kept as an attempt and changes
    /// nothing else. Returns `None` if the optimistic assumptions do not hold; then the transaction must be rolled
    /// back.
    pub(crate) async fn record(
        &self,
        tx: &DatabaseTransaction,
        mode: Mode,
        batch: &[AttemptResult],
        rows: Vec<AttemptRow>,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<bool>>> {
        let db = &self.context.db;
        let at = now.timestamp_millis();
        let Some(held) = self.end_leases(tx, mode, batch, at).await? else { return Ok(None) };
        let mut seen = HashSet::with_capacity(batch.len());
        let mut applied = Vec::with_capacity(batch.len());
        let mut attempts = Vec::with_capacity(batch.len());
        let mut superseded = Vec::new();
        let mut updates = Vec::with_capacity(batch.len());
        for (result, mut row) in batch.iter().zip(rows) {
            let seq = result.claim.lease.seq;
            // After a lease expiry one batch can contain two results of one delivery: the first one is applied.
            let applies = held.contains(&seq) && seen.insert(seq);
            applied.push(applies);
            if !applies {
                // It ended no delivery, so statistics must not count it.
                row.delivery_status = "superseded";
                superseded.push(row);
                continue;
            }
            attempts.push(row);
            if result.status != DeliveryStatus::Succeeded {
                updates.push(result.update());
            }
        }
        update_deliveries(db, tx, &updates, at).await?;
        let on_conflict = match mode {
            Mode::Optimistic => OnConflict::Refuse,
            Mode::Verified => OnConflict::Overwrite,
        };
        if !insert_attempts(db, tx, attempts, on_conflict).await? {
            return Ok(None);
        }
        insert_attempts(db, tx, superseded, OnConflict::Keep).await?;
        Ok(Some(applied))
    }

    /// Ends the leases of a batch: final deliveries leave the queue, the others wait for their next attempt. Returns
    /// the sequence numbers of leases that were still held; `None` if one was lost in the optimistic mode.
    async fn end_leases(
        &self,
        tx: &DatabaseTransaction,
        mode: Mode,
        batch: &[AttemptResult],
        at: i64,
    ) -> Result<Option<HashSet<i64>>> {
        let db = &self.context.db;
        let mut finished = Vec::with_capacity(batch.len());
        let mut retried = Vec::new();
        for result in batch {
            match result.due {
                None => finished.push(&result.claim.lease),
                Some(due) => retried.push((&result.claim.lease, due.timestamp_millis())),
            }
        }
        let endings = LeaseEndings::new(db, finished, &retried, at);
        Ok(match mode {
            Mode::Verified => Some(endings.list(db, tx).await?),
            Mode::Optimistic => {
                let all_held = endings.count(db, tx).await? == batch.len() as u64;
                all_held.then(|| batch.iter().map(|result| result.claim.lease.seq).collect())
            }
        })
    }

    /// The webhooks whose queues contain a successor of these finished deliveries, which can be claimed now. Call it
    /// after the commit: a delivery that is enqueued later causes its own wake-up.
    pub(crate) async fn webhooks_with_successors(&self, finished: &[&AttemptResult]) -> WebhookSet {
        let all = || finished.iter().map(|result| result.claim.config.id).collect();
        if finished.is_empty() || finished.len() >= BACKLOG_AT {
            return all();
        }
        let keys = finished.iter().map(|result| (result.claim.config.id, result.claim.ordering_key.as_str()));
        match webhooks_with_successors(&self.context.db, keys).await {
            Ok(webhooks) => webhooks.into_iter().collect(),
            Err(error) => {
                tracing::debug!(%error, "successors are unknown; all webhooks of the batch are polled");
                all()
            }
        }
    }
}
