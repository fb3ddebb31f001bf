//! Settings → Webhook Integrations.

mod certification;
mod elapsed;
mod event_catalogue;
mod form;
mod list;
mod overview;
mod pausing;
mod random;
mod secret;
mod settings;
mod test;
mod tools;

pub use certification::CertificationPanel;
pub use form::{AdvancedFields, FieldErrors, FormModel, TlsFields, TlsModel, WebhookEditPage, WebhookNewPage};
pub use list::WebhooksPage;
pub use settings::SettingsTab;
pub use test::TestPanel;
pub use tools::{Checklist, DraftSource, RotateForm, SignatureCheckPage, SnippetSettings, Snippets};

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::live::{LiveEvent, use_live};
use crate::pages::areas;
use crate::query::{Mutation, Query};
use crate::rpc::webhooks as rpc;
use crate::session::{ForWebhookManagers, use_session};
use crate::toast::use_toasts;
use domain::Problem;
use domain::id::WebhookId;
use domain::webhook::{ResumeInput, Webhook, WebhookHealth, WebhookState, WebhookSummary};
use leptos::prelude::*;
use leptos_router::hooks::{use_params_map, use_query_map};
use std::rc::Rc;
use std::time::Duration;

/// The tabs of a webhook's page: the value in the address, and the label.
const TABS: [(&str, &str); 5] = [
    ("overview", "Overview"),
    ("health", "Health"),
    ("deliveries", "Deliveries"),
    ("settings", "Settings"),
    ("changes", "Changes"),
];

/// The resource type whose reservations a webhook receives.
fn received_types(webhook: &Webhook) -> String {
    webhook.resource_type.clone().unwrap_or_else(|| "All types".to_owned())
}

/// A retry delay in the largest unit that divides it, e.g. `5 min`.
fn retry_delay(seconds: u32) -> String {
    match seconds {
        s if s >= 3_600 && s.is_multiple_of(3_600) => format!("{} h", s / 3_600),
        s if s >= 60 && s.is_multiple_of(60) => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// A success rate between 0 and 1 in per cent.
fn success_rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "–".to_owned(), intl::percent)
}

/// The badge of a webhook: its health, or why it does not deliver.
#[component]
fn WebhookBadge(#[prop(into)] webhook: ErasedMemo<Webhook>) -> impl IntoView {
    let state = ErasedMemo::new(move |_| webhook.with(|w| w.state));
    let health = ErasedMemo::new(move |_| webhook.with(|w| w.summary.health));
    move || match state.get() {
        WebhookState::Enabled => view! { <Badge status=health.get() /> }.into_any(),
        state => view! { <Badge status=state /> }.into_any(),
    }
}

/// The id in an address such as `/settings/webhooks/3`.
fn use_webhook_id() -> Memo<WebhookId> {
    let params = use_params_map();
    // No webhook has the id 0, so an invalid id leads to "not found".
    Memo::new(move |_| params.read().get("id").and_then(|id| id.parse().ok()).unwrap_or_default())
}

/// Reads a webhook and follows its live updates.
fn query_webhook(id: Memo<WebhookId>) -> Query<Webhook> {
    let webhook = Query::new(move || rpc::get_webhook(id.get()));
    use_live().on(move |event| match event {
        LiveEvent::Webhook(change) if change.id == id.get_untracked() && !change.deleted => webhook.refetch(),
        // A final delivery changes the summary.
        LiveEvent::Delivery(d) if d.webhook_id == id.get_untracked() && d.status.is_final() => webhook.refetch_soon(),
        _ => {}
    });
    webhook
}

/// The event catalogue has the address of a webhook, because a route of its own would enlarge the main module of the page.
const EVENT_CATALOGUE: &str = "events";
/// The signature checker; see [`EVENT_CATALOGUE`].
const SIGNATURE_CHECK: &str = "signature-check";

/// `/settings/webhooks/:id?tab=…`, `/settings/webhooks/events`, and `/settings/webhooks/signature-check`
#[component]
pub fn WebhookPage() -> impl IntoView {
    let params = use_params_map();
    let name = Memo::new(move |_| {
        let id = params.read().get("id").unwrap_or_default();
        [EVENT_CATALOGUE, SIGNATURE_CHECK].into_iter().find(|name| *name == id)
    });
    move || match name.get() {
        Some(EVENT_CATALOGUE) => view! { <event_catalogue::EventCataloguePage /> }.into_any(),
        Some(_) => areas::show_part(areas::signaturecheck::Screen::Page),
        None => view! { <WebhookDetail /> }.into_any(),
    }
}

