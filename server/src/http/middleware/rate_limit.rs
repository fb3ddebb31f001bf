//! Rate limit for each user or client address.

use super::super::AppState;
use super::super::extract::Credential;
use super::super::problem::ApiError;
use crate::client_address::client_source;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::authorization::Actor;
use domain::{Problem, ProblemKind};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Time without a request after which a credential counts as the address of its client again.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// Request budgets by user or address.
///
/// All sessions and tokens of a user share one budget: a user can create any number of them.
pub struct RateLimits {
    limit: Option<(DefaultKeyedRateLimiter<String>, u32)>,
    /// Digests of sessions and tokens that authenticated. Only these count as their user; an invalid credential counts as
    /// the address of its client. Pages of many people can have one address, and all reconnect after a restart.
    accepted: Mutex<HashMap<String, Accepted>>,
}

/// A credential that authenticated.
struct Accepted {
    username: String,
    /// Time of the last request.
    used: Instant,
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
        self.accepted.lock().retain(|_, accepted| accepted.used.elapsed() < REMEMBERED);
    }

    /// Counts further requests with a session or token as requests of its user.
    pub fn accept(&self, secret: &str, username: &str) {
        if self.limit.is_some() {
            let accepted = Accepted { username: username.to_owned(), used: Instant::now() };
            self.accepted.lock().insert(service::secrets::digest(secret), accepted);
        }
    }

    /// Records whether a session or token authenticated. An outage of the database changes nothing.
    pub fn record<T>(&self, secret: &str, result: &Result<(Actor, T), Problem>) {
        match result {
            Ok((actor, _)) => self.accept(secret, &actor.username),
            Err(problem) if problem.kind == ProblemKind::Unauthenticated => {
                self.accepted.lock().remove(&service::secrets::digest(secret));
            }
            Err(_) => {}
        }
    }

    /// The user of a credential that authenticated before.
    fn user_of(&self, digest: &str) -> Option<String> {
        self.accepted.lock().get(digest).map(|accepted| accepted.username.clone())
    }

    fn check(&self, key: impl FnOnce() -> String) -> Result<(), Problem> {
        let Some((limiter, rate)) = &self.limit else { return Ok(()) };
        limiter.check_key(&key()).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
            let detail = format!(
                "More than {rate} requests per second by one user or address. Retry after {wait} s, or ask the operator to raise \
                 BERTH_API_RATE."
            );
            Problem::rate_limited(detail, wait)
        })
    }
}

/// Files that a page loads for each request that it sends to the API.
const FILES_PER_REQUEST: u32 = 10;

/// The limits of one process, with separate budgets, so that no kind of request uses up the budget of another.
pub struct Limiters {
    /// API and server functions.
    pub api: RateLimits,
    /// Files of the page. Many people behind one address load them at once, e.g. after an upgrade.
    page: RateLimits,
    /// Health endpoints and metrics.
    probes: RateLimits,
}

impl Limiters {
    /// Limits for `rate` requests per second to the API; 0 disables all of them.
    pub fn new(rate: u32) -> Self {
        Self {
            api: RateLimits::new(rate),
            page: RateLimits::new(rate.saturating_mul(FILES_PER_REQUEST)),
            probes: RateLimits::new(rate),
        }
    }

    /// Counts a request to the API.
    ///
    /// # Errors
    /// 429 with `Retry-After` over the limit.
    pub fn check_api(&self, app: &AppState, request: &Request) -> Result<(), Problem> {
        self.api.check(|| {
            // The key stays in memory, so it is a digest instead of the secret.
            let credential = Credential::of(request.headers(), app).map(|credential| credential.digest());
            match credential.and_then(|digest| self.api.user_of(&digest)) {
                Some(username) => format!("user {username}"),
                None => source(app, request),
            }
        })
    }

    /// Removes outdated entries, to bound memory.
    pub fn prune(&self) {
        [&self.api, &self.page, &self.probes].into_iter().for_each(RateLimits::prune);
    }
}

/// Rejects requests for files of the page over the limit with 429 and `Retry-After`.
pub async fn limit_page(State(app): State<AppState>, request: Request, next: Next) -> Response {
    check(&app.rate_limits.page, &app, request, next).await
}

/// Rejects requests to health endpoints over the limit with 429 and `Retry-After`.
pub async fn limit_probes(State(app): State<AppState>, request: Request, next: Next) -> Response {
    check(&app.rate_limits.probes, &app, request, next).await
}

async fn check(limits: &RateLimits, app: &AppState, request: Request, next: Next) -> Response {
    match limits.check(|| source(app, &request)) {
        Ok(()) => next.run(request).await,
        Err(problem) => ApiError(problem).into_response(),
    }
}

fn source(app: &AppState, request: &Request) -> String {
    client_source(request.headers(), peer(request), &app.config.trusted_proxies)
}

/// Address of the connection's peer.
fn peer(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}
