//! Request id, span, metrics and log line of each request. Headers and bodies are never logged, because they contain secrets.

use crate::telemetry;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method};
use axum::response::Response;
use std::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

/// Header of the request id, in requests and responses.
const REQUEST_ID: &str = "x-request-id";
/// Maximum length in bytes of a request id from a client.
const MAX_REQUEST_ID: usize = 128;

tokio::task_local! {
    static CURRENT_REQUEST_ID: String;
}

/// Id of the request that the current task handles; `None` outside a request.
pub fn current_request_id() -> Option<String> {
    CURRENT_REQUEST_ID.try_with(Clone::clone).ok()
}

/// The id of a request: the client's, or a generated one. An id that cannot be printed safely is replaced, so that a client cannot
/// forge log lines. Requests to other processes get the same id.
fn assign_id(request: &mut Request) -> (String, HeaderValue) {
    let mut sent = request.headers().get_all(REQUEST_ID).iter();
    let valid = sent.next().filter(|value| is_valid_id(value)).filter(|_| sent.next().is_none()).cloned();
    let text = match valid.as_ref().and_then(|value| value.to_str().ok()) {
        Some(id) => id.to_owned(),
        None => format!("req_{}", hex::encode(service::secrets::random::<12>())),
    };
    // Hex digits are always a valid header value.
    let value = valid.or_else(|| HeaderValue::from_str(&text).ok()).unwrap_or(HeaderValue::from_static("unknown"));
    request.headers_mut().insert(REQUEST_ID, value.clone());
    (text, value)
}

/// Whether an id has 1 to [`MAX_REQUEST_ID`] letters, digits and `-_.:/+=`.
fn is_valid_id(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=MAX_REQUEST_ID).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
}

/// Id, span, metrics and log line of a request.
pub struct RequestTrace {
    started: Instant,
    id: (String, HeaderValue),
    method: &'static str,
    route: String,
    span: Span,
}

impl RequestTrace {
    /// Begins the span of a request, and sets its id.
    pub fn begin(request: &mut Request) -> Self {
        let started = Instant::now();
        let id = assign_id(request);
        let method = method_label(request.method());
        let matched = request.extensions().get::<MatchedPath>();
        let route = matched.map_or_else(|| "page".to_owned(), |path| path.as_str().to_owned());
        let span = tracing::info_span!(
            "request",
            request_id = id.0,
            method,
            path = request.uri().path(),
            otel.name = Empty,
            otel.kind = Empty,
            http.route = Empty,
            http.response.status_code = Empty
        );
        if telemetry::is_exporting() {
            span.record("otel.name", format!("{method} {route}"));
            span.record("otel.kind", "server");
            span.record("http.route", &route);
            telemetry::continue_trace(&span, request.headers());
        }
        Self { started, id, method, route, span }
    }

    /// Runs the request in its span, and records its metrics and log line. The response gets the request id.
    pub async fn run(self, work: impl Future<Output = Response>) -> Response {
        let Self { started, id: (id, id_header), method, route, span } = self;
        let work = async {
            let response = work.await;
            let status = response.status().as_u16();
            let duration = started.elapsed();
            metrics::histogram!("berth_http_request_duration_seconds", "method" => method, "route" => route, "status" => status.to_string())
                .record(duration.as_secs_f64());
            let duration_ms = duration.as_secs_f64() * 1_000.0;
            if status >= 500 {
                tracing::error!(status, duration_ms, "request failed");
            } else {
                tracing::debug!(status, duration_ms, "request handled");
            }
            if telemetry::is_exporting() {
                tracing::Span::current().record("http.response.status_code", status);
            }
            response
        };
        let mut response = CURRENT_REQUEST_ID.scope(id, work.instrument(span)).await;
        response.headers_mut().entry(REQUEST_ID).or_insert(id_header);
        response
    }
}

/// Metric label of a method. Unknown methods share one label, which bounds memory: a client can send any method.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_share_one_metric_label() {
        assert_eq!(method_label(&Method::PATCH), "PATCH");
        for unknown in ["PROPFIND", "get", "X"] {
            assert_eq!(method_label(&Method::from_bytes(unknown.as_bytes()).unwrap()), "other");
        }
    }

    #[test]
    fn request_ids_with_unusual_characters_or_length_are_invalid() {
        let is_valid = |id: &str| is_valid_id(&HeaderValue::from_bytes(id.as_bytes()).unwrap());
        for id in
            ["1", "req_0123", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "1-67891233-abcdef012345678912345678", &"x".repeat(128)]
        {
            assert!(is_valid(id), "{id}");
        }
        for id in ["", " ", "a b", "a\tb", "é", "{id}", "\u{7f}".trim_matches('\u{7f}'), &"x".repeat(129)] {
            assert!(!is_valid(id), "{id}");
        }
    }
}
