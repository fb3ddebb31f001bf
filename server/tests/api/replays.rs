//! `/api/v1/replays`: replays in the background.

use crate::support::TestServer;
use domain::authorization::Role;
use serde_json::{Value, json};
use test_support::{Receiver, Response, eventually, on_both_databases};

on_both_databases![
    replay_sends_failed_deliveries_in_order,
    one_delivery_is_sent_first_then_the_replay_pauses,
    cancelled_replay_discards_what_waits,
    missing_events_are_sent_once,
];

on_both_databases![sqlite only:
    replay_is_limited_to_its_owner,
    invalid_replays_are_named,
];

/// The replay once it has this status.
async fn replay_with_status(t: &TestServer, id: &str, status: &str) -> Value {
    eventually("the status of the replay", async || {
        let replay = t.root.get(&format!("/replays/{id}"), 200).await.body;
        (replay["status"] == status).then_some(replay)
    })
    .await
}

/// The replay once none of its deliveries waits.
async fn settled(t: &TestServer, id: &str) -> Value {
    eventually("the end of all deliveries of the replay", async || {
        let replay = t.root.get(&format!("/replays/{id}"), 200).await.body;
        (replay["status"] == "completed" && replay["progress"]["waiting"] == 0).then_some(replay)
    })
    .await
}

/// A webhook with this many failed deliveries of one receiver, which accepts the next ones.
async fn failed_deliveries(t: &TestServer, count: i64) -> (Receiver, i64) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    receiver.respond(Response::status(500));
    let webhook = t.webhook(&receiver, json!({})).await.id();
    for n in 0..count {
        t.booking(&t.alice, resource, n + 1, n + 2).await;
    }
    t.finished("", count as usize).await;
    receiver.respond(Response::status(200));
    (receiver, webhook)
}

async fn replay_sends_failed_deliveries_in_order(t: TestServer) {
    let (receiver, webhook) = failed_deliveries(&t, 5).await;
    let request = json!({"filter": {"webhook_id": webhook}});
    let preview = t.root.post("/replays/preview", request.clone(), 200).await.body;
    assert_eq!((&preview["matched"], &preview["redelivered"]), (&json!(5), &json!(0)));
    let started = t.root.post("/replays", request.clone(), 202).await;
    let id = started.text("id");
    assert_eq!(started.body["progress"]["total"], 5);
    assert_eq!(started.body["created_by"], "root");
    let ended = settled(&t, id).await;
    let expected =
        json!({"total": 5, "done": 5, "waiting": 0, "succeeded": 5, "failed": 0, "cancelled": 0, "skipped": 0});
    assert_eq!(ended["progress"], expected);
    assert_eq!(receiver.requests().len(), 10);
    let failed = t.root.get(&format!("/deliveries?webhook_id={webhook}&status=failed"), 200).await;
    let list = t.root.get(&format!("/deliveries?replay={id}"), 200).await;
    assert_eq!(list.items().len(), 5);
    let redelivered: Vec<_> = list.items().iter().map(|delivery| delivery["redelivery_of"].clone()).collect();
    let originals: Vec<_> = failed.items().iter().map(|delivery| delivery["id"].clone()).collect();
    assert_eq!(redelivered, originals, "oldest first");
    assert_eq!(ended["first_delivery"], list.items()[4]["id"]);
    assert_eq!(t.root.get("/replays", 200).await.items()[0]["id"], id);
    let again = t.root.post("/replays", request, 409).await;
    assert!(again.text.contains("nothing to send"), "{}", again.text);
}

async fn one_delivery_is_sent_first_then_the_replay_pauses(t: TestServer) {
    let (receiver, webhook) = failed_deliveries(&t, 3).await;
    let request = json!({"filter": {"webhook_id": webhook}, "one_first": true});
    let id = t.root.post("/replays", request, 202).await.text("id").to_owned();
    let paused = replay_with_status(&t, &id, "paused").await;
    assert_eq!((&paused["progress"]["done"], &paused["progress"]["total"]), (&json!(1), &json!(3)));
    let first = paused["first_delivery"].as_str().unwrap().to_owned();
    eventually("the result of the first delivery", async || {
        let delivery = t.root.get(&format!("/deliveries/{first}"), 200).await.body;
        (delivery["status"] == "succeeded").then_some(())
    })
    .await;
    assert_eq!(receiver.requests().len(), 4);
    // Somebody redelivers one of the others meanwhile. It is not sent twice.
    let failed = t.root.get(&format!("/deliveries?webhook_id={webhook}&status=failed"), 200).await;
    let newest = failed.items()[0]["id"].as_str().unwrap().to_owned();
    t.root.post(&format!("/deliveries/{newest}/redeliver"), Value::Null, 202).await;
    let path = format!("/replays/{id}");
    t.root.patch(&path, json!({"status": "running"}), 200).await;
    let ended = settled(&t, &id).await;
    let expected =
        json!({"total": 3, "done": 3, "waiting": 0, "succeeded": 2, "failed": 0, "cancelled": 0, "skipped": 1});
    assert_eq!(ended["progress"], expected);
    t.finished("", 6).await;
    assert_eq!(receiver.requests().len(), 6);
    let refused = t.root.patch(&path, json!({"status": "running"}), 409).await;
    assert!(refused.text.contains("completed already"), "{}", refused.text);
}

