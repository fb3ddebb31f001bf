//! Connections to PostgreSQL: lost ones, other schemas, and connection poolers.

use crate::support::{TestService, address, drain, refused, step, url_through};
use domain::ProblemKind;
use domain::account::ApiTokenInput;
use domain::authorization::Role;
use domain::resource::ResourceStatus;
use sea_orm::{ConnectionTrait as _, Statement};
use service::{LinkLimits, connect};
use std::sync::Arc;
use std::time::{Duration, Instant};
use test_support::{Receiver, TcpProxy, TestDatabase, on_both_databases};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

on_both_databases![postgres only:
    terminated_connections_are_replaced_silently,
    silently_lost_idle_connections_are_replaced,
    silently_lost_connections_in_use_are_replaced,
    search_path_selects_the_schema,
    pgbouncer_in_session_mode_is_accepted,
    pooler_in_transaction_mode_is_named,
];

/// An administrator or a restart ends all connections while they are idle.
async fn terminated_connections_are_replaced_silently(t: TestService) {
    let alice = t.person("alice", Role::User).await;
    let admin = t.database().await;
    let sql = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'berth'";
    let terminate = async || {
        t.ready_to_race().await;
        let statement = Statement::from_string(admin.get_database_backend(), sql);
        let ended: i64 = admin.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap();
        assert!(ended > 2, "{ended} connections were open");
    };
    // Reads, one after the other and at once.
    terminate().await;
    for _ in 0..15 {
        t.accounts().list_tokens(&alice).await.unwrap();
    }
    terminate().await;
    for result in futures::future::join_all((0..15).map(|_| t.accounts().list_tokens(&alice))).await {
        result.unwrap();
    }
    // Writes: single statements and transactions.
    for n in 0..5 {
        terminate().await;
        let input = ApiTokenInput { name: format!("token {n}"), ..Default::default() };
        t.accounts().create_token_as_operator("alice", input).await.unwrap();
        terminate().await;
        t.person(&format!("person{n}"), Role::User).await;
        terminate().await;
        t.maintenance().retention_batch().await.unwrap();
    }
    assert_eq!(t.accounts().list_tokens(&alice).await.unwrap().len(), 5, "no write was repeated");
}

/// Replaces the service of `t` by one that reaches PostgreSQL through a proxy, so that `t` uses it.
async fn use_proxy(t: &mut TestService, limits: LinkLimits) -> TcpProxy {
    let (proxy, service) = t.replica_through_proxy(limits).await;
    t.service = service;
    proxy
}

/// A firewall drops idle flows: their packets get no response, and nothing closes them. The test of an idle connection notices it.
async fn silently_lost_idle_connections_are_replaced(mut t: TestService) {
    // Every connection counts as idle. Its statements have the usual time limit, which the test must not need.
    let limits = LinkLimits { idle: Duration::ZERO, test: Duration::from_millis(500), ..LinkLimits::default() };
    let proxy = use_proxy(&mut t, limits).await;
    let root = t.administrator().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = Receiver::start().await;
    t.webhook(&root, &receiver).await;
    t.booking(&root, resource, 1, 2).await;
    drain(&t).await;
    let lose = async || {
        t.ready_to_race().await;
        proxy.lose_connections();
        Instant::now()
    };
    let assert_prompt = |lost: Instant| assert!(lost.elapsed() < limits.statement / 2, "{:?}", lost.elapsed());
    // The reader, one after the other and at once.
    let lost = lose().await;
    t.accounts().list_tokens(&root).await.unwrap();
    assert_prompt(lost);
    let lost = lose().await;
    for result in futures::future::join_all((0..15).map(|_| t.accounts().list_tokens(&root))).await {
        result.unwrap();
    }
    assert_prompt(lost);
    // The writer.
    let lost = lose().await;
    t.booking(&root, resource, 2, 3).await;
    assert_prompt(lost);
    // Claims and results.
    let lost = lose().await;
    drain(&t).await;
    assert_eq!(receiver.count(), 2);
    assert_prompt(lost);
}

/// The flow of a connection that was just used is dropped. The time limit of a statement notices it: this statement fails, and all
/// older connections are replaced.
async fn silently_lost_connections_in_use_are_replaced(mut t: TestService) {
    let idle = Duration::from_secs(3_600);
    let limits = LinkLimits { statement: Duration::from_secs(2), idle, ..LinkLimits::default() };
    let proxy = use_proxy(&mut t, limits).await;
    let root = t.administrator().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = Receiver::start().await;
    t.webhook(&root, &receiver).await;
    t.booking(&root, resource, 1, 2).await;
    drain(&t).await;
    let lose = async || {
        t.ready_to_race().await;
        proxy.lose_connections();
        Instant::now()
    };
    let assert_noticed = |lost: Instant| {
        let range = limits.statement..limits.statement * 4;
        assert!(range.contains(&lost.elapsed()), "{:?}", lost.elapsed());
    };
    // The reader.
    let lost = lose().await;
    refused(t.accounts().list_tokens(&root).await, ProblemKind::Unavailable);
    assert_noticed(lost);
    let retired = Instant::now();
    for _ in 0..15 {
        t.accounts().list_tokens(&root).await.unwrap();
    }
    assert!(retired.elapsed() < limits.statement, "{:?}", retired.elapsed());
    // The writer.
    let lost = lose().await;
    refused(t.reservations().create(&root, t.span(resource, 2, 3)).await, ProblemKind::Unavailable);
    assert_noticed(lost);
    t.booking(&root, resource, 2, 3).await;
    // Claims and results. A dispatcher repeats a failed claim itself.
    lose().await;
    let dispatcher = t.dispatcher();
    assert!(dispatcher.step().await.is_err());
    assert_eq!((step(&dispatcher).await, receiver.count(), step(&dispatcher).await), (1, 2, 0));
}

