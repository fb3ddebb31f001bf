//! Sample events: valid bodies that are marked as tests (docs/contract.md §1, "Test events").

use crate::event::{AccessRequestBody, EventBody, EventType, ReservationBody, ResourceDetails};
use crate::id::{AccessRequestId, EventId, ReservationId, ResourceId};
use crate::reservation::ReservationStatus;
use crate::resource::DEFAULT_ENDING_NOTICE;
use chrono::{DateTime, Duration, Utc};
use serde_json::{Map, Value, json};

/// A sample SSH public key; its private key was discarded.
const SSH_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7pZLsoUSJmAfc4CAsqYFBZQCcdNI0JVXI9Qw5YbmLS test@berth";
const TITLE: &str = "Test event from Berth";
const PREVIOUS_TITLE: &str = "Test event from Berth, before the change";
const REASON: &str = "This is a test event from Berth.";

/// The user and the resource of sample events.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Login name.
    pub user_id: String,
    /// E-mail address.
    pub user_email: String,
    /// The slug of the resource type.
    pub resource_type: String,
    /// The resource.
    pub resource_id: ResourceId,
    /// The resource's name.
    pub resource_name: String,
    /// Values that satisfy the schema of the resource type.
    pub config: Map<String, Value>,
    /// Properties of the resource for the classic payload format.
    pub details: ResourceDetails,
}

impl Default for Sample {
    /// The sample for a receiver whose resource types are unknown: a GPU cluster.
    fn default() -> Self {
        let config = json!({"gpu_type": "nvidia-a100", "gpu_count": 4});
        Self {
            user_id: "alice".into(),
            user_email: "alice@example.com".into(),
            resource_type: "gpu-cluster".into(),
            resource_id: 1,
            resource_name: "Sample resource".into(),
            config: config.as_object().cloned().unwrap_or_default(),
            details: ResourceDetails::default(),
        }
    }
}

/// The beginning of the ids of sample reservations and access requests.
pub const SAMPLE_PREFIX: &str = "test-";

/// The id of the reservation or access request of a sample event.
pub fn sample_subject(ulid: ulid::Ulid) -> String {
    format!("{SAMPLE_PREFIX}{}", ulid.to_string().to_ascii_lowercase())
}

impl Sample {
    /// A valid event at `now` that is marked as a test, without webhook and status URL ([`EventBody::for_webhook`]). `subject`
    /// is the id of the reservation or access request.
    pub fn event(&self, event_type: EventType, event_id: EventId, subject: String, now: DateTime<Utc>) -> EventBody {
        match event_type {
            EventType::AccessRequested => EventBody::AccessRequest(Box::new(AccessRequestBody {
                event_type,
                event_id,
                timestamp: now,
                webhook_id: 0,
                test: true,
                access_request_id: AccessRequestId(subject),
                user_id: self.user_id.clone(),
                user_email: self.user_email.clone(),
                resource_type: self.resource_type.clone(),
                resource_id: self.resource_id,
                resource_name: self.resource_name.clone(),
                reason: REASON.into(),
                requested_at: now,
                user_ssh_key: SSH_KEY.into(),
            })),
            _ => EventBody::Reservation(Box::new(self.reservation(event_type, event_id, ReservationId(subject), now))),
        }
    }

    fn reservation(
        &self,
        event_type: EventType,
        event_id: EventId,
        reservation_id: ReservationId,
        now: DateTime<Utc>,
    ) -> ReservationBody {
        let (status, start_time) = match event_type {
            EventType::ReservationCancelled => (ReservationStatus::Cancelled, now + Duration::hours(1)),
            EventType::ReservationExpired => (ReservationStatus::Expired, now - Duration::hours(8)),
            EventType::ReservationStarted => (ReservationStatus::Active, now),
            EventType::ReservationEnding => {
                (ReservationStatus::Active, now + Duration::minutes(DEFAULT_ENDING_NOTICE.into()) - Duration::hours(8))
            }
            _ => (ReservationStatus::Active, now + Duration::hours(1)),
        };
        let cancelled = event_type == EventType::ReservationCancelled;
        let previous = || Map::from_iter([("title".to_owned(), Value::from(PREVIOUS_TITLE))]);
        ReservationBody {
            event_type,
            event_id,
            timestamp: now,
            webhook_id: 0,
            test: true,
            status_url: String::new(),
            reservation_id,
            user_id: self.user_id.clone(),
            user_email: self.user_email.clone(),
            resource_type: self.resource_type.clone(),
            resource_id: self.resource_id,
            resource_name: self.resource_name.clone(),
            title: TITLE.into(),
            start_time,
            end_time: start_time + Duration::hours(8),
            user_ssh_key: SSH_KEY.into(),
            additional_config: self.config.clone(),
            status: status.as_str().to_owned(),
            previous: (event_type == EventType::ReservationUpdated).then(previous),
            cancelled_by: cancelled.then(|| self.user_id.clone()),
            reason: cancelled.then(|| REASON.to_owned()),
            resource_details: Some(Box::new(self.details.clone())),
        }
    }
}
