//! The leases of this dispatcher, and their renewal.

use super::Dispatcher;
use crate::outbox::{ClaimedDelivery, Lease};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Interval of lease renewal. A lease lasts longer than the timeout of an exchange, so most are never renewed.
const RENEW_INTERVAL: Duration = Duration::from_secs(10);

/// Held leases with the time of their claim.
#[derive(Default)]
pub(super) struct HeldLeases(Mutex<HashMap<Lease, Instant>>);

impl HeldLeases {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<Lease, Instant>) -> T) -> T {
        act(&mut self.0.lock())
    }

    /// Adds the leases of claims.
    pub(super) fn add(&self, claims: &[ClaimedDelivery]) {
        let now = Instant::now();
        self.with(|since| since.extend(claims.iter().map(|claim| (claim.lease.clone(), now))));
    }

    /// Removes leases, which are no longer renewed.
    pub(super) fn remove<'a>(&self, leases: impl IntoIterator<Item = &'a Lease>) {
        self.with(|since| {
            for lease in leases {
                since.remove(lease);
            }
        });
    }

    /// All held leases.
    pub(super) fn leases(&self) -> Vec<Lease> {
        self.with(|since| since.keys().cloned().collect())
    }

    fn older_than(&self, age: Duration) -> Vec<Lease> {
        self.with(|since| since.iter().filter(|(_, at)| at.elapsed() >= age).map(|(lease, _)| lease.clone()).collect())
    }
}

/// Renews the leases of long exchanges, until it is aborted.
pub(super) async fn renew_periodically(dispatcher: Dispatcher) {
    loop {
        tokio::time::sleep(RENEW_INTERVAL).await;
        renew(&dispatcher, &dispatcher.engine.held_leases.older_than(RENEW_INTERVAL)).await;
    }
}

/// Renews leases. An error is not fatal: the leases last until a later renewal.
pub(super) async fn renew(dispatcher: &Dispatcher, leases: &[Lease]) {
    if let Err(error) = dispatcher.engine.outbox.renew(leases).await {
        tracing::warn!(%error, "leases were not renewed; the next renewal tries again");
    }
}
