//! The audit log of real processes: `berth audit`, and its streams to real sockets.

use super::database::Database;
use super::eventually;
use super::load::Api;
use super::stop::STOP_TIMEOUT;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use parking_lot::Mutex;
use prost::Message as _;
use sea_orm::ConnectionTrait as _;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use test_support::on_both_databases;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, UdpSocket, UnixDatagram};

on_both_databases![command_verifies_and_exports_the_log, syslog_over_tcp_receives_every_entry_in_order_after_an_outage];

on_both_databases![sqlite only:
    syslog_over_udp_and_unix_sockets_receives_entries,
    otlp_collector_receives_entries_after_failures,
    invalid_audit_settings_are_named,
    last_failures_are_written_at_shutdown,
];

async fn command_verifies_and_exports_the_log(database: Database) {
    let settings = database.settings(5.0);
    let berth = settings.serve().await;
    let api = Api::of(&settings).await;
    api.resource_type(&berth.url).await;
    let verified = settings.run(&["audit", "verify"]).await;
    let lines: Vec<&str> = verified.lines().collect();
    assert!(
        lines[0].starts_with("The audit log is intact: ") && lines[0].contains("entries, the newest is "),
        "{verified}"
    );
    let noted = lines.last().unwrap().strip_prefix("Head: ").unwrap().to_owned();
    assert_eq!(noted.len(), 64);
    api.resource(&berth.url, "node-1").await;
    settings.run(&["audit", "verify", "--head", &noted]).await;
    let exported = settings.run(&["audit", "export"]).await;
    let entries: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seqs: Vec<i64> = entries.iter().map(|entry| entry["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..=entries.len() as i64).collect::<Vec<_>>());
    let filtered = settings.run(&["audit", "export", "--action", "resource.created"]).await;
    assert_eq!(filtered.lines().count(), 1);
    let unknown = "0".repeat(64);
    let (code, error) = settings.run_with(&["audit", "verify", "--head", &unknown], &[]).await;
    assert!(code == 1 && error.contains("No entry has the hash of --head"), "{error}");
    let (code, error) = settings.run_with(&["audit", "verify", "--head", "abc"], &[]).await;
    assert!(code == 2 && error.contains("64 hex digits"), "{error}");
    let (code, error) = settings.run_with(&["audit", "export", "--action", "x"], &[]).await;
    assert!(code == 2 && error.contains("webhook.updated"), "{error}");
    let (code, error) = settings.run_with(&["audit", "verify"], &[("BERTH_MASTER_KEY", Some(&"08".repeat(32)))]).await;
    assert!(code == 1 && error.contains("another master key"), "{error}");
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
    let connection = database.connect().await;
    let drop_trigger = if database.is_sqlite() {
        "DROP TRIGGER audit_log_no_update"
    } else {
        "ALTER TABLE audit_log DISABLE TRIGGER USER"
    };
    connection.execute_unprepared(drop_trigger).await.unwrap();
    connection.execute_unprepared("UPDATE audit_log SET actor = 'mallory' WHERE seq = 2").await.unwrap();
    let (code, error) = settings.run_with(&["audit", "verify"], &[]).await;
    assert_eq!(code, 1);
    assert!(error.contains("The audit log is not intact. First fault at entry 2."), "{error}");
}

/// The number of entries in the database.
async fn count(database: &Database) -> i64 {
    database.number("SELECT COUNT(*) FROM audit_log").await
}

/// The numbers of the entries in messages.
fn seqs(messages: &[String]) -> Vec<i64> {
    let json = |message: &String| message[message.find("] {").unwrap() + 2..].to_owned();
    messages
        .iter()
        .map(|message| serde_json::from_str::<Value>(&json(message)).unwrap()["seq"].as_i64().unwrap())
        .collect()
}

/// Splits a stream with octet counting (RFC 6587) into messages.
fn split_octet_counted(mut bytes: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while let Some(space) = bytes.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
        let Some(message) = bytes.get(space + 1..space + 1 + length) else { break };
        messages.push(String::from_utf8(message.to_vec()).unwrap());
        bytes = &bytes[space + 1 + length..];
    }
    messages
}

/// Accepts connections and collects what they send.
fn collect(listener: TcpListener) -> (Arc<Mutex<Vec<u8>>>, tokio::task::JoinHandle<()>) {
    let received = Arc::new(Mutex::new(Vec::new()));
    let bytes = received.clone();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                bytes.lock().extend_from_slice(&buffer[..length]);
            }
        }
    });
    (received, task)
}

async fn syslog_over_tcp_receives_every_entry_in_order_after_an_outage(database: Database) {
    let settings = database.settings(5.0);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // The receiver is not there yet.
    drop(listener);
    let target = format!("tcp://{address}");
    let berth = settings.serve_with(&[("BERTH_AUDIT_SYSLOG", Some(&target))]).await;
    let api = Api::of(&settings).await;
    api.resource_type(&berth.url).await;
    eventually("a warning about the stream", async || berth.logged("the audit log was not sent").then_some(())).await;
    let (received, task) = collect(TcpListener::bind(address).await.unwrap());
    let all = async |received: &Mutex<Vec<u8>>| {
        let messages = split_octet_counted(&received.lock().clone());
        let expected: Vec<i64> = (1..=count(&database).await).collect();
        (seqs(&messages) == expected).then_some(messages)
    };
    let messages = eventually("all entries", async || all(&received).await).await;
    assert!(messages[0].starts_with("<109>1 ") && messages[0].contains(" berth "), "{}", messages[0]);
    // The receiver restarts. Entries of the meantime follow; none is lost.
    task.abort();
    let _ = task.await;
    api.resource(&berth.url, "node-1").await;
    api.resource(&berth.url, "node-2").await;
    let (later, _task) = collect(TcpListener::bind(address).await.unwrap());
    eventually("the entries of the outage", async || {
        let mut messages = split_octet_counted(&received.lock().clone());
        messages.extend(split_octet_counted(&later.lock().clone()));
        let mut seen = seqs(&messages);
        assert!(seqs(&split_octet_counted(&later.lock().clone())).is_sorted(), "{seen:?}");
        seen.dedup();
        seen.sort_unstable();
        seen.dedup();
        (seen == (1..=count(&database).await).collect::<Vec<_>>()).then_some(())
    })
    .await;
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
}

