//! The draft of a new webhook, which survives that the user leaves the page.
//!
//! The browser stores it until the tab is closed, for each user. It contains no secrets: neither API key, client secret and
//! signing secret, nor the values of secret headers, nor a private key, in whichever field it was entered.

use super::model::{ConditionModel, FormModel, HeaderModel};
use crate::session::use_session;
use domain::webhook::normalized_certificates;
use leptos::prelude::*;
use serde_json::{Map, Value};

/// The beginning of the key in the browser's storage; the rest is the username.
const KEY: &str = "webhook-draft:";

/// The stored draft of the user.
#[derive(Clone, Copy)]
pub struct StoredDraft {
    model: FormModel,
    key: StoredValue<String>,
    /// The input of an untouched form, which is not stored.
    untouched: StoredValue<Map<String, Value>>,
    /// Whether the form was submitted, so that nothing is stored any more.
    finished: StoredValue<bool>,
    /// Whether the form contains a draft of an earlier visit.
    pub restored: RwSignal<bool>,
}

impl StoredDraft {
    /// Restores the draft of an earlier visit into an untouched form, and stores each later change.
    pub fn follow(model: FormModel) -> Self {
        let user = use_session().info.with_untracked(|info| info.as_ref().map(|info| info.user.username.clone()));
        let draft = Self {
            model,
            key: StoredValue::new(format!("{KEY}{}", user.unwrap_or_default())),
            untouched: StoredValue::new(untrack(|| input(model))),
            finished: StoredValue::new(false),
            restored: RwSignal::new(false),
        };
        if let Some(stored) = draft.read() {
            restore(model, &stored);
            draft.restored.set(true);
        }
        Effect::new(move |_| {
            let input = input(model);
            if !draft.finished.get_value() {
                let changed = Some(input).filter(|input| draft.untouched.with_value(|untouched| untouched != input));
                store(&draft.key(), changed);
            }
        });
        draft
    }

    /// The key of the draft in the browser's storage.
    pub fn key(self) -> String {
        self.key.get_value()
    }

    /// Removes the draft that is stored at `key` after the webhook was created, also if the user has left the form meanwhile.
    pub fn finish(self, key: &str) {
        self.finished.try_update_value(|finished| *finished = true);
        store(key, None);
    }

    /// Empties the form.
    pub fn discard(self) {
        self.untouched.with_value(|untouched| restore(self.model, untouched));
        self.restored.set(false);
    }

    fn read(self) -> Option<Map<String, Value>> {
        let text = storage()?.get_item(&self.key()).ok()??;
        match domain::json::from_text(&text).ok()? {
            Value::Object(input) => Some(input),
            _ => None,
        }
    }
}

/// Stores a draft, or removes the stored one.
fn store(key: &str, input: Option<Map<String, Value>>) {
    let Some(storage) = storage() else { return };
    let text = input.and_then(|input| domain::json::to_text(&Value::Object(input)).ok());
    // A browser may refuse access to its storage.
    let _ = match text {
        Some(text) => storage.set_item(key, &text),
        None => storage.remove_item(key),
    };
}

/// The storage of this tab.
fn storage() -> Option<web_sys::Storage> {
    window().session_storage().ok().flatten()
}

/// The text inputs and choices without secrets, by name.
fn texts(model: FormModel) -> Vec<(String, RwSignal<String>)> {
    let auth = model.auth;
    let fixed = [
        ("name", model.name),
        ("url", model.url),
        ("resource_type", model.resource_type),
        ("method", auth.method),
        ("key_header", auth.key_header),
        ("token_url", auth.token_url),
        ("client_id", auth.client_id),
        ("scope", auth.scope),
        ("audience", auth.audience),
        ("layout", model.layout),
        ("secret_source", model.secret_source),
        ("retry", model.retry),
        ("retry_delays", model.retry_delays),
        ("max_in_flight", model.max_in_flight),
        ("rate_limit", model.rate_limit),
        ("payload_format", model.payload_format),
        ("provision", model.provision),
        ("filter_resources", model.filter_resources),
    ];
    let paths = model.paths.into_iter().map(|(event, path)| (format!("path {event}"), path));
    fixed.into_iter().map(|(name, signal)| (name.to_owned(), signal)).chain(paths).collect()
}

/// The checkboxes by name.
fn marks(model: FormModel) -> Vec<(String, RwSignal<bool>)> {
    let events = model.events.into_iter().map(|(event, selected)| (format!("event {event}"), selected));
    let fixed = [("ed25519".to_owned(), model.ed25519), ("provisions".to_owned(), model.provisions)];
    events.chain(fixed).collect()
}

/// The input without secrets. Tracked.
fn input(model: FormModel) -> Map<String, Value> {
    let mut input = Map::new();
    for (name, text) in texts(model) {
        input.insert(name, text.get().into());
    }
    for (name, mark) in marks(model) {
        input.insert(name, mark.get().into());
    }
    let header = |row: HeaderModel| {
        let is_secret = row.secret.get();
        let value = if is_secret { String::new() } else { row.value.get() };
        Value::Array(vec![row.name.get().into(), value.into(), is_secret.into()])
    };
    let condition = |row: ConditionModel| {
        Value::Array(vec![row.field.get().into(), row.operator.get().into(), row.values.get().into()])
    };
    input.insert("headers".to_owned(), Value::Array(model.headers.get().into_iter().map(header).collect()));
    input.insert("conditions".to_owned(), Value::Array(model.conditions.get().into_iter().map(condition).collect()));
    for (name, text) in certificates(model) {
        // Nothing besides the certificates, e.g. a private key after them.
        input.insert(name.to_owned(), text.with(|text| normalized_certificates(text)).into());
    }
    input
}

/// The certificates in PEM, by name.
fn certificates(model: FormModel) -> [(&'static str, RwSignal<String>); 2] {
    [("ca_certificates", model.tls.ca_certificates), ("client_certificate", model.tls.client_certificate)]
}

/// Enters an input. Parts that it lacks are unchanged.
fn restore(model: FormModel, input: &Map<String, Value>) {
    for (name, text) in texts(model) {
        if let Some(value) = input.get(&name).and_then(Value::as_str) {
            text.set(value.to_owned());
        }
    }
    for (name, text) in certificates(model) {
        text.set(input.get(name).and_then(Value::as_str).unwrap_or_default().to_owned());
    }
    model.tls.client_key.set(String::new());
    for (name, mark) in marks(model) {
        if let Some(value) = input.get(&name).and_then(Value::as_bool) {
            mark.set(value);
        }
    }
    let rows = |name: &str| input.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |row: &Value, n: usize| row.get(n).and_then(Value::as_str).unwrap_or_default().to_owned();
    let header = |(key, row): (u32, Value)| {
        let header = HeaderModel::new(key);
        header.name.set(text(&row, 0));
        header.value.set(text(&row, 1));
        header.secret.set(row.get(2).and_then(Value::as_bool).unwrap_or_default());
        header
    };
    let condition = |(key, row): (u32, Value)| {
        let condition = ConditionModel::new(key);
        condition.field.set(text(&row, 0));
        condition.operator.set(text(&row, 1));
        condition.values.set(text(&row, 2));
        condition
    };
    model.headers.set((0..).zip(rows("headers")).map(header).collect());
    model.conditions.set((0..).zip(rows("conditions")).map(condition).collect());
}
