//! One delivery with all its attempts.

use super::{AttemptView, DeliveryProgress};
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::live::{LiveEvent, use_live};
use crate::paged_list;
use crate::query::{Mutation, Query};
use crate::rpc::deliveries as rpc;
use crate::session::ForAdministrators;
use domain::delivery::{Attempt, DeliveryDetail, DeliverySummary, Outcome};
use domain::event::EventType;
use domain::id::{DeliveryId, ReservationId};
use leptos::prelude::*;
use leptos_router::hooks::{use_navigate, use_params_map};
use wasm_bindgen::JsCast as _;

/// The largest number of redeliveries that the page of a delivery shows: more would hide the attempts below.
const MAX_SHOWN_REDELIVERIES: usize = 10;

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
        LiveEvent::Delivery(new) if new.redelivery_of.as_ref() == Some(&id.get_untracked()) => {
            let new = new.clone();
            detail.update(move |detail| {
                let has_more = detail.redeliveries_next_cursor.is_some();
                let rows = &mut detail.redeliveries;
                if let Some(new) = paged_list::replace(rows, new)
                    && let Some(position) = paged_list::position(rows, &new, has_more)
                {
                    rows.insert(position, new);
                }
            });
        }
        _ => {}
    });
    detail.view(move |detail| view! { <DeliveryDetails detail=detail /> })
}

/// Why a delivery cannot be redelivered; `None` if it can.
fn redelivery_obstacle(detail: &DeliveryDetail) -> Option<&'static str> {
    if detail.webhook_deleted {
        Some("The webhook was deleted, so its deliveries cannot be redelivered.")
    } else if detail.delivery.test {
        Some("Test events are not redelivered. Send another one with Test Webhook.")
    } else if !detail.delivery.status.is_final() {
        Some("Still in progress. Redeliver when it ends.")
    } else {
        None
    }
}

/// The delivery, its attempts, and its body until the first attempt.
#[component]
fn DeliveryDetails(detail: ErasedMemo<DeliveryDetail>) -> impl IntoView {
    let delivery = ErasedMemo::new(move |_| detail.with(|d| d.delivery.clone()));
    let attempts = ErasedMemo::new(move |_| detail.with(|d| d.attempt_log.clone()));
    let body = Memo::new(move |_| detail.with(|d| d.body.clone()));
    let obstacle = Memo::new(move |_| detail.with(redelivery_obstacle));
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
            <Show
                when=move || obstacle.get().is_none()
                fallback=move || view! { <p class="muted obstacle">{move || obstacle.get()}</p> }
            >
                <ForAdministrators>
                    <Button variant=ButtonVariant::Primary pending=mutation.pending on_click=redeliver>
                        <IconView icon=Icon::Retry />
                        "Redeliver"
                    </Button>
                </ForAdministrators>
            </Show>
        </PageHeader>
        <div class="stack">
            <FormProblem problem=mutation.problem />
            <DeliveryCard detail=detail delivery=delivery />
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
                        <AttemptEntry event=delivery.with_untracked(|d| d.event_type) attempt=attempt open={position == 0} />
                    </For>
                </Show>
            </section>
        </div>
    }
}

/// The facts about the delivery.
#[component]
fn DeliveryCard(detail: ErasedMemo<DeliveryDetail>, delivery: ErasedMemo<DeliverySummary>) -> impl IntoView {
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
    let redeliveries = move || {
        let item = |redelivery: &DeliverySummary| {
            view! {
                <li class="row">
                    <a href=format!("/deliveries/{}", redelivery.id)><code>{redelivery.id.to_string()}</code></a>
                    <Badge status=redelivery.status />
                </li>
            }
        };
        let all = |d: &DeliveryDetail| {
            let has_more = d.redeliveries.len() > MAX_SHOWN_REDELIVERIES || d.redeliveries_next_cursor.is_some();
            let href = format!("/deliveries?redelivery_of={}", d.delivery.id);
            has_more.then(|| view! { <li>"There are older ones. "<a href=href>"Show all redeliveries"</a></li> })
        };
        detail.with(|d| {
            let items = d.redeliveries.iter().take(MAX_SHOWN_REDELIVERIES).map(item).collect_view();
            let label = view! { <dt>"Redelivered as"</dt> };
            (!d.redeliveries.is_empty()).then(|| view! { {label}<dd><ul class="stack tight">{items}{all(d)}</ul></dd> })
        })
    };
    let webhook = move || {
        let (id, name) = delivery.with(|d| (d.webhook_id, d.webhook_name.clone()));
        if detail.with(|d| d.webhook_deleted) {
            view! { <span>{name}" "<span class="badge">"deleted"</span></span> }.into_any()
        } else {
            view! { <a href=format!("/settings/webhooks/{id}")>{name}</a> }.into_any()
        }
    };
    view! {
        <section class="card">
            <dl class="details-list">
                <dt>"Status"</dt>
                <dd><DeliveryProgress delivery=delivery /></dd>
                <dt>"Webhook"</dt>
                <dd>{webhook}</dd>
                <dt>"Reservation"</dt>
                <dd>{reservation}</dd>
                <dt>"Event time"</dt>
                <dd>{move || delivery.with(|d| intl::exact_timestamp(d.created_at))}</dd>
                <dt>"Event ID"</dt>
                <dd><code>{move || delivery.with(|d| d.event_id.to_string())}</code></dd>
                <dt>"Delivery ID"</dt>
                <dd><code>{move || delivery.with(|d| d.id.to_string())}</code></dd>
                {original}
                {redeliveries}
            </dl>
        </section>
    }
}

/// A collapsible attempt. Its details are rendered while it is open.
#[component]
fn AttemptEntry(event: EventType, attempt: Attempt, open: bool) -> impl IntoView {
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
                <AttemptView event=event attempt=attempt.clone() />
            </Show>
        </details>
    }
}
