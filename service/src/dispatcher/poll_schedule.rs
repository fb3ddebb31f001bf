//! When the dispatcher looks at whose queues: when room that was awaited has come, when retries are due, and now and then although
//! nothing says that there is work.

use super::POLL;
use crate::outbox::{Wake, WebhookSet};
use chrono::{DateTime, Utc};
use domain::id::WebhookId;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Where more was due than had room, it is looked for when requests end, and after this long although none did.
pub(super) const CAPACITY_POLL: Duration = Duration::from_millis(250);

/// Whose room is awaited, and whose has come.
#[derive(Default)]
pub(super) struct CapacityWatch {
    /// Whose requests make room that something waits for, when they end. A webhook whose receiver is silent lacks room for
    /// long: to look for its work whenever another's request ends would be most of what there is to do.
    awaited: Mutex<WebhookSet>,
    /// Those of the awaited whose requests ended.
    ended: Wake,
}

impl CapacityWatch {
    fn with<T>(&self, act: impl FnOnce(&mut WebhookSet) -> T) -> T {
        act(&mut self.awaited.lock())
    }

    /// Whose room is awaited.
    pub(super) fn awaited(&self) -> WebhookSet {
        self.with(|awaited| awaited.clone())
    }

    /// Whose requests have ended of those, as soon as one has.
    pub(super) async fn next(&self) -> WebhookSet {
        self.ended.next().await
    }

    /// Whose requests have ended of those by now.
    pub(super) fn ended(&self) -> WebhookSet {
        self.ended.take()
    }

    /// A request of a webhook has ended, or, without one, a batch was recorded.
    pub(super) fn end(&self, webhook: Option<WebhookId>) {
        let (one, all) =
            self.with(|awaited| (webhook.filter(|one| awaited.contains(*one)), *awaited == WebhookSet::All));
        match (one, all) {
            (_, true) => self.ended.notify(WebhookSet::All),
            // Nearly always the one before has said so already.
            (Some(one), false) if !self.ended.with(|ended| ended.contains(one)) => self.ended.notify(one.into()),
            _ => {}
        }
    }

    /// The queues of these are about to be looked at. CapacityWatch that comes to them from here on may have been looked for already.
    pub(super) fn begin_poll(&self, whose: &WebhookSet) {
        self.with(|awaited| awaited.union(whose.clone()));
    }

    /// Their queues have been looked at, and room of `short` is awaited.
    pub(super) fn finish_poll(&self, whose: &WebhookSet, short: WebhookSet) {
        let all = short == WebhookSet::All;
        let news = self.with(|awaited| {
            let before = *awaited == WebhookSet::All;
            awaited.subtract(whose);
            awaited.union(short);
            self.ended.with(|ended| ended.intersect(awaited));
            all && !before
        });
        // Anybody's counts from now on, and some may have ended since the look.
        if news {
            self.ended.notify(WebhookSet::All);
        }
    }
}

/// Looks that are made by the clock, however many others are made.
pub(super) struct PollSchedule {
    /// When to look at all.
    poll: Instant,
    /// When to look at those whose room is awaited, for room comes with time too (rate limits).
    again: Instant,
    /// Whose look was postponed, and until when.
    owed: (Instant, WebhookSet),
}

impl PollSchedule {
    /// One that begins with a look at all.
    pub(super) fn new(now: Instant) -> Self {
        Self { poll: now, again: now, owed: (now, WebhookSet::empty()) }
    }

    /// When the next look is to be made, while the room of these is awaited.
    pub(super) fn next(&self, awaited: &WebhookSet) -> Instant {
        let again = (!awaited.is_empty()).then_some(self.again);
        let owed = (!self.owed.1.is_empty()).then_some(self.owed.0);
        [again, owed].into_iter().flatten().fold(self.poll, Instant::min)
    }

    /// A look is made: adds those whose time has come to those that it is made for. `awaited` is whose room was awaited.
    pub(super) fn begin_poll(&mut self, now: Instant, awaited: WebhookSet, whose: &mut WebhookSet) {
        if awaited.is_empty() || now >= self.again {
            whose.union(awaited);
            self.again = now + CAPACITY_POLL;
        }
        if now >= self.owed.0 {
            whose.union(std::mem::take(&mut self.owed.1));
        }
        if now >= self.poll {
            *whose = WebhookSet::All;
        }
        if *whose == WebhookSet::All {
            self.poll = now + POLL;
        }
    }

    /// The look at these could not be made, and is made at `until`.
    pub(super) fn postpone(&mut self, until: Instant, whose: WebhookSet) {
        self.owed.0 = until;
        self.owed.1.union(whose);
    }
}

/// When the retries of this process are due, by the wall clock, as it stands in the queue.
#[derive(Default)]
pub(super) struct RetryTimers {
    at: Mutex<BTreeSet<(DateTime<Utc>, WebhookId)>>,
    changed: Notify,
}

