//! The delivery log.

mod attempt;
mod body;
mod detail;
mod failures;
mod histogram;
mod list;
mod replay;
mod replays;
mod rows;
mod search;
mod shortcuts;
mod tabs;
mod waiting;

pub use attempt::AttemptView;
pub use detail::{Delivery, DeliveryPage};
pub use failures::FailureGroups;
pub use histogram::Histogram;
pub use list::{DeliveriesPage, DeliveryList};
pub use replay::ReplayDialog;
pub use replays::OpenReplays;
pub use tabs::Tab;

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::session::use_session;
use domain::delivery::{DeliveryStatus, DeliverySummary};
use domain::id::DeliveryId;
use leptos::prelude::*;

/// The status of a delivery, with its attempts and the time until the next one.
#[component]
pub fn DeliveryProgress(#[prop(into)] delivery: ErasedMemo<DeliverySummary>) -> impl IntoView {
    let status = ErasedMemo::new(move |_| delivery.with(|d| d.status));
    let next =
        ErasedMemo::new(move |_| delivery.with(|d| d.next_attempt_at.filter(|_| d.status == DeliveryStatus::Retrying)));
    let attempts = ErasedMemo::new(move |_| delivery.with(|d| (d.attempts, d.max_attempts)));
    view! {
        <span class="row delivery-state">
            {move || view! { <Badge status=status.get() /> }}
            {move || next.get().map(|at| view! { <span class="small muted">"next attempt "<Countdown at=at /></span> })}
            {move || match attempts.get() {
                (number, max) if number > 1 => {
                    Some(view! { <span class="small muted">{format!("attempt {number} of {max}")}</span> })
                }
                _ => None,
            }}
        </span>
    }
}

/// The status as a dot and a word.
#[component]
pub fn State(status: DeliveryStatus) -> impl IntoView {
    let class = match status.tone() {
        Tone::Neutral => "state",
        Tone::Active => "state active",
        Tone::Good => "state good",
        Tone::Warn => "state warn",
        Tone::Bad => "state bad",
    };
    view! { <span class=class><i aria-hidden="true"></i>{status.label()}</span> }
}

/// A short table of deliveries with their webhooks. A row links to its delivery if the user may read it.
#[component]
pub fn DeliveryRows(#[prop(into)] items: ErasedMemo<Vec<DeliverySummary>>) -> impl IntoView {
    let ids = ErasedMemo::new(move |_| items.with(|items| items.iter().map(|d| d.id.clone()).collect::<Vec<_>>()));
    view! {
        <ScrollableTable label="Deliveries">
            <table class="cards-on-phone deliveries">
                <thead>
                    <tr>
                        <th>"Event"</th>
                        <th>"Status"</th>
                        <th>"Response"</th>
                        <th>"Created"</th>
                    </tr>
                </thead>
                <tbody>
                    <For each=move || ids.get() key=|id| id.to_string() let:id>
                        <DeliveryRow items=items id=id />
                    </For>
                </tbody>
            </table>
        </ScrollableTable>
    }
}

#[component]
fn DeliveryRow(items: ErasedMemo<Vec<DeliverySummary>>, id: DeliveryId) -> impl IntoView {
    let find = move |items: &Vec<DeliverySummary>| items.iter().find(|d| d.id == id).cloned();
    let first = items.with_untracked(&find)?;
    // A removed row keeps its last content until it disappears.
    let delivery = ErasedMemo::new(move |last: Option<&DeliverySummary>| {
        items.with(&find).unwrap_or_else(|| last.unwrap_or(&first).clone())
    });
    // These fields never change.
    let fixed = delivery.get_untracked();
    let linked = untrack(|| use_session().reads_webhooks_of(fixed.resource_type.as_deref()));
    let link = format!("/deliveries/{}", fixed.id);
    let event = fixed.event_type.as_str();
    let heading = if linked {
        view! { <a class="nowrap" href=link>{event}</a> }.into_any()
    } else {
        view! { <span class="nowrap">{event}</span> }.into_any()
    };
    let created = fixed.created_at;
    let response = move || {
        delivery.with(|d| match (d.status_code, &d.problem) {
            (Some(code), None) => view! { <span class="mono">{code}</span> }.into_any(),
            (Some(code), Some(problem)) => {
                view! { <span class="wrap"><span class="mono">{code}</span>" "<span class="small muted">{problem.clone()}</span></span> }.into_any()
            }
            (None, Some(problem)) => view! { <span class="small muted wrap">{problem.clone()}</span> }.into_any(),
            (None, None) => view! { <span class="muted">"–"</span> }.into_any(),
        })
    };
    Some(view! {
        <tr>
            <td data-label="Event">
                <span class="wrap">
                    {heading} {fixed.test.then(|| view! { " " <span class="badge">"test"</span> })}
                    {fixed.redelivery_of.is_some().then(|| view! { " " <span class="badge">"redelivery"</span> })}
                    <br /><span class="small muted">{fixed.webhook_name}</span>
                </span>
            </td>
            <td data-label="Status"><DeliveryProgress delivery=delivery /></td>
            <td data-label="Response">{response}</td>
            <td data-label="Created"><RelativeTime at=created /></td>
        </tr>
    })
}
