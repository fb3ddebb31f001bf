//! A real receiver that keeps, in order of arrival, what it got and what it answered.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// One request. Its place in [`Receiver::arrivals`] is the order of arrival.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub webhook: i64,
    pub event: String,
    pub delivery: String,
    pub attempt: u32,
    pub reservation: String,
    /// What it will be answered.
    pub status: u16,
}

/// How a request is answered.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub status: u16,
    pub after: Duration,
}

type Script = dyn Fn(&Arrival) -> Answer + Send + Sync;

#[derive(Clone)]
struct Shared {
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    script: Arc<Script>,
    /// Nothing is answered while this is closed.
    open: watch::Sender<bool>,
}

pub struct Receiver {
    pub url: String,
    shared: Shared,
}

impl Receiver {
    pub async fn start(script: impl Fn(&Arrival) -> Answer + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared { arrivals: Arc::default(), script: Arc::new(script), open: watch::Sender::new(true) };
        let router = Router::new().fallback(take).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// From now on answers nothing, until [`Receiver::release`].
    pub fn hold(&self) {
        self.shared.open.send_replace(false);
    }

    /// Answers what it held back and all that comes.
    pub fn release(&self) {
        self.shared.open.send_replace(true);
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.arrivals.lock().clone()
    }

    pub fn count(&self) -> usize {
        self.shared.arrivals.lock().len()
    }
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let body: Value = serde_json::from_slice(&body).expect("a JSON body");
    let mut arrival = Arrival {
        webhook: body["webhook_id"].as_i64().expect("a webhook"),
        event: header("webhook-id"),
        delivery: header("x-webhook-delivery"),
        attempt: header("x-webhook-attempt").parse().expect("an attempt"),
        reservation: body["reservation_id"].as_str().expect("a reservation").to_owned(),
        status: 0,
    };
    let answer = (shared.script)(&arrival);
    arrival.status = answer.status;
    shared.arrivals.lock().push(arrival);
    tokio::time::sleep(answer.after).await;
    let mut open = shared.open.subscribe();
    // The sender lives as long as this handler's own copy of it.
    let _ = open.wait_for(|open| *open).await;
    StatusCode::from_u16(answer.status).unwrap()
}
