//! A clock that a test sets.

use chrono::{DateTime, Duration, Utc};
use parking_lot::Mutex;
use std::sync::Arc;

/// A clock that a test moves. Clones share the time.
///
/// A frozen clock changes only when the test moves it. A running clock follows the machine's clock with an offset; tests of
/// a whole server use it, because its dispatcher sleeps in real time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<State>>);

#[derive(Debug)]
enum State {
    Frozen(DateTime<Utc>),
    Running(Duration),
}

impl ManualClock {
    /// A clock that stays at `now`.
    pub fn frozen_at(now: DateTime<Utc>) -> Self {
        Self(Arc::new(Mutex::new(State::Frozen(now))))
    }

    /// A clock that follows the machine's clock.
    pub fn running() -> Self {
        Self(Arc::new(Mutex::new(State::Running(Duration::zero()))))
    }

    /// The present time of this clock.
    pub fn now(&self) -> DateTime<Utc> {
        match &*self.0.lock() {
            State::Frozen(now) => *now,
            State::Running(offset) => machine_time() + *offset,
        }
    }

    /// Sets the time.
    pub fn set(&self, now: DateTime<Utc>) {
        match &mut *self.0.lock() {
            State::Frozen(time) => *time = now,
            State::Running(offset) => *offset = now - machine_time(),
        }
    }

    /// Moves the time forward, or backward by a negative duration.
    pub fn advance(&self, by: Duration) {
        match &mut *self.0.lock() {
            State::Frozen(time) => *time += by,
            State::Running(offset) => *offset += by,
        }
    }

    /// This clock as the function that `service::Service` takes.
    pub fn source(&self) -> Arc<impl Fn() -> DateTime<Utc> + Send + Sync + 'static> {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

#[expect(clippy::disallowed_methods, reason = "the default time of the test clock")]
fn machine_time() -> DateTime<Utc> {
    Utc::now()
}
