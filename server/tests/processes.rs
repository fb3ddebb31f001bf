//! The product as real processes: killed at random moments, cut off from its database, out of disk, told to stop, several
//! on one database. Afterwards what was committed is compared with what a real receiver got.
//!
//! PostgreSQL is found at `BERTH_TEST_POSTGRES` (a URL without a database); `off` leaves its tests out. A server that a test
//! stops is its own, and one may bring its own file system; where there are no programs or no rights for that, it says so and
//! is left out. Random moments come from a seed that every test prints; `BERTH_TEST_SEED` sets it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "processes/cluster.rs"]
mod cluster;
#[path = "processes/database.rs"]
mod database;
#[path = "processes/full_disk.rs"]
mod full_disk;
#[path = "processes/kill.rs"]
mod kill;
#[path = "processes/ledger.rs"]
mod ledger;
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
#[path = "processes/site.rs"]
mod site;
#[path = "processes/stop.rs"]
mod stop;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::time::Duration;

/// The longest that anything awaited may take; far above what it takes.
const DEADLINE: Duration = Duration::from_secs(120);

/// Polls until `condition` gives something.
async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, polling).await.unwrap_or_else(|_| panic!("in vain waited for: {what}"))
}

/// The source of a test's random moments; its seed is printed.
fn random(test: &str) -> StdRng {
    let seed = match std::env::var("BERTH_TEST_SEED") {
        Ok(seed) => seed.parse().expect("BERTH_TEST_SEED is a number"),
        Err(_) => rand::random(),
    };
    eprintln!("{test}: BERTH_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
