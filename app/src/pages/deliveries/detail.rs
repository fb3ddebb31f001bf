//! One delivery with all its attempts.

use super::{AttemptView, DeliveryProgress};
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::live::{LiveEvent, use_live};
use crate::query::{Mutation, Query};
use crate::rpc::deliveries as rpc;
use domain::delivery::{Attempt, DeliverySummary, Outcome};
use domain::id::{DeliveryId, ReservationId};
use leptos::prelude::*;
use leptos_router::hooks::{use_navigate, use_params_map};
use wasm_bindgen::JsCast as _;

/// `/deliveries/:id`
#[component]
pub fn DeliveryPage() -> impl IntoView {
    let params = use_params_map();
    let id = ErasedMemo::new(move |_| DeliveryId(params.read().get("id").unwrap_or_default()));
    let detail = Query::new(move || rpc::get_delivery(id.get()));
    use_live().on(move |event| match event {
        LiveEvent::Delivery(new) if new.id == id.get_untracked() => {
            let new = new.clone();
            detail.update(move |detail| {
                if detail.delivery.updated_at <= new.updated_at {
                    detail.delivery = new;
                }
            });
            // A finished attempt adds an entry to the log, which the update does not contain.
            detail.refetch();
        }
        LiveEvent::Resync => detail.refetch(),
        _ => {}
    });
    detail.view(move |detail| {
        let delivery = ErasedMemo::new(move |_| detail.get().delivery);
        let attempts = ErasedMemo::new(move |_| detail.get().attempt_log);
        let body = Memo::new(move |_| detail.get().body);
        view! { <DeliveryDetails delivery=delivery attempts=attempts body=body /> }
    })
}

/// The delivery, its attempts, and its body until the first attempt.
#[component]
fn DeliveryDetails(
    delivery: ErasedMemo<DeliverySummary>,
    attempts: ErasedMemo<Vec<Attempt>>,
    body: Memo<String>,
) -> impl IntoView {
    let navigate = use_navigate();
    let mutation = Mutation::new();
    let redeliver = Callback::new(move |()| {
        let navigate = navigate.clone();
        mutation.run(rpc::redeliver(delivery.get_untracked().id), move |new| {
            navigate(&format!("/deliveries/{}", new.id), Default::default());
        });
    });
    let title = move || delivery.with(|d| d.event_type.as_str().to_owned());
    // The number alone is not unique: an interrupted attempt is repeated with its number, and navigation from one delivery to
    // another keeps the page.
    let key = |(_, attempt): &(usize, Attempt)| {
        format!("{} {} {}", attempt.delivery_id, attempt.attempt, attempt.started_at.timestamp_micros())
    };
    let newest_first = move || attempts.get().into_iter().rev().enumerate().collect::<Vec<_>>();
    view! {
        <PageHeader title=title lead=move || delivery.with(|d| format!("to {}", d.webhook_name))>
            <Button variant=ButtonVariant::Primary pending=mutation.pending on_click=redeliver>
                <IconView icon=Icon::Retry />
                "Redeliver"
            </Button>
        </PageHeader>
        <div class="stack">
            <FormProblem problem=mutation.problem />
            <DeliveryCard delivery=delivery />
            <section class="stack tight">
                <h2>"Attempts"</h2>
                <Show
                    when=move || !attempts.with(Vec::is_empty)
                    fallback=move || {
                        view! {
                            <p class="card muted">"No attempts yet."</p>
                            <CodeBlock text=Signal::derive(move || pretty_json(&body.get())) label="Request body" />
                        }
                    }
                >
                    <For each=newest_first key=key let((position, attempt))>
                        <AttemptEntry attempt=attempt open={position == 0} />
                    </For>
                </Show>
            </section>
        </div>
    }
}

/// The facts about the delivery.
#[component]
fn DeliveryCard(delivery: ErasedMemo<DeliverySummary>) -> impl IntoView {
    let reservation = move || match delivery.with(|d| d.reservation_id.clone()) {
        Some(id) if !delivery.with(|d| d.test) && id.starts_with(ReservationId::PREFIX) => {
            view! { <a href=format!("/reservations/{id}")>{id.clone()}</a> }.into_any()
        }
        // A test event or an access request, which have no page.
        Some(id) => view! { <code>{id}</code> }.into_any(),
        None => view! { <span class="muted">"–"</span> }.into_any(),
    };
    let original = move || {
        let id = delivery.with(|d| d.redelivery_of.clone())?;
        Some(view! {
            <dt>"Redelivery of"</dt>
            <dd><a href=format!("/deliveries/{id}")><code>{id.to_string()}</code></a></dd>
        })
    };
    view! {
        <section class="card">
            <dl class="details-list">
                <dt>"Status"</dt>
                <dd><DeliveryProgress delivery=delivery /></dd>
                <dt>"Webhook"</dt>
                <dd>
                    <a href=move || delivery.with(|d| format!("/settings/webhooks/{}", d.webhook_id))>
                        {move || delivery.with(|d| d.webhook_name.clone())}
                    </a>
                </dd>
                <dt>"Reservation"</dt>
                <dd>{reservation}</dd>
                <dt>"Event time"</dt>
                <dd>{move || delivery.with(|d| intl::exact_timestamp(d.created_at))}</dd>
                <dt>"Event ID"</dt>
                <dd><code>{move || delivery.with(|d| d.event_id.to_string())}</code></dd>
                <dt>"Delivery ID"</dt>
                <dd><code>{move || delivery.with(|d| d.id.to_string())}</code></dd>
                {original}
            </dl>
        </section>
    }
}

/// A collapsible attempt. Its details are rendered while it is open.
#[component]
fn AttemptEntry(attempt: Attempt, open: bool) -> impl IntoView {
    let is_open = RwSignal::new(open);
    let succeeded = attempt.outcome == Outcome::Succeeded;
    let badge_class = if succeeded { "badge good" } else { "badge bad" };
    let response = attempt.status_code.map_or_else(|| "No response".to_owned(), |code| code.to_string());
    let on_toggle = move |event: leptos::ev::Event| {
        let details = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
        is_open.set(details.is_some_and(|details| details.has_attribute("open")));
    };
    view! {
        <details class="card entry" open=open on:toggle=on_toggle>
            <summary>
                <strong>{format!("Attempt {}", attempt.attempt)}</strong>
                <span class=badge_class>
                    <IconView icon=if succeeded { Icon::Check } else { Icon::Cross } />
                    {response}
                </span>
                <span class="muted small">{intl::duration(attempt.duration_ms)}</span>
                <span class="muted small"><RelativeTime at=attempt.started_at /></span>
            </summary>
            <Show when=move || is_open.get()>
                <AttemptView attempt=attempt.clone() />
            </Show>
        </details>
    }
}
