//! Reading what receivers say: answers (docs/contract.md §3) and status updates (§4).

use crate::event::EventType;
use crate::problem::{Problem, Validator};
use crate::provisioning::{AccessInfo, ProvisioningStatus, ReceiverResponse, StatusUpdate};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

/// The longest message kept, in characters.
const MAX_MESSAGE: usize = 500;
/// The longest text of access info and estimates, in characters.
const MAX_TEXT: usize = 1_000;

/// A receiver's text, fit to be kept and shown: NUL (which PostgreSQL refuses) replaced, length bounded.
fn clean(text: &str, max: usize) -> String {
    text.chars().map(|c| if c == '\0' { '\u{2400}' } else { c }).take(max).collect()
}

/// A receiver's value for display, with every text in it cleaned. Depth is bounded by serde_json's own limit.
fn clean_value(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean(text, 4_096)),
        Value::Array(items) => Value::Array(items.iter().take(200).map(clean_value).collect()),
        Value::Object(fields) => Value::Object(clean_fields(fields)),
        other => other.clone(),
    }
}

fn clean_fields(fields: &Map<String, Value>) -> Map<String, Value> {
    fields.iter().take(200).map(|(name, value)| (clean(name, 200), clean_value(value))).collect()
}

fn text(fields: &Map<String, Value>, name: &str, max: usize) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) if !text.is_empty() => Some(clean(text, max)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Takes access info and estimate out of `details`; the rest is for display.
pub fn split_details(details: &Map<String, Value>) -> (Option<AccessInfo>, Option<String>, Map<String, Value>) {
    let access_info = details.get("access_info").and_then(Value::as_object).map(|info| AccessInfo {
        ip_address: text(info, "ip_address", MAX_TEXT),
        port: info.get("port").and_then(|port| match port {
            Value::Number(number) => number.as_u64().and_then(|n| u16::try_from(n).ok()),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }),
        username: text(info, "username", MAX_TEXT),
        connection_command: text(info, "connection_command", MAX_TEXT),
    });
    let mut rest = clean_fields(details);
    let access_info = access_info.filter(|info| *info != AccessInfo::default());
    if access_info.is_some() {
        rest.remove("access_info");
    }
    let estimate = text(details, "estimated_ready_time", MAX_TEXT);
    if estimate.is_some() {
        rest.remove("estimated_ready_time");
    }
    (access_info, estimate, rest)
}

/// See [`ReceiverResponse::parse`].
pub fn parse_response(event: EventType, status_code: u16, body: &[u8]) -> ReceiverResponse {
    let done = if event.releases() { ProvisioningStatus::Released } else { ProvisioningStatus::Ready };
    let begun = if event.releases() { ProvisioningStatus::Releasing } else { ProvisioningStatus::Provisioning };
    let by_code = if status_code == 202 { begun } else { done };
    let says_something = event.provisions() || event.releases();
    let mut answer = ReceiverResponse { status: says_something.then_some(by_code), ..ReceiverResponse::default() };
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else { return answer };
    if says_something {
        answer.status = Some(match fields.get("status").and_then(Value::as_str) {
            Some("accepted" | "pending") => begun,
            Some("error" | "failed" | "failure") => ProvisioningStatus::Failed,
            _ => by_code,
        });
    }
    answer.message = text(&fields, "message", MAX_MESSAGE);
    if let Some(details) = fields.get("details").and_then(Value::as_object) {
        (answer.access_info, answer.estimated_ready_time, answer.details) = split_details(details);
    }
    for (name, value) in &fields {
        let known = matches!(name.as_str(), "status" | "message" | "reservation_id")
            || (name == "details" && value.is_object());
        if !known && answer.details.len() < 200 {
            answer.details.entry(clean(name, 200)).or_insert_with(|| clean_value(value));
        }
    }
    answer
}

/// See [`StatusUpdate::parse`].
///
/// # Errors
/// 400 when it is not a JSON object, 422 naming each invalid field.
pub fn parse_status_update(body: &[u8]) -> Result<StatusUpdate, Problem> {
    let fields = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return Err(Problem::malformed("The body must be a JSON object.")),
        Err(error) => {
            return Err(Problem::malformed(format!(
                "The body is not JSON (line {}, column {}).",
                error.line(),
                error.column()
            )));
        }
    };
    let mut validator = Validator::new();
    let status = match fields.get("status").and_then(Value::as_str).and_then(ProvisioningStatus::parse) {
        Some(status) if status != ProvisioningStatus::Waiting => Some(status),
        _ => {
            validator.error("status", "Use provisioning, ready, failed, releasing or released.");
            None
        }
    };
    let timestamp = match fields.get("timestamp").and_then(Value::as_str).map(DateTime::parse_from_rfc3339) {
        Some(Ok(timestamp)) => Some(timestamp.with_timezone(&Utc)),
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
    fn the_guides_answer_means_ready_with_access() {
        let body = json!({"status": "success", "reservation_id": "rsv-1", "message": "Resource provisioned successfully", "details": {
            "cluster_id": "gpu-cluster-rsv-1",
            "access_info": {"ip_address": "192.168.100.10", "port": 22, "username": "user-alice", "connection_command": "ssh user-alice@192.168.100.10"},
            "estimated_ready_time": "5 minutes"}});
        let answer = parse_response(EventType::ReservationCreated, 200, body.to_string().as_bytes());
        assert_eq!(answer.status, Some(ProvisioningStatus::Ready));
        assert_eq!(answer.estimated_ready_time.as_deref(), Some("5 minutes"));
        let access = answer.access_info.unwrap();
        assert_eq!(access.connection_command.as_deref(), Some("ssh user-alice@192.168.100.10"));
        assert_eq!(access.port, Some(22));
        assert_eq!(answer.details, *json!({"cluster_id": "gpu-cluster-rsv-1"}).as_object().unwrap());
    }

    #[test]
    fn meanings() {
        let read = |event, code, body: &str| parse_response(event, code, body.as_bytes()).status;
        use EventType::*;
        use ProvisioningStatus::*;
        assert_eq!(read(ReservationCreated, 202, ""), Some(Provisioning));
        assert_eq!(read(ReservationCreated, 200, r#"{"status":"accepted"}"#), Some(Provisioning));
        assert_eq!(read(ReservationUpdated, 200, r#"{"status":"pending"}"#), Some(Provisioning));
        assert_eq!(read(ReservationCreated, 200, "<html>"), Some(Ready));
        assert_eq!(read(ReservationCreated, 200, r#"{"status":"failed","message":"no GPUs"}"#), Some(Failed));
        assert_eq!(read(ReservationCancelled, 200, r#"{"status":"success"}"#), Some(Released));
        assert_eq!(read(ReservationExpired, 202, ""), Some(Releasing));
        assert_eq!(read(AccessRequested, 200, r#"{"status":"success"}"#), None);
    }

    #[test]
    fn faults_of_a_status_update_are_named() {
        let fields = |body: Value| match parse_status_update(body.to_string().as_bytes()) {
            Ok(_) => Vec::new(),
            Err(problem) => problem.errors.into_iter().map(|e| e.field).collect::<Vec<_>>(),
        };
        assert_eq!(fields(json!({"status": "ready", "timestamp": "2026-01-01T00:00:00Z", "progress": 100})), [""; 0]);
        assert_eq!(
            fields(json!({"status": "waiting", "timestamp": "now", "progress": 101, "message": 1, "details": []})),
            ["status", "timestamp", "progress", "message", "details"]
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
        fn arbitrary_bytes_never_panic(body: Vec<u8>, code in 200_u16..300) {
            for event in EventType::ALL {
                let answer = parse_response(event, code, &body);
                prop_assert!(answer.message.unwrap_or_default().chars().count() <= MAX_MESSAGE);
            }
            let _ = parse_status_update(&body);
        }

        #[test]
        fn arbitrary_texts_are_kept_without_nul(text: String) {
            let body = json!({"status": text, "message": text, "details": {"access_info": {"username": text}, "other": [text]}, text.clone(): text});
            let answer = parse_response(EventType::ReservationCreated, 200, body.to_string().as_bytes());
            prop_assert!(!serde_json::to_string(&answer.details).unwrap().contains("\\u0000"));
        }
    }
}
