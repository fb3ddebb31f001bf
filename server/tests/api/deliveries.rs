//! `/api/v1/deliveries`: the log, redelivery, replay.

use crate::support::{TestServer, time, wire};
use chrono::Duration;
use serde_json::{Value, json};
use test_support::{Receiver, Response, eventually, on_both_databases};

on_both_databases![
    delivery_list_is_filtered_by_each_parameter,
    redelivery_creates_a_new_delivery_of_the_same_event,
    failed_deliveries_are_replayed,
    replay_counts_the_deliveries_that_it_skips,
    search_results_are_listed_counted_grouped_and_exported,
];

on_both_databases![sqlite only:
    delivery_pages_contain_every_item_once,
    delivery_shows_its_attempts,
    delivery_in_progress_cannot_be_redelivered,
    delivery_log_is_limited_to_administrators,
    invalid_delivery_filters_are_named,
];

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// The result of a replay without its parts.
fn totals(mut replay: Value) -> Value {
    let parts = replay.as_object_mut().unwrap().remove("webhooks").unwrap();
    let sum: u64 = parts.as_array().unwrap().iter().map(|part| part["matched"].as_u64().unwrap()).sum();
    assert_eq!(replay["matched"], sum);
    replay
}

async fn delivery_list_is_filtered_by_each_parameter(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let [good, bad] = [Receiver::start().await, Receiver::start().await];
    bad.respond(Response::status(500));
    let good_id = t.webhook(&good, json!({})).await.id();
    let bad_id = t.webhook(&bad, json!({"name": "Broken", "events": ["reservation.created"]})).await.id();
    let paused_id = t.webhook(&good, json!({"events": ["reservation.created"], "enabled": false})).await.id();
    let first = t.booking(&t.alice, resource, 101, 102).await;
    t.finished(&format!("webhook_id={good_id}"), 1).await;
    t.finished(&format!("webhook_id={bad_id}"), 1).await;
    let between = t.now() + Duration::seconds(30);
    t.clock.advance(Duration::minutes(1));
    let second = t.booking(&t.alice, resource, 103, 104).await;
    t.alice.post(&format!("/reservations/{second}/cancel"), Value::Null, 200).await;
    t.finished(&format!("webhook_id={good_id}"), 3).await;
    t.finished(&format!("webhook_id={bad_id}"), 2).await;
    let retrying = t.webhook(&bad, json!({"retry": {"waits": [86_400]}, "events": ["reservation.updated"]})).await.id();
    t.alice.patch(&format!("/reservations/{first}"), json!({"title": "x"}), 200).await;
    eventually("a delivery that waits for its retry", async || {
        let reply = t.root.get(&format!("/deliveries?webhook_id={retrying}&status=retrying"), 200).await;
        (reply.items().len() == 1).then_some(())
    })
    .await;
    t.finished(&format!("webhook_id={good_id}"), 4).await;
    let all = t.root.get("/deliveries", 200).await;
    assert_eq!(all.items().len(), 9, "{}", all.text);
    // Each filter returns exactly the matching deliveries, newest first.
    let expects = async |query: &str, count: usize, has: &dyn Fn(&Value) -> bool| {
        let reply = t.root.get(&format!("/deliveries?{query}"), 200).await;
        let expected: Vec<Value> = all.items().iter().filter(|item| has(item)).cloned().collect();
        assert_eq!(ids(reply.items()), ids(&expected), "{query}");
        assert_eq!(expected.len(), count, "{query}");
    };
    expects(&format!("webhook_id={good_id}"), 4, &|d| d["webhook_id"] == good_id).await;
    expects(&format!("webhook_id={paused_id}"), 2, &|d| d["webhook_id"] == paused_id).await;
    expects("webhook_id=999999", 0, &|_| false).await;
    expects("event_type=reservation.created", 6, &|d| d["event_type"] == "reservation.created").await;
    expects("event_type=reservation.cancelled", 1, &|d| d["event_type"] == "reservation.cancelled").await;
    expects("event_type=reservation.expired", 0, &|_| false).await;
    for (status, count) in
        [("pending", 2), ("sending", 0), ("retrying", 1), ("succeeded", 4), ("failed", 2), ("cancelled", 0)]
    {
        expects(&format!("status={status}"), count, &|d| d["status"] == status).await;
    }
    expects(&format!("reservation_id={second}"), 4, &|d| d["reservation_id"] == second.as_str()).await;
    expects("reservation_id=rsv-nothing", 0, &|_| false).await;
    let between = wire(between);
    expects(&format!("since={between}"), 6, &|d| time(&d["created_at"]) >= time(&json!(between))).await;
    expects(&format!("until={between}"), 3, &|d| time(&d["created_at"]) < time(&json!(between))).await;
    let exact = all.items()[0]["created_at"].as_str().unwrap();
    expects(&format!("since={exact}"), 2, &|d| d["created_at"] == exact).await;
    expects(&format!("until={exact}"), 7, &|d| d["created_at"] != exact).await;
    expects(&format!("webhook_id={bad_id}&status=failed&since={between}"), 1, &|d| {
        d["webhook_id"] == bad_id && d["status"] == "failed" && time(&d["created_at"]) >= time(&json!(between))
    })
    .await;
    // The statuses of the deliveries.
    let failed = t.root.get(&format!("/deliveries?status=failed&reservation_id={first}"), 200).await;
    let failed = &failed.items()[0];
    assert_eq!((&failed["webhook_name"], &failed["status_code"]), (&json!("Broken"), &json!(500)));
    assert!(failed["problem"].as_str().unwrap().contains("500") && failed["duration_ms"].as_f64().unwrap() > 0.0);
    assert_eq!((&failed["attempts"], &failed["max_attempts"]), (&json!(1), &json!(1)));
    let waits = t.root.get("/deliveries?status=retrying", 200).await;
    let due = time(&waits.items()[0]["next_attempt_at"]) - t.now();
    assert!(due > Duration::hours(23) && due < Duration::hours(27), "jitter is at most 10 %: {due}");
}

