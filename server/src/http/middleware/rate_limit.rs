//! Rate limit for each API token or client address.

use super::super::AppState;
use super::super::extract::bearer;
use super::super::problem::ApiError;
use crate::client_address::client_source;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::{Problem, ProblemKind};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;

/// Request budgets by token or address.
pub struct RateLimits {
    limit: Option<(DefaultKeyedRateLimiter<String>, u32)>,
    /// Digests of tokens that authenticated recently. Only these have separate budgets; otherwise each invalid token
    /// would give a client a new budget.
    accepted_tokens: Mutex<HashSet<String>>,
}

impl RateLimits {
    /// Creates a limit of `rate` requests per second with bursts of twice that; 0 disables it.
    pub fn new(rate: u32) -> Self {
        let limit = NonZeroU32::new(rate).map(|rate| {
            let burst = NonZeroU32::new(rate.get().saturating_mul(2)).unwrap_or(rate);
            (RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)), rate.get())
        });
        Self { limit, accepted_tokens: Mutex::default() }
    }

    /// Removes entries of clients with a full budget and all accepted tokens, to bound memory.
    pub fn prune(&self) {
        if let Some((limiter, _)) = &self.limit {
            limiter.retain_recent();
        }
        self.accepted_tokens.lock().clear();
    }

    /// Records whether a token authenticated.
    pub fn record_token(&self, token: &str, accepted: bool) {
        if self.limit.is_none() {
            return;
        }
        let digest = service::secrets::digest(token);
        if accepted {
            self.accepted_tokens.lock().insert(digest);
        } else {
            self.accepted_tokens.lock().remove(&digest);
        }
    }

    fn has_own_budget(&self, token_digest: &str) -> bool {
        self.accepted_tokens.lock().contains(token_digest)
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
    // The key stays in memory, so it is the token's digest instead of the token.
    let token = bearer(request.headers()).map(service::secrets::digest);
    let key = match token {
        Some(token) if app.rate_limits.has_own_budget(&token) => token,
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
