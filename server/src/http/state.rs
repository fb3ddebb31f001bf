//! State shared by all handlers.

use super::health::Probes;
use super::middleware::rate_limit::Limiters;
use super::stream::OpenStreams;
use crate::config::Config;
use axum::extract::FromRef;
use service::Service;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// State shared by all handlers, behind one pointer: Axum clones it for each middleware of each request.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// The content of [`AppState`].
pub struct Shared {
    /// The use cases.
    pub service: Service,
    /// The effective settings.
    pub config: Config,
    /// Ends long-lived responses at shutdown.
    pub cancel: CancellationToken,
    /// Request budgets by user or address.
    pub rate_limits: Arc<Limiters>,
    /// Number of open live feeds by user.
    pub streams: Arc<OpenStreams>,
    /// Sources of the health endpoints.
    pub health: Probes,
}

impl AppState {
    /// Shares the state.
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl std::ops::Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl FromRef<AppState> for Probes {
    fn from_ref(app: &AppState) -> Self {
        app.health.clone()
    }
}
