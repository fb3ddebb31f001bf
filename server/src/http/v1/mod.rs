//! The public API, `/api/v1` (docs/contract.md §6), with one file per area. The docstring of each route is its OpenAPI
//! description.

pub mod accounts;
pub mod audit;
pub mod catalogue;
pub mod deliveries;
mod idempotency;
pub mod notifications;
mod openapi;
pub mod reservations;
pub mod session;
pub mod webhooks;

use super::middleware::query_parameters::{QueryParameters, reject_unknown_parameters};
use super::{AppState, stream};
use axum::Router;
use axum::middleware::from_fn_with_state;
use serde_json::Value;
use std::sync::Arc;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

/// Routes of the API and its OpenAPI document.
pub fn router() -> (Router<AppState>, Value) {
    let routes = OpenApiRouter::with_openapi(openapi::Document::openapi()).nest(
        "/api/v1",
        OpenApiRouter::new()
            .merge(session::routes())
            .merge(accounts::routes())
            .merge(catalogue::routes())
            .merge(reservations::routes())
            .merge(webhooks::routes())
            .merge(deliveries::routes())
            .merge(notifications::routes())
            .merge(audit::routes())
            .merge(stream::routes()),
    );
    let (routes, document) = routes.split_for_parts();
    let document = openapi::complete(&document);
    let parameters = Arc::new(QueryParameters::documented(&document));
    (routes.route_layer(from_fn_with_state(parameters, reject_unknown_parameters)), document)
}

/// The documentation page of the API.
pub fn docs() -> Router<AppState> {
    openapi::docs()
}
