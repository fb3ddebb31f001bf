//! A clock that was set back: rows that were written in a future which has not come yet would wait for it. They are
//! brought to the present, with what was left of their waits and leases. A clock that is set ahead needs nothing: what
//! seems due is due, and a lease that seems to have lapsed is taken up, so that a receiver may see a delivery twice.

use super::{UNLEASED, WebhookSet};
use crate::Service;
use crate::error::db_problem;
use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use sea_orm::ConnectionTrait as _;
use std::sync::atomic::Ordering;

/// Clocks of replicas may differ by this much; less than this is no jump.
const SKEW: Duration = Duration::seconds(10);
/// No lease is longer: the longest time-out and 15 s.
const LONGEST_LEASE: Duration = Duration::seconds(45);

impl Service {
    /// Looks whether the clock went back since the last look, or before this process started, and mends what would wait.
    pub(super) async fn repair_after_clock_rollback(&self, now: DateTime<Utc>) -> Result<(), Problem> {
        let at = now.timestamp_millis();
        let known = self.inner.outbox.latest.load(Ordering::Relaxed);
        if known == 0 || at + SKEW.num_milliseconds() < known {
            let future = at + SKEW.num_milliseconds();
            let sql = format!(
                "UPDATE outbox AS o SET due_at = CASE WHEN o.due_at > o.updated_at THEN $1 + o.due_at - o.updated_at ELSE $1 END, updated_at = $1 WHERE {UNLEASED} AND o.updated_at > $2"
            );
            let waiting = self.sql(sql, [at.into(), future.into()]);
            let waiting = self.inner.context.db.write.execute_raw(waiting).await.map_err(db_problem)?.rows_affected();
            let sql = "UPDATE outbox SET lease_until = $1 WHERE lease_until > $2";
            let values =
                [(at + self.lease().num_milliseconds()).into(), (future + LONGEST_LEASE.num_milliseconds()).into()];
            let leased = self
                .inner
                .context
                .db
                .write
                .execute_raw(self.sql(sql, values))
                .await
                .map_err(db_problem)?
                .rows_affected();
            if waiting + leased > 0 {
                tracing::warn!(waiting, leased, "the clock went back; deliveries go on from the present time");
                self.wake_dispatchers(WebhookSet::All);
            }
        }
        self.inner.outbox.latest.store(at, Ordering::Relaxed);
        Ok(())
    }
}