async fn delivery_pages_contain_every_item_once(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    t.webhook(&Receiver::start().await, json!({})).await;
    for n in 0..13 {
        t.booking(&t.alice, resource, n + 1, n + 2).await;
    }
    let mut made = ids(&t.finished("", 13).await);
    made.reverse();
    for limit in [1, 5, 13, 200] {
        assert_eq!(ids(&t.root.pages("/deliveries", limit).await), made, "newest first, limit {limit}");
    }
    let succeeded = t.root.pages("/deliveries?status=succeeded&event_type=reservation.created", 4).await;
    assert_eq!(ids(&succeeded), made);
}

async fn delivery_shows_its_attempts(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let mut answers =
        vec![Response::json(200, json!({"status": "success"})), Response::json(503, json!({"error": "busy"}))];
    receiver.respond_with(move |_| answers.pop().unwrap_or(Response::status(200)));
    t.webhook(&receiver, json!({"retry": {"waits": [1]}, "auth": {"method": "api_key", "key": "api-key-8675309"}}))
        .await;
    let reservation = t.booking(&t.alice, resource, 1, 2).await;
    let summary = t.finished("", 1).await.remove(0);
    let id = summary["id"].as_str().unwrap();
    let detail = t.root.get(&format!("/deliveries/{id}"), 200).await;
    for (name, value) in summary.as_object().unwrap() {
        assert_eq!(detail.body[name], *value, "{name}");
    }
    assert_eq!(summary["reservation_id"], reservation);
    let got = receiver.requests();
    assert_eq!(detail.body["body"].as_str().unwrap().as_bytes(), got[0].raw, "the exact bytes that were signed");
    let log = detail.body["attempt_log"].as_array().unwrap();
    assert_eq!(log.len(), 2);
    for (n, (attempt, got)) in log.iter().zip(&got).enumerate() {
        assert_eq!((&attempt["attempt"], &attempt["delivery_id"]), (&json!(n + 1), &json!(id)));
        assert_eq!(attempt["request"]["url"], format!("{}{}", receiver.url, got.path));
        assert_eq!(attempt["request"]["body"].as_str().unwrap().as_bytes(), got.raw);
        let headers = attempt["request"]["headers"].as_array().unwrap();
        let shown = |name: &str| headers.iter().find(|h| h["name"] == name).unwrap()["value"].as_str().unwrap();
        assert_eq!(shown("X-Webhook-Attempt"), (n + 1).to_string());
        for name in ["X-Webhook-Signature", "webhook-signature"] {
            let prefix = shown(name).strip_suffix('…').unwrap();
            let sent = got.header(name);
            assert!(sent.starts_with(prefix) && sent.len() > prefix.len() + 16, "{name}: {prefix}");
        }
        assert_eq!(shown("X-API-Key"), "••••");
    }
    assert_eq!((&log[0]["outcome"], &log[0]["status_code"]), (&json!("failed"), &json!(503)));
    assert_eq!(
        (&log[0]["diagnosis"]["code"], &log[0]["response"]["body"]),
        (&json!("server_error"), &json!("{\"error\":\"busy\"}"))
    );
    assert_eq!((&log[1]["outcome"], &log[1]["status_code"]), (&json!("succeeded"), &json!(200)));
    let waited = time(&log[1]["started_at"]) - time(&log[0]["started_at"]);
    assert!(waited >= Duration::seconds(1), "{waited}");
    assert!(!detail.text.contains("api-key-8675309"));
    t.root.get("/deliveries/dlv_nothing", 404).await;
}