impl RetryTimers {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeSet<(DateTime<Utc>, WebhookId)>) -> T) -> T {
        act(&mut self.at.lock())
    }

    /// A retry of this webhook is due at `at`.
    pub(super) fn add(&self, at: DateTime<Utc>, webhook: WebhookId) {
        if self.with(|due| due.insert((at, webhook)) && due.first() == Some(&(at, webhook))) {
            self.changed.notify_one();
        }
    }

    /// Whose are due by `now`; they are told once.
    pub(super) fn now(&self, now: DateTime<Utc>) -> WebhookSet {
        let due = self.with(|due| {
            let later = due.split_off(&(now + chrono::Duration::milliseconds(1), WebhookId::MIN));
            std::mem::replace(due, later)
        });
        due.into_iter().map(|(_, webhook)| webhook).collect()
    }

    /// Returns whose next is due, when it is by the clock `now`, which may be set meanwhile.
    pub(super) async fn next(&self, now: impl Fn() -> DateTime<Utc>) -> WebhookSet {
        loop {
            let at = now();
            let due = self.now(at);
            if !due.is_empty() {
                return due;
            }
            let first = self.with(|due| due.first().map(|(at, _)| *at));
            let left = first.map_or(POLL, |first| (first - at).to_std().unwrap_or_default().min(POLL));
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

    /// Whose queues are to be looked at after the end of requests of these.
    fn ended(room: &CapacityWatch, webhooks: &[WebhookId]) -> WebhookSet {
        webhooks.iter().for_each(|webhook| room.end(Some(*webhook)));
        room.ended()
    }

    #[test]
    fn a_webhook_without_room_has_nobody_elses_requests_awaited() {
        let room = CapacityWatch::default();
        assert_eq!(ended(&room, &[1, 2]), WebhookSet::empty(), "nothing waits");
        room.begin_poll(&WebhookSet::All);
        room.finish_poll(&WebhookSet::All, 1.into());
        assert_eq!(ended(&room, &[1, 2]), 1.into());
        room.end(None);
        assert_eq!(room.ended(), WebhookSet::empty());
        room.begin_poll(&2.into());
        room.finish_poll(&2.into(), 2.into());
        assert_eq!(ended(&room, &[1, 2, 3]), [1, 2].into_iter().collect());
        room.begin_poll(&1.into());
        room.finish_poll(&1.into(), WebhookSet::empty());
        assert_eq!(ended(&room, &[1, 2, 3]), 2.into(), "looking at one queue says nothing of another");
        room.begin_poll(&3.into());
        room.finish_poll(&3.into(), WebhookSet::All);
        assert_eq!(room.ended(), WebhookSet::All, "what ended during the look was not awaited");
        assert_eq!(ended(&room, &[3]), WebhookSet::All, "more is due of others");
        room.end(None);
        assert_eq!(room.ended(), WebhookSet::All);
    }

    #[test]
    fn what_ends_during_a_look_counts_where_room_was_short() {
        let room = CapacityWatch::default();
        room.begin_poll(&WebhookSet::All);
        room.end(Some(1));
        room.end(Some(2));
        room.finish_poll(&WebhookSet::All, 1.into());
        assert_eq!(room.ended(), 1.into());
        room.begin_poll(&2.into());
        assert_eq!(ended(&room, &[1, 2, 3]), [1, 2].into_iter().collect());
    }

    #[test]
    fn looks_for_others_put_none_off() {
        let begun = Instant::now();
        let mut timetable = PollSchedule::new(begun);
        let mut whose = WebhookSet::empty();
        timetable.begin_poll(begun, WebhookSet::empty(), &mut whose);
        assert_eq!(whose, WebhookSet::All);
        // One webhook waits for room, and another has work all the time.
        let mut looks = Vec::new();
        for ms in (10..=6_000).step_by(10) {
            let mut whose = 1.into();
            timetable.begin_poll(begun + Duration::from_millis(ms), 2.into(), &mut whose);
            if whose != 1.into() {
                looks.push((ms, whose == WebhookSet::All));
            }
        }
        let expected: Vec<_> = (1..=24).map(|n| (250 * n, n == 20)).collect();
        assert_eq!(looks, expected, "every 250 ms at those, every 5 s at all");
    }

    #[test]
    fn a_look_that_was_postponed_is_made() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut timetable = PollSchedule::new(begun);
        let looked = |timetable: &mut PollSchedule, ms, mut whose: WebhookSet| {
            timetable.begin_poll(at(ms), WebhookSet::empty(), &mut whose);
            whose
        };
        assert_eq!(looked(&mut timetable, 0, WebhookSet::empty()), WebhookSet::All);
        assert_eq!(timetable.next(&WebhookSet::empty()), begun + POLL);
        assert_eq!(timetable.next(&1.into()), at(250));
        timetable.postpone(at(1_000), 1.into());
        assert_eq!(timetable.next(&WebhookSet::empty()), at(1_000));
        assert_eq!(looked(&mut timetable, 500, 2.into()), 2.into());
        assert_eq!(looked(&mut timetable, 1_000, WebhookSet::empty()), 1.into());
        assert_eq!(timetable.next(&WebhookSet::empty()), begun + POLL);
    }

    #[tokio::test]
    async fn retries_come_due_by_webhook_and_by_the_wall_clock() {
        let due = RetryTimers::default();
        #[expect(clippy::disallowed_methods, reason = "the timers under test compare with the wall clock")]
        let begun = Utc::now();
        let at = |ms| begun + chrono::Duration::milliseconds(ms);
        for (ms, webhook) in [(0, 1), (3, 2), (3, 1), (2, 3), (4_000_000, 4)] {
            due.add(at(ms), webhook);
        }
        assert_eq!(due.next(|| at(3)).await, [1, 2, 3].into_iter().collect());
        // What comes to be the first wakes who waits; what is not due by the clock, which was set back, is not told.
        let clock = std::cell::Cell::new(1);
        let ahead = async {
            tokio::task::yield_now().await;
            due.add(at(3_000_000), 5);
            tokio::task::yield_now().await;
            clock.set(3_000_000);
            due.add(at(2), 6);
        };
        let told = tokio::time::timeout(POLL / 2, due.next(|| at(clock.get())));
        let (told, ()) = tokio::join!(told, ahead);
        assert_eq!(told, Ok([5, 6].into_iter().collect()));
        assert_eq!(due.with(|due| due.len()), 1);
    }
}
