//! SIGTERM: attempts in flight end or return to the queue in bounded time.

use super::database::Database;
use super::load::{Api, Feed};
use super::{DEADLINE, eventually};
use std::time::Duration;
use test_support::{ReceivedRequest, Receiver, Response, on_both_databases};

/// Attempts in flight get ten seconds to end; the rest allows for a busy machine.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(25);

on_both_databases![sigterm_finishes_or_requeues_attempts_in_flight];

on_both_databases![sqlite only: process_stops_with_closed_stderr];

async fn sigterm_finishes_or_requeues_attempts_in_flight(database: Database) {
    let settings = database.settings(30.0);
    let slow = Receiver::start().await;
    slow.respond(Response::status(200).after(Duration::from_secs(2)));
    let silent = Receiver::start().await;
    silent.hold();
    let berth = settings.serve().await;
    let api = Api::of(&settings).await;
    api.resource_type(&berth.url).await;
    let slow_webhook = api.webhook(&berth.url, &slow, 64).await;
    let silent_webhook = api.webhook(&berth.url, &silent, 64).await;
    let resource = api.resource(&berth.url, "node-1").await;
    // An open live feed must not delay shutdown.
    let feed = Feed::open(&api, &berth.url).await;
    assert_eq!(api.reserve(&berth.url, resource, 1).await.unwrap().status, 201);
    eventually("both requests", async || (slow.count() == 1 && silent.count() == 1).then_some(())).await;

    let (status, took) = berth.stop(STOP_TIMEOUT).await;
    eprintln!("stopped with a silent receiver: {took:?}");
    assert!(status.success(), "{status}");
    tokio::time::timeout(DEADLINE, feed.ended()).await.expect("the live feed should have ended");
    let delivery_of = async |webhook: i64| {
        let deliveries = database.deliveries().await;
        deliveries.into_iter().find(|delivery| delivery.webhook == webhook).unwrap()
    };
    assert_eq!(delivery_of(slow_webhook).await.status, "succeeded", "an attempt that ended in time is recorded");
    assert_eq!(delivery_of(silent_webhook).await.status, "pending", "an unfinished attempt returns to the queue");
    assert_eq!(database.number("SELECT COUNT(*) FROM outbox WHERE lease_owner IS NOT NULL").await, 0);

    silent.release();
    let next = settings.serve().await;
    database.drain().await;
    assert_eq!(delivery_of(silent_webhook).await.status, "succeeded");
    let attempts: Vec<u32> = silent.requests().iter().map(ReceivedRequest::attempt).collect();
    assert_eq!(attempts, [1, 1], "a released delivery keeps its attempt number");
    assert_eq!(slow.count(), 1);
    let (status, _) = next.stop(STOP_TIMEOUT).await;
    assert!(status.success(), "{status}");
}

/// The reader of the log, such as a pager or a collector, has ended.
async fn process_stops_with_closed_stderr(database: Database) {
    let settings = database.settings(1.0);
    let mut berth = settings.serve().await;
    berth.close_stderr().await;
    let (status, _) = berth.stop(STOP_TIMEOUT).await;
    assert!(status.success());
}
