//! One reservation: watching it become ready, using, changing and cancelling it.

use crate::components::*;
use crate::layout::use_session;
use crate::live::{LiveEvent, use_live};
use crate::load::{Write, load};
use crate::pages::deliveries::{DeliveryRows, upsert_delivery};
use crate::rpc::{catalogue, reservations as rpc};
use crate::time;
use crate::values::{Value, effect};
use domain::delivery::{DeliveryStatus, DeliverySummary};
use domain::id::ReservationId;
use domain::provisioning::{AccessInfo, Provisioning, ProvisioningStatus};
use domain::reservation::*;
use domain::resource::ConfigSchema;
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

/// `/reservations/:id`
#[component]
pub fn ReservationPage() -> impl IntoView {
    let params = use_params_map();
    let id = Memo::new(move |_| ReservationId(params.read().get("id").unwrap_or_default()));
    let detail = load(move || rpc::get_reservation(id.get()));
    use_live().on(move |event| match event {
        LiveEvent::Reservation(new) if new.id == id.get_untracked() => {
            let new = new.clone();
            detail.update(move |detail| detail.reservation = new);
        }
        LiveEvent::Delivery(new) if new.reservation_id.as_deref() == Some(id.get_untracked().as_str()) => {
            let new = new.clone();
            detail.update(move |detail| upsert_delivery(&mut detail.deliveries, new, false));
        }
        LiveEvent::Resync => detail.again(),
        _ => {}
    });
    // The feed tells only administrators of deliveries; others read again while one is under way.
    let session = use_session();
    effect(move || {
        let under_way = detail.get().is_some_and(|detail| detail.deliveries.iter().any(|d| !d.status.is_final()));
        if under_way && !session.is_admin() {
            detail.again_soon();
        }
    });
    detail.show(move |detail| {
        let reservation = Value::memo(move || detail.get().reservation);
        let deliveries = Value::derive(move || detail.get().deliveries);
        view! { <Shown reservation=reservation deliveries=deliveries /> }
    })
}

#[component]
fn Shown(reservation: Value<Reservation>, deliveries: Value<Vec<DeliverySummary>>) -> impl IntoView {
    let session = use_session();
    let title =
        move || reservation.with(|r| if r.title.is_empty() { r.resource_name.clone() } else { r.title.clone() });
    let active = move || reservation.with(|r| r.status == ReservationStatus::Active);
    let modifying = RwSignal::new(false);
    let cancelling = RwSignal::new(false);
    let modify = Callback::new(move |()| modifying.set(true));
    let cancel = Callback::new(move |()| cancelling.set(true));
    let status = Value::derive(move || reservation.with(|r| r.status));
    view! {
        <PageHeader title=title lead=move || reservation.with(|r| time::span(r.start_time, r.end_time))>
            <When when=active>
                <Button on_click=modify>"Modify"</Button>
                <Button look=Look::Danger on_click=cancel>"Cancel reservation"</Button>
            </When>
        </PageHeader>
        <div class="columns">
            <div class="stack">
                <ProvisioningCard reservation=reservation deliveries=deliveries />
                <When when=move || session.is_admin() || !deliveries.with(Vec::is_empty)>
                    <section class="stack tight">
                        <h2>"Deliveries"</h2>
                        <When
                            when=move || !deliveries.with(Vec::is_empty)
                            fallback=|| view! { <p class="card muted">"No webhook receives this reservation."</p> }
                        >
                            <DeliveryRows items=deliveries compact=true linked=session.is_admin() />
                        </When>
                    </section>
                </When>
            </div>
            <section class="card">
                <h2>"Details"</h2>
                <dl class="facts">
                    <dt>"Status"</dt>
                    <dd>
                        {move || view! { <Chip state=status.get() /> }.into_any()}
                        {move || reservation.with(|r| r.cancelled_by.clone().map(|by| {
                            let reason = if r.cancel_reason.is_empty() { String::new() } else { format!(": {}", r.cancel_reason) };
                            view! { <p class="small muted">{format!("by {by}{reason}")}</p> }.into_any()
                        }))}
                    </dd>
                    <dt>"Resource"</dt>
                    <dd>{move || reservation.with(|r| format!("{} ({})", r.resource_name, r.resource_type))}</dd>
                    <dt>"Starts"</dt>
                    <dd>{move || reservation.with(|r| time::absolute(r.start_time))}</dd>
                    <dt>"Ends"</dt>
                    <dd>{move || reservation.with(|r| time::absolute(r.end_time))}</dd>
                    <dt>"Reserved by"</dt>
                    <dd>{move || reservation.with(|r| r.user_id.clone())}</dd>
                    <dt>"Reservation ID"</dt>
                    <dd><code>{move || reservation.with(|r| r.id.to_string())}</code></dd>
                    <dt>"SSH key"</dt>
                    <dd>
                        {move || reservation.with(|r| match r.user_ssh_key.as_str() {
                            "" => view! { <span class="muted">"none"</span> }.into_any(),
                            key => view! { <code>{short_key(key)}</code> }.into_any(),
                        })}
                    </dd>
                    {move || reservation.with(|r| r.additional_config.iter().map(|(name, value)| {
                        view! { <dt>{name.clone()}</dt><dd>{plain(value)}</dd> }.into_any()
                    }).collect_view())}
                </dl>
                <p class="muted small below">"Times in "{time::zone()}"."</p>
            </section>
        </div>
        <Dialog open=modifying title="Modify reservation">
            <Modify reservation=reservation.get_untracked() open=modifying />
        </Dialog>
        <Dialog open=cancelling title="Cancel this reservation?">
            <Cancel reservation=reservation.get_untracked() open=cancelling />
        </Dialog>
    }
}

