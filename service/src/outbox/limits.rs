//! Room: how many requests each webhook may have under way, by its own limits and its breaker, and all of them together.

use super::WebhookConfig;
use chrono::{DateTime, Utc};
use domain::id::WebhookId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Requests that one process has under way at most.
const TOTAL: u32 = 4_096;
/// The share that retries may take, so that first attempts always find a lane.
const RETRIES: u32 = TOTAL / 4 * 3;
/// Exchanges without any response, in a row, that open a webhook's breaker: then one request at a time probes it.
const BREAKER: u32 = 10;

/// What of a webhook's settings says how much room it may have.
#[derive(Debug, Clone, Copy)]
struct Quota {
    webhook: WebhookId,
    max_in_flight: u32,
    rate_limit: Option<u32>,
}

impl From<&WebhookConfig> for Quota {
    fn from(config: &WebhookConfig) -> Self {
        Self { webhook: config.id, max_in_flight: config.max_in_flight, rate_limit: config.rate_limit }
    }
}

/// The room of one process.
#[derive(Default)]
pub struct ConcurrencyLimits {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Requests under way and results that are not recorded.
    total: u32,
    unrecorded: u32,
    retries: u32,
    webhooks: HashMap<WebhookId, WebhookLimits>,
}

#[derive(Default)]
struct WebhookLimits {
    in_flight: u32,
    silent: u32,
    /// Requests that the rate limit allows now.
    tokens: f64,
    filled_at: i64,
}

impl WebhookLimits {
    fn free(&mut self, limits: Quota, now: DateTime<Utc>) -> u32 {
        let limit = if self.silent >= BREAKER { 1 } else { limits.max_in_flight };
        let free = limit.saturating_sub(self.in_flight);
        match limits.rate_limit {
            None => free,
            Some(rate) => {
                let rate = f64::from(rate);
                let now = now.timestamp_millis();
                if self.filled_at == 0 {
                    self.tokens = rate;
                } else {
                    // A clock that jumps back gives nothing; one that jumps ahead gives at most a second's worth.
                    let seconds = (now - self.filled_at).max(0) as f64 / 1_000.0;
                    self.tokens = (self.tokens + seconds * rate).min(rate);
                }
                self.filled_at = now;
                free.min(self.tokens as u32)
            }
        }
    }
}

/// Room for a webhook's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// So many.
    pub(crate) requests: u32,
    /// Whether there would be more if others had fewer.
    pub(crate) limited_globally: bool,
}

impl State {
    /// Nobody holds more than what is left for others, so that a dozen slow receivers without limits of their own leave room for the next.
    fn free(&mut self, limits: Quota, now: DateTime<Utc>) -> Capacity {
        let left = TOTAL.saturating_sub(self.total);
        let slot = self.webhooks.entry(limits.webhook).or_default();
        let own = slot.free(limits, now);
        // Each one taken is one more that it holds and one less that is left.
        let left = left.saturating_sub(slot.in_flight).div_ceil(2);
        Capacity { requests: own.min(left), limited_globally: left < own }
    }

    fn end_request(&mut self, webhook: WebhookId) {
        if let Some(slot) = self.webhooks.get_mut(&webhook) {
            slot.in_flight = slot.in_flight.saturating_sub(1);
        }
    }
}

