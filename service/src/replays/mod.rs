//! Replays in the background: deliveries that are sent again, and events that a webhook has never received.
//!
//! | File | Content |
//! |---|---|
//! | `commands` | preview, start, pause, continue, cancel |
//! | `queries` | lists, details, progress |
//! | `runner` | queues the deliveries of running replays, batch by batch |
//!
//! The start stores the items of a replay, so that it sends exactly what its preview has counted, with the rights that its
//! user had. Any process can queue the next batch: the one that increases `revision` has it, in the transaction that queues it. So
//! a replay survives restarts, and nothing is queued twice.

mod commands;
mod queries;
mod runner;

use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::deliveries::Deliveries;
use crate::reservations::Reservations;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::Notify;

/// Use cases of replays. Cheap to clone.
#[derive(Clone)]
pub struct Replays {
    context: Context,
    feed: ChangeFeed,
    deliveries: Deliveries,
    reservations: Reservations,
    started: Arc<Notify>,
    /// The replays that this process has begun or taken over.
    own: Arc<Mutex<HashSet<String>>>,
}

impl Replays {
    pub(crate) fn new(context: Context, feed: ChangeFeed, deliveries: Deliveries, reservations: Reservations) -> Self {
        Self { context, feed, deliveries, reservations, started: Arc::default(), own: Arc::default() }
    }
}
