//! Tests of the public API. The server runs in the test process on a free port, with a fresh SQLite or PostgreSQL database.
//! Tests send HTTP requests as a script, a browser or a receiver does (docs/contract.md §§1, 4, 5, 6).
//!
//! `BERTH_TEST_POSTGRES` is the URL of a PostgreSQL server; `off` skips its tests.
//! `BERTH_BLESS=1` rewrites `docs/openapi.json`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod access;
mod accounts;
mod alerts;
#[path = "../attacks/mod.rs"]
mod attacks;
mod audit;
mod catalogue;
mod certification;
mod client;
mod commands;
mod connections;
mod deliveries;
mod draft_check;
mod early_access;
mod event_catalogue;
mod identity_provider;
mod if_match;
mod input;
mod listeners;
mod lists;
mod openapi;
mod owners;
mod privacy;
mod process;
mod receiver_callbacks;
mod replays;
mod requests;
mod reservations;
mod secrets;
mod session;
mod single_sign_on;
mod snippets;
mod status;
mod stream;
mod support;
mod tokens;
mod webhook_tls;
mod webhooks;
