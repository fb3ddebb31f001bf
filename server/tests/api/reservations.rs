//! `/api/v1/reservations` and `/api/v1/calendar`, without status updates.

use crate::support::{TestServer, time, wire};
use chrono::{Datelike as _, Duration};
use reqwest::Method;
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use serde_json::{Value, json};
use std::collections::HashSet;
use test_support::{DatabaseKind, Fixture as _, Receiver, Response, eventually, on_both_databases, postgres_url};

on_both_databases![
    overlapping_reservations_are_rejected,
    one_of_twenty_concurrent_identical_reservations_succeeds,
    invalid_reservation_fields_are_named,
    concurrent_use_of_an_idempotency_key_creates_one_reservation,
    reservation_patch_obeys_the_rules_of_creation,
    reservation_pages_contain_every_item_once,
    reservation_shows_provisioning_and_deliveries,
    next_reservations_are_sorted_by_their_start,
    leap_second_is_one_value_everywhere,
];

on_both_databases![sqlite only:
    created_reservation_is_returned_in_full,
    reservation_patch_keeps_omitted_fields,
    cancelled_reservation_frees_its_time,
    idempotency_key_creates_one_reservation,
    idempotent_replay_is_denied_to_a_token_with_fewer_scopes,
    reservations_of_other_users_are_not_found,
    reservation_list_is_filtered_by_each_parameter,
    calendar_hides_owners_from_other_users,
    unbookable_resources_are_rejected,
    started_reservation_keeps_its_start_time,
    times_in_queries_may_contain_an_unencoded_plus,
    conflict_contains_the_times_of_the_other_reservation,
    extension_in_conflict_names_what_is_possible,
    reservation_in_progress_is_ended_once,
    unchanged_configuration_is_accepted_after_its_schema_has_changed,
];

