//! A webhook receiver on loopback with scripted responses. It keeps each request.

// Every test file takes what it needs of this.
#![allow(dead_code)]

use super::support::TestService;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use domain::authorization::Actor;
use domain::delivery::{DeliveryDetail, DeliveryFilter, DeliverySummary};
use domain::id::{DeliveryId, ResourceId, WebhookId};
use domain::pagination::PageQuery;
use domain::reservation::{Reservation, ReservationInput};
use domain::webhook::WebhookInput;
use parking_lot::Mutex;
use serde_json::{Value, json};
use service::Service;
use service::dispatcher::Dispatcher;
use std::sync::Arc;

/// What the receiver got.
#[derive(Debug, Clone)]
pub struct Got {
    pub path: String,
    pub headers: HeaderMap,
    pub raw: Bytes,
    pub body: Value,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn event(&self) -> &str {
        self.header("x-webhook-event")
    }

    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }
}

/// How it answers.
#[derive(Debug, Clone)]
pub enum Answer {
    Status(u16),
    Full {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// Only once the notify tells it to.
    Held(Arc<tokio::sync::Notify>),
}

type Script = dyn FnMut(&Got) -> Answer + Send;

#[derive(Clone)]
struct Shared {
    got: Arc<Mutex<Vec<Got>>>,
    script: Arc<Mutex<Box<Script>>>,
}

pub struct Receiver {
    pub url: String,
    shared: Shared,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared { got: Arc::default(), script: Arc::new(Mutex::new(Box::new(|_| Answer::Status(200)))) };
        let router = Router::new().fallback(take).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// From now on answers as `script` says.
    pub fn answer(&self, script: impl FnMut(&Got) -> Answer + Send + 'static) {
        *self.shared.script.lock() = Box::new(script);
    }

    pub fn answer_status(&self, status: u16) {
        self.answer(move |_| Answer::Status(status));
    }

    pub fn answer_json(&self, status: u16, body: Value) {
        let body = body.to_string().into_bytes();
        self.answer(move |_| Answer::Full {
            status,
            headers: vec![("content-type", "application/json".into())],
            body: body.clone(),
        });
    }

    pub fn got(&self) -> Vec<Got> {
        self.shared.got.lock().clone()
    }

    pub fn count(&self) -> usize {
        self.shared.got.lock().len()
    }

    pub fn last(&self) -> Got {
        self.got().pop().expect("the receiver should have got a request")
    }

    /// Waits until it got so many requests.
    pub async fn reached(&self, count: usize) {
        let reached = async {
            while self.count() < count {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), reached).await.expect("the requests should come");
    }
}

async fn take(State(shared): State<Shared>, uri: Uri, headers: HeaderMap, raw: Bytes) -> Response<Body> {
    let body = serde_json::from_slice(&raw).unwrap_or(Value::Null);
    let got = Got { path: uri.to_string(), headers, raw, body };
    let answer = (shared.script.lock())(&got);
    shared.got.lock().push(got);
    let (status, headers, body) = match answer {
        Answer::Status(status) => (status, Vec::new(), Vec::new()),
        Answer::Full { status, headers, body } => (status, headers, body),
        Answer::Held(until) => {
            until.notified().await;
            (200, Vec::new(), Vec::new())
        }
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}

/// All five events, guide layout, signed with the guide's secret.
pub fn webhook_input(url: &str) -> WebhookInput {
    serde_json::from_value(json!({
        "name": "Provisioner", "endpoint_url": format!("{url}/api/webhook"), "resource_type": "gpu-cluster",
        "events": ["reservation.created", "reservation.updated", "reservation.cancelled", "reservation.expired", "user.access_requested"],
        "auth": {"method": "none"}, "secret": "your-secret-key",
    }))
    .unwrap()
}

/// One step of a dispatcher; the number of attempts.
pub async fn step(dispatcher: &Dispatcher) -> usize {
    dispatcher.step().await.unwrap()
}

/// Steps until no delivery is due.
pub async fn drain(service: &Service) {
    let dispatcher = service.dispatcher();
    while step(&dispatcher).await > 0 {}
}

impl TestService {
    /// Reserves hours counted from now.
    pub async fn booking(&self, actor: &Actor, resource: ResourceId, from: i64, to: i64) -> Reservation {
        self.reservations().create(actor, self.span(resource, from, to)).await.unwrap()
    }

    /// An input for hours counted from now.
    pub fn span(&self, resource_id: ResourceId, from: i64, to: i64) -> ReservationInput {
        ReservationInput {
            resource_id,
            title: Some("Training".into()),
            start_time: self.now() + chrono::Duration::hours(from),
            end_time: self.now() + chrono::Duration::hours(to),
            user_ssh_key: None,
            additional_config: None,
        }
    }

    pub async fn webhook(&self, root: &Actor, receiver: &Receiver) -> WebhookId {
        self.webhooks().create(root, webhook_input(&receiver.url)).await.unwrap().webhook.id
    }

    /// Oldest first.
    pub async fn deliveries(&self, root: &Actor, filter: DeliveryFilter) -> Vec<DeliverySummary> {
        let page = PageQuery { limit: Some(200), cursor: None };
        let mut items = self.service.deliveries().list(root, &filter, &page).await.unwrap().items;
        items.reverse();
        items
    }

    pub async fn delivery(&self, root: &Actor, id: &DeliveryId) -> DeliveryDetail {
        self.service.deliveries().get(root, id).await.unwrap()
    }
}
