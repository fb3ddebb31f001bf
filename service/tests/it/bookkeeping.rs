//! Notifications, idempotency keys, retention and backups.

use crate::support::{PASSWORD, TestService, refused};
use chrono::Duration;
use domain::ProblemKind::*;
use domain::account::Credentials;
use domain::authorization::{Actor, Role};
use domain::delivery::DeliveryFilter;
use domain::id::AccessRequestId;
use domain::pagination::PageQuery;
use domain::resource::{AccessRequestInput, ResourceStatus};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};
use service::idempotency::Idempotent;
use service::secrets::digest;
use test_support::on_both_databases;

on_both_databases![
    notifications_are_visible_to_their_recipient_only,
    idempotency_key_replays_the_response,
    concurrent_requests_with_one_idempotency_key_run_once,
    idempotency_keys_expire,
    stored_responses_are_encrypted,
    retention_deletes_finished_deliveries_in_batches,
    retention_counts_from_the_end_of_a_delivery,
    retention_deletes_expired_sessions_keys_and_notifications,
];

on_both_databases![sqlite only: backup_is_a_consistent_copy];

on_both_databases![postgres only: backup_is_refused_and_names_pg_dump];

async fn ask_for_access(t: &TestService, actor: &Actor, root: &Actor, resource: &str) -> AccessRequestId {
    let resource_id = t.resource(root, resource, ResourceStatus::Restricted).await;
    t.access_requests()
        .create(actor, AccessRequestInput { resource_id, reason: "A paper is due.".into() })
        .await
        .unwrap()
        .id
}

async fn count(database: &DatabaseConnection, sql: &str) -> i64 {
    let statement = Statement::from_string(database.get_database_backend(), format!("SELECT COUNT(*) AS n FROM {sql}"));
    database.query_one_raw(statement).await.unwrap().unwrap().try_get("", "n").unwrap()
}

async fn notifications_are_visible_to_their_recipient_only(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let bob = t.person("bob", Role::User).await;
    let first = ask_for_access(&t, &alice, &root, "node-1").await;
    ask_for_access(&t, &bob, &root, "node-2").await;
    t.access_requests().approve(&root, &first).await.unwrap();

    let to_root = t.notifications().list(&root).await.unwrap();
    assert_eq!(to_root.len(), 2);
    assert!(to_root[0].message.contains("bob") && to_root[1].message.contains("alice"), "newest first: {to_root:?}");
    let to_alice = t.notifications().list(&alice).await.unwrap();
    assert_eq!((to_alice.len(), to_alice[0].read), (1, false));
    assert!(t.notifications().list(&bob).await.unwrap().is_empty());

    // A user cannot mark the notifications of others.
    t.notifications().mark_read(&bob, i64::MAX).await.unwrap();
    assert!(!t.notifications().list(&alice).await.unwrap()[0].read);
    t.notifications().mark_read(&root, to_root[1].id).await.unwrap();
    let read: Vec<bool> = t.notifications().list(&root).await.unwrap().iter().map(|n| n.read).collect();
    assert_eq!(read, [false, true], "up to the given id");
    t.notifications().mark_read(&alice, to_alice[0].id).await.unwrap();
    assert!(t.notifications().list(&alice).await.unwrap()[0].read);

    // Other administrators still see the notification as unread, also one that becomes administrator later.
    let other = t.person("other", Role::Administrator).await;
    let read = async |actor: &Actor| -> Vec<bool> {
        t.notifications().list(actor).await.unwrap().iter().map(|notification| notification.read).collect()
    };
    assert_eq!(read(&other).await, [false, false]);
    t.notifications().mark_read(&other, i64::MAX).await.unwrap();
    t.notifications().mark_read(&other, i64::MAX).await.unwrap();
    assert_eq!((read(&other).await, read(&root).await), (vec![true, true], vec![false, true]));
    ask_for_access(&t, &bob, &root, "node-3").await;
    assert_eq!(read(&other).await, [false, true, true], "later ones are unread");
    // A token that may only read changes nothing.
    let reader = Actor { scopes: vec![domain::authorization::Scope::Read], ..root.clone() };
    refused(t.notifications().mark_read(&reader, i64::MAX).await, Forbidden);
    assert_eq!(read(&root).await, [false, false, true]);

    // Single ones, e.g. those of one cause. Each administrator has own marks; those of others change nothing.
    let ids: Vec<i64> =
        t.notifications().list(&root).await.unwrap().iter().map(|notification| notification.id).collect();
    t.notifications().mark_each_read(&root, &[ids[1], to_alice[0].id]).await.unwrap();
    t.notifications().mark_each_read(&root, &[]).await.unwrap();
    t.notifications().mark_each_read(&bob, &[ids[0]]).await.unwrap();
    assert_eq!((read(&root).await, read(&other).await), (vec![false, true, true], vec![false, true, true]));
    refused(t.notifications().mark_each_read(&reader, &ids).await, Forbidden);
    refused(t.notifications().mark_each_read(&root, &[1; 101]).await, Invalid);
}

