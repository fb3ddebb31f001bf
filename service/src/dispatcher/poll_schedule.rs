//! The claimer's schedule of polls: when a blocked webhook gets capacity, when retries are due, and periodically.

use super::POLL_INTERVAL;
use crate::wake::{Wake, WebhookSet};
use chrono::{DateTime, Utc};
use domain::id::WebhookId;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Webhooks at a limit are polled when their requests end, and at this interval in any case.
pub(super) const CAPACITY_POLL: Duration = Duration::from_millis(250);

/// The webhooks that wait for capacity, and those whose capacity was freed.
#[derive(Default)]
pub(super) struct CapacityWatch {
    /// Webhooks with due deliveries but without capacity. If its receiver is down, a webhook stays at its limit.
    /// Polls of its queue after each request of another webhook would dominate the cost.
    blocked: Mutex<WebhookSet>,
    /// The blocked webhooks whose requests have ended.
    freed: Wake,
}

impl CapacityWatch {
    fn with<T>(&self, act: impl FnOnce(&mut WebhookSet) -> T) -> T {
        act(&mut self.blocked.lock())
    }

    /// The webhooks that wait for capacity.
    pub(super) fn blocked(&self) -> WebhookSet {
        self.with(|blocked| blocked.clone())
    }

    /// Waits until a blocked webhook's request has ended, and returns those webhooks.
    pub(super) async fn freed(&self) -> WebhookSet {
        self.freed.next().await
    }

    /// The blocked webhooks whose requests have ended by now.
    pub(super) fn take_freed(&self) -> WebhookSet {
        self.freed.take()
    }

    /// Handles the end of a webhook's request: notifies the claimer if the webhook is blocked.
    pub(super) fn request_ended(&self, webhook: WebhookId) {
        let (is_blocked, all) = self.with(|blocked| (blocked.contains(webhook), *blocked == WebhookSet::All));
        if all {
            self.freed.notify(WebhookSet::All);
        } else if is_blocked && !self.freed.with(|freed| freed.contains(webhook)) {
            // The check avoids a wake-up for each request: nearly always an earlier one has notified already.
            self.freed.notify(webhook.into());
        }
    }

    /// Handles a recorded batch, which frees capacity of this process.
    pub(super) fn batch_recorded(&self) {
        if self.with(|blocked| *blocked == WebhookSet::All) {
            self.freed.notify(WebhookSet::All);
        }
    }

    /// Begins a poll: the webhooks count as blocked, because capacity that is freed from now on may be too late for the
    /// poll.
    pub(super) fn begin_poll(&self, webhooks: &WebhookSet) {
        self.with(|blocked| blocked.union(webhooks.clone()));
    }

    /// Ends the poll of these webhooks; `still_blocked` wait for capacity.
    pub(super) fn finish_poll(&self, webhooks: &WebhookSet, still_blocked: WebhookSet) {
        let all = still_blocked == WebhookSet::All;
        let newly_all = self.with(|blocked| {
            let before = *blocked == WebhookSet::All;
            blocked.subtract(webhooks);
            blocked.union(still_blocked);
            self.freed.with(|freed| freed.intersect(blocked));
            all && !before
        });
        // From now on every request counts, and some may have ended during the poll.
        if newly_all {
            self.freed.notify(WebhookSet::All);
        }
    }
}

/// Periodic and postponed polls, independent of all other polls.
pub(super) struct PollSchedule {
    /// Time of the next poll of all webhooks.
    poll_all: Instant,
    /// Time of the next poll of blocked webhooks: rate limits free capacity as time passes.
    poll_blocked: Instant,
    /// Time and webhooks of postponed polls.
    postponed: (Instant, WebhookSet),
}

impl PollSchedule {
    /// A schedule that begins with a poll of all webhooks.
    pub(super) fn new(now: Instant) -> Self {
        Self { poll_all: now, poll_blocked: now, postponed: (now, WebhookSet::empty()) }
    }

    /// Time of the next poll, while these webhooks are blocked.
    pub(super) fn next(&self, blocked: &WebhookSet) -> Instant {
        let poll_blocked = (!blocked.is_empty()).then_some(self.poll_blocked);
        let postponed = (!self.postponed.1.is_empty()).then_some(self.postponed.0);
        [poll_blocked, postponed].into_iter().flatten().fold(self.poll_all, Instant::min)
    }

