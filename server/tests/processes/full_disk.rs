//! A disk without room under SQLite: the limit on the size of a process's files stands in for it.
#![cfg(target_os = "linux")]

use super::database::TestDatabase;
use super::eventually;
use super::kill::moody;
use super::ledger::compare;
use super::load::{Api, Load, is_unavailable};
use super::process::{Berth, Setting};
use super::receiver::Receiver;
use reqwest::Method;
use serde_json::Value;
use tokio::process::Command;

/// From now on no file of the process may grow beyond this; what is beyond it already cannot be written either.
async fn room(berth: &Berth, bytes: &str) {
    let limit = format!("--fsize={bytes}:");
    let status = Command::new("prlimit").args(["--pid", &berth.pid().to_string(), &limit]).status().await.unwrap();
    assert!(status.success());
}

/// Fills the disk and waits until it shows.
async fn fill(berth: &Berth, api: &Api, resource: i64, slot: &mut i64) {
    room(berth, "65536").await;
    let base = &berth.url;
    let refused = eventually("a write that is refused", async || {
        *slot += 1;
        let reply = api.reserve(base, resource, *slot).await.unwrap();
        (reply.status != 201).then_some(reply)
    })
    .await;
    assert!(is_unavailable(&refused), "{refused:?}");
    let list = api.call(base, Method::GET, "/reservations", Value::Null).await.unwrap();
    assert_eq!(list.status, 200, "what is there can be read: {}", list.body);
    let alive = api.http.get(format!("{base}/healthz")).send().await.unwrap();
    assert_eq!(alive.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_sqlite_loses_nothing() {
    let database = TestDatabase::sqlite();
    let setting = Setting { database_url: database.url.clone(), folder: database.folder().to_owned(), timeout: 5.0 };
    let receiver = Receiver::start(moody).await;
    let berth = setting.serve_within_file_limits().await;
    let api = Api::of(&setting).await;
    api.resource_type(&berth.url).await;
    api.webhook(&berth.url, &receiver, 64).await;
    api.webhook(&berth.url, &receiver, 2).await;
    let resource = api.resource(&berth.url, "node-x").await;
    let load = Load::start(&api, &berth.url).await;
    load.progress(20).await;
    let mut slot = 0;

    // Room again: the same process goes on by itself.
    fill(&berth, &api, resource, &mut slot).await;
    assert!(load.told.lock().unwrap().acknowledged.len() >= 20);
    let mut interrupted = database.under_way().await;
    room(&berth, "unlimited").await;
    load.progress(40).await;

    // It ends while the disk is full; the next one finds room.
    fill(&berth, &api, resource, &mut slot).await;
    berth.kill().await;
    interrupted.extend(database.interrupted().await);
    let berth = setting.serve().await;
    load.aim(&[&berth]);
    load.progress(40).await;
    let told = load.end().await;
    assert!(told.unavailable > 0);
    database.drained().await;
    let sound: String = database.rows("PRAGMA integrity_check").await[0].try_get_by_index(0).unwrap();
    assert_eq!(sound, "ok");
    compare("full disk", &database, &receiver, &told, &interrupted).await;
}