/// The reservations of the home page, which does not depend on when they were created.
async fn next_reservations_are_sorted_by_their_start(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let running = t.booking(&t.alice, resource, 0, 2).await;
    let ended = t.booking(&t.alice, resource, 3, 4).await;
    t.alice.post(&format!("/reservations/{ended}/cancel"), Value::Null, 200).await;
    t.booking(&t.bob, resource, 4, 5).await;
    let mut later = Vec::new();
    for n in (5..15).rev() {
        later.insert(0, t.booking(&t.alice, resource, 2 * n, 2 * n + 1).await);
    }
    let browser = t.browser("alice").await;
    let next = async || {
        let reply = browser.send(Method::POST, "//rpc/next-reservations", 200, |r| r.json(&json!({}))).await;
        let ids = reply.body.as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(next().await, [&[running][..], &later[..7]].concat());
    t.clock.advance(Duration::hours(3));
    assert_eq!(next().await, later[..8], "the first one has ended");
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7pZLsoUSJmAfc4CAsqYFBZQCcdNI0JVXI9Qw5YbmLS alice@laptop";

async fn created_reservation_is_returned_in_full(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let (start, end) = (t.hours(1), t.hours(3));
    let input = json!({
        "resource_id": resource, "title": "Training — 日本語 🚀", "start_time": start, "end_time": end,
        "user_ssh_key": format!("{KEY}\n"), "additional_config": {"gpu_count": 8},
    });
    let made = t.alice.post("/reservations", input, 201).await;
    let id = made.text("id").to_owned();
    let ulid = id.strip_prefix("rsv-").unwrap();
    assert!(ulid.len() == 26 && ulid.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{id}");
    let at = made.body["created_at"].clone();
    assert!((t.now() - time(&at)).num_seconds() < 60);
    let mut expected = json!({
        "id": id, "user_id": "alice", "resource_id": resource, "resource_name": "node-1", "resource_type": "gpu-cluster",
        "title": "Training — 日本語 🚀", "start_time": start, "end_time": end, "user_ssh_key": KEY,
        "additional_config": {"gpu_type": "nvidia-a100", "gpu_count": 8}, "status": "active", "cancelled_by": null,
        "cancel_reason": "", "created_at": at, "updated_at": at,
        "provisioning": {"status": "waiting", "message": "", "progress": null, "estimated_ready_time": null, "access_info": null, "details": {}, "services": [], "updated_at": at},
    });
    // Whole seconds are written without a fraction.
    for field in ["start_time", "end_time"] {
        assert_eq!(time(&made.body[field]), time(&expected[field]));
        expected[field] = made.body[field].clone();
    }
    assert_eq!(made.body, expected);
    expected["deliveries"] = json!([]);
    expected["deliveries_next_cursor"] = Value::Null;
    assert_eq!(t.alice.get(&format!("/reservations/{id}"), 200).await.body, expected);
    // Optional fields may be absent or null.
    let plain = json!({"resource_id": resource, "start_time": end, "end_time": t.hours(4), "title": null, "user_ssh_key": null, "additional_config": null});
    let made = t.alice.post("/reservations", plain, 201).await;
    assert_eq!((&made.body["title"], &made.body["user_ssh_key"]), (&json!(""), &json!("")));
    assert_eq!(
        made.body["additional_config"],
        json!({"gpu_type": "nvidia-a100", "gpu_count": 4}),
        "defaults of the schema apply"
    );
}

async fn overlapping_reservations_are_rejected(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let other = t.resource("node-2", "available").await;
    let at = |hours: i64| wire(t.now() + Duration::hours(hours));
    let (two, four) = (at(2), at(4));
    let span =
        |resource: i64, start: &str, end: &str| json!({"resource_id": resource, "start_time": start, "end_time": end});
    t.alice.post("/reservations", span(resource, &two, &four), 201).await;
    for (start, end) in [(&two, &four), (&at(1), &at(3)), (&at(3), &at(5)), (&at(1), &at(5)), (&at(3), &four)] {
        let reply = t.bob.post("/reservations", span(resource, start, end), 409).await;
        assert!(reply.text("detail").contains("already reserved"), "{}", reply.text);
        assert!(!reply.text.contains("alice"), "the owner is not revealed");
    }
    // Intervals are half-open: adjacent reservations do not overlap.
    t.bob.post("/reservations", span(resource, &at(1), &two), 201).await;
    t.bob.post("/reservations", span(resource, &four, &at(5)), 201).await;
    t.bob.post("/reservations", span(other, &two, &four), 201).await;
}

async fn one_of_twenty_concurrent_identical_reservations_succeeds(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let body = t.span(resource, 1, 2);
    let requests = (0..20).map(|n| {
        let request = if n % 2 == 0 { &t.alice } else { &t.bob }.request(Method::POST, "/reservations").json(&body);
        async move { request.send().await.unwrap().status().as_u16() }
    });
    let mut responses = futures::future::join_all(requests).await;
    responses.sort_unstable();
    assert_eq!((responses[0], &responses[1..]), (201, &[409; 19][..]));
    assert_eq!(t.root.get("/reservations", 200).await.items().len(), 1);
}

async fn invalid_reservation_fields_are_named(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let with = |changes: Value| {
        let mut input = t.span(resource, 1, 2);
        for (name, value) in changes.as_object().unwrap() {
            input[name] = value.clone();
        }
        input
    };
    let now = t.now();
    let long = "x".repeat(201);
    for (changes, invalid_fields) in [
        (json!({"end_time": t.hours(1), "start_time": t.hours(2)}), &["end_time"][..]),
        (json!({"end_time": t.hours(1), "start_time": t.hours(1)}), &["end_time"]),
        (json!({"start_time": wire(now - Duration::minutes(6))}), &["start_time"]),
        (json!({"start_time": t.hours(-3), "end_time": t.hours(-2)}), &["start_time", "end_time"]),
        (
            json!({"start_time": wire(now - Duration::minutes(4)), "end_time": wire(now - Duration::minutes(1))}),
            &["end_time"],
        ),
        (json!({"end_time": wire(now + Duration::hours(2) + Duration::days(366))}), &["end_time"]),
        (json!({"start_time": t.hours(24 * 3_650), "end_time": t.hours(24 * 3_662)}), &["end_time"]),
        (json!({"start_time": "9999-12-31T23:00:00Z", "end_time": "9999-12-31T23:59:59Z"}), &["end_time"]),
        (json!({"start_time": "+262142-12-31T23:00:00Z"}), &["end_time"]),
        (json!({"resource_id": 999_999}), &["resource_id"]),
        (json!({"resource_id": -1}), &["resource_id"]),
        (json!({"resource_id": 9_999_999_999_999_999_999_u64}), &["resource_id"]),
        (json!({"resource_id": "1"}), &["resource_id"]),
        (json!({"resource_id": 1.5}), &["resource_id"]),
        (json!({"resource_id": null}), &["resource_id"]),
        (json!({"start_time": "tomorrow"}), &["start_time"]),
        (json!({"start_time": "2026-01-01"}), &["start_time"]),
        (json!({"start_time": 1_767_225_600}), &["start_time"]),
        (json!({"end_time": null}), &["end_time"]),
        (json!({"title": long}), &["title"]),
        (json!({"title": "a\0b"}), &["title"]),
        (json!({"title": 7}), &["title"]),
        (json!({"user_ssh_key": "not a key"}), &["user_ssh_key"]),
        (json!({"user_ssh_key": format!("{KEY}\n{KEY}")}), &["user_ssh_key"]),
        (json!({"user_ssh_key": "-----BEGIN OPENSSH PRIVATE KEY-----"}), &["user_ssh_key"]),
        (json!({"user_ssh_key": format!("{KEY}\0")}), &["user_ssh_key"]),
        (json!({"additional_config": []}), &["additional_config"]),
        (json!({"additional_config": {"gpu_count": 17}}), &["additional_config.gpu_count"]),
        (
            json!({"additional_config": {"gpu_type": "nvidia\0", "gpus": 1}}),
            &["additional_config.gpus", "additional_config.gpu_type"],
        ),
        (
            json!({"title": long, "end_time": t.hours(0), "additional_config": {"gpu_count": "4"}}),
            &["end_time", "title", "additional_config.gpu_count"],
        ),
    ] {
        t.alice.post_invalid("/reservations", with(changes), invalid_fields).await;
    }
    t.alice.post_invalid("/reservations", json!({}), &["resource_id"]).await;
    t.alice.post_invalid("/reservations", json!([]), &["body"]).await;
    assert!(t.root.get("/reservations", 200).await.items().is_empty(), "rejected requests have no effect");
}

/// 404 instead of 403, so that their existence is not revealed.
async fn reservations_of_other_users_are_not_found(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let id = t.booking(&t.alice, resource, 1, 2).await;
    let path = format!("/reservations/{id}");
    let unknown = "/reservations/rsv-00000000000000000000000000".to_owned();
    for (path, client) in [(&path, &t.bob), (&unknown, &t.alice), (&unknown, &t.root)] {
        let responses = [
            client.get(path, 404).await,
            client.patch(path, json!({"title": "mine"}), 404).await,
            client.post(&format!("{path}/cancel"), Value::Null, 404).await,
        ];
        assert!(
            responses.iter().all(|reply| reply.without_request_id() == responses[0].without_request_id()),
            "responses must be indistinguishable"
        );
    }
    assert!(t.bob.get("/reservations", 200).await.items().is_empty());
    assert!(t.bob.get("/reservations?mine=false", 200).await.items().is_empty());
    t.anonymous.get(&path, 401).await;
    // Administrators can see and change every reservation.
    t.root.get(&path, 200).await;
    t.root.patch(&path, json!({"title": "Planned"}), 200).await;
    let cancelled = t.root.post(&format!("{path}/cancel"), json!({"reason": "Maintenance"}), 200).await;
    assert_eq!((&cancelled.body["cancelled_by"], &cancelled.body["user_id"]), (&json!("root"), &json!("alice")));
    assert_eq!(t.alice.get(&path, 200).await.body["cancel_reason"], "Maintenance");
}

async fn reservation_patch_keeps_omitted_fields(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let mut input = t.span(resource, 1, 2);
    let start = input["start_time"].clone();
    input["title"] = json!("Before");
    input["user_ssh_key"] = json!(KEY);
    let made = t.alice.post("/reservations", input, 201).await;
    t.booking(&t.bob, resource, 4, 5).await;
    let path = format!("/reservations/{}", made.text("id"));
    let changed = t.alice.patch(&path, json!({"title": "After"}), 200).await;
    assert!(time(&changed.body["updated_at"]) >= time(&made.body["updated_at"]));
    let mut expected = made.body.clone();
    expected["title"] = json!("After");
    expected["updated_at"] = changed.body["updated_at"].clone();
    assert_eq!(changed.body, expected);
    assert_eq!(t.alice.patch(&path, json!({}), 200).await.body, expected, "an empty patch changes nothing");
    let end = t.hours(3);
    let moved = t
        .alice
        .patch(&path, json!({"end_time": end, "user_ssh_key": "", "additional_config": {"gpu_count": 1}}), 200)
        .await;
    assert_eq!(time(&moved.body["end_time"]), end.parse::<chrono::DateTime<chrono::Utc>>().unwrap());
    assert_eq!((&moved.body["user_ssh_key"], &moved.body["additional_config"]["gpu_count"]), (&json!(""), &json!(1)));
    t.alice.patch(&path, json!({"end_time": t.hours(5)}), 409).await;
    for (patch, invalid_fields) in [
        (json!({"end_time": start}), &["end_time"][..]),
        (json!({"start_time": t.hours(-1), "title": "a\0"}), &["start_time", "title"]),
        (json!({"end_time": t.hours(24 * 400)}), &["end_time"]),
        (
            json!({"title": "x".repeat(201), "user_ssh_key": "x", "additional_config": {"x": 1}}),
            &["title", "user_ssh_key", "additional_config.x"],
        ),
        (json!({"start_time": "soon"}), &["start_time"]),
    ] {
        t.alice.patch_invalid(&path, patch, invalid_fields).await;
    }
    let unchanged = t.alice.get(&path, 200).await;
    assert_eq!(unchanged.body["end_time"], moved.body["end_time"], "a rejected change has no effect");
    assert_eq!(unchanged.body["title"], "After");
}

async fn started_reservation_keeps_its_start_time(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let id = t.booking(&t.alice, resource, 0, 2).await;
    let path = format!("/reservations/{id}");
    t.alice.patch_invalid(&path, json!({"start_time": t.hours(1)}), &["start_time"]).await;
    t.alice.patch_invalid(&path, json!({"end_time": t.hours(-1)}), &["end_time"]).await;
    t.alice.patch(&path, json!({"end_time": t.hours(3)}), 200).await;
}

async fn cancelled_reservation_frees_its_time(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let body = t.span(resource, 1, 2);
    let id = t.alice.post("/reservations", body.clone(), 201).await.text("id").to_owned();
    let path = format!("/reservations/{id}");
    t.bob.post("/reservations", body.clone(), 409).await;
    t.alice.post_invalid(&format!("{path}/cancel"), json!({"reason": "x".repeat(501)}), &["reason"]).await;
    t.alice.post_invalid(&format!("{path}/cancel"), json!({"reason": "a\0"}), &["reason"]).await;
    t.alice.post_invalid(&format!("{path}/cancel"), json!({"reason": 5}), &["reason"]).await;
    let cancelled = t.alice.post(&format!("{path}/cancel"), json!({"reason": "No longer needed"}), 200).await;
    assert_eq!((&cancelled.body["status"], &cancelled.body["cancelled_by"]), (&json!("cancelled"), &json!("alice")));
    assert_eq!(cancelled.body["cancel_reason"], "No longer needed");
    assert_eq!(cancelled.body["provisioning"]["status"], "released", "no webhook has to release it");
    t.alice.post(&format!("{path}/cancel"), Value::Null, 409).await;
    t.alice.patch(&path, json!({"title": "x"}), 409).await;
    t.bob.post("/reservations", body, 201).await;
}

async fn idempotency_key_creates_one_reservation(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let body = t.span(resource, 1, 2);
    let keyed = async |client: &crate::client::TestClient, body: &Value, key: &str, status: u16| {
        client.send(Method::POST, "/reservations", status, |r| r.json(body).header("idempotency-key", key)).await
    };
    let first = keyed(&t.alice, &body, "order-1", 201).await;
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = keyed(&t.alice, &body, "order-1", 201).await;
    assert_eq!((&again.text, again.header("idempotency-replayed")), (&first.text, "true"));
    assert_eq!(again.header("content-type"), "application/json");
    // The same key with another request is an error.
    let reply = keyed(&t.alice, &t.span(resource, 3, 4), "order-1", 422).await;
    assert_eq!(reply.invalid_fields(), ["Idempotency-Key"]);
    let request = json!({"resource_id": resource, "reason": "x"});
    let reply = t
        .alice
        .send(Method::POST, "/access-requests", 422, |r| r.json(&request).header("idempotency-key", "order-1"))
        .await;
    assert_eq!(reply.invalid_fields(), ["Idempotency-Key"]);
    // Keys are per user: Bob's request runs and conflicts.
    keyed(&t.bob, &body, "order-1", 409).await;
    // A failed request releases its key.
    keyed(&t.bob, &t.span(resource, 3, 4), "order-1", 201).await;
    for bad in ["", "a b", &"x".repeat(256)] {
        assert_eq!(keyed(&t.alice, &body, bad, 422).await.invalid_fields(), ["Idempotency-Key"], "{bad:?}");
    }
    assert_eq!(t.root.get("/reservations", 200).await.items().len(), 2);
    // Keys expire after a day.
    t.clock.advance(Duration::hours(24) + Duration::seconds(1));
    keyed(&t.alice, &t.span(resource, 1, 2), "order-1", 201).await;
}

/// The stored response can contain a secret, so a credential with fewer permissions must not receive it.
async fn idempotent_replay_is_denied_to_a_token_with_fewer_scopes(t: TestServer) {
    let root = t.browser("root").await;
    let made = root.post("/tokens", json!({"name": "reads", "scopes": ["read"]}), 201).await;
    let reads = t.anonymous.with_token(made.text("token"));
    let input = json!({"name": "CI"});
    let keyed = async |client: &crate::client::TestClient, status: u16| {
        client.send(Method::POST, "/tokens", status, |r| r.json(&input).header("idempotency-key", "ci")).await
    };
    let first = keyed(&root, 201).await;
    assert_eq!(keyed(&reads, 422).await.invalid_fields(), ["Idempotency-Key"]);
    assert_eq!(keyed(&t.root, 422).await.invalid_fields(), ["Idempotency-Key"], "a token cannot create tokens");
    assert_eq!(keyed(&root, 201).await.text, first.text);
    // The same applies after the account's role was reduced.
    t.root.patch("/users/alice", json!({"role": "administrator"}), 200).await;
    t.root.patch("/users/root", json!({"role": "user"}), 200).await;
    assert_eq!(keyed(&root, 422).await.invalid_fields(), ["Idempotency-Key"]);
}

/// On PostgreSQL, where a lock can delay the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotency_key_is_finished_after_client_disconnects() {
    if postgres_url().is_none() {
        return;
    }
    let t = TestServer::start(DatabaseKind::Postgres).await;
    let resource = t.resource("node-1", "available").await;
    let body = t.span(resource, 1, 2);
    // Two connections: the transaction occupies the first one.
    let (holder, database) = (t.database().await, t.database().await);
    let holding = holder.begin().await.unwrap();
    holding.execute_unprepared("LOCK TABLE reservations IN EXCLUSIVE MODE").await.unwrap();
    let keyed = || t.alice.request(Method::POST, "/reservations").json(&body).header("idempotency-key", "order-1");
    let going = tokio::spawn(keyed().send());
    eventually("the work to have begun", async || {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, sql);
        database.query_one_raw(statement).await.unwrap().map(|_| ())
    })
    .await;
    going.abort();
    assert!(going.await.unwrap_err().is_cancelled(), "the client's connection should be closed");
    // The server notices the disconnect while it handles other requests.
    for _ in 0..5 {
        t.anonymous.get("//healthz", 200).await;
        t.bob.get("/reservations", 200).await;
    }
    holding.rollback().await.unwrap();
    let (id, replayed) = eventually("the key to be finished", async || {
        let response = keyed().send().await.unwrap();
        let (status, replayed) = (response.status(), response.headers().contains_key("idempotency-replayed"));
        let body: Value = response.json().await.unwrap();
        (status == 201).then(|| (body["id"].as_str().unwrap().to_owned(), replayed))
    })
    .await;
    assert!(replayed);
    let list = t.alice.get("/reservations", 200).await;
    assert_eq!((list.items().len(), &list.items()[0]["id"]), (1, &json!(id)));
}

async fn concurrent_use_of_an_idempotency_key_creates_one_reservation(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let body = t.span(resource, 1, 2);
    let requests = (0..10).map(|_| {
        let request = t.alice.request(Method::POST, "/reservations").json(&body).header("idempotency-key", "same");
        async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json::<Value>().await.unwrap())
        }
    });
    let responses = futures::future::join_all(requests).await;
    let made: HashSet<&str> =
        responses.iter().filter(|(status, _)| *status == 201).map(|(_, body)| body["id"].as_str().unwrap()).collect();
    assert_eq!(made.len(), 1, "{responses:?}");
    for (status, body) in &responses {
        let waits = *status == 409 && body["detail"].as_str().unwrap().contains("still running");
        assert!(*status == 201 || waits, "{status} {body}");
    }
    assert_eq!(t.root.get("/reservations", 200).await.items().len(), 1);
}

