//! The input of the webhook form, its conversion to and from a webhook, and its validation.

use super::super::random;
use super::super::tools::SnippetSettings;
use crate::components::{FieldMessage, focus_first_invalid};
use crate::erased::ErasedSignal;
use crate::query::Mutation;
use domain::Problem;
use domain::endpoint::UrlPolicy;
use domain::event::EventType;
use domain::payload::PayloadFormat;
use domain::problem::FieldError;
use domain::retry::RetryPolicy;
use domain::routing::{DeliveryPaths, Layout};
use domain::webhook::*;
use leptos::prelude::*;
use std::collections::BTreeSet;

/// The default of [`FormModel::max_in_flight`].
const DEFAULT_MAX_IN_FLIGHT: u32 = 64;

/// The input of the form. Choices hold the value of their option.
#[derive(Clone, Copy)]
pub struct FormModel {
    /// The name of the webhook.
    pub name: RwSignal<String>,
    /// The endpoint URL.
    pub url: RwSignal<String>,
    /// The slug of the resource type, empty for all types.
    pub resource_type: RwSignal<String>,
    /// Whether the webhook receives each event.
    pub events: [(EventType, RwSignal<bool>); EventType::ALL.len()],
    /// The authentication and its credentials.
    pub auth: AuthModel,
    /// The layout of the URLs: `by_event`, `single` or `custom`.
    pub layout: RwSignal<String>,
    /// The path of each event, for the layout `custom`.
    pub paths: [(EventType, RwSignal<String>); EventType::ALL.len()],
    /// The custom headers.
    pub headers: ErasedSignal<Vec<HeaderModel>>,
    /// The origin of the secret of a new webhook: `generate` or `existing`.
    pub secret_source: RwSignal<String>,
    /// The existing secret.
    pub secret: RwSignal<String>,
    /// The generated secret; empty if the server generates it.
    pub generated_secret: RwSignal<String>,
    /// The retry policy: `default`, `extended` or `custom`.
    pub retry: RwSignal<String>,
    /// The delays of the retry policy `custom`, in seconds.
    pub retry_delays: RwSignal<String>,
    /// The concurrency limit.
    pub max_in_flight: RwSignal<String>,
    /// The rate limit, empty for none.
    pub rate_limit: RwSignal<String>,
    /// Whether requests also carry an Ed25519 signature.
    pub ed25519: RwSignal<bool>,
    /// Whether responses update the reservation.
    pub provisions: RwSignal<bool>,
    /// The payload format, by its wire name.
    pub payload_format: RwSignal<String>,
    /// When the webhook receives the creation of a reservation.
    pub provision: RwSignal<String>,
    /// The ids of the resources whose events are sent, empty for all.
    pub filter_resources: RwSignal<String>,
    /// The conditions on configuration fields.
    pub conditions: ErasedSignal<Vec<ConditionModel>>,
    /// Client certificate and own authorities.
    pub tls: TlsModel,
}

/// The TLS settings in the form, as texts in PEM.
#[derive(Clone, Copy)]
pub struct TlsModel {
    /// The certificates of authorities.
    pub ca_certificates: RwSignal<String>,
    /// The client certificate with its chain.
    pub client_certificate: RwSignal<String>,
    /// The private key; empty for the stored one.
    pub client_key: RwSignal<String>,
    /// The stored settings.
    pub stored: ErasedSignal<Option<TlsView>>,
}

impl TlsModel {
    fn of(stored: Option<&TlsView>) -> Self {
        let model = Self {
            ca_certificates: text_signal(""),
            client_certificate: text_signal(""),
            client_key: text_signal(""),
            stored: ErasedSignal::new(None),
        };
        model.show(stored);
        model
    }

    /// Shows stored settings.
    pub fn show(self, stored: Option<&TlsView>) {
        let settings = stored.map(TlsView::settings).unwrap_or_default();
        self.ca_certificates.set(settings.ca_certificates);
        self.client_certificate.set(settings.client_certificate);
        self.client_key.set(settings.client_key);
        self.stored.set(stored.cloned());
    }

