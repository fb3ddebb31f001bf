//! `kill -9` of the only process at random moments under load.

use super::database::Database;
use super::guarantees::assert_guarantees;
use super::load::{Api, Load};
use super::random;
use rand::Rng as _;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;
use test_support::{ReceivedRequest, Receiver, Response, on_both_databases};

/// Responds after up to 40 ms, with 503 to the first attempt of every seventh delivery.
pub fn flaky(request: &ReceivedRequest) -> Response {
    let mut hasher = DefaultHasher::new();
    request.delivery().hash(&mut hasher);
    let hash = hasher.finish();
    let status = if request.attempt() == 1 && hash.is_multiple_of(7) { 503 } else { 200 };
    Response::status(status).after(Duration::from_millis(hash % 40))
}

on_both_databases![kill_9_loses_and_reorders_nothing];

async fn kill_9_loses_and_reorders_nothing(database: Database) {
    let (test, rounds) = if database.is_sqlite() { ("killed on SQLite", 8) } else { ("killed on PostgreSQL", 5) };
    let mut random = random(test);
    let settings = database.settings(1.0);
    let receiver = Receiver::start().await;
    receiver.respond_with(flaky);
    let mut berth = settings.serve().await;
    let api = Api::of(&settings).await;
    api.resource_type(&berth.url).await;
    api.webhook(&berth.url, &receiver, 64).await;
    // A low concurrency limit keeps most deliveries in the queue.
    api.webhook(&berth.url, &receiver, 2).await;
    let load = Load::start(&api, &berth.url).await;
    let mut interrupted = HashSet::new();
    for _ in 0..rounds {
        load.progress(20).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
        berth.kill().await;
        let left = database.interrupted().await;
        berth = settings.serve().await;
        // On SQLite the next process reaps all leases before it serves; on PostgreSQL they expire first.
        if database.is_sqlite() {
            assert_eq!(berth.metric("berth_leases_lapsed_total").await, left.len() as f64);
        }
        interrupted.extend(left);
        load.aim(&[&berth]);
    }
    load.progress(20).await;
    let record = load.end().await;
    database.drain().await;
    assert_guarantees(test, &database, &receiver, &record, &interrupted).await;
}
