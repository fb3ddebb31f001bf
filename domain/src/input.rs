//! Reading of JSON bodies, with errors that name the field in JSON terms (docs/contract.md §6).
//!
//! A derived `Deserialize` also reads a structure from an array, by position, and ignores unknown fields. [`from_json`]
//! does neither, at any depth: a misplaced value must not change another field, and a misspelt field must not be
//! ignored. Only [`from_json`] reads bodies of the API; stored JSON stays tolerant, because a later release may add
//! fields.

use crate::problem::Problem;
use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_json::{Map, Value};
use std::fmt;

/// Longest error text that is returned, in characters.
const MAX_ERROR_TEXT: usize = 300;

/// Parses a JSON body. Enums with content are not supported, because no body contains one.
///
/// # Errors
/// 400 with line and column for a syntax error. 422 with the field for a value of another type, an unknown field, and a
/// field that occurs twice.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Paths are only needed for errors, and take as long as the rest. A body with an error is therefore read twice.
    match read_valid(bytes) {
        Some(body) => Ok(body),
        None => read_with_paths(bytes),
    }
}

/// Reads a body without an error; `None` if there is one.
fn read_valid<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let UniqueNames(value) = UniqueNames::deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    T::deserialize(Strict(value)).ok()
}

/// Reads a body, and names the field of an error.
fn read_with_paths<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let value = parse(bytes)?;
    serde_path_to_error::deserialize(Strict(value))
        .map_err(|error| field_error(&field_path(error.path()), &error.inner().to_string(), "body"))
}

/// Parses JSON whose objects contain each name once.
fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let UniqueNames(value) = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let inner = error.inner();
        if !inner.is_data() {
            return Problem::malformed(crate::json_error::describe(inner));
        }
        let text = inner.to_string();
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        field_error(&field_path(error.path()), text, "body")
    })?;
    reader.end().map_err(|error| Problem::malformed(crate::json_error::describe(&error)))?;
    Ok(value)
}

/// A value whose objects contain each name once. A plain [`Value`] keeps the last of several.
struct UniqueNames(Value);

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueNamesVisitor).map(Self)
    }
}

struct UniqueNamesVisitor;

impl<'de> Visitor<'de> for UniqueNamesVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(UniqueNames(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, UniqueNames(value))) = fields.next_entry::<String, _>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
            }
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

/// A deserializer that reads structures from objects only, with known fields only, and enums from their wire names.
struct Strict(Value);

/// The error of a value of another type than the visitor expects.
fn wrong_type<'de>(found: &Value, visitor: &impl Visitor<'de>) -> Error {
    let unexpected = match found {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => Unexpected::Unsigned(value),
            (None, Some(value)) => Unexpected::Signed(value),
            (None, None) => Unexpected::Float(number.as_f64().unwrap_or(f64::INFINITY)),
        },
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    };
    Error::invalid_type(unexpected, visitor)
}

