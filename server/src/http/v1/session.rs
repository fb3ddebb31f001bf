//! Login, logout and the first setup (docs/contract.md §6).

use super::super::AppState;
use super::super::extract::{
    AuthenticatedForSetup, AuthenticatedUser, Json, Path, log_in_client, second_step, session,
};
use super::super::middleware::csrf::same_origin;
use super::super::problem::{ApiError, ProblemBody};
use app::rpc::session_cookie::{
    CLEARED_AT_LOG_OUT, log_in_cookies, removed_second_step_cookie, removed_session_cookie, second_step_cookie,
};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use domain::account::{Credentials, LogInSession, SessionInfo, SetupInput};
use domain::pagination::Page;
use domain::second_factor::{ConfirmationInput, SecondFactorInput};
use domain::{Problem, ProblemKind};
use serde::Serialize;
use service::accounts::{LogIn, LoggedIn};
use std::net::SocketAddr;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Clears data that the browser has stored (W3C Clear Site Data).
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_session, log_in, log_out))
        .routes(routes!(finish_log_in))
        .routes(routes!(confirm))
        .routes(routes!(list_sessions, end_sessions))
        .routes(routes!(end_session))
        .routes(routes!(get_setup, set_up))
}

/// Rejects cross-site requests of a browser. A script sends neither header, and has no cookie that can be abused.
fn reject_foreign_origin(headers: &HeaderMap, app: &AppState) -> Result<(), Problem> {
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        same_origin(headers, &app.config.public_url)?;
    }
    Ok(())
}

fn start_session(app: &AppState, session: LoggedIn) -> Response {
    app.rate_limits.api.accept(&session.token, &session.info.user.username);
    let lifetime = app.config.service.accounts.session_lifetime;
    let cookies = log_in_cookies(&session, app.config.secure_cookies(), lifetime);
    (AppendHeaders(cookies.map(|cookie| (header::SET_COOKIE, cookie))), axum::Json(session.info)).into_response()
}

/// Logs in.
///
/// Sets the session cookie and the device cookie, and ends the session of the request's own cookie. A session ends after
/// 7 days, or 24 hours without a request; both are settings. Failed logins are throttled with 429 and `Retry-After`. A
/// request with the device cookie of an earlier log-in of this account has a limit of its own.
///
/// An account with a second factor gets no session: the response is the problem `second-factor-required` with a cookie that
/// is valid for 5 minutes. `POST /api/v1/session/second-factor` finishes the log-in.
#[utoipa::path(post, path = "/session", tag = "session", request_body = Credentials, security(()),
    responses((status = 200, body = SessionInfo), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
async fn log_in(
    State(app): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Json<Credentials>,
) -> Result<Response, ApiError> {
    reject_foreign_origin(&headers, &app)?;
    let client = log_in_client(&headers, Some(peer), &app);
    match app.service.accounts().log_in(body.value, client).await? {
        LogIn::Started(session) => Ok(start_session(&app, *session)),
        LogIn::SecondStep(step) => {
            let problem = Problem::new(
                ProblemKind::SecondFactorRequired,
                "This account has a second factor. Send a code of the authenticator app or a recovery code to POST \
                 /api/v1/session/second-factor with the cookie of this response, or log in on the page.",
            );
            let cookie = second_step_cookie(&step.token, app.config.secure_cookies());
            Ok(([(header::SET_COOKIE, cookie)], ApiError(problem)).into_response())
        }
    }
}

/// Finishes a login with a second factor.
///
/// Needs the cookie that the login with the password has set, and either `code` or `recovery_code`. Sets the session cookie
/// and the device cookie. The wrong codes of an account are limited with 429 and `Retry-After`. Passkeys are used on the
/// page.
#[utoipa::path(post, path = "/session/second-factor", tag = "session", request_body = SecondFactorInput, security(()),
    responses((status = 200, body = SessionInfo), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
async fn finish_log_in(
    State(app): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Json<SecondFactorInput>,
) -> Result<Response, ApiError> {
    reject_foreign_origin(&headers, &app)?;
    let client = log_in_client(&headers, Some(peer), &app);
    let token = second_step(&headers, &app);
    let session = app.service.accounts().finish_log_in(token.as_deref(), body.value, client).await?;
    let removed = removed_second_step_cookie(app.config.secure_cookies());
    Ok((AppendHeaders([(header::SET_COOKIE, removed)]), start_session(&app, session)).into_response())
}

/// Confirms sensitive changes of this session for 10 minutes.
///
/// Needs either the current `password` or a `code` of the authenticator app. Changes that respond with the problem
/// `confirmation-required` can then be repeated. A login also confirms, for 10 minutes. API tokens need no confirmation.
#[utoipa::path(post, path = "/session/confirmation", tag = "session", request_body = ConfirmationInput,
    responses((status = 204)))]
