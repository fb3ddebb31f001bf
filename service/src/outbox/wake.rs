//! Whose queues are to be looked at: a look at all of a hundred webhooks costs a hundred times one at the one that has work.

use domain::id::WebhookId;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Some of the webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Webhooks {
    /// These, or none.
    These(HashSet<WebhookId>),
    /// All that there are.
    All,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self::none()
    }
}

impl Webhooks {
    /// None of them.
    pub fn none() -> Self {
        Self::These(HashSet::new())
    }

    /// Whether this is none of them.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::These(these) if these.is_empty())
    }

    /// Whether a webhook is one of them.
    pub fn has(&self, webhook: WebhookId) -> bool {
        match self {
            Self::These(these) => these.contains(&webhook),
            Self::All => true,
        }
    }

    /// Adds others.
    pub fn add(&mut self, others: Self) {
        match (&mut *self, others) {
            (Self::All, _) => {}
            (Self::These(these), Self::These(others)) => these.extend(others),
            (_, Self::All) => *self = Self::All,
        }
    }

    /// Takes others away; from all of them none but all can be taken.
    pub fn take_away(&mut self, others: &Self) {
        match (&mut *self, others) {
            (_, Self::All) => *self = Self::none(),
            (Self::These(these), Self::These(others)) => these.retain(|webhook| !others.contains(webhook)),
            (Self::All, _) => {}
        }
    }

    /// Keeps only those that are among others too.
    pub fn keep(&mut self, others: &Self) {
        match (&mut *self, others) {
            (_, Self::All) => {}
            (Self::These(these), Self::These(others)) => these.retain(|webhook| others.contains(webhook)),
            (Self::All, others) => *self = others.clone(),
        }
    }
}

impl From<WebhookId> for Webhooks {
    fn from(webhook: WebhookId) -> Self {
        Self::These(HashSet::from([webhook]))
    }
}

impl FromIterator<WebhookId> for Webhooks {
    fn from_iter<T: IntoIterator<Item = WebhookId>>(webhooks: T) -> Self {
        Self::These(webhooks.into_iter().collect())
    }
}

/// Tells one waiting task whose queues to look at. What is said while it does not wait is kept for it.
#[derive(Debug, Default)]
pub struct Wake {
    whose: Mutex<Webhooks>,
    said: Notify,
}

impl Wake {
    /// Changes what is kept for the waiting task, without waking it.
    pub fn with<T>(&self, act: impl FnOnce(&mut Webhooks) -> T) -> T {
        act(&mut self.whose.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says that the queues of these are to be looked at.
    pub fn say(&self, whose: Webhooks) {
        if !whose.is_none() {
            self.with(|kept| kept.add(whose));
            self.said.notify_one();
        }
    }

    /// Takes what has been said, if anything was.
    pub fn take(&self) -> Webhooks {
        self.with(std::mem::take)
    }

    /// Waits until something is said, and takes it.
    pub async fn next(&self) -> Webhooks {
        loop {
            let whose = self.take();
            if !whose.is_none() {
                return whose;
            }
            self.said.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn these(ids: &[WebhookId]) -> Webhooks {
        ids.iter().copied().collect()
    }

    #[test]
    fn sets_of_webhooks_are_joined_and_parted() {
        let after = |mut whose: Webhooks, act: fn(&mut Webhooks, &Webhooks), others: &Webhooks| {
            act(&mut whose, others);
            whose
        };
        let add = |whose: &mut Webhooks, others: &Webhooks| whose.add(others.clone());
        let (none, all) = (Webhooks::none(), Webhooks::All);
        assert_eq!(after(none.clone(), add, &these(&[1])), these(&[1]));
        assert_eq!(after(these(&[1]), add, &none), these(&[1]));
        assert_eq!(after(these(&[1]), add, &these(&[2])), these(&[1, 2]));
        assert_eq!(after(these(&[1]), add, &all), all);
        assert_eq!(after(all.clone(), add, &these(&[1])), all);
        assert_eq!(after(these(&[1, 2]), Webhooks::take_away, &these(&[2, 3])), these(&[1]));
        assert_eq!(after(these(&[1]), Webhooks::take_away, &these(&[1])), none);
        assert_eq!(after(these(&[1]), Webhooks::take_away, &all), none);
        assert_eq!(after(all.clone(), Webhooks::take_away, &these(&[1])), all);
        assert_eq!(after(these(&[1, 2]), Webhooks::keep, &these(&[2, 3])), these(&[2]));
        assert_eq!(after(these(&[1]), Webhooks::keep, &these(&[2])), none);
        assert_eq!(after(all.clone(), Webhooks::keep, &these(&[1])), these(&[1]));
        assert_eq!(after(these(&[1]), Webhooks::keep, &all), these(&[1]));
        assert_eq!(after(all.clone(), Webhooks::keep, &none), none);
        assert!(all.has(1) && these(&[1]).has(1) && !these(&[1]).has(2) && !none.has(1));
    }

    #[tokio::test]
    async fn what_is_said_while_nobody_waits_is_kept_once() {
        let wake = Wake::default();
        wake.say(Webhooks::none());
        wake.say(1.into());
        wake.say(2.into());
        assert_eq!(wake.next().await, these(&[1, 2]));
        assert_eq!(wake.take(), Webhooks::none());
        // A notice of what was taken already wakes nobody for nothing.
        assert!(futures_are_pending(wake.next()));
    }

    fn futures_are_pending(future: impl Future) -> bool {
        let mut future = std::pin::pin!(future);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.as_mut().poll(&mut context).is_pending()
    }
}
