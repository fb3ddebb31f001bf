//! The list of webhooks.

use super::{WebhookBadge, pausing, received_types, success_rate};
use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::intl;
use crate::list::{Action, BulkChange, Cell, Cells, Column, Filter, List, ListSpec};
use crate::live::{LiveEvent, use_live};
use crate::pages::areas;
use crate::query::{Mutation, Query};
use crate::rpc::webhooks as rpc;
use crate::session::{ForWebhookManagers, Session, use_session};
use crate::toast::use_toasts;
use domain::event::EventType;
use domain::id::WebhookId;
use domain::natural_order;
use domain::webhook::{Webhook, WebhookHealth, WebhookState};
use gloo_timers::callback::Timeout;
use leptos::prelude::*;
use leptos::task::spawn_local;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

/// All webhooks, oldest first.
type WebhooksQuery = Query<Arc<Vec<Webhook>>>;

/// The number of webhooks up to which all are read again after a change.
const FEW: usize = 200;
/// The largest number of webhooks that are read one by one after a change.
const MAX_SINGLE_READS: usize = 8;
/// The delay before changed webhooks are read again, in milliseconds.
const READ_DELAY_MS: u32 = 400;

/// `/settings/webhooks`
#[component]
pub fn WebhooksPage() -> impl IntoView {
    let session = use_session();
    let list: WebhooksQuery = Query::new(|| async { Ok(Arc::new(rpc::list_webhooks().await?.items)) });
    follow_changes(list);
    let change = BulkChange::new();
    let testing = ErasedSignal::new(None::<Webhook>);
    let open = RwSignal::new(false);
    let test = Callback::new(move |webhook: Webhook| {
        testing.set(Some(webhook));
        open.set(true);
    });
    let title = move || testing.get().map_or_else(String::new, |w| format!("Test {}", w.name));
    let cells: Cells<Webhook> = Arc::new(move |webhook| row_cells(webhook, list, test).into_any());
    view! {
        <PageHeader title="Webhook Integrations" lead="Send reservation events to your services.">
            <a class="button" href="/settings/webhooks/signature-check">"Signature checker"</a>
            <a class="button" href="/settings/webhooks/events">"Event catalogue"</a>
            <ForWebhookManagers>
                <a class="button primary" href="/settings/webhooks/new"><IconView icon=Icon::Plus />"Add New Webhook"</a>
            </ForWebhookManagers>
        </PageHeader>
        {list.view(move |webhooks| {
            let cells = cells.clone();
            view! {
                <Show when=move || !webhooks.with(|all| all.is_empty()) fallback=FirstSteps>
                    <List rows=webhooks spec=list_spec(session, list, change) cells=cells.clone() />
                </Show>
            }
        })}
        <Dialog open=open title=title wide=true>
            {move || testing.get().map(|webhook| areas::show_part(areas::webhooktest::Screen::Test(StoredValue::new(webhook))))}
        </Dialog>
    }
}

/// Reads changed webhooks again: all of a short list, and single ones of a long list, whose size would delay each change.
fn follow_changes(list: WebhooksQuery) {
    let changed = StoredValue::new(BTreeSet::<WebhookId>::new());
    let timer = StoredValue::new_local(None::<Timeout>);
    let read_again = move || {
        timer.set_value(None);
        let ids = changed.try_update_value(std::mem::take).unwrap_or_default();
        let is_short = list.try_get_untracked().is_none_or(|all| all.len() <= FEW);
        if is_short || ids.len() > MAX_SINGLE_READS {
            return list.refetch();
        }
        for id in ids {
            spawn_local(async move {
                if let Ok(webhook) = rpc::get_webhook(id).await {
                    replace(list, webhook);
                }
            });
        }
    };
    let read_soon = move |id: WebhookId, delay_ms: u32| {
        changed.update_value(|changed| {
            changed.insert(id);
        });
        if timer.with_value(Option::is_none) {
            timer.set_value(Some(Timeout::new(delay_ms, read_again)));
        }
    };
    use_live().on(move |event| match event {
        LiveEvent::Webhook(change) if change.deleted => {
            let id = change.id;
            list.update(|all| Arc::make_mut(all).retain(|webhook| webhook.id != id));
        }
        LiveEvent::Webhook(change) => read_soon(change.id, 0),
        // A final delivery changes the summary of the last 24 hours.
        LiveEvent::Delivery(d) if d.status.is_final() && !d.test => read_soon(d.webhook_id, READ_DELAY_MS),
        _ => {}
    });
}

