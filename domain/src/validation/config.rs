//! Config schemas: the flat subset of JSON Schema that a reservation form is generated from.

use crate::problem::FieldError;
use crate::resource::{ConfigField, ConfigSchema, FieldKind};
use serde_json::{Map, Value};

/// The longest text where the schema does not say.
const MAX_TEXT: u32 = 4_096;
/// The most fields of a schema.
const MAX_FIELDS: usize = 50;

struct Faults(Vec<FieldError>);

impl Faults {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), message: message.into() });
    }
}

/// See [`ConfigSchema::parse`].
///
/// # Errors
/// The keywords and values at fault.
pub fn parse_schema(schema: &Value) -> Result<ConfigSchema, Vec<FieldError>> {
    let mut faults = Faults(Vec::new());
    let schema = match schema {
        Value::Null => return Ok(ConfigSchema::default()),
        Value::Object(schema) if schema.is_empty() => return Ok(ConfigSchema::default()),
        Value::Object(schema) => schema,
        _ => {
            faults.add("type", "A config schema is a JSON object, e.g. {\"type\": \"object\", \"properties\": {}}.");
            return Err(faults.0);
        }
    };
    for (keyword, value) in schema {
        match keyword.as_str() {
            "type" if value == "object" => {}
            "type" => faults.add("type", "The schema's type is \"object\"."),
            "properties" | "required" | "title" | "description" | "$schema" | "$id" => {}
            "additionalProperties" if value == false => {}
            "additionalProperties" => {
                faults.add("additionalProperties", "Unknown fields are always refused; remove this or write false.");
            }
            other => faults.add(other, "This keyword is not supported; a schema is flat: type, properties, required."),
        }
    }
    let required: Vec<&str> = match schema.get("required") {
        None => Vec::new(),
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
            names.iter().filter_map(Value::as_str).collect()
        }
        Some(_) => {
            faults.add("required", "Write an array of field names.");
            Vec::new()
        }
    };
    let mut parsed = ConfigSchema::default();
    match schema.get("properties") {
        None => {}
        Some(Value::Object(properties)) if properties.len() <= MAX_FIELDS => {
            for (name, property) in properties {
                if let Some(field) = parse_field(name, property, required.contains(&name.as_str()), &mut faults) {
                    parsed.fields.push(field);
                }
            }
            for name in &required {
                if !properties.contains_key(*name) {
                    faults.add("required", format!("\"{name}\" is not among the properties."));
                }
            }
        }
        Some(Value::Object(_)) => faults.add("properties", "At most 50 fields."),
        Some(_) => faults.add("properties", "Write an object of field name → field."),
    }
    if faults.0.is_empty() { Ok(parsed) } else { Err(faults.0) }
}

fn parse_field(name: &str, property: &Value, required: bool, faults: &mut Faults) -> Option<ConfigField> {
    let path = format!("properties.{name}");
    let sound =
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !sound {
        faults.add(&path, "A field's name has 1 to 64 letters, digits, _ or -.");
        return None;
    }
    let Value::Object(property) = property else {
        faults.add(&path, "Write an object with a type, e.g. {\"type\": \"string\"}.");
        return None;
    };
    let before = faults.0.len();
    let mut keyword = |key: &str, ok: bool, message: &str| {
        if !ok {
            faults.add(format!("{path}.{key}"), message);
        }
    };
    let kind_name = property.get("type").and_then(Value::as_str).unwrap_or_default();
    for (key, value) in property {
        match key.as_str() {
            "type" => keyword(
                key,
                matches!(kind_name, "string" | "integer" | "number" | "boolean"),
                "Use \"string\", \"integer\", \"number\" or \"boolean\".",
            ),
            "title" | "description" => {
                keyword(key, value.as_str().is_some_and(|t| t.len() <= 500), "Write a text of at most 500 bytes.")
            }
            "default" => {}
            "enum" => keyword(
                key,
                kind_name == "string"
                    && value.as_array().is_some_and(|o| (1..=100).contains(&o.len()) && o.iter().all(Value::is_string)),
                "Write an array of 1 to 100 texts (for a string).",
            ),
            "maxLength" => keyword(
                key,
                kind_name == "string" && value.as_u64().is_some_and(|n| (1..=u64::from(MAX_TEXT)).contains(&n)),
                "Write a whole number from 1 to 4096 (for a string).",
            ),
            "minimum" | "maximum" => keyword(
                key,
                match kind_name {
                    "integer" => value.is_i64(),
                    "number" => value.is_number(),
                    _ => false,
                },
                "Write a number (a whole one for an integer).",
            ),
            other => keyword(
                other,
                false,
                "This keyword is not supported. Use type, title, description, default, enum, minimum, maximum, maxLength.",
            ),
        }
    }
    if !property.contains_key("type") {
        keyword("type", false, "Say the type: \"string\", \"integer\", \"number\" or \"boolean\".");
    }
    if faults.0.len() > before {
        return None;
    }
    let text = |key: &str| property.get(key).and_then(Value::as_str).map(str::to_owned);
    let kind = match kind_name {
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
    };
    let backwards = match &kind {
        FieldKind::Integer { minimum: Some(low), maximum: Some(high) } => low > high,
        FieldKind::Number { minimum: Some(low), maximum: Some(high) } => low > high,
        _ => false,
    };
    if backwards {
        faults.add(format!("{path}.minimum"), "The minimum is above the maximum.");
        return None;
    }
    let field = ConfigField {
        name: name.to_owned(),
        title: text("title").filter(|t| !t.is_empty()).unwrap_or_else(|| name.to_owned()),
        description: text("description").unwrap_or_default(),
        kind,
        default: property.get("default").cloned(),
        required,
    };
    if let Some(default) = &field.default
        && let Err(message) = check_value(&field, default)
    {
        faults.add(format!("{path}.default"), format!("The default does not fit the field: {message}"));
        return None;
    }
    Some(field)
}

