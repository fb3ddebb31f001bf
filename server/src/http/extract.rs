//! Extractors of handlers. Each rejection is a problem with a remedy.

pub use super::json::{Json, MaybeJson, body};

use super::AppState;
use super::middleware::csrf::same_origin;
use super::problem::ApiError;
use crate::client_address::client_source;
use app::rpc::session_cookie::{
    DEVICE_COOKIE, HOST_DEVICE_COOKIE, HOST_PENDING_COOKIE, HOST_SECOND_STEP_COOKIE, HOST_SESSION_COOKIE,
    PENDING_COOKIE, SECOND_STEP_COOKIE, SESSION_COOKIE,
};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum_extra::extract::CookieJar;
use domain::account::SessionInfo;
use domain::authorization::Actor;
use domain::input::{field_error, field_path};
use domain::{Problem, ProblemKind};
use serde::de::DeserializeOwned;
use service::accounts::LogInClient;
use std::borrow::Cow;
use std::net::SocketAddr;
use url::form_urlencoded;

/// The user of a request, authenticated by session cookie or `Authorization: Bearer`. A session that must set up a second
/// factor first is rejected.
pub struct AuthenticatedUser {
    /// The user with the scopes of the credential.
    pub actor: Actor,
    /// Data of the session for the page.
    pub info: SessionInfo,
}

/// The bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get_all(header::AUTHORIZATION).iter().find_map(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    })
}

/// The session token of a request.
pub fn session(headers: &HeaderMap, app: &AppState) -> Option<String> {
    cookie(headers, app, HOST_SESSION_COOKIE, SESSION_COOKIE)
}

/// The cookie of a log-in at an identity provider that this browser has started.
pub fn pending_log_in(headers: &HeaderMap, app: &AppState) -> Option<String> {
    cookie(headers, app, HOST_PENDING_COOKIE, PENDING_COOKIE)
}

/// The token of a log-in of this browser that needs a second factor.
pub fn second_step(headers: &HeaderMap, app: &AppState) -> Option<String> {
    cookie(headers, app, HOST_SECOND_STEP_COOKIE, SECOND_STEP_COOKIE)
}

/// The value of a cookie. If users reach Berth over https, only the name with the prefix `__Host-` is read: another host of the
/// domain can set the other one.
fn cookie(headers: &HeaderMap, app: &AppState, with_prefix: &str, without_prefix: &str) -> Option<String> {
    let name = if app.config.secure_cookies() { with_prefix } else { without_prefix };
    CookieJar::from_headers(headers).get(name).map(|cookie| cookie.value().to_owned())
}

/// The client of a log-in.
pub fn log_in_client(headers: &HeaderMap, peer: Option<SocketAddr>, app: &AppState) -> LogInClient {
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    LogInClient {
        source: client_source(headers, peer, &app.config.trusted_proxies),
        user_agent: user_agent.unwrap_or_default().to_owned(),
        device: cookie(headers, app, HOST_DEVICE_COOKIE, DEVICE_COOKIE),
        session: session(headers, app),
    }
}

/// The credential of a request: an API token, otherwise a session.
pub enum Credential {
    /// The token of `Authorization: Bearer`.
    Token(String),
    /// The token of the session cookie.
    Session(String),
}

impl Credential {
    /// The credential in these headers.
    pub fn of(headers: &HeaderMap, app: &AppState) -> Option<Self> {
        let token = bearer(headers).map(|token| Self::Token(token.to_owned()));
        token.or_else(|| session(headers, app).map(Self::Session))
    }

    /// Key of the credential in memory, which does not contain the secret.
    pub fn digest(&self) -> String {
        let (Self::Token(secret) | Self::Session(secret)) = self;
        service::secrets::digest(secret)
    }

    /// The user of the credential of an open live feed. This is not a use of the session.
    ///
    /// # Errors
    /// 401 if the credential is not valid, 403 if the user must set up a second factor first, 503 if the database is
    /// unavailable.
    pub async fn authenticate(&self, app: &AppState) -> Result<(Actor, SessionInfo), Problem> {
        match self {
            Self::Token(token) => app.service.accounts().authenticate_token(token).await,
            Self::Session(token) => {
                let known = app.service.accounts().check_session(token).await?;
                known.0.check_second_factor()?;
                Ok(known)
            }
        }
    }
}

/// The user of a request, also one who must set up a second factor first. Only for operations that such a user may perform.
pub struct AuthenticatedForSetup {
    /// The user with the scopes of the credential.
    pub actor: Actor,
    /// Data of the session for the page.
    pub info: SessionInfo,
}

impl FromRequestParts<AppState> for AuthenticatedUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let AuthenticatedForSetup { actor, info } = AuthenticatedForSetup::from_request_parts(parts, app).await?;
        actor.check_second_factor()?;
        Ok(Self { actor, info })
    }
}

impl FromRequestParts<AppState> for AuthenticatedForSetup {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        if let Some(token) = bearer(&parts.headers) {
            let known = app.service.accounts().authenticate_token(token).await;
            app.rate_limits.api.record(token, &known);
            let (actor, info) = known?;
            return Ok(Self { actor, info });
        }
        // Another scheme of `Authorization` is ignored: a proxy may add it to the requests of a browser with a session.
        let Some(token) = session(&parts.headers, app) else {
            return Err(
                Problem::unauthenticated("Log in, or send an API token as: Authorization: Bearer <token>.").into()
            );
        };
        // Prevents CSRF: browsers attach the cookie to cross-site requests too.
        if !parts.method.is_safe() {
            same_origin(&parts.headers, &app.config.public_url)?;
        }
        let known = app.service.accounts().authenticate_session(&token).await;
        app.rate_limits.api.record(&token, &known);
        let (actor, info) = known?;
        Ok(Self { actor, info })
    }
}

/// Query parameters. An empty one counts as absent, because forms send it for a field without a value. A time may contain an
/// unencoded `+`.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| !value.is_empty());
        let pairs = pairs.map(|(name, value)| (name, restore_plus(value)));
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        // PostgreSQL rejects NUL.
        if let Some((name, _)) = form_urlencoded::parse(query.as_bytes()).find(|(_, value)| value.contains('\0')) {
            return Err(Problem::field(name, "Remove the control characters (such as NUL).").into());
        }
        let reader = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
        serde_path_to_error::deserialize(reader)
            .map(Self)
            .map_err(|error| field_error(&field_path(error.path()), &error.inner().to_string(), "query").into())
    }
}

/// Restores the `+` in the offset of a time such as `2026-11-24T10:00:00+01:00`. Decoding turns an unencoded one into a space.
fn restore_plus(value: Cow<'_, str>) -> Cow<'_, str> {
    let is_digit = |at: usize| value.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    match value.rsplit_once(' ') {
        Some((time, offset))
            if time.contains('T') && is_digit(0) && matches!(offset.as_bytes(), [_, _, b':', _, _]) =>
        {
            Cow::Owned(format!("{time}+{offset}"))
        }
        _ => value,
    }
}

/// Path parameters. A value that cannot be parsed is rejected as an unknown id (404).
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let unknown = || Problem::new(ProblemKind::NotFound, "Unknown id. List the collection to find valid ids.");
        // PostgreSQL rejects NUL.
        if parts.uri.path().contains("%00") {
            return Err(unknown().into());
        }
        let path = axum::extract::Path::<T>::from_request_parts(parts, app).await;
        path.map(|axum::extract::Path(value)| Self(value)).map_err(|_| unknown().into())
    }
}
