//! The outbox: enqueue in the causing transaction, claim with a lease, record in batches. The only way to publish an event.
//!
//! Two ways lead from a committed event to its first request. The common one is the **direct lane**: where this process
//! dispatches and the webhook has room, the delivery is inserted as already claimed by it, so that no second transaction
//! stands between commit and request. Otherwise the row waits as `pending` and a dispatcher claims it. Either way the row
//! is durable before anything is sent, and a crash leaves a lease that lapses.

mod config;
mod jumps;
mod slots;

pub(crate) use config::Configs;
pub use config::WebhookConfig;
pub use slots::{Permit, Slots};

use crate::Service;
use crate::reservations::stored_reservation;
use crate::store::{db_problem, get, time, to_json};
use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use domain::delivery_log::{Attempt, DeliveryStatus, DeliverySummary, DiagnosisCode, Outcome};
use domain::event::{EventBody, EventType};
use domain::id::{DeliveryId, EventId, WebhookId};
use domain::live::{Change, Severity, WebhookChange};
use domain::provisioning::{Provisioning, ReceiverAnswer};
use domain::reservation::ReservationStatus;
use domain::webhook::WebhookState;
use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult, Value};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, mpsc};

/// Writes an open delivery's place into the queue, from a source `r`.
pub(crate) const INTO_OUTBOX: &str =
    "INSERT INTO outbox (seq, webhook_id, ordering_key, due_at, attempts, lease_owner, lease_until, updated_at)";
/// An entry `o` of the queue that waits; others are leased.
const WAITING: &str = "o.lease_owner IS NULL";

/// Why a deleted webhook's deliveries were cancelled.
pub(crate) const DELETED: &str = "The service was not told: its webhook was deleted.";

/// How long after word of a webhook the next bad spell is not told of.
const QUIET: Duration = Duration::minutes(1);

/// The engine's memory.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) wake: Arc<Notify>,
    pub(crate) configs: Mutex<Option<Arc<Configs>>>,
    pub(crate) slots: Arc<Slots>,
    lane: Mutex<Option<Lane>>,
    /// How many claims were made.
    claims: AtomicUsize,
    /// Whose turn it is to be first in a claim.
    turn: AtomicUsize,
    /// The time of the last look for lapsed leases, in milliseconds; 0 before the first.
    latest: AtomicI64,
}

/// The direct lane into this process's dispatcher.
#[derive(Clone)]
struct Lane {
    owner: Arc<str>,
    sender: mpsc::UnboundedSender<Vec<Claimed>>,
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
pub struct Claimed {
    /// Its lease.
    pub lease: Lease,
    /// What `delivery::Sender` needs.
    pub job: delivery::Job,
    config: Arc<WebhookConfig>,
    ordering_key: String,
    reservation_id: Option<String>,
    created_at: DateTime<Utc>,
    redelivery_of: Option<DeliveryId>,
    /// Its place among the webhook's requests under way.
    permit: Permit,
}

impl Claimed {
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
pub struct Finished {
    claim: Claimed,
    attempted: delivery::Attempted,
    ended: DateTime<Utc>,
}

impl Finished {
    /// Joins a claim with what came of it; the webhook has room for another request from here on.
    pub fn new(mut claim: Claimed, attempted: delivery::Attempted, ended: DateTime<Utc>) -> Self {
        claim.permit.end_request(attempted.attempt.status_code.is_some());
        Self { claim, attempted, ended }
    }

    /// The claim's lease.
    pub fn lease(&self) -> &Lease {
        &self.claim.lease
    }

    /// Drops what the receiver said, for a database that will not take it; whether it succeeded stays.
    pub fn forget_what_was_said(&mut self) {
        let attempt = &mut self.attempted.attempt;
        attempt.response = None;
        attempt.diagnosis.message = "What the receiver answered could not be kept.".into();
        self.attempted.answer = bytes::Bytes::new();
    }
}

/// What a claim found.
pub struct Claim {
    /// To be sent now.
    pub items: Vec<Claimed>,
    /// Whether more may be due that had no room: claim again when requests end.
    pub more: bool,
}

/// What recording found.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// When the retries that were scheduled are due.
    pub due: Vec<DateTime<Utc>>,
}

/// Rows of a transaction that is not committed yet; [`Service::publish`] them after the commit.
#[must_use = "publish after the commit"]
pub(crate) struct Enqueued {
    summaries: Vec<DeliverySummary>,
    direct: Vec<Claimed>,
    waiting: bool,
    /// Whether a webhook whose word drives provisioning will be told.
    pub(crate) tells_provisioner: bool,
}

/// A body's bytes, cheap to share between attempt and record.
fn body_bytes(text: String) -> bytes::Bytes {
    bytes::Bytes::from(text.into_bytes())
}

impl Service {
    /// The lease of a claim: longer than an exchange can take, so that a living process never loses it.
    fn lease(&self) -> Duration {
        Duration::from_std(self.inner.settings.delivery_timeout).unwrap_or(Duration::seconds(30))
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
    pub fn open_lane(&self, owner: &str) -> mpsc::UnboundedReceiver<Vec<Claimed>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let lane = Lane { owner: owner.into(), sender };
        *self.inner.outbox.lane.lock().unwrap_or_else(PoisonError::into_inner) = Some(lane);
        receiver
    }

    /// Closes the direct lane: from now on events wait for a claim.
    pub fn close_lane(&self) {
        *self.inner.outbox.lane.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn lane(&self) -> Option<Lane> {
        let mut lane = self.inner.outbox.lane.lock().unwrap_or_else(PoisonError::into_inner);
        if lane.as_ref().is_some_and(|lane| lane.sender.is_closed()) {
            *lane = None;
        }
        lane.clone()
    }

    /// A query of the numbers given as one JSON array `$1`.
    fn json_numbers(&self) -> &'static str {
        if self.is_postgres() {
            "SELECT CAST(value AS BIGINT) FROM json_array_elements_text($1::json)"
        } else {
            "SELECT value FROM json_each($1)"
        }
    }

