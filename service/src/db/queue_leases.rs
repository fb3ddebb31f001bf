//! Leases: renewal, release and expiry; repair after a clock rollback.
//!
//! Hand-written: SeaORM has no UPDATE … FROM, which changes many rows with different values, and no SKIP LOCKED inside
//! it. Plans: the primary key of `outbox` for each lease; a scan of the queue for expiry. Benchmarks: slow receiver,
//! idle.

use super::bulk::{BulkValues, MAX_ROWS};
use super::connect::Database;
use crate::error::Error;
use sea_orm::ConnectionTrait as _;
use std::sync::Arc;

/// The right to send a delivery and to record its result. The token is unique for each claim. A result after lease
/// expiry is therefore never mistaken for the result of a later claim, even of the same process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The delivery's sequence number.
    pub seq: i64,
    /// The dispatcher and the number of its claim, as stored in the row.
    pub token: Arc<str>,
}

impl BulkValues {
    /// Leases as the columns `n` (sequence number) and `lease` (token).
    pub(super) fn leases<'a>(leases: impl IntoIterator<Item = &'a Lease>) -> Self {
        let (seqs, tokens): (Vec<_>, Vec<_>) = leases.into_iter().map(|lease| (lease.seq, &*lease.token)).unzip();
        Self::default().int_column("n", seqs).text_column("lease", tokens)
    }
}

/// Renews leases that are still held. On PostgreSQL it skips locked rows, which avoids a deadlock with a recorder that
/// waits for a row renewed here. The next renewal includes a skipped lease long before it expires.
pub(crate) async fn renew(db: &Database, leases: &[Lease], until: i64) -> Result<(), Error> {
    for chunk in leases.chunks(MAX_ROWS) {
        let (source, values) = BulkValues::leases(chunk).int_column("until", chunk.iter().map(|_| until)).into_sql(db);
        let sql = if db.is_postgres() {
            format!(
                "UPDATE outbox AS o
                SET lease_until = l.until
                FROM (
                    SELECT o.ctid AS place, r.until
                    FROM {source} JOIN outbox o ON o.seq = r.n AND o.lease_owner = r.lease
                    FOR UPDATE OF o SKIP LOCKED
                ) l
                WHERE o.ctid = l.place"
            )
        } else {
            format!(
                "UPDATE outbox AS o
                SET lease_until = r.until
                FROM {source}
                WHERE o.seq = r.n AND o.lease_owner = r.lease"
            )
        };
        db.record.execute_raw(db.statement(sql, values)).await?;
    }
    Ok(())
}

/// Requeues claims without counting their attempt, due at `due_at` or at their previous due time, whichever is later.
/// Times in milliseconds since the epoch.
pub(crate) async fn requeue(db: &Database, leases: &[Lease], due_at: i64, at: i64) -> Result<(), Error> {
    for chunk in leases.chunks(MAX_ROWS) {
        let (source, values) = BulkValues::leases(chunk)
            .int_column("at", chunk.iter().map(|_| at))
            .int_column("due", chunk.iter().map(|_| due_at))
            .into_sql(db);
        let sql = format!(
            "UPDATE outbox AS o
            SET attempts = o.attempts - 1,
                due_at = CASE WHEN r.due > o.due_at THEN r.due ELSE o.due_at END,
                lease_until = NULL,
                lease_owner = NULL,
                updated_at = r.at
            FROM {source}
            WHERE o.seq = r.n AND o.lease_owner = r.lease"
        );
        db.record.execute_raw(db.statement(sql, values)).await?;
    }
    Ok(())
}

/// Whether leases have expired, and whether deleted webhooks have queued deliveries. Read without the writer, because
/// usually both are false.
pub(crate) async fn find_stale(db: &Database, at: i64) -> Result<(bool, bool), Error> {
    let sql = "SELECT
            EXISTS (SELECT 1 FROM outbox WHERE lease_until < $1),
            EXISTS (
                SELECT 1 FROM webhooks w
                WHERE w.deleted_at IS NOT NULL
                    AND EXISTS (SELECT 1 FROM outbox o WHERE o.webhook_id = w.id AND o.lease_owner IS NULL)
            )";
    let rows = db.query(sql, [at.into()]).await?;
    let Some(row) = rows.first() else { return Ok((false, false)) };
    Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))
}

/// Requeues deliveries whose lease has expired, or all leased ones. Returns their number.
pub(crate) async fn expire(db: &Database, all: bool, at: i64) -> Result<u64, Error> {
    let expired = if all { "lease_until IS NOT NULL" } else { "lease_until < $1" };
    let sql = format!(
        "UPDATE outbox
        SET attempts = attempts - 1, due_at = $1, lease_until = NULL, lease_owner = NULL, updated_at = $1
        WHERE {expired}"
    );
    Ok(db.record.execute_raw(db.statement(sql, [at.into()])).await?.rows_affected())
}

/// Moves queued deliveries that were written in the future (`updated_at` after `future`) to the current time, with
/// their remaining delay. Returns their number. Runs only at the start and after a clock rollback, so it may scan the
/// queue.
pub(crate) async fn move_queued_to_present(db: &Database, at: i64, future: i64) -> Result<u64, Error> {
    let sql = "UPDATE outbox AS o
        SET due_at = CASE WHEN o.due_at > o.updated_at THEN $1 + o.due_at - o.updated_at ELSE $1 END,
            updated_at = $1
        WHERE o.lease_owner IS NULL AND o.updated_at > $2";
    Ok(db.write.execute_raw(db.statement(sql, [at.into(), future.into()])).await?.rows_affected())
}

/// Shortens leases that expire after `future` to `until`. Returns their number.
pub(crate) async fn shorten(db: &Database, until: i64, future: i64) -> Result<u64, Error> {
    let sql = "UPDATE outbox SET lease_until = $1 WHERE lease_until > $2";
    Ok(db.write.execute_raw(db.statement(sql, [until.into(), future.into()])).await?.rows_affected())
}
