//! Entity tags: `ETag` of responses and `If-Match` of requests (RFC 9110 §§8.8.3, 13.1.1).

use super::AppState;
use super::problem::ApiError;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use domain::Problem;
use domain::revision::{Condition, entity_tag};
use serde::Serialize;

/// The condition of a change. Without `If-Match` there is none.
pub struct IfMatch(pub Condition);

impl FromRequestParts<AppState> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(Condition::Any)) };
        let condition = Condition::parse(value.to_str().unwrap_or_default());
        Ok(Self(condition.map_err(|message| Problem::field("If-Match", message))?))
    }
}

/// An object and its revision, as JSON with an `ETag`.
pub struct Tagged<T>(pub T, pub i64);

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let Self(object, revision) = self;
        let mut response = axum::Json(object).into_response();
        if let Ok(tag) = HeaderValue::from_str(&entity_tag(revision)) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}
