//! One delivery with all its attempts.

use super::{AttemptView, DeliveryState};
use crate::components::*;
use crate::live::{LiveEvent, use_live};
use crate::load::{Write, load};
use crate::rpc::deliveries as rpc;
use crate::time;
use crate::values::Value;
use domain::delivery::{Attempt, DeliverySummary, Outcome};
use domain::id::DeliveryId;
use leptos::prelude::*;
use leptos_router::hooks::{use_navigate, use_params_map};

/// `/deliveries/:id`
#[component]
pub fn DeliveryPage() -> impl IntoView {
    let params = use_params_map();
    let id = Memo::new(move |_| DeliveryId(params.read().get("id").unwrap_or_default()));
    let detail = load(move || rpc::get_delivery(id.get()));
    use_live().on(move |event| match event {
        LiveEvent::Delivery(new) if new.id == id.get_untracked() => {
            let new = new.clone();
            detail.update(move |detail| {
                if detail.delivery.updated_at <= new.updated_at {
                    detail.delivery = new;
                }
            });
            // An attempt that ended has a record to read.
            detail.again();
        }
        LiveEvent::Resync => detail.again(),
        _ => {}
    });
    detail.show(move |detail| {
        let delivery = Value::memo(move || detail.get().delivery);
        let attempts = Value::memo(move || detail.get().attempt_log);
        let body = Memo::new(move |_| detail.get().body);
        view! { <Shown delivery=delivery attempts=attempts body=body.into() /> }
    })
}

#[component]
fn Shown(delivery: Value<DeliverySummary>, attempts: Value<Vec<Attempt>>, body: Signal<String>) -> impl IntoView {
    let navigate = use_navigate();
    let write = Write::new();
    let again = Callback::new(move |()| {
        let navigate = navigate.clone();
        write.run(rpc::redeliver(delivery.get_untracked().id), move |new| {
            navigate(&format!("/deliveries/{}", new.id), Default::default());
        });
    });
    let title = move || delivery.with(|d| d.event_type.as_str().to_owned());
    // Not by number alone: the page of a redelivery follows on that of the delivery it repeats, and an attempt that was
    // interrupted is made again under its number.
    let key = |attempt: &Attempt| {
        format!("{} {} {}", attempt.delivery_id, attempt.attempt, attempt.started_at.timestamp_micros())
    };
    let keys = Value::memo(move || attempts.with(|all| all.iter().map(key).rev().collect::<Vec<_>>()));
    let about = move || {
        delivery.with(|d| {
            d.reservation_id.clone().map(|id| {
                if !d.test && id.starts_with(domain::id::ReservationId::PREFIX) {
                    view! { <a href=format!("/reservations/{id}")>{id.clone()}</a> }.into_any()
                } else {
                    view! { <code>{id}</code> }.into_any()
                }
            })
        })
    };
    let original = move || delivery.with(|d| d.redelivery_of.clone());
    view! {
        <PageHeader title=title lead=move || delivery.with(|d| format!("to {}", d.webhook_name))>
            <Button look=Look::Primary busy=write.busy on_click=again><IconView icon=Icon::Retry />"Redeliver"</Button>
        </PageHeader>
        <div class="stack">
            <FormProblem problem=write.problem />
            <section class="card">
                <dl class="facts">
                    <dt>"Status"</dt>
                    <dd><DeliveryState delivery=delivery /></dd>
                    <dt>"Webhook"</dt>
                    <dd>
                        <a href=move || delivery.with(|d| format!("/settings/webhooks/{}", d.webhook_id))>
                            {move || delivery.with(|d| d.webhook_name.clone())}
                        </a>
                    </dd>
                    <dt>"Reservation"</dt>
                    <dd>{move || about().unwrap_or_else(|| view! { <span class="muted">"–"</span> }.into_any())}</dd>
                    <dt>"Event time"</dt>
                    <dd>{move || delivery.with(|d| time::exact(d.created_at))}</dd>
                    <dt>"Event ID"</dt>
                    <dd><code>{move || delivery.with(|d| d.event_id.to_string())}</code></dd>
                    <dt>"Delivery ID"</dt>
                    <dd><code>{move || delivery.with(|d| d.id.to_string())}</code></dd>
                    {move || original().map(|id| view! {
                        <dt>"Redelivery of"</dt>
                        <dd><a href=format!("/deliveries/{id}")><code>{id.to_string()}</code></a></dd>
                    }.into_any())}
                </dl>
            </section>
            <section class="stack tight">
                <h2>"Attempts"</h2>
                <When
                    when=move || !keys.with(Vec::is_empty)
                    fallback=move || {
                        view! {
                            <p class="card muted">"No attempts yet."</p>
                            <CodeBlock text=Signal::derive(move || pretty(&body.get())) label="Request body" />
                        }
                    }
                >
                    {rows(
                        move || keys.get(),
                        Clone::clone,
                        move |mine| {
                            let attempt = attempts.with_untracked(|all| all.iter().find(|a| key(a) == mine).cloned());
                            let newest = keys.with_untracked(|all| all.first() == Some(&mine));
                            attempt.map(|attempt| view! { <Entry attempt=attempt open=newest /> }.into_any())
                        },
                    )}
                </When>
            </section>
        </div>
    }
}

/// An attempt that unfolds.
#[component]
fn Entry(attempt: Attempt, open: bool) -> impl IntoView {
    let good = attempt.outcome == Outcome::Succeeded;
    let chip = if good { "chip good" } else { "chip bad" };
    let word = match attempt.status_code {
        Some(code) => code.to_string(),
        None => "No response".to_owned(),
    };
    let unfolded = RwSignal::new(open);
    let number = attempt.attempt;
    let started = attempt.started_at;
    let took = time::duration(attempt.duration_ms);
    view! {
        <details class="card entry" open=open on:toggle=move |event| {
            use wasm_bindgen::JsCast as _;
            let details = event.target().and_then(|t| t.dyn_into::<web_sys::Element>().ok());
            unfolded.set(details.is_some_and(|d| d.has_attribute("open")));
        }>
            <summary>
                <strong>{format!("Attempt {number}")}</strong>
                <span class=chip>
                    <IconView icon=if good { Icon::Check } else { Icon::Cross } />
                    {word}
                </span>
                <span class="muted small">{took}</span>
                <span class="muted small"><Ago at=started /></span>
            </summary>
            <When when=move || unfolded.get()>
                <AttemptView attempt=attempt.clone() />
            </When>
        </details>
    }
}
