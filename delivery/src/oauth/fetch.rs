//! One token request: it tries both methods of client authentication, beginning with the one that worked last.

use super::{RecordedRequest, TokenFailure, TokenRequest};
use crate::client::{Http, Progress, post};
use crate::diagnosis::{Failure, diagnosis, error_text};
use crate::headers::IDENTITY;
use crate::redaction::{REDACTED, redact};
use crate::response::Received;
use crate::timing::AttemptClock;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::delivery::DiagnosisCode;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{Extensions, HeaderMap, HeaderValue, Uri};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use url::form_urlencoded;

/// A cached token is renewed this long before it expires, so that it does not expire in flight; after half of its
/// lifetime if that is shorter.
const EXPIRY_MARGIN: Duration = Duration::from_secs(30);
/// Lifetime of a token whose response has no `expires_in`.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// The longest lifetime of a cached token, in seconds.
const MAX_LIFETIME: f64 = 86_400.0;
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const HINT: &str =
    "Check the token URL, client id, client secret, scope and audience in the webhook's OAuth 2.0 settings.";

/// A method of client authentication (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ClientAuth {
    /// HTTP Basic. Servers must support it; some accept only the body.
    #[default]
    Basic,
    /// `client_id` and `client_secret` in the body.
    Body,
}

impl ClientAuth {
    fn other(self) -> Self {
        match self {
            Self::Basic => Self::Body,
            Self::Body => Self::Basic,
        }
    }

    fn place(self) -> &'static str {
        match self {
            Self::Basic => "the Authorization header",
            Self::Body => "the body",
        }
    }
}

/// An issued token.
pub(super) struct Granted {
    pub(super) value: Arc<str>,
    pub(super) until: DateTime<Utc>,
    /// End of its validity.
    pub(super) expires_at: DateTime<Utc>,
    pub(super) method: ClientAuth,
}

/// A response without a usable token.
struct Rejected {
    status: u16,
    /// `error` (RFC 6749 §5.2).
    error: String,
    /// The status and the reason, e.g. `401: invalid_client`.
    text: String,
    /// A sentence, if the token cannot be used.
    unusable: Option<String>,
}

impl Rejected {
    /// Whether the other method of client authentication may work. Servers signal a failed authentication in many
    /// ways: 400, 401, 403, 200 with an error, or 500.
    fn suggests_other_method(&self) -> bool {
        let authenticated =
            matches!(self.error.as_str(), "invalid_scope" | "unsupported_grant_type" | "invalid_target");
        let passing = matches!(self.status, 300..=399 | 408 | 429 | 502..=504);
        self.unusable.is_none() && !authenticated && !passing
    }
}

/// Requests a token.
pub(super) async fn fetch(
    http: &Http,
    request: &TokenRequest,
    preferred: ClientAuth,
    clock: AttemptClock,
    progress: &Progress,
) -> Result<Granted, TokenFailure> {
    let failed = |method, message: String| TokenFailure {
        diagnosis: diagnosis(
            DiagnosisCode::TokenFailed,
            redact(Cow::Owned(message), std::slice::from_ref(&request.client_secret)),
            HINT,
        ),
        request: RecordedRequest::of(request, method),
        sent: true,
    };
    let Some(uri) = url::Url::parse(&request.token_url).ok().and_then(|url| url.as_str().parse::<Uri>().ok()) else {
        return Err(TokenFailure { sent: false, ..failed(preferred, "The token URL is not valid.".to_owned()) });
    };
    let mut earlier: Option<(ClientAuth, Rejected)> = None;
    for method in [preferred, preferred.other()] {
        let requested_at = clock.now();
        let received = exchange(http, &uri, request, method, progress)
            .await
            .map_err(|failure| TokenFailure::of_failure(&failure, request, method, progress))?;
        let rejected = match read(&received) {
            Ok((value, lifetime)) => {
                let until = requested_at + lifetime.saturating_sub(EXPIRY_MARGIN.min(lifetime / 2));
                return Ok(Granted { value, until, expires_at: requested_at + lifetime, method });
            }
            Err(rejected) => rejected,
        };
        if earlier.is_none() && rejected.suggests_other_method() {
            earlier = Some((method, rejected));
            continue;
        }
        return Err(failed(method, describe(earlier.as_ref(), method, &rejected)));
    }
    // The second response always returns.
    Err(failed(preferred.other(), "The token endpoint issued no access token.".to_owned()))
}

/// Describes one or two rejections. Both are named if they differ, because either can be the cause.
fn describe(earlier: Option<&(ClientAuth, Rejected)>, method: ClientAuth, last: &Rejected) -> String {
    if let Some(unusable) = &last.unusable {
        return unusable.clone();
    }
    match earlier {
        Some((first_method, first)) if first.text != last.text => format!(
            "The token endpoint issued no access token. With the credentials in {} it responded with {}; in {}, with {}.",
            first_method.place(),
            first.text,
            method.place(),
            last.text,
        ),
        _ => format!("The token endpoint issued no access token. It responded with {}.", last.text),
    }
}

