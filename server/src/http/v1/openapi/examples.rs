//! Examples of all schemas, composed from the values in `examples.json`.
//!
//! The example of `Reservation.title` is the value with that name, else the one of the referenced schema, else the value
//! named `title`. An optional property whose value is null is left out. A new property thus needs one value at most.

use serde_json::{Map, Value};

/// Greatest depth of nested schemas.
const MAX_DEPTH: usize = 16;

/// The values by `Schema`, `Schema.property` or `property`.
pub(super) fn values() -> Map<String, Value> {
    serde_json::from_str(include_str!("examples.json")).unwrap_or_default()
}

/// Adds an example to every schema that has none.
pub(super) fn add(document: &mut Value) {
    let values = values();
    let schemas = document["components"]["schemas"].as_object().cloned().unwrap_or_default();
    let composer = Composer { schemas: &schemas, values: &values };
    let examples: Vec<(String, Value)> =
        schemas.keys().filter_map(|name| Some((name.clone(), composer.schema(name, 0)?))).collect();
    for (name, example) in examples {
        document["components"]["schemas"][&name]["example"] = example;
    }
}

struct Composer<'a> {
    schemas: &'a Map<String, Value>,
    values: &'a Map<String, Value>,
}

impl Composer<'_> {
    /// The example of a named schema.
    fn schema(&self, name: &str, depth: usize) -> Option<Value> {
        match self.values.get(name) {
            Some(value) => Some(value.clone()),
            None => self.compose(self.schemas.get(name)?, name, None, depth),
        }
    }

    /// The example of a schema within the schema `owner`, as its property or as a part of it.
    fn compose(&self, schema: &Value, owner: &str, property: Option<&str>, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        if let Some(value) = property.and_then(|property| self.values.get(&format!("{owner}.{property}"))) {
            return Some(value.clone());
        }
        if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
            return self.schema(name, depth + 1);
        }
        if let Some(alternatives) = schema["oneOf"].as_array() {
            let first = alternatives.iter().find(|alternative| alternative["type"] != "null")?;
            return self.compose(first, owner, property, depth + 1);
        }
        if let Some(value) = property.and_then(|property| self.values.get(property)) {
            return Some(value.clone());
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let mut whole = Map::new();
            for part in parts {
                whole.extend(self.compose(part, owner, None, depth + 1)?.as_object().cloned()?);
            }
            return Some(whole.into());
        }
        if let Some(first) = schema["enum"].as_array().and_then(|names| names.first()) {
            return Some(first.clone());
        }
        if let Some(properties) = schema["properties"].as_object() {
            return self.object(properties, &schema["required"], owner, depth);
        }
        let item = schema.get("items")?;
        Some(vec![self.compose(item, owner, None, depth + 1)?].into())
    }

    fn object(&self, properties: &Map<String, Value>, required: &Value, owner: &str, depth: usize) -> Option<Value> {
        let mut object = Map::new();
        for (name, property) in properties {
            let value = self.compose(property, owner, Some(name), depth + 1)?;
            let is_required = required.as_array().is_some_and(|required| required.iter().any(|one| one == name));
            if is_required || !value.is_null() {
                object.insert(name.clone(), value);
            }
        }
        Some(object.into())
    }
}
