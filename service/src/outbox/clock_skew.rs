//! Repair after a clock rollback. Rows that were written in the future would be delayed until it comes; they are moved to the present,
//! with the rest of their delays and leases. A clock that is set forward needs no repair: due deliveries are claimed, expired leases are
//! put back, and a receiver may see a delivery twice.

use super::leases::MAX_LEASE;
use super::{Outbox, WebhookSet};
use crate::db::queue_leases;
use crate::error::Result;
use chrono::{DateTime, Duration, Utc};
use std::sync::atomic::{AtomicI64, Ordering};

/// The clocks of replicas may differ by this much; a smaller step back is no rollback.
const MAX_SKEW: Duration = Duration::seconds(10);

/// The latest time that this process observed.
#[derive(Default)]
pub(super) struct ClockWatch {
    /// Milliseconds since the epoch; 0 before the first observation.
    latest: AtomicI64,
}

impl ClockWatch {
    /// Notes a time, so that a later rollback is detected even if the clock was ahead only for a moment.
    pub(super) fn observe(&self, at: i64) {
        self.latest.fetch_max(at, Ordering::Relaxed);
    }

    /// Whether the clock went back since the latest observation. Before the first one it may have gone back while no process ran.
    fn may_have_rolled_back(&self, at: i64) -> bool {
        let latest = self.latest.load(Ordering::Relaxed);
        latest == 0 || at + MAX_SKEW.num_milliseconds() < latest
    }

    fn reset(&self, at: i64) {
        self.latest.store(at, Ordering::Relaxed);
    }
}

impl Outbox {
    /// Moves rows to the present if the clock went back.
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
                tracing::warn!(queued, leased, "the clock went back; deliveries continue from the present time");
                self.feed.wake_dispatchers(WebhookSet::All);
            }
        }
        clock.reset(at);
        Ok(())
    }
}
