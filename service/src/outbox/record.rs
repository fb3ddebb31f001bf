//! The end of attempts: recorded in batches, with what follows for deliveries, reservations and webhooks.

use super::{AttemptResult, ClaimedDelivery, UNLEASED, WebhookSet};
use crate::Service;
use crate::db::bulk::{BulkValues, MAX_ROWS, OnConflict};
use crate::db::codec::{get, time, to_json};
use crate::deliveries::succeeded_at;
use crate::error::db_problem;
use crate::notifications::Recipient;
use crate::reservations::stored_reservation;
use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use domain::change::{Change, Severity, WebhookChange};
use domain::delivery::{DeliveryStatus, DiagnosisCode, Outcome};
use domain::event::EventType;
use domain::id::WebhookId;
use domain::provisioning::{Provisioning, ReceiverResponse};
use domain::reservation::ReservationStatus;
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, Value};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// How long after word of a webhook the next bad spell is not told of.
const ALERT_COOLDOWN: Duration = Duration::minutes(1);

/// So many results at once come of a queue that is being worked off: whoever works it looks for more in any case, so that
/// successors need not be asked for.
const CROWD: usize = 128;

/// What recording found.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// When the retries that were scheduled are due.
    pub due: Vec<(DateTime<Utc>, WebhookId)>,
}

/// How a batch is recorded. Nearly always each lease still holds and no number of an attempt is taken: the first pass counts
/// that it is so, and looks at no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Optimistic,
    Verified,
}

/// What a result means for a reservation.
enum DeliveryEffect<'a> {
    /// An answer, and when its request was sent.
    Answer(Box<ReceiverResponse>, DateTime<Utc>),
    Failure(&'a str),
    /// The delivery was cancelled, and why.
    Cancelled(&'a str),
}

struct ProvisioningUpdate<'a> {
    id: &'a str,
    event: EventType,
    what: DeliveryEffect<'a>,
}

