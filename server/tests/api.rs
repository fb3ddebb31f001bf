//! The public API and the process, whole: the server runs in this process on a port of its own, on a fresh database of
//! either engine, and is asked over HTTP as a script, a browser or a receiver would ask it (docs/contract.md §§1, 4, 5, 6).
//!
//! PostgreSQL is found at `BERTH_TEST_POSTGRES` (a URL without a database); `off` leaves its tests out.
//! `BERTH_BLESS=1` writes `docs/openapi.json` anew.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

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