    /// Whether an empty key stands for a stored one. Tracked.
    pub fn can_keep_key(self) -> bool {
        let has_certificate = self.client_certificate.with(|text| !text.trim().is_empty());
        has_certificate && self.stored.with(|tls| tls.as_ref().is_some_and(|tls| !tls.client_certificate.is_empty()))
    }

    /// The settings; `None` if they are the stored ones. Tracked.
    fn input(self) -> Option<TlsInput> {
        let input = TlsInput {
            ca_certificates: self.ca_certificates.get(),
            client_certificate: self.client_certificate.get(),
            client_key: self.client_key.get(),
        };
        let stored = self.stored.with(|tls| tls.as_ref().map(TlsView::settings)).unwrap_or_default();
        Some(input).filter(|input| *input != stored)
    }
}

/// The authentication in the form.
#[derive(Clone, Copy)]
pub struct AuthModel {
    /// The method: `none`, `api_key` or `oauth2`.
    pub method: RwSignal<String>,
    /// The header of the API key.
    pub key_header: RwSignal<String>,
    /// The API key.
    pub key: RwSignal<String>,
    /// The token URL of OAuth 2.0.
    pub token_url: RwSignal<String>,
    /// The client id of OAuth 2.0.
    pub client_id: RwSignal<String>,
    /// The client secret of OAuth 2.0.
    pub client_secret: RwSignal<String>,
    /// The scope of OAuth 2.0, optional.
    pub scope: RwSignal<String>,
    /// The audience of OAuth 2.0, optional.
    pub audience: RwSignal<String>,
}

/// A custom header in the form.
#[derive(Clone, Copy, PartialEq)]
pub struct HeaderModel {
    /// Identifies the row while other rows are added and removed.
    pub key: u32,
    /// The name of the header.
    pub name: RwSignal<String>,
    /// The value of the header; empty for a stored secret one.
    pub value: RwSignal<String>,
    /// Whether the value is a secret.
    pub secret: RwSignal<bool>,
}

impl HeaderModel {
    /// A row for a new header.
    pub fn new(key: u32) -> Self {
        Self { key, name: text_signal(""), value: text_signal(""), secret: RwSignal::new(false) }
    }

    /// The header. The mark is absent where the name decides the same. Tracked.
    fn input(self) -> CustomHeader {
        let (name, secret) = (trimmed(self.name), self.secret.get());
        let mark = Some(secret).filter(|secret| *secret != is_secret_header(&name));
        CustomHeader { name, value: trimmed(self.value), secret: mark }
    }
}

/// A condition on a configuration field in the form.
#[derive(Clone, Copy, PartialEq)]
pub struct ConditionModel {
    /// Identifies the row while other rows are added and removed.
    pub key: u32,
    /// The name of the field.
    pub field: RwSignal<String>,
    /// The comparison: `equals` or `one_of`.
    pub operator: RwSignal<String>,
    /// The value, or one value in each line.
    pub values: RwSignal<String>,
}

impl ConditionModel {
    /// A row for a new condition.
    pub fn new(key: u32) -> Self {
        Self { key, field: text_signal(""), operator: text_signal("equals"), values: text_signal("") }
    }

    fn of(key: u32, condition: &FieldCondition) -> Self {
        let operator = match condition.operator {
            FilterOperator::Equals => "equals",
            FilterOperator::OneOf => "one_of",
        };
        let (field, values) = (text_signal(&condition.field), RwSignal::new(condition.values.join("\n")));
        Self { key, field, operator: text_signal(operator), values }
    }

    /// The condition. Tracked.
    fn input(self) -> FieldCondition {
        let text = self.values.get();
        let lines = text.lines().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let values: Vec<String> = lines.collect();
        let operator = match self.operator.get().as_str() {
            "one_of" => FilterOperator::OneOf,
            _ => FilterOperator::Equals,
        };
        FieldCondition { field: trimmed(self.field), operator, values }
    }
}

/// Creates a signal for a text input.
fn text_signal(text: &str) -> RwSignal<String> {
    RwSignal::new(text.to_owned())
}

