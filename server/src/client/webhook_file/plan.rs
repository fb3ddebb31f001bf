//! The difference between declared and existing webhooks.
//!
//! A webhook is identified by its name. A field that the file does not contain is not managed: it keeps its value, and a
//! new webhook gets the default.

use super::references::{Rejected, Resolver, escape};
use delivery::certificate_details;
use domain::endpoint::{Network, UrlPolicy, same_origin};
use domain::id::WebhookId;
use domain::signature::Secret;
use domain::webhook::{
    AuthInput, AuthView, CertificateDetails, CustomHeader, StoredCredentials, Webhook, WebhookInput, check,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// What to do besides creating and changing declared webhooks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Options {
    /// Delete webhooks that are not declared.
    pub(super) prune: bool,
    /// Send credentials again.
    pub(super) update_credentials: bool,
}

/// A webhook of the file.
#[derive(Debug)]
pub(super) struct Declared {
    /// The settings. Secrets whose reference has no value are `""` or absent.
    pub(super) input: WebhookInput,
    /// The names of the declared fields.
    fields: Vec<String>,
    /// The reasons why secrets are missing, by field.
    missing: BTreeMap<String, String>,
    /// Its line in the file.
    pub(super) line: usize,
    /// The line of each field.
    lines: BTreeMap<String, usize>,
}

impl Declared {
    /// Reads a webhook at `path` of the file.
    ///
    /// # Errors
    /// A sentence with the line.
    pub(super) fn read(
        mut item: Value,
        path: &str,
        folder: &Path,
        line: &dyn Fn(&str) -> usize,
    ) -> Result<Self, String> {
        let at = |path: &str, message: &str| format!("line {}: {path}: {message}", line(path));
        let mut resolver = Resolver { folder, missing: Vec::new() };
        resolver.resolve(&mut item, path).map_err(|Rejected { path, message }| at(&path, &message))?;
        if let Some(missing) = resolver.missing.iter().find(|missing| !missing.is_secret) {
            return Err(at(&missing.path, &missing.reason));
        }
        let missing: BTreeMap<String, String> = resolver
            .missing
            .into_iter()
            .map(|missing| (missing.path[path.len() + 1..].to_owned(), missing.reason))
            .collect();
        let fields: Vec<String> = item.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        let mut input: WebhookInput = domain::input::from_json(item.to_string().as_bytes()).map_err(|problem| {
            let error = problem.errors.into_iter().next();
            error.map_or(problem.detail, |error| match error.field.as_str() {
                "body" => at(path, &error.message.replace("Send", "Write")),
                field => at(&format!("{path}.{field}"), &error.message),
            })
        })?;
        input.secret = input.secret.filter(|secret| !secret.is_empty());
        let lines = fields.iter().map(|field| (field.clone(), line(&format!("{path}.{field}")))).collect();
        Ok(Self { input, fields, missing, line: line(path), lines })
    }

    fn declares(&self, field: &str) -> bool {
        self.fields.iter().any(|declared| declared == field)
    }

    /// Checks the settings with the rules of the server, except those that depend on its configuration.
    ///
    /// # Errors
    /// A sentence with the line.
    fn check(&self, stored: Option<StoredCredentials<'_>>) -> Result<(), String> {
        let everything = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|network| Network::parse(network).ok()).collect();
        let policy = UrlPolicy { allow_http: true, allow_networks: everything };
        let is_new = stored.is_none();
        if let Err(problem) = check(&self.input, &policy, stored)
            && let Some(error) = problem.errors.into_iter().next()
        {
            let reason = self.missing.get(&error.field).unwrap_or(&error.message);
            return Err(self.at(&error.field, reason));
        }
        match self.missing.get("secret").filter(|_| is_new) {
            Some(reason) => Err(self.at("secret", reason)),
            None => Ok(()),
        }
    }

    fn at(&self, field: &str, message: &str) -> String {
        let first = field.split('.').next().unwrap_or_default();
        format!("line {}: {}: {field}: {message}", self.lines.get(first).unwrap_or(&self.line), self.input.name)
    }
}

/// A difference of one field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    pub(super) field: String,
    before: Value,
    after: Value,
}

