//! `berth transfer`: a SQLite database with rows in every table moves to PostgreSQL.

use crate::support::{PASSWORD, TestService, drain, refused, webhook_input};
use domain::ProblemKind::Unauthenticated;
use domain::account::{ApiTokenInput, Credentials};
use domain::authorization::{Actor, Role};
use domain::delivery::DeliveryFilter;
use domain::resource::ResourceStatus;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};
use service::Service;
use service::audit::Verdict;
use service::deliveries::IndexBatch;
use service::transfer::{Copied, Progress, Source};
use std::collections::BTreeMap;
use test_support::{
    DatabaseKind, Fixture as _, PgBouncer, Receiver, Response, TestDatabase, eventually, on_both_databases,
};

on_both_databases![postgres only:
    every_table_is_copied_with_ids_secrets_and_queue,
    transfer_refuses_a_target_with_rows_and_can_be_repeated,
    transfer_refuses_another_schema,
    transfer_detects_a_difference,
    transfer_through_pgbouncer_uses_the_search_path,
];

/// Rows of each table, as text, sorted.
async fn contents(database: &DatabaseConnection) -> BTreeMap<String, Vec<String>> {
    let query = async |sql: String| {
        let statement = Statement::from_string(database.get_database_backend(), sql);
        database.query_all_raw(statement).await.unwrap()
    };
    let texts = async |sql: String| -> Vec<String> {
        query(sql).await.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
    };
    let postgres = database.get_database_backend() == sea_orm::DbBackend::Postgres;
    let tables = texts(
        if postgres {
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'"
        } else {
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        }
        .into(),
    )
    .await;
    let mut contents = BTreeMap::new();
    // Each database has its own full-text index.
    let is_copied = |table: &String| table != "seaql_migrations" && !table.starts_with("delivery_words");
    for table in tables.into_iter().filter(is_copied) {
        let mut columns = texts(if postgres {
            format!("SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'public' AND table_name = '{table}'")
        } else {
            format!("SELECT name FROM pragma_table_info('{table}')")
        })
        .await;
        columns.sort();
        // Booleans and floating-point numbers have another text form in each database.
        let cell = |column: &String| match (column.as_str(), postgres) {
            // The target builds its full-text index.
            ("needs_text", _) => "''".to_owned(),
            ("duration_ms", true) => "COALESCE('=' || CAST(TRUNC(duration_ms) AS TEXT), 'NULL')".to_owned(),
            ("duration_ms", false) => "COALESCE('=' || CAST(CAST(duration_ms AS INTEGER) AS TEXT), 'NULL')".to_owned(),
            _ => format!("COALESCE('=' || CAST(\"{column}\" AS TEXT), 'NULL')"),
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        let mut rows = texts(format!("SELECT {} FROM \"{table}\"", cells.join(" || '|' || "))).await;
        let unified = |row: &String| row.replace("=true", "=1").replace("=false", "=0");
        rows = rows.iter().map(unified).collect();
        rows.sort();
        contents.insert(table, rows);
    }
    contents
}

/// Fills every table; leaves one delivery queued and one under the lease of a process that was killed.
async fn fill(t: &TestService, receiver: &Receiver) -> (Actor, String) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let token = ApiTokenInput { name: "ci – größer".into(), ..Default::default() };
    let token = t.accounts().create_token_as_operator("alice", token).await.unwrap().token;
    t.accounts().log_in(Credentials { username: "alice".into(), password: PASSWORD.into() }, "x").await.unwrap();
    let open = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let restricted = t.resource(&root, "node-2", ResourceStatus::Restricted).await;
    let request = domain::access_request::AccessRequestInput { resource_id: restricted, reason: "Thesis".into() };
    let request = t.access_requests().create(&alice, request).await.unwrap();
    t.access_requests().approve(&root, &request.id).await.unwrap();
    t.webhook(&root, receiver).await;
    // The id of a deleted row must not be used again.
    let deleted = t.webhooks().create(&root, webhook_input(&receiver.url)).await.unwrap().webhook.id;
    t.webhooks().delete(&root, deleted).await.unwrap();
    receiver.respond(Response::status(500));
    t.booking(&alice, open, 1, 2).await;
    drain(t).await;
    receiver.respond(Response::status(200));
    let delivered = t.booking(&alice, open, 3, 4).await;
    drain(t).await;
    t.booking(&alice, open, 5, 6).await;
    t.index().await;
    t.idempotency().begin(&alice, "key", "print").await.unwrap();
    t.idempotency().finish(&alice, "key", 201, "{}").await.unwrap();
    let database = t.database().await;
    for sql in [
        &format!("INSERT INTO status_updates VALUES ('{}', 'ab', 1)", delivered.id),
        &format!("INSERT INTO reservation_changes VALUES ('{}', 1, 2)", delivered.id),
        "INSERT INTO demo VALUES (1)",
        "INSERT INTO unbound_secrets VALUES (1)",
        "UPDATE outbox SET lease_owner = '01J/1', lease_until = 5 WHERE seq = (SELECT MAX(seq) FROM outbox)",
        "INSERT INTO notifications (username, severity, message, link, at, read) VALUES (NULL, 'info', '', NULL, 1, FALSE)",
        "INSERT INTO setup_code VALUES (1, 'v1.x')",
        "INSERT INTO audit_streams VALUES ('syslog', 2, '', 0)",
        "INSERT INTO dispatchers VALUES ('01J', 1, '01J')",
        "INSERT INTO replays VALUES ('rpl_1', 'paused', 'deliveries', '{}', true, 60, 'alice', 1, 2, 3, 4)",
        "INSERT INTO replay_items VALUES ('rpl_1', 1, 'dlv_1', true, 1)",
        "INSERT INTO reservation_starts VALUES ('rsv-1', 5)",
        "INSERT INTO scheduled_events VALUES ('rsv-1', 'reservation.started', 0, 5, TRUE, FALSE)",
        "INSERT INTO receiver_callbacks VALUES ('ab', 1)",
        "INSERT INTO webhook_listeners SELECT MIN(id), 'lst_1', 1, 2, NULL FROM webhooks",
        "INSERT INTO login_budgets VALUES ('account ab', 1)",
        "INSERT INTO identities VALUES ('https://id.example.com', '42', 'alice', 1, NULL)",
        "INSERT INTO used_log_in_states VALUES ('ab', 1)",
        "INSERT INTO passkeys VALUES ('psk_1', 'alice', 'Laptop', 'ab', 'cd', '{}', 1, NULL)",
        "INSERT INTO authenticator_apps VALUES ('alice', 'v1.x', 58000000, 1, 2)",
        "INSERT INTO recovery_codes VALUES ('alice', 'ab', 1)",
        "INSERT INTO erased_usernames VALUES ('ab', 1)",
        "INSERT INTO challenges VALUES ('ab', 'user alice', 'v1.x', 1)",
        "INSERT INTO user_groups VALUES (3, 'GPU team', '', 1)",
        "INSERT INTO group_members VALUES (3, 'alice')",
        "INSERT INTO owners SELECT 5, NULL, 3, MIN(slug), NULL FROM resource_types",
        "INSERT INTO webhook_monitors (webhook_id, health_path, health_interval, resume_on_recovery, health_status, failed_checks)
         SELECT MIN(id), '/health', 60, TRUE, 'unknown', 0 FROM webhooks",
        "INSERT INTO alert_rules VALUES (0, 'error_rate', TRUE, 0.5, 0.25, 300)",
        "INSERT INTO alert_states VALUES (1, 'error_rate', 'firing', 1, 1, NULL, 1)",
        "INSERT INTO alerts (webhook_id, kind, value, threshold, message, fired_at, resolved_at, notified)
         VALUES (1, 'error_rate', 0.75, 0.5, 'm', 1, NULL, TRUE)",
        "INSERT INTO alert_channel VALUES (1, 'v1.x', 'https://…', 'v1.x', 'Kz0=', 'berth', TRUE)",
        "INSERT INTO alert_preferences VALUES ('alice', FALSE)",
        "INSERT INTO alert_notices (username, event_id, event_type, subject, body, created_at, due_at, attempts, sent_at, error)
         VALUES ('alice', 'evt_1', 'alert.firing', 's', 'b', 1, 2, 0, NULL, NULL)",
        "INSERT INTO notification_reads SELECT 'root', MAX(id) FROM notifications",
    ] {
        database.execute_unprepared(sql).await.unwrap();
    }
    (root, token)
}

