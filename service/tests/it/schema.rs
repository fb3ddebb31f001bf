//! Migrations: applied once, atomically, and by one process at a time.

use crate::support::{TestService, drain};
use domain::account::{ReservationsOfDisabled, UserPatch};
use domain::authorization::Role;
use domain::delivery::{DeliveryFilter, DeliveryStatus};
use domain::reservation::ReservationStatus;
use domain::resource::ResourceStatus;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};
use service::connect;
use test_support::{Receiver, TestDatabase, on_both_databases};

on_both_databases![
    migrations_are_idempotent,
    concurrent_processes_migrate_once,
    migration_moves_the_queue_into_the_outbox,
    migration_moves_provisioning_into_its_table,
    migration_keeps_accounts_and_sessions_without_a_provider,
    schema_of_a_newer_release_is_accepted,
    schema_contracted_by_a_newer_release_is_refused,
];

on_both_databases![sqlite only: failed_migration_is_rolled_back];

on_both_databases![postgres only:
    exclusion_constraint_rejects_overlaps,
    role_without_ddl_rights_can_use_a_current_schema,
    missing_right_to_migrate_is_explained,
];

async fn migrations_are_idempotent(t: TestService) {
    t.administrator().await;
    // The migrator uses a second connection beside the one with the lock.
    let connections = connect(&t.settings.database_url).await.unwrap();
    let database = connections.writer();
    assert!(migrations::pending(database).await.unwrap().is_empty());
    migrations::up(database).await.unwrap();
    assert!(!t.accounts().needs_setup().await.unwrap());
}

/// Four processes start on an empty database at the same time.
async fn concurrent_processes_migrate_once(database: TestDatabase) {
    let mut connections: Vec<DatabaseConnection> = Vec::new();
    for _ in 0..4 {
        connections.push(connect(&database.url).await.unwrap().writer().clone());
    }
    assert!(!migrations::pending(&connections[0]).await.unwrap().is_empty());
    for result in futures::future::join_all(connections.iter().map(migrations::up)).await {
        result.unwrap();
    }
    assert!(migrations::pending(&connections[0]).await.unwrap().is_empty());
}

async fn record_migration(database: &DatabaseConnection, name: &str) {
    let sql = format!("INSERT INTO seaql_migrations VALUES ('{name}', 1)");
    database.execute_unprepared(&sql).await.unwrap();
}

/// After a rollback, the schema has migrations that this release does not know.
async fn schema_of_a_newer_release_is_accepted(t: TestService) {
    let database = connect(&t.settings.database_url).await.unwrap().writer().clone();
    record_migration(&database, "m9000_future").await;
    record_migration(&database, "m9001_drop_old_form_requires_m0001").await;
    migrations::up(&database).await.unwrap();
    t.administrator().await;
    // A migration of this release can still be pending.
    database.execute_unprepared("DROP TABLE setup_code").await.unwrap();
    database.execute_unprepared("DELETE FROM seaql_migrations WHERE version LIKE 'm0006%'").await.unwrap();
    assert_eq!(migrations::pending(&database).await.unwrap(), ["m0006_setup_code"]);
    migrations::up(&database).await.unwrap();
    assert_eq!(migrations::pending(&database).await.unwrap(), [""; 0]);
}

async fn schema_contracted_by_a_newer_release_is_refused(t: TestService) {
    let database = t.database().await;
    record_migration(&database, "m9001_drop_old_form_requires_m9000").await;
    let error = migrations::up(&database).await.unwrap_err().to_string();
    assert!(error.contains("m9001_drop_old_form_requires_m9000") && error.contains("m9000"), "{error}");
}

/// Creates a role with a password, and returns the URL of the database for it. Roles belong to the whole server, so each
/// test has its own.
async fn url_of_new_role(database: &DatabaseConnection, url: &str, grants: &str) -> (String, String) {
    let role = format!("berth_test_{:016x}", rand::random::<u64>());
    let sql = format!("CREATE ROLE {role} LOGIN; {}", grants.replace("{role}", &role));
    database.execute_unprepared(&sql).await.unwrap();
    let (_, address) = url.rsplit_once('@').unwrap();
    (format!("postgres://{role}@{address}"), role)
}

