//! The body of a receiver's 2xx response (docs/contract.md §3).

use super::terminal_text::sanitize;
use super::{AccessInfo, ProvisioningStatus};
use crate::event::EventType;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A receiver's 2xx response, parsed (docs/contract.md §3): what it does to a reservation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReceiverResponse {
    /// The provisioning status that it implies; null for events without an effect on provisioning.
    pub status: Option<ProvisioningStatus>,
    /// `message`, at most 500 characters.
    pub message: Option<String>,
    /// `estimated_ready_time`, from `details` or the top level.
    pub estimated_ready_time: Option<String>,
    /// `access_info`, from `details` or the top level.
    pub access_info: Option<AccessInfo>,
    /// The rest of `details` and unknown top-level fields, for display.
    pub details: Map<String, Value>,
    /// Why the body could not be interpreted. It was intended as JSON, so its success is doubtful: the status is
    /// `provisioning` or `releasing` until a status update.
    pub problem: Option<String>,
}

impl ReceiverResponse {
    /// Parses the body of a 2xx response to `event`. `is_json` states that its content type is JSON.
    ///
    /// Never fails. An empty body, one that is not intended as JSON, and an object without `status` mean success: `ready`
    /// for created/updated (202: `provisioning`) and `released` for cancelled/expired. A body is intended as JSON by its
    /// content type, or because it begins with `{` ([`is_intended_as_json`]).
    pub fn parse(event: EventType, status_code: u16, is_json: bool, body: &[u8]) -> Self {
        parse_response(event, status_code, is_json, body)
    }

    /// A 2xx response to `event` whose body cannot be decoded, for the reason `problem`.
    pub fn undecodable(event: EventType, problem: &str) -> Self {
        if !event.provisions() && !event.releases() {
            return Self::default();
        }
        Self { status: Some(started(event)), problem: Some(clean(problem, MAX_MESSAGE)), ..Self::default() }
    }
}

/// The status of a service that has taken up an event and not completed it.
fn started(event: EventType) -> ProvisioningStatus {
    if event.releases() { ProvisioningStatus::Releasing } else { ProvisioningStatus::Provisioning }
}

/// Whether a `Content-Type` is `application/json` or has the suffix `+json` (RFC 6839 §3.1).
pub fn is_json_content_type(value: &str) -> bool {
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// Whether a body is intended as JSON: by its content type, or because it begins with `{` (docs/contract.md §3).
pub fn is_intended_as_json(is_json: bool, body: &[u8]) -> bool {
    let body = without_bom(body).trim_ascii_start();
    !body.is_empty() && (is_json || body.starts_with(b"{"))
}

/// Removes a byte order mark, which some frameworks write before JSON in UTF-8 (RFC 8259 §8.1 lets a parser ignore it).
pub(super) fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
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

/// A text that people copy into a terminal.
fn terminal_text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    text(fields, name, MAX_TEXT).map(|text| sanitize(&text))
}

