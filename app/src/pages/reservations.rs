//! The list of reservations.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::live::{LiveEvent, use_live};
use crate::paged_list::PagedList;
use crate::pages::reservation::{EndingSoon, OngoingActions, OngoingDialogs, OngoingDialogsView};
use crate::query_signals::query_signals;
use crate::rpc::reservations as rpc;
use crate::session::{ExceptAuditors, use_session};
use domain::reservation::{Reservation, ReservationFilter, ReservationStatus};
use leptos::prelude::*;

/// The key of a [`ReservationRow`], which is rendered again when the reservation or its provisioning changes.
pub fn reservation_row_key(reservation: &Reservation) -> String {
    let (changed, provisioned) = (reservation.updated_at, reservation.provisioning.updated_at);
    format!("{} {} {}", reservation.id, changed.timestamp_micros(), provisioned.timestamp_micros())
}

/// A reservation in a list, with the actions on one that is in progress. With `show_owner`, it contains the user name.
#[component]
pub fn ReservationRow(
    reservation: Reservation,
    dialogs: OngoingDialogs,
    #[prop(optional)] show_owner: bool,
) -> impl IntoView {
    let row = reservation.clone();
    let row = ErasedMemo::derive(move || row.clone());
    let Reservation {
        id,
        user_id,
        resource_name,
        resource_type,
        title,
        start_time,
        end_time,
        status,
        provisioning,
        ..
    } = reservation;
    let heading = if title.is_empty() { resource_name.clone() } else { title };
    let owner = if show_owner { format!(" · {user_id}") } else { String::new() };
    view! {
        <div class="reservation-item">
        <a class="reservation-row" href=format!("/reservations/{id}")>
            <strong>{heading}</strong>
            <span class="row">
                {(status != ReservationStatus::Active).then(|| view! { <Badge status=status /> })}
                <Badge status=provisioning.status />
            </span>
            <span class="muted small">{format!("{resource_name} · {resource_type}{owner}")}</span>
            <span class="muted small">{intl::span(start_time, end_time)}</span>
        </a>
        <EndingSoon reservation=row dialogs=dialogs />
        <div class="row reservation-actions"><OngoingActions reservation=row dialogs=dialogs /></div>
        </div>
    }
}

/// `/reservations`
#[component]
pub fn ReservationsPage() -> impl IntoView {
    let session = use_session();
    let dialogs = OngoingDialogs::new();
    let [owner, status] = query_signals([("whose", "mine"), ("status", "active")]);
    let everyone = Memo::new(move |_| owner.get() != "mine");
    let filter = move || ReservationFilter {
        mine: Some(!everyone.get()),
        status: ReservationStatus::parse(&status.get()),
        ..Default::default()
    };
    let list = PagedList::new(filter, rpc::list_reservations);
    let matches = move |r: &Reservation| {
        (everyone.get_untracked() || r.user_id == session.username_untracked())
            && ReservationStatus::parse(&status.get_untracked()).is_none_or(|status| r.status == status)
    };
    use_live().on(move |event| {
        if let LiveEvent::Reservation(new) = event {
            list.apply((**new).clone(), matches(new));
        }
    });
    view! {
        <PageHeader title="Reservations" lead="Upcoming and past reservations.">
            <ExceptAuditors>
                <a class="button primary" href="/reserve"><IconView icon=Icon::Plus />"Reserve"</a>
            </ExceptAuditors>
        </PageHeader>
        <div class="toolbar">
            <Show when=move || session.reads_everything() || session.is_owner()>
                <Select label="Reserved by" value=owner options=select_options([("mine", "Me"), ("all", "Everyone")]) />
            </Show>
            <Select
                label="Status"
                value=status
                options=select_options([("", "All"), ("active", "Active"), ("cancelled", "Cancelled"), ("expired", "Expired")])
            />
        </div>
        {list.view(move |items| {
            view! {
                <Show
                    when=move || !items.with(Vec::is_empty)
                    fallback=|| {
                        view! {
                            <EmptyState icon=Icon::Calendar title="No reservations found">
                                <ExceptAuditors>
                                    <p>"Reserve a resource and follow its provisioning here."</p>
                                    <a class="button primary" href="/reserve">"Reserve"</a>
                                </ExceptAuditors>
                            </EmptyState>
                        }
                    }
                >
                    <div class="card flush">
                        <For
                            each=move || items.get()
                            key=move |reservation| (reservation_row_key(reservation), everyone.get())
                            let:reservation
                        >
                            <ReservationRow reservation=reservation dialogs=dialogs show_owner=everyone.get_untracked() />
                        </For>
                    </div>
                </Show>
            }
        })}
        <OngoingDialogsView dialogs=dialogs />
    }
}
