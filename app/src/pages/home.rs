//! The home page: the operations for those who read webhooks, and the user's reservations.

use crate::components::*;
use crate::live::{LiveEvent, use_live};
use crate::paged_list;
use crate::pages::areas;
use crate::pages::reservation::{OngoingDialogs, OngoingDialogsView};
use crate::pages::reservations::{ReservationRow, reservation_row_key};
use crate::query::Query;
use crate::rpc::{catalogue, reservations};
use crate::session::{ExceptAuditors, use_session};
use domain::resource::AccessStatus;
use leptos::prelude::*;

/// `/`
#[component]
pub fn HomePage() -> impl IntoView {
    let session = use_session();
    view! {
        <PageHeader title=move || format!("Hello, {}", session.username())>
            <ExceptAuditors>
                <a class="button primary" href="/reserve"><IconView icon=Icon::Calendar />"Reserve"</a>
            </ExceptAuditors>
        </PageHeader>
        <div class="stack">
            <Show when=move || session.reads_webhooks() fallback=move || view! {
                // An owner of resources without webhooks decides on requests too.
                <Show when=move || session.is_owner()>
                    <PendingRequests />
                </Show>
            }>
                {areas::show_part(areas::operations::Screen::Home)}
            </Show>
            <ExceptAuditors>
                <MyReservations />
            </ExceptAuditors>
        </div>
    }
}

#[component]
fn MyReservations() -> impl IntoView {
    let session = use_session();
    let dialogs = OngoingDialogs::new();
    let list = Query::new(reservations::next_reservations);
    use_live().on(move |event| match event {
        LiveEvent::Reservation(new) if new.user_id == session.username_untracked() => {
            let new = (**new).clone();
            list.update(move |items| {
                paged_list::replace(items, new);
            });
            // The change can end a reservation or change its place.
            list.refetch_soon();
        }
        _ => {}
    });
    view! {
        <section class="card flush">
            <h2>"Your next reservations"</h2>
            {list.view(move |next| {
                view! {
                    <Show
                        when=move || !next.with(Vec::is_empty)
                        fallback=|| {
                            view! {
                                <p class="muted card-text">
                                    "No upcoming reservations. " <a href="/reserve">"Reserve a resource"</a>
                                </p>
                            }
                        }
                    >
                        <For each=move || next.get() key=reservation_row_key let:reservation>
                            <ReservationRow reservation=reservation dialogs=dialogs />
                        </For>
                        <p class="card-text"><a href="/reservations">"All reservations"</a></p>
                    </Show>
                }
            })}
        </section>
        <OngoingDialogsView dialogs=dialogs />
    }
}

#[component]
fn PendingRequests() -> impl IntoView {
    let list = Query::new(|| catalogue::list_access_requests(Some(AccessStatus::Pending)));
    let count = move || list.get().map_or(0, |page| page.items.len());
    use_live().on(move |event| {
        // An access request comes with a notification.
        if matches!(event, LiveEvent::Notification(_)) {
            list.refetch();
        }
    });
    view! {
        <Show when=move || count() != 0>
            <Notice kind=NoticeKind::Warning>
                <p>
                    {move || match count() {
                        1 => "1 access request pending · ".to_owned(),
                        n => format!("{n} access requests pending · "),
                    }} <a href="/access-requests">"Review"</a>
                </p>
            </Notice>
        </Show>
    }
}
