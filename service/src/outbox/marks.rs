//! How far each webhook's queue has been claimed. Where more waits than a claim takes, what is under way stands in front of
//! it, and to read past all of that would be half of what a claim costs.

use domain::id::WebhookId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Claims that go on from a mark before one begins at the front again: for what came to stand before the mark meanwhile,
/// such as what waited for its predecessor.
const ANEW: u32 = 8;

/// A place in a webhook's queue, in its order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// When it is due, in milliseconds since the epoch.
    pub(super) due_at: i64,
    /// Its number in the outbox.
    pub(super) seq: i64,
}

impl Place {
    /// Before every entry.
    pub(super) const FRONT: Self = Self { due_at: 0, seq: 0 };
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    last: Place,
    /// Claims since one began at the front.
    claims: u32,
}

/// The last place that was claimed of each webhook whose last claim took all that it might. Only ever a short cut: who finds
/// too little behind a mark looks from the front.
#[derive(Default)]
pub(crate) struct Marks(Mutex<HashMap<WebhookId, Mark>>);

impl Marks {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<WebhookId, Mark>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// After which place the next claim of a webhook looks.
    pub(super) fn after(&self, webhook: WebhookId) -> Place {
        self.with(|marks| marks.get(&webhook).filter(|mark| mark.claims < ANEW).map_or(Place::FRONT, |mark| mark.last))
    }

    /// Notes a claim that looked after `after`: the last place that it took when it took all that it might, else `None`.
    pub(super) fn note(&self, webhook: WebhookId, after: Place, last: Option<Place>) {
        self.with(|marks| match last {
            None => {
                marks.remove(&webhook);
            }
            Some(last) => {
                let before = marks.get(&webhook).map_or(0, |mark| mark.claims);
                let claims = if after == Place::FRONT { 0 } else { before + 1 };
                marks.insert(webhook, Mark { last, claims });
            }
        });
    }

    /// Entries were put back into the queue, wherever they stood: the next claims begin at the front.
    pub(super) fn forget(&self) {
        self.with(HashMap::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowded_queue_is_looked_through_from_the_front_now_and_then() {
        let marks = Marks::default();
        let mut fronts = Vec::new();
        for claim in 1..=20 {
            let after = marks.after(7);
            if after == Place::FRONT {
                fronts.push(claim);
            }
            marks.note(7, after, Some(Place { due_at: 5, seq: claim }));
        }
        assert_eq!(fronts, [1, 10, 19]);
        assert_eq!(marks.after(8), Place::FRONT, "each webhook has a mark of its own");
    }

    #[test]
    fn a_claim_that_came_short_or_what_was_put_back_leads_to_the_front() {
        let marks = Marks::default();
        let last = Place { due_at: 5, seq: 3 };
        marks.note(7, Place::FRONT, Some(last));
        assert_eq!(marks.after(7), last);
        marks.note(7, last, None);
        assert_eq!(marks.after(7), Place::FRONT);
        marks.note(7, Place::FRONT, Some(last));
        marks.forget();
        assert_eq!(marks.after(7), Place::FRONT);
    }
}
