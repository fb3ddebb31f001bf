//! The workbench of deliveries: filters and selection in the address, histogram, list with live updates, and the selected
//! delivery beside it.

use super::replay::replayed_kind;
use super::rows::{LogRows, reveal};
use super::search::{SearchField, SearchResults};
use super::shortcuts::{Move, Shortcuts};
use super::tabs::Tab;
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::live::{LiveEvent, use_live};
use crate::paged_list::PagedList;
use crate::pages::areas;
use crate::query::Query;
use crate::query_signals::query_signals;
use crate::rpc::{deliveries as rpc, replays as rpc_replays, webhooks};
use crate::session::ForWebhookManagers;
use crate::time_range::{TimeRange, TimeRangeInputs, TimeRangeZone};
use domain::delivery::*;
use domain::event::EventType;
use domain::id::{DeliveryId, ReplayId, WebhookId};
use domain::pagination::PageQuery;
use domain::replay::{Replay, ReplaySource, ReplayStatus};
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_location, use_navigate, use_query_map};

/// The width of the window in pixels from which the selected delivery is shown beside the list. Below it is a page.
const MIN_SPLIT_WIDTH: f64 = 1_000.0;

/// Whether a live update matches the filter: the same rule as the server's.
fn matches(filter: &DeliveryFilter, d: &DeliverySummary) -> bool {
    filter.webhook_id.is_none_or(|id| d.webhook_id == id)
        && filter.event_type.is_none_or(|event| d.event_type == event)
        && filter.status.is_none_or(|status| d.status == status)
        && filter.reservation_id.as_ref().is_none_or(|id| d.reservation_id.as_ref() == Some(id))
        && filter.replay.is_none()
        && filter.redelivery_of.as_ref().is_none_or(|id| d.redelivery_of.as_ref() == Some(id))
        && filter.since.is_none_or(|since| d.created_at >= since)
        && filter.until.is_none_or(|until| d.created_at < until)
}

/// Whether a replay is shown above the list: it has not ended, or some of its deliveries still wait.
pub fn is_unfinished(replay: &Replay) -> bool {
    match replay.status {
        ReplayStatus::Running | ReplayStatus::Paused => true,
        ReplayStatus::Completed => replay.progress.waiting > 0,
        ReplayStatus::Cancelled => false,
    }
}

/// The filters, whose values are parameters of the address.
#[derive(Clone, Copy)]
struct Filters {
    webhook: RwSignal<String>,
    event: RwSignal<String>,
    status: RwSignal<String>,
    reservation: RwSignal<String>,
    redelivery_of: RwSignal<String>,
    replay: RwSignal<String>,
    since: RwSignal<String>,
    until: RwSignal<String>,
    q: RwSignal<String>,
    /// `failures` while the groups of failures are shown.
    show: RwSignal<String>,
    range: TimeRange,
}

impl Filters {
    fn from_address() -> Self {
        let names =
            ["webhook", "event", "status", "reservation", "redelivery_of", "replay", "since", "until", "q", "show"];
        let [webhook, event, status, reservation, redelivery_of, replay, since, until, q, show] =
            query_signals(names.map(|name| (name, "")));
        let range = TimeRange::new(since, until);
        Self { webhook, event, status, reservation, redelivery_of, replay, since, until, q, show, range }
    }

    fn in_address(self) -> [RwSignal<String>; 9] {
        let Self { webhook, event, status, reservation, redelivery_of, replay, since, until, q, .. } = self;
        [webhook, event, status, reservation, redelivery_of, replay, since, until, q]
    }

