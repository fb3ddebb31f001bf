//! The HTTP side: the public API, the page's server functions, the live feed, the page's files, health.

pub mod extract;
pub mod guard;
pub mod health;
pub mod problem;
pub mod rpc;
pub mod spa;
pub mod stream;
pub mod v1;

use crate::config::Config;
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::handler::Handler as _;
use axum::middleware;
use service::Service;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tower::Layer as _;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};

/// The largest body the API reads.
pub const MAX_BODY: usize = 256 * 1024;

/// What every handler may need.
#[derive(Clone)]
pub struct AppState {
    /// The use cases.
    pub service: Service,
    /// The settings in force.
    pub config: Arc<Config>,
    /// Ends long-lived responses when the process stops.
    pub cancel: CancellationToken,
    /// The one-time code of the set-up link, while nobody has set Berth up.
    pub setup_code: Arc<str>,
    /// Requests a second.
    pub rates: Arc<guard::Rates>,
    /// Open live feeds for each person.
    pub streams: Arc<stream::Streams>,
    /// What tells of the process.
    pub health: health::Probes,
}

impl FromRef<AppState> for health::Probes {
    fn from_ref(app: &AppState) -> Self {
        app.health.clone()
    }
}

/// Everything served on the one port.
pub fn router(app: AppState) -> Router {
    let (api, openapi) = v1::router();
    let openapi = Arc::new(openapi);
    let api = Router::new()
        .merge(api)
        .route(
            "/api/v1/openapi.json",
            axum::routing::get({
                let openapi = openapi.clone();
                move || async move { axum::Json((*openapi).clone()) }
            }),
        )
        .merge(v1::docs())
        .route("/api", axum::routing::any(problem::unknown_route))
        .route("/api/{*rest}", axum::routing::any(problem::unknown_route))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(app.clone(), guard::rate_limit));
    let rpc = Router::new()
        .route("/rpc/{*function}", axum::routing::post(rpc::call))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(app.clone(), guard::rate_limit));
    // Answers of the API and the page itself are compressed as they are made; the page's other files beforehand, the feed
    // never.
    let compress = CompressionLayer::new().br(true).gzip(true).compress_when(
        SizeAbove::new(1_024)
            .and(NotForContentType::new("text/event-stream"))
            .and(NotForContentType::new("application/wasm")),
    );
    Router::new()
        .merge(api.layer(compress.clone()))
        .merge(rpc.layer(compress.clone()))
        .merge(health::router())
        .fallback_service(compress.layer(spa::spa_fallback.with_state(app.clone())))
        .layer(middleware::from_fn_with_state(app.clone(), guard::headers))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn(guard::observe))
        .with_state(app)
}
