//! Middleware of every request: request id, spans and metrics, security headers, host check; and of requests to the API: audit log, rate
//! limit, query parameters.
//!
//! The steps are functions of two layers ([`every_request`], [`api_request`]) instead of a layer each: for each request, Axum clones
//! every layer once for each layer above it, so the cost grows with the square of their number (`docs/adr/0016`).

mod audit;
mod compression;
pub mod csrf;
mod host;
mod query_parameters;
pub mod rate_limit;
pub mod security_headers;
mod session_cookie;
mod trace;

pub use compression::CompressAccepted;
pub use host::{AllowedHosts, is_loopback};
pub use query_parameters::QueryParameters;
pub use trace::current_request_id;

use super::AppState;
use super::problem::{ApiError, panicked};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use security_headers::SecurityHeaders;
use session_cookie::LegacyCookie;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use trace::RequestTrace;

/// Runs a request with its id, its span and the security headers of its response, if its host is allowed. A panic becomes a problem.
pub async fn every_request(
    State((app, hosts)): State<(AppState, Arc<AllowedHosts>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = SecurityHeaders::of(&request, app.config.env);
    let trace = RequestTrace::begin(&mut request);
    // Each of the futures around it contains it several times, so it is boxed.
    let work = Box::pin(async {
        let mut response = match hosts.check_request(&request) {
            Ok(()) => AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(panicked),
            Err(problem) => ApiError(problem).into_response(),
        };
        headers.add_missing(&mut response);
        response
    });
    trace.run(work).await
}

/// Runs a request to the API within its rate limit, if its query parameters are known, and records a refusal in the audit log.
pub async fn api_request(
    State((app, parameters)): State<(AppState, Arc<QueryParameters>)>,
    request: Request,
    next: Next,
) -> Response {
    let legacy = LegacyCookie::of(&request, &app.config);
    let origin = audit::origin(&request, &app.config);
    let route = audit::route(&request);
    let work = Box::pin(async {
        let checked = app.rate_limits.check_api(&app, &request).and_then(|()| parameters.check_request(&request));
        let response = match checked {
            Ok(()) => next.run(request).await,
            Err(problem) => ApiError(problem).into_response(),
        };
        audit::record_refusal(&app.service, route).await;
        response
    });
    legacy.remove_from(origin.scope(work).await)
}
