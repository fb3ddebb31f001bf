//! The schema: made once, whole, and by one process at a time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use service::connect;
use support::{Engine, TestDatabase, TestService, on_both_engines, open};

on_both_engines![migrating_again_changes_nothing];

async fn migrating_again_changes_nothing(t: TestService) {
    t.administrator().await;
    let database = t.database().await;
    assert!(migrations::pending(&database).await.unwrap().is_empty());
    migrations::up(&database).await.unwrap();
    assert!(!t.needs_setup().await.unwrap());
}

/// Several processes start on an empty database at once.
async fn together(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let mut connections: Vec<DatabaseConnection> = Vec::new();
    for _ in 0..4 {
        connections.push(connect(&database.url).await.unwrap().0);
    }
    assert!(!migrations::pending(&connections[0]).await.unwrap().is_empty());
    for result in futures::future::join_all(connections.iter().map(migrations::up)).await {
        result.unwrap();
    }
    assert!(migrations::pending(&connections[0]).await.unwrap().is_empty());
}

#[tokio::test]
async fn processes_that_start_together_migrate_once_on_sqlite() {
    together(Engine::Sqlite).await;
}

#[tokio::test]
async fn processes_that_start_together_migrate_once_on_postgres() {
    if support::postgres().is_some() {
        together(Engine::Postgres).await;
    }
}

#[tokio::test]
async fn an_interrupted_migration_leaves_nothing_behind() {
    let database = TestDatabase::new(Engine::Sqlite).await;
    let connection = connect(&database.url).await.unwrap().0;
    // In the way of the last table, so that the step fails half way.
    connection.execute_unprepared("CREATE TABLE idempotency_keys (x)").await.unwrap();
    migrations::up(&connection).await.unwrap_err();
    connection.execute_unprepared("DROP TABLE idempotency_keys").await.unwrap();
    migrations::up(&connection).await.unwrap();
}

#[tokio::test]
async fn postgresql_refuses_overlaps_itself() {
    if support::postgres().is_none() {
        return;
    }
    let t = open(Engine::Postgres).await;
    let root = t.administrator().await;
    let resource = t.resource(&root, "node-1", domain::resource::ResourceStatus::Available).await;
    let database = t.database().await;
    let insert = async |id: &str, start: i64, end: i64, status: &str| {
        let sql = format!(
            "INSERT INTO reservations (id, username, resource_id, title, start_at, end_at, user_ssh_key, additional_config, status, cancel_reason, provisioning, created_at, updated_at) VALUES ('{id}', 'root', {resource}, '', {start}, {end}, '', '{{}}', '{status}', '', '{{}}', 0, 0)"
        );
        database.execute_unprepared(&sql).await
    };
    insert("a", 1_000, 2_000, "active").await.unwrap();
    insert("b", 1_999, 3_000, "active").await.unwrap_err();
    insert("c", 2_000, 3_000, "active").await.expect("one may begin when another ends");
    insert("d", 1_000, 3_000, "cancelled").await.expect("only active ones are in the way");
}
