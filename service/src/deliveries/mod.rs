//! The delivery log: lists, details, redelivery of one delivery and replay of many.

mod log;
mod redelivery;
mod replay;
mod views;

pub(crate) use log::succeeded_at;

use crate::change_feed::ChangeFeed;
use crate::context::Context;
use parking_lot::Mutex;
use std::sync::Arc;
use views::RecentViews;

/// Use cases of the delivery log. Cheap to clone.
#[derive(Clone)]
pub struct Deliveries {
    context: Context,
    feed: ChangeFeed,
    views: Arc<Mutex<RecentViews>>,
}

impl Deliveries {
    pub(crate) fn new(context: Context, feed: ChangeFeed) -> Self {
        Self { context, feed, views: Arc::default() }
    }
}
