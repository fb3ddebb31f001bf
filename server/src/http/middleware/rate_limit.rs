//! Rate limit for each session, API token or client address.

use super::super::AppState;
use super::super::extract::Credential;
use super::super::problem::ApiError;
use crate::client_address::client_source;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::{Problem, ProblemKind};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Time without a request after which a credential loses its own budget.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// Request budgets by session, token or address.
pub struct RateLimits {
    limit: Option<(DefaultKeyedRateLimiter<String>, u32)>,
    /// Digests of sessions and tokens that authenticated, with the time of their last request. Only these have separate
    /// budgets; otherwise each invalid credential would give a client a new budget. Pages of many people can have one
    /// address, and all reconnect after a restart.
    accepted: Mutex<HashMap<String, Instant>>,
}

impl RateLimits {
    /// Creates a limit of `rate` requests per second with bursts of twice that; 0 disables it.
    pub fn new(rate: u32) -> Self {
        let limit = NonZeroU32::new(rate).map(|rate| {
            let burst = NonZeroU32::new(rate.get().saturating_mul(2)).unwrap_or(rate);
            (RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)), rate.get())
        });
        Self { limit, accepted: Mutex::default() }
    }

    /// Removes entries of clients with a full budget and of credentials that are not used any more, to bound memory.
    pub fn prune(&self) {
        if let Some((limiter, _)) = &self.limit {
            limiter.retain_recent();
        }
        self.accepted.lock().retain(|_, used| used.elapsed() < REMEMBERED);
    }

    /// Gives a session or token its own budget.
    pub fn accept(&self, secret: &str) {
        if self.limit.is_some() {
            self.accepted.lock().insert(service::secrets::digest(secret), Instant::now());
        }
    }

    /// Records whether a session or token authenticated. An outage of the database changes nothing.
    pub fn record<T>(&self, secret: &str, result: &Result<T, Problem>) {
        match result {
            Ok(_) => self.accept(secret),
            Err(problem) if problem.kind == ProblemKind::Unauthenticated => {
                self.accepted.lock().remove(&service::secrets::digest(secret));
            }
            Err(_) => {}
        }
    }

    fn has_own_budget(&self, digest: &str) -> bool {
        self.accepted.lock().contains_key(digest)
    }

    fn check(&self, key: String) -> Result<(), Problem> {
        let Some((limiter, rate)) = &self.limit else { return Ok(()) };
        limiter.check_key(&key).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
            let mut problem = Problem::new(
                ProblemKind::RateLimited,
                format!(
                    "More than {rate} requests per second. Retry after {wait} s, or ask the operator to raise \
                     BERTH_API_RATE."
                ),
            );
            problem.retry_after = Some(wait);
            problem
        })
    }
}

/// Rejects requests over the limit with 429 and `Retry-After`.
pub async fn rate_limit(State(app): State<AppState>, request: Request, next: Next) -> Response {
    // The key stays in memory, so it is a digest instead of the secret.
    let credential = Credential::of(request.headers()).map(|credential| credential.digest());
    let key = match credential {
        Some(digest) if app.rate_limits.has_own_budget(&digest) => digest,
        _ => client_source(request.headers(), peer(&request), &app.config.trusted_proxies),
    };
    if let Err(problem) = app.rate_limits.check(key) {
        return ApiError(problem).into_response();
    }
    next.run(request).await
}

/// Address of the connection's peer.
fn peer(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}
