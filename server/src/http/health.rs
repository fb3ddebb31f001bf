//! Liveness, readiness, metrics.

use super::App;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

/// The dispatcher goes round at least every five seconds; this is four times that.
const SILENT: Duration = Duration::from_secs(20);

/// The process runs.
pub async fn live() -> &'static str {
    "ok\n"
}

/// The process can serve: database and dispatcher.
pub async fn ready(State(app): State<App>) -> (StatusCode, Json<Value>) {
    let database = app.service.ping().await.is_ok();
    let dispatcher = app.pulse.as_ref().is_none_or(|pulse| pulse.age().is_some_and(|age| age < SILENT));
    let stopping = app.cancel.is_cancelled();
    let ok = database && dispatcher && !stopping;
    let word = |ok: bool| if ok { "ok" } else { "failing" };
    let body = json!({
        "status": if ok { "ready" } else { "not ready" }, "database": word(database), "dispatcher": word(dispatcher), "stopping": stopping,
    });
    (if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

/// Prometheus text format.
pub async fn metrics(State(app): State<App>) -> String {
    app.metrics.render()
}
