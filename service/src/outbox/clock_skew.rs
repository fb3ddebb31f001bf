//! Repair after a clock rollback. Rows with future times would be delayed until those times. They are moved to the
//! current time, with their remaining delays and leases. A clock that is set forward needs no repair: deliveries become
//! due and leases expire early, and a receiver may receive a delivery twice.

use super::leases::MAX_LEASE;
use super::{Outbox, WebhookSet};
use crate::db::queue_leases;
use crate::error::Result;
use chrono::{DateTime, Duration, Utc};
use std::sync::atomic::{AtomicI64, Ordering};

/// Maximum clock skew between replicas; a smaller step back is not a rollback.
const MAX_SKEW: Duration = Duration::seconds(10);

/// The latest time that this process has observed.
#[derive(Default)]
pub(super) struct ClockWatch {
    /// Milliseconds since the epoch; 0 before the first observation.
    latest: AtomicI64,
}

impl ClockWatch {
    /// Records a time, so that a later rollback is detected even if the clock was ahead only for a moment.
    pub(super) fn observe(&self, at: i64) {
        self.latest.fetch_max(at, Ordering::Relaxed);
    }

    /// Whether the clock may have been set back: since the latest observation, or, without one, while no process ran.
    fn may_have_rolled_back(&self, at: i64) -> bool {
        let latest = self.latest.load(Ordering::Relaxed);
        latest == 0 || at + MAX_SKEW.num_milliseconds() < latest
    }

    fn reset(&self, at: i64) {
        self.latest.store(at, Ordering::Relaxed);
    }
}

impl Outbox {
    /// Moves rows to the current time if the clock may have been set back.
    pub(super) async fn repair_after_clock_rollback(&self, now: DateTime<Utc>) -> Result<()> {
        let at = now.timestamp_millis();
        let clock = &self.state.clock;
        if clock.may_have_rolled_back(at) {
            let db = &self.context.db;
            let future = now + MAX_SKEW;
            let queued = queue_leases::move_queued_to_present(db, at, future.timestamp_millis()).await?;
            let lease_until = (now + self.lease_duration()).timestamp_millis();
            let leased = queue_leases::shorten(db, lease_until, (future + MAX_LEASE).timestamp_millis()).await?;
            if queued + leased > 0 {
                tracing::warn!(
                    queued,
                    leased,
                    "the clock was set back; deliveries and leases were moved to the current time"
                );
                self.feed.wake_dispatchers(WebhookSet::All);
            }
        }
        clock.reset(at);
        Ok(())
    }
}
