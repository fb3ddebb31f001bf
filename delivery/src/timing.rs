//! Durations of the steps of an exchange. The steps run inside reqwest's connector, polled by the exchange's own task;
//! a task-local carries the marks.

use domain::delivery::Timings;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tower::{Layer, Service};

/// The value of a mark that is not set.
const NONE: u64 = u64::MAX;

/// Marks of an exchange, in microseconds since its start.
pub(crate) struct Marks {
    started: Instant,
    dns: AtomicU64,
    connect_started: AtomicU64,
    tls_started: AtomicU64,
    connected: AtomicU64,
    first_byte: AtomicU64,
}

tokio::task_local! {
    pub(crate) static MARKS: Arc<Marks>;
}

impl Marks {
    pub(crate) fn start() -> Arc<Self> {
        let none = || AtomicU64::new(NONE);
        Arc::new(Self {
            started: Instant::now(),
            dns: none(),
            connect_started: none(),
            tls_started: none(),
            connected: none(),
            first_byte: none(),
        })
    }

    fn set(&self, mark: &AtomicU64) {
        mark.store(self.started.elapsed().as_micros() as u64, Ordering::Relaxed);
    }

    /// Marks the arrival of the response's head.
    pub(crate) fn head_arrived(&self) {
        self.set(&self.first_byte);
    }

    /// Whether a connection was established.
    pub(crate) fn is_connected(&self) -> bool {
        read(&self.connected).is_some() || read(&self.connect_started).is_none()
    }

    /// The durations of the steps in milliseconds.
    pub(crate) fn timings(&self) -> Timings {
        let total = self.started.elapsed().as_micros() as u64;
        let dns = read(&self.dns);
        let started = read(&self.connect_started);
        let tls = read(&self.tls_started);
        let connected = read(&self.connected);
        let tcp_started = started.map(|started| started + dns.unwrap_or(0));
        let tcp_ended = tls.or(connected);
        let sent_from = connected.or(if started.is_none() { Some(0) } else { None });
        let span = |from: Option<u64>, to: Option<u64>| Some(ms(to?.saturating_sub(from?)));
        Timings {
            dns_ms: dns.map(ms),
            connect_ms: span(tcp_started, tcp_ended),
            tls_ms: span(tls, connected),
            first_byte_ms: span(sent_from, read(&self.first_byte)),
            total_ms: ms(total),
            reused: started.is_none() && read(&self.first_byte).is_some(),
        }
    }
}

fn read(mark: &AtomicU64) -> Option<u64> {
    Some(mark.load(Ordering::Relaxed)).filter(|value| *value != NONE)
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

/// Marks the duration of the DNS look-up.
pub(crate) fn mark_dns(duration: Duration) {
    let _ = MARKS.try_with(|marks| marks.dns.store(duration.as_micros() as u64, Ordering::Relaxed));
}

/// A layer that marks the start and the end of connecting.
#[derive(Clone)]
pub(crate) struct TimedConnections;

impl<S> Layer<S> for TimedConnections {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed { inner }
    }
}

/// A connector that marks its connections.
#[derive(Clone)]
pub(crate) struct Timed<S> {
    inner: S,
}

impl<S, R> Service<R> for Timed<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let _ = MARKS.try_with(|marks| marks.set(&marks.connect_started));
        let connecting = self.inner.call(request);
        Box::pin(async move {
            let connection = connecting.await;
            if connection.is_ok() {
                let _ = MARKS.try_with(|marks| marks.set(&marks.connected));
            }
            connection
        })
    }
}

/// A session store that marks the start of the TLS handshake: rustls reads the key-exchange hint first.
#[derive(Debug)]
pub(crate) struct TimedSessions(rustls::client::ClientSessionMemoryCache);

impl TimedSessions {
    pub(crate) fn new() -> Self {
        Self(rustls::client::ClientSessionMemoryCache::new(1_024))
    }
}

impl rustls::client::ClientSessionStore for TimedSessions {
    fn set_kx_hint(&self, server: rustls::pki_types::ServerName<'static>, group: rustls::NamedGroup) {
        self.0.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &rustls::pki_types::ServerName<'_>) -> Option<rustls::NamedGroup> {
        let _ = MARKS.try_with(|marks| marks.set(&marks.tls_started));
        self.0.kx_hint(server)
    }

    fn set_tls12_session(
        &self,
        server: rustls::pki_types::ServerName<'static>,
        value: rustls::client::Tls12ClientSessionValue,
    ) {
        self.0.set_tls12_session(server, value);
    }

    fn tls12_session(
        &self,
        server: &rustls::pki_types::ServerName<'_>,
    ) -> Option<rustls::client::Tls12ClientSessionValue> {
        self.0.tls12_session(server)
    }

    fn remove_tls12_session(&self, server: &rustls::pki_types::ServerName<'static>) {
        self.0.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(
        &self,
        server: rustls::pki_types::ServerName<'static>,
        value: rustls::client::Tls13ClientSessionValue,
    ) {
        self.0.insert_tls13_ticket(server, value);
    }

    fn take_tls13_ticket(
        &self,
        server: &rustls::pki_types::ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(server)
    }
}
