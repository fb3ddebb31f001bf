//! The exchange: request built and signed, sent under one time limit, response read to its cap, all of it recorded.

use crate::auth::{TokenCache, TokenError, TokenRequest};
use crate::diagnosis::{self, Failure, Phase};
use crate::ssrf::{self, SsrfResolver};
use crate::timing::{MARKS, Marks, TimedConnections, TimedSessions};
use crate::transcript::Writer;
use crate::{AttemptOutcome, Auth, DeliveryRequest, SenderConfig};
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use domain::delivery::{DiagnosisCode, Outcome};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Most of a response body that is read and kept (docs/contract.md §2).
pub(crate) const MAX_RESPONSE: usize = 64 * 1024;
/// Most characters of a response header that are kept.
const MAX_HEADER: usize = 4_096;
/// What stands in a record for a credential.
const REDACTED: &str = "••••";
/// Bytes of the shortest credential that is looked for: what is shorter stands in many a text by chance.
const MIN_REDACTED_LEN: usize = 4;

/// The process's clients, tokens and rules.
pub(crate) struct Clients {
    config: SenderConfig,
    policy: Arc<domain::endpoint::UrlPolicy>,
    tls: rustls::ClientConfig,
    shared: reqwest::Client,
    tokens: TokenCache,
}

impl Clients {
    pub(crate) fn new(config: SenderConfig) -> Result<Self, String> {
        let tls = tls()?;
        let policy = Arc::new(config.url_policy.clone());
        let shared = client(&config, &policy, &tls)?;
        Ok(Self { config, policy, tls, shared, tokens: TokenCache::default() })
    }
}

fn tls() -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    // The machine's own authorities too, so that an operator's internal one works by installing it.
    for certificate in rustls_native_certs::load_native_certs().certs {
        let _ = roots.add(certificate);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.resumption = rustls::client::Resumption::store(Arc::new(TimedSessions::new()));
    Ok(tls)
}

fn client(
    config: &SenderConfig,
    policy: &Arc<domain::endpoint::UrlPolicy>,
    tls: &rustls::ClientConfig,
) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .dns_resolver(SsrfResolver { policy: policy.clone() })
        .connector_layer(TimedConnections)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(&config.user_agent)
        .pool_max_idle_per_host(4_096)
        .pool_idle_timeout(Duration::from_secs(60))
        .tcp_nodelay(true)
        .build()
        .map_err(|error| format!("The HTTP client cannot be made: {error}"))
}

/// What came back before the body was judged.
struct Received {
    status: u16,
    version: &'static str,
    headers: HeaderMap,
    body: Bytes,
    truncated: bool,
}

/// Reads at most `cap` bytes; says whether more would have come.
pub(crate) async fn read_body(response: &mut reqwest::Response, cap: usize) -> Result<(Bytes, bool), reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        let room = cap - body.len();
        if chunk.len() > room {
            body.extend_from_slice(&chunk[..room]);
            return Ok((body.freeze(), true));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body.freeze(), false))
}

/// Makes one attempt.
pub(crate) async fn attempt(clients: &Clients, job: &DeliveryRequest, now: DateTime<Utc>) -> AttemptOutcome {
    let marks = Marks::begin();
    let phase = AtomicU8::new(Phase::Connecting as u8);
    let mut sent = signed_headers(clients, job, now);
    let run = MARKS.scope(marks.clone(), exchange(clients, job, &mut sent, &phase, &marks));
    let result = match tokio::time::timeout(clients.config.timeout, run).await {
        Ok(result) => result,
        Err(_) => {
            let phase = match Phase::of(phase.load(Ordering::Relaxed)) {
                Phase::Connecting if marks.is_connected() => Phase::Waiting,
                other => other,
            };
            Err(Failure::TimedOut { phase, limit: clients.config.timeout })
        }
    };
    let timings = marks.timings();
    let Headers { mut record, shown_secrets, secrets, .. } = sent;
    for (name, shown) in &shown_secrets {
        record.header(name.as_str(), shown);
    }
    let (status_code, answer, retry_after, mut diagnosis) = match result {
        Ok(received) => {
            let retry_after = received
                .headers
                .get(http::header::RETRY_AFTER)
                .filter(|_| matches!(received.status, 429 | 503))
                .and_then(|value| value.to_str().ok())
                .and_then(|value| domain::retry::parse_retry_after(value, now));
            let diagnosis =
                diagnosis::of_response(job, received.status, &received.headers, &received.body, received.truncated);
            let echo = write_response(&mut record, &received, &secrets);
            // What is made of it is shown too.
            (Some(received.status), echo.map_or(received.body, Bytes::from), retry_after, diagnosis)
        }
        Err(failure) => (None, Bytes::new(), None, diagnosis::of_failure(&failure, &job.url.text)),
    };
    if let Cow::Owned(message) = redacted(Cow::Borrowed(&diagnosis.message), &secrets) {
        diagnosis.message = message;
    }
    let outcome = if diagnosis.code == DiagnosisCode::Ok { Outcome::Succeeded } else { Outcome::Failed };
    let transcript = record.finish(status_code.is_some(), timings, &diagnosis);
    AttemptOutcome {
        attempt: job.attempt,
        started_at: now,
        outcome,
        status_code,
        timings,
        diagnosis,
        transcript,
        retry_after,
        answer,
    }
}

