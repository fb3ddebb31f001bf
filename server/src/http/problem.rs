//! Error responses: RFC 9457 problem+json.

use super::middleware::current_request_id;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use domain::problem::{ConflictSpan, ExtensionOffer};
use domain::{FieldError, Problem, ProblemKind};
use serde::Serialize;

/// RFC 9457 problem details (docs/contract.md §6).
#[derive(Serialize, utoipa::ToSchema)]
pub struct ProblemBody {
    /// Stable URI of the kind of problem.
    #[serde(rename = "type")]
    pub type_uri: &'static str,
    /// Name of the kind of problem.
    pub title: &'static str,
    /// HTTP status code.
    pub status: u16,
    /// Cause of this problem and how to correct it.
    pub detail: String,
    /// Invalid fields, with status 422.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Span of the reservation that overlaps the requested one, with status 409.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict: Option<ConflictSpan>,
    /// What is possible instead of an extension that overlaps another reservation, with status 409.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension: Option<Box<ExtensionOffer>>,
    /// Id of the request, the same as in the `X-Request-Id` header and in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A [`Problem`] that is returned as a response.
#[derive(Debug)]
pub struct ApiError(pub Problem);

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<service::Error> for ApiError {
    fn from(error: service::Error) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        service::audit_trail::note_refusal(&problem);
        let status = problem.kind.status();
        let body = ProblemBody {
            type_uri: problem.kind.type_uri(),
            title: problem.kind.title(),
            status,
            detail: problem.detail,
            errors: problem.errors,
            conflict: problem.conflict,
            extension: problem.extension,
            request_id: current_request_id(),
        };
        let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (code, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        set_retry_after(headers, problem.retry_after);
        if code == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"berth\""));
        }
        response
    }
}

/// Sets `Retry-After`, if there is a time to wait.
pub fn set_retry_after(headers: &mut HeaderMap, seconds: Option<u64>) {
    if let Some(seconds) = seconds {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}

/// Response for an unknown path under `/api`.
pub async fn unknown_route(uri: Uri) -> ApiError {
    ApiError(Problem::new(
        ProblemKind::NotFound,
        format!("{} does not exist. See /api/docs for the API's paths.", uri.path()),
    ))
}

/// Response for a method that a known path does not support; axum adds `Allow`.
pub async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError(Problem::new(
        ProblemKind::MethodNotAllowed,
        format!("{} does not support {method}. Use a method from the Allow header.", uri.path()),
    ))
}

/// Response for a panic in a handler. The log contains the cause, the response only the request id.
pub fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    tracing::error!(panic = message, "a handler panicked");
    ApiError(Problem::internal()).into_response()
}
