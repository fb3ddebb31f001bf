//! The list of webhooks.

use super::{WebhookBadge, received_types, success_rate};
use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::intl;
use crate::live::{LiveEvent, use_live};
use crate::pages::areas;
use crate::query::{Mutation, Query};
use crate::rpc::webhooks as rpc;
use crate::session::{ForWebhookManagers, use_session};
use domain::event::EventType;
use domain::id::WebhookId;
use domain::pagination::Page;
use domain::webhook::{ResumeInput, Webhook};
use leptos::prelude::*;

/// `/settings/webhooks`
#[component]
pub fn WebhooksPage() -> impl IntoView {
    let list = Query::new(rpc::list_webhooks);
    use_live().on(move |event| match event {
        LiveEvent::Webhook(_) => list.refetch(),
        // A final delivery changes the summary of the last 24 hours.
        LiveEvent::Delivery(d) if d.status.is_final() && !d.test => list.refetch_soon(),
        _ => {}
    });
    let testing = ErasedSignal::new(None::<Webhook>);
    let open = RwSignal::new(false);
    let test = Callback::new(move |webhook: Webhook| {
        testing.set(Some(webhook));
        open.set(true);
    });
    let title = move || testing.get().map_or_else(String::new, |w| format!("Test {}", w.name));
    view! {
        <PageHeader title="Webhook Integrations" lead="Send reservation events to your services.">
            <a class="button" href="/settings/webhooks/signature-check">"Signature checker"</a>
            <a class="button" href="/settings/webhooks/events">"Event catalogue"</a>
            <ForWebhookManagers>
                <a class="button primary" href="/settings/webhooks/new"><IconView icon=Icon::Plus />"Add New Webhook"</a>
            </ForWebhookManagers>
        </PageHeader>
        {list.view(move |page| {
            let ids = ErasedMemo::new(move |_| page.with(|page| page.items.iter().map(|w| w.id).collect::<Vec<_>>()));
            view! {
                <Show when=move || !ids.with(Vec::is_empty) fallback=FirstSteps>
                    <ScrollableTable label="Webhooks">
                        <table class="cards-on-phone">
                            <thead>
                                <tr>
                                    <th>"Enabled"</th>
                                    <th>"Webhook"</th>
                                    <th>"Receives"</th>
                                    <th>"Health"</th>
                                    <th title="Last 24 hours">"Success rate"</th>
                                    <th title="Last 24 hours">"p95"</th>
                                    <th>"Last delivery"</th>
                                    <th><span class="visually-hidden">"Actions"</span></th>
                                </tr>
                            </thead>
                            <tbody>
                                <For each=move || ids.get() key=|id| *id let:id>
                                    <Row id=id page=page list=list on_test=test />
                                </For>
                            </tbody>
                        </table>
                    </ScrollableTable>
                </Show>
            }
        })}
        <Dialog open=open title=title wide=true>
            {move || testing.get().map(|webhook| areas::show_part(areas::webhooktest::Screen::Test(StoredValue::new(webhook))))}
        </Dialog>
    }
}

/// The first steps, while no webhook exists.
#[component]
fn FirstSteps() -> impl IntoView {
    view! {
        <EmptyState icon=Icon::Webhook title="No webhooks yet">
            <p>"A webhook sends each reservation to your service. The service provisions the resource and reports its status."</p>
            <ForWebhookManagers>
                <a class="button primary" href="/settings/webhooks/new">"Add a webhook"</a>
            </ForWebhookManagers>
        </EmptyState>
    }
}

/// A short text for the events of a webhook, and their names for the tooltip.
fn summarise_events(events: &[EventType]) -> (String, String) {
    let names = events.iter().map(|e| e.label()).collect::<Vec<_>>().join(", ");
    let short = if events.len() == EventType::ALL.len() {
        "All events".to_owned()
    } else if let [event] = events {
        event.label().to_owned()
    } else {
        format!("{} events", events.len())
    };
    (short, names)
}

