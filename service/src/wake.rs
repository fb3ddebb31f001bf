//! Wake-ups of the dispatcher, which name the webhooks to poll. A poll of a hundred webhooks costs a hundred times as
//! much as a poll of the one that has due deliveries.

use domain::id::WebhookId;
use parking_lot::Mutex;
use std::collections::HashSet;
use tokio::sync::{Notify, broadcast};

/// Maximum lag of an observer in notifications. A slower one polls its queue.
const OBSERVER_LAG: usize = 256;

/// A set of webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookSet {
    /// The listed webhooks; the empty set is valid.
    These(HashSet<WebhookId>),
    /// All webhooks, including those that are created later.
    All,
}

impl Default for WebhookSet {
    fn default() -> Self {
        Self::empty()
    }
}

impl WebhookSet {
    /// The empty set.
    pub fn empty() -> Self {
        Self::These(HashSet::new())
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::These(these) if these.is_empty())
    }

    /// Whether a webhook is in the set.
    pub fn contains(&self, webhook: WebhookId) -> bool {
        match self {
            Self::These(these) => these.contains(&webhook),
            Self::All => true,
        }
    }

    /// Adds the webhooks of another set.
    pub fn union(&mut self, others: Self) {
        match (&mut *self, others) {
            (Self::All, _) => {}
            (Self::These(these), Self::These(others)) => these.extend(others),
            (_, Self::All) => *self = Self::All,
        }
    }

    /// Removes the webhooks of another set. From `All` only `All` can be removed, because its members are not known.
    pub fn subtract(&mut self, others: &Self) {
        match (&mut *self, others) {
            (_, Self::All) => *self = Self::empty(),
            (Self::These(these), Self::These(others)) => these.retain(|webhook| !others.contains(webhook)),
            (Self::All, _) => {}
        }
    }

    /// Keeps only the webhooks that are in another set too.
    pub fn intersect(&mut self, others: &Self) {
        match (&mut *self, others) {
            (_, Self::All) => {}
            (Self::These(these), Self::These(others)) => these.retain(|webhook| others.contains(webhook)),
            (Self::All, others) => *self = others.clone(),
        }
    }
}

impl From<WebhookId> for WebhookSet {
    fn from(webhook: WebhookId) -> Self {
        Self::These(HashSet::from([webhook]))
    }
}

impl FromIterator<WebhookId> for WebhookSet {
    fn from_iter<T: IntoIterator<Item = WebhookId>>(webhooks: T) -> Self {
        Self::These(webhooks.into_iter().collect())
    }
}

/// A wake-up signal for one task. Notifications that arrive while the task is busy accumulate, which avoids lost
/// wake-ups.
#[derive(Debug)]
pub struct Wake {
    webhooks: Mutex<WebhookSet>,
    notified: Notify,
    /// Each notification, for local listeners.
    observers: broadcast::Sender<WebhookSet>,
}

impl Default for Wake {
    fn default() -> Self {
        Self { webhooks: Mutex::default(), notified: Notify::default(), observers: broadcast::channel(OBSERVER_LAG).0 }
    }
}

impl Wake {
    /// Changes the accumulated set without waking the task.
    pub fn with<T>(&self, act: impl FnOnce(&mut WebhookSet) -> T) -> T {
        act(&mut self.webhooks.lock())
    }

    /// Adds webhooks to the accumulated set and wakes the task.
    pub fn notify(&self, webhooks: WebhookSet) {
        if !webhooks.is_empty() {
            if self.observers.receiver_count() > 0 {
                // Sending fails only without an observer.
                let _ = self.observers.send(webhooks.clone());
            }
            self.with(|pending| pending.union(webhooks));
            self.notified.notify_one();
        }
    }

    /// Receives every later notification.
    pub fn observe(&self) -> broadcast::Receiver<WebhookSet> {
        self.observers.subscribe()
    }

    /// Takes the accumulated set, which may be empty.
    pub fn take(&self) -> WebhookSet {
        self.with(std::mem::take)
    }

    /// Waits until the accumulated set is not empty, and takes it.
    pub async fn next(&self) -> WebhookSet {
        loop {
            let webhooks = self.take();
            if !webhooks.is_empty() {
                return webhooks;
            }
            self.notified.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn these(ids: &[WebhookId]) -> WebhookSet {
        ids.iter().copied().collect()
    }

    #[test]
    fn union_subtract_and_intersect_treat_all_as_the_universal_set() {
        let after = |mut set: WebhookSet, act: fn(&mut WebhookSet, &WebhookSet), others: &WebhookSet| {
            act(&mut set, others);
            set
        };
        let add = |set: &mut WebhookSet, others: &WebhookSet| set.union(others.clone());
        let (none, all) = (WebhookSet::empty(), WebhookSet::All);
        assert_eq!(after(none.clone(), add, &these(&[1])), these(&[1]));
        assert_eq!(after(these(&[1]), add, &none), these(&[1]));
        assert_eq!(after(these(&[1]), add, &these(&[2])), these(&[1, 2]));
        assert_eq!(after(these(&[1]), add, &all), all);
        assert_eq!(after(all.clone(), add, &these(&[1])), all);
        assert_eq!(after(these(&[1, 2]), WebhookSet::subtract, &these(&[2, 3])), these(&[1]));
        assert_eq!(after(these(&[1]), WebhookSet::subtract, &these(&[1])), none);
        assert_eq!(after(these(&[1]), WebhookSet::subtract, &all), none);
        assert_eq!(after(all.clone(), WebhookSet::subtract, &these(&[1])), all);
        assert_eq!(after(these(&[1, 2]), WebhookSet::intersect, &these(&[2, 3])), these(&[2]));
        assert_eq!(after(these(&[1]), WebhookSet::intersect, &these(&[2])), none);
        assert_eq!(after(all.clone(), WebhookSet::intersect, &these(&[1])), these(&[1]));
        assert_eq!(after(these(&[1]), WebhookSet::intersect, &all), these(&[1]));
        assert_eq!(after(all.clone(), WebhookSet::intersect, &none), none);
        assert!(all.contains(1) && these(&[1]).contains(1) && !these(&[1]).contains(2) && !none.contains(1));
    }

    #[tokio::test]
    async fn notifications_accumulate_while_the_task_is_busy() {
        let wake = Wake::default();
        wake.notify(WebhookSet::empty());
        wake.notify(1.into());
        wake.notify(2.into());
        assert_eq!(wake.next().await, these(&[1, 2]));
        assert_eq!(wake.take(), WebhookSet::empty());
        // A notification whose webhooks were taken already causes no spurious wake-up.
        assert!(is_pending(wake.next()));
    }

    fn is_pending(future: impl Future) -> bool {
        let mut future = std::pin::pin!(future);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.as_mut().poll(&mut context).is_pending()
    }
}
