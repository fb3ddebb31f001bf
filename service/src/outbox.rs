//! The outbox: enqueue in the causing transaction, claim with a lease, record in batches. The only way to publish an event.
//!
//! Two ways lead from a committed event to its first request. The common one is the **direct lane**: where this process
//! dispatches and the webhook has room, the delivery is inserted as already claimed by it, so that no second transaction
//! stands between commit and request. Otherwise the row waits as `pending` and a dispatcher claims it. Either way the row
//! is durable before anything is sent, and a crash leaves a lease that lapses.

mod claim;
mod clock_skew;
mod config;
mod leases;
mod limits;
mod record;
mod scan_cursor;

pub(crate) use crate::db::bulk::{AttemptRow, BulkValues, MAX_ROWS, OnConflict};
pub use crate::wake::{Wake, WebhookSet};
pub use claim::Claim;
pub(crate) use config::Configs;
pub use config::WebhookConfig;
pub use limits::{ConcurrencyLimits, Permit};
pub use record::Recorded;

use crate::Service;
use crate::db::codec::{get, to_json};
use crate::error::db_problem;
use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use domain::change::Change;
use domain::delivery::{DeliveryStatus, DeliverySummary, Diagnosis, DiagnosisCode, Outcome};
use domain::event::EventBody;
use domain::id::{DeliveryId, WebhookId};
use domain::webhook::WebhookState;
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait as _, DatabaseTransaction};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// Writes an open delivery's place into the queue, from a source `r`.
pub(crate) const INSERT_OUTBOX: &str =
    "INSERT INTO outbox (seq, webhook_id, ordering_key, due_at, attempts, lease_owner, lease_until, updated_at, fresh)";
/// An entry `o` of the queue that waits; others are leased.
const UNLEASED: &str = "o.lease_owner IS NULL";

/// Why a deleted webhook's deliveries were cancelled.
pub(crate) const DELETED: &str = "The service was not told: its webhook was deleted.";

/// The engine's memory.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) configs: Mutex<Option<Arc<Configs>>>,
    pub(crate) limits: Arc<ConcurrencyLimits>,
    cursors: scan_cursor::ScanCursors,
    lane: Mutex<Option<FastPath>>,
    /// How many claims were made.
    claims: AtomicUsize,
    /// Whose turn it is to be first in a claim.
    turn: AtomicUsize,
    /// The time of the last look for lapsed leases, in milliseconds; 0 before the first.
    latest: AtomicI64,
}

/// The direct lane into this process's dispatcher.
#[derive(Clone)]
struct FastPath {
    owner: Arc<str>,
    sender: mpsc::UnboundedSender<Vec<ClaimedDelivery>>,
}

/// The right to send a delivery and to record what came of it. No two claims have the same token, so that a result whose
/// lease lapsed cannot pass for that of a later claim, not even of the same process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The delivery's place in the outbox.
    pub seq: i64,
    /// What stands in its row: the dispatcher and the number of its claim.
    pub token: Arc<str>,
}

/// A claimed delivery, ready to be sent.
pub struct ClaimedDelivery {
    /// Its lease.
    pub lease: Lease,
    /// What `delivery::Sender` needs.
    pub job: delivery::DeliveryRequest,
    config: Arc<WebhookConfig>,
    ordering_key: String,
    reservation_id: Option<String>,
    created_at: DateTime<Utc>,
    redelivery_of: Option<DeliveryId>,
    /// Its place among the webhook's requests under way.
    permit: Permit,
}

impl ClaimedDelivery {
    /// The webhook.
    pub fn webhook_id(&self) -> WebhookId {
        self.config.id
    }

    fn summary(&self, status: DeliveryStatus, now: DateTime<Utc>) -> DeliverySummary {
        DeliverySummary {
            id: self.job.delivery_id.clone(),
            event_id: self.job.event_id.clone(),
            event_type: self.job.event_type,
            webhook_id: self.config.id,
            webhook_name: self.config.name.clone(),
            reservation_id: self.reservation_id.clone(),
            status,
            test: false,
            attempts: self.job.attempt,
            max_attempts: self.config.retry.max_attempts(),
            status_code: None,
            duration_ms: None,
            problem: None,
            next_attempt_at: None,
            created_at: self.created_at,
            updated_at: now,
            redelivery_of: self.redelivery_of.clone(),
        }
    }
}