/// Splits `details` into access info, estimate and the remaining fields for display.
pub(super) fn split_details(details: &Map<String, Value>) -> (Option<AccessInfo>, Option<String>, Map<String, Value>) {
    let access_info = details.get("access_info").and_then(Value::as_object).map(|info| AccessInfo {
        ip_address: terminal_text(info, "ip_address"),
        port: info.get("port").and_then(|port| match port {
            Value::Number(number) => number.as_u64().and_then(|n| u16::try_from(n).ok()),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }),
        username: terminal_text(info, "username"),
        connection_command: terminal_text(info, "connection_command"),
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

/// The meaning of `status` in a response.
enum StatusWord {
    Completed,
    Started,
    Failed,
}

/// The meaning of a status word, in any case. The names of the provisioning statuses (docs/contract.md §4) are accepted
/// too, where they fit the event.
fn status_word(event: EventType, word: &str) -> Option<StatusWord> {
    let word = word.trim().to_ascii_lowercase();
    Some(match (word.as_str(), event.releases()) {
        ("success", _) | ("ready", false) | ("released", true) => StatusWord::Completed,
        ("accepted" | "pending", _) | ("provisioning", false) | ("releasing", true) => StatusWord::Started,
        ("error" | "failed" | "failure", _) => StatusWord::Failed,
        _ => return None,
    })
}

/// Reads a body. `Ok(None)` for one that is not intended as JSON or is not an object.
///
/// # Errors
/// A sentence, for a body that is intended as JSON and is not.
fn fields_of(is_json: bool, body: &[u8]) -> Result<Option<Map<String, Value>>, String> {
    if !is_intended_as_json(is_json, body) {
        return Ok(None);
    }
    match serde_json::from_slice(without_bom(body)) {
        Ok(Value::Object(fields)) => Ok(Some(fields)),
        Ok(_) => Ok(None),
        Err(error) => Err(format!("The response is not valid JSON. {}", crate::json_error::describe(&error))),
    }
}

/// See [`ReceiverResponse::parse`].
fn parse_response(event: EventType, status_code: u16, is_json: bool, body: &[u8]) -> ReceiverResponse {
    let completed = if event.releases() { ProvisioningStatus::Released } else { ProvisioningStatus::Ready };
    let started = started(event);
    let by_code = if status_code == 202 { started } else { completed };
    let affects_provisioning = event.provisions() || event.releases();
    let mut response =
        ReceiverResponse { status: affects_provisioning.then_some(by_code), ..ReceiverResponse::default() };
    let fields = match fields_of(is_json, body) {
        Ok(Some(fields)) => fields,
        Ok(None) => return response,
        Err(problem) => {
            if affects_provisioning {
                response.status = Some(started);
                response.problem = Some(problem.chars().take(MAX_MESSAGE).collect());
            }
            return response;
        }
    };
    if affects_provisioning {
        let word = match fields.get("status") {
            None | Some(Value::Null) => Some(StatusWord::Completed),
            Some(Value::String(word)) => status_word(event, word),
            Some(_) => None,
        };
        response.status = Some(match word {
            Some(StatusWord::Completed) => by_code,
            Some(StatusWord::Started) => started,
            Some(StatusWord::Failed) => ProvisioningStatus::Failed,
            None => started,
        });
        response.problem = word.is_none().then(|| {
            let word = fields.get("status").map(|value| clean(&value.to_string(), 100)).unwrap_or_default();
            format!("The response has the unknown status {word}. Use success, accepted or failed.")
        });
    }
    response.message = text(&fields, "message", MAX_MESSAGE);
    if let Some(details) = fields.get("details").and_then(Value::as_object) {
        (response.access_info, response.estimated_ready_time, response.details) = split_details(details);
    }
    // Some services send the fields of `details` next to `status`.
    let (access_info, estimate, rest) = split_details(&fields);
    response.access_info = response.access_info.or(access_info);
    response.estimated_ready_time = response.estimated_ready_time.or(estimate);
    for (name, value) in rest {
        let known = matches!(name.as_str(), "status" | "message" | "reservation_id")
            || (name == "details" && value.is_object());
        if !known && response.details.len() < 200 {
            response.details.entry(name).or_insert(value);
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
        let response = parse_response(EventType::ReservationCreated, 200, true, body.to_string().as_bytes());
        assert_eq!(response.status, Some(ProvisioningStatus::Ready));
        assert_eq!(response.estimated_ready_time.as_deref(), Some("5 minutes"));
        let access = response.access_info.unwrap();
        assert_eq!(access.connection_command.as_deref(), Some("ssh user-alice@192.168.100.10"));
        assert_eq!(access.port, Some(22));
        assert_eq!(response.details, *json!({"cluster_id": "gpu-cluster-rsv-1"}).as_object().unwrap());
    }

    #[test]
    fn response_status_by_event_and_code() {
        let read = |event, code, body: &str| parse_response(event, code, false, body.as_bytes()).status;
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
    fn a_doubtful_success_is_not_ready() {
        use ProvisioningStatus::*;
        let read = |event, code, is_json, body: &[u8]| {
            let response = parse_response(event, code, is_json, body);
            (response.status.unwrap(), response.problem.is_some())
        };
        let created = |is_json, body: &[u8]| read(EventType::ReservationCreated, 200, is_json, body);
        assert_eq!(created(true, br#"{"status":"FAILED"}"#), (Failed, false));
        assert_eq!(created(true, b"\xEF\xBB\xBF{\"status\":\"failed\"}"), (Failed, false));
        assert_eq!(created(false, b"\n {\"status\":\" Failure \"}"), (Failed, false));
        assert_eq!(created(true, br#"{"status":"exploded"}"#), (Provisioning, true));
        assert_eq!(created(true, br#"{"status":5}"#), (Provisioning, true));
        assert_eq!(created(true, br#"{"status":"released"}"#), (Provisioning, true));
        assert_eq!(created(true, b"{\"status\":"), (Provisioning, true));
        assert_eq!(created(false, b"{\"status\":"), (Provisioning, true));
        assert_eq!(created(true, b"OK"), (Provisioning, true));
        assert_eq!(created(true, b"{\"status\":\"failed\", \"message\":\"\xff\"}"), (Provisioning, true));
        let cancelled = |body: &[u8]| read(EventType::ReservationCancelled, 200, true, body);
        assert_eq!(cancelled(b"{"), (Releasing, true));
        assert_eq!(cancelled(br#"{"status":"ready"}"#), (Releasing, true));
        // These keep their meaning.
        for (is_json, body) in [
            (false, "OK"),
            (false, "[OK] done"),
            (false, "<html>"),
            (true, ""),
            (true, " \n"),
            (true, "null"),
            (true, "[]"),
            (true, "{}"),
        ] {
            assert_eq!(created(is_json, body.as_bytes()), (Ready, false), "{body:?}");
        }
        assert_eq!(created(true, br#"{"status":null}"#), (Ready, false));
        assert_eq!(created(true, br#"{"status":"Success"}"#), (Ready, false));
        assert_eq!(created(true, br#"{"status":"ready"}"#), (Ready, false));
        let request = parse_response(EventType::AccessRequested, 200, true, b"{");
        assert_eq!((request.status, request.problem), (None, None));
    }

    #[test]
    fn estimate_and_access_info_next_to_the_status_are_read() {
        let body =
            json!({"status": "success", "estimated_ready_time": "5 minutes", "access_info": {"port": 22}, "rack": 3});
        let response = parse_response(EventType::ReservationCreated, 200, true, body.to_string().as_bytes());
        assert_eq!(response.estimated_ready_time.as_deref(), Some("5 minutes"));
        assert_eq!(response.access_info.unwrap().port, Some(22));
        assert_eq!(response.details, *json!({"rack": 3}).as_object().unwrap());
    }

    #[test]
    fn json_content_types() {
        for value in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json", "text/json"] {
            assert!(is_json_content_type(value), "{value}");
        }
        for value in ["", "text/plain", "text/html; x=application/json", "application/jsonl"] {
            assert!(!is_json_content_type(value), "{value}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>, code in 200_u16..300) {
            for event in EventType::ALL {
                let response = parse_response(event, code, code % 2 == 0, &body);
                prop_assert!(response.message.unwrap_or_default().chars().count() <= MAX_MESSAGE);
            }
        }

        #[test]
        fn stored_texts_contain_no_nul(text: String) {
            let body = json!({"status": text, "message": text, "details": {"access_info": {"username": text}, "other": [text]}, text.clone(): text});
            let response = parse_response(EventType::ReservationCreated, 200, true, body.to_string().as_bytes());
            prop_assert!(!serde_json::to_string(&response.details).unwrap().contains("\\u0000"));
        }
    }
}
