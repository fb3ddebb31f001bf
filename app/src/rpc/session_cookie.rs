//! The session cookie of the API and the page.

use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use service::accounts::SESSION_LIFETIME;

/// Name of the session cookie.
pub const SESSION_COOKIE: &str = "berth_session";

/// The value of the `Set-Cookie` header that starts a session.
pub fn session_cookie(token: &str, secure: bool) -> String {
    let lifetime = Duration::seconds(SESSION_LIFETIME.num_seconds());
    with_attributes(token, secure, lifetime)
}

/// The value of the `Set-Cookie` header that removes the cookie.
pub fn removed_session_cookie(secure: bool) -> String {
    with_attributes("", secure, Duration::ZERO)
}

fn with_attributes(token: &str, secure: bool, max_age: Duration) -> String {
    Cookie::build((SESSION_COOKIE, token))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(max_age)
        .secure(secure)
        .to_string()
}
