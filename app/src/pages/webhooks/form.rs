//! The form of a webhook, new and old: checked as it is filled in by the same rules as on the server.

use super::overview::waited;
use super::secret::SecretShown;
use super::{load_webhook, use_webhook_id};
use crate::components::*;
use crate::load::{Write, load};
use crate::rpc::{catalogue, webhooks as rpc};
use crate::values::{Cell, Value, effect};
use domain::Problem;
use domain::endpoint::UrlPolicy;
use domain::event::EventType;
use domain::header::Header;
use domain::problem::FieldError;
use domain::resource::ResourceType;
use domain::retry::RetryPolicy;
use domain::routing::{DeliveryPaths, Layout};
use domain::webhook::*;
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;
use std::collections::BTreeSet;

/// `/settings/webhooks/new`
#[component]
pub fn WebhookNewPage() -> impl IntoView {
    let made = Cell::new(None::<WebhookWithSecret>);
    move || {
        match made.get() {
        None => view! {
            <PageHeader title="Add New Webhook" lead="Notify your service when people reserve, so it can provision the resource." />
            <div class="narrow">
                <NewForm made=made />
            </div>
        }
        .into_any(),
        Some(made) => view! { <Made made=made /> }.into_any(),
    }
    }
}

/// What to do with the new webhook: keep its secret, test it.
#[component]
fn Made(made: WebhookWithSecret) -> impl IntoView {
    let id = made.webhook.id;
    view! {
        <PageHeader title=format!("{} created", made.webhook.name) />
        <div class="stack narrow">
            <SecretShown secret=made.secret />
            <p>
                "Set it in your service, e.g. "<code>"WEBHOOK_SECRET"</code>
                ". To post status updates, the service also sends the webhook ID, "<strong>{id}</strong>", as "
                <code>"X-Webhook-Id"</code>"."
            </p>
            <div class="row">
                <a class="button primary" href=format!("/settings/webhooks/{id}?tab=test")><IconView icon=Icon::Send />"Test Webhook"</a>
                <a class="button" href=format!("/settings/webhooks/{id}")>"View webhook"</a>
            </div>
        </div>
    }
}

/// `/settings/webhooks/:id/edit`: the settings of the webhook's own page, for links from elsewhere.
#[component]
pub fn WebhookEditPage() -> impl IntoView {
    let id = use_webhook_id();
    let webhook = load_webhook(id);
    let navigate = use_navigate();
    webhook.show(move |webhook| {
        let now = webhook.get_untracked();
        let navigate = navigate.clone();
        let saved =
            Callback::new(move |new: Webhook| navigate(&format!("/settings/webhooks/{}", new.id), Default::default()));
        view! {
            <PageHeader title=format!("Edit {}", now.name) />
            <div class="narrow">
                <EditForm webhook=now saved=saved />
            </div>
        }
    })
}

/// One header of the administrator's own, while it is edited.
#[derive(Clone, Copy, PartialEq)]
struct HeaderRow {
    key: u32,
    name: RwSignal<String>,
    value: RwSignal<String>,
}

/// What is entered.
#[derive(Clone, Copy)]
struct State {
    name: RwSignal<String>,
    url: RwSignal<String>,
    resource_type: RwSignal<String>,
    events: Cell<BTreeSet<EventType>>,
    method: RwSignal<String>,
    key_header: RwSignal<String>,
    key: RwSignal<String>,
    token_url: RwSignal<String>,
    client_id: RwSignal<String>,
    client_secret: RwSignal<String>,
    scope: RwSignal<String>,
    audience: RwSignal<String>,
    layout: RwSignal<String>,
    paths: [(EventType, RwSignal<String>); 5],
    headers: Cell<Vec<HeaderRow>>,
    secret: RwSignal<String>,
    own_secret: RwSignal<String>,
    retry: RwSignal<String>,
    waits: RwSignal<String>,
    in_flight: RwSignal<String>,
    rate: RwSignal<String>,
    ed25519: RwSignal<bool>,
    provisions: RwSignal<bool>,
}

fn text(signal: RwSignal<String>) -> String {
    signal.get().trim().to_owned()
}

fn some(signal: RwSignal<String>) -> Option<String> {
    Some(text(signal)).filter(|text| !text.is_empty())
}

/// Collects one by one: `collect` brings a sort for each type.
fn each<C: Default + Extend<T>, T>(items: impl IntoIterator<Item = T>) -> C {
    let mut all = C::default();
    all.extend(items);
    all
}