async fn idempotency_key_replays_the_response(t: TestService) {
    let (alice, bob) = (t.person("alice", Role::User).await, t.person("bob", Role::User).await);
    assert!(matches!(t.idempotency().begin(&alice, "key-1", "print").await.unwrap(), Idempotent::New));
    refused(t.idempotency().begin(&alice, "key-1", "print").await, Conflict);
    t.idempotency().finish(&alice, "key-1", 201, "{\"id\": 1}").await.unwrap();
    match t.idempotency().begin(&alice, "key-1", "print").await.unwrap() {
        Idempotent::Replay(status, body) => {
            assert_eq!((status, body.as_str()), (201, "{\"id\": 1}"))
        }
        Idempotent::New => panic!("the request was run before"),
    }
    refused(t.idempotency().begin(&alice, "key-1", "another request").await, Invalid);
    assert!(
        matches!(t.idempotency().begin(&bob, "key-1", "print").await.unwrap(), Idempotent::New),
        "each user has their own keys"
    );

    assert!(matches!(t.idempotency().begin(&alice, "key-2", "print").await.unwrap(), Idempotent::New));
    t.idempotency().abandon(&alice, "key-2").await.unwrap();
    assert!(matches!(t.idempotency().begin(&alice, "key-2", "corrected").await.unwrap(), Idempotent::New));
    // A finished request cannot be abandoned.
    t.idempotency().abandon(&alice, "key-1").await.unwrap();
    assert!(matches!(t.idempotency().begin(&alice, "key-1", "print").await.unwrap(), Idempotent::Replay(201, _)));

    for wrong in ["", "two words", "nul\0", "ü", &"x".repeat(256)] {
        refused(t.idempotency().begin(&alice, wrong, "print").await, Invalid);
    }
}

async fn concurrent_requests_with_one_idempotency_key_run_once(t: TestService) {
    let alice = t.person("alice", Role::User).await;
    t.ready_to_race().await;
    let results = futures::future::join_all((0..8).map(|_| t.idempotency().begin(&alice, "key", "print"))).await;
    assert_eq!(results.iter().filter(|result| matches!(result, Ok(Idempotent::New))).count(), 1);
    assert!(results.iter().filter_map(|result| result.as_ref().err()).all(|problem| problem.kind == Conflict));
}

async fn idempotency_keys_expire(t: TestService) {
    let alice = t.person("alice", Role::User).await;
    t.idempotency().begin(&alice, "died", "print").await.unwrap();
    t.clock.advance(Duration::seconds(61));
    assert!(matches!(t.idempotency().begin(&alice, "died", "print").await.unwrap(), Idempotent::New));
    t.idempotency().finish(&alice, "died", 200, "").await.unwrap();
    t.clock.advance(Duration::hours(23));
    assert!(matches!(t.idempotency().begin(&alice, "died", "print").await.unwrap(), Idempotent::Replay(200, _)));
    t.clock.advance(Duration::hours(1) + Duration::milliseconds(1));
    assert!(matches!(t.idempotency().begin(&alice, "died", "print").await.unwrap(), Idempotent::New));
}

