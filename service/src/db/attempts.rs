//! Attempts of deliveries: bulk insert.

use super::bulk::BulkValues;
use super::connect::Database;
use super::link::DatabaseTransaction;
use crate::error::{Error, is_unique_violation};
use delivery::{AttemptOutcome, Transcript};
use domain::delivery::Diagnosis;
use domain::id::WebhookId;
use sea_orm::ConnectionTrait as _;

/// A row of `attempts`. The request body is stored once, with the delivery.
#[derive(Clone)]
pub(crate) struct AttemptRow {
    delivery_seq: i64,
    pub(crate) attempt: u32,
    webhook_id: WebhookId,
    /// Milliseconds since the epoch.
    pub(crate) started_at: i64,
    outcome: &'static str,
    pub(crate) status_code: Option<u16>,
    pub(crate) duration_ms: f64,
    /// The delivery's status after this attempt, or `superseded` or `test`.
    pub(crate) delivery_status: &'static str,
    record: Transcript,
}

impl AttemptRow {
    /// Creates a row. `delivery_status` is the delivery's status after the attempt, or `superseded` or `test`.
    pub(crate) fn new(
        delivery_seq: i64,
        webhook_id: WebhookId,
        delivery_status: &'static str,
        attempted: &AttemptOutcome,
        record: Transcript,
    ) -> Self {
        Self {
            delivery_seq,
            attempt: attempted.attempt,
            webhook_id,
            started_at: attempted.started_at.timestamp_millis(),
            outcome: attempted.outcome.as_str(),
            status_code: attempted.status_code,
            duration_ms: attempted.timings.total_ms,
            delivery_status,
            record,
        }
    }

    /// Replaces the transcript with one without a response.
    pub(crate) fn drop_response(&mut self, diagnosis: &Diagnosis) {
        self.record = self.record.without_response(diagnosis);
    }
}

/// The handling of an attempt whose number exists. An interrupted attempt is repeated with the same number, and its
/// first result can still arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnConflict {
    /// Nothing is written. Without a conflict clause the insert costs a third less, and conflicts are rare.
    Refuse,
    /// The new row replaces the old one.
    Overwrite,
    /// The old row stays.
    Keep,
}

/// Inserts attempts. Returns false if a number exists under [`OnConflict::Refuse`]; then the caller must roll back.
///
/// Hand-written: SeaORM's `insert_many` binds one parameter for each cell. On PostgreSQL one array for each column
/// keeps a single prepared statement for all batch sizes. Plan: inserts into the primary key and `attempts_webhook`.
/// Benchmark: drain.
pub(crate) async fn insert_attempts(
    db: &Database,
    tx: &DatabaseTransaction,
    rows: Vec<AttemptRow>,
    on_conflict: OnConflict,
) -> Result<bool, Error> {
    if rows.is_empty() {
        return Ok(true);
    }
    let conflict = match on_conflict {
        OnConflict::Refuse => "",
        OnConflict::Keep => "ON CONFLICT DO NOTHING",
        OnConflict::Overwrite => {
            "ON CONFLICT (delivery_seq, attempt) DO UPDATE SET
                started_at = excluded.started_at,
                outcome = excluded.outcome,
                status_code = excluded.status_code,
                duration_ms = excluded.duration_ms,
                delivery_status = excluded.delivery_status,
                record = excluded.record"
        }
    };
    let (source, values) = BulkValues::default()
        .int_column("delivery_seq", rows.iter().map(|row| row.delivery_seq))
        .int_column("attempt", rows.iter().map(|row| row.attempt.into()))
        .int_column("webhook_id", rows.iter().map(|row| row.webhook_id))
        .int_column("started_at", rows.iter().map(|row| row.started_at))
        .constant_column("outcome", rows.iter().map(|row| row.outcome))
        .int_column("status_code", rows.iter().map(|row| row.status_code.unwrap_or_default().into()))
        .real_column("duration_ms", rows.iter().map(|row| row.duration_ms))
        .constant_column("delivery_status", rows.iter().map(|row| row.delivery_status))
        .text_column("record", rows.into_iter().map(|row| row.record.into_text()))
        .into_sql(db);
    let sql = format!(
        "INSERT INTO attempts (
            delivery_seq, attempt, webhook_id, started_at, outcome, status_code, duration_ms, delivery_status, record
        )
        SELECT
            r.delivery_seq, r.attempt, r.webhook_id, r.started_at, r.outcome,
            NULLIF(r.status_code, 0), r.duration_ms, r.delivery_status, r.record
        FROM {source}
        WHERE r.delivery_seq IS NOT NULL
        {conflict}"
    );
    match tx.execute_raw(db.statement(sql, values)).await {
        Ok(_) => Ok(true),
        Err(error) if is_unique_violation(&error) && on_conflict == OnConflict::Refuse => Ok(false),
        Err(error) => Err(error.into()),
    }
}
