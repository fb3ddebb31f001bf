//! Check of the host that a request names, against DNS rebinding: a web page whose host name suddenly resolves to this
//! machine must not reach the API with the rights of the reader's browser.

use crate::config::Config;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use domain::{Problem, ProblemKind};
use std::net::IpAddr;
use url::Url;

/// Paths that any host may name: orchestrators and load balancers use the address of the process. `/metrics` has a rule
/// of its own.
const EXEMPT: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// Characters of an unknown host in the problem.
const SHOWN: usize = 100;

/// The hosts under which clients may address this process.
pub struct AllowedHosts {
    /// Host names and addresses in lower case, IPv6 in brackets.
    hosts: Vec<String>,
    /// Whether `localhost` and loopback addresses are allowed.
    allows_loopback: bool,
    public_url: String,
}

impl AllowedHosts {
    /// The host of the public URL and the configured additional ones. Loopback addresses and `localhost` are allowed if
    /// only this machine can reach the listener, or if the public URL names this machine.
    pub fn of(config: &Config) -> Self {
        let public = Url::parse(&config.public_url).ok().and_then(|url| url.host_str().map(str::to_owned));
        let allows_loopback =
            config.listen.ip().to_canonical().is_loopback() || public.as_deref().is_some_and(is_loopback);
        let hosts = public.into_iter().chain(config.additional_hosts.iter().cloned()).collect();
        Self { hosts, allows_loopback, public_url: config.public_url.clone() }
    }

    /// Checks the host that a request names.
    ///
    /// # Errors
    /// [`ProblemKind::Malformed`] without a host or with several, [`ProblemKind::Misdirected`] for another one.
    pub fn check_request(&self, request: &Request) -> Result<(), Problem> {
        if EXEMPT.contains(&request.uri().path()) {
            return Ok(());
        }
        self.check(request.uri(), request.headers())
    }

    /// Checks the authority of the URI (HTTP/2, or a request to a proxy) and the header `Host`. Ports are not compared,
    /// because proxies change or omit them.
    ///
    /// # Errors
    /// [`ProblemKind::Malformed`] without a host or with several, [`ProblemKind::Misdirected`] for another one.
    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let mut headers = headers.get_all(header::HOST).iter();
        let (header, second) = (headers.next(), headers.next());
        if second.is_some() || (header.is_none() && uri.authority().is_none()) {
            return Err(Problem::malformed("Send exactly one Host header."));
        }
        let header = header.map(|value| value.to_str().unwrap_or_default());
        for authority in uri.authority().map(Authority::as_str).into_iter().chain(header) {
            if !self.allows(authority) {
                let shown: String = authority.chars().take(SHOWN).collect();
                return Err(Problem::new(
                    ProblemKind::Misdirected,
                    format!(
                        "This server does not serve the host \"{shown}\". Use {}. If a proxy changes Host, let it forward \
                         Host unchanged, or add the host to BERTH_ADDITIONAL_HOSTS.",
                        self.public_url
                    ),
                ));
            }
        }
        Ok(())
    }

    fn allows(&self, authority: &str) -> bool {
        let Some(host) = host_of(authority) else { return false };
        self.hosts.contains(&host) || (self.allows_loopback && is_loopback(&host))
    }
}

/// The host of `host[:port]` in lower case, without the dot at the end of an absolute name.
fn host_of(authority: &str) -> Option<String> {
    let parsed: Authority = authority.parse().ok()?;
    if authority.contains('@') {
        return None;
    }
    let host = parsed.host().to_ascii_lowercase();
    let host = host.strip_suffix('.').map(str::to_owned).unwrap_or(host);
    (!host.is_empty()).then_some(host)
}

/// Whether a host is `localhost` or a loopback address.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn hosts(public: &str, additional: &[&str], allows_loopback: bool) -> AllowedHosts {
        let hosts = std::iter::once(&public).chain(additional).map(|host| (*host).to_owned()).collect();
        AllowedHosts { hosts, allows_loopback, public_url: format!("https://{public}") }
    }

    fn check(hosts: &AllowedHosts, uri: &str, lines: &[&'static str]) -> Result<(), ProblemKind> {
        let lines = lines.iter().map(|line| (header::HOST, HeaderValue::from_static(line)));
        hosts.check(&uri.parse().unwrap(), &lines.collect()).map_err(|problem| problem.kind)
    }

    #[test]
    fn public_and_additional_hosts_are_served_with_any_port() {
        let hosts = hosts("berth.example.com", &["berth.internal", "10.0.0.5", "[2001:db8::1]"], false);
        for host in [
            "berth.example.com",
            "BERTH.example.com:443",
            "berth.example.com.",
            "berth.internal:3000",
            "10.0.0.5:3000",
            "[2001:db8::1]:3000",
        ] {
            assert_eq!(check(&hosts, "/", &[host]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "berth.example.com.evil.example",
            "evil.example:443",
            "berth.example.com@evil.example",
            "evil.example@berth.example.com",
            "berth.example.com/evil",
            "berth.example.com evil.example",
            "10.0.0.6",
            "localhost",
            "127.0.0.1:3000",
            "",
            ":3000",
        ] {
            assert_eq!(check(&hosts, "/", &[host]), Err(ProblemKind::Misdirected), "{host}");
        }
    }

    #[test]
    fn loopback_names_are_served_by_local_instances_only() {
        for host in ["localhost", "localhost:3000", "LOCALHOST", "127.0.0.1:3000", "127.9.9.9", "[::1]:3000"] {
            assert_eq!(check(&hosts("berth.example.com", &[], true), "/", &[host]), Ok(()), "{host}");
        }
        for host in ["localhost.evil.example", "127.0.0.1.evil.example", "evil.localhost", "0.0.0.0", "[::]", "127.1"] {
            let result = check(&hosts("127.0.0.1", &[], true), "/", &[host]);
            assert_eq!(result, Err(ProblemKind::Misdirected), "{host}");
        }
    }

    #[test]
    fn authority_of_http_2_and_host_must_both_be_served() {
        let hosts = hosts("berth.example.com", &[], false);
        assert_eq!(check(&hosts, "https://berth.example.com/x", &[]), Ok(()));
        assert_eq!(check(&hosts, "https://evil.example/x", &[]), Err(ProblemKind::Misdirected));
        assert_eq!(check(&hosts, "https://berth.example.com/x", &["evil.example"]), Err(ProblemKind::Misdirected));
        assert_eq!(check(&hosts, "https://evil.example/x", &["berth.example.com"]), Err(ProblemKind::Misdirected));
        assert_eq!(check(&hosts, "/", &[]), Err(ProblemKind::Malformed));
        assert_eq!(check(&hosts, "/", &["berth.example.com", "berth.example.com"]), Err(ProblemKind::Malformed));
    }
}
