//! Health endpoints: liveness, readiness and metrics.

use super::extract::bearer;
use super::problem::ApiError;
use super::v1::session::is_from_this_machine;
use crate::metrics::{Access, Metrics};
use axum::extract::{ConnectInfo, FromRef, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use domain::Problem;
use serde_json::{Value, json};
use service::Service;
use service::dispatcher::Heartbeat;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Age of the last heartbeat at which the dispatcher counts as failing. Heartbeats are at most 5 s apart.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(20);

/// Sources of the health endpoints, for `berth serve` and `berth worker`.
#[derive(Clone)]
pub struct Probes {
    /// Checks the database connection.
    pub service: Service,
    /// Last activity of the dispatcher.
    pub heartbeat: Arc<Heartbeat>,
    /// Cancelled at shutdown.
    pub cancel: CancellationToken,
    /// Prometheus metrics.
    pub metrics: Metrics,
    /// Who may read the metrics.
    pub metrics_access: Access,
}

/// Routes `/healthz`, `/readyz` and `/metrics`.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S>
where
    Probes: FromRef<S>,
{
    Router::new().route("/healthz", get(live)).route("/readyz", get(ready)).route("/metrics", get(metrics))
}

/// Liveness: the process runs.
async fn live() -> &'static str {
    "ok\n"
}

/// Readiness: database and dispatcher work, and the process is not stopping.
async fn ready(State(probes): State<Probes>) -> (StatusCode, Json<Value>) {
    let database = probes.service.ping().await.is_ok();
    let dispatcher = probes.heartbeat.age().is_some_and(|age| age < HEARTBEAT_TIMEOUT);
    let stopping = probes.cancel.is_cancelled();
    let ok = database && dispatcher && !stopping;
    let label = |ok: bool| if ok { "ok" } else { "failing" };
    let body = json!({
        "status": if ok { "ready" } else { "not ready" }, "database": label(database), "dispatcher": label(dispatcher), "stopping": stopping,
    });
    (if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

/// Metrics in the Prometheus text format.
async fn metrics(
    State(probes): State<Probes>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<String, ApiError> {
    check_access(&probes.metrics_access, &headers, peer)?;
    Ok(probes.metrics.render(&probes.service).await)
}

fn check_access(access: &Access, headers: &HeaderMap, peer: SocketAddr) -> Result<(), Problem> {
    match access {
        Access::Open => Ok(()),
        Access::Local if is_from_this_machine(headers, peer) => Ok(()),
        Access::Local => Err(Problem::forbidden(
            "Metrics are served to clients on this machine only. To read them from another one, the operator sets \
             BERTH_METRICS_TOKEN or BERTH_METRICS_LISTEN.",
        )),
        // Digests are compared, so the time of the comparison reveals nothing about the token.
        Access::Token(digest) if bearer(headers).is_some_and(|token| service::secrets::digest(token) == *digest) => {
            Ok(())
        }
        Access::Token(_) => {
            Err(Problem::unauthenticated("Send the value of BERTH_METRICS_TOKEN as: Authorization: Bearer <token>."))
        }
    }
}
