//! Server functions (Leptos) of the page at `/rpc/…`. They accept only JSON from Berth's own origin.

use super::AppState;
use super::extract::{log_in_client, second_step, session};
use super::json::{body, is_json, not_json};
use super::middleware::csrf::same_origin;
use super::problem::{ApiError, unknown_route};
use super::v1::session::is_local;
use app::rpc::context::RequestContext;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use domain::{Problem, ProblemKind};
use std::net::SocketAddr;

/// Runs a server function.
pub async fn call(State(app): State<AppState>, request: Request) -> Response {
    let (parts, unread) = request.into_parts();
    if leptos::server_fn::axum::get_server_fn_service(parts.uri.path(), parts.method.clone()).is_none() {
        return unknown_route(parts.uri).await.into_response();
    }
    let prepared = async {
        let context = context(&app, &parts).await?;
        // The body is read here, because Leptos enforces no size limit.
        let request = Request::from_parts(parts.clone(), unread);
        Ok::<_, Problem>((context, body(request, &app).await?))
    };
    match prepared.await {
        Ok((context, body)) => {
            let request = Request::from_parts(parts, Body::from(body));
            leptos_axum::handle_server_fns_with_context(
                move || leptos::prelude::provide_context(context.clone()),
                request,
            )
            .await
            .into_response()
        }
        Err(problem) => ApiError(problem).into_response(),
    }
}

/// Checks a request and builds the context of its server function.
async fn context(app: &AppState, parts: &Parts) -> Result<RequestContext, Problem> {
    let headers = &parts.headers;
    same_origin(headers, &app.config.public_url)?;
    if !is_json(headers) {
        return Err(not_json());
    }
    let token = session(headers, app);
    let known = match &token {
        Some(token) => {
            let known = app.service.accounts().authenticate_session(token).await;
            app.rate_limits.api.record(token, &known);
            match known {
                Ok(known) => Some(known),
                Err(problem) if problem.kind == ProblemKind::Unauthenticated => None,
                Err(problem) => return Err(problem),
            }
        }
        None => None,
    };
    let (actor, info) = known.unzip();
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    Ok(RequestContext {
        service: app.service.clone(),
        actor,
        session: info,
        session_token: token,
        second_step: second_step(headers, app),
        client: log_in_client(headers, peer, app),
        local: peer.is_some_and(|peer| is_local(headers, peer, &app.config.public_url)),
        secure_cookies: app.config.secure_cookies(),
    })
}
