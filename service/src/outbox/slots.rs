//! Room: how many requests each webhook may have under way, by its own limits and its breaker, and all of them together.

use super::WebhookConfig;
use chrono::{DateTime, Utc};
use domain::id::WebhookId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Requests that one process has under way at most.
const TOTAL: u32 = 4_096;
/// The share that retries may take, so that first attempts always find a lane.
const RETRIES: u32 = TOTAL / 4 * 3;
/// Exchanges without any response, in a row, that open a webhook's breaker: then one request at a time probes it.
const BREAKER: u32 = 10;

/// The room of one process.
#[derive(Default)]
pub struct Slots {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Requests under way and results that are not recorded.
    total: u32,
    unrecorded: u32,
    retries: u32,
    webhooks: HashMap<WebhookId, Slot>,
}

#[derive(Default)]
struct Slot {
    in_flight: u32,
    silent: u32,
    /// Requests that the rate limit allows now.
    tokens: f64,
    filled_at: i64,
}

impl Slot {
    fn free(&mut self, config: &WebhookConfig, now: DateTime<Utc>) -> u32 {
        let limit = if self.silent >= BREAKER { 1 } else { config.max_in_flight };
        let free = limit.saturating_sub(self.in_flight);
        match config.rate_limit {
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
pub(crate) struct Free {
    /// So many.
    pub(crate) requests: u32,
    /// Whether there would be more if others had fewer.
    pub(crate) hangs_on_others: bool,
}

impl State {
    /// Nobody holds more than what is left for others, so that however many receivers are slow, the next one finds room.
    fn free(&mut self, config: &WebhookConfig, now: DateTime<Utc>) -> Free {
        let left = TOTAL.saturating_sub(self.total);
        let slot = self.webhooks.entry(config.id).or_default();
        let own = slot.free(config, now);
        // Each one taken is one more that it holds and one less that is left.
        let left = left.saturating_sub(slot.in_flight).div_ceil(2);
        Free { requests: own.min(left), hangs_on_others: left < own }
    }

    fn end_request(&mut self, webhook: WebhookId) {
        if let Some(slot) = self.webhooks.get_mut(&webhook) {
            slot.in_flight = slot.in_flight.saturating_sub(1);
        }
    }
}

impl Slots {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many requests this webhook has room for.
    pub(crate) fn free(&self, config: &WebhookConfig, now: DateTime<Utc>) -> Free {
        self.with(|state| state.free(config, now))
    }

    /// A place, if there is room.
    pub(crate) fn try_take(
        self: &Arc<Self>,
        config: &WebhookConfig,
        now: DateTime<Utc>,
        retry: bool,
    ) -> Option<Permit> {
        let taken = self.with(|state| {
            let free = state.free(config, now).requests > 0;
            if free {
                state.total += 1;
                state.retries += u32::from(retry);
                let slot = state.webhooks.entry(config.id).or_default();
                slot.in_flight += 1;
                slot.tokens -= 1.0;
            }
            free
        });
        taken.then(|| Permit { slots: self.clone(), webhook: config.id, retry, requests: true })
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
    slots: Arc<Slots>,
    webhook: WebhookId,
    retry: bool,
    requests: bool,
}

impl Permit {
    /// The request is over: its place at the webhook is free. Whether there was a response closes or opens the breaker.
    pub(crate) fn end_request(&mut self, answered: bool) {
        if std::mem::take(&mut self.requests) {
            self.slots.with(|state| {
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
        self.slots.with(|state| {
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
