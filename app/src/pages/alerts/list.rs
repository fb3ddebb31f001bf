//! Alerts that fire, and the history.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::live::{LiveEvent, use_live};
use crate::query::{Mutation, Query};
use crate::rpc::alerts as rpc;
use crate::session::ForWebhookManagers;
use crate::time;
use chrono::Duration;
use domain::alert::{Alert, AlertFilter, MuteInput};
use domain::pagination::{Page, PageQuery};
use leptos::prelude::*;

/// The number of alerts of the history that are shown at first.
const FIRST: u32 = 20;

/// Reads alerts and follows live updates.
fn query_alerts(firing: bool, limit: impl Fn() -> u32 + 'static) -> Query<Page<Alert>> {
    let query = Query::new(move || {
        let filter = AlertFilter { webhook_id: None, firing: Some(firing) };
        rpc::list_alerts(filter, PageQuery { limit: Some(limit()), cursor: None })
    });
    use_live().on(move |event| {
        if matches!(event, LiveEvent::Webhook(_)) {
            query.refetch_soon();
        }
    });
    query
}

fn webhook_link(alert: &Alert) -> impl IntoView + use<> {
    let link = format!("/settings/webhooks/{}?tab=health", alert.webhook_id);
    view! { <a href=link>{alert.webhook_name.clone()}</a> }
}

/// The alerts that fire.
#[component]
pub fn FiringAlerts() -> impl IntoView {
    let query = query_alerts(true, || PageQuery::MAX);
    view! {
        <section class="card flush" aria-labelledby="firing-title">
            <h2 id="firing-title">"Firing"</h2>
            {query.view(move |page| {
                let items = ErasedMemo::new(move |_| page.get().items);
                view! {
                    <Show
                        when=move || !items.with(Vec::is_empty)
                        fallback=|| view! { <p class="attention-none"><IconView icon=Icon::Check />"No alert fires."</p> }
                    >
                        <ScrollableTable label="Firing alerts">
                            <table class="cards-on-phone">
                                <thead>
                                    <tr>
                                        <th>"Webhook"</th>
                                        <th>"Alert"</th>
                                        <th>"Since"</th>
                                        <th><span class="visually-hidden">"Actions"</span></th>
                                    </tr>
                                </thead>
                                <tbody>
                                    {move || items.get().into_iter().map(|alert| view! { <FiringRow alert=alert query=query /> }).collect_view()}
                                </tbody>
                            </table>
                        </ScrollableTable>
                    </Show>
                }
            })}
        </section>
    }
}

#[component]
fn FiringRow(alert: Alert, query: Query<Page<Alert>>) -> impl IntoView {
    let mutation = Mutation::new();
    let (id, kind, is_muted) = (alert.webhook_id, alert.kind, alert.muted_until.is_some());
    let toggle = Callback::new(move |()| {
        let until = (!is_muted).then(|| time::now() + Duration::hours(24));
        mutation.run(rpc::mute_alerts(id, MuteInput { kind: Some(kind), until }), move |_| query.refetch());
    });
    let label = format!("{} {} of {}", if is_muted { "Unmute" } else { "Mute" }, kind.label(), alert.webhook_name);
    view! {
        <tr>
            <td data-label="Webhook" class="wrap">{webhook_link(&alert)}</td>
            <td data-label="Alert" class="wrap">
                <span>
                    <strong>{kind.label()}</strong>
                    <br />
                    {alert.message.clone()}
                    {alert.muted_until.map(|until| view! { <br /><span class="muted small">"Muted for "<Countdown at=until /></span> })}
                </span>
                <FormProblem problem=mutation.problem />
            </td>
            <td data-label="Since"><RelativeTime at=alert.fired_at /></td>
            <td>
                <ForWebhookManagers>
                    <Button variant=ButtonVariant::Quiet pending=mutation.pending label=label.clone() on_click=toggle>
                        {if is_muted { "Unmute" } else { "Mute for 24 hours" }}
                    </Button>
                </ForWebhookManagers>
            </td>
        </tr>
    }
}

/// The alerts that have ended.
#[component]
pub fn History() -> impl IntoView {
    let limit = RwSignal::new(FIRST);
    let query = query_alerts(false, move || limit.get());
    let more = Callback::new(move |()| limit.set(PageQuery::MAX));
    view! {
        <section class="card flush" aria-labelledby="history-title">
            <h2 id="history-title">"History"</h2>
            {query.view(move |page| {
                let items = ErasedMemo::new(move |_| page.get().items);
                let has_more = move || page.with(|page| page.next_cursor.is_some()) && limit.get() == FIRST;
                view! {
                    <Show
                        when=move || !items.with(Vec::is_empty)
                        fallback=|| view! { <p class="muted card-text">"No alert has ended yet."</p> }
                    >
                        <ScrollableTable label="Ended alerts">
                            <table class="cards-on-phone">
                                <thead>
                                    <tr>
                                        <th>"Webhook"</th>
                                        <th>"Alert"</th>
                                        <th>"Fired"</th>
                                        <th>"Ended"</th>
                                    </tr>
                                </thead>
                                <tbody>{move || items.get().into_iter().map(|alert| view! { <EndedRow alert=alert /> }).collect_view()}</tbody>
                            </table>
                        </ScrollableTable>
                        <LoadMore has_more=Signal::derive(has_more) pending=false on_click=more />
                    </Show>
                }
            })}
        </section>
    }
}

#[component]
fn EndedRow(alert: Alert) -> impl IntoView {
    view! {
        <tr>
            <td data-label="Webhook" class="wrap">{webhook_link(&alert)}</td>
            <td data-label="Alert" class="wrap"><span><strong>{alert.kind.label()}</strong><br />{alert.message}</span></td>
            <td data-label="Fired"><RelativeTime at=alert.fired_at /></td>
            <td data-label="Ended">{alert.resolved_at.map(|at| view! { <RelativeTime at=at /> })}</td>
        </tr>
    }
}
