//! Example events.

use crate::event::{AccessRequestBody, EventBody, EventType, ReservationBody, ResourceDetails};
use crate::id::{AccessRequestId, EventId, ReservationId, WebhookId};
use crate::reservation::ReservationStatus;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

/// The base URL of Berth in examples.
pub const PUBLIC_URL: &str = "https://berth.example.com";
const WEBHOOK: WebhookId = 1;
const RESERVATION: &str = "rsv-01m876qmvr0z24xt4w8nkskacw";
const SSH_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7pZLsoUSJmAfc4CAsqYFBZQCcdNI0JVXI9Qw5YbmLS alice@example.com";
/// 2030-01-15 at 09:00 UTC, in seconds since the epoch.
const START: i64 = 1_894_698_000;

fn at(hours: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(START) + TimeDelta::hours(hours)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// The status of the reservation in an event.
pub(super) fn status_of(event: EventType) -> ReservationStatus {
    match event {
        EventType::ReservationCancelled => ReservationStatus::Cancelled,
        EventType::ReservationExpired => ReservationStatus::Expired,
        EventType::ReservationCreated
        | EventType::ReservationUpdated
        | EventType::AccessRequested
        | EventType::ReservationStarted
        | EventType::ReservationEnding => ReservationStatus::Active,
    }
}

/// The example of an event.
pub fn example(event_type: EventType) -> EventBody {
    let event_id = |id: &str| EventId(format!("evt_01m876qmvs{id}"));
    let (event_id, timestamp) = match event_type {
        EventType::ReservationCreated => (event_id("3wq8n4xj5rk2p7ev"), at(-2)),
        EventType::ReservationUpdated => (event_id("6yb2t9hd1zc4m0fg"), at(-1)),
        EventType::ReservationCancelled => (event_id("8ka5v3nr7qe1w6xs"), at(3)),
        EventType::ReservationExpired => (event_id("b1jd4z8pg2ty5h9c"), at(9)),
        EventType::AccessRequested => (event_id("e7mw0r6kf3sx8v2n"), at(-3)),
        EventType::ReservationStarted => (event_id("g4xn7c2qz9tw5b1j"), at(0)),
        EventType::ReservationEnding => (event_id("h0rk6y3dv8ms2f4p"), at(9) - TimeDelta::minutes(15)),
    };
    if event_type == EventType::AccessRequested {
        return EventBody::AccessRequest(Box::new(AccessRequestBody {
            event_type,
            event_id,
            timestamp,
            webhook_id: WEBHOOK,
            test: false,
            access_request_id: AccessRequestId("acr_01m876qmvt5n2r8kw4xj7ye0qz".to_owned()),
            user_id: "alice".to_owned(),
            user_email: "alice@example.com".to_owned(),
            resource_type: "gpu-cluster".to_owned(),
            resource_id: 7,
            resource_name: "gpu-node-07".to_owned(),
            reason: "Training of the recommendation model".to_owned(),
            requested_at: timestamp,
            user_ssh_key: SSH_KEY.to_owned(),
        }));
    }
    let cancelled = event_type == EventType::ReservationCancelled;
    EventBody::Reservation(Box::new(ReservationBody {
        event_type,
        event_id,
        timestamp,
        webhook_id: WEBHOOK,
        test: false,
        reservation_id: ReservationId(RESERVATION.to_owned()),
        user_id: "alice".to_owned(),
        user_email: "alice@example.com".to_owned(),
        resource_type: "gpu-cluster".to_owned(),
        resource_id: 7,
        resource_name: "gpu-node-07".to_owned(),
        title: "Training".to_owned(),
        start_time: at(0),
        end_time: at(9),
        user_ssh_key: SSH_KEY.to_owned(),
        additional_config: object(json!({"gpu_type": "nvidia-a100", "gpu_count": 4})),
        status: status_of(event_type).as_str().to_owned(),
        status_url: format!(
            "{PUBLIC_URL}/api/v1/reservations/{RESERVATION}/status?mac=6f1c2b9de07a4b35a8d4c0e91f7b6a52"
        ),
        previous: (event_type == EventType::ReservationUpdated).then(|| object(json!({"title": "Test run"}))),
        cancelled_by: cancelled.then(|| "alice".to_owned()),
        reason: cancelled.then(|| "The training has finished early.".to_owned()),
        resource_details: Some(Box::new(ResourceDetails {
            type_name: "GPU cluster".to_owned(),
            specs: "8 × A100, 80 GB each".to_owned(),
            location: "Rack 7".to_owned(),
        })),
    }))
}
