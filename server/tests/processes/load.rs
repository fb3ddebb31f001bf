//! Clients that reserve, change and cancel through the API and record every acknowledged change.

use super::eventually;
use super::process::{ADMINISTRATOR, Berth, Settings};
use chrono::{DateTime, Duration as Span, Utc};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use test_support::Receiver;

/// Concurrent clients.
const CLIENTS: usize = 4;
/// Pause of a client between two requests.
const PAUSE: Duration = Duration::from_millis(10);

/// A client without proxies.
pub fn client() -> reqwest::Client {
    client_builder().build().unwrap()
}

/// A client that returns redirects instead of following them.
pub fn client_without_redirects() -> reqwest::Client {
    client_builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

fn client_builder() -> reqwest::ClientBuilder {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy()
}

/// Every request gets a response within this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A response of the API.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    pub retry_after: Option<String>,
    pub body: Value,
}

/// An API client with a token.
#[derive(Clone)]
pub struct Api {
    pub http: reqwest::Client,
    pub token: String,
}

impl Api {
    pub async fn of(settings: &Settings) -> Self {
        Self::of_user(settings, ADMINISTRATOR).await
    }

    pub async fn of_user(settings: &Settings, username: &str) -> Self {
        let token = settings.run(&["token", "create", "--user", username, "--name", "test"]).await;
        Self { http: client(), token }
    }

    pub async fn call(&self, base: &str, method: Method, path: &str, body: Value) -> reqwest::Result<Reply> {
        let mut request =
            self.http.request(method, format!("{base}/api/v1{path}")).bearer_auth(&self.token).timeout(REQUEST_TIMEOUT);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (content_type, retry_after) = (header("content-type").unwrap_or_default(), header("retry-after"));
        let status = response.status().as_u16();
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null);
        Ok(Reply { status, content_type, retry_after, body })
    }

    /// Sends a POST that must respond 201.
    pub async fn create(&self, base: &str, path: &str, body: Value) -> Value {
        let reply = self.call(base, Method::POST, path, body).await.unwrap();
        assert_eq!(reply.status, 201, "{path}: {}", reply.body);
        reply.body
    }

    /// Creates a resource of the type `gpu-cluster`.
    pub async fn resource(&self, base: &str, name: &str) -> i64 {
        let input = json!({"name": name, "resource_type": "gpu-cluster", "status": "available"});
        self.create(base, "/resources", input).await["id"].as_i64().unwrap()
    }

    /// Creates the type `gpu-cluster`.
    pub async fn resource_type(&self, base: &str) {
        self.create(base, "/resource-types", json!({"slug": "gpu-cluster", "name": "GPU cluster"})).await;
    }

    /// Creates a webhook for all reservation events with a concurrency limit.
    pub async fn webhook(&self, base: &str, receiver: &Receiver, max_in_flight: u32) -> i64 {
        let events = ["reservation.created", "reservation.updated", "reservation.cancelled", "reservation.expired"];
        let input = json!({
            "name": "Provisioner", "endpoint_url": format!("{}/hook", receiver.url), "resource_type": "gpu-cluster",
            "events": events, "auth": {"method": "none"}, "max_in_flight": max_in_flight,
        });
        self.create(base, "/webhooks", input).await["id"].as_i64().unwrap()
    }

    /// Reserves the `slot`th hour of a resource.
    pub async fn reserve(&self, base: &str, resource: i64, slot: i64) -> reqwest::Result<Reply> {
        self.call(base, Method::POST, "/reservations", slot_of(resource, slot)).await
    }
}

/// Input of a reservation for the `slot`th hour of a resource.
pub fn slot_of(resource: i64, slot: i64) -> Value {
    // Far in the future, so that no reservation expires during a test.
    #[expect(clippy::disallowed_methods, reason = "the processes under test use the machine's clock")]
    let start: DateTime<Utc> = Utc::now() + Span::days(30) + Span::hours(2 * slot);
    json!({"resource_id": resource, "title": "Training", "start_time": start, "end_time": start + Span::hours(1)})
}

/// The responses that clients got.
#[derive(Default)]
pub struct ClientRecord {
    /// Reservation and event type of every acknowledged change.
    pub acknowledged: Vec<(String, &'static str)>,
    /// Well-formed 503 responses.
    pub unavailable: usize,
    /// Requests whose connection broke.
    pub broken: usize,
    /// Any other response.
    pub unexpected: Vec<String>,
}

/// Clients that run until [`Load::end`].
pub struct Load {
    pub record: Arc<Mutex<ClientRecord>>,
    targets: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// Starts clients of a fresh server at `base`, each with its own resource.
    pub async fn start(api: &Api, base: &str) -> Self {
        let mut load = Self {
            record: Arc::default(),
            targets: Arc::new(Mutex::new(vec![base.to_owned()])),
            stop: Arc::default(),
            acknowledged: Arc::default(),
            clients: Vec::new(),
        };
        for number in 0..CLIENTS {
            let resource = api.resource(base, &format!("node-{number}")).await;
            let client = Client {
                api: api.clone(),
                number,
                resource,
                record: load.record.clone(),
                targets: load.targets.clone(),
                stop: load.stop.clone(),
                acknowledged: load.acknowledged.clone(),
            };
            load.clients.push(tokio::spawn(client.work()));
        }
        load
    }

