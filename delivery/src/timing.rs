//! Durations of the steps of an exchange. The connector runs inside the HTTP client, polled by the exchange's own task;
//! a task-local carries the marks.

use crate::connection::ConnectionLog;
use chrono::{DateTime, Utc};
use domain::delivery::Timings;
use hyper_util::client::legacy::connect::CaptureConnection;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

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
    reused: AtomicBool,
    resent: AtomicBool,
    /// The connection of the current request, once it has one.
    connection: Mutex<Option<CaptureConnection>>,
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
            reused: AtomicBool::new(false),
            resent: AtomicBool::new(false),
            connection: Mutex::new(None),
        })
    }

    fn set(&self, mark: &AtomicU64) {
        mark.store(self.started.elapsed().as_micros() as u64, Ordering::Relaxed);
    }

    /// Observes the connection of a request that is about to be sent.
    pub(crate) fn observe(&self, connection: CaptureConnection) {
        *self.connection.lock() = Some(connection);
    }

    /// The log of the request's connection; `None` before it has one. Then the request was not sent.
    pub(crate) fn connection(&self) -> Option<Arc<ConnectionLog>> {
        let connection = self.connection.lock();
        let metadata = connection.as_ref()?.connection_metadata();
        let mut extensions = http::Extensions::new();
        metadata.as_ref()?.get_extras(&mut extensions);
        extensions.remove()
    }

    /// Marks the arrival of the response's head on a connection, which earlier requests may have used.
    pub(crate) fn head_arrived(&self, reused: bool) {
        self.set(&self.first_byte);
        self.reused.store(reused, Ordering::Relaxed);
    }

    /// Marks that the request is sent again on a new connection.
    pub(crate) fn resend(&self) {
        self.resent.store(true, Ordering::Relaxed);
    }

    /// The durations of the steps in milliseconds.
    pub(crate) fn timings(&self) -> Timings {
        let total = self.started.elapsed().as_micros() as u64;
        let reused = self.reused.load(Ordering::Relaxed);
        // The client may have begun a connection before another one became free.
        let step = |mark: &AtomicU64| read(mark).filter(|_| !reused);
        let dns = step(&self.dns);
        let started = step(&self.connect_started);
        let tls = step(&self.tls_started);
        let connected = step(&self.connected);
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
            reused,
            resent: self.resent.load(Ordering::Relaxed),
        }
    }
}

fn read(mark: &AtomicU64) -> Option<u64> {
    Some(mark.load(Ordering::Relaxed)).filter(|value| *value != NONE)
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

/// The wall clock of an attempt: its start, which the caller sets, and the time since then.
#[derive(Clone, Copy)]
pub(crate) struct AttemptClock {
    start: DateTime<Utc>,
    started: Instant,
}

impl AttemptClock {
    pub(crate) fn start_at(start: DateTime<Utc>) -> Self {
        Self { start, started: Instant::now() }
    }

    pub(crate) fn now(self) -> DateTime<Utc> {
        self.start + self.started.elapsed()
    }
}

/// Marks the duration of the DNS look-up.
pub(crate) fn mark_dns(duration: Duration) {
    let _ = MARKS.try_with(|marks| marks.dns.store(duration.as_micros() as u64, Ordering::Relaxed));
}

/// Marks the start of connecting.
pub(crate) fn mark_connect_started() {
    let _ = MARKS.try_with(|marks| marks.set(&marks.connect_started));
}

/// Marks the start of the TLS handshake.
pub(crate) fn mark_tls_started() {
    let _ = MARKS.try_with(|marks| marks.set(&marks.tls_started));
}

/// Marks the end of connecting.
pub(crate) fn mark_connected() {
    let _ = MARKS.try_with(|marks| marks.set(&marks.connected));
}