/// A value of a configuration or of a receiver's details as text.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        other => domain::json::to_text(other).unwrap_or_default(),
    }
}

/// A key's kind, its end, and its comment: enough to tell keys apart.
fn short_key(key: &str) -> String {
    let mut parts = key.splitn(3, ' ');
    let kind = parts.next().unwrap_or_default();
    let body = parts.next().unwrap_or_default();
    let end = body.get(body.len().saturating_sub(8)..).unwrap_or_default();
    let comment = parts.next().unwrap_or_default();
    format!("{kind} …{end} {comment}").trim().to_owned()
}

/// How a step of provisioning stands.
fn step_class(step: ProvisioningStatus, now: ProvisioningStatus) -> &'static str {
    let order = |s| ProvisioningStatus::ALL.iter().position(|x| *x == s).unwrap_or(0);
    match () {
        () if step == now && step == ProvisioningStatus::Failed => "failed",
        () if step == now && matches!(step, ProvisioningStatus::Ready | ProvisioningStatus::Released) => "done",
        () if step == now => "now",
        () if order(step) < order(now) => "done",
        () => "",
    }
}

#[component]
fn ProvisioningCard(reservation: Value<Reservation>, deliveries: Value<Vec<DeliverySummary>>) -> impl IntoView {
    use ProvisioningStatus::*;
    let session = use_session();
    let told = Memo::new(move |_| deliveries.with(|all| all.iter().any(|d| d.status != DeliveryStatus::Cancelled)));
    let state = Value::memo(move || reservation.with(|r| r.provisioning.clone()));
    let over = Memo::new(move |_| reservation.with(|r| r.status != ReservationStatus::Active));
    let status = Value::memo(move || state.with(|p| p.status));
    let steps = move || {
        let now = status.get();
        let path = match (over.get(), now) {
            (true, Failed) => vec![Releasing, Failed],
            (true, _) => vec![Releasing, Released],
            (false, Failed) => vec![Waiting, Provisioning, Failed],
            (false, _) => vec![Waiting, Provisioning, Ready],
        };
        path.into_iter()
            .map(|step| {
                let class = step_class(step, now);
                let icon = match class {
                    "done" => Icon::Check,
                    "failed" => Icon::Cross,
                    _ => Icon::Clock,
                };
                view! {
                    <li class=class aria-current=(step == now).then_some("step")>
                        <IconView icon=icon />
                        {step.word()}
                    </li>
                }
                .into_any()
            })
            .collect_view()
    };
    let progress = move || state.with(|p| p.progress.filter(|_| matches!(p.status, Provisioning | Releasing)));
    let changed = Signal::derive(move || state.with(|p| p.updated_at));
    view! {
        <section class="card stack" aria-live="polite">
            <h2 class="row">"Provisioning "{move || view! { <Chip state=status.get() /> }.into_any()}</h2>
            <ol class="steps">{steps}</ol>
            {move || state.with(|p| (!p.message.is_empty()).then(|| {
                let class = if p.status == Failed { "notice error" } else { "notice" };
                view! {
                    <div class=class>
                        <IconView icon=if p.status == Failed { Icon::Warning } else { Icon::Info } />
                        <div><p>{p.message.clone()}</p></div>
                    </div>
                }.into_any()
            }))}
            {move || progress().map(|percent| view! {
                <div>
                    <div class="progress" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" aria-valuenow=percent.to_string()>
                        <div style:width=format!("{percent}%")></div>
                    </div>
                    <p class="small muted">{format!("{percent} %")}</p>
                </div>
            }.into_any())}
            {move || state.with(|p| p.estimated_ready_time.clone().filter(|_| matches!(p.status, Waiting | Provisioning)).map(|estimate| {
                view! { <p>"Ready in about "<strong>{estimate}</strong>"."</p> }.into_any()
            }))}
            {move || state.with(|p| p.access_info.clone().filter(|_| p.status == Ready && !over.get()).map(|access| view! { <Access access=access /> }.into_any()))}
            {move || (status.get() == Waiting && !over.get()).then(|| if told.get() {
                view! {
                    <p class="muted">"The owning team has been notified. This page updates when their service responds."</p>
                }
                .into_any()
            } else if session.is_admin() {
                view! {
                    <p class="muted">
                        "No webhook provisions this resource. "
                        <a href="/settings/webhooks/new">"Add a webhook"</a>"."
                    </p>
                }
                .into_any()
            } else {
                view! { <p class="muted">"No webhook provisions this resource. Ask an administrator for access details."</p> }.into_any()
            })}
            {move || state.with(|p| (!p.details.is_empty()).then(|| view! {
                <details>
                    <summary>"Details from the service"</summary>
                    <Details state=p.clone() />
                </details>
            }.into_any()))}
            <p class="muted small">"Updated "<Ago at=changed /></p>
        </section>
    }
}