impl State {
    /// The form of `webhook`, or an empty one.
    fn new(webhook: Option<&Webhook>) -> Self {
        let signal = |text: &str| RwSignal::new(text.to_owned());
        let mut state = Self {
            name: signal(""),
            url: signal(""),
            resource_type: signal(""),
            events: Cell::new(each([
                EventType::ReservationCreated,
                EventType::ReservationUpdated,
                EventType::ReservationCancelled,
                EventType::ReservationExpired,
            ])),
            method: signal("none"),
            key_header: RwSignal::new(default_key_header()),
            key: signal(""),
            token_url: signal(""),
            client_id: signal(""),
            client_secret: signal(""),
            scope: signal(""),
            audience: signal(""),
            layout: signal("guide"),
            paths: EventType::ALL.map(|event| (event, RwSignal::new(DeliveryPaths::default().path(event).to_owned()))),
            headers: Cell::new(Vec::new()),
            secret: signal("generate"),
            own_secret: signal(""),
            retry: signal("guide"),
            waits: signal("1, 2, 4"),
            in_flight: signal("64"),
            rate: signal(""),
            ed25519: RwSignal::new(false),
            provisions: RwSignal::new(true),
        };
        let Some(webhook) = webhook else { return state };
        state.name = signal(&webhook.name);
        state.url = signal(&webhook.endpoint_url);
        state.resource_type = signal(webhook.resource_type.as_deref().unwrap_or_default());
        state.events = Cell::new(each(webhook.events.iter().copied()));
        match &webhook.auth {
            AuthView::None => {}
            AuthView::ApiKey { header } => {
                state.method = signal("api_key");
                state.key_header = signal(header);
            }
            AuthView::Oauth2 { token_url, client_id, scope, audience } => {
                state.method = signal("oauth2");
                state.token_url = signal(token_url);
                state.client_id = signal(client_id);
                state.scope = signal(scope.as_deref().unwrap_or_default());
                state.audience = signal(audience.as_deref().unwrap_or_default());
            }
        }
        state.ed25519 = RwSignal::new(webhook.public_key.is_some());
        state.provisions = RwSignal::new(webhook.provisions);
        state.layout = signal(match webhook.delivery_paths.layout {
            Layout::ByEvent => "guide",
            Layout::Single => "single",
            Layout::Custom => "custom",
        });
        if webhook.delivery_paths.layout == Layout::Custom {
            state.paths =
                EventType::ALL.map(|event| (event, RwSignal::new(webhook.delivery_paths.path(event).to_owned())));
        }
        let rows = (0..).zip(&webhook.headers).map(|(key, h)| HeaderRow {
            key,
            name: signal(&h.name),
            value: signal(&h.value),
        });
        state.headers = Cell::new(rows.collect());
        let waits = &webhook.retry.delays;
        state.retry = signal(match &webhook.retry {
            policy if *policy == RetryPolicy::default() => "guide",
            policy if *policy == RetryPolicy::extended() => "patient",
            _ => "custom",
        });
        state.waits = RwSignal::new(waits.iter().map(u32::to_string).collect::<Vec<_>>().join(", "));
        state.in_flight = RwSignal::new(webhook.max_in_flight.to_string());
        state.rate = RwSignal::new(webhook.rate_limit.map(|n| n.to_string()).unwrap_or_default());
        state
    }

    fn delivery_paths(&self) -> DeliveryPaths {
        match self.layout.get().as_str() {
            "single" => DeliveryPaths { layout: Layout::Single, ..Default::default() },
            "custom" => {
                let paths =
                    self.paths.iter().map(|(event, path)| (*event, text(*path))).filter(|(_, path)| !path.is_empty());
                DeliveryPaths { layout: Layout::Custom, paths: each(paths) }
            }
            _ => DeliveryPaths::default(),
        }
    }

    fn auth(&self) -> AuthInput {
        match self.method.get().as_str() {
            "api_key" => AuthInput::ApiKey { header: text(self.key_header), key: text(self.key) },
            "oauth2" => AuthInput::Oauth2 {
                token_url: text(self.token_url),
                client_id: text(self.client_id),
                client_secret: text(self.client_secret),
                scope: some(self.scope),
                audience: some(self.audience),
            },
            _ => AuthInput::None,
        }
    }

