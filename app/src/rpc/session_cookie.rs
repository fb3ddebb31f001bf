//! The cookies of a log-in, for the API and the page: the session, and the device.

use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use service::accounts::{CHALLENGE_LIFETIME, DEVICE_LIFETIME, LoggedIn};
use service::single_sign_on::PENDING_LIFETIME;

/// Name of the session cookie without TLS, and of earlier releases with TLS, from which it is not accepted.
pub const SESSION_COOKIE: &str = "berth_session";
/// Name of the session cookie with TLS. Browsers accept the prefix only from the host itself, so another host of the
/// domain cannot set it (RFC 6265bis §4.1.3.2).
pub const HOST_SESSION_COOKIE: &str = "__Host-berth_session";
/// Name of the device cookie without TLS.
pub const DEVICE_COOKIE: &str = "berth_device";
/// Name of the device cookie with TLS.
pub const HOST_DEVICE_COOKIE: &str = "__Host-berth_device";

/// Name of the cookie of a started log-in at an identity provider, without TLS.
pub const PENDING_COOKIE: &str = "berth_log_in";
/// Name of the cookie of a started log-in at an identity provider, with TLS.
pub const HOST_PENDING_COOKIE: &str = "__Host-berth_log_in";

/// Name of the cookie of a log-in that needs a second factor, without TLS.
pub const SECOND_STEP_COOKIE: &str = "berth_second_step";
/// Name of the cookie of a log-in that needs a second factor, with TLS.
pub const HOST_SECOND_STEP_COOKIE: &str = "__Host-berth_second_step";

/// The value of the `Set-Cookie` header that binds a log-in that needs a second factor to the browser.
pub fn second_step_cookie(token: &str, secure: bool) -> String {
    let name = if secure { HOST_SECOND_STEP_COOKIE } else { SECOND_STEP_COOKIE };
    with_attributes(name, token, secure, Duration::seconds(CHALLENGE_LIFETIME.num_seconds()))
}

/// The value of the `Set-Cookie` header that removes the cookie of a log-in that needs a second factor.
pub fn removed_second_step_cookie(secure: bool) -> String {
    let name = if secure { HOST_SECOND_STEP_COOKIE } else { SECOND_STEP_COOKIE };
    with_attributes(name, "", secure, Duration::ZERO)
}

/// The value of the `Set-Cookie` header that binds a started log-in to the browser. `SameSite=Lax`, because the provider
/// redirects the browser back from another site.
pub fn pending_log_in_cookie(value: &str, secure: bool) -> String {
    let name = if secure { HOST_PENDING_COOKIE } else { PENDING_COOKIE };
    with_attributes(name, value, secure, Duration::seconds(PENDING_LIFETIME.num_seconds()))
}

/// The value of the `Set-Cookie` header that removes the cookie of a started log-in.
pub fn removed_pending_log_in_cookie(secure: bool) -> String {
    let name = if secure { HOST_PENDING_COOKIE } else { PENDING_COOKIE };
    with_attributes(name, "", secure, Duration::ZERO)
}

/// The values of the `Set-Cookie` headers of a log-in: the session, then the device.
pub fn log_in_cookies(started: &LoggedIn, secure: bool, lifetime: chrono::Duration) -> [String; 2] {
    let device = if secure { HOST_DEVICE_COOKIE } else { DEVICE_COOKIE };
    let max_age = Duration::seconds(DEVICE_LIFETIME.num_seconds());
    [session_cookie(&started.token, secure, lifetime), with_attributes(device, &started.device, secure, max_age)]
}

/// The value of the `Set-Cookie` header that sets the session cookie.
pub fn session_cookie(token: &str, secure: bool, lifetime: chrono::Duration) -> String {
    let name = if secure { HOST_SESSION_COOKIE } else { SESSION_COOKIE };
    with_attributes(name, token, secure, Duration::seconds(lifetime.num_seconds()))
}

/// The value of the header `Clear-Site-Data` of a log-out. It removes copies of pages that *Back* could show, and not the formats
/// and the theme, which are settings of the browser.
pub const CLEARED_AT_LOG_OUT: &str = "\"cache\"";

/// The value of the `Set-Cookie` header that removes the session cookie.
pub fn removed_session_cookie(secure: bool) -> String {
    let name = if secure { HOST_SESSION_COOKIE } else { SESSION_COOKIE };
    with_attributes(name, "", secure, Duration::ZERO)
}

/// The value of the `Set-Cookie` header that removes the session cookie of earlier releases.
pub fn removed_legacy_session_cookie() -> String {
    with_attributes(SESSION_COOKIE, "", true, Duration::ZERO)
}

fn with_attributes(name: &str, value: &str, secure: bool, max_age: Duration) -> String {
    Cookie::build((name, value))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(max_age)
        .secure(secure)
        .to_string()
}
