//! Where people start: what is theirs, and for administrators how delivery goes.

use crate::components::*;
use crate::layout::use_session;
use crate::live::{LiveEvent, use_live};
use crate::load::load;
use crate::pages::deliveries::{DeliveryRows, upsert_delivery};
use crate::pages::reservations::{ReservationRow, upsert_reservation};
use crate::rpc::{catalogue, deliveries, reservations, webhooks};
use crate::values::Value;
use domain::delivery::DeliveryFilter;
use domain::pagination::PageQuery;
use domain::reservation::{Reservation, ReservationFilter, ReservationStatus};
use domain::resource::AccessStatus;
use domain::webhook::Webhook;
use leptos::prelude::*;

/// `/`
#[component]
pub fn HomePage() -> impl IntoView {
    let session = use_session();
    view! {
        <PageHeader title=move || format!("Hello, {}", session.username())>
            <a class="button primary" href="/reserve"><IconView icon=Icon::Calendar />"Reserve"</a>
        </PageHeader>
        <div class="stack">
            <Mine />
            <When when=move || session.is_admin()>
                <Requests />
                <div class="columns">
                    <Latest />
                    <Webhooks />
                </div>
            </When>
        </div>
    }
}

#[component]
fn Mine() -> impl IntoView {
    let session = use_session();
    let filter =
        || ReservationFilter { mine: Some(true), status: Some(ReservationStatus::Active), ..Default::default() };
    let list = load(move || reservations::list_reservations(filter(), PageQuery { limit: Some(20), cursor: None }));
    use_live().on(move |event| match event {
        LiveEvent::Reservation(new) if new.user_id == session.username() => {
            let new = new.clone();
            list.update(move |page| {
                upsert_reservation(&mut page.items, new);
                page.items.retain(|r| r.status == ReservationStatus::Active);
            });
        }
        LiveEvent::Resync => list.again(),
        _ => {}
    });
    view! {
        <section class="card flush">
            <h2>"Your reservations"</h2>
            {list.show(|page| {
                let newest = Value::memo(move || {
                    let mut items = page.get().items;
                    items.sort_by_key(|r| r.start_time);
                    items.truncate(8);
                    items
                });
                view! {
                    <When
                        when=move || !newest.with(Vec::is_empty)
                        fallback=|| {
                            view! {
                                <p class="muted card-text">
                                    "No active reservations. " <a href="/reserve">"Reserve a resource"</a>
                                </p>
                            }
                        }
                    >
                        {rows(
                            move || newest.get(),
                            |r: &Reservation| format!("{} {} {}", r.id, r.updated_at.timestamp_micros(), r.provisioning.updated_at.timestamp_micros()),
                            |reservation| view! { <ReservationRow reservation=reservation /> }.into_any(),
                        )}
                        <p class="card-text"><a href="/reservations">"All reservations"</a></p>
                    </When>
                }
            })}
        </section>
    }
}

#[component]
fn Requests() -> impl IntoView {
    let list = load(|| catalogue::list_access_requests(Some(AccessStatus::Pending)));
    let count = move || list.get().map_or(0, |page| page.items.len());
    use_live().on(move |event| {
        // An access request comes with a notification.
        if matches!(event, LiveEvent::Notification(_) | LiveEvent::Resync) {
            list.again();
        }
    });
    view! {
        <When when=move || count() != 0>
            <Notice kind="warning">
                <p>
                    {move || match count() {
                        1 => "1 access request pending · ".to_owned(),
                        n => format!("{n} access requests pending · "),
                    }} <a href="/access-requests">"Review"</a>
                </p>
            </Notice>
        </When>
    }
}

#[component]
fn Latest() -> impl IntoView {
    let list =
        load(|| deliveries::list_deliveries(DeliveryFilter::default(), PageQuery { limit: Some(8), cursor: None }));
    use_live().on(move |event| match event {
        LiveEvent::Delivery(new) => {
            let new = new.clone();
            list.update(move |page| {
                upsert_delivery(&mut page.items, new, true);
                page.items.truncate(8);
            });
        }
        LiveEvent::Resync => list.again(),
        _ => {}
    });
    view! {
        <section class="stack tight">
            <div class="row between">
                <h2>"Recent deliveries"</h2>
                <a href="/deliveries">"All deliveries"</a>
            </div>
            {list.show(|page| {
                let items = Value::derive(move || page.get().items);
                view! {
                    <When
                        when=move || !items.with(Vec::is_empty)
                        fallback=|| view! { <p class="card muted">"No deliveries yet."</p> }
                    >
                        <DeliveryRows items=items compact=true />
                    </When>
                }
            })}
        </section>
    }
}

#[component]
fn Webhooks() -> impl IntoView {
    let list = load(webhooks::list_webhooks);
    use_live().on(move |event| {
        if matches!(event, LiveEvent::Webhook(_) | LiveEvent::Resync) {
            list.again();
        }
    });
    let row = |webhook: Webhook| {
        let state = webhook.state;
        let health = webhook.summary.health;
        view! {
            <a class="reservation-row" href=format!("/settings/webhooks/{}", webhook.id)>
                <strong>{webhook.name}</strong>
                {if webhook.enabled { view! { <Chip state=health /> }.into_any() } else { view! { <Chip state=state /> }.into_any() }}
            </a>
        }.into_any()
    };
    view! {
        <section class="stack tight">
            <div class="row between">
                <h2>"Webhooks"</h2>
                <a href="/settings/webhooks">"All webhooks"</a>
            </div>
            {list.show(move |page| {
                view! {
                    <div class="card flush">
                        {move || {
                            let items = page.get().items;
                            if items.is_empty() {
                                return view! {
                                    <p class="card-text">
                                        "No webhooks yet. " <a href="/settings/webhooks/new">"Add a webhook"</a>
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
