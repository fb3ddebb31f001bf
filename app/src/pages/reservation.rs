//! One reservation: its provisioning, its access, and the dialogs that change, extend, end and cancel it.

mod edit;
mod ongoing;
mod ongoing_forms;
mod provisioning;

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::live::{LiveEvent, use_live};
use crate::paged_list;
use crate::pages::deliveries::DeliveryRows;
use crate::query::Query;
use crate::rpc::reservations as rpc;
use crate::session::use_session;
use domain::delivery::DeliverySummary;
use domain::id::ReservationId;
use domain::ownership::ResourceKey;
use domain::reservation::{Reservation, ReservationDetail, ReservationStatus};
use edit::{CancelForm, ConfirmReleaseForm, ModifyForm};
use gloo_timers::callback::Interval;
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
pub use ongoing::{EndingSoon, OngoingActions, OngoingDialogs, OngoingDialogsView, RefusedExtension};
pub use ongoing_forms::{EndForm, ExtendForm};
pub use provisioning::ProvisioningCard;

/// The interval at which users who are no administrators poll the deliveries, in milliseconds.
const POLL_INTERVAL_MS: u32 = 10_000;
/// The number of characters at the end of an SSH key that the page shows.
const KEY_SUFFIX_LEN: usize = 8;

/// `/reservations/:id`
#[component]
pub fn ReservationPage() -> impl IntoView {
    let params = use_params_map();
    let id = ErasedMemo::new(move |_| ReservationId(params.read().get("id").unwrap_or_default()));
    let query = Query::new(move || rpc::get_reservation(id.get()));
    let session = use_session();
    use_live().on(move |event| match event {
        LiveEvent::Reservation(new) if new.id == id.get_untracked() => {
            let new = (**new).clone();
            query.update(move |detail| detail.reservation = new);
            // Each event of the reservation has deliveries.
            if !untrack(|| session.reads_everything()) {
                query.refetch_soon();
            }
        }
        LiveEvent::Delivery(new) if new.reservation_id.as_deref() == Some(id.get_untracked().as_str()) => {
            let new = new.clone();
            query.update(move |detail| {
                if let Some(new) = paged_list::replace(&mut detail.deliveries, new) {
                    detail.deliveries.push(new);
                }
            });
        }
        _ => {}
    });
    poll_deliveries(query);
    query.view(move |detail| {
        let reservation = ErasedMemo::new(move |_| detail.get().reservation);
        let deliveries = ErasedMemo::new(move |_| detail.get().deliveries);
        view! { <ReservationDetails reservation=reservation deliveries=deliveries /> }
    })
}

/// Polls the deliveries for users who do not see all of them, because they receive no live updates of deliveries: often while one is in
/// progress, otherwise for redeliveries, of which the reservation does not change.
fn poll_deliveries(query: Query<ReservationDetail>) {
    let session = use_session();
    Effect::new(move |_| {
        let in_progress = query.get().is_some_and(|detail| detail.deliveries.iter().any(|d| !d.status.is_final()));
        if in_progress && !session.reads_everything() {
            query.refetch_soon();
        }
    });
    let poll = move || {
        let is_visible = document().visibility_state() == web_sys::VisibilityState::Visible;
        if is_visible
            && untrack(|| !session.reads_everything() && !session.expired.get())
            && query.get_untracked().is_some()
        {
            query.refetch_soon();
        }
    };
    // Stored, so that it ends with the page.
    StoredValue::new_local(Interval::new(POLL_INTERVAL_MS, poll));
}

#[component]
fn ReservationDetails(
    reservation: ErasedMemo<Reservation>,
    deliveries: ErasedMemo<Vec<DeliverySummary>>,
) -> impl IntoView {
    let title =
        move || reservation.with(|r| if r.title.is_empty() { r.resource_name.clone() } else { r.title.clone() });
    let ticker = use_ticker();
    let is_active = move || reservation.with(|r| r.status.at(r.end_time, ticker.now()) == ReservationStatus::Active);
    let session = use_session();
    let (id, name) = reservation.with_untracked(|r| (r.id.0.clone(), r.resource_name.clone()));
    let modify_open = RwSignal::new(false);
    let cancel_open = RwSignal::new(false);
    let confirm_open = RwSignal::new(false);
    // Its services have not confirmed the release, and the next reservation waits for it.
    let can_confirm = move || {
        reservation.with(|r| {
            let resource = ResourceKey::new(&r.resource_type, r.resource_id);
            r.status != ReservationStatus::Active && r.released_at.is_none() && session.manages(resource)
        })
    };
    let dialogs = OngoingDialogs::new();
    view! {
        <PageHeader title=title lead=move || reservation.with(|r| intl::span(r.start_time, r.end_time))>
            {untrack(|| session.reads_everything()).then(|| view! { <ChangesLink target="reservation" id=id name=name /> })}
            <OngoingActions reservation=reservation dialogs=dialogs />
            <Show when=move || is_active() && !session.is_auditor()>
                <Button on_click=Callback::new(move |()| modify_open.set(true))>"Modify"</Button>
                <Button variant=ButtonVariant::Danger on_click=Callback::new(move |()| cancel_open.set(true))>
                    "Cancel reservation"
                </Button>
            </Show>
            <Show when=can_confirm>
                <Button on_click=Callback::new(move |()| confirm_open.set(true))>"Confirm release"</Button>
            </Show>
        </PageHeader>
        <EndingSoon reservation=reservation dialogs=dialogs />
        <div class="columns">
            <div class="stack">
                <ProvisioningCard reservation=reservation deliveries=deliveries />
                <Deliveries deliveries=deliveries />
            </div>
            <DetailsCard reservation=reservation />
        </div>
        <OngoingDialogsView dialogs=dialogs />
        <Dialog open=modify_open title="Modify reservation">
            <ModifyForm reservation=reservation.get_untracked() open=modify_open />
        </Dialog>
        <Dialog open=cancel_open title="Cancel this reservation?">
            <CancelForm id=reservation.with_untracked(|r| r.id.clone()) open=cancel_open />
        </Dialog>
        <Dialog open=confirm_open title="Is the resource released?">
            <ConfirmReleaseForm id=reservation.with_untracked(|r| r.id.clone()) open=confirm_open />
        </Dialog>
    }
}