/// The trimmed text of an input. Tracked.
fn trimmed(signal: RwSignal<String>) -> String {
    signal.with(|text| text.trim().to_owned())
}

/// The trimmed text of an optional input, or `None` if it is empty. Tracked.
fn optional(signal: RwSignal<String>) -> Option<String> {
    Some(trimmed(signal)).filter(|text| !text.is_empty())
}

/// The option of the authentication method of a webhook.
pub fn method_of(auth: &AuthView) -> &'static str {
    match auth {
        AuthView::None => "none",
        AuthView::ApiKey { .. } => "api_key",
        AuthView::Oauth2 { .. } => "oauth2",
    }
}

impl AuthModel {
    fn new() -> Self {
        Self {
            method: text_signal("none"),
            key_header: RwSignal::new(default_key_header()),
            key: text_signal(""),
            token_url: text_signal(""),
            client_id: text_signal(""),
            client_secret: text_signal(""),
            scope: text_signal(""),
            audience: text_signal(""),
        }
    }

    /// The server does not return credentials, so their inputs are empty.
    fn of(auth: &AuthView) -> Self {
        let new = Self { method: text_signal(method_of(auth)), ..Self::new() };
        match auth {
            AuthView::None => new,
            AuthView::ApiKey { header } => Self { key_header: text_signal(header), ..new },
            AuthView::Oauth2 { token_url, client_id, scope, audience } => Self {
                token_url: text_signal(token_url),
                client_id: text_signal(client_id),
                scope: text_signal(scope.as_deref().unwrap_or_default()),
                audience: text_signal(audience.as_deref().unwrap_or_default()),
                ..new
            },
        }
    }

    fn input(self) -> AuthInput {
        match self.method.get().as_str() {
            "api_key" => AuthInput::ApiKey { header: trimmed(self.key_header), key: trimmed(self.key) },
            "oauth2" => AuthInput::Oauth2 {
                token_url: trimmed(self.token_url),
                client_id: trimmed(self.client_id),
                client_secret: trimmed(self.client_secret),
                scope: optional(self.scope),
                audience: optional(self.audience),
            },
            _ => AuthInput::None,
        }
    }
}

impl FormModel {
    /// The input for a new webhook: the events and the authentication of the guide, with a new secret and a new key.
    pub fn new() -> Self {
        use EventType::{ReservationCancelled, ReservationCreated, ReservationUpdated};
        let is_selected = |event| matches!(event, ReservationCreated | ReservationUpdated | ReservationCancelled);
        let auth = AuthModel::new();
        auth.method.set("api_key".to_owned());
        auth.key.set(random::new_api_key());
        Self {
            name: text_signal(""),
            url: text_signal(""),
            resource_type: text_signal(""),
            events: EventType::ALL.map(|event| (event, RwSignal::new(is_selected(event)))),
            auth,
            layout: text_signal("by_event"),
            paths: path_signals(&DeliveryPaths::default()),
            headers: ErasedSignal::new(Vec::new()),
            secret_source: text_signal("generate"),
            secret: text_signal(""),
            generated_secret: RwSignal::new(random::new_secret()),
            retry: text_signal("default"),
            retry_delays: RwSignal::new(delays_text(&RetryPolicy::default())),
            max_in_flight: RwSignal::new(DEFAULT_MAX_IN_FLIGHT.to_string()),
            rate_limit: text_signal(""),
            ed25519: RwSignal::new(false),
            provisions: RwSignal::new(true),
            payload_format: text_signal(PayloadFormat::default().as_str()),
            provision: text_signal(ProvisionTime::default().as_str()),
            filter_resources: text_signal(""),
            conditions: ErasedSignal::new(Vec::new()),
            tls: TlsModel::of(None),
        }
    }

