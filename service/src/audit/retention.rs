//! Deletion of old entries from the front of the log.

use super::Audit;
use crate::Result;
use crate::db::audit::{lock_head, prune};
use crate::db::entity::{audit_log, audit_streams};
use chrono::Duration;
use domain::Problem;
use sea_orm::{EntityTrait as _, QueryOrder as _, QuerySelect as _};
use tracing::instrument;

/// Maximum number of entries in one batch. Small batches do not block other writers.
const BATCH: u64 = 500;

impl Audit {
    /// Deletes one batch of entries past their retention, and returns their number; 0 if none are left.
    ///
    /// Only entries at the front are deleted. The head keeps the hash of the last one, with which the rest can still be
    /// verified. If this process streams the log, entries that were not sent are kept.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn retention_batch(&self) -> Result<u64, Problem> {
        Ok(self.delete_batch().await?)
    }

    async fn delete_batch(&self) -> Result<u64> {
        let settings = &self.context.settings;
        let until = (self.context.now() - Duration::days(settings.audit_retention_days.into())).timestamp_millis();
        let sent = if settings.audit_is_streamed { self.first_unsent().await? } else { i64::MAX };
        let oldest = audit_log::Entity::find()
            .order_by_asc(audit_log::Column::Seq)
            .limit(BATCH)
            .all(&self.context.db.read)
            .await?;
        let Some(last) = oldest.iter().take_while(|row| row.at < until && row.seq < sent).last() else { return Ok(0) };
        let tx = self.context.db.begin_unaudited().await?;
        let mut head = lock_head(&tx).await?;
        // Another replica may have deleted them.
        if head.pruned_seq >= last.seq {
            return Ok(0);
        }
        // Read again under the lock of the head, because an erasure can have replaced the hash.
        let last = audit_log::Entity::find_by_id(last.seq).one(&tx).await?;
        let Some(last) = last else { return Ok(0) };
        head.pruned_seq = last.seq;
        head.pruned_hash = last.hash;
        let deleted = prune(&tx, &self.context.trail.key().sealed(head)).await?;
        tx.commit().await?;
        metrics::counter!("berth_retention_deleted_total", "kind" => "audit_entry").increment(deleted);
        Ok(deleted)
    }

    /// The number of the first entry that a stream has not sent.
    async fn first_unsent(&self) -> Result<i64> {
        let streams = audit_streams::Entity::find().all(&self.context.db.read).await?;
        Ok(streams.iter().map(|stream| stream.seq + 1).min().unwrap_or(0))
    }
}