    /// What was entered, with the faults that only the form can have: numbers that are none.
    fn input(&self) -> (WebhookInput, Vec<FieldError>) {
        let mut faults = Vec::new();
        let mut fault =
            |field: &str, message: &str| faults.push(FieldError { field: field.into(), message: message.into() });
        let retry = match self.retry.get().as_str() {
            "patient" => RetryPolicy::extended(),
            "custom" => {
                let waits = self.waits.get();
                let parts = waits.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
                match parts.map(str::parse).collect::<Result<Vec<u32>, _>>() {
                    Ok(waits) => RetryPolicy { delays: waits },
                    Err(_) => {
                        fault("retry.waits", "Enter whole seconds separated by commas, e.g. 1, 2, 4.");
                        RetryPolicy::default()
                    }
                }
            }
            _ => RetryPolicy::default(),
        };
        let mut number = |signal: RwSignal<String>, field: &str| match text(signal) {
            text if text.is_empty() => None,
            text => text.parse::<u32>().map_err(|_| fault(field, "Enter a whole number.")).ok(),
        };
        let max_in_flight = number(self.in_flight, "max_in_flight");
        let rate_limit = number(self.rate, "rate_limit");
        let input = WebhookInput {
            name: text(self.name),
            endpoint_url: text(self.url),
            resource_type: some(self.resource_type),
            events: self.events.get().into_iter().collect(),
            auth: self.auth(),
            delivery_paths: Some(self.delivery_paths()),
            secret: (self.secret.get() == "own").then(|| text(self.own_secret)),
            headers: self
                .headers
                .get()
                .iter()
                .map(|row| Header { name: text(row.name), value: text(row.value) })
                .collect(),
            retry: Some(retry),
            enabled: None,
            max_in_flight,
            rate_limit,
            ed25519: Some(self.ed25519.get()),
            provisions: Some(self.provisions.get()),
        };
        (input, faults)
    }

    fn check(&self, policy: &UrlPolicy, new: bool) -> Result<WebhookInput, Problem> {
        let (input, mut faults) = self.input();
        if let Err(problem) = check(&input, policy, new) {
            faults.extend(problem.errors);
        }
        if faults.is_empty() { Ok(input) } else { Err(Problem::invalid(faults)) }
    }
}

/// The messages beside the fields: those of the check as one goes, and the server's.
#[derive(Clone, Copy)]
struct Faults {
    found: Value<Option<Problem>>,
    /// Fields that were left once, and whether sending was tried: before, an empty form is no fault.
    left: Cell<BTreeSet<String>>,
    tried: RwSignal<bool>,
    write: Write,
}

impl Faults {
    fn of(self, field: impl Into<String>) -> Signal<Option<String>> {
        let field = field.into();
        let server = self.write.message(field.clone());
        Signal::derive(move || {
            let shows = self.tried.get() || self.left.with(|left| left.contains(&field));
            let found = self.found.with(|found| found.as_ref().and_then(|p| p.message_for(&field)).map(str::to_owned));
            found.filter(|_| shows).or_else(|| server.get().filter(|_| self.found.with(Option::is_none)))
        })
    }

    fn leave(self, field: impl Into<String>) -> Callback<()> {
        let field = field.into();
        Callback::new(move |()| {
            // Leaving an untouched empty field to press a button elsewhere is no fault yet.
            self.left.update(|left| {
                left.insert(field.clone());
            });
        })
    }
}

#[component]
fn NewForm(made: Cell<Option<WebhookWithSecret>>) -> impl IntoView {
    let policy = load(rpc::url_policy);
    let types = load(catalogue::list_types);
    policy.show(move |policy| {
        let policy = policy.get_untracked();
        types.show(move |types| {
            let policy = StoredValue::new(policy.clone());
            let state = State::new(None);
            let write = Write::new();
            let found = Value::memo(move || policy.with_value(|policy| state.check(policy, true)).err());
            let faults = Faults { found, left: Cell::new(BTreeSet::new()), tried: RwSignal::new(false), write };
            let submit = Callback::new(move |()| {
                faults.tried.set(true);
                match untrack(|| policy.with_value(|policy| state.check(policy, true))) {
                    Err(problem) => write.refuse(problem),
                    Ok(input) => write.run(rpc::create_webhook(input), move |new| made.set(Some(new))),
                }
            });
            view! {
                <Form on_submit=submit>
                    <Fields state=state faults=faults types=types.get_untracked().items old=None />
                    <SecretFields state=state faults=faults />
                    <Advanced state=state faults=faults />
                    <FormProblem problem=write.general() />
                    <div class="row">
                        <Button look=Look::Primary submit=true busy=write.busy>"Save Webhook"</Button>
                        <a class="button quiet" href="/settings/webhooks">"Cancel"</a>
                    </div>
                </Form>
            }
        })
    })
}

