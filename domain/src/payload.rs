//! Payload formats: the forms in which webhooks receive events (docs/contract.md §1, "Payload formats").
//!
//! A delivery is rendered when it is enqueued, and keeps its format. Retries and redeliveries therefore send the same bytes,
//! also after the webhook has got another format.

use crate::event::{EventBody, EventType};
use crate::header::Header;
use crate::id::{AccessRequestId, EventId, ReservationId, ResourceId, WebhookId};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// The media type of a CloudEvent in the structured content mode.
const CLOUD_EVENT: &str = "application/cloudevents+json";
/// The beginning of the headers of a CloudEvent in the binary content mode.
const CLOUD_EVENT_HEADERS: &str = "ce-";

/// The form in which a webhook receives events.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PayloadFormat {
    /// One flat JSON object with all fields of the event.
    #[default]
    Berth,
    /// One flat JSON object with ids and URLs only. The receiver reads the rest through the API.
    Thin,
    /// CloudEvents 1.0 in the binary content mode: the attributes are headers, the body is that of `berth`.
    CloudeventsBinary,
    /// CloudEvents 1.0 in the structured content mode: a JSON object with the attributes, and the body of `berth` as
    /// `data`.
    CloudeventsStructured,
    /// The bodies, times and signature of the older reservation system (docs/contract.md §8).
    Classic,
}

impl PayloadFormat {
    /// Every format, in the order of the form.
    pub const ALL: [Self; 5] =
        [Self::Berth, Self::Thin, Self::CloudeventsBinary, Self::CloudeventsStructured, Self::Classic];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The format with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// The label in the form.
    pub fn label(self) -> &'static str {
        match self {
            Self::Berth => "Berth JSON",
            Self::Thin => "Thin",
            Self::CloudeventsBinary => "CloudEvents, binary",
            Self::CloudeventsStructured => "CloudEvents, structured",
            Self::Classic => "Classic",
        }
    }

    /// The explanation in the form, one sentence.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Berth => "One JSON object with all fields of the event.",
            Self::Thin => "Ids and URLs only, without personal data; your service reads the rest through the API.",
            Self::CloudeventsBinary => "CloudEvents 1.0: attributes in ce- headers, the event's fields in the body.",
            Self::CloudeventsStructured => "CloudEvents 1.0: one JSON object, with the event's fields in data.",
            Self::Classic => {
                "For receivers of the older system: EVENT_START and EVENT_END at start and end, EVENT_DELETED, exact URL."
            }
        }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Berth | Self::Thin | Self::CloudeventsBinary | Self::Classic => "application/json",
            Self::CloudeventsStructured => CLOUD_EVENT,
        }
    }

    /// Whether the format has a form of an event. Others are not sent.
    pub fn sends(self, event: EventType) -> bool {
        self != Self::Classic || crate::classic::event_name(event).is_some()
    }

    /// Whether an event is sent at the start of the reserved time instead of when it happens.
    pub fn holds_until_start(self, event: EventType) -> bool {
        self == Self::Classic && event == EventType::ReservationCreated
    }

    /// Whether every event goes to the endpoint URL as entered, without a delivery path.
    pub fn uses_exact_url(self) -> bool {
        self == Self::Classic
    }

    /// Whether a header belongs to the format, so that a webhook cannot have its own header of this name.
    pub fn reserves_header(self, name: &str) -> bool {
        let start = name.get(..CLOUD_EVENT_HEADERS.len()).unwrap_or_default();
        self == Self::CloudeventsBinary && start.eq_ignore_ascii_case(CLOUD_EVENT_HEADERS)
    }

    /// The body of an event, whose bytes are signed. `public_url` is the base URL of Berth, without a trailing slash.
    ///
    /// # Errors
    /// When the event has no JSON form.
    pub fn body(self, event: &EventBody, public_url: &str) -> serde_json::Result<String> {
        match self {
            Self::Berth | Self::CloudeventsBinary => serde_json::to_string(event),
            Self::Thin => match event {
                EventBody::Reservation(body) => serde_json::to_string(&ThinReservation {
                    event_type: body.event_type,
                    event_id: &body.event_id,
                    timestamp: body.timestamp,
                    webhook_id: body.webhook_id,
                    test: body.test,
                    reservation_id: &body.reservation_id,
                    resource_type: &body.resource_type,
                    resource_id: body.resource_id,
                    reservation_url: format!("{public_url}/api/v1/reservations/{}", body.reservation_id),
                    resource_url: resource_url(public_url, body.resource_id),
                    status_url: &body.status_url,
                }),
                EventBody::AccessRequest(body) => serde_json::to_string(&ThinAccessRequest {
                    event_type: body.event_type,
                    event_id: &body.event_id,
                    timestamp: body.timestamp,
                    webhook_id: body.webhook_id,
                    test: body.test,
                    access_request_id: &body.access_request_id,
                    resource_type: &body.resource_type,
                    resource_id: body.resource_id,
                    access_requests_url: format!("{public_url}/api/v1/access-requests"),
                    resource_url: resource_url(public_url, body.resource_id),
                }),
            },
            Self::Classic => match event {
                EventBody::Reservation(body) => crate::classic::body(body),
                EventBody::AccessRequest(_) => Ok("null".to_owned()),
            },
            Self::CloudeventsStructured => {
                let (time, subject) = (event.timestamp(), event.ordering_key());
                let attributes = CloudEvent::new(public_url, event.event_type(), event.event_id(), time, subject);
                serde_json::to_string(&StructuredEvent { attributes, data: event })
            }
        }
    }

    /// The headers that describe the event of a body, besides those of every request.
    pub fn headers(self, public_url: &str, event: EventType, id: &EventId, body: &[u8]) -> Vec<Header> {
        if self != Self::CloudeventsBinary {
            return Vec::new();
        }
        // A body without the time of its event is none that this module has rendered.
        let Ok(origin) = serde_json::from_slice::<Origin>(body) else { return Vec::new() };
        let subject = origin.reservation_id.or(origin.access_request_id).unwrap_or_default();
        CloudEvent::new(public_url, event, id, origin.timestamp, &subject).headers()
    }
}