    /// A source for rows given as one JSON parameter `$1`: one statement for many rows on both databases.
    pub(crate) fn json_rows(&self, columns: &[(&str, &str)]) -> String {
        if self.is_postgres() {
            let columns: Vec<String> = columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
            return format!("json_to_recordset($1::json) AS r({})", columns.join(", "));
        }
        let columns: Vec<String> = columns.iter().map(|(name, _)| format!("value ->> '$.{name}' AS {name}")).collect();
        format!("(SELECT {} FROM json_each($1)) AS r", columns.join(", "))
    }

    /// As [`Self::json_rows`], for rows with a long text under `name`: PostgreSQL gets these as an array, which needs no
    /// escaping. Returns the source and its parameters, `$1` first.
    fn json_rows_with_text<T: WithText>(
        &self,
        columns: &[(&str, &str)],
        name: &str,
        mut rows: Vec<T>,
    ) -> Result<(String, Vec<Value>), Problem> {
        if !self.is_postgres() {
            let columns: Vec<_> = columns.iter().copied().chain([(name, "text")]).collect();
            return Ok((self.json_rows(&columns), vec![to_json(&rows)?.into()]));
        }
        let texts: Vec<String> = rows.iter_mut().map(|row| row.take_text().unwrap_or_default()).collect();
        let defined: Vec<String> = columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let source = format!(
            "ROWS FROM (json_to_recordset($1::json) AS ({}), unnest($2::text[])) AS r({}, {name})",
            defined.join(", "),
            names.join(", ")
        );
        Ok((source, vec![to_json(&rows)?.into(), texts.into()]))
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
        let lease_until = (now + self.lease()).timestamp_millis();
        let mut rows = Vec::new();
        let mut pending = Vec::new();
        for (resource_type, event) in events {
            for config in configs.wanting(&resource_type, event.event_type()) {
                let event = event.clone().for_webhook(config.id);
                let id = DeliveryId::from_ulid(self.new_ulid());
                let key = event.ordering_key().to_owned();
                let text = to_json(&event)?;
                let permit = match &lane {
                    Some(_) if config.state == WebhookState::Enabled => {
                        self.inner.outbox.slots.try_take(config, now, false)
                    }
                    _ => None,
                };
                let reservation = matches!(event, EventBody::Reservation(_)).then(|| key.clone());
                rows.push(DeliveryRow {
                    id: id.clone(),
                    event_id: event.event_id().clone(),
                    event_type: event.event_type().as_str(),
                    webhook_id: config.id,
                    ordering_key: key.clone(),
                    reservation_id: reservation.clone(),
                    max_attempts: config.retry.max_attempts(),
                    body: Some(text.clone()),
                });
                pending.push((id, event, key, reservation, text, permit, config.clone()));
            }
        }
        let mut enqueued =
            Enqueued { summaries: Vec::new(), direct: Vec::new(), waiting: false, tells_provisioner: false };
        if rows.is_empty() {
            return Ok(enqueued);
        }
        let columns = [
            ("id", "text"),
            ("event_id", "text"),
            ("event_type", "text"),
            ("webhook_id", "bigint"),
            ("ordering_key", "text"),
            ("reservation_id", "text"),
            ("max_attempts", "int"),
        ];
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let at = now.timestamp_millis();
        let (source, mut values) = self.json_rows_with_text(&columns, "body", rows)?;
        values.push(at.into());
        let sql = format!(
            "INSERT INTO deliveries ({0}, body, status, attempts, test, created_at, updated_at) SELECT {0}, body, 'pending', 0, {1}, ${2}, ${2} FROM {source} WHERE true RETURNING seq, id",
            names.join(", "),
            if self.is_postgres() { "false" } else { "0" },
            values.len()
        );
        let inserted = tx.query_all_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        let mut seqs: HashMap<String, i64> = HashMap::with_capacity(inserted.len());
        for row in &inserted {
            seqs.insert(get(row, "id")?, get(row, "seq")?);
        }
        let mut places = Vec::with_capacity(pending.len());
        for (id, _, key, _, _, permit, config) in &pending {
            let seq = seqs.get(id.as_str()).copied().ok_or_else(Problem::internal)?;
            places.push(json!({"n": seq, "w": config.id, "k": key, "leased": i32::from(permit.is_some())}));
        }
        let sql = format!(
            "{INTO_OUTBOX} SELECT n, w, k, $3, leased, CASE WHEN leased = 1 THEN $2 END, CASE WHEN leased = 1 THEN CAST($4 AS BIGINT) END, $3 FROM {} WHERE true",
            self.json_rows(&[("n", "bigint"), ("w", "bigint"), ("k", "text"), ("leased", "int")])
        );
        let token_text = token.as_deref().unwrap_or_default();
        let values = [to_json(&places)?.into(), token_text.into(), at.into(), lease_until.into()];
        tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        let audience = self.has_audience();
        metrics::counter!("berth_events_enqueued_total").increment(pending.len() as u64);
        for (id, event, key, reservation, text, permit, config) in pending {
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
                (Some(permit), Some(token)) => enqueued.direct.push(Claimed {
                    lease: Lease { seq: seqs.get(id.as_str()).copied().unwrap_or_default(), token: token.clone() },
                    job: delivery::Job {
                        target: config.target(now),
                        url: config.url(event_type),
                        delivery_id: id,
                        event_id: event.event_id().clone(),
                        event_type,
                        attempt: 1,
                        test: false,
                        body: body_bytes(text),
                    },
                    config,
                    ordering_key: key,
                    reservation_id: reservation,
                    created_at: now,
                    redelivery_of: None,
                    permit,
                }),
                _ => enqueued.waiting = true,
            }
        }
        Ok(enqueued)
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
        if enqueued.waiting {
            self.wake_dispatchers();
        }
    }

