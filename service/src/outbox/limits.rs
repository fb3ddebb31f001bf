//! Concurrency limits: the maximum number of requests in flight, for each webhook by its settings and its circuit
//! breaker, and for this process in total. Several processes divide the limits of each webhook (`shares`).

use super::WebhookConfig;
use super::circuit_breaker::CircuitBreaker;
use super::shares::Shares;
use crate::settings::MAX_IN_FLIGHT;
use chrono::{DateTime, Utc};
use domain::id::WebhookId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The settings of a webhook that limit its requests.
#[derive(Debug, Clone, Copy)]
struct Quota {
    webhook: WebhookId,
    max_in_flight: u32,
    /// Requests per second.
    rate_limit: Option<u32>,
}

impl From<&WebhookConfig> for Quota {
    fn from(config: &WebhookConfig) -> Self {
        Self { webhook: config.id, max_in_flight: config.max_in_flight, rate_limit: config.rate_limit }
    }
}

/// The concurrency limits of one process.
pub struct ConcurrencyLimits {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Maximum of `total`.
    max_in_flight: u32,
    /// Requests in flight and results that are not recorded.
    total: u32,
    unrecorded: u32,
    /// The retries among `total`.
    retries: u32,
    /// The shares of this process in the limits of webhooks.
    shares: Shares,
    webhooks: HashMap<WebhookId, WebhookLimits>,
}

#[derive(Default)]
struct WebhookLimits {
    in_flight: u32,
    /// The limit for all processes, by the last request.
    max_in_flight: u32,
    breaker: CircuitBreaker,
    rate: TokenBucket,
}

impl WebhookLimits {
    /// Requests that the webhook's own limits allow now.
    fn free(&mut self, quota: Quota, now: DateTime<Utc>, starts_full: bool) -> u32 {
        let free = self.breaker.limit(quota.max_in_flight).saturating_sub(self.in_flight);
        match quota.rate_limit {
            None => free,
            Some(rate) => free.min(self.rate.available(rate, now, starts_full)),
        }
    }
}

/// The limit that prevents a webhook from starting a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExhaustedLimit {
    /// The circuit breaker is not closed.
    Circuit,
    /// The concurrency limit.
    Concurrency,
    /// The rate limit.
    Rate,
}

/// A token bucket that holds at most one second's worth of requests.
#[derive(Default)]
struct TokenBucket {
    tokens: f64,
    /// Milliseconds since the epoch; 0 before the first use.
    filled_at: i64,
}

impl TokenBucket {
    /// Refills the bucket and returns the number of whole tokens. `starts_full` states whether the first use finds it full.
    fn available(&mut self, rate: u32, now: DateTime<Utc>, starts_full: bool) -> u32 {
        let rate = f64::from(rate);
        let now = now.timestamp_millis();
        if self.filled_at == 0 {
            self.tokens = if starts_full { rate } else { 0.0 };
        } else {
            // A clock that is set back adds no tokens; one that is set forward adds at most a second's worth.
            let seconds = (now - self.filled_at).max(0) as f64 / 1_000.0;
            self.tokens = (self.tokens + seconds * rate).min(rate);
        }
        self.filled_at = now;
        self.tokens as u32
    }
}

/// The number of requests that a webhook may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) requests: u32,
    /// Whether other webhooks' requests reduce the number.
    pub(crate) limited_globally: bool,
}

impl State {
    /// The number of requests that a webhook may start. It holds at most as many requests as remain for the others, so
    /// a dozen slow receivers without limits leave capacity for the next one.
    fn capacity(&mut self, quota: Quota, now: DateTime<Utc>) -> Capacity {
        let left = self.max_in_flight.saturating_sub(self.total);
        let share = self.share(quota);
        let limits = self.webhooks.entry(quota.webhook).or_default();
        // A process that has joined others does not add a burst to theirs.
        let own = limits.free(share, now, self.shares == Shares::default());
        // Each request adds one to the webhook's share and subtracts one from the remaining capacity: half of the
        // difference.
        let left = left.saturating_sub(limits.in_flight).div_ceil(2);
        Capacity { requests: own.min(left), limited_globally: left < own }
    }
}

