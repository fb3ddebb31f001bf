//! The receiver of the benchmark: a process that responds at once or after a delay, and counts requests and their latency by path.
//!
//! `test_support::Receiver` parses each body and keeps each request for assertions. That work and memory per request would
//! become part of every figure, so the benchmark has its own receiver, which keeps only counters and histograms.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of one path since the last reset.
#[derive(Default)]
struct PathCounters {
    count: u64,
    latency: Option<Latency>,
}

/// Latencies in microseconds.
struct Latency {
    all: Histogram<u64>,
    /// The current second since the epoch.
    second: u64,
    /// Latencies of the current second.
    current: Histogram<u64>,
    /// The 99th percentile of each completed second.
    p99s: Vec<u64>,
}

impl Latency {
    fn new(second: u64) -> Option<Self> {
        let all = Histogram::new_with_bounds(1, 600_000_000, 3).ok()?;
        Some(Self { current: all.clone(), all, second, p99s: Vec::new() })
    }

    fn record(&mut self, arrived: u64, sent: u64) {
        let second = arrived / 1_000_000;
        if second != self.second {
            self.p99s.push(self.current.value_at_quantile(0.99));
            self.current.reset();
            self.second = second;
        }
        let latency = arrived.saturating_sub(sent).max(1);
        self.all.saturating_record(latency);
        self.current.saturating_record(latency);
    }
}

/// The counters of the receiver.
#[derive(Default)]
struct Counters {
    paths: Mutex<HashMap<String, PathCounters>>,
    in_flight: AtomicU64,
    peak: AtomicU64,
}

/// The response of `GET /report`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Requests since the last reset.
    pub count: u64,
    /// Maximum concurrent requests since the last reset, over all paths.
    pub peak_in_flight: u64,
    /// Median latency in milliseconds, from `sent_us:` in the title to arrival.
    pub p50_ms: f64,
    /// 99th percentile of the latency.
    pub p99_ms: f64,
    /// 99th percentile of each completed second, except the partial first one.
    pub seconds_p99_ms: Vec<f64>,
    /// Maximum latency.
    pub max_ms: f64,
}

/// The response that a request asks for in its query.
#[derive(Deserialize)]
struct Behaviour {
    #[serde(default)]
    delay_ms: u64,
    #[serde(default)]
    status: Option<u16>,
}

/// Microseconds since the epoch.
pub fn now_us() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// The number after `"title":"sent_us:` in a body. The JSON is not parsed, to keep the overhead low.
fn sent_us(body: &[u8]) -> Option<u64> {
    const MARKER: &[u8] = b"sent_us:";
    let start = body.windows(MARKER.len()).position(|w| w == MARKER)? + MARKER.len();
    let digits: Vec<u8> = body[start..].iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// Counts a request in flight until drop, also when the sender is killed.
struct InFlight(Arc<Counters>);

impl InFlight {
    fn begin(counters: &Arc<Counters>) -> Self {
        let in_flight = counters.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        counters.peak.fetch_max(in_flight, Ordering::Relaxed);
        Self(counters.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn receive(
    State(counters): State<Arc<Counters>>,
    Path(path): Path<String>,
    Query(behaviour): Query<Behaviour>,
    body: Bytes,
) -> axum::response::Response {
    let arrived = now_us();
    let _in_flight = InFlight::begin(&counters);
    {
        let mut paths = counters.paths.lock();
        let path = paths.entry(path).or_default();
        path.count += 1;
        if let Some(sent) = sent_us(&body) {
            if path.latency.is_none() {
                path.latency = Latency::new(arrived / 1_000_000);
            }
            if let Some(latency) = &mut path.latency {
                latency.record(arrived, sent);
            }
        }
    }
    if behaviour.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
    }
    let status = behaviour.status.and_then(|s| StatusCode::from_u16(s).ok()).unwrap_or(StatusCode::OK);
    (status, [("content-type", "application/json")], r#"{"status":"accepted"}"#).into_response()
}

async fn report(State(counters): State<Arc<Counters>>, Path(prefix): Path<String>) -> axum::Json<Report> {
    let paths = counters.paths.lock();
    let mut all: Option<Histogram<u64>> = None;
    let mut report = Report { peak_in_flight: counters.peak.load(Ordering::Relaxed), ..Report::default() };
    for (_, path) in paths.iter().filter(|(name, _)| name.starts_with(&prefix)) {
        report.count += path.count;
        if let Some(latency) = &path.latency {
            match &mut all {
                Some(sum) => {
                    let _ = sum.add(&latency.all);
                }
                None => all = Some(latency.all.clone()),
            }
            report.seconds_p99_ms.extend(latency.p99s.iter().skip(1).map(|us| *us as f64 / 1_000.0));
        }
    }
    if let Some(histogram) = all {
        report.p50_ms = histogram.value_at_quantile(0.5) as f64 / 1_000.0;
        report.p99_ms = histogram.value_at_quantile(0.99) as f64 / 1_000.0;
        report.max_ms = histogram.max() as f64 / 1_000.0;
    }
    axum::Json(report)
}

async fn reset(State(counters): State<Arc<Counters>>) -> StatusCode {
    counters.paths.lock().clear();
    counters.peak.store(0, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}

/// Serves until the process ends; prints its address as the first line.
///
/// # Errors
/// When the port cannot be bound.
pub async fn serve() -> anyhow::Result<()> {
    let counters = Arc::new(Counters::default());
    let router = Router::new()
        .route("/hook/{path}", post(receive))
        .route("/report/{prefix}", get(report))
        .route("/reset", post(reset))
        .with_state(counters);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    #[expect(clippy::print_stdout, reason = "the parent process reads the address")]
    {
        println!("http://{}", listener.local_addr()?);
    }
    axum::serve(listener, router).await?;
    Ok(())
}
