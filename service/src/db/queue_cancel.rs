//! Cancellation of queued deliveries.
//!
//! Hand-written: SeaORM's `delete_many` returns no rows on both databases, and it has no UPDATE … FROM. Plans: an index
//! of `outbox` by webhook, or the primary key of `replay_items`; then the primary key of `deliveries`. No benchmark: only the deletion or resumption of a
//! webhook, and the cancellation of a replay, cancel deliveries.

use super::bulk::{BulkValues, MAX_ROWS};
use super::connect::Database;
use super::link::DatabaseTransaction;
use crate::error::Error;
use domain::id::WebhookId;
use sea_orm::{ConnectionTrait as _, TryGetableMany as _};

/// The queued deliveries to cancel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Queued<'a> {
    /// Deliveries of one webhook.
    Webhook(WebhookId),
    /// Deliveries that one replay has queued.
    Replay(&'a str),
    /// Deliveries of all deleted webhooks.
    DeletedWebhooks,
}

/// A cancelled delivery.
pub(crate) struct CancelledRow {
    pub(crate) webhook_id: WebhookId,
    pub(crate) reservation_id: Option<String>,
    pub(crate) event_type: String,
}

/// Cancels queued deliveries that are not leased. `at` in milliseconds since the epoch.
pub(crate) async fn cancel(
    db: &Database,
    tx: &DatabaseTransaction,
    queued: Queued<'_>,
    at: i64,
) -> Result<Vec<CancelledRow>, Error> {
    let seqs = remove_entries(db, tx, queued).await?;
    let mut cancelled = Vec::with_capacity(seqs.len());
    for chunk in seqs.chunks(MAX_ROWS) {
        let (source, values) = BulkValues::default()
            .int_column("n", chunk.iter().copied())
            .int_column("at", chunk.iter().map(|_| at))
            .into_sql(db);
        let sql = format!(
            "UPDATE deliveries AS d
            SET status = 'cancelled', ended_at = r.at, updated_at = r.at
            FROM {source}
            WHERE d.seq = r.n
            RETURNING webhook_id, reservation_id, event_type"
        );
        for row in tx.query_all_raw(db.statement(sql, values)).await? {
            let (webhook_id, reservation_id, event_type) =
                <(WebhookId, Option<String>, String)>::try_get_many_by_index(&row).map_err(sea_orm::DbErr::from)?;
            cancelled.push(CancelledRow { webhook_id, reservation_id, event_type });
        }
    }
    Ok(cancelled)
}

async fn remove_entries(db: &Database, tx: &DatabaseTransaction, queued: Queued<'_>) -> Result<Vec<i64>, Error> {
    let (sql, values) = match queued {
        Queued::Webhook(id) => {
            ("DELETE FROM outbox WHERE lease_owner IS NULL AND webhook_id = $1 RETURNING seq", vec![id.into()])
        }
        Queued::Replay(id) => (
            "DELETE FROM outbox
            WHERE lease_owner IS NULL AND seq IN (SELECT seq FROM replay_items WHERE replay_id = $1 AND seq IS NOT NULL)
            RETURNING seq",
            vec![id.into()],
        ),
        Queued::DeletedWebhooks => (
            "DELETE FROM outbox
            WHERE lease_owner IS NULL AND webhook_id IN (SELECT id FROM webhooks WHERE deleted_at IS NOT NULL)
            RETURNING seq",
            Vec::new(),
        ),
    };
    let rows = tx.query_all_raw(db.statement(sql, values)).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}
