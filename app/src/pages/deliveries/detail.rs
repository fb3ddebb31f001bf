//! One delivery: the verdict, the exchange of an attempt, and the details.

use super::attempt::{Diagnosis, RequestView, ResponseView, Waterfall, curl};
use super::body::{Body, Changes, changes};
use super::shortcuts::Shortcuts;
use super::tabs::{Tab, Tabs};
use super::waiting::Waiting;
use super::{DeliveryProgress, State};
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::live::{LiveEvent, use_live};
use crate::paged_list;
use crate::query::{Mutation, Query};
use crate::rpc::deliveries as rpc;
use crate::session::ForWebhookManagers;
use domain::delivery::{Attempt, DeliveryDetail, DeliverySummary, Outcome};
use domain::id::{DeliveryId, ReservationId};
use leptos::prelude::*;
use leptos_router::hooks::{use_navigate, use_params_map};

/// The largest number of redeliveries that a delivery shows: more would hide the rest.
const MAX_SHOWN_REDELIVERIES: usize = 10;

/// `/deliveries/:id`
#[component]
pub fn DeliveryPage() -> impl IntoView {
    let params = use_params_map();
    let id = Memo::new(move |_| params.read().get("id").unwrap_or_default());
    let navigate = use_navigate();
    let open = Callback::new(move |id: DeliveryId| navigate(&format!("/deliveries/{id}"), Default::default()));
    let tab = RwSignal::new(Tab::Response);
    view! {
        <div class="delivery-page">
            <Delivery id=id tab=tab open=open />
        </div>
        <div class="shortcuts-corner"><Shortcuts /></div>
    }
}

/// A delivery that follows live updates. With `close` it is a pane beside a list, otherwise a page.
#[component]
pub fn Delivery(
    id: Memo<String>,
    /// The selected tab.
    tab: RwSignal<Tab>,
    /// Opens another delivery.
    open: Callback<DeliveryId>,
    /// Closes the pane.
    #[prop(optional)]
    close: Option<Callback<()>>,
) -> impl IntoView {
    let detail = Query::new(move || rpc::get_delivery(DeliveryId(id.get())));
    use_live().on(move |event| match event {
        LiveEvent::Delivery(new) if id.with_untracked(|id| new.id.as_str() == id) => {
            let new = new.clone();
            detail.update(move |detail| {
                if detail.delivery.id == new.id && detail.delivery.updated_at <= new.updated_at {
                    detail.delivery = new;
                }
            });
            // A finished attempt adds an entry to the log, which the update does not contain.
            detail.refetch();
        }
        LiveEvent::Delivery(new)
            if id.with_untracked(|id| new.redelivery_of.as_ref().is_some_and(|of| of.as_str() == id)) =>
        {
            let new = new.clone();
            detail.update(move |detail| {
                let has_more = detail.redeliveries_next_cursor.is_some();
                let rows = &mut detail.redeliveries;
                if let Some(new) = paged_list::replace(rows, new)
                    && let Some(position) = paged_list::position(rows, &new, has_more)
                {
                    rows.insert(position, new);
                }
            });
        }
        // The end of an earlier delivery, or a change of the webhook, can end the wait.
        LiveEvent::Delivery(_) | LiveEvent::Webhook(_)
            if detail.get_untracked().is_some_and(|detail| detail.waiting.is_some()) =>
        {
            detail.refetch_soon();
        }
        _ => {}
    });
    detail.view(move |detail| view! { <Details detail=detail tab=tab open=open close=close /> })
}

/// Why a delivery cannot be redelivered; `None` if it can.
fn redelivery_obstacle(detail: &DeliveryDetail) -> Option<&'static str> {
    if detail.webhook_deleted {
        Some("The webhook was deleted, so its deliveries cannot be redelivered.")
    } else if detail.delivery.test {
        Some("Test events are not redelivered. Send another one with Test Webhook.")
    } else if !detail.delivery.status.is_final() {
        Some("Still in progress. Redeliver when it ends.")
    } else {
        None
    }
}