impl ConcurrencyLimits {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock())
    }

    /// How many requests this webhook has room for.
    pub(crate) fn free(&self, config: &WebhookConfig, now: DateTime<Utc>) -> Capacity {
        self.with(|state| state.free(config.into(), now))
    }

    /// A place, if there is room.
    pub(crate) fn try_take(
        self: &Arc<Self>,
        config: &WebhookConfig,
        now: DateTime<Utc>,
        retry: bool,
    ) -> Option<Permit> {
        self.place(config.into(), now, retry)
    }

    fn place(self: &Arc<Self>, limits: Quota, now: DateTime<Utc>, retry: bool) -> Option<Permit> {
        let taken = self.with(|state| {
            let free = state.free(limits, now).requests > 0;
            if free {
                state.total += 1;
                state.retries += u32::from(retry);
                let slot = state.webhooks.entry(limits.webhook).or_default();
                slot.in_flight += 1;
                slot.tokens -= 1.0;
            }
            free
        });
        taken.then(|| Permit { limits: self.clone(), webhook: limits.webhook, retry, requests: true })
    }

    /// Whether retries fill the share they may have.
    pub(crate) fn retries_fill_their_share(&self) -> bool {
        self.with(|state| state.retries >= RETRIES)
    }

    /// Requests under way.
    pub(crate) fn in_flight(&self) -> u32 {
        self.with(|state| state.total.saturating_sub(state.unrecorded))
    }

    /// Requests that have ended and whose results are not recorded yet.
    pub(crate) fn unrecorded(&self) -> u32 {
        self.with(|state| state.unrecorded)
    }
}

/// A place among a webhook's requests, until the request ends, and among all that this process has open, until it is
/// dropped: results that wait for the database count too.
pub struct Permit {
    limits: Arc<ConcurrencyLimits>,
    webhook: WebhookId,
    retry: bool,
    requests: bool,
}

