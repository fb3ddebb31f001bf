//! The delivery log.

use crate::Service;
use crate::db::bulk::{BulkValues, MAX_ROWS};
use crate::db::codec::{get, json, time};
use crate::db::queue_enqueue::INSERT_OUTBOX;
use crate::error::db_problem;
use crate::outbox::WebhookSet;
use crate::pagination::page_of;
use crate::pagination::{self as cursor};
use chrono::{DateTime, Utc};
use delivery::Transcript;
use domain::Problem;
use domain::authorization::{Action, Actor, authorize};
use domain::change::Change;
use domain::delivery::*;
use domain::event::EventType;
use domain::id::{DeliveryId, EventId, ReservationId, WebhookId};
use domain::pagination::{Page, PageQuery};
use sea_orm::{ConnectionTrait as _, QueryResult, Value};

/// Deliveries that one replay makes at most.
const REPLAY: u64 = 10_000;

/// What of a delivery `d` and its webhook `w`: while it is open, its entry `o` in the queue knows best, and when it succeeded,
/// the attempt `a` that did. Recording a success leaves the delivery's row as it is.
const COLUMNS: &str = "SELECT d.seq, d.id, d.event_id, d.event_type, d.webhook_id, w.name AS webhook_name, d.reservation_id, CASE WHEN o.lease_owner IS NOT NULL THEN 'sending' WHEN o.seq IS NULL AND d.status IN ('pending', 'retrying') THEN 'succeeded' ELSE d.status END AS status, d.test, COALESCE(o.attempts, a.attempt, d.attempts) AS attempts, d.max_attempts, COALESCE(a.status_code, d.status_code) AS status_code, COALESCE(a.duration_ms, d.duration_ms) AS duration_ms, CASE WHEN a.attempt IS NULL THEN d.problem END AS problem, o.due_at, d.created_at, COALESCE(o.updated_at, d.updated_at) AS updated_at, a.started_at AS succeeded_from, d.redelivery_of";
/// All of them.
const LOG: &str = "FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id LEFT JOIN outbox o ON o.seq = d.seq";
/// The attempt by which a delivery succeeded, if it did.
const SUCCESS: &str = "LEFT JOIN attempts a ON a.delivery_seq = d.seq AND a.delivery_status = 'succeeded'";

/// When a delivery succeeded by an attempt that began at `started_at` and took `duration_ms`: both in milliseconds, as stored.
pub(crate) fn succeeded_at(started_at: i64, duration_ms: f64) -> DateTime<Utc> {
    time(started_at + duration_ms as i64)
}

fn summary(row: &QueryResult) -> Result<(i64, DeliverySummary), Problem> {
    let status = DeliveryStatus::parse(&get::<String>(row, "status")?).unwrap_or(DeliveryStatus::Cancelled);
    let waits = matches!(status, DeliveryStatus::Pending | DeliveryStatus::Retrying);
    let due: Option<i64> = get(row, "due_at")?;
    let duration_ms: Option<f64> = get(row, "duration_ms")?;
    let updated_at = match get(row, "succeeded_from")? {
        Some(started_at) => succeeded_at(started_at, duration_ms.unwrap_or_default()),
        None => time(get(row, "updated_at")?),
    };
    let summary = DeliverySummary {
        id: DeliveryId(get(row, "id")?),
        event_id: EventId(get(row, "event_id")?),
        event_type: EventType::parse(&get::<String>(row, "event_type")?).unwrap_or(EventType::ReservationCreated),
        webhook_id: get(row, "webhook_id")?,
        webhook_name: get(row, "webhook_name")?,
        reservation_id: get(row, "reservation_id")?,
        status,
        test: get(row, "test")?,
        attempts: get::<i32>(row, "attempts")? as u32,
        max_attempts: get::<i32>(row, "max_attempts")? as u32,
        status_code: get::<Option<i32>>(row, "status_code")?.map(|code| code as u16),
        duration_ms,
        problem: get(row, "problem")?,
        next_attempt_at: due.filter(|_| waits).map(time),
        created_at: time(get(row, "created_at")?),
        updated_at,
        redelivery_of: get::<Option<String>>(row, "redelivery_of")?.map(DeliveryId),
    };
    Ok((get(row, "seq")?, summary))
}

