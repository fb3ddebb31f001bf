//! The body of a receiver's 2xx response (docs/contract.md §3).

use super::{AccessInfo, ProvisioningStatus};
use crate::event::EventType;
use serde_json::{Map, Value};

/// A receiver's 2xx response, parsed (docs/contract.md §3).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReceiverResponse {
    /// The provisioning status that it implies; `None` for events without an effect on provisioning.
    pub status: Option<ProvisioningStatus>,
    /// `message`, at most 500 characters.
    pub message: Option<String>,
    /// `details.estimated_ready_time`.
    pub estimated_ready_time: Option<String>,
    /// `details.access_info`.
    pub access_info: Option<AccessInfo>,
    /// The rest of `details` and unknown top-level fields, for display.
    pub details: Map<String, Value>,
}

impl ReceiverResponse {
    /// Parses the body of a 2xx response to `event`. Never fails: a body that is not a JSON object still means success,
    /// `ready` for created/updated (202: `provisioning`) and `released` for cancelled/expired.
    pub fn parse(event: EventType, status_code: u16, body: &[u8]) -> Self {
        parse_response(event, status_code, body)
    }
}

/// Maximum length of a stored message in characters.
pub(super) const MAX_MESSAGE: usize = 500;
/// Maximum length of texts in access info and of estimates, in characters.
const MAX_TEXT: usize = 1_000;

/// Makes a receiver's text storable: replaces NUL (PostgreSQL rejects it) and bounds the length.
fn clean(text: &str, max: usize) -> String {
    text.chars().map(|c| if c == '\0' { '\u{2400}' } else { c }).take(max).collect()
}

/// Cleans every text in a receiver's value. serde_json's recursion limit bounds the depth.
fn clean_value(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean(text, 4_096)),
        Value::Array(items) => Value::Array(items.iter().take(200).map(clean_value).collect()),
        Value::Object(fields) => Value::Object(clean_fields(fields)),
        other => other.clone(),
    }
}

pub(super) fn clean_fields(fields: &Map<String, Value>) -> Map<String, Value> {
    fields.iter().take(200).map(|(name, value)| (clean(name, 200), clean_value(value))).collect()
}

fn text(fields: &Map<String, Value>, name: &str, max: usize) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) if !text.is_empty() => Some(clean(text, max)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Splits `details` into access info, estimate and the remaining fields for display.
pub(super) fn split_details(details: &Map<String, Value>) -> (Option<AccessInfo>, Option<String>, Map<String, Value>) {
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
fn parse_response(event: EventType, status_code: u16, body: &[u8]) -> ReceiverResponse {
    let completed = if event.releases() { ProvisioningStatus::Released } else { ProvisioningStatus::Ready };
    let started = if event.releases() { ProvisioningStatus::Releasing } else { ProvisioningStatus::Provisioning };
    let by_code = if status_code == 202 { started } else { completed };
    let affects_provisioning = event.provisions() || event.releases();
    let mut response =
        ReceiverResponse { status: affects_provisioning.then_some(by_code), ..ReceiverResponse::default() };
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else { return response };
    if affects_provisioning {
        response.status = Some(match fields.get("status").and_then(Value::as_str) {
            Some("accepted" | "pending") => started,
            Some("error" | "failed" | "failure") => ProvisioningStatus::Failed,
            _ => by_code,
        });
    }
    response.message = text(&fields, "message", MAX_MESSAGE);
    if let Some(details) = fields.get("details").and_then(Value::as_object) {
        (response.access_info, response.estimated_ready_time, response.details) = split_details(details);
    }
    for (name, value) in &fields {
        let known = matches!(name.as_str(), "status" | "message" | "reservation_id")
            || (name == "details" && value.is_object());
        if !known && response.details.len() < 200 {
            response.details.entry(clean(name, 200)).or_insert_with(|| clean_value(value));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn success_with_access_info_means_ready() {
        let body = json!({"status": "success", "reservation_id": "rsv-1", "message": "Resource provisioned successfully", "details": {
            "cluster_id": "gpu-cluster-rsv-1",
            "access_info": {"ip_address": "192.168.100.10", "port": 22, "username": "user-alice", "connection_command": "ssh user-alice@192.168.100.10"},
            "estimated_ready_time": "5 minutes"}});
        let response = parse_response(EventType::ReservationCreated, 200, body.to_string().as_bytes());
        assert_eq!(response.status, Some(ProvisioningStatus::Ready));
        assert_eq!(response.estimated_ready_time.as_deref(), Some("5 minutes"));
        let access = response.access_info.unwrap();
        assert_eq!(access.connection_command.as_deref(), Some("ssh user-alice@192.168.100.10"));
        assert_eq!(access.port, Some(22));
        assert_eq!(response.details, *json!({"cluster_id": "gpu-cluster-rsv-1"}).as_object().unwrap());
    }

    #[test]
    fn response_status_by_event_and_code() {
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

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>, code in 200_u16..300) {
            for event in EventType::ALL {
                let response = parse_response(event, code, &body);
                prop_assert!(response.message.unwrap_or_default().chars().count() <= MAX_MESSAGE);
            }
        }

        #[test]
        fn stored_texts_contain_no_nul(text: String) {
            let body = json!({"status": text, "message": text, "details": {"access_info": {"username": text}, "other": [text]}, text.clone(): text});
            let response = parse_response(EventType::ReservationCreated, 200, body.to_string().as_bytes());
            prop_assert!(!serde_json::to_string(&response.details).unwrap().contains("\\u0000"));
        }
    }
}
