//! What stands before every handler: rates, origins, security headers, observation.

use super::AppState;
use super::extract::bearer;
use super::problem::ApiError;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::{Problem, ProblemKind};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Instant;

/// Requests a second for each token or address.
pub struct Rates {
    limit: Option<(DefaultKeyedRateLimiter<String>, u32)>,
    /// Digests of tokens that were accepted lately. Only those have a limit of their own: else whoever makes tokens up would
    /// have none.
    accepted: Mutex<HashSet<String>>,
}

impl Rates {
    /// A limit of `rate` a second with bursts of twice that; 0 = none.
    pub fn new(rate: u32) -> Self {
        let limit = NonZeroU32::new(rate).map(|rate| {
            let burst = NonZeroU32::new(rate.get().saturating_mul(2)).unwrap_or(rate);
            (RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)), rate.get())
        });
        Self { limit, accepted: Mutex::default() }
    }

    /// Forgets those who have not asked for some time.
    pub fn prune(&self) {
        if let Some((limiter, _)) = &self.limit {
            limiter.retain_recent();
        }
        self.accepted().clear();
    }

    /// Remembers whether a token is one.
    pub fn note(&self, token: &str, is_one: bool) {
        if self.limit.is_some() {
            let digest = service::secrets::digest(token);
            if is_one {
                self.accepted().insert(digest)
            } else {
                self.accepted().remove(&digest)
            };
        }
    }

    fn accepted(&self) -> MutexGuard<'_, HashSet<String>> {
        self.accepted.lock()
    }

    fn check(&self, key: String) -> Result<(), Problem> {
        let Some((limiter, rate)) = &self.limit else { return Ok(()) };
        limiter.check_key(&key).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
            let mut problem = Problem::new(
                ProblemKind::RateLimited,
                format!(
                    "At most {rate} requests a second. Wait {wait} s, or ask the operator to raise BERTH_API_RATE."
                ),
            );
            problem.retry_after = Some(wait);
            problem
        })
    }
}

/// The client's address; of the proxy's word only where the operator trusts it, and then only of the last: a client can send
/// lines and values of its own, which come before.
fn client_address(headers: &HeaderMap, peer: Option<SocketAddr>, trust_proxy: bool) -> Option<IpAddr> {
    let forwarded = || {
        let line = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
        let value = line.rsplit(',').next()?.trim();
        value.parse().ok().or_else(|| value.parse().ok().map(|with_port: SocketAddr| with_port.ip()))
    };
    if trust_proxy { forwarded().or(peer.map(|peer| peer.ip())) } else { peer.map(|peer| peer.ip()) }
}