/// An attempt of the log, without the request's body.
fn recorded(row: &QueryResult, delivery: &DeliveryId) -> Result<Attempt, Problem> {
    let record: String = get(row, "record")?;
    // As they were before there were transcripts.
    if record.starts_with('{') {
        return json(&record);
    }
    let outcome = if get::<String>(row, "outcome")? == Outcome::Succeeded.as_str() {
        Outcome::Succeeded
    } else {
        Outcome::Failed
    };
    let attempt = get::<i32>(row, "attempt")? as u32;
    let status_code = get::<Option<i32>>(row, "status_code")?.map(|code| code as u16);
    let started_at = time(get(row, "started_at")?);
    Transcript::stored(record).to_attempt(delivery.clone(), attempt, started_at, outcome, status_code).ok_or_else(
        || {
            tracing::error!(%delivery, "the record of an attempt cannot be read");
            Problem::internal()
        },
    )
}

/// The conditions of a filter, with their values appended.
fn conditions(filter: &DeliveryFilter, values: &mut Vec<Value>) -> String {
    let mut sql = String::new();
    let mut and = |condition: &str, value: Value| {
        values.push(value);
        sql.push_str(&format!(" AND {condition} ${}", values.len()));
    };
    if let Some(id) = filter.webhook_id {
        and("d.webhook_id =", id.into());
    }
    if let Some(event) = filter.event_type {
        and("d.event_type =", event.as_str().into());
    }
    if let Some(id) = &filter.reservation_id {
        and("d.reservation_id =", id.as_str().into());
    }
    if let Some(since) = filter.since {
        and("d.created_at >=", since.timestamp_millis().into());
    }
    if let Some(until) = filter.until {
        and("d.created_at <", until.timestamp_millis().into());
    }
    sql.push_str(match filter.status {
        None => "",
        Some(DeliveryStatus::Sending) => " AND o.lease_owner IS NOT NULL",
        Some(DeliveryStatus::Pending) => " AND o.lease_owner IS NULL AND o.attempts = 0",
        Some(DeliveryStatus::Retrying) => " AND o.lease_owner IS NULL AND o.attempts > 0",
        Some(DeliveryStatus::Succeeded) => " AND o.seq IS NULL AND d.status NOT IN ('failed', 'cancelled')",
        // So that its partial index serves.
        Some(DeliveryStatus::Failed) => " AND d.failed_at IS NOT NULL",
        Some(DeliveryStatus::Cancelled) => " AND d.status = 'cancelled'",
    });
    sql
}

impl Service {
    /// Newest first.
    ///
    /// # Errors
    /// 403 for others than administrators, 422 for a bad page.
    pub async fn list_deliveries(
        &self,
        actor: &Actor,
        filter: &DeliveryFilter,
        page: &PageQuery,
    ) -> Result<Page<DeliverySummary>, Problem> {
        authorize(actor, Action::ReadWebhooks)?;
        let limit = page.limit()?;
        let mut values: Vec<Value> = vec![(limit as i64 + 1).into()];
        // What is open is found by the queue, not by looking through the log for it. SQLite keeps to the order of a CROSS JOIN.
        let open = filter.status.is_some_and(|status| !status.is_final());
        let join = if self.is_postgres() { "JOIN" } else { "CROSS JOIN" };
        let queue =
            format!("FROM outbox o {join} deliveries d ON d.seq = o.seq {join} webhooks w ON w.id = d.webhook_id");
        let (from, seq) = if open { (queue.as_str(), "o.seq") } else { (LOG, "d.seq") };
        let mut sql = format!("{COLUMNS} {from} {SUCCESS} WHERE 1 = 1{}", conditions(filter, &mut values));
        if let Some(before) = cursor::decode_number_cursor(page.cursor.as_deref())? {
            values.push(before.into());
            sql.push_str(&format!(" AND {seq} < ${}", values.len()));
        }
        let rows = self.rows(format!("{sql} ORDER BY {seq} DESC LIMIT $1"), values).await?;
        let items = rows.iter().map(summary).collect::<Result<Vec<_>, _>>()?;
        let page = page_of(items, limit, |(seq, _)| seq.to_string());
        Ok(Page { items: page.items.into_iter().map(|(_, summary)| summary).collect(), next_cursor: page.next_cursor })
    }

