//! OAuth 2.0 client credentials (RFC 6749 §4.4). Tokens are cached until shortly before they expire, and renewed once
//! when a receiver responds with 401. One request for a token is in flight at a time, and all attempts that wait for it
//! share its result.

mod fetch;

use crate::client::{Http, Progress};
use crate::diagnosis::{Failure, diagnosis, of_token_failure};
use crate::timing::{AttemptClock, MARKS, Marks};
use crate::tls::TlsSettings;
use crate::transcript::Writer;
use crate::{Auth, Target};
use chrono::{DateTime, TimeDelta, Utc};
use domain::delivery::{Diagnosis, DiagnosisCode};
use domain::webhook::TokenStatus;
use fetch::{ClientAuth, fetch};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Time for which a failure is shared with later attempts. It is shorter than the shortest retry delay, so that a retry
/// requests a token again.
const FAILURE_SHARED_FOR: TimeDelta = TimeDelta::milliseconds(900);
/// Time without renewals after the token endpoint has returned a rejected token again.
const NO_RENEWAL_FOR: TimeDelta = TimeDelta::seconds(60);
/// Maximum number of cached tokens. Rotated secrets leave stale entries.
const MAX_CACHED: usize = 1_000;

/// The parameters of a token request: the key of the cache.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct TokenRequest {
    pub(crate) token_url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) scope: Option<String>,
    pub(crate) audience: Option<String>,
    /// The TLS settings of the request. A token can be bound to the client certificate (RFC 8705).
    pub(crate) tls: Option<Arc<TlsSettings>>,
}

domain::redacted_debug!(TokenRequest { token_url, client_id, scope, audience, tls } hides { client_secret });

impl TokenRequest {
    /// The token request of a webhook; `None` without OAuth.
    pub(crate) fn of(target: &Target) -> Option<Self> {
        let Auth::Oauth2 { token_url, client_id, client_secret, scope, audience } = &target.auth else { return None };
        Some(Self {
            token_url: token_url.clone(),
            client_id: client_id.clone(),
            client_secret: client_secret.clone(),
            scope: scope.clone(),
            audience: audience.clone(),
            tls: target.tls.clone(),
        })
    }
}

/// An access token.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) value: Arc<str>,
    until: DateTime<Utc>,
    /// Number of the token request that returned it.
    generation: u64,
}

/// The reason why no token is available, and the token request for the record.
#[derive(Debug, Clone)]
pub(crate) struct TokenFailure {
    pub(crate) diagnosis: Diagnosis,
    /// The last token request, redacted.
    pub(crate) request: RecordedRequest,
    /// Whether it was sent.
    pub(crate) sent: bool,
}

/// A token request for the record, redacted.
#[derive(Debug, Clone)]
pub(crate) struct RecordedRequest {
    url: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl RecordedRequest {
    /// Starts a transcript with this request.
    pub(crate) fn into_transcript(self) -> Writer {
        let mut writer = Writer::token_request(&self.url, self.body);
        for (name, value) in self.headers {
            writer.documented_header(name, &value);
        }
        writer
    }
}

/// The request for a token that is in flight.
#[derive(Clone)]
pub(crate) struct Flight {
    result: Shared<BoxFuture<'static, Result<Token, Arc<TokenFailure>>>>,
    progress: Arc<Progress>,
    /// The method that it tries first.
    method: ClientAuth,
}

impl Flight {
    /// The failure of an attempt whose time limit ends while it waits for this request.
    pub(crate) fn timed_out(&self, request: &TokenRequest, limit: Duration) -> TokenFailure {
        let failure = Failure::TimedOut { phase: self.progress.phase(), limit };
        TokenFailure::of_failure(&failure, request, self.method, &self.progress)
    }
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// The last failure and its time.
    failure: Option<(DateTime<Utc>, Arc<TokenFailure>)>,
    flight: Option<Flight>,
    generation: u64,
    /// The method that worked last.
    method: ClientAuth,
    /// The rejected token that the last renewal returned again, and its time.
    issued_again: Option<(DateTime<Utc>, Arc<str>)>,
    /// What users see.
    status: TokenStatus,
}

type Entry = Arc<Mutex<State>>;

/// The access tokens of this process.
#[derive(Default)]
pub(crate) struct TokenCache {
    entries: Mutex<HashMap<TokenRequest, Entry>>,
}

/// A token, or the request that will return it.
enum Lookup {
    Found(Result<Token, Arc<TokenFailure>>),
    InFlight(Flight),
}

/// Waits for a token on behalf of one attempt.
pub(crate) struct TokenWait<'a> {
    pub(crate) http: &'a Arc<Http>,
    pub(crate) clock: AttemptClock,
    /// Receives the token request that the attempt waits for, for the diagnosis of a timeout.
    pub(crate) flight: &'a Mutex<Option<Flight>>,
}

