//! The use cases of Berth and their persistence: transaction → domain rule → rows → outbox row.
//!
//! One [`Service`] per process. Every use case has a [`domain::authorization::Actor`] and first calls
//! [`domain::authorization::authorize`]. Rows are private to this crate; only domain types leave it.

pub mod accounts;
pub mod alerts;
pub mod audit;
pub mod audit_trail;
pub mod catalogue;
pub mod change_feed;
pub mod clock;
mod context;
mod db;
pub mod deliveries;
pub mod dispatcher;
mod early_access;
mod error;
pub mod groups;
mod hidden_access;
pub mod idempotency;
mod keys;
pub mod listeners;
pub mod maintenance;
pub mod notifications;
pub mod outbox;
mod ownership;
mod pagination;
pub mod privacy;
mod provisioning;
pub mod replays;
pub mod reservations;
pub mod secrets;
mod service;
mod settings;
pub mod single_sign_on;
mod status_urls;
pub mod transfer;
mod wake;
pub mod webhooks;

pub use clock::{Clock, SystemClock};
pub use db::connect::{Database, connect, connect_with};
pub use db::database_url::{sqlite_file, warn_about_tls, with_verified_tls};
pub use db::link::LinkLimits;
pub use error::{Error, OpenError, Result, explain_migration_error};
pub use keys::{Rotated, secrets_exist};
pub use service::Service;
pub use settings::{AccountLimits, MAX_IN_FLIGHT, Quotas, Settings, SmtpSettings};