    /// A reservation's deliveries, oldest first.
    pub(crate) async fn deliveries_of(&self, id: &ReservationId) -> Result<Vec<DeliverySummary>, Problem> {
        let sql = format!("{COLUMNS} {LOG} {SUCCESS} WHERE d.reservation_id = $1 ORDER BY d.seq LIMIT 500");
        self.rows(sql, [id.as_str().into()]).await?.iter().map(|row| summary(row).map(|(_, summary)| summary)).collect()
    }

    /// Announces what was cancelled for a webhook at `now`; the latest of them, for a screen shows no more.
    pub(crate) async fn announce_cancelled(&self, webhook: WebhookId, now: i64) {
        if !self.has_subscribers() {
            return;
        }
        let sql = format!(
            "{COLUMNS} {LOG} {SUCCESS} WHERE d.webhook_id = $1 AND d.status = 'cancelled' AND d.ended_at = $2 ORDER BY d.seq DESC LIMIT 200"
        );
        // What cannot be read now is read when the page is next opened.
        let rows = self.rows(sql, [webhook.into(), now.into()]).await.unwrap_or_default();
        let changes =
            rows.iter().filter_map(|row| summary(row).ok()).map(|(_, summary)| Change::Delivery(Box::new(summary)));
        self.announce(changes.collect());
    }

    /// One delivery with its attempts.
    ///
    /// # Errors
    /// 403 for others than administrators, 404.
    pub async fn get_delivery(&self, actor: &Actor, id: &DeliveryId) -> Result<DeliveryDetail, Problem> {
        authorize(actor, Action::ReadWebhooks)?;
        let rows = self
            .rows(
                format!("{} {LOG} {SUCCESS} WHERE d.id = $1", COLUMNS.replacen("d.seq,", "d.seq, d.body,", 1)),
                [id.as_str().into()],
            )
            .await?;
        let row = rows.first().ok_or_else(|| Problem::not_found("delivery"))?;
        let (seq, delivery) = summary(row)?;
        let body: String = get(row, "body")?;
        let sql = "SELECT attempt, started_at, outcome, status_code, record FROM attempts WHERE delivery_seq = $1 ORDER BY attempt";
        let mut attempt_log = Vec::new();
        for row in &self.rows(sql, [seq.into()]).await? {
            let mut attempt = recorded(row, &delivery.id)?;
            attempt.request.body.clone_from(&body);
            attempt_log.push(attempt);
        }
        Ok(DeliveryDetail { delivery, body, attempt_log })
    }

    /// Delivers the same event again as a new delivery.
    ///
    /// # Errors
    /// 403 for others than administrators, 404, 409 while the old one is unfinished, was a test, or its webhook is deleted.
    pub async fn redeliver(&self, actor: &Actor, id: &DeliveryId) -> Result<DeliverySummary, Problem> {
        authorize(actor, Action::WriteWebhooks)?;
        let rows = self
            .rows(
                format!("{} {LOG} {SUCCESS} WHERE d.id = $1", COLUMNS.replacen("d.seq,", "d.seq, w.deleted_at,", 1)),
                [id.as_str().into()],
            )
            .await?;
        let row = rows.first().ok_or_else(|| Problem::not_found("delivery"))?;
        let (_, old) = summary(row)?;
        if get::<Option<i64>>(row, "deleted_at")?.is_some() {
            return Err(Problem::conflict("The webhook of this delivery has been deleted."));
        }
        if old.test {
            return Err(Problem::conflict("This was a test event. Send another test instead."));
        }
        if !old.status.is_final() {
            return Err(Problem::conflict("This delivery is not finished; Berth is still at it."));
        }
        let new = DeliveryId::from_ulid(self.new_ulid());
        self.deliver_again(&[(id.clone(), new.clone())]).await?;
        let rows = self.rows(format!("{COLUMNS} {LOG} {SUCCESS} WHERE d.id = $1"), [new.as_str().into()]).await?;
        let (_, made) = summary(rows.first().ok_or_else(Problem::internal)?)?;
        self.announce(vec![Change::Delivery(Box::new(made.clone()))]);
        self.wake_dispatchers(made.webhook_id.into());
        Ok(made)
    }