    /// The input for a change of `webhook`.
    pub fn of(webhook: &Webhook) -> Self {
        let paths = &webhook.delivery_paths;
        let headers = (0..).zip(&webhook.headers).map(|(key, header)| HeaderModel {
            key,
            name: text_signal(&header.name),
            value: text_signal(&header.value),
            secret: RwSignal::new(header.is_secret()),
        });
        Self {
            name: text_signal(&webhook.name),
            url: text_signal(&webhook.endpoint_url),
            resource_type: text_signal(webhook.resource_type.as_deref().unwrap_or_default()),
            events: EventType::ALL.map(|event| (event, RwSignal::new(webhook.events.contains(&event)))),
            auth: AuthModel::of(&webhook.auth),
            layout: text_signal(match paths.layout {
                Layout::ByEvent => "by_event",
                Layout::Single => "single",
                Layout::Custom => "custom",
            }),
            // With another layout, the custom paths start with the default ones.
            paths: match paths.layout {
                Layout::Custom => path_signals(paths),
                Layout::ByEvent | Layout::Single => path_signals(&DeliveryPaths::default()),
            },
            headers: ErasedSignal::new(headers.collect()),
            retry: text_signal(match &webhook.retry {
                policy if *policy == RetryPolicy::default() => "default",
                policy if *policy == RetryPolicy::extended() => "extended",
                _ => "custom",
            }),
            retry_delays: RwSignal::new(delays_text(&webhook.retry)),
            max_in_flight: RwSignal::new(webhook.max_in_flight.to_string()),
            rate_limit: RwSignal::new(webhook.rate_limit.map(|n| n.to_string()).unwrap_or_default()),
            ed25519: RwSignal::new(webhook.public_key.is_some()),
            provisions: RwSignal::new(webhook.provisions),
            payload_format: text_signal(webhook.payload_format.as_str()),
            provision: text_signal(webhook.provision.as_str()),
            filter_resources: RwSignal::new(
                webhook.filter.resource_ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", "),
            ),
            conditions: ErasedSignal::new(
                (0..).zip(&webhook.filter.fields).map(|(key, one)| ConditionModel::of(key, one)).collect(),
            ),
            tls: TlsModel::of(webhook.tls.as_ref()),
            ..Self::new()
        }
    }

    /// The selected events. Tracked.
    pub fn selected_events(self) -> Vec<EventType> {
        self.events.into_iter().filter(|(_, selected)| selected.get()).map(|(event, _)| event).collect()
    }

    /// The signing secret of a new webhook; `None` if the server generates it. Tracked.
    pub fn signing_secret(self) -> Option<String> {
        match self.secret_source.get().as_str() {
            "existing" => Some(trimmed(self.secret)),
            _ => Some(self.generated_secret.get()).filter(|secret| !secret.is_empty()),
        }
    }

    /// The settings of the receiver snippets. `is_new` states that the page knows the secret. Tracked.
    pub fn snippet_settings(self, is_new: bool) -> SnippetSettings {
        SnippetSettings {
            endpoint_url: trimmed(self.url),
            paths: self.delivery_paths(),
            events: self.selected_events(),
            resource_type: optional(self.resource_type),
            secret: self.signing_secret().filter(|secret| is_new && !secret.is_empty()),
            auth: self.auth.input(),
        }
    }

    /// The delivery paths. Tracked.
    pub fn delivery_paths(self) -> DeliveryPaths {
        if self.format().uses_exact_url() {
            return DeliveryPaths { layout: Layout::Single, ..Default::default() };
        }
        match self.layout.get().as_str() {
            "single" => DeliveryPaths { layout: Layout::Single, ..Default::default() },
            "custom" => {
                let paths = self.paths.into_iter().map(|(event, path)| (event, trimmed(path)));
                DeliveryPaths { layout: Layout::Custom, paths: paths.filter(|(_, path)| !path.is_empty()).collect() }
            }
            _ => DeliveryPaths::default(),
        }
    }

    /// The selected payload format. Tracked.
    pub fn format(self) -> PayloadFormat {
        PayloadFormat::parse(&self.payload_format.get()).unwrap_or_default()
    }

    /// The selected time of provisioning. Tracked.
    pub fn provision_time(self) -> ProvisionTime {
        ProvisionTime::parse(&self.provision.get()).unwrap_or_default()
    }

    fn filter(self) -> Result<EventFilter, FieldError> {
        let text = self.filter_resources.get();
        let parts = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
        let resource_ids = parts.map(str::parse).collect::<Result<_, _>>().map_err(|_| FieldError {
            field: "filter.resource_ids".into(),
            message: "Enter the ids of resources, separated by commas.".into(),
        })?;
        let fields = self.conditions.get().into_iter().map(ConditionModel::input).collect();
        Ok(EventFilter { resource_ids, fields })
    }

    fn retry_policy(self) -> Result<RetryPolicy, FieldError> {
        match self.retry.get().as_str() {
            "extended" => Ok(RetryPolicy::extended()),
            "custom" => {
                let text = self.retry_delays.get();
                let parts = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
                let delays = parts.map(str::parse).collect::<Result<_, _>>();
                delays.map(|delays| RetryPolicy { delays }).map_err(|_| FieldError {
                    field: "retry.waits".into(),
                    message: "Enter whole seconds separated by commas, e.g. 1, 2, 4.".into(),
                })
            }
            _ => Ok(RetryPolicy::default()),
        }
    }

    /// The input, if it is valid. `stored` is the edited webhook, whose credentials empty ones keep. Tracked.
    ///
    /// # Errors
    /// Invalid, with an error for each invalid field.
    pub fn validate(self, policy: &UrlPolicy, stored: Option<&Webhook>) -> Result<WebhookInput, Problem> {
        let mut errors = Vec::new();
        let retry = self.retry_policy().map_err(|error| errors.push(error)).unwrap_or_default();
        let max_in_flight = parse_number("max_in_flight", self.max_in_flight);
        let max_in_flight = max_in_flight.map_err(|error| errors.push(error)).unwrap_or_default();
        let rate_limit = parse_number("rate_limit", self.rate_limit);
        let rate_limit = rate_limit.map_err(|error| errors.push(error)).unwrap_or_default();
        let headers = self.headers.get().into_iter();
        let filter = self.filter().map_err(|error| errors.push(error)).unwrap_or_default();
        let input = WebhookInput {
            name: trimmed(self.name),
            endpoint_url: trimmed(self.url),
            resource_type: optional(self.resource_type),
            events: self.selected_events(),
            auth: self.auth.input(),
            delivery_paths: Some(self.delivery_paths()),
            secret: self.signing_secret().filter(|_| stored.is_none()),
            headers: headers.map(HeaderModel::input).collect(),
            retry: Some(retry),
            enabled: None,
            max_in_flight,
            rate_limit,
            ed25519: Some(self.ed25519.get()),
            provisions: Some(self.provisions.get()),
            payload_format: Some(self.format()),
            // Absent unless it is set: during an upgrade, a replica of the previous release rejects it.
            provision: Some(self.provision_time())
                .filter(|time| *time != stored.map(|webhook| webhook.provision).unwrap_or_default()),
            filter: Some(filter),
            delivery_mode: stored.filter(|webhook| webhook.is_local()).map(|webhook| webhook.delivery_mode),
            tls: self.tls.input(),
        };
        let stored = stored.map(|webhook| StoredCredentials {
            endpoint_url: &webhook.endpoint_url,
            auth: &webhook.auth,
            headers: &webhook.headers,
            has_client_key: webhook.tls.as_ref().is_some_and(|tls| !tls.client_certificate.is_empty()),
        });
        if let Err(problem) = check(&input, policy, stored) {
            errors.extend(problem.errors);
        }
        if errors.is_empty() { Ok(input) } else { Err(Problem::invalid(errors)) }
    }
}

