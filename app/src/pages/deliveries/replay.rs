//! The replay of the deliveries that match a filter.

use super::replays::ReplayById;
use crate::components::*;
use crate::intl;
use crate::query::{Mutation, Query};
use crate::rpc::replays as rpc;
use domain::delivery::*;
use domain::id::ReplayId;
use domain::replay::{MAX_REPLAYED, ReplayRequest, ReplaySource};
use domain::search::Search;
use leptos::prelude::*;

/// The kind of deliveries that a replay redelivers: those with the status of the filter or its search, or failed ones.
pub(super) fn replayed_kind(filter: &DeliveryFilter) -> String {
    let search = filter.q.as_deref().and_then(|q| Search::parse(q).ok());
    match filter.status {
        None if search.is_some_and(|search| search.selects_status()) => "matching".to_owned(),
        status => status.unwrap_or(DeliveryStatus::Failed).label().to_lowercase(),
    }
}

/// The numbers of a replay for one webhook, as a sentence.
fn webhook_text(source: ReplaySource, webhook: &ReplayWebhook) -> String {
    let action = if source == ReplaySource::Missing { "to send" } else { "to redeliver" };
    let mut text = format!("{}: {} {action}", webhook.webhook_name, intl::number(webhook.matched));
    if webhook.paused && webhook.matched > 0 {
        text.push_str(", when the webhook is resumed");
    }
    text.push('.');
    let superseded = webhook.superseded;
    if superseded > 0 {
        text.push_str(&format!(" {} older than a later event that succeeded.", intl::number(superseded)));
    }
    let skipped = skipped_texts(&webhook.skipped).join(" ");
    if !skipped.is_empty() {
        text.push(' ');
        text.push_str(&skipped);
    }
    text
}

/// Counts what a replay would send, starts it after a confirmation, and then shows its progress.
#[component]
pub fn ReplayDialog(
    source: ReplaySource,
    filter: DeliveryFilter,
    open: RwSignal<bool>,
    on_done: Callback<()>,
) -> impl IntoView {
    let kind = StoredValue::new(replayed_kind(&filter));
    let request = StoredValue::new(ReplayRequest { source, filter, ..ReplayRequest::default() });
    let count = Query::new(move || rpc::preview_replay(request.get_value()));
    let mutation = Mutation::new();
    let started = RwSignal::new(None::<ReplayId>);
    let start = Callback::new(move |options: (bool, Option<u32>)| {
        let (one_first, per_minute) = options;
        let request = ReplayRequest { one_first, per_minute, ..request.get_value() };
        mutation.run(rpc::start_replay(request), move |replay| {
            started.set(Some(replay.id));
            on_done.run(());
        });
    });
    let close = Callback::new(move |()| open.set(false));
    count.view(move |count| {
        let count = StoredValue::new(count.get_untracked());
        move || match started.get() {
            Some(id) => view! { <StartedReplay id=id on_close=close /> }.into_any(),
            None => view! {
                <ReplayForm
                    source=source
                    kind=kind.get_value()
                    count=count.get_value()
                    mutation=mutation
                    on_cancel=close
                    on_confirm=start
                />
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
        (skipped.already_sent, "was already sent", "were already sent"),
        (skipped.filtered, "is excluded by the filter of the webhook", "are excluded by the filter of the webhook"),
    ];
    let text = |(count, one, many): (u64, &str, &str)| match count {
        0 => None,
        1 => Some(format!("1 more {one}.")),
        n => Some(format!("{} more {many}.", intl::number(n))),
    };
    counts.into_iter().filter_map(text).collect()
}

/// What a replay would send, as a sentence, and the label of the button that starts it.
fn summary(source: ReplaySource, kind: &str, matched: u64) -> (String, String) {
    let number = intl::number(matched);
    match (source, matched) {
        (ReplaySource::Deliveries, 0) => (format!("No {kind} deliveries can be redelivered."), "Redeliver".to_owned()),
        (ReplaySource::Deliveries, 1) => (
            format!(
                "1 {kind} delivery matches the filters. Its event is sent again as a new delivery with the same webhook-id."
            ),
            "Redeliver 1 delivery".to_owned(),
        ),
        (ReplaySource::Deliveries, _) => (
            format!(
                "{number} {kind} deliveries match the filters. Each event is sent again as a new delivery with the same webhook-id."
            ),
            format!("Redeliver {number} deliveries"),
        ),
        (ReplaySource::Missing, 0) => {
            ("The webhook has received every active reservation.".to_owned(), "Send events".to_owned())
        }
        (ReplaySource::Missing, 1) => (
            "1 active reservation was never sent to this webhook. It receives reservation.created now.".to_owned(),
            "Send 1 event".to_owned(),
        ),
        (ReplaySource::Missing, _) => (
            format!(
                "{number} active reservations were never sent to this webhook. It receives reservation.created for each of them."
            ),
            format!("Send {number} events"),
        ),
    }
}

#[component]
fn ReplayForm(
    source: ReplaySource,
    kind: String,
    count: ReplayResult,
    mutation: Mutation,
    on_cancel: Callback<()>,
    /// Starts the replay: whether it pauses after the first delivery, and its rate.
    on_confirm: Callback<(bool, Option<u32>)>,
) -> impl IntoView {
    let matched = count.matched;
    let (text, action) = summary(source, &kind, matched);
    let webhooks =
        count.webhooks.iter().map(|webhook| view! { <li>{webhook_text(source, webhook)}</li> }).collect_view();
    let is_too_large = matched > MAX_REPLAYED;
    let limit = is_too_large
        .then(|| format!("A replay has at most {} deliveries. Shorten the period.", intl::number(MAX_REPLAYED)));
    let one_first = RwSignal::new(false);
    let per_minute = RwSignal::new(String::new());
    let rate_error = RwSignal::new(None::<String>);
    let error = Signal::derive(move || rate_error.get().or_else(|| mutation.field_error("per_minute").get()));
    let confirm = Callback::new(move |()| {
        let rate = match per_minute.with_untracked(|text| text.trim().to_owned()).as_str() {
            "" => None,
            text => match text.parse::<u32>() {
                Ok(rate) => Some(rate),
                Err(_) => {
                    return rate_error.set(Some("Enter a whole number, or leave it empty for no limit.".to_owned()));
                }
            },
        };
        rate_error.set(None);
        on_confirm.run((one_first.get_untracked(), rate));
    });
    view! {
        <p>{text}</p>
        <ul class="muted" aria-label="By webhook">{webhooks}</ul>
        {limit.map(|limit| view! { <p class="muted">{limit}</p> })}
        {(matched > 1 && !is_too_large).then(|| view! {
            <div class="stack tight">
                <Checkbox label="Send one first" value=one_first hint="Pauses after the first delivery, so that you can check its result." />
                <TextInput label="Deliveries per minute" value=per_minute optional=true numeric=true error=error hint="Without a number, only the limits of the webhooks apply." />
            </div>
        })}
        <FormProblem problem=mutation.problem_without_fields() />
        <div class="dialog-actions">
            <Button on_click=on_cancel>"Cancel"</Button>
            <Button variant=ButtonVariant::Primary pending=mutation.pending disabled={matched == 0 || is_too_large} on_click=confirm>
                {action}
            </Button>
        </div>
    }
}

#[component]
fn StartedReplay(id: ReplayId, on_close: Callback<()>) -> impl IntoView {
    view! {
        <ReplayById id=id />
        <p class="muted small">"The replay goes on when you close this. The list of deliveries shows it until it ends."</p>
        <div class="dialog-actions"><Button variant=ButtonVariant::Primary on_click=on_close>"Close"</Button></div>
    }
}