async fn redelivery_creates_a_new_delivery_of_the_same_event(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    receiver.respond(Response::status(500));
    let made = t.webhook(&receiver, json!({})).await;
    t.booking(&t.alice, resource, 1, 2).await;
    let old = t.finished("", 1).await.remove(0);
    receiver.respond(Response::status(200));
    let path = format!("/deliveries/{}/redeliver", old["id"].as_str().unwrap());
    let new = t.root.post(&path, Value::Null, 202).await;
    assert_ne!(new.body["id"], old["id"]);
    assert_eq!((&new.body["redelivery_of"], &new.body["event_id"]), (&old["id"], &old["event_id"]));
    assert_eq!((&new.body["status"], &new.body["attempts"]), (&json!("pending"), &json!(0)));
    let got = receiver.wait_for(2).await;
    assert_eq!(got[0].raw, got[1].raw);
    assert_eq!(got[0].header("webhook-id"), got[1].header("webhook-id"), "receivers deduplicate on webhook-id");
    assert_eq!(got[1].header("x-webhook-delivery"), new.text("id"));
    assert_eq!(got[1].header("x-webhook-attempt"), "1");
    assert!(crate::requests::is_signed(&got[1], &[made.text("secret")]));
    let both = t.finished("", 2).await;
    assert_eq!((&both[0], &both[1]["status"]), (&old, &json!("succeeded")), "the original delivery is unchanged");
    // Succeeded deliveries and redeliveries can be redelivered too.
    let again = t.root.post(&format!("/deliveries/{}/redeliver", new.text("id")), Value::Null, 202).await;
    assert_eq!(again.body["redelivery_of"], new.body["id"]);
    t.finished("", 3).await;
    t.root.post("/deliveries/dlv_nothing/redeliver", Value::Null, 404).await;
}

async fn delivery_in_progress_cannot_be_redelivered(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    receiver.hold();
    t.webhook(&receiver, json!({})).await;
    t.booking(&t.alice, resource, 1, 2).await;
    receiver.wait_for(1).await;
    let sending = t.root.get("/deliveries?status=sending", 200).await;
    let path = format!("/deliveries/{}/redeliver", sending.items()[0]["id"].as_str().unwrap());
    t.root.post(&path, Value::Null, 409).await;
    receiver.release();
    t.finished("", 1).await;
    t.root.post(&path, Value::Null, 202).await;
    t.finished("", 2).await;
}