/// A finished attempt, to be recorded.
pub struct AttemptResult {
    claim: ClaimedDelivery,
    outcome: Outcome,
    diagnosis: Diagnosis,
    /// What becomes of the delivery, and when it is tried again, if it is.
    status: DeliveryStatus,
    due: Option<DateTime<Utc>>,
    answer: bytes::Bytes,
    /// Its row.
    row: AttemptRow,
    ended: DateTime<Utc>,
}

impl AttemptResult {
    /// Joins a claim with what came of it; the webhook has room for another request from here on.
    pub fn new(mut claim: ClaimedDelivery, mut attempted: delivery::AttemptOutcome, ended: DateTime<Utc>) -> Self {
        use rand::Rng as _;
        claim.permit.end_request(attempted.status_code.is_some());
        let record = std::mem::take(&mut attempted.transcript);
        let delivery::AttemptOutcome { outcome, retry_after, .. } = attempted;
        let (status, due) = if outcome == Outcome::Succeeded {
            (DeliveryStatus::Succeeded, None)
        } else {
            let jitter = rand::rng().random::<f64>();
            match claim.config.retry.next_attempt(claim.job.attempt, ended, retry_after, jitter) {
                Some(due) if attempted.diagnosis.code != DiagnosisCode::Gone => (DeliveryStatus::Retrying, Some(due)),
                _ => (DeliveryStatus::Failed, None),
            }
        };
        let row = AttemptRow::new(claim.lease.seq, claim.config.id, status.as_str(), &attempted, record);
        let delivery::AttemptOutcome { diagnosis, response_body: answer, .. } = attempted;
        Self { claim, outcome, diagnosis, status, due, answer, row, ended }
    }

    /// The claim's lease.
    pub fn lease(&self) -> &Lease {
        &self.claim.lease
    }

    /// Whether nobody but its own delivery's next attempt, a second away or more, waits for its being recorded.
    pub fn is_retry(&self) -> bool {
        self.due.is_some()
    }

    /// What went wrong, if anything did.
    fn problem(&self) -> Option<&str> {
        (self.outcome == Outcome::Failed).then_some(self.diagnosis.message.as_str())
    }

    /// Drops what the receiver said, for a database that will not take it; whether it succeeded stays.
    pub fn drop_response(&mut self) {
        self.diagnosis.message = "What the receiver answered could not be kept.".into();
        self.answer = bytes::Bytes::new();
        self.row.forget_response(&self.diagnosis);
    }
}

/// Rows of a transaction that is not committed yet; [`Service::publish`] them after the commit.
#[must_use = "publish after the commit"]
pub(crate) struct Enqueued {
    summaries: Vec<DeliverySummary>,
    direct: Vec<ClaimedDelivery>,
    /// Whose have to be claimed.
    waiting: WebhookSet,
    /// Whether a webhook whose word drives provisioning will be told.
    pub(crate) tells_provisioner: bool,
}

/// A delivery that is about to be written.
struct Pending {
    id: DeliveryId,
    event: EventBody,
    key: String,
    reservation: Option<String>,
    body: String,
    permit: Option<Permit>,
    config: Arc<WebhookConfig>,
}

/// A body's bytes, cheap to share between attempt and record.
fn body_bytes(text: String) -> bytes::Bytes {
    bytes::Bytes::from(text.into_bytes())
}

/// How the queue stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Deliveries that nobody is at, counted up to 100,000.
    pub waiting: u64,
    /// For how long the oldest that could be made has been due; those of paused webhooks could not.
    pub lag: std::time::Duration,
}

