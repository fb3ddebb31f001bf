//! Scan cursors: the position up to which each webhook's queue has been claimed. When more deliveries are due than a
//! claim leases, the leased entries of earlier claims come first in the index. A claim that reads all of them costs
//! twice as much.

use crate::db::queue_claim::QueuePosition;
use domain::id::WebhookId;
use parking_lot::Mutex;
use std::collections::HashMap;

/// Number of claims that continue from a cursor before one restarts from the beginning. The restart finds entries
/// before the cursor that were inserted, or became claimable after their predecessor ended.
const RESCAN_EVERY: u32 = 8;

#[derive(Debug, Clone, Copy)]
struct ScanCursor {
    last: QueuePosition,
    /// Number of claims since the last restart.
    claims: u32,
}

/// The last claimed position of each webhook whose last claim used its whole budget. A cursor is only an optimisation:
/// a claim that finds too few entries after it restarts from the beginning.
#[derive(Default)]
pub(super) struct ScanCursors(Mutex<HashMap<WebhookId, ScanCursor>>);

impl ScanCursors {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<WebhookId, ScanCursor>) -> T) -> T {
        act(&mut self.0.lock())
    }

    /// The position after which the next claim of a webhook scans.
    pub(super) fn after(&self, webhook: WebhookId) -> QueuePosition {
        self.with(|cursors| {
            cursors
                .get(&webhook)
                .filter(|cursor| cursor.claims < RESCAN_EVERY)
                .map_or(QueuePosition::START, |cursor| cursor.last)
        })
    }

    /// Records a claim that scanned after `after`. `last` is the last claimed position if the claim used its whole
    /// budget.
    pub(super) fn advance(&self, webhook: WebhookId, after: QueuePosition, last: Option<QueuePosition>) {
        self.with(|cursors| match last {
            None => {
                cursors.remove(&webhook);
            }
            Some(last) => {
                let before = cursors.get(&webhook).map_or(0, |cursor| cursor.claims);
                let claims = if after == QueuePosition::START { 0 } else { before + 1 };
                cursors.insert(webhook, ScanCursor { last, claims });
            }
        });
    }

    /// Removes all cursors, because entries were requeued, possibly before a cursor.
    pub(super) fn reset(&self) {
        self.with(HashMap::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ninth_claim_of_a_full_queue_rescans_from_the_start() {
        let cursors = ScanCursors::default();
        let mut rescans = Vec::new();
        for claim in 1..=20 {
            let after = cursors.after(7);
            if after == QueuePosition::START {
                rescans.push(claim);
            }
            cursors.advance(7, after, Some(QueuePosition { due_at: 5, seq: claim }));
        }
        assert_eq!(rescans, [1, 10, 19]);
        assert_eq!(cursors.after(8), QueuePosition::START, "each webhook has its own cursor");
    }

    #[test]
    fn short_claim_and_reset_remove_the_cursor() {
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
