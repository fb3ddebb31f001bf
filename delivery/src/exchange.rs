//! One exchange: build and sign the request, send it within one time limit, read the response up to its cap, record
//! both.

use crate::certificate::SeenCertificate;
use crate::client::{Http, Progress, post};
use crate::connector::Connector;
use crate::diagnosis::{self, Failure};
use crate::encoding;
use crate::header_case::HeaderCases;
use crate::headers::{Headers, signed_headers};
use crate::oauth::{Flight, Token, TokenCache, TokenFailure, TokenRequest, TokenWait};
use crate::redaction::{record_response, redact};
use crate::response::Received;
use crate::timing::{AttemptClock, MARKS, Marks};
use crate::tls::{TlsSettings, trusted_roots};
use crate::tls_clients::TlsClients;
use crate::transcript::Writer;
use crate::{AttemptOutcome, DeliveryRequest, Destination, HeaderChange, SenderConfig, Target};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::delivery::{Diagnosis, DiagnosisCode, Outcome, Timings};
use domain::webhook::TokenStatus;
use http::{HeaderValue, Request};
use http_body_util::Full;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::sync::Arc;

/// The HTTP clients and token cache of a process.
pub(crate) struct Clients {
    /// The clients of webhooks without TLS settings.
    http: Arc<Http>,
    /// The clients of webhooks with TLS settings.
    with_tls: TlsClients,
    cases: HeaderCases,
    tokens: TokenCache,
}

impl Clients {
    pub(crate) fn new(config: SenderConfig) -> Result<Self, String> {
        let user_agent = HeaderValue::try_from(config.user_agent)
            .map_err(|_| "The user agent contains characters that are not allowed in a header.".to_owned())?;
        let connector = Connector::new(config.url_policy, trusted_roots())?;
        Ok(Self::with_connector(connector, user_agent, config.timeout))
    }

    pub(crate) fn with_connector(connector: Connector, user_agent: HeaderValue, timeout: std::time::Duration) -> Self {
        Self {
            http: Arc::new(Http::new(connector, user_agent, timeout)),
            with_tls: TlsClients::default(),
            cases: HeaderCases::default(),
            tokens: TokenCache::default(),
        }
    }

    /// The HTTP clients of webhooks without TLS settings.
    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// The HTTP clients for TLS settings.
    ///
    /// # Errors
    /// If the settings cannot be used.
    fn http_with(&self, tls: Option<&Arc<TlsSettings>>) -> Result<Cow<'_, Arc<Http>>, Failure> {
        match tls {
            None => Ok(Cow::Borrowed(&self.http)),
            Some(tls) => self.with_tls.get(tls, &self.http).map(Cow::Owned).map_err(Failure::TlsSettings),
        }
    }

    /// The letter cases of header names.
    pub(crate) fn cases(&self) -> &HeaderCases {
        &self.cases
    }

    /// The value of `User-Agent`.
    pub(crate) fn user_agent(&self) -> &HeaderValue {
        &self.http.user_agent
    }

    /// The time limit of an exchange.
    pub(crate) fn timeout(&self) -> std::time::Duration {
        self.http.timeout
    }
}

/// A response, and the reason why the token could not be renewed after a 401.
struct Exchanged {
    received: Received,
    failed_renewal: Option<Diagnosis>,
}

/// The reason why an exchange ended without a response of the receiver.
enum Unanswered {
    /// No token was available.
    Token(Arc<TokenFailure>),
    /// The request failed.
    Request(Failure),
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Request(failure)
    }
}