/// Applies the migrations to a database.
async fn migrate(database: &TestDatabase) {
    migrations::up(service::connect(&database.url).await.unwrap().writer()).await.unwrap();
}

async fn transfer(from: &str, to: &str) -> Result<Copied, String> {
    let source = Source::open(from).await.map_err(|error| error.to_string())?;
    let target = service::connect(to).await.unwrap();
    migrations::up(target.writer()).await.unwrap();
    source.copy_to(to, |_| {}).await.map_err(|error| error.to_string())
}

/// The SQLite database of a service that has stopped.
async fn stopped(t: TestService) -> TestDatabase {
    let database = t.stop();
    eventually("a database that nobody uses", async || Source::open(&database.url).await.ok().map(drop)).await;
    database
}

async fn every_table_is_copied_with_ids_secrets_and_queue(kind: DatabaseKind) {
    let t = TestService::start(DatabaseKind::Sqlite).await;
    let receiver = Receiver::start().await;
    let (root, token) = fill(&t, &receiver).await;
    let before = contents(&t.database().await).await;
    for (table, rows) in &before {
        assert!(!rows.is_empty(), "the test fills every table, but {table} is empty");
    }
    let (clock, settings) = (t.clock.clone(), t.settings.clone());
    let target = TestDatabase::create(kind).await;
    let in_use = Source::open(&settings.database_url).await.err().expect("the source is in use").to_string();
    assert!(in_use.contains("Stop Berth first"), "{in_use}");

    let source = stopped(t).await;
    let opened = Source::open(&source.url).await.unwrap();
    let connections = service::connect(&target.url).await.unwrap();
    migrations::up(connections.writer()).await.unwrap();
    // A process that was started on the target has written its own code.
    connections.writer().execute_unprepared("INSERT INTO setup_code VALUES (1, 'v1.other')").await.unwrap();
    let mut reports: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let report = |progress: Progress<'_>| {
        reports.insert(progress.table.to_owned(), (progress.copied, progress.rows));
    };
    let copied = opened.copy_to(&target.url, report).await.unwrap();
    let rows: usize = before.values().map(Vec::len).sum();
    assert_eq!(copied, Copied { tables: before.len(), rows: rows as u64 });
    assert!(reports.len() == before.len() && reports.values().all(|(copied, rows)| copied == rows), "{reports:?}");
    assert_eq!(contents(&target.connect().await).await, before);

    // The worker builds the full-text index.
    let search = DeliveryFilter { q: Some("training".into()), ..Default::default() };
    let settings_of_copy = service::Settings { database_url: target.url.clone(), ..settings.clone() };
    let copy = Service::open(settings_of_copy, clock.source()).await.unwrap();
    while copy.deliveries().index_batch(IndexBatch::LARGE).await.unwrap() > 0 {}
    assert_eq!(copy.deliveries().count_matching(&root, &search).await.unwrap().count, 3);
    drop(copy);

    // The copy works: passwords, tokens, secrets, the queue and the chain of the audit log.
    let settings = service::Settings { database_url: target.url.clone(), ..settings };
    let service = Service::open_with(settings, clock.source(), connections).await.unwrap();
    let Verdict::Intact(log) = service.audit().verify(None).await.unwrap() else { panic!("the chain is broken") };
    assert_eq!(log.entries, before["audit_log"].len() as u64);
    service.accounts().authenticate_token(&token).await.unwrap();
    refused(service.accounts().authenticate_token("berth_other").await, Unauthenticated);
    let sent = receiver.count();
    clock.advance(chrono::Duration::minutes(1));
    service.dispatcher().reap_expired_leases(false).await.unwrap();
    drain(&service).await;
    assert!(receiver.count() > sent);
    let signature = receiver.requests().last().unwrap().header("x-webhook-signature").to_owned();
    assert!(signature.starts_with("sha256="));
    let last = service.webhooks().list(&root, &Default::default()).await.unwrap().items.last().unwrap().id;
    let created = service.webhooks().create(&root, webhook_input(&receiver.url)).await.unwrap();
    assert_eq!(created.webhook.id, last + 2, "the id of the deleted webhook is not used again");
}