    /// Directs the clients to these processes.
    pub fn aim(&self, berths: &[&Berth]) {
        *self.targets.lock() = berths.iter().map(|berth| berth.url.clone()).collect();
    }

    /// Waits until `more` further changes are acknowledged.
    pub async fn progress(&self, more: usize) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + more;
        eventually("acknowledged changes", async || (self.acknowledged.load(Ordering::Relaxed) >= goal).then_some(()))
            .await;
    }

    /// Stops the clients after their current request and returns their record.
    pub async fn end(self) -> ClientRecord {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        let record = std::mem::take(&mut *self.record.lock());
        assert_eq!(record.unexpected, Vec::<String>::new(), "unexpected responses");
        record
    }
}

struct Client {
    api: Api,
    number: usize,
    resource: i64,
    record: Arc<Mutex<ClientRecord>>,
    targets: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
}

impl Client {
    async fn work(self) {
        let mut slot = 0;
        while !self.stop.load(Ordering::Relaxed) {
            // Each hour is used once: a request without a response may have succeeded.
            slot += 1;
            let input = slot_of(self.resource, slot);
            let Some(reservation) = self.request(Method::POST, "/reservations", input, 201).await else { continue };
            let id = reservation["id"].as_str().unwrap().to_owned();
            self.acknowledge(&id, "reservation.created");
            let path = format!("/reservations/{id}");
            for title in ["Changed", "Changed again"] {
                if self.request(Method::PATCH, &path, json!({"title": title}), 200).await.is_some() {
                    self.acknowledge(&id, "reservation.updated");
                }
            }
            if slot % 2 == 0 && self.request(Method::POST, &format!("{path}/cancel"), json!({}), 200).await.is_some() {
                self.acknowledge(&id, "reservation.cancelled");
            }
        }
    }

    fn acknowledge(&self, id: &str, event: &'static str) {
        self.record.lock().acknowledged.push((id.to_owned(), event));
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    async fn request(&self, method: Method, path: &str, body: Value, expected: u16) -> Option<Value> {
        tokio::time::sleep(PAUSE).await;
        let target = {
            let targets = self.targets.lock();
            targets[self.number % targets.len()].clone()
        };
        let what = format!("{method} {path}");
        let reply = self.api.call(&target, method, path, body).await;
        let mut record = self.record.lock();
        match reply {
            Ok(reply) if reply.status == expected => return Some(reply.body),
            Ok(reply) if is_unavailable(&reply) => record.unavailable += 1,
            Ok(reply) => record.unexpected.push(format!("{what}: {} {}", reply.status, reply.body)),
            Err(error) if error.is_timeout() => record.unexpected.push(format!("{what}: no response from {target}")),
            Err(_) => record.broken += 1,
        }
        None
    }
}

/// Whether a response is a well-formed 503 problem.
pub fn is_unavailable(reply: &Reply) -> bool {
    reply.status == 503
        && reply.content_type == "application/problem+json"
        && reply.body["type"] == "/problems/unavailable"
        && reply.body["status"] == 503
        && reply.retry_after.is_some()
}

/// The live feed of one process, read continuously.
pub struct Feed {
    events: Arc<Mutex<Vec<(String, Value)>>>,
    reading: tokio::task::JoinHandle<()>,
}

impl Feed {
    pub async fn open(api: &Api, base: &str) -> Self {
        let mut response = api.http.get(format!("{base}/api/v1/stream")).bearer_auth(&api.token).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let events: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let kept = events.clone();
        let reading = tokio::spawn(async move {
            let mut text = String::new();
            while let Ok(Some(chunk)) = response.chunk().await {
                text.push_str(&String::from_utf8_lossy(&chunk));
                while let Some((event, rest)) = text.split_once("\n\n") {
                    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                    let data = serde_json::from_str(field("data:").trim()).unwrap_or(Value::Null);
                    kept.lock().push((field("event:").trim().to_owned(), data));
                    text = rest.to_owned();
                }
            }
        });
        let feed = Self { events, reading };
        eventually("the hello event", async || feed.has("hello", |_| true).then_some(())).await;
        feed
    }

    pub fn has(&self, event: &str, meets: impl Fn(&Value) -> bool) -> bool {
        self.events.lock().iter().any(|(name, data)| name == event && meets(data))
    }

    /// Waits until the server ends the feed.
    pub async fn ended(self) {
        self.reading.await.unwrap();
    }
}
