//! OAuth 2.0 client credentials (RFC 6749 §4.4): tokens are cached until shortly before they expire, and renewed once
//! when a receiver responds with 401.

use crate::response::{MAX_RESPONSE, read_body};
use crate::ssrf;
use domain::endpoint::UrlPolicy;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A cached token is renewed this long before it expires, so that it does not expire in flight.
const EXPIRY_MARGIN: Duration = Duration::from_secs(30);
/// Lifetime of a token whose response has no `expires_in`.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);

/// The parameters of a token request: the key of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TokenRequest {
    pub(crate) token_url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) scope: Option<String>,
    pub(crate) audience: Option<String>,
}

#[derive(Clone)]
struct Token {
    value: Arc<str>,
    until: Instant,
}

type CacheEntry = Arc<tokio::sync::Mutex<Option<Token>>>;

/// The access tokens of this process. Concurrent requests for the same token share one fetch.
#[derive(Default)]
pub(crate) struct TokenCache {
    entries: Mutex<HashMap<TokenRequest, CacheEntry>>,
}

/// The reason why no token is available.
pub(crate) enum TokenError {
    /// The token endpoint could not be reached.
    Transport(reqwest::Error),
    /// The address of the token endpoint is blocked.
    BlockedAddress(ssrf::BlockedAddress),
    /// The token endpoint responded without a token; a message without secrets.
    Rejected(String),
}

impl TokenCache {
    fn entry(&self, token_request: &TokenRequest) -> CacheEntry {
        let mut entries = self.entries.lock();
        // Rotated secrets leave stale entries; the bound limits memory.
        if entries.len() > 1_000 {
            entries.clear();
        }
        entries.entry(token_request.clone()).or_default().clone()
    }

    /// Returns the cached token, or fetches one if it has expired or equals `stale`.
    pub(crate) async fn get(
        &self,
        client: &reqwest::Client,
        policy: &UrlPolicy,
        token_request: &TokenRequest,
        stale: Option<&str>,
    ) -> Result<Arc<str>, TokenError> {
        let entry = self.entry(token_request);
        let mut cached = entry.lock().await;
        if let Some(token) = cached.as_ref()
            && token.until > Instant::now()
            && stale != Some(&*token.value)
        {
            return Ok(token.value.clone());
        }
        *cached = None;
        let token = fetch(client, policy, token_request).await?;
        *cached = Some(token.clone());
        Ok(token.value)
    }
}

async fn fetch(
    client: &reqwest::Client,
    policy: &UrlPolicy,
    token_request: &TokenRequest,
) -> Result<Token, TokenError> {
    let url = url::Url::parse(&token_request.token_url)
        .map_err(|_| TokenError::Rejected("The token URL is not valid.".into()))?;
    ssrf::check_literal(&url, policy).map_err(TokenError::BlockedAddress)?;
    // RFC 6749 §2.3.1: servers must accept HTTP Basic; some accept only the body and respond with 400 or 401.
    let first = request(client, url.clone(), token_request, true).await?;
    match first {
        Ok(token) => Ok(token),
        Err((400 | 401, _)) => {
            request(client, url, token_request, false).await?.map_err(|(_, message)| TokenError::Rejected(message))
        }
        Err((_, message)) => Err(TokenError::Rejected(message)),
    }
}

async fn request(
    client: &reqwest::Client,
    url: url::Url,
    token_request: &TokenRequest,
    basic: bool,
) -> Result<Result<Token, (u16, String)>, TokenError> {
    let mut form = vec![("grant_type", "client_credentials")];
    if let Some(scope) = token_request.scope.as_deref().filter(|s| !s.is_empty()) {
        form.push(("scope", scope));
    }
    if let Some(audience) = token_request.audience.as_deref().filter(|a| !a.is_empty()) {
        form.push(("audience", audience));
    }
    let mut request = client.post(url).header("accept", "application/json");
    if basic {
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        request = request.basic_auth(encode(&token_request.client_id), Some(encode(&token_request.client_secret)));
    } else {
        form.push(("client_id", &token_request.client_id));
        form.push(("client_secret", &token_request.client_secret));
    }
    let mut response = request.form(&form).send().await.map_err(TokenError::Transport)?;
    let status = response.status().as_u16();
    let (body, _) = read_body(&mut response, MAX_RESPONSE).await.map_err(TokenError::Transport)?;
    let response_json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = || {
        let error = response_json.get("error").and_then(serde_json::Value::as_str).unwrap_or_default();
        let description =
            response_json.get("error_description").and_then(serde_json::Value::as_str).unwrap_or_default();
        let reason: String = [error, description]
            .iter()
            .filter(|text| !text.is_empty())
            .map(|text| text.replace(&token_request.client_secret, "••••").chars().take(200).collect::<String>())
            .collect::<Vec<_>>()
            .join(": ");
        if reason.is_empty() {
            format!("The token endpoint responded with {status} without an access token.")
        } else {
            format!("The token endpoint responded with {status}: {reason}.")
        }
    };
    if !(200..300).contains(&status) {
        return Ok(Err((status, message())));
    }
    let Some(value) = response_json.get("access_token").and_then(serde_json::Value::as_str).filter(|t| !t.is_empty())
    else {
        return Ok(Err((status, message())));
    };
    if !value.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(Err((status, "The access token contains characters that are not allowed in a header.".into())));
    }
    let lifetime = response_json
        .get("expires_in")
        .and_then(|seconds| seconds.as_u64().or_else(|| seconds.as_str().and_then(|s| s.parse().ok())))
        .map_or(DEFAULT_LIFETIME, |seconds| Duration::from_secs(seconds.min(86_400)));
    // A token with a lifetime below the margin is used for this request only.
    let until = Instant::now() + lifetime.saturating_sub(EXPIRY_MARGIN);
    Ok(Ok(Token { value: value.into(), until }))
}
