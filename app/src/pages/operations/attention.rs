//! The list of what a person has to do: webhooks that do not deliver, alerts, and access requests.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::live::{LiveEvent, use_live};
use crate::pages::areas;
use crate::query::{Mutation, Query};
use crate::rpc::{alerts, catalogue, deliveries};
use crate::session::{ForWebhookManagers, use_session};
use crate::time;
use domain::alert::{Alert, AlertFilter, AlertKind};
use domain::delivery::{DeliveryFilter, FailureGroup, Failures};
use domain::ownership::ResourceKey;
use domain::pagination::{Page, PageQuery};
use domain::replay::ReplaySource;
use domain::resource::{AccessRequest, AccessStatus};
use domain::webhook::{Webhook, WebhookHealth, WebhookState};
use leptos::prelude::*;

/// The largest number of access requests in the list. The others are on their own screen.
const MAX_REQUESTS: usize = 5;

/// The largest number of alerts in the list. The others are on their own screen.
const MAX_ALERTS: u32 = 10;

/// A webhook that does not deliver, with its latest failures.
#[derive(Clone, PartialEq)]
struct Obstacle {
    webhook: Webhook,
    group: Option<FailureGroup>,
    /// The deliveries of the group.
    filter: DeliveryFilter,
}

/// The webhooks that do not deliver: failing, disabled, or paused with queued events.
fn obstacles(webhooks: Option<Page<Webhook>>, failures: Option<Failures>) -> Vec<Obstacle> {
    let needs_attention = |webhook: &Webhook| match webhook.state {
        WebhookState::Enabled => webhook.summary.health == WebhookHealth::Failing,
        WebhookState::Paused => webhook.summary.waiting > 0,
        WebhookState::Gone => true,
    };
    let obstacle = |webhook: Webhook| {
        let group = failures.as_ref().and_then(|failures| {
            // The groups with the latest failures are the first.
            failures.groups.iter().find(|group| group.webhook_id == webhook.id).cloned()
        });
        let filter = DeliveryFilter {
            q: group.as_ref().map(|group| group.q.clone()),
            since: failures.as_ref().map(|failures| failures.since),
            until: failures.as_ref().map(|failures| failures.until),
            ..DeliveryFilter::default()
        };
        Obstacle { webhook, group, filter }
    };
    webhooks.into_iter().flat_map(|page| page.items).filter(needs_attention).map(obstacle).collect()
}

/// The alerts that fire, without those whose cause the list has as an obstacle.
fn further_alerts(firing: Option<Page<Alert>>, obstacles: &[Obstacle]) -> Vec<Alert> {
    let is_obstacle = |alert: &Alert| {
        let of_failures = matches!(
            alert.kind,
            AlertKind::ErrorRate | AlertKind::ConsecutiveFailures | AlertKind::Disabled | AlertKind::BacklogAge
        );
        of_failures && obstacles.iter().any(|obstacle| obstacle.webhook.id == alert.webhook_id)
    };
    firing.into_iter().flat_map(|page| page.items).filter(|alert| !is_obstacle(alert)).collect()
}