/// The request's headers, for the wire and for the record.
struct Headers {
    wire: HeaderMap,
    record: Writer,
    /// Those that are credentials, as the record shows them; a second token takes the place of the first.
    shown_secrets: Vec<(HeaderName, Cow<'static, str>)>,
    /// The credentials, which a receiver may echo.
    secrets: Vec<String>,
}

impl Headers {
    fn add(&mut self, name: HeaderName, value: &str) {
        if let Ok(wire) = HeaderValue::from_str(value) {
            self.record.header(name.as_str(), value);
            self.wire.append(name, wire);
        }
    }

    /// As [`add`](Self::add), for values of ASCII, without copying what lives as long as the program or was made for this
    /// alone.
    fn push(&mut self, name: HeaderName, wire: HeaderValue) {
        self.record.header(name.as_str(), wire.to_str().unwrap_or_default());
        self.wire.append(name, wire);
    }

    fn add_static(&mut self, name: HeaderName, value: &'static str) {
        self.push(name, HeaderValue::from_static(value));
    }

    fn add_made(&mut self, name: HeaderName, value: String) {
        if let Ok(wire) = HeaderValue::try_from(value) {
            self.push(name, wire);
        }
    }

    fn add_secret(&mut self, name: HeaderName, value: &str) {
        if let Ok(mut wire) = HeaderValue::from_str(value) {
            wire.set_sensitive(true);
            let shown =
                if value.starts_with("Bearer ") { format!("Bearer {REDACTED}").into() } else { REDACTED.into() };
            self.shown_secrets.retain(|(known, _)| *known != name);
            self.shown_secrets.push((name.clone(), shown));
            self.secrets.push(value.strip_prefix("Bearer ").unwrap_or(value).to_owned());
            self.wire.insert(name, wire);
        }
    }
}

/// Everything but authentication (docs/contract.md §1).
fn signed_headers(clients: &Clients, job: &DeliveryRequest, now: DateTime<Utc>) -> Headers {
    const SIGNATURE: HeaderName = HeaderName::from_static("x-webhook-signature");
    const EVENT: HeaderName = HeaderName::from_static("x-webhook-event");
    const DELIVERY: HeaderName = HeaderName::from_static("x-webhook-delivery");
    const ATTEMPT: HeaderName = HeaderName::from_static("x-webhook-attempt");
    const TEST: HeaderName = HeaderName::from_static("x-webhook-test");
    const ID: HeaderName = HeaderName::from_static("webhook-id");
    const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
    const STANDARD: HeaderName = HeaderName::from_static("webhook-signature");
    let mut headers = Headers {
        wire: HeaderMap::with_capacity(16),
        record: Writer::new(&job.url.text),
        shown_secrets: Vec::new(),
        secrets: Vec::new(),
    };
    headers.add_static(http::header::CONTENT_TYPE, "application/json");
    headers.add(http::header::USER_AGENT, &clients.config.user_agent);
    if let Some(secret) = job.target.secrets.first() {
        headers.add_made(SIGNATURE, domain::signature::sign_body(secret, &job.body));
    }
    headers.add_static(EVENT, job.event_type.as_str());
    headers.add(DELIVERY, job.delivery_id.as_str());
    headers.push(ATTEMPT, job.attempt.into());
    if job.test {
        headers.add_static(TEST, "true");
    }
    let timestamp = now.timestamp();
    headers.add(ID, job.event_id.as_str());
    headers.push(TIMESTAMP, timestamp.into());
    headers.add_made(
        STANDARD,
        domain::signature::sign_standard(
            &job.target.secrets,
            &job.target.keys,
            job.event_id.as_str(),
            timestamp,
            &job.body,
        ),
    );
    // Credentials take the place of the administrator's own header of that name.
    let credential = match &job.target.auth {
        Auth::None => "",
        Auth::ApiKey { header, .. } => header,
        Auth::Oauth2 { .. } => http::header::AUTHORIZATION.as_str(),
    };
    for own in job.target.headers.iter().filter(|own| !own.name.eq_ignore_ascii_case(credential)) {
        if let Ok(name) = HeaderName::from_bytes(own.name.as_bytes()) {
            headers.add(name, &own.value);
        }
    }
    if let Auth::ApiKey { header, key } = &job.target.auth
        && let Ok(name) = HeaderName::from_bytes(header.as_bytes())
    {
        headers.add_secret(name, key);
    }
    headers
}

async fn exchange(
    clients: &Clients,
    job: &DeliveryRequest,
    headers: &mut Headers,
    phase: &AtomicU8,
    marks: &Marks,
) -> Result<Received, Failure> {
    let url = job.url.url.clone().ok_or(Failure::BadUrl)?;
    ssrf::check_literal(&url, &clients.policy).map_err(Failure::BlockedAddress)?;
    let fresh;
    let client = if job.test {
        fresh = client(&clients.config, &clients.policy, &clients.tls).map_err(Failure::Client)?;
        &fresh
    } else {
        &clients.shared
    };
    let Auth::Oauth2 { token_url, client_id, client_secret, scope, audience } = &job.target.auth else {
        return send(client, url, std::mem::take(&mut headers.wire), job.body.clone(), phase, marks).await;
    };
    let grant = TokenRequest {
        token_url: token_url.clone(),
        client_id: client_id.clone(),
        client_secret: client_secret.clone(),
        scope: scope.clone(),
        audience: audience.clone(),
    };
    let mut stale: Option<Arc<str>> = None;
    loop {
        phase.store(Phase::Token as u8, Ordering::Relaxed);
        // The token's own connection is not the delivery's: its steps must not be marked as such.
        let token = MARKS
            .scope(Marks::begin(), clients.tokens.get(&clients.shared, &clients.policy, &grant, stale.as_deref()))
            .await
            .map_err(|error| match error {
                TokenError::Transport(error) => Failure::TokenTransport(error),
                TokenError::BlockedAddress(refused) => Failure::BlockedAddress(refused),
                TokenError::Answer(sentence) => Failure::Token(sentence),
            })?;
        headers.add_secret(http::header::AUTHORIZATION, &format!("Bearer {token}"));
        phase.store(Phase::Connecting as u8, Ordering::Relaxed);
        let received = send(client, url.clone(), headers.wire.clone(), job.body.clone(), phase, marks).await?;
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
    // Made whole: the builder would copy header after header.
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

/// A text without the credentials that were sent: services for trying things out echo them.
fn redacted<'a>(text: Cow<'a, str>, secrets: &[String]) -> Cow<'a, str> {
    secrets.iter().filter(|secret| secret.len() >= MIN_REDACTED_LEN).fold(text, |text, secret| {
        if text.contains(secret.as_str()) { Cow::Owned(text.replace(secret.as_str(), REDACTED)) } else { text }
    })
}

/// Bytes of a receiver as text that can be stored and shown.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{2400}")) } else { text }
}

