//! `berth listen` as a process: through an HTTP proxy, with `kill -9` of the listener and of servers, and with three
//! processes on one database.

use super::database::Database;
use super::guarantees::assert_guarantees;
use super::kill::flaky;
use super::load::{Api, Load};
use super::process::{Berth, Settings};
use super::stop::STOP_TIMEOUT;
use super::{DEADLINE, eventually, random};
use parking_lot::Mutex;
use rand::Rng as _;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use test_support::{Receiver, Response, on_both_databases};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, Command};

on_both_databases![killed_listener_and_server_lose_and_reorder_nothing, listener_resends_and_removes_its_webhook,];
on_both_databases![postgres only: listener_gets_the_events_of_three_processes];

/// The public URL of the servers, which only the proxy can reach.
const PUBLIC_URL: &str = "http://berth.example.com";

/// An HTTP forward proxy (RFC 9110 §3.7). Requests of a client name the whole URL, and each connection goes to the next of
/// the servers.
struct HttpProxy {
    url: String,
    servers: Arc<Mutex<Vec<String>>>,
    /// The number of connections that were forwarded.
    connections: Arc<AtomicUsize>,
}

impl HttpProxy {
    async fn start(servers: &[&Berth]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            servers: Arc::default(),
            connections: Arc::default(),
        };
        proxy.aim(servers);
        let (servers, connections) = (proxy.servers.clone(), proxy.connections.clone());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let server = {
                    let servers = servers.lock();
                    servers.get(number % servers.len().max(1)).cloned()
                };
                tokio::spawn(relay(client, server));
            }
        });
        proxy
    }

    /// Directs later connections to these servers.
    fn aim(&self, servers: &[&Berth]) {
        let address = |berth: &&Berth| berth.url.trim_start_matches("http://").to_owned();
        *self.servers.lock() = servers.iter().map(address).collect();
    }
}

/// Relays one connection; responds 502 without a server.
async fn relay(mut client: TcpStream, server: Option<String>) -> std::io::Result<()> {
    let mut first = vec![0; 64 * 1024];
    let read = client.read(&mut first).await?;
    if read == 0 {
        return Ok(());
    }
    let line = String::from_utf8_lossy(&first[..read.min(200)]).lines().next().unwrap_or_default().to_owned();
    assert!(line.contains(&format!(" {PUBLIC_URL}/api/v1/")), "not a request to a proxy: {line}");
    let server = match server {
        Some(server) => TcpStream::connect(server).await.ok(),
        None => None,
    };
    let Some(mut server) = server else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    };
    server.write_all(&first[..read]).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// A running `berth listen --json`.
struct Listener {
    child: Child,
    input: ChildStdin,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Listener {
    async fn start(settings: &Settings, api: &Api, proxy: &HttpProxy, receiver: &Receiver, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_berth"))
            .args(["listen", "--json", "--forward-to", &format!("{}/hook", receiver.url)])
            .args(["--resource-type", "gpu-cluster", "--provisions"])
            .args(more)
            .env_clear()
            .env("BERTH_URL", PUBLIC_URL)
            .env("BERTH_TOKEN", &api.token)
            .env("HTTP_PROXY", &proxy.url)
            .current_dir(&settings.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut output) = (lines.clone(), BufReader::new(child.stdout.take().unwrap()).lines());
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                kept.lock().push(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}")));
            }
        });
        let input = child.stdin.take().unwrap();
        let listener = Self { child, input, lines };
        listener.line("connected", |_| true).await;
        listener
    }

    /// The lines of a type so far.
    fn all(&self, kind: &str) -> Vec<Value> {
        self.lines.lock().iter().filter(|line| line["type"] == kind).cloned().collect()
    }

    /// Waits for a line.
    async fn line(&self, kind: &str, matches: impl Fn(&Value) -> bool) -> Value {
        eventually(kind, async || self.all(kind).into_iter().find(|line| matches(line))).await
    }

    /// Sends SIGKILL and waits for the end.
    async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }

    /// Enters `q` and waits for the end.
    async fn quit(mut self) -> bool {
        self.input.write_all(b"q\n").await.unwrap();
        tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("the listener should end").unwrap().success()
    }
}

