//! The tools that the tests of every crate share: one receiver, one database harness, one clock, one PostgreSQL launcher.
//!
//! Only tests and developer programs depend on this crate. It depends on no other crate of the workspace, so unit tests
//! inside `domain`, `delivery` and `service` can use it without building those crates twice.
//!
//! - [`Receiver`]: a webhook receiver on loopback with scripted responses.
//! - [`MutualTlsReceiver`]: a receiver that requires client certificates.
//! - [`TestDatabase`] and [`on_both_databases!`]: a fresh database for each test, on SQLite and on PostgreSQL.
//! - [`ManualClock`]: a clock that a test sets.
//! - [`TcpProxy`]: a proxy whose connections a test breaks.
//! - [`PgBouncer`]: a connection pooler in front of PostgreSQL.
//! - [`PostgresServer`]: a PostgreSQL server that a test starts, stops and crashes.

#[cfg(feature = "harness")]
mod authenticator;
#[cfg(feature = "harness")]
mod clock;
#[cfg(feature = "harness")]
mod database;
#[cfg(feature = "harness")]
mod mutual_tls;
#[cfg(feature = "harness")]
mod payload_schema;
#[cfg(feature = "harness")]
mod pgbouncer;
#[cfg(feature = "harness")]
mod polling;
mod postgres_server;
#[cfg(feature = "harness")]
mod proxy;
#[cfg(feature = "harness")]
mod receiver;

#[cfg(feature = "harness")]
pub use authenticator::Authenticator;
#[cfg(feature = "harness")]
pub use clock::ManualClock;
#[cfg(feature = "harness")]
pub use database::{DatabaseKind, Fixture, TestDatabase, postgres_url, run_test};
#[cfg(feature = "harness")]
pub use mutual_tls::{ClientCertificate, MutualTlsReceiver, TestAuthority};
#[cfg(feature = "harness")]
pub use pgbouncer::PgBouncer;
#[cfg(feature = "harness")]
pub use polling::{DEADLINE, eventually, eventually_within};
pub use postgres_server::{PostgresServer, StartError, StopMode};
#[cfg(feature = "harness")]
pub use proxy::TcpProxy;
#[cfg(feature = "harness")]
pub use receiver::{RawReceiver, ReceivedRequest, Receiver, Response};