async fn transfer_refuses_a_target_with_rows_and_can_be_repeated(kind: DatabaseKind) {
    let t = TestService::start(DatabaseKind::Sqlite).await;
    fill(&t, &Receiver::start().await).await;
    let source = stopped(t).await;
    let target = TestDatabase::create(kind).await;
    transfer(&source.url, &target.url).await.unwrap();
    let again = transfer(&source.url, &target.url).await.unwrap_err();
    assert!(again.contains("not empty") && again.contains("has rows"), "{again}");

    // A failure in the middle leaves the target empty, so the transfer can be repeated.
    let other = TestDatabase::create(kind).await;
    migrate(&other).await;
    let connection = other.connect().await;
    let broken = "ALTER TABLE notifications ADD CONSTRAINT broken CHECK (severity <> 'info')";
    connection.execute_unprepared(broken).await.unwrap();
    let failed = transfer(&source.url, &other.url).await.unwrap_err();
    assert!(failed.contains("notifications"), "{failed}");
    let left = contents(&connection).await;
    // The migrations create the rows of these two.
    let is_unused = |table: &str| ["audit_head", "delivery_index_state"].contains(&table);
    assert!(left.iter().all(|(table, rows)| rows.is_empty() || is_unused(table)), "{left:?}");
    connection.execute_unprepared("ALTER TABLE notifications DROP CONSTRAINT broken").await.unwrap();
    transfer(&source.url, &other.url).await.unwrap();
    assert_eq!(contents(&connection).await, contents(&source.connect().await).await);
}