#[component]
fn WebhookDetail() -> impl IntoView {
    let query = query_webhook(use_webhook_id());
    let parameters = use_query_map();
    let tab = Memo::new(move |_| {
        let selected = parameters.read().get("tab").unwrap_or_default();
        TABS.iter().find(|(key, _)| *key == selected).map_or("overview", |(key, _)| key)
    });
    query.view(move |webhook| {
        let webhook = ErasedMemo::new(move |_| webhook.get());
        let id = webhook.with_untracked(|w| w.id);
        let test_open = RwSignal::new(false);
        let certification_open = RwSignal::new(false);
        let is_local = webhook.with_untracked(|w| w.is_local());
        view! {
            <PageHeader title=move || webhook.with(|w| w.name.clone()) lead=move || webhook.with(|w| w.endpoint_url.clone())>
                <PauseSwitch webhook=webhook query=query />
                // Berth never calls the endpoint of a local webhook.
                <Show when=move || !is_local>
                    <ForWebhookManagers>
                        <Button on_click=Callback::new(move |()| certification_open.set(true))>"Certify receiver"</Button>
                        <Button variant=ButtonVariant::Primary on_click=Callback::new(move |()| test_open.set(true))>
                            <IconView icon=Icon::Send />
                            "Test Webhook"
                        </Button>
                    </ForWebhookManagers>
                </Show>
            </PageHeader>
            <Tabs id=id selected=tab />
            <StateNotice webhook=webhook query=query />
            <ListenerStatus webhook=webhook query=query />
            {move || match tab.get() {
                "health" => areas::show_part(areas::alerts::Screen::OfWebhook(webhook, query)),
                "deliveries" => areas::show_part(areas::deliveries::Screen::OfWebhook(id)),
                "settings" => areas::show_part(areas::webhookform::Screen::SettingsTab(webhook, query)),
                "changes" => areas::show_part(areas::audit::Screen::OfWebhook(id)),
                _ => view! { <overview::Overview webhook=webhook /> }.into_any(),
            }}
            <Dialog open=test_open title=move || webhook.with(|w| format!("Test {}", w.name)) wide=true>
                {areas::show_part(areas::webhooktest::Screen::Test(StoredValue::new(webhook.get_untracked())))}
            </Dialog>
            <Dialog open=certification_open title="Certify receiver" wide=true>
                {areas::show_part(areas::webhooktools::Screen::Certification(id))}
            </Dialog>
        }
    })
}

/// Interval at which the page reads whether a listener is connected.
const LISTENER_POLL: Duration = Duration::from_secs(20);

/// Whether the listener of a local webhook is connected, and how to start it.
#[component]
fn ListenerStatus(#[prop(into)] webhook: ErasedMemo<Webhook>, query: Query<Webhook>) -> impl IntoView {
    // A listener that dies announces nothing.
    if webhook.with_untracked(Webhook::is_local)
        && let Ok(timer) = set_interval_with_handle(move || query.refetch(), LISTENER_POLL)
    {
        on_cleanup(move || timer.clear());
    }
    let status = ErasedMemo::new(move |_| {
        webhook.with(|w| w.is_local().then(|| w.listener.as_ref().is_some_and(|listener| listener.connected)))
    });
    let command = move || webhook.with(|w| format!("berth listen --webhook {} --forward-to {}", w.id, w.endpoint_url));
    move || {
        match status.get() {
        None => ().into_any(),
        Some(true) => view! {
            <Notice>
                <p><strong>"Local listener: connected."</strong>" It forwards the events to a receiver on its machine."</p>
            </Notice>
        }
        .into_any(),
        Some(false) => view! {
            <Notice kind=NoticeKind::Warning>
                <p><strong>"Local listener: disconnected."</strong>" Events wait until it connects: "<code>{command}</code></p>
            </Notice>
        }
        .into_any(),
    }
    }
}

#[component]
fn Tabs(id: WebhookId, selected: Memo<&'static str>) -> impl IntoView {
    let tab = |(key, label): (&'static str, &'static str)| {
        view! {
            <a
                href=format!("/settings/webhooks/{id}?tab={key}")
                aria-current=move || (selected.get() == key).then_some("page")
            >
                {label}
            </a>
        }
    };
    view! {
        <nav class="tabs" aria-label="Webhook">
            {TABS.map(tab).collect_view()}
        </nav>
    }
}

/// The switch that pauses and resumes the webhook.
#[component]
fn PauseSwitch(#[prop(into)] webhook: ErasedMemo<Webhook>, query: Query<Webhook>) -> impl IntoView {
    let mutation = Mutation::new();
    let on = Signal::derive(move || webhook.with(|w| w.enabled));
    let label = move || webhook.with(|w| format!("Enable {}", w.name));
    let session = use_session();
    let is_auditor = Signal::derive(move || session.is_auditor());
    let toasts = use_toasts();
    let on_change = Callback::new(move |enable: bool| {
        let webhook = webhook.get_untracked();
        pausing::switch(mutation, toasts, &webhook, enable, Rc::new(move |new| query.set(new)));
    });
    view! {
        <span class="row">
            <Switch label=label on=on pending=mutation.pending disabled=is_auditor on_change=on_change />
            <span class="small muted">{move || webhook.with(|w| w.state.label())}</span>
        </span>
    }
}

