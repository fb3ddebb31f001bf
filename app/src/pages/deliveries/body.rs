//! Bodies of requests and responses: JSON in colours, whose parts can be folded, or the exact text.

use crate::components::*;
use leptos::prelude::*;
use serde_json::Value;

/// The number of entries from which an inner object or array starts folded.
const FOLDED_FROM: usize = 40;

/// A body. JSON is coloured and foldable; *Raw* shows the exact text.
#[component]
pub fn Body(#[prop(into)] text: String, #[prop(into)] label: String) -> impl IntoView {
    let is_raw = RwSignal::new(false);
    let value = domain::json::from_text::<Value>(&text).ok().filter(|value| value.is_object() || value.is_array());
    let is_json = value.is_some();
    let value = StoredValue::new(value);
    let text = StoredValue::new(text);
    let size = text.with_value(|text| size_text(text.len()));
    let region = label.clone();
    let content = move || match value.get_value().filter(|_| !is_raw.get()) {
        Some(value) => view! { <div class="json">{node(None, &value, true, true)}</div> }.into_any(),
        None => text.get_value().into_any(),
    };
    let copied = move || if is_raw.get() { text.get_value() } else { text.with_value(|text| pretty_json(text)) };
    view! {
        <div class="code-block">
            <div class="code-tools">
                <span class="code-label">{label}" · "{size}</span>
                <span class="row">
                    {is_json.then(|| view! {
                        <button
                            type="button"
                            class="button quiet small"
                            aria-pressed=move || is_raw.get().to_string()
                            on:click=move |_| is_raw.update(|raw| *raw = !*raw)
                        >
                            "Raw"
                        </button>
                    })}
                    <CopyButton text=Signal::derive(copied) />
                </span>
            </div>
            <pre tabindex="0" aria-label=region><code>{content}</code></pre>
        </div>
    }
}

/// A number of bytes, e.g. `78 B`, `1.2 KiB`.
fn size_text(bytes: usize) -> String {
    if bytes < 1_024 { format!("{bytes} B") } else { format!("{:.1} KiB", bytes as f64 / 1_024.0) }
}

/// The name of a member before its value.
fn key_view(key: Option<&str>) -> impl IntoView + use<> {
    key.map(|key| view! { <span class="json-key">{quoted(key)}</span>": " })
}

/// A text as in JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The class of the colour of a value.
fn class_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "json-text",
        Value::Number(_) => "json-number",
        _ => "json-word",
    }
}

/// One value with its key. `last`: no comma follows.
fn node(key: Option<&str>, value: &Value, last: bool, outermost: bool) -> AnyView {
    let comma = if last { "" } else { "," };
    let (open, close, children): (_, _, Vec<(Option<&str>, &Value)>) = match value {
        Value::Object(members) if !members.is_empty() => {
            ("{", "}", members.iter().map(|(key, value)| (Some(key.as_str()), value)).collect())
        }
        Value::Array(items) if !items.is_empty() => ("[", "]", items.iter().map(|value| (None, value)).collect()),
        value => {
            let text = value.to_string();
            return view! {
                <div class="json-line">{key_view(key)}<span class=class_of(value)>{text}</span>{comma}</div>
            }
            .into_any();
        }
    };
    let number = children.len();
    let noun = match (open, number) {
        ("{", 1) => "1 field".to_owned(),
        ("{", n) => format!("{n} fields"),
        (_, 1) => "1 item".to_owned(),
        (_, n) => format!("{n} items"),
    };
    let inner =
        children.iter().enumerate().map(|(n, (key, value))| node(*key, value, n + 1 == number, false)).collect_view();
    view! {
        <details class="json-node" open={outermost || number < FOLDED_FROM}>
            <summary>{key_view(key)}{open}<span class="json-folded">{format!(" {noun} {close}{comma}")}</span></summary>
            <div class="json-inner">{inner}</div>
            <div class="json-line">{close}{comma}</div>
        </details>
    }
    .into_any()
}

/// The old and new values of an event that changed something, by field. Empty for other events and payload formats
/// without values.
pub fn changes(body: &str) -> Vec<(String, Value, Value)> {
    let Ok(Value::Object(body)) = domain::json::from_text::<Value>(body) else { return Vec::new() };
    // A structured CloudEvent has the event in `data`.
    let event = match body.get("data") {
        Some(Value::Object(data)) if !body.contains_key("previous") => data,
        _ => &body,
    };
    let Some(Value::Object(previous)) = event.get("previous") else { return Vec::new() };
    let change = |(field, old): (&String, &Value)| {
        (field.clone(), old.clone(), event.get(field).cloned().unwrap_or(Value::Null))
    };
    previous.iter().map(change).collect()
}

/// A value in a list of changes: texts without quotation marks.
fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "(empty)".to_owned(),
        Value::String(text) => text.clone(),
        Value::Null => "(none)".to_owned(),
        other => other.to_string(),
    }
}

/// The previous and new values of each changed field.
#[component]
pub fn Changes(changes: Vec<(String, Value, Value)>) -> impl IntoView {
    let row = |(field, old, new): (String, Value, Value)| {
        view! {
            <dt>{field}</dt>
            <dd><del>{value_text(&old)}</del>" → "<ins>{value_text(&new)}</ins></dd>
        }
    };
    view! { <dl class="audit-diff">{changes.into_iter().map(row).collect_view()}</dl> }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_have_previous_and_new_values() {
        let event = json!({"title": "New", "end_time": "b", "previous": {"title": "Old", "end_time": null}});
        let expected =
            vec![("end_time".to_owned(), Value::Null, json!("b")), ("title".to_owned(), json!("Old"), json!("New"))];
        let sorted = |body: &Value| {
            let mut changes = changes(&body.to_string());
            changes.sort_by(|one, other| one.0.cmp(&other.0));
            changes
        };
        assert_eq!(sorted(&event), expected);
        assert_eq!(sorted(&json!({"specversion": "1.0", "data": event})), expected, "a CloudEvent");
        assert!(changes(r#"{"title": "New"}"#).is_empty());
        assert!(changes("no JSON").is_empty());
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!((size_text(78), size_text(1_536)), ("78 B".to_owned(), "1.5 KiB".to_owned()));
    }
}
