//! The classic payload format, for receivers of the older reservation system (docs/contract.md §8): its events, its signature,
//! and the call-backs of its receivers.

use crate::change::Severity;
use crate::event::{EventType, ReservationBody};
use crate::id::{ReservationId, ResourceId, WebhookId};
use crate::problem::{Problem, Validator};
use crate::provisioning::ProvisioningStatus;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

/// The site of every resource: Berth has no sites.
const SITE_ID: &str = "berth";
const SITE_NAME: &str = "Berth";
/// Maximum length of a stored text of a call-back in characters.
const MAX_TEXT: usize = 500;
/// Numbers of reservations have 53 bits, so that every JSON parser reads them exactly.
const NUMBER_MASK: u128 = (1 << 53) - 1;

/// The name of an event; `None` for events that the format does not have.
pub fn event_name(event: EventType) -> Option<&'static str> {
    match event {
        EventType::ReservationCreated => Some("EVENT_START"),
        EventType::ReservationExpired => Some("EVENT_END"),
        EventType::ReservationCancelled => Some("EVENT_DELETED"),
        EventType::ReservationUpdated
        | EventType::AccessRequested
        | EventType::ReservationStarted
        | EventType::ReservationEnding => None,
    }
}

/// The number of a reservation: the older system has numeric ids. It is derived from the id, and is the same in each event.
pub fn number_of(id: &ReservationId) -> u64 {
    let text = id.as_str();
    let ulid = text.split_once('-').and_then(|(_, ulid)| ulid::Ulid::from_string(ulid).ok());
    // FNV-1a, for ids that are no ULIDs.
    let hash = || {
        text.bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    };
    let bits = ulid.map_or_else(|| u128::from(hash()), |ulid| ulid.0);
    u64::try_from(bits & NUMBER_MASK).unwrap_or_default().max(1)
}

/// `EVENT_START` and `EVENT_END`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reserved<'a> {
    event_type: &'static str,
    timestamp: DateTime<Utc>,
    event_id: String,
    webhook_id: WebhookId,
    user_id: &'a str,
    username: &'a str,
    email: &'a str,
    ssh_public_key: &'a str,
    event_title: &'a str,
    event_description: &'static str,
    event_start: DateTime<Utc>,
    event_end: DateTime<Utc>,
    custom_parameters: String,
    resource_id: ResourceId,
    resource_name: &'a str,
    resource_type: &'a str,
    resource_specs: &'a str,
    resource_location: &'a str,
    site_id: &'static str,
    site_name: &'static str,
}

/// `EVENT_DELETED`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Deleted<'a> {
    event_type: &'static str,
    timestamp: DateTime<Utc>,
    webhook_id: String,
    data: DeletedData<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeletedData<'a> {
    id: u64,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    resource: DeletedResource<'a>,
    keycloak_id: &'a str,
}

#[derive(Serialize)]
struct DeletedResource<'a> {
    id: ResourceId,
    name: &'a str,
}

/// The body of an event; `null` for an event that the format does not have, which is not sent.
///
/// # Errors
/// When the event has no JSON form.
pub(crate) fn body(body: &ReservationBody) -> serde_json::Result<String> {
    let Some(event_type) = event_name(body.event_type) else { return Ok("null".to_owned()) };
    if body.event_type == EventType::ReservationCancelled {
        return serde_json::to_string(&Deleted {
            event_type,
            timestamp: body.timestamp,
            webhook_id: body.webhook_id.to_string(),
            data: DeletedData {
                id: number_of(&body.reservation_id),
                start: body.start_time,
                end: body.end_time,
                resource: DeletedResource { id: body.resource_id, name: &body.resource_name },
                keycloak_id: &body.user_id,
            },
        });
    }
    let details = body.resource_details.as_deref();
    let type_name = details.map_or("", |details| details.type_name.as_str());
    serde_json::to_string(&Reserved {
        event_type,
        timestamp: body.timestamp,
        event_id: number_of(&body.reservation_id).to_string(),
        webhook_id: body.webhook_id,
        user_id: &body.user_id,
        username: &body.user_id,
        email: &body.user_email,
        ssh_public_key: &body.user_ssh_key,
        event_title: &body.title,
        event_description: "",
        event_start: body.start_time,
        event_end: body.end_time,
        custom_parameters: serde_json::to_string(&body.additional_config)?,
        resource_id: body.resource_id,
        resource_name: &body.resource_name,
        resource_type: if type_name.is_empty() { &body.resource_type } else { type_name },
        resource_specs: details.map_or("", |details| &details.specs),
        resource_location: details.map_or("", |details| &details.location),
        site_id: SITE_ID,
        site_name: SITE_NAME,
    })
}

