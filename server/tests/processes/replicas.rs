//! Three processes on one PostgreSQL: they share the work, one is killed, the others are replaced one by one.

use super::database::{TestDatabase, owner};
use super::kill::moody;
use super::ledger::compare;
use super::load::{Api, Feed, Load};
use super::process::{Berth, Setting};
use super::receiver::Receiver;
use super::stop::BOUND;
use super::{eventually, random};
use rand::Rng as _;
use std::time::Duration;

/// The dispatcher of a `berth serve` that has room: a new reservation's events leave by the process that took it. The
/// receiver must hold its answers.
async fn owner_of(berth: &Berth, api: &Api, resource: i64, slot: i64, database: &TestDatabase) -> String {
    let reply = api.reserve(&berth.url, resource, slot).await.unwrap();
    assert_eq!(reply.status, 201);
    let id = reply.body["id"].as_str().unwrap();
    let sql = format!(
        "SELECT o.lease_owner FROM outbox o JOIN deliveries d ON d.seq = o.seq WHERE d.reservation_id = '{id}' AND o.lease_owner IS NOT NULL"
    );
    let owners: Vec<String> =
        database.rows(&sql).await.iter().map(|row| owner(&row.try_get::<String>("", "lease_owner").unwrap())).collect();
    assert_eq!(owners.len(), 2, "both webhooks have room");
    assert_eq!(owners[0], owners[1]);
    owners.into_iter().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_share_the_work_and_replace_each_other() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let mut random = random("three processes");
    let setting = Setting { database_url: database.url.clone(), folder: database.folder().to_owned(), timeout: 5.0 };
    let receiver = Receiver::start(moody).await;
    let (first, second, worker) = (setting.serve().await, setting.serve().await, setting.worker().await);
    let api = Api::of(&setting).await;
    api.resource_type(&first.url).await;
    // Little room in each process, so that none can do all of it alone.
    api.webhook(&first.url, &receiver, 4).await;
    api.webhook(&first.url, &receiver, 2).await;
    let resource = api.resource(&first.url, "node-x").await;

    // What one process delivers is seen live at another.
    let feed = Feed::open(&api, &first.url).await;
    let mut slot = 0;
    let seen = eventually("a delivery by the second process in the feed of the first", async || {
        slot += 1;
        let reply = api.reserve(&second.url, resource, slot).await.unwrap();
        assert_eq!(reply.status, 201);
        let id = reply.body["id"].as_str().unwrap().to_owned();
        // The first may not know yet that the second listens: then the next reservation tells.
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
    assert!(receiver.arrivals().iter().any(|arrival| arrival.reservation == seen));
    database.drained().await;
    receiver.hold();
    slot += 1;
    let first_owner = owner_of(&first, &api, resource, slot, &database).await;
    slot += 1;
    let second_owner = owner_of(&second, &api, resource, slot, &database).await;
    receiver.release();

    let load = Load::start(&api, &first.url).await;
    load.aim(&[&first, &second]);
    let mut owners = std::collections::HashSet::new();
    eventually("work of all three", async || {
        owners.extend(database.owners().await);
        (owners.len() == 3).then_some(())
    })
    .await;
    assert!(owners.contains(&first_owner) && owners.contains(&second_owner));

    load.progress(20).await;
    tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
    second.kill().await;
    let mut interrupted = database.under_way_of(&second_owner).await;
    load.aim(&[&first]);
    load.progress(20).await;

    // A rolling restart under load: the next is there before the last one goes.
    let third = setting.serve().await;
    load.aim(&[&first, &third]);
    load.progress(20).await;
    load.aim(&[&third]);
    let (status, took) = first.stop(BOUND).await;
    assert!(status.success(), "{status}");
    eprintln!("three processes: the first ended after {took:?}");
    load.progress(20).await;
    let next_worker = setting.worker().await;
    let (status, took) = worker.stop(BOUND).await;
    assert!(status.success(), "{status}");
    eprintln!("three processes: the worker ended after {took:?}");
    load.progress(20).await;
    let told = load.end().await;

    // Another one is killed with requests under way: the worker, alone now, takes everything up when the leases lapse.
    let behind = format!(
        "EXISTS (SELECT 1 FROM outbox e WHERE e.lease_owner LIKE '{second_owner}/%' AND e.webhook_id = o.webhook_id AND e.ordering_key = o.ordering_key)"
    );
    let rest = format!("SELECT COUNT(*) FROM outbox o WHERE NOT {behind}");
    eventually("nothing but what the killed one left behind", async || {
        (database.number(&rest).await == 0).then_some(())
    })
    .await;
    receiver.hold();
    slot += 1;
    let third_owner = owner_of(&third, &api, resource, slot, &database).await;
    third.kill().await;
    let held = database.under_way_of(&third_owner).await;
    assert!(!held.is_empty());
    interrupted.extend(held);
    receiver.release();
    database.drained().await;
    compare("three processes", &database, &receiver, &told, &interrupted).await;
    assert!(next_worker.metric("berth_leases_lapsed_total").await >= 1.0, "who takes over says so");
    assert!(next_worker.metric("berth_deliveries_total").await >= 1.0);
    let (status, _) = next_worker.stop(BOUND).await;
    assert!(status.success(), "{status}");
}
