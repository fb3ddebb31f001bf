//! The 24-hour summary of webhooks.
//!
//! Hand-written, because the list of webhooks reads it for each webhook and its cost must not grow with the log:
//! - The sample is the newest 5,000 attempts, read backwards from the index `attempts_webhook`.
//! - PostgreSQL reads all webhooks of a page in one statement (`LATERAL`, ordered-set aggregates). SeaORM has neither.
//! - SQLite is embedded, so one statement for each webhook costs no round trip.
//!
//! The test `webhook_summary_reads_only_its_sample_on_postgres` counts the index entries that are read.

use crate::db::column::Text;
use crate::db::connect::Database;
use crate::db::entity::attempts::StatusAfter;
use sea_orm::{ConnectionTrait as _, DbErr, FromQueryResult, TransactionOptions};

/// The attempts of one webhook, without test events.
#[derive(Debug, FromQueryResult)]
pub(crate) struct AttemptSummary {
    /// The webhook.
    pub(crate) webhook_id: i64,
    /// Number of attempts after which a delivery has succeeded.
    pub(crate) succeeded: i64,
    /// Number of attempts after which a delivery has failed.
    pub(crate) failed: i64,
    /// 95th percentile of the duration in milliseconds.
    pub(crate) p95: Option<f64>,
    /// Start time of the newest attempt.
    pub(crate) last_at: Option<i64>,
    /// Status of the delivery after the newest attempt.
    pub(crate) last_status: Option<Text<StatusAfter>>,
}

/// `$1`: webhooks, `$2`: start of the period.
const POSTGRES: &str = "
    SELECT w.id AS webhook_id, s.succeeded, s.failed, s.p95, s.last_at, s.last_status
    FROM unnest($1::bigint[]) AS w(id)
    CROSS JOIN LATERAL (
        SELECT COUNT(*) FILTER (WHERE delivery_status = 'succeeded') AS succeeded,
               COUNT(*) FILTER (WHERE delivery_status = 'failed') AS failed,
               percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95,
               MAX(started_at) AS last_at,
               (array_agg(delivery_status ORDER BY started_at DESC))[1] AS last_status
        FROM (
            SELECT a.delivery_status, a.duration_ms, a.started_at
            FROM attempts a
            WHERE a.webhook_id = w.id AND a.started_at >= $2 AND a.delivery_status <> 'test'
            ORDER BY a.started_at DESC
            LIMIT 5000
        ) sample
    ) s";

/// `$1`: one webhook, `$2`: start of the period.
const SQLITE: &str = "
    WITH sample AS MATERIALIZED (
        SELECT a.delivery_status, a.duration_ms, a.started_at
        FROM attempts a
        WHERE a.webhook_id = $1 AND a.started_at >= $2 AND a.delivery_status <> 'test'
        ORDER BY a.started_at DESC
        LIMIT 5000
    ),
    size AS (SELECT COUNT(*) AS n FROM sample)
    SELECT $1 AS webhook_id,
           (SELECT COUNT(*) FROM sample WHERE delivery_status = 'succeeded') AS succeeded,
           (SELECT COUNT(*) FROM sample WHERE delivery_status = 'failed') AS failed,
           (SELECT duration_ms FROM sample ORDER BY duration_ms
            LIMIT 1 OFFSET (SELECT MAX(0, (n * 95 + 99) / 100 - 1) FROM size)) AS p95,
           (SELECT MAX(started_at) FROM sample) AS last_at,
           (SELECT delivery_status FROM sample ORDER BY started_at DESC LIMIT 1) AS last_status";

/// Summarises the newest attempts of each webhook since a time in milliseconds.
///
/// # Errors
/// When the database fails.
pub(crate) async fn summarise_attempts(
    db: &Database,
    webhooks: &[i64],
    since: i64,
) -> Result<Vec<AttemptSummary>, DbErr> {
    if db.is_postgres() {
        let tx = db.read.begin(TransactionOptions::default()).await?;
        // If the statistics lag behind a growing table, the planner expects few attempts, collects all of the day with
        // a bitmap scan and sorts them. Without that scan it reads the end of the index.
        tx.execute_unprepared("SET LOCAL enable_bitmapscan = off").await?;
        let statement = db.statement(POSTGRES, [webhooks.to_vec().into(), since.into()]);
        let summaries = AttemptSummary::find_by_statement(statement).all(&tx).await?;
        tx.commit().await?;
        return Ok(summaries);
    }
    let mut summaries = Vec::with_capacity(webhooks.len());
    for webhook in webhooks {
        let statement = db.statement(SQLITE, [(*webhook).into(), since.into()]);
        summaries.extend(AttemptSummary::find_by_statement(statement).one(&db.read).await?);
    }
    Ok(summaries)
}
