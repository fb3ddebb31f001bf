//! The catalogue: resource types, resources, and access to restricted resources.

mod access_requests;
mod cache;
mod resources;
mod types;

pub use access_requests::AccessRequests;
pub(crate) use access_requests::{grants_of, requests_of};
pub(crate) use cache::{Bookable, is_granted, read_bookable};

use crate::change_feed::ChangeFeed;
use crate::context::Context;
use cache::ResourceCache;
use std::sync::Arc;

/// Use cases of resource types and resources.
#[derive(Clone)]
pub struct Catalogue {
    context: Context,
    feed: ChangeFeed,
    cache: Arc<ResourceCache>,
}

impl Catalogue {
    pub(crate) fn new(context: Context, feed: ChangeFeed) -> Self {
        Self { context, feed, cache: Arc::default() }
    }

    /// Invalidates cached resources on every replica, after a committed change.
    fn invalidate_resources(&self) {
        self.cache.clear();
        // A deleted type or resource has no owners any more, so the cached credentials of this process are stale too.
        self.feed.advance_cache_generation();
        self.feed.broadcast_invalidation();
    }
}
