//! The provisioning of a reservation: its steps, and for each service its progress, its access and changes that it has
//! not confirmed.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::session::use_session;
use crate::{intl, time};
use chrono::{DateTime, Utc};
use domain::delivery::{DeliveryStatus, DeliverySummary};
use domain::id::WebhookId;
use domain::provisioning::{
    AccessInfo, PendingChange, PendingChangeState, Provisioning, ProvisioningStatus, ServiceProvisioning,
};
use domain::reservation::{Reservation, ReservationStatus};
use leptos::prelude::*;

/// The CSS class of a step while provisioning has the status `current`.
fn step_class(step: ProvisioningStatus, current: ProvisioningStatus) -> &'static str {
    use ProvisioningStatus::{Failed, Ready, Released};
    let position = |status| ProvisioningStatus::ALL.iter().position(|other| *other == status).unwrap_or(0);
    if step != current {
        return if position(step) < position(current) { "done" } else { "" };
    }
    match step {
        Failed => "failed",
        Ready | Released => "done",
        _ => "now",
    }
}

/// The steps from the start, or from the end of the reservation, to the current status.
fn steps(current: ProvisioningStatus, is_over: bool) -> &'static [ProvisioningStatus] {
    use ProvisioningStatus::{Failed, Provisioning, Ready, Released, Releasing, Waiting};
    match (is_over, current) {
        (true, Failed) => &[Releasing, Failed],
        (true, _) => &[Releasing, Released],
        (false, Failed) => &[Waiting, Provisioning, Failed],
        (false, _) => &[Waiting, Provisioning, Ready],
    }
}

/// The card that shows the provisioning.
#[component]
pub fn ProvisioningCard(
    reservation: ErasedMemo<Reservation>,
    deliveries: ErasedMemo<Vec<DeliverySummary>>,
) -> impl IntoView {
    let state = ErasedMemo::new(move |_| reservation.with(|r| r.provisioning.clone()));
    let status = ErasedMemo::new(move |_| state.with(|p| p.status));
    let is_over = Memo::new(move |_| reservation.with(|r| r.status != ReservationStatus::Active));
    let updated = Signal::derive(move || state.with(|p| p.updated_at));
    let ids = Memo::new(move |_| state.with(|p| p.by_service().iter().map(|s| s.webhook_id).collect::<Vec<_>>()));
    let begins_at = Memo::new(move |_| reservation.with(|r| r.provisioning_begins_at));
    let is_shared = Memo::new(move |_| ids.with(|ids| ids.len() > 1));
    view! {
        <section class="card stack" aria-live="polite">
            <h2 class="row">"Provisioning "{move || view! { <Badge status=status.get() /> }}</h2>
            <Steps status=status is_over=is_over />
            <ol class="services" class:shared=move || is_shared.get()>
                <For each=move || ids.get() key=|id| *id let:id>
                    <Service state=state id=id is_shared=is_shared is_over=is_over />
                </For>
            </ol>
            <Show when=move || status.get() == ProvisioningStatus::Waiting && !is_over.get()>
                <WaitingHint begins_at=begins_at deliveries=deliveries />
            </Show>
            <p class="muted small">"Updated "<RelativeTime at=updated /></p>
        </section>
    }
}

/// The part of one service. Its name and status are shown only if there are several.
#[component]
fn Service(
    state: ErasedMemo<Provisioning>,
    id: WebhookId,
    is_shared: Memo<bool>,
    is_over: Memo<bool>,
) -> impl IntoView {
    // After a service has left the list, its view is removed; until then it shows the headline.
    let service = ErasedMemo::new(move |_| {
        state.with(|p| p.by_service().into_iter().find(|s| s.webhook_id == id).unwrap_or_else(|| p.headline()))
    });
    let header = move || {
        is_shared.get().then(|| {
            let (name, status, at) = service.with(|s| (s.webhook_name.clone(), s.status, s.updated_at));
            view! {
                <h3 class="row">
                    <span class="wrap">{name}</span>
                    <Badge status=status />
                    <span class="muted small"><RelativeTime at=at /></span>
                </h3>
            }
        })
    };
    let access = move || {
        let is_ready = service.with(|s| s.status) == ProvisioningStatus::Ready && !is_over.get();
        let access = service.with(|s| s.access_info.clone()).filter(|_| is_ready);
        access.map(|access| view! { <AccessDetails access=access /> })
    };
    // The shown access information comes with the live feed at the start.
    let hidden = move || {
        let at = service.with(|s| s.access_available_at).filter(|_| !is_over.get())?;
        Some(view! { <p class="muted">{hidden_until(at)}</p> })
    };
    let change = move || {
        let (name, change) = service.with(|s| (s.webhook_name.clone(), s.pending_change.clone()));
        change.filter(|_| !is_over.get()).map(|change| view! { <UnconfirmedChange service=name change=change /> })
    };
    view! {
        <li class="stack tight">
            {header}
            <Message state=service />
            <Progress state=service />
            {access}
            {hidden}
            {change}
            <ServiceDetails state=service />
        </li>
    }
}

/// The sentence in the place of access information that is hidden before the start.
fn hidden_until(start: DateTime<Utc>) -> String {
    let is_today = time::date(start) == time::date(time::now());
    let at = if is_today { intl::clock(start) } else { intl::timestamp(start) };
    format!("Access information is shown at {at}, when the reservation starts.")
}

