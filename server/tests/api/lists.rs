//! Lists are paged: none is cut without a cursor for the rest.

use crate::support::TestServer;
use chrono::Duration;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use test_support::{Receiver, on_both_databases};

on_both_databases![calendar_is_paged, tokens_users_and_notifications_are_paged, deliveries_of_a_reservation_are_paged,];

on_both_databases![sqlite only:
    calendar_beyond_its_page_size_has_a_cursor,
    details_of_a_reservation_with_many_deliveries_have_a_cursor,
    details_of_a_delivery_with_many_redeliveries_have_a_cursor,
];

async fn calendar_is_paged(t: TestServer) {
    let (first, second) = (t.resource("node-1", "available").await, t.resource("node-2", "available").await);
    for hour in 1..4 {
        // Two spans with the same start.
        t.booking(&t.alice, first, hour, hour + 1).await;
        t.booking(&t.bob, second, hour, hour + 1).await;
    }
    let path = format!("/calendar?from={}&to={}", t.hours(0), t.hours(24));
    let all = t.root.get(&path, 200).await;
    assert_eq!((all.items().len(), &all.body["next_cursor"]), (6, &Value::Null));
    for limit in [1, 2, 4, 6, 5_000] {
        assert_eq!(t.root.pages(&path, limit).await, all.items(), "limit {limit}");
    }
    let of_one = t.root.get(&format!("{path}&resource_id={second}"), 200).await;
    assert!(of_one.items().len() == 3 && of_one.items().iter().all(|span| span["resource_id"] == second));
    for (query, field) in
        [("limit=0", "limit"), ("limit=5001", "limit"), ("cursor=%21", "cursor"), ("cursor=eA", "cursor")]
    {
        assert_eq!(t.root.get(&format!("{path}&{query}"), 422).await.invalid_fields(), [field], "{query}");
    }
}

/// One span more than the largest page.
async fn calendar_beyond_its_page_size_has_a_cursor(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let start = t.now().timestamp_millis();
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO reservations (id, username, resource_id, title, start_at, end_at, user_ssh_key, additional_config,
           status, cancel_reason, provisioning, created_at, updated_at)
         SELECT printf('rsv-%026d', i), 'alice', {resource}, '', {start} + i * 600000, {start} + (i + 1) * 600000, '', '{{}}',
           'active', '', '{{}}', 0, 0 FROM n"
    );
    t.database().await.execute_unprepared(&sql).await.unwrap();
    let path = format!("/calendar?from={}&to={}", t.hours(-1), t.hours(24 * 61));
    let first = t.bob.get(&path, 200).await;
    assert_eq!(first.items().len(), 5_000);
    let cursor = first.text("next_cursor");
    let second = t.bob.get(&format!("{path}&cursor={cursor}"), 200).await;
    assert_eq!((second.items().len(), &second.body["next_cursor"]), (1, &Value::Null), "the last span is not lost");
    // The page reads all spans.
    let filter = json!({"resource": resource, "from": t.hours(-1), "to": t.hours(24 * 61)});
    let browser = t.browser("bob").await;
    let spans = browser.send(reqwest::Method::POST, "//rpc/busy", 200, |request| request.json(&filter)).await;
    assert_eq!(spans.body.as_array().unwrap().len(), 5_001);
}

async fn tokens_users_and_notifications_are_paged(t: TestServer) {
    let restricted = t.resource("node-1", "restricted").await;
    for n in 0..4 {
        t.token("root", json!({"name": format!("token-{n}")})).await;
        t.person(&format!("user-{n}"), domain::authorization::Role::User).await;
    }
    for client in [&t.alice, &t.bob] {
        client.post("/access-requests", json!({"resource_id": restricted, "reason": "Training"}), 201).await;
    }
    // Each token has a notification too.
    for (path, count) in [("/tokens", 5), ("/users", 7), ("/notifications", 6)] {
        let all = t.root.get(path, 200).await;
        assert_eq!((all.items().len(), &all.body["next_cursor"]), (count, &Value::Null), "{path}");
        for limit in [1, 2, 200] {
            assert_eq!(t.root.pages(path, limit).await, all.items(), "{path} with limit {limit}");
        }
        for (query, field) in [("limit=0", "limit"), ("limit=201", "limit"), ("cursor=%21", "cursor")] {
            assert_eq!(t.root.get(&format!("{path}?{query}"), 422).await.invalid_fields(), [field], "{path}?{query}");
        }
    }
}

