//! `/schemas/events/…`: the JSON Schemas of payloads, for receivers. They are public and change only with a release.

use super::AppState;
use super::extract::Path;
use super::problem::ApiError;
use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse as _;
use axum::routing::get;
use domain::Problem;
use domain::event_catalogue::schema_files;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The schemas by the rest of their path, serialised once.
static SCHEMAS: LazyLock<HashMap<String, Bytes>> = LazyLock::new(|| {
    let name = |path: String| path.trim_start_matches(ROOT).to_owned();
    schema_files().map(|(path, schema)| (name(path), Bytes::from(schema.to_string()))).collect()
});
const ROOT: &str = "/schemas/events/";

pub fn routes() -> Router<AppState> {
    Router::new().route("/schemas/events/{*name}", get(schema))
}

async fn schema(Path(name): Path<String>) -> Result<axum::response::Response, ApiError> {
    let schema = SCHEMAS.get(&name).ok_or_else(|| Problem::not_found("schema"))?;
    let headers = [(header::CONTENT_TYPE, "application/schema+json"), (header::CACHE_CONTROL, "public, max-age=3600")];
    Ok((headers, schema.clone()).into_response())
}
