//! The use cases of Berth and their persistence: transaction → domain rule → rows → outbox row.
//!
//! One [`Service`] per process. Every use case takes the [`domain::access::Actor`] who asks and checks
//! [`domain::access::may`] first. Rows are private to this crate; only domain types leave it.

pub mod accounts;
pub mod catalogue;
pub mod clock;
pub mod deliveries;
pub mod idempotency;
pub mod live;
pub mod maintenance;
pub mod notifications;
pub mod outbox;
pub mod reservations;
pub mod secrets;
mod store;
pub mod webhooks;

pub use clock::{Clock, SystemClock};
pub use store::{Connections, OpenError, Service, Settings, connect};