#[component]
fn Details(state: Provisioning) -> impl IntoView {
    let text = domain::json::to_pretty_text(&state.details).unwrap_or_default();
    view! { <CodeBlock text=text label="Details" /> }
}

/// How to get in.
#[component]
fn Access(access: AccessInfo) -> impl IntoView {
    let command = access.connection_command.clone();
    let facts = [
        ("Address", access.ip_address),
        ("Port", access.port.map(|port| port.to_string())),
        ("Username", access.username),
    ];
    view! {
        {command
            .map(|command| {
                view! {
                    <div class="ssh">
                        <code>{command.clone()}</code>
                        <CopyButton text=command label="Copy command" />
                    </div>
                }.into_any()
            })}
        <dl class="facts">
            {facts
                .into_iter()
                .filter_map(|(name, value)| value.map(|value| view! { <dt>{name}</dt><dd><code>{value}</code></dd> }.into_any()))
                .collect_view()}
        </dl>
    }
}

#[component]
fn Cancel(reservation: Reservation, open: RwSignal<bool>) -> impl IntoView {
    let reason = RwSignal::new(String::new());
    let write = Write::new();
    let id = reservation.id;
    let go = Callback::new(move |()| {
        write.run(rpc::cancel_reservation(id.clone(), reason.get_untracked()), move |_| open.set(false));
    });
    let keep = Callback::new(move |()| open.set(false));
    view! {
        <Form on_submit=go>
            <p>
                "The resource is released at once and others can reserve it. Running work may be lost."
            </p>
            <FormProblem problem=write.other_than(&["reason"]) />
            <TextInput label="Reason" value=reason optional=true error=write.message("reason") hint="Sent to the owning team's service." />
            <div class="dialog-actions">
                <Button on_click=keep>"Keep reservation"</Button>
                <Button look=Look::Danger submit=true busy=write.busy>"Cancel reservation"</Button>
            </div>
        </Form>
    }
}