/// A change of one webhook. It has no `Debug`, because it contains secrets.
pub(super) enum Change {
    Create {
        name: String,
        input: Box<WebhookInput>,
        shows_secret: bool,
    },
    Update {
        name: String,
        id: WebhookId,
        /// The entity tag of the compared webhook.
        etag: String,
        differences: Vec<Difference>,
        patch: Value,
        rotate: Option<String>,
    },
    Delete {
        name: String,
        id: WebhookId,
        etag: String,
    },
}

impl Change {
    /// The changed webhook, if it exists.
    pub(super) fn webhook_id(&self) -> Option<WebhookId> {
        match self {
            Self::Create { .. } => None,
            Self::Update { id, .. } | Self::Delete { id, .. } => Some(*id),
        }
    }
}

/// The changes that make the webhooks of a server those of a file.
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    unchanged: usize,
    /// Webhooks that are not declared and kept.
    unlisted: Vec<String>,
}

impl Plan {
    /// Compares declared and existing webhooks.
    ///
    /// # Errors
    /// A sentence for a declared webhook that is invalid, or whose name several existing ones have.
    pub(super) fn new(declared: &[Declared], current: &[Webhook], options: Options) -> Result<Self, String> {
        let mut plan = Self { changes: Vec::new(), unchanged: 0, unlisted: Vec::new() };
        for webhook in declared {
            let name = webhook.input.name.trim();
            let existing: Vec<&Webhook> = current.iter().filter(|existing| existing.name.trim() == name).collect();
            match existing.as_slice() {
                [] => {
                    webhook.check(None)?;
                    let input = Box::new(webhook.input.clone());
                    let shows_secret = input.secret.is_none();
                    plan.changes.push(Change::Create { name: name.to_owned(), input, shows_secret });
                }
                [existing] => match update(webhook, existing, options)? {
                    Some(change) => plan.changes.push(change),
                    None => plan.unchanged += 1,
                },
                several => {
                    let ids: Vec<String> = several.iter().map(|webhook| webhook.id.to_string()).collect();
                    return Err(webhook.at(
                        "name",
                        &format!("The webhooks {} have this name. Rename all but one.", ids.join(" and ")),
                    ));
                }
            }
        }
        let is_declared =
            |existing: &&Webhook| declared.iter().any(|one| one.input.name.trim() == existing.name.trim());
        // Local webhooks belong to developers, and end with their listener.
        for existing in current.iter().filter(|existing| !is_declared(existing) && !existing.is_local()) {
            let name = existing.name.clone();
            match options.prune {
                true => plan.changes.push(Change::Delete { name, id: existing.id, etag: String::new() }),
                false => plan.unlisted.push(name),
            }
        }
        Ok(plan)
    }

    /// The plan with the entity tags of the compared webhooks.
    pub(super) fn with_tags(mut self, tags: &BTreeMap<WebhookId, String>) -> Self {
        for change in &mut self.changes {
            if let Change::Update { id, etag, .. } | Change::Delete { id, etag, .. } = change {
                *etag = tags.get(id).cloned().unwrap_or_default();
            }
        }
        self
    }

    /// The plan for people.
    pub(super) fn describe(&self) -> String {
        let mut lines = Vec::new();
        for change in &self.changes {
            match change {
                Change::Create { name, input, .. } => lines.push(format!("+ create {name}: {}", input.endpoint_url)),
                Change::Update { name, id, differences, .. } => {
                    lines.push(format!("~ change {name} (webhook {id})"));
                    for difference in differences {
                        let Difference { field, before, after } = difference;
                        lines.push(format!("    {field}: {before} → {after}"));
                    }
                }
                Change::Delete { name, id, .. } => {
                    lines.push(format!("- delete {name} (webhook {id}), and cancel its queued deliveries"));
                }
            }
        }
        if !self.unlisted.is_empty() {
            lines.push(format!("  not in the file: {} (kept; --prune deletes)", self.unlisted.join(", ")));
        }
        let counts = |kind: fn(&Change) -> bool| self.changes.iter().filter(|change| kind(change)).count();
        lines.push(format!(
            "{} to create, {} to change, {} to delete, {} unchanged.",
            counts(|change| matches!(change, Change::Create { .. })),
            counts(|change| matches!(change, Change::Update { .. })),
            counts(|change| matches!(change, Change::Delete { .. })),
            self.unchanged
        ));
        lines.join("\n")
    }
}

