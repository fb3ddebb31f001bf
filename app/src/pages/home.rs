//! The home page: the user's reservations, and an overview for administrators.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::live::{LiveEvent, use_live};
use crate::paged_list;
use crate::pages::deliveries::DeliveryRows;
use crate::pages::reservations::{ReservationRow, reservation_row_key};
use crate::query::Query;
use crate::rpc::{catalogue, deliveries, reservations, webhooks};
use crate::session::{ExceptAuditors, ForAdministrators, use_session};
use domain::delivery::DeliveryFilter;
use domain::pagination::PageQuery;
use domain::resource::AccessStatus;
use domain::webhook::Webhook;
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
            <ExceptAuditors>
                <MyReservations />
            </ExceptAuditors>
            <Show when=move || session.reads_everything()>
                <PendingRequests />
                <div class="columns">
                    <RecentDeliveries />
                    <WebhookSummary />
                </div>
            </Show>
        </div>
    }
}

/// The number of deliveries that the list shows.
const MAX_DELIVERIES: usize = 8;

#[component]
fn MyReservations() -> impl IntoView {
    let session = use_session();
    let list = Query::new(reservations::next_reservations);
    use_live().on(move |event| match event {
        LiveEvent::Reservation(new) if new.user_id == session.username_untracked() => {
            let new = new.clone();
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
            {list.view(|next| {
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
                            <ReservationRow reservation=reservation />
                        </For>
                        <p class="card-text"><a href="/reservations">"All reservations"</a></p>
                    </Show>
                }
            })}
        </section>
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

#[component]
fn RecentDeliveries() -> impl IntoView {
    let list = Query::new(|| {
        deliveries::list_deliveries(
            DeliveryFilter::default(),
            PageQuery { limit: Some(MAX_DELIVERIES as u32), cursor: None },
        )
    });
    use_live().on(move |event| {
        if let LiveEvent::Delivery(new) = event {
            let new = new.clone();
            list.update(move |page| {
                if let Some(new) = paged_list::replace(&mut page.items, new) {
                    page.items.push(new);
                    page.items.sort_by(|one, other| other.id.as_str().cmp(one.id.as_str()));
                    page.items.truncate(MAX_DELIVERIES);
                }
            });
        }
    });
    view! {
        <section class="stack tight">
            <div class="row between">
                <h2>"Recent deliveries"</h2>
                <a href="/deliveries">"All deliveries"</a>
            </div>
            {list.view(|page| {
                let items = ErasedMemo::derive(move || page.get().items);
                view! {
                    <Show
                        when=move || !items.with(Vec::is_empty)
                        fallback=|| view! { <p class="card muted">"No deliveries yet."</p> }
                    >
                        <DeliveryRows items=items compact=true />
                    </Show>
                }
            })}
        </section>
    }
}

#[component]
fn WebhookSummary() -> impl IntoView {
    let list = Query::new(webhooks::list_webhooks);
    use_live().on(move |event| {
        if matches!(event, LiveEvent::Webhook(_)) {
            list.refetch();
        }
    });
    let row = |webhook: Webhook| {
        view! {
            <a class="reservation-row" href=format!("/settings/webhooks/{}", webhook.id)>
                <strong>{webhook.name}</strong>
                {if webhook.enabled {
                    view! { <Badge status=webhook.summary.health /> }.into_any()
                } else {
                    view! { <Badge status=webhook.state /> }.into_any()
                }}
            </a>
        }
    };
    view! {
        <section class="stack tight">
            <div class="row between">
                <h2>"Webhooks"</h2>
                <a href="/settings/webhooks">"All webhooks"</a>
            </div>
            {list.view(move |page| {
                view! {
                    <div class="card flush">
                        {move || {
                            let items = page.get().items;
                            if items.is_empty() {
                                return view! {
                                    <p class="card-text">
                                        "No webhooks yet. " <ForAdministrators><a href="/settings/webhooks/new">"Add a webhook"</a></ForAdministrators>
                                        " to notify your service when people reserve."
                                    </p>
                                }
                                    .into_any();
                            }
                            items.into_iter().map(row).collect_view().into_any()
                        }}
                    </div>
                }
            })}
        </section>
    }
}
