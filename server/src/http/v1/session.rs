//! Logging in and out, and the first set-up.

use super::super::App;
use super::super::extract::{Caller, Json, SESSION_COOKIE, session};
use super::super::guard::{client_address, same_origin};
use super::super::problem::{ApiError, ProblemBody};
use crate::config::Environment;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use domain::Problem;
use domain::account::{Credentials, SessionInfo, SetupInput};
use serde::Serialize;
use service::accounts::LoggedIn;
use std::net::SocketAddr;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(who, log_in, log_out)).routes(routes!(setup_state, set_up))
}

/// The `Set-Cookie` of a session; an empty token removes it.
pub fn cookie(token: &str, env: Environment) -> String {
    let secure = if env == Environment::Production { "; Secure" } else { "" };
    let age = if token.is_empty() { 0 } else { 7 * 86_400 };
    format!("{SESSION_COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}")
}

/// A browser says where a request comes from; a script that says nothing has no ambient authority to abuse.
fn not_foreign(headers: &HeaderMap, app: &App) -> Result<(), Problem> {
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        same_origin(headers, &app.config.public_url)?;
    }
    Ok(())
}

fn logged_in(app: &App, done: LoggedIn) -> Response {
    ([(header::SET_COOKIE, cookie(&done.token, app.config.env))], axum::Json(done.info)).into_response()
}

/// Log in.
#[utoipa::path(post, path = "/session", tag = "session", request_body = Credentials, security(()),
    responses((status = 200, body = SessionInfo), (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
async fn log_in(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Json<Credentials>,
) -> Result<Response, ApiError> {
    not_foreign(&headers, &app)?;
    let source =
        client_address(&headers, Some(peer), app.config.trust_proxy).map_or_else(String::new, |ip| ip.to_string());
    let done = app.service.log_in(body.value, &source).await?;
    Ok(logged_in(&app, done))
}

/// Who am I.
#[utoipa::path(get, path = "/session", tag = "session", responses((status = 200, body = SessionInfo), (status = 401, body = ProblemBody)))]
async fn who(caller: Caller) -> axum::Json<SessionInfo> {
    axum::Json(caller.info)
}

/// Log out.
#[utoipa::path(delete, path = "/session", tag = "session", responses((status = 204)))]
async fn log_out(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    if let Some(token) = session(&headers) {
        same_origin(&headers, &app.config.public_url)?;
        app.service.log_out(&token).await?;
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie("", app.config.env))]).into_response())
}

/// Whether Berth waits for its first administrator.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SetupState {
    /// True while no account exists.
    needs_setup: bool,
    /// True when this visit comes from the machine itself and needs no code.
    local: bool,
}

/// Whether a visit comes from this machine, and not through a proxy on it.
pub fn is_local(headers: &HeaderMap, peer: SocketAddr) -> bool {
    peer.ip().is_loopback() && !headers.contains_key("x-forwarded-for") && !headers.contains_key("forwarded")
}

/// Whether Berth has to be set up.
#[utoipa::path(get, path = "/setup", tag = "session", security(()), responses((status = 200, body = SetupState)))]
async fn setup_state(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<axum::Json<SetupState>, ApiError> {
    Ok(axum::Json(SetupState { needs_setup: app.service.needs_setup().await?, local: is_local(&headers, peer) }))
}

/// Make the first administrator.
#[utoipa::path(post, path = "/setup", tag = "session", request_body = SetupInput, security(()),
    responses((status = 200, body = SessionInfo), (status = 403, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn set_up(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Json<SetupInput>,
) -> Result<Response, ApiError> {
    not_foreign(&headers, &app)?;
    let done = app.service.set_up(body.value, is_local(&headers, peer), &app.setup_code).await?;
    Ok(logged_in(&app, done))
}