async fn syslog_over_udp_and_unix_sockets_receives_entries(database: Database) {
    let settings = database.settings(5.0);
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = format!("udp://{}", udp.local_addr().unwrap());
    let berth = settings.serve_with(&[("BERTH_AUDIT_SYSLOG", Some(&target))]).await;
    let mut buffer = vec![0; 64 * 1024];
    let length = tokio::time::timeout(super::DEADLINE, udp.recv(&mut buffer)).await.unwrap().unwrap();
    let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
    assert_eq!(seqs(std::slice::from_ref(&message)), [1]);
    assert!(message.contains("action=\"user.created\""), "{message}");
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
    // The position is stored, so another target continues.
    let path = database.folder().join("log.sock");
    let unix = UnixDatagram::bind(&path).unwrap();
    let target = format!("unix://{}", path.display());
    let berth = settings.serve_with(&[("BERTH_AUDIT_SYSLOG", Some(&target))]).await;
    Api::of(&settings).await;
    let length = tokio::time::timeout(super::DEADLINE, unix.recv(&mut buffer)).await.unwrap().unwrap();
    let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
    assert_eq!(seqs(std::slice::from_ref(&message)), [2], "{message}");
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
}

#[derive(Clone, Default)]
struct Collector {
    fails: Arc<AtomicBool>,
    /// Number and action of each record.
    records: Arc<Mutex<Vec<(i64, String)>>>,
}

async fn export(State(collector): State<Collector>, body: Bytes) -> impl IntoResponse {
    if collector.fails.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let request = ExportLogsServiceRequest::decode(body).expect("an OTLP request");
    for record in request.resource_logs.into_iter().flat_map(|r| r.scope_logs).flat_map(|s| s.log_records) {
        let value =
            |key: &str| record.attributes.iter().find(|a| a.key == key).unwrap().value.clone().unwrap().value.unwrap();
        let AnyValue::IntValue(seq) = value("berth.audit.seq") else { panic!("no number") };
        let AnyValue::StringValue(action) = value("berth.audit.action") else { panic!("no action") };
        let Some(AnyValue::StringValue(body)) = record.body.clone().unwrap().value else { panic!("no body") };
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["seq"], seq);
        collector.records.lock().push((seq, action));
    }
    let response = ExportLogsServiceResponse::default().encode_to_vec();
    ([(header::CONTENT_TYPE, "application/x-protobuf")], response).into_response()
}

async fn otlp_collector_receives_entries_after_failures(database: Database) {
    let settings = database.settings(5.0);
    let collector = Collector::default();
    collector.fails.store(true, Ordering::SeqCst);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/logs", axum::routing::post(export)).with_state(collector.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let berth = settings.serve_with(&[("BERTH_AUDIT_OTLP_ENDPOINT", Some(&endpoint))]).await;
    let api = Api::of(&settings).await;
    eventually("a warning about the stream", async || berth.logged("the collector responded 503").then_some(())).await;
    collector.fails.store(false, Ordering::SeqCst);
    api.resource_type(&berth.url).await;
    eventually("all entries", async || {
        let records = collector.records.lock().clone();
        let expected: Vec<i64> = (1..=count(&database).await).collect();
        (records.iter().map(|(seq, _)| *seq).collect::<Vec<_>>() == expected).then_some(())
    })
    .await;
    assert!(collector.records.lock().iter().any(|(_, action)| action == "resource_type.created"));
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
}

async fn invalid_audit_settings_are_named(database: Database) {
    let settings = database.settings(5.0);
    for (name, value) in [
        ("BERTH_AUDIT_SYSLOG", "logs.example.com"),
        ("BERTH_AUDIT_SYSLOG", "http://logs.example.com"),
        ("BERTH_AUDIT_OTLP_ENDPOINT", "localhost:4318"),
        ("BERTH_AUDIT_RETENTION_DAYS", "0"),
    ] {
        let (code, error) = settings.run_with(&["serve"], &[(name, Some(value))]).await;
        assert_eq!(code, 2, "{name}: {error}");
        assert!(error.contains(name), "{name}: {error}");
    }
}

async fn last_failures_are_written_at_shutdown(database: Database) {
    let settings = database.settings(5.0);
    let berth = settings.serve().await;
    let http = Api::of(&settings).await.http;
    for _ in 0..4 {
        let body = serde_json::json!({"username": "root", "password": "wrong password"});
        http.post(format!("{}/api/v1/session", berth.url)).json(&body).send().await.unwrap();
    }
    let rejected = "SELECT COALESCE(SUM(occurrences), 0) FROM audit_log WHERE action = 'session.rejected'";
    assert_eq!(database.number(rejected).await, 1);
    assert!(berth.stop(STOP_TIMEOUT).await.0.success());
    assert_eq!(database.number(rejected).await, 4);
}
