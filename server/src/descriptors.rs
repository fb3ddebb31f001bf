//! File descriptors: the limit of the process, and its division between clients and deliveries.

/// Descriptors for the database, files, timers and the connections that a process opens at start.
const RESERVED: u64 = 64;
/// Smallest share of clients and of deliveries.
const MIN_SHARE: u64 = 16;
/// The limit of a system that has none, or does not report it.
const UNLIMITED: u64 = 65_536;

/// The shares of the process's file descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Connections of clients.
    pub connections: usize,
    /// Requests to receivers in flight.
    pub deliveries: u32,
}

impl Shares {
    /// Half of the unreserved descriptors each, so that clients cannot stop deliveries, nor the reverse.
    fn of(limit: u64) -> Self {
        let half = (limit.min(UNLIMITED).saturating_sub(RESERVED) / 2).max(MIN_SHARE);
        Self { connections: half as usize, deliveries: half as u32 }
    }

    /// The shares of the present limit.
    pub fn of_process() -> Self {
        Self::of(limit())
    }
}

/// Raises the limit of the process to the highest value that the system allows.
#[cfg(unix)]
pub fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Some systems reject "unlimited"; the present limit then stays.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// Does nothing on a system without such a limit.
#[cfg(not(unix))]
pub fn raise_limit() {}

#[cfg(unix)]
fn limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(UNLIMITED)
}

#[cfg(not(unix))]
fn limit() -> u64 {
    UNLIMITED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_deliveries_share_the_descriptors() {
        assert_eq!(Shares::of(256), Shares { connections: 96, deliveries: 96 });
        assert_eq!(Shares::of(1_024), Shares { connections: 480, deliveries: 480 });
        assert_eq!(Shares::of(10), Shares { connections: 16, deliveries: 16 });
        assert_eq!(Shares::of(u64::MAX).connections, 32_736);
    }
}
