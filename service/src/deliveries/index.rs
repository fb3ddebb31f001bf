//! The worker of the index: reads the log after its recording, and writes rows, counters and words in small batches.
//!
//! The transaction that records a result is not slowed down, because nothing is added to it. The position of the index is
//! stored, and each batch is one transaction with it: an attempt is counted exactly once, also after a crash and with
//! several replicas. A batch whose position somebody else has moved is rolled back and read again.

use super::Deliveries;
use super::log::recorded_attempt;
use crate::Result;
use crate::db::column::Text;
use crate::db::delivery_words::{self, DeliveryWords};
use crate::db::entity::attempts::{self, StatusAfter};
use crate::db::entity::{deliveries, delivery_counts, delivery_index, delivery_index_state, outbox};
use crate::db::link::DatabaseTransaction;
use chrono::Duration;
use domain::Problem;
use domain::delivery::{DeliveryStatus, Outcome};
use domain::id::DeliveryId;
use domain::metrics::{ResponseClass, STORED_STEPS, bucket};
use domain::search::words;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait, DerivePartialModel, EntityTrait as _,
    IntoActiveModel as _, Iterable, JoinType, QueryFilter as _, QueryOrder as _, QuerySelect as _, RelationTrait as _,
    Select,
};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

/// Maximum number of rows of counters in one statement: SQLite accepts 32,766 values.
const MAX_COUNTS: usize = 2_000;
/// Number of open deliveries of the index from which ended ones are searched at once.
const REVISITED: u64 = 1_000;
/// Time after which a missing position of the log is no longer the row of a transaction that is not committed yet.
const GAP: Duration = Duration::seconds(60);
/// Maximum number of bytes of the texts of one delivery that are indexed.
const MAX_TEXT: usize = 16 * 1024;
/// Number of deliveries in the queue from which the process counts as busy.
const BUSY_AT: u64 = 100;

/// The size of a batch of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexBatch {
    /// Maximum number of deliveries.
    deliveries: u64,
    /// Maximum number of deliveries whose words are written.
    texts: u64,
}

impl IndexBatch {
    /// For a worker beside the dispatcher: a batch holds SQLite's only writer for a few milliseconds.
    pub const SMALL: Self = Self { deliveries: 100, texts: 25 };
    /// To complete the index soon: a batch holds SQLite's only writer for up to a second.
    pub const LARGE: Self = Self { deliveries: 1_000, texts: 1_000 };
}

/// A delivery of the log, without its body.
#[derive(DerivePartialModel)]
#[sea_orm(entity = "deliveries::Entity")]
struct Logged {
    seq: i64,
    id: String,
    event_id: String,
    event_type: String,
    webhook_id: i64,
    ordering_key: String,
    status: Text<DeliveryStatus>,
    test: bool,
    attempts: i32,
    status_code: Option<i32>,
    duration_ms: Option<f64>,
    created_at: i64,
    updated_at: i64,
    ended_at: Option<i64>,
    #[sea_orm(nested)]
    queued: Option<Queued>,
}

#[derive(DerivePartialModel)]
#[sea_orm(entity = "outbox::Entity")]
struct Queued {
    #[expect(dead_code, reason = "its presence states that the delivery is open")]
    seq: i64,
}

/// The body of a delivery.
#[derive(DerivePartialModel)]
#[sea_orm(entity = "deliveries::Entity")]
struct Body {
    seq: i64,
    id: String,
    body: String,
}

/// The key of a counter: step, start, webhook, event type, class, outcome and bucket.
type CountKey = (i64, i64, i64, String, &'static str, &'static str, i32);

/// What one batch writes.
#[derive(Default)]
struct Batch {
    rows: Vec<delivery_index::ActiveModel>,
    counts: BTreeMap<CountKey, i64>,
}

/// Log rows with their queue entries.
fn logged() -> Select<deliveries::Entity> {
    deliveries::Entity::find().join(JoinType::LeftJoin, deliveries::Relation::Outbox.def())
}