/// A change of the reservation that the service has not confirmed.
#[component]
fn UnconfirmedChange(service: String, change: PendingChange) -> impl IntoView {
    if change.state == PendingChangeState::Sent {
        return view! { <p class="muted small">{format!("Your change has been sent to {service}, which has not confirmed it yet.")}</p> }
            .into_any();
    }
    let next = match (change.state, change.next_attempt_at) {
        (PendingChangeState::Retrying, Some(at)) => view! { "Next attempt "<RelativeTime at=at />"." }.into_any(),
        (PendingChangeState::Retrying, None) => view! { "Berth tries again." }.into_any(),
        _ => view! { "The service may still use the previous values." }.into_any(),
    };
    view! {
        <div class="notice warning">
            <IconView icon=Icon::Warning />
            <div>
                <strong>{format!("Change not confirmed by {service}.")}</strong>
                <p class="wrap">{change.message}</p>
                <p>{next}</p>
            </div>
        </div>
    }
    .into_any()
}

#[component]
fn Steps(status: ErasedMemo<ProvisioningStatus>, is_over: Memo<bool>) -> impl IntoView {
    let items = move || {
        let current = status.get();
        let item = move |step: &ProvisioningStatus| {
            let class = step_class(*step, current);
            let icon = match class {
                "done" => Icon::Check,
                "failed" => Icon::Cross,
                _ => Icon::Clock,
            };
            view! {
                <li class=class aria-current=(*step == current).then_some("step")>
                    <IconView icon=icon />
                    {step.label()}
                </li>
            }
        };
        steps(current, is_over.get()).iter().map(item).collect_view()
    };
    view! { <ol class="steps">{items}</ol> }
}

/// The message of the service.
#[component]
fn Message(state: ErasedMemo<ServiceProvisioning>) -> impl IntoView {
    move || {
        let (message, status) = state.with(|p| (p.message.clone(), p.status));
        let (class, icon) = match status {
            ProvisioningStatus::Failed => ("notice error", Icon::Warning),
            _ => ("notice", Icon::Info),
        };
        (!message.is_empty()).then(|| {
            view! {
                <div class=class>
                    <IconView icon=icon />
                    <div><p>{message}</p></div>
                </div>
            }
        })
    }
}

/// The progress in per cent, and the estimate of the service.
#[component]
fn Progress(state: ErasedMemo<ServiceProvisioning>) -> impl IntoView {
    use ProvisioningStatus::{Provisioning, Ready, Releasing, Waiting};
    let progress = move || {
        let percent = state.with(|p| p.progress.filter(|_| matches!(p.status, Provisioning | Releasing)))?;
        Some(view! {
            <div>
                <div
                    class="progress"
                    role="progressbar"
                    aria-label="Progress"
                    aria-valuemin="0"
                    aria-valuemax="100"
                    aria-valuenow=percent.to_string()
                >
                    <div style:width=format!("{percent}%")></div>
                </div>
                <p class="small muted">{crate::intl::percent(f64::from(percent) / 100.0)}</p>
            </div>
        })
    };
    let estimate = move || {
        let (estimate, status) = state.with(|p| (p.estimated_ready_time.clone(), p.status));
        let estimate = estimate.filter(|_| matches!(status, Waiting | Provisioning | Ready))?;
        Some(view! { <p>"Estimated ready time: "<strong>{estimate}</strong></p> })
    };
    view! {
        {progress}
        {estimate}
    }
}

/// The next step while no service has responded.
#[component]
fn WaitingHint(begins_at: Memo<Option<DateTime<Utc>>>, deliveries: ErasedMemo<Vec<DeliverySummary>>) -> impl IntoView {
    let session = use_session();
    let is_sent = Memo::new(move |_| deliveries.with(|all| all.iter().any(|d| d.status != DeliveryStatus::Cancelled)));
    move || {
        if let Some(at) = begins_at.get() {
            view! { <p class="muted">{format!("Provisioning begins at {}.", crate::intl::timestamp(at))}</p> }
                .into_any()
        } else if is_sent.get() {
            view! {
                <p class="muted">"The owning team has been notified. This page updates when their service responds."</p>
            }
            .into_any()
        } else if session.manages_webhooks() {
            view! {
                <p class="muted">
                    "No webhook provisions this resource. "<a href="/settings/webhooks/new">"Add a webhook"</a>"."
                </p>
            }
            .into_any()
        } else {
            view! {
                <p class="muted">
                    "No webhook provisions this resource. Ask an administrator for access details."
                </p>
            }
            .into_any()
        }
    }
}

/// Further details from the service as JSON.
#[component]
fn ServiceDetails(state: ErasedMemo<ServiceProvisioning>) -> impl IntoView {
    move || {
        let details = state.with(|p| p.details.clone());
        (!details.is_empty()).then(|| {
            let text = domain::json::to_pretty_text(&details).unwrap_or_default();
            view! {
                <details>
                    <summary>"Details from the service"</summary>
                    <CodeBlock text=text label="Details" />
                </details>
            }
        })
    }
}

/// The command and the address for the access to the resource.
#[component]
fn AccessDetails(access: AccessInfo) -> impl IntoView {
    let warning = access.has_replaced_characters().then(|| {
        view! {
            <Notice kind=NoticeKind::Warning>
                <p>
                    "The service sent invisible or control characters, which Berth replaced by �. Do not run the command. Ask the owner of the resource."
                </p>
            </Notice>
        }
    });
    let command = access.connection_command.map(|command| {
        view! {
            <div class="ssh">
                <code>{command.clone()}</code>
                <CopyButton text=command label="Copy command" />
            </div>
        }
    });
    let details = [
        ("Address", access.ip_address),
        ("Port", access.port.map(|port| port.to_string())),
        ("Username", access.username),
    ];
    let detail = |(name, value): (&'static str, Option<String>)| {
        value.map(|value| view! { <dt>{name}</dt><dd><code>{value}</code></dd> })
    };
    view! {
        {warning}
        {command}
        <dl class="details-list">{details.map(detail).collect_view()}</dl>
    }
}
