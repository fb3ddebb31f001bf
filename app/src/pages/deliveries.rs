//! The delivery log.

mod attempt;
mod detail;
mod list;

pub use attempt::AttemptView;
pub use detail::DeliveryPage;
pub use list::{DeliveriesPage, DeliveryList};

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
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

/// A table of deliveries. `compact` omits the duration, and names the
/// webhook in place of the reservation. With `linked`, each row links to the delivery.
#[component]
pub fn DeliveryRows(
    #[prop(into)] items: ErasedMemo<Vec<DeliverySummary>>,
    #[prop(optional)] compact: bool,
    #[prop(default = true)] linked: bool,
) -> impl IntoView {
    let ids = ErasedMemo::new(move |_| items.with(|items| items.iter().map(|d| d.id.clone()).collect::<Vec<_>>()));
    view! {
        <ScrollableTable label="Deliveries">
            <table class="cards-on-phone deliveries">
                <thead>
                    <tr>
                        <th>"Event"</th>
                        <th>"Status"</th>
                        {(!compact).then(|| view! { <th>"Webhook"</th> })}
                        <th>"Response"</th>
                        {(!compact).then(|| view! { <th>"Duration"</th> })}
                        <th>"Created"</th>
                    </tr>
                </thead>
                <tbody>
                    <For each=move || ids.get() key=|id| id.to_string() let:id>
                        <DeliveryRow items=items id=id compact=compact linked=linked />
                    </For>
                </tbody>
            </table>
        </ScrollableTable>
    }
}

#[component]
fn DeliveryRow(items: ErasedMemo<Vec<DeliverySummary>>, id: DeliveryId, compact: bool, linked: bool) -> impl IntoView {
    let find = move |items: &Vec<DeliverySummary>| items.iter().find(|d| d.id == id).cloned();
    let first = items.with_untracked(&find)?;
    // A removed row keeps its last content until it disappears.
    let delivery = ErasedMemo::new(move |last: Option<&DeliverySummary>| {
        items.with(&find).unwrap_or_else(|| last.unwrap_or(&first).clone())
    });
    // These fields never change.
    let fixed = delivery.get_untracked();
    let link = format!("/deliveries/{}", fixed.id);
    let event = fixed.event_type.as_str();
    let heading = if linked {
        view! { <a class="nowrap" href=link>{event}</a> }.into_any()
    } else {
        view! { <span class="nowrap">{event}</span> }.into_any()
    };
    // The second line of the first cell: a column of its own would leave too little room for the others.
    let second_line = if compact {
        Some(view! { <br /><span class="small muted">{fixed.webhook_name.clone()}</span> }.into_any())
    } else {
        fixed.reservation_id.clone().map(|id| {
            view! { <br /><span class="small muted mono short-id" title=id.clone()>{id.clone()}</span> }.into_any()
        })
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
                    {heading} {fixed.test.then(|| view! { " " <span class="badge">"test"</span> }.into_any())}
                    {fixed.redelivery_of.is_some().then(|| view! { " " <span class="badge">"redelivery"</span> }.into_any())}
                    {second_line}
                </span>
            </td>
            <td data-label="Status"><DeliveryProgress delivery=delivery /></td>
            {(!compact).then(|| view! { <td data-label="Webhook" class="wrap"><a href=format!("/settings/webhooks/{}", fixed.webhook_id)>{fixed.webhook_name}</a></td> }.into_any())}
            <td data-label="Response">{response}</td>
            {(!compact)
                .then(|| {
                    view! {
                        <td data-label="Duration" class="nowrap">
                            {move || delivery.with(|d| d.duration_ms.map_or_else(|| "–".to_owned(), intl::duration))}
                        </td>
                    }.into_any()
                })}
            <td data-label="Created"><RelativeTime at=created /></td>
        </tr>
    })
}