impl Service {
    /// How the queue stands, of all processes together.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn queue(&self) -> Result<Queue, Problem> {
        let sql = format!(
            "SELECT (SELECT COUNT(*) FROM (SELECT 1 AS one FROM outbox o WHERE {UNLEASED} LIMIT 100000) q) AS waiting,
                    (SELECT MIN((SELECT o.due_at FROM outbox o WHERE o.webhook_id = w.id AND {UNLEASED} ORDER BY o.due_at, o.seq LIMIT 1)) FROM webhooks w WHERE w.state = 'enabled' AND w.deleted_at IS NULL) AS due_at"
        );
        let rows = self.rows(sql, []).await?;
        let row = rows.first().ok_or_else(Problem::internal)?;
        let due = get::<Option<i64>>(row, "due_at")?.map(crate::db::codec::time);
        let lag = due.and_then(|due| (self.now() - due).to_std().ok()).unwrap_or_default();
        Ok(Queue { waiting: get::<i64>(row, "waiting")?.unsigned_abs(), lag })
    }

    /// The lease of a claim: longer than an exchange can take, so that a living process never loses it.
    fn lease(&self) -> Duration {
        Duration::from_std(self.inner.context.settings.delivery_timeout).unwrap_or(Duration::seconds(30))
            + Duration::seconds(15)
    }

    /// A name for a dispatcher, never used before.
    pub fn new_owner(&self) -> String {
        self.new_ulid().to_string()
    }

    /// A token for one claim of `owner`, never used before.
    fn new_token(&self, owner: &str) -> Arc<str> {
        format!("{owner}/{}", self.inner.outbox.claims.fetch_add(1, Ordering::Relaxed)).into()
    }

    /// Opens the direct lane for a dispatcher of this process; it closes when the receiver is dropped.
    pub fn open_fast_path(&self, owner: &str) -> mpsc::UnboundedReceiver<Vec<ClaimedDelivery>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let lane = FastPath { owner: owner.into(), sender };
        *self.inner.outbox.lane.lock() = Some(lane);
        receiver
    }

    /// Closes the direct lane: from now on events wait for a claim.
    pub fn close_fast_path(&self) {
        *self.inner.outbox.lane.lock() = None;
    }

    fn lane(&self) -> Option<FastPath> {
        let mut lane = self.inner.outbox.lane.lock();
        if lane.as_ref().is_some_and(|lane| lane.sender.is_closed()) {
            *lane = None;
        }
        lane.clone()
    }

    /// Writes deliveries of events (with the slug of their resource type) for every webhook that wants them. With
    /// `fresh`, nothing earlier can share an event's ordering key, so that the direct lane is open to it.
    pub(crate) async fn enqueue(
        &self,
        tx: &DatabaseTransaction,
        events: Vec<(String, EventBody)>,
        fresh: bool,
    ) -> Result<Enqueued, Problem> {
        let configs = self.configs(tx).await?;
        let now = self.now();
        let lane = if fresh { self.lane() } else { None };
        let token: Option<Arc<str>> = lane.as_ref().map(|lane| self.new_token(&lane.owner));
        let mut pending = Vec::new();
        for (resource_type, event) in events {
            for config in configs.wanting(&resource_type, event.event_type()) {
                let event = event.clone().for_webhook(config.id);
                let id = DeliveryId::from_ulid(self.new_ulid());
                let key = event.ordering_key().to_owned();
                let text = to_json(&event)?;
                let permit = match &lane {
                    Some(_) if config.state == WebhookState::Enabled => {
                        self.inner.outbox.limits.try_take(config, now, false)
                    }
                    _ => None,
                };
                let reservation = matches!(event, EventBody::Reservation(_)).then(|| key.clone());
                pending.push(Pending { id, event, key, reservation, body: text, permit, config: config.clone() });
            }
        }
        let mut enqueued = Enqueued {
            summaries: Vec::new(),
            direct: Vec::new(),
            waiting: WebhookSet::empty(),
            tells_provisioner: false,
        };
        if pending.is_empty() {
            return Ok(enqueued);
        }
        let mut seqs = HashMap::with_capacity(pending.len());
        for some in pending.chunks(MAX_ROWS) {
            seqs.extend(self.insert_deliveries(tx, some, token.as_deref().unwrap_or_default(), fresh, now).await?);
        }
        let audience = self.has_subscribers();
        metrics::counter!("berth_events_enqueued_total").increment(pending.len() as u64);
        for Pending { id, event, key, reservation, body, permit, config } in pending {
            let event_type = event.event_type();
            enqueued.tells_provisioner |= config.provisions;
            if audience {
                enqueued.summaries.push(DeliverySummary {
                    id: id.clone(),
                    event_id: event.event_id().clone(),
                    event_type,
                    webhook_id: config.id,
                    webhook_name: config.name.clone(),
                    reservation_id: reservation.clone(),
                    status: if permit.is_some() { DeliveryStatus::Sending } else { DeliveryStatus::Pending },
                    test: false,
                    attempts: u32::from(permit.is_some()),
                    max_attempts: config.retry.max_attempts(),
                    status_code: None,
                    duration_ms: None,
                    problem: None,
                    next_attempt_at: permit.is_none().then_some(now),
                    created_at: now,
                    updated_at: now,
                    redelivery_of: None,
                });
            }
            match (permit, &token) {
                (Some(permit), Some(token)) => enqueued.direct.push(ClaimedDelivery {
                    lease: Lease { seq: seqs.get(id.as_str()).copied().unwrap_or_default(), token: token.clone() },
                    job: delivery::DeliveryRequest {
                        target: config.target(now),
                        url: config.url(event_type),
                        delivery_id: id,
                        event_id: event.event_id().clone(),
                        event_type,
                        attempt: 1,
                        test: false,
                        body: body_bytes(body),
                    },
                    config,
                    ordering_key: key,
                    reservation_id: reservation,
                    created_at: now,
                    redelivery_of: None,
                    permit,
                }),
                _ => enqueued.waiting.union(config.id.into()),
            }
        }
        Ok(enqueued)
    }

    /// Writes deliveries, at most [`MAX_ROWS`], and their places in the queue, those with a permit as claimed under `token`.
    /// Returns their numbers by id.
    async fn insert_deliveries(
        &self,
        tx: &DatabaseTransaction,
        pending: &[Pending],
        token: &str,
        fresh: bool,
        now: DateTime<Utc>,
    ) -> Result<HashMap<String, i64>, Problem> {
        let at = now.timestamp_millis();
        let lease_until = (now + self.lease()).timestamp_millis();
        let rows = BulkValues::default()
            .text_column("id", pending.iter().map(|p| p.id.as_str()))
            .text_column("event_id", pending.iter().map(|p| p.event.event_id().as_str()))
            .text_column("event_type", pending.iter().map(|p| p.event.event_type().as_str()))
            .int_column("webhook_id", pending.iter().map(|p| p.config.id))
            .text_column("ordering_key", pending.iter().map(|p| p.key.as_str()))
            .text_column("reservation_id", pending.iter().map(|p| p.reservation.as_deref().unwrap_or_default()))
            .int_column("max_attempts", pending.iter().map(|p| p.config.retry.max_attempts().into()))
            .text_column("body", pending.iter().map(|p| p.body.as_str()))
            .int_column("at", pending.iter().map(|_| at));
        let place = |p: &Pending| if p.permit.is_some() { (token, lease_until) } else { ("", 0) };
        const DELIVERIES: &str = "INSERT INTO deliveries (id, event_id, event_type, webhook_id, ordering_key, reservation_id, max_attempts, body, status, attempts, test, created_at, updated_at) SELECT r.id, r.event_id, r.event_type, r.webhook_id, r.ordering_key, NULLIF(r.reservation_id, ''), r.max_attempts, r.body, 'pending', 0";
        let into = format!(
            "r.ordering_key, r.at, CASE WHEN r.lease = '' THEN 0 ELSE 1 END, NULLIF(r.lease, ''), NULLIF(r.lease_until, 0), r.at, {fresh}"
        );
        // PostgreSQL writes both in one statement.
        let (sql, values) = if self.is_postgres() {
            let rows = rows
                .text_column("lease", pending.iter().map(|p| place(p).0))
                .int_column("lease_until", pending.iter().map(|p| place(p).1));
            let (source, values) = self.bulk_source(rows);
            let sql = format!(
                "WITH r AS MATERIALIZED (SELECT * FROM {source}),
                 d AS ({DELIVERIES}, false, r.at, r.at FROM r RETURNING seq, id),
                 o AS ({INSERT_OUTBOX} SELECT d.seq, r.webhook_id, {into} FROM d JOIN r ON r.id = d.id)
                 SELECT seq, id FROM d"
            );
            (sql, values)
        } else {
            let (source, values) = self.bulk_source(rows);
            let sql = format!("{DELIVERIES}, 0, r.at, r.at FROM {source} WHERE r.id IS NOT NULL RETURNING seq, id");
            (sql, values)
        };
        let mut seqs = HashMap::with_capacity(pending.len());
        for row in tx.query_all_raw(self.sql(sql, values)).await.map_err(db_problem)? {
            seqs.insert(get(&row, "id")?, get(&row, "seq")?);
        }
        if self.is_postgres() {
            return Ok(seqs);
        }
        let mut places = Vec::with_capacity(pending.len());
        for p in pending {
            places.push((p, seqs.get(p.id.as_str()).copied().ok_or_else(Problem::internal)?));
        }
        let rows = BulkValues::default()
            .int_column("n", places.iter().map(|(_, seq)| *seq))
            .int_column("w", places.iter().map(|(p, _)| p.config.id))
            .text_column("ordering_key", places.iter().map(|(p, _)| p.key.as_str()))
            .int_column("at", places.iter().map(|_| at))
            .text_column("lease", places.iter().map(|(p, _)| place(p).0))
            .int_column("lease_until", places.iter().map(|(p, _)| place(p).1));
        let (source, values) = self.bulk_source(rows);
        let sql = format!("{INSERT_OUTBOX} SELECT r.n, r.w, {into} FROM {source} WHERE r.n IS NOT NULL");
        tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        Ok(seqs)
    }

    /// Announces and dispatches what was enqueued, together with other changes; call it after the commit.
    pub(crate) fn publish(&self, enqueued: Enqueued, mut changes: Vec<Change>) {
        changes.extend(enqueued.summaries.into_iter().map(|summary| Change::Delivery(Box::new(summary))));
        if !enqueued.direct.is_empty() {
            let unsent = match self.lane() {
                Some(lane) => lane.sender.send(enqueued.direct).err().map(|back| back.0),
                None => Some(enqueued.direct),
            };
            // The dispatcher stopped in between: another one takes them up at once, not when their leases lapse.
            if let Some(unsent) = unsent {
                let service = self.clone();
                tokio::spawn(async move {
                    let leases: Vec<Lease> = unsent.into_iter().map(|claim| claim.lease).collect();
                    if let Err(problem) = service.release(&leases).await {
                        tracing::warn!(%problem, "claims could not be handed back; their leases will lapse");
                    }
                });
            }
        }
        self.announce(changes);
        self.wake_dispatchers(enqueued.waiting);
    }

    /// Whose deliveries come due within `span`, and when; of many the first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn due_within(&self, span: std::time::Duration) -> Result<Vec<(DateTime<Utc>, WebhookId)>, Problem> {
        let now = self.now();
        let until = now + Duration::from_std(span).unwrap_or_default();
        // SQLite keeps to the order of a CROSS JOIN; on PostgreSQL these connections go along indexes.
        let (connection, join) = if self.is_postgres() {
            (&self.inner.context.db.record, "JOIN outbox o ON o.webhook_id = w.id")
        } else {
            (&self.inner.context.db.read, "CROSS JOIN outbox o ON o.webhook_id = w.id")
        };
        let sql = format!(
            "SELECT DISTINCT w.id, o.due_at FROM webhooks w {join} WHERE w.state = 'enabled' AND w.deleted_at IS NULL AND o.due_at > $1 AND o.due_at <= $2 AND {UNLEASED} LIMIT 1000"
        );
        let values = [now.timestamp_millis().into(), until.timestamp_millis().into()];
        let rows = connection.query_all_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        rows.iter().map(|row| Ok((crate::db::codec::time(get(row, "due_at")?), get(row, "id")?))).collect()
    }

    /// The sender of this process.
    pub fn sender(&self) -> &delivery::Sender {
        &self.inner.sender
    }

    /// How many requests of this process have ended whose results are not recorded yet.
    pub fn unrecorded(&self) -> u32 {
        self.inner.outbox.limits.unrecorded()
    }

    /// How many requests are under way from this process.
    pub fn in_flight(&self) -> u32 {
        self.inner.outbox.limits.in_flight()
    }
}
