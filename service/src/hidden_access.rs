//! The starts of reservations whose access information this process has hidden.

use chrono::{DateTime, Utc};
use domain::id::ReservationId;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Notify;

/// Maximum number of reservations that one round announces.
const ANNOUNCED: usize = 500;

/// Starts with the ids of their reservations, earliest first.
type Starts = BTreeSet<(DateTime<Utc>, String)>;

/// The starts of reservations whose access information this process has hidden. In memory only: a page that is still open
/// after a restart has connected again, and then loads everything.
#[derive(Clone, Default)]
pub(crate) struct HiddenAccess {
    starts: Arc<Mutex<Starts>>,
    added: Arc<Notify>,
}

impl HiddenAccess {
    /// Notes the start of a reservation whose access information is hidden.
    pub(crate) fn add(&self, start: DateTime<Utc>, id: &ReservationId) {
        let mut starts = self.starts.lock();
        let is_earliest = starts.first().is_none_or(|(earliest, _)| start < *earliest);
        starts.insert((start, id.0.clone()));
        drop(starts);
        if is_earliest {
            self.added.notify_one();
        }
    }

    /// Removes the reservations that have started, at most [`ANNOUNCED`].
    pub(crate) fn take_started(&self, now: DateTime<Utc>) -> Vec<String> {
        let mut starts = self.starts.lock();
        let mut started = Vec::new();
        while started.len() < ANNOUNCED && starts.first().is_some_and(|(start, _)| *start <= now) {
            started.extend(starts.pop_first().map(|(_, id)| id));
        }
        started
    }

    /// The next start.
    pub(crate) fn next(&self) -> Option<DateTime<Utc>> {
        self.starts.lock().first().map(|(start, _)| *start)
    }

    /// Waits until [`Self::next`] is earlier. Only one task may call it.
    pub(crate) async fn wait(&self) {
        self.added.notified().await;
    }
}
