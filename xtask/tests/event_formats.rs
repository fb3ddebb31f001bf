//! Checks the examples of the event catalogue: each matches its JSON Schema, and the CNCF SDK reads the CloudEvents. The test is
//! here, because these crates would change the features of the server's dependencies.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use cloudevents::binding::http::to_event;
use cloudevents::{AttributesReader as _, Event};
use domain::event::EventType;
use domain::event_catalogue::{Fields, PUBLIC_URL, PayloadExample, example, payload_example, schema};
use domain::payload::PayloadFormat;
use serde_json::{Value, json};

fn errors(mut schema: Value, instance: &Value) -> Vec<String> {
    // Receivers accept further fields, but an example has none.
    schema["additionalProperties"] = false.into();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    validator.iter_errors(instance).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn examples_match_their_json_schemas() {
    for event in EventType::ALL {
        for (format, fields) in [(PayloadFormat::Berth, Fields::All), (PayloadFormat::Thin, Fields::Thin)] {
            let PayloadExample { body, .. } = payload_example(event, format).unwrap();
            assert_eq!(errors(schema(event, fields), &body), [""; 0], "{event} {format:?}");
            for name in body.as_object().unwrap().keys() {
                let mut without = body.clone();
                without.as_object_mut().unwrap().remove(name);
                assert_eq!(errors(schema(event, fields), &without).len(), 1, "{event}: {name} is required");
                let mut other = body.clone();
                other[name] = json!([]);
                assert_ne!(errors(schema(event, fields), &other), [""; 0], "{event}: {name} has a type");
            }
        }
    }
}

/// The event as the SDK reads it from a request.
fn read(event: EventType, format: PayloadFormat) -> Event {
    let PayloadExample { headers, .. } = payload_example(event, format).unwrap();
    let mut map = http::HeaderMap::new();
    for header in headers {
        map.insert(http::HeaderName::try_from(header.name).unwrap(), header.value.parse().unwrap());
    }
    let body = format.body(&example(event), PUBLIC_URL).unwrap();
    to_event(&map, body.into_bytes()).unwrap()
}

#[test]
fn cncf_sdk_reads_both_content_modes_as_the_same_event() {
    for event in EventType::ALL {
        let expected = serde_json::to_value(example(event)).unwrap();
        for format in [PayloadFormat::CloudeventsBinary, PayloadFormat::CloudeventsStructured] {
            let read = read(event, format);
            assert_eq!(read.id(), expected["event_id"]);
            assert_eq!(read.ty(), event.as_str());
            assert_eq!(read.source().trim_end_matches('/'), PUBLIC_URL);
            let subject = expected.get("reservation_id").unwrap_or(&expected["access_request_id"]);
            assert_eq!(read.subject(), subject.as_str());
            assert_eq!(read.time().map(chrono::DateTime::timestamp), Some(example(event).timestamp().timestamp()));
            assert_eq!(read.datacontenttype(), Some("application/json"));
            assert_eq!(
                read.dataschema().unwrap().as_str(),
                format!("{PUBLIC_URL}/schemas/events/{event}.json"),
                "{format:?}"
            );
            let data: Value = read.data().unwrap().clone().try_into().unwrap();
            assert_eq!(data, expected, "{event} {format:?}");
        }
    }
}
