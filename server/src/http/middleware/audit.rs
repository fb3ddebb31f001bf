//! The origin of each request for the audit log, and entries about requests that were refused for lack of permission.

use super::trace::current_request_id;
use crate::client_address::client_address;
use crate::config::Config;
use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::http::{Method, Uri};
use service::Service;
use service::audit_trail::Origin;
use std::net::SocketAddr;

/// Method and path of a request, which need no copy until they are recorded.
pub struct Route {
    method: Method,
    uri: Uri,
    matched: Option<MatchedPath>,
}

/// Client and id of a request.
pub fn origin(request: &Request, config: &Config) -> Origin {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let source = client_address(request.headers(), peer, &config.trusted_proxies);
    Origin::new(source, current_request_id().unwrap_or_default())
}

/// The route of a request.
pub fn route(request: &Request) -> Route {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    Route { method: request.method().clone(), uri: request.uri().clone(), matched }
}

/// Records the refusal of the present request, if there is one.
pub async fn record_refusal(service: &Service, Route { method, uri, matched }: Route) {
    let Some(reason) = Origin::current().take_refusal() else { return };
    // All server functions have one route, so their path is used: it names an existing function if a refusal comes from one.
    let path = matched.as_ref().map(MatchedPath::as_str).filter(|route| !route.starts_with("/rpc/"));
    let route = format!("{method} {}", path.unwrap_or(uri.path()));
    service.audit().record_refusal(&route, &reason).await;
}
