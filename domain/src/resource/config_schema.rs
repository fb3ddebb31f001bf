//! Config schemas: a flat subset of JSON Schema for the configuration fields of a reservation.

use crate::problem::FieldError;
use serde_json::{Map, Value};

/// The kind of a config field.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldKind {
    /// A text, at most `max_length` characters (4,096 by default).
    Text {
        /// `maxLength`.
        max_length: u32,
    },
    /// One of these texts (`enum`).
    Choice {
        /// The choices, in order.
        options: Vec<String>,
    },
    /// A whole number.
    Integer {
        /// `minimum`.
        minimum: Option<i64>,
        /// `maximum`.
        maximum: Option<i64>,
    },
    /// A number.
    Number {
        /// `minimum`.
        minimum: Option<f64>,
        /// `maximum`.
        maximum: Option<f64>,
    },
    /// Yes or no.
    Boolean,
}

/// A field of a config schema, as shown in the form.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigField {
    /// The key in `additional_config`.
    pub name: String,
    /// `title`, or the name.
    pub title: String,
    /// `description`, `""` when absent.
    pub description: String,
    /// The accepted values.
    pub kind: FieldKind,
    /// `default`, if any: the initial value in the form.
    pub default: Option<Value>,
    /// Whether `required` contains it.
    pub required: bool,
}

/// A parsed config schema, a flat subset of JSON Schema. `type` is `object`; `properties` are string, integer, number,
/// boolean or enum. Other keywords: `title`, `description`, `default`, `minimum`, `maximum`, `maxLength`, `required`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigSchema {
    /// The fields in the schema's order.
    pub fields: Vec<ConfigField>,
}

impl ConfigSchema {
    /// Parses a schema; `{}` and null are a schema without fields.
    ///
    /// # Errors
    /// The unsupported keywords and values, each with its dotted path and a remedy.
    pub fn parse(schema: &Value) -> Result<Self, Vec<FieldError>> {
        parse_schema(schema)
    }

    /// Checks `config` against the schema and adds the defaults of absent fields.
    ///
    /// # Errors
    /// The invalid fields: unknown, missing, of the wrong type, or out of range.
    pub fn check(&self, config: &Map<String, Value>) -> Result<Map<String, Value>, Vec<FieldError>> {
        check(self, config)
    }

    /// The values that fit their fields, of a configuration that may belong to another schema.
    pub fn accepted(&self, mut config: Map<String, Value>) -> Map<String, Value> {
        let fits = |name: &str, value: &Value| {
            self.fields.iter().any(|field| field.name == name && check_value(field, value).is_ok())
        };
        config.retain(|name, value| fits(name, value));
        config
    }

    /// A valid configuration from defaults and minimum values, for test events (docs/contract.md §1).
    pub fn sample(&self) -> Map<String, Value> {
        sample(self)
    }
}

/// Maximum length of a text without `maxLength`.
const MAX_TEXT: u32 = 4_096;
/// Maximum number of fields in a schema.
const MAX_FIELDS: usize = 50;

struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), message: message.into() });
    }
}

fn parse_schema(schema: &Value) -> Result<ConfigSchema, Vec<FieldError>> {
    let mut errors = Errors(Vec::new());
    let schema = match schema {
        Value::Null => return Ok(ConfigSchema::default()),
        Value::Object(schema) if schema.is_empty() => return Ok(ConfigSchema::default()),
        Value::Object(schema) => schema,
        _ => {
            errors.add("type", "A config schema is a JSON object, e.g. {\"type\": \"object\", \"properties\": {}}.");
            return Err(errors.0);
        }
    };
    for (keyword, value) in schema {
        match keyword.as_str() {
            "type" if value == "object" => {}
            "type" => errors.add("type", "The schema's type is \"object\"."),
            "properties" | "required" | "title" | "description" | "$schema" | "$id" => {}
            "additionalProperties" if value == false => {}
            "additionalProperties" => {
                errors.add(
                    "additionalProperties",
                    "Unknown fields are always rejected. Remove this keyword or set it to false.",
                );
            }
            other => errors.add(other, "This keyword is not supported. Use type, properties and required."),
        }
    }
    let required: Vec<&str> = match schema.get("required") {
        None => Vec::new(),
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
            names.iter().filter_map(Value::as_str).collect()
        }
        Some(_) => {
            errors.add("required", "Write an array of field names.");
            Vec::new()
        }
    };
    let mut parsed = ConfigSchema::default();
    match schema.get("properties") {
        None => {}
        Some(Value::Object(properties)) if properties.len() <= MAX_FIELDS => {
            for (name, property) in properties {
                if let Some(field) = parse_field(name, property, required.contains(&name.as_str()), &mut errors) {
                    parsed.fields.push(field);
                }
            }
            for name in &required {
                if !properties.contains_key(*name) {
                    errors.add("required", format!("\"{name}\" is not among the properties."));
                }
            }
        }
        Some(Value::Object(_)) => errors.add("properties", "At most 50 fields."),
        Some(_) => errors.add("properties", "Write an object of field name → field."),
    }
    if errors.0.is_empty() { Ok(parsed) } else { Err(errors.0) }
}

