//! The heartbeat of the dispatcher, for readiness.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// When the dispatcher last began a round. By the monotonic clock, because the wall clock can jump.
#[derive(Default)]
pub struct Heartbeat {
    last: Mutex<Option<Instant>>,
}

impl Heartbeat {
    pub(super) fn beat(&self) {
        *self.last.lock() = Some(Instant::now());
    }

    /// The time since the dispatcher last began a round; `None` before its first.
    pub fn age(&self) -> Option<Duration> {
        self.last.lock().map(|last| last.elapsed())
    }
}
