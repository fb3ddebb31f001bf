//! SSRF protection: no connection to an address that docs/contract.md §5 blocks. The connector checks the addresses to
//! which it connects, for each connection, so DNS rebinding has no effect.

use domain::endpoint::UrlPolicy;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

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

/// Removes blocked addresses from the addresses of a host.
///
/// # Errors
/// [`BlockedAddress`] when all are blocked.
pub(crate) fn allowed(mut addresses: Vec<SocketAddr>, policy: &UrlPolicy) -> Result<Vec<SocketAddr>, BlockedAddress> {
    let mut blocked = None;
    addresses.retain(|socket| match policy.may_reach(socket.ip()) {
        Ok(()) => true,
        Err(kind) => {
            blocked = Some(BlockedAddress { address: socket.ip(), kind });
            false
        }
    });
    match blocked {
        Some(blocked) if addresses.is_empty() => Err(blocked),
        _ => Ok(addresses),
    }
}
