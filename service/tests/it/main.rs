//! Tests of the use cases and of the delivery engine, on SQLite and on PostgreSQL.
//!
//! `BERTH_TEST_POSTGRES` is the URL of a PostgreSQL server; `off` skips its tests.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod accounts;
mod alerts;
mod audit;
mod bookkeeping;
mod catalogue;
mod change_feed;
mod connections;
mod engine;
mod keys;
mod ownership;
mod privacy;
mod quotas;
mod reservations;
mod rollback;
mod schema;
mod search;
mod second_factor;
mod support;
mod transfer;
mod webhook_tls;
