//! The public API, `/api/v1` (docs/contract.md §6), with one file per area. The docstring of each route is its OpenAPI
//! description.

pub mod accounts;
pub mod alerts;
pub mod audit;
pub mod catalogue;
pub mod deliveries;
mod download;
pub mod groups;
mod idempotency;
mod listeners;
pub mod notifications;
mod openapi;
pub mod privacy;
pub mod replays;
pub mod reservations;
pub mod session;
pub mod webhooks;

use super::{AppState, stream};
use axum::Router;
use serde_json::Value;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

/// Routes of the API and its OpenAPI document.
pub fn router() -> (Router<AppState>, Value) {
    let routes = OpenApiRouter::with_openapi(openapi::Document::openapi()).nest(
        "/api/v1",
        OpenApiRouter::new()
            .merge(session::routes())
            .merge(accounts::routes())
            .merge(groups::routes())
            .merge(privacy::routes())
            .merge(catalogue::routes())
            .merge(reservations::routes())
            .merge(webhooks::routes())
            .merge(listeners::routes())
            .merge(deliveries::routes())
            .merge(alerts::routes())
            .merge(replays::routes())
            .merge(notifications::routes())
            .merge(audit::routes())
            .merge(stream::routes()),
    );
    let (routes, document) = routes.split_for_parts();
    (routes, openapi::complete(&document))
}

/// The documentation page of the API.
pub fn docs() -> Router<AppState> {
    openapi::docs()
}
