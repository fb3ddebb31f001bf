//! The form that the configuration schema of a resource type defines.

use crate::components::{Checkbox, Select, TextInput};
use crate::query::Mutation;
use domain::resource::{ConfigField, ConfigSchema, FieldKind};
use leptos::prelude::*;
use serde_json::{Map, Value};

/// A field and its input. Booleans use `checked`, all other kinds use `text`.
#[derive(Clone)]
struct Entry {
    field: ConfigField,
    text: RwSignal<String>,
    checked: RwSignal<bool>,
}

/// The input of a configuration form.
#[derive(Clone, Copy)]
pub struct ConfigState(StoredValue<Vec<Entry>>);

impl ConfigState {
    /// Creates the input from `values`, or from the schema's defaults for fields without a value.
    pub fn new(schema: ConfigSchema, values: &Map<String, Value>) -> Self {
        let entry = |field: ConfigField| {
            let value = values.get(&field.name).or(field.default.as_ref());
            let text = match value {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => domain::json::to_text(other).unwrap_or_default(),
            };
            let checked = value.and_then(Value::as_bool).unwrap_or(false);
            Entry { field, text: RwSignal::new(text), checked: RwSignal::new(checked) }
        };
        Self(StoredValue::new(schema.fields.into_iter().map(entry).collect()))
    }

    /// The entered configuration. Invalid numbers stay text, so that the validation reports them.
    pub fn collect(self) -> Map<String, Value> {
        self.0.with_value(|entries| {
            entries
                .iter()
                .filter_map(|Entry { field, text, checked }| {
                    let text = text.get_untracked();
                    let value = match field.kind {
                        FieldKind::Boolean => Value::Bool(checked.get_untracked()),
                        // The user cleared the field, so the default must not replace its value.
                        _ if text.trim().is_empty() && field.required => Value::String(String::new()),
                        _ if text.trim().is_empty() => return None,
                        FieldKind::Integer { .. } => {
                            text.trim().parse::<i64>().map_or(Value::String(text), Value::from)
                        }
                        FieldKind::Number { .. } => parse_decimal(&text).map_or(Value::String(text), Value::from),
                        _ => Value::String(text),
                    };
                    Some((field.name.clone(), value))
                })
                .collect()
        })
    }
}

/// Parses a decimal number. The browser parses it, because Rust's parser adds 10 KB of tables to the page.
fn parse_decimal(text: &str) -> Option<f64> {
    let decimal = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    let text = text.trim();
    let number = wasm_bindgen::JsValue::from_str(text).unchecked_into_f64();
    (text.chars().all(decimal) && number.is_finite()).then_some(number)
}

/// Describes the range of a number.
fn range_hint(minimum: Option<String>, maximum: Option<String>) -> Option<String> {
    match (minimum, maximum) {
        (Some(minimum), Some(maximum)) => Some(format!("{minimum} to {maximum}.")),
        (Some(minimum), None) => Some(format!("At least {minimum}.")),
        (None, Some(maximum)) => Some(format!("At most {maximum}.")),
        (None, None) => None,
    }
}

/// The fields of a configuration form, with the errors of `mutation` for `additional_config.<name>`.
#[component]
pub fn ConfigForm(state: ConfigState, mutation: Mutation) -> impl IntoView {
    let fields = state.0.with_value(Clone::clone).into_iter().map(move |Entry { field, text, checked }| {
        let error = mutation.field_error(format!("additional_config.{}", field.name));
        let limits = match &field.kind {
            FieldKind::Integer { minimum, maximum } => range_hint(minimum.map(|n| n.to_string()), maximum.map(|n| n.to_string())),
            FieldKind::Number { minimum, maximum } => range_hint(minimum.map(|n| n.to_string()), maximum.map(|n| n.to_string())),
            _ => None,
        };
        let hint = [Some(field.description.clone()).filter(|d| !d.is_empty()), limits].into_iter().flatten().collect::<Vec<_>>().join(" ");
        // A field with a default needs no remark that it is optional.
        let optional = !field.required && field.default.is_none();
        match field.kind {
            FieldKind::Boolean => view! { <Checkbox label=field.title value=checked hint=hint /> }.into_any(),
            FieldKind::Choice { options } => {
                let mut all: Vec<(String, String)> = options.into_iter().map(|o| (o.clone(), o)).collect();
                let value = text.get_untracked();
                if !field.required || value.is_empty() {
                    all.insert(0, (String::new(), "Choose …".into()));
                }
                // The type has lost this option since the configuration was stored.
                if all.iter().all(|(option, _)| *option != value) {
                    all.push((value.clone(), format!("{value} (no longer available)")));
                }
                view! { <Select label=field.title value=text options=all hint=hint error=error optional=optional /> }.into_any()
            }
            FieldKind::Integer { .. } | FieldKind::Number { .. } => {
                view! { <TextInput label=field.title value=text hint=hint error=error optional=optional numeric=true /> }.into_any()
            }
            FieldKind::Text { .. } => {
                view! { <TextInput label=field.title value=text hint=hint error=error optional=optional /> }.into_any()
            }
        }
    });
    view! { <div class="grid-2">{fields.collect_view()}</div> }
}
