//! The settings of a service.

use crate::secrets::MasterKey;
use domain::endpoint::UrlPolicy;
use domain::id::ReservationId;
use std::time::Duration;

/// Maximum number of requests in flight of one process, if it has enough file descriptors.
pub const MAX_IN_FLIGHT: u32 = 4_096;

/// The settings of a [`Service`](crate::Service).
#[derive(Clone)]
pub struct Settings {
    /// `sqlite://path?mode=rwc` or `postgres://…`.
    pub database_url: String,
    /// The base URL for people and receivers, without a trailing slash. `status_url` begins with it.
    pub public_url: String,
    /// The key that encrypts secrets at rest.
    pub master_key: MasterKey,
    /// The endpoints that may be registered and called.
    pub url_policy: UrlPolicy,
    /// Retention of ended deliveries, with payloads and attempts, in days.
    pub retention_days: u32,
    /// Time limit of one exchange with a receiver, at most 30 s.
    pub delivery_timeout: Duration,
    /// Maximum number of requests in flight of this process; at most [`MAX_IN_FLIGHT`] count.
    pub max_in_flight: u32,
}

impl Settings {
    /// The URL to which a receiver posts status updates of a reservation (docs/contract.md §4).
    pub(crate) fn status_url(&self, id: &ReservationId) -> String {
        format!("{}/api/v1/reservations/{id}/status", self.public_url)
    }
}