impl<'de> Deserializer<'de> for Strict {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::INFINITY)),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => {
                let mut items = SeqDeserializer::<_, Error>::new(items.into_iter().map(Strict));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| (name, Strict(value)));
                let mut fields = MapDeserializer::<_, Error>::new(fields);
                let value = visitor.visit_map(&mut fields)?;
                fields.end()?;
                Ok(value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Value::Object(fields) = &self.0 else { return Err(wrong_type(&self.0, &visitor)) };
        match fields.keys().find(|name| !names.contains(&name.as_str())) {
            Some(unknown) => Err(Error::unknown_field(unknown, names)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(name.into_deserializer()),
            other => Err(wrong_type(&other, &visitor)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Strict {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Formats a path in the notation of [`crate::FieldError`], e.g. `headers.0.name`; empty for the whole body.
pub fn field_path(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let parts = path.iter().map(|segment| match segment {
        Segment::Seq { index } => index.to_string(),
        Segment::Map { key } => key.clone(),
        Segment::Enum { variant } => variant.clone(),
        Segment::Unknown => "?".to_owned(),
    });
    parts.collect::<Vec<_>>().join(".")
}

/// Converts serde's message about the value at `path` to a problem. `root` is the name of the whole input.
pub fn field_error(path: &str, text: &str, root: &str) -> Problem {
    let here = if path.is_empty() { root } else { path };
    let child = |field: &str| match (path, field) {
        (_, "") => here.to_owned(),
        ("", field) => field.to_owned(),
        (path, field) => format!("{path}.{field}"),
    };
    if let Some(field) = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return Problem::field(child(field), "This field is required.");
    }
    if let Some(field) = text.strip_prefix("duplicate field `").and_then(|rest| rest.strip_suffix('`')) {
        return Problem::field(child(field), "This field occurs twice.");
    }
    if let Some(rest) = text.strip_prefix("unknown field `") {
        return match rest.rsplit_once("`, expected ") {
            Some((field, known)) => Problem::field(child(field), format!("Unknown field. Use {known}.")),
            None => Problem::field(child(rest.trim_end_matches("`, there are no fields")), "Unknown field. Remove it."),
        };
    }
    if let Some((_, rest)) = text.strip_prefix("unknown variant `").and_then(|rest| rest.rsplit_once("`, expected ")) {
        return Problem::field(here, format!("Unknown value. Use {rest}."));
    }
    if let Some((found, expected)) =
        text.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected "))
    {
        return match type_name(expected) {
            "an object" => Problem::field(here, "Send an object."),
            expected => Problem::field(here, format!("Expected {expected}, got {}.", found_type(found))),
        };
    }
    if let Some((_, expected)) = text.strip_prefix("invalid value: ").and_then(|rest| rest.rsplit_once(", expected ")) {
        return Problem::field(here, format!("This value is not allowed. Use {}.", type_name(expected)));
    }
    if text.starts_with("invalid length ") {
        return Problem::field(here, "This list has the wrong number of items.");
    }
    if is_time_error(text) {
        return Problem::field(here, "Give the time as RFC 3339, e.g. 2026-01-31T12:00:00Z.");
    }
    Problem::field(here, to_sentence(text))
}

/// Translates serde's name of an expected type to JSON terms.
fn type_name(expected: &str) -> &str {
    match expected {
        "a string" | "string" | "a character" | "str" => "a string",
        "a boolean" => "true or false",
        "a sequence" | "an array" => "a list",
        "a map" | "map" => "an object",
        "a formatted date and time string or a unix timestamp" | "an RFC 3339 formatted date and time string" => {
            "a time in RFC 3339, e.g. 2026-01-31T12:00:00Z"
        }
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        _ if expected.starts_with("struct ") => "an object",
        _ if expected.starts_with("tuple ") || expected.starts_with("a tuple ") => "a list",
        // A body contains only enums that are written as a string.
        _ if expected.starts_with("enum ") || expected.starts_with("variant ") => "a string",
        _ => expected,
    }
}

/// Translates serde's description of a found value to JSON terms.
fn found_type(found: &str) -> &str {
    match found.split([' ', '`']).next() {
        Some("string" | "character") => "a string",
        Some("integer") => "a number",
        Some("floating") => "a fraction",
        Some("boolean") => "true or false",
        Some("sequence") => "a list",
        Some("map") => "an object",
        Some("null" | "unit" | "Option") => "null",
        _ => "another type",
    }
}

/// Whether a message of chrono reports a malformed time.
fn is_time_error(text: &str) -> bool {
    ["input ", "premature end of input", "trailing input", "no possible date"]
        .iter()
        .any(|start| text.starts_with(start))
}

fn to_sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    let rest: String = letters.as_str().chars().take(MAX_ERROR_TEXT).collect();
    let end = if rest.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{rest}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::ProblemKind;
    use crate::webhook::{WebhookInput, WebhookPatch};
    use chrono::{DateTime, Utc};
    use proptest::prelude::*;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Color {
        Red,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "the tests use only the errors")]
    struct Input {
        name: String,
        count: Option<u32>,
        color: Option<Color>,
        tags: Option<Vec<String>>,
        at: Option<DateTime<Utc>>,
        ratio: Option<f64>,
        on: Option<bool>,
        inner: Option<Inner>,
        rest: Option<Map<String, Value>>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "the tests use only the errors")]
    struct Inner {
        name: String,
    }

    #[test]
    fn type_errors_name_the_field_without_parser_terms() {
        for (body, field, message) in [
            ("{}", "name", "This field is required."),
            (r#"{"name": 7}"#, "name", "Expected a string, got a number."),
            (r#"{"name": null}"#, "name", "Expected a string, got null."),
            (r#"{"name": "x", "count": "7"}"#, "count", "Expected a whole number of 0 or more, got a string."),
            (r#"{"name": "x", "count": 1.5}"#, "count", "Expected a whole number of 0 or more, got a fraction."),
            (r#"{"name": "x", "count": -1}"#, "count", "This value is not allowed. Use a whole number of 0 or more."),
            (r#"{"name": "x", "tags": [1]}"#, "tags.0", "Expected a string, got a number."),
            (r#"{"name": "x", "tags": {}}"#, "tags", "Expected a list, got an object."),
            (r#"{"name": "x", "ratio": []}"#, "ratio", "Expected a number, got a list."),
            (r#"{"name": "x", "on": 1}"#, "on", "Expected true or false, got a number."),
            (r#"{"name": "x", "color": "blue"}"#, "color", "Unknown value. Use `red`."),
            (r#"{"name": "x", "color": "`, blue"}"#, "color", "Unknown value. Use `red`."),
            (r#"{"name": "x", "color": 5}"#, "color", "Expected a string, got a number."),
            (r#"{"name": "x", "color": ["red"]}"#, "color", "Expected a string, got a list."),
            (r#"{"name": "x", "color": {"red": null}}"#, "color", "Expected a string, got an object."),
            (r#"{"name": "x", "at": "soon"}"#, "at", "Give the time as RFC 3339, e.g. 2026-01-31T12:00:00Z."),
            (
                r#"{"name": "x", "at": 7}"#,
                "at",
                "Expected a time in RFC 3339, e.g. 2026-01-31T12:00:00Z, got a number.",
            ),
            (r#"{"name": "x", "inner": {}}"#, "inner.name", "This field is required."),
            (r#"{"name": "x", "name": "y"}"#, "name", "This field occurs twice."),
            (r#"{"name": "x", "rest": {"a": [{"b": 1, "b": 2}]}}"#, "rest.a.0.b", "This field occurs twice."),
            (r#"{"name": "x", "inner": {"nome": "y"}}"#, "inner.nome", "Unknown field. Use `name`."),
            (r#"{"name": "x", "inner": {"": "y"}}"#, "inner", "Unknown field. Use `name`."),
        ] {
            let problem = from_json::<Input>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.kind, ProblemKind::Invalid, "{body}: {problem:?}");
            let error = &problem.errors[0];
            assert_eq!((error.field.as_str(), error.message.as_str()), (field, message), "{body}");
        }
        let problem = from_json::<Input>(br#"{"nome": "x"}"#).unwrap_err();
        assert_eq!(problem.errors[0].field, "nome");
        assert!(problem.errors[0].message.starts_with("Unknown field. Use one of `name`,"), "{problem:?}");
    }

    #[test]
    fn structures_are_read_from_objects_only_at_every_depth() {
        for (body, field) in [
            (r#"["x"]"#, "body"),
            ("[]", "body"),
            ("7", "body"),
            ("null", "body"),
            (r#""x""#, "body"),
            (r#"{"name": "x", "inner": ["y"]}"#, "inner"),
            (r#"{"name": "x", "inner": "y"}"#, "inner"),
            (r#"{"name": "x", "rest": ["y"]}"#, "rest"),
        ] {
            let problem = from_json::<Input>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.kind, ProblemKind::Invalid, "{body}: {problem:?}");
            assert_eq!(problem.detail, format!("{field}: Send an object."), "{body}");
        }
        let read: Input = from_json(br#"{"name": "x", "inner": {"name": "y"}, "rest": {"a": [1]}}"#).unwrap();
        assert!(read.inner.is_some() && read.rest.is_some());
    }

    #[test]
    fn nested_settings_of_a_webhook_are_read_from_objects_only() {
        let input =
            json!({"name": "x", "endpoint_url": "https://a.example/", "events": [], "auth": {"method": "none"}});
        from_json::<WebhookInput>(input.to_string().as_bytes()).unwrap();
        for (field, value) in [
            ("auth", json!(["none"])),
            ("auth", json!("none")),
            ("delivery_paths", json!(["single"])),
            ("headers.0", json!([["X-Team", "infra"]])),
            ("retry", json!([[1, 2]])),
        ] {
            let name = field.split('.').next().unwrap();
            let problem = from_json::<WebhookPatch>(json!({name: value}).to_string().as_bytes()).unwrap_err();
            assert_eq!(problem.detail, format!("{field}: Send an object."), "{value}");
        }
        for (field, patch) in [
            ("auth.method", json!({"auth": {"method": 5}})),
            ("auth.method", json!({"auth": {"method": "magic"}})),
            ("auth.method", json!({"auth": {}})),
            ("auth.key", json!({"auth": {"method": "api_key", "key": 5}})),
            ("auth.key", json!({"auth": {"method": "none", "key": "x"}})),
            ("auth.token_url", json!({"auth": {"method": "oauth2", "client_id": "x"}})),
            ("auth.secret", json!({"auth": {"method": "api_key", "secret": "x"}})),
            ("delivery_paths.layout", json!({"delivery_paths": {"layout": 5}})),
            ("events.0", json!({"events": [5]})),
            ("retry.wait", json!({"retry": {"waits": [], "wait": 1}})),
            ("headers.0.nome", json!({"headers": [{"name": "a", "value": "b", "nome": 1}]})),
        ] {
            let problem = from_json::<WebhookPatch>(patch.to_string().as_bytes()).unwrap_err();
            assert_eq!(problem.kind, ProblemKind::Invalid, "{patch}: {problem:?}");
            assert_eq!(problem.errors[0].field, field, "{patch}: {problem:?}");
        }
    }

    #[test]
    fn syntax_errors_name_line_and_column() {
        for (body, detail) in [
            (r#"{"name": "x""#, "Invalid JSON at line 1, column 12: missing `}`."),
            ("{\"name\": \"x\"}\nrest", "Invalid JSON at line 2, column 1: unexpected text after the end."),
        ] {
            let problem = from_json::<Input>(body.as_bytes()).unwrap_err();
            assert_eq!((problem.kind, problem.detail.as_str()), (ProblemKind::Malformed, detail));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_rejected_as_malformed_or_invalid(body: Vec<u8>) {
            if let Err(problem) = from_json::<WebhookInput>(&body) {
                prop_assert!(matches!(problem.kind, ProblemKind::Malformed | ProblemKind::Invalid));
            }
        }
    }
}
