//! How far each webhook's queue has been claimed. Where more waits than a claim takes, what is under way stands in front of
//! it, and to read past all of that would be half of what a claim costs.

use domain::id::WebhookId;
use parking_lot::Mutex;
use std::collections::HashMap;

/// Claims that go on from a mark before one begins at the front again: for what came to stand before the mark meanwhile,
/// such as what waited for its predecessor.
const RESCAN_EVERY: u32 = 8;

/// A place in a webhook's queue, in its order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueuePosition {
    /// When it is due, in milliseconds since the epoch.
    pub(super) due_at: i64,
    /// Its number in the outbox.
    pub(super) seq: i64,
}

impl QueuePosition {
    /// Before every entry.
    pub(super) const START: Self = Self { due_at: 0, seq: 0 };
}

#[derive(Debug, Clone, Copy)]
struct ScanCursor {
    last: QueuePosition,
    /// Claims since one began at the front.
    claims: u32,
}

/// The last place that was claimed of each webhook whose last claim took all that it might. Only ever a short cut: who finds
/// too little behind a mark looks from the front.
#[derive(Default)]
pub(crate) struct ScanCursors(Mutex<HashMap<WebhookId, ScanCursor>>);

impl ScanCursors {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<WebhookId, ScanCursor>) -> T) -> T {
        act(&mut self.0.lock())
    }

    /// After which place the next claim of a webhook looks.
    pub(super) fn after(&self, webhook: WebhookId) -> QueuePosition {
        self.with(|cursors| {
            cursors
                .get(&webhook)
                .filter(|mark| mark.claims < RESCAN_EVERY)
                .map_or(QueuePosition::START, |mark| mark.last)
        })
    }

    /// Notes a claim that looked after `after`: the last place that it took when it took all that it might, else `None`.
    pub(super) fn advance(&self, webhook: WebhookId, after: QueuePosition, last: Option<QueuePosition>) {
        self.with(|cursors| match last {
            None => {
                cursors.remove(&webhook);
            }
            Some(last) => {
                let before = cursors.get(&webhook).map_or(0, |mark| mark.claims);
                let claims = if after == QueuePosition::START { 0 } else { before + 1 };
                cursors.insert(webhook, ScanCursor { last, claims });
            }
        });
    }

    /// Entries were put back into the queue, wherever they stood: the next claims begin at the front.
    pub(super) fn reset(&self) {
        self.with(HashMap::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowded_queue_is_looked_through_from_the_front_now_and_then() {
        let cursors = ScanCursors::default();
        let mut fronts = Vec::new();
        for claim in 1..=20 {
            let after = cursors.after(7);
            if after == QueuePosition::START {
                fronts.push(claim);
            }
            cursors.advance(7, after, Some(QueuePosition { due_at: 5, seq: claim }));
        }
        assert_eq!(fronts, [1, 10, 19]);
        assert_eq!(cursors.after(8), QueuePosition::START, "each webhook has a mark of its own");
    }

    #[test]
    fn a_claim_that_came_short_or_what_was_put_back_leads_to_the_front() {
        let cursors = ScanCursors::default();
        let last = QueuePosition { due_at: 5, seq: 3 };
        cursors.advance(7, QueuePosition::START, Some(last));
        assert_eq!(cursors.after(7), last);
        cursors.advance(7, last, None);
        assert_eq!(cursors.after(7), QueuePosition::START);
        cursors.advance(7, QueuePosition::START, Some(last));
        cursors.reset();
        assert_eq!(cursors.after(7), QueuePosition::START);
    }
}
