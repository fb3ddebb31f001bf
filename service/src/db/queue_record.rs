//! Recording of results: the end of leases, the states of deliveries, and the search for successors.
//!
//! Hand-written: SeaORM has no UPDATE … FROM and no DELETE … USING, which change a whole batch in one statement. Plans:
//! the primary key of `outbox` or `deliveries` for each row of the batch. Benchmarks: drain, half load, slow receiver.

use super::bulk::BulkValues;
use super::connect::Database;
use super::link::DatabaseTransaction;
use super::queue_leases::Lease;
use crate::error::Error;
use domain::id::WebhookId;
use sea_orm::{ConnectionTrait as _, Value};
use std::collections::HashSet;

/// A statement that ends leases, with its parameters.
type Ending = (String, Vec<Value>);

/// The statements that end the leases of a batch, for one transaction.
pub(crate) struct LeaseEndings(Vec<Ending>);

impl LeaseEndings {
    /// Deletes `finished` deliveries from the queue and sets the due time of `retried` ones. Times in milliseconds
    /// since the epoch.
    pub(crate) fn new(db: &Database, finished: Vec<&Lease>, retried: &[(&Lease, i64)], at: i64) -> Self {
        let mut endings = Vec::with_capacity(2);
        if !finished.is_empty() {
            endings.push(Self::finish(db, finished));
        }
        if !retried.is_empty() {
            endings.push(Self::retry(db, retried, at));
        }
        Self(endings)
    }

    fn finish(db: &Database, leases: Vec<&Lease>) -> Ending {
        let (source, values) = BulkValues::leases(leases).into_sql(db);
        let sql = if db.is_postgres() {
            format!(
                "DELETE FROM outbox AS o
                USING {source}
                WHERE o.seq = r.n AND o.lease_owner = r.lease"
            )
        } else {
            format!(
                "DELETE FROM outbox
                WHERE (seq, lease_owner) IN (SELECT n, lease FROM {source})"
            )
        };
        (sql, values)
    }

    fn retry(db: &Database, leases: &[(&Lease, i64)], at: i64) -> Ending {
        let (source, values) = BulkValues::leases(leases.iter().map(|(lease, _)| *lease))
            .int_column("due_at", leases.iter().map(|(_, due_at)| *due_at))
            .int_column("at", leases.iter().map(|_| at))
            .into_sql(db);
        let sql = format!(
            "UPDATE outbox AS o
            SET due_at = r.due_at, lease_until = NULL, lease_owner = NULL, updated_at = r.at
            FROM {source}
            WHERE o.seq = r.n AND o.lease_owner = r.lease"
        );
        (sql, values)
    }

    /// Ends the leases. Returns the number of those that were still held.
    pub(crate) async fn count(self, db: &Database, tx: &DatabaseTransaction) -> Result<u64, Error> {
        let mut held = 0;
        for (sql, values) in self.0 {
            held += tx.execute_raw(db.statement(sql, values)).await?.rows_affected();
        }
        Ok(held)
    }

    /// Ends the leases. Returns the sequence numbers of those that were still held.
    pub(crate) async fn list(self, db: &Database, tx: &DatabaseTransaction) -> Result<HashSet<i64>, Error> {
        let mut held = HashSet::new();
        for (sql, values) in self.0 {
            let sql = format!("{sql} RETURNING seq");
            for row in tx.query_all_raw(db.statement(sql, values)).await? {
                held.insert(row.try_get_by_index(0)?);
            }
        }
        Ok(held)
    }
}

/// The new state of a delivery that will be retried or has failed.
pub(crate) struct DeliveryUpdate<'a> {
    pub(crate) seq: i64,
    pub(crate) status: &'static str,
    pub(crate) attempts: u32,
    pub(crate) status_code: Option<u16>,
    pub(crate) duration_ms: f64,
    pub(crate) problem: &'a str,
    /// Time of the final failure, in milliseconds since the epoch.
    pub(crate) failed_at: Option<i64>,
}

/// Writes the states of deliveries. A success needs no update: a delivery that left the queue has succeeded unless its
/// row contains another final status.
pub(crate) async fn update_deliveries(
    db: &Database,
    tx: &DatabaseTransaction,
    updates: &[DeliveryUpdate<'_>],
    at: i64,
) -> Result<(), Error> {
    if updates.is_empty() {
        return Ok(());
    }
    let (source, values) = BulkValues::default()
        .int_column("n", updates.iter().map(|update| update.seq))
        .constant_column("status", updates.iter().map(|update| update.status))
        .int_column("attempts", updates.iter().map(|update| update.attempts.into()))
        .int_column("status_code", updates.iter().map(|update| update.status_code.unwrap_or_default().into()))
        .real_column("duration_ms", updates.iter().map(|update| update.duration_ms))
        .text_column("problem", updates.iter().map(|update| update.problem))
        .int_column("failed_at", updates.iter().map(|update| update.failed_at.unwrap_or_default()))
        .int_column("at", updates.iter().map(|_| at))
        .into_sql(db);
    let sql = format!(
        "UPDATE deliveries AS d
        SET status = r.status,
            attempts = r.attempts,
            status_code = NULLIF(r.status_code, 0),
            duration_ms = r.duration_ms,
            problem = NULLIF(r.problem, ''),
            ended_at = NULLIF(r.failed_at, 0),
            failed_at = NULLIF(r.failed_at, 0),
            updated_at = r.at
        FROM {source}
        WHERE d.seq = r.n"
    );
    tx.execute_raw(db.statement(sql, values)).await?;
    Ok(())
}

/// The webhooks of these pairs (webhook, ordering key) whose queues contain another delivery with the key. Plan: a seek
/// in `outbox_order`; a correlated subquery, so the planner cannot choose a semi-join over the whole queue.
pub(crate) async fn webhooks_with_successors<'a>(
    db: &Database,
    keys: impl Iterator<Item = (WebhookId, &'a str)> + Clone,
) -> Result<Vec<WebhookId>, Error> {
    let (source, values) = BulkValues::default()
        .int_column("w", keys.clone().map(|(webhook, _)| webhook))
        .text_column("k", keys.map(|(_, key)| key))
        .into_sql(db);
    let sql = format!(
        "SELECT r.w
        FROM {source}
        WHERE (SELECT 1 FROM outbox o WHERE o.webhook_id = r.w AND o.ordering_key = r.k LIMIT 1) IS NOT NULL"
    );
    // SQLite: a read connection. PostgreSQL: a connection whose plans use indexes only.
    let connection = if db.is_postgres() { &db.record } else { &db.read };
    let rows = connection.query_all_raw(db.statement(sql, values)).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}
