//! A real receiver that records its requests and responses in order of arrival.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// One request. [`Receiver::received`] returns them in order of arrival.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    pub webhook: i64,
    pub event: String,
    pub delivery: String,
    pub attempt: u32,
    pub reservation: String,
    /// Status of the response.
    pub status: u16,
}

/// The response to a request.
#[derive(Debug, Clone, Copy)]
pub struct Response {
    pub status: u16,
    pub after: Duration,
}

type Script = dyn Fn(&ReceivedRequest) -> Response + Send + Sync;

#[derive(Clone)]
struct Shared {
    received: Arc<Mutex<Vec<ReceivedRequest>>>,
    script: Arc<Script>,
    /// Responses wait while this is false.
    open: watch::Sender<bool>,
}

pub struct Receiver {
    pub url: String,
    shared: Shared,
}

impl Receiver {
    pub async fn start(script: impl Fn(&ReceivedRequest) -> Response + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared { received: Arc::default(), script: Arc::new(script), open: watch::Sender::new(true) };
        let router = Router::new().fallback(take).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// Holds all responses until [`Receiver::release`].
    pub fn hold(&self) {
        self.shared.open.send_replace(false);
    }

    /// Sends the held responses and stops holding.
    pub fn release(&self) {
        self.shared.open.send_replace(true);
    }

    pub fn received(&self) -> Vec<ReceivedRequest> {
        self.shared.received.lock().clone()
    }

    pub fn count(&self) -> usize {
        self.shared.received.lock().len()
    }
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let body: Value = serde_json::from_slice(&body).expect("a JSON body");
    let mut request = ReceivedRequest {
        webhook: body["webhook_id"].as_i64().expect("a webhook"),
        event: header("webhook-id"),
        delivery: header("x-webhook-delivery"),
        attempt: header("x-webhook-attempt").parse().expect("an attempt"),
        reservation: body["reservation_id"].as_str().expect("a reservation").to_owned(),
        status: 0,
    };
    let answer = (shared.script)(&request);
    request.status = answer.status;
    shared.received.lock().push(request);
    tokio::time::sleep(answer.after).await;
    let mut open = shared.open.subscribe();
    // An error is impossible: this handler owns a sender.
    let _ = open.wait_for(|open| *open).await;
    StatusCode::from_u16(answer.status).unwrap()
}
