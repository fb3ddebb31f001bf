//! Conversion of column values: times as milliseconds, JSON as text.

use chrono::{DateTime, Utc};
use domain::Problem;

/// Milliseconds since the epoch as a time; out of range (never stored) is the epoch.
pub(crate) fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}

/// Parses a JSON column. Invalid JSON is a defect and is logged.
pub(crate) fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(not_read)
}

/// Logs why a stored JSON text cannot be read.
pub(crate) fn not_read(error: serde_json::Error) -> Problem {
    tracing::error!(%error, "stored JSON cannot be read");
    Problem::internal()
}

/// Serialises a value as JSON. A failure is a defect and is logged.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, Problem> {
    // Most values need at least a third of this, and reallocation costs more than serialisation.
    let mut json = Vec::with_capacity(512);
    serde_json::to_writer(&mut json, value).map_err(not_written)?;
    String::from_utf8(json).map_err(not_written)
}

/// Logs why a value cannot be stored as JSON.
pub(crate) fn not_written(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "JSON cannot be written");
    Problem::internal()
}
