//! The event catalogue: for each event type when it is sent, its trigger, its delivery path, the JSON Schemas of its
//! payload, and an example in each payload format.
//!
//! The page, the OpenAPI document and the schema files (`docs/schemas/`) show this catalogue.

mod example;
mod schema;

pub use example::{PUBLIC_URL, example};
pub use schema::{Fields, schema};

use crate::event::EventType;
use crate::header::Header;
use crate::payload::{PayloadFormat, schema_path};
use crate::routing::DeliveryPaths;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An event type of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CatalogueEntry {
    /// The event type.
    pub event_type: EventType,
    /// Its trigger in the form for webhooks, e.g. "Reservation Created".
    pub trigger: String,
    /// The moment at which it is sent, one sentence.
    pub sent_when: String,
    /// The path that the default layout appends to the endpoint.
    pub delivery_path: String,
    /// The path of its JSON Schema on the server.
    pub schema_path: String,
    /// The JSON Schema of its fields.
    pub schema: Value,
    /// Its example in each payload format that has it.
    pub examples: Vec<PayloadExample>,
}

/// An example of a request in one payload format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PayloadExample {
    /// The format.
    pub format: PayloadFormat,
    /// The headers that the format determines.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Value,
}

/// All event types, in the order of the form.
///
/// # Errors
/// When an example has no JSON form.
pub fn catalogue() -> serde_json::Result<Vec<CatalogueEntry>> {
    EventType::ALL.into_iter().map(entry).collect()
}

fn entry(event_type: EventType) -> serde_json::Result<CatalogueEntry> {
    let formats = PayloadFormat::ALL.into_iter().filter(|format| format.sends(event_type));
    let examples = formats.map(|format| payload_example(event_type, format));
    Ok(CatalogueEntry {
        event_type,
        trigger: event_type.label().to_owned(),
        sent_when: event_type.sent_when().to_owned(),
        delivery_path: DeliveryPaths::default().path(event_type).to_owned(),
        schema_path: schema_path(event_type),
        schema: schema(event_type, Fields::All),
        examples: examples.collect::<serde_json::Result<_>>()?,
    })
}

/// The example of an event in a payload format.
///
/// # Errors
/// When the example has no JSON form.
pub fn payload_example(event_type: EventType, format: PayloadFormat) -> serde_json::Result<PayloadExample> {
    let event = example(event_type);
    let body = format.body(&event, PUBLIC_URL)?;
    let mut headers = vec![Header { name: "Content-Type".to_owned(), value: format.content_type().to_owned() }];
    headers.extend(format.headers(PUBLIC_URL, event_type, event.event_id(), body.as_bytes()));
    Ok(PayloadExample { format, headers, body: serde_json::from_str(&body)? })
}

/// The files with JSON Schemas: their paths on the server, and the schemas.
pub fn schema_files() -> impl Iterator<Item = (String, Value)> {
    EventType::ALL.into_iter().flat_map(|event| {
        [
            (schema_path(event), schema(event, Fields::All)),
            (format!("/schemas/events/thin/{event}.json"), schema(event, Fields::Thin)),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn names(value: &Value) -> BTreeSet<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    /// The table of fields and the types of bodies describe the same fields. A test of `xtask` validates the values.
    #[test]
    fn schemas_have_exactly_the_fields_of_the_bodies() {
        for entry in catalogue().unwrap() {
            for (format, fields) in [(PayloadFormat::Berth, Fields::All), (PayloadFormat::Thin, Fields::Thin)] {
                let schema = schema(entry.event_type, fields);
                let example = entry.examples.iter().find(|example| example.format == format).unwrap();
                assert_eq!(names(&schema["properties"]), names(&example.body), "{}", entry.event_type);
                let required: BTreeSet<_> =
                    schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
                assert_eq!(required, names(&schema["properties"]), "every field of an event is always present");
                for (name, property) in schema["properties"].as_object().unwrap() {
                    assert!(property["description"].as_str().is_some_and(|text| text.len() > 5), "{name}");
                }
            }
        }
    }

    #[test]
    fn catalogue_has_every_event_and_format() {
        let catalogue = catalogue().unwrap();
        assert_eq!(catalogue.iter().map(|entry| entry.event_type).collect::<Vec<_>>(), EventType::ALL);
        for entry in &catalogue {
            let formats: Vec<_> = entry.examples.iter().map(|example| example.format).collect();
            let sending: Vec<_> =
                PayloadFormat::ALL.into_iter().filter(|format| format.sends(entry.event_type)).collect();
            assert_eq!(formats, sending);
            assert!(entry.delivery_path.starts_with('/') && entry.sent_when.ends_with('.'), "{entry:?}");
        }
        let text = serde_json::to_string(&catalogue).unwrap();
        assert_eq!(serde_json::from_str::<Vec<CatalogueEntry>>(&text).unwrap(), catalogue);
    }

    #[test]
    fn examples_are_the_types_of_bodies() {
        use crate::event::{AccessRequestBody, ReservationBody};
        for entry in catalogue().unwrap() {
            let body = serde_json::to_vec(&entry.examples[0].body).unwrap();
            match entry.event_type {
                EventType::AccessRequested => drop(crate::input::from_json::<AccessRequestBody>(&body).unwrap()),
                _ => drop(crate::input::from_json::<ReservationBody>(&body).unwrap()),
            }
        }
    }
}