fn resource_url(public_url: &str, id: ResourceId) -> String {
    format!("{public_url}/api/v1/resources/{id}")
}

/// The path of the JSON Schema of an event's fields, on every server.
pub fn schema_path(event: EventType) -> String {
    format!("/schemas/events/{event}.json")
}

/// The fields of a body that are attributes of its CloudEvent.
#[derive(Deserialize)]
struct Origin {
    timestamp: DateTime<Utc>,
    #[serde(default)]
    reservation_id: Option<String>,
    #[serde(default)]
    access_request_id: Option<String>,
}

/// The thin body of a `reservation.*` event.
#[derive(Serialize)]
struct ThinReservation<'a> {
    event_type: EventType,
    event_id: &'a EventId,
    timestamp: DateTime<Utc>,
    webhook_id: WebhookId,
    test: bool,
    reservation_id: &'a ReservationId,
    resource_type: &'a str,
    resource_id: ResourceId,
    reservation_url: String,
    resource_url: String,
    status_url: &'a str,
}

/// The thin body of `user.access_requested`.
#[derive(Serialize)]
struct ThinAccessRequest<'a> {
    event_type: EventType,
    event_id: &'a EventId,
    timestamp: DateTime<Utc>,
    webhook_id: WebhookId,
    test: bool,
    access_request_id: &'a AccessRequestId,
    resource_type: &'a str,
    resource_id: ResourceId,
    access_requests_url: String,
    resource_url: String,
}

/// The attributes of a CloudEvent (CloudEvents 1.0.2 §3).
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    event_type: EventType,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    dataschema: String,
}

/// A CloudEvent in the structured content mode.
#[derive(Serialize)]
struct StructuredEvent<'a> {
    #[serde(flatten)]
    attributes: CloudEvent<'a>,
    data: &'a EventBody,
}

impl<'a> CloudEvent<'a> {
    fn new(public_url: &'a str, event_type: EventType, id: &'a EventId, time: DateTime<Utc>, subject: &'a str) -> Self {
        Self {
            specversion: "1.0",
            id: id.as_str(),
            source: public_url,
            event_type,
            subject,
            time: time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            datacontenttype: "application/json",
            dataschema: format!("{public_url}{}", schema_path(event_type)),
        }
    }

