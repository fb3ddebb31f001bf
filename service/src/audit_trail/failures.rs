//! Failed log-ins and refusals, which anybody can cause in any number.
//!
//! The first one of a kind is written at once. Equal ones within the next minute are only counted, and written as one entry
//! with their number. The number of kinds is limited too, because an attacker can have many addresses: beyond the limit, all
//! kinds are one. A flood thus writes at most [`MAX_ENTRIES_PER_WINDOW`] entries per minute and process, about 30 MB a day.
//! A crash loses the numbers of the last minute, not the first entry.

use super::Record;
use chrono::{DateTime, Duration, Utc};
use std::collections::HashMap;

/// Time in which equal failures are counted.
const WINDOW: Duration = Duration::minutes(1);
/// Maximum number of kinds of failures of clients without a valid credential that are counted separately.
const MAX_ANONYMOUS: usize = 30;
/// Maximum number of kinds of failures of users that are counted separately. They need an account, so they are few.
const MAX_OF_USERS: usize = 200;
/// Bound of the entries of one window: each kind has a first entry and a counted one, also the rest of each group.
#[cfg(test)]
const MAX_ENTRIES_PER_WINDOW: usize = 2 * (MAX_ANONYMOUS + 1 + MAX_OF_USERS + 1);

/// What makes two failures equal.
pub(super) type FailureKey = (Option<String>, &'static str, String, String, &'static str, String);

/// Equal failures of one window.
struct Counter {
    since: DateTime<Utc>,
    is_anonymous: bool,
    /// The latest one, with the number of those that are not written yet.
    record: Record,
    pending: i64,
}

/// Failures of the last minute.
#[derive(Default)]
pub(super) struct Failures(HashMap<FailureKey, Counter>);

impl Failures {
    /// Counts a failure. Returns the entry to write now.
    pub(super) fn count(&mut self, record: Record, now: DateTime<Utc>) -> Option<Record> {
        let is_anonymous = record.is_anonymous();
        let record = if self.has_capacity(&record, is_anonymous) { record } else { record.without_details() };
        if let Some(counter) = self.0.get_mut(&record.failure_key()) {
            counter.pending += 1;
            counter.record = record;
            return None;
        }
        let counter = Counter { since: now, is_anonymous, record: record.clone(), pending: 0 };
        self.0.insert(record.failure_key(), counter);
        Some(record)
    }

    fn has_capacity(&self, record: &Record, is_anonymous: bool) -> bool {
        let limit = if is_anonymous { MAX_ANONYMOUS } else { MAX_OF_USERS };
        self.0.contains_key(&record.failure_key())
            || self.0.values().filter(|counter| counter.is_anonymous == is_anonymous).count() < limit
    }

    /// Ends windows, of all kinds if `all`. Returns the entries that stand for counted failures.
    pub(super) fn end_windows(&mut self, now: DateTime<Utc>, all: bool) -> Vec<Record> {
        let ended = self.0.extract_if(|_, counter| all || now - counter.since >= WINDOW || now < counter.since);
        let counters = ended.map(|(_, counter)| counter).filter(|counter| counter.pending > 0);
        counters.map(|counter| counter.record.occurrences(counter.pending)).collect()
    }

    /// Puts entries back that could not be written.
    pub(super) fn restore(&mut self, records: Vec<Record>, now: DateTime<Utc>) {
        for record in records {
            let pending = record.count();
            let is_anonymous = record.is_anonymous();
            let counter = Counter { since: now, is_anonymous, record: record.clone(), pending: 0 };
            self.0.entry(record.failure_key()).or_insert(counter).pending += pending;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Author, Origin, Target};
    use super::*;
    use domain::audit::{AuditAction, AuditTargetType};

    async fn failure(source: &str, username: &str) -> Record {
        let origin = Origin::new(source.into(), "req_1".into());
        let target = Target::new(AuditTargetType::User, username);
        origin.scope(async { Record::new(Author::Anonymous, AuditAction::SessionRejected, target).refused() }).await
    }

    #[tokio::test]
    async fn equal_failures_of_a_minute_are_two_entries() {
        let mut failures = Failures::default();
        let now = DateTime::UNIX_EPOCH;
        assert!(failures.count(failure("192.0.2.1", "alice").await, now).is_some());
        for _ in 0..41 {
            assert!(failures.count(failure("192.0.2.1", "alice").await, now).is_none());
        }
        assert!(failures.count(failure("192.0.2.1", "bob").await, now).is_some(), "another account");
        assert!(failures.end_windows(now + WINDOW / 2, false).is_empty());
        let counted = failures.end_windows(now + WINDOW, false);
        assert_eq!(counted.iter().map(Record::count).collect::<Vec<_>>(), [41]);
        assert!(failures.count(failure("192.0.2.1", "alice").await, now + WINDOW).is_some(), "a new window");
    }

    #[tokio::test]
    async fn flood_from_many_addresses_is_bounded() {
        let mut failures = Failures::default();
        let now = DateTime::UNIX_EPOCH;
        let mut written = 0;
        for n in 0..10_000 {
            let source = format!("2001:db8::{n:x}");
            written += usize::from(failures.count(failure(&source, "alice").await, now).is_some());
        }
        let counted = failures.end_windows(now, true);
        assert!(written + counted.len() <= MAX_ENTRIES_PER_WINDOW, "{written} and {}", counted.len());
        let total = written as i64 + counted.iter().map(Record::count).sum::<i64>();
        assert_eq!(total, 10_000, "each failure is counted");
    }

    #[tokio::test]
    async fn entries_that_could_not_be_written_are_counted_again() {
        let mut failures = Failures::default();
        let now = DateTime::UNIX_EPOCH;
        for _ in 0..3 {
            failures.count(failure("192.0.2.1", "alice").await, now);
        }
        let counted = failures.end_windows(now, true);
        failures.restore(counted, now);
        failures.count(failure("192.0.2.1", "alice").await, now);
        assert_eq!(failures.end_windows(now, true)[0].count(), 3);
    }
}
