//! HTTP clients: HTTP/1.1 settings, and one request with its response.

use crate::certificate::Certificates;
use crate::connection::MAX_HEADERS;
use crate::connector::Connector;
use crate::diagnosis::{Failure, Phase};
use crate::response::Received;
use crate::timing::Marks;
use crate::tls::{TlsFeatures, TlsSettings};
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Maximum number of idle connections to one host.
const MAX_IDLE: usize = 4_096;
/// Time after which an idle connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The progress of an exchange.
pub(crate) struct Progress {
    phase: AtomicU8,
    pub(crate) marks: Arc<Marks>,
}

impl Progress {
    pub(crate) fn new(marks: Arc<Marks>) -> Self {
        Self { phase: AtomicU8::new(Phase::Connecting as u8), marks }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// The phase that the exchange has reached.
    pub(crate) fn phase(&self) -> Phase {
        match (Phase::from_number(self.phase.load(Ordering::Relaxed)), self.marks.connection()) {
            (Phase::Connecting, Some(connection)) if connection.has_response() => Phase::Head,
            (Phase::Connecting, Some(_)) => Phase::Waiting,
            (phase, _) => phase,
        }
    }
}

type HttpClient = Client<Connector, Full<Bytes>>;

/// HTTP clients with the same TLS settings. They follow no redirects, use no proxy, and check each address.
pub(crate) struct Http {
    pooled: HttpClient,
    /// Each request has its own connection.
    unpooled: HttpClient,
    pub(crate) user_agent: HeaderValue,
    /// Time limit of an exchange.
    pub(crate) timeout: Duration,
    /// The certificates of the servers.
    pub(crate) certificates: Certificates,
    /// The kinds of TLS settings that its connections have.
    pub(crate) tls: TlsFeatures,
    connector: Connector,
}

impl Http {
    pub(crate) fn new(connector: Connector, user_agent: HeaderValue, timeout: Duration) -> Self {
        Self {
            unpooled: client(connector.without_resumption(), 0),
            pooled: client(connector.clone(), MAX_IDLE),
            user_agent,
            timeout,
            certificates: connector.certificates.clone(),
            tls: TlsFeatures::default(),
            connector,
        }
    }

    /// Clients with the TLS settings of a webhook, which share no connection and no TLS session with these.
    ///
    /// # Errors
    /// A sentence if the settings cannot be used.
    pub(crate) fn with_settings(&self, settings: &TlsSettings) -> Result<Self, String> {
        let connector = self.connector.with_settings(settings)?;
        Ok(Self { tls: settings.features(), ..Self::new(connector, self.user_agent.clone(), self.timeout) })
    }

    /// Sends a request over a new connection.
    ///
    /// # Errors
    /// When no complete response arrives.
    pub(crate) async fn send_on_new_connection(
        &self,
        request: Request<Full<Bytes>>,
        progress: &Progress,
    ) -> Result<Received, Failure> {
        send(&self.unpooled, request, progress).await.map_err(|failed| failed.failure)
    }

    /// Sends a request, if possible over a kept-alive connection. If that connection closes before the first byte of a
    /// response, `again` creates the same request for a new connection: servers close idle connections at any time, and
    /// the close can cross a request (RFC 9112 §9.3.1). The receiver may have processed the first request all the same;
    /// events are delivered at least once.
    ///
    /// # Errors
    /// When no complete response arrives.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        again: impl FnOnce() -> Request<Full<Bytes>>,
        progress: &Progress,
    ) -> Result<Received, Failure> {
        match send(&self.pooled, request, progress).await {
            Ok(received) => Ok(received),
            Err(failed) if failed.connection_was_stale => {
                progress.marks.resend();
                self.send_on_new_connection(again(), progress).await
            }
            Err(failed) => Err(failed.failure),
        }
    }
}

/// A POST request. `case` contains the letter case of header names that are not in title case.
pub(crate) fn post(uri: Uri, headers: HeaderMap, case: Extensions, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    *request.extensions_mut() = case;
    request
}

/// A failed request.
struct Failed {
    failure: Failure,
    /// Whether a kept-alive connection closed before the first byte of the response.
    connection_was_stale: bool,
}

async fn send(client: &HttpClient, mut request: Request<Full<Bytes>>, progress: &Progress) -> Result<Received, Failed> {
    progress.enter(Phase::Connecting);
    let marks = &progress.marks;
    marks.observe(capture_connection(&mut request));
    let result = client.request(request).await;
    let connection = marks.connection();
    let reused = connection.as_ref().is_some_and(|connection| connection.mark_used());
    let response = result.map_err(|error| {
        let connection_was_stale = reused && connection.as_ref().is_some_and(|connection| !connection.has_response());
        let received = connection.map(|connection| connection.received()).unwrap_or_default();
        Failed { failure: Failure::Transport { error: error.into(), received }, connection_was_stale }
    })?;
    marks.head_arrived(reused);
    progress.enter(Phase::Reading);
    Received::read(response).await.map_err(|error| Failed {
        failure: Failure::Transport { error: error.into(), received: Vec::new() },
        connection_was_stale: false,
    })
}

fn client(connector: Connector, max_idle: usize) -> HttpClient {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(max_idle)
        .http1_title_case_headers(true)
        // What RFC 9112 §5 allows a client to tolerate.
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_max_headers(MAX_HEADERS)
        .build(connector)
}