/// The deliveries of the reservation. Hidden from users who see no webhooks while there are none.
#[component]
fn Deliveries(deliveries: ErasedMemo<Vec<DeliverySummary>>) -> impl IntoView {
    let session = use_session();
    let has_deliveries = move || !deliveries.with(Vec::is_empty);
    view! {
        <Show when=move || session.reads_webhooks() || has_deliveries()>
            <section class="stack tight">
                <h2>"Deliveries"</h2>
                <Show
                    when=has_deliveries
                    fallback=|| view! { <p class="card muted">"No webhook receives this reservation."</p> }
                >
                    <DeliveryRows items=deliveries />
                </Show>
            </section>
        </Show>
    }
}

#[component]
fn DetailsCard(reservation: ErasedMemo<Reservation>) -> impl IntoView {
    let status = move || view! { <Badge status=reservation.with(|r| r.status) /> };
    let cancellation = move || {
        let (by, reason) = reservation.with(|r| (r.cancelled_by.clone(), r.cancel_reason.clone()));
        let text = match (by?, reason.as_str()) {
            (by, "") => format!("by {by}"),
            (by, reason) => format!("by {by}: {reason}"),
        };
        Some(view! { <p class="small muted">{text}</p> })
    };
    let ssh_key = move || match reservation.with(|r| r.user_ssh_key.clone()).as_str() {
        "" => view! { <span class="muted">"none"</span> }.into_any(),
        key => view! { <code>{shorten_key(key)}</code> }.into_any(),
    };
    let config = move || {
        let config = reservation.with(|r| r.additional_config.clone());
        let field = |(name, value): (String, serde_json::Value)| view! { <dt>{name}</dt><dd>{value_text(&value)}</dd> };
        config.into_iter().map(field).collect_view()
    };
    view! {
        <section class="card">
            <h2>"Details"</h2>
            <dl class="details-list">
                <dt>"Status"</dt>
                <dd>{status} {cancellation}</dd>
                <dt>"Resource"</dt>
                <dd>{move || reservation.with(|r| format!("{} ({})", r.resource_name, r.resource_type))}</dd>
                <dt>"Starts"</dt>
                <dd>{move || reservation.with(|r| intl::timestamp(r.start_time))}</dd>
                <dt>"Ends"</dt>
                <dd>{move || reservation.with(|r| intl::timestamp(r.end_time))}</dd>
                <dt>"Reserved by"</dt>
                <dd>{move || reservation.with(|r| r.user_id.clone())}</dd>
                <dt>"Reservation ID"</dt>
                <dd><code>{move || reservation.with(|r| r.id.to_string())}</code></dd>
                <dt>"SSH key"</dt>
                <dd>{ssh_key}</dd>
                {config}
            </dl>
            <p class="muted small below">"Times in "{intl::time_zone()}"."</p>
        </section>
    }
}

/// A value of the configuration as text.
fn value_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Bool(true) => "yes".to_owned(),
        serde_json::Value::Bool(false) => "no".to_owned(),
        other => domain::json::to_text(other).unwrap_or_default(),
    }
}

/// Shortens an SSH key to its type, its last characters and its comment.
fn shorten_key(key: &str) -> String {
    let mut parts = key.splitn(3, ' ');
    let kind = parts.next().unwrap_or_default();
    let body = parts.next().unwrap_or_default();
    let suffix = body.get(body.len().saturating_sub(KEY_SUFFIX_LEN)..).unwrap_or_default();
    let comment = parts.next().unwrap_or_default();
    format!("{kind} …{suffix} {comment}").trim().to_owned()
}