/// The change that makes an existing webhook the declared one.
fn update(declared: &Declared, existing: &Webhook, options: Options) -> Result<Option<Change>, String> {
    let stored = StoredCredentials {
        endpoint_url: &existing.endpoint_url,
        auth: &existing.auth,
        headers: &existing.headers,
        has_client_key: existing.tls.as_ref().is_some_and(|tls| !tls.client_certificate.is_empty()),
    };
    declared.check(Some(stored))?;
    let input = &declared.input;
    if input.delivery_mode.is_some_and(|mode| mode != existing.delivery_mode) {
        let name = &existing.name;
        return Err(format!(
            "delivery_mode: that of {name} cannot be changed. Delete the webhook, or remove the field."
        ));
    }
    let (before, after) = (comparable(existing), comparable_input(input));
    let mut patch = Map::new();
    let mut differences = Vec::new();
    for (field, after) in after.into_iter().filter(|(field, _)| declared.declares(field)) {
        let before = before.get(&field).cloned().unwrap_or_default();
        // Only these fields have a meaning of null; null in another one is the same as an absent field.
        let is_absent = after.is_null() && !matches!(field.as_str(), "resource_type" | "rate_limit");
        if before != after && !is_absent {
            patch.insert(field.clone(), patched(input, &field));
            differences.push(Difference { field, before, after });
        }
    }
    // The server wants credentials again that would otherwise be sent to another server.
    let moves = !same_origin(&existing.endpoint_url, &input.endpoint_url);
    let has_credentials = |field: &str| match field {
        "auth" => input.auth != AuthInput::None,
        "tls" => input.tls.as_ref().is_some_and(|tls| !tls.client_key.is_empty()),
        _ => input.headers.iter().any(CustomHeader::is_secret),
    };
    for field in ["auth", "headers", "tls"] {
        // A stored private key may be used for another server.
        let is_needed = moves && field != "tls";
        if (is_needed || options.update_credentials) && declared.declares(field) && has_credentials(field) {
            patch.insert(field.to_owned(), patched(input, field));
            if !differences.iter().any(|difference| difference.field == field) {
                let (before, after) = (json!("credentials"), json!("sent again"));
                differences.push(Difference { field: field.to_owned(), before, after });
            }
        }
    }
    let rotate = input.secret.clone().filter(|secret| {
        let hint = Secret::parse(secret).map(|secret| secret.hint()).unwrap_or_default();
        hint != existing.secret_hint
    });
    if rotate.is_some() {
        let (before, after) = (json!(format!("…{}", existing.secret_hint)), json!("the one of the file"));
        differences.push(Difference { field: "secret".into(), before, after });
    }
    if differences.is_empty() {
        return Ok(None);
    }
    Ok(Some(Change::Update {
        name: existing.name.clone(),
        id: existing.id,
        etag: String::new(),
        differences,
        patch: patch.into(),
        rotate,
    }))
}

/// The settings that can be compared, without secrets.
pub(super) fn comparable(webhook: &Webhook) -> BTreeMap<String, Value> {
    settings(
        &webhook.events,
        &webhook.headers,
        [
            ("endpoint_url", json!(webhook.endpoint_url)),
            ("resource_type", json!(webhook.resource_type)),
            ("auth", json!(webhook.auth)),
            ("delivery_paths", json!(webhook.delivery_paths)),
            ("retry", json!(webhook.retry)),
            ("enabled", json!(webhook.enabled)),
            ("max_in_flight", json!(webhook.max_in_flight)),
            ("rate_limit", json!(webhook.rate_limit)),
            ("ed25519", json!(webhook.public_key.is_some())),
            ("provisions", json!(webhook.provisions)),
            ("provision", json!(webhook.provision)),
            ("payload_format", json!(webhook.payload_format)),
            ("filter", json!(webhook.filter)),
            ("tls", certificates(webhook.tls.as_ref().map(|tls| (&*tls.ca_certificates, &*tls.client_certificate)))),
        ],
    )
}

