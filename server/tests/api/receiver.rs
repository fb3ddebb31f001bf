//! A real receiver on loopback that answers as it is told and keeps what it got. It also plays the token endpoint.

use crate::support::DEADLINE;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::watch;

/// One request.
#[derive(Debug, Clone)]
pub struct Got {
    pub method: Method,
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

    /// Names of all headers, sorted.
    pub fn header_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        names
    }
}

/// How it answers.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// Only once this is true.
    pub held: Option<watch::Receiver<bool>>,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn json(status: u16, body: Value) -> Self {
        Self { status, headers: vec![("content-type", "application/json".into())], body: body.to_string(), held: None }
    }
}

type Script = dyn FnMut(&Got) -> Answer + Send;

struct Shared {
    got: watch::Sender<Vec<Got>>,
    script: Mutex<Box<Script>>,
}

pub struct Receiver {
    pub url: String,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Answers 200 to everything, until it is told otherwise.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Mutex::new(Box::new(|_: &Got| Answer::status(200)) as Box<Script>);
        let shared = Arc::new(Shared { got: watch::Sender::new(Vec::new()), script });
        let router = Router::new().fallback(take).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// From now on answers as `script` says.
    pub fn answer(&self, script: impl FnMut(&Got) -> Answer + Send + 'static) {
        *self.shared.script.lock() = Box::new(script);
    }

    pub fn answer_always(&self, answer: Answer) {
        self.answer(move |_| answer.clone());
    }

    /// Holds every answer (200) back until the returned sender says `true`.
    pub fn hold(&self) -> watch::Sender<bool> {
        let (release, held) = watch::channel(false);
        self.answer_always(Answer { held: Some(held), ..Answer::status(200) });
        release
    }

    pub fn got(&self) -> Vec<Got> {
        self.shared.got.borrow().clone()
    }

    /// Waits until it got so many requests; all of them.
    pub async fn reached(&self, count: usize) -> Vec<Got> {
        let mut got = self.shared.got.subscribe();
        let reached = got.wait_for(|got| got.len() >= count);
        match tokio::time::timeout(DEADLINE, reached).await {
            Ok(got) => got.unwrap().clone(),
            Err(_) => panic!("in vain waited for {count} requests; there came {:#?}", self.got()),
        }
    }
}

async fn take(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    raw: Bytes,
) -> Response<Body> {
    let body = serde_json::from_slice(&raw).unwrap_or(Value::Null);
    let got = Got { method, path: uri.to_string(), headers, raw, body };
    let answer = (shared.script.lock())(&got);
    shared.got.send_modify(|all| all.push(got));
    if let Some(mut held) = answer.held {
        // The test that holds it back may be over.
        let _ = held.wait_for(|released| *released).await;
    }
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).unwrap()
}