impl Deliveries {
    /// Adds one batch of deliveries and results to the index. Returns the number of rows that were written; 0 if the index
    /// is complete, or another process has just written.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[tracing::instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn index_batch(&self, size: IndexBatch) -> Result<u64, Problem> {
        let rows = self.index_rows(size.deliveries).await?;
        Ok(if rows == 0 && self.context.settings.search_text { self.index_texts(size.texts).await? } else { rows })
    }

    /// Whether every delivery of the log is in the index.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    pub async fn is_index_complete(&self) -> Result<bool, Problem> {
        Ok(self.index_state().await?.complete)
    }

    /// Waits until this process may have changed the log since the last call. Only one task may call it.
    pub async fn wait_for_change(&self) {
        self.feed.wait_for_announcement().await;
    }

    /// Whether many deliveries are in the queue, so that the worker of the index leaves the database to the dispatcher.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    pub async fn is_busy(&self) -> Result<bool, Problem> {
        let queued = outbox::Entity::find().select_only().column(outbox::Column::Seq).offset(BUSY_AT).limit(1);
        let found: Result<Option<i64>, _> = queued.into_tuple().one(&self.context.db.read).await;
        Ok(found.map_err(crate::Error::from)?.is_some())
    }

    async fn index_rows(&self, limit: u64) -> Result<u64> {
        let db = &self.context.db;
        let snapshot = db.begin_snapshot().await?;
        let Some(state) = delivery_index_state::Entity::find_by_id(delivery_index_state::ID).one(&snapshot).await?
        else {
            return Ok(0);
        };
        let mut found: Vec<Logged> = logged()
            .filter(deliveries::COLUMN.seq.gt(state.seq))
            .order_by_asc(deliveries::COLUMN.seq)
            .limit(limit)
            .into_partial_model()
            .all(&snapshot)
            .await?;
        self.stop_at_gap(&mut found, state.seq);
        let seq = found.last().map_or(state.seq, |last| last.seq);
        let ended = loop {
            let ended = self.ended(&snapshot, state.seq, limit).await?;
            // Without new deliveries, the whole queue is searched.
            if !found.is_empty() || !ended.0.is_empty() || self.revisited.load(Ordering::Relaxed) == 0 {
                break ended;
            }
        };
        let known: HashMap<i64, delivery_index::Model> = ended.1.into_iter().map(|row| (row.seq, row)).collect();
        found.extend(ended.0);
        let attempts = read_attempts(&snapshot, found.iter().map(|row| row.seq)).await?;
        snapshot.commit().await?;
        if found.is_empty() {
            return Ok(0);
        }
        let mut batch = Batch::default();
        for row in found {
            let attempts = attempts.get(&row.seq).map(Vec::as_slice).unwrap_or_default();
            batch.add(known.get(&row.seq), row, attempts);
        }
        let written = batch.rows.len() as u64;
        let tx = db.begin_unaudited().await?;
        if !advance(&tx, &state, seq).await? {
            tx.rollback().await?;
            return Ok(0);
        }
        batch.write(&tx).await?;
        tx.commit().await?;
        Ok(written)
    }

    /// Removes the rows after a missing position that can still appear: PostgreSQL assigns positions before the commit.
    fn stop_at_gap(&self, found: &mut Vec<Logged>, after: i64) {
        let settled = (self.context.now() - GAP).timestamp_millis();
        let mut expected = after + 1;
        let end = found.iter().position(|row| {
            let has_gap = row.seq != expected;
            expected = row.seq + 1;
            has_gap && row.created_at > settled && self.context.db.is_postgres()
        });
        found.truncate(end.unwrap_or(found.len()));
    }

    /// Deliveries that were open in the index and have ended or have another attempt since, with their rows of the index.
    async fn ended(
        &self,
        connection: &impl ConnectionTrait,
        until: i64,
        limit: u64,
    ) -> Result<(Vec<Logged>, Vec<delivery_index::Model>)> {
        let after = self.revisited.load(Ordering::Relaxed);
        let open = delivery_index::Entity::find()
            .filter(delivery_index::COLUMN.is_open.eq(true))
            .filter(delivery_index::COLUMN.seq.gt(after))
            .filter(delivery_index::COLUMN.seq.lte(until))
            .order_by_asc(delivery_index::COLUMN.seq)
            .limit(REVISITED)
            .all(connection)
            .await?;
        let is_last = (open.len() as u64) < REVISITED;
        if open.is_empty() {
            self.revisited.store(0, Ordering::Relaxed);
            return Ok((Vec::new(), Vec::new()));
        }
        let changed = Condition::any().add(outbox::COLUMN.seq.is_null()).add(
            Expr::col(deliveries::Column::Attempts.as_column_ref())
                .gt(Expr::col(delivery_index::Column::Attempts.as_column_ref())),
        );
        let rows: Vec<Logged> = logged()
            .join_rev(JoinType::InnerJoin, delivery_index::Relation::Deliveries.def())
            .filter(delivery_index::COLUMN.seq.is_in(open.iter().map(|row| row.seq)))
            .filter(changed)
            .order_by_asc(deliveries::COLUMN.seq)
            .limit(limit)
            .into_partial_model()
            .all(connection)
            .await?;
        let next = match rows.last() {
            Some(last) if rows.len() as u64 == limit => last.seq,
            _ if is_last => 0,
            _ => open.last().map_or(0, |last| last.seq),
        };
        self.revisited.store(next, Ordering::Relaxed);
        Ok((rows, open))
    }

    /// Writes the words of the newest deliveries without them.
    async fn index_texts(&self, limit: u64) -> Result<u64> {
        let db = &self.context.db;
        let snapshot = db.begin_snapshot().await?;
        let Some(state) = delivery_index_state::Entity::find_by_id(delivery_index_state::ID).one(&snapshot).await?
        else {
            return Ok(0);
        };
        let seqs: Vec<i64> = delivery_index::Entity::find()
            .select_only()
            .column(delivery_index::Column::Seq)
            .filter(delivery_index::COLUMN.needs_text.eq(true))
            .order_by_desc(delivery_index::COLUMN.seq)
            .limit(limit)
            .into_tuple()
            .all(&snapshot)
            .await?;
        if seqs.is_empty() {
            return Ok(0);
        }
        let bodies: Vec<Body> = deliveries::Entity::find()
            .filter(deliveries::COLUMN.seq.is_in(seqs.iter().copied()))
            .into_partial_model()
            .all(&snapshot)
            .await?;
        let mut attempts = read_attempts(&snapshot, seqs.iter().copied()).await?;
        snapshot.commit().await?;
        let texts: Vec<DeliveryWords> = bodies
            .into_iter()
            .map(|row| {
                let attempts = attempts.remove(&row.seq).unwrap_or_default();
                DeliveryWords { seq: row.seq, words: text_of(&row, attempts) }
            })
            .collect();
        let tx = db.begin_unaudited().await?;
        if !advance(&tx, &state, state.seq).await? {
            tx.rollback().await?;
            return Ok(0);
        }
        delivery_words::replace(db, &tx, &texts).await?;
        delivery_index::Entity::update_many()
            .col_expr(delivery_index::Column::NeedsText, Expr::value(false))
            .filter(delivery_index::COLUMN.seq.is_in(seqs.iter().copied()))
            .exec(&tx)
            .await?;
        tx.commit().await?;
        Ok(seqs.len() as u64)
    }
}