async fn deliveries_of_a_reservation_are_paged(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    t.webhook(&receiver, json!({})).await;
    let id = t.booking(&t.alice, resource, 1, 2).await;
    for n in 0..4 {
        t.alice.patch(&format!("/reservations/{id}"), json!({"title": format!("Title {n}")}), 200).await;
    }
    t.finished("", 5).await;
    let detail = t.alice.get(&format!("/reservations/{id}"), 200).await;
    let deliveries = detail.body["deliveries"].as_array().unwrap();
    assert_eq!((deliveries.len(), &detail.body["deliveries_next_cursor"]), (5, &Value::Null));
    let path = format!("/reservations/{id}/deliveries");
    for limit in [1, 2, 5, 500] {
        assert_eq!(&t.alice.pages(&path, limit).await, deliveries, "limit {limit}");
    }
    t.root.get(&path, 200).await;
    t.bob.get(&path, 404).await;
    t.alice.get("/reservations/rsv-none/deliveries", 404).await;
    for (query, field) in [("limit=0", "limit"), ("limit=501", "limit"), ("cursor=%21", "cursor")] {
        assert_eq!(t.alice.get(&format!("{path}?{query}"), 422).await.invalid_fields(), [field], "{query}");
    }
}

async fn details_of_a_reservation_with_many_deliveries_have_a_cursor(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let webhook = t.webhook(&receiver, json!({})).await.id();
    let id = t.booking(&t.alice, resource, 1, 2).await;
    t.finished("", 1).await;
    let now = (t.now() + Duration::seconds(1)).timestamp_millis();
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 501)
         INSERT INTO deliveries (id, event_id, event_type, webhook_id, ordering_key, reservation_id, body, status, test,
           attempts, max_attempts, created_at, updated_at)
         SELECT printf('dlv_%026d', i), printf('evt_%026d', i), 'reservation.updated', {webhook}, '{id}', '{id}', '{{}}',
           'cancelled', false, 0, 1, {now}, {now} FROM n"
    );
    t.database().await.execute_unprepared(&sql).await.unwrap();
    let detail = t.alice.get(&format!("/reservations/{id}"), 200).await;
    assert_eq!(detail.body["deliveries"].as_array().unwrap().len(), 500);
    let cursor = detail.text("deliveries_next_cursor");
    let rest = t.alice.get(&format!("/reservations/{id}/deliveries?cursor={cursor}"), 200).await;
    assert_eq!((rest.items().len(), &rest.body["next_cursor"]), (2, &Value::Null));
    // The page shows all of them.
    let browser = t.browser("alice").await;
    let body = json!({"id": id});
    let shown = browser.send(reqwest::Method::POST, "//rpc/get-reservation", 200, |request| request.json(&body)).await;
    assert_eq!(shown.body["deliveries"].as_array().unwrap().len(), 502);
}

async fn details_of_a_delivery_with_many_redeliveries_have_a_cursor(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let webhook = t.webhook(&receiver, json!({})).await.id();
    t.booking(&t.alice, resource, 1, 2).await;
    t.booking(&t.alice, resource, 2, 3).await;
    let originals = t.finished("", 2).await;
    let [id, other] = [0, 1].map(|n| originals[n]["id"].as_str().unwrap());
    let now = (t.now() + Duration::seconds(1)).timestamp_millis();
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150)
         INSERT INTO deliveries (id, event_id, event_type, webhook_id, ordering_key, body, status, test, attempts,
           max_attempts, created_at, updated_at, redelivery_of)
         SELECT printf('dlv_%026d', i), 'evt_1', 'reservation.created', {webhook}, 'rsv-1', '{{}}', 'cancelled', false, 0, 1,
           {now}, {now}, iif(i = 1, '{other}', '{id}') FROM n"
    );
    t.database().await.execute_unprepared(&sql).await.unwrap();
    let detail = t.root.get(&format!("/deliveries/{id}"), 200).await;
    let newest = detail.body["redeliveries"].as_array().unwrap();
    assert_eq!((newest.len(), &newest[0]["id"]), (50, &json!(format!("dlv_{:026}", 150))), "the newest first");
    let path = format!("/deliveries?redelivery_of={id}");
    let all = t.root.pages(&path, 70).await;
    assert!(all.len() == 149 && all.iter().all(|redelivery| redelivery["redelivery_of"] == id));
    assert_eq!(newest[..], all[..50]);
    // The cursor continues the list of the details.
    let rest = t.root.get(&format!("{path}&limit=200&cursor={}", detail.text("redeliveries_next_cursor")), 200).await;
    assert_eq!((rest.items(), &rest.body["next_cursor"]), (&all[50..], &Value::Null));
    let single = t.root.get(&format!("/deliveries/{other}"), 200).await.body;
    assert_eq!(
        (single["redeliveries"].as_array().unwrap().len(), &single["redeliveries_next_cursor"]),
        (1, &Value::Null)
    );
}