/// Changes an existing webhook.
#[component]
pub fn EditForm(webhook: Webhook, saved: Callback<Webhook>) -> impl IntoView {
    let policy = load(rpc::url_policy);
    let types = load(catalogue::list_types);
    let webhook = StoredValue::new(webhook);
    policy.show(move |policy| {
        let policy = policy.get_untracked();
        types.show(move |types| {
            let policy = StoredValue::new(policy.clone());
            let old = webhook.get_value();
            let id = old.id;
            let state = State::new(Some(&old));
            let write = Write::new();
            let done = RwSignal::new(false);
            // The stored key or client secret stays only while the method stays.
            let needs_secret = move || webhook.with_value(|old| method_of(&old.auth)) != state.method.get();
            let found = Value::memo(move || policy.with_value(|policy| state.check(policy, needs_secret())).err());
            let faults = Faults { found, left: Cell::new(BTreeSet::new()), tried: RwSignal::new(false), write };
            let submit = Callback::new(move |()| {
                faults.tried.set(true);
                done.set(false);
                match untrack(|| policy.with_value(|policy| state.check(policy, needs_secret()))) {
                    Err(problem) => write.refuse(problem),
                    Ok(input) => {
                        let patch = WebhookPatch {
                            name: Some(input.name),
                            endpoint_url: Some(input.endpoint_url),
                            resource_type: Some(input.resource_type),
                            events: Some(input.events),
                            auth: Some(input.auth),
                            delivery_paths: input.delivery_paths,
                            headers: Some(input.headers),
                            retry: input.retry,
                            enabled: None,
                            max_in_flight: Some(input.max_in_flight.unwrap_or(64)),
                            rate_limit: Some(input.rate_limit),
                            ed25519: input.ed25519,
                            provisions: input.provisions,
                        };
                        write.run(rpc::patch_webhook(id, patch), move |new| {
                            done.set(true);
                            saved.run(new);
                        });
                    }
                }
            });
            view! {
                <Form on_submit=submit>
                    <Fields state=state faults=faults types=types.get_untracked().items old=Some(old.auth) />
                    <Advanced state=state faults=faults />
                    <FormProblem problem=write.general() />
                    <div class="row">
                        <Button look=Look::Primary submit=true busy=write.busy>"Save Webhook"</Button>
                        <span role="status">{move || done.get().then_some("Saved.")}</span>
                    </div>
                </Form>
            }
        })
    })
}

fn method_of(auth: &AuthView) -> &'static str {
    match auth {
        AuthView::None => "none",
        AuthView::ApiKey { .. } => "api_key",
        AuthView::Oauth2 { .. } => "oauth2",
    }
}

#[component]
fn Fields(state: State, faults: Faults, types: Vec<ResourceType>, old: Option<AuthView>) -> impl IntoView {
    let mut options = vec![(String::new(), "All types".to_owned())];
    options.extend(
        types
            .into_iter()
            .map(|t| (t.slug.clone(), if t.name == t.slug { t.slug } else { format!("{} ({})", t.slug, t.name) })),
    );
    view! {
        <TextInput label="Webhook Name" value=state.name error=faults.of("name") on_blur=faults.leave("name") placeholder="GPU Cluster Manager" />
        <TextInput
            label="Endpoint URL"
            value=state.url
            kind="url"
            mono=true
            error=faults.of("endpoint_url")
            on_blur=faults.leave("endpoint_url")
            placeholder="https://your-service.com/api/webhook"
        />
        <Select
            label="Resource Type"
            value=state.resource_type
            options=options
            hint="Only reservations of this type are sent."
            error=faults.of("resource_type")
        />
        <AuthFields state=state faults=faults old=old />
        <EventFields state=state faults=faults />
        <PathFields state=state faults=faults />
    }
}

