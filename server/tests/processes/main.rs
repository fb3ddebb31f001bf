//! Tests of real processes: `kill -9` at random moments, database outages, full disks, SIGTERM, and several processes on one
//! database. Each test then compares the committed deliveries with the requests that a real receiver got.
//!
//! `BERTH_TEST_POSTGRES` is the URL of a PostgreSQL server; `off` skips its tests. Some tests start their own PostgreSQL
//! server or mount a file system; without the programs or rights they print a message and pass. Every test prints the seed
//! of its random delays; `BERTH_TEST_SEED` sets it.
#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod audit;
mod database;
mod demo;
mod full_disk;
mod guarantees;
mod kill;
mod listen;
mod load;
mod outage;
mod process;
mod replay;
mod replicas;
mod scenario;
mod start;
mod stop;
mod telemetry;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::time::Duration;

/// Upper bound for every wait, far above the expected duration.
const DEADLINE: Duration = Duration::from_secs(120);

/// Polls until `condition` returns a value.
async fn eventually<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    test_support::eventually_within(DEADLINE, what, condition).await
}

/// The random generator of a test; prints its seed.
fn random(test: &str) -> StdRng {
    let seed = match std::env::var("BERTH_TEST_SEED") {
        Ok(seed) => seed.parse().expect("BERTH_TEST_SEED must be a number"),
        Err(_) => rand::random(),
    };
    eprintln!("{test}: BERTH_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
