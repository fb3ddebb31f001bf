//! SSRF protection: no connection to an address that docs/contract.md §5 blocks. The check runs on resolved addresses,
//! for each connection, so DNS rebinding has no effect. [`check_literal`] checks addresses in URLs, which are not
//! resolved.

use crate::timing;
use domain::endpoint::UrlPolicy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A blocked address.
#[derive(Debug, Clone)]
pub(crate) struct BlockedAddress {
    pub(crate) address: IpAddr,
    pub(crate) kind: &'static str,
}

impl fmt::Display for BlockedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is a {} address", self.address, self.kind)
    }
}

impl std::error::Error for BlockedAddress {}

/// A host name without an address.
#[derive(Debug)]
pub(crate) struct Unresolved {
    pub(crate) name: String,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not resolve", self.name)
    }
}

impl std::error::Error for Unresolved {}

/// The system's resolver, limited to allowed addresses.
#[derive(Clone)]
pub(crate) struct SsrfResolver {
    pub(crate) policy: Arc<UrlPolicy>,
}

impl Resolve for SsrfResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy.clone();
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let started = std::time::Instant::now();
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            timing::mark_dns(started.elapsed());
            let found: Vec<SocketAddr> = found.map(Iterator::collect).unwrap_or_default();
            if found.is_empty() {
                return Err(Unresolved { name }.into());
            }
            let mut blocked = None;
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|socket| match policy.may_reach(socket.ip()) {
                    Ok(()) => true,
                    Err(kind) => {
                        blocked = Some(BlockedAddress { address: socket.ip(), kind });
                        false
                    }
                })
                .collect();
            match blocked {
                Some(blocked) if allowed.is_empty() => Err(blocked.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// Checks a URL whose host is an IP address.
///
/// # Errors
/// [`BlockedAddress`] when the address is blocked.
pub(crate) fn check_literal(url: &url::Url, policy: &UrlPolicy) -> Result<(), BlockedAddress> {
    let address = match url.host() {
        Some(url::Host::Ipv4(address)) => IpAddr::V4(address),
        Some(url::Host::Ipv6(address)) => IpAddr::V6(address),
        _ => return Ok(()),
    };
    policy.may_reach(address).map_err(|kind| BlockedAddress { address, kind })
}
