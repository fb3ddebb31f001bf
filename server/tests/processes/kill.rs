//! `kill -9` of the one process, at random moments under load.

use super::database::TestDatabase;
use super::ledger::compare;
use super::load::{Api, Load};
use super::process::Setting;
use super::random;
use super::receiver::{Answer, Arrival, Receiver};
use rand::Rng as _;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// Answers after up to 40 ms; refuses the first attempt of every seventh delivery.
pub fn moody(arrival: &Arrival) -> Answer {
    let mut hasher = DefaultHasher::new();
    arrival.delivery.hash(&mut hasher);
    let luck = hasher.finish();
    let status = if arrival.attempt == 1 && luck.is_multiple_of(7) { 503 } else { 200 };
    Answer { status, after: Duration::from_millis(luck % 40) }
}

async fn killed_again_and_again(test: &str, database: TestDatabase, rounds: u32) {
    let mut random = random(test);
    let setting = Setting { database_url: database.url.clone(), folder: database.folder().to_owned(), timeout: 1.0 };
    let receiver = Receiver::start(moody).await;
    let mut berth = setting.serve().await;
    let api = Api::of(&setting).await;
    api.resource_type(&berth.url).await;
    api.webhook(&berth.url, &receiver, 64).await;
    // With little room most of its deliveries wait for a claim.
    api.webhook(&berth.url, &receiver, 2).await;
    let load = Load::start(&api, &berth.url).await;
    let mut interrupted = HashSet::new();
    for _ in 0..rounds {
        load.progress(20).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
        berth.kill().await;
        let left = database.interrupted().await;
        berth = setting.serve().await;
        // On SQLite the next process takes everything up at once, before it serves; on PostgreSQL when the leases lapse.
        if database.url.starts_with("sqlite") {
            assert_eq!(berth.metric("berth_leases_lapsed_total").await, left.len() as f64);
        }
        interrupted.extend(left);
        load.aim(&[&berth]);
    }
    load.progress(20).await;
    let told = load.end().await;
    database.drained().await;
    compare(test, &database, &receiver, &told, &interrupted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_and_reorders_nothing_on_sqlite() {
    killed_again_and_again("killed on SQLite", TestDatabase::sqlite(), 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_and_reorders_nothing_on_postgres() {
    if let Some(database) = TestDatabase::postgres().await {
        killed_again_and_again("killed on PostgreSQL", database, 5).await;
    }
}
