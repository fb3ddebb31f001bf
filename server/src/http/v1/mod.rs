//! The public API, `/api/v1` (docs/contract.md §6), with one file per area. The docstring of each route is its OpenAPI
//! description.

pub mod accounts;
pub mod catalogue;
mod create;
pub mod deliveries;
pub mod notifications;
mod openapi;
pub mod reservations;
pub mod session;
pub mod webhooks;

use super::{AppState, stream};
use axum::Router;
use create::create;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

/// Routes of the API and its OpenAPI document.
pub fn router() -> (Router<AppState>, utoipa::openapi::OpenApi) {
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
            .merge(stream::routes()),
    );
    let (routes, mut document) = routes.split_for_parts();
    openapi::complete(&mut document);
    (routes, document)
}

/// The documentation page of the API.
pub fn docs() -> Router<AppState> {
    openapi::docs()
}
