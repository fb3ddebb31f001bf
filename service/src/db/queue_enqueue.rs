//! Insertion of deliveries with their entries in the queue.
//!
//! Hand-written: SeaORM's `insert_many` cannot insert into two tables in one statement, nor restore NULL from bulk
//! values. Plans: inserts only; the new rows of `deliveries` are joined by id within the statement. Benchmarks:
//! throughput, latency, half load.

use super::bulk::BulkValues;
use super::connect::Database;
use super::link::DatabaseTransaction;
use crate::error::Error;
use domain::id::WebhookId;
use domain::payload::PayloadFormat;
use sea_orm::ConnectionTrait as _;
use std::collections::HashMap;

/// The table and columns of an insert into the queue.
pub(crate) const INSERT_OUTBOX: &str =
    "INSERT INTO outbox (seq, webhook_id, ordering_key, due_at, attempts, lease_owner, lease_until, updated_at, fresh)";

const INSERT_DELIVERIES: &str = "INSERT INTO deliveries (
        id, event_id, event_type, webhook_id, ordering_key, reservation_id, max_attempts, body,
        payload_format, status, attempts, test, created_at, updated_at
    )
    SELECT
        r.id, r.event_id, r.event_type, r.webhook_id, r.ordering_key, NULLIF(r.reservation_id, ''), r.max_attempts, r.body,
        NULLIF(r.payload_format, ''), 'pending', 0";

/// A delivery to insert.
pub(crate) struct NewDelivery<'a> {
    pub(crate) id: &'a str,
    pub(crate) event_id: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) webhook_id: WebhookId,
    pub(crate) ordering_key: &'a str,
    pub(crate) reservation_id: Option<&'a str>,
    pub(crate) max_attempts: u32,
    pub(crate) body: &'a str,
    pub(crate) payload_format: PayloadFormat,
    /// Whether it is inserted as claimed.
    pub(crate) claimed: bool,
}

/// Values shared by the deliveries of one insert.
pub(crate) struct Insertion<'a> {
    /// The token of claimed deliveries.
    pub(crate) token: &'a str,
    /// Expiry of the leases of claimed deliveries, in milliseconds since the epoch.
    pub(crate) lease_until: i64,
    /// Whether no earlier delivery can have the same ordering key.
    pub(crate) fresh: bool,
    /// The current time, in milliseconds since the epoch.
    pub(crate) at: i64,
}

impl NewDelivery<'_> {
    /// The stored name of the payload format, empty for the default one.
    fn payload_format(&self) -> &'static str {
        if self.payload_format == PayloadFormat::default() { "" } else { self.payload_format.as_str() }
    }
}

impl Insertion<'_> {
    fn lease(&self, delivery: &NewDelivery<'_>) -> (&str, i64) {
        if delivery.claimed { (self.token, self.lease_until) } else { ("", 0) }
    }

    /// The values of [`INSERT_OUTBOX`] after `seq` and `webhook_id`, from a source `r`.
    fn entry(&self) -> String {
        let fresh = self.fresh;
        format!(
            "r.ordering_key, r.at, CASE WHEN r.lease = '' THEN 0 ELSE 1 END, NULLIF(r.lease, ''), NULLIF(r.lease_until, 0), r.at, {fresh}"
        )
    }
}

