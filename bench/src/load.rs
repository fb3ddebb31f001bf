//! The load generator: a separate process that creates reservations through the public API.

use crate::receiver::now_us;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Parameters of the load.
#[derive(Debug, Clone, clap::Args)]
pub struct Load {
    /// The server's base URL.
    #[arg(long)]
    pub url: String,
    /// An API token.
    #[arg(long)]
    pub token: String,
    /// Resource ids, comma-separated. Reservations rotate through them, one minute each, without overlap.
    #[arg(long, value_delimiter = ',')]
    pub resources: Vec<i64>,
    /// Total number of reservations.
    #[arg(long)]
    pub count: u64,
    /// Concurrent clients.
    #[arg(long, default_value_t = 32)]
    pub clients: u64,
    /// Reservations per second; unlimited when absent.
    #[arg(long)]
    pub rate: Option<f64>,
    /// The first minute to reserve, so that several loads do not conflict.
    #[arg(long, default_value_t = 0)]
    pub offset: u64,
    /// Bytes of padding in the configuration.
    #[arg(long, default_value_t = 350)]
    pub padding: usize,
}

/// The result; printed as one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadResult {
    /// Reservations accepted.
    pub accepted: u64,
    /// Failed requests.
    pub errors: u64,
    /// Seconds from the first to the last response.
    pub seconds: f64,
    /// Median response time of the API.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

/// Runs the load.
///
/// # Errors
/// When the client cannot be built.
pub async fn run(load: Load) -> anyhow::Result<LoadResult> {
    let http = crate::berth::client()?;
    let load = Arc::new(load);
    let next = Arc::new(AtomicU64::new(0));
    let first_start = chrono::Utc::now() + chrono::Duration::days(1);
    let started = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..load.clients {
        let (http, load, next) = (http.clone(), load.clone(), next.clone());
        clients.spawn(async move {
            let mut histogram = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3)?;
            let (mut accepted, mut errors) = (0_u64, 0_u64);
            let padding = "x".repeat(load.padding);
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= load.count {
                    return anyhow::Ok((histogram, accepted, errors));
                }
                if let Some(rate) = load.rate {
                    tokio::time::sleep_until((started + Duration::from_secs_f64(n as f64 / rate)).into()).await;
                }
                let resource = load.resources[(n % load.resources.len() as u64) as usize];
                let minute = load.offset + n / load.resources.len() as u64;
                let start = first_start + chrono::Duration::minutes(minute as i64);
                let body = json!({
                    "resource_id": resource, "title": format!("sent_us:{} n:{n}", now_us()), "start_time": start,
                    "end_time": start + chrono::Duration::seconds(60), "additional_config": {"note": padding},
                });
                let sent = Instant::now();
                let response = http
                    .post(format!("{}/api/v1/reservations", load.url))
                    .bearer_auth(&load.token)
                    .json(&body)
                    .send()
                    .await;
                match response {
                    Ok(response) if response.status().as_u16() == 201 => {
                        let _ = response.bytes().await;
                        accepted += 1;
                    }
                    _ => errors += 1,
                }
                histogram.saturating_record(sent.elapsed().as_micros() as u64);
            }
        });
    }
    let mut all = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3)?;
    let (mut accepted, mut errors) = (0, 0);
    while let Some(done) = clients.join_next().await {
        let (histogram, a, e) = done??;
        all.add(&histogram)?;
        accepted += a;
        errors += e;
    }
    Ok(LoadResult {
        accepted,
        errors,
        seconds: started.elapsed().as_secs_f64(),
        p50_ms: all.value_at_quantile(0.5) as f64 / 1_000.0,
        p99_ms: all.value_at_quantile(0.99) as f64 / 1_000.0,
    })
}