impl Permit {
    /// The request is over: its place at the webhook is free. Whether there was a response closes or opens the breaker.
    pub(crate) fn end_request(&mut self, answered: bool) {
        if std::mem::take(&mut self.requests) {
            self.limits.with(|state| {
                state.end_request(self.webhook);
                state.unrecorded += 1;
                let slot = state.webhooks.entry(self.webhook).or_default();
                slot.silent = if answered { 0 } else { slot.silent.saturating_add(1) };
            });
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.with(|state| {
            state.total = state.total.saturating_sub(1);
            state.retries = state.retries.saturating_sub(u32::from(self.retry));
            if self.requests {
                state.end_request(self.webhook);
            } else {
                state.unrecorded = state.unrecorded.saturating_sub(1);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-03-02T09:00:00Z".parse().unwrap()
    }

    fn quota(webhook: WebhookId, max_in_flight: u32) -> Quota {
        Quota { webhook, max_in_flight, rate_limit: None }
    }

    /// A webhook that takes whatever it is given.
    fn greedy(webhook: WebhookId) -> Quota {
        quota(webhook, u32::MAX)
    }

    fn room(limits: &ConcurrencyLimits, quota: Quota) -> Capacity {
        limits.with(|state| state.free(quota, now()))
    }

    /// Takes first attempts' places until there is no room.
    fn fill(limits: &Arc<ConcurrencyLimits>, quota: Quota) -> Vec<Permit> {
        std::iter::from_fn(|| limits.place(quota, now(), false)).collect()
    }

    #[test]
    fn retries_leave_room_for_first_attempts() {
        let limits = Arc::new(ConcurrencyLimits::default());
        let mut retries = Vec::new();
        while !limits.retries_fill_their_share() {
            // A few of each webhook, for one alone may not hold so many.
            let webhook = 1 + retries.len() as WebhookId / 64;
            retries.push(limits.place(quota(webhook, 64), now(), true).expect("retries should have room"));
        }
        assert_eq!(retries.len() as u32, RETRIES);
        let first: Vec<Permit> = (100..200).flat_map(|webhook| fill(&limits, quota(webhook, 64))).collect();
        assert_eq!(first.len() as u32, TOTAL - RETRIES);
        retries[0].end_request(true);
        assert!(limits.retries_fill_their_share(), "what is not recorded counts");
        drop(retries.swap_remove(0));
        assert!(!limits.retries_fill_their_share(), "first attempts do not count");
        retries.extend(limits.place(quota(200, 64), now(), true));
        assert!(limits.retries_fill_their_share());
        drop(first);
        assert!(limits.retries_fill_their_share(), "the ends of first attempts make no room for retries");
    }

    #[test]
    fn nobody_holds_more_than_is_left_for_others() {
        let limits = Arc::new(ConcurrencyLimits::default());
        let mut taken = Vec::new();
        let mut left = TOTAL;
        // Each finds half of what those before it left.
        for webhook in 1..=WebhookId::from(TOTAL.ilog2()) {
            let said = room(&limits, greedy(webhook)).requests;
            let held = fill(&limits, greedy(webhook));
            assert_eq!(held.len() as u32, said, "webhook {webhook} gets what it was said to have room for");
            left -= said;
            assert!(said > 0 && said <= left, "webhook {webhook} holds {said}, and {left} are left");
            taken.extend(held);
        }
        assert_eq!(room(&limits, quota(100, 64)).requests, 1, "the last place is not kept for anybody");
    }

    #[test]
    fn who_lacks_room_is_told_whether_others_are_in_the_way() {
        let limits = Arc::new(ConcurrencyLimits::default());
        let modest = quota(1, 10);
        let mut others: Vec<Permit> = (2..=8).flat_map(|webhook| fill(&limits, greedy(webhook))).collect();
        assert_eq!(TOTAL as usize - others.len(), 32);
        assert_eq!(room(&limits, modest), Capacity { requests: 10, limited_globally: false });
        assert_eq!(room(&limits, quota(1, 16)), Capacity { requests: 16, limited_globally: false }, "all it may have");
        others.extend(fill(&limits, greedy(9)));
        assert_eq!(room(&limits, modest), Capacity { requests: 8, limited_globally: true });
        let mut own = fill(&limits, modest);
        assert_eq!(own.len(), 8);
        assert_eq!(room(&limits, modest), Capacity { requests: 0, limited_globally: true });
        drop(others);
        assert_eq!(room(&limits, modest), Capacity { requests: 2, limited_globally: false });
        own.extend(fill(&limits, modest));
        assert_eq!(room(&limits, modest), Capacity { requests: 0, limited_globally: false }, "its own limit is");
    }

    #[test]
    fn a_silent_receiver_gets_one_request_at_a_time_until_it_answers() {
        let limits = Arc::new(ConcurrencyLimits::default());
        let silent = quota(1, 5);
        let exchange = |answered| limits.place(silent, now(), false).unwrap().end_request(answered);
        let spell = || (1..BREAKER).for_each(|_| exchange(false));
        spell();
        assert_eq!(room(&limits, silent).requests, 5);
        exchange(true);
        spell();
        assert_eq!(room(&limits, silent).requests, 5, "only those in a row count");
        exchange(false);
        let mut probe = limits.place(silent, now(), false).unwrap();
        assert_eq!(room(&limits, silent), Capacity { requests: 0, limited_globally: false });
        assert!(limits.place(silent, now(), false).is_none());
        assert_eq!(room(&limits, quota(2, 5)).requests, 5, "others are not meant");
        probe.end_request(false);
        assert_eq!(room(&limits, silent).requests, 1, "it is asked again");
        exchange(true);
        assert_eq!(room(&limits, silent).requests, 5);
    }

    #[test]
    fn a_permit_gives_its_place_back_also_when_its_request_never_ended() {
        let limits = Arc::new(ConcurrencyLimits::default());
        let quota = quota(1, 2);
        let mut ended = limits.place(quota, now(), true).unwrap();
        let broken = limits.place(quota, now(), true).unwrap();
        assert_eq!((limits.in_flight(), limits.unrecorded(), room(&limits, quota).requests), (2, 0, 0));
        // To say it twice gives nothing twice.
        ended.end_request(true);
        ended.end_request(true);
        assert_eq!((limits.in_flight(), limits.unrecorded(), room(&limits, quota).requests), (1, 1, 1));
        drop(broken);
        assert_eq!((limits.in_flight(), limits.unrecorded(), room(&limits, quota).requests), (0, 1, 2));
        drop(ended);
        assert_eq!((limits.in_flight(), limits.unrecorded(), room(&limits, quota).requests), (0, 0, 2));
        assert_eq!(limits.with(|state| (state.total, state.retries)), (0, 0));
        for _ in 0..BREAKER {
            drop(limits.place(quota, now(), false).unwrap());
        }
        assert_eq!(room(&limits, quota).requests, 2, "a request that never ended says nothing of its receiver");
    }
}