    /// Claims due deliveries for `owner`: for each enabled webhook at most what it has room for, oldest due first, never
    /// one with an earlier unfinished delivery of the same ordering key. Announces each as `sending`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim(&self, owner: &str, limit: u32) -> Result<Claim, Problem> {
        let now = self.now();
        let at = now.timestamp_millis();
        // A clock that went ahead is known from here on, also where it is set back before the next look.
        self.inner.outbox.latest.fetch_max(at, Ordering::Relaxed);
        let configs = self.configs(&self.inner.read).await?;
        let slots = &self.inner.outbox.slots;
        let first_only = slots.retries_fill_their_share();
        let mut more = false;
        let mut room: BTreeMap<WebhookId, u32> = BTreeMap::new();
        for config in configs.enabled() {
            match slots.free(config, now) {
                0 => more = true,
                free => {
                    room.insert(config.id, free.min(limit));
                }
            }
        }
        if room.is_empty() {
            return Ok(Claim { items: Vec::new(), more });
        }
        let token = self.new_token(owner);
        let rows = if self.is_postgres() {
            self.claim_postgres(&token, at, limit, &room, first_only).await?
        } else {
            self.claim_sqlite(&token, at, limit, &mut room, first_only).await?
        };
        let mut taken: HashMap<WebhookId, u32> = HashMap::new();
        let mut items = Vec::with_capacity(rows.len());
        let mut homeless = Vec::new();
        let total = rows.len();
        for row in rows {
            let webhook_id: WebhookId = get(&row, "webhook_id")?;
            let lease = Lease { seq: get(&row, "seq")?, token: token.clone() };
            *taken.entry(webhook_id).or_default() += 1;
            let attempt = get::<i32>(&row, "attempts")? as u32;
            // Since the room was asked for, the direct lane may have taken it: then it goes back.
            let permit = configs.get(webhook_id).and_then(|config| slots.try_take(config, now, attempt > 1));
            let (Some(config), Some(permit), Some(event_type)) =
                (configs.get(webhook_id), permit, EventType::parse(&get::<String>(&row, "event_type")?))
            else {
                homeless.push(lease);
                continue;
            };
            items.push(Claimed {
                lease,
                job: delivery::Job {
                    target: config.target(now),
                    url: config.url(event_type),
                    delivery_id: DeliveryId(get(&row, "id")?),
                    event_id: EventId(get(&row, "event_id")?),
                    event_type,
                    attempt,
                    test: false,
                    body: body_bytes(get(&row, "body")?),
                },
                config: config.clone(),
                ordering_key: get(&row, "ordering_key")?,
                reservation_id: get(&row, "reservation_id")?,
                created_at: time(get(&row, "created_at")?),
                redelivery_of: get::<Option<String>>(&row, "redelivery_of")?.map(DeliveryId),
                permit,
            });
        }
        if !homeless.is_empty() {
            self.release(&homeless).await?;
            more = true;
        }
        // A webhook that took all of its share may have more; the share is at least this.
        let share = (limit / room.len().max(1) as u32).max(1);
        more |= total as u32 >= limit
            || taken.iter().any(|(id, count)| room.get(id).is_some_and(|free| *count >= share.min(*free)));
        // Claimed in no particular order; sent in that of the outbox.
        items.sort_by_key(|claimed| claimed.lease.seq);
        if self.has_audience() {
            self.announce(
                items.iter().map(|c| Change::Delivery(Box::new(c.summary(DeliveryStatus::Sending, now)))).collect(),
            );
        }
        Ok(Claim { items, more })
    }

    /// The webhooks with room, each claim beginning with another: where more of them have work than a claim takes, all
    /// get their turn.
    fn in_turn(&self, room: &BTreeMap<WebhookId, u32>) -> Vec<(WebhookId, u32)> {
        let mut turn: Vec<_> = room.iter().map(|(id, free)| (*id, *free)).collect();
        let first = self.inner.outbox.turn.fetch_add(1, Ordering::Relaxed) % turn.len().max(1);
        turn.rotate_left(first);
        turn
    }

    /// What a claimable entry `o` is, beside its webhook. The first of its ordering key: asked entry by entry, so that the
    /// database cannot think of comparing all with all.
    fn due(first_only: bool) -> String {
        let first = if first_only { " AND o.attempts = 0" } else { "" };
        format!(
            "{WAITING} AND o.due_at <= $2{first} AND o.seq = (SELECT MIN(e.seq) FROM outbox e WHERE e.webhook_id = o.webhook_id AND e.ordering_key = o.ordering_key)"
        )
    }

    async fn claim_postgres(
        &self,
        token: &str,
        at: i64,
        limit: u32,
        room: &BTreeMap<WebhookId, u32>,
        first_only: bool,
    ) -> Result<Vec<QueryResult>, Problem> {
        let room: Vec<_> = self.in_turn(room).into_iter().map(|(id, free)| json!({"id": id, "free": free})).collect();
        let sql = format!(
            "WITH r AS MATERIALIZED (SELECT r.id, LEAST(r.free, GREATEST(1, $5 / COUNT(*) OVER ())) AS share FROM json_to_recordset($1::json) AS r(id bigint, free bigint)
               WHERE EXISTS (SELECT 1 FROM outbox o WHERE o.webhook_id = r.id AND {WAITING} AND o.due_at <= $2)),
             due AS MATERIALIZED (SELECT q.seq FROM r CROSS JOIN LATERAL (
               SELECT o.seq FROM outbox o WHERE o.webhook_id = r.id AND {} ORDER BY o.due_at, o.seq LIMIT r.share FOR UPDATE SKIP LOCKED) q LIMIT $5),
             taken AS MATERIALIZED (UPDATE outbox AS o SET attempts = o.attempts + 1, lease_until = $3, lease_owner = $4, updated_at = $2
               WHERE o.seq = ANY(ARRAY(SELECT seq FROM due)) RETURNING o.seq, o.attempts, o.ordering_key)
             SELECT t.seq, t.attempts, t.ordering_key, d.id, d.event_id, d.event_type, d.webhook_id, d.reservation_id, d.body, d.created_at, d.redelivery_of
             FROM taken t JOIN deliveries d ON d.seq = t.seq",
            Self::due(first_only)
        );
        let lease = at + self.lease().num_milliseconds();
        let values = [to_json(&room)?.into(), at.into(), lease.into(), token.into(), i64::from(limit).into()];
        self.inner.claim.query_all_raw(self.sql(sql, values)).await.map_err(db_problem)
    }

    async fn claim_sqlite(
        &self,
        token: &str,
        at: i64,
        limit: u32,
        room: &mut BTreeMap<WebhookId, u32>,
        first_only: bool,
    ) -> Result<Vec<QueryResult>, Problem> {
        // Which webhooks have anything due, read without the writer: an idle engine never locks it.
        let due = format!(
            "WITH RECURSIVE w(id) AS (SELECT MIN(webhook_id) FROM outbox UNION ALL
             SELECT (SELECT MIN(webhook_id) FROM outbox WHERE webhook_id > w.id) FROM w WHERE w.id IS NOT NULL)
             SELECT id FROM w WHERE id IS NOT NULL AND EXISTS (SELECT 1 FROM outbox o WHERE o.webhook_id = w.id AND {WAITING} AND o.due_at <= $1)"
        );
        let mut with_due = HashSet::new();
        for row in self.rows(due, [at.into()]).await? {
            with_due.insert(get::<i64>(&row, "id")?);
        }
        room.retain(|id, _| with_due.contains(id));
        if room.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "UPDATE outbox SET attempts = attempts + 1, lease_until = $3, lease_owner = $4, updated_at = $2 WHERE seq IN (
               SELECT o.seq FROM outbox o WHERE o.webhook_id = $1 AND {} ORDER BY o.due_at, o.seq LIMIT $5) RETURNING seq",
            Self::due(first_only)
        );
        let lease = at + self.lease().num_milliseconds();
        let mut seqs: Vec<i64> = Vec::new();
        let tx = self.write_tx().await?;
        let share = (limit / room.len() as u32).max(1);
        for (id, free) in self.in_turn(room) {
            let left = (limit as usize).saturating_sub(seqs.len()).min(free.min(share) as usize);
            if left == 0 {
                break;
            }
            let values = [id.into(), at.into(), lease.into(), token.into(), (left as i64).into()];
            for row in tx.query_all_raw(self.sql(sql.clone(), values)).await.map_err(db_problem)? {
                seqs.push(get(&row, "seq")?);
            }
        }
        let sql = "SELECT o.seq, o.attempts, o.ordering_key, d.id, d.event_id, d.event_type, d.webhook_id, d.reservation_id, d.body, d.created_at, d.redelivery_of
             FROM json_each($1) r CROSS JOIN outbox o ON o.seq = r.value CROSS JOIN deliveries d ON d.seq = o.seq";
        let rows = tx.query_all_raw(self.sql(sql, [to_json(&seqs)?.into()])).await.map_err(db_problem)?;
        tx.commit().await.map_err(db_problem)?;
        Ok(rows)
    }

    /// Records a batch in one commit: attempt rows, delivery states, provisioning, 410, notifications; announces them. A
    /// result whose lease was lost meanwhile is kept as an attempt, but moves nothing. On an error nothing was recorded
    /// and the same batch can be given again.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn record(&self, batch: &[Finished]) -> Result<Recorded, Problem> {
        use rand::Rng as _;
        let mut recorded = Recorded::default();
        let now = self.now();
        let mut ends = Vec::with_capacity(batch.len());
        for finished in batch {
            let attempt = &finished.attempted.attempt;
            let claim = &finished.claim;
            let gone = attempt.diagnosis.code == DiagnosisCode::Gone;
            let (status, due) = if attempt.outcome == Outcome::Succeeded {
                (DeliveryStatus::Succeeded, None)
            } else {
                let jitter = rand::rng().random::<f64>();
                match claim.config.retry.next_attempt(
                    attempt.attempt,
                    finished.ended,
                    finished.attempted.retry_after,
                    jitter,
                ) {
                    Some(due) if !gone => (DeliveryStatus::Retrying, Some(due)),
                    _ => (DeliveryStatus::Failed, None),
                }
            };
            ends.push((status, due));
        }
        // As much as can be is done before the transaction, which others may wait for.
        let mut rows = Vec::with_capacity(batch.len());
        for (finished, (status, _)) in batch.iter().zip(&ends) {
            let claim = &finished.claim;
            rows.push(AttemptRow::new(claim.lease.seq, claim.config.id, status.as_str(), &finished.attempted.attempt)?);
        }
        let tx = self.write_tx().await?;
        let ours = self.end_leases(&tx, batch, &ends, now).await?;
        let mut seen = HashSet::with_capacity(batch.len());
        let mut moves = Vec::with_capacity(batch.len());
        let mut updates = Vec::with_capacity(batch.len());
        let mut attempts = Vec::with_capacity(batch.len());
        let mut superseded = Vec::new();
        for ((finished, (status, _)), mut row) in batch.iter().zip(&ends).zip(rows) {
            let attempt = &finished.attempted.attempt;
            let seq = finished.claim.lease.seq;
            // After a lapsed lease one process can hold two results of one delivery: the first to come counts.
            let ours = ours.contains(&seq) && seen.insert(seq);
            moves.push(ours);
            if !ours {
                // It ended no delivery, so that it must not count as an end.
                row.delivery_status = "superseded";
                superseded.push(row);
                continue;
            }
            attempts.push(row);
            let ended = finished.ended.timestamp_millis();
            updates.push(End {
                n: seq,
                status: status.as_str(),
                attempts: attempt.attempt,
                status_code: attempt.status_code,
                duration_ms: attempt.duration_ms,
                problem: (attempt.outcome == Outcome::Failed).then_some(&attempt.diagnosis.message),
                ended_at: status.is_final().then_some(ended),
                failed_at: (*status == DeliveryStatus::Failed).then_some(ended),
            });
        }
        if !updates.is_empty() {
            let sql = format!(
                "UPDATE deliveries AS d SET status = r.status, attempts = r.attempts, status_code = r.status_code, duration_ms = r.duration_ms, problem = r.problem, ended_at = r.ended_at, failed_at = r.failed_at, updated_at = $2 FROM {} WHERE d.seq = r.n",
                self.json_rows(&[
                    ("n", "bigint"),
                    ("status", "text"),
                    ("attempts", "int"),
                    ("status_code", "int"),
                    ("duration_ms", "double precision"),
                    ("problem", "text"),
                    ("ended_at", "bigint"),
                    ("failed_at", "bigint"),
                ])
            );
            let values = [to_json(&updates)?.into(), now.timestamp_millis().into()];
            tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        }
        self.insert_attempts(&tx, attempts, true).await?;
        self.insert_attempts(&tx, superseded, false).await?;
        let mut changes = Vec::new();
        let mut told: Vec<Told<'_>> = Vec::new();
        let mut freed = Vec::new();
        for ((finished, (status, due)), moves) in batch.iter().zip(&ends).zip(&moves) {
            let attempt = &finished.attempted.attempt;
            if !moves {
                metrics::counter!("berth_results_without_lease_total").increment(1);
                continue;
            }
            let event = finished.claim.job.event_type;
            let what = match status {
                DeliveryStatus::Succeeded => {
                    let code = attempt.status_code.unwrap_or_default();
                    let answer = ReceiverAnswer::read(event, code, &finished.attempted.answer);
                    Some(Meaning::Answer(Box::new(answer), attempt.started_at))
                }
                DeliveryStatus::Failed => Some(Meaning::Failure(&attempt.diagnosis.message)),
                _ => None,
            };
            if let (Some(what), Some(id), true) =
                (what, &finished.claim.reservation_id, finished.claim.config.provisions)
            {
                told.push(Told { id, event, what });
            }
            if status.is_final() {
                freed.push(json!({"w": finished.claim.config.id, "k": finished.claim.ordering_key}));
            }
            recorded.due.extend(due);
        }
        let audience = self.has_audience();
        changes.extend(self.apply_to_reservations(&tx, told, now).await?);
        changes.extend(self.webhooks_health(&tx, batch, &ends, &moves, now).await?);
        let successors = if freed.is_empty() {
            false
        } else {
            let sql = format!(
                "SELECT 1 AS one FROM {} JOIN outbox o ON o.webhook_id = r.w AND o.ordering_key = r.k LIMIT 1",
                self.json_rows(&[("w", "bigint"), ("k", "text")])
            );
            tx.query_one_raw(self.sql(sql, [to_json(&freed)?.into()])).await.map_err(db_problem)?.is_some()
        };
        tx.commit().await.map_err(db_problem)?;
        for ((finished, (status, due)), moves) in batch.iter().zip(&ends).zip(&moves) {
            let attempt = &finished.attempted.attempt;
            let succeeded = attempt.outcome == Outcome::Succeeded;
            let label = if succeeded { "succeeded" } else { "failed" };
            metrics::counter!("berth_attempts_total", "outcome" => label).increment(1);
            metrics::histogram!("berth_attempt_duration_seconds").record(attempt.duration_ms / 1_000.0);
            if *moves && status.is_final() {
                metrics::counter!("berth_deliveries_total", "outcome" => label).increment(1);
            }
            if audience && *moves {
                let mut summary = finished.claim.summary(*status, now);
                summary.status_code = attempt.status_code;
                summary.duration_ms = Some(attempt.duration_ms);
                summary.problem = (!succeeded).then(|| attempt.diagnosis.message.clone());
                summary.next_attempt_at = *due;
                changes.push(Change::Delivery(Box::new(summary)));
            }
        }
        self.announce(changes);
        if successors {
            self.wake_dispatchers();
        }
        Ok(recorded)
    }

    /// Ends the leases of what was finished: final ones leave the queue, the others wait for their next attempt. Returns
    /// those whose lease still held.
    async fn end_leases(
        &self,
        tx: &DatabaseTransaction,
        batch: &[Finished],
        ends: &[(DeliveryStatus, Option<DateTime<Utc>>)],
        now: DateTime<Utc>,
    ) -> Result<HashSet<i64>, Problem> {
        let (mut done, mut again) = (Vec::with_capacity(batch.len()), Vec::new());
        for (finished, (_, due)) in batch.iter().zip(ends) {
            let Lease { seq, token } = &finished.claim.lease;
            match due {
                None => done.push(json!({"n": seq, "lease": &**token})),
                Some(due) => again.push(json!({"n": seq, "lease": &**token, "due_at": due.timestamp_millis()})),
            }
        }
        let mut ours = HashSet::with_capacity(batch.len());
        if !done.is_empty() {
            let sql = format!(
                "DELETE FROM outbox WHERE (seq, lease_owner) IN (SELECT n, lease FROM {}) RETURNING seq",
                self.json_rows(&LEASE_COLUMNS)
            );
            for row in tx.query_all_raw(self.sql(sql, [to_json(&done)?.into()])).await.map_err(db_problem)? {
                ours.insert(get::<i64>(&row, "seq")?);
            }
        }
        if !again.is_empty() {
            let sql = format!(
                "UPDATE outbox AS o SET due_at = r.due_at, lease_until = NULL, lease_owner = NULL, updated_at = $2 FROM {} WHERE o.seq = r.n AND o.lease_owner = r.lease RETURNING seq",
                self.json_rows(&[("n", "bigint"), ("lease", "text"), ("due_at", "bigint")])
            );
            let values = [to_json(&again)?.into(), now.timestamp_millis().into()];
            for row in tx.query_all_raw(self.sql(sql, values)).await.map_err(db_problem)? {
                ours.insert(get::<i64>(&row, "seq")?);
            }
        }
        Ok(ours)
    }

    /// Writes attempts. One that was interrupted is made again under its number: with `overwrite` its row takes the place
    /// of one that came late for the same number, else it gives way to it.
    pub(crate) async fn insert_attempts(
        &self,
        tx: &DatabaseTransaction,
        rows: Vec<AttemptRow>,
        overwrite: bool,
    ) -> Result<(), Problem> {
        if rows.is_empty() {
            return Ok(());
        }
        let conflict = if overwrite {
            "(delivery_seq, attempt) DO UPDATE SET started_at = excluded.started_at, outcome = excluded.outcome, status_code = excluded.status_code, duration_ms = excluded.duration_ms, delivery_status = excluded.delivery_status, record = excluded.record"
        } else {
            "DO NOTHING"
        };
        let columns = [
            ("delivery_seq", "bigint"),
            ("attempt", "int"),
            ("webhook_id", "bigint"),
            ("started_at", "bigint"),
            ("outcome", "text"),
            ("status_code", "int"),
            ("duration_ms", "double precision"),
            ("delivery_status", "text"),
        ];
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let (source, values) = self.json_rows_with_text(&columns, "record", rows)?;
        let sql = format!(
            "INSERT INTO attempts ({0}, record) SELECT {0}, record FROM {source} WHERE true ON CONFLICT {conflict}",
            names.join(", ")
        );
        tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        Ok(())
    }

    /// Cancels the deliveries that wait and whose entry `o` matches, and tells their reservations that nobody will be told: one that waits for
    /// it would wait for ever.
    pub(crate) async fn cancel_waiting(
        &self,
        tx: &DatabaseTransaction,
        which: &str,
        values: &[Value],
        reason: &str,
    ) -> Result<Vec<Change>, Problem> {
        let now = self.now();
        let sql = format!("DELETE FROM outbox AS o WHERE {WAITING} AND {which} RETURNING seq");
        let mut seqs: Vec<i64> = Vec::new();
        for row in tx.query_all_raw(self.sql(sql, values.to_vec())).await.map_err(db_problem)? {
            seqs.push(get(&row, "seq")?);
        }
        if seqs.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "UPDATE deliveries SET status = 'cancelled', ended_at = {0}, updated_at = {0} WHERE seq IN ({1}) RETURNING webhook_id, reservation_id, event_type",
            now.timestamp_millis(),
            self.json_numbers()
        );
        let rows = tx.query_all_raw(self.sql(sql, [to_json(&seqs)?.into()])).await.map_err(db_problem)?;
        let sql = "SELECT id FROM webhooks WHERE NOT provisions";
        let mut listening = HashSet::new();
        for row in tx.query_all_raw(self.sql(sql, [])).await.map_err(db_problem)? {
            listening.insert(get::<WebhookId>(&row, "id")?);
        }
        let mut of = Vec::with_capacity(rows.len());
        for row in &rows {
            let event = EventType::parse(&get::<String>(row, "event_type")?);
            if let (Some(id), Some(event)) = (get::<Option<String>>(row, "reservation_id")?, event)
                && !listening.contains(&get::<WebhookId>(row, "webhook_id")?)
            {
                of.push((id, event));
            }
        }
        let told = of.iter().map(|(id, event)| Told { id, event: *event, what: Meaning::Cancelled(reason) }).collect();
        self.apply_to_reservations(tx, told, now).await
    }

    /// What answers, failures and cancellations mean for their reservations, under the rows' locks.
    async fn apply_to_reservations(
        &self,
        tx: &DatabaseTransaction,
        told: Vec<Told<'_>>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Change>, Problem> {
        if told.is_empty() {
            return Ok(Vec::new());
        }
        let ids: HashSet<&str> = told.iter().map(|t| t.id).collect();
        let ids: Vec<_> = ids.into_iter().map(|id| json!({"k": id})).collect();
        let lock = if self.is_postgres() { " ORDER BY v.id FOR UPDATE OF v" } else { "" };
        let source = self.json_rows(&[("k", "text")]);
        let sql =
            format!("SELECT v.id, v.status, v.provisioning FROM {source} JOIN reservations v ON v.id = r.k{lock}");
        let mut known: BTreeMap<String, (bool, Provisioning, bool)> = BTreeMap::new();
        for row in tx.query_all_raw(self.sql(sql, [to_json(&ids)?.into()])).await.map_err(db_problem)? {
            let active = get::<String>(&row, "status")? == ReservationStatus::Active.as_str();
            let provisioning = crate::store::json(&get::<String>(&row, "provisioning")?)?;
            known.insert(get(&row, "id")?, (active, provisioning, false));
        }
        for Told { id, event, what } in told {
            let Some((active, provisioning, changed)) = known.get_mut(id) else { continue };
            // A late word on `created` must not undo the release of a reservation that has ended since.
            if event.provisions() && !*active {
                continue;
            }
            let next = match what {
                Meaning::Answer(answer, sent) => provisioning.after_answer(&answer, sent, now),
                Meaning::Failure(reason) => provisioning.after_failure(event, reason, now),
                Meaning::Cancelled(reason) => provisioning.after_cancellation(event, reason, now),
            };
            if let Some(next) = next {
                *provisioning = next;
                *changed = true;
            }
        }
        let mut rows = Vec::with_capacity(known.len());
        for (id, (_, provisioning, _)) in known.iter().filter(|(_, (_, _, changed))| *changed) {
            rows.push(json!({"k": id, "p": to_json(provisioning)?}));
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let rows = to_json(&rows)?;
        let source = self.json_rows(&[("k", "text"), ("p", "text")]);
        let sql = format!("UPDATE reservations AS v SET provisioning = r.p FROM {source} WHERE v.id = r.k");
        tx.execute_raw(self.sql(sql, [rows.as_str().into()])).await.map_err(db_problem)?;
        if !self.has_audience() {
            return Ok(Vec::new());
        }
        let sql = format!("{} JOIN {} ON v.id = r.k", crate::reservations::SELECT, self.json_rows(&[("k", "text")]));
        let rows = tx.query_all_raw(self.sql(sql, [rows.into()])).await.map_err(db_problem)?;
        rows.iter().map(|row| Ok(Change::Reservation(Box::new(stored_reservation(row)?)))).collect()
    }

    /// 410 disables a webhook; the first failure for good tells the administrators; a success ends the bad spell.
    async fn webhooks_health(
        &self,
        tx: &DatabaseTransaction,
        batch: &[Finished],
        ends: &[(DeliveryStatus, Option<DateTime<Utc>>)],
        moves: &[bool],
        now: DateTime<Utc>,
    ) -> Result<Vec<Change>, Problem> {
        let mut last: BTreeMap<WebhookId, (&Finished, DeliveryStatus)> = BTreeMap::new();
        for ((finished, (status, _)), moves) in batch.iter().zip(ends).zip(moves) {
            let gone = finished.attempted.attempt.diagnosis.code == DiagnosisCode::Gone;
            let entry = last.entry(finished.claim.config.id);
            if *moves && status.is_final() {
                // 410 outweighs what came after it in the same batch.
                entry
                    .and_modify(|known| {
                        if known.0.attempted.attempt.diagnosis.code != DiagnosisCode::Gone || gone {
                            *known = (finished, *status)
                        }
                    })
                    .or_insert((finished, *status));
            }
        }
        let mut changes = Vec::new();
        for (id, (finished, status)) in last {
            let config = &finished.claim.config;
            let link = format!("/settings/webhooks/{id}");
            let at = now.timestamp_millis();
            if finished.attempted.attempt.diagnosis.code == DiagnosisCode::Gone {
                let sql = "UPDATE webhooks SET state = 'gone', failing_since = COALESCE(failing_since, $2), revision = revision + 1 WHERE id = $1 AND state = 'enabled' AND deleted_at IS NULL";
                if tx.execute_raw(self.sql(sql, [id.into(), at.into()])).await.map_err(db_problem)?.rows_affected() > 0
                {
                    let message = format!(
                        "{} answered 410 Gone and was disabled. Its events are kept; resume it when its service is back.",
                        config.name
                    );
                    changes.push(Change::Notification(
                        self.notify(tx, None, Severity::Error, &message, Some(&link)).await?,
                    ));
                    changes.push(Change::Webhook(WebhookChange { id, deleted: false }));
                }
            } else if status == DeliveryStatus::Failed && !config.failing {
                // A webhook that fails and succeeds by turns is told of once a minute, not once a batch.
                let sql = "UPDATE webhooks SET failing_since = $2, revision = revision + 1 WHERE id = $1 AND failing_since IS NULL AND deleted_at IS NULL AND NOT EXISTS (SELECT 1 FROM (SELECT link, at FROM notifications ORDER BY id DESC LIMIT 200) n WHERE n.link = $3 AND n.at > $4)";
                let values = [id.into(), at.into(), link.as_str().into(), (at - QUIET.num_milliseconds()).into()];
                if tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?.rows_affected() > 0 {
                    let message =
                        format!("Deliveries to {} fail: {}", config.name, finished.attempted.attempt.diagnosis.message);
                    changes.push(Change::Notification(
                        self.notify(tx, None, Severity::Error, &message, Some(&link)).await?,
                    ));
                    changes.push(Change::Webhook(WebhookChange { id, deleted: false }));
                }
            } else if status == DeliveryStatus::Succeeded && config.failing {
                let sql = "UPDATE webhooks SET failing_since = NULL, revision = revision + 1 WHERE id = $1 AND failing_since IS NOT NULL";
                if tx.execute_raw(self.sql(sql, [id.into()])).await.map_err(db_problem)?.rows_affected() > 0 {
                    let message = format!("Deliveries to {} succeed again.", config.name);
                    changes.push(Change::Notification(
                        self.notify(tx, None, Severity::Info, &message, Some(&link)).await?,
                    ));
                    changes.push(Change::Webhook(WebhookChange { id, deleted: false }));
                }
            }
        }
        Ok(changes)
    }

    /// Renews leases that still hold.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn renew(&self, leases: &[Lease]) -> Result<(), Problem> {
        let until = (self.now() + self.lease()).timestamp_millis();
        let sql = format!(
            "UPDATE outbox SET lease_until = $2 WHERE (seq, lease_owner) IN (SELECT n, lease FROM {})",
            self.json_rows(&LEASE_COLUMNS)
        );
        let values = [lease_rows(leases)?.into(), until.into()];
        self.inner.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        Ok(())
    }

    /// Hands claims back unsent: their attempt does not count.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn release(&self, leases: &[Lease]) -> Result<(), Problem> {
        if leases.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "UPDATE outbox SET attempts = attempts - 1, lease_until = NULL, lease_owner = NULL, updated_at = $2 WHERE (seq, lease_owner) IN (SELECT n, lease FROM {})",
            self.json_rows(&LEASE_COLUMNS)
        );
        let values = [lease_rows(leases)?.into(), self.now().timestamp_millis().into()];
        self.inner.write.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        self.wake_dispatchers();
        Ok(())
    }

    /// Returns lapsed leases to the queue; the interrupted attempt is made again under the same number, so its receiver
    /// may see it twice. With `all`, every lease: for the start of the only process of a SQLite database. Also cancels what
    /// a deleted webhook left behind, and mends what a clock that went back would hold up.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn reclaim_lapsed(&self, all: bool) -> Result<u64, Problem> {
        let now = self.now();
        self.mend_after_jump(now).await?;
        let now = now.timestamp_millis();
        let check = format!(
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE lease_until < $1) AS lapsed, EXISTS (SELECT 1 FROM webhooks w WHERE w.deleted_at IS NOT NULL AND EXISTS (SELECT 1 FROM outbox o WHERE o.webhook_id = w.id AND {WAITING})) AS orphaned"
        );
        let (lapsed, orphaned) = match self.rows(check, [now.into()]).await?.first() {
            Some(row) => (get::<bool>(row, "lapsed")?, get::<bool>(row, "orphaned")?),
            None => (false, false),
        };
        if orphaned {
            // Enqueued or failed while their webhook was being deleted.
            let tx = self.write_tx().await?;
            let which = "o.webhook_id IN (SELECT id FROM webhooks WHERE deleted_at IS NOT NULL)";
            let changes = self.cancel_waiting(&tx, which, &[], DELETED).await?;
            tx.commit().await.map_err(db_problem)?;
            self.announce(changes);
        }
        if !all && !lapsed {
            return Ok(0);
        }
        let lapsed = if all { "lease_until IS NOT NULL" } else { "lease_until < $1" };
        let sql = format!(
            "UPDATE outbox SET attempts = attempts - 1, due_at = $1, lease_until = NULL, lease_owner = NULL, updated_at = $1 WHERE {lapsed}"
        );
        let done = self.inner.write.execute_raw(self.sql(sql, [now.into()])).await.map_err(db_problem)?;
        let count = done.rows_affected();
        if count > 0 {
            metrics::counter!("berth_leases_lapsed_total").increment(count);
            tracing::warn!(
                count,
                "deliveries whose process ended are taken up again; their receivers may see them twice"
            );
            self.wake_dispatchers();
        }
        Ok(count)
    }

    /// Wakes when deliveries were enqueued or webhooks resumed, here or (PostgreSQL) elsewhere.
    pub async fn woken(&self) {
        self.inner.outbox.wake.notified().await;
    }

    /// The sender of this process.
    pub fn sender(&self) -> &delivery::Sender {
        &self.inner.sender
    }

    /// How many requests of this process have ended whose results are not recorded yet.
    pub fn unrecorded(&self) -> u32 {
        self.inner.outbox.slots.unrecorded()
    }

    /// How many requests are under way from this process.
    pub fn in_flight(&self) -> u32 {
        self.inner.outbox.slots.in_flight()
    }
}

