//! A replay whose process is killed. On PostgreSQL two other processes run, of which one takes it over; on SQLite the next
//! process does.

use super::database::Database;
use super::eventually;
use super::load::Api;
use super::stop::STOP_TIMEOUT;
use reqwest::Method;
use serde_json::json;
use test_support::{Receiver, on_both_databases};

on_both_databases![replay_survives_a_killed_process];

async fn replay_survives_a_killed_process(database: Database) {
    const RESERVATIONS: i64 = 60;
    let settings = database.settings(5.0);
    let receiver = Receiver::start().await;
    let first = settings.serve().await;
    let api = Api::of(&settings).await;
    api.resource_type(&first.url).await;
    let webhook = api.webhook(&first.url, &receiver, 4).await;
    let resource = api.resource(&first.url, "node-x").await;
    for slot in 0..RESERVATIONS {
        assert_eq!(api.reserve(&first.url, resource, slot).await.unwrap().status, 201);
    }
    database.drain().await;
    let mut others = Vec::new();
    if !database.is_sqlite() {
        others.push(settings.serve().await);
        others.push(settings.serve().await);
    }
    // 20 in a second, so the process is killed in the middle.
    let request = json!({"filter": {"webhook_id": webhook, "status": "succeeded"}, "per_minute": 1_200});
    let reply = api.call(&first.url, Method::POST, "/replays", request).await.unwrap();
    assert_eq!(reply.status, 202, "{}", reply.body);
    let path = format!("/replays/{}", reply.body["id"].as_str().unwrap());
    let queued = "SELECT COUNT(*) FROM deliveries WHERE redelivery_of IS NOT NULL";
    eventually("the first batch", async || (database.number(queued).await > 0).then_some(())).await;
    first.kill().await;
    if database.is_sqlite() {
        others.push(settings.serve().await);
    }
    let replay = eventually("the end of the replay", async || {
        let replay = api.call(&others[0].url, Method::GET, &path, json!(null)).await.unwrap().body;
        (replay["status"] == "completed" && replay["progress"]["waiting"] == 0).then_some(replay)
    })
    .await;
    assert_eq!(replay["progress"]["succeeded"], RESERVATIONS);
    assert_eq!(database.number(queued).await, RESERVATIONS);
    let originals = "SELECT COUNT(DISTINCT redelivery_of) FROM deliveries WHERE redelivery_of IS NOT NULL";
    assert_eq!(database.number(originals).await, RESERVATIONS, "each once");
    let disorder = "SELECT COUNT(*) FROM deliveries a JOIN deliveries x ON x.id = a.redelivery_of, deliveries b JOIN deliveries y ON y.id = b.redelivery_of WHERE a.seq < b.seq AND x.seq > y.seq";
    assert_eq!(database.number(disorder).await, 0, "oldest first");
    for process in others {
        process.stop(STOP_TIMEOUT).await;
    }
}
