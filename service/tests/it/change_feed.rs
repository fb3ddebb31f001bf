//! The change feed, within a process and between replicas.

use crate::support::{TestService, refused};
use domain::ProblemKind::*;
use domain::account::ApiTokenInput;
use domain::authorization::{Actor, Role};
use domain::change::Change;
use domain::ownership::OwnersInput;
use domain::resource::{AccessRequestInput, ResourcePatch, ResourceStatus};
use sea_orm::ConnectionTrait as _;
use service::change_feed::Update;
use service::groups::OwnedObject;
use service::outbox::WebhookSet;
use service::{LinkLimits, Service};
use std::time::Duration;
use test_support::{Receiver, eventually, on_both_databases};
use tokio::sync::broadcast;

on_both_databases![committed_change_is_announced, rejected_change_is_not_announced];

on_both_databases![postgres only:
    replica_receives_remote_changes_once_and_in_order,
    replica_is_woken_for_the_webhooks_with_work,
    change_too_large_for_notify_resynchronises_replicas,
    broken_replica_connection_is_restored_and_resynchronised,
    silently_lost_replica_connection_is_replaced_and_resynchronised,
    replicas_invalidate_caches_after_remote_changes,
    replicas_find_each_other_through_pgbouncer,
];

/// Requests access to a new resource through `service`, which announces a notification with the resource's name.
async fn announce(t: &TestService, service: &Service, root: &Actor, name: &str) {
    let resource_id = t.resource(root, name, ResourceStatus::Restricted).await;
    let alice = Actor {
        username: "alice".into(),
        role: Role::User,
        scopes: domain::authorization::Scope::ALL.to_vec(),
        session: None,
        token: None,
        owns: Default::default(),
    };
    service
        .access_requests()
        .create(&alice, AccessRequestInput { resource_id, reason: "A paper is due.".into() })
        .await
        .unwrap();
}

/// The next update. Without one the test fails instead of hanging.
async fn next(feed: &mut broadcast::Receiver<Update>) -> Update {
    tokio::time::timeout(Duration::from_secs(20), feed.recv()).await.expect("an update").unwrap()
}

async fn notification(feed: &mut broadcast::Receiver<Update>) -> String {
    loop {
        if let Update::Change(change) = next(feed).await
            && let Change::Notification(notification) = &*change
        {
            return notification.message.clone();
        }
    }
}

async fn committed_change_is_announced(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    let (mut one, mut two) = (t.change_feed().subscribe(), t.change_feed().subscribe());
    announce(&t, &t.service, &root, "node-1").await;
    assert!(notification(&mut one).await.contains("node-1"));
    assert!(notification(&mut two).await.contains("node-1"));
    // The announcement follows the commit: the notification can be read.
    assert_eq!(t.notifications().list(&root).await.unwrap().len(), 1);
}

async fn rejected_change_is_not_announced(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let resource_id = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let mut feed = t.change_feed().subscribe();
    refused(
        t.access_requests().create(&alice, AccessRequestInput { resource_id, reason: "Please.".into() }).await,
        Conflict,
    );
    assert!(feed.try_recv().is_err());
}

/// A replica that has found the service under test, a subscription to its changes, and the administrator.
async fn connected_replica(t: &TestService) -> (Service, broadcast::Receiver<Update>, Actor) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    let replica = t.replica().await;
    let mut feed = replica.change_feed().subscribe();
    find_each_other(t, &t.service, &root, &mut feed).await;
    (replica, feed, root)
}

/// Announces notifications through `service` until `feed`, of another replica, receives one. Until then they are announced locally
/// only.
async fn find_each_other(t: &TestService, service: &Service, root: &Actor, feed: &mut broadcast::Receiver<Update>) {
    eventually("a notification of the other replica", async || {
        announce(t, service, root, &format!("hello-{:016x}", rand::random::<u64>())).await;
        tokio::time::timeout(Duration::from_millis(200), notification(feed)).await.ok()
    })
    .await;
    while tokio::time::timeout(Duration::from_millis(100), feed.recv()).await.is_ok() {}
}

async fn replica_receives_remote_changes_once_and_in_order(t: TestService) {
    let (replica, mut theirs, root) = connected_replica(&t).await;
    let mut own = t.change_feed().subscribe();
    for i in 0..30 {
        announce(&t, &t.service, &root, &format!("node-{i}.")).await;
    }
    for i in 0..30 {
        assert!(notification(&mut theirs).await.ends_with(&format!("node-{i}..")));
        assert!(notification(&mut own).await.ends_with(&format!("node-{i}..")));
    }
    // In the other direction; a replica's own changes do not return to it.
    for i in 30..33 {
        announce(&t, &replica, &root, &format!("node-{i}.")).await;
    }
    for i in 30..33 {
        assert!(notification(&mut own).await.ends_with(&format!("node-{i}..")));
        assert!(notification(&mut theirs).await.ends_with(&format!("node-{i}..")));
    }
    assert!(theirs.try_recv().is_err() && own.try_recv().is_err());
}

async fn replica_is_woken_for_the_webhooks_with_work(t: TestService) {
    let (replica, _feed, root) = connected_replica(&t).await;
    let receiver = Receiver::start().await;
    let wait_for_wakeup = async || {
        tokio::time::timeout(Duration::from_secs(20), replica.change_feed().wait_for_wakeup()).await.expect("a wake-up")
    };
    let mut webhooks = Vec::new();
    for _ in 0..2 {
        let webhook = t.webhook(&root, &receiver).await;
        assert_eq!(wait_for_wakeup().await, webhook.into());
        webhooks.push(webhook);
    }
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    t.booking(&root, resource, 1, 2).await;
    assert_eq!(wait_for_wakeup().await, webhooks.iter().copied().collect());
    // More webhooks than one message lists: the wake-up is for all.
    for _ in 2..40 {
        t.webhook(&root, &receiver).await;
    }
    t.booking(&root, resource, 2, 3).await;
    // Earlier wake-ups name the new webhooks.
    while wait_for_wakeup().await != WebhookSet::All {}
}