/// What a result means for a reservation.
enum Meaning<'a> {
    /// An answer, and when its request was sent.
    Answer(Box<ReceiverAnswer>, DateTime<Utc>),
    Failure(&'a str),
    /// The delivery was cancelled, and why.
    Cancelled(&'a str),
}

struct Told<'a> {
    id: &'a str,
    event: EventType,
    what: Meaning<'a>,
}

/// What the end of an attempt changes in its delivery's row.
#[derive(Serialize)]
struct End<'a> {
    n: i64,
    status: &'static str,
    attempts: u32,
    status_code: Option<u16>,
    duration_ms: f64,
    problem: Option<&'a String>,
    ended_at: Option<i64>,
    failed_at: Option<i64>,
}

/// A row with a long text, for [`Service::json_rows_with_text`].
trait WithText: Serialize {
    fn take_text(&mut self) -> Option<String>;
}

/// A new delivery as a row.
#[derive(Serialize)]
struct DeliveryRow {
    id: DeliveryId,
    event_id: EventId,
    event_type: &'static str,
    webhook_id: WebhookId,
    ordering_key: String,
    reservation_id: Option<String>,
    max_attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl WithText for DeliveryRow {
    fn take_text(&mut self) -> Option<String> {
        self.body.take()
    }
}

/// An attempt as a row; the request's body is the delivery's and is not kept twice.
#[derive(Serialize)]
pub(crate) struct AttemptRow {
    delivery_seq: i64,
    attempt: u32,
    webhook_id: WebhookId,
    started_at: i64,
    outcome: &'static str,
    status_code: Option<u16>,
    duration_ms: f64,
    delivery_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
}

impl WithText for AttemptRow {
    fn take_text(&mut self) -> Option<String> {
        self.record.take()
    }
}

impl AttemptRow {
    /// `status` says what became of the delivery by it: its status, `superseded` or `test`.
    pub(crate) fn new(seq: i64, webhook: WebhookId, status: &'static str, attempt: &Attempt) -> Result<Self, Problem> {
        Ok(Self {
            delivery_seq: seq,
            attempt: attempt.attempt,
            webhook_id: webhook,
            started_at: attempt.started_at.timestamp_millis(),
            outcome: if attempt.outcome == Outcome::Succeeded { "succeeded" } else { "failed" },
            status_code: attempt.status_code,
            duration_ms: attempt.duration_ms,
            delivery_status: status,
            record: Some(to_json(attempt)?),
        })
    }
}

/// Leases as rows of [`Service::json_rows`].
const LEASE_COLUMNS: [(&str, &str); 2] = [("n", "bigint"), ("lease", "text")];

fn lease_rows(leases: &[Lease]) -> Result<String, Problem> {
    to_json(&leases.iter().map(|lease| json!({"n": lease.seq, "lease": &*lease.token})).collect::<Vec<_>>())
}