async fn confirm(
    State(app): State<AppState>,
    caller: AuthenticatedForSetup,
    body: Json<ConfirmationInput>,
) -> Result<StatusCode, ApiError> {
    app.service.accounts().confirm(&caller.actor, body.value).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the current session.
#[utoipa::path(get, path = "/session", tag = "session", responses((status = 200, body = SessionInfo)))]
async fn get_session(caller: AuthenticatedForSetup) -> axum::Json<SessionInfo> {
    axum::Json(caller.info)
}

/// Logs out.
///
/// Ends the session and removes the cookie.
#[utoipa::path(delete, path = "/session", tag = "session", security((), ("session" = [])),
    responses((status = 204), (status = 403, body = ProblemBody)))]
async fn log_out(State(app): State<AppState>, headers: HeaderMap) -> Result<Response, ApiError> {
    if let Some(token) = session(&headers, &app) {
        same_origin(&headers, &app.config.public_url)?;
        app.service.accounts().log_out(&token).await?;
    }
    let cookie = removed_session_cookie(app.config.secure_cookies());
    let headers = [(header::SET_COOKIE, cookie), (CLEAR_SITE_DATA, CLEARED_AT_LOG_OUT.to_owned())];
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

/// Lists your open sessions, newest first, at most 200.
#[utoipa::path(get, path = "/sessions", tag = "session", responses((status = 200, body = Page<LogInSession>)))]
async fn list_sessions(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
) -> Result<axum::Json<Page<LogInSession>>, ApiError> {
    let items = app.service.accounts().list_sessions(&caller.actor).await?;
    Ok(axum::Json(Page { items, next_cursor: None }))
}

/// Ends all your sessions, also the one of this request.
#[utoipa::path(delete, path = "/sessions", tag = "session", responses((status = 204)))]
async fn end_sessions(State(app): State<AppState>, caller: AuthenticatedUser) -> Result<StatusCode, ApiError> {
    app.service.accounts().end_all_sessions(&caller.actor, &caller.actor.username).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends one of your sessions.
#[utoipa::path(delete, path = "/sessions/{id}", tag = "session", params(("id" = String, Path)), responses((status = 204)))]
async fn end_session(
    State(app): State<AppState>,
    caller: AuthenticatedUser,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.service.accounts().end_session(&caller.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// State of the first setup.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SetupState {
    /// True while no account exists.
    needs_setup: bool,
    /// True if the request comes from the machine of the server. Setup then needs no code.
    local: bool,
}

/// Whether a request comes from this machine. All of these must hold:
///
/// - Its source is a loopback address.
/// - Its `Host` is a name of this machine. A foreign page in a local browser sends another one (DNS rebinding).
/// - No proxy forwarded it, and the public URL names this machine. A local proxy would forward remote users.
pub fn is_local(headers: &HeaderMap, peer: SocketAddr, public_url: &str) -> bool {
    let public = url::Url::parse(public_url).ok();
    let is_public_url_local = match public.as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    is_public_url_local && is_from_this_machine(headers, peer)
}

/// Whether a client on this machine sent a request, and no proxy that names itself forwarded it.
pub fn is_from_this_machine(headers: &HeaderMap, peer: SocketAddr) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    let proxied = headers.keys().any(|name| {
        let name = name.as_str();
        matches!(name, "forwarded" | "x-real-ip" | "via") || name.starts_with("x-forwarded-")
    });
    peer.ip().to_canonical().is_loopback()
        && ["localhost", "127.0.0.1", "[::1]"].iter().any(|own| name.eq_ignore_ascii_case(own))
        && !proxied
}

/// Returns whether setup is needed.
#[utoipa::path(get, path = "/setup", tag = "session", security(()), responses((status = 200, body = SetupState)))]
async fn get_setup(
    State(app): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<axum::Json<SetupState>, ApiError> {
    Ok(axum::Json(SetupState {
        needs_setup: app.service.accounts().needs_setup().await?,
        local: is_local(&headers, peer, &app.config.public_url),
    }))
}

/// Creates the first administrator and logs in.
///
/// Requires the one-time code printed at start, unless the request comes from the machine of the server.
#[utoipa::path(post, path = "/setup", tag = "session", request_body = SetupInput, security(()),
    responses((status = 200, body = SessionInfo), (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn set_up(
    State(app): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Json<SetupInput>,
) -> Result<Response, ApiError> {
    reject_foreign_origin(&headers, &app)?;
    let local = is_local(&headers, peer, &app.config.public_url);
    let session = app.service.accounts().set_up(body.value, local).await?;
    Ok(start_session(&app, session))
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
    fn is_local_requires_loopback_source_local_host_and_no_proxy() {
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
        assert!(!local(&[], "127.0.0.1", home), "without Host");
        assert!(!local(&[("host", "localhost")], "192.0.2.1", home));
        for public_url in ["https://berth.example.com", "http://0.0.0.0:3000", "http://192.0.2.1:3000"] {
            assert!(!local(&[("host", "localhost:3000")], "127.0.0.1", public_url), "{public_url}");
        }
        for proxied in ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"] {
            assert!(!local(&[("host", "localhost"), (proxied, "x")], "127.0.0.1", home), "{proxied}");
        }
    }
}
