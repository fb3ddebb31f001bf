//! The list of deliveries, with filters in the address and live updates.

use super::DeliveryRows;
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::live::{LiveEvent, use_live};
use crate::paged_list::PagedList;
use crate::query::{Mutation, Query};
use crate::query_signals::query_signals;
use crate::rpc::{deliveries as rpc, webhooks};
use crate::session::ForAdministrators;
use crate::time_range::{TimeRange, TimeRangeInputs, TimeRangeZone};
use domain::delivery::*;
use domain::event::EventType;
use domain::id::{DeliveryId, WebhookId};
use leptos::prelude::*;

/// The largest number of deliveries that one replay redelivers.
const MAX_REPLAYED: u64 = 10_000;

/// Whether a live update matches the filter: the same rule as the server's.
fn matches(filter: &DeliveryFilter, d: &DeliverySummary) -> bool {
    filter.webhook_id.is_none_or(|id| d.webhook_id == id)
        && filter.event_type.is_none_or(|event| d.event_type == event)
        && filter.status.is_none_or(|status| d.status == status)
        && filter.reservation_id.as_ref().is_none_or(|id| d.reservation_id.as_ref() == Some(id))
        && filter.redelivery_of.as_ref().is_none_or(|id| d.redelivery_of.as_ref() == Some(id))
        && filter.since.is_none_or(|since| d.created_at >= since)
        && filter.until.is_none_or(|until| d.created_at < until)
}

/// The filters, whose values are parameters of the address.
#[derive(Clone, Copy)]
struct Filters {
    webhook: RwSignal<String>,
    event: RwSignal<String>,
    status: RwSignal<String>,
    reservation: RwSignal<String>,
    redelivery_of: RwSignal<String>,
    since: RwSignal<String>,
    until: RwSignal<String>,
    range: TimeRange,
}

impl Filters {
    fn from_address() -> Self {
        let names = ["webhook", "event", "status", "reservation", "redelivery_of", "since", "until"];
        let [webhook, event, status, reservation, redelivery_of, since, until] =
            query_signals(names.map(|name| (name, "")));
        let range = TimeRange::new(since, until);
        Self { webhook, event, status, reservation, redelivery_of, since, until, range }
    }

    fn in_address(self) -> [RwSignal<String>; 7] {
        let Self { webhook, event, status, reservation, redelivery_of, since, until, .. } = self;
        [webhook, event, status, reservation, redelivery_of, since, until]
    }

    /// The filter for the server. `webhook` replaces the filter of the address. Tracked.
    fn to_filter(self, webhook: Option<WebhookId>) -> DeliveryFilter {
        DeliveryFilter {
            webhook_id: webhook.or_else(|| self.webhook.with(|id| id.parse().ok())),
            event_type: self.event.with(|event| EventType::parse(event)),
            status: self.status.with(|status| DeliveryStatus::parse(status)),
            reservation_id: self.reservation.with(|id| Some(id.trim().to_owned()).filter(|id| !id.is_empty())),
            redelivery_of: self.redelivery_of.with(|id| (!id.is_empty()).then(|| DeliveryId(id.clone()))),
            since: self.range.since(),
            until: self.range.until(),
        }
    }

    /// Whether any filter is set. Tracked.
    fn is_set(self) -> bool {
        self.in_address().iter().any(|signal| signal.with(|value| !value.is_empty()))
    }

    fn clear(self) {
        self.in_address().iter().for_each(|signal| signal.set(String::new()));
        self.range.clear();
    }
}

/// `/deliveries`
#[component]
pub fn DeliveriesPage() -> impl IntoView {
    view! {
        <PageHeader title="Deliveries" lead="Requests to your webhooks, with responses and retries." />
        <DeliveryList />
    }
}