async fn failed_deliveries_are_replayed(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let [first, second] = [Receiver::start().await, Receiver::start().await];
    first.respond(Response::status(500));
    second.respond(Response::status(500));
    let first_id = t.webhook(&first, json!({})).await.id();
    let second_id = t.webhook(&second, json!({"events": ["reservation.cancelled"]})).await.id();
    let mut reservations = Vec::new();
    for n in 0..3 {
        reservations.push(t.booking(&t.alice, resource, n + 1, n + 2).await);
    }
    t.alice.post(&format!("/reservations/{}/cancel", reservations[0]), Value::Null, 200).await;
    t.finished("", 5).await;
    first.respond(Response::status(200));
    second.respond(Response::status(200));
    let replay = async |input: Value| totals(t.root.post("/deliveries/replay", input, 200).await.body);
    let none = json!({"redelivered": 0, "test": 0, "webhook_deleted": 0, "filtered": 0, "already_sent": 0});
    let counted = |matched: u64| json!({"matched": matched, "redelivered": 0, "skipped": none});
    assert_eq!(replay(json!({"filter": {}, "dry_run": true})).await, counted(5));
    assert_eq!(replay(json!({"filter": {"webhook_id": first_id}, "dry_run": true})).await, counted(4));
    assert_eq!(replay(json!({"filter": {"event_type": "reservation.cancelled"}, "dry_run": true})).await, counted(2));
    assert_eq!(replay(json!({"filter": {"reservation_id": reservations[1]}, "dry_run": true})).await, counted(1));
    assert_eq!(replay(json!({"filter": {"since": t.hours(1)}, "dry_run": true})).await, counted(0));
    assert_eq!(replay(json!({"filter": {"until": t.hours(1)}, "dry_run": true})).await, counted(5));
    assert_eq!(replay(json!({"filter": {"status": "succeeded"}, "dry_run": true})).await, counted(0));
    assert_eq!(t.root.get("/deliveries", 200).await.items().len(), 5, "a dry run creates nothing");
    let done = replay(json!({"filter": {"webhook_id": first_id}})).await;
    assert_eq!(done, json!({"matched": 4, "redelivered": 4, "skipped": none}));
    let all = t.finished("", 9).await;
    assert_eq!(first.requests().len(), 8);
    assert!(all[5..].iter().all(|d| d["status"] == "succeeded" && d["webhook_id"] == first_id));
    let repeated: Vec<Value> = all[5..].iter().map(|d| d["redelivery_of"].clone()).collect();
    let failed: Vec<Value> = all[..5].iter().filter(|d| d["webhook_id"] == first_id).map(|d| d["id"].clone()).collect();
    assert_eq!(repeated, failed, "oldest first");
    // Events of one reservation are replayed in order.
    let of_first: Vec<String> = first.requests()[4..]
        .iter()
        .filter(|got| got.body["reservation_id"] == reservations[0].as_str())
        .map(|got| got.event().to_owned())
        .collect();
    assert_eq!(of_first, ["reservation.created", "reservation.cancelled"]);
    assert_eq!(
        replay(json!({"filter": {"webhook_id": second_id, "status": "failed"}, "dry_run": false})).await["redelivered"],
        1
    );
    t.finished("", 10).await;
}

