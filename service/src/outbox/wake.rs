//! Whose queues are to be looked at: a look at all of a hundred webhooks costs a hundred times one at the one that has work.

use domain::id::WebhookId;
use parking_lot::Mutex;
use std::collections::HashSet;
use tokio::sync::Notify;

/// Some of the webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookSet {
    /// These, or none.
    These(HashSet<WebhookId>),
    /// All that there are.
    All,
}

impl Default for WebhookSet {
    fn default() -> Self {
        Self::empty()
    }
}

impl WebhookSet {
    /// None of them.
    pub fn empty() -> Self {
        Self::These(HashSet::new())
    }

    /// Whether this is none of them.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::These(these) if these.is_empty())
    }

    /// Whether a webhook is one of them.
    pub fn contains(&self, webhook: WebhookId) -> bool {
        match self {
            Self::These(these) => these.contains(&webhook),
            Self::All => true,
        }
    }

    /// Adds others.
    pub fn union(&mut self, others: Self) {
        match (&mut *self, others) {
            (Self::All, _) => {}
            (Self::These(these), Self::These(others)) => these.extend(others),
            (_, Self::All) => *self = Self::All,
        }
    }

    /// Takes others away; from all of them none but all can be taken.
    pub fn subtract(&mut self, others: &Self) {
        match (&mut *self, others) {
            (_, Self::All) => *self = Self::empty(),
            (Self::These(these), Self::These(others)) => these.retain(|webhook| !others.contains(webhook)),
            (Self::All, _) => {}
        }
    }

    /// Keeps only those that are among others too.
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

/// Tells one waiting task whose queues to look at. What is said while it does not wait is kept for it.
#[derive(Debug, Default)]
pub struct Wake {
    whose: Mutex<WebhookSet>,
    said: Notify,
}

impl Wake {
    /// Changes what is kept for the waiting task, without waking it.
    pub fn with<T>(&self, act: impl FnOnce(&mut WebhookSet) -> T) -> T {
        act(&mut self.whose.lock())
    }

    /// Says that the queues of these are to be looked at.
    pub fn notify(&self, whose: WebhookSet) {
        if !whose.is_empty() {
            self.with(|kept| kept.union(whose));
            self.said.notify_one();
        }
    }

    /// Takes what has been said, if anything was.
    pub fn take(&self) -> WebhookSet {
        self.with(std::mem::take)
    }

    /// Waits until something is said, and takes it.
    pub async fn next(&self) -> WebhookSet {
        loop {
            let whose = self.take();
            if !whose.is_empty() {
                return whose;
            }
            self.said.notified().await;
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
    fn sets_of_webhooks_are_joined_and_parted() {
        let after = |mut whose: WebhookSet, act: fn(&mut WebhookSet, &WebhookSet), others: &WebhookSet| {
            act(&mut whose, others);
            whose
        };
        let add = |whose: &mut WebhookSet, others: &WebhookSet| whose.union(others.clone());
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
    async fn what_is_said_while_nobody_waits_is_kept_once() {
        let wake = Wake::default();
        wake.notify(WebhookSet::empty());
        wake.notify(1.into());
        wake.notify(2.into());
        assert_eq!(wake.next().await, these(&[1, 2]));
        assert_eq!(wake.take(), WebhookSet::empty());
        // A notice of what was taken already wakes nobody for nothing.
        assert!(futures_are_pending(wake.next()));
    }

    fn futures_are_pending(future: impl Future) -> bool {
        let mut future = std::pin::pin!(future);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.as_mut().poll(&mut context).is_pending()
    }
}
