//! `/.well-known/jwks.json`: the public Ed25519 keys of webhooks, for receivers (docs/contract.md §1, "Signatures").

use super::AppState;
use super::problem::ApiError;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

pub fn routes() -> Router<AppState> {
    Router::new().route("/.well-known/jwks.json", get(keys))
}

/// The JSON Web Key Set. Clients may keep it for five minutes: after a rotation, the old key also signs during the overlap.
async fn keys(State(app): State<AppState>) -> Result<impl IntoResponse, ApiError> {
    let keys = app.service.webhooks().public_keys().await?;
    let headers = [(header::CONTENT_TYPE, "application/jwk-set+json"), (header::CACHE_CONTROL, "public, max-age=300")];
    Ok((headers, Json(json!({"keys": keys}))))
}