/// Puts a webhook into the list, in the place of its last state.
fn replace(list: WebhooksQuery, webhook: Webhook) {
    list.update(|all| {
        let all = Arc::make_mut(all);
        match all.binary_search_by_key(&webhook.id, |webhook| webhook.id) {
            Ok(position) => all[position] = webhook,
            Err(position) => all.insert(position, webhook),
        }
    });
}

/// The status of a webhook as in its badge, the worst first.
fn severity(webhook: &Webhook) -> u8 {
    match (webhook.state, webhook.summary.health) {
        (WebhookState::Enabled, WebhookHealth::Failing) => 0,
        (WebhookState::Gone, _) => 1,
        (WebhookState::Enabled, WebhookHealth::Degraded) => 2,
        (WebhookState::Paused, _) => 3,
        (WebhookState::Enabled, WebhookHealth::Unknown) => 4,
        (WebhookState::Enabled, WebhookHealth::Healthy) => 5,
    }
}

fn by_number(one: Option<f64>, other: Option<f64>) -> Ordering {
    one.unwrap_or(f64::INFINITY).total_cmp(&other.unwrap_or(f64::INFINITY))
}

/// How the list finds, compares and changes webhooks.
fn list_spec(session: Session, list: WebhooksQuery, change: BulkChange) -> ListSpec<Webhook> {
    let statuses = [WebhookState::Enabled, WebhookState::Paused, WebhookState::Gone];
    let statuses = statuses.map(|state| (state.as_str().to_owned(), state.label().to_owned())).to_vec();
    let health = [WebhookHealth::Healthy, WebhookHealth::Degraded, WebhookHealth::Failing, WebhookHealth::Unknown];
    let health = health.map(|health| (health.label().to_owned(), health.label().to_owned())).to_vec();
    let set = move |enable: bool| {
        Callback::new(move |webhooks| {
            pausing::set_enabled(change, webhooks, enable, Rc::new(move |new| replace(list, new)));
        })
    };
    let actions = vec![
        Action { verb: ["Pause", ""], applies: |webhook: &Webhook| webhook.enabled, run: set(false) },
        Action { verb: ["Resume", ""], applies: |webhook: &Webhook| !webhook.enabled, run: set(true) },
    ];
    let can_change = untrack(|| session.manages_webhooks());
    ListSpec {
        label: "Webhooks",
        nouns: pausing::NOUNS,
        parameters: ["q", "sort"],
        columns: vec![
            Column::plain("enabled", "Enabled"),
            Column::sorted("name", "Webhook", |one: &Webhook, other| natural_order::compare(&one.name, &other.name))
                .with_cell(Cell::TwoLines),
            Column::sorted("receives", "Receives", |one: &Webhook, other| {
                one.resource_type.cmp(&other.resource_type).then(one.events.len().cmp(&other.events.len()))
            })
            .with_cell(Cell::TwoLines),
            Column::sorted("health", "Health", |one: &Webhook, other| {
                severity(one).cmp(&severity(other)).then(other.summary.waiting.cmp(&one.summary.waiting))
            })
            .with_cell(Cell::TwoLines),
            Column::sorted("rate", "Success rate", |one: &Webhook, other| {
                by_number(one.summary.success_rate, other.summary.success_rate)
            })
            .with_title("Last 24 hours"),
            Column::sorted("p95", "p95", |one: &Webhook, other| by_number(one.summary.p95_ms, other.summary.p95_ms))
                .with_title("Last 24 hours"),
            Column::sorted("last", "Last delivery", |one: &Webhook, other| {
                one.summary.last_delivery_at.cmp(&other.summary.last_delivery_at)
            })
            .with_cell(Cell::TwoLines),
            Column::plain("actions", "Actions").with_cell(Cell::Controls),
        ],
        filters: vec![
            Filter {
                parameter: "status",
                label: "Status",
                options: Signal::stored(statuses),
                matches: |webhook, value| webhook.state.as_str() == value,
            },
            Filter {
                parameter: "health",
                label: "Health",
                options: Signal::stored(health),
                matches: |webhook, value| webhook.summary.health.label() == value,
            },
        ],
        actions: if can_change { actions } else { Vec::new() },
        change,
        id: |webhook| webhook.id.to_string(),
        name: |webhook| webhook.name.clone(),
        text: |webhook| {
            let resource_type = webhook.resource_type.as_deref().unwrap_or_default();
            format!("{} {} {resource_type} {}", webhook.name, webhook.endpoint_url, webhook.id)
        },
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
    } else if events.len() == EventType::DEFAULT.len() && EventType::DEFAULT.iter().all(|event| events.contains(event))
    {
        "Default events".to_owned()
    } else if let [event] = events {
        event.label().to_owned()
    } else {
        format!("{} events", events.len())
    };
    (short, names)
}