impl Service {
    /// Records a batch in one commit: attempt rows, delivery states, provisioning, 410, notifications; announces them. A
    /// result whose lease was lost meanwhile is kept as an attempt, but moves nothing. On an error nothing was recorded
    /// and the same batch can be given again.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn record(&self, batch: &[AttemptResult]) -> Result<Recorded, Problem> {
        if let Some(recorded) = self.record_in(Mode::Optimistic, batch).await? {
            return Ok(recorded);
        }
        Ok(self.record_in(Mode::Verified, batch).await?.unwrap_or_default())
    }

    /// As [`record`](Self::record); `None` when a hopeful pass found something out of the common and recorded nothing.
    async fn record_in(&self, pass: Mode, batch: &[AttemptResult]) -> Result<Option<Recorded>, Problem> {
        let mut recorded = Recorded::default();
        let now = self.now();
        // As much as can be is done before the transaction, which others may wait for.
        let rows: Vec<_> = batch.iter().map(|finished| finished.row.clone()).collect();
        let tx = self.record_tx().await?;
        let Some(ours) = self.end_leases(&tx, pass, batch, now).await? else {
            tx.rollback().await.map_err(db_problem)?;
            return Ok(None);
        };
        let mut seen = HashSet::with_capacity(batch.len());
        let mut moves = Vec::with_capacity(batch.len());
        let mut updates = Vec::with_capacity(batch.len());
        let mut attempts = Vec::with_capacity(batch.len());
        let mut superseded = Vec::new();
        for (finished, mut row) in batch.iter().zip(rows) {
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
            if finished.status != DeliveryStatus::Succeeded {
                updates.push(finished);
            }
        }
        // A success is not written here: a delivery that left the queue has succeeded unless its row says otherwise.
        if !updates.is_empty() {
            let failed_at = |finished: &&AttemptResult| match finished.status {
                DeliveryStatus::Failed => finished.ended.timestamp_millis(),
                _ => 0,
            };
            let at = now.timestamp_millis();
            let rows = BulkValues::default()
                .int_column("n", updates.iter().map(|finished| finished.claim.lease.seq))
                .constant_column("status", updates.iter().map(|finished| finished.status.as_str()))
                .int_column("attempts", updates.iter().map(|finished| finished.row.attempt.into()))
                .int_column(
                    "status_code",
                    updates.iter().map(|finished| finished.row.status_code.unwrap_or_default().into()),
                )
                .real_column("duration_ms", updates.iter().map(|finished| finished.row.duration_ms))
                .text_column("problem", updates.iter().map(|finished| finished.problem().unwrap_or_default()))
                .int_column("failed_at", updates.iter().map(failed_at))
                .int_column("at", updates.iter().map(|_| at));
            let (source, values) = self.bulk_source(rows);
            let sql = format!(
                "UPDATE deliveries AS d SET status = r.status, attempts = r.attempts, status_code = NULLIF(r.status_code, 0), duration_ms = r.duration_ms, problem = NULLIF(r.problem, ''), ended_at = NULLIF(r.failed_at, 0), failed_at = NULLIF(r.failed_at, 0), updated_at = r.at FROM {source} WHERE d.seq = r.n"
            );
            tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        }
        let taken = match pass {
            Mode::Optimistic => OnConflict::Refuse,
            Mode::Verified => OnConflict::Overwrite,
        };
        if !self.insert_attempts(&tx, attempts, taken).await? {
            tx.rollback().await.map_err(db_problem)?;
            return Ok(None);
        }
        self.insert_attempts(&tx, superseded, OnConflict::Keep).await?;
        let mut changes = Vec::new();
        let mut told: Vec<ProvisioningUpdate<'_>> = Vec::new();
        let mut freed = Vec::new();
        for (finished, moves) in batch.iter().zip(&moves) {
            if !moves {
                metrics::counter!("berth_results_without_lease_total").increment(1);
                continue;
            }
            let event = finished.claim.job.event_type;
            let what = match finished.status {
                DeliveryStatus::Succeeded => {
                    let code = finished.row.status_code.unwrap_or_default();
                    let answer = ReceiverResponse::parse(event, code, &finished.answer);
                    Some(DeliveryEffect::Answer(Box::new(answer), time(finished.row.started_at)))
                }
                DeliveryStatus::Failed => Some(DeliveryEffect::Failure(&finished.diagnosis.message)),
                _ => None,
            };
            if let (Some(what), Some(id), true) =
                (what, &finished.claim.reservation_id, finished.claim.config.provisions)
            {
                told.push(ProvisioningUpdate { id, event, what });
            }
            if finished.status.is_final() {
                freed.push(&finished.claim);
            }
            recorded.due.extend(finished.due.map(|due| (due, finished.claim.config.id)));
        }
        let audience = self.has_subscribers();
        changes.extend(self.apply_to_reservations(&tx, told, now).await?);
        changes.extend(self.webhooks_health(&tx, batch, &moves, now).await?);
        tx.commit().await.map_err(db_problem)?;
        let duration = metrics::histogram!("berth_attempt_duration_seconds");
        let mut attempts = [0; 2];
        let mut deliveries = [0; 2];
        for (finished, moves) in batch.iter().zip(&moves) {
            let status = finished.status;
            let result = &finished.row;
            let outcome = usize::from(finished.outcome == Outcome::Failed);
            duration.record(result.duration_ms / 1_000.0);
            attempts[outcome] += 1;
            deliveries[outcome] += u64::from(*moves && status.is_final());
            if audience && *moves {
                let at = match status {
                    DeliveryStatus::Succeeded => succeeded_at(result.started_at, result.duration_ms),
                    _ => now,
                };
                let mut summary = finished.claim.summary(status, at);
                summary.status_code = result.status_code;
                summary.duration_ms = Some(result.duration_ms);
                summary.problem = finished.problem().map(str::to_owned);
                summary.next_attempt_at = finished.due;
                changes.push(Change::Delivery(Box::new(summary)));
            }
        }
        for (outcome, n) in [Outcome::Succeeded, Outcome::Failed].iter().zip(0..) {
            let label = outcome.as_str();
            metrics::counter!("berth_attempts_total", "outcome" => label).increment(attempts[n]);
            metrics::counter!("berth_deliveries_total", "outcome" => label).increment(deliveries[n]);
        }
        self.announce(changes);
        self.wake_dispatchers(self.successors(&freed).await);
        Ok(Some(recorded))
    }

    /// Of whose queues others wait for what has left them. Asked after the commit: whoever puts one in that is not seen here wakes
    /// the dispatchers when the way is free.
    async fn successors(&self, freed: &[&ClaimedDelivery]) -> WebhookSet {
        let all = || freed.iter().map(|claim| claim.config.id).collect();
        if freed.is_empty() || freed.len() >= CROWD {
            return all();
        }
        let rows = BulkValues::default()
            .int_column("w", freed.iter().map(|claim| claim.config.id))
            .text_column("k", freed.iter().map(|claim| claim.ordering_key.as_str()));
        let (source, values) = self.bulk_source(rows);
        let sql = format!(
            "SELECT r.w FROM {source} WHERE (SELECT 1 FROM outbox o WHERE o.webhook_id = r.w AND o.ordering_key = r.k LIMIT 1) IS NOT NULL"
        );
        // On SQLite beside the writer.
        let connection = if self.is_postgres() { &self.inner.context.db.record } else { &self.inner.context.db.read };
        let found = connection.query_all_raw(self.sql(sql, values)).await.map_err(db_problem);
        let successors = found.and_then(|rows| rows.iter().map(|row| get::<WebhookId>(row, "w")).collect());
        successors.unwrap_or_else(|_| all())
    }

    /// Ends the leases of what was finished: final ones leave the queue, the others wait for their next attempt. Returns
    /// those whose lease still held; `None` when a hopeful pass finds that not all did.
    async fn end_leases(
        &self,
        tx: &DatabaseTransaction,
        pass: Mode,
        batch: &[AttemptResult],
        now: DateTime<Utc>,
    ) -> Result<Option<HashSet<i64>>, Problem> {
        let mut done = Vec::with_capacity(batch.len());
        let mut again = Vec::new();
        for finished in batch {
            match finished.due {
                None => done.push(&finished.claim.lease),
                Some(due) => again.push((&finished.claim.lease, due.timestamp_millis())),
            }
        }
        let mut statements = Vec::with_capacity(2);
        if !done.is_empty() {
            let (source, values) = self.bulk_source(BulkValues::leases(done));
            let sql = if self.is_postgres() {
                format!("DELETE FROM outbox AS o USING {source} WHERE o.seq = r.n AND o.lease_owner = r.lease")
            } else {
                format!("DELETE FROM outbox WHERE (seq, lease_owner) IN (SELECT n, lease FROM {source})")
            };
            statements.push((sql, values));
        }
        if !again.is_empty() {
            let at = now.timestamp_millis();
            let rows = BulkValues::leases(again.iter().map(|(lease, _)| *lease))
                .int_column("due_at", again.iter().map(|(_, due)| *due))
                .int_column("at", again.iter().map(|_| at));
            let (source, values) = self.bulk_source(rows);
            let sql = format!(
                "UPDATE outbox AS o SET due_at = r.due_at, lease_until = NULL, lease_owner = NULL, updated_at = r.at FROM {source} WHERE o.seq = r.n AND o.lease_owner = r.lease"
            );
            statements.push((sql, values));
        }
        if pass == Mode::Optimistic {
            let mut ended = 0;
            for (sql, values) in statements {
                ended += tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?.rows_affected();
            }
            let all = ended == batch.len() as u64;
            return Ok(all.then(|| batch.iter().map(|finished| finished.claim.lease.seq).collect()));
        }
        let mut ours = HashSet::with_capacity(batch.len());
        for (sql, values) in statements {
            let sql = format!("{sql} RETURNING seq");
            for row in tx.query_all_raw(self.sql(sql, values)).await.map_err(db_problem)? {
                ours.insert(get::<i64>(&row, "seq")?);
            }
        }
        Ok(Some(ours))
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
        let sql = format!("DELETE FROM outbox AS o WHERE {UNLEASED} AND {which} RETURNING seq");
        let mut seqs: Vec<i64> = Vec::new();
        for row in tx.query_all_raw(self.sql(sql, values.to_vec())).await.map_err(db_problem)? {
            seqs.push(get(&row, "seq")?);
        }
        if seqs.is_empty() {
            return Ok(Vec::new());
        }
        let at = now.timestamp_millis();
        let mut rows = Vec::with_capacity(seqs.len());
        for some in seqs.chunks(MAX_ROWS) {
            let cancelled =
                BulkValues::default().int_column("n", some.iter().copied()).int_column("at", some.iter().map(|_| at));
            let (source, values) = self.bulk_source(cancelled);
            let sql = format!(
                "UPDATE deliveries AS d SET status = 'cancelled', ended_at = r.at, updated_at = r.at FROM {source} WHERE d.seq = r.n RETURNING webhook_id, reservation_id, event_type"
            );
            rows.extend(tx.query_all_raw(self.sql(sql, values)).await.map_err(db_problem)?);
        }
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
        let told = of
            .iter()
            .map(|(id, event)| ProvisioningUpdate { id, event: *event, what: DeliveryEffect::Cancelled(reason) })
            .collect();
        self.apply_to_reservations(tx, told, now).await
    }

    /// What answers, failures and cancellations mean for their reservations.
    async fn apply_to_reservations(
        &self,
        tx: &DatabaseTransaction,
        mut told: Vec<ProvisioningUpdate<'_>>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Change>, Problem> {
        let mut changed = self.first_answers(tx, &mut told, now).await?;
        changed.extend(self.later_words(tx, told, now).await?);
        changed.sort_unstable();
        changed.dedup();
        let mut changes = Vec::new();
        if self.has_subscribers() {
            for some in changed.chunks(MAX_ROWS) {
                let (source, values) =
                    self.bulk_source(BulkValues::default().text_column("k", some.iter().map(String::as_str)));
                let sql = format!("{} JOIN {source} ON v.id = r.k", crate::reservations::SELECT);
                for row in &tx.query_all_raw(self.sql(sql, values)).await.map_err(db_problem)? {
                    changes.push(Change::Reservation(Box::new(stored_reservation(row)?)));
                }
            }
        }
        Ok(changes)
    }

    /// Answers to reservations that nothing was said of before, which is nearly all of them: they wait, and are active, for
    /// whatever ends one writes its provisioning too. So what follows is known, and written, without reading them. Takes
    /// the answers from `told` where all were the first, and returns their reservations. Where some were not, they stay, for to be told the
    /// same once more changes nothing.
    async fn first_answers<'a>(
        &self,
        tx: &DatabaseTransaction,
        told: &mut Vec<ProvisioningUpdate<'a>>,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, Problem> {
        // In one order for all transactions, so that they do not wait for each other in a ring. Only the first word of a
        // reservation: one after a failure must not come before it.
        let mut words: BTreeMap<&'a str, Option<String>> = BTreeMap::new();
        for ProvisioningUpdate { id, event, what } in told.iter() {
            let Entry::Vacant(entry) = words.entry(*id) else { continue };
            let next = match what {
                DeliveryEffect::Answer(answer, sent) if event.provisions() => {
                    Provisioning::waiting(*sent).after_response(answer, *sent, now)
                }
                _ => None,
            };
            entry.insert(next.as_ref().map(to_json).transpose()?);
        }
        let first: Vec<_> = words.into_iter().filter_map(|(id, next)| Some((id, next?))).collect();
        let mut held = 0;
        for some in first.chunks(MAX_ROWS) {
            let rows = BulkValues::default()
                .text_column("k", some.iter().map(|(id, _)| *id))
                .text_column("p", some.iter().map(|(_, next)| next.as_str()));
            let (source, values) = self.bulk_source(rows);
            let sql = format!(
                "INSERT INTO provisioning (reservation_id, state) SELECT r.k, r.p FROM {source} WHERE r.k IS NOT NULL ON CONFLICT DO NOTHING"
            );
            held += tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?.rows_affected();
        }
        let ids = first.iter().map(|(id, _)| (*id).to_owned()).collect();
        if held == first.len() as u64 {
            let mut done: HashSet<&str> = first.iter().map(|(id, _)| *id).collect();
            told.retain(|told| !done.remove(told.id));
        }
        Ok(ids)
    }

    /// What is said of reservations that something was said of before, under the rows' locks. Returns those that change.
    async fn later_words(
        &self,
        tx: &DatabaseTransaction,
        told: Vec<ProvisioningUpdate<'_>>,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, Problem> {
        if told.is_empty() {
            return Ok(Vec::new());
        }
        // In one order for all transactions too. First answers and later words of two batches may still wait for each other in a
        // ring: PostgreSQL ends one of them after a second, and its batch is recorded again.
        let ids: Vec<&str> = told.iter().map(|t| t.id).collect::<BTreeSet<_>>().into_iter().collect();
        let lock = if self.is_postgres() { " ORDER BY v.id FOR UPDATE OF v, p" } else { "" };
        let mut known: BTreeMap<String, (bool, Provisioning, bool)> = BTreeMap::new();
        for some in ids.chunks(MAX_ROWS) {
            let (source, values) = self.bulk_source(BulkValues::default().text_column("k", some.iter().copied()));
            let these = format!(
                "SELECT v.id, v.provisioning FROM {source} CROSS JOIN reservations v WHERE v.id = r.k ORDER BY v.id"
            );
            self.ensure_provisioning_rows(tx, &these, values.clone()).await?;
            let sql = format!(
                "SELECT v.id, v.status, p.state FROM {source} CROSS JOIN reservations v JOIN provisioning p ON p.reservation_id = v.id WHERE v.id = r.k{lock}"
            );
            for row in tx.query_all_raw(self.sql(sql, values)).await.map_err(db_problem)? {
                let active = get::<String>(&row, "status")? == ReservationStatus::Active.as_str();
                let provisioning = crate::db::codec::json(&get::<String>(&row, "state")?)?;
                known.insert(get(&row, "id")?, (active, provisioning, false));
            }
        }
        for ProvisioningUpdate { id, event, what } in told {
            let Some((active, provisioning, changed)) = known.get_mut(id) else { continue };
            // A late word on `created` must not undo the release of a reservation that has ended since.
            if event.provisions() && !*active {
                continue;
            }
            let next = match what {
                DeliveryEffect::Answer(answer, sent) => provisioning.after_response(&answer, sent, now),
                DeliveryEffect::Failure(reason) => provisioning.after_failure(event, reason, now),
                DeliveryEffect::Cancelled(reason) => provisioning.after_cancellation(event, reason, now),
            };
            if let Some(next) = next {
                *provisioning = next;
                *changed = true;
            }
        }
        let mut changed = Vec::with_capacity(known.len());
        for (id, (_, provisioning, _)) in known.into_iter().filter(|(_, (_, _, changed))| *changed) {
            changed.push((id, to_json(&provisioning)?));
        }
        for some in changed.chunks(MAX_ROWS) {
            let rows = BulkValues::default()
                .text_column("k", some.iter().map(|(id, _)| id.as_str()))
                .text_column("p", some.iter().map(|(_, p)| p.as_str()));
            let (source, values) = self.bulk_source(rows);
            let sql = format!("UPDATE provisioning AS p SET state = r.p FROM {source} WHERE p.reservation_id = r.k");
            tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        }
        Ok(changed.into_iter().map(|(id, _)| id).collect())
    }

    /// 410 disables a webhook; the first failure for good tells the administrators; a success ends the bad spell.
    async fn webhooks_health(
        &self,
        tx: &DatabaseTransaction,
        batch: &[AttemptResult],
        moves: &[bool],
        now: DateTime<Utc>,
    ) -> Result<Vec<Change>, Problem> {
        let mut last: BTreeMap<WebhookId, &AttemptResult> = BTreeMap::new();
        for (finished, moves) in batch.iter().zip(moves) {
            let gone = finished.diagnosis.code == DiagnosisCode::Gone;
            let entry = last.entry(finished.claim.config.id);
            if *moves && finished.status.is_final() {
                // 410 outweighs what came after it in the same batch.
                entry
                    .and_modify(|known| {
                        if known.diagnosis.code != DiagnosisCode::Gone || gone {
                            *known = finished;
                        }
                    })
                    .or_insert(finished);
            }
        }
        let mut changes = Vec::new();
        for (id, finished) in last {
            let (status, config) = (finished.status, &finished.claim.config);
            let link = format!("/settings/webhooks/{id}");
            let at = now.timestamp_millis();
            if finished.diagnosis.code == DiagnosisCode::Gone {
                let sql = "UPDATE webhooks SET state = 'gone', failing_since = COALESCE(failing_since, $2), revision = revision + 1 WHERE id = $1 AND state = 'enabled' AND deleted_at IS NULL";
                if tx.execute_raw(self.sql(sql, [id.into(), at.into()])).await.map_err(db_problem)?.rows_affected() > 0
                {
                    let message = format!(
                        "{} answered 410 Gone and was disabled. Its events are kept; resume it when its service is back.",
                        config.name
                    );
                    changes.push(Change::Notification(
                        self.notifications()
                            .create(tx, Recipient::Administrators, Severity::Error, &message, Some(&link))
                            .await?,
                    ));
                    changes.push(Change::Webhook(WebhookChange { id, deleted: false }));
                }
            } else if status == DeliveryStatus::Failed && !config.failing {
                // A webhook that fails and succeeds by turns is told of once a minute, not once a batch.
                let sql = "UPDATE webhooks SET failing_since = $2, revision = revision + 1 WHERE id = $1 AND failing_since IS NULL AND deleted_at IS NULL AND NOT EXISTS (SELECT 1 FROM (SELECT link, at FROM notifications ORDER BY id DESC LIMIT 200) n WHERE n.link = $3 AND n.at > $4)";
                let values =
                    [id.into(), at.into(), link.as_str().into(), (at - ALERT_COOLDOWN.num_milliseconds()).into()];
                if tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?.rows_affected() > 0 {
                    let message = format!("Deliveries to {} fail: {}", config.name, finished.diagnosis.message);
                    changes.push(Change::Notification(
                        self.notifications()
                            .create(tx, Recipient::Administrators, Severity::Error, &message, Some(&link))
                            .await?,
                    ));
                    changes.push(Change::Webhook(WebhookChange { id, deleted: false }));
                }
            } else if status == DeliveryStatus::Succeeded && config.failing {
                let sql = "UPDATE webhooks SET failing_since = NULL, revision = revision + 1 WHERE id = $1 AND failing_since IS NOT NULL";
                if tx.execute_raw(self.sql(sql, [id.into()])).await.map_err(db_problem)?.rows_affected() > 0 {
                    let message = format!("Deliveries to {} succeed again.", config.name);
                    changes.push(Change::Notification(
                        self.notifications()
                            .create(tx, Recipient::Administrators, Severity::Info, &message, Some(&link))
                            .await?,
                    ));
                    changes.push(Change::Webhook(WebhookChange { id, deleted: false }));
                }
            }
        }
        Ok(changes)
    }
}
