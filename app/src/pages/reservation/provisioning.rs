//! The provisioning of a reservation: its steps, its progress, and the access when it is ready.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::session::use_session;
use domain::delivery::{DeliveryStatus, DeliverySummary};
use domain::provisioning::{AccessInfo, Provisioning, ProvisioningStatus};
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
    let access = move || {
        let is_ready = status.get() == ProvisioningStatus::Ready && !is_over.get();
        let access = state.with(|p| p.access_info.clone()).filter(|_| is_ready);
        access.map(|access| view! { <AccessDetails access=access /> })
    };
    view! {
        <section class="card stack" aria-live="polite">
            <h2 class="row">"Provisioning "{move || view! { <Badge status=status.get() /> }}</h2>
            <Steps status=status is_over=is_over />
            <Message state=state />
            <Progress state=state />
            {access}
            <Show when=move || status.get() == ProvisioningStatus::Waiting && !is_over.get()>
                <WaitingHint deliveries=deliveries />
            </Show>
            <ServiceDetails state=state />
            <p class="muted small">"Updated "<RelativeTime at=updated /></p>
        </section>
    }
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
fn Message(state: ErasedMemo<Provisioning>) -> impl IntoView {
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
fn Progress(state: ErasedMemo<Provisioning>) -> impl IntoView {
    use ProvisioningStatus::{Provisioning, Releasing, Waiting};
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
        let estimate =
            state.with(|p| p.estimated_ready_time.clone().filter(|_| matches!(p.status, Waiting | Provisioning)))?;
        Some(view! { <p>"Ready in about "<strong>{estimate}</strong>"."</p> })
    };
    view! {
        {progress}
        {estimate}
    }
}

/// The next step while no service has responded.
#[component]
fn WaitingHint(deliveries: ErasedMemo<Vec<DeliverySummary>>) -> impl IntoView {
    let session = use_session();
    let is_sent = Memo::new(move |_| deliveries.with(|all| all.iter().any(|d| d.status != DeliveryStatus::Cancelled)));
    move || {
        if is_sent.get() {
            view! {
                <p class="muted">"The owning team has been notified. This page updates when their service responds."</p>
            }
            .into_any()
        } else if session.is_admin() {
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
fn ServiceDetails(state: ErasedMemo<Provisioning>) -> impl IntoView {
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
        {command}
        <dl class="details-list">{details.map(detail).collect_view()}</dl>
    }
}
