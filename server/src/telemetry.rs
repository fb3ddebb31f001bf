//! Logs to standard error, and export of traces by OTLP (OpenTelemetry) when an endpoint is configured.

use crate::log_writer::LogWriter;
use axum::http::HeaderMap;
use bytes::Bytes;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

/// `service.name` of exported spans.
const SERVICE_NAME: &str = "berth";
/// Path for traces in OTLP over HTTP.
const TRACES_PATH: &str = "/v1/traces";
/// Timeout of one export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of the last export at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether spans are exported. Only then do request spans have OpenTelemetry's fields, so a disabled export costs nothing.
static EXPORTING: AtomicBool = AtomicBool::new(false);

/// Format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Settings of logs and traces.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Filter of log lines, in the syntax of `tracing_subscriber::EnvFilter`.
    pub log_filter: String,
    /// Format of log lines.
    pub log_format: LogFormat,
    /// Base URL of an OTLP/HTTP collector; `None` disables the export.
    pub otlp_endpoint: Option<String>,
    /// Share of traces that are exported, 0 to 1. Traces that a caller started follow the caller's decision.
    pub sample_ratio: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log_filter: "info,sea_orm_migration=warn".into(),
            log_format: LogFormat::Text,
            otlp_endpoint: None,
            sample_ratio: 1.0,
        }
    }
}

/// Logs and traces of the process. [`Telemetry::shutdown`] exports the last spans.
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Installs logs and, with an endpoint, the export of traces. Exports run on `runtime`.
    ///
    /// # Errors
    /// Returns a message with the invalid setting.
    pub fn install(settings: &Settings, runtime: &Handle) -> Result<Self, String> {
        let filter = EnvFilter::try_new(&settings.log_filter)
            .map_err(|error| format!("BERTH_LOG is not a valid filter ({error}). Use e.g. info or server=debug."))?;
        let provider = match &settings.otlp_endpoint {
            Some(endpoint) => Some(tracer_provider(endpoint, settings.sample_ratio, runtime)?),
            None => None,
        };
        tracing_subscriber::registry()
            .with(provider.as_ref().map(export_layer))
            .with(log_layer(settings.log_format).with_filter(filter))
            .init();
        EXPORTING.store(provider.is_some(), Ordering::Relaxed);
        Ok(Self { provider })
    }

    /// Exports the last spans. Call it on the runtime that [`Telemetry::install`] received.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else { return };
        EXPORTING.store(false, Ordering::Relaxed);
        // `shutdown` blocks until the export ends, and the export needs the runtime's threads.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("the last spans were not exported; check BERTH_OTLP_ENDPOINT");
        }
    }
}

/// Whether spans are exported.
pub fn is_exporting() -> bool {
    EXPORTING.load(Ordering::Relaxed)
}

/// Makes a span part of the caller's trace if the request has a W3C `traceparent` header.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    if headers.contains_key("traceparent") {
        // An error means that no exporter is installed.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&HeaderExtractor(headers)));
    }
}

fn log_layer<S: Subscriber + for<'a> LookupSpan<'a>>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync> {
    // Avoids escape codes in files and journals.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // Without `log_internal_errors(false)`, a closed standard error makes the logging task panic.
    let layer = tracing_subscriber::fmt::layer().with_ansi(colours).log_internal_errors(false);
    match format {
        LogFormat::Text => layer.with_writer(move || LogWriter { colours }).boxed(),
        // JSON escapes control characters itself.
        LogFormat::Json => layer.with_writer(std::io::stderr).json().boxed(),
    }
}

fn export_layer<S: Subscriber + for<'a> LookupSpan<'a>>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S> {
    // Only Berth's own spans are exported: each span of the HTTP client would cause another export. The delivery engine uses
    // the levels debug and trace, which cost nothing while no exporter is installed.
    let targets = ["server", "service", "delivery", "app"].map(|target| (target, LevelFilter::TRACE));
    let filter = Targets::new().with_targets(targets).with_target("sqlx::query", LevelFilter::WARN);
    tracing_opentelemetry::layer().with_tracer(provider.tracer(SERVICE_NAME)).with_filter(filter)
}

fn tracer_provider(endpoint: &str, sample_ratio: f64, runtime: &Handle) -> Result<SdkTracerProvider, String> {
    let invalid =
        |error: String| format!("BERTH_OTLP_ENDPOINT cannot be used ({error}). Use e.g. http://localhost:4318.");
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(ExportClient { http: http_client().map_err(invalid)?, runtime: runtime.clone() })
        .with_endpoint(traces_url(endpoint))
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| invalid(error.to_string()))?;
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio))))
        .with_resource(Resource::builder().with_service_name(SERVICE_NAME).with_attribute(version).build())
        .build())
}

/// Appends the path for traces to a collector's base URL, unless the URL already ends with it.
fn traces_url(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with(TRACES_PATH) { base.to_owned() } else { format!("{base}{TRACES_PATH}") }
}

/// An HTTP client for a collector.
///
/// # Errors
/// Returns the reason if TLS cannot be set up.
pub fn http_client() -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(delivery::tls_config()?)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| error.to_string())
}

/// HTTP client of the exporter. It sends on the runtime of the process, because the SDK's thread has none.
#[derive(Debug)]
struct ExportClient {
    http: reqwest::Client,
    runtime: Handle,
}

#[async_trait::async_trait]
impl HttpClient for ExportClient {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let http = self.http.clone();
        let exchange = self.runtime.spawn(async move {
            let mut received = http.execute(request).await?;
            let mut response = http::Response::builder().status(received.status());
            if let Some(headers) = response.headers_mut() {
                std::mem::swap(headers, received.headers_mut());
            }
            Ok::<_, HttpError>(response.body(received.bytes().await?)?)
        });
        exchange.await?
    }
}

#[cfg(test)]
mod tests {
    use super::traces_url;

    #[test]
    fn traces_path_is_appended_to_a_base_url() {
        for (endpoint, expected) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("https://otel.example.com/berth/", "https://otel.example.com/berth/v1/traces"),
            ("http://localhost:4318/v1/traces", "http://localhost:4318/v1/traces"),
        ] {
            assert_eq!(traces_url(endpoint), expected);
        }
    }
}
