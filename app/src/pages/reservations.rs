//! The list of reservations.

use crate::address::in_address;
use crate::components::*;
use crate::layout::use_session;
use crate::live::{LiveEvent, use_live};
use crate::load::{Write, load, read_more};
use crate::rpc::reservations as rpc;
use crate::time;
use crate::values::Value;
use domain::pagination::PageQuery;
use domain::reservation::{Reservation, ReservationFilter, ReservationStatus};
use leptos::prelude::*;

/// Puts a changed reservation where it was, or a new one first.
pub fn upsert_reservation(items: &mut Vec<Reservation>, new: Reservation) {
    match items.iter_mut().find(|old| old.id == new.id) {
        Some(old) => *old = new,
        None => items.insert(0, new),
    }
}

/// A reservation in a list: what, when, how it stands.
#[component]
pub fn ReservationRow(reservation: Reservation, #[prop(optional)] owner: bool) -> impl IntoView {
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
    let who = if owner { format!(" · {user_id}") } else { String::new() };
    view! {
        <a class="reservation-row" href=format!("/reservations/{id}")>
            <strong>{heading}</strong>
            <span class="row">
                {(status != ReservationStatus::Active).then(|| view! { <Chip state=status /> }.into_any())} <Chip state=provisioning.status />
            </span>
            <span class="muted small">{format!("{resource_name} · {resource_type}{who}")}</span>
            <span class="muted small">{time::span(start_time, end_time)}</span>
        </a>
    }
}

/// `/reservations`
#[component]
pub fn ReservationsPage() -> impl IntoView {
    let session = use_session();
    let [whose, status] = in_address([("whose", "mine"), ("status", "active")]);
    let filter = move || ReservationFilter {
        mine: Some(whose.get() == "mine"),
        status: ReservationStatus::parse(&status.get()),
        ..Default::default()
    };
    let list = load(move || rpc::list_reservations(filter(), PageQuery::default()));
    let wanted = move |r: &Reservation| {
        (whose.get_untracked() != "mine" || r.user_id == session.username())
            && ReservationStatus::parse(&status.get_untracked()).is_none_or(|status| r.status == status)
    };
    use_live().on(move |event| match event {
        LiveEvent::Reservation(new) => {
            let new = new.clone();
            list.update(move |page| {
                upsert_reservation(&mut page.items, new);
                page.items.retain(wanted);
            });
        }
        LiveEvent::Resync => list.again(),
        _ => {}
    });
    let more = Write::new();
    let next = Callback::new(move |()| read_more(list, more, |page| rpc::list_reservations(untrack(filter), page)));
    let everyone = move || whose.get() != "mine";
    view! {
        <PageHeader title="Reservations" lead="Upcoming and past reservations.">
            <a class="button primary" href="/reserve"><IconView icon=Icon::Plus />"Reserve"</a>
        </PageHeader>
        <div class="toolbar">
            <When when=move || session.is_admin()>
                <Select label="Owner" value=whose options=words([("mine", "Me"), ("all", "Everyone")]) />
            </When>
            <Select
                label="Status"
                value=status
                options=words([("", "All"), ("active", "Active"), ("cancelled", "Cancelled"), ("expired", "Expired")])
            />
        </div>
        {list.show(move |page| {
            let items = Value::memo(move || page.get().items);
            view! {
                <When
                    when=move || !items.with(Vec::is_empty)
                    fallback=|| {
                        view! {
                            <EmptyState icon=Icon::Calendar title="No reservations found">
                                <p>"Reserve a resource and follow its provisioning here."</p>
                                <a class="button primary" href="/reserve">"Reserve"</a>
                            </EmptyState>
                        }
                    }
                >
                    <div class="card flush">
                        {rows(
                            move || items.get(),
                            move |r: &Reservation| {
                                let (changed, provisioned) = (r.updated_at, r.provisioning.updated_at);
                                format!("{} {} {} {}", r.id, changed.timestamp_micros(), provisioned.timestamp_micros(), everyone())
                            },
                            move |reservation| view! { <ReservationRow reservation=reservation owner=untrack(everyone) /> }.into_any(),
                        )}
                    </div>
                </When>
                <More page=page busy=more.busy next=next />
                <FormProblem problem=more.problem />
            }
        })}
    }
}