/// Parses a field; adds its errors and returns `None` when it is invalid.
fn parse_field(name: &str, property: &Value, required: bool, errors: &mut Errors) -> Option<ConfigField> {
    let path = format!("properties.{name}");
    let is_valid_name =
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !is_valid_name {
        errors.add(&path, "Use 1 to 64 letters, digits, _ or - for a field's name.");
        return None;
    }
    let Value::Object(property) = property else {
        errors.add(&path, "Use an object with a type, for example {\"type\": \"string\"}.");
        return None;
    };
    let errors_before = errors.0.len();
    check_keywords(&path, property, errors);
    if errors.0.len() > errors_before {
        return None;
    }
    let kind = parse_kind(property);
    let is_reversed = match &kind {
        FieldKind::Integer { minimum: Some(low), maximum: Some(high) } => low > high,
        FieldKind::Number { minimum: Some(low), maximum: Some(high) } => low > high,
        _ => false,
    };
    if is_reversed {
        errors.add(format!("{path}.minimum"), "The minimum is above the maximum.");
        return None;
    }
    let text = |key: &str| property.get(key).and_then(Value::as_str).map(str::to_owned);
    let field = ConfigField {
        name: name.to_owned(),
        title: text("title").filter(|t| crate::validation::is_visible(t)).unwrap_or_else(|| name.to_owned()),
        description: text("description").unwrap_or_default(),
        kind,
        default: property.get("default").cloned(),
        required,
    };
    if let Some(default) = &field.default
        && let Err(message) = check_value(&field, default)
    {
        errors.add(format!("{path}.default"), format!("The default does not match the field: {message}"));
        return None;
    }
    Some(field)
}