#[component]
fn AuthFields(state: State, faults: Faults, old: Option<AuthView>) -> impl IntoView {
    let had = old.as_ref().map_or("", method_of);
    let keep = move |method: &str| if had == method { "Leave empty to keep the current value." } else { "" };
    view! {
        <div class="stack tight">
            <RadioCards
                legend="Authentication Method"
                value=state.method
                options=vec![
                    ("none", "None", "No extra credentials; requests are signed."),
                    ("api_key", "API Key", "Sends a key in a request header."),
                    ("oauth2", "OAuth 2.0", "Client credentials; sends a bearer token."),
                ]
            />
            {move || match state.method.get().as_str() {
                "api_key" => view! {
                    <div class="grid-2">
                        <TextInput label="Header" value=state.key_header mono=true error=faults.of("auth.header") on_blur=faults.leave("auth.header") />
                        <TextInput
                            label="API Key"
                            value=state.key
                            kind="password"
                            autocomplete="new-password"
                            hint=keep("api_key")
                            error=faults.of("auth.key")
                            on_blur=faults.leave("auth.key")
                        />
                    </div>
                    <p class="hint">"For "<code>"Authorization"</code>", include the scheme: "<code>"Bearer <key>"</code>"."</p>
                }
                .into_any(),
                "oauth2" => view! {
                    <TextInput label="Token URL" value=state.token_url kind="url" mono=true error=faults.of("auth.token_url") on_blur=faults.leave("auth.token_url") />
                    <div class="grid-2">
                        <TextInput label="Client ID" value=state.client_id error=faults.of("auth.client_id") on_blur=faults.leave("auth.client_id") />
                        <TextInput
                            label="Client secret"
                            value=state.client_secret
                            kind="password"
                            autocomplete="new-password"
                            hint=keep("oauth2")
                            error=faults.of("auth.client_secret")
                            on_blur=faults.leave("auth.client_secret")
                        />
                        <TextInput label="Scope" value=state.scope optional=true error=faults.of("auth.scope") />
                        <TextInput label="Audience" value=state.audience optional=true error=faults.of("auth.audience") />
                    </div>
                }
                .into_any(),
                _ => ().into_any(),
            }}
        </div>
    }
}

#[component]
fn EventFields(state: State, faults: Faults) -> impl IntoView {
    let error = faults.of("events");
    view! {
        <fieldset class="events">
            <legend>"Event Triggers"</legend>
            {EventType::ALL
                .into_iter()
                .map(|event| {
                    let ticked = RwSignal::new(state.events.with_untracked(|all| all.contains(&event)));
                    effect(move || {
                        let on = ticked.get();
                        state.events.update(|all| if on { all.insert(event); } else { all.remove(&event); });
                    });
                    view! { <Checkbox label=event.label() value=ticked hint=event.explanation() /> }.into_any()
                })
                .collect_view()}
            <p class="error" aria-live="polite">{move || error.get()}</p>
        </fieldset>
    }
}

#[component]
fn PathFields(state: State, faults: Faults) -> impl IntoView {
    let preview = move || {
        let (paths, url) = (state.delivery_paths(), text(state.url));
        let base = if url.is_empty() { "https://…".to_owned() } else { url };
        state
            .events
            .get()
            .into_iter()
            .map(|event| {
                view! { <li><span>{event.label()}</span><code>"POST "{paths.url(&base, event)}</code></li> }.into_any()
            })
            .collect_view()
    };
    view! {
        <div class="stack tight">
            <RadioCards
                legend="Delivery paths"
                value=state.layout
                options=vec![
                    ("guide", "Path per event", "Appends /reservation, /reservation/cancel or /access-request."),
                    ("single", "Single URL", "Sends every event to the endpoint."),
                    ("custom", "Custom paths", "Set a path for each event."),
                ]
            />
            <When when=move || state.layout.get() == "custom">
                <div class="grid-2">
                    {state
                        .paths
                        .into_iter()
                        .map(|(event, path)| {
                            let field = format!("delivery_paths.paths.{event}");
                            view! {
                                <TextInput
                                    label=event.label()
                                    value=path
                                    mono=true
                                    placeholder="/reservation"
                                    error=faults.of(field.clone())
                                    on_blur=faults.leave(field)
                                />
                            }.into_any()
                        })
                        .collect_view()}
                </div>
            </When>
            <div class="preview" aria-live="polite">
                <p class="label">"Requests will be sent to"</p>
                <ul class="destinations">{preview}</ul>
            </div>
        </div>
    }
}

#[component]
fn SecretFields(state: State, faults: Faults) -> impl IntoView {
    view! {
        <div class="stack tight">
            <RadioCards
                legend="Signing secret"
                value=state.secret
                options=vec![
                    ("generate", "Generate", "Creates a strong secret and shows it once."),
                    ("own", "Use existing", "Paste the secret that your service already has."),
                ]
            />
            <When when=move || state.secret.get() == "own">
                <TextInput
                    label="Secret"
                    value=state.own_secret
                    kind="password"
                    autocomplete="new-password"
                    mono=true
                    hint="8 to 255 bytes; any text or whsec_…."
                    error=faults.of("secret")
                    on_blur=faults.leave("secret")
                />
            </When>
        </div>
    }
}