async fn cancelled_replay_discards_what_waits(t: TestServer) {
    let (receiver, webhook) = failed_deliveries(&t, 3).await;
    t.root.post(&format!("/webhooks/{webhook}/pause"), Value::Null, 200).await;
    let request = json!({"filter": {"webhook_id": webhook}});
    let id = t.root.post("/replays", request.clone(), 202).await.text("id").to_owned();
    let queued = replay_with_status(&t, &id, "completed").await;
    assert_eq!(queued["progress"]["waiting"], 3);
    let cancelled = t.root.patch(&format!("/replays/{id}"), json!({"status": "cancelled"}), 200).await.body;
    let progress = &cancelled["progress"];
    assert_eq!((&progress["waiting"], &progress["cancelled"]), (&json!(0), &json!(3)));
    t.root.post(&format!("/webhooks/{webhook}/resume"), Value::Null, 200).await;
    // Discarded deliveries can be replayed again.
    let id = t.root.post("/replays", request, 202).await.text("id").to_owned();
    assert_eq!(settled(&t, &id).await["progress"]["succeeded"], 3);
    assert_eq!(receiver.requests().len(), 6);
}

async fn missing_events_are_sent_once(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let other = t.resource("node-2", "available").await;
    let early = t.booking(&t.alice, resource, 1, 2).await;
    let excluded = t.booking(&t.alice, other, 1, 2).await;
    let cancelled = t.booking(&t.alice, resource, 3, 4).await;
    t.alice.post(&format!("/reservations/{cancelled}/cancel"), Value::Null, 200).await;
    let receiver = Receiver::start().await;
    let webhook = t.webhook(&receiver, json!({"filter": {"resource_ids": [resource]}})).await.id();
    let received = t.booking(&t.alice, resource, 5, 6).await;
    t.finished("", 1).await;
    let request = json!({"source": "missing", "filter": {"webhook_id": webhook}});
    let preview = t.root.post("/replays/preview", request.clone(), 200).await.body;
    assert_eq!(preview["matched"], 1);
    assert_eq!((&preview["skipped"]["already_sent"], &preview["skipped"]["filtered"]), (&json!(1), &json!(1)));
    let id = t.root.post("/replays", request.clone(), 202).await.text("id").to_owned();
    assert_eq!(settled(&t, &id).await["progress"]["succeeded"], 1);
    let requests = receiver.requests();
    let sent: Vec<_> = requests.iter().map(|request| (request.event(), request.reservation())).collect();
    assert_eq!(sent, [("reservation.created", received.as_str()), ("reservation.created", early.as_str())]);
    assert!(!requests.iter().any(|request| request.reservation() == excluded));
    assert_eq!(t.root.post("/replays/preview", request, 200).await.body["matched"], 0);
    // The service provisions what it has received late.
    let reservation = t.alice.get(&format!("/reservations/{early}"), 200).await.body;
    let services = reservation["provisioning"]["services"].as_array().unwrap().len();
    assert_eq!(services, 1, "{reservation}");
}

async fn replay_is_limited_to_its_owner(t: TestServer) {
    let (_receiver, webhook) = failed_deliveries(&t, 1).await;
    t.root.post("/resource-types", json!({"slug": "fpga", "name": "FPGA"}), 201).await;
    let (owner, other) = (t.person("frank", Role::User).await, t.person("erin", Role::User).await);
    t.owners("/resource-types/gpu-cluster", json!({"users": ["frank"]})).await;
    t.owners("/resource-types/fpga", json!({"users": ["erin"]})).await;
    t.root.patch(&format!("/webhooks/{webhook}"), json!({"resource_type": "gpu-cluster"}), 200).await;
    let missing = json!({"source": "missing", "filter": {"webhook_id": webhook}});
    other.post("/replays/preview", missing.clone(), 404).await;
    owner.post("/replays/preview", missing.clone(), 200).await;
    t.alice.post("/replays/preview", missing, 403).await;
    let all = json!({"filter": {}});
    assert_eq!(other.post("/replays/preview", all.clone(), 200).await.body["matched"], 0);
    let id = owner.post("/replays", all, 202).await.text("id").to_owned();
    let path = format!("/replays/{id}");
    other.get(&path, 404).await;
    other.patch(&path, json!({"status": "cancelled"}), 404).await;
    assert!(other.get("/replays", 200).await.items().is_empty());
    assert_eq!(owner.get("/replays", 200).await.items().len(), 1);
    t.root.get(&path, 200).await;
    settled(&t, &id).await;
}

async fn invalid_replays_are_named(t: TestServer) {
    let fields = async |request: Value| {
        let reply = t.root.post("/replays/preview", request, 422).await;
        let errors = reply.body["errors"].as_array().unwrap().clone();
        errors.into_iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(fields(json!({"filter": {}, "source": "missing"})).await, ["filter.webhook_id"]);
    assert_eq!(fields(json!({"filter": {}, "per_minute": 0})).await, ["per_minute"]);
    assert_eq!(fields(json!({"filter": {"status": "pending"}})).await, ["filter.status"]);
    let request = json!({"filter": {"webhook_id": 99}, "source": "missing"});
    t.root.post("/replays/preview", request, 404).await;
    t.root.get("/replays/rpl_unknown", 404).await;
}