/// Makes one attempt with changed headers; `now` is the wall-clock time of its start.
pub(crate) async fn attempt(
    clients: &Clients,
    request: &DeliveryRequest,
    changes: &[HeaderChange],
    now: DateTime<Utc>,
) -> AttemptOutcome {
    let marks = Marks::start();
    let exchange = Exchange {
        clients,
        request,
        changes,
        now,
        clock: AttemptClock::start_at(now),
        progress: Progress::new(marks.clone()),
        waits_for: Mutex::new(None),
    };
    let mut sent = signed_headers(&clients.http.user_agent, request, changes, now);
    let limit = clients.http.timeout;
    let http = clients.http_with(request.target.tls.as_ref());
    let features = http.as_ref().map(|http| http.tls).unwrap_or_default();
    let result = match http {
        Err(failure) => Err(failure.into()),
        Ok(http) => {
            let run = MARKS.scope(marks.clone(), exchange.run(&http, &mut sent));
            match tokio::time::timeout(limit, run).await {
                Ok(result) => result,
                Err(_) => Err(exchange.timed_out()),
            }
        }
    };
    let timings = marks.timings();
    let Headers { mut record, redacted, secrets, .. } = sent;
    for (name, value) in &redacted {
        record.header(name, value);
    }
    let unanswered = match result {
        Ok(Exchanged { received, failed_renewal }) => {
            return outcome_of_response(request, received, failed_renewal, (record, &secrets), timings, now);
        }
        Err(unanswered) => unanswered,
    };
    let mut was_sent = marks.connection().is_some();
    let diagnosis = match unanswered {
        Unanswered::Request(failure) => diagnosis::of_failure(&failure, &request.url.text, features),
        Unanswered::Token(failure) => {
            record = failure.request.clone().into_transcript();
            was_sent = failure.sent;
            failure.diagnosis.clone()
        }
    };
    let mut outcome = AttemptOutcome::without_response(request.attempt, now, timings, diagnosis);
    redact_diagnosis(&mut outcome, &secrets);
    outcome.transcript = record.finish(was_sent, false, timings, &outcome.diagnosis);
    outcome
}

/// The outcome of an attempt with a response, after the headers of its request were recorded. `failed_renewal` is the reason
/// why the token could not be renewed after a 401.
pub(crate) fn outcome_of_response(
    request: &DeliveryRequest,
    received: Received,
    failed_renewal: Option<Diagnosis>,
    (mut record, secrets): (Writer, &[String]),
    timings: Timings,
    now: DateTime<Utc>,
) -> AttemptOutcome {
    let mut diagnosis = diagnosis::of_response(request, &received);
    if let Some(renewal) = failed_renewal {
        diagnosis = diagnosis::of_failed_renewal(&diagnosis, &renewal);
    }
    let redacted_body = record_response(&mut record, &received, secrets);
    record.decode_error(received.decode_error.as_deref());
    let mut outcome = AttemptOutcome {
        status_code: Some(received.status),
        retry_after: retry_after(&received, now),
        response_is_json: encoding::is_json(&received.headers),
        response_error: received.decode_error,
        // The crate `service` stores texts from the body, so the outcome has the redacted body.
        response_body: redacted_body.map_or(received.body, Bytes::from),
        ..AttemptOutcome::without_response(request.attempt, now, timings, diagnosis)
    };
    redact_diagnosis(&mut outcome, secrets);
    if outcome.diagnosis.code == DiagnosisCode::Ok {
        outcome.outcome = Outcome::Succeeded;
    }
    outcome.transcript = record.finish(true, true, timings, &outcome.diagnosis);
    outcome
}

/// Replaces echoed credentials in a diagnosis.
fn redact_diagnosis(outcome: &mut AttemptOutcome, secrets: &[String]) {
    if let Cow::Owned(message) = redact(Cow::Borrowed(&outcome.diagnosis.message), secrets) {
        outcome.diagnosis.message = message;
    }
}

/// Sends an unsigned `GET` over a new connection, within the time limit of an attempt. Returns the status code.
pub(crate) async fn get(
    clients: &Clients,
    url: &Destination,
    tls: Option<&Arc<TlsSettings>>,
) -> Result<u16, Diagnosis> {
    let features = tls.map(|tls| tls.features()).unwrap_or_default();
    let failed = |failure| diagnosis::of_failure(&failure, &url.text, features);
    let uri = url.uri.as_ref().ok_or_else(|| failed(Failure::InvalidUrl))?;
    let http = clients.http_with(tls).map_err(failed)?;
    let mut request = Request::new(Full::default());
    *request.uri_mut() = uri.clone();
    request.headers_mut().insert(http::header::USER_AGENT, http.user_agent.clone());
    let marks = Marks::start();
    let progress = Progress::new(marks.clone());
    let exchange = MARKS.scope(marks, http.send_on_new_connection(request, &progress));
    match tokio::time::timeout(http.timeout, exchange).await {
        Ok(received) => Ok(received.map_err(failed)?.status),
        Err(_) => Err(failed(Failure::TimedOut { phase: progress.phase(), limit: http.timeout })),
    }
}

