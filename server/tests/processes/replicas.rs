//! Three processes on one PostgreSQL database: they share the work, one is killed, the others are replaced one by one.

use super::database::Database;
use super::guarantees::assert_guarantees;
use super::kill::flaky;
use super::load::{Api, Feed, Load};
use super::process::Berth;
use super::stop::STOP_TIMEOUT;
use super::{eventually, random};
use parking_lot::Mutex;
use rand::Rng as _;
use reqwest::Method;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use test_support::{Receiver, Response, on_both_databases};

on_both_databases![postgres only:
    three_processes_share_work_and_replace_each_other,
    limits_of_a_webhook_hold_across_three_processes,
    file_of_another_version_is_requested_from_another_replica,
];

/// The page of the new version can come from one replica, and requests for its files can reach a replica of the old version.
async fn file_of_another_version_is_requested_from_another_replica(database: Database) {
    let settings = database.settings(5.0);
    let first = settings.serve().await;
    let http = super::load::client_without_redirects();
    let get = async |path: &str| http.get(format!("{}{path}", first.url)).send().await.unwrap();
    let file = "/frontend_bg-0123456789abcdef.wasm";
    let alone = get(file).await;
    assert_eq!(alone.status(), 404, "no other replica can have it");
    assert_eq!(alone.headers()["cache-control"], "no-store");
    let second = settings.serve().await;
    let redirect = eventually("a redirect, once the replicas know each other", async || {
        let response = get(file).await;
        (response.status() == 307).then_some(response)
    })
    .await;
    assert_eq!(redirect.headers()["location"], format!("{file}?attempt=1"));
    assert_eq!(redirect.headers()["connection"], "close", "a load balancer can choose a replica for each connection");
    assert_eq!(redirect.headers()["cache-control"], "no-store");
    assert_eq!(get(&format!("{file}?attempt=12")).await.status(), 404);
    assert_eq!(get("/missing.js").await.status(), 404);
    for process in [first, second] {
        process.stop(STOP_TIMEOUT).await;
    }
}

/// Starts a process. Returns it with the name of its dispatcher, which its lease tokens contain. `others` are the names of the
/// earlier ones.
async fn started(database: &Database, others: &[&String], start: impl Future<Output = Berth>) -> (Berth, String) {
    let berth = start.await;
    let name = eventually("the first heartbeat of the dispatcher", async || {
        database.dispatchers().await.into_iter().find(|name| !others.contains(&name))
    })
    .await;
    (berth, name)
}

/// The arrivals of requests, by webhook.
type Arrivals = Arc<Mutex<HashMap<i64, Vec<Instant>>>>;

/// The highest number of arrivals within a span.
fn densest(arrivals: &[Instant], span: Duration) -> usize {
    let within = |(n, first): (usize, &Instant)| arrivals[n..].iter().take_while(|at| **at - *first < span).count();
    arrivals.iter().enumerate().map(within).max().unwrap_or_default()
}

/// One process joins, one is killed and one stops meanwhile.
async fn limits_of_a_webhook_hold_across_three_processes(database: Database) {
    // A response takes this long, so requests that arrive within it are in flight at the same time.
    const RESPONSE: Duration = Duration::from_millis(100);
    const EVENTS: usize = 150;
    let settings = database.settings(5.0);
    let receiver = Receiver::start().await;
    let arrivals = Arrivals::default();
    let log = arrivals.clone();
    receiver.respond_with(move |request| {
        log.lock().entry(request.webhook()).or_default().push(Instant::now());
        Response::status(200).after(RESPONSE)
    });
    let (first, second, worker) = (settings.serve().await, settings.serve().await, settings.worker().await);
    let api = Api::of(&settings).await;
    api.resource_type(&first.url).await;
    let concurrent = api.webhook(&first.url, &receiver, 4).await;
    let single = api.webhook(&first.url, &receiver, 1).await;
    let paced = api.webhook(&first.url, &receiver, 64).await;
    let path = format!("/webhooks/{paced}");
    let reply = api.call(&first.url, Method::PATCH, &path, json!({"rate_limit": 20})).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    let resource = api.resource(&first.url, "node-x").await;
    let mut third = None;
    let mut second = Some(second);
    for slot in 0..EVENTS as i64 {
        let berth = if slot % 2 == 0 { &first } else { third.as_ref().or(second.as_ref()).unwrap_or(&first) };
        assert_eq!(api.reserve(&berth.url, resource, slot).await.unwrap().status, 201);
        match slot {
            40 => third = Some(settings.serve().await),
            80 => second.take().unwrap().kill().await,
            _ => {}
        }
    }
    let (status, _) = worker.stop(STOP_TIMEOUT).await;
    assert!(status.success(), "{status}");
    database.drain().await;
    let arrivals = arrivals.lock().clone();
    for webhook in [concurrent, single, paced] {
        assert!(arrivals[&webhook].len() >= EVENTS, "each event arrives, and again if its process was killed");
    }
    assert!(densest(&arrivals[&concurrent], RESPONSE) <= 4, "{}", densest(&arrivals[&concurrent], RESPONSE));
    assert_eq!(densest(&arrivals[&single], RESPONSE), 1);
    // A second's worth at once, then 20 per second; a request can arrive up to half a second late.
    for seconds in 1..=3 {
        let most = densest(&arrivals[&paced], Duration::from_secs(seconds));
        assert!(most as u64 <= 20 * (seconds + 1) + 10, "{most} in {seconds} s");
    }
    for process in [first, third.unwrap()] {
        process.stop(STOP_TIMEOUT).await;
    }
}

