//! Statistics of the queue and of the requests of this process.

use super::Outbox;
use crate::db::codec::time;
use crate::db::queue_stats;
use crate::error::Result;
use chrono::{DateTime, Utc};
use domain::id::WebhookId;
use std::time::Duration;

/// The state of the queue, of all processes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueStats {
    /// Deliveries without a lease, counted up to 100,000.
    pub queued: u64,
    /// Time since the earliest due time of a queued delivery of an enabled webhook.
    pub lag: Duration,
}

impl Outbox {
    /// The state of the queue.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stats(&self) -> Result<QueueStats> {
        let (queued, due_at) = queue_stats::depth(&self.context.db).await?;
        let lag = due_at.and_then(|due_at| (self.context.now() - time(due_at)).to_std().ok()).unwrap_or_default();
        Ok(QueueStats { queued: queued.unsigned_abs(), lag })
    }

    /// The due times within `span` from now, with their webhooks; at most 1,000.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due_within(&self, span: Duration) -> Result<Vec<(DateTime<Utc>, WebhookId)>> {
        let now = self.context.now();
        let until = now + chrono::Duration::from_std(span).unwrap_or_default();
        let due = queue_stats::due_between(&self.context.db, now.timestamp_millis(), until.timestamp_millis()).await?;
        Ok(due.into_iter().map(|(at, webhook)| (time(at), webhook)).collect())
    }

    /// Requests of this process that have ended and whose results are not recorded yet.
    pub fn unrecorded(&self) -> u32 {
        self.limits.unrecorded()
    }

    /// Requests of this process in flight.
    pub fn in_flight(&self) -> u32 {
        self.limits.in_flight()
    }
}
