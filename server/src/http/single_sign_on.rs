//! The visits of a browser to identity providers and back (OpenID Connect). These routes are for browsers, not part of the
//! API: they respond with redirects and short pages.

use super::extract::{Query, log_in_client, pending_log_in, session};
use super::message_page::{Link, closing_page, message_page};
use super::problem::{ApiError, set_retry_after};
use super::{AppState, extract};
use app::rpc::session_cookie::{log_in_cookies, pending_log_in_cookie, removed_pending_log_in_cookie};
use axum::extract::{ConnectInfo, Form, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use domain::Problem;
use domain::account::destination;
use serde::Deserialize;
use service::accounts::LoggedIn;
use service::single_sign_on::{Finished, Returned};
use std::net::SocketAddr;
use url::form_urlencoded;

/// The path that ends a visit. It continues the other pages of the browser, whose session has expired.
const DONE: &str = "/oidc/done";

pub(super) fn routes() -> axum::Router<AppState> {
    axum::Router::new()
        .route("/oidc/{provider}/start", get(start))
        .route("/oidc/{provider}/callback", get(finish))
        .route("/oidc/{provider}/back-channel-log-out", post(log_out))
        .route(DONE, get(done))
}

/// Parameters of the start of a log-in.
#[derive(Deserialize)]
struct Start {
    /// The path to open afterwards.
    to: Option<String>,
    /// Whether the user must enter a credential at the provider.
    #[serde(default)]
    confirm: bool,
    /// Whether the browser comes from another host of this server.
    #[serde(default)]
    moved: bool,
}

impl Start {
    /// The same start at the public URL.
    fn on_public_host(&self, public_url: &str, provider: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(to) = &self.to {
            query.append_pair("to", to);
        }
        // A proxy may change `Host`; then another redirect would not help.
        query.append_pair("confirm", &self.confirm.to_string()).append_pair("moved", "true");
        format!("{public_url}/oidc/{provider}/start?{}", query.finish())
    }
}

/// Whether a request names another host than the public URL. The provider returns the browser to the public URL, where
/// cookies of another host are not sent.
fn is_other_host(headers: &HeaderMap, public_url: &str) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    public_url.split_once("://").is_none_or(|(_, public)| !public.eq_ignore_ascii_case(host))
}

/// Redirects the browser to a provider.
async fn start(
    State(app): State<AppState>,
    extract::Path(provider): extract::Path<String>,
    headers: HeaderMap,
    query: Result<Query<Start>, ApiError>,
) -> Response {
    if let Ok(Query(start)) = &query
        && !start.moved
        && is_other_host(&headers, &app.config.public_url)
    {
        return redirect(&start.on_public_host(&app.config.public_url, &provider), &[]);
    }
    let started = async {
        let Query(start) = query.map_err(|error| error.0)?;
        app.service.single_sign_on().start_log_in(&provider, start.to.as_deref(), start.confirm).await
    };
    match started.await {
        Ok(started) => redirect(&started.url, &[pending_log_in_cookie(&started.cookie, app.config.secure_cookies())]),
        Err(problem) => problem_page(&problem, &provider, Vec::new()),
    }
}

/// Parameters with which a provider redirects the browser back.
#[derive(Deserialize)]
struct Callback {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// Finishes a visit: logs in, or links an account.
async fn finish(
    State(app): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    extract::Path(provider): extract::Path<String>,
    headers: HeaderMap,
    query: Result<Query<Callback>, ApiError>,
) -> Response {
    let secure = app.config.secure_cookies();
    let finished = async {
        let Query(Callback { code, state, iss, error }) = query.map_err(|error| error.0)?;
        let returned = Returned { code, state, iss, error };
        let client = log_in_client(&headers, Some(peer), &app);
        let actor = match session(&headers, &app) {
            Some(token) => app.service.accounts().authenticate_session(&token).await.ok().map(|(actor, _)| actor),
            None => None,
        };
        let cookie = pending_log_in(&headers, &app);
        app.service.single_sign_on().finish(&provider, returned, cookie.as_deref(), client, actor.as_ref()).await
    };
    // The cookie is of no use any more, whatever the result.
    let mut cookies = vec![removed_pending_log_in_cookie(secure)];
    match finished.await {
        Ok(Finished { logged_in, to }) => {
            cookies.extend(logged_in.iter().flat_map(|logged_in| start_session(&app, logged_in)));
            redirect(&done_url(&to), &cookies)
        }
        Err(problem) => problem_page(&problem, &provider, cookies),
    }
}

/// The cookies of a new session.
fn start_session(app: &AppState, logged_in: &LoggedIn) -> [String; 2] {
    app.rate_limits.api.accept(&logged_in.token, &logged_in.info.user.username);
    let lifetime = app.config.service.accounts.session_lifetime;
    log_in_cookies(logged_in, app.config.secure_cookies(), lifetime)
}

fn done_url(to: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("to", to);
    format!("{DONE}?{}", query.finish())
}

/// Parameters of the end of a visit.
#[derive(Deserialize)]
struct Done {
    to: Option<String>,
}

/// Opens the requested path, or closes a window that was opened for the visit only.
async fn done(query: Result<Query<Done>, ApiError>) -> Response {
    let to = query.ok().and_then(|Query(done)| done.to);
    match destination(to.as_deref()) {
        DONE => closing_page(None),
        to => closing_page(Some(to)),
    }
}

/// A log-out token of a provider.
#[derive(Deserialize)]
struct LogOut {
    logout_token: String,
}

/// Ends the sessions of a user who has logged out at the provider. The provider sends this request, not a browser.
async fn log_out(
    State(app): State<AppState>,
    extract::Path(provider): extract::Path<String>,
    form: Result<Form<LogOut>, axum::extract::rejection::FormRejection>,
) -> Result<Response, ApiError> {
    let Form(LogOut { logout_token }) =
        form.map_err(|_| Problem::malformed("Send the parameter logout_token as application/x-www-form-urlencoded."))?;
    app.service.single_sign_on().log_out_from_provider(&provider, &logout_token).await?;
    Ok((StatusCode::OK, no_store()).into_response())
}

fn no_store() -> [(header::HeaderName, HeaderValue); 1] {
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]
}

fn redirect(location: &str, cookies: &[String]) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else { return ApiError(Problem::internal()).into_response() };
    let mut response = (StatusCode::SEE_OTHER, no_store(), [(header::LOCATION, location)]).into_response();
    append_cookies(&mut response, cookies);
    response
}

fn append_cookies(response: &mut Response, cookies: &[String]) {
    for cookie in cookies {
        if let Ok(value) = HeaderValue::from_str(cookie) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
}

/// A page with the problem and the ways to continue.
fn problem_page(problem: &Problem, provider: &str, cookies: Vec<String>) -> Response {
    let again = format!("/oidc/{provider}/start");
    let links = [Link { text: "Log in again", href: &again }, Link { text: "Go to the log-in page", href: "/login" }];
    let mut response = message_page("Log-in failed", &problem.detail, &links);
    *response.status_mut() = StatusCode::from_u16(problem.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    set_retry_after(response.headers_mut(), problem.retry_after);
    append_cookies(&mut response, &cookies);
    response
}