async fn change_too_large_for_notify_resynchronises_replicas(t: TestService) {
    let (_replica, mut feed, root) = connected_replica(&t).await;
    // A reservation whose configuration alone is larger than a NOTIFY may be.
    let resource_id = t.resource(&root, "large", ResourceStatus::Available).await;
    let schema = serde_json::json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "string"}}});
    let patch = domain::resource::ResourceTypePatch { config_schema: Some(schema), ..Default::default() };
    t.catalogue().update_type(&root, "gpu-cluster", patch).await.unwrap();
    let text = serde_json::Value::String("x".repeat(3_000));
    let config = ["a", "b", "c"].map(|field| (field.to_owned(), text.clone()));
    let input = domain::reservation::ReservationInput {
        resource_id,
        title: None,
        start_time: t.now(),
        end_time: t.now() + chrono::Duration::hours(1),
        user_ssh_key: None,
        additional_config: Some(config.into_iter().collect()),
    };
    t.reservations().create(&root, input).await.unwrap();
    assert!(matches!(next(&mut feed).await, Update::Resync));
    announce(&t, &t.service, &root, "node-1").await;
    assert!(notification(&mut feed).await.contains("node-1"));
}

async fn broken_replica_connection_is_restored_and_resynchronised(t: TestService) {
    let (replica, mut feed, root) = connected_replica(&t).await;
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    t.database().await.execute_unprepared(others).await.unwrap();
    assert!(matches!(next(&mut feed).await, Update::Resync), "changes of the outage are lost");
    // A broken connection is replaced at its first use. After as many successes as a pool has connections, every connection works.
    for service in [&t.service, &replica] {
        let mut successes = 0;
        while successes <= 16 {
            successes = if service.ping().await.is_ok() { successes + 1 } else { 0 };
        }
    }
    find_each_other(&t, &t.service, &root, &mut feed).await;
}

/// A firewall drops the flows of a replica without closing them.
async fn silently_lost_replica_connection_is_replaced_and_resynchronised(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    let limits = LinkLimits {
        idle: Duration::ZERO,
        presence: Duration::from_millis(200),
        silence: Duration::from_secs(1),
        send: Duration::from_secs(1),
        ..LinkLimits::default()
    };
    let (proxy, replica) = t.replica_through_proxy(limits).await;
    let mut theirs = replica.change_feed().subscribe();
    find_each_other(&t, &t.service, &root, &mut theirs).await;
    proxy.lose_connections();
    // Sooner than with the default limits.
    assert!(matches!(next(&mut theirs).await, Update::Resync), "changes of the outage are lost");
    find_each_other(&t, &t.service, &root, &mut theirs).await;
    let mut own = t.change_feed().subscribe();
    find_each_other(&t, &replica, &root, &mut own).await;
}

async fn replicas_invalidate_caches_after_remote_changes(t: TestService) {
    let (replica, _feed, root) = connected_replica(&t).await;
    let input = ApiTokenInput { name: "ci".into(), ..Default::default() };
    let made = t.accounts().create_token_as_operator("root", input).await.unwrap();
    replica.accounts().authenticate_token(&made.token).await.unwrap();
    t.accounts().revoke_token(&root, &made.id).await.unwrap();
    // Long before cached credentials expire by themselves (3 s).
    let revoked = std::time::Instant::now();
    while replica.accounts().authenticate_token(&made.token).await.is_ok() {
        assert!(revoked.elapsed() < Duration::from_secs(2), "the replica still accepts the revoked token");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let id = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let input = ApiTokenInput { name: "ci".into(), ..Default::default() };
    t.person("owner", Role::User).await;
    let made = t.accounts().create_token_as_operator("owner", input).await.unwrap();
    assert!(replica.accounts().authenticate_token(&made.token).await.unwrap().0.owns.is_empty());
    let owners = OwnersInput { users: vec!["owner".into()], groups: Vec::new() };
    t.owners().set(&root, OwnedObject::Type("gpu-cluster"), owners).await.unwrap();
    let changed = std::time::Instant::now();
    while replica.accounts().authenticate_token(&made.token).await.unwrap().0.owns.is_empty() {
        assert!(changed.elapsed() < Duration::from_secs(2), "the replica does not know the new owner");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let patch = ResourcePatch { status: Some(ResourceStatus::Maintenance), ..Default::default() };
    t.catalogue().update_resource(&root, id, patch).await.unwrap();
    assert_eq!(replica.catalogue().get_resource(&root, id).await.unwrap().status, ResourceStatus::Maintenance);
}

/// Each connection of a pooler in session mode has a session of its own, with its LISTEN and its search path.
async fn replicas_find_each_other_through_pgbouncer(mut t: TestService) {
    let Some(_pooler) = t.use_pgbouncer().await else { return eprintln!("skipped: PgBouncer is not installed") };
    let (replica, mut theirs, root) = connected_replica(&t).await;
    let mut own = t.change_feed().subscribe();
    find_each_other(&t, &replica, &root, &mut own).await;
    announce(&t, &t.service, &root, "node-1.").await;
    while !notification(&mut theirs).await.ends_with("node-1..") {}
    while !notification(&mut own).await.ends_with("node-1..") {}
    let sql = "SELECT count(*) FROM berth.notifications WHERE message LIKE '%node-1..'";
    let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, sql);
    let stored: i64 = t.database().await.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap();
    assert_eq!(stored, 1, "in the schema of the search path");
}