impl TokenWait<'_> {
    async fn finish(&self, lookup: Lookup) -> Result<Token, Arc<TokenFailure>> {
        match lookup {
            Lookup::Found(result) => result,
            Lookup::InFlight(flight) => {
                *self.flight.lock() = Some(flight.clone());
                let result = flight.result.await;
                *self.flight.lock() = None;
                result
            }
        }
    }
}

impl TokenCache {
    fn entry(&self, request: &TokenRequest) -> Entry {
        let mut entries = self.entries.lock();
        if entries.len() >= MAX_CACHED && !entries.contains_key(request) {
            entries.clear();
        }
        entries.entry(request.clone()).or_default().clone()
    }

    /// Returns the cached token, or requests one.
    ///
    /// # Errors
    /// When the token endpoint issues none, or issued none a moment ago.
    pub(crate) async fn get(&self, request: &TokenRequest, wait: &TokenWait<'_>) -> Result<Token, Arc<TokenFailure>> {
        let entry = self.entry(request);
        let lookup = {
            let mut state = entry.lock();
            let cached = state.token.clone().filter(|token| wait.clock.now() < token.until);
            cached.map_or_else(|| state.request(&entry, request, wait), |token| Lookup::Found(Ok(token)))
        };
        wait.finish(lookup).await
    }

    /// Requests a token, also if the cached one is valid. After a failure the cached one is kept.
    ///
    /// # Errors
    /// When the token endpoint issues none.
    pub(crate) async fn fetch(&self, request: &TokenRequest, wait: &TokenWait<'_>) -> Result<Token, Arc<TokenFailure>> {
        let entry = self.entry(request);
        let (lookup, cached) = {
            let mut state = entry.lock();
            state.failure = None;
            let cached = state.token.clone();
            (state.request(&entry, request, wait), cached)
        };
        let result = wait.finish(lookup).await;
        if result.is_err() {
            let mut state = entry.lock();
            if state.token.is_none() && state.flight.is_none() {
                state.token = cached;
            }
        }
        result
    }

    /// The state of a token; `None` before the first request.
    pub(crate) fn status(&self, request: &TokenRequest) -> Option<TokenStatus> {
        let entry = self.entries.lock().get(request)?.clone();
        let status = entry.lock().status.clone();
        status.updated_at().is_some().then_some(status)
    }

    /// Returns another token after a receiver has rejected `rejected`; `None` if there is none.
    ///
    /// # Errors
    /// When the token endpoint issues none, or issued none a moment ago.
    pub(crate) async fn renew(
        &self,
        request: &TokenRequest,
        rejected: &Token,
        wait: &TokenWait<'_>,
    ) -> Result<Option<Token>, Arc<TokenFailure>> {
        let entry = self.entry(request);
        let lookup = {
            let mut state = entry.lock();
            let now = wait.clock.now();
            let renewed =
                state.token.clone().filter(|token| token.generation > rejected.generation && now < token.until);
            match renewed {
                Some(token) => Lookup::Found(Ok(token)),
                None if state.was_issued_again(rejected, now) => return Ok(None),
                None => state.request(&entry, request, wait),
            }
        };
        let token = wait.finish(lookup).await?;
        if token.value != rejected.value {
            return Ok(Some(token));
        }
        entry.lock().issued_again = Some((wait.clock.now(), token.value));
        Ok(None)
    }
}

