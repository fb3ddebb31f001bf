//! Tests of real processes: `kill -9` at random moments, database outages, full disks, SIGTERM, and several processes on one
//! database. Each test then compares the committed deliveries with the requests that a real receiver got.
//!
//! `BERTH_TEST_POSTGRES` is the URL of a PostgreSQL server; `off` skips its tests. Some tests start their own PostgreSQL
//! server or mount a file system; without the programs or rights they print a message and pass. Every test prints the seed
//! of its random delays; `BERTH_TEST_SEED` sets it.
#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "processes/database.rs"]
mod database;
#[path = "processes/full_disk.rs"]
mod full_disk;
#[path = "processes/guarantees.rs"]
mod guarantees;
#[path = "processes/kill.rs"]
mod kill;
#[path = "processes/load.rs"]
mod load;
#[path = "processes/outage.rs"]
mod outage;
#[path = "processes/process.rs"]
mod process;
#[path = "processes/receiver.rs"]
mod receiver;
#[path = "processes/replicas.rs"]
mod replicas;
#[path = "processes/scenario.rs"]
mod scenario;
#[path = "processes/stop.rs"]
mod stop;
#[path = "processes/telemetry.rs"]
mod telemetry;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::time::Duration;

/// Upper bound for every wait, far above the expected duration.
const DEADLINE: Duration = Duration::from_secs(120);

/// Polls until `condition` returns a value.
async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, polling).await.unwrap_or_else(|_| panic!("timed out waiting for {what}"))
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
