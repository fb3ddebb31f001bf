//! One exchange: build and sign the request, send it within one time limit, read the response up to its cap, record
//! both.

use crate::client::{build_client, tls_config};
use crate::diagnosis::{self, Failure, Phase};
use crate::headers::{Headers, signed_headers};
use crate::oauth::{TokenCache, TokenError, TokenRequest};
use crate::redaction::{record_response, redact};
use crate::response::{MAX_RESPONSE, Received, read_body};
use crate::ssrf;
use crate::timing::{MARKS, Marks};
use crate::{AttemptOutcome, Auth, DeliveryRequest, SenderConfig};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::delivery::{DiagnosisCode, Outcome};
use http::HeaderMap;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The HTTP clients, token cache and policies of a process.
pub(crate) struct Clients {
    config: SenderConfig,
    policy: Arc<domain::endpoint::UrlPolicy>,
    tls: rustls::ClientConfig,
    shared: reqwest::Client,
    tokens: TokenCache,
}

impl Clients {
    pub(crate) fn new(config: SenderConfig) -> Result<Self, String> {
        let tls = tls_config()?;
        let policy = Arc::new(config.url_policy.clone());
        let shared = build_client(&config, &policy, &tls)?;
        Ok(Self { config, policy, tls, shared, tokens: TokenCache::default() })
    }
}

/// Makes one attempt; `now` is the wall-clock time of its start.
pub(crate) async fn attempt(clients: &Clients, request: &DeliveryRequest, now: DateTime<Utc>) -> AttemptOutcome {
    let marks = Marks::start();
    let phase = AtomicU8::new(Phase::Connecting as u8);
    let mut sent = signed_headers(&clients.config.user_agent, request, now);
    let run = MARKS.scope(marks.clone(), exchange(clients, request, &mut sent, &phase, &marks));
    let result = match tokio::time::timeout(clients.config.timeout, run).await {
        Ok(result) => result,
        Err(_) => {
            let phase = match Phase::from_number(phase.load(Ordering::Relaxed)) {
                Phase::Connecting if marks.is_connected() => Phase::Waiting,
                other => other,
            };
            Err(Failure::TimedOut { phase, limit: clients.config.timeout })
        }
    };
    let timings = marks.timings();
    let Headers { mut record, redacted, secrets, .. } = sent;
    for (name, value) in &redacted {
        record.header(name.as_str(), value);
    }
    let mut response_is_json = false;
    let (status_code, response_body, retry_after, mut diagnosis) = match result {
        Ok(received) => {
            response_is_json = received
                .headers
                .get(http::header::CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .is_some_and(domain::provisioning::is_json_content_type);
            let retry_after = received
                .headers
                .get(http::header::RETRY_AFTER)
                .filter(|_| matches!(received.status, 429 | 503))
                .and_then(|value| value.to_str().ok())
                .and_then(|value| domain::retry::parse_retry_after(value, now));
            let diagnosis =
                diagnosis::of_response(request, received.status, &received.headers, &received.body, received.truncated);
            // The crate `service` stores texts from the body, so the outcome has the redacted body.
            let redacted_body = record_response(&mut record, &received, &secrets);
            (Some(received.status), redacted_body.map_or(received.body, Bytes::from), retry_after, diagnosis)
        }
        Err(failure) => (None, Bytes::new(), None, diagnosis::of_failure(&failure, &request.url.text)),
    };
    if let Cow::Owned(message) = redact(Cow::Borrowed(&diagnosis.message), &secrets) {
        diagnosis.message = message;
    }
    let outcome = if diagnosis.code == DiagnosisCode::Ok { Outcome::Succeeded } else { Outcome::Failed };
    let transcript = record.finish(status_code.is_some(), timings, &diagnosis);
    AttemptOutcome {
        attempt: request.attempt,
        started_at: now,
        outcome,
        status_code,
        timings,
        diagnosis,
        transcript,
        retry_after,
        response_body,
        response_is_json,
    }
}

async fn exchange(
    clients: &Clients,
    request: &DeliveryRequest,
    headers: &mut Headers,
    phase: &AtomicU8,
    marks: &Marks,
) -> Result<Received, Failure> {
    let url = request.url.url.clone().ok_or(Failure::InvalidUrl)?;
    ssrf::check_literal(&url, &clients.policy).map_err(Failure::BlockedAddress)?;
    // A test event uses a new connection, so that every step is timed.
    let fresh;
    let client = if request.test {
        fresh = build_client(&clients.config, &clients.policy, &clients.tls).map_err(Failure::Client)?;
        &fresh
    } else {
        &clients.shared
    };
    let Auth::Oauth2 { token_url, client_id, client_secret, scope, audience } = &request.target.auth else {
        return send(client, url, std::mem::take(&mut headers.wire), request.body.clone(), phase, marks).await;
    };
    let token_request = TokenRequest {
        token_url: token_url.clone(),
        client_id: client_id.clone(),
        client_secret: client_secret.clone(),
        scope: scope.clone(),
        audience: audience.clone(),
    };
    let mut stale: Option<Arc<str>> = None;
    loop {
        phase.store(Phase::Token as u8, Ordering::Relaxed);
        // The token request has its own timings.
        let token = MARKS
            .scope(
                Marks::start(),
                clients.tokens.get(&clients.shared, &clients.policy, &token_request, stale.as_deref()),
            )
            .await
            .map_err(|error| match error {
                TokenError::Transport(error) => Failure::TokenTransport(error),
                TokenError::BlockedAddress(blocked) => Failure::BlockedAddress(blocked),
                TokenError::Rejected(message) => Failure::Token(message),
            })?;
        headers.add_secret(http::header::AUTHORIZATION, &format!("Bearer {token}"));
        phase.store(Phase::Connecting as u8, Ordering::Relaxed);
        let received = send(client, url.clone(), headers.wire.clone(), request.body.clone(), phase, marks).await?;
        if received.status == 401 && stale.is_none() {
            stale = Some(token);
            continue;
        }
        return Ok(received);
    }
}

async fn send(
    client: &reqwest::Client,
    url: url::Url,
    headers: HeaderMap,
    body: Bytes,
    phase: &AtomicU8,
    marks: &Marks,
) -> Result<Received, Failure> {
    // `RequestBuilder` would copy each header.
    let mut request = reqwest::Request::new(reqwest::Method::POST, url);
    *request.headers_mut() = headers;
    *request.body_mut() = Some(body.into());
    let mut response = client.execute(request).await.map_err(Failure::Transport)?;
    marks.head_arrived();
    phase.store(Phase::Reading as u8, Ordering::Relaxed);
    let (body, truncated) = read_body(&mut response, MAX_RESPONSE).await.map_err(Failure::Transport)?;
    Ok(Received {
        status: response.status().as_u16(),
        version: if response.version() == http::Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" },
        headers: response.headers().clone(),
        body,
        truncated,
    })
}
