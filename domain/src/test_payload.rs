//! Test events with fields of the user's choice (docs/contract.md §1, "Test events").

use crate::event::{AccessRequestBody, EventBody, EventType, ReservationBody};
use crate::event_catalogue::{Fields, schema};
use crate::input::from_json;
use crate::problem::{Problem, Validator};
use crate::sample::SAMPLE_PREFIX;
use serde_json::{Map, Value};

/// The fields that a user cannot choose: they identify the event, its webhook and its status URL, and mark it as a test.
const FIXED: [&str; 5] = ["event_type", "event_id", "webhook_id", "status_url", "test"];

/// A test event whose fields are replaced by those of `payload`. Fields that identify the event have no effect.
///
/// # Errors
/// 422 naming each field that the schema of the event does not allow, e.g. `payload.start_time`.
pub fn with_payload(event: EventBody, payload: &Map<String, Value>) -> Result<EventBody, Problem> {
    let event_type = event.event_type();
    let fields = schema(event_type, Fields::All);
    let mut validator = Validator::new();
    for name in payload.keys().filter(|name| fields["properties"].get(name.as_str()).is_none()) {
        validator.error(format!("payload.{name}"), format!("{event_type} has no such field. Remove it."));
    }
    validator.finish()?;
    let Value::Object(mut merged) = serde_json::to_value(&event).map_err(|_| Problem::internal())? else {
        return Err(Problem::internal());
    };
    for (name, value) in payload.iter().filter(|(name, _)| !FIXED.contains(&name.as_str())) {
        merged.insert(name.clone(), value.clone());
    }
    let text = serde_json::to_vec(&merged).map_err(|_| Problem::internal())?;
    let read = match event_type {
        EventType::AccessRequested => {
            from_json::<AccessRequestBody>(&text).map(|body| EventBody::AccessRequest(Box::new(body)))
        }
        _ => from_json::<ReservationBody>(&text).map(|body| EventBody::Reservation(Box::new(body))),
    };
    let event = read.map_err(in_payload)?;
    // The delivery log shows the deliveries of a reservation by its id.
    if !event.ordering_key().starts_with(SAMPLE_PREFIX) {
        let field = if event_type == EventType::AccessRequested { "access_request_id" } else { "reservation_id" };
        return Err(Problem::field(format!("payload.{field}"), "Use an id that begins with test-."));
    }
    if let EventBody::Reservation(body) = &event
        && body.end_time <= body.start_time
    {
        return Err(Problem::field("payload.end_time", "The end must be after the start."));
    }
    Ok(event)
}

/// The problem with the names of its fields within the request.
fn in_payload(mut problem: Problem) -> Problem {
    for error in &mut problem.errors {
        error.field = format!("payload.{}", error.field);
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_catalogue::example;
    use serde_json::json;

    fn merge(event_type: EventType, payload: Value) -> Result<Value, Vec<String>> {
        let mut payload = payload;
        let id = if event_type == EventType::AccessRequested { "access_request_id" } else { "reservation_id" };
        payload.as_object_mut().unwrap().entry(id).or_insert(json!("test-1"));
        let merged = with_payload(example(event_type), payload.as_object().unwrap());
        merged
            .map(|event| serde_json::to_value(event).unwrap())
            .map_err(|problem| problem.errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn fields_replace_those_of_the_event() {
        let payload = json!({"title": "Größe", "additional_config": {"gpu_count": 8}, "user_id": "bob"});
        let event = merge(EventType::ReservationCreated, payload).unwrap();
        assert_eq!((&event["title"], &event["user_id"]), (&json!("Größe"), &json!("bob")));
        assert_eq!(event["additional_config"], json!({"gpu_count": 8}));
        let original = serde_json::to_value(example(EventType::ReservationCreated)).unwrap();
        assert_eq!(event["start_time"], original["start_time"]);
    }

    #[test]
    fn identifying_fields_are_kept() {
        let original = serde_json::to_value(example(EventType::ReservationCreated)).unwrap();
        let payload = json!({
            "event_type": "reservation.expired", "event_id": "evt_other", "webhook_id": 99, "test": false,
            "status_url": "https://a.example",
        });
        let expected = merge(EventType::ReservationCreated, json!({})).unwrap();
        assert_eq!((&expected["event_id"], &expected["test"]), (&original["event_id"], &original["test"]));
        assert_eq!(merge(EventType::ReservationCreated, payload), Ok(expected));
    }

    #[test]
    fn values_that_the_schema_does_not_allow_are_rejected_with_their_field() {
        for (payload, field) in [
            (json!({"start_time": "tomorrow"}), "payload.start_time"),
            (json!({"resource_id": "one"}), "payload.resource_id"),
            (json!({"additional_config": []}), "payload.additional_config"),
            (json!({"gpu_count": 4}), "payload.gpu_count"),
            (json!({"reservation_id": "rsv_01"}), "payload.reservation_id"),
            (json!({"end_time": "2001-01-01T00:00:00Z"}), "payload.end_time"),
        ] {
            assert_eq!(merge(EventType::ReservationCreated, payload.clone()), Err(vec![field.to_owned()]), "{payload}");
        }
        let of_reservation = json!({"start_time": "2030-01-01T00:00:00Z"});
        assert_eq!(merge(EventType::AccessRequested, of_reservation), Err(vec!["payload.start_time".to_owned()]));
    }

    #[test]
    fn every_event_accepts_its_own_body() {
        for event_type in EventType::ALL {
            let mut body = serde_json::to_value(example(event_type)).unwrap();
            for id in ["reservation_id", "access_request_id"] {
                if body.get(id).is_some() {
                    body[id] = json!("test-1");
                }
            }
            assert_eq!(merge(event_type, body.clone()), Ok(body));
        }
    }
}
