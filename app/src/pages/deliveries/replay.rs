//! The replay of the deliveries that match a filter.

use crate::components::*;
use crate::intl;
use crate::query::{Mutation, Query};
use crate::rpc::deliveries as rpc;
use domain::delivery::*;
use domain::search::Search;
use leptos::prelude::*;

/// The largest number of deliveries that one replay redelivers.
const MAX_REPLAYED: u64 = 10_000;

/// The kind of deliveries that a replay redelivers: those with the status of the filter or its search, or failed ones.
pub(super) fn replayed_kind(filter: &DeliveryFilter) -> String {
    let search = filter.q.as_deref().and_then(|q| Search::parse(q).ok());
    match filter.status {
        None if search.is_some_and(|search| search.selects_status()) => "matching".to_owned(),
        status => status.unwrap_or(DeliveryStatus::Failed).label().to_lowercase(),
    }
}

/// The numbers of a replay for one webhook, as a sentence.
fn webhook_text(webhook: &ReplayWebhook) -> String {
    let mut text = format!("{}: {} to redeliver", webhook.webhook_name, intl::number(webhook.matched));
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

/// Counts the deliveries that match the filter, and redelivers them after a confirmation.
#[component]
pub fn Replay(filter: DeliveryFilter, open: RwSignal<bool>, on_done: Callback<()>) -> impl IntoView {
    let kind = StoredValue::new(replayed_kind(&filter));
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
        let count = StoredValue::new(count.get_untracked());
        move || match redelivered.get() {
            Some(number) => view! { <ReplayDone redelivered=number on_close=close /> }.into_any(),
            None => view! {
                <ReplayForm kind=kind.get_value() count=count.get_value() mutation=mutation on_cancel=close on_confirm=redeliver />
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
    kind: String,
    count: ReplayResult,
    mutation: Mutation,
    on_cancel: Callback<()>,
    on_confirm: Callback<()>,
) -> impl IntoView {
    let matched = count.matched;
    let number = intl::number(matched);
    let (text, action) = match matched {
        0 => (format!("No {kind} deliveries can be redelivered."), "Redeliver".to_owned()),
        1 => (format!("1 {kind} delivery matches the filters."), "Redeliver 1 delivery".to_owned()),
        _ => (format!("{number} {kind} deliveries match the filters."), format!("Redeliver {number} deliveries")),
    };
    let webhooks = count.webhooks.iter().map(|webhook| view! { <li>{webhook_text(webhook)}</li> }).collect_view();
    let limit =
        (matched > MAX_REPLAYED).then(|| format!("At most {} are redelivered at a time.", intl::number(MAX_REPLAYED)));
    view! {
        <p>{text} {(matched != 0).then_some(" Each event is sent again as a new delivery with the same webhook-id.")}</p>
        <ul class="muted" aria-label="By webhook">{webhooks}</ul>
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
