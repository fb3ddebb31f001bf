//! The fast path from a commit into this process's dispatcher.

use super::{ClaimedDelivery, Outbox};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The fast path, if a dispatcher has opened it.
#[derive(Default)]
pub(super) struct FastPath(Mutex<Option<FastPathSender>>);

/// The sending end of an open fast path.
#[derive(Clone)]
pub(super) struct FastPathSender {
    /// The dispatcher's name, for the tokens of its claims.
    pub(super) owner: Arc<str>,
    pub(super) claims: mpsc::UnboundedSender<Vec<ClaimedDelivery>>,
}

impl FastPath {
    /// The sending end, unless the fast path is closed or its dispatcher has stopped.
    pub(super) fn sender(&self) -> Option<FastPathSender> {
        let mut sender = self.0.lock();
        if sender.as_ref().is_some_and(|sender| sender.claims.is_closed()) {
            *sender = None;
        }
        sender.clone()
    }
}

impl Outbox {
    /// Opens the fast path for a dispatcher of this process. It closes when the returned channel is dropped.
    pub(crate) fn open_fast_path(&self, owner: &str) -> mpsc::UnboundedReceiver<Vec<ClaimedDelivery>> {
        let (claims, receiver) = mpsc::unbounded_channel();
        *self.state.fast_path.0.lock() = Some(FastPathSender { owner: owner.into(), claims });
        receiver
    }

    /// Closes the fast path: later events go to the queue.
    pub(crate) fn close_fast_path(&self) {
        *self.state.fast_path.0.lock() = None;
    }
}
