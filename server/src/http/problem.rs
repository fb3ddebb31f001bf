//! Errors on the wire: RFC 9457 problem+json.

use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use domain::{FieldError, Problem, ProblemKind};
use serde::Serialize;

/// RFC 9457 problem details.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ProblemBody {
    /// A stable reference for the kind of problem.
    #[serde(rename = "type")]
    pub type_uri: &'static str,
    /// The kind in words.
    pub title: &'static str,
    /// The HTTP status code.
    pub status: u16,
    /// What happened this time and what to do.
    pub detail: String,
    /// The fields at fault, on 422.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// A problem as a response.
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
        let status = problem.kind.status();
        let body = ProblemBody {
            type_uri: problem.kind.type_uri(),
            title: problem.kind.title(),
            status,
            detail: problem.detail,
            errors: problem.errors,
        };
        let code = axum::http::StatusCode::from_u16(status).unwrap_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (code, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = problem.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if problem.kind == ProblemKind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"berth\""));
        }
        response
    }
}

/// An unknown path under `/api`.
pub async fn unknown_route(uri: Uri) -> ApiError {
    ApiError(Problem::new(
        ProblemKind::NotFound,
        format!("There is nothing at {}. The API is described at /api/docs.", uri.path()),
    ))
}

/// A known path with another method; axum adds `Allow`.
pub async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError(Problem::new(
        ProblemKind::MethodNotAllowed,
        format!("{} does not take {method}. The Allow header says what it takes.", uri.path()),
    ))
}

/// A defect: the caller learns that it is ours, the log learns what.
pub fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let what = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    tracing::error!(panic = what, "a handler panicked");
    ApiError(Problem::internal()).into_response()
}
