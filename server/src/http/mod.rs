//! HTTP: the public API, the page's server functions, the live feed, the page's files and the health endpoints.

pub mod extract;
pub mod health;
pub mod json;
mod message_page;
pub mod middleware;
pub mod problem;
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
use axum::middleware::{from_fn, from_fn_with_state, map_request};
use axum::routing::{any, get, post};
use middleware::audit::audit;
use middleware::host::{AllowedHosts, check_host};
use middleware::rate_limit::{limit_page, limit_probes, rate_limit};
use middleware::security_headers::security_headers;
use middleware::session_cookie::replace_legacy_cookie;
use middleware::trace::{self, GenerateRequestId};
use std::sync::Arc;
use tower::Layer as _;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};
use tower_http::request_id::{PropagateRequestIdLayer, SetRequestIdLayer};

/// Maximum size of a request body in bytes.
pub const MAX_BODY: usize = 256 * 1024;
/// Minimum size in bytes of a response that is compressed.
const COMPRESS_ABOVE: u16 = 1_024;

/// All routes of `berth serve`.
pub fn router(app: AppState) -> Router {
    // Compresses API responses and the page itself. Other files are compressed at build time. The live feed is never
    // compressed, because compression buffers events.
    let compress = CompressionLayer::new().br(true).gzip(true).compress_when(
        SizeAbove::new(COMPRESS_ABOVE)
            .and(NotForContentType::new("text/event-stream"))
            .and(NotForContentType::new("application/wasm")),
    );
    Router::new()
        .merge(limited(api_routes(), &app).layer(compress.clone()))
        .merge(limited(Router::new().route("/rpc/{*function}", post(rpc::call)), &app).layer(compress.clone()))
        .merge(limited(single_sign_on::routes(), &app))
        .merge(health::router().layer(from_fn_with_state(app.clone(), limit_probes)))
        .fallback_service(
            compress
                .layer(from_fn_with_state(app.clone(), limit_page).layer(spa::spa_fallback.with_state(app.clone()))),
        )
        .layer(from_fn_with_state(Arc::new(AllowedHosts::of(&app.config)), check_host))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn_with_state(app.clone(), security_headers))
        .layer(from_fn(trace::trace))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(GenerateRequestId))
        .layer(map_request(trace::drop_invalid_request_id))
        .with_state(app)
}

/// The API with its OpenAPI document and documentation page.
fn api_routes() -> Router<AppState> {
    let (api, openapi) = v1::router();
    // The document does not change, so it is serialised once.
    let openapi = Bytes::from(openapi.to_string());
    let json = [(header::CONTENT_TYPE, "application/json")];
    Router::new()
        .merge(api)
        .route("/api/v1/openapi.json", get(move || std::future::ready((json, openapi.clone()))))
        .merge(v1::docs())
        .route("/api", any(problem::unknown_route))
        .route("/api/{*rest}", any(problem::unknown_route))
}

/// Adds the limits on method, body size and request rate, and the origin of the request for the audit log.
fn limited(routes: Router<AppState>, app: &AppState) -> Router<AppState> {
    routes
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(app.clone(), replace_legacy_cookie))
        .layer(from_fn_with_state(app.clone(), rate_limit))
        .layer(from_fn_with_state(app.clone(), audit))
}