/// The cells of a webhook.
fn row_cells(webhook: ErasedMemo<Webhook>, list: WebhooksQuery, on_test: Callback<Webhook>) -> impl IntoView {
    let id = webhook.with_untracked(|w| w.id);
    let mutation = Mutation::new();
    let name = move || webhook.with(|w| w.name.clone());
    let last_delivery = ErasedMemo::new(move |_| webhook.with(|w| (w.summary.last_delivery_at, w.summary.last_status)));
    let test = Callback::new(move |()| on_test.run(webhook.get_untracked()));
    view! {
        <td data-label="Enabled"><EnableSwitch webhook=webhook list=list mutation=mutation /></td>
        <td data-label="Webhook" class="endpoint two-lines">
            <span class="wrap">
                <a href=format!("/settings/webhooks/{id}")>{name}</a>
                <br />
                <span class="small muted">{move || webhook.with(|w| w.endpoint_url.clone())}</span>
            </span>
        </td>
        <td data-label="Receives" class="wrap two-lines">
            <span>
                {move || webhook.with(received_types)}
                <br />
                {move || {
                    let (text, names) = webhook.with(|w| summarise_events(&w.events));
                    view! { <span class="small muted" title=names>{text}</span> }
                }}
            </span>
        </td>
        <td data-label="Health" class="two-lines">
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
        <td data-label="Last delivery" class="two-lines">
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
        <td class="controls">
            <ForWebhookManagers>
                {(!webhook.with_untracked(|w| w.is_local()))
                    .then(|| view! { <Button label=format!("Test Webhook {}", untrack(name)) on_click=test>"Test Webhook"</Button> })}
            </ForWebhookManagers>
        </td>
    }
}

/// The switch that pauses and resumes a webhook.
#[component]
fn EnableSwitch(webhook: ErasedMemo<Webhook>, list: WebhooksQuery, mutation: Mutation) -> impl IntoView {
    let toasts = use_toasts();
    let on_change = Callback::new(move |enable: bool| {
        let webhook = webhook.get_untracked();
        pausing::switch(mutation, toasts, &webhook, enable, Rc::new(move |new| replace(list, new)));
    });
    let on = Signal::derive(move || webhook.with(|w| w.enabled));
    let label = move || webhook.with(|w| format!("Enable {}", w.name));
    let session = use_session();
    let is_auditor = Signal::derive(move || session.is_auditor());
    view! { <Switch label=label on=on pending=mutation.pending disabled=is_auditor on_change=on_change /> }
}