/// The tasks for a person.
#[component]
pub fn Attention(webhooks: Query<Page<Webhook>>) -> impl IntoView {
    let session = use_session();
    let failures = Query::new(|| deliveries::list_failures(DeliveryFilter::default()));
    let requests = Query::new(|| catalogue::list_access_requests(Some(AccessStatus::Pending)));
    let firing = Query::new(|| {
        let filter = AlertFilter { webhook_id: None, firing: Some(true) };
        alerts::list_alerts(filter, PageQuery { limit: Some(MAX_ALERTS), cursor: None })
    });
    use_live().on(move |event| match event {
        LiveEvent::Webhook(_) => {
            firing.refetch_soon();
            webhooks.refetch_soon();
            failures.refetch_with_index();
        }
        LiveEvent::Delivery(delivery) if delivery.status.is_final() => {
            webhooks.refetch_soon();
            failures.refetch_with_index();
        }
        // An access request comes with a notification.
        LiveEvent::Notification(_) => requests.refetch(),
        _ => {}
    });
    let found = ErasedMemo::new(move |_| obstacles(webhooks.get(), failures.get()));
    let alerts = ErasedMemo::new(move |_| further_alerts(firing.get(), &found.get()));
    let pending = ErasedMemo::new(move |_| {
        let decides = session.manages_resources() || session.is_auditor();
        requests.get().filter(|_| decides).map(|page| page.items).unwrap_or_default()
    });
    let is_loaded = Memo::new(move |_| {
        let is_read = webhooks.get().is_some() && failures.get().is_some();
        is_read && requests.get().is_some() && firing.get().is_some()
    });
    let is_empty =
        Memo::new(move |_| found.with(Vec::is_empty) && alerts.with(Vec::is_empty) && pending.with(Vec::is_empty));
    let resent = RwSignal::new(None::<DeliveryFilter>);
    let open = RwSignal::new(false);
    let resend = Callback::new(move |filter: DeliveryFilter| {
        resent.set(Some(filter));
        open.set(true);
    });
    let refetch = Callback::new(move |()| failures.refetch());
    view! {
        <section class="card flush attention" aria-labelledby="attention-title">
            <h2 id="attention-title">"Needs attention"</h2>
            <Show when=move || is_loaded.get() fallback=Skeleton>
                <Show
                    when=move || !is_empty.get()
                    fallback=|| view! { <p class="attention-none"><IconView icon=Icon::Check />"Nothing needs attention."</p> }
                >
                    <ul>
                        {move || found.get().into_iter().map(|obstacle| view! { <ObstacleItem obstacle=obstacle resend=resend /> }).collect_view()}
                        {move || alerts.get().into_iter().map(|alert| view! { <AlertItem alert=alert /> }).collect_view()}
                        {move || pending.get().into_iter().take(MAX_REQUESTS).map(|request| view! { <RequestItem request=request requests=requests /> }).collect_view()}
                    </ul>
                    {move || {
                        let more = pending.with(Vec::len).saturating_sub(MAX_REQUESTS);
                        (more > 0).then(|| view! {
                            <p class="card-text"><a href="/access-requests">{format!("{} more access requests", intl::number(more as u64))}</a></p>
                        })
                    }}
                </Show>
            </Show>
            <Dialog open=open title="Redeliver failed deliveries">
                {move || resent.get().map(|filter| areas::show_part(areas::recovery::Screen::Replay(ReplaySource::Deliveries, StoredValue::new(filter), open, refetch)))}
            </Dialog>
        </section>
    }
}

/// The address of the deliveries of a filter.
fn address(filter: &DeliveryFilter) -> String {
    let q = filter.q.as_deref().unwrap_or_default();
    let since = filter.since.map(time::to_parameter).unwrap_or_default();
    format!("/deliveries?q={}&since={}", js_sys::encode_uri_component(q), js_sys::encode_uri_component(&since))
}

/// The number of queued events in words.
fn queue_text(queued: u64) -> String {
    match queued {
        0 => "no queued events".to_owned(),
        1 => "1 queued event".to_owned(),
        n => format!("{} queued events", intl::number(n)),
    }
}

