//! Pseudonymised payloads and transcripts, many in one statement.
//!
//! Hand-written: SeaORM has no UPDATE … FROM. Plans: the primary keys of `deliveries` and `attempts`. No benchmark: erasures
//! are rare.

use super::bulk::{BulkValues, MAX_ROWS};
use super::connect::Database;
use super::link::DatabaseTransaction;
use sea_orm::{ConnectionTrait as _, DbErr};

/// The payload of a finished delivery, by its `seq`.
pub(crate) struct Payload {
    pub(crate) seq: i64,
    pub(crate) body: String,
}

/// The transcript of an attempt.
pub(crate) struct StoredAttempt {
    pub(crate) delivery_seq: i64,
    pub(crate) attempt: i32,
    pub(crate) record: String,
}

/// Overwrites payloads, and replaces the diagnosis of those that have one.
pub(crate) async fn update_payloads(
    db: &Database,
    tx: &DatabaseTransaction,
    payloads: &[Payload],
    problem: &'static str,
) -> Result<(), DbErr> {
    for chunk in payloads.chunks(MAX_ROWS) {
        let (source, values) = BulkValues::default()
            .int_column("k", chunk.iter().map(|payload| payload.seq))
            .text_column("b", chunk.iter().map(|payload| payload.body.as_str()))
            .text_column("p", chunk.iter().map(|_| problem))
            .into_sql(db);
        let sql = format!(
            "UPDATE deliveries AS d
            SET body = r.b, problem = CASE WHEN d.problem IS NULL THEN NULL ELSE r.p END
            FROM {source}
            WHERE d.seq = r.k"
        );
        tx.execute_raw(db.statement(sql, values)).await?;
    }
    Ok(())
}

/// Overwrites transcripts.
pub(crate) async fn update_transcripts(
    db: &Database,
    tx: &DatabaseTransaction,
    attempts: &[StoredAttempt],
) -> Result<(), DbErr> {
    for chunk in attempts.chunks(MAX_ROWS) {
        let (source, values) = BulkValues::default()
            .int_column("k", chunk.iter().map(|row| row.delivery_seq))
            .int_column("n", chunk.iter().map(|row| i64::from(row.attempt)))
            .text_column("t", chunk.iter().map(|row| row.record.as_str()))
            .into_sql(db);
        let sql = format!(
            "UPDATE attempts AS a
            SET record = r.t
            FROM {source}
            WHERE a.delivery_seq = r.k AND a.attempt = r.n"
        );
        tx.execute_raw(db.statement(sql, values)).await?;
    }
    Ok(())
}
