//! Response headers that protect the page. A value that a handler sets is kept.

use super::super::AppState;
use crate::config::Environment;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

/// Content security policy of responses without active content.
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'";
/// Content security policy of the API documentation. Swagger UI needs inline styles; its scripts are files.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; \
                           img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Sets the missing security headers of a response.
pub async fn security_headers(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_docs = path.starts_with("/api/docs");
    let is_private = !is_docs && (path.starts_with("/api/") || path.starts_with("/rpc/"));
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    // Other sites cannot embed responses, so they cannot read them through a side channel of the processor.
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()");
    set(header::CONTENT_SECURITY_POLICY, if is_docs { DOCS_POLICY } else { API_POLICY });
    if is_private {
        set(header::CACHE_CONTROL, "no-store");
    }
    if app.config.env == Environment::Production {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=63072000; includeSubDomains");
    }
    response
}