/// Whether an event was less than `limit` ago. A clock that is set back makes it appear in the future.
fn is_recent(event: DateTime<Utc>, now: DateTime<Utc>, limit: TimeDelta) -> bool {
    (now - event).abs() < limit
}

impl State {
    /// Joins the request in flight, or returns a recent failure, or starts a request.
    fn request(&mut self, entry: &Entry, request: &TokenRequest, wait: &TokenWait<'_>) -> Lookup {
        // A flight that ended without a result has panicked.
        if let Some(flight) = self.flight.clone().filter(|flight| flight.result.peek().is_none()) {
            return Lookup::InFlight(flight);
        }
        if let Some((at, failure)) = &self.failure
            && is_recent(*at, wait.clock.now(), FAILURE_SHARED_FOR)
        {
            return Lookup::Found(Err(failure.clone()));
        }
        let flight = self.start(entry.clone(), request.clone(), wait.http.clone(), wait.clock);
        self.flight = Some(flight.clone());
        Lookup::InFlight(flight)
    }

    /// Whether a renewal has just returned this rejected token again.
    fn was_issued_again(&self, rejected: &Token, now: DateTime<Utc>) -> bool {
        let issued_again = self.issued_again.as_ref();
        issued_again.is_some_and(|(at, value)| *value == rejected.value && is_recent(*at, now, NO_RENEWAL_FOR))
    }

    /// Starts a request in its own task, so that it continues when the attempt that started it ends.
    fn start(&mut self, entry: Entry, request: TokenRequest, http: Arc<Http>, clock: AttemptClock) -> Flight {
        self.token = None;
        self.failure = None;
        self.generation += 1;
        let (generation, method) = (self.generation, self.method);
        let progress = Arc::new(Progress::new(Marks::start()));
        let record = RecordedRequest::of(&request, method);
        let task = tokio::spawn({
            let progress = progress.clone();
            async move {
                let limit = http.timeout;
                let run = MARKS.scope(progress.marks.clone(), fetch(&http, &request, method, clock, &progress));
                let result = match tokio::time::timeout(limit, run).await {
                    Ok(result) => result,
                    Err(_) => {
                        let failure = Failure::TimedOut { phase: progress.phase(), limit };
                        Err(TokenFailure::of_failure(&failure, &request, method, &progress))
                    }
                };
                entry.lock().finish(result, generation, clock.now())
            }
        });
        let result = async move { task.await.unwrap_or_else(|_| Err(Arc::new(TokenFailure::internal(record)))) };
        Flight { result: result.boxed().shared(), progress, method }
    }

    /// Stores the result of a request.
    fn finish(
        &mut self,
        result: Result<fetch::Granted, TokenFailure>,
        generation: u64,
        now: DateTime<Utc>,
    ) -> Result<Token, Arc<TokenFailure>> {
        self.flight = None;
        match result {
            Ok(granted) => {
                let token = Token { value: granted.value, until: granted.until, generation };
                self.status = TokenStatus {
                    obtained_at: Some(now),
                    expires_at: Some(granted.expires_at),
                    ..TokenStatus::default()
                };
                self.method = granted.method;
                self.token = Some(token.clone());
                Ok(token)
            }
            Err(failure) => {
                let failure = Arc::new(failure);
                self.status.error = Some(failure.diagnosis.message.clone());
                self.status.failed_at = Some(now);
                self.failure = Some((now, failure.clone()));
                Err(failure)
            }
        }
    }
}

impl TokenFailure {
    /// A request without a complete response.
    fn of_failure(failure: &Failure, request: &TokenRequest, method: ClientAuth, progress: &Progress) -> Self {
        Self {
            diagnosis: of_token_failure(failure, request.tls.as_ref().map(|tls| tls.features()).unwrap_or_default()),
            request: RecordedRequest::of(request, method),
            sent: progress.marks.connection().is_some(),
        }
    }

    fn internal(request: RecordedRequest) -> Self {
        Self {
            diagnosis: diagnosis(
                DiagnosisCode::TokenFailed,
                "The OAuth token could not be fetched because of an internal error.",
                "Contact the operator of Berth: the server log contains the details.",
            ),
            request,
            sent: true,
        }
    }
}
