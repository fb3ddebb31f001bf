//! Tests of the public API. The server runs in the test process on a free port, with a fresh SQLite or PostgreSQL database.
//! Tests send HTTP requests as a script, a browser or a receiver does (docs/contract.md §§1, 4, 5, 6).
//!
//! `BERTH_TEST_POSTGRES` is the URL of a PostgreSQL server; `off` skips its tests.
//! `BERTH_BLESS=1` rewrites `docs/openapi.json`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "api/access.rs"]
mod access;
#[path = "api/accounts.rs"]
mod accounts;
#[path = "api/catalogue.rs"]
mod catalogue;
#[path = "api/client.rs"]
mod client;
#[path = "api/deliveries.rs"]
mod deliveries;
#[path = "api/openapi.rs"]
mod openapi;
#[path = "api/process.rs"]
mod process;
#[path = "api/requests.rs"]
mod requests;
#[path = "api/reservations.rs"]
mod reservations;
#[path = "api/session.rs"]
mod session;
#[path = "api/status.rs"]
mod status;
#[path = "api/stream.rs"]
mod stream;
#[path = "api/support.rs"]
mod support;
#[path = "api/tokens.rs"]
mod tokens;
#[path = "api/webhooks.rs"]
mod webhooks;