/// The webhook that a call-back names, before its signature is verified.
pub fn webhook_of_callback(body: &[u8]) -> Option<WebhookId> {
    webhook_id(&serde_json::from_slice::<Map<String, Value>>(body).ok()?)
}

/// A whole number, also as text.
fn webhook_id(fields: &Map<String, Value>) -> Option<WebhookId> {
    let value = fields.get("webhookId")?;
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn fields_of(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Problem::malformed("The body must be a JSON object.")),
        Err(error) => Err(Problem::malformed(crate::json_error::describe(&error))),
    }
}

/// A text without control characters, cut; also of a number.
fn text_of(fields: &Map<String, Value>, name: &str) -> Option<String> {
    let text = match fields.get(name)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The time that a call-back states in its metadata, if it does.
fn timestamp_of(fields: &Map<String, Value>) -> Option<DateTime<Utc>> {
    let metadata = fields.get("metadata").and_then(Value::as_object);
    let text = |fields: &Map<String, Value>| text_of(fields, "timestamp");
    let text = metadata.and_then(text).or_else(|| text(fields))?;
    DateTime::parse_from_rfc3339(&text).ok().map(|at| at.with_timezone(&Utc))
}

/// Body of `POST /api/webhooks/log`: how a receiver has processed an event.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceiverLog {
    /// The event, e.g. `EVENT_START`.
    pub event_type: String,
    /// Whether it was processed.
    pub success: Option<bool>,
    /// The status code of the receiver's response.
    pub status_code: Option<i64>,
    /// Its text, cut.
    pub response: Option<String>,
    /// The error in its metadata, cut.
    pub error: Option<String>,
    /// The time in its metadata.
    pub timestamp: Option<DateTime<Utc>>,
}

impl ReceiverLog {
    /// Parses a call-back.
    ///
    /// # Errors
    /// 400 when it is not a JSON object, 422 without `eventType`.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        let fields = fields_of(body)?;
        let event_type = text_of(&fields, "eventType");
        let mut validator = Validator::new();
        if event_type.is_none() {
            validator.error("eventType", "Name the event, e.g. EVENT_START.");
        }
        validator.finish()?;
        let metadata = fields.get("metadata").and_then(Value::as_object);
        Ok(Self {
            event_type: event_type.unwrap_or_default(),
            success: fields.get("success").and_then(Value::as_bool),
            status_code: fields.get("statusCode").and_then(Value::as_i64),
            response: text_of(&fields, "response"),
            error: metadata.and_then(|metadata| text_of(metadata, "errorMessage")),
            timestamp: timestamp_of(&fields),
        })
    }
}

/// Body of `POST /api/notifications/webhook`: a message of a receiver to the user of a reservation.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceiverNotification {
    /// The user.
    pub user_id: String,
    /// The message, cut.
    pub message: String,
    /// `type`: `SUCCESS`, `ERROR`, `WARNING` or another one.
    pub severity: Severity,
    /// The effect of `eventType` on the provisioning status.
    pub status: Option<ProvisioningStatus>,
    /// The event id of the reservation, or its id in Berth.
    pub event_id: Option<String>,
    /// The name of the resource.
    pub resource_name: Option<String>,
    /// The time in its metadata.
    pub timestamp: Option<DateTime<Utc>>,
}

