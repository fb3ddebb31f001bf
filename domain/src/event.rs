//! Event types and request bodies (docs/contract.md §1, "Bodies").

use crate::id::{AccessRequestId, EventId, ReservationId, ResourceId, WebhookId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// The type of an event that a webhook can receive.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::EnumString,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EventType {
    /// A reservation was created.
    #[serde(rename = "reservation.created")]
    #[strum(serialize = "reservation.created")]
    ReservationCreated,
    /// A reservation was modified.
    #[serde(rename = "reservation.updated")]
    #[strum(serialize = "reservation.updated")]
    ReservationUpdated,
    /// A reservation was cancelled.
    #[serde(rename = "reservation.cancelled")]
    #[strum(serialize = "reservation.cancelled")]
    ReservationCancelled,
    /// A reservation's time ended.
    #[serde(rename = "reservation.expired")]
    #[strum(serialize = "reservation.expired")]
    ReservationExpired,
    /// A user requested access to a resource.
    #[serde(rename = "user.access_requested")]
    #[strum(serialize = "user.access_requested")]
    AccessRequested,
    /// A reservation's time began.
    #[serde(rename = "reservation.started")]
    #[strum(serialize = "reservation.started")]
    ReservationStarted,
    /// A reservation's time ends soon.
    #[serde(rename = "reservation.ending")]
    #[strum(serialize = "reservation.ending")]
    ReservationEnding,
}

impl EventType {
    /// Every event type, in the order of the form.
    pub const ALL: [EventType; 7] = [
        Self::ReservationCreated,
        Self::ReservationUpdated,
        Self::ReservationCancelled,
        Self::ReservationExpired,
        Self::AccessRequested,
        Self::ReservationStarted,
        Self::ReservationEnding,
    ];

    /// The event types that a webhook receives without a choice of its own. `reservation.started` and
    /// `reservation.ending` are opt-in.
    pub const DEFAULT: [EventType; 5] = [
        Self::ReservationCreated,
        Self::ReservationUpdated,
        Self::ReservationCancelled,
        Self::ReservationExpired,
        Self::AccessRequested,
    ];

    /// The wire name, e.g. `reservation.created`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The label in the form, e.g. "Reservation Created".
    pub fn label(self) -> &'static str {
        match self {
            Self::ReservationCreated => "Reservation Created",
            Self::ReservationUpdated => "Reservation Modified",
            Self::ReservationCancelled => "Reservation Cancelled",
            Self::ReservationExpired => "Reservation Expired",
            Self::AccessRequested => "Access Requested",
            Self::ReservationStarted => "Reservation Started",
            Self::ReservationEnding => "Reservation Ending",
        }
    }

    /// The explanation in the form: the cause of the event and the expected reaction.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::ReservationCreated => "A resource was reserved. Provision it.",
            Self::ReservationUpdated => "The time, title, SSH key or configuration changed.",
            Self::ReservationCancelled => "The reservation was cancelled. Release the resource.",
            Self::ReservationExpired => "The reserved time ended. Release the resource.",
            Self::AccessRequested => "A user requested access to a restricted resource.",
            Self::ReservationStarted => "The reserved time began.",
            Self::ReservationEnding => "The reserved time ends soon. The resource type sets the notice.",
        }
    }

    /// The event with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// The moment at which the event is sent, one sentence for the event catalogue.
    pub fn sent_when(self) -> &'static str {
        match self {
            Self::ReservationCreated => "Right after a user has reserved a resource.",
            Self::ReservationUpdated => {
                "Right after the time, title, SSH key or configuration of an active reservation was changed."
            }
            Self::ReservationCancelled => "Right after a reservation was cancelled.",
            Self::ReservationExpired => {
                "Within seconds of the end of the reserved time, unless the reservation was cancelled."
            }
            Self::AccessRequested => "Right after a user has requested access to a restricted resource.",
            Self::ReservationStarted => {
                "Within seconds of the start of the reserved time, unless the reservation was cancelled."
            }
            Self::ReservationEnding => {
                "The ending notice of the resource type before the end of the reserved time, 15 minutes by default."
            }
        }
    }

    /// Whether the receiver must release the resource (cancelled, expired).
    pub fn releases(self) -> bool {
        matches!(self, Self::ReservationCancelled | Self::ReservationExpired)
    }

    /// Whether the receiver must provision the resource (created, updated).
    pub fn provisions(self) -> bool {
        matches!(self, Self::ReservationCreated | Self::ReservationUpdated)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The properties of a resource that only the classic format sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceDetails {
    /// Display name of the resource type.
    pub type_name: String,
    /// Specifications; empty if not given.
    pub specs: String,
    /// Location; empty if not given.
    pub location: String,
}

/// The body of every `reservation.*` event. Its serialised form is signed and sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReservationBody {
    /// The event type.
    pub event_type: EventType,
    /// The event's id.
    pub event_id: EventId,
    /// Time of the event.
    pub timestamp: DateTime<Utc>,
    /// The webhook that receives this body.
    pub webhook_id: WebhookId,
    /// True on test events only.
    pub test: bool,
    /// The reservation; `test-<ulid>` in tests.
    pub reservation_id: ReservationId,
    /// Login name of the user who reserved.
    pub user_id: String,
    /// Their e-mail address.
    pub user_email: String,
    /// The type's slug.
    pub resource_type: String,
    /// The resource.
    pub resource_id: ResourceId,
    /// The resource's name.
    pub resource_name: String,
    /// The reservation's title, `""` when absent.
    pub title: String,
    /// Start of the reserved time.
    pub start_time: DateTime<Utc>,
    /// End of the reserved time.
    pub end_time: DateTime<Utc>,
    /// The user's SSH public key, `""` when absent.
    pub user_ssh_key: String,
    /// The values of the type's config schema, `{}` when absent.
    pub additional_config: Map<String, Value>,
    /// The reservation's status, e.g. `active`.
    pub status: String,
    /// URL for the receiver's status updates (docs/contract.md §4).
    pub status_url: String,
    /// On `reservation.updated`: the fields that changed, with their old values.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous: Option<Map<String, Value>>,
    /// On `reservation.cancelled`: login name of the user who cancelled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cancelled_by: Option<String>,
    /// On `reservation.cancelled`: the reason, `""` when none was given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Properties of the resource that only the classic payload format sends.
    #[serde(skip)]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub resource_details: Option<Box<ResourceDetails>>,
}