#[component]
fn Details(
    detail: ErasedMemo<DeliveryDetail>,
    tab: RwSignal<Tab>,
    open: Callback<DeliveryId>,
    close: Option<Callback<()>>,
) -> impl IntoView {
    let delivery = ErasedMemo::new(move |_| detail.with(|d| d.delivery.clone()));
    let attempts = ErasedMemo::new(move |_| detail.with(|d| d.attempt_log.clone()));
    let changed = ErasedMemo::new(move |_| detail.with(|d| changes(&d.body)));
    // The attempt that the reader has chosen; `None` for the newest one.
    let chosen = RwSignal::new(None::<usize>);
    let id = Memo::new(move |_| delivery.with(|d| d.id.to_string()));
    Effect::watch(move || id.get(), move |_, _, _| chosen.set(None), false);
    let attempt =
        ErasedMemo::new(move |_| attempts.with(|all| chosen.get().and_then(|n| all.get(n)).or(all.last()).cloned()));
    let has_changes = Memo::new(move |_| !changed.with(Vec::is_empty));
    let number = Memo::new(move |_| attempts.with(Vec::len));
    // A delivery without previous values has no such tab.
    let shown = Memo::new(move |_| match tab.get() {
        Tab::Changes if !has_changes.get() => Tab::Response,
        tab => tab,
    });
    let choose = Callback::new(move |number: usize| {
        chosen.set(Some(number));
        tab.set(Tab::Response);
    });
    view! {
        <Head detail=detail delivery=delivery attempt=attempt open=open close=close />
        <div class="delivery-body">
            <div class="stack">
                <Verdict detail=detail delivery=delivery attempt=attempt />
                <section class="card delivery-exchange" aria-label="Exchange">
                    <Tabs selected=shown on_select=Callback::new(move |new| tab.set(new)) attempts=number has_changes=has_changes />
                    <div class="stack tight" role="tabpanel" id="delivery-panel" aria-labelledby=move || shown.get().id()>
                        <Panel detail=detail attempt=attempt attempts=attempts changed=changed tab=shown choose=choose />
                    </div>
                </section>
            </div>
            <Facts detail=detail delivery=delivery />
        </div>
    }
}

/// Title, status and actions.
#[component]
fn Head(
    detail: ErasedMemo<DeliveryDetail>,
    delivery: ErasedMemo<DeliverySummary>,
    attempt: ErasedMemo<Option<Attempt>>,
    open: Callback<DeliveryId>,
    close: Option<Callback<()>>,
) -> impl IntoView {
    let obstacle = Memo::new(move |_| detail.with(redelivery_obstacle));
    let mutation = Mutation::new();
    let redeliver = Callback::new(move |()| {
        mutation.run(rpc::redeliver(delivery.get_untracked().id), move |new| open.run(new.id));
    });
    let title = move || delivery.with(|d| d.event_type.as_str().to_owned());
    let curl = Signal::derive(move || attempt.with(|a| a.as_ref().map(|a| curl(&a.request))).unwrap_or_default());
    let actions = move || {
        view! {
            <Show when=move || attempt.with(Option::is_some)>
                <span data-key="c"><CopyButton text=curl label="Copy as curl" /><kbd aria-hidden="true">"c"</kbd></span>
            </Show>
            <Show
                when=move || obstacle.get().is_none()
                fallback=move || view! { <p class="muted small obstacle">{move || obstacle.get()}</p> }
            >
                <ForWebhookManagers>
                    <span data-key="r">
                        <Button variant=ButtonVariant::Primary pending=mutation.pending on_click=redeliver>
                            <IconView icon=Icon::Retry />
                            "Redeliver"
                            <kbd aria-hidden="true">"r"</kbd>
                        </Button>
                    </span>
                </ForWebhookManagers>
            </Show>
            {close.map(|close| view! {
                <button
                    type="button"
                    class="button quiet small"
                    aria-label="Close the delivery"
                    title="Close (Esc)"
                    on:click=move |_| close.run(())
                >
                    <IconView icon=Icon::Close />
                </button>
            })}
        }
    };
    let badges = move || {
        view! {
            <Badge status=delivery.with(|d| d.status) />
            {delivery.with(|d| d.test).then(|| view! { <span class="badge">"test"</span> })}
            {delivery.with(|d| d.redelivery_of.is_some()).then(|| view! { <span class="badge">"redelivery"</span> })}
        }
    };
    let head = if close.is_some() {
        view! {
            <header class="page-header delivery-head">
                <div><h2 tabindex="-1">{title}</h2></div>
                <div class="actions">{actions()}</div>
            </header>
        }
        .into_any()
    } else {
        view! { <PageHeader title=title>{actions()}</PageHeader> }.into_any()
    };
    view! {
        {head}
        <p class="muted delivery-context">
            <span class="row badges">{badges}</span>
            <Context detail=detail delivery=delivery />
        </p>
        <FormProblem problem=mutation.problem />
    }
}

