//! Leases: their duration, renewal, release and expiry.

use super::{Lease, Outbox, WebhookSet};
use crate::db::queue_leases;
use crate::error::Result;
use chrono::Duration;

/// Margin of a lease over the time limit of an exchange, so that a running process does not lose it.
const LEASE_MARGIN_SECONDS: i64 = 15;
/// The longest time limit of an exchange in any process.
const MAX_TIMEOUT_SECONDS: i64 = 30;
/// The longest lease of any process.
pub(super) const MAX_LEASE: Duration = Duration::seconds(MAX_TIMEOUT_SECONDS + LEASE_MARGIN_SECONDS);

/// The result of [`Outbox::expire_leases`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired {
    /// Number of requeued deliveries.
    pub(crate) count: u64,
    /// Whether deleted webhooks have queued deliveries.
    pub(crate) has_orphans: bool,
}

impl Outbox {
    /// The duration of a lease.
    pub(super) fn lease_duration(&self) -> Duration {
        let timeout = self.context.settings.delivery_timeout;
        Duration::from_std(timeout).unwrap_or(Duration::seconds(MAX_TIMEOUT_SECONDS))
            + Duration::seconds(LEASE_MARGIN_SECONDS)
    }

    /// Renews leases that are still held.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn renew(&self, leases: &[Lease]) -> Result<()> {
        let until = (self.context.now() + self.lease_duration()).timestamp_millis();
        queue_leases::renew(&self.context.db, leases, until).await
    }

    /// Releases unsent claims, whose attempt does not count. Wakes the dispatchers.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release(&self, leases: &[Lease]) -> Result<()> {
        if leases.is_empty() {
            return Ok(());
        }
        self.requeue(leases, 0).await?;
        self.feed.wake_dispatchers(WebhookSet::All);
        Ok(())
    }

    /// Requeues claims, due at `due_at` (milliseconds since the epoch) or at their previous due time, whichever is
    /// later. Wakes no dispatcher.
    pub(crate) async fn requeue(&self, leases: &[Lease], due_at: i64) -> Result<()> {
        if leases.is_empty() {
            return Ok(());
        }
        let at = self.context.now().timestamp_millis();
        queue_leases::requeue(&self.context.db, leases, due_at, at).await?;
        self.state.cursors.reset();
        Ok(())
    }

    /// Requeues deliveries whose lease has expired. The interrupted attempt is repeated with the same number, so the
    /// receiver may receive it twice. `all` requeues every leased delivery, for the start of the only process of a
    /// SQLite database. Also repairs the queue after a clock rollback.
    pub(crate) async fn expire_leases(&self, all: bool) -> Result<Expired> {
        let now = self.context.now();
        self.repair_after_clock_rollback(now).await?;
        let at = now.timestamp_millis();
        let (has_expired, has_orphans) = queue_leases::find_stale(&self.context.db, at).await?;
        if !all && !has_expired {
            return Ok(Expired { count: 0, has_orphans });
        }
        let count = queue_leases::expire(&self.context.db, all, at).await?;
        if count > 0 {
            self.state.cursors.reset();
            metrics::counter!("berth_leases_lapsed_total").increment(count);
            tracing::warn!(
                count,
                "leases expired; their deliveries are sent again, and receivers may receive them twice"
            );
            self.feed.wake_dispatchers(WebhookSet::All);
        }
        Ok(Expired { count, has_orphans })
    }
}