#[component]
fn Row(
    id: WebhookId,
    page: ErasedMemo<Page<Webhook>>,
    list: Query<Page<Webhook>>,
    on_test: Callback<Webhook>,
) -> impl IntoView {
    let find = move |page: &Page<Webhook>| page.items.iter().find(|w| w.id == id).cloned();
    let first = page.with_untracked(find)?;
    // A removed row keeps its last content until it disappears.
    let webhook = ErasedMemo::new(move |last: Option<&Webhook>| {
        page.with(find).unwrap_or_else(|| last.unwrap_or(&first).clone())
    });
    let mutation = Mutation::new();
    let name = move || webhook.with(|w| w.name.clone());
    let last_delivery = ErasedMemo::new(move |_| webhook.with(|w| (w.summary.last_delivery_at, w.summary.last_status)));
    let test = Callback::new(move |()| on_test.run(webhook.get_untracked()));
    Some(view! {
        <tr>
            <td data-label="Enabled"><EnableSwitch webhook=webhook list=list mutation=mutation /></td>
            <td data-label="Webhook" class="endpoint">
                <span class="wrap">
                    <a href=format!("/settings/webhooks/{id}")>{name}</a>
                    <br />
                    <span class="small muted">{move || webhook.with(|w| w.endpoint_url.clone())}</span>
                    {move || mutation.problem.get().map(|p| view! { <br /><span class="error" role="alert">{p.detail}</span> })}
                </span>
            </td>
            <td data-label="Receives" class="wrap">
                <span>
                    {move || webhook.with(received_types)}
                    <br />
                    {move || {
                        let (text, names) = webhook.with(|w| summarise_events(&w.events));
                        view! { <span class="small muted" title=names>{text}</span> }
                    }}
                </span>
            </td>
            <td data-label="Health">
                <span>
                    <WebhookBadge webhook=webhook />
                    {move || {
                        let queued = webhook.with(|w| w.summary.waiting);
                        (queued > 0)
                            .then(|| view! { <br /><span class="small muted">{intl::number(queued)}" queued"</span> })
                    }}
                </span>
            </td>
            <td data-label="Success rate">{move || webhook.with(|w| success_rate(w.summary.success_rate))}</td>
            <td data-label="p95" class="nowrap">
                {move || webhook.with(|w| w.summary.p95_ms.map_or_else(|| "–".to_owned(), intl::duration))}
            </td>
            <td data-label="Last delivery">
                {move || match last_delivery.get() {
                    (Some(at), status) => view! {
                        <span>
                            <RelativeTime at=at />
                            {status.map(|status| view! { <br /><Badge status=status /> })}
                        </span>
                    }
                    .into_any(),
                    (None, _) => view! { <span class="muted">"Never"</span> }.into_any(),
                }}
            </td>
            <td>
                <ForWebhookManagers>
                    {(!webhook.with_untracked(|w| w.is_local()))
                        .then(|| view! { <Button label=format!("Test Webhook {}", untrack(name)) on_click=test>"Test Webhook"</Button> })}
                </ForWebhookManagers>
            </td>
        </tr>
    })
}

/// The switch that pauses and resumes a webhook.
#[component]
fn EnableSwitch(webhook: ErasedMemo<Webhook>, list: Query<Page<Webhook>>, mutation: Mutation) -> impl IntoView {
    let id = webhook.with_untracked(|w| w.id);
    let replace = move |new: Webhook| {
        list.update(|page| {
            if let Some(old) = page.items.iter_mut().find(|w| w.id == id) {
                *old = new;
            }
        });
    };
    let on_change = Callback::new(move |enable: bool| {
        if enable {
            mutation.run(rpc::resume_webhook(id, ResumeInput::default()), replace);
        } else {
            mutation.run(rpc::pause_webhook(id), replace);
        }
    });
    let on = Signal::derive(move || webhook.with(|w| w.enabled));
    let label = move || webhook.with(|w| format!("Enable {}", w.name));
    let session = use_session();
    let is_auditor = Signal::derive(move || session.is_auditor());
    view! { <Switch label=label on=on pending=mutation.pending disabled=is_auditor on_change=on_change /> }
}
