//! The fast path from a commit into this process's dispatcher.

use super::{ClaimedDelivery, Outbox};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The fast path, if a dispatcher has opened it.
#[derive(Default)]
pub(super) struct FastPath(Mutex<Option<Entrance>>);

/// The sending end of an open fast path.
#[derive(Clone)]
pub(super) struct Entrance {
    /// The dispatcher's name, for the tokens of its claims.
    pub(super) owner: Arc<str>,
    pub(super) sender: mpsc::UnboundedSender<Vec<ClaimedDelivery>>,
}

impl FastPath {
    /// The entrance, unless the fast path is closed or its dispatcher is gone.
    pub(super) fn entrance(&self) -> Option<Entrance> {
        let mut entrance = self.0.lock();
        if entrance.as_ref().is_some_and(|entrance| entrance.sender.is_closed()) {
            *entrance = None;
        }
        entrance.clone()
    }
}

impl Outbox {
    /// Opens the fast path for a dispatcher of this process. It closes when the receiver is dropped.
    pub(crate) fn open_fast_path(&self, owner: &str) -> mpsc::UnboundedReceiver<Vec<ClaimedDelivery>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.state.fast_path.0.lock() = Some(Entrance { owner: owner.into(), sender });
        receiver
    }

    /// Closes the fast path: later events go to the queue.
    pub(crate) fn close_fast_path(&self) {
        *self.state.fast_path.0.lock() = None;
    }
}
