//! Settings → Webhook Integrations.

mod form;
mod list;
mod overview;
mod secret;
mod test;

pub use form::{WebhookEditPage, WebhookNewPage};
pub use list::WebhooksPage;

use crate::components::*;
use crate::live::{LiveEvent, use_live};
use crate::load::{Load, Write, load};
use crate::pages::deliveries::DeliveryList;
use crate::rpc::webhooks as rpc;
use crate::values::Value;
use domain::id::WebhookId;
use domain::webhook::{ResumeInput, Webhook, WebhookHealth, WebhookState};
use leptos::prelude::*;
use leptos_router::hooks::{use_navigate, use_params_map, use_query_map};

/// What a webhook is told, in a word.
fn about(webhook: &Webhook) -> String {
    webhook.resource_type.clone().unwrap_or_else(|| "All types".to_owned())
}

/// The chip that says most: why it does not deliver, or how it does.
#[component]
fn Standing(webhook: Value<Webhook>) -> impl IntoView {
    let state = Value::memo(move || webhook.with(|w| w.state));
    let health = Value::memo(move || webhook.with(|w| w.summary.health));
    move || match state.get() {
        WebhookState::Enabled => view! { <Chip state=health.get() /> }.into_any(),
        _ => view! { <Chip state=state.get() /> }.into_any(),
    }
}

/// The number in an address such as `/settings/webhooks/3`.
fn use_webhook_id() -> Memo<WebhookId> {
    let params = use_params_map();
    // No webhook has the number 0: an address without a number is one that leads nowhere.
    Memo::new(move |_| params.read().get("id").and_then(|id| id.parse().ok()).unwrap_or_default())
}

/// Reads a webhook, and again whenever the feed says that it or its deliveries changed.
fn load_webhook(id: Memo<WebhookId>) -> Load<Webhook> {
    let webhook = load(move || rpc::get_webhook(id.get()));
    use_live().on(move |event| match event {
        LiveEvent::Webhook(change) if change.id == id.get_untracked() && !change.deleted => webhook.again(),
        LiveEvent::Delivery(d) if d.webhook_id == id.get_untracked() && d.status.is_final() => webhook.again_soon(),
        LiveEvent::Resync => webhook.again(),
        _ => {}
    });
    webhook
}

const TABS: [(&str, &str); 4] =
    [("overview", "Overview"), ("deliveries", "Deliveries"), ("test", "Send Test Event"), ("settings", "Settings")];

/// `/settings/webhooks/:id?tab=…`
#[component]
pub fn WebhookPage() -> impl IntoView {
    let id = use_webhook_id();
    let webhook = load_webhook(id);
    let query = use_query_map();
    let tab = Memo::new(move |_| {
        let wanted = query.read().get("tab").unwrap_or_default();
        TABS.iter().find(|(key, _)| *key == wanted).map_or("overview", |(key, _)| key)
    });
    webhook.show(move |shown| {
        let now = Value::memo(move || shown.get());
        let id = now.with_untracked(|w| w.id);
        view! {
            <PageHeader title=move || now.with(|w| w.name.clone()) lead=move || now.with(|w| w.endpoint_url.clone())>
                <PauseSwitch webhook=now changed=webhook />
                <a class="button primary" href=format!("/settings/webhooks/{id}?tab=test")><IconView icon=Icon::Send />"Test Webhook"</a>
            </PageHeader>
            <nav class="tabs" aria-label="Webhook">
                {TABS
                    .into_iter()
                    .map(|(key, words)| {
                        view! {
                            <a
                                href=format!("/settings/webhooks/{id}?tab={key}")
                                aria-current=move || (tab.get() == key).then_some("page")
                            >
                                {words}
                            </a>
                        }.into_any()
                    })
                    .collect_view()}
            </nav>
            <StateNotice webhook=now changed=webhook />
            {move || match tab.get() {
                "deliveries" => view! { <DeliveryList webhook=id /> }.into_any(),
                "test" => view! { <test::TestPanel webhook=now.get_untracked() /> }.into_any(),
                "settings" => view! { <SettingsTab webhook=now changed=webhook /> }.into_any(),
                _ => view! { <overview::Overview webhook=now /> }.into_any(),
            }}
        }
    })
}