async fn reservation_pages_contain_every_item_once(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let mut made = Vec::new();
    for n in 0..23 {
        made.push(t.booking(if n % 3 == 0 { &t.bob } else { &t.alice }, resource, n + 1, n + 2).await);
    }
    made.reverse();
    let ids = |items: Vec<Value>| -> Vec<String> {
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    for limit in [1, 7, 23, 24, 200] {
        assert_eq!(ids(t.root.pages("/reservations", limit).await), made, "newest first, limit {limit}");
    }
    let mine = ids(t.bob.pages("/reservations", 3).await);
    assert_eq!(mine.len(), 8);
    assert!(mine.iter().all(|id| made.contains(id)));
    // A reservation created between two pages does not shift later pages.
    let first = t.root.get("/reservations?limit=10", 200).await;
    t.booking(&t.alice, resource, 100, 101).await;
    let cursor = first.text("next_cursor");
    let second = t.root.get(&format!("/reservations?limit=10&cursor={cursor}"), 200).await;
    assert_eq!(ids(second.items().to_vec()), made[10..20]);
    // The default page size is 50.
    assert_eq!(t.root.get("/reservations", 200).await.items().len(), 24);
}

async fn reservation_list_is_filtered_by_each_parameter(t: TestServer) {
    let first = t.resource("node-1", "available").await;
    let second = t.resource("node-2", "available").await;
    let a = t.booking(&t.alice, first, 1, 2).await;
    let b = t.booking(&t.bob, second, 3, 4).await;
    let c = t.booking(&t.root, second, 5, 6).await;
    t.bob.post(&format!("/reservations/{b}/cancel"), Value::Null, 200).await;
    let (two, four) = (t.hours(2), t.hours(4));
    for (query, expected) in [
        (String::new(), vec![&c, &b, &a]),
        (format!("resource_id={first}"), vec![&a]),
        ("status=active".into(), vec![&c, &a]),
        ("status=cancelled".into(), vec![&b]),
        ("mine=true".into(), vec![&c]),
        (format!("from={two}"), vec![&c, &b]),
        (format!("to={two}"), vec![&a]),
        (format!("from={two}&to={four}"), vec![&b]),
        (format!("resource_id={second}&status=active"), vec![&c]),
        // Forms send empty values for empty fields.
        ("status=&resource_id=".into(), vec![&c, &b, &a]),
    ] {
        let reply = t.root.get(&format!("/reservations?{query}"), 200).await;
        let ids: Vec<&str> = reply.items().iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(ids, expected, "{query}");
    }
    for (query, field) in
        [("status=open", "status"), ("resource_id=x", "resource_id"), ("mine=perhaps", "mine"), ("from=now", "from")]
    {
        assert_eq!(t.root.get(&format!("/reservations?{query}"), 422).await.invalid_fields(), [field]);
    }
}

async fn calendar_hides_owners_from_other_users(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let id = t.booking(&t.alice, resource, 1, 2).await;
    let (from, to) = (t.hours(0), t.hours(24));
    let path = format!("/calendar?from={from}&to={to}");
    for client in [&t.alice, &t.root] {
        let reply = client.get(&path, 200).await;
        assert_eq!(reply.items()[0]["reservation_id"], json!(id));
        assert_eq!(reply.items()[0]["user_id"], "alice");
    }
    let reply = t.bob.get(&path, 200).await;
    assert_eq!((reply.items().len(), &reply.items()[0]["resource_id"]), (1, &json!(resource)));
    assert!(!reply.text.contains("alice") && !reply.text.contains(&id), "{}", reply.text);
    assert!(t.bob.get(&format!("{path}&resource_type=vm"), 200).await.items().is_empty());
    t.bob.get(&format!("/calendar?from={to}&to={from}"), 422).await;
    t.bob.get(&format!("/calendar?from={from}&to={}", t.hours(24 * 63)), 422).await;
    assert_eq!(t.bob.get("/calendar", 422).await.invalid_fields(), ["from"]);
    t.anonymous.get(&path, 401).await;
}

async fn unbookable_resources_are_rejected(t: TestServer) {
    let restricted = t.resource("node-1", "restricted").await;
    let closed = t.resource("node-2", "maintenance").await;
    t.alice.post("/reservations", t.span(restricted, 1, 2), 403).await;
    t.booking(&t.root, restricted, 1, 2).await;
    t.alice.post("/reservations", t.span(closed, 1, 2), 409).await;
    t.root.post("/reservations", t.span(closed, 1, 2), 409).await;
    t.anonymous.post("/reservations", t.span(restricted, 1, 2), 401).await;
    t.root.patch(&format!("/resources/{closed}"), json!({"status": "available"}), 200).await;
    t.booking(&t.alice, closed, 1, 2).await;
}

async fn reservation_patch_obeys_the_rules_of_creation(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let path = format!("/reservations/{}", t.booking(&t.alice, resource, 4, 8).await);
    let taken = |patch: &str| match patch {
        "longer" => json!({"end_time": t.hours(9)}),
        "earlier" => json!({"start_time": t.hours(3)}),
        _ => json!({"start_time": t.hours(20), "end_time": t.hours(21)}),
    };
    let status = async |status: &str| {
        t.root.patch(&format!("/resources/{resource}"), json!({"status": status}), 200).await;
    };
    for (now, refused) in [("restricted", 403), ("maintenance", 409)] {
        status(now).await;
        for patch in ["longer", "earlier", "moved"] {
            let reply = t.alice.patch(&path, taken(patch), refused).await;
            let reserving = t.alice.post("/reservations", t.span(resource, 30, 31), refused).await;
            assert_eq!(reply.text("detail"), reserving.text("detail"), "{now}, {patch}");
        }
    }
    // Changes without new times are still accepted.
    t.alice.patch(&path, json!({"title": "Renamed", "additional_config": {"gpu_count": 2}}), 200).await;
    t.alice.patch(&path, json!({"start_time": t.hours(5)}), 200).await;
    t.alice.patch(&path, json!({"end_time": t.hours(7)}), 200).await;
    t.root.patch(&path, taken("longer"), 409).await;
    status("restricted").await;
    t.root.patch(&path, json!({"end_time": t.hours(8)}), 200).await;
    // Users with a grant may book again.
    let ask = t.alice.post("/access-requests", json!({"resource_id": resource, "reason": "x"}), 201).await;
    t.root.post(&format!("/access-requests/{}/approve", ask.text("id")), Value::Null, 200).await;
    t.alice.patch(&path, taken("longer"), 200).await;
}

/// The start and end of a reservation in a response or an event.
fn times(body: &Value) -> (Value, Value) {
    (body["start_time"].clone(), body["end_time"].clone())
}

async fn leap_second_is_one_value_everywhere(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    t.webhook(&receiver, json!({})).await;
    let year = t.now().year() + 1;
    let (leap, next) = (format!("{year}-06-30T23:59:60Z"), format!("{year}-07-01T00:00:00Z"));
    let input = json!({"resource_id": resource, "start_time": format!("{year}-06-30T22:00:00Z"), "end_time": leap});
    let made = t.alice.post("/reservations", input, 201).await;
    assert_eq!(made.body["end_time"], json!(next));
    let path = format!("/reservations/{}", made.text("id"));
    assert_eq!(times(&t.alice.get(&path, 200).await.body), times(&made.body));
    assert_eq!(times(&receiver.wait_for(1).await[0].body), times(&made.body));
    let patch = json!({"start_time": leap, "end_time": format!("{year}-07-01T01:59:60.250+01:00")});
    let changed = t.alice.patch(&path, patch, 200).await;
    assert_eq!(times(&changed.body), (json!(next), json!(format!("{year}-07-01T01:00:00.250Z"))));
    assert_eq!(times(&t.alice.get(&path, 200).await.body), times(&changed.body));
    assert_eq!(times(&receiver.wait_for(2).await[1].body), times(&changed.body));
    // Both spellings filter alike.
    for from in [&leap, &next] {
        assert_eq!(t.alice.get(&format!("/reservations?from={from}"), 200).await.items().len(), 1);
        assert!(t.alice.get(&format!("/reservations?to={from}"), 200).await.items().is_empty());
    }
}

async fn times_in_queries_may_contain_an_unencoded_plus(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    t.booking(&t.alice, resource, 1, 2).await;
    let at = |hours: i64, offset: i32| {
        let zone = chrono::FixedOffset::east_opt(offset * 60).unwrap();
        (t.now() + Duration::hours(hours)).with_timezone(&zone).to_rfc3339()
    };
    for offset in [0, 330, 60, -210] {
        let (before, after) = (at(0, offset), at(3, offset));
        for path in [format!("/reservations?from={before}&to={after}"), format!("/calendar?from={before}&to={after}")] {
            assert_eq!(t.alice.get(&path, 200).await.items().len(), 1, "{path}");
        }
        assert!(t.alice.get(&format!("/reservations?from={after}"), 200).await.items().is_empty());
        t.root.get(&format!("/deliveries?since={before}&until={after}"), 200).await;
    }
    let encoded = at(0, 60).replace('+', "%2B");
    assert_eq!(t.alice.get(&format!("/reservations?from={encoded}"), 200).await.items().len(), 1);
    // Only the offset of a time is restored.
    assert_eq!(t.alice.get("/reservations?from=now+00:00", 422).await.invalid_fields(), ["from"]);
}

async fn conflict_contains_the_times_of_the_other_reservation(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let made = t.alice.post("/reservations", t.span(resource, 2, 4), 201).await;
    let reply = t.bob.post("/reservations", t.span(resource, 3, 5), 409).await;
    assert_eq!(times(&reply.body["conflict"]), times(&made.body));
    // Other conflicts have no span.
    let path = format!("/reservations/{}/cancel", made.text("id"));
    t.alice.post(&path, Value::Null, 200).await;
    assert_eq!(t.alice.post(&path, Value::Null, 409).await.body["conflict"], Value::Null);
}

async fn extension_in_conflict_names_what_is_possible(t: TestServer) {
    let [resource, other] = [t.resource("node-1", "available").await, t.resource("node-2", "available").await];
    let made = t.alice.post("/reservations", t.span(resource, 0, 2), 201).await;
    let next = t.bob.post("/reservations", t.span(resource, 3, 4), 201).await;
    let path = format!("/reservations/{}/extend", made.text("id"));
    let keyed = async |body: Value, key: &str, status: u16| {
        t.alice.send(Method::POST, &path, status, |r| r.json(&body).header("idempotency-key", key)).await
    };
    let reply = keyed(json!({"minutes": 120}), "more", 409).await;
    assert_eq!(times(&reply.body["conflict"]), times(&next.body));
    let offer = &reply.body["extension"];
    assert_eq!(time(&offer["extend_until"]), time(&next.body["start_time"]));
    assert_eq!(offer["alternatives"], json!([{"id": other, "name": "node-2"}]));
    let extended = keyed(json!({"minutes": 30}), "more", 200).await;
    assert_eq!(time(&extended.body["end_time"]) - time(&made.body["end_time"]), Duration::minutes(30));
    let again = keyed(json!({"minutes": 30}), "more", 200).await;
    assert_eq!((&again.text, again.header("idempotency-replayed")), (&extended.text, "true"));
    let reply = t.alice.post(&path, json!({"minutes": 30, "end_time": t.hours(3)}), 422).await;
    assert_eq!(reply.invalid_fields(), ["end_time"]);
    assert_eq!(t.alice.post(&path, json!({"hours": 1}), 422).await.invalid_fields(), ["hours"]);
}

async fn reservation_in_progress_is_ended_once(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let id = t.booking(&t.alice, resource, 0, 2).await;
    let path = format!("/reservations/{id}/end");
    let keyed = async || t.alice.send(Method::POST, &path, 200, |r| r.header("idempotency-key", "end")).await;
    let ended = keyed().await;
    assert_eq!(ended.text("status"), "expired");
    assert!(time(&ended.body["end_time"]) <= t.now());
    assert_eq!(keyed().await.text, ended.text, "a double click");
    assert!(t.alice.post(&path, Value::Null, 409).await.text.contains("expired"));
    t.bob.post("/reservations", t.span(resource, 1, 2), 201).await;
}

async fn unchanged_configuration_is_accepted_after_its_schema_has_changed(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let mut input = t.span(resource, 1, 2);
    input["additional_config"] = json!({"gpu_type": "nvidia-a100", "gpu_count": 8});
    let made = t.alice.post("/reservations", input, 201).await;
    let schema = json!({"properties": {"gpu_type": {"type": "string", "enum": ["nvidia-h100"]}}});
    t.root.patch("/resource-types/gpu-cluster", json!({"config_schema": schema}), 200).await;
    let path = format!("/reservations/{}", made.text("id"));
    let config = &made.body["additional_config"];
    let changed = t.alice.patch(&path, json!({"title": "After", "additional_config": config}), 200).await;
    assert_eq!((changed.text("title"), &changed.body["additional_config"]), ("After", config));
    let other = json!({"additional_config": {"gpu_type": "nvidia-a100"}});
    t.alice.patch_invalid(&path, other, &["additional_config.gpu_type"]).await;
}

async fn reservation_shows_provisioning_and_deliveries(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let response_body = json!({"status": "success", "message": "Provisioned", "details": {
        "access_info": {"ip_address": "192.168.100.10", "port": 22, "username": "user-alice", "connection_command": "ssh user-alice@192.168.100.10"},
        "estimated_ready_time": "5 minutes", "cluster_id": "gpu-cluster-1"}});
    receiver.respond(Response::json(200, response_body.clone()));
    let webhook = t.webhook(&receiver, json!({})).await.id();
    let id = t.booking(&t.alice, resource, 1, 2).await;
    let state = t.provisioning(&id, "ready").await;
    assert_eq!(state["message"], "Provisioned");
    assert_eq!(state["access_info"], response_body["details"]["access_info"]);
    assert_eq!(state["estimated_ready_time"], "5 minutes");
    assert_eq!(state["details"], json!({"cluster_id": "gpu-cluster-1"}));
    let detail = t.alice.get(&format!("/reservations/{id}"), 200).await;
    let deliveries = detail.body["deliveries"].as_array().unwrap();
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0]["webhook_id"], webhook);
    assert_eq!(
        (&deliveries[0]["event_type"], &deliveries[0]["status"]),
        (&json!("reservation.created"), &json!("succeeded"))
    );
    assert_eq!((&deliveries[0]["attempts"], &deliveries[0]["status_code"]), (&json!(1), &json!(200)));
    // A failed delivery sets provisioning to failed, with the reason.
    receiver.respond(Response::status(500));
    let id = t.booking(&t.alice, resource, 3, 4).await;
    let state = t.provisioning(&id, "failed").await;
    assert!(state["message"].as_str().unwrap().contains("500"), "{state}");
    // 202 means provisioning; a success on cancelling means released.
    receiver.respond(Response::status(202));
    let id = t.booking(&t.alice, resource, 5, 6).await;
    t.provisioning(&id, "provisioning").await;
    receiver.respond(Response::status(200));
    t.alice.post(&format!("/reservations/{id}/cancel"), Value::Null, 200).await;
    t.provisioning(&id, "released").await;
    let detail = t.alice.get(&format!("/reservations/{id}"), 200).await;
    let events: Vec<&Value> = detail.body["deliveries"].as_array().unwrap().iter().map(|d| &d["event_type"]).collect();
    assert_eq!(events, ["reservation.created", "reservation.cancelled"], "oldest first");
}