    /// Makes new deliveries of old ones, ids in pairs (old, new), whose webhooks are still there; returns how many.
    async fn deliver_again(&self, ids: &[(DeliveryId, DeliveryId)]) -> Result<u64, Problem> {
        let at = self.now().timestamp_millis();
        let tx = self.write_tx().await?;
        let mut made = 0;
        for some in ids.chunks(MAX_ROWS) {
            let new = || {
                BulkValues::default()
                    .text_column("n", some.iter().map(|(_, new)| new.as_str()))
                    .int_column("at", some.iter().map(|_| at))
            };
            let (source, values) = self.bulk_source(new().text_column("o", some.iter().map(|(old, _)| old.as_str())));
            let sql = format!(
                "INSERT INTO deliveries (id, event_id, event_type, webhook_id, ordering_key, reservation_id, body, status, test, attempts, max_attempts, created_at, updated_at, redelivery_of)
                 SELECT r.n, d.event_id, d.event_type, d.webhook_id, d.ordering_key, d.reservation_id, d.body, 'pending', d.test, 0, d.max_attempts, r.at, r.at, d.id
                 FROM {source} JOIN deliveries d ON d.id = r.o JOIN webhooks w ON w.id = d.webhook_id WHERE w.deleted_at IS NULL ORDER BY d.seq"
            );
            made += tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?.rows_affected();
            let (source, values) = self.bulk_source(new());
            let sql = format!(
                "{INSERT_OUTBOX} SELECT d.seq, d.webhook_id, d.ordering_key, r.at, 0, NULL, NULL, r.at, false FROM {source} JOIN deliveries d ON d.id = r.n WHERE true"
            );
            tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        }
        tx.commit().await.map_err(db_problem)?;
        Ok(made)
    }

    /// Redelivers all that match, at most 10,000, oldest first; without a status the failed ones.
    ///
    /// # Errors
    /// 403 for others than administrators, 422 for a status of unfinished deliveries.
    pub async fn replay(&self, actor: &Actor, input: &ReplayInput) -> Result<ReplayResult, Problem> {
        authorize(actor, Action::WriteWebhooks)?;
        let mut filter = input.filter.clone();
        let status = *filter.status.get_or_insert(DeliveryStatus::Failed);
        if !status.is_final() {
            return Err(Problem::field(
                "filter.status",
                "Only succeeded, failed or cancelled deliveries can be replayed.",
            ));
        }
        let mut values = Vec::new();
        let conditions = conditions(&filter, &mut values);
        // What was redelivered already stands for itself: whoever asks twice must not send twice.
        let from = format!(
            "{LOG} WHERE w.deleted_at IS NULL AND NOT d.test AND NOT EXISTS (SELECT 1 FROM deliveries n WHERE n.redelivery_of = d.id)"
        );
        let rows = self.rows(format!("SELECT COUNT(*) AS n {from}{conditions}"), values.clone()).await?;
        let matched = match rows.first() {
            Some(row) => get::<i64>(row, "n")? as u64,
            None => 0,
        };
        if input.dry_run || matched == 0 {
            return Ok(ReplayResult { matched, redelivered: 0 });
        }
        let rows = self.rows(format!("SELECT d.id {from}{conditions} ORDER BY d.seq LIMIT {REPLAY}"), values).await?;
        let mut ids = Vec::with_capacity(rows.len());
        for row in &rows {
            ids.push((DeliveryId(get(row, "id")?), DeliveryId::from_ulid(self.new_ulid())));
        }
        let redelivered = self.deliver_again(&ids).await?;
        self.wake_dispatchers(WebhookSet::All);
        Ok(ReplayResult { matched, redelivered })
    }
}
