//! OAuth 2.0 client credentials (RFC 6749 §4.4): tokens are fetched once, kept until shortly before they expire, and
//! renewed once when a receiver answers 401.

use crate::exchange::{MAX_RESPONSE, read_body};
use crate::ssrf;
use domain::endpoint::UrlPolicy;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A token counts as expired this long before it is, so that it does not lapse under way.
const MARGIN: Duration = Duration::from_secs(30);
/// How long a token is kept whose answer names no lifetime.
const UNNAMED_LIFETIME: Duration = Duration::from_secs(300);

/// What makes two requests for a token the same.
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

type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

/// The tokens of this process. Requests for the same token wait for one fetch.
#[derive(Default)]
pub(crate) struct TokenCache {
    slots: Mutex<HashMap<TokenRequest, Slot>>,
}

/// Why there is no token.
pub(crate) enum TokenError {
    /// The token endpoint could not be reached.
    Transport(reqwest::Error),
    /// Its address is forbidden.
    BlockedAddress(ssrf::BlockedAddress),
    /// It answered, but gave none; a sentence without secrets.
    Answer(String),
}

impl TokenCache {
    fn slot(&self, grant: &TokenRequest) -> Slot {
        let mut slots = self.slots.lock();
        // Rotated secrets leave entries behind; a bound keeps them from piling up.
        if slots.len() > 1_000 {
            slots.clear();
        }
        slots.entry(grant.clone()).or_default().clone()
    }

    /// A token for `grant`: the kept one, unless it expires or is `stale`.
    pub(crate) async fn get(
        &self,
        client: &reqwest::Client,
        policy: &UrlPolicy,
        grant: &TokenRequest,
        stale: Option<&str>,
    ) -> Result<Arc<str>, TokenError> {
        let slot = self.slot(grant);
        let mut kept = slot.lock().await;
        if let Some(token) = kept.as_ref()
            && token.until > Instant::now()
            && stale != Some(&*token.value)
        {
            return Ok(token.value.clone());
        }
        *kept = None;
        let token = fetch(client, policy, grant).await?;
        *kept = Some(token.clone());
        Ok(token.value)
    }
}

async fn fetch(client: &reqwest::Client, policy: &UrlPolicy, grant: &TokenRequest) -> Result<Token, TokenError> {
    let url =
        url::Url::parse(&grant.token_url).map_err(|_| TokenError::Answer("The token URL is not a URL.".into()))?;
    ssrf::check_literal(&url, policy).map_err(TokenError::BlockedAddress)?;
    // RFC 6749 §2.3.1: every server takes HTTP Basic; some take only the body, and say so by refusing the client.
    let first = request(client, url.clone(), grant, true).await?;
    match first {
        Ok(token) => Ok(token),
        Err((400 | 401, _)) => {
            request(client, url, grant, false).await?.map_err(|(_, sentence)| TokenError::Answer(sentence))
        }
        Err((_, sentence)) => Err(TokenError::Answer(sentence)),
    }
}

async fn request(
    client: &reqwest::Client,
    url: url::Url,
    grant: &TokenRequest,
    basic: bool,
) -> Result<Result<Token, (u16, String)>, TokenError> {
    let mut form = vec![("grant_type", "client_credentials")];
    if let Some(scope) = grant.scope.as_deref().filter(|s| !s.is_empty()) {
        form.push(("scope", scope));
    }
    if let Some(audience) = grant.audience.as_deref().filter(|a| !a.is_empty()) {
        form.push(("audience", audience));
    }
    let mut request = client.post(url).header("accept", "application/json");
    if basic {
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        request = request.basic_auth(encode(&grant.client_id), Some(encode(&grant.client_secret)));
    } else {
        form.push(("client_id", &grant.client_id));
        form.push(("client_secret", &grant.client_secret));
    }
    let mut response = request.form(&form).send().await.map_err(TokenError::Transport)?;
    let status = response.status().as_u16();
    let (body, _) = read_body(&mut response, MAX_RESPONSE).await.map_err(TokenError::Transport)?;
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let sentence = || {
        let error = answer.get("error").and_then(serde_json::Value::as_str).unwrap_or_default();
        let description = answer.get("error_description").and_then(serde_json::Value::as_str).unwrap_or_default();
        let said: String = [error, description]
            .iter()
            .filter(|text| !text.is_empty())
            .map(|text| text.replace(&grant.client_secret, "••••").chars().take(200).collect::<String>())
            .collect::<Vec<_>>()
            .join(": ");
        if said.is_empty() {
            format!("The token endpoint answered {status} without an access token.")
        } else {
            format!("The token endpoint answered {status}: {said}.")
        }
    };
    if !(200..300).contains(&status) {
        return Ok(Err((status, sentence())));
    }
    let Some(value) = answer.get("access_token").and_then(serde_json::Value::as_str).filter(|t| !t.is_empty()) else {
        return Ok(Err((status, sentence())));
    };
    if !value.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(Err((status, "The token endpoint's access token holds characters that no header may hold.".into())));
    }
    let lifetime = answer
        .get("expires_in")
        .and_then(|seconds| seconds.as_u64().or_else(|| seconds.as_str().and_then(|s| s.parse().ok())))
        .map_or(UNNAMED_LIFETIME, |seconds| Duration::from_secs(seconds.min(86_400)));
    // A token that lives shorter than the margin serves at least the request it was fetched for.
    let until = Instant::now() + lifetime.saturating_sub(MARGIN);
    Ok(Ok(Token { value: value.into(), until }))
}
