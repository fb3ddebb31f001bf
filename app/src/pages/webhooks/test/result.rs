//! The result of a test: the verdict, what Berth would do with the response, and the exchange.

use super::EndedTest;
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::pages::areas;
use crate::pages::reservation::ProvisioningCard;
use domain::conformance::Verdict;
use domain::delivery::{Attempt, Outcome};
use domain::event::EventType;
use domain::id::ReservationId;
use domain::provisioning::{DrivingWebhook, Provisioning};
use domain::reservation::{Reservation, ReservationStatus};
use domain::webhook::Webhook;
use leptos::prelude::*;
use serde_json::Map;

/// A result in words, e.g. `200 · 1.5 ms`.
pub fn figures(attempt: &Attempt) -> String {
    let code = attempt.status_code.map_or_else(|| "no response".to_owned(), |code| code.to_string());
    format!("{code} · {}", intl::duration(attempt.duration_ms))
}

/// The verdict on an attempt.
pub fn verdict(attempt: &Attempt) -> Verdict {
    match attempt.outcome {
        Outcome::Succeeded => Verdict::Passed,
        _ => Verdict::Failed,
    }
}

/// The result of one test. Of several, each opens on demand.
#[component]
pub fn TestResult(test: EndedTest, webhook: StoredValue<Webhook>, is_open: bool) -> impl IntoView {
    let EndedTest { event, attempt } = test;
    let (verdict, figures) = (verdict(&attempt), figures(&attempt));
    let card = webhook.with_value(|webhook| reservation_after(webhook, event, &attempt));
    let content = view! {
        {card.map(|reservation| view! { <Effect reservation=reservation /> })}
        {areas::show_part(areas::delivery::Screen::Attempt(event, StoredValue::new(attempt)))}
    };
    view! {
        <section class="card">
            <details class="entry" open=is_open>
                <summary>
                    <Badge status=verdict />
                    <h2 class="verdict">{figures}</h2>
                    <code>{event.as_str()}</code>
                </summary>
                <div class="stack">{content}</div>
            </details>
        </section>
    }
}

/// The reservation after this response to its first event, if the event were no test. `None` if nothing changes.
fn reservation_after(webhook: &Webhook, event: EventType, attempt: &Attempt) -> Option<Reservation> {
    let response = attempt.effect.as_ref().filter(|_| webhook.provisions)?;
    let at = attempt.started_at;
    let driving = DrivingWebhook { id: webhook.id, name: &webhook.name };
    let provisioning = Provisioning::after_first_response(driving, event, response, at, at)?;
    let status = match event {
        EventType::ReservationCancelled => ReservationStatus::Cancelled,
        EventType::ReservationExpired => ReservationStatus::Expired,
        _ => ReservationStatus::Active,
    };
    Some(Reservation {
        id: ReservationId(String::new()),
        user_id: String::new(),
        resource_id: 0,
        resource_name: String::new(),
        resource_type: String::new(),
        title: String::new(),
        start_time: at,
        end_time: at,
        user_ssh_key: String::new(),
        additional_config: Map::new(),
        status,
        cancelled_by: None,
        cancel_reason: String::new(),
        provisioning,
        provisioning_begins_at: None,
        released_at: None,
        created_at: at,
        updated_at: at,
    })
}

/// The card that the page of the reservation would show.
#[component]
fn Effect(reservation: Reservation) -> impl IntoView {
    let reservation = ErasedMemo::derive(move || reservation.clone());
    let deliveries = ErasedMemo::derive(Vec::new);
    view! {
        <section class="stack tight" aria-label="Effect">
            <p class="muted">"With this response to the first event of a reservation, its page would show:"</p>
            <ProvisioningCard reservation=reservation deliveries=deliveries />
        </section>
    }
}
