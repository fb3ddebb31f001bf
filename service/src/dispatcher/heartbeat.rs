//! The heartbeat of the dispatcher, for readiness.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// The start time of the dispatcher's last round, by the monotonic clock, because the wall clock can jump.
#[derive(Default)]
pub struct Heartbeat {
    last: Mutex<Option<Instant>>,
}

impl Heartbeat {
    pub(super) fn beat(&self) {
        *self.last.lock() = Some(Instant::now());
    }

    /// The time since the start of the dispatcher's last round; `None` before the first round.
    pub fn age(&self) -> Option<Duration> {
        self.last.lock().map(|last| last.elapsed())
    }
}
