//! Validation of received events against the JSON Schemas in `docs/schemas/`.
//!
//! It knows the keywords that these schemas use, except `pattern`, because a full validator would change the features of
//! the server's dependencies. A test of `xtask` validates the examples with one.

#![expect(clippy::unwrap_used, reason = "a test harness fails by panicking")]

use crate::ReceivedRequest;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::Path;

/// The folder of the schemas.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schemas/events");
/// The content type of a CloudEvent in the structured content mode.
const CLOUD_EVENT: &str = "application/cloudevents+json";

/// The deviations of an event from its schema; none for other requests.
pub(crate) fn violations(request: &ReceivedRequest) -> Vec<String> {
    let event = match (request.header("content-type"), &request.body) {
        (CLOUD_EVENT, body) => &body["data"],
        (_, body) => body,
    };
    let Some(fields) = event.as_object().filter(|fields| fields.contains_key("event_type")) else { return Vec::new() };
    // Snippets for receivers and tests of the crate `delivery` send other bodies.
    let sender = request.header("user-agent");
    if !sender.starts_with("Berth-Webhooks/") || sender == "Berth-Webhooks/test" {
        return Vec::new();
    }
    // Requests to the operations webhook are no events (docs/contract.md §9).
    if request.event().starts_with("alert.") || fields.contains_key("alert") {
        return Vec::new();
    }
    // Certification sends fields and event types that no schema describes.
    let is_known =
        Path::new(FOLDER).join(format!("{}.json", request.event())).exists() && !fields.contains_key("x_certification");
    if !is_known && event["test"] == true {
        return Vec::new();
    }
    let folder = if fields.contains_key("resource_url") { "thin/" } else { "" };
    let schema = schema(&format!("{folder}{}.json", request.event()));
    let mut found = Vec::new();
    check("", &schema, event, &mut found);
    let known = schema["properties"].as_object().cloned().unwrap_or_default();
    found.extend(unknown(fields, &known).map(|name| format!("{name}: the schema does not describe it")));
    found
}

fn unknown<'a>(fields: &'a Map<String, Value>, known: &'a Map<String, Value>) -> impl Iterator<Item = &'a String> {
    fields.keys().filter(|name| !known.contains_key(*name))
}

/// Reads a schema once.
fn schema(name: &str) -> Value {
    static READ: Mutex<Option<HashMap<String, Value>>> = Mutex::new(None);
    let mut read = READ.lock();
    let schemas = read.get_or_insert_default();
    let load = || serde_json::from_str(&std::fs::read_to_string(Path::new(FOLDER).join(name)).unwrap()).unwrap();
    schemas.entry(name.to_owned()).or_insert_with(load).clone()
}

fn check(path: &str, schema: &Value, value: &Value, found: &mut Vec<String>) {
    for (keyword, expected) in schema.as_object().unwrap() {
        let holds = match (keyword.as_str(), expected.as_str()) {
            ("$schema" | "title" | "description" | "pattern", _) => true,
            ("type", Some("object")) => value.is_object(),
            ("type", Some("string")) => value.is_string(),
            ("type", Some("boolean")) => value.is_boolean(),
            ("type", Some("integer")) => value.is_i64() || value.is_u64(),
            ("const", _) => value == expected,
            ("minimum", _) => value.as_i64() >= expected.as_i64(),
            ("format", Some("date-time")) => value.as_str().is_some_and(is_time),
            ("format", Some("uri")) => value.as_str().is_some_and(|text| url::Url::parse(text).is_ok()),
            ("required", _) => expected.as_array().unwrap().iter().all(|name| !value[name.as_str().unwrap()].is_null()),
            ("properties", _) => {
                for (name, property) in expected.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        check(&format!("{path}/{name}"), property, value, found);
                    }
                }
                true
            }
            _ => false,
        };
        if !holds {
            found.push(format!("{path}: {value} does not satisfy {keyword} {expected}"));
        }
    }
}

/// Whether a text is a time in UTC with the suffix `Z`, as docs/contract.md §1 promises.
fn is_time(text: &str) -> bool {
    text.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(text).is_ok()
}
