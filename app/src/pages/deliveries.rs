//! The delivery log: what was sent to whom, as it happens.

mod attempt;
mod detail;
mod list;

pub use attempt::AttemptView;
pub use detail::DeliveryPage;
pub use list::{DeliveriesPage, DeliveryList};

use crate::components::*;
use crate::time;
use crate::values::Value;
use domain::delivery::{DeliveryStatus, DeliverySummary};
use leptos::prelude::*;

/// Puts a changed delivery where it was; a new one first, or last where the list is oldest first. An older state of what
/// is there already changes nothing: the feed and a reading may cross.
pub fn upsert_delivery(items: &mut Vec<DeliverySummary>, new: DeliverySummary, newest_first: bool) {
    match items.iter_mut().find(|old| old.id == new.id) {
        Some(old) if old.updated_at > new.updated_at => {}
        Some(old) => *old = new,
        None if newest_first => items.insert(0, new),
        None => items.push(new),
    }
}

/// How a delivery stands, with the countdown to its next attempt.
#[component]
pub fn DeliveryState(delivery: Value<DeliverySummary>) -> impl IntoView {
    let status = Value::memo(move || delivery.with(|d| d.status));
    let next =
        Value::memo(move || delivery.with(|d| d.next_attempt_at.filter(|_| d.status == DeliveryStatus::Retrying)));
    let tries = Value::memo(move || delivery.with(|d| (d.attempts, d.max_attempts)));
    view! {
        <span class="row delivery-state">
            {move || view! { <Chip state=status.get() /> }.into_any()}
            {move || next.get().map(|at| view! { <span class="small muted">"next attempt "<Countdown at=at /></span> }.into_any())}
            {move || match tries.get() {
                (n, max) if n > 1 => Some(view! { <span class="small muted">{format!("attempt {n} of {max}")}</span> }),
                _ => None,
            }}
        </span>
    }
}

/// Deliveries as rows that change by themselves. `compact` leaves the webhook and the duration out.
#[component]
pub fn DeliveryRows(
    items: Value<Vec<DeliverySummary>>,
    #[prop(optional)] compact: bool,
    #[prop(default = true)] linked: bool,
) -> impl IntoView {
    let ids = Value::memo(move || items.with(|items| items.iter().map(|d| d.id.clone()).collect::<Vec<_>>()));
    view! {
        <TableBox label="Deliveries">
            <table class="cards-on-phone deliveries">
                <thead>
                    <tr>
                        <th>"Event"</th>
                        <th>"Status"</th>
                        {(!compact).then(|| view! { <th>"Webhook"</th> }.into_any())}
                        <th>"Response"</th>
                        {(!compact).then(|| view! { <th>"Duration"</th> }.into_any())}
                        <th>"Created"</th>
                    </tr>
                </thead>
                <tbody>
                    {rows(
                        move || ids.get(),
                        ToString::to_string,
                        move |id| {
                            let first = items.with_untracked(|items| items.iter().find(|d| d.id == id).cloned());
                            first
                                .map(|first| {
                                    let delivery = Value::following(move |last: Option<&DeliverySummary>| {
                                        items
                                            .with(|items| items.iter().find(|d| d.id == id).cloned())
                                            .unwrap_or_else(|| last.unwrap_or(&first).clone())
                                    });
                                    view! { <DeliveryRow delivery=delivery compact=compact linked=linked /> }.into_any()
                                })
                        },
                    )}
                </tbody>
            </table>
        </TableBox>
    }
}

#[component]
fn DeliveryRow(delivery: Value<DeliverySummary>, compact: bool, linked: bool) -> impl IntoView {
    let now = delivery.get_untracked();
    let link = format!("/deliveries/{}", now.id);
    let event = now.event_type.as_str();
    let heading = if linked {
        view! { <a class="nowrap" href=link>{event}</a> }.into_any()
    } else {
        view! { <span class="nowrap">{event}</span> }.into_any()
    };
    let created = now.created_at;
    let answer = move || {
        delivery.with(|d| match (d.status_code, &d.problem) {
            (Some(code), None) => view! { <span class="mono">{code}</span> }.into_any(),
            (Some(code), Some(problem)) => {
                view! { <span class="wrap"><span class="mono">{code}</span>" "<span class="small muted">{problem.clone()}</span></span> }.into_any()
            }
            (None, Some(problem)) => view! { <span class="small muted wrap">{problem.clone()}</span> }.into_any(),
            (None, None) => view! { <span class="muted">"–"</span> }.into_any(),
        })
    };
    view! {
        <tr>
            <td data-label="Event">
                <span class="wrap">
                    {heading} {now.test.then(|| view! { " " <span class="chip">"test"</span> }.into_any())}
                    {now.redelivery_of.is_some().then(|| view! { " " <span class="chip">"redelivery"</span> }.into_any())}
                    {now
                        .reservation_id
                        .filter(|_| !compact)
                        .map(|id| view! { <br /><span class="small muted mono short-id" title=id.clone()>{id.clone()}</span> }.into_any())}
                </span>
            </td>
            <td data-label="Status"><DeliveryState delivery=delivery /></td>
            {(!compact).then(|| view! { <td data-label="Webhook"><a href=format!("/settings/webhooks/{}", now.webhook_id)>{now.webhook_name}</a></td> }.into_any())}
            <td data-label="Response">{answer}</td>
            {(!compact)
                .then(|| {
                    view! {
                        <td data-label="Duration" class="nowrap">
                            {move || delivery.with(|d| d.duration_ms.map_or_else(|| "–".to_owned(), time::duration))}
                        </td>
                    }.into_any()
                })}
            <td data-label="Created"><Ago at=created /></td>
        </tr>
    }
}