/// Moves the position of the index. False if another process has moved it or changed the index since `state` was read.
async fn advance(tx: &DatabaseTransaction, state: &delivery_index_state::Model, seq: i64) -> Result<bool> {
    let moved = delivery_index_state::Entity::update_many()
        .col_expr(delivery_index_state::Column::Seq, Expr::value(seq))
        .col_expr(delivery_index_state::Column::Revision, Expr::value(state.revision + 1))
        .filter(delivery_index_state::COLUMN.revision.eq(state.revision))
        .exec(tx)
        .await?;
    Ok(moved.rows_affected == 1)
}

/// The attempts of deliveries, oldest first, without those that another process had superseded.
async fn read_attempts(
    connection: &impl ConnectionTrait,
    seqs: impl Iterator<Item = i64>,
) -> Result<HashMap<i64, Vec<attempts::Model>>> {
    let mut by_delivery: HashMap<i64, Vec<attempts::Model>> = HashMap::new();
    let seqs: Vec<i64> = seqs.collect();
    if seqs.is_empty() {
        return Ok(by_delivery);
    }
    let rows = attempts::Entity::find()
        .filter(attempts::COLUMN.delivery_seq.is_in(seqs))
        .filter(attempts::COLUMN.delivery_status.ne(Text(StatusAfter::Superseded)))
        .order_by_asc(attempts::COLUMN.delivery_seq)
        .order_by_asc(attempts::COLUMN.attempt)
        .all(connection)
        .await?;
    for row in rows {
        by_delivery.entry(row.delivery_seq).or_default().push(row);
    }
    Ok(by_delivery)
}

/// The code of the diagnosis of an attempt; `None` if its transcript is unreadable.
fn cause_of(attempt: &attempts::Model) -> Option<String> {
    let read = recorded_attempt(attempt.clone(), &DeliveryId(String::new())).ok()?;
    Some(read.diagnosis.code.as_str().to_owned())
}

