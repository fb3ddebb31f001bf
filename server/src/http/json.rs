//! JSON bodies: reading, size limit, and errors that name the field without parser terms.

use super::AppState;
use super::problem::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use domain::{Problem, ProblemKind};
use serde::de::DeserializeOwned;

/// Longest error text that is returned, in characters.
const MAX_ERROR_TEXT: usize = 300;

/// A JSON body with the digest of its bytes.
pub struct Json<T> {
    /// The parsed body.
    pub value: T,
    /// SHA-256 of the raw bytes in hex, for `Idempotency-Key`.
    pub digest: String,
}

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        let is_json = is_json(request.headers());
        let bytes = body(request, app).await?;
        if !is_json {
            return Err(not_json().into());
        }
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes));
        Ok(Self { value: parse(&bytes)?, digest })
    }
}

/// An optional JSON body: an empty one counts as `{}`.
pub struct MaybeJson<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for MaybeJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        let is_json = is_json(request.headers());
        let bytes = body(request, app).await?;
        if bytes.is_empty() {
            return Ok(Self(parse(b"{}")?));
        }
        if !is_json {
            return Err(not_json().into());
        }
        Ok(Self(parse(&bytes)?))
    }
}

/// Reads the whole body.
///
/// # Errors
/// Returns 413 if the body exceeds [`super::MAX_BODY`], and 400 if the connection ends early.
pub async fn body(request: Request, app: &AppState) -> Result<Bytes, Problem> {
    Bytes::from_request(request, app).await.map_err(|rejection| {
        if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
            Problem::new(ProblemKind::TooLarge, format!("The body exceeds {} KiB.", super::MAX_BODY / 1024))
        } else {
            Problem::malformed("The connection ended before the whole body was received. Send the request again.")
        }
    })
}

/// Whether `Content-Type` is `application/json` or a type that ends with `+json`.
pub fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

/// Problem for a body with another content type (415).
pub fn not_json() -> Problem {
    Problem::new(ProblemKind::UnsupportedMediaType, "Send JSON with Content-Type: application/json.")
}

/// Parses JSON.
///
/// # Errors
/// Returns 400 with line and column for a syntax error, and 422 with the field for a value of another type.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = field_path(error.path());
        let inner = error.inner();
        if !inner.is_data() {
            return Problem::malformed(domain::json_error::describe(inner));
        }
        let text = inner.to_string();
        field_error(&path, text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text), "body")
    })?;
    reader.end().map_err(|error| Problem::malformed(domain::json_error::describe(&error)))?;
    Ok(value)
}

/// Formats a path in the notation of [`domain::FieldError`], e.g. `headers.0.name`; empty for the whole body.
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
    let child = |field: &str| if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
    let here = if path.is_empty() { root } else { path };
    if let Some(field) = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return Problem::field(child(field), "This field is required.");
    }
    if let Some(field) = text.strip_prefix("duplicate field `").and_then(|rest| rest.strip_suffix('`')) {
        return Problem::field(child(field), "This field occurs twice.");
    }
    if let Some((field, rest)) = text.strip_prefix("unknown field `").and_then(|rest| rest.split_once("`, ")) {
        // The path ends with the unknown field itself, except at the top level.
        let is_in_path = path == field || path.ends_with(&format!(".{field}"));
        let field = if is_in_path { path.to_owned() } else { child(field) };
        return Problem::field(field, format!("Unknown field.{}", expected_names_remedy(rest)));
    }
    if let Some((_, rest)) = text.strip_prefix("unknown variant `").and_then(|rest| rest.split_once("`, ")) {
        return Problem::field(here, format!("Unknown value.{}", expected_names_remedy(rest)));
    }
    if let Some((found, expected)) =
        text.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected "))
    {
        return Problem::field(here, format!("Expected {}, got {}.", type_name(expected), found_type(found)));
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

/// Remedy from serde's list of expected names, with a leading space: " Use one of `a`, `b`."
fn expected_names_remedy(rest: &str) -> String {
    rest.strip_prefix("expected ").map_or_else(String::new, |known| format!(" Use {known}."))
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
        _ if expected.starts_with("struct ") || expected.contains("internally tagged enum") => "an object",
        _ if expected.starts_with("tuple ") || expected.starts_with("a tuple ") => "a list",
        _ if expected.starts_with("enum ") || expected.starts_with("variant ") => "one of the documented values",
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
    use chrono::{DateTime, Utc};
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Color {
        Red,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "the tests use only the errors")]
    struct Input {
        name: String,
        count: Option<u32>,
        color: Option<Color>,
        tags: Option<Vec<String>>,
        at: Option<DateTime<Utc>>,
        ratio: Option<f64>,
        on: Option<bool>,
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
            (r#"{"name": "x", "at": "soon"}"#, "at", "Give the time as RFC 3339, e.g. 2026-01-31T12:00:00Z."),
            (
                r#"{"name": "x", "at": 7}"#,
                "at",
                "Expected a time in RFC 3339, e.g. 2026-01-31T12:00:00Z, got a number.",
            ),
            ("[]", "name", ""),
            ("7", "body", "Expected an object, got a number."),
        ] {
            let problem = parse::<Input>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.kind, ProblemKind::Invalid, "{body}: {problem:?}");
            if !message.is_empty() {
                assert_eq!((problem.errors[0].field.as_str(), problem.errors[0].message.as_str()), (field, message));
            }
        }
        let problem = parse::<Input>(br#"{"nome": "x"}"#).unwrap_err();
        assert_eq!(problem.errors[0].field, "nome");
        assert!(problem.errors[0].message.starts_with("Unknown field. Use one of `name`,"), "{problem:?}");
    }

    #[test]
    fn syntax_errors_name_line_and_column() {
        for (body, detail) in [
            (r#"{"name": "x""#, "Invalid JSON at line 1, column 12: missing `}`."),
            ("{\"name\": \"x\"}\nrest", "Invalid JSON at line 2, column 1: unexpected text after the end."),
        ] {
            let problem = parse::<Input>(body.as_bytes()).unwrap_err();
            assert_eq!((problem.kind, problem.detail.as_str()), (ProblemKind::Malformed, detail));
        }
    }
}
