//! A cache of checked credentials, so that a burst of requests does not cause a query for each request.

use chrono::{DateTime, Utc};
use domain::account::{SessionInfo, User};
use domain::authorization::Actor;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Validity of a cached credential. A change on another replica takes effect after this time at the latest.
const TIME_TO_LIVE: Duration = Duration::from_secs(3);
/// The cache is cleared when it exceeds this size.
const CAPACITY: usize = 10_000;

/// A cached value and the time of its read.
struct Cached<T> {
    at: Instant,
    value: T,
}

impl<T> Cached<T> {
    fn new(value: T) -> Self {
        Self { at: Instant::now(), value }
    }

    fn fresh(&self) -> Option<&T> {
        (self.at.elapsed() < TIME_TO_LIVE).then_some(&self.value)
    }
}

/// Checked credentials of one generation of accounts (see [`crate::change_feed::ChangeFeed::cache_generation`]).
#[derive(Default)]
pub(super) struct CredentialCache {
    generation: u64,
    /// Keyed by kind and digest, so that a session token is never accepted as an API token, nor the reverse.
    credentials: HashMap<String, Cached<(Actor, SessionInfo)>>,
    /// The holders of these credentials, keyed by username.
    users: HashMap<String, Cached<User>>,
}

impl CredentialCache {
    /// Drops entries of an earlier generation.
    pub(super) fn clear_if_outdated(&mut self, generation: u64) {
        if self.generation != generation {
            self.generation = generation;
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.credentials.clear();
        self.users.clear();
    }

    pub(super) fn get(&self, credential: &str, now: DateTime<Utc>) -> Option<(Actor, SessionInfo)> {
        let (actor, info) = self.credentials.get(credential)?.fresh()?;
        info.expires_at.is_none_or(|expires_at| expires_at > now).then(|| (actor.clone(), info.clone()))
    }

    pub(super) fn put(&mut self, credential: String, holder: &(Actor, SessionInfo)) {
        if self.credentials.len() > CAPACITY {
            self.clear();
        }
        let user = &holder.1.user;
        self.users.insert(user.username.clone(), Cached::new(user.clone()));
        self.credentials.insert(credential, Cached::new(holder.clone()));
    }

    pub(super) fn user(&self, username: &str) -> Option<User> {
        self.users.get(username)?.fresh().cloned()
    }
}
