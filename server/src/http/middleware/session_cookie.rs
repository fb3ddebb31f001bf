//! Removal of the session cookie of earlier releases.

use crate::config::Config;
use app::rpc::session_cookie::{SESSION_COOKIE, removed_legacy_session_cookie};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum_extra::extract::CookieJar;

/// Whether a request has the session cookie of an earlier release, and users reach Berth over https. The cookie's name has no prefix
/// `__Host-`, so another host of the domain can set it. It is not accepted; its user logs in again.
pub struct LegacyCookie(bool);

impl LegacyCookie {
    /// Looks for the cookie.
    pub fn of(request: &Request, config: &Config) -> Self {
        let headers = request.headers();
        let has_cookie =
            headers.contains_key(header::COOKIE) && CookieJar::from_headers(headers).get(SESSION_COOKIE).is_some();
        Self(has_cookie && config.secure_cookies())
    }

    /// Lets the browser remove the cookie.
    pub fn remove_from(&self, mut response: Response) -> Response {
        if self.0
            && let Ok(value) = HeaderValue::from_str(&removed_legacy_session_cookie())
        {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
        response
    }
}