#[component]
fn Advanced(state: State, faults: Faults) -> impl IntoView {
    let next = StoredValue::new(state.headers.with_untracked(Vec::len) as u32);
    let add = Callback::new(move |()| {
        let key = next.get_value();
        next.set_value(key + 1);
        state.headers.update(|rows| {
            rows.push(HeaderRow { key, name: RwSignal::new(String::new()), value: RwSignal::new(String::new()) })
        });
    });
    // Faults go by place, rows by key: removing one moves the rest.
    let place = move |key: u32| state.headers.with(|rows| rows.iter().position(|row| row.key == key)).unwrap_or(0);
    let message = move |key: u32, part: &'static str| {
        Signal::derive(move || faults.of(format!("headers.{}.{part}", place(key))).get())
    };
    // A fault in here must not hide.
    let faulty = Memo::new(move |_| {
        let inside = |field: &str| {
            ["headers", "retry", "max_in_flight", "rate_limit"].iter().any(|part| field.starts_with(part))
        };
        faults.tried.get()
            && faults.found.with(|found| found.as_ref().is_some_and(|p| p.errors.iter().any(|e| inside(&e.field))))
    });
    let patient = RetryPolicy::extended().delays.iter().map(|s| waited(*s)).collect::<Vec<_>>().join(", ");
    view! {
        <details class="advanced" open=move || faulty.get()>
            <summary>"Advanced: headers, retries, limits, responses, signatures"</summary>
            <div class="stack">
                <fieldset class="stack tight">
                    <legend>"Custom headers"</legend>
                    {rows(
                        move || state.headers.get(),
                        |row| row.key.to_string(),
                        move |row| view! {
                            <div class="header-row">
                                <TextInput label="Name" value=row.name mono=true placeholder="X-Team" error=message(row.key, "name") />
                                <TextInput label="Value" value=row.value mono=true error=message(row.key, "value") />
                                <button
                                    type="button"
                                    class="button quiet"
                                    aria-label=move || format!("Remove header {}", row.name.get())
                                    on:click=move |_| state.headers.update(|rows| rows.retain(|other| other.key != row.key))
                                >
                                    <IconView icon=Icon::Trash />
                                </button>
                            </div>
                        }.into_any(),
                    )}
                    <p class="error" aria-live="polite">{move || faults.of("headers").get()}</p>
                    <div><Button on_click=add><IconView icon=Icon::Plus />"Add header"</Button></div>
                </fieldset>
                <Select
                    label="Retries"
                    value=state.retry
                    options=vec![
                        ("guide".to_owned(), "3 retries: 1 s, 2 s, 4 s".to_owned()),
                        ("patient".to_owned(), format!("9 retries: {patient}")),
                        ("custom".to_owned(), "Custom delays".to_owned()),
                    ]
                />
                <When when=move || state.retry.get() == "custom">
                    <TextInput
                        label="Retry delays"
                        value=state.waits
                        mono=true
                        hint="Seconds before each retry, up to 12; empty for no retries."
                        error=faults.of("retry.waits")
                        on_blur=faults.leave("retry.waits")
                    />
                </When>
                <div class="grid-2">
                    <TextInput
                        label="Concurrent requests"
                        value=state.in_flight
                        numeric=true
                        hint="1 to 2000."
                        error=faults.of("max_in_flight")
                        on_blur=faults.leave("max_in_flight")
                    />
                    <TextInput
                        label="Rate limit (per second)"
                        value=state.rate
                        numeric=true
                        optional=true
                        hint="1 to 10000; empty for no limit."
                        error=faults.of("rate_limit")
                        on_blur=faults.leave("rate_limit")
                    />
                </div>
                <fieldset class="stack tight">
                    <legend>"Responses and signatures"</legend>
                    <Checkbox
                        label="Responses update the reservation"
                        value=state.provisions
                        hint="Clear this for services that do not provision, such as an inventory or a chat. Responses are then logged only."
                    />
                    <Checkbox
                        label="Also sign with Ed25519"
                        value=state.ed25519
                        hint="Adds a v1a signature to webhook-signature. Your service verifies it with a public key instead of a secret."
                    />
                </fieldset>
            </div>
        </details>
    }
}