/// See [`comparable`].
pub(super) fn comparable_input(input: &WebhookInput) -> BTreeMap<String, Value> {
    settings(
        &input.events,
        &input.headers,
        [
            ("endpoint_url", json!(input.endpoint_url)),
            ("resource_type", json!(input.resource_type)),
            ("auth", json!(input.auth.redacted())),
            ("delivery_paths", json!(input.delivery_paths.clone().unwrap_or_default())),
            ("retry", json!(input.retry.clone().unwrap_or_default())),
            ("enabled", json!(input.enabled)),
            ("max_in_flight", json!(input.max_in_flight)),
            ("rate_limit", json!(input.rate_limit)),
            ("ed25519", json!(input.ed25519.unwrap_or_default())),
            ("provisions", json!(input.provisions)),
            ("provision", json!(input.provision)),
            ("payload_format", json!(input.payload_format)),
            ("filter", json!(input.filter)),
            (
                "tls",
                input
                    .tls
                    .as_ref()
                    .map_or(Value::Null, |tls| certificates(Some((&tls.ca_certificates, &tls.client_certificate)))),
            ),
        ],
    )
}

/// Authorities and client certificate by their contents, so that line breaks do not matter and differences are readable.
fn certificates(pem: Option<(&str, &str)>) -> Value {
    let (ca_certificates, client_certificate) = pem.unwrap_or_default();
    let summaries = |pem| -> Vec<String> { certificate_details(pem).iter().map(CertificateDetails::summary).collect() };
    json!({"ca_certificates": summaries(ca_certificates), "client_certificate": summaries(client_certificate)})
}

fn settings<const N: usize>(
    events: &[domain::event::EventType],
    headers: &[CustomHeader],
    others: [(&str, Value); N],
) -> BTreeMap<String, Value> {
    let mut events = events.to_vec();
    events.sort_unstable();
    events.dedup();
    let headers: Vec<Value> = headers
        .iter()
        .map(|header| match header.is_secret() {
            true => json!({"name": header.name, "secret": true}),
            false => json!({"name": header.name, "value": header.value}),
        })
        .collect();
    let lists = [("events", json!(events)), ("headers", headers.into())];
    others.into_iter().chain(lists).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The value of a field for a PATCH, with secrets.
fn patched(input: &WebhookInput, field: &str) -> Value {
    json!(input).get(field).cloned().unwrap_or_default()
}

/// A webhook as the file has it. References replace secrets.
pub(super) fn exported(webhook: &Webhook) -> Map<String, Value> {
    let variable = |suffix: &str| {
        let name: String = webhook
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        let suffix: String =
            suffix.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        json!(format!("${{env:{name}_{suffix}}}"))
    };
    let mut auth = json!(webhook.auth);
    match &webhook.auth {
        AuthView::None => {}
        AuthView::ApiKey { .. } => auth["key"] = variable("API_KEY"),
        AuthView::Oauth2 { .. } => auth["client_secret"] = variable("CLIENT_SECRET"),
    }
    escape_texts(&mut auth, &["key", "client_secret"]);
    let headers: Vec<Value> = webhook
        .headers
        .iter()
        .map(|header| match header.is_secret() {
            true => json!({"name": header.name, "value": variable(&header.name), "secret": true}),
            false => json!({"name": header.name, "value": escape(&header.value), "secret": false}),
        })
        .collect();
    let mut fields = Map::from_iter([("name".to_owned(), json!(escape(&webhook.name)))]);
    for (name, mut value) in comparable(webhook) {
        match name.as_str() {
            "auth" => value = auth.clone(),
            "headers" => value = headers.clone().into(),
            "tls" => match &webhook.tls {
                None => continue,
                Some(tls) => {
                    value = json!(tls.settings());
                    if !tls.client_certificate.is_empty() {
                        value["client_key"] = variable("CLIENT_KEY");
                    }
                }
            },
            _ => escape_texts(&mut value, &[]),
        }
        fields.insert(name, value);
    }
    fields
}

/// Escapes the texts of a value, except those of some fields.
fn escape_texts(value: &mut Value, except: &[&str]) {
    match value {
        Value::String(text) => *text = escape(text),
        Value::Array(items) => items.iter_mut().for_each(|item| escape_texts(item, except)),
        Value::Object(fields) => fields
            .iter_mut()
            .filter(|(name, _)| !except.contains(&name.as_str()))
            .for_each(|(_, value)| escape_texts(value, except)),
        _ => {}
    }
}