/// The failures of a failing webhook in numbers.
fn failures(summary: &WebhookSummary) -> Option<String> {
    if summary.health != WebhookHealth::Failing {
        return None;
    }
    let ended = summary.deliveries;
    let failed = ended.saturating_sub((summary.success_rate.unwrap_or_default() * ended as f64).round() as u64);
    Some(match (failed, ended) {
        (0, _) => "The last delivery failed.".to_owned(),
        (1, 1) => "The only delivery of the last 24 hours failed.".to_owned(),
        (failed, ended) => {
            let (failed, ended) = (intl::number(failed), intl::number(ended));
            format!("{failed} of {ended} deliveries failed in the last 24 hours.")
        }
    })
}

/// The reason why a webhook does not deliver, and the actions that solve it.
#[component]
fn StateNotice(#[prop(into)] webhook: ErasedMemo<Webhook>, query: Query<Webhook>) -> impl IntoView {
    let mutation = Mutation::new();
    let state = ErasedMemo::new(move |_| webhook.with(|w| (w.state, w.summary.waiting, failures(&w.summary))));
    let toasts = use_toasts();
    let discard_open = RwSignal::new(false);
    let resume = Callback::new(move |()| {
        let webhook = webhook.get_untracked();
        pausing::switch(mutation, toasts, &webhook, true, Rc::new(move |new| query.set(new)));
    });
    let queued = Signal::derive(move || webhook.with(|w| w.summary.waiting));
    let notice = move || {
        let (state, queued, failures) = state.get();
        let cause = match state {
            WebhookState::Enabled if failures.is_some() => {
                let notice = view! {
                    <Notice kind=NoticeKind::Warning>
                        <p>{failures}" Open one in Deliveries to see the response and how to fix it."</p>
                    </Notice>
                };
                return Some(notice.into_any());
            }
            WebhookState::Enabled => return None,
            WebhookState::Paused => "This webhook is paused.",
            WebhookState::Gone => "Disabled because the endpoint responded with 410 Gone.",
        };
        Some(view! { <ResumeNotice cause=cause queued=queued mutation=mutation resume=resume discard_open=discard_open /> }.into_any())
    };
    let title = move || format!("Discard {}?", queued_events(queued.get()));
    let on_discard = Callback::new(move |new: Webhook| {
        discard_open.set(false);
        query.set(new);
    });
    // The dialog is not part of the notice, because a changed number of events renders that again.
    view! {
        {notice}
        <Dialog open=discard_open title=title>
            <DiscardForm id=webhook.with_untracked(|w| w.id) queued=queued open=discard_open on_done=on_discard />
        </Dialog>
    }
}

/// The form that discards the queued events of a webhook. Users type their number, because discarding cannot be undone.
#[component]
fn DiscardForm(id: WebhookId, queued: Signal<u64>, open: RwSignal<bool>, on_done: Callback<Webhook>) -> impl IntoView {
    let toasts = use_toasts();
    let mutation = Mutation::new();
    let typed = RwSignal::new(String::new());
    let submit = Callback::new(move |()| {
        let number = queued.get_untracked();
        if typed.get_untracked().trim().parse() != Ok(number) {
            let message = format!("Type {number}, the number of queued events.");
            return mutation.reject(Problem::field("count", message));
        }
        mutation.run(rpc::resume_webhook(id, ResumeInput { drop_pending: true }), move |new| {
            toasts.show(format!("Discarded {} and resumed {}.", queued_events(number), new.name));
            on_done.run(new);
        });
    });
    view! {
        <Form on_submit=submit unguarded=true>
            <p>"These events are never sent: their deliveries are cancelled. Later events are delivered as usual."</p>
            <FormProblem problem=mutation.problem_except(&["count"]) />
            <TextInput
                label="Number of events to discard"
                value=typed
                numeric=true
                autocomplete="off"
                hint=move || format!("Type {} to confirm.", queued.get())
                error=mutation.field_error("count")
            />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Keep events"</Button>
                <Button variant=ButtonVariant::Danger submit=true pending=mutation.pending>"Discard and resume"</Button>
            </div>
        </Form>
    }
}

/// A number of queued events as text.
fn queued_events(number: u64) -> String {
    match number {
        1 => "1 queued event".to_owned(),
        n => format!("{} queued events", intl::number(n)),
    }
}

/// The notice of a webhook that does not deliver.
#[component]
fn ResumeNotice(
    cause: &'static str,
    queued: u64,
    mutation: Mutation,
    resume: Callback<()>,
    discard_open: RwSignal<bool>,
) -> impl IntoView {
    let effect = match queued {
        0 => "Events are queued until you resume it.".to_owned(),
        1 => "1 event is queued until you resume it.".to_owned(),
        n => format!("{} events are queued until you resume it.", intl::number(n)),
    };
    let discard = (queued > 0).then(|| format!("Resume and discard {}…", queued_events(queued)));
    view! {
        <Notice kind=NoticeKind::Warning>
            <p>{cause}" "{effect}</p>
            <ForWebhookManagers>
                <div class="row">
                    <Button pending=mutation.pending on_click=resume>"Resume deliveries"</Button>
                    {discard
                        .clone()
                        .map(|label| {
                            view! {
                                <Button variant=ButtonVariant::Quiet on_click=Callback::new(move |()| discard_open.set(true))>
                                    {label}
                                </Button>
                            }
                        })}
                </div>
            </ForWebhookManagers>
        </Notice>
    }
}