impl State {
    /// The part of a quota that this process may use.
    fn share(&self, quota: Quota) -> Quota {
        let of = |limit| self.shares.of(quota.webhook, limit);
        Quota { max_in_flight: of(quota.max_in_flight), rate_limit: quota.rate_limit.map(of), ..quota }
    }
}

impl ConcurrencyLimits {
    /// Creates limits for at most `max_in_flight` requests, and at most [`MAX_IN_FLIGHT`].
    pub(crate) fn new(max_in_flight: u32) -> Self {
        let max_in_flight = max_in_flight.min(MAX_IN_FLIGHT);
        Self { state: Mutex::new(State { max_in_flight, ..State::default() }) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock())
    }

    /// The number of requests that a webhook may start.
    pub(crate) fn capacity(&self, config: &WebhookConfig, now: DateTime<Utc>) -> Capacity {
        self.with(|state| state.capacity(config.into(), now))
    }

    /// The limit of a webhook that prevents a request of this process now. `max_in_flight` and `rate_limit` (requests per second)
    /// are those of all processes.
    pub(crate) fn exhausted(
        &self,
        webhook: WebhookId,
        max_in_flight: u32,
        rate_limit: Option<u32>,
        now: DateTime<Utc>,
    ) -> Option<ExhaustedLimit> {
        self.with(|state| {
            let share = state.share(Quota { webhook, max_in_flight, rate_limit });
            let starts_full = state.shares == Shares::default();
            let limits = state.webhooks.get_mut(&webhook)?;
            if !limits.breaker.is_closed() {
                return Some(ExhaustedLimit::Circuit);
            }
            if limits.in_flight >= share.max_in_flight {
                return Some(ExhaustedLimit::Concurrency);
            }
            let is_used_up = share.rate_limit.is_some_and(|rate| limits.rate.available(rate, now, starts_full) == 0);
            is_used_up.then_some(ExhaustedLimit::Rate)
        })
    }

    /// Acquires a permit for one request, if the limits allow it.
    pub(crate) fn try_acquire(
        self: &Arc<Self>,
        config: &WebhookConfig,
        now: DateTime<Utc>,
        retry: bool,
    ) -> Option<Permit> {
        self.acquire(config.into(), now, retry)
    }

    fn acquire(self: &Arc<Self>, quota: Quota, now: DateTime<Utc>, retry: bool) -> Option<Permit> {
        let acquired = self.with(|state| {
            let free = state.capacity(quota, now).requests > 0;
            if free {
                state.total += 1;
                state.retries += u32::from(retry);
                let limits = state.webhooks.entry(quota.webhook).or_default();
                limits.in_flight += 1;
                limits.max_in_flight = quota.max_in_flight;
                limits.rate.tokens -= 1.0;
                limits.breaker.on_request();
            }
            free
        });
        acquired.then(|| Permit { limits: self.clone(), webhook: quota.webhook, retry, in_flight: true })
    }

    /// Sets the shares of this process. Requests in flight beyond a smaller share continue.
    pub(crate) fn set_shares(&self, shares: Shares) {
        self.with(|state| state.shares = shares);
    }

    /// Whether the requests in flight are within the shares of this process.
    pub(crate) fn are_within_shares(&self) -> bool {
        self.with(|state| {
            let is_within = |(webhook, limits): (&WebhookId, &WebhookLimits)| {
                limits.in_flight <= state.shares.of(*webhook, limits.max_in_flight)
            };
            state.webhooks.iter().all(is_within)
        })
    }

    /// Whether this process may ever start a request of a webhook: with a limit below the number of processes, some may not.
    pub(crate) fn has_share(&self, config: &WebhookConfig) -> bool {
        self.with(|state| {
            let share = state.share(config.into());
            share.max_in_flight > 0 && share.rate_limit != Some(0)
        })
    }

