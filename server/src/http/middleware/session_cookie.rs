//! Replacement of the session cookie of earlier releases.

use super::super::AppState;
use app::rpc::session_cookie::{HOST_SESSION_COOKIE, SESSION_COOKIE, removed_legacy_session_cookie, session_cookie};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use axum_extra::extract::CookieJar;

/// Replaces the session cookie of an earlier release by one with the prefix `__Host-`, if users reach Berth over https. The
/// session continues. Another host of the domain can set the old cookie, but not the new one.
pub async fn replace_legacy_cookie(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let jar = CookieJar::from_headers(request.headers());
    let legacy = jar.get(SESSION_COOKIE).map(|cookie| cookie.value().to_owned());
    let has_new = jar.get(HOST_SESSION_COOKIE).is_some();
    let mut response = next.run(request).await;
    let Some(token) = legacy.filter(|_| app.config.secure_cookies()) else { return response };
    // A log-in or log-out has already set the new one.
    let sets_cookie = response.headers().contains_key(header::SET_COOKIE);
    let mut cookies = vec![removed_legacy_session_cookie()];
    if !has_new && !sets_cookie && response.status() != StatusCode::UNAUTHORIZED {
        cookies.push(session_cookie(&token, true, app.config.service.accounts.session_lifetime));
    }
    for cookie in cookies {
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
    response
}