    /// The attributes as headers (CloudEvents HTTP protocol binding 1.0.2 §3.1.3). `Content-Type` is the attribute
    /// `datacontenttype`. All values are printable ASCII, so that none needs percent-encoding.
    fn headers(&self) -> Vec<Header> {
        [
            ("specversion", self.specversion),
            ("id", self.id),
            ("source", self.source),
            ("type", self.event_type.as_str()),
            ("subject", self.subject),
            ("time", self.time.as_str()),
            ("dataschema", self.dataschema.as_str()),
        ]
        .into_iter()
        .map(|(name, value)| Header { name: format!("{CLOUD_EVENT_HEADERS}{name}"), value: value.to_owned() })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_catalogue::example;
    use serde_json::{Value, json};

    const URL: &str = "https://berth.example.com";

    fn body(format: PayloadFormat, event: EventType) -> Value {
        serde_json::from_str(&format.body(&example(event), URL).unwrap()).unwrap()
    }

    #[test]
    fn names_of_formats_parse_back() {
        for format in PayloadFormat::ALL {
            assert_eq!(PayloadFormat::parse(format.as_str()), Some(format));
            assert_eq!(serde_json::to_value(format).unwrap(), format.as_str());
        }
        assert_eq!(PayloadFormat::default(), PayloadFormat::Berth);
    }

    #[test]
    fn default_format_is_the_event_itself() {
        for event in EventType::ALL {
            let text = serde_json::to_string(&example(event)).unwrap();
            assert_eq!(PayloadFormat::Berth.body(&example(event), URL).unwrap(), text);
            assert_eq!(PayloadFormat::CloudeventsBinary.body(&example(event), URL).unwrap(), text);
        }
    }

    #[test]
    fn thin_body_has_no_personal_data() {
        for event in EventType::ALL {
            let thin = body(PayloadFormat::Thin, event);
            let whole = serde_json::to_value(example(event)).unwrap();
            for (name, value) in thin.as_object().unwrap() {
                let is_url = name.ends_with("_url") && value.as_str().unwrap().starts_with(URL);
                assert!(is_url || whole[name] == *value, "{event}: {name}");
            }
            let text = thin.to_string();
            for personal in ["user_id", "user_email", "user_ssh_key", "title", "additional_config", "alice"] {
                assert!(!text.contains(personal), "{event}: {personal} in {text}");
            }
        }
    }

    #[test]
    fn structured_event_contains_the_default_body_as_data() {
        let event = body(PayloadFormat::CloudeventsStructured, EventType::ReservationCreated);
        assert_eq!(event["data"], serde_json::to_value(example(EventType::ReservationCreated)).unwrap());
        assert_eq!((&event["id"], &event["time"]), (&event["data"]["event_id"], &event["data"]["timestamp"]));
        assert_eq!((&event["specversion"], &event["type"]), (&json!("1.0"), &json!("reservation.created")));
        assert_eq!((&event["source"], &event["subject"]), (&json!(URL), &event["data"]["reservation_id"]));
        assert_eq!(event["dataschema"], format!("{URL}/schemas/events/reservation.created.json"));
    }

    #[test]
    fn binary_headers_are_the_attributes_of_the_structured_event() {
        for event in EventType::ALL {
            let of = example(event);
            let text = PayloadFormat::CloudeventsBinary.body(&of, URL).unwrap();
            let headers = PayloadFormat::CloudeventsBinary.headers(URL, event, of.event_id(), text.as_bytes());
            let structured = body(PayloadFormat::CloudeventsStructured, event);
            let mut attributes = structured.as_object().unwrap().clone();
            attributes.retain(|name, _| !["data", "datacontenttype"].contains(&name.as_str()));
            let sent: serde_json::Map<String, Value> = headers
                .into_iter()
                .map(|header| (header.name.strip_prefix("ce-").unwrap().to_owned(), header.value.into()))
                .collect();
            assert_eq!(sent, attributes);
            for other in [PayloadFormat::Berth, PayloadFormat::Thin, PayloadFormat::CloudeventsStructured] {
                assert!(other.headers(URL, event, of.event_id(), text.as_bytes()).is_empty());
            }
        }
    }
}