async fn replay_counts_the_deliveries_that_it_skips(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    receiver.respond(Response::status(500));
    let kept = t.webhook(&receiver, json!({})).await.id();
    let deleted = t.webhook(&receiver, json!({})).await.id();
    t.booking(&t.alice, resource, 1, 2).await;
    t.booking(&t.alice, resource, 2, 3).await;
    t.root.post(&format!("/webhooks/{kept}/test"), Value::Null, 200).await;
    let all = t.finished("", 5).await;
    t.root.delete(&format!("/webhooks/{deleted}"), 204).await;
    let first = all.iter().find(|d| d["webhook_id"] == kept && d["test"] == false).unwrap();
    let redelivered =
        t.root.post(&format!("/deliveries/{}/redeliver", first["id"].as_str().unwrap()), Value::Null, 202).await;
    t.finished("", 6).await;
    let replay = async |filter: Value| {
        totals(t.root.post("/deliveries/replay", json!({"filter": filter, "dry_run": true}), 200).await.body)
    };
    let expected = json!({"matched": 2, "redelivered": 0, "skipped": {"redelivered": 1, "test": 1, "webhook_deleted": 2, "filtered": 0, "already_sent": 0}});
    assert_eq!(replay(json!({})).await, expected, "each failed delivery is counted once");
    let ours = json!({"matched": 2, "redelivered": 0, "skipped": {"redelivered": 1, "test": 1, "webhook_deleted": 0, "filtered": 0, "already_sent": 0}});
    assert_eq!(replay(json!({"webhook_id": kept})).await, ours);

    // The original names its redeliveries, and a deleted webhook cannot receive any.
    let detail = t.root.get(&format!("/deliveries/{}", first["id"].as_str().unwrap()), 200).await.body;
    assert_eq!(detail["redeliveries"].as_array().unwrap().len(), 1);
    assert_eq!(detail["redeliveries"][0]["id"], redelivered.body["id"]);
    assert_eq!(detail["redeliveries"][0]["redelivery_of"], first["id"]);
    assert_eq!((&detail["webhook_deleted"], &detail["redeliveries_next_cursor"]), (&json!(false), &Value::Null));
    let of_first = format!("/deliveries?redelivery_of={}", first["id"].as_str().unwrap());
    assert_eq!(&json!(t.root.get(&of_first, 200).await.items()), &detail["redeliveries"]);
    assert_eq!(t.root.get(&format!("{of_first}&status=succeeded"), 200).await.items().len(), 0);
    assert_eq!(replay(json!({"redelivery_of": first["id"]})).await["matched"], 1, "the failed redelivery");
    let orphan = all.iter().find(|d| d["webhook_id"] == deleted).unwrap();
    let orphan = t.root.get(&format!("/deliveries/{}", orphan["id"].as_str().unwrap()), 200).await.body;
    assert_eq!((&orphan["webhook_deleted"], &orphan["redeliveries"]), (&json!(true), &json!([])));
}

async fn search_results_are_listed_counted_grouped_and_exported(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    receiver.respond(Response::json(503, json!({"error": "no free node"})));
    let webhook = t.webhook(&receiver, json!({"name": "=GPU(1)"})).await.id();
    let reservation = t.booking(&t.alice, resource, 1, 2).await;
    let delivery = t.finished("", 1).await.remove(0);
    let id = delivery["id"].as_str().unwrap();
    let search = "q=status:failed%20code:5xx%20%22no%20free%20node%22%20-error:timeout";
    let count = eventually("an index that contains the delivery", async || {
        let count = t.root.get(&format!("/deliveries/count?{search}"), 200).await.body;
        (count["count"] == 1 && count["index"]["complete"] == true).then_some(count)
    })
    .await;
    assert_eq!((&count["more"], &count["index"]["text"]), (&json!(false), &json!(true)));
    let found = t.root.get(&format!("/deliveries?{search}"), 200).await;
    assert_eq!(found.items(), std::slice::from_ref(&delivery));
    assert_eq!(t.root.get("/deliveries?q=code:2xx", 200).await.items().len(), 0);
    let failures = t.root.get(&format!("/deliveries/failures?webhook_id={webhook}"), 200).await.body;
    let group = &failures["groups"][0];
    assert_eq!((&group["count"], &group["cause"]), (&json!(1), &json!("server_error")));
    let input = json!({"filter": {"q": group["q"]}, "dry_run": true});
    assert_eq!(t.root.post("/deliveries/replay", input, 200).await.body["matched"], 1);

    let csv = t.root.get(&format!("/deliveries/export?{search}"), 200).await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert!(csv.header("content-disposition").contains("berth-deliveries.csv"));
    let lines: Vec<&str> = csv.text.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("id,event_id,") && lines[1].starts_with(id), "{lines:?}");
    assert!(lines[1].contains(",'=GPU(1),"), "{lines:?}");
    let empty = t.root.get("/deliveries/export?q=status:cancelled", 200).await;
    assert_eq!(empty.text.lines().count(), 1, "the header only");
    let jsonl = t.root.get(&format!("/deliveries/export?{search}&format=jsonl"), 200).await;
    assert_eq!(serde_json::from_str::<Value>(jsonl.text.trim()).unwrap(), delivery);
    assert_eq!(t.root.get("/deliveries/export?format=xls", 422).await.invalid_fields(), ["format"]);

    let looked_up = t.root.get(&format!("/lookup?id={id}"), 200).await.body;
    assert_eq!(looked_up, json!({"kind": "delivery", "id": id, "link": format!("/deliveries/{id}")}));
    let own = t.alice.get(&format!("/lookup?id={reservation}"), 200).await.body;
    assert_eq!(own["link"], format!("/reservations/{reservation}"));
    t.alice.get(&format!("/lookup?id={id}"), 404).await;
    let metrics = t.root.get(&format!("/metrics/deliveries?webhook_id={webhook}"), 200).await.body;
    assert_eq!((&metrics["total"]["attempts"], &metrics["total"]["failed"]), (&json!(1), &json!(1)));
    assert_eq!(metrics["by_class"][0]["class"], "5xx");
    assert_eq!(metrics["backlog"], json!({"queued": 0, "oldest": null}));
    assert_eq!(t.root.get(&format!("/deliveries/{id}"), 200).await.body["waiting"], Value::Null);
    t.root.post(&format!("/webhooks/{webhook}/pause"), json!({}), 200).await;
    t.booking(&t.alice, resource, 5, 6).await;
    let backlog = &t.root.get("/metrics/deliveries", 200).await.body["backlog"];
    let oldest = backlog["oldest"]["delivery_id"].as_str().unwrap();
    assert_eq!((&backlog["queued"], &backlog["oldest"]["webhook_id"]), (&json!(1), &json!(webhook)));
    let waiting = &t.root.get(&format!("/deliveries/{oldest}"), 200).await.body["waiting"];
    assert_eq!(*waiting, json!({"reason": "paused", "until": null, "behind": null, "limit": null}));
    assert_eq!(t.root.get("/metrics/deliveries?step=7", 422).await.invalid_fields(), ["step"]);
    for path in ["/deliveries/count", "/deliveries/export", "/deliveries/failures", "/metrics/deliveries"] {
        t.alice.get(path, 403).await;
    }
}

