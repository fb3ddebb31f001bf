//! Status updates that a receiver posts (docs/contract.md §4).

use super::ProvisioningStatus;
use super::receiver_response::{MAX_MESSAGE, clean_fields, without_bom};
use super::terminal_text::is_unsafe;
use crate::event::EventType;
use crate::id::{ReservationId, WebhookId};
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
    /// The `reservation_id` of the event; must be that of the URL. Required if the URL has no MAC.
    #[serde(default)]
    pub reservation_id: Option<ReservationId>,
    /// The `webhook_id` of the event; must be that of `X-Webhook-Id`.
    #[serde(default)]
    pub webhook_id: Option<WebhookId>,
}

impl StatusUpdate {
    /// Parses a raw body.
    ///
    /// # Errors
    /// 400 when it is not a JSON object, 422 naming each invalid field.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        parse_status_update(body)
    }

    /// Checks that the update is about this reservation and comes from this webhook. The signature covers only the body,
    /// so an update without its own reservation could be replayed to another one. `mac_is_valid` states that the URL has
    /// the MAC of both.
    ///
    /// # Errors
    /// 422 naming each field that differs, or `reservation_id` if neither the URL nor the body identifies the
    /// reservation.
    pub fn check_target(&self, id: &ReservationId, webhook: WebhookId, mac_is_valid: bool) -> Result<(), Problem> {
        let mut validator = Validator::new();
        match &self.reservation_id {
            Some(own) if own != id => {
                validator.error("reservation_id", "This is not the reservation of the URL. Post to its own status_url.");
            }
            None if !mac_is_valid => validator.error(
                "reservation_id",
                "The URL does not identify the reservation: it has no valid mac. Post to the unchanged status_url of the event, or add its reservation_id to the body.",
            ),
            _ => {}
        }
        if self.webhook_id.is_some_and(|own| own != webhook) {
            validator.error("webhook_id", "This is not the webhook of X-Webhook-Id. Use the webhook_id of the event.");
        }
        validator.finish()
    }
}

/// The status with this name, in any case, as in responses.
fn parse_status(text: &str) -> Option<ProvisioningStatus> {
    ProvisioningStatus::parse(&text.trim().to_ascii_lowercase())
}

/// Whether a body is an event of Berth. Both directions are signed with the same secret, so a captured event must not
/// count as a status update.
fn is_event(fields: &Map<String, Value>) -> bool {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    text("event_type").is_some_and(|name| EventType::parse(name).is_some())
        && text("event_id").is_some_and(|id| id.starts_with("evt_"))
}

/// Rejects access information with characters that could hide or add a command in the terminal of the user.
fn check_access_info(validator: &mut Validator, details: &Map<String, Value>) {
    let Some(info) = details.get("access_info").and_then(Value::as_object) else { return };
    for name in ["ip_address", "username", "connection_command"] {
        if info.get(name).and_then(Value::as_str).is_some_and(|text| text.chars().any(is_unsafe)) {
            validator.error(
                format!("details.access_info.{name}"),
                "Remove line breaks, control characters and bidirectional controls: users copy this text into a terminal.",
            );
        }
    }
}

/// The webhook id in a field: a whole number, also as text.
fn parse_webhook_id(value: &Value) -> Option<WebhookId> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
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
    if is_event(&fields) {
        validator
            .error("event_type", "This is an event of Berth, not a status update. Remove event_type and event_id.");
    }
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
        Some(Value::Object(details)) => {
            check_access_info(&mut validator, details);
            Some(clean_fields(details))
        }
        Some(_) => {
            validator.error("details", "Use a JSON object.");
            None
        }
    };
    let reservation_id = match fields.get("reservation_id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(ReservationId(id.clone())),
        Some(_) => {
            validator.error("reservation_id", "Use the reservation_id of the event.");
            None
        }
    };
    let webhook_id = match fields.get("webhook_id") {
        None | Some(Value::Null) => None,
        Some(value) => parse_webhook_id(value).or_else(|| {
            validator.error("webhook_id", "Use the webhook_id of the event.");
            None
        }),
    };
    validator.finish()?;
    match (status, timestamp) {
        (Some(status), Some(timestamp)) => {
            Ok(StatusUpdate { status, timestamp, progress, message, details, reservation_id, webhook_id })
        }
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

    #[test]
    fn status_update_must_name_its_reservation_and_webhook_or_have_a_mac() {
        let (mine, other) = (ReservationId("rsv-a".into()), ReservationId("rsv-b".into()));
        let fields = |more: Value, id: &ReservationId, mac: bool| -> Vec<String> {
            let mut body = json!({"status": "ready", "timestamp": "2026-01-01T00:00:00Z"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let checked = parse_status_update(body.to_string().as_bytes()).and_then(|u| u.check_target(id, 1, mac));
            checked.err().into_iter().flat_map(|problem| problem.errors).map(|error| error.field).collect()
        };
        assert_eq!(fields(json!({}), &mine, true), [""; 0]);
        assert_eq!(fields(json!({}), &mine, false), ["reservation_id"]);
        assert_eq!(fields(json!({"reservation_id": null, "webhook_id": null}), &mine, false), ["reservation_id"]);
        assert_eq!(fields(json!({"reservation_id": "rsv-a"}), &mine, false), [""; 0]);
        assert_eq!(fields(json!({"reservation_id": "rsv-a", "webhook_id": "1"}), &mine, false), [""; 0]);
        assert_eq!(fields(json!({"reservation_id": "rsv-a"}), &other, true), ["reservation_id"]);
        assert_eq!(fields(json!({"webhook_id": 2}), &mine, true), ["webhook_id"]);
        assert_eq!(
            fields(json!({"reservation_id": 1, "webhook_id": []}), &mine, true),
            ["reservation_id", "webhook_id"]
        );
        let command =
            json!({"details": {"access_info": {"connection_command": "ssh a\u{1b}[2K", "username": "a\u{202e}"}}});
        let invalid = ["details.access_info.username", "details.access_info.connection_command"];
        assert_eq!(fields(command, &mine, true), invalid);
        let event = json!({"event_type": "reservation.created", "event_id": "evt_1", "reservation_id": "rsv-a"});
        assert_eq!(fields(event, &mine, true), ["event_type"]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let _ = parse_status_update(&body);
        }
    }
}