/// The list with its filters. With `webhook`, only the deliveries of this webhook.
#[component]
pub fn DeliveryList(#[prop(optional)] webhook: Option<WebhookId>) -> impl IntoView {
    let filters = Filters::from_address();
    let filter = ErasedMemo::new(move |_| filters.to_filter(webhook));
    let list = PagedList::new(move || filter.get(), rpc::list_deliveries);
    use_live().on(move |event| {
        if let LiveEvent::Delivery(new) = event {
            list.apply(new.clone(), matches(&filter.get_untracked(), new));
        }
    });
    let replay_open = RwSignal::new(false);
    let replayed = Memo::new(move |_| filter.with(replayed_status).label().to_lowercase());
    view! {
        <FilterBar filters=filters webhook=webhook>
            <ForAdministrators>
                <Button on_click=Callback::new(move |()| replay_open.set(true))>
                    <IconView icon=Icon::Retry />
                    {move || format!("Redeliver {}…", replayed.get())}
                </Button>
            </ForAdministrators>
        </FilterBar>
        {list.view(move |items| {
            view! {
                <Show when=move || !items.with(Vec::is_empty) fallback=move || view! { <NoDeliveries filters=filters /> }>
                    <DeliveryRows items=items />
                </Show>
            }
        })}
        <Dialog open=replay_open title=move || format!("Redeliver {} deliveries", replayed.get())>
            <Replay filter=filter.get_untracked() open=replay_open on_done=Callback::new(move |()| list.refetch()) />
        </Dialog>
    }
}

#[component]
fn NoDeliveries(filters: Filters) -> impl IntoView {
    let title = if untrack(move || filters.is_set()) { "No matching deliveries" } else { "No deliveries yet" };
    view! {
        <EmptyState icon=Icon::Send title=title>
            <p>"Deliveries appear here when someone reserves a resource."</p>
        </EmptyState>
    }
}

/// The inputs of the filters, followed by the actions in `children`.
#[component]
fn FilterBar(filters: Filters, webhook: Option<WebhookId>, children: Children) -> impl IntoView {
    let with_all = |label: &str, options: Vec<(String, String)>| {
        let all = (String::new(), label.to_owned());
        std::iter::once(all).chain(options).collect::<Vec<_>>()
    };
    let events = EventType::ALL.map(|event| (event.as_str().to_owned(), event.as_str().to_owned()));
    let statuses = DeliveryStatus::ALL.map(|status| (status.as_str().to_owned(), status.label().to_owned()));
    let original = Memo::new(move |_| filters.redelivery_of.get());
    view! {
        <div class="toolbar filters">
            {webhook.is_none().then(|| view! { <WebhookFilter webhook=filters.webhook /> })}
            <Select label="Event" value=filters.event options=with_all("All events", events.to_vec()) />
            <Select label="Status" value=filters.status options=with_all("Any status", statuses.to_vec()) />
            <TimeRangeInputs range=filters.range />
            <TextInput label="Reservation" value=filters.reservation placeholder="rsv-…" mono=true />
            <div class="row">
                <Show when=move || filters.is_set()>
                    <Button variant=ButtonVariant::Quiet on_click=Callback::new(move |()| filters.clear())>"Clear filters"</Button>
                </Show>
                {children()}
            </div>
        </div>
        <TimeRangeZone range=filters.range />
        <Show when=move || !original.with(String::is_empty)>
            <p class="muted small filter-note">
                "Redeliveries of "
                <a href=move || format!("/deliveries/{}", original.get())><code>{move || original.get()}</code></a> "."
            </p>
        </Show>
    }
}

#[component]
fn WebhookFilter(webhook: RwSignal<String>) -> impl IntoView {
    let webhooks = Query::new(webhooks::list_webhooks);
    let options = Signal::derive(move || {
        let mut options = vec![(String::new(), "All webhooks".to_owned())];
        options.extend(webhooks.get().into_iter().flat_map(|page| page.items).map(|w| (w.id.to_string(), w.name)));
        options
    });
    view! { <Select label="Webhook" value=webhook options=options /> }
}

/// The status of the deliveries that a replay redelivers: the status of the filter, or failed.
fn replayed_status(filter: &DeliveryFilter) -> DeliveryStatus {
    filter.status.unwrap_or(DeliveryStatus::Failed)
}

