//! The progress of replays, with their pause, continuation and cancellation.

use super::list::is_unfinished;
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::live::{LiveEvent, use_live};
use crate::query::{Mutation, Query};
use crate::rpc::replays as rpc;
use crate::session::ForWebhookManagers;
use domain::id::ReplayId;
use domain::pagination::Page;
use domain::replay::{Replay, ReplayPatch, ReplayProgress, ReplayStatus};
use leptos::prelude::*;

/// The interval at which a running replay is read.
const POLL_INTERVAL_S: i64 = 3;

impl Status for ReplayStatus {
    fn label(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Completed => "All queued",
            Self::Cancelled => "Cancelled",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Running => Tone::Active,
            Self::Paused => Tone::Warn,
            Self::Completed => Tone::Good,
            Self::Cancelled => Tone::Neutral,
        }
    }
}

/// The numbers of a replay as a sentence.
fn progress_text(progress: &ReplayProgress) -> String {
    let parts = [
        (progress.succeeded, "succeeded"),
        (progress.failed, "failed"),
        (progress.cancelled, "discarded"),
        (progress.skipped, "skipped"),
        (progress.waiting, "waiting"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{} {what}", intl::number(number)))
        .collect();
    let head = format!("{} of {} queued", intl::number(progress.done), intl::number(progress.total));
    if parts.is_empty() { format!("{head}.") } else { format!("{head}: {}.", parts.join(", ")) }
}

/// One replay, which follows its deliveries.
#[component]
pub fn ReplayById(id: ReplayId) -> impl IntoView {
    let id = StoredValue::new(id);
    let replay = Query::new(move || rpc::get_replay(id.get_value()));
    use_live().on(move |event| {
        if matches!(event, LiveEvent::Delivery(_)) {
            replay.refetch_soon();
        }
    });
    // The deliveries to a paused webhook, and those that another process queues at the moment, have no event.
    let ticker = use_ticker();
    let poll = Memo::new(move |_| ticker.now().timestamp() / POLL_INTERVAL_S);
    let is_running = move || replay.get_untracked().is_some_and(|replay| replay.status == ReplayStatus::Running);
    Effect::watch(
        move || poll.get(),
        move |_, _, _| {
            if is_running() {
                replay.refetch();
            }
        },
        false,
    );
    let set = Callback::new(move |new: Replay| replay.set(new));
    replay.view(move |replay| view! { <ReplayCard replay=replay on_change=set /> })
}

/// The replays that have not ended.
#[component]
pub fn OpenReplays(replays: Query<Page<Replay>>) -> impl IntoView {
    let ids = ErasedMemo::new(move |_| {
        let open = replays.get().map(|page| page.items).unwrap_or_default().into_iter().filter(is_unfinished);
        open.map(|replay| replay.id).collect::<Vec<_>>()
    });
    view! {
        <section class="stack tight" aria-label="Replays">
            <For each=move || ids.get() key=|id| id.to_string() let:id>
                <div class="card"><ReplayById id=id /></div>
            </For>
        </section>
    }
}

#[component]
fn ReplayCard(replay: ErasedMemo<Replay>, on_change: Callback<Replay>) -> impl IntoView {
    let mutation = Mutation::new();
    let id = StoredValue::new(replay.with_untracked(|replay| replay.id.clone()));
    let change = move |status| {
        Callback::new(move |()| {
            let patch = ReplayPatch { status: Some(status), per_minute: None };
            mutation.run(rpc::update_replay(id.get_value(), patch), move |new| on_change.run(new));
        })
    };
    let status = Memo::new(move |_| replay.with(|replay| replay.status));
    let progress = Memo::new(move |_| replay.with(|replay| replay.progress));
    let percent = move || progress.with(|progress| progress.done * 100 / progress.total.max(1));
    let first = move || {
        let first = replay.with(|replay| {
            let is_first = replay.one_first && replay.status == ReplayStatus::Paused;
            replay.first_delivery.clone().filter(|_| is_first)
        })?;
        let href = format!("/deliveries/{first}");
        Some(view! { <p>"The first delivery was sent. "<a href=href>"Check its result"</a>", then continue."</p> })
    };
    let started = move || {
        replay.with(|replay| {
            let rate = replay.per_minute.map(|rate| format!(", at most {} per minute", intl::number(rate.into())));
            view! { "Started "<RelativeTime at=replay.created_at />" by "{replay.created_by.clone()}{rate} }
        })
    };
    let href = format!("/deliveries?replay={}", id.get_value());
    view! {
        <div class="stack tight replay">
            <div class="row between">
                <div class="row"><strong>"Replay"</strong>{move || view! { <Badge status=status.get() /> }}</div>
                <ForWebhookManagers>
                    <div class="row">
                        <Show when=move || status.get() == ReplayStatus::Running>
                            <Button pending=mutation.pending on_click=change(ReplayStatus::Paused)>"Pause"</Button>
                        </Show>
                        <Show when=move || status.get() == ReplayStatus::Paused>
                            <Button variant=ButtonVariant::Primary pending=mutation.pending on_click=change(ReplayStatus::Running)>
                                "Continue"
                            </Button>
                        </Show>
                        <Show when=move || replay.with(is_unfinished)>
                            <Button variant=ButtonVariant::Quiet pending=mutation.pending on_click=change(ReplayStatus::Cancelled)>
                                "Cancel replay"
                            </Button>
                        </Show>
                    </div>
                </ForWebhookManagers>
            </div>
            <div
                class="progress"
                role="progressbar"
                aria-label="Queued deliveries"
                aria-valuemin="0"
                aria-valuemax="100"
                aria-valuenow=move || percent().to_string()
            >
                <div style:width=move || format!("{}%", percent())></div>
            </div>
            <p>{move || progress.with(progress_text)}</p>
            {first}
            <p class="muted small">{started}" · "<a href=href>"View deliveries"</a></p>
            <FormProblem problem=mutation.problem />
        </div>
    }
}