async fn three_processes_share_work_and_replace_each_other(database: Database) {
    let mut random = random("three processes");
    let settings = database.settings(5.0);
    let receiver = Receiver::start().await;
    receiver.respond_with(flaky);
    let (first, first_owner) = started(&database, &[], settings.serve()).await;
    let (second, second_owner) = started(&database, &[&first_owner], settings.serve()).await;
    let (worker, worker_owner) = started(&database, &[&first_owner, &second_owner], settings.worker()).await;
    let api = Api::of(&settings).await;
    api.resource_type(&first.url).await;
    // Low concurrency limits, so that no process can send everything alone. The processes divide them.
    api.webhook(&first.url, &receiver, 6).await;
    api.webhook(&first.url, &receiver, 3).await;
    let resource = api.resource(&first.url, "node-x").await;

    // The live feed of one process shows deliveries of another.
    let feed = Feed::open(&api, &first.url).await;
    let mut slot = 0;
    let seen = eventually("a delivery by the second process in the feed of the first", async || {
        slot += 1;
        let reply = api.reserve(&second.url, resource, slot).await.unwrap();
        assert_eq!(reply.status, 201);
        let id = reply.body["id"].as_str().unwrap().to_owned();
        // The processes may not have discovered each other yet; then the next reservation shows it.
        for _ in 0..50 {
            let ended =
                feed.has("delivery", |data| data["reservation_id"] == id.as_str() && data["status"] == "succeeded");
            if ended && feed.has("reservation", |data| data["id"] == id.as_str()) {
                return Some(id);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    })
    .await;
    assert!(receiver.requests().iter().any(|request| request.reservation() == seen));
    database.drain().await;
    let load = Load::start(&api, &first.url).await;
    load.aim(&[&first, &second]);
    let mut owners = std::collections::HashSet::new();
    eventually("leases of all three processes", async || {
        owners.extend(database.owners().await);
        (owners.len() == 3).then_some(())
    })
    .await;
    assert!(owners.contains(&first_owner) && owners.contains(&second_owner));

    load.progress(20).await;
    tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
    second.kill().await;
    let mut interrupted = database.in_flight_of(&second_owner).await;
    load.aim(&[&first]);
    load.progress(20).await;

    // A rolling restart under load: each new process starts before the old one stops.
    let others = [&first_owner, &second_owner, &worker_owner];
    let (third, third_owner) = started(&database, &others, settings.serve()).await;
    load.aim(&[&first, &third]);
    load.progress(20).await;
    load.aim(&[&third]);
    let (status, took) = first.stop(STOP_TIMEOUT).await;
    assert!(status.success(), "{status}");
    eprintln!("three processes: the first ended after {took:?}");
    load.progress(20).await;
    let next_worker = settings.worker().await;
    let (status, took) = worker.stop(STOP_TIMEOUT).await;
    assert!(status.success(), "{status}");
    eprintln!("three processes: the worker ended after {took:?}");
    load.progress(20).await;
    let record = load.end().await;

    // Another process is killed with attempts in flight. The remaining worker takes over when the leases expire.
    let behind = format!(
        "EXISTS (SELECT 1 FROM outbox e WHERE e.lease_owner LIKE '{second_owner}/%' AND e.webhook_id = o.webhook_id AND e.ordering_key = o.ordering_key)"
    );
    let rest = format!("SELECT COUNT(*) FROM outbox o WHERE NOT {behind}");
    eventually("only deliveries blocked by the killed process", async || {
        (database.number(&rest).await == 0).then_some(())
    })
    .await;
    receiver.hold();
    // The other process can send some of the events, or all of them while it has all shares.
    eventually("an attempt of the process in flight", async || {
        slot += 1;
        assert_eq!(api.reserve(&third.url, resource, slot).await.unwrap().status, 201);
        (!database.in_flight_of(&third_owner).await.is_empty()).then_some(())
    })
    .await;
    third.kill().await;
    let held = database.in_flight_of(&third_owner).await;
    assert!(!held.is_empty(), "a response takes until the time-out of the attempt");
    interrupted.extend(held);
    receiver.release();
    database.drain().await;
    assert_guarantees("three processes", &database, &receiver, &record, &interrupted).await;
    assert!(next_worker.metric("berth_leases_lapsed_total").await >= 1.0, "takeovers are counted");
    assert!(next_worker.metric("berth_deliveries_total").await >= 1.0);
    let (status, _) = next_worker.stop(STOP_TIMEOUT).await;
    assert!(status.success(), "{status}");
}