#[component]
fn Modify(reservation: Reservation, open: RwSignal<bool>) -> impl IntoView {
    let slug = reservation.resource_type.clone();
    let types = load(catalogue::list_types);
    types.show(move |page| {
        let schema = page.with(|page| {
            let found = page.items.iter().find(|t| t.slug == slug);
            found.and_then(|t| ConfigSchema::parse(&t.config_schema).ok()).unwrap_or_default()
        });
        view! { <ModifyForm reservation=reservation.clone() schema=schema open=open /> }
    })
}

#[component]
fn ModifyForm(reservation: Reservation, schema: ConfigSchema, open: RwSignal<bool>) -> impl IntoView {
    let title = RwSignal::new(reservation.title.clone());
    let start = RwSignal::new(time::to_input(reservation.start_time));
    let end = RwSignal::new(time::to_input(reservation.end_time));
    let key = RwSignal::new(reservation.user_ssh_key.clone());
    let config = ConfigState::new(schema.clone(), &reservation.additional_config);
    let has_config = !schema.fields.is_empty();
    let begun = reservation.start_time <= time::now();
    let write = Write::new();
    // An input holds minutes: a time that was not touched stays exactly what it was.
    let moved = |input: RwSignal<String>, old: chrono::DateTime<chrono::Utc>| match input.get_untracked() {
        text if text == time::to_input(old) => Some(old),
        text => time::from_input(&text),
    };
    let go = Callback::new(move |()| {
        let (Some(from), Some(to)) = (moved(start, reservation.start_time), moved(end, reservation.end_time)) else {
            let field = if moved(start, reservation.start_time).is_none() { "start_time" } else { "end_time" };
            return write.refuse(domain::Problem::field(field, "Enter a date and time."));
        };
        let patch = ReservationPatch {
            title: Some(title.get_untracked()),
            start_time: Some(from),
            end_time: Some(to),
            user_ssh_key: Some(key.get_untracked().trim().to_owned()),
            additional_config: has_config.then(|| config.collect()),
        };
        match apply_patch(&reservation, &patch, &schema, time::now()) {
            Err(problem) => write.refuse(problem),
            Ok(_) => write.run(rpc::patch_reservation(reservation.id.clone(), patch), move |_| open.set(false)),
        }
    });
    let keep = Callback::new(move |()| open.set(false));
    view! {
        <Form on_submit=go>
            <FormProblem problem=write.general() />
            <TextInput label="Title" value=title optional=true error=write.message("title") />
            <div class="grid-2">
                <TextInput label="Start" value=start kind="datetime-local" disabled=begun error=write.message("start_time") />
                <TextInput label="End" value=end kind="datetime-local" error=write.message("end_time") />
            </div>
            <ConfigForm state=config write=write />
            <TextArea label="SSH public key" value=key optional=true mono=true error=write.message("user_ssh_key") />
            <div class="dialog-actions">
                <Button on_click=keep>"Cancel"</Button>
                <Button look=Look::Primary submit=true busy=write.busy>"Save changes"</Button>
            </div>
        </Form>
    }
}
