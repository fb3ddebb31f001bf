//! People at work: clients that reserve, change and cancel through the API, and remember what was promised to them.

use super::eventually;
use super::process::{ADMINISTRATOR, Berth, Setting};
use super::receiver::Receiver;
use chrono::{DateTime, Duration as Span, Utc};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Clients at once.
const CLIENTS: usize = 4;
/// What a client does between two requests: nothing.
const PAUSE: Duration = Duration::from_millis(10);

/// A client without proxies.
pub fn client() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
}

/// Whatever happens, everything is answered within this time.
const ANSWER: Duration = Duration::from_secs(60);

/// What the API answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    pub retry_after: Option<String>,
    pub body: Value,
}

/// The API, as a script uses it.
#[derive(Clone)]
pub struct Api {
    pub http: reqwest::Client,
    pub token: String,
}

impl Api {
    pub async fn of(setting: &Setting) -> Self {
        let token = setting.run(&["token", "create", "--user", ADMINISTRATOR, "--name", "test"]).await;
        Self { http: client(), token }
    }

    pub async fn call(&self, base: &str, method: Method, path: &str, body: Value) -> reqwest::Result<Reply> {
        let mut request =
            self.http.request(method, format!("{base}/api/v1{path}")).bearer_auth(&self.token).timeout(ANSWER);
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

    /// A POST that must create something.
    pub async fn create(&self, base: &str, path: &str, body: Value) -> Value {
        let reply = self.call(base, Method::POST, path, body).await.unwrap();
        assert_eq!(reply.status, 201, "{path}: {}", reply.body);
        reply.body
    }

    /// A resource of the type `gpu-cluster`.
    pub async fn resource(&self, base: &str, name: &str) -> i64 {
        let input = json!({"name": name, "resource_type": "gpu-cluster", "status": "available"});
        self.create(base, "/resources", input).await["id"].as_i64().unwrap()
    }

    /// The type `gpu-cluster`.
    pub async fn resource_type(&self, base: &str) {
        self.create(base, "/resource-types", json!({"slug": "gpu-cluster", "name": "GPU cluster"})).await;
    }

    /// A webhook for every event of reservations, with at most `at_once` requests at once.
    pub async fn webhook(&self, base: &str, receiver: &Receiver, at_once: u32) -> i64 {
        let events = ["reservation.created", "reservation.updated", "reservation.cancelled", "reservation.expired"];
        let input = json!({
            "name": "Provisioner", "endpoint_url": format!("{}/hook", receiver.url), "resource_type": "gpu-cluster",
            "events": events, "auth": {"method": "none"}, "max_in_flight": at_once,
        });
        self.create(base, "/webhooks", input).await["id"].as_i64().unwrap()
    }

    /// Reserves the `slot`th hour of a resource.
    pub async fn reserve(&self, base: &str, resource: i64, slot: i64) -> reqwest::Result<Reply> {
        self.call(base, Method::POST, "/reservations", slot_of(resource, slot)).await
    }
}

fn slot_of(resource: i64, slot: i64) -> Value {
    // Far ahead, so that nothing expires during a test.
    let start: DateTime<Utc> = Utc::now() + Span::days(30) + Span::hours(2 * slot);
    json!({"resource_id": resource, "title": "Training", "start_time": start, "end_time": start + Span::hours(1)})
}

/// What clients have been told.
#[derive(Default)]
pub struct Told {
    /// Reservation and event type of every change that was answered with success.
    pub acknowledged: Vec<(String, &'static str)>,
    /// Answers that say that the service is not available, as they should be.
    pub unavailable: usize,
    /// Requests without an answer.
    pub broken: usize,
    /// Answers that nobody should get.
    pub odd: Vec<String>,
}

/// Clients at work until [`Load::end`].
pub struct Load {
    pub told: Arc<Mutex<Told>>,
    targets: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// Clients of a fresh Berth at `base`, each on a resource of its own.
    pub async fn start(api: &Api, base: &str) -> Self {
        let mut load = Self {
            told: Arc::default(),
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
                told: load.told.clone(),
                targets: load.targets.clone(),
                stop: load.stop.clone(),
                acknowledged: load.acknowledged.clone(),
            };
            load.clients.push(tokio::spawn(client.work()));
        }
        load
    }

    /// From now on the clients ask these processes.
    pub fn aim(&self, berths: &[&Berth]) {
        *self.targets.lock() = berths.iter().map(|berth| berth.url.clone()).collect();
    }

    /// Waits until so many more changes were acknowledged.
    pub async fn progress(&self, more: usize) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + more;
        eventually("acknowledged changes", async || (self.acknowledged.load(Ordering::Relaxed) >= goal).then_some(()))
            .await;
    }

    /// Lets every client finish its request and go; what they were told.
    pub async fn end(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        let told = std::mem::take(&mut *self.told.lock());
        assert_eq!(told.odd, Vec::<String>::new(), "answers that nobody should get");
        told
    }
}

struct Client {
    api: Api,
    number: usize,
    resource: i64,
    told: Arc<Mutex<Told>>,
    targets: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
}

impl Client {
    async fn work(self) {
        let mut slot = 0;
        while !self.stop.load(Ordering::Relaxed) {
            // Never the same hour again: what got no answer may have been reserved all the same.
            slot += 1;
            let input = slot_of(self.resource, slot);
            let Some(reservation) = self.ask(Method::POST, "/reservations", input, 201).await else { continue };
            let id = reservation["id"].as_str().unwrap().to_owned();
            self.keep(&id, "reservation.created");
            let path = format!("/reservations/{id}");
            for title in ["Changed", "Changed again"] {
                if self.ask(Method::PATCH, &path, json!({"title": title}), 200).await.is_some() {
                    self.keep(&id, "reservation.updated");
                }
            }
            if slot % 2 == 0 && self.ask(Method::POST, &format!("{path}/cancel"), json!({}), 200).await.is_some() {
                self.keep(&id, "reservation.cancelled");
            }
        }
    }

    fn keep(&self, id: &str, event: &'static str) {
        self.told.lock().acknowledged.push((id.to_owned(), event));
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    async fn ask(&self, method: Method, path: &str, body: Value, expected: u16) -> Option<Value> {
        tokio::time::sleep(PAUSE).await;
        let target = {
            let targets = self.targets.lock();
            targets[self.number % targets.len()].clone()
        };
        let what = format!("{method} {path}");
        let reply = self.api.call(&target, method, path, body).await;
        let mut told = self.told.lock();
        match reply {
            Ok(reply) if reply.status == expected => return Some(reply.body),
            Ok(reply) if is_unavailable(&reply) => told.unavailable += 1,
            Ok(reply) => told.odd.push(format!("{what}: {} {}", reply.status, reply.body)),
            Err(error) if error.is_timeout() => told.odd.push(format!("{what}: no answer of {target}")),
            Err(_) => told.broken += 1,
        }
        None
    }
}

/// Whether an answer says, as it should, that the service is not available right now.
pub fn is_unavailable(reply: &Reply) -> bool {
    reply.status == 503
        && reply.content_type == "application/problem+json"
        && reply.body["type"] == "/problems/unavailable"
        && reply.body["status"] == 503
        && reply.retry_after.is_some()
}

/// The live feed of one process, read as it comes.
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
        eventually("a greeting", async || feed.has("hello", |_| true).then_some(())).await;
        feed
    }

    pub fn has(&self, event: &str, meets: impl Fn(&Value) -> bool) -> bool {
        self.events.lock().iter().any(|(name, data)| name == event && meets(data))
    }

    /// Returns when the server has ended it.
    pub async fn ended(self) {
        self.reading.await.unwrap();
    }
}