/// The webhook and the reservation of a delivery, with links.
#[component]
fn Context(detail: ErasedMemo<DeliveryDetail>, delivery: ErasedMemo<DeliverySummary>) -> impl IntoView {
    let webhook = move || {
        let (id, name) = delivery.with(|d| (d.webhook_id, d.webhook_name.clone()));
        if detail.with(|d| d.webhook_deleted) {
            view! { <span>{name}" "<span class="badge">"deleted"</span></span> }.into_any()
        } else {
            view! { <a href=format!("/settings/webhooks/{id}")>{name}</a> }.into_any()
        }
    };
    let reservation = move || {
        let id = delivery.with(|d| d.reservation_id.clone().filter(|_| !d.test))?;
        id.starts_with(ReservationId::PREFIX).then(|| {
            view! { " · "<a href=format!("/reservations/{id}")>"Reservation"</a> }
        })
    };
    view! { "to "{webhook}{reservation}" · "<RelativeTime at=Signal::derive(move || delivery.with(|d| d.created_at)) /> }
}

/// The result of the shown attempt, and why the delivery waits.
#[component]
fn Verdict(
    detail: ErasedMemo<DeliveryDetail>,
    delivery: ErasedMemo<DeliverySummary>,
    attempt: ErasedMemo<Option<Attempt>>,
) -> impl IntoView {
    let event = move || delivery.with_untracked(|d| d.event_type);
    let lead = move |attempt: &Attempt| {
        let (number, max, duration) =
            (attempt.attempt, delivery.with(|d| d.max_attempts.max(d.attempts)), intl::duration(attempt.duration_ms));
        match attempt.status_code {
            Some(code) => format!("{code} · attempt {number} of {max} · {duration}"),
            None => format!("No response · attempt {number} of {max} · {duration}"),
        }
    };
    let diagnosis = move || {
        let attempt = attempt.get()?;
        let lead = lead(&attempt);
        Some(view! { <Diagnosis event=event() attempt=attempt lead=lead /> })
    };
    let waiting = ErasedMemo::new(move |_| detail.with(|d| d.waiting.clone()));
    view! {
        {diagnosis}
        {move || waiting.get().map(|wait| view! { <Waiting wait=wait delivery=delivery.get_untracked() /> })}
    }
}

/// The content of the selected tab.
#[component]
fn Panel(
    detail: ErasedMemo<DeliveryDetail>,
    attempt: ErasedMemo<Option<Attempt>>,
    attempts: ErasedMemo<Vec<Attempt>>,
    changed: ErasedMemo<Vec<(String, serde_json::Value, serde_json::Value)>>,
    tab: Memo<Tab>,
    choose: Callback<usize>,
) -> impl IntoView {
    let body = Memo::new(move |_| detail.with(|d| d.body.clone()));
    let none = || view! { <p class="muted">"No attempts yet."</p> }.into_any();
    move || match (tab.get(), attempt.get()) {
        (Tab::Changes, _) => view! { <Changes changes=changed.get() /> }.into_any(),
        (Tab::Attempts, Some(shown)) => {
            view! { <AttemptList attempts=attempts shown=shown choose=choose /> }.into_any()
        }
        (Tab::Request, Some(attempt)) => {
            let unsent = (!attempt.request.sent).then(|| view! { <p class="muted">"This request was not sent."</p> });
            view! { {unsent}<RequestView request=attempt.request /> }.into_any()
        }
        (Tab::Request, None) => view! { {none()}<Body text=body.get() label="Request body" /> }.into_any(),
        (Tab::Response, Some(_)) if detail.with(|d| d.responses_withheld) => view! {
            <p class="muted">
                "The response can contain access information. It is shown when the reservation starts."
            </p>
        }
        .into_any(),
        (Tab::Response, Some(attempt)) => {
            view! { <ResponseView response=attempt.response status_code=attempt.status_code /> }.into_any()
        }
        (Tab::Timing, Some(attempt)) => view! {
            <Waterfall timings=attempt.timings />
            <p class="small muted">"Started "{intl::exact_timestamp(attempt.started_at)}</p>
        }
        .into_any(),
        (_, None) => none(),
    }
}

