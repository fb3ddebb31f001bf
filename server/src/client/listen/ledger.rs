//! The attempts that a listener has claimed and not finished.
//!
//! A lease can be lost while an attempt is forwarded or its result is reported: the server restarts, or the response with a
//! lease was lost. The server then hands the attempt over again. The ledger recognises it, so that a running listener never
//! forwards one attempt twice: it reports the known result under the new lease.

use domain::webhook::ListenerDelivery;
use parking_lot::Mutex;
use std::collections::HashMap;
use tokio::sync::watch;

/// An attempt: the id of its delivery, and its number.
pub(super) type AttemptKey = (String, u32);

/// The claimed attempts with their present lease.
#[derive(Default)]
pub(super) struct Ledger(Mutex<HashMap<AttemptKey, watch::Sender<String>>>);

impl Ledger {
    /// Adds a claimed attempt. Returns the changes of its lease, or `None` if the attempt is known already.
    pub(super) fn claim(&self, delivery: &ListenerDelivery) -> Option<watch::Receiver<String>> {
        let mut attempts = self.0.lock();
        let key = (delivery.delivery_id.0.clone(), delivery.attempt);
        if let Some(known) = attempts.get(&key) {
            known.send_replace(delivery.lease.clone());
            return None;
        }
        let (lease, changes) = watch::channel(delivery.lease.clone());
        attempts.insert(key, lease);
        Some(changes)
    }

    /// Removes a finished attempt.
    pub(super) fn finish(&self, key: &AttemptKey) {
        self.0.lock().remove(key);
    }

    /// The present leases.
    pub(super) fn leases(&self) -> Vec<String> {
        self.0.lock().values().map(|lease| lease.borrow().clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::event::EventType;
    use domain::id::{DeliveryId, EventId};

    fn delivery(attempt: u32, lease: &str) -> ListenerDelivery {
        ListenerDelivery {
            lease: lease.into(),
            delivery_id: DeliveryId("dlv_1".into()),
            event_id: EventId("evt_1".into()),
            event_type: EventType::ReservationCreated,
            reservation_id: None,
            attempt,
            redelivery_of: None,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    #[test]
    fn attempt_that_is_claimed_again_keeps_one_entry_with_the_new_lease() {
        let ledger = Ledger::default();
        let mut lease = ledger.claim(&delivery(1, "a")).expect("a new attempt");
        assert!(ledger.claim(&delivery(1, "b")).is_none(), "the same attempt");
        assert!(lease.has_changed().unwrap());
        assert_eq!(*lease.borrow_and_update(), "b");
        assert!(ledger.claim(&delivery(2, "c")).is_some(), "the next attempt is another one");
        let mut leases = ledger.leases();
        leases.sort_unstable();
        assert_eq!(leases, ["b", "c"]);
        ledger.finish(&("dlv_1".into(), 1));
        ledger.finish(&("dlv_1".into(), 2));
        assert!(ledger.leases().is_empty());
        assert!(ledger.claim(&delivery(1, "d")).is_some(), "a finished attempt is forgotten");
    }
}
