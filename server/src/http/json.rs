//! Extractors of JSON bodies. `domain::input` parses them and describes the errors.

use super::AppState;
use super::problem::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use domain::{Problem, ProblemKind};
use serde::de::DeserializeOwned;

/// A JSON body with the digest of its bytes.
pub struct Json<T> {
    /// The parsed body.
    pub value: T,
    /// SHA-256 of the raw bytes in hex, for `Idempotency-Key`.
    pub digest: String,
}

impl<T: DeserializeOwned> Json<T> {
    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes));
        Ok(Self { value: domain::input::from_json(bytes)?, digest })
    }
}

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        let is_json = is_json(request.headers());
        let bytes = body(request, app).await?;
        if !is_json {
            return Err(not_json().into());
        }
        Ok(Self::parse(&bytes)?)
    }
}

/// An optional JSON body: an empty one counts as `{}`.
pub struct MaybeJson<T>(pub Json<T>);

impl<T: DeserializeOwned> FromRequest<AppState> for MaybeJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        let is_json = is_json(request.headers());
        let bytes = body(request, app).await?;
        if bytes.is_empty() {
            return Ok(Self(Json::parse(b"{}")?));
        }
        if !is_json {
            return Err(not_json().into());
        }
        Ok(Self(Json::parse(&bytes)?))
    }
}

/// Reads the whole body.
///
/// # Errors
/// Returns 413 if the body exceeds [`super::MAX_BODY`], and 400 if the connection ends early.
pub async fn body(request: Request, app: &AppState) -> Result<Bytes, Problem> {
    Bytes::from_request(request, app).await.map_err(|rejection| {
        if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
            Problem::new(ProblemKind::TooLarge, format!("The body exceeds {} KiB.", super::MAX_BODY / 1024))
        } else {
            Problem::malformed("The connection ended before the whole body was received. Send the request again.")
        }
    })
}

/// Whether `Content-Type` is `application/json` or a type that ends with `+json`.
pub fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

/// Problem for a body with another content type (415).
pub fn not_json() -> Problem {
    Problem::new(ProblemKind::UnsupportedMediaType, "Send JSON with Content-Type: application/json.")
}
