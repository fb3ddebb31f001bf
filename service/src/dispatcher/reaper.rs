//! The reaper: requeues deliveries of crashed processes, and cancels deliveries of deleted webhooks.

use super::Dispatcher;
use crate::db::queue_cancel::Queued;
use crate::error::Result;
use crate::outbox::WEBHOOK_DELETED;
use crate::provisioning;
use crate::reservations::changes_of;

impl Dispatcher {
    /// Requeues deliveries whose lease has expired, and returns their number. The interrupted attempt is repeated with
    /// the same number, so the receiver may receive it twice. `all` requeues every leased delivery, for the start of
    /// the only process of a SQLite database. Also cancels deliveries that were enqueued or retried while their webhook
    /// was being deleted, and repairs the queue after a clock rollback.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reap_expired_leases(&self, all: bool) -> Result<u64> {
        let expired = self.engine.outbox.expire_leases(all).await?;
        if expired.has_orphans {
            self.cancel_orphans().await?;
        }
        Ok(expired.count)
    }

    async fn cancel_orphans(&self) -> Result<()> {
        let context = &self.engine.context;
        let tx = context.db.begin_record().await?;
        let changed = provisioning::cancel_queued(context, &tx, Queued::DeletedWebhooks, WEBHOOK_DELETED).await?;
        let changes = changes_of(context, &self.engine.feed, &tx, &changed).await?;
        tx.commit().await?;
        self.engine.feed.publish(changes);
        Ok(())
    }
}
