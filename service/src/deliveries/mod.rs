//! The delivery log: lists, details, redelivery of one delivery and replay of many; and its index for searches, groups of
//! failures and metrics.

mod export;
mod failures;
mod histogram;
mod index;
mod log;
mod lookup;
mod metrics;
mod redelivery;
mod replay;
mod search;
mod views;
mod waiting;

pub use export::Export;
pub use index::IndexBatch;
pub(crate) use log::succeeded_at;
pub(crate) use redelivery::Repeat;
pub(crate) use replay::is_redelivered;

use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::outbox::ConcurrencyLimits;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use views::RecentViews;

/// Use cases of the delivery log. Cheap to clone.
#[derive(Clone)]
pub struct Deliveries {
    context: Context,
    feed: ChangeFeed,
    limits: Arc<ConcurrencyLimits>,
    views: Arc<Mutex<RecentViews>>,
    /// The last open delivery of the index that its worker has read again; 0 at the start of a pass.
    revisited: Arc<AtomicI64>,
}

impl Deliveries {
    pub(crate) fn new(context: Context, feed: ChangeFeed, limits: Arc<ConcurrencyLimits>) -> Self {
        Self { context, feed, limits, views: Arc::default(), revisited: Arc::default() }
    }
}