async fn killed_listener_and_server_lose_and_reorder_nothing(database: Database) {
    let test = if database.is_sqlite() { "listener on SQLite" } else { "listener on PostgreSQL" };
    let mut random = random(test);
    let settings = database.settings(1.0);
    let receiver = Receiver::start().await;
    receiver.respond_with(flaky);
    let mut berth = settings.serve().await;
    let api = Api::of(&settings).await;
    api.resource_type(&berth.url).await;
    let proxy = HttpProxy::start(&[&berth]).await;
    let mut listener = Listener::start(&settings, &api, &proxy, &receiver, &["--keep"]).await;
    let load = Load::start(&api, &berth.url).await;
    let (mut interrupted, mut kept) = (HashSet::new(), HashSet::new());
    for round in 0..4 {
        load.progress(20).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
        if round % 2 == 0 {
            berth.kill().await;
            // The listener has these, and reports their results under new leases.
            kept = database.interrupted().await;
            proxy.aim(&[]);
            listener.line("disconnected", |_| true).await;
            berth = settings.serve().await;
            proxy.aim(&[&berth]);
            load.aim(&[&berth]);
        } else {
            eventually("the results from before the restart", async || {
                let open: HashSet<_> = database.in_flight().await.union(&database.queued().await).cloned().collect();
                kept.is_disjoint(&open).then_some(())
            })
            .await;
            listener.kill().await;
            interrupted.extend(database.in_flight().await);
            listener = Listener::start(&settings, &api, &proxy, &receiver, &["--keep"]).await;
        }
    }
    load.progress(20).await;
    let record = load.end().await;
    database.drain().await;
    // A running listener never forwards an attempt twice, so only its own death repeats one.
    assert_guarantees(test, &database, &receiver, &record, &interrupted).await;
    assert!(proxy.connections.load(Ordering::SeqCst) > 0);
    assert_eq!(database.number("SELECT COUNT(*) FROM webhooks").await, 1, "each listener uses the same webhook");
    assert!(listener.quit().await);
    berth.stop(STOP_TIMEOUT).await;
}

async fn listener_gets_the_events_of_three_processes(database: Database) {
    let test = "listener of three processes";
    let settings = database.settings(5.0);
    let receiver = Receiver::start().await;
    receiver.respond_with(flaky);
    let (first, second, third) = (settings.serve().await, settings.serve().await, settings.serve().await);
    let api = Api::of(&settings).await;
    api.resource_type(&first.url).await;
    let proxy = HttpProxy::start(&[&first, &second, &third]).await;
    let listener = Listener::start(&settings, &api, &proxy, &receiver, &["--keep"]).await;
    let load = Load::start(&api, &first.url).await;
    load.aim(&[&first, &second, &third]);
    load.progress(40).await;
    load.aim(&[&first, &third]);
    second.kill().await;
    proxy.aim(&[&first, &third]);
    load.progress(40).await;
    let record = load.end().await;
    database.drain().await;
    assert_guarantees(test, &database, &receiver, &record, &HashSet::new()).await;
    assert!(listener.quit().await);
    for process in [first, third] {
        process.stop(STOP_TIMEOUT).await;
    }
}

async fn listener_resends_and_removes_its_webhook(database: Database) {
    let settings = database.settings(5.0);
    let receiver = Receiver::start().await;
    let berth = settings.serve().await;
    let api = Api::of(&settings).await;
    api.resource_type(&berth.url).await;
    let resource = api.resource(&berth.url, "node-1").await;
    let proxy = HttpProxy::start(&[&berth]).await;
    let events = [
        "--event",
        "reservation.created",
        "--header",
        "X-API-Key: local",
        "--secret",
        "whsec_bG9jYWwtZGV2ZWxvcG1lbnQtc2VjcmV0LTAxMjM0NTY=",
    ];
    let mut listener = Listener::start(&settings, &api, &proxy, &receiver, &events).await;
    let ready = listener.line("ready", |_| true).await;
    let webhook = ready["webhook_id"].as_i64().unwrap();
    let seen = api.call(&berth.url, Method::GET, &format!("/webhooks/{webhook}"), Value::Null).await.unwrap().body;
    assert_eq!((&seen["delivery_mode"], &seen["listener"]["connected"]), (&json!("local"), &json!(true)), "{seen}");
    receiver.respond(Response::json(200, json!({"status": "provisioning", "message": "Booting"})));
    let created = api.reserve(&berth.url, resource, 1).await.unwrap().body;
    let forwarded = listener.line("forwarded", |line| line["reservation_id"] == created["id"]).await;
    assert_eq!(forwarded["status_code"], 200);
    let request = receiver.requests().pop().unwrap();
    assert_eq!(request.header("x-api-key"), "local");
    assert!(request.path.ends_with("/hook/reservation"), "{}", request.path);
    listener.line("recorded", |line| line["delivery_id"] == forwarded["delivery_id"]).await;
    let path = format!("/reservations/{}", created["id"].as_str().unwrap());
    let reservation = api.call(&berth.url, Method::GET, &path, Value::Null).await.unwrap().body;
    assert_eq!(reservation["provisioning"]["status"], "provisioning", "{reservation}");
    // An event that was not chosen does not arrive; a resent one does.
    let path = format!("/reservations/{}/cancel", created["id"].as_str().unwrap());
    assert_eq!(api.call(&berth.url, Method::POST, &path, json!({})).await.unwrap().status, 200);
    listener.input.write_all(b"r\n").await.unwrap();
    let resent = listener.line("resent", |_| true).await;
    assert_eq!(resent["redelivery_of"], forwarded["delivery_id"]);
    listener.line("forwarded", |line| line["redelivery_of"] == forwarded["delivery_id"]).await;
    assert_eq!(receiver.requests().len(), 2);
    assert!(listener.quit().await);
    let gone = api.call(&berth.url, Method::GET, &format!("/webhooks/{webhook}"), Value::Null).await.unwrap();
    assert_eq!(gone.status, 404, "a temporary webhook ends with its listener");
    berth.stop(STOP_TIMEOUT).await;
}