impl Batch {
    /// Adds a delivery. `known` is its present row of the index, `attempts` all its attempts.
    fn add(&mut self, known: Option<&delivery_index::Model>, row: Logged, attempts: &[attempts::Model]) {
        let counted = known.map_or(0, |known| known.attempts);
        for attempt in attempts.iter().filter(|attempt| attempt.attempt > counted && !row.test) {
            self.count(&row, attempt);
        }
        let is_open = row.queued.is_some();
        let status = match (is_open, row.status.0) {
            (true, _) => DeliveryStatus::Pending,
            // A success does not change the row of the log.
            (false, DeliveryStatus::Pending | DeliveryStatus::Retrying | DeliveryStatus::Sending) => {
                DeliveryStatus::Succeeded
            }
            (false, ended) => ended,
        };
        let last = attempts.last();
        let ended = last.map_or(row.updated_at, |last| last.started_at + last.duration_ms as i64);
        let failed = attempts.iter().rev().find(|attempt| attempt.outcome.0 == Outcome::Failed);
        let model = delivery_index::Model {
            seq: row.seq,
            id: row.id,
            event_id: row.event_id,
            ordering_key: row.ordering_key,
            event_type: row.event_type,
            webhook_id: row.webhook_id,
            status: Text(status),
            test: row.test,
            attempts: Ord::max(counted, Ord::max(row.attempts, last.map_or(0, |last| last.attempt))),
            status_code: last.map_or(row.status_code, |last| last.status_code),
            duration_ms: last.map_or(row.duration_ms, |last| Some(last.duration_ms)),
            cause: failed.and_then(cause_of),
            created_at: row.created_at,
            ended_at: (!is_open).then(|| row.ended_at.unwrap_or(ended)),
            is_open,
            needs_text: true,
        };
        self.rows.push(model.into_active_model().reset_all());
    }

    fn count(&mut self, row: &Logged, attempt: &attempts::Model) {
        let seconds = attempt.started_at.div_euclid(1_000);
        let code = attempt.status_code.and_then(|code| u16::try_from(code).ok());
        for step in STORED_STEPS {
            let key = (
                step,
                seconds.div_euclid(step) * step,
                row.webhook_id,
                row.event_type.clone(),
                ResponseClass::of(code).as_str(),
                attempt.outcome.0.as_str(),
                i32::try_from(bucket(attempt.duration_ms)).unwrap_or_default(),
            );
            *self.counts.entry(key).or_default() += 1;
        }
    }

    async fn write(self, tx: &DatabaseTransaction) -> Result<()> {
        let changed = delivery_index::Column::iter().filter(|column| !matches!(column, delivery_index::Column::Seq));
        let replace = OnConflict::column(delivery_index::Column::Seq).update_columns(changed).to_owned();
        delivery_index::Entity::insert_many(self.rows).on_conflict(replace).exec_without_returning(tx).await?;
        if self.counts.is_empty() {
            return Ok(());
        }
        use delivery_counts::Column;
        let key = [
            Column::Step,
            Column::StartAt,
            Column::WebhookId,
            Column::EventType,
            Column::Class,
            Column::Outcome,
            Column::Bucket,
        ];
        let sum = Expr::col((delivery_counts::Entity, Column::Attempts))
            .add(Expr::col((sea_orm::sea_query::Alias::new("excluded"), Column::Attempts)));
        let add = OnConflict::columns(key).value(Column::Attempts, sum).to_owned();
        let rows: Vec<_> = self
            .counts
            .into_iter()
            .map(|(key, attempts)| {
                let (step, start_at, webhook_id, event_type, class, outcome, bucket) = key;
                let (class, outcome) = (class.to_owned(), outcome.to_owned());
                delivery_counts::Model { step, start_at, webhook_id, event_type, class, outcome, bucket, attempts }
                    .into_active_model()
                    .reset_all()
            })
            .collect();
        for rows in rows.chunks(MAX_COUNTS) {
            let insert = delivery_counts::Entity::insert_many(rows.iter().cloned());
            insert.on_conflict(add.clone()).exec_without_returning(tx).await?;
        }
        Ok(())
    }
}

/// The texts of a JSON value, without the names of its fields.
fn push_values(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => {
            text.push_str(string);
            text.push(' ');
        }
        Value::Number(number) => {
            text.push_str(&number.to_string());
            text.push(' ');
        }
        Value::Array(items) => items.iter().for_each(|item| push_values(item, text)),
        Value::Object(fields) => fields.values().for_each(|field| push_values(field, text)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The words of a delivery: its id, the values of the request, and the URL, response and diagnosis of each attempt.
fn text_of(row: &Body, attempts: Vec<attempts::Model>) -> Vec<String> {
    let mut text = format!("{} ", row.id);
    match serde_json::from_str::<Value>(&row.body) {
        Ok(body) => push_values(&body, &mut text),
        Err(_) => text.push_str(&row.body),
    }
    let id = DeliveryId(row.id.clone());
    // The last attempt first, because the texts are limited.
    for attempt in attempts.into_iter().rev() {
        if text.len() > MAX_TEXT {
            break;
        }
        let Ok(attempt) = recorded_attempt(attempt, &id) else { continue };
        let body = attempt.response.as_ref().map_or("", |response| response.body.as_str());
        let parts = [attempt.diagnosis.message.as_str(), attempt.diagnosis.hint.as_str(), &attempt.request.url, body];
        for part in parts {
            text.push(' ');
            text.push_str(part);
        }
    }
    let end = (0..=MAX_TEXT.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    words(&text).collect()
}