/// Requests a new OAuth token, also if the cached one is valid. `None` without OAuth.
pub(crate) async fn fetch_token(
    clients: &Clients,
    target: &Target,
    now: DateTime<Utc>,
) -> Option<Result<(), Diagnosis>> {
    let request = TokenRequest::of(target)?;
    let http = match clients.http_with(target.tls.as_ref()) {
        Ok(http) => http,
        Err(failure) => return Some(Err(diagnosis::of_token_failure(&failure, Default::default()))),
    };
    let (clock, flight) = (AttemptClock::start_at(now), Mutex::new(None));
    let wait = TokenWait { http: &http, clock, flight: &flight };
    let result = clients.tokens.fetch(&request, &wait).await;
    Some(result.map(drop).map_err(|failure| failure.diagnosis.clone()))
}

/// The state of the OAuth token in this process. `None` without OAuth, and before the first token request.
pub(crate) fn token_status(clients: &Clients, target: &Target) -> Option<TokenStatus> {
    clients.tokens.status(&TokenRequest::of(target)?)
}

/// The certificate of the server of a URL, as of the last connection of this process.
pub(crate) fn certificate(clients: &Clients, url: &str) -> Option<SeenCertificate> {
    let url = url::Url::parse(url).ok().filter(|url| url.scheme() == "https")?;
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    clients.http.certificates.get(host, url.port_or_known_default()?)
}

/// The delay that a 429 or 503 requests.
fn retry_after(received: &Received, now: DateTime<Utc>) -> Option<chrono::Duration> {
    let value = received.headers.get(http::header::RETRY_AFTER).filter(|_| matches!(received.status, 429 | 503))?;
    domain::retry::parse_retry_after(value.to_str().ok()?, now)
}

struct Exchange<'a> {
    clients: &'a Clients,
    request: &'a DeliveryRequest,
    changes: &'a [HeaderChange],
    now: DateTime<Utc>,
    clock: AttemptClock,
    progress: Progress,
    /// The token request that the exchange waits for.
    waits_for: Mutex<Option<Flight>>,
}

impl Exchange<'_> {
    async fn run(&self, http: &Arc<Http>, headers: &mut Headers) -> Result<Exchanged, Unanswered> {
        let Some(token_request) = self.token_request() else {
            return Ok(Exchanged { received: self.send(http, headers, None).await?, failed_renewal: None });
        };
        let tokens = &self.clients.tokens;
        let wait = TokenWait { http, clock: self.clock, flight: &self.waits_for };
        let token = tokens.get(&token_request, &wait).await.map_err(Unanswered::Token)?;
        let mut received = self.send(http, headers, Some(&token)).await?;
        let mut failed_renewal = None;
        if received.status == 401 {
            match tokens.renew(&token_request, &token, &wait).await {
                Ok(Some(token)) => received = self.send(http, headers, Some(&token)).await?,
                Ok(None) => {}
                Err(failure) => failed_renewal = Some(failure.diagnosis.clone()),
            }
        }
        Ok(Exchanged { received, failed_renewal })
    }

    fn token_request(&self) -> Option<TokenRequest> {
        TokenRequest::of(&self.request.target)
    }

    async fn send(&self, http: &Http, headers: &mut Headers, token: Option<&Token>) -> Result<Received, Failure> {
        let cases = &self.clients.cases;
        let DeliveryRequest { url, target, body, test, .. } = self.request;
        let uri = url.uri.as_ref().ok_or(Failure::InvalidUrl)?;
        let create = |headers, case| post(uri.clone(), headers, case, body.clone());
        let wire = match token {
            None => std::mem::take(&mut headers.wire),
            Some(token) => {
                headers.add_token(&token.value);
                headers.wire.clone()
            }
        };
        let request = create(wire, cases.for_target(target).await);
        // A test event uses a new connection, so that every step is timed.
        if *test {
            return http.send_on_new_connection(request, &self.progress).await;
        }
        // Copying every request for a repetition, which is rare, costs more than creating it again.
        let again = || {
            let mut headers = signed_headers(&http.user_agent, self.request, self.changes, self.now);
            if let Some(token) = token {
                headers.add_token(&token.value);
            }
            create(headers.wire, cases.known(target).unwrap_or_default())
        };
        http.send(request, again, &self.progress).await
    }

    fn timed_out(&self) -> Unanswered {
        let limit = self.clients.http.timeout;
        match (self.waits_for.lock().clone(), self.token_request()) {
            (Some(flight), Some(request)) => Unanswered::Token(Arc::new(flight.timed_out(&request, limit))),
            _ => Failure::TimedOut { phase: self.progress.phase(), limit }.into(),
        }
    }
}