fn check_value(field: &ConfigField, value: &Value) -> Result<(), String> {
    match &field.kind {
        FieldKind::Text { max_length } => {
            let text = value.as_str().ok_or("Enter a text.")?;
            crate::validation::text(text, *max_length as usize)
        }
        FieldKind::Choice { options } => {
            let sound = value.as_str().is_some_and(|text| options.iter().any(|option| option == text));
            if sound { Ok(()) } else { Err(format!("Choose one of: {}.", options.join(", "))) }
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

/// See [`ConfigSchema::check`].
///
/// # Errors
/// The fields at fault.
pub fn check(schema: &ConfigSchema, config: &Map<String, Value>) -> Result<Map<String, Value>, Vec<FieldError>> {
    let mut faults = Faults(Vec::new());
    for name in config.keys() {
        if !schema.fields.iter().any(|field| field.name == *name) {
            let known: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
            let message = if known.is_empty() {
                "This resource type takes no configuration. Remove the field.".to_owned()
            } else {
                format!("There is no such field. Known: {}.", known.join(", "))
            };
            faults.add(name.chars().take(64).collect::<String>(), message);
        }
    }
    let mut checked = Map::new();
    for field in &schema.fields {
        match config.get(&field.name).filter(|value| !value.is_null()) {
            Some(value) => match check_value(field, value) {
                Ok(()) if field.required && value.as_str().is_some_and(|t| t.trim().is_empty()) => {
                    faults.add(&field.name, "Fill this field.");
                }
                Ok(()) => {
                    checked.insert(field.name.clone(), value.clone());
                }
                Err(message) => faults.add(&field.name, message),
            },
            None => match &field.default {
                Some(default) => {
                    checked.insert(field.name.clone(), default.clone());
                }
                None if field.required => faults.add(&field.name, "Fill this field."),
                None => {}
            },
        }
    }
    if faults.0.is_empty() { Ok(checked) } else { Err(faults.0) }
}

/// See [`ConfigSchema::sample`].
pub fn sample(schema: &ConfigSchema) -> Map<String, Value> {
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

    fn faults(config: Value) -> Vec<String> {
        match check(&gpu(), config.as_object().unwrap()) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.into_iter().map(|e| e.field).collect(),
        }
    }

    #[test]
    fn fields_keep_the_schemas_order_and_defaults_fill_in() {
        let names: Vec<String> = gpu().fields.into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["gpu_type", "gpu_count", "share", "spot", "note"]);
        let config = check(&gpu(), json!({"gpu_type": "nvidia-a100"}).as_object().unwrap()).unwrap();
        assert_eq!(Value::Object(config), json!({"gpu_type": "nvidia-a100", "gpu_count": 4}));
        assert!(check(&gpu(), &gpu().sample()).is_ok());
    }

    #[test]
    fn every_fault_is_named() {
        assert_eq!(faults(json!({})), ["gpu_type"]);
        assert_eq!(
            faults(json!({"gpu_type": "x", "gpu_count": 17, "share": 0.1, "spot": "yes", "note": "123456", "more": 1})),
            ["more", "gpu_type", "gpu_count", "share", "spot", "note"]
        );
        assert_eq!(faults(json!({"gpu_type": "nvidia-a100", "gpu_count": 1.5})), ["gpu_count"]);
        assert_eq!(faults(json!({"gpu_type": "nvidia-a100", "note": "a\u{0}"})), ["note"]);
    }

    #[test]
    fn unsupported_schemas_are_refused_with_their_path() {
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