async fn drop_role(database: &DatabaseConnection, role: &str) {
    database.execute_unprepared(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

async fn role_without_ddl_rights_can_use_a_current_schema(mut t: TestService) {
    let database = t.database().await;
    let grants = "REVOKE CREATE ON SCHEMA public FROM PUBLIC;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}";
    let (url, role) = url_of_new_role(&database, &t.settings.database_url, grants).await;
    let connections = connect(&url).await.unwrap();
    migrations::up(connections.writer()).await.unwrap();
    let settings = service::Settings { database_url: url, ..t.settings.clone() };
    t.service = service::Service::open_with(settings, t.clock.source(), connections).await.unwrap();
    // Registers a webhook, reserves, and delivers.
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = Receiver::start().await;
    t.webhook(&root, &receiver).await;
    let reservation = t.booking(&alice, resource, 1, 2).await;
    drain(&t).await;
    // Disables a user, and cancels their reservations.
    let reservations = Some(ReservationsOfDisabled::Cancel);
    let patch = UserPatch { disabled: Some(true), reservations, ..Default::default() };
    assert!(t.update_user(&root, "alice", patch).await.unwrap().disabled);
    drain(&t).await;
    let events: Vec<_> = receiver.requests().iter().map(|request| request.event().to_owned()).collect();
    assert_eq!(events, ["reservation.created", "reservation.cancelled"]);
    let deliveries = t.deliveries(&root, DeliveryFilter::default()).await;
    assert!(deliveries.iter().all(|delivery| delivery.status == DeliveryStatus::Succeeded), "{deliveries:?}");
    let detail = t.reservations().get(&root, &reservation.id).await.unwrap();
    assert_eq!(detail.reservation.status, ReservationStatus::Cancelled);
    t.maintenance().retention_batch().await.unwrap();
    let user = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'berth' AND usename = ";
    let statement = Statement::from_string(DbBackend::Postgres, format!("{user}'{role}'"));
    let sessions: i64 = database.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap();
    assert!(sessions > 0, "the service did not use the role");
    drop_role(&database, &role).await;
}

async fn missing_right_to_migrate_is_explained(database: TestDatabase) {
    let owner = database.connect().await;
    let (url, role) = url_of_new_role(&owner, &database.url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let connections = connect(&url).await.unwrap();
    let error = migrations::up(connections.writer()).await.unwrap_err();
    let explained = service::explain_migration_error(&error);
    for part in ["permission denied", "CREATE EXTENSION IF NOT EXISTS btree_gist", "GRANT CREATE", "berth migrate"] {
        assert!(explained.contains(part), "{part} in {explained}");
    }
    // With the right to create tables, the extension is missing.
    owner.execute_unprepared(&format!("GRANT CREATE ON SCHEMA public TO {role}")).await.unwrap();
    let error = migrations::up(connections.writer()).await.unwrap_err();
    let explained = service::explain_migration_error(&error);
    assert!(explained.contains("CREATE EXTENSION IF NOT EXISTS btree_gist"), "{explained}");
    owner.execute_unprepared("CREATE EXTENSION btree_gist").await.unwrap();
    migrations::up(connections.writer()).await.unwrap();
    drop(connections);
    drop_role(&owner, &role).await;
}

/// In early versions the queue was part of the log. Open deliveries keep their state and their leases.
async fn migration_moves_the_queue_into_the_outbox(database: TestDatabase) {
    use migrations::MigratorTrait as _;
    let connection = connect(&database.url).await.unwrap().writer().clone();
    migrations::Migrator::up(&connection, Some(2)).await.unwrap();
    let row = |n: u32, status: &str, attempts: u32, lease: &str, ended: &str| {
        format!(
            "('dlv_{n}', 'evt_{n}', 'reservation.created', 1, 'rsv-{n}', '{{}}', '{status}', false, {attempts}, 4, {n}000, {lease}, 1, 2, {ended})"
        )
    };
    let rows = [
        row(1, "pending", 0, "NULL, NULL", "NULL"),
        row(2, "sending", 1, "500, 'them'", "NULL"),
        row(3, "sending", 3, "600, 'them'", "NULL"),
        row(4, "retrying", 1, "NULL, NULL", "NULL"),
        row(5, "succeeded", 1, "NULL, NULL", "9"),
        row(6, "failed", 4, "NULL, NULL", "9"),
    ];
    let sql = format!(
        "INSERT INTO deliveries (id, event_id, event_type, webhook_id, ordering_key, body, status, test, attempts, max_attempts, due_at, lease_until, lease_owner, created_at, updated_at, ended_at) VALUES {}",
        rows.join(", ")
    );
    connection.execute_unprepared(&sql).await.unwrap();
    migrations::up(&connection).await.unwrap();
    let query = async |sql: &str| {
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        connection.query_all_raw(statement).await.unwrap()
    };
    let log: Vec<(String, i32, Option<i64>)> = query("SELECT status, attempts, failed_at FROM deliveries ORDER BY seq")
        .await
        .iter()
        .map(|r| {
            (r.try_get("", "status").unwrap(), r.try_get("", "attempts").unwrap(), r.try_get("", "failed_at").unwrap())
        })
        .collect();
    let logged = |status: &str, attempts, failed| (status.to_owned(), attempts, failed);
    assert_eq!(
        log,
        [
            logged("pending", 0, None),
            logged("pending", 0, None),
            logged("retrying", 2, None),
            logged("retrying", 1, None),
            logged("succeeded", 1, None),
            logged("failed", 4, Some(9)),
        ]
    );
    let queue: Vec<(String, i64, i32, Option<i64>)> =
        query("SELECT ordering_key, due_at, attempts, lease_until FROM outbox ORDER BY seq")
            .await
            .iter()
            .map(|r| {
                let key = r.try_get("", "ordering_key").unwrap();
                let (due, attempts) = (r.try_get("", "due_at").unwrap(), r.try_get("", "attempts").unwrap());
                (key, due, attempts, r.try_get("", "lease_until").unwrap())
            })
            .collect();
    let queued = |n: i64, attempts, lease| (format!("rsv-{n}"), n * 1_000, attempts, lease);
    assert_eq!(queue, [queued(1, 0, None), queued(2, 1, Some(500)), queued(3, 3, Some(600)), queued(4, 1, None)]);
}

/// In early versions the provisioning state was part of the reservation. A process of such a version may still run.
async fn migration_moves_provisioning_into_its_table(database: TestDatabase) {
    use migrations::MigratorTrait as _;
    let connection = connect(&database.url).await.unwrap().writer().clone();
    migrations::Migrator::up(&connection, Some(4)).await.unwrap();
    let untouched = r#"{"status":"waiting","message":"","progress":null}"#;
    let updated = r#"{"status":"waiting","message":"The change is on its way.","progress":null}"#;
    let (ready, releasing) = (r#"{"status":"ready"}"#, r#"{"status":"releasing"}"#);
    let rows = [
        ("rsv-1", "active", untouched),
        ("rsv-2", "active", updated),
        ("rsv-3", "active", ready),
        ("rsv-4", "cancelled", releasing),
        ("rsv-5", "active", untouched),
    ];
    let values: Vec<_> = rows
        .iter()
        .zip(0..)
        .map(|((id, status, state), hour)| {
            format!("('{id}', 'alice', 1, '', {hour}, {hour} + 1, '', '{{}}', '{status}', '', '{state}', 0, 0)")
        })
        .collect();
    let sql = format!(
        "INSERT INTO resource_types (slug, name, color, config_schema, created_at) VALUES ('gpu', 'GPU', '', '{{}}', 0);
         INSERT INTO resources (name, resource_type, location, specs, status, created_at) VALUES ('node', 'gpu', '', '{{}}', 'available', 0);
         INSERT INTO reservations (id, username, resource_id, title, start_at, end_at, user_ssh_key, additional_config, status, cancel_reason, provisioning, created_at, updated_at) VALUES {}",
        values.join(", ")
    );
    connection.execute_unprepared(&sql).await.unwrap();
    migrations::up(&connection).await.unwrap();
    let states = async || {
        let sql = "SELECT reservation_id, state FROM provisioning ORDER BY reservation_id";
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        let rows = connection.query_all_raw(statement).await.unwrap();
        rows.iter()
            .map(|r| (r.try_get("", "reservation_id").unwrap(), r.try_get("", "state").unwrap()))
            .collect::<Vec<(String, String)>>()
    };
    let expected = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(id, state)| ((*id).to_owned(), (*state).to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(states().await, expected(&[("rsv-2", updated), ("rsv-3", ready), ("rsv-4", releasing)]));
    if connection.get_database_backend() == DbBackend::Sqlite {
        return;
    }
    // Writes of the previous version: a response and a cancellation.
    let sql = format!(
        "UPDATE reservations SET provisioning = '{ready}' WHERE id = 'rsv-1';
         UPDATE reservations SET status = 'cancelled', provisioning = '{releasing}' WHERE id = 'rsv-3'"
    );
    connection.execute_unprepared(&sql).await.unwrap();
    assert_eq!(
        states().await,
        expected(&[("rsv-1", ready), ("rsv-2", updated), ("rsv-3", releasing), ("rsv-4", releasing)])
    );
}

/// Accounts and sessions of earlier versions have no identity provider. A process of such a version may still run.
async fn migration_keeps_accounts_and_sessions_without_a_provider(database: TestDatabase) {
    use migrations::MigratorTrait as _;
    let connection = connect(&database.url).await.unwrap().writer().clone();
    migrations::Migrator::up(&connection, Some(9)).await.unwrap();
    let session = |token: &str| {
        format!(
            "INSERT INTO sessions (token_hash, username, created_at, expires_at, last_used_at, source, device) \
             VALUES ('{token}', 'alice', 1, 2, NULL, '', '')"
        )
    };
    let user = "INSERT INTO users (username, email, password_hash, role, disabled, ssh_key, created_at) \
                VALUES ('alice', 'alice@example.com', 'x', 'user', FALSE, '', 1)";
    for sql in [user.to_owned(), session("before")] {
        connection.execute_unprepared(&sql).await.unwrap();
    }
    migrations::up(&connection).await.unwrap();
    connection.execute_unprepared(&session("after")).await.unwrap();
    let sql = "SELECT COUNT(*) FROM sessions s JOIN users u ON u.username = s.username WHERE s.issuer IS NULL \
               AND s.id_token IS NULL AND s.authenticated_at IS NULL AND u.role_provider IS NULL";
    let statement = sea_orm::Statement::from_string(connection.get_database_backend(), sql);
    let count: i64 = connection.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap();
    assert_eq!(count, 2);
}

async fn failed_migration_is_rolled_back(database: TestDatabase) {
    let connection = connect(&database.url).await.unwrap().writer().clone();
    // Conflicts with the last table, so that the migration fails half way.
    connection.execute_unprepared("CREATE TABLE idempotency_keys (x)").await.unwrap();
    migrations::up(&connection).await.unwrap_err();
    connection.execute_unprepared("DROP TABLE idempotency_keys").await.unwrap();
    migrations::up(&connection).await.unwrap();
}

async fn exclusion_constraint_rejects_overlaps(t: TestService) {
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
    insert("c", 2_000, 3_000, "active").await.expect("adjacent reservations do not overlap");
    insert("d", 1_000, 3_000, "cancelled").await.expect("only active reservations conflict");
}
