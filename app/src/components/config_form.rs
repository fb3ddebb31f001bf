//! The form that a resource type's config schema generates.

use super::{Checkbox, Select, TextInput};
use crate::load::Write;
use domain::json;
use domain::resource::{ConfigField, ConfigSchema, FieldKind};
use leptos::prelude::*;
use serde_json::{Map, Value};

/// One field's text (`"true"`/`"false"` for yes and no).
#[derive(Clone)]
struct Entry {
    field: ConfigField,
    text: RwSignal<String>,
    ticked: RwSignal<bool>,
}

/// What is entered in a generated form.
#[derive(Clone, Copy)]
pub struct ConfigState(StoredValue<Vec<Entry>>);

impl ConfigState {
    /// Starts with `values`, or where they say nothing with the schema's defaults.
    pub fn new(schema: ConfigSchema, values: &Map<String, Value>) -> Self {
        let entry = |field: ConfigField| {
            let value = values.get(&field.name).or(field.default.as_ref());
            let text = match value {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => json::to_text(other).unwrap_or_default(),
            };
            let ticked = value.and_then(Value::as_bool).unwrap_or(false);
            Entry { field, text: RwSignal::new(text), ticked: RwSignal::new(ticked) }
        };
        Self(StoredValue::new(schema.fields.into_iter().map(entry).collect()))
    }

    /// The configuration as entered. What is no number where one belongs stays text, for the check to name it.
    pub fn collect(self) -> Map<String, Value> {
        self.0.with_value(|entries| {
            entries
                .iter()
                .filter_map(|Entry { field, text, ticked }| {
                    let text = text.get_untracked();
                    let value = match field.kind {
                        FieldKind::Boolean => Value::Bool(ticked.get_untracked()),
                        // Emptied on purpose: no default may slip in for it.
                        _ if text.trim().is_empty() && field.required => Value::String(String::new()),
                        _ if text.trim().is_empty() => return None,
                        FieldKind::Integer { .. } => {
                            text.trim().parse::<i64>().map_or(Value::String(text), Value::from)
                        }
                        FieldKind::Number { .. } => number(&text).map_or(Value::String(text), Value::from),
                        _ => Value::String(text),
                    };
                    Some((field.name.clone(), value))
                })
                .collect()
        })
    }
}

/// A decimal number, read by the browser: Rust's own reading brings tables of 10 KB.
fn number(text: &str) -> Option<f64> {
    let decimal = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    let text = text.trim();
    let number = wasm_bindgen::JsValue::from_str(text).unchecked_into_f64();
    (text.chars().all(decimal) && number.is_finite()).then_some(number)
}

/// The range of a number in words.
fn range(minimum: Option<String>, maximum: Option<String>) -> Option<String> {
    match (minimum, maximum) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}.")),
        (Some(least), None) => Some(format!("At least {least}.")),
        (None, Some(most)) => Some(format!("At most {most}.")),
        (None, None) => None,
    }
}

/// The fields; errors come from `write` under `additional_config.<name>`.
#[component]
pub fn ConfigForm(state: ConfigState, write: Write) -> impl IntoView {
    let fields = state.0.with_value(Clone::clone).into_iter().map(move |Entry { field, text, ticked }| {
        let error = write.message(format!("additional_config.{}", field.name));
        let limits = match &field.kind {
            FieldKind::Integer { minimum, maximum } => range(minimum.map(|n| n.to_string()), maximum.map(|n| n.to_string())),
            FieldKind::Number { minimum, maximum } => range(minimum.map(|n| n.to_string()), maximum.map(|n| n.to_string())),
            _ => None,
        };
        let hint = [Some(field.description.clone()).filter(|d| !d.is_empty()), limits].into_iter().flatten().collect::<Vec<_>>().join(" ");
        // What comes filled in needs no word on whether it may be left out.
        let optional = !field.required && field.default.is_none();
        match field.kind {
            FieldKind::Boolean => view! { <Checkbox label=field.title value=ticked hint=hint /> }.into_any(),
            FieldKind::Choice { options } => {
                let mut all: Vec<(String, String)> = options.into_iter().map(|o| (o.clone(), o)).collect();
                if !field.required || text.with_untracked(String::is_empty) {
                    all.insert(0, (String::new(), "Choose …".into()));
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