async fn transfer_refuses_another_schema(kind: DatabaseKind) {
    let target = TestDatabase::create(kind).await;
    let missing = Source::open("sqlite:///nowhere/berth.db").await.err().unwrap().to_string();
    assert!(missing.contains("no SQLite database"), "{missing}");
    let empty = TestDatabase::create(DatabaseKind::Sqlite).await;
    empty.connect().await.close().await.unwrap();
    let foreign = transfer(&empty.url, &target.url).await.unwrap_err();
    assert!(foreign.contains("not a database of Berth"), "{foreign}");
    for (change, reason) in [
        ("DELETE FROM seaql_migrations WHERE version LIKE 'm0006%'", "berth migrate"),
        ("INSERT INTO seaql_migrations VALUES ('m9000_future', 1)", "newer release"),
    ] {
        let source = TestDatabase::create(DatabaseKind::Sqlite).await;
        let connection = source.connect().await;
        migrations::up(&connection).await.unwrap();
        connection.execute_unprepared(change).await.unwrap();
        connection.close().await.unwrap();
        let error = transfer(&source.url, &target.url).await.unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

/// The database stores something else than it received.
async fn transfer_detects_a_difference(kind: DatabaseKind) {
    let t = TestService::start(DatabaseKind::Sqlite).await;
    t.administrator().await;
    let source = stopped(t).await;
    let target = TestDatabase::create(kind).await;
    migrate(&target).await;
    let connection = target.connect().await;
    connection
        .execute_unprepared(
            "CREATE FUNCTION changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.email = 'x'; RETURN NEW; END $$;
             CREATE TRIGGER changed BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION changed()",
        )
        .await
        .unwrap();
    let error = transfer(&source.url, &target.url).await.unwrap_err();
    assert!(error.contains("users differs"), "{error}");
    assert!(contents(&connection).await["users"].is_empty());
}

async fn transfer_through_pgbouncer_uses_the_search_path(kind: DatabaseKind) {
    let target = TestDatabase::create(kind).await;
    let Some(pooler) = PgBouncer::start(&target.url).await else {
        return eprintln!("skipped: PgBouncer is not installed");
    };
    let t = TestService::start(DatabaseKind::Sqlite).await;
    let receiver = Receiver::start().await;
    let (root, token) = fill(&t, &receiver).await;
    let rows: usize = contents(&t.database().await).await.values().map(Vec::len).sum();
    let (clock, settings) = (t.clock.clone(), t.settings.clone());
    let source = stopped(t).await;
    let admin = target.connect().await;
    admin.execute_unprepared("CREATE SCHEMA berth").await.unwrap();
    let database_url = pooler.url_through(&target.url) + "?search_path=berth";
    let copied = transfer(&source.url, &database_url).await.unwrap();
    assert_eq!(copied.rows, rows as u64);
    assert!(contents(&admin).await.is_empty(), "the schema public has no tables");
    let service = Service::open(service::Settings { database_url, ..settings }, clock.source()).await.unwrap();
    service.accounts().authenticate_token(&token).await.unwrap();
    // The ids continue after those of the copied rows.
    let last = service.webhooks().list(&root, &Default::default()).await.unwrap().items.last().unwrap().id;
    let created = service.webhooks().create(&root, webhook_input(&receiver.url)).await.unwrap();
    assert_eq!(created.webhook.id, last + 2, "the id of the deleted webhook is not used again");
}
