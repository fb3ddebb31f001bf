//! The list of deliveries: filters in the address, rows that change as it happens.

use super::{DeliveryRows, upsert_delivery};
use crate::address::in_address;
use crate::components::*;
use crate::live::{LiveEvent, use_live};
use crate::load::{Write, load, read_more};
use crate::rpc::{deliveries as rpc, webhooks};
use crate::time;
use crate::values::{Cell, Value, effect, on_change};
use chrono::{DateTime, Duration, Utc};
use domain::delivery::*;
use domain::event::EventType;
use domain::id::WebhookId;
use domain::pagination::PageQuery;
use leptos::prelude::*;

/// The filters, as the address holds them.
const KEYS: [&str; 6] = ["webhook", "event", "status", "reservation", "since", "until"];

/// Whether a delivery passes: the same rule as the server's, for what the feed brings.
fn passes(filter: &DeliveryFilter, d: &DeliverySummary) -> bool {
    filter.webhook_id.is_none_or(|id| d.webhook_id == id)
        && filter.event_type.is_none_or(|event| d.event_type == event)
        && filter.status.is_none_or(|status| d.status == status)
        && filter.reservation_id.as_ref().is_none_or(|id| d.reservation_id.as_ref() == Some(id))
        && filter.since.is_none_or(|since| d.created_at >= since)
        && filter.until.is_none_or(|until| d.created_at < until)
}

/// A time filter: a `datetime-local` value, or a span back from now such as `1h`.
fn moment(text: &str) -> Option<DateTime<Utc>> {
    match text {
        "1h" => Some(time::now() - Duration::hours(1)),
        "24h" => Some(time::now() - Duration::hours(24)),
        "7d" => Some(time::now() - Duration::days(7)),
        _ => time::from_input(text),
    }
}

/// The spans back from now that [`moment`] knows, and none.
const PRESETS: [(&str, &str); 4] =
    [("", "Any time"), ("1h", "Last hour"), ("24h", "Last 24 hours"), ("7d", "Last 7 days")];

/// The choice of two times, which is no value of `since`.
const BETWEEN: &str = "between";

/// What the time filter shows for what the address holds.
fn span_of(since: &str, until: &str) -> String {
    let preset = until.is_empty() && PRESETS.iter().any(|(value, _)| *value == since);
    if preset { since } else { BETWEEN }.to_owned()
}

/// The choice of a time filter, which follows `since` and `until` and sets them.
fn time_span(since: RwSignal<String>, until: RwSignal<String>) -> RwSignal<String> {
    let span = RwSignal::new(untrack(|| span_of(&since.get(), &until.get())));
    let put = |signal: RwSignal<String>, value: String| {
        if signal.get_untracked() != value {
            signal.set(value);
        }
    };
    effect(move || {
        let now = span_of(&since.get(), &until.get());
        // Two times that nobody entered yet.
        if !now.is_empty() || span.get_untracked() != BETWEEN {
            put(span, now);
        }
    });
    on_change(
        move || span.get(),
        move |now| {
            if now != BETWEEN {
                put(until, String::new());
                put(since, now);
            } else if let Some(from) = moment(&since.get_untracked()) {
                put(since, time::to_input(from));
            }
        },
    );
    span
}

/// `/deliveries`
#[component]
pub fn DeliveriesPage() -> impl IntoView {
    view! {
        <PageHeader title="Deliveries" lead="Requests to your webhooks, with responses and retries." />
        <DeliveryList />
    }
}