async fn search_path_selects_the_schema(database: TestDatabase) {
    let admin = database.connect().await;
    admin.execute_unprepared("CREATE SCHEMA berth").await.unwrap();
    let pooled = url_through(&database.url, session_pooler(address(&database.url)).await);
    for (url, parameter) in [
        (&pooled, "&search_path=berth"),
        (&database.url, "?search_path=berth"),
        (&database.url, "?options=-csearch_path%3Dberth"),
    ] {
        let connections = connect(&format!("{url}{parameter}")).await.unwrap();
        migrations::up(connections.writer()).await.unwrap();
        assert_eq!(migrations::pending(connections.writer()).await.unwrap(), [""; 0]);
    }
    let sql = "SELECT DISTINCT table_schema::text FROM information_schema.tables WHERE table_name = 'reservations'";
    let statement = Statement::from_string(admin.get_database_backend(), sql);
    let schemas: Vec<String> =
        admin.query_all_raw(statement).await.unwrap().iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
    assert_eq!(schemas, ["berth"]);
}

/// Startup parameters that PgBouncer accepts with its default settings; it rejects every other one.
const PGBOUNCER_PARAMETERS: [&str; 8] = [
    "user",
    "database",
    "client_encoding",
    "datestyle",
    "timezone",
    "standard_conforming_strings",
    "application_name",
    "intervalstyle",
];

/// The names of the parameters in a startup message, and the message.
async fn read_startup(client: &mut TcpStream) -> (Vec<String>, Vec<u8>) {
    let length = client.read_u32().await.unwrap();
    let mut body = vec![0; length as usize - 4];
    client.read_exact(&mut body).await.unwrap();
    let texts: Vec<String> =
        body[4..].split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let names = texts.chunks(2).map(|pair| pair[0].to_lowercase()).filter(|name| !name.is_empty()).collect();
    (names, [&length.to_be_bytes()[..], &body].concat())
}

/// One message with its type and length.
async fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let kind = stream.read_u8().await.ok()?;
    let length = stream.read_u32().await.ok()?;
    let mut message = [&[kind], &length.to_be_bytes()[..]].concat();
    message.resize(1 + length as usize, 0);
    stream.read_exact(&mut message[5..]).await.ok()?;
    Some(message)
}

/// The message of a fatal error.
fn fatal(text: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C08P01\0M{text}\0\0");
    [b"E", &(fields.len() as u32 + 4).to_be_bytes()[..], fields.as_bytes()].concat()
}

/// Listens like PgBouncer in session mode: checks the startup parameters and forwards the rest.
async fn session_pooler(server: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let server = server.clone();
            tokio::spawn(async move {
                let (parameters, startup) = read_startup(&mut client).await;
                if let Some(unknown) = parameters.iter().find(|name| !PGBOUNCER_PARAMETERS.contains(&name.as_str())) {
                    let _ = client.write_all(&fatal(&format!("unsupported startup parameter: {unknown}"))).await;
                    return;
                }
                let mut server = TcpStream::connect(server).await.unwrap();
                server.write_all(&startup).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

/// Listens like a pooler in transaction mode: all clients share one session, one statement at a time.
async fn transaction_pooler(server: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shared: Arc<Mutex<Option<TcpStream>>> = Arc::default();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let (shared, server) = (shared.clone(), server.clone());
            tokio::spawn(async move {
                let (_, startup) = read_startup(&mut client).await;
                let mut session = shared.lock().await;
                if session.is_none() {
                    let mut opened = TcpStream::connect(server).await.unwrap();
                    opened.write_all(&startup).await.unwrap();
                    while read_message(&mut opened).await.unwrap()[0] != b'Z' {}
                    *session = Some(opened);
                }
                drop(session);
                // Authenticated, and ready for a query.
                client.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await.unwrap();
                while let Some(message) = read_message(&mut client).await.filter(|message| message[0] != b'X') {
                    let mut session = shared.lock().await;
                    let session = session.as_mut().unwrap();
                    session.write_all(&message).await.unwrap();
                    loop {
                        let reply = read_message(session).await.unwrap();
                        client.write_all(&reply).await.unwrap();
                        if reply[0] == b'Z' {
                            break;
                        }
                    }
                }
            });
        }
    });
    port
}

async fn pgbouncer_in_session_mode_is_accepted(t: TestService) {
    let url = &t.settings.database_url;
    let port = session_pooler(address(url)).await;
    let settings = service::Settings { database_url: url_through(url, port), ..t.settings.clone() };
    let service = service::Service::open(settings, t.clock.source()).await.unwrap();
    t.person("alice", Role::User).await;
    let other = service.change_feed().subscribe();
    assert!(!service.accounts().needs_setup().await.unwrap());
    drop(other);
}

async fn pooler_in_transaction_mode_is_named(database: TestDatabase) {
    let port = transaction_pooler(address(&database.url)).await;
    let error = connect(&url_through(&database.url, port)).await.err().expect("it should be refused").to_string();
    assert!(error.contains("transaction mode") && error.contains("pool_mode = session"), "{error}");
}