/// Writes a response as it may be stored and shown. Returns its body where that echoed a credential, without it.
fn write_response(record: &mut Writer, received: &Received, secrets: &[String]) -> Option<String> {
    record.response(received.version, received.status);
    for (name, value) in received.headers.iter().take(100) {
        // Names come in small letters, whatever stood in them.
        let echoes = |secret: &String| {
            (MIN_REDACTED_LEN..=name.as_str().len()).contains(&secret.len())
                && name.as_str().contains(&secret.to_ascii_lowercase())
        };
        if secrets.iter().any(echoes) {
            record.header(REDACTED, REDACTED);
            continue;
        }
        // A receiver's cookies are its own secrets.
        if *name == http::header::SET_COOKIE {
            record.header(name.as_str(), REDACTED);
            continue;
        }
        let value = redacted(text(value.as_bytes()), secrets);
        let cut = if value.len() > MAX_HEADER { value.char_indices().nth(MAX_HEADER) } else { None };
        record.header(name.as_str(), cut.map_or(&*value, |(end, _)| &value[..end]));
    }
    let plain = text(&received.body);
    let body = redacted(Cow::Borrowed(&*plain), secrets);
    record.body(&body, received.truncated);
    match body {
        Cow::Owned(body) => Some(body),
        Cow::Borrowed(_) => None,
    }
}