    /// Whether no more retries may start. A quarter of the requests is reserved for first attempts.
    pub(crate) fn retries_exhausted(&self) -> bool {
        self.with(|state| state.retries >= state.max_in_flight / 4 * 3)
    }

    /// Requests in flight.
    pub(crate) fn in_flight(&self) -> u32 {
        self.with(|state| state.total.saturating_sub(state.unrecorded))
    }

    /// Requests that have ended and whose results are not recorded yet.
    pub(crate) fn unrecorded(&self) -> u32 {
        self.with(|state| state.unrecorded)
    }
}

/// The permit for one request. It counts against the webhook's limit until the request ends. It counts against the
/// process's limit until it is dropped, after the result is recorded.
pub struct Permit {
    limits: Arc<ConcurrencyLimits>,
    webhook: WebhookId,
    retry: bool,
    /// Whether the request has not ended.
    in_flight: bool,
}

impl Permit {
    /// Ends the request, with or without a response. The webhook may then start another one.
    pub(crate) fn end_request(&mut self, responded: bool) {
        if std::mem::take(&mut self.in_flight) {
            self.limits.with(|state| {
                state.unrecorded += 1;
                let limits = state.webhooks.entry(self.webhook).or_default();
                limits.in_flight = limits.in_flight.saturating_sub(1);
                if responded { limits.breaker.on_response() } else { limits.breaker.on_no_response() }
            });
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.with(|state| {
            state.total = state.total.saturating_sub(1);
            state.retries = state.retries.saturating_sub(u32::from(self.retry));
            if !self.in_flight {
                state.unrecorded = state.unrecorded.saturating_sub(1);
            } else if let Some(limits) = state.webhooks.get_mut(&self.webhook) {
                limits.in_flight = limits.in_flight.saturating_sub(1);
                limits.breaker.on_abandoned();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::circuit_breaker::FAILURE_THRESHOLD;
    use crate::outbox::shares::Rank;

    fn now() -> DateTime<Utc> {
        "2026-03-02T09:00:00Z".parse().unwrap()
    }

    fn quota(webhook: WebhookId, max_in_flight: u32) -> Quota {
        Quota { webhook, max_in_flight, rate_limit: None }
    }

    /// A webhook without a limit of its own.
    fn unlimited(webhook: WebhookId) -> Quota {
        quota(webhook, u32::MAX)
    }

    fn capacity(limits: &ConcurrencyLimits, quota: Quota) -> Capacity {
        limits.with(|state| state.capacity(quota, now()))
    }

    /// Acquires permits for first attempts until the limits refuse one.
    fn fill(limits: &Arc<ConcurrencyLimits>, quota: Quota) -> Vec<Permit> {
        std::iter::from_fn(|| limits.acquire(quota, now(), false)).collect()
    }

    #[test]
    fn retries_leave_capacity_for_first_attempts() {
        let limits = Arc::new(ConcurrencyLimits::new(MAX_IN_FLIGHT));
        let mut retries = Vec::new();
        while !limits.retries_exhausted() {
            // A few for each webhook, because one alone may not hold so many.
            let webhook = 1 + retries.len() as WebhookId / 64;
            retries.push(limits.acquire(quota(webhook, 64), now(), true).expect("capacity for retries"));
        }
        assert_eq!(retries.len() as u32, (MAX_IN_FLIGHT / 4 * 3));
        let first: Vec<Permit> = (100..200).flat_map(|webhook| fill(&limits, quota(webhook, 64))).collect();
        assert_eq!(first.len() as u32, MAX_IN_FLIGHT - (MAX_IN_FLIGHT / 4 * 3));
        retries[0].end_request(true);
        assert!(limits.retries_exhausted(), "an unrecorded result counts");
        drop(retries.swap_remove(0));
        assert!(!limits.retries_exhausted(), "first attempts do not count");
        retries.extend(limits.acquire(quota(200, 64), now(), true));
        assert!(limits.retries_exhausted());
        drop(first);
        assert!(limits.retries_exhausted(), "finished first attempts free no capacity for retries");
    }

    #[test]
    fn share_of_a_process_limits_its_requests() {
        let limits = Arc::new(ConcurrencyLimits::new(MAX_IN_FLIGHT));
        let held = fill(&limits, quota(1, 5));
        assert_eq!(held.len(), 5);
        limits.set_shares(Shares::Of(Rank { position: 1, count: 2 }));
        assert!(!limits.are_within_shares(), "five are in flight");
        assert_eq!(capacity(&limits, quota(1, 5)).requests, 0);
        drop(held);
        assert!(limits.are_within_shares());
        assert_eq!(fill(&limits, quota(1, 5)).len(), 3, "the remainder belongs to the second process");
        let rate_limited = Quota { rate_limit: Some(10), ..quota(2, 64) };
        assert_eq!(capacity(&limits, rate_limited).requests, 0, "the bucket of a process that joins is empty");
        let later = now() + chrono::Duration::seconds(5);
        assert_eq!(limits.with(|state| state.capacity(rate_limited, later)).requests, 5);
        for _ in 0..FAILURE_THRESHOLD {
            limits.acquire(quota(3, 4), now(), false).unwrap().end_request(false);
        }
        assert_eq!(capacity(&limits, quota(3, 4)).requests, 1, "the probe of the open breaker");
        limits.set_shares(Shares::None);
        assert_eq!(capacity(&limits, quota(3, 4)).requests, 0);
        assert_eq!(capacity(&limits, quota(4, 64)).requests, 0);
    }

    #[test]
    fn total_is_limited_by_the_setting() {
        let limits = Arc::new(ConcurrencyLimits::new(96));
        let permits: Vec<Permit> = (1..100).flat_map(|webhook| fill(&limits, quota(webhook, 64))).collect();
        assert_eq!(permits.len(), 96);
    }

    #[test]
    fn webhook_holds_at_most_as_many_requests_as_are_left() {
        let limits = Arc::new(ConcurrencyLimits::new(MAX_IN_FLIGHT));
        let mut taken = Vec::new();
        let mut left = MAX_IN_FLIGHT;
        // Each webhook gets half of the remaining capacity.
        for webhook in 1..=WebhookId::from(MAX_IN_FLIGHT.ilog2()) {
            let promised = capacity(&limits, unlimited(webhook)).requests;
            let held = fill(&limits, unlimited(webhook));
            assert_eq!(held.len() as u32, promised, "webhook {webhook} gets its capacity");
            left -= promised;
            assert!(promised > 0 && promised <= left, "webhook {webhook} holds {promised}, and {left} are left");
            taken.extend(held);
        }
        assert_eq!(capacity(&limits, quota(100, 64)).requests, 1, "the last request is not reserved");
    }

    #[test]
    fn capacity_reports_whether_other_webhooks_limit_it() {
        let limits = Arc::new(ConcurrencyLimits::new(MAX_IN_FLIGHT));
        let modest = quota(1, 10);
        let mut others: Vec<Permit> = (2..=8).flat_map(|webhook| fill(&limits, unlimited(webhook))).collect();
        assert_eq!(MAX_IN_FLIGHT as usize - others.len(), 32);
        assert_eq!(capacity(&limits, modest), Capacity { requests: 10, limited_globally: false });
        assert_eq!(
            capacity(&limits, quota(1, 16)),
            Capacity { requests: 16, limited_globally: false },
            "its own limit"
        );
        others.extend(fill(&limits, unlimited(9)));
        assert_eq!(capacity(&limits, modest), Capacity { requests: 8, limited_globally: true });
        let mut own = fill(&limits, modest);
        assert_eq!(own.len(), 8);
        assert_eq!(capacity(&limits, modest), Capacity { requests: 0, limited_globally: true });
        drop(others);
        assert_eq!(capacity(&limits, modest), Capacity { requests: 2, limited_globally: false });
        own.extend(fill(&limits, modest));
        assert_eq!(
            capacity(&limits, modest),
            Capacity { requests: 0, limited_globally: false },
            "only its own limit applies"
        );
    }

    #[test]
    fn open_breaker_allows_one_request_until_the_receiver_responds() {
        let limits = Arc::new(ConcurrencyLimits::new(MAX_IN_FLIGHT));
        let unresponsive = quota(1, 5);
        let exchange = |responded| limits.acquire(unresponsive, now(), false).unwrap().end_request(responded);
        let almost_open = || (1..FAILURE_THRESHOLD).for_each(|_| exchange(false));
        almost_open();
        assert_eq!(capacity(&limits, unresponsive).requests, 5);
        exchange(true);
        almost_open();
        assert_eq!(capacity(&limits, unresponsive).requests, 5, "only consecutive timeouts count");
        exchange(false);
        let mut probe = limits.acquire(unresponsive, now(), false).unwrap();
        assert_eq!(capacity(&limits, unresponsive), Capacity { requests: 0, limited_globally: false });
        assert!(limits.acquire(unresponsive, now(), false).is_none());
        assert_eq!(capacity(&limits, quota(2, 5)).requests, 5, "other webhooks are not affected");
        probe.end_request(false);
        assert_eq!(capacity(&limits, unresponsive).requests, 1, "the next probe is allowed");
        exchange(true);
        assert_eq!(capacity(&limits, unresponsive).requests, 5);
    }

    #[test]
    fn exhausted_limit_is_named() {
        let limits = Arc::new(ConcurrencyLimits::new(MAX_IN_FLIGHT));
        let exhausted = |webhook, max_in_flight, rate| limits.exhausted(webhook, max_in_flight, rate, now());
        assert_eq!(exhausted(1, 2, Some(1)), None, "no request yet");
        let quota = |webhook, rate_limit| Quota { webhook, max_in_flight: 2, rate_limit };
        let held = fill(&limits, quota(1, None));
        assert_eq!((held.len(), exhausted(1, 2, None)), (2, Some(ExhaustedLimit::Concurrency)));
        drop(held);
        assert_eq!(exhausted(1, 2, None), None);
        drop(limits.acquire(quota(2, Some(1)), now(), false));
        assert_eq!(exhausted(2, 2, Some(1)), Some(ExhaustedLimit::Rate));
        assert_eq!(limits.exhausted(2, 2, Some(1), now() + chrono::Duration::seconds(1)), None);
        for _ in 0..FAILURE_THRESHOLD {
            limits.acquire(quota(3, None), now(), false).unwrap().end_request(false);
        }
        assert_eq!(exhausted(3, 2, None), Some(ExhaustedLimit::Circuit));
    }

    #[test]
    fn dropped_permit_frees_capacity_even_without_a_result() {
        let limits = Arc::new(ConcurrencyLimits::new(MAX_IN_FLIGHT));
        let quota = quota(1, 2);
        let mut ended = limits.acquire(quota, now(), true).unwrap();
        let abandoned = limits.acquire(quota, now(), true).unwrap();
        assert_eq!((limits.in_flight(), limits.unrecorded(), capacity(&limits, quota).requests), (2, 0, 0));
        // Ending a request twice frees its capacity once.
        ended.end_request(true);
        ended.end_request(true);
        assert_eq!((limits.in_flight(), limits.unrecorded(), capacity(&limits, quota).requests), (1, 1, 1));
        drop(abandoned);
        assert_eq!((limits.in_flight(), limits.unrecorded(), capacity(&limits, quota).requests), (0, 1, 2));
        drop(ended);
        assert_eq!((limits.in_flight(), limits.unrecorded(), capacity(&limits, quota).requests), (0, 0, 2));
        assert_eq!(limits.with(|state| (state.total, state.retries)), (0, 0));
        for _ in 0..FAILURE_THRESHOLD {
            drop(limits.acquire(quota, now(), false).unwrap());
        }
        assert_eq!(capacity(&limits, quota).requests, 2, "an abandoned request does not open the breaker");
    }
}