async fn stored_responses_are_encrypted(t: TestService) {
    let alice = t.person("alice", Role::User).await;
    t.idempotency().begin(&alice, "key", &digest("POST /api/v1/webhooks {}")).await.unwrap();
    t.idempotency().finish(&alice, "key", 201, "{\"secret\": \"whsec_abc\"}").await.unwrap();
    let database = t.database().await;
    assert_eq!(count(&database, "idempotency_keys WHERE body IS NOT NULL").await, 1);
    assert_eq!(count(&database, "idempotency_keys WHERE body LIKE '%whsec%'").await, 0);
}

/// Inserts `n` deliveries of the given `age` with one attempt each, as the dispatcher leaves them.
async fn deliveries(t: &TestService, database: &DatabaseConnection, status: &str, n: u32, age: Duration) {
    let at = (t.now() - age).timestamp_millis();
    // A success does not update the row in `deliveries`.
    let logged = if status == "succeeded" { "pending" } else { status };
    let values: Vec<String> = (0..n)
        .map(|i| format!("('dlv_{status}_{at}_{i}', 'evt_x', 'reservation.created', 1, 'rsv-{i}', '{{}}', '{logged}', false, 1, 4, {at}, {at})"))
        .collect();
    let sql = format!(
        "INSERT INTO deliveries (id, event_id, event_type, webhook_id, ordering_key, body, status, test, attempts, max_attempts, created_at, updated_at) VALUES {}",
        values.join(", ")
    );
    database.execute_unprepared(&sql).await.unwrap();
    let sql = format!(
        "INSERT INTO attempts (delivery_seq, attempt, webhook_id, started_at, outcome, duration_ms, delivery_status, record) SELECT seq, 1, 1, {at}, 'failed', 1.5, '{status}', '{{}}' FROM deliveries WHERE id LIKE 'dlv_{status}_{at}_%'"
    );
    database.execute_unprepared(&sql).await.unwrap();
    if matches!(status, "pending" | "retrying") {
        let sql = format!(
            "INSERT INTO outbox (seq, webhook_id, ordering_key, due_at, attempts, updated_at) SELECT seq, 1, ordering_key, {at}, 1, {at} FROM deliveries WHERE id LIKE 'dlv_{status}_{at}_%'"
        );
        database.execute_unprepared(&sql).await.unwrap();
    }
}

async fn retention_deletes_finished_deliveries_in_batches(t: TestService) {
    let database = t.database().await;
    let old = Duration::days(30) + Duration::milliseconds(1);
    deliveries(&t, &database, "pending", 3, old).await;
    deliveries(&t, &database, "succeeded", 700, old).await;
    deliveries(&t, &database, "failed", 300, old).await;
    deliveries(&t, &database, "retrying", 2, old).await;
    deliveries(&t, &database, "cancelled", 200, old).await;
    deliveries(&t, &database, "succeeded", 5, Duration::days(30)).await;
    let mut batches = Vec::new();
    loop {
        match t.maintenance().retention_batch().await.unwrap() {
            0 => break,
            n => batches.push(n),
        }
    }
    assert_eq!(batches, [500, 500, 200]);
    assert_eq!(count(&database, "deliveries").await, 10, "open and recent deliveries are kept");
    assert_eq!(count(&database, "attempts").await, 10);
    assert_eq!(count(&database, "deliveries d JOIN outbox o ON o.seq = d.seq").await, 5);
}

