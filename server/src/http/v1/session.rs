//! Logging in and out, and the first set-up.

use super::super::AppState;
use super::super::extract::{AuthenticatedUser, Json, SESSION_COOKIE, session};
use super::super::middleware::csrf::same_origin;
use super::super::middleware::rate_limit::client_source;
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

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(who, log_in, log_out)).routes(routes!(setup_state, set_up))
}

/// The `Set-Cookie` of a session; an empty token removes it.
pub fn cookie(token: &str, env: Environment) -> String {
    let secure = if env == Environment::Production { "; Secure" } else { "" };
    let age = if token.is_empty() { 0 } else { 7 * 86_400 };
    format!("{SESSION_COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}")
}

/// A browser says where a request comes from; a script that says nothing has no ambient authority to abuse.
fn not_foreign(headers: &HeaderMap, app: &AppState) -> Result<(), Problem> {
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        same_origin(headers, &app.config.public_url)?;
    }
    Ok(())
}

fn logged_in(app: &AppState, done: LoggedIn) -> Response {
    ([(header::SET_COOKIE, cookie(&done.token, app.config.env))], axum::Json(done.info)).into_response()
}

/// Log in.
#[utoipa::path(post, path = "/session", tag = "session", request_body = Credentials, security(()),
    responses((status = 200, body = SessionInfo), (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
async fn log_in(
    State(app): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Json<Credentials>,
) -> Result<Response, ApiError> {
    not_foreign(&headers, &app)?;
    let source = client_source(&headers, Some(peer), app.config.trust_proxy);
    let done = app.service.log_in(body.value, &source).await?;
    Ok(logged_in(&app, done))
}

/// Who am I.
#[utoipa::path(get, path = "/session", tag = "session", responses((status = 200, body = SessionInfo), (status = 401, body = ProblemBody)))]
async fn who(caller: AuthenticatedUser) -> axum::Json<SessionInfo> {
    axum::Json(caller.info)
}

/// Log out.
#[utoipa::path(delete, path = "/session", tag = "session", responses((status = 204)))]
async fn log_out(State(app): State<AppState>, headers: HeaderMap) -> Result<Response, ApiError> {
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

/// Whether a visit comes from this machine: from its own address; to its own name, for a foreign page in a browser on it asks
/// under the page's name (DNS rebinding); and not through a proxy on it, which there is when people reach Berth elsewhere.
pub fn is_local(headers: &HeaderMap, peer: SocketAddr, public_url: &str) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    let public = url::Url::parse(public_url).ok();
    let at_home = match public.as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    let proxied = headers.keys().any(|name| {
        let name = name.as_str();
        matches!(name, "forwarded" | "x-real-ip" | "via") || name.starts_with("x-forwarded-")
    });
    peer.ip().to_canonical().is_loopback()
        && ["localhost", "127.0.0.1", "[::1]"].iter().any(|own| name.eq_ignore_ascii_case(own))
        && at_home
        && !proxied
}

/// Whether Berth has to be set up.
#[utoipa::path(get, path = "/setup", tag = "session", security(()), responses((status = 200, body = SetupState)))]
async fn setup_state(
    State(app): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<axum::Json<SetupState>, ApiError> {
    Ok(axum::Json(SetupState {
        needs_setup: app.service.needs_setup().await?,
        local: is_local(&headers, peer, &app.config.public_url),
    }))
}

/// Make the first administrator.
#[utoipa::path(post, path = "/setup", tag = "session", request_body = SetupInput, security(()),
    responses((status = 200, body = SessionInfo), (status = 403, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn set_up(
    State(app): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Json<SetupInput>,
) -> Result<Response, ApiError> {
    not_foreign(&headers, &app)?;
    let done =
        app.service.set_up(body.value, is_local(&headers, peer, &app.config.public_url), &app.setup_code).await?;
    Ok(logged_in(&app, done))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn local(headers: &[(&'static str, &'static str)], peer: &str, public_url: &str) -> bool {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        is_local(&headers.iter().map(pair).collect(), SocketAddr::new(peer.parse().unwrap(), 4711), public_url)
    }

    #[test]
    fn a_visit_is_local_only_from_this_machine_under_its_own_name_and_directly() {
        let home = "http://127.0.0.1:3000";
        for host in ["localhost", "LOCALHOST:3000", "127.0.0.1", "127.0.0.1:3000", "[::1]", "[::1]:3000"] {
            assert!(local(&[("host", host)], "127.0.0.1", home), "{host}");
        }
        for public_url in ["http://localhost:3000", "http://[::1]:3000", "https://127.0.0.2"] {
            assert!(local(&[("host", "localhost:3000")], "::1", public_url), "{public_url}");
        }
        for host in
            ["evil.example", "evil.example:3000", "localhost.evil.example", "127.0.0.1.evil.example", "::1", "", ":"]
        {
            assert!(!local(&[("host", host)], "127.0.0.1", home), "{host}");
        }
        assert!(!local(&[], "127.0.0.1", home), "no Host says nothing");
        assert!(!local(&[("host", "localhost")], "192.0.2.1", home));
        for public_url in ["https://berth.example.com", "http://0.0.0.0:3000", "http://192.0.2.1:3000"] {
            assert!(!local(&[("host", "localhost:3000")], "127.0.0.1", public_url), "{public_url}");
        }
        for proxied in ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"] {
            assert!(!local(&[("host", "localhost"), (proxied, "x")], "127.0.0.1", home), "{proxied}");
        }
    }
}
