//! A webhook receiver on loopback with scripted responses.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test harness fails by panicking")]

use crate::DEADLINE;
use crate::payload_schema::violations;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{self, HeaderMap, Method, Uri};
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// One request that a [`Receiver`] got.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    /// The method.
    pub method: Method,
    /// The path with its query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The exact bytes of the body.
    pub raw: Bytes,
    /// The body as JSON; `null` when it is not JSON.
    pub body: Value,
    /// The status of the scripted response.
    pub response_status: u16,
}

impl ReceivedRequest {
    /// The value of a header; empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The names of all headers, sorted.
    pub fn header_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The text of a field of the body; empty when it is absent.
    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }

    /// The event type (`X-Webhook-Event`).
    pub fn event(&self) -> &str {
        self.header("x-webhook-event")
    }

    /// The event id (`webhook-id`).
    pub fn event_id(&self) -> &str {
        self.header("webhook-id")
    }

    /// The delivery id (`X-Webhook-Delivery`).
    pub fn delivery(&self) -> &str {
        self.header("x-webhook-delivery")
    }

    /// The number of the attempt (`X-Webhook-Attempt`).
    pub fn attempt(&self) -> u32 {
        self.header("x-webhook-attempt").parse().expect("X-Webhook-Attempt should be a number")
    }

    /// The id of the webhook in the body.
    pub fn webhook(&self) -> i64 {
        self.body["webhook_id"].as_i64().expect("the body should have a webhook_id")
    }

    /// The id of the reservation in the body.
    pub fn reservation(&self) -> &str {
        self.text("reservation_id")
    }
}

/// A scripted response.
#[derive(Debug, Clone)]
pub struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    /// The time between the request and the response.
    delay: Duration,
}

impl Response {
    /// An empty response with this status.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), delay: Duration::ZERO }
    }

    /// A JSON response.
    pub fn json(status: u16, body: impl Into<Value>) -> Self {
        Self::status(status).with_header("content-type", "application/json").with_body(body.into().to_string())
    }

    /// Adds a header.
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sets the body.
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Delays the response.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

type Script = dyn FnMut(&ReceivedRequest) -> Response + Send;

struct Shared {
    requests: watch::Sender<Vec<ReceivedRequest>>,
    script: Mutex<Box<Script>>,
    /// While it is false, responses are held back.
    released: watch::Sender<bool>,
    /// Deviations of received events from their schemas.
    violations: Mutex<Vec<String>>,
}

/// A receiver on loopback that records requests and sends scripted responses. It also serves as a token endpoint.
pub struct Receiver {
    /// Its base URL, without a trailing slash.
    pub url: String,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Starts a receiver that responds 200 until it gets a script.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script: Box<Script> = Box::new(|_| Response::status(200));
        let shared = Arc::new(Shared {
            requests: watch::Sender::new(Vec::new()),
            script: Mutex::new(script),
            released: watch::Sender::new(true),
            violations: Mutex::default(),
        });
        let router = Router::new().fallback(receive).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// Sends the same response to every request from now on.
    pub fn respond(&self, response: Response) {
        self.respond_with(move |_| response.clone());
    }

    /// Computes each response from its request from now on.
    pub fn respond_with(&self, script: impl FnMut(&ReceivedRequest) -> Response + Send + 'static) {
        *self.shared.script.lock() = Box::new(script);
    }

    /// Sends these responses in order, then 200.
    pub fn respond_in_order(&self, responses: impl IntoIterator<Item = Response>) {
        let mut responses = responses.into_iter().collect::<Vec<_>>().into_iter();
        self.respond_with(move |_| responses.next().unwrap_or_else(|| Response::status(200)));
    }

    /// Holds every response back until [`Receiver::release`]; requests are still recorded.
    pub fn hold(&self) {
        self.shared.released.send_replace(false);
    }

    /// Sends the responses that were held back, and later ones at once.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// All requests, in the order of arrival.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.shared.requests.borrow().clone()
    }

    /// The number of requests.
    pub fn count(&self) -> usize {
        self.shared.requests.borrow().len()
    }

    /// The newest request.
    ///
    /// # Panics
    /// When there is none.
    pub fn last(&self) -> ReceivedRequest {
        self.requests().pop().expect("the receiver should have got a request")
    }

    /// Waits for at least `count` requests and returns all.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    pub async fn wait_for(&self, count: usize) -> Vec<ReceivedRequest> {
        let mut requests = self.shared.requests.subscribe();
        let waiting = requests.wait_for(|requests| requests.len() >= count);
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(requests) => requests.unwrap().clone(),
            Err(_) => panic!("waited for {count} requests; got {:#?}", self.requests()),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // A server under test completes its open requests before it stops.
        self.release();
        // A second panic would abort the process.
        if !std::thread::panicking() {
            let violations = self.shared.violations.lock();
            assert!(violations.is_empty(), "received events that violate their schemas: {violations:#?}");
        }
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    raw: Bytes,
) -> http::Response<Body> {
    let body = serde_json::from_slice(&raw).unwrap_or(Value::Null);
    let mut request = ReceivedRequest { method, path: uri.to_string(), headers, raw, body, response_status: 0 };
    shared.violations.lock().extend(violations(&request));
    let response = (shared.script.lock())(&request);
    request.response_status = response.status;
    shared.requests.send_modify(|requests| requests.push(request));
    tokio::time::sleep(response.delay).await;
    let mut released = shared.released.subscribe();
    // This handler holds a reference to the sender, so the wait cannot fail.
    let _ = released.wait_for(|released| *released).await;
    let mut builder = http::Response::builder().status(response.status);
    for (name, value) in response.headers {
        builder = builder.header(name, value);
    }
    builder.body(Body::from(response.body)).unwrap()
}

/// A receiver that writes raw bytes: for responses that are not HTTP, are truncated, or arrive in pieces.
pub struct RawReceiver {
    /// Its base URL, without a trailing slash.
    pub url: String,
}

impl RawReceiver {
    /// Starts a receiver that reads one request per connection, writes `parts` with `pause` after each, and closes.
    pub async fn start(parts: Vec<Vec<u8>>, pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let parts = parts.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 4_096];
                    let _ = stream.read(&mut buffer).await;
                    for part in parts {
                        if stream.write_all(&part).await.is_err() {
                            return;
                        }
                        tokio::time::sleep(pause).await;
                    }
                });
            }
        });
        Self { url }
    }
}
