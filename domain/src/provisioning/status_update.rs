//! Status updates that a receiver posts (docs/contract.md §4).

use super::ProvisioningStatus;
use super::receiver_response::{MAX_MESSAGE, clean_fields, without_bom};
use crate::problem::{Problem, Validator};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The body of `POST /api/v1/reservations/{id}/status` (docs/contract.md §4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusUpdate {
    /// The new status; not `waiting`.
    pub status: ProvisioningStatus,
    /// The receiver's time of the change; at most 5 minutes from the server's clock.
    pub timestamp: DateTime<Utc>,
    /// Progress in percent, 0 to 100.
    #[serde(default)]
    pub progress: Option<u8>,
    /// At most 500 characters.
    #[serde(default)]
    pub message: Option<String>,
    /// Details as in a receiver's response.
    #[serde(default)]
    pub details: Option<Map<String, Value>>,
}

impl StatusUpdate {
    /// Parses a raw body.
    ///
    /// # Errors
    /// 400 when it is not a JSON object, 422 naming each invalid field.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        parse_status_update(body)
    }
}

/// The status with this name, in any case, as in responses.
fn parse_status(text: &str) -> Option<ProvisioningStatus> {
    ProvisioningStatus::parse(&text.trim().to_ascii_lowercase())
}

/// See [`StatusUpdate::parse`].
///
/// # Errors
/// 400 when it is not a JSON object, 422 naming each invalid field.
fn parse_status_update(body: &[u8]) -> Result<StatusUpdate, Problem> {
    let fields = match serde_json::from_slice::<Value>(without_bom(body)) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return Err(Problem::malformed("The body must be a JSON object.")),
        Err(error) => return Err(Problem::malformed(crate::json_error::describe(&error))),
    };
    let mut validator = Validator::new();
    let status = match fields.get("status").and_then(Value::as_str).and_then(parse_status) {
        Some(status) if status != ProvisioningStatus::Waiting => Some(status),
        _ => {
            validator.error("status", "Use provisioning, ready, failed, releasing or released.");
            None
        }
    };
    let timestamp = match fields.get("timestamp").and_then(Value::as_str).map(DateTime::parse_from_rfc3339) {
        Some(Ok(timestamp)) => Some(crate::timestamp::to_millis(timestamp.with_timezone(&Utc))),
        _ => {
            validator.error("timestamp", "Give the time as RFC 3339, e.g. 2026-01-31T12:00:00Z.");
            None
        }
    };
    let progress = match fields.get("progress") {
        None | Some(Value::Null) => None,
        Some(value) => match value.as_u64().filter(|p| *p <= 100) {
            Some(progress) => Some(progress as u8),
            None => {
                validator.error("progress", "Use a whole number from 0 to 100.");
                None
            }
        },
    };
    let message = match fields.get("message") {
        None | Some(Value::Null) => None,
        Some(Value::String(message)) => {
            validator.check("message", crate::validation::text(message, MAX_MESSAGE));
            Some(message.clone())
        }
        Some(_) => {
            validator.error("message", "Use a text of at most 500 characters.");
            None
        }
    };
    let details = match fields.get("details") {
        None | Some(Value::Null) => None,
        Some(Value::Object(details)) => Some(clean_fields(details)),
        Some(_) => {
            validator.error("details", "Use a JSON object.");
            None
        }
    };
    validator.finish()?;
    match (status, timestamp) {
        (Some(status), Some(timestamp)) => Ok(StatusUpdate { status, timestamp, progress, message, details }),
        _ => Err(Problem::malformed("The status update is incomplete.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn each_invalid_field_of_a_status_update_is_named() {
        let fields = |body: Value| match parse_status_update(body.to_string().as_bytes()) {
            Ok(_) => Vec::new(),
            Err(problem) => problem.errors.into_iter().map(|e| e.field).collect::<Vec<_>>(),
        };
        assert_eq!(fields(json!({"status": "ready", "timestamp": "2026-01-01T00:00:00Z", "progress": 100})), [""; 0]);
        assert_eq!(
            fields(json!({"status": "waiting", "timestamp": "now", "progress": 101, "message": 1, "details": []})),
            ["status", "timestamp", "progress", "message", "details"]
        );
        assert_eq!(
            parse_status_update(b"\xEF\xBB\xBF{\"status\":\"READY\",\"timestamp\":\"2026-01-01T00:00:00Z\"}")
                .unwrap()
                .status,
            ProvisioningStatus::Ready
        );
        assert_eq!(parse_status_update(b"[]").unwrap_err().kind.status(), 400);
        assert_eq!(parse_status_update(b"{").unwrap_err().kind.status(), 400);
        assert_eq!(
            fields(json!({"status": "ready", "timestamp": "2026-01-01T00:00:00Z", "message": "x".repeat(501)})),
            ["message"]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let _ = parse_status_update(&body);
        }
    }
}