/// A delivery that was queued for long, e.g. during a pause, is kept as long as any other that ended at the same time.
async fn retention_counts_from_the_end_of_a_delivery(t: TestService) {
    let database = t.database().await;
    let old = Duration::days(60);
    let set = async |sql: &str| {
        let at = (t.now() - Duration::days(30)).timestamp_millis();
        database.execute_unprepared(&sql.replace("$at", &at.to_string())).await.unwrap();
    };
    // More than one batch of them comes before expired deliveries.
    deliveries(&t, &database, "succeeded", 1_100, old).await;
    set("UPDATE attempts SET started_at = $at").await;
    deliveries(&t, &database, "failed", 3, old - Duration::days(1)).await;
    set("UPDATE deliveries SET ended_at = $at WHERE status = 'failed'").await;
    deliveries(&t, &database, "succeeded", 600, old - Duration::days(2)).await;
    let mut deleted = 0;
    loop {
        match t.maintenance().retention_batch().await.unwrap() {
            0 => break,
            n => deleted += n,
        }
    }
    assert_eq!((deleted, count(&database, "deliveries").await), (600, 1_103));
    t.clock.advance(Duration::milliseconds(1));
    while t.maintenance().retention_batch().await.unwrap() > 0 {}
    assert_eq!(count(&database, "deliveries").await, 0);
}

async fn retention_deletes_expired_sessions_keys_and_notifications(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let database = t.database().await;
    let log_in =
        || t.accounts().log_in(Credentials { username: "alice".into(), password: PASSWORD.into() }, "192.0.2.1");
    log_in().await.unwrap();
    t.idempotency().begin(&alice, "old", "print").await.unwrap();
    ask_for_access(&t, &alice, &root, "node-1").await;
    t.clock.advance(Duration::days(31));
    let kept = log_in().await.unwrap().session().unwrap().token;
    t.idempotency().begin(&alice, "new", "print").await.unwrap();
    ask_for_access(&t, &alice, &root, "node-2").await;

    while t.maintenance().retention_batch().await.unwrap() > 0 {}
    for (table, left) in [("sessions", 1), ("idempotency_keys", 1), ("notifications", 1), ("access_requests", 2)] {
        assert_eq!(count(&database, table).await, left, "{table}");
    }
    t.accounts().authenticate_session(&kept).await.unwrap();
}

async fn backup_is_a_consistent_copy(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    ask_for_access(&t, &alice, &root, "node-1").await;
    let file = t.folder().join("copy.db");

    // The backup runs during writes.
    let writing = async {
        for i in 0..20 {
            ask_for_access(&t, &alice, &root, &format!("more-{i}")).await;
        }
    };
    let (backup, ()) = tokio::join!(t.maintenance().backup(&file), writing);
    backup.unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "it contains password hashes"
        );
    }
    refused(t.maintenance().backup(&file).await, Conflict);
    let nowhere = refused(t.maintenance().backup(&t.folder().join("no/such/folder/copy.db")).await, Internal);
    assert!(nowhere.detail.contains("no/such/folder"));

    let settings = service::Settings { database_url: format!("sqlite://{}", file.display()), ..t.settings.clone() };
    let copy = service::Service::open(settings, t.clock.source()).await.unwrap();
    let requests = copy
        .access_requests()
        .list(&root, None, &PageQuery { limit: Some(200), cursor: None })
        .await
        .unwrap()
        .items
        .len();
    assert!((1..=21).contains(&requests));
    assert_eq!(copy.notifications().list(&root).await.unwrap().len(), requests, "no transaction is included in part");
    copy.accounts()
        .log_in(Credentials { username: "alice".into(), password: PASSWORD.into() }, "192.0.2.1")
        .await
        .unwrap();
    assert!(
        copy.deliveries()
            .list(&root, &DeliveryFilter::default(), &PageQuery::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

async fn backup_is_refused_and_names_pg_dump(t: TestService) {
    assert!(
        refused(t.maintenance().backup(std::path::Path::new("copy.db")).await, Conflict).detail.contains("pg_dump")
    );
}