/// All attempts, the newest first. A click shows an attempt in the other tabs.
#[component]
fn AttemptList(attempts: ErasedMemo<Vec<Attempt>>, shown: Attempt, choose: Callback<usize>) -> impl IntoView {
    let row = move |(position, attempt): (usize, Attempt)| {
        let succeeded = attempt.outcome == Outcome::Succeeded;
        let badge_class = if succeeded { "badge good" } else { "badge bad" };
        let response = attempt.status_code.map_or_else(|| "No response".to_owned(), |code| code.to_string());
        let is_shown = attempt.attempt == shown.attempt && attempt.started_at == shown.started_at;
        view! {
            <li>
                <button
                    type="button"
                    class="attempt-row"
                    aria-current=is_shown.then_some("true")
                    on:click=move |_| choose.run(position)
                >
                    <span class="row">
                        <strong>{format!("Attempt {}", attempt.attempt)}</strong>
                        <span class=badge_class>
                            <IconView icon=if succeeded { Icon::Check } else { Icon::Cross } />
                            {response}
                        </span>
                        <span class="muted small">{intl::duration(attempt.duration_ms)}</span>
                        <span class="muted small"><RelativeTime at=attempt.started_at /></span>
                    </span>
                    <span class="small muted wrap">{attempt.diagnosis.message}</span>
                </button>
            </li>
        }
    };
    view! {
        <ol class="attempt-list" aria-label="Attempts">
            {attempts.get_untracked().into_iter().enumerate().rev().map(row).collect_view()}
        </ol>
    }
}

/// The identifiers and redeliveries.
#[component]
fn Facts(detail: ErasedMemo<DeliveryDetail>, delivery: ErasedMemo<DeliverySummary>) -> impl IntoView {
    let reservation = move || match delivery.with(|d| d.reservation_id.clone()) {
        Some(id) if !delivery.with(|d| d.test) && id.starts_with(ReservationId::PREFIX) => {
            view! { <a href=format!("/reservations/{id}")>{id.clone()}</a> }.into_any()
        }
        // A test event or an access request, which have no page.
        Some(id) => view! { <code>{id}</code> }.into_any(),
        None => view! { <span class="muted">"–"</span> }.into_any(),
    };
    let original = move || {
        let id = delivery.with(|d| d.redelivery_of.clone())?;
        Some(view! {
            <dt>"Redelivery of"</dt>
            <dd><a href=format!("/deliveries/{id}")><code>{id.to_string()}</code></a></dd>
        })
    };
    view! {
        <section class="card delivery-facts" aria-label="Details">
            <dl class="details-list">
                <dt>"Status"</dt>
                <dd><DeliveryProgress delivery=delivery /></dd>
                <dt>"Reservation"</dt>
                <dd>{reservation}</dd>
                <dt>"Event time"</dt>
                <dd>{move || delivery.with(|d| intl::exact_timestamp(d.created_at))}</dd>
                <dt>"Event ID"</dt>
                <dd><code>{move || delivery.with(|d| d.event_id.to_string())}</code></dd>
                <dt>"Delivery ID"</dt>
                <dd><code>{move || delivery.with(|d| d.id.to_string())}</code></dd>
                {original}
                <Redeliveries detail=detail />
            </dl>
        </section>
    }
}

#[component]
fn Redeliveries(detail: ErasedMemo<DeliveryDetail>) -> impl IntoView {
    let item = |redelivery: &DeliverySummary| {
        view! {
            <li class="row">
                <a href=format!("/deliveries/{}", redelivery.id)><code>{redelivery.id.to_string()}</code></a>
                <State status=redelivery.status />
            </li>
        }
    };
    let all = |d: &DeliveryDetail| {
        let has_more = d.redeliveries.len() > MAX_SHOWN_REDELIVERIES || d.redeliveries_next_cursor.is_some();
        let href = format!("/deliveries?redelivery_of={}", d.delivery.id);
        has_more.then(|| view! { <li>"There are older ones. "<a href=href>"Show all redeliveries"</a></li> })
    };
    move || {
        detail.with(|d| {
            let items = d.redeliveries.iter().take(MAX_SHOWN_REDELIVERIES).map(item).collect_view();
            let label = view! { <dt>"Redelivered as"</dt> };
            (!d.redeliveries.is_empty()).then(|| view! { {label}<dd><ul class="stack tight">{items}{all(d)}</ul></dd> })
        })
    }
}