/// The list with its filters; of one webhook where `webhook` is given.
#[component]
pub fn DeliveryList(#[prop(optional)] webhook: Option<WebhookId>) -> impl IntoView {
    let inputs = in_address(KEYS.map(|key| (key, "")));
    let input = move |key: &str| {
        KEYS.iter().zip(inputs).find(|(k, _)| **k == key).map_or_else(|| RwSignal::new(String::new()), |(_, s)| s)
    };
    let value = move |key: &str| input(key).get();
    let filter = Value::memo(move || DeliveryFilter {
        webhook_id: webhook.or_else(|| value("webhook").parse().ok()),
        event_type: EventType::parse(&value("event")),
        status: DeliveryStatus::parse(&value("status")),
        reservation_id: Some(value("reservation").trim().to_owned()).filter(|id| !id.is_empty()),
        since: moment(&value("since")),
        until: moment(&value("until")),
    });
    let list = load(move || rpc::list_deliveries(filter.get(), PageQuery::default()));
    use_live().on(move |event| match event {
        LiveEvent::Delivery(new) => {
            let new = new.clone();
            list.update(move |page| {
                let filter = filter.get_untracked();
                if passes(&filter, &new) {
                    upsert_delivery(&mut page.items, new, true);
                } else if passes(&DeliveryFilter { status: None, ..filter }, &new) {
                    page.items.retain(|old| old.id != new.id);
                }
            });
        }
        LiveEvent::Resync => list.again(),
        _ => {}
    });
    let more = Write::new();
    let next =
        Callback::new(move |()| read_more(list, more, |page| rpc::list_deliveries(filter.get_untracked(), page)));
    let all = load(move || async move {
        match webhook {
            Some(_) => Ok(Vec::new()),
            None => webhooks::list_webhooks().await.map(|page| page.items),
        }
    });
    let choices = Signal::derive(move || {
        let mut options = vec![(String::new(), "All webhooks".to_owned())];
        options.extend(all.get().unwrap_or_default().into_iter().map(|w| (w.id.to_string(), w.name)));
        options
    });
    let mut events = vec![(String::new(), "All events".to_owned())];
    events.extend(EventType::ALL.map(|e| (e.as_str().to_owned(), e.as_str().to_owned())));
    let mut statuses = vec![(String::new(), "Any status".to_owned())];
    statuses.extend(DeliveryStatus::ALL.map(|s| (s.as_str().to_owned(), s.word().to_owned())));
    let filtered = move || KEYS.iter().any(|key| !value(key).is_empty());
    let (since, until) = (input("since"), input("until"));
    let span = time_span(since, until);
    let clear = Callback::new(move |()| {
        inputs.iter().for_each(|signal| signal.set(String::new()));
        span.set(String::new());
    });
    let mut spans = words(PRESETS);
    spans.push((BETWEEN.to_owned(), "Custom range".to_owned()));
    let between = Memo::new(move |_| span.get() == BETWEEN);
    let backwards = Signal::derive(move || {
        let times = (moment(&since.get()), moment(&until.get()));
        let wrong = matches!(times, (Some(from), Some(to)) if from >= to);
        wrong.then(|| "To must be after From.".to_owned())
    });
    let replaying = RwSignal::new(false);
    let replayed = Value::memo(move || replayed_status(&filter.get()));
    let again = Callback::new(move |()| list.again());
    view! {
        <div class="toolbar filters">
            {webhook.is_none().then(|| view! { <Select label="Webhook" value=input("webhook") options=choices /> }.into_any())}
            <Select label="Event" value=input("event") options=events />
            <Select label="Status" value=input("status") options=statuses />
            <Select label="Time" value=span options=spans />
            <When when=move || between.get()>
                <TextInput label="From" value=since kind="datetime-local" />
                <TextInput label="To" value=until kind="datetime-local" error=backwards />
            </When>
            <TextInput label="Reservation" value=input("reservation") placeholder="rsv-…" mono=true />
            <div class="row">
                <When when=filtered>
                    <Button look=Look::Quiet on_click=clear>"Clear filters"</Button>
                </When>
                <Button on_click=Callback::new(move |()| replaying.set(true))><IconView icon=Icon::Retry />{move || format!("Redeliver {}…", replayed.get().word().to_lowercase())}</Button>
            </div>
        </div>
        <When when=move || between.get()>
            <p class="muted small">"Times in "{time::zone()}"."</p>
        </When>
        {list.show(move |page| {
            let items = Value::derive(move || page.get().items);
            view! {
                <When
                    when=move || !items.with(Vec::is_empty)
                    fallback=move || {
                        view! {
                            <EmptyState icon=Icon::Send title=if untrack(filtered) { "No matching deliveries" } else { "No deliveries yet" }>
                                <p>"Deliveries appear here when someone reserves a resource."</p>
                            </EmptyState>
                        }
                    }
                >
                    <DeliveryRows items=items />
                </When>
                <More page=page busy=more.busy next=next />
                <FormProblem problem=more.problem />
            }
        })}
        <Dialog open=replaying title=move || format!("Redeliver {} deliveries", replayed.get().word().to_lowercase())>
            <Replay filter=filter.get_untracked() open=replaying redelivered=again />
        </Dialog>
    }
}

/// The status of the deliveries that a replay repeats: the filter's, or failed.
fn replayed_status(filter: &DeliveryFilter) -> DeliveryStatus {
    filter.status.unwrap_or(DeliveryStatus::Failed)
}

/// Redelivers everything that matches the filters; counts before it does.
#[component]
fn Replay(filter: DeliveryFilter, open: RwSignal<bool>, redelivered: Callback<()>) -> impl IntoView {
    let status = replayed_status(&filter);
    let filter = DeliveryFilter { status: Some(status), ..filter };
    let counting = filter.clone();
    let count = load(move || rpc::replay(ReplayInput { filter: counting.clone(), dry_run: true }));
    let write = Write::new();
    let done = Cell::new(None::<u64>);
    let go = Callback::new(move |()| {
        write.run(rpc::replay(ReplayInput { filter: filter.clone(), dry_run: false }), move |result| {
            done.set(Some(result.redelivered));
            redelivered.run(());
        });
    });
    let close = Callback::new(move |()| open.set(false));
    count.show(move |count| {
        let matched = count.get_untracked().matched;
        let word = status.word().to_lowercase();
        view! {
            {move || match done.get() {
                Some(n) => view! {
                    <Notice kind="success"><p>{match n { 1 => "1 delivery queued.".to_owned(), n => format!("{n} deliveries queued.") }}</p></Notice>
                    <div class="dialog-actions"><Button look=Look::Primary on_click=close>"View progress"</Button></div>
                }
                .into_any(),
                None => view! {
                    <p>
                        {if matched == 1 {
                            format!("1 {word} delivery matches the filters.")
                        } else {
                            format!("{matched} {word} deliveries match the filters.")
                        }} " Each event is sent again as a new delivery with the same webhook-id."
                    </p>
                    {(matched > 10_000).then(|| view! { <p class="muted">"At most 10,000 are redelivered at a time."</p> }.into_any())}
                    <FormProblem problem=write.problem />
                    <div class="dialog-actions">
                        <Button on_click=close>"Cancel"</Button>
                        <Button look=Look::Primary busy=write.busy disabled={matched == 0} on_click=go>
                            {if matched == 1 { "Redeliver 1 delivery".to_owned() } else { format!("Redeliver {matched} deliveries") }}
                        </Button>
                    </div>
                }
                .into_any(),
            }}
        }
    })
}
