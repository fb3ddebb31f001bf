//! Reads over the whole queue: its depth, its lag and the retries that are due soon.
//!
//! Hand-written: SeaORM expresses neither a LIMIT inside a count nor a correlated subquery with ORDER BY as a column.
//! Both keep these reads independent of the depth of the queue. Benchmarks: idle, drain.

use super::connect::Database;
use crate::error::Error;
use domain::id::WebhookId;
use sea_orm::{ConnectionTrait as _, DbErr, TryGetableMany as _};

/// The number of queued deliveries, counted up to 100,000, and the earliest due time among enabled webhooks, in
/// milliseconds since the epoch. Plan: the start of `outbox_due` for each enabled webhook.
pub(crate) async fn depth(db: &Database) -> Result<(i64, Option<i64>), Error> {
    let sql = "SELECT
            (SELECT COUNT(*) FROM (SELECT 1 AS one FROM outbox o WHERE o.lease_owner IS NULL LIMIT 100000) q),
            (
                SELECT MIN((
                    SELECT o.due_at FROM outbox o
                    WHERE o.webhook_id = w.id AND o.lease_owner IS NULL
                    ORDER BY o.due_at, o.seq
                    LIMIT 1
                ))
                FROM webhooks w
                WHERE w.state = 'enabled' AND w.deleted_at IS NULL
            )";
    let rows = db.query(sql, []).await?;
    let row = rows.first().ok_or_else(|| DbErr::RecordNotFound("depth of the queue".into()))?;
    Ok(<(i64, Option<i64>)>::try_get_many_by_index(row).map_err(DbErr::from)?)
}

/// The due times between two times, with their webhooks; at most 1,000. Times in milliseconds since the epoch. Plan: a
/// range of `outbox_due` for each enabled webhook. On SQLite CROSS JOIN fixes the join order; on PostgreSQL the
/// settings of the connection do.
pub(crate) async fn due_between(db: &Database, after: i64, until: i64) -> Result<Vec<(i64, WebhookId)>, Error> {
    let (connection, join) = if db.is_postgres() { (&db.record, "JOIN") } else { (&db.read, "CROSS JOIN") };
    let sql = format!(
        "SELECT DISTINCT o.due_at, w.id
        FROM webhooks w {join} outbox o ON o.webhook_id = w.id
        WHERE w.state = 'enabled' AND w.deleted_at IS NULL
            AND o.due_at > $1 AND o.due_at <= $2 AND o.lease_owner IS NULL
        LIMIT 1000"
    );
    let rows = connection.query_all_raw(db.statement(sql, [after.into(), until.into()])).await?;
    rows.iter().map(|row| Ok(<(i64, WebhookId)>::try_get_many_by_index(row).map_err(DbErr::from)?)).collect()
}