/// The `type` keyword of a field; `""` when absent.
fn type_name(property: &Map<String, Value>) -> &str {
    property.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Adds an error for each unsupported keyword or value of a field.
fn check_keywords(path: &str, property: &Map<String, Value>, errors: &mut Errors) {
    let mut require = |key: &str, is_valid: bool, message: &str| {
        if !is_valid {
            errors.add(format!("{path}.{key}"), message);
        }
    };
    let kind = type_name(property);
    for (key, value) in property {
        match key.as_str() {
            "type" => require(
                key,
                matches!(kind, "string" | "integer" | "number" | "boolean"),
                "Use \"string\", \"integer\", \"number\" or \"boolean\".",
            ),
            "title" | "description" => {
                require(key, value.as_str().is_some_and(|t| t.len() <= 500), "Use a text of at most 500 bytes.");
            }
            "default" => {}
            "enum" => require(
                key,
                kind == "string"
                    && value.as_array().is_some_and(|o| (1..=100).contains(&o.len()) && o.iter().all(Value::is_string)),
                "Use an array of 1 to 100 texts (for a string).",
            ),
            "maxLength" => require(
                key,
                kind == "string" && value.as_u64().is_some_and(|n| (1..=u64::from(MAX_TEXT)).contains(&n)),
                "Use a whole number from 1 to 4096 (for a string).",
            ),
            "minimum" | "maximum" => require(
                key,
                match kind {
                    "integer" => value.is_i64(),
                    "number" => value.is_number(),
                    _ => false,
                },
                "Use a number (a whole number for an integer).",
            ),
            other => require(
                other,
                false,
                "This keyword is not supported. Use type, title, description, default, enum, minimum, maximum, maxLength.",
            ),
        }
    }
    if !property.contains_key("type") {
        require("type", false, "Add the type: \"string\", \"integer\", \"number\" or \"boolean\".");
    }
}

/// The kind of a field whose keywords are valid.
fn parse_kind(property: &Map<String, Value>) -> FieldKind {
    match type_name(property) {
        "string" => match property.get("enum").and_then(Value::as_array) {
            Some(options) => {
                FieldKind::Choice { options: options.iter().filter_map(Value::as_str).map(str::to_owned).collect() }
            }
            None => FieldKind::Text {
                max_length: property.get("maxLength").and_then(Value::as_u64).map_or(MAX_TEXT, |n| n as u32),
            },
        },
        "integer" => FieldKind::Integer {
            minimum: property.get("minimum").and_then(Value::as_i64),
            maximum: property.get("maximum").and_then(Value::as_i64),
        },
        "number" => FieldKind::Number {
            minimum: property.get("minimum").and_then(Value::as_f64),
            maximum: property.get("maximum").and_then(Value::as_f64),
        },
        _ => FieldKind::Boolean,
    }
}

fn check_value(field: &ConfigField, value: &Value) -> Result<(), String> {
    match &field.kind {
        FieldKind::Text { max_length } => {
            let text = value.as_str().ok_or("Enter a text.")?;
            crate::validation::text(text, *max_length as usize)
        }
        FieldKind::Choice { options } => {
            let is_valid = value.as_str().is_some_and(|text| options.iter().any(|option| option == text));
            if is_valid { Ok(()) } else { Err(format!("Choose one of: {}.", options.join(", "))) }
        }
        FieldKind::Integer { minimum, maximum } => {
            let number = value.as_i64().ok_or("Enter a whole number.")?;
            if minimum.is_some_and(|low| number < low) || maximum.is_some_and(|high| number > high) {
                return Err(range(minimum.as_ref(), maximum.as_ref()));
            }
            Ok(())
        }
        FieldKind::Number { minimum, maximum } => {
            let number = value.as_f64().ok_or("Enter a number.")?;
            if minimum.is_some_and(|low| number < low) || maximum.is_some_and(|high| number > high) {
                return Err(range(minimum.as_ref(), maximum.as_ref()));
            }
            Ok(())
        }
        FieldKind::Boolean => {
            if value.is_boolean() {
                Ok(())
            } else {
                Err("Choose yes or no (true or false).".into())
            }
        }
    }
}

fn range<T: std::fmt::Display>(minimum: Option<&T>, maximum: Option<&T>) -> String {
    match (minimum, maximum) {
        (Some(low), Some(high)) => format!("Enter a number from {low} to {high}."),
        (Some(low), None) => format!("Enter {low} or more."),
        (None, Some(high)) => format!("Enter {high} or less."),
        (None, None) => "Enter another number.".into(),
    }
}

fn check(schema: &ConfigSchema, config: &Map<String, Value>) -> Result<Map<String, Value>, Vec<FieldError>> {
    let mut errors = Errors(Vec::new());
    for name in config.keys() {
        if !schema.fields.iter().any(|field| field.name == *name) {
            let known: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
            let message = if known.is_empty() {
                "This resource type takes no configuration. Remove the field.".to_owned()
            } else {
                format!("This field does not exist. Use one of: {}.", known.join(", "))
            };
            errors.add(name.chars().take(64).collect::<String>(), message);
        }
    }
    let mut checked = Map::new();
    for field in &schema.fields {
        match config.get(&field.name).filter(|value| !value.is_null()) {
            Some(value) => match check_value(field, value) {
                Ok(()) if field.required && value.as_str().is_some_and(|t| !crate::validation::is_visible(t)) => {
                    errors.add(&field.name, "Fill this field.");
                }
                Ok(()) => {
                    checked.insert(field.name.clone(), value.clone());
                }
                Err(message) => errors.add(&field.name, message),
            },
            None => match &field.default {
                Some(default) => {
                    checked.insert(field.name.clone(), default.clone());
                }
                None if field.required => errors.add(&field.name, "Fill this field."),
                None => {}
            },
        }
    }
    if errors.0.is_empty() { Ok(checked) } else { Err(errors.0) }
}

fn sample(schema: &ConfigSchema) -> Map<String, Value> {
    schema
        .fields
        .iter()
        .map(|field| {
            let value = field.default.clone().unwrap_or_else(|| match &field.kind {
                FieldKind::Text { max_length } => {
                    "sample".chars().take(*max_length as usize).collect::<String>().into()
                }
                FieldKind::Choice { options } => options.first().cloned().unwrap_or_default().into(),
                FieldKind::Integer { minimum, maximum } => {
                    minimum.unwrap_or_else(|| maximum.map_or(1, |high| high.min(1))).into()
                }
                FieldKind::Number { minimum, maximum } => {
                    minimum.unwrap_or_else(|| maximum.map_or(1.0, |high| high.min(1.0))).into()
                }
                FieldKind::Boolean => Value::Bool(false),
            });
            (field.name.clone(), value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn gpu() -> ConfigSchema {
        parse_schema(&json!({"type": "object", "required": ["gpu_type"], "properties": {
            "gpu_type": {"type": "string", "enum": ["nvidia-a100", "nvidia-h100"], "title": "GPU"},
            "gpu_count": {"type": "integer", "minimum": 1, "maximum": 16, "default": 4},
            "share": {"type": "number", "minimum": 0.5}, "spot": {"type": "boolean"}, "note": {"type": "string", "maxLength": 5}
        }}))
        .unwrap()
    }

    fn errors(config: Value) -> Vec<String> {
        match check(&gpu(), config.as_object().unwrap()) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.into_iter().map(|e| e.field).collect(),
        }
    }

    #[test]
    fn fields_keep_their_order_and_defaults_are_added() {
        let names: Vec<String> = gpu().fields.into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["gpu_type", "gpu_count", "share", "spot", "note"]);
        let config = check(&gpu(), json!({"gpu_type": "nvidia-a100"}).as_object().unwrap()).unwrap();
        assert_eq!(Value::Object(config), json!({"gpu_type": "nvidia-a100", "gpu_count": 4}));
        assert!(check(&gpu(), &gpu().sample()).is_ok());
    }

    #[test]
    fn every_invalid_field_is_named() {
        assert_eq!(errors(json!({})), ["gpu_type"]);
        assert_eq!(
            errors(json!({"gpu_type": "x", "gpu_count": 17, "share": 0.1, "spot": "yes", "note": "123456", "more": 1})),
            ["more", "gpu_type", "gpu_count", "share", "spot", "note"]
        );
        assert_eq!(errors(json!({"gpu_type": "nvidia-a100", "gpu_count": 1.5})), ["gpu_count"]);
        assert_eq!(errors(json!({"gpu_type": "nvidia-a100", "note": "a\u{0}"})), ["note"]);
    }

    #[test]
    fn values_that_do_not_fit_are_not_accepted() {
        let config = json!({"gpu_type": "x", "gpu_count": 8, "share": 0.1, "note": "ok", "more": 1});
        let accepted = gpu().accepted(config.as_object().unwrap().clone());
        assert_eq!(Value::Object(accepted), json!({"gpu_count": 8, "note": "ok"}));
    }

    #[test]
    fn unsupported_schemas_are_rejected_with_their_path() {
        for (schema, field) in [
            (json!([]), "type"),
            (json!({"type": "array"}), "type"),
            (json!({"oneOf": []}), "oneOf"),
            (json!({"properties": {"a": {"type": "object"}}}), "properties.a.type"),
            (json!({"properties": {"a": {}}}), "properties.a.type"),
            (json!({"properties": {"a b": {"type": "string"}}}), "properties.a b"),
            (json!({"properties": {"a": {"type": "integer", "minimum": 2, "maximum": 1}}}), "properties.a.minimum"),
            (json!({"properties": {"a": {"type": "integer", "default": "x"}}}), "properties.a.default"),
            (json!({"properties": {"a": {"type": "string", "pattern": "x"}}}), "properties.a.pattern"),
            (json!({"required": ["a"], "properties": {}}), "required"),
        ] {
            let errors = parse_schema(&schema).unwrap_err();
            assert_eq!(errors[0].field, field, "{schema}");
        }
        assert_eq!(parse_schema(&json!({})).unwrap(), ConfigSchema::default());
    }
}