    /// Begins a poll: adds the webhooks whose scheduled poll is due. `blocked` are the webhooks that wait for capacity.
    pub(super) fn begin_poll(&mut self, now: Instant, blocked: WebhookSet, webhooks: &mut WebhookSet) {
        if blocked.is_empty() || now >= self.poll_blocked {
            webhooks.union(blocked);
            self.poll_blocked = now + CAPACITY_POLL;
        }
        if now >= self.postponed.0 {
            webhooks.union(std::mem::take(&mut self.postponed.1));
        }
        if now >= self.poll_all {
            *webhooks = WebhookSet::All;
        }
        if *webhooks == WebhookSet::All {
            self.poll_all = now + POLL_INTERVAL;
        }
    }

    /// Postpones the poll of these webhooks until `until`.
    pub(super) fn postpone(&mut self, until: Instant, webhooks: WebhookSet) {
        self.postponed.0 = until;
        self.postponed.1.union(webhooks);
    }
}

/// Due times of retries, by the wall clock, as in the queue.
#[derive(Default)]
pub(super) struct RetryTimers {
    at: Mutex<BTreeSet<(DateTime<Utc>, WebhookId)>>,
    changed: Notify,
}

impl RetryTimers {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeSet<(DateTime<Utc>, WebhookId)>) -> T) -> T {
        act(&mut self.at.lock())
    }

    /// Adds a retry of this webhook, due at `at`.
    pub(super) fn add(&self, at: DateTime<Utc>, webhook: WebhookId) {
        if self.with(|due| due.insert((at, webhook)) && due.first() == Some(&(at, webhook))) {
            self.changed.notify_one();
        }
    }

    /// The webhooks with retries due by `now`. Each timer is returned once.
    pub(super) fn take_due(&self, now: DateTime<Utc>) -> WebhookSet {
        let due = self.with(|due| {
            let later = due.split_off(&(now + chrono::Duration::milliseconds(1), WebhookId::MIN));
            std::mem::replace(due, later)
        });
        due.into_iter().map(|(_, webhook)| webhook).collect()
    }

    /// Waits until a retry is due by the clock `now`, which may be set while it waits. Returns the webhooks with due
    /// retries.
    pub(super) async fn next(&self, now: impl Fn() -> DateTime<Utc>) -> WebhookSet {
        loop {
            let at = now();
            let due = self.take_due(at);
            if !due.is_empty() {
                return due;
            }
            let first = self.with(|due| due.first().map(|(at, _)| *at));
            let left =
                first.map_or(POLL_INTERVAL, |first| (first - at).to_std().unwrap_or_default().min(POLL_INTERVAL));
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = self.changed.notified() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The webhooks to poll after requests of these webhooks have ended.
    fn freed_by(watch: &CapacityWatch, webhooks: &[WebhookId]) -> WebhookSet {
        webhooks.iter().for_each(|webhook| watch.request_ended(*webhook));
        watch.take_freed()
    }

    #[test]
    fn blocked_webhook_is_freed_only_by_its_own_requests() {
        let watch = CapacityWatch::default();
        assert_eq!(freed_by(&watch, &[1, 2]), WebhookSet::empty(), "no webhook is blocked");
        watch.begin_poll(&WebhookSet::All);
        watch.finish_poll(&WebhookSet::All, 1.into());
        assert_eq!(freed_by(&watch, &[1, 2]), 1.into());
        watch.batch_recorded();
        assert_eq!(watch.take_freed(), WebhookSet::empty());
        watch.begin_poll(&2.into());
        watch.finish_poll(&2.into(), 2.into());
        assert_eq!(freed_by(&watch, &[1, 2, 3]), [1, 2].into_iter().collect());
        watch.begin_poll(&1.into());
        watch.finish_poll(&1.into(), WebhookSet::empty());
        assert_eq!(freed_by(&watch, &[1, 2, 3]), 2.into(), "polling one webhook does not unblock another");
        watch.begin_poll(&3.into());
        watch.finish_poll(&3.into(), WebhookSet::All);
        assert_eq!(watch.take_freed(), WebhookSet::All, "requests may have ended during the poll");
        assert_eq!(freed_by(&watch, &[3]), WebhookSet::All, "every request counts");
        watch.batch_recorded();
        assert_eq!(watch.take_freed(), WebhookSet::All);
    }

    #[test]
    fn request_that_ends_during_a_poll_frees_a_webhook_that_stays_blocked() {
        let watch = CapacityWatch::default();
        watch.begin_poll(&WebhookSet::All);
        watch.request_ended(1);
        watch.request_ended(2);
        watch.finish_poll(&WebhookSet::All, 1.into());
        assert_eq!(watch.take_freed(), 1.into());
        watch.begin_poll(&2.into());
        assert_eq!(freed_by(&watch, &[1, 2, 3]), [1, 2].into_iter().collect());
    }

    #[test]
    fn frequent_polls_do_not_delay_scheduled_ones() {
        let start = Instant::now();
        let mut schedule = PollSchedule::new(start);
        let mut webhooks = WebhookSet::empty();
        schedule.begin_poll(start, WebhookSet::empty(), &mut webhooks);
        assert_eq!(webhooks, WebhookSet::All);
        // One webhook is blocked, and another has work all the time.
        let mut polls = Vec::new();
        for ms in (10..=6_000).step_by(10) {
            let mut webhooks = 1.into();
            schedule.begin_poll(start + Duration::from_millis(ms), 2.into(), &mut webhooks);
            if webhooks != 1.into() {
                polls.push((ms, webhooks == WebhookSet::All));
            }
        }
        let expected: Vec<_> = (1..=24).map(|n| (250 * n, n == 20)).collect();
        assert_eq!(polls, expected, "blocked webhooks every 250 ms, all webhooks every 5 s");
    }

    #[test]
    fn postponed_poll_is_made() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut schedule = PollSchedule::new(start);
        let polled = |schedule: &mut PollSchedule, ms, mut webhooks: WebhookSet| {
            schedule.begin_poll(at(ms), WebhookSet::empty(), &mut webhooks);
            webhooks
        };
        assert_eq!(polled(&mut schedule, 0, WebhookSet::empty()), WebhookSet::All);
        assert_eq!(schedule.next(&WebhookSet::empty()), start + POLL_INTERVAL);
        assert_eq!(schedule.next(&1.into()), at(250));
        schedule.postpone(at(1_000), 1.into());
        assert_eq!(schedule.next(&WebhookSet::empty()), at(1_000));
        assert_eq!(polled(&mut schedule, 500, 2.into()), 2.into());
        assert_eq!(polled(&mut schedule, 1_000, WebhookSet::empty()), 1.into());
        assert_eq!(schedule.next(&WebhookSet::empty()), start + POLL_INTERVAL);
    }

    #[tokio::test]
    async fn retry_timers_follow_the_wall_clock() {
        let due = RetryTimers::default();
        #[expect(clippy::disallowed_methods, reason = "the timers under test compare with the wall clock")]
        let start = Utc::now();
        let at = |ms| start + chrono::Duration::milliseconds(ms);
        for (ms, webhook) in [(0, 1), (3, 2), (3, 1), (2, 3), (4_000_000, 4)] {
            due.add(at(ms), webhook);
        }
        assert_eq!(due.next(|| at(3)).await, [1, 2, 3].into_iter().collect());
        // A new first timer ends the wait; a timer that is not due by the clock, which was set back, is not returned.
        let clock = std::cell::Cell::new(1);
        let ahead = async {
            tokio::task::yield_now().await;
            due.add(at(3_000_000), 5);
            tokio::task::yield_now().await;
            clock.set(3_000_000);
            due.add(at(2), 6);
        };
        let result = tokio::time::timeout(POLL_INTERVAL / 2, due.next(|| at(clock.get())));
        let (result, ()) = tokio::join!(result, ahead);
        assert_eq!(result, Ok([5, 6].into_iter().collect()));
        assert_eq!(due.with(|due| due.len()), 1);
    }
}
