//! The outbox: the only way to publish an event.
//!
//! An event is enqueued in the transaction of the change that caused it, claimed with a lease, sent, and recorded in
//! batches. There are two paths from the commit to the first request:
//!
//! - The **fast path**: if a dispatcher of this process is below the webhook's concurrency limit, the delivery is
//!   inserted as claimed. No second transaction is needed between commit and request.
//! - The **queue**: otherwise the delivery is inserted as pending, and a dispatcher claims it.
//!
//! On both paths the row is durable before the request is sent, and a crash leaves a lease that expires.
//!
//! The outbox depends on webhooks and events only. The effects of results on reservations and on webhook health belong
//! to `provisioning` and `webhooks::health`; the [dispatcher](crate::dispatcher) combines them.

mod circuit_breaker;
mod claim;
mod clock_skew;
mod config;
mod enqueue;
mod fast_path;
mod leases;
mod limits;
mod local;
mod record;
mod scan_cursor;
pub(crate) mod shares;
mod stats;

pub use crate::db::queue_leases::Lease;
pub use crate::wake::{Wake, WebhookSet};
pub use claim::{Claim, ClaimedDelivery};
pub use config::WebhookConfig;
pub(crate) use config::{ConfigCache, Configs, stored_tls};
pub(crate) use enqueue::{Enqueued, Held};
pub(crate) use limits::ExhaustedLimit;
pub use limits::{ConcurrencyLimits, Permit};
pub use record::AttemptResult;
pub(crate) use record::Mode;
pub use stats::QueueStats;

use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::db::queue_claim::RoundRobin;
use crate::secrets::Cipher;
use fast_path::FastPath;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The reason for the cancellation of a deleted webhook's deliveries.
pub(crate) const WEBHOOK_DELETED: &str = "The service was not notified: its webhook was deleted.";

/// The outbox of one process. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    context: Context,
    feed: ChangeFeed,
    configs: ConfigCache,
    limits: Arc<ConcurrencyLimits>,
    state: Arc<State>,
}

/// State of the outbox between calls.
#[derive(Default)]
struct State {
    cursors: scan_cursor::ScanCursors,
    clock: clock_skew::ClockWatch,
    fast_path: FastPath,
    round_robin: RoundRobin,
    /// The number of the next claim, for its token.
    next_claim: AtomicUsize,
}

impl Outbox {
    pub(crate) fn new(context: Context, feed: ChangeFeed, cipher: Cipher) -> Self {
        Self {
            configs: ConfigCache::new(context.clone(), cipher),
            limits: Arc::new(ConcurrencyLimits::new(context.settings.max_in_flight)),
            context,
            feed,
            state: Arc::default(),
        }
    }

    /// The settings of webhooks.
    pub(crate) fn configs(&self) -> &ConfigCache {
        &self.configs
    }

    /// Sets the shares of this process in the limits of webhooks.
    pub(crate) fn set_shares(&self, shares: shares::Shares) {
        self.limits.set_shares(shares);
    }

    /// Whether the requests in flight are within the shares of this process.
    pub(crate) fn is_within_shares(&self) -> bool {
        self.limits.are_within_shares()
    }

    /// The concurrency limits of this process.
    pub(crate) fn limits(&self) -> &Arc<ConcurrencyLimits> {
        &self.limits
    }

    /// A unique name for a dispatcher.
    pub(crate) fn new_owner(&self) -> String {
        self.context.new_ulid().to_string()
    }

    /// A unique token for one claim of `owner`.
    fn new_token(&self, owner: &str) -> Arc<str> {
        format!("{owner}/{}", self.state.next_claim.fetch_add(1, Ordering::Relaxed)).into()
    }
}

/// The bytes of a request body, cheap to share between the attempt and its record.
fn body_bytes(text: String) -> bytes::Bytes {
    bytes::Bytes::from(text.into_bytes())
}
