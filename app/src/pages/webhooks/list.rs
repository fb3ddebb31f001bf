//! The list of webhooks.

use super::{Standing, about, test::TestPanel};
use crate::components::*;
use crate::live::{LiveEvent, use_live};
use crate::load::{Load, Write, load};
use crate::rpc::webhooks as rpc;
use crate::time;
use crate::values::{Cell, Value};
use domain::event::EventType;
use domain::id::WebhookId;
use domain::pagination::Page;
use domain::webhook::{ResumeInput, Webhook};
use leptos::prelude::*;

/// `/settings/webhooks`
#[component]
pub fn WebhooksPage() -> impl IntoView {
    let list = load(rpc::list_webhooks);
    use_live().on(move |event| match event {
        LiveEvent::Webhook(_) | LiveEvent::Resync => list.again(),
        // The figures of the last 24 hours: after an attempt, and not for each of a thousand.
        LiveEvent::Delivery(d) if d.status.is_final() && !d.test => list.again_soon(),
        _ => {}
    });
    let testing = Cell::new(None::<Webhook>);
    let open = RwSignal::new(false);
    let test = Callback::new(move |webhook: Webhook| {
        testing.set(Some(webhook));
        open.set(true);
    });
    let title = move || testing.get().map_or_else(String::new, |w| format!("Test {}", w.name));
    view! {
        <PageHeader title="Webhook Integrations" lead="Send reservation events to your services.">
            <a class="button primary" href="/settings/webhooks/new"><IconView icon=Icon::Plus />"Add New Webhook"</a>
        </PageHeader>
        {list.show(move |page| {
            let ids = Value::memo(move || page.with(|page| page.items.iter().map(|w| w.id).collect::<Vec<_>>()));
            view! {
                <When when=move || !ids.with(Vec::is_empty) fallback=FirstSteps>
                    <TableBox label="Webhooks">
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
                                {rows(
                                    move || ids.get(),
                                    ToString::to_string,
                                    move |id| view! { <Row id=id page=page list=list test=test /> }.into_any(),
                                )}
                            </tbody>
                        </table>
                    </TableBox>
                </When>
            }
        })}
        <Dialog open=open title=title wide=true>
            {move || testing.get().map(|webhook| view! { <TestPanel webhook=webhook at_once=true /> }.into_any())}
        </Dialog>
    }
}

/// What to do first.
#[component]
fn FirstSteps() -> impl IntoView {
    view! {
        <EmptyState icon=Icon::Webhook title="No webhooks yet">
            <p>"A webhook sends each reservation to your service. The service provisions the resource and reports its status."</p>
            <a class="button primary" href="/settings/webhooks/new">"Add a webhook"</a>
        </EmptyState>
    }
}

/// The events in short: their number, with the names on hover and for assistive technology.
fn told(events: &[EventType]) -> (String, String) {
    let names = events.iter().map(|e| e.label()).collect::<Vec<_>>().join(", ");
    let short = if events.len() == EventType::ALL.len() {
        "All events".to_owned()
    } else if events.len() == 1 {
        names.clone()
    } else {
        format!("{} events", events.len())
    };
    (short, names)
}

#[component]
fn Row(id: WebhookId, page: Value<Page<Webhook>>, list: Load<Page<Webhook>>, test: Callback<Webhook>) -> impl IntoView {
    let found = page.with_untracked(|page| page.items.iter().find(|w| w.id == id).cloned());
    found.map(|first| {
        let webhook = Value::following(move |last: Option<&Webhook>| {
            page.with(|page| page.items.iter().find(|w| w.id == id).cloned())
                .unwrap_or_else(|| last.unwrap_or(&first).clone())
        });
        let write = Write::new();
        let set = move |new: Webhook| {
            list.update(|page| {
                if let Some(old) = page.items.iter_mut().find(|w| w.id == new.id) {
                    *old = new;
                }
            });
        };
        let flip = Callback::new(move |enable: bool| {
            if enable {
                write.run(rpc::resume_webhook(id, ResumeInput::default()), set);
            } else {
                write.run(rpc::pause_webhook(id), set);
            }
        });
        let on = Signal::derive(move || webhook.with(|w| w.enabled));
        let name = move || webhook.with(|w| w.name.clone());
        let events = move || {
            let (short, names) = webhook.with(|w| told(&w.events));
            view! { <span class="small muted" title=names.clone()>{short}</span> }.into_any()
        };
        let last = Value::memo(move || webhook.with(|w| (w.summary.last_delivery_at, w.summary.last_status)));
        view! {
            <tr>
                <td data-label="Enabled"><Switch label=move || format!("Enable {}", name()) on=on busy=write.busy change=flip /></td>
                <td data-label="Webhook" class="endpoint">
                    <span class="wrap">
                        <a href=format!("/settings/webhooks/{id}")>{name}</a>
                        <br />
                        <span class="small muted">{move || webhook.with(|w| w.endpoint_url.clone())}</span>
                        {move || write.problem.get().map(|p| view! { <br /><span class="error" role="alert">{p.detail}</span> }.into_any())}
                    </span>
                </td>
                <td data-label="Receives">
                    <span class="nowrap">{move || webhook.with(about)}<br />{events}</span>
                </td>
                <td data-label="Health">
                    <span>
                        <Standing webhook=webhook />
                        {move || webhook.with(|w| (w.summary.waiting > 0).then(|| view! { <br /><span class="small muted">{format!("{} queued", w.summary.waiting)}</span> }.into_any()))}
                    </span>
                </td>
                <td data-label="Success rate">{move || webhook.with(|w| overview_rate(w.summary.success_rate))}</td>
                <td data-label="p95" class="nowrap">{move || webhook.with(|w| w.summary.p95_ms.map_or_else(|| "–".to_owned(), time::duration))}</td>
                <td data-label="Last delivery">
                    {move || match last.get() {
                        (Some(at), status) => view! { <span><Ago at=at />{status.map(|s| view! { <br /><Chip state=s /> }.into_any())}</span> }.into_any(),
                        _ => view! { <span class="muted">"Never"</span> }.into_any(),
                    }}
                </td>
                <td>
                    <Button label=format!("Test Webhook {}", webhook.with_untracked(|w| w.name.clone())) on_click=Callback::new(move |()| test.run(webhook.get_untracked()))>"Test"</Button>
                </td>
            </tr>
        }.into_any()
    })
}

/// A rate as people read it; 99.96 % is not 100 %.
pub fn overview_rate(rate: Option<f64>) -> String {
    match rate {
        None => "–".to_owned(),
        Some(rate) if rate >= 1.0 => "100 %".to_owned(),
        Some(rate) => format!("{:.1} %", (rate * 1_000.0).floor() / 10.0),
    }
}
