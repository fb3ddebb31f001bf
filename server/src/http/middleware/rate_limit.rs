//! Rate limit for each API token or client address.

use super::super::AppState;
use super::super::extract::bearer;
use super::super::problem::ApiError;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::{Problem, ProblemKind};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
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
        _ => client_source(request.headers(), peer(&request), app.config.trust_proxy),
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

/// Address of the client. `X-Forwarded-For` is used only behind a trusted proxy, and only its last value, because a client
/// can forge earlier ones.
fn client_address(headers: &HeaderMap, peer: Option<SocketAddr>, trust_proxy: bool) -> Option<IpAddr> {
    let forwarded = || {
        let line = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
        let value = line.rsplit(',').next()?.trim();
        value.parse().ok().or_else(|| value.parse().ok().map(|with_port: SocketAddr| with_port.ip()))
    };
    let direct = peer.map(|peer| peer.ip());
    if trust_proxy { forwarded().or(direct) } else { direct }
}

/// Key of the client for limits: an IPv4 address or an IPv6 /64 network. One IPv6 client can use every address of its
/// network.
pub fn client_source(headers: &HeaderMap, peer: Option<SocketAddr>, trust_proxy: bool) -> String {
    // A dual-stack socket reports IPv4 clients as ::ffff:a.b.c.d, which all share one /64.
    match client_address(headers, peer, trust_proxy).map(|ip| ip.to_canonical()) {
        None => String::new(),
        Some(IpAddr::V4(ip)) => ip.to_string(),
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn source(lines: &[&str], peer: &str, trust_proxy: bool) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_str(line).unwrap());
        }
        client_source(&headers, Some(SocketAddr::new(peer.parse().unwrap(), 4711)), trust_proxy)
    }

    #[test]
    fn last_forwarded_for_value_is_trusted_only_behind_a_proxy() {
        assert_eq!(source(&["203.0.113.1"], "127.0.0.1", false), "127.0.0.1", "ignored unless a proxy is trusted");
        assert_eq!(source(&["203.0.113.1, 203.0.113.2"], "127.0.0.1", true), "203.0.113.2");
        assert_eq!(source(&["203.0.113.1", "203.0.113.2, 203.0.113.3"], "127.0.0.1", true), "203.0.113.3");
        assert_eq!(source(&["203.0.113.1:1234"], "127.0.0.1", true), "203.0.113.1");
        assert_eq!(source(&["203.0.113.1", "unknown"], "127.0.0.1", true), "127.0.0.1");
        assert_eq!(source(&[], "127.0.0.1", true), "127.0.0.1");
    }

    #[test]
    fn ipv6_clients_are_limited_per_64_network_and_ipv4_clients_per_address() {
        assert_eq!(source(&[], "2001:db8:1:2:3:4:5:6", false), "2001:db8:1:2::/64");
        assert_eq!(source(&["2001:db8:1:2:ffff::1"], "::1", true), "2001:db8:1:2::/64");
        assert_eq!(source(&[], "2001:db8:1:3::1", false), "2001:db8:1:3::/64");
        assert_eq!(source(&[], "::ffff:203.0.113.1", false), "203.0.113.1");
    }
}
