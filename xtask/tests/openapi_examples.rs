//! Checks that each example in `docs/openapi.json` matches its schema. A test of the server compares the file with the
//! document that the server generates. The test is here, because its validator would change the features of the server's
//! dependencies.

use serde_json::{Value, json};
use std::path::Path;

/// Rejects properties that a schema does not name, so that an example contains no unknown one.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.contains_key("properties") && !object.contains_key("additionalProperties") {
                object.insert("additionalProperties".to_owned(), false.into());
            }
            object.iter_mut().filter(|(name, _)| *name != "example").for_each(|(_, part)| close(part));
        }
        Value::Array(parts) => parts.iter_mut().for_each(close),
        _ => {}
    }
}

#[test]
fn examples_match_their_schemas() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document: Value =
        serde_json::from_str(&std::fs::read_to_string(root.join("docs/openapi.json")).unwrap()).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(schemas.len() > 80, "the schemas should be found");
    for (name, schema) in schemas {
        let mut validated = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$ref": format!("#/components/schemas/{name}"),
            "components": document["components"],
        });
        // A schema that is composed of others cannot be closed.
        if schema["allOf"].is_null() {
            close(&mut validated["components"]["schemas"][name]);
        }
        let validator = jsonschema::options().should_validate_formats(true).build(&validated).unwrap();
        let example = &schema["example"];
        let errors: Vec<String> =
            validator.iter_errors(example).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?} in {example:#}");
    }
}
