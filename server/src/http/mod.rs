//! HTTP: the public API, the page's server functions, the live feed, the page's files and the health endpoints.

mod event_schemas;
pub mod extract;
pub mod health;
pub mod if_match;
pub mod json;
mod jwks;
mod message_page;
pub mod middleware;
pub mod problem;
mod receiver_callbacks;
pub mod rpc;
mod single_sign_on;
pub mod spa;
mod state;
pub mod stream;
pub mod v1;

pub use state::{AppState, Shared};

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler as _;
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, post};
use middleware::rate_limit::{limit_page, limit_probes};
use middleware::{AllowedHosts, CompressAccepted, QueryParameters, api_request, every_request};
use std::sync::Arc;
use tower::Layer as _;

/// Maximum size of a request body in bytes.
pub const MAX_BODY: usize = 256 * 1024;

/// All routes of `berth serve`.
pub fn router(app: AppState) -> Router {
    let (api, parameters) = api_routes();
    let functions = Router::new().route("/rpc/{*function}", post(rpc::call));
    Router::new()
        .merge(limited(api, parameters, &app).layer(CompressAccepted))
        .merge(limited(functions, QueryParameters::default(), &app).layer(CompressAccepted))
        .merge(limited(single_sign_on::routes(), QueryParameters::default(), &app))
        .merge(
            limited(event_schemas::routes().merge(jwks::routes()), QueryParameters::default(), &app)
                .layer(CompressAccepted),
        )
        .merge(health::router().layer(from_fn_with_state(app.clone(), limit_probes)))
        .fallback_service(
            CompressAccepted
                .layer(from_fn_with_state(app.clone(), limit_page).layer(spa::spa_fallback.with_state(app.clone()))),
        )
        .layer(from_fn_with_state((app.clone(), Arc::new(AllowedHosts::of(&app.config))), every_request))
        .with_state(app)
}

/// The API with its OpenAPI document and documentation page, and the query parameters of its operations.
fn api_routes() -> (Router<AppState>, QueryParameters) {
    let (api, openapi) = v1::router();
    let parameters = QueryParameters::documented(&openapi);
    // The document does not change, so it is serialised once.
    let openapi = Bytes::from(openapi.to_string());
    let json = [(header::CONTENT_TYPE, "application/json")];
    let routes = Router::new()
        .merge(api)
        .route("/api/v1/openapi.json", get(move || std::future::ready((json, openapi.clone()))))
        .merge(v1::docs())
        .merge(receiver_callbacks::routes())
        .route("/api", any(problem::unknown_route))
        .route("/api/{*rest}", any(problem::unknown_route));
    (routes, parameters)
}

/// Adds the limits on method, body size and request rate, the check of query parameters, and the origin of the request for the audit log.
fn limited(routes: Router<AppState>, parameters: QueryParameters, app: &AppState) -> Router<AppState> {
    routes
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state((app.clone(), Arc::new(parameters)), api_request))
}