/// A webhook that does not deliver: cause, duration, queue, and the action that ends it.
#[component]
fn ObstacleItem(obstacle: Obstacle, resend: Callback<DeliveryFilter>) -> impl IntoView {
    let Obstacle { webhook, group, filter } = obstacle;
    let link = format!("/settings/webhooks/{}", webhook.id);
    let name = webhook.name.clone();
    let queue = queue_text(webhook.summary.waiting);
    let state = webhook.state;
    let class = if state == WebhookState::Paused { "state warn" } else { "state bad" };
    let unresolved = group.as_ref().map_or(0, |group| group.unresolved);
    let sentence = match (state, &group) {
        (WebhookState::Paused, _) => view! { " is paused." }.into_any(),
        (WebhookState::Gone, _) => view! { " is disabled: the endpoint responded with 410 Gone." }.into_any(),
        (WebhookState::Enabled, Some(group)) => {
            let problem = group.problem.clone().unwrap_or_else(|| "no diagnosis".to_owned());
            view! { " fails since "<time datetime=group.first_at.to_rfc3339()>{intl::timestamp(group.first_at)}</time>": "{problem} }.into_any()
        }
        (WebhookState::Enabled, None) => view! { " fails." }.into_any(),
    };
    let consequence = match &group {
        Some(group) => {
            let reservations = match group.reservations {
                1 => "1 reservation".to_owned(),
                n => format!("{} reservations", intl::number(n)),
            };
            format!("{} failed deliveries of {reservations}, {queue}", intl::number(group.count))
        }
        None => queue,
    };
    let show = address(&filter);
    let resend_label = StoredValue::new(format!("Fixed: resend {}…", intl::number(unresolved)));
    let accessible_label = StoredValue::new(format!("Fixed: resend {} deliveries to {name}", intl::number(unresolved)));
    let run = Callback::new(move |()| resend.run(filter.clone()));
    let resume_link = StoredValue::new(link.clone());
    let action = if state != WebhookState::Enabled {
        view! { <ForWebhookManagers><a class="button primary" href=resume_link.get_value()>"Resume…"</a></ForWebhookManagers> }
            .into_any()
    } else if unresolved > 0 {
        view! {
            <ForWebhookManagers>
                <Button variant=ButtonVariant::Primary label=accessible_label.get_value() on_click=run>{resend_label.get_value()}</Button>
            </ForWebhookManagers>
        }
        .into_any()
    } else {
        ().into_any()
    };
    view! {
        <li>
            <span class=class><i aria-hidden="true"></i></span>
            <div>
                <p class="wrap"><a href=link.clone()><strong>{name.clone()}</strong></a>{sentence}</p>
                <p class="small muted">{consequence}</p>
            </div>
            <div class="row">
                {group.is_some().then(|| view! { <a class="button" href=show aria-label=format!("Show the failures of {name}")>"Show"</a> })}
                {action}
            </div>
        </li>
    }
}

/// An alert that fires.
#[component]
fn AlertItem(alert: Alert) -> impl IntoView {
    let link = format!("/settings/webhooks/{}?tab=health", alert.webhook_id);
    let label = format!("Show the health of {}", alert.webhook_name);
    view! {
        <li>
            <span class="state bad"><i aria-hidden="true"></i></span>
            <div>
                <p class="wrap"><strong>{alert.kind.label()}</strong>": "{alert.message}</p>
                <p class="small muted">"Fires since "<RelativeTime at=alert.fired_at /></p>
            </div>
            <div class="row"><a class="button" href=link aria-label=label>"Show"</a></div>
        </li>
    }
}

/// An access request with its decision.
#[component]
fn RequestItem(request: AccessRequest, requests: Query<Page<AccessRequest>>) -> impl IntoView {
    let decides = untrack(|| use_session().manages(ResourceKey::new(&request.resource_type, request.resource_id)));
    let mutation = Mutation::new();
    let id = request.id.clone();
    let decide = Callback::new(move |approve: bool| {
        mutation.run(catalogue::decide_access(id.clone(), approve), move |_| requests.refetch());
    });
    let user = request.user_id.clone();
    let actions = decides.then(|| {
        view! {
            <Button
                label=format!("Deny request from {user}")
                pending=mutation.pending
                on_click=Callback::new(move |()| decide.run(false))
            >
                "Deny"
            </Button>
            <Button
                variant=ButtonVariant::Primary
                label=format!("Approve request from {user}")
                pending=mutation.pending
                on_click=Callback::new(move |()| decide.run(true))
            >
                "Approve"
            </Button>
        }
    });
    let reason = Some(request.reason).filter(|reason| !reason.is_empty()).map(|reason| format!(": “{reason}”"));
    view! {
        <li>
            <span class="state active still"><i aria-hidden="true"></i></span>
            <div>
                <p class="wrap">
                    <strong>{request.user_id}</strong>" requests access to "
                    <a href="/access-requests"><strong>{request.resource_name}</strong></a>{reason}
                </p>
                <p class="small muted"><RelativeTime at=request.requested_at /></p>
                <FormProblem problem=mutation.problem />
            </div>
            <div class="row">{actions}</div>
        </li>
    }
}
