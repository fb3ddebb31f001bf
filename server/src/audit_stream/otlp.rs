//! OpenTelemetry log records over OTLP/HTTP (protobuf).
//!
//! The exporter of the OpenTelemetry SDK takes records from memory, and drops them if a collector stays away. Entries are
//! therefore sent as they are stored, with the message types of the protocol.

use domain::audit::{AuditEntry, AuditOutcome};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

/// Path for logs in OTLP over HTTP.
const LOGS_PATH: &str = "/v1/logs";
/// Name of the scope of the records.
const SCOPE: &str = "berth.audit";

/// The collector of log records: its URL for logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpTarget(String);

impl std::str::FromStr for OtlpTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("\"{text}\" is no URL of a collector. Use e.g. http://localhost:4318.");
        let url = url::Url::parse(text).map_err(|_| invalid())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(invalid());
        }
        let base = text.trim_end_matches('/');
        Ok(Self(if base.ends_with(LOGS_PATH) { base.to_owned() } else { format!("{base}{LOGS_PATH}") }))
    }
}

/// A sender of log records.
pub(super) struct OtlpSender {
    target: OtlpTarget,
    http: reqwest::Client,
}

impl OtlpSender {
    pub(super) fn new(target: OtlpTarget) -> Result<Self, String> {
        Ok(Self { target, http: crate::telemetry::http_client()? })
    }

    pub(super) async fn send(&mut self, entries: &[AuditEntry]) -> Result<(), String> {
        let body = request(entries)?.encode_to_vec();
        let response = self
            .http
            .post(&self.target.0)
            .header(http::header::CONTENT_TYPE, "application/x-protobuf")
            .body(body)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("the collector responded {status}"));
        }
        let body = response.bytes().await.map_err(|error| error.to_string())?;
        // A collector that rejects records would reject them again.
        if let Ok(ExportLogsServiceResponse { partial_success: Some(partial) }) =
            ExportLogsServiceResponse::decode(body)
            && partial.rejected_log_records > 0
        {
            let (rejected, reason) = (partial.rejected_log_records, partial.error_message);
            tracing::error!(rejected, reason, "the collector rejected entries of the audit log");
        }
        Ok(())
    }
}

fn text(value: impl Into<String>) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(value.into())) })
}

fn attribute(key: &str, value: Option<AnyValue>) -> KeyValue {
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn request(entries: &[AuditEntry]) -> Result<ExportLogsServiceRequest, String> {
    let records = entries.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    let resource = Resource {
        attributes: vec![
            attribute("service.name", text("berth")),
            attribute("service.version", text(env!("CARGO_PKG_VERSION"))),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: SCOPE.to_owned(), ..InstrumentationScope::default() };
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records: records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() }];
    Ok(ExportLogsServiceRequest { resource_logs })
}

/// The record of an entry: the main fields as attributes, and the whole entry as JSON.
fn record(entry: &AuditEntry) -> Result<LogRecord, String> {
    let (severity, name) = match entry.outcome {
        AuditOutcome::Succeeded => (SeverityNumber::Info, "INFO"),
        AuditOutcome::Refused => (SeverityNumber::Warn, "WARN"),
    };
    let time = u64::try_from(entry.at.timestamp_millis()).unwrap_or_default() * 1_000_000;
    let seq = Some(AnyValue { value: Some(Value::IntValue(entry.seq)) });
    let attributes = vec![
        attribute("berth.audit.seq", seq),
        attribute("berth.audit.action", text(&entry.action)),
        attribute("berth.audit.outcome", text(entry.outcome.as_str())),
        attribute("berth.audit.target.type", text(&entry.target.kind)),
        attribute("berth.audit.target.id", text(&entry.target.id)),
        attribute("berth.audit.hash", text(&entry.hash)),
        attribute("user.name", text(entry.actor.clone().unwrap_or_default())),
        attribute("client.address", text(&entry.source)),
    ];
    Ok(LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        severity_number: severity.into(),
        severity_text: name.to_owned(),
        body: text(serde_json::to_string(entry).map_err(|error| error.to_string())?),
        attributes,
        event_name: entry.action.clone(),
        ..LogRecord::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_path_is_appended_to_a_base_url() {
        for (url, expected) in [
            ("http://localhost:4318", "http://localhost:4318/v1/logs"),
            ("https://otel.example.com/berth/", "https://otel.example.com/berth/v1/logs"),
            ("http://localhost:4318/v1/logs", "http://localhost:4318/v1/logs"),
        ] {
            assert_eq!(url.parse(), Ok(OtlpTarget(expected.to_owned())));
        }
        for invalid in ["", "localhost:4318", "udp://host"] {
            assert!(invalid.parse::<OtlpTarget>().unwrap_err().contains("http://localhost:4318"), "{invalid}");
        }
    }
}