impl ReceiverNotification {
    /// Parses a call-back.
    ///
    /// # Errors
    /// 400 when it is not a JSON object, 422 naming each missing field.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        let fields = fields_of(body)?;
        let (user_id, message) = (text_of(&fields, "userId"), text_of(&fields, "message"));
        let mut validator = Validator::new();
        if user_id.is_none() {
            validator.error("userId", "Use the userId of the event.");
        }
        if message.is_none() {
            validator.error("message", "Write a message of at most 500 characters.");
        }
        validator.finish()?;
        let severity = match text_of(&fields, "type").unwrap_or_default().to_ascii_uppercase().as_str() {
            "ERROR" => Severity::Error,
            "WARNING" => Severity::Warning,
            _ => Severity::Info,
        };
        let status = match text_of(&fields, "eventType").unwrap_or_default().as_str() {
            "PROVISIONING_COMPLETED" => Some(ProvisioningStatus::Ready),
            "PROVISIONING_FAILED" => Some(ProvisioningStatus::Failed),
            _ => None,
        };
        Ok(Self {
            user_id: user_id.unwrap_or_default(),
            message: message.unwrap_or_default(),
            severity,
            status,
            event_id: text_of(&fields, "eventId"),
            resource_name: text_of(&fields, "resourceId"),
            timestamp: timestamp_of(&fields),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_catalogue::example;
    use crate::payload::PayloadFormat;
    use proptest::prelude::*;
    use serde_json::json;

    fn sent(event: EventType) -> Value {
        let body = PayloadFormat::Classic.body(&example(event), "https://berth.example.com").unwrap();
        serde_json::from_str(&body).unwrap()
    }

    #[test]
    fn start_and_end_have_the_fields_and_types_of_the_older_system() {
        for (event, name) in
            [(EventType::ReservationCreated, "EVENT_START"), (EventType::ReservationExpired, "EVENT_END")]
        {
            let sent = sent(event);
            let names: Vec<&str> = sent.as_object().unwrap().keys().map(String::as_str).collect();
            let mut expected = vec![
                "eventType",
                "timestamp",
                "eventId",
                "webhookId",
                "userId",
                "username",
                "email",
                "sshPublicKey",
                "eventTitle",
                "eventDescription",
                "eventStart",
                "eventEnd",
                "customParameters",
                "resourceId",
                "resourceName",
                "resourceType",
                "resourceSpecs",
                "resourceLocation",
                "siteId",
                "siteName",
            ];
            let (mut names, sorted) = (names, &mut expected);
            names.sort_unstable();
            sorted.sort_unstable();
            assert_eq!(names, *sorted);
            assert_eq!(sent["eventType"], name);
            assert!(sent["eventId"].as_str().unwrap().bytes().all(|byte| byte.is_ascii_digit()));
            assert!(sent["webhookId"].is_i64() && sent["resourceId"].is_i64());
            assert_eq!(sent["resourceType"], "GPU cluster", "the display name");
            let parameters: Value = serde_json::from_str(sent["customParameters"].as_str().unwrap()).unwrap();
            assert_eq!(parameters, json!({"gpu_type": "nvidia-a100", "gpu_count": 4}));
        }
    }

    #[test]
    fn deletion_has_its_own_form_with_the_same_reservation() {
        let deleted = sent(EventType::ReservationCancelled);
        let start = sent(EventType::ReservationCreated);
        assert_eq!(deleted["eventType"], "EVENT_DELETED");
        assert!(deleted["webhookId"].is_string());
        assert_eq!(deleted["data"]["id"].as_u64().unwrap().to_string(), start["eventId"].as_str().unwrap());
        assert_eq!(deleted["data"]["resource"], json!({"id": start["resourceId"], "name": start["resourceName"]}));
        assert_eq!(deleted["data"]["keycloakId"], start["userId"]);
        assert_eq!((&deleted["data"]["start"], &deleted["data"]["end"]), (&start["eventStart"], &start["eventEnd"]));
    }

    #[test]
    fn call_backs_of_receivers_are_read() {
        let body = json!({
            "webhookId": "7", "userId": "alice", "message": "Done\u{0}.", "type": "SUCCESS", "eventId": "42",
            "resourceId": "gpu-node-07", "eventType": "PROVISIONING_COMPLETED",
            "metadata": {"timestamp": "2030-01-15T09:00:00.5+00:00"},
        })
        .to_string();
        assert_eq!(webhook_of_callback(body.as_bytes()), Some(7));
        let read = ReceiverNotification::parse(body.as_bytes()).unwrap();
        assert_eq!(
            (read.message.as_str(), read.severity, read.status),
            ("Done .", Severity::Info, Some(ProvisioningStatus::Ready))
        );
        assert!(read.timestamp.is_some());
        let missing = ReceiverNotification::parse(b"{}").unwrap_err();
        assert_eq!(missing.errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["userId", "message"]);
        let log =
            json!({"webhookId": 7, "eventType": "EVENT_START", "success": true, "statusCode": 200, "response": "OK"});
        let log = ReceiverLog::parse(log.to_string().as_bytes()).unwrap();
        assert_eq!((log.success, log.status_code, log.response.as_deref()), (Some(true), Some(200), Some("OK")));
        assert_eq!(ReceiverLog::parse(b"[]").unwrap_err().kind.status(), 400);
    }

    proptest! {
        #[test]
        fn arbitrary_call_backs_never_panic(body: Vec<u8>) {
            let _ = webhook_of_callback(&body);
            let _ = ReceiverLog::parse(&body);
            let _ = ReceiverNotification::parse(&body);
        }

        #[test]
        fn numbers_are_positive_and_exact_in_json(bits: u128) {
            let id = ReservationId::from_ulid(ulid::Ulid(bits));
            let number = number_of(&id);
            prop_assert!(number > 0 && number < 1 << 53);
            prop_assert_eq!(number_of(&id), number);
        }
    }
}