/// Sends one token request.
async fn exchange(
    http: &Http,
    uri: &Uri,
    request: &TokenRequest,
    method: ClientAuth,
    progress: &Progress,
) -> Result<Received, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(JSON));
    headers.insert(ACCEPT_ENCODING, IDENTITY);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
    headers.insert(USER_AGENT, http.user_agent.clone());
    if method == ClientAuth::Basic {
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let credentials = format!("{}:{}", encode(&request.client_id), encode(&request.client_secret));
        let value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(credentials)));
        if let Ok(mut value) = value {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }
    let mut body = form(request, method);
    if method == ClientAuth::Body {
        body.push_str("&client_secret=");
        body.extend(form_urlencoded::byte_serialize(request.client_secret.as_bytes()));
    }
    let body = Bytes::from(body);
    let create = || post(uri.clone(), headers.clone(), Extensions::new(), body.clone());
    http.send(create(), create, progress).await
}

/// The form of a token request, without the client secret.
fn form(request: &TokenRequest, method: ClientAuth) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    for (name, value) in [("scope", &request.scope), ("audience", &request.audience)] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            form.append_pair(name, value);
        }
    }
    if method == ClientAuth::Body {
        form.append_pair("client_id", &request.client_id);
    }
    form.finish()
}

/// Reads a token and its lifetime from a response.
fn read(received: &Received) -> Result<(Arc<str>, Duration), Rejected> {
    let json: Value = serde_json::from_slice(&received.body).unwrap_or_default();
    let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default();
    let status = received.status;
    let unusable =
        |message: String| Rejected { status, error: String::new(), text: String::new(), unusable: Some(message) };
    let token = text("access_token");
    if !(200..300).contains(&status) || token.is_empty() {
        let error = text("error").to_owned();
        return Err(Rejected {
            status,
            text: reason(received, &error, text("error_description")),
            error,
            unusable: None,
        });
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable("The access token contains characters that are not allowed in a header.".to_owned()));
    }
    let kind = json.get("token_type").filter(|kind| !kind.is_null());
    if let Some(kind) = kind
        && !kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"))
    {
        let kind: String = kind.as_str().map_or_else(|| kind.to_string(), str::to_owned).chars().take(50).collect();
        return Err(unusable(format!(
            "The token endpoint issued a token of the type “{kind}”. Berth supports only the type Bearer."
        )));
    }
    Ok((token.into(), lifetime(json.get("expires_in"))))
}

/// The status and the reason of a rejection.
fn reason(received: &Received, error: &str, description: &str) -> String {
    let status = received.status;
    let mut parts: Vec<String> = [error, description]
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| text.chars().take(200).collect())
        .collect();
    if parts.is_empty() {
        parts.extend(error_text(&received.body));
    }
    if let Some(location) = received.headers.get(http::header::LOCATION) {
        let location: String = String::from_utf8_lossy(location.as_bytes()).chars().take(200).collect();
        parts.push(format!("a redirect to {location}, which Berth does not follow"));
    }
    if parts.is_empty() && (200..300).contains(&status) {
        let error = if received.truncated { "the body is larger than 64 KiB" } else { "no access_token in the body" };
        parts.push(error.to_owned());
    }
    if parts.is_empty() { status.to_string() } else { format!("{status}: {}", parts.join(": ")) }
}

/// The lifetime of a token: `expires_in` as a number, also with a fraction or as a text.
fn lifetime(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(seconds)) => seconds.as_f64(),
        Some(Value::String(seconds)) => seconds.trim().parse::<f64>().ok(),
        _ => None,
    };
    seconds
        .filter(|seconds| seconds.is_finite())
        .map_or(DEFAULT_LIFETIME, |seconds| Duration::from_secs_f64(seconds.clamp(0.0, MAX_LIFETIME)))
}

impl RecordedRequest {
    /// The record of a request.
    pub(super) fn of(request: &TokenRequest, method: ClientAuth) -> Self {
        let mut headers = vec![
            ("accept", JSON.to_owned()),
            ("accept-encoding", "identity".to_owned()),
            ("content-type", FORM.to_owned()),
        ];
        let mut body = form(request, method);
        match method {
            ClientAuth::Basic => headers.push(("authorization", format!("Basic {REDACTED}"))),
            ClientAuth::Body => body.push_str(&format!("&client_secret={REDACTED}")),
        }
        // URL parsers ignore line breaks; the transcript is line-based.
        let url = url::Url::parse(&request.token_url)
            .map_or_else(|_| request.token_url.replace(['\n', '\r'], ""), String::from);
        Self { url, headers, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lifetime_is_read_as_number_fraction_and_text() {
        for (value, seconds) in [
            (json!(3600), 3_600.0),
            (json!(2.5), 2.5),
            (json!("3600"), 3_600.0),
            (json!(" 2.5 "), 2.5),
            (json!(0), 0.0),
            (json!(-5), 0.0),
            (json!(1e300), MAX_LIFETIME),
            (json!("inf"), 300.0),
            (json!("soon"), 300.0),
            (json!(null), 300.0),
        ] {
            assert_eq!(lifetime(Some(&value)).as_secs_f64(), seconds, "{value}");
        }
        assert_eq!(lifetime(None), DEFAULT_LIFETIME);
    }
}