/// Enabled or paused, at once.
#[component]
fn PauseSwitch(webhook: Value<Webhook>, changed: Load<Webhook>) -> impl IntoView {
    let write = Write::new();
    let on = Signal::derive(move || webhook.with(|w| w.enabled));
    let label = move || webhook.with(|w| format!("Enable {}", w.name));
    let flip = Callback::new(move |enable: bool| {
        let id = webhook.with_untracked(|w| w.id);
        if enable {
            write.run(rpc::resume_webhook(id, ResumeInput::default()), move |new| changed.set(new));
        } else {
            write.run(rpc::pause_webhook(id), move |new| changed.set(new));
        }
    });
    view! {
        <span class="row">
            <Switch label=label on=on busy=write.busy change=flip />
            <span class="small muted">{move || webhook.with(|w| w.state.word())}</span>
        </span>
        <FormProblem problem=write.problem />
    }
}

/// Says why nothing is delivered, and what can be done.
#[component]
fn StateNotice(webhook: Value<Webhook>, changed: Load<Webhook>) -> impl IntoView {
    let write = Write::new();
    let resume = move |drop_pending: bool| {
        let id = webhook.with_untracked(|w| w.id);
        write.run(rpc::resume_webhook(id, ResumeInput { drop_pending }), move |new| changed.set(new));
    };
    let state = Value::memo(move || webhook.with(|w| (w.state, w.summary.waiting, w.summary.health)));
    move || {
        let (state, waiting, health) = state.get();
        let kept = match waiting {
            0 => "Events are queued until you resume it.".to_owned(),
            1 => "1 event is queued until you resume it.".to_owned(),
            n => format!("{n} events are queued until you resume it."),
        };
        let text = match state {
            WebhookState::Enabled if health == WebhookHealth::Failing => {
                return Some(
                    view! {
                        <Notice kind="warning">
                            <p>"Most recent deliveries failed. Open one in Deliveries to see the response and how to fix it."</p>
                        </Notice>
                    }
                    .into_any(),
                );
            }
            WebhookState::Enabled => return None,
            WebhookState::Paused => format!("This webhook is paused. {kept}"),
            WebhookState::Gone => format!("Disabled because the endpoint responded with 410 Gone. {kept}"),
        };
        Some(
            view! {
                <Notice kind="warning">
                    <p>{text}</p>
                    <div class="row">
                        <Button busy=write.busy on_click=Callback::new(move |()| resume(false))>"Resume deliveries"</Button>
                        {(waiting > 0)
                            .then(|| {
                                view! {
                                    <Button look=Look::Quiet busy=write.busy on_click=Callback::new(move |()| resume(true))>
                                        {match waiting { 1 => "Resume and discard 1 queued event…".to_owned(), n => format!("Resume and discard {n} queued events…") }}
                                    </Button>
                                }.into_any()
                            })}
                    </div>
                    <FormProblem problem=write.problem />
                </Notice>
            }
            .into_any(),
        )
    }
}

#[component]
fn SettingsTab(webhook: Value<Webhook>, changed: Load<Webhook>) -> impl IntoView {
    let now = webhook.get_untracked();
    let id = now.id;
    let name = now.name.clone();
    let navigate = use_navigate();
    let asking = RwSignal::new(false);
    let write = Write::new();
    let delete = Callback::new(move |()| {
        let navigate = navigate.clone();
        write.run(rpc::delete_webhook(id), move |()| navigate("/settings/webhooks", Default::default()));
    });
    view! {
        <div class="stack narrow">
            <section class="card">
                <h2>"Settings"</h2>
                <form::EditForm webhook=now saved=Callback::new(move |new| changed.set(new)) />
            </section>
            <secret::RotateCard webhook=webhook changed=changed />
            <section class="card stack tight">
                <h2>"Delete"</h2>
                <p class="muted">"Stops all deliveries and cancels queued ones. History is kept."</p>
                <div><Button look=Look::Danger on_click=Callback::new(move |()| asking.set(true))><IconView icon=Icon::Trash />"Delete webhook"</Button></div>
            </section>
        </div>
        <Dialog open=asking title="Delete this webhook?">
            <p><strong>{name.clone()}</strong>" will stop receiving events. This cannot be undone."</p>
            <FormProblem problem=write.problem />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| asking.set(false))>"Keep webhook"</Button>
                <Button look=Look::Danger busy=write.busy on_click=delete>"Delete webhook"</Button>
            </div>
        </Dialog>
    }
}
