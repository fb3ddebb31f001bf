//! JSON Schemas of payloads, from one table of fields.

use super::example::status_of;
use crate::event::EventType;
use serde_json::{Map, Value, json};

/// The fields that a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fields {
    /// All fields of an event: the body in the default format, and the data of a CloudEvent.
    All,
    /// The fields of the thin format.
    Thin,
}

/// The events with a field.
#[derive(Clone, Copy)]
enum On {
    /// Every event.
    Every,
    /// Every `reservation.*` event.
    Reservations,
    /// One event.
    Only(EventType),
    /// Two events.
    Both(EventType, EventType),
}

impl On {
    fn contains(self, event: EventType) -> bool {
        match self {
            Self::Every => true,
            Self::Reservations => event != EventType::AccessRequested,
            Self::Only(one) => event == one,
            Self::Both(one, other) => event == one || event == other,
        }
    }
}

/// The values of a field.
#[derive(Clone, Copy)]
enum Kind {
    /// The name of the event type.
    EventType,
    /// An id with one of these prefixes (a regular expression) and a ULID.
    Id(&'static str),
    /// A positive integer.
    Number,
    /// The id of a webhook, or 0.
    WebhookNumber,
    Boolean,
    Time,
    Text,
    Url,
    /// A login name.
    Username,
    /// The slug of a resource type.
    Slug,
    /// The status of the reservation.
    Status,
    Object,
}

impl Kind {
    fn schema(self, event: EventType) -> Value {
        match self {
            Self::EventType => json!({"type": "string", "const": event.as_str()}),
            Self::Id(prefixes) => {
                json!({"type": "string", "pattern": format!("^({prefixes})[0-9a-hjkmnp-tv-z]{{26}}$")})
            }
            Self::Number => json!({"type": "integer", "minimum": 1}),
            Self::WebhookNumber => json!({"type": "integer", "minimum": 0}),
            Self::Boolean => json!({"type": "boolean"}),
            Self::Time => json!({"type": "string", "format": "date-time"}),
            Self::Text => json!({"type": "string"}),
            Self::Url => json!({"type": "string", "format": "uri"}),
            Self::Username => json!({"type": "string", "pattern": "^[a-z][a-z0-9._-]{0,31}$"}),
            Self::Slug => json!({"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,62})$"}),
            Self::Status => json!({"type": "string", "const": status_of(event).as_str()}),
            Self::Object => json!({"type": "object"}),
        }
    }
}

/// A field: its name, its events, its values, whether the thin format has it, and its meaning.
type Field = (&'static str, On, Kind, bool, &'static str);

/// All fields, in the order of the bodies. Those that only the thin format has are in [`THIN_FIELDS`].
const FIELDS: [Field; 23] = {
    use EventType::{AccessRequested, ReservationCancelled, ReservationUpdated};
    use On::{Both, Every, Only, Reservations};
    [
        ("event_type", Every, Kind::EventType, true, "The event type, as in the header X-Webhook-Event."),
        ("event_id", Every, Kind::Id("evt_"), true, "Id of the event, as in the header webhook-id."),
        ("timestamp", Every, Kind::Time, true, "Time of the event."),
        (
            "webhook_id",
            Every,
            Kind::WebhookNumber,
            true,
            "Id of the webhook that receives this request; 0 in a check of a webhook that is not saved yet.",
        ),
        ("test", Every, Kind::Boolean, true, "True on test events only."),
        ("reservation_id", Reservations, Kind::Id("rsv-|test-"), true, "Id of the reservation; usable in a host name."),
        ("access_request_id", Only(AccessRequested), Kind::Id("acr_|test-"), true, "Id of the access request."),
        ("user_id", Every, Kind::Username, false, "Login name of the user; usable as an account name."),
        ("user_email", Every, Kind::Text, false, "E-mail address of the user."),
        ("resource_type", Every, Kind::Slug, true, "Slug of the resource type."),
        ("resource_id", Every, Kind::Number, true, "Id of the resource."),
        ("resource_name", Every, Kind::Text, false, "Name of the resource."),
        ("title", Reservations, Kind::Text, false, "Title of the reservation, empty if it has none."),
        ("start_time", Reservations, Kind::Time, false, "Start of the reserved time."),
        ("end_time", Reservations, Kind::Time, false, "End of the reserved time, exclusive."),
        ("user_ssh_key", Every, Kind::Text, false, "OpenSSH public key of the user, empty if there is none."),
        ("additional_config", Reservations, Kind::Object, false, "Values of the resource type's configuration fields."),
        ("status", Reservations, Kind::Status, false, "Status of the reservation."),
        ("status_url", Reservations, Kind::Url, true, "URL for status updates of this service."),
        ("previous", Only(ReservationUpdated), Kind::Object, false, "The changed fields, with their old values."),
        ("cancelled_by", Only(ReservationCancelled), Kind::Username, false, "Login name of the user who cancelled."),
        (
            "reason",
            Both(ReservationCancelled, AccessRequested),
            Kind::Text,
            false,
            "The reason, empty if none was given.",
        ),
        ("requested_at", Only(AccessRequested), Kind::Time, false, "Time of the request."),
    ]
};

/// Fields that only the thin format has.
const THIN_FIELDS: [Field; 3] = [
    ("reservation_url", On::Reservations, Kind::Url, true, "The reservation in the API; 404 on test events."),
    ("access_requests_url", On::Only(EventType::AccessRequested), Kind::Url, true, "The access requests in the API."),
    ("resource_url", On::Every, Kind::Url, true, "The resource in the API."),
];

/// The JSON Schema (2020-12) of an event's payload. Receivers accept further fields, because Berth may add some.
pub fn schema(event: EventType, fields: Fields) -> Value {
    let is_included = |field: &&Field| fields == Fields::All || field.3;
    let thin_fields = THIN_FIELDS.iter().filter(|_| fields == Fields::Thin);
    let mut properties = Map::new();
    for (name, on, kind, _, meaning) in FIELDS.iter().filter(is_included).chain(thin_fields) {
        if on.contains(event) {
            let mut property = kind.schema(event);
            property["description"] = (*meaning).into();
            properties.insert((*name).to_owned(), property);
        }
    }
    let title = match fields {
        Fields::All => event.as_str().to_owned(),
        Fields::Thin => format!("{event}, thin"),
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "description": event.sent_when(),
        "type": "object",
        "required": properties.keys().collect::<Vec<_>>(),
        "properties": properties,
    })
}
