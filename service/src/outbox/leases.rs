//! Leases: renewed while requests last, handed back unsent, taken up again when they lapse.

use super::{DELETED, Lease, UNLEASED, WebhookSet};
use crate::Service;
use crate::db::bulk::{BulkValues, MAX_ROWS};
use crate::db::codec::get;
use crate::error::db_problem;
use domain::Problem;
use sea_orm::ConnectionTrait as _;

impl Service {
    /// Renews leases that still hold. One whose row is locked is passed over: its end is being recorded, and to wait for it
    /// could close a ring with who waits for a row renewed here. Was it not recorded after all, the next round renews it,
    /// long before it lapses.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn renew(&self, leases: &[Lease]) -> Result<(), Problem> {
        let until = (self.now() + self.lease()).timestamp_millis();
        for some in leases.chunks(MAX_ROWS) {
            let (source, values) =
                self.bulk_source(BulkValues::leases(some).int_column("until", some.iter().map(|_| until)));
            let sql = if self.is_postgres() {
                format!(
                    "UPDATE outbox AS o SET lease_until = l.until FROM (SELECT o.ctid AS place, r.until FROM {source} JOIN outbox o ON o.seq = r.n AND o.lease_owner = r.lease FOR UPDATE OF o SKIP LOCKED) l WHERE o.ctid = l.place"
                )
            } else {
                format!(
                    "UPDATE outbox AS o SET lease_until = r.until FROM {source} WHERE o.seq = r.n AND o.lease_owner = r.lease"
                )
            };
            self.inner.context.db.record.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        }
        Ok(())
    }

    /// Hands claims back unsent: their attempt does not count.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn release(&self, leases: &[Lease]) -> Result<(), Problem> {
        if leases.is_empty() {
            return Ok(());
        }
        self.requeue(leases, 0).await?;
        self.wake_dispatchers(WebhookSet::All);
        Ok(())
    }

    /// Puts claims back into the queue, due at `due_at` (milliseconds since the epoch) or when they were, if that is later, and
    /// tells nobody.
    pub(super) async fn requeue(&self, leases: &[Lease], due_at: i64) -> Result<(), Problem> {
        if leases.is_empty() {
            return Ok(());
        }
        let at = self.now().timestamp_millis();
        for some in leases.chunks(MAX_ROWS) {
            let rows = BulkValues::leases(some)
                .int_column("at", some.iter().map(|_| at))
                .int_column("due", some.iter().map(|_| due_at));
            let (source, values) = self.bulk_source(rows);
            let sql = format!(
                "UPDATE outbox AS o SET attempts = o.attempts - 1, due_at = CASE WHEN r.due > o.due_at THEN r.due ELSE o.due_at END, lease_until = NULL, lease_owner = NULL, updated_at = r.at FROM {source} WHERE o.seq = r.n AND o.lease_owner = r.lease"
            );
            self.inner.context.db.record.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        }
        self.inner.outbox.cursors.reset();
        Ok(())
    }

    /// Returns lapsed leases to the queue; the interrupted attempt is made again under the same number, so its receiver
    /// may see it twice. With `all`, every lease: for the start of the only process of a SQLite database. Also cancels what
    /// a deleted webhook left behind, and mends what a clock that went back would hold up.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn reap_expired_leases(&self, all: bool) -> Result<u64, Problem> {
        let now = self.now();
        self.repair_after_clock_rollback(now).await?;
        let now = now.timestamp_millis();
        let check = format!(
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE lease_until < $1) AS lapsed, EXISTS (SELECT 1 FROM webhooks w WHERE w.deleted_at IS NOT NULL AND EXISTS (SELECT 1 FROM outbox o WHERE o.webhook_id = w.id AND {UNLEASED})) AS orphaned"
        );
        let (lapsed, orphaned) = match self.rows(check, [now.into()]).await?.first() {
            Some(row) => (get::<bool>(row, "lapsed")?, get::<bool>(row, "orphaned")?),
            None => (false, false),
        };
        if orphaned {
            // Enqueued or failed while their webhook was being deleted.
            let tx = self.record_tx().await?;
            let which = "o.webhook_id IN (SELECT id FROM webhooks WHERE deleted_at IS NOT NULL)";
            let changes = self.cancel_waiting(&tx, which, &[], DELETED).await?;
            tx.commit().await.map_err(db_problem)?;
            self.announce(changes);
        }
        if !all && !lapsed {
            return Ok(0);
        }
        let lapsed = if all { "lease_until IS NOT NULL" } else { "lease_until < $1" };
        let sql = format!(
            "UPDATE outbox SET attempts = attempts - 1, due_at = $1, lease_until = NULL, lease_owner = NULL, updated_at = $1 WHERE {lapsed}"
        );
        let done = self.inner.context.db.record.execute_raw(self.sql(sql, [now.into()])).await.map_err(db_problem)?;
        let count = done.rows_affected();
        if count > 0 {
            self.inner.outbox.cursors.reset();
            metrics::counter!("berth_leases_lapsed_total").increment(count);
            tracing::warn!(
                count,
                "deliveries whose process ended are taken up again; their receivers may see them twice"
            );
            self.wake_dispatchers(WebhookSet::All);
        }
        Ok(count)
    }
}