/// Inserts deliveries and their entries in the queue, at most [`MAX_ROWS`](super::bulk::MAX_ROWS). Returns their
/// sequence numbers by id.
pub(crate) async fn insert_deliveries(
    db: &Database,
    tx: &DatabaseTransaction,
    deliveries: &[NewDelivery<'_>],
    insertion: &Insertion<'_>,
) -> Result<HashMap<String, i64>, Error> {
    let rows = BulkValues::default()
        .text_column("id", deliveries.iter().map(|d| d.id))
        .text_column("event_id", deliveries.iter().map(|d| d.event_id))
        .text_column("event_type", deliveries.iter().map(|d| d.event_type))
        .int_column("webhook_id", deliveries.iter().map(|d| d.webhook_id))
        .text_column("ordering_key", deliveries.iter().map(|d| d.ordering_key))
        .text_column("reservation_id", deliveries.iter().map(|d| d.reservation_id.unwrap_or_default()))
        .int_column("max_attempts", deliveries.iter().map(|d| d.max_attempts.into()))
        .text_column("body", deliveries.iter().map(|d| d.body))
        .constant_column("payload_format", deliveries.iter().map(NewDelivery::payload_format))
        .int_column("at", deliveries.iter().map(|_| insertion.at));
    if db.is_postgres() {
        insert_postgres(db, tx, deliveries, insertion, rows).await
    } else {
        insert_sqlite(db, tx, deliveries, insertion, rows).await
    }
}

/// Runs a statement that returns `seq` and `id`.
async fn query_seqs(
    db: &Database,
    tx: &DatabaseTransaction,
    sql: String,
    values: Vec<sea_orm::Value>,
    count: usize,
) -> Result<HashMap<String, i64>, Error> {
    let mut seqs = HashMap::with_capacity(count);
    for row in tx.query_all_raw(db.statement(sql, values)).await? {
        seqs.insert(row.try_get_by_index(1)?, row.try_get_by_index(0)?);
    }
    Ok(seqs)
}

/// Inserts into both tables with one statement, because each statement costs a round trip.
async fn insert_postgres(
    db: &Database,
    tx: &DatabaseTransaction,
    deliveries: &[NewDelivery<'_>],
    insertion: &Insertion<'_>,
    rows: BulkValues,
) -> Result<HashMap<String, i64>, Error> {
    let (source, values) = rows
        .text_column("lease", deliveries.iter().map(|d| insertion.lease(d).0))
        .int_column("lease_until", deliveries.iter().map(|d| insertion.lease(d).1))
        .into_sql(db);
    let entry = insertion.entry();
    let sql = format!(
        "WITH r AS MATERIALIZED (SELECT * FROM {source}),
        d AS ({INSERT_DELIVERIES}, false, r.at, r.at FROM r RETURNING seq, id),
        o AS ({INSERT_OUTBOX} SELECT d.seq, r.webhook_id, {entry} FROM d JOIN r ON r.id = d.id)
        SELECT seq, id FROM d"
    );
    query_seqs(db, tx, sql, values, deliveries.len()).await
}

/// Inserts with two statements: SQLite has no data-modifying CTE.
async fn insert_sqlite(
    db: &Database,
    tx: &DatabaseTransaction,
    deliveries: &[NewDelivery<'_>],
    insertion: &Insertion<'_>,
    rows: BulkValues,
) -> Result<HashMap<String, i64>, Error> {
    let (source, values) = rows.into_sql(db);
    let sql = format!("{INSERT_DELIVERIES}, 0, r.at, r.at FROM {source} WHERE r.id IS NOT NULL RETURNING seq, id");
    let seqs = query_seqs(db, tx, sql, values, deliveries.len()).await?;
    let mut entries = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let seq = seqs.get(delivery.id).copied().ok_or_else(domain::Problem::internal)?;
        entries.push((delivery, seq));
    }
    let (source, values) = BulkValues::default()
        .int_column("n", entries.iter().map(|(_, seq)| *seq))
        .int_column("w", entries.iter().map(|(d, _)| d.webhook_id))
        .text_column("ordering_key", entries.iter().map(|(d, _)| d.ordering_key))
        .int_column("at", entries.iter().map(|_| insertion.at))
        .text_column("lease", entries.iter().map(|(d, _)| insertion.lease(d).0))
        .int_column("lease_until", entries.iter().map(|(d, _)| insertion.lease(d).1))
        .into_sql(db);
    let entry = insertion.entry();
    let sql = format!("{INSERT_OUTBOX} SELECT r.n, r.w, {entry} FROM {source} WHERE r.n IS NOT NULL");
    tx.execute_raw(db.statement(sql, values)).await?;
    Ok(seqs)
}
