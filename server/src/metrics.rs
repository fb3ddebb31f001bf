//! What the process counts, for Prometheus.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use service::Service;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A counter.
struct Counter {
    name: &'static str,
    what: &'static str,
    /// Its label and what that may say, where it has one.
    label: Option<(&'static str, &'static [&'static str])>,
}

const OUTCOME: Option<(&str, &[&str])> = Some(("outcome", &["succeeded", "failed"]));
const KIND: Option<(&str, &[&str])> =
    Some(("kind", &["delivery", "session", "idempotency_key", "status_update", "notification"]));

const COUNTERS: [Counter; 6] = [
    Counter { name: "berth_events_enqueued_total", what: "Deliveries written.", label: None },
    Counter { name: "berth_attempts_total", what: "Attempts that were recorded.", label: OUTCOME },
    Counter { name: "berth_deliveries_total", what: "Deliveries that ended.", label: OUTCOME },
    Counter {
        name: "berth_leases_lapsed_total",
        what: "Deliveries taken up again after their process died or stalled, and perhaps sent twice.",
        label: None,
    },
    Counter {
        name: "berth_results_without_lease_total",
        what: "Results that came after their lease was lost.",
        label: None,
    },
    Counter { name: "berth_retention_deleted_total", what: "Rows deleted by retention.", label: KIND },
];

/// What the queue is asked at most so often, however often the page is read.
const KEPT: Duration = Duration::from_secs(5);

/// The page of this process.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    /// When the queue was last asked.
    asked: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

impl Metrics {
    /// Installs the recorder of the process, once, with every counter at 0, so that its first increase is seen; a second server in it
    /// (tests) shares it. What is counted before goes nowhere.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn install() -> Result<Self, String> {
        static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
        let handle = HANDLE.get_or_init(|| {
            let handle = PrometheusBuilder::new()
                .set_buckets(&[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
                .map_err(|error| error.to_string())?
                .install_recorder()
                .map_err(|error| format!("Metrics cannot be set up: {error}"))?;
            for Counter { name, what, label } in COUNTERS {
                metrics::describe_counter!(name, what);
                match label {
                    None => metrics::counter!(name).increment(0),
                    Some((label, values)) => {
                        values.iter().for_each(|value| metrics::counter!(name, label => *value).increment(0));
                    }
                }
            }
            metrics::describe_gauge!(
                "berth_requests_in_flight",
                "Requests to receivers, under way or about to be made."
            );
            metrics::describe_gauge!("berth_deliveries_waiting", "Deliveries in the queue that nobody is at.");
            metrics::describe_gauge!(
                "berth_delivery_lag_seconds",
                "For how long the oldest delivery that could be made has been due, paused webhooks left out."
            );
            metrics::describe_histogram!("berth_attempt_duration_seconds", "Whole exchanges with receivers.");
            metrics::describe_histogram!("berth_http_request_duration_seconds", "Requests to Berth.");
            Ok(handle)
        });
        handle.clone().map(|handle| Self { handle, asked: Arc::default() })
    }

    /// The page, with the queue as it is, or was at most five seconds ago.
    pub async fn page(&self, service: &Service) -> String {
        let mut asked = self.asked.lock().await;
        if asked.is_none_or(|at| at.elapsed() >= KEPT) {
            // A database that is away is for `/readyz` to tell.
            if let Ok(queue) = service.queue().await {
                metrics::gauge!("berth_deliveries_waiting").set(queue.waiting as f64);
                metrics::gauge!("berth_delivery_lag_seconds").set(queue.lag.as_secs_f64());
                *asked = Some(Instant::now());
            }
        }
        drop(asked);
        self.handle.render()
    }

    /// Forgets what is too old to be told; now and then.
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }
}