/// Converts the input of a whole form to a change that sets every field.
pub fn to_patch(input: WebhookInput) -> WebhookPatch {
    WebhookPatch {
        name: Some(input.name),
        endpoint_url: Some(input.endpoint_url),
        resource_type: Some(input.resource_type),
        events: Some(input.events),
        auth: Some(input.auth),
        delivery_paths: input.delivery_paths,
        headers: Some(input.headers),
        retry: input.retry,
        enabled: None,
        max_in_flight: Some(input.max_in_flight.unwrap_or(DEFAULT_MAX_IN_FLIGHT)),
        rate_limit: Some(input.rate_limit),
        ed25519: input.ed25519,
        provisions: input.provisions,
        payload_format: input.payload_format,
        filter: input.filter,
        tls: input.tls,
        provision: input.provision,
    }
}

fn path_signals(paths: &DeliveryPaths) -> [(EventType, RwSignal<String>); EventType::ALL.len()] {
    EventType::ALL.map(|event| (event, text_signal(paths.path(event))))
}

fn delays_text(policy: &RetryPolicy) -> String {
    policy.delays.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// Parses an optional whole number.
fn parse_number(field: &str, signal: RwSignal<String>) -> Result<Option<u32>, FieldError> {
    let number = optional(signal).map(|text| text.parse()).transpose();
    number.map_err(|_| FieldError { field: field.into(), message: "Enter a whole number.".into() })
}

/// The error messages of the form's fields: from the validation in the page and from the server.
#[derive(Clone, Copy)]
pub struct FieldErrors {
    /// The problem that the validation in the page finds.
    pub problem: Memo<Option<Problem>>,
    /// The fields that the user has left. Others show no error before the form is submitted.
    left: ErasedSignal<BTreeSet<String>>,
    /// Whether the user has submitted the form.
    pub submitted: RwSignal<bool>,
    mutation: Mutation,
}

impl FieldErrors {
    /// Combines the errors of a validation and of a mutation.
    pub fn new(problem: Memo<Option<Problem>>, mutation: Mutation) -> Self {
        Self { problem, left: ErasedSignal::new(BTreeSet::new()), submitted: RwSignal::new(false), mutation }
    }

    /// The message for a field. The server's message is shown while the validation in the page succeeds, until the user edits
    /// the field.
    pub fn message(self, field: impl Into<String>) -> FieldMessage {
        let field = field.into();
        let server = self.mutation.field_error(field.clone());
        let text = Signal::derive(move || {
            let is_visible = self.submitted.get() || self.left.with(|left| left.contains(&field));
            self.problem.with(|problem| match problem {
                Some(problem) => problem.message_for(&field).filter(|_| is_visible).map(str::to_owned),
                None => server.get(),
            })
        });
        FieldMessage::new(text, Callback::new(move |()| server.edited()))
    }

    /// The message of the validation in the page for a field, also before the user has left it. Tracked.
    pub fn page_message(self, field: &str) -> Option<String> {
        self.problem.with(|problem| problem.as_ref()?.message_for(field).map(str::to_owned))
    }

    /// Shows the messages of all fields after a submission that the validation in the page rejects.
    pub fn reject(self) {
        self.mutation.problem.set(None);
        focus_first_invalid();
    }

    /// The callback for when the user leaves a field.
    pub fn on_blur(self, field: impl Into<String>) -> Callback<()> {
        let field = field.into();
        Callback::new(move |()| {
            self.left.update(|left| {
                left.insert(field.clone());
            });
        })
    }

    /// Whether the server has found an error in a field whose name starts with `prefix`. Tracked.
    pub fn has_server_error(self, prefix: &str) -> bool {
        let is_included = |error: &FieldError| error.field.starts_with(prefix);
        self.mutation.problem.with(|problem| problem.as_ref().is_some_and(|p| p.errors.iter().any(is_included)))
    }

    /// Whether a field whose name starts with one of `prefixes` has an error. Tracked.
    pub fn has_error(self, prefixes: &[&str]) -> bool {
        let is_included = |error: &FieldError| prefixes.iter().any(|prefix| error.field.starts_with(prefix));
        self.problem.with(|problem| problem.as_ref().is_some_and(|p| p.errors.iter().any(is_included)))
    }

    /// The same, and false before submission. Tracked.
    pub fn has_submitted_error(self, prefixes: &[&str]) -> bool {
        self.submitted.get() && self.has_error(prefixes)
    }
}
