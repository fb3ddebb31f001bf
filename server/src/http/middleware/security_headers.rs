//! Response headers that protect the page. A value that a handler sets is kept.

use crate::config::Environment;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

/// Content security policy of responses without active content.
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'";
/// Content security policy of the API documentation. Swagger UI needs inline styles; its scripts are files.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; \
                           img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Name of the file if a browser saves a response of the API. It prevents a file whose name and content another site has chosen.
const DOWNLOAD: &str = "attachment; filename=\"api.json\"";

/// The security headers of the response to a request.
pub struct SecurityHeaders {
    policy: &'static str,
    /// Whether the response belongs to a user.
    is_private: bool,
    /// Whether a script of a page reads the response. Only a navigation can save one as a file.
    is_script: bool,
    /// Whether browsers must use https.
    https_only: bool,
}

impl SecurityHeaders {
    /// Chooses the headers by path and by the kind of the request.
    pub fn of(request: &Request, env: Environment) -> Self {
        let path = request.uri().path();
        let is_docs = path.starts_with("/api/docs");
        Self {
            policy: if is_docs { DOCS_POLICY } else { API_POLICY },
            is_private: !is_docs && (path.starts_with("/api/") || path.starts_with("/rpc/")),
            is_script: request.headers().get("sec-fetch-dest").is_some_and(|destination| destination == "empty"),
            https_only: env == Environment::Production,
        }
    }

    /// Adds the headers that the response does not have.
    pub fn add_missing(&self, response: &mut Response) {
        set_common(response, self.policy);
        let mut set = |name: HeaderName, value: &'static str| {
            response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
        };
        if self.is_private {
            set(header::CACHE_CONTROL, "no-store");
            if !self.is_script {
                set(header::CONTENT_DISPOSITION, DOWNLOAD);
            }
        }
        if self.https_only {
            set(header::STRICT_TRANSPORT_SECURITY, "max-age=63072000; includeSubDomains");
        }
    }
}

/// Sets the missing security headers of health endpoints on a listener of their own, which browsers do not use.
pub async fn probe_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    set_common(&mut response, API_POLICY);
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn set_common(response: &mut Response, policy: &'static str) {
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
    set(header::CONTENT_SECURITY_POLICY, policy);
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn separate_listener_sends_security_headers() {
        let router: Router = Router::new().route("/healthz", get(async || "ok")).layer(from_fn(probe_headers));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        // Also for unknown paths.
        assert_eq!(response.status(), 404);
        for (name, value) in [("x-content-type-options", "nosniff"), ("cache-control", "no-store")] {
            assert_eq!(response.headers()[name], value);
        }
        assert!(response.headers().contains_key("content-security-policy"));
    }
}