async fn invalid_delivery_filters_are_named(t: TestServer) {
    for (query, field) in [
        ("webhook_id=x", "webhook_id"),
        ("event_type=reservation.exploded", "event_type"),
        ("status=done", "status"),
        ("since=yesterday", "since"),
        ("until=2026", "until"),
        ("limit=-1", "limit"),
        ("cursor=x", "cursor"),
        ("q=stat:failed", "q"),
        ("q=status:done", "q"),
    ] {
        assert_eq!(t.root.get(&format!("/deliveries?{query}"), 422).await.invalid_fields(), [field], "{query}");
    }
    for (input, invalid_fields) in [
        (json!({}), &["filter"][..]),
        (json!({"filter": {"status": "pending"}}), &["filter.status"]),
        (json!({"filter": {"status": "sending"}}), &["filter.status"]),
        (json!({"filter": {"status": "retrying"}, "dry_run": true}), &["filter.status"]),
        (json!({"filter": {"status": "done"}}), &["filter.status"]),
        (json!({"filter": {"since": "yesterday"}}), &["filter.since"]),
        (json!({"filter": {"q": "code:abc"}}), &["q"]),
        (json!({"filter": {}, "dry_run": "yes"}), &["dry_run"]),
        // Ignoring a misspelt filter would replay everything.
        (json!({"filter": {"webhook": 1}}), &["filter.webhook"]),
        (json!({"filter": {}, "dryrun": true}), &["dryrun"]),
    ] {
        t.root.post_invalid("/deliveries/replay", input, invalid_fields).await;
    }
}

async fn delivery_log_is_limited_to_administrators(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    t.webhook(&Receiver::start().await, json!({})).await;
    t.booking(&t.alice, resource, 1, 2).await;
    let id = t.finished("", 1).await[0]["id"].as_str().unwrap().to_owned();
    for (client, status) in [(&t.alice, 403), (&t.anonymous, 401)] {
        client.get("/deliveries", status).await;
        client.get(&format!("/deliveries/{id}"), status).await;
        client.get("/deliveries/dlv_nothing", status).await;
        client.post(&format!("/deliveries/{id}/redeliver"), Value::Null, status).await;
        client.post("/deliveries/replay", json!({"filter": {}}), status).await;
    }
}