/// Whom a limit is for: the client's address, in IPv6 its network of 64 bits, within which one client has any address it likes.
pub fn client_source(headers: &HeaderMap, peer: Option<SocketAddr>, trust_proxy: bool) -> String {
    // An IPv4 client of a socket for both comes as ::ffff:a.b.c.d, and all of those are in one network.
    match client_address(headers, peer, trust_proxy).map(|ip| ip.to_canonical()) {
        None => String::new(),
        Some(IpAddr::V4(ip)) => ip.to_string(),
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// The connection's other end.
pub fn peer(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

/// Refuses whoever asks too often.
pub async fn rate_limit(State(app): State<AppState>, request: Request, next: Next) -> Response {
    // Not the token itself: the key stays in memory.
    let token = bearer(request.headers()).map(service::secrets::digest);
    let key = match &token {
        Some(token) if app.rates.accepted().contains(token) => token.clone(),
        _ => client_source(request.headers(), peer(&request), app.config.trust_proxy),
    };
    if let Err(problem) = app.rates.check(key) {
        return ApiError(problem).into_response();
    }
    next.run(request).await
}

/// Refuses requests that another site made a browser send.
///
/// # Errors
/// [`ProblemKind::ForeignOrigin`] unless `Origin` (or `Sec-Fetch-Site`) says that our own page asks.
pub fn same_origin(headers: &HeaderMap, public_url: &str) -> Result<(), Problem> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let foreign = || {
        Problem::new(
            ProblemKind::ForeignOrigin,
            "A session can only be used from Berth's own page. For scripts use an API token.",
        )
    };
    if let Some(origin) = text(header::ORIGIN) {
        let host = text(header::HOST).unwrap_or_default();
        let ours = origin == public_url
            || origin.split_once("://").is_some_and(|(_, origin_host)| !host.is_empty() && origin_host == host);
        return if ours { Ok(()) } else { Err(foreign()) };
    }
    match text(HeaderName::from_static("sec-fetch-site")) {
        Some("same-origin") => Ok(()),
        _ => Err(foreign()),
    }
}

/// Adds the headers that protect the page.
pub async fn headers(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let docs = request.uri().path().starts_with("/api/docs");
    let api = request.uri().path().starts_with("/api/") || request.uri().path().starts_with("/rpc/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()");
    if api && !docs {
        set(header::CACHE_CONTROL, "no-store");
    }
    if docs {
        // Swagger UI writes styles into its elements.
        set(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
        );
    } else {
        set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; base-uri 'none'");
    }
    if app.config.env == crate::config::Environment::Production {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=63072000; includeSubDomains");
    }
    response
}

/// A method as a metric's label, of a closed list: each label stays in memory, and a client may make up any method.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Counts, times and logs every request; never its headers or body.
pub async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "page".to_owned(), |path| path.as_str().to_owned());
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let seconds = started.elapsed().as_secs_f64();
    metrics::histogram!("berth_http_request_duration_seconds", "method" => label(&method), "route" => route, "status" => status.to_string())
        .record(seconds);
    if status >= 500 {
        tracing::error!(%method, path, status, ms = seconds * 1_000.0, "request");
    } else {
        tracing::debug!(%method, path, status, ms = seconds * 1_000.0, "request");
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(lines: &[&str], peer: &str, trust_proxy: bool) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_str(line).unwrap());
        }
        client_source(&headers, Some(SocketAddr::new(peer.parse().unwrap(), 4711)), trust_proxy)
    }

    #[test]
    fn the_last_value_of_the_last_line_is_the_proxys() {
        assert_eq!(
            source(&["203.0.113.1"], "127.0.0.1", false),
            "127.0.0.1",
            "nobody's word where no proxy is trusted"
        );
        assert_eq!(source(&["203.0.113.1, 203.0.113.2"], "127.0.0.1", true), "203.0.113.2");
        assert_eq!(source(&["203.0.113.1", "203.0.113.2, 203.0.113.3"], "127.0.0.1", true), "203.0.113.3");
        assert_eq!(source(&["203.0.113.1:1234"], "127.0.0.1", true), "203.0.113.1");
        assert_eq!(source(&["203.0.113.1", "unknown"], "127.0.0.1", true), "127.0.0.1");
        assert_eq!(source(&[], "127.0.0.1", true), "127.0.0.1");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_an_address_of_ipv4_is_one() {
        assert_eq!(source(&[], "2001:db8:1:2:3:4:5:6", false), "2001:db8:1:2::/64");
        assert_eq!(source(&["2001:db8:1:2:ffff::1"], "::1", true), "2001:db8:1:2::/64");
        assert_eq!(source(&[], "2001:db8:1:3::1", false), "2001:db8:1:3::/64");
        assert_eq!(source(&[], "::ffff:203.0.113.1", false), "203.0.113.1");
    }

    #[test]
    fn methods_that_are_made_up_are_counted_as_one() {
        assert_eq!(label(&Method::PATCH), "PATCH");
        for made_up in ["PROPFIND", "get", "X"] {
            assert_eq!(label(&Method::from_bytes(made_up.as_bytes()).unwrap()), "other");
        }
    }
}