/// Counts the deliveries that match the filter, and redelivers them after a confirmation.
#[component]
fn Replay(filter: DeliveryFilter, open: RwSignal<bool>, on_done: Callback<()>) -> impl IntoView {
    let status = replayed_status(&filter);
    let filter = DeliveryFilter { status: Some(status), ..filter };
    let input = StoredValue::new(ReplayInput { filter, dry_run: true });
    let count = Query::new(move || rpc::replay(input.get_value()));
    let mutation = Mutation::new();
    let redelivered = RwSignal::new(None::<u64>);
    let redeliver = Callback::new(move |()| {
        mutation.run(rpc::replay(ReplayInput { dry_run: false, ..input.get_value() }), move |result| {
            redelivered.set(Some(result.redelivered));
            on_done.run(());
        });
    });
    let close = Callback::new(move |()| open.set(false));
    count.view(move |count| {
        let count = count.get_untracked();
        move || match redelivered.get() {
            Some(number) => view! { <ReplayDone redelivered=number on_close=close /> }.into_any(),
            None => view! {
                <ReplayForm status=status count=count mutation=mutation on_cancel=close on_confirm=redeliver />
            }
            .into_any(),
        }
    })
}

/// The deliveries that a replay skips, each reason as a sentence.
fn skipped_texts(skipped: &ReplaySkipped) -> Vec<String> {
    let counts = [
        (skipped.redelivered, "was already redelivered", "were already redelivered"),
        (skipped.test, "is a test event", "are test events"),
        (skipped.webhook_deleted, "belongs to a deleted webhook", "belong to deleted webhooks"),
    ];
    let text = |(count, one, many): (u64, &str, &str)| match count {
        0 => None,
        1 => Some(format!("1 more {one}.")),
        n => Some(format!("{} more {many}.", intl::number(n))),
    };
    counts.into_iter().filter_map(text).collect()
}

#[component]
fn ReplayForm(
    status: DeliveryStatus,
    count: ReplayResult,
    mutation: Mutation,
    on_cancel: Callback<()>,
    on_confirm: Callback<()>,
) -> impl IntoView {
    let matched = count.matched;
    let status = status.label().to_lowercase();
    let number = intl::number(matched);
    let (text, action) = match matched {
        0 => (format!("No {status} deliveries can be redelivered."), "Redeliver".to_owned()),
        1 => (format!("1 {status} delivery matches the filters."), "Redeliver 1 delivery".to_owned()),
        _ => (format!("{number} {status} deliveries match the filters."), format!("Redeliver {number} deliveries")),
    };
    let skipped = skipped_texts(&count.skipped).join(" ");
    let limit =
        (matched > MAX_REPLAYED).then(|| format!("At most {} are redelivered at a time.", intl::number(MAX_REPLAYED)));
    view! {
        <p>{text} {(matched != 0).then_some(" Each event is sent again as a new delivery with the same webhook-id.")}</p>
        {(!skipped.is_empty()).then(|| view! { <p class="muted">{skipped}</p> })}
        {limit.map(|limit| view! { <p class="muted">{limit}</p> })}
        <FormProblem problem=mutation.problem />
        <div class="dialog-actions">
            <Button on_click=on_cancel>"Cancel"</Button>
            <Button variant=ButtonVariant::Primary pending=mutation.pending disabled={matched == 0} on_click=on_confirm>
                {action}
            </Button>
        </div>
    }
}

#[component]
fn ReplayDone(redelivered: u64, on_close: Callback<()>) -> impl IntoView {
    let text = match redelivered {
        1 => "1 delivery queued.".to_owned(),
        n => format!("{} deliveries queued.", intl::number(n)),
    };
    view! {
        <Notice kind=NoticeKind::Success><p>{text}</p></Notice>
        <div class="dialog-actions"><Button variant=ButtonVariant::Primary on_click=on_close>"View progress"</Button></div>
    }
}
