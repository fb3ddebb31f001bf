//! The origin of each request for the audit log, and entries about requests that were refused for lack of permission.

use super::super::AppState;
use super::trace::current_request_id;
use crate::client_address::client_address;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use service::audit_trail::Origin;
use std::net::SocketAddr;

/// Runs a request with its origin, and records a refusal.
pub async fn audit(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let source = client_address(request.headers(), peer, &app.config.trusted_proxies);
    let origin = Origin::new(source, current_request_id().unwrap_or_default());
    let route = route(&request);
    let work = async {
        let response = next.run(request).await;
        if let Some(reason) = Origin::current().take_refusal() {
            app.service.audit().record_refusal(&route, &reason).await;
        }
        response
    };
    origin.scope(work).await
}

/// Method and route. All server functions have one route, so their path is used: it names an existing function if a refusal
/// comes from one.
fn route(request: &Request) -> String {
    let path = match request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) {
        Some(route) if !route.starts_with("/rpc/") => route,
        _ => request.uri().path(),
    };
    format!("{} {path}", request.method())
}
