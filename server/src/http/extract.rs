//! What handlers take out of requests; each refusal is a problem that names what to mend.

use super::AppState;
use super::guard;
use super::problem::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum_extra::extract::CookieJar;
use domain::account::SessionInfo;
use domain::authorization::Actor;
use domain::{Problem, ProblemKind};
use serde::de::DeserializeOwned;

/// The session cookie.
pub const SESSION_COOKIE: &str = "berth_session";

/// Who asks, by session cookie or `Authorization: Bearer`.
pub struct AuthenticatedUser {
    /// The person and what the credential may do.
    pub actor: Actor,
    /// What the page shows of it.
    pub info: SessionInfo,
}

/// The bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The session token of a request.
pub fn session(headers: &HeaderMap) -> Option<String> {
    CookieJar::from_headers(headers).get(SESSION_COOKIE).map(|cookie| cookie.value().to_owned())
}

impl FromRequestParts<AppState> for AuthenticatedUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            let token = bearer(&parts.headers)
                .ok_or_else(|| Problem::unauthenticated("Send the API token as: Authorization: Bearer <token>."))?;
            let known = app.service.actor_of_token(token).await;
            app.rates.note(token, known.is_ok());
            let (actor, info) = known?;
            return Ok(Self { actor, info });
        }
        let Some(token) = session(&parts.headers) else {
            return Err(
                Problem::unauthenticated("Log in, or send an API token as: Authorization: Bearer <token>.").into()
            );
        };
        // The browser sends the cookie by itself, so another site could make it act: what changes something must come from us.
        if !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            guard::same_origin(&parts.headers, &app.config.public_url)?;
        }
        let (actor, info) = app.service.actor_of_session(&token).await?;
        Ok(Self { actor, info })
    }
}

/// A JSON body with the digest of its bytes.
pub struct Json<T> {
    /// What was sent.
    pub value: T,
    /// SHA-256 of the raw bytes, in hex, for `Idempotency-Key`.
    pub digest: String,
}

/// Reads JSON.
///
/// # Errors
/// 400 with line and column when it is not JSON, 422 naming the field when it has another shape.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = dotted(error.path());
        let inner = error.inner();
        if inner.is_data() {
            // serde's own words end in a position that says nothing to someone who made the JSON by a program.
            let text = inner.to_string();
            return fault(&path, text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text), "body");
        }
        Problem::malformed(format!("The body is not JSON: line {}, column {}.", inner.line(), inner.column()))
    })?;
    reader.end().map_err(|error| {
        Problem::malformed(format!("Something follows the JSON at line {}, column {}.", error.line(), error.column()))
    })?;
    Ok(value)
}

/// A path as [`domain::FieldError`] writes it, also within arrays: `headers.0.name`. Empty for the whole.
fn dotted(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let parts = path.iter().map(|segment| match segment {
        Segment::Seq { index } => index.to_string(),
        Segment::Map { key } => key.clone(),
        Segment::Enum { variant } => variant.clone(),
        Segment::Unknown => "?".to_owned(),
    });
    parts.collect::<Vec<_>>().join(".")
}

/// What serde says of the part at `path`; `whole` names the whole.
fn fault(path: &str, text: &str, whole: &str) -> Problem {
    let below = |field: &str| if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
    if let Some(field) = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return Problem::field(below(field), "This field is missing.");
    }
    if let Some((field, known)) = text.strip_prefix("unknown field `").and_then(|rest| rest.split_once("`, expected "))
    {
        // The path leads to the unknown field itself, but not where it is at the top.
        let leads_there = path == field || path.ends_with(&format!(".{field}"));
        let field = if leads_there { path.to_owned() } else { below(field) };
        return Problem::field(field, format!("There is no such field. Use {known}."));
    }
    Problem::field(if path.is_empty() { whole } else { path }, sentence(text))
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().chars().take(300).collect::<String>())
}

/// The whole body.
///
/// # Errors
/// 413 when it is larger than accepted.
pub async fn body(request: Request, app: &AppState) -> Result<Bytes, Problem> {
    Bytes::from_request(request, app).await.map_err(|rejection| {
        use axum::response::IntoResponse as _;
        if rejection.into_response().status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
            Problem::new(ProblemKind::TooLarge, format!("The body is larger than {} KiB.", super::MAX_BODY / 1024))
        } else {
            Problem::malformed("The body could not be read to its end.")
        }
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        let json = is_json(request.headers());
        let bytes = body(request, app).await?;
        if !json {
            return Err(Problem::new(
                ProblemKind::UnsupportedMediaType,
                "Send JSON with Content-Type: application/json.",
            )
            .into());
        }
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes));
        Ok(Self { value: parse(&bytes)?, digest })
    }
}

/// An optional JSON body: nothing counts as `{}`.
pub struct MaybeJson<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for MaybeJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        let json = is_json(request.headers());
        let bytes = body(request, app).await?;
        if bytes.is_empty() {
            return Ok(Self(parse(b"{}")?));
        }
        if !json {
            return Err(Problem::new(
                ProblemKind::UnsupportedMediaType,
                "Send JSON with Content-Type: application/json.",
            )
            .into());
        }
        Ok(Self(parse(&bytes)?))
    }
}

/// Parameters of the query.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        // Empty parameters are those a form did not fill.
        let pairs: Vec<(String, String)> = pairs.into_owned().filter(|(_, value)| !value.is_empty()).collect();
        let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        let reader = serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(text.as_bytes()));
        serde_path_to_error::deserialize(reader)
            .map(Self)
            .map_err(|error| fault(&dotted(error.path()), &error.inner().to_string(), "query").into())
    }
}

/// A part of the path.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        axum::extract::Path::<T>::from_request_parts(parts, app)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|_| Problem::new(ProblemKind::NotFound, "There is nothing with this id.").into())
    }
}
