//! Liveness, readiness, metrics.

use crate::metrics::Metrics;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use service::Service;
use service::dispatcher::Heartbeat;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The dispatcher goes round at least every five seconds; this is four times that.
const SILENT: Duration = Duration::from_secs(20);

/// What tells of a process, of one that serves and of a worker.
#[derive(Clone)]
pub struct Probes {
    /// Knows whether the database answers.
    pub service: Service,
    /// Whether the dispatcher lives.
    pub pulse: Arc<Heartbeat>,
    /// Whether the process is stopping.
    pub cancel: CancellationToken,
    /// The Prometheus page.
    pub metrics: Metrics,
}

/// `/healthz`, `/readyz`, `/metrics`.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S>
where
    Probes: FromRef<S>,
{
    Router::new().route("/healthz", get(live)).route("/readyz", get(ready)).route("/metrics", get(metrics))
}

/// The process runs.
async fn live() -> &'static str {
    "ok\n"
}

/// The process can serve: database and dispatcher.
async fn ready(State(health): State<Probes>) -> (StatusCode, Json<Value>) {
    let database = health.service.ping().await.is_ok();
    let dispatcher = health.pulse.age().is_some_and(|age| age < SILENT);
    let stopping = health.cancel.is_cancelled();
    let ok = database && dispatcher && !stopping;
    let word = |ok: bool| if ok { "ok" } else { "failing" };
    let body = json!({
        "status": if ok { "ready" } else { "not ready" }, "database": word(database), "dispatcher": word(dispatcher), "stopping": stopping,
    });
    (if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

/// Prometheus text format.
async fn metrics(State(health): State<Probes>) -> String {
    health.metrics.page(&health.service).await
}
