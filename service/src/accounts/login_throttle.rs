//! Limits on failed and on concurrent log-ins.

use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use std::collections::HashMap;
use std::net::Ipv6Addr;

/// Failed log-ins with one username from one source before further ones are throttled.
const THROTTLE_AFTER: u32 = 10;
/// Failed log-ins with any username from one source before further ones are throttled.
const THROTTLE_SOURCE_AFTER: u32 = 30;
/// Failed log-ins with any username from one IPv6 /48 network before further ones are throttled. Such a network has
/// 65,536 sources, and one customer can own it.
const THROTTLE_NETWORK_AFTER: u32 = 100;
/// Minimum interval between throttled log-ins.
const THROTTLE_INTERVAL: Duration = Duration::seconds(30);
/// Time after which failures expire.
const FAILURE_WINDOW: Duration = Duration::minutes(15);
/// Concurrent log-ins from unknown devices: 4 compute a hash and 16 wait. Further ones are rejected with 429.
pub(super) const MAX_CONCURRENT_LOG_INS: usize = super::passwords::MAX_CONCURRENT_HASHES + 16;
/// Concurrent log-ins from known devices, in addition: a flood from elsewhere does not use this capacity.
pub(super) const RESERVED_LOG_INS: usize = 8;
/// Counters are pruned when their number exceeds this.
const MAX_COUNTERS: usize = 10_000;

/// The subject of a counter.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    /// Log-ins from an IPv6 /48 network with any username.
    Network { network: String },
    /// Log-ins from a source with any username.
    Source { source: String },
    /// Log-ins from a source with one username.
    Account { source: String, username: String },
}

impl Key {
    /// The keys of the counters that a log-in increments.
    fn of(username: &str, source: &str) -> Vec<Self> {
        let mut keys: Vec<Self> = Self::network(source).into_iter().collect();
        let source = source.to_owned();
        keys.push(Self::Source { source: source.clone() });
        keys.push(Self::Account { source, username: username.to_owned() });
        keys
    }

    /// The key of the /48 network of an IPv6 source.
    fn network(source: &str) -> Option<Self> {
        let address: Ipv6Addr = source.split('/').next()?.parse().ok()?;
        let [a, b, c, ..] = address.segments();
        Some(Self::Network { network: format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)) })
    }

    fn limit(&self) -> u32 {
        match self {
            Self::Network { .. } => THROTTLE_NETWORK_AFTER,
            Self::Source { .. } => THROTTLE_SOURCE_AFTER,
            Self::Account { .. } => THROTTLE_AFTER,
        }
    }

    /// Whether the failures have expired. Failures of an account expire after the last one. Failures of a source expire
    /// after the first one, because a whole office can share one address.
    fn expired(&self, failures: &Failures, now: DateTime<Utc>) -> bool {
        let since = match self {
            Self::Network { .. } | Self::Source { .. } => failures.first,
            Self::Account { .. } => failures.last,
        };
        now - since >= FAILURE_WINDOW
    }

    fn subject(&self) -> &'static str {
        match self {
            Self::Network { .. } => "from your network",
            Self::Source { .. } => "from your address",
            Self::Account { .. } => "for this account",
        }
    }
}

/// Failed log-ins of one key.
#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    first: DateTime<Utc>,
    last: DateTime<Utc>,
}

/// Counters of failed log-ins.
#[derive(Default)]
pub(super) struct LoginThrottle(HashMap<Key, Failures>);

impl LoginThrottle {
    /// Counts a log-in as failed until [`Self::record_success`], so that concurrent log-ins count too.
    ///
    /// # Errors
    /// 429 if it is throttled; it is not counted then.
    pub(super) fn record_attempt(&mut self, username: &str, source: &str, now: DateTime<Utc>) -> Result<(), Problem> {
        if self.0.len() > MAX_COUNTERS {
            self.0.retain(|key, failures| !key.expired(failures, now));
        }
        let keys = Key::of(username, source);
        for key in &keys {
            let Some(failures) = self.0.get(key).filter(|failures| !key.expired(failures, now)) else { continue };
            let elapsed = now - failures.last;
            if failures.count >= key.limit() && elapsed < THROTTLE_INTERVAL {
                let seconds = (THROTTLE_INTERVAL - elapsed).num_seconds().max(1);
                let subject = key.subject();
                let detail = format!("Too many failed log-ins {subject}. Try again in {seconds} seconds.");
                return Err(Problem::rate_limited(detail, seconds.unsigned_abs()));
            }
        }
        for key in keys {
            let counted = self.0.get(&key).copied().filter(|failures| !key.expired(failures, now));
            let Failures { count, first, .. } = counted.unwrap_or(Failures { count: 0, first: now, last: now });
            self.0.insert(key, Failures { count: count + 1, first, last: now });
        }
        Ok(())
    }

    /// Undoes the count of a log-in whose password could not be checked.
    pub(super) fn undo_attempt(&mut self, username: &str, source: &str) {
        for key in Key::of(username, source) {
            self.decrement(&key);
        }
    }

    /// Resets the account's failures. The source's failures are kept: otherwise an attacker with one account could
    /// reset the limit for guesses at other accounts.
    pub(super) fn record_success(&mut self, username: &str, source: &str) {
        for key in Key::of(username, source) {
            match key {
                Key::Account { .. } => drop(self.0.remove(&key)),
                Key::Network { .. } | Key::Source { .. } => self.decrement(&key),
            }
        }
    }

    fn decrement(&mut self, key: &Key) {
        if let Some(failures) = self.0.get_mut(key) {
            failures.count = failures.count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_from_one_48_network_are_throttled_together() {
        let mut throttle = LoginThrottle::default();
        let now = DateTime::UNIX_EPOCH;
        for n in 0..THROTTLE_NETWORK_AFTER {
            throttle.record_attempt(&format!("user{n}"), &format!("2001:db8:1:{n:x}::/64"), now).unwrap();
        }
        let problem = throttle.record_attempt("alice", "2001:db8:1:ffff::/64", now).unwrap_err();
        assert!(problem.detail.contains("from your network"), "{}", problem.detail);
        throttle.record_attempt("alice", "2001:db8:2:1::/64", now).unwrap();
        throttle.record_attempt("alice", "192.0.2.1", now).unwrap();
    }

    #[test]
    fn undone_attempts_do_not_count_as_failures() {
        let mut throttle = LoginThrottle::default();
        let now = DateTime::UNIX_EPOCH;
        for _ in 0..100 {
            throttle.record_attempt("alice", "192.0.2.1", now).unwrap();
            throttle.undo_attempt("alice", "192.0.2.1");
        }
        for _ in 0..THROTTLE_AFTER {
            throttle.record_attempt("alice", "192.0.2.1", now).unwrap();
        }
        throttle.record_attempt("alice", "192.0.2.1", now).unwrap_err();
    }
}
