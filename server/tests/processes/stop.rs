//! SIGTERM: what is under way ends or is handed back, within a bound.

use super::database::TestDatabase;
use super::load::{Api, Feed};
use super::process::Setting;
use super::receiver::{Answer, Receiver};
use super::{DEADLINE, eventually};
use std::time::Duration;

/// Requests under way may take ten seconds to end; the rest is for a busy machine.
pub const BOUND: Duration = Duration::from_secs(25);

async fn stopped_with_slow_receivers(database: TestDatabase) {
    let setting = Setting { database_url: database.url.clone(), folder: database.folder().to_owned(), timeout: 30.0 };
    let slow = Receiver::start(|_| Answer { status: 200, after: Duration::from_secs(2) }).await;
    let silent = Receiver::start(|_| Answer { status: 200, after: Duration::ZERO }).await;
    silent.hold();
    let berth = setting.serve().await;
    let api = Api::of(&setting).await;
    api.resource_type(&berth.url).await;
    let slow_webhook = api.webhook(&berth.url, &slow, 64).await;
    let silent_webhook = api.webhook(&berth.url, &silent, 64).await;
    let resource = api.resource(&berth.url, "node-1").await;
    // An open feed must not hold the process.
    let feed = Feed::open(&api, &berth.url).await;
    assert_eq!(api.reserve(&berth.url, resource, 1).await.unwrap().status, 201);
    eventually("both requests", async || (slow.count() == 1 && silent.count() == 1).then_some(())).await;

    let (status, took) = berth.stop(BOUND).await;
    eprintln!("stopped with a silent receiver: {took:?}");
    assert!(status.success(), "{status}");
    tokio::time::timeout(DEADLINE, feed.ended()).await.expect("the feed should have ended");
    let known = async |webhook: i64| {
        let deliveries = database.deliveries().await;
        deliveries.into_iter().find(|delivery| delivery.webhook == webhook).unwrap()
    };
    assert_eq!(known(slow_webhook).await.status, "succeeded", "what ended in time was recorded");
    assert_eq!(known(silent_webhook).await.status, "pending", "what did not was handed back");
    assert_eq!(database.number("SELECT COUNT(*) FROM outbox WHERE lease_owner IS NOT NULL").await, 0);

    silent.release();
    let next = setting.serve().await;
    database.drained().await;
    assert_eq!(known(silent_webhook).await.status, "succeeded");
    let attempts: Vec<u32> = silent.arrivals().iter().map(|arrival| arrival.attempt).collect();
    assert_eq!(attempts, [1, 1], "what was handed back was not an attempt");
    assert_eq!(slow.count(), 1);
    let (status, _) = next.stop(BOUND).await;
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_finishes_or_hands_back_what_is_under_way_on_sqlite() {
    stopped_with_slow_receivers(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_finishes_or_hands_back_what_is_under_way_on_postgres() {
    if let Some(database) = TestDatabase::postgres().await {
        stopped_with_slow_receivers(database).await;
    }
}

/// Whatever read the log (a pager, a collector that died) is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_log_nobody_reads_stops_too() {
    let database = TestDatabase::sqlite();
    let setting = Setting { database_url: database.url.clone(), folder: database.folder().to_owned(), timeout: 1.0 };
    let mut berth = setting.serve().await;
    berth.deafen().await;
    let (status, _) = berth.stop(BOUND).await;
    assert!(status.success());
}