    /// The filter for the server. `webhook` replaces the filter of the address. Tracked.
    fn to_filter(self, webhook: Option<WebhookId>) -> DeliveryFilter {
        DeliveryFilter {
            webhook_id: webhook.or_else(|| self.webhook.with(|id| id.parse().ok())),
            event_type: self.event.with(|event| EventType::parse(event)),
            status: self.status.with(|status| DeliveryStatus::parse(status)),
            reservation_id: self.reservation.with(|id| Some(id.trim().to_owned()).filter(|id| !id.is_empty())),
            redelivery_of: self.redelivery_of.with(|id| (!id.is_empty()).then(|| DeliveryId(id.clone()))),
            replay: self.replay.with(|id| (!id.is_empty()).then(|| ReplayId(id.clone()))),
            since: self.range.since(),
            until: self.range.until(),
            q: self.q.with(|q| (!q.is_empty()).then(|| q.clone())),
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

/// The selected delivery, whose id is a parameter of the address.
#[derive(Clone, Copy)]
pub struct Selection {
    /// The id, or an empty text. In a narrow window it stays empty.
    pub id: Memo<String>,
    /// Selects a delivery; an empty id closes the pane. `replace`: without an entry in the browser's history.
    go: Callback<(String, bool)>,
}

impl Selection {
    fn from_address() -> Self {
        let query = use_query_map();
        let navigate = use_navigate();
        let location = use_location();
        let id = Memo::new(move |_| query.read().get("delivery").unwrap_or_default());
        let go = Callback::new(move |(id, replace): (String, bool)| {
            let options = NavigateOptions { replace, scroll: false, ..Default::default() };
            if !id.is_empty() && !is_wide() {
                return navigate(&format!("/deliveries/{id}"), NavigateOptions { replace, ..Default::default() });
            }
            let mut parameters = query.get_untracked();
            parameters.remove("delivery");
            if !id.is_empty() {
                parameters.insert("delivery", id);
            }
            let path = location.pathname.get_untracked();
            navigate(&format!("{path}{}", parameters.to_query_string()), options);
        });
        // A narrow window has no place for the pane.
        Effect::new(move |_| {
            let id = id.get();
            if !id.is_empty() && !is_wide() {
                go.run((id, true));
            }
        });
        Self { id, go }
    }

    /// Selects a delivery, as a step in the browser's history.
    pub fn open(self, id: &str) {
        if self.id.with_untracked(|selected| selected != id) {
            self.go.run((id.to_owned(), false));
        }
    }

    fn close(self) {
        self.go.run((String::new(), false));
    }

    /// Selects the neighbour of the selected row, or the first one. The address replaces the one of the last row.
    fn step(self, action: Move, rows: &[DeliverySummary]) {
        let is_open = self.id.with_untracked(|id| !id.is_empty());
        let at = self.id.with_untracked(|id| rows.iter().position(|row| row.id.as_str() == id));
        let next = match (action, at) {
            (Move::Close, _) if is_open => return self.close(),
            (Move::Close, _) => return,
            (_, None) => 0,
            (Move::Next, Some(at)) => at + 1,
            (Move::Previous, Some(at)) => at.saturating_sub(1),
        };
        if let Some(row) = rows.get(next).filter(|_| at != Some(next)) {
            self.go.run((row.id.to_string(), is_open));
            reveal(next, row.id.as_str());
        }
    }
}

/// Whether the window has place for list and delivery.
pub fn is_wide() -> bool {
    window().inner_width().ok().and_then(|width| width.as_f64()).is_none_or(|width| width >= MIN_SPLIT_WIDTH)
}

/// The list with its filters, and the selected delivery. With `webhook`, only the deliveries of this webhook.
#[component]
pub fn DeliveryList(#[prop(optional)] webhook: Option<WebhookId>) -> impl IntoView {
    let filters = Filters::from_address();
    let selection = Selection::from_address();
    let filter = ErasedMemo::new(move |_| filters.to_filter(webhook));
    let list = PagedList::new(move || filter.get(), rpc::list_deliveries);
    use_live().on(move |event| {
        if let LiveEvent::Delivery(new) = event {
            let filter = filter.get_untracked();
            // Only the server knows what a search finds, and what a replay has queued.
            if filter.q.is_some() || filter.replay.is_some() {
                list.refetch_soon();
            } else {
                list.apply(new.clone(), matches(&filter, new));
            }
        }
    });
    Effect::new(move |_| list.set_selected(selection.id.with(|id| !id.is_empty())));
    let replay_open = RwSignal::new(false);
    let replayed = Memo::new(move |_| filter.with(replayed_kind));
    let shows_failures = Memo::new(move |_| filters.show.with(|show| show == "failures"));
    let toggle_failures = move |_| {
        filters.show.set(if shows_failures.get_untracked() { String::new() } else { "failures".to_owned() });
    };
    let tab = RwSignal::new(Tab::Response);
    let is_open = Memo::new(move |_| selection.id.with(|id| !id.is_empty()));
    let on_move = Callback::new(move |action| {
        if let Some(rows) = list.shown() {
            selection.step(action, &rows);
        }
    });
    let open = Callback::new(move |id: DeliveryId| selection.open(id.as_str()));
    let close = Callback::new(move |()| selection.close());
    let replays = Query::new(|| rpc_replays::list_replays(PageQuery { limit: Some(10), cursor: None }));
    let has_replays = Memo::new(move |_| replays.get().is_some_and(|page| page.items.iter().any(is_unfinished)));
    let on_replayed = Callback::new(move |()| {
        replays.refetch();
        list.refetch();
    });
    let missing_open = RwSignal::new(false);
    let pane = move || {
        is_open.get().then(|| {
            view! {
                <section class="pane" aria-label="Delivery">
                    {areas::show_part(areas::delivery::Screen::Pane(selection.id, tab, open, close))}
                </section>
            }
        })
    };
    view! {
        <div class="workbench" class:split=move || is_open.get()>
            <div class="workbench-tools">
                <SearchField q=filters.q />
                <FilterBar filters=filters webhook=webhook>
                    <button
                        type="button"
                        class="button"
                        aria-pressed=move || shows_failures.get().to_string()
                        on:click=toggle_failures
                    >
                        "Failures by cause"
                    </button>
                    <ForWebhookManagers>
                        <Button on_click=Callback::new(move |()| replay_open.set(true))>
                            <IconView icon=Icon::Retry />
                            {move || format!("Redeliver {}…", replayed.get())}
                        </Button>
                        {webhook.map(|_| view! {
                            <Button on_click=Callback::new(move |()| missing_open.set(true))>"Send missing events…"</Button>
                        })}
                    </ForWebhookManagers>
                </FilterBar>
            </div>
            <Show when=move || has_replays.get()>
                {areas::show_part(areas::recovery::Screen::OpenReplays(replays))}
            </Show>
            <Show when=move || shows_failures.get()>
                {areas::show_part(areas::recovery::Screen::Failures(filter, filters.q))}
            </Show>
            {areas::show_part(areas::charts::Screen::Histogram(filter))}
            <div class="panes">
                <div class="log-pane">
                    <div class="log-head">
                        <SearchResults filter=filter />
                        <Shortcuts on_move=on_move />
                    </div>
                    {list.view_shared(move |rows| {
                        view! {
                            <Show
                                when=move || !rows.with(|rows| rows.is_empty())
                                fallback=move || view! { <NoDeliveries filters=filters /> }
                            >
                                <LogRows rows=rows selection=selection names_webhook=webhook.is_none() />
                            </Show>
                        }
                    })}
                </div>
                {pane}
            </div>
        </div>
        <Dialog open=replay_open title=move || format!("Redeliver {} deliveries", replayed.get())>
            {areas::show_part(areas::recovery::Screen::Replay(ReplaySource::Deliveries, StoredValue::new(filter.get_untracked()), replay_open, on_replayed))}
        </Dialog>
        {webhook.map(|webhook| {
            let missing = move || {
                let range = filter.with_untracked(|filter| (filter.since, filter.until));
                let filter = DeliveryFilter { webhook_id: Some(webhook), since: range.0, until: range.1, ..Default::default() };
                areas::show_part(areas::recovery::Screen::Replay(ReplaySource::Missing, StoredValue::new(filter), missing_open, on_replayed))
            };
            view! { <Dialog open=missing_open title="Send missing events">{missing()}</Dialog> }
        })}
    }
}

/// Replaces an empty list: a log without deliveries, or filters without matches.
#[component]
fn NoDeliveries(filters: Filters) -> impl IntoView {
    let show_all = Callback::new(move |()| filters.clear());
    move || {
        if !filters.is_set() {
            return view! {
                <EmptyState icon=Icon::Send title="No deliveries yet">
                    <p>"Deliveries appear here when someone reserves a resource."</p>
                </EmptyState>
            };
        }
        let remedy = if filters.q.with(String::is_empty) {
            "No delivery has these values. Change the filters, or show all deliveries."
        } else {
            "No delivery contains these terms. Check their spelling and the filters, or show all deliveries."
        };
        view! {
            <EmptyState icon=Icon::Send title="No matching deliveries">
                <p>{remedy}</p>
                <Button on_click=show_all>"Show all deliveries"</Button>
            </EmptyState>
        }
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
    let of_replay = Memo::new(move |_| filters.replay.with(|id| !id.is_empty()));
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
        <Show when=move || of_replay.get()>
            <p class="muted small filter-note">"Deliveries that a replay has queued."</p>
        </Show>
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