/// The body of `user.access_requested`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccessRequestBody {
    /// Always `user.access_requested`.
    pub event_type: EventType,
    /// The event's id.
    pub event_id: EventId,
    /// Time of the event.
    pub timestamp: DateTime<Utc>,
    /// The webhook that receives this body.
    pub webhook_id: WebhookId,
    /// True on test events only.
    pub test: bool,
    /// The request.
    pub access_request_id: AccessRequestId,
    /// Login name of the user who requests access.
    pub user_id: String,
    /// Their e-mail address.
    pub user_email: String,
    /// The type's slug.
    pub resource_type: String,
    /// The resource.
    pub resource_id: ResourceId,
    /// The resource's name.
    pub resource_name: String,
    /// The user's reason.
    pub reason: String,
    /// Request time.
    pub requested_at: DateTime<Utc>,
    /// Their SSH public key, `""` when absent.
    pub user_ssh_key: String,
}

/// The body of any event; serialised flat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventBody {
    /// `reservation.*`
    Reservation(Box<ReservationBody>),
    /// `user.access_requested`
    AccessRequest(Box<AccessRequestBody>),
}

impl EventBody {
    /// The event type.
    pub fn event_type(&self) -> EventType {
        match self {
            Self::Reservation(b) => b.event_type,
            Self::AccessRequest(b) => b.event_type,
        }
    }

    /// The event id.
    pub fn event_id(&self) -> &EventId {
        match self {
            Self::Reservation(b) => &b.event_id,
            Self::AccessRequest(b) => &b.event_id,
        }
    }

    /// Time of the event.
    pub fn timestamp(&self) -> DateTime<Utc> {
        match self {
            Self::Reservation(b) => b.timestamp,
            Self::AccessRequest(b) => b.timestamp,
        }
    }

    /// The same event for another webhook: only `webhook_id` and `status_url` differ between receivers.
    pub fn for_webhook(
        mut self,
        webhook_id: WebhookId,
        status_url: impl FnOnce(&ReservationId, WebhookId) -> String,
    ) -> Self {
        match &mut self {
            Self::Reservation(b) => {
                b.webhook_id = webhook_id;
                b.status_url = status_url(&b.reservation_id, webhook_id);
            }
            Self::AccessRequest(b) => b.webhook_id = webhook_id,
        }
        self
    }

    /// The ordering key: deliveries to one webhook with the same key keep their order (docs/contract.md §2,
    /// "Guarantees").
    pub fn ordering_key(&self) -> &str {
        match self {
            Self::Reservation(b) => b.reservation_id.as_str(),
            Self::AccessRequest(b) => b.access_request_id.as_str(),
        }
    }
}
