//! Events about reservations.

use crate::context::Context;
use chrono::{DateTime, Utc};
use domain::event::{EventBody, EventType, ReservationBody};
use domain::id::EventId;
use domain::reservation::Reservation;

/// The body of an event about a reservation (docs/contract.md §1). The outbox sets `webhook_id` and `status_url` for each
/// receiver.
pub(super) fn event_body(
    context: &Context,
    event_type: EventType,
    reservation: &Reservation,
    email: &str,
    now: DateTime<Utc>,
) -> ReservationBody {
    ReservationBody {
        event_type,
        event_id: EventId::from_ulid(context.new_ulid()),
        timestamp: now,
        webhook_id: 0,
        test: false,
        status_url: String::new(),
        reservation_id: reservation.id.clone(),
        user_id: reservation.user_id.clone(),
        user_email: email.to_owned(),
        resource_type: reservation.resource_type.clone(),
        resource_id: reservation.resource_id,
        resource_name: reservation.resource_name.clone(),
        title: reservation.title.clone(),
        start_time: reservation.start_time,
        end_time: reservation.end_time,
        user_ssh_key: reservation.user_ssh_key.clone(),
        additional_config: reservation.additional_config.clone(),
        status: reservation.status.as_str().to_owned(),
        previous: None,
        cancelled_by: None,
        reason: None,
        resource_details: None,
    }
}

/// An event for the outbox: the slug of its resource type, and its body.
pub(super) fn for_outbox(body: ReservationBody) -> (String, EventBody) {
    (body.resource_type.clone(), EventBody::Reservation(Box::new(body)))
}
