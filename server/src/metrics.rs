//! Metrics of the process in the Prometheus format.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use service::Service;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Settings of the metrics endpoint.
#[derive(Clone, Default)]
pub struct Settings {
    /// Digest of the token that readers must send.
    pub token: Option<String>,
    /// Address of a listener for metrics and health endpoints only.
    pub listen: Option<SocketAddr>,
}

impl Settings {
    /// Who may read the metrics on the listener of users.
    pub fn access(&self) -> Access {
        self.token.clone().map_or(Access::Local, Access::Token)
    }

    /// Who may read the metrics on the listener of its own.
    pub fn access_on_own_listener(&self) -> Access {
        self.token.clone().map_or(Access::Open, Access::Token)
    }
}

/// Who may read the metrics. They contain the routes that users request, and the load.
#[derive(Clone, PartialEq, Eq)]
pub enum Access {
    /// Everybody who reaches the listener.
    Open,
    /// Clients on this machine that no proxy forwards.
    Local,
    /// Clients with the token of this digest.
    Token(String),
}

/// A counter that is exported from the start, with value 0.
struct Counter {
    name: &'static str,
    description: &'static str,
    /// Its label, if any, with all values.
    label: Option<(&'static str, &'static [&'static str])>,
}

const OUTCOME: Option<(&str, &[&str])> = Some(("outcome", &["succeeded", "failed"]));
const KIND: Option<(&str, &[&str])> = Some((
    "kind",
    &[
        "delivery",
        "session",
        "idempotency_key",
        "status_update",
        "login_budget",
        "log_in_state",
        "notification",
        "alert",
        "alert_notice",
        "audit_entry",
        "access_info",
    ],
));
const LOG_IN: Option<(&str, &[&str])> =
    Some(("outcome", &["succeeded", "second_step", "rejected", "throttled", "failed"]));
const STREAM: Option<(&str, &[&str])> = Some(("stream", &["syslog", "otlp"]));

const COUNTERS: [Counter; 10] = [
    Counter { name: "berth_events_enqueued_total", description: "Deliveries enqueued.", label: None },
    Counter { name: "berth_attempts_total", description: "Attempts recorded.", label: OUTCOME },
    Counter { name: "berth_deliveries_total", description: "Deliveries that succeeded or failed.", label: OUTCOME },
    Counter {
        name: "berth_leases_lapsed_total",
        description: "Expired leases. Their deliveries are sent again, possibly twice.",
        label: None,
    },
    Counter {
        name: "berth_results_without_lease_total",
        description: "Attempt results discarded because their lease had expired.",
        label: None,
    },
    Counter { name: "berth_retention_deleted_total", description: "Rows deleted by retention.", label: KIND },
    Counter { name: "berth_log_ins_total", description: "Log-ins with a password or a second factor.", label: LOG_IN },
    Counter {
        name: "berth_alert_notices_total",
        description: "Attempts to send a notice of an alert.",
        label: OUTCOME,
    },
    Counter { name: "berth_audit_streamed_total", description: "Audit log entries sent.", label: STREAM },
    Counter {
        name: "berth_audit_stream_failures_total",
        description: "Failures to send audit log entries.",
        label: STREAM,
    },
];

/// Cache lifetime of queue statistics. It bounds the database load of frequent scrapes.
const QUEUE_STATS_TTL: Duration = Duration::from_secs(5);

/// Metrics recorder of this process. Cloning is cheap.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    /// Time of the last queue statistics.
    queue_read_at: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

impl Metrics {
    /// Installs the recorder once per process; later calls share it. Counters start at 0, so that `rate()` includes the first
    /// increase.
    ///
    /// # Errors
    /// Returns a message for the operator if another recorder is installed.
    pub fn install() -> Result<Self, String> {
        static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
        let handle = HANDLE.get_or_init(|| {
            let handle = PrometheusBuilder::new()
                .set_buckets(&[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
                .map_err(|error| error.to_string())?
                .install_recorder()
                .map_err(|error| format!("The metrics recorder cannot be installed: {error}"))?;
            for Counter { name, description, label } in COUNTERS {
                metrics::describe_counter!(name, description);
                match label {
                    None => metrics::counter!(name).increment(0),
                    Some((label, values)) => {
                        values.iter().for_each(|value| metrics::counter!(name, label => *value).increment(0));
                    }
                }
            }
            metrics::describe_gauge!("berth_requests_in_flight", "Requests to receivers in flight.");
            metrics::describe_gauge!("berth_deliveries_waiting", "Queued deliveries without a lease.");
            metrics::describe_gauge!(
                "berth_delivery_lag_seconds",
                "Time since the oldest sendable delivery became due, without paused webhooks."
            );
            metrics::describe_gauge!(
                "berth_oidc_provider_up",
                "Whether the configuration of an identity provider could be read at the last attempt."
            );
            metrics::describe_counter!("berth_oidc_log_ins_total", "Returns from an identity provider.");
            metrics::describe_histogram!("berth_attempt_duration_seconds", "Duration of attempts.");
            metrics::describe_histogram!("berth_http_request_duration_seconds", "Duration of HTTP requests to Berth.");
            Ok(handle)
        });
        handle.clone().map(|handle| Self { handle, queue_read_at: Arc::default() })
    }

    /// Renders all metrics as text. Queue statistics are at most 5 s old while the database is available.
    pub async fn render(&self, service: &Service) -> String {
        let mut read_at = self.queue_read_at.lock().await;
        if read_at.is_none_or(|at| at.elapsed() >= QUEUE_STATS_TTL) {
            // `/readyz` reports an unavailable database.
            if let Ok(queue) = service.outbox().stats().await {
                metrics::gauge!("berth_deliveries_waiting").set(queue.queued as f64);
                metrics::gauge!("berth_delivery_lag_seconds").set(queue.lag.as_secs_f64());
                *read_at = Some(Instant::now());
            }
        }
        drop(read_at);
        self.handle.render()
    }

    /// Drops outdated histogram samples, to bound memory. Call it regularly.
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }
}
