//! References in a file: `${env:NAME}` and `${file:/path}` stand for secrets, which the file itself must not contain.

use serde_json::{Map, Value};
use std::path::Path;

/// The reason why a reference has no value.
pub(super) struct Missing {
    /// The path of the text with the reference.
    pub(super) path: String,
    /// The reason in one sentence.
    pub(super) reason: String,
    /// Whether the text is a secret. The server keeps the stored one, so it can be missing.
    pub(super) is_secret: bool,
}

/// Replaces the references in all texts of a webhook. A text whose reference has no value becomes `""`.
pub(super) struct Resolver<'a> {
    /// The folder of relative paths.
    pub(super) folder: &'a Path,
    /// The references without a value.
    pub(super) missing: Vec<Missing>,
}

impl Resolver<'_> {
    /// Replaces the references in a webhook with this path.
    ///
    /// # Errors
    /// The path and a sentence for an invalid reference, and for a secret in clear text.
    pub(super) fn resolve(&mut self, webhook: &mut Value, path: &str) -> Result<(), Rejected> {
        self.value(webhook, path, "", false)
    }

    /// `field` is the path of the value within the webhook.
    fn value(&mut self, value: &mut Value, webhook: &str, field: &str, is_secret: bool) -> Result<(), Rejected> {
        match value {
            Value::String(text) => {
                let path = || if field.is_empty() { webhook.to_owned() } else { format!("{webhook}.{field}") };
                match expand(text, self.folder) {
                    Ok(Expanded { has_reference: false, text }) if is_secret && !text.is_empty() => {
                        let message = "Do not write a secret into the file. Use ${env:NAME} or ${file:/path}.";
                        return Err(Rejected { path: path(), message: message.into() });
                    }
                    Ok(expanded) => *text = expanded.text,
                    Err(Unresolved::Invalid(message)) => return Err(Rejected { path: path(), message }),
                    Err(Unresolved::Missing(reason)) => {
                        self.missing.push(Missing { path: path(), reason, is_secret });
                        text.clear();
                    }
                }
                Ok(())
            }
            Value::Array(items) => items
                .iter_mut()
                .enumerate()
                .try_for_each(|(n, item)| self.value(item, webhook, &child(field, &n.to_string()), false)),
            Value::Object(fields) => {
                let has_secret_value = field.starts_with("headers.") && is_secret_header(fields);
                fields.iter_mut().try_for_each(|(name, value)| {
                    let field = child(field, name);
                    let is_secret =
                        matches!(field.as_str(), "secret" | "auth.key" | "auth.client_secret" | "tls.client_key")
                            || (has_secret_value && name == "value");
                    self.value(value, webhook, &field, is_secret)
                })
            }
            _ => Ok(()),
        }
    }
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A text that is not permitted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) path: String,
    pub(super) message: String,
}

/// Whether a header has a secret value, by the rule of the server.
fn is_secret_header(fields: &Map<String, Value>) -> bool {
    let by_name = || fields.get("name").and_then(Value::as_str).is_some_and(domain::webhook::is_secret_header);
    fields.get("secret").and_then(Value::as_bool).unwrap_or_else(by_name)
}

/// A text without references.
struct Expanded {
    text: String,
    has_reference: bool,
}

enum Unresolved {
    Invalid(String),
    Missing(String),
}

/// Replaces the references in a text. `$${` stands for `${`.
fn expand(text: &str, folder: &Path) -> Result<Expanded, Unresolved> {
    let mut result = String::new();
    let mut has_reference = false;
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, reference) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            result.push_str(before);
            result.push_str("${");
            rest = &reference[2..];
            continue;
        }
        result.push_str(before);
        let Some((reference, after)) = reference[2..].split_once('}') else {
            return Err(Unresolved::Invalid("A reference ends with }.".into()));
        };
        result.push_str(&read(reference, folder)?);
        has_reference = true;
        rest = after;
    }
    result.push_str(rest);
    Ok(Expanded { text: result, has_reference })
}

/// The value of a reference. Line breaks at the end of a file are not part of it.
fn read(reference: &str, folder: &Path) -> Result<String, Unresolved> {
    match reference.split_once(':') {
        Some(("env", name)) if !name.is_empty() && !name.contains(['=', '\0']) => {
            std::env::var(name).map_err(|_| Unresolved::Missing(format!("The environment variable {name} is not set.")))
        }
        Some(("file", path)) if !path.is_empty() => std::fs::read_to_string(folder.join(path))
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .map_err(|error| Unresolved::Missing(format!("The file {path} cannot be read: {error}."))),
        _ => Err(Unresolved::Invalid(format!(
            "${{{reference}}} is not a reference. Use ${{env:NAME}} or ${{file:/path}}, and $${{ for the characters ${{."
        ))),
    }
}

/// A text in which nothing is a reference.
pub(super) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resolved(mut value: Value, folder: &Path) -> Result<(Value, Vec<String>), Rejected> {
        let mut resolver = Resolver { folder, missing: Vec::new() };
        resolver.resolve(&mut value, "webhooks.0")?;
        Ok((
            value,
            resolver.missing.into_iter().map(|missing| format!("{} {}", missing.path, missing.is_secret)).collect(),
        ))
    }

    #[test]
    fn references_are_replaced_and_missing_ones_reported() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "from-a-file\n").unwrap();
        let value = json!({
            "name": "a $${env:PATH}", "secret": "${env:BERTH_TEST_NOT_SET}", "endpoint_url": "${env:BERTH_TEST_NOT_SET}",
            "auth": {"method": "api_key", "key": "Bearer ${file:key}"},
            "headers": [{"name": "X-Token", "value": "${file:none}"}, {"name": "X-Team", "value": "ml"}],
        });
        let (value, missing) = resolved(value, folder.path()).unwrap();
        assert_eq!(value["auth"]["key"], "Bearer from-a-file");
        assert_eq!(value["name"], "a ${env:PATH}");
        assert_eq!((&value["secret"], &value["headers"][0]["value"]), (&json!(""), &json!("")));
        assert_eq!(
            missing,
            ["webhooks.0.secret true", "webhooks.0.endpoint_url false", "webhooks.0.headers.0.value true"]
        );
    }

    #[test]
    fn secrets_in_clear_text_and_unknown_references_are_rejected() {
        for (value, path) in [
            (json!({"secret": "whsec_abc"}), "webhooks.0.secret"),
            (json!({"auth": {"key": "abc"}}), "webhooks.0.auth.key"),
            (json!({"auth": {"client_secret": "abc"}}), "webhooks.0.auth.client_secret"),
            (json!({"tls": {"client_key": "abc"}}), "webhooks.0.tls.client_key"),
            (json!({"headers": [{"name": "X-Api-Key", "value": "abc"}]}), "webhooks.0.headers.0.value"),
            (json!({"headers": [{"name": "X-A", "value": "abc", "secret": true}]}), "webhooks.0.headers.0.value"),
            (json!({"name": "${vault:x}"}), "webhooks.0.name"),
            (json!({"name": "${env:X"}), "webhooks.0.name"),
            (json!({"name": "${env:}"}), "webhooks.0.name"),
        ] {
            assert_eq!(resolved(value, Path::new(".")).unwrap_err().path, path);
        }
        resolved(json!({"headers": [{"name": "X-Key", "value": "abc", "secret": false}]}), Path::new(".")).unwrap();
    }

    #[test]
    fn escaped_text_is_the_same_text() {
        for text in ["plain", "${env:A}", "a$${b", "$"] {
            let value = json!({"name": escape(text)});
            assert_eq!(resolved(value, Path::new(".")).unwrap().0["name"], text);
        }
    }
}
