//! The health tab of a webhook: its recovery, health check, certificate, OAuth token, settings and rules.

use super::rules::{RuleFields, RuleList, describe, read};
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::live::{LiveEvent, use_live};
use crate::query::{Mutation, Query};
use crate::rpc::alerts as rpc;
use crate::session::ForWebhookManagers;
use crate::time;
use chrono::Duration;
use domain::alert::MuteInput;
use domain::id::WebhookId;
use domain::webhook::{
    AutomaticPause, MonitoringPatch, MonitoringSettings, RecoverInput, TokenStatus, Webhook, WebhookMonitoring,
    WebhookRule,
};
use leptos::prelude::*;

type Monitoring = ErasedMemo<WebhookMonitoring>;

/// The health tab.
#[component]
pub fn HealthTab(#[prop(into)] webhook: ErasedMemo<Webhook>, webhook_query: Query<Webhook>) -> impl IntoView {
    let id = webhook.with_untracked(|webhook| webhook.id);
    let query = Query::new(move || rpc::read_monitoring(id));
    use_live().on(move |event| match event {
        LiveEvent::Webhook(change) if change.id == id && !change.deleted => query.refetch_soon(),
        LiveEvent::Delivery(delivery) if delivery.webhook_id == id && delivery.status.is_final() => {
            query.refetch_soon()
        }
        _ => {}
    });
    query.view(move |monitoring: Monitoring| {
        let pause = ErasedMemo::new(move |_| monitoring.with(|monitoring| monitoring.pause));
        view! {
            <div class="stack">
                {move || pause.get().map(|pause| view! { <Recovery id=id pause=pause query=query webhook_query=webhook_query /> })}
                <div class="columns">
                    <div class="stack">
                        <Checks id=id monitoring=monitoring query=query />
                        <Rules id=id monitoring=monitoring query=query />
                    </div>
                    <ForWebhookManagers>
                        <SettingsForm id=id monitoring=monitoring query=query />
                    </ForWebhookManagers>
                </div>
            </div>
        }
    })
}

/// A number of deliveries in words.
fn deliveries(number: u64, kind: &str) -> String {
    match number {
        1 => format!("1 {kind} delivery"),
        n => format!("{} {kind} deliveries", intl::number(n)),
    }
}

/// The automatic pause, and the way to end it.
#[component]
fn Recovery(
    id: WebhookId,
    pause: AutomaticPause,
    query: Query<WebhookMonitoring>,
    webhook_query: Query<Webhook>,
) -> impl IntoView {
    let mutation = Mutation::new();
    let redeliver = RwSignal::new(true);
    let recover = Callback::new(move |()| {
        let input = RecoverInput { redeliver_failed: Some(redeliver.get_untracked()) };
        mutation.run(rpc::recover_webhook(id, input), move |webhook| {
            webhook_query.set(webhook);
            query.refetch();
        });
    });
    let (kind, state) = match pause.recovered_at {
        Some(at) => {
            (NoticeKind::Success, view! { "Its receiver is healthy again since "<RelativeTime at=at />"." }.into_any())
        }
        None => (NoticeKind::Warning, view! { "Its receiver has not recovered yet." }.into_any()),
    };
    let text = format!(
        "{} and {} since the start of the failure.",
        deliveries(pause.queued, "queued"),
        deliveries(pause.failed, "failed")
    );
    view! {
        <Notice kind=kind>
            <p>"Berth paused this webhook "<RelativeTime at=pause.paused_at />", because it failed. "{state}</p>
            <p>{text}</p>
            <ForWebhookManagers>
                {(pause.failed > 0).then(|| view! { <Checkbox label="Redeliver failed deliveries" value=redeliver /> })}
                <Button variant=ButtonVariant::Primary pending=mutation.pending on_click=recover>"Resume and send"</Button>
            </ForWebhookManagers>
            <FormProblem problem=mutation.problem />
        </Notice>
    }
}

/// The last health check, the certificate and the OAuth token.
#[component]
fn Checks(id: WebhookId, monitoring: Monitoring, query: Query<WebhookMonitoring>) -> impl IntoView {
    let mutation = Mutation::new();
    let check = Callback::new(move |()| mutation.run(rpc::check_health(id), move |new| query.set(new)));
    let has_check = Memo::new(move |_| monitoring.with(|monitoring| monitoring.settings.health_path.is_some()));
    let health = ErasedMemo::new(move |_| monitoring.with(|monitoring| monitoring.health.clone()));
    let certificate = ErasedMemo::new(move |_| monitoring.with(|monitoring| monitoring.certificate));
    let token = ErasedMemo::new(move |_| monitoring.with(|monitoring| monitoring.token.clone()));
    let result = move || {
        let health = health.get();
        let path = monitoring.with(|monitoring| monitoring.settings.health_path.clone());
        let code = health.status_code.map(|code| format!("{code}, "));
        let duration = health.duration_ms.map(intl::duration);
        view! {
            <Badge status=health.status />
            <p class="small muted"><code>{path}</code></p>
            {health.checked_at.map(|at| view! { <p class="small muted">{code}{duration}", "<RelativeTime at=at /></p> })}
            {health.error.map(|error| view! { <p class="small">{error}</p> })}
            {health.since.map(|at| view! { <p class="small muted">"Since "{intl::timestamp(at)}</p> })}
        }
    };
    let pause = move || {
        monitoring.with(|monitoring| {
            let MonitoringSettings { pause_after_minutes, resume_on_recovery, .. } = &monitoring.settings;
            match pause_after_minutes {
                None => "Off".to_owned(),
                Some(minutes) if *resume_on_recovery => {
                    format!("After {minutes} min of failure, resumed automatically")
                }
                Some(minutes) => format!("After {minutes} min of failure"),
            }
        })
    };
    let expiry = move || match certificate.get() {
        Some(certificate) => {
            let days = (certificate.expires_at - time::now()).num_days();
            let text = if certificate.expires_at <= time::now() {
                "Expired".to_owned()
            } else {
                format!("Expires in {days} days")
            };
            view! { {text}<p class="small muted">{intl::timestamp(certificate.expires_at)}</p> }.into_any()
        }
        None => view! { <span class="muted">"Not seen yet"</span> }.into_any(),
    };
    view! {
        <section class="card stack tight" aria-labelledby="health-title">
            <div class="row between">
                <h2 id="health-title">"Health"</h2>
                <ForWebhookManagers>
                    <Show when=move || has_check.get()>
                        <Button pending=mutation.pending on_click=check>"Check now"</Button>
                    </Show>
                </ForWebhookManagers>
            </div>
            <FormProblem problem=mutation.problem />
            <dl class="details-list">
                <dt>"Health check"</dt>
                <dd class="wrap">
                    <Show when=move || has_check.get() fallback=|| view! { <span class="muted">"Off"</span> }>{result}</Show>
                </dd>
                <dt>"Automatic pause"</dt>
                <dd>{pause}</dd>
                <dt>"Certificate"</dt>
                <dd>{expiry}</dd>
                {move || token.get().map(|token| view! { <dt>"OAuth token"</dt><dd class="wrap"><Token id=id token=token query=query /></dd> })}
            </dl>
        </section>
    }
}

/// The OAuth token, and the button that fetches a new one.
#[component]
fn Token(id: WebhookId, token: TokenStatus, query: Query<WebhookMonitoring>) -> impl IntoView {
    let mutation = Mutation::new();
    let fetch = Callback::new(move |()| mutation.run(rpc::fetch_oauth_token(id), move |_| query.refetch()));
    let obtained = match token.obtained_at {
        Some(at) => view! { "Obtained "<RelativeTime at=at /> }.into_any(),
        None => view! { <span class="muted">"None yet"</span> }.into_any(),
    };
    view! {
        {obtained}
        {token.expires_at.map(|at| view! { <p class="small muted">"Expires "{intl::timestamp(at)}</p> })}
        {token.error.map(|error| view! { <p class="small">{error}</p> })}
        <ForWebhookManagers>
            <div><Button pending=mutation.pending on_click=fetch>"Fetch new token"</Button></div>
        </ForWebhookManagers>
        <FormProblem problem=mutation.problem />
    }
}

/// The health check and the automatic pause.
#[component]
fn SettingsForm(id: WebhookId, monitoring: Monitoring, query: Query<WebhookMonitoring>) -> impl IntoView {
    let mutation = Mutation::new();
    let current: MonitoringSettings = monitoring.with_untracked(|monitoring| monitoring.settings.clone());
    let path = RwSignal::new(current.health_path.unwrap_or_default());
    let interval = RwSignal::new(current.health_interval_seconds.to_string());
    let pause_after = RwSignal::new(current.pause_after_minutes.map(|minutes| minutes.to_string()).unwrap_or_default());
    let resume = RwSignal::new(current.resume_on_recovery);
    let saved = RwSignal::new(false);
    let submit = Callback::new(move |()| {
        let text =
            |value: RwSignal<String>| Some(value.get_untracked().trim().to_owned()).filter(|text| !text.is_empty());
        // A text that is no number is outside every range.
        let number = |text: String| text.parse().unwrap_or(0);
        let patch = MonitoringPatch {
            health_path: Some(text(path)),
            health_interval_seconds: Some(text(interval).map_or(0, number)),
            pause_after_minutes: Some(text(pause_after).map(number)),
            resume_on_recovery: Some(resume.get_untracked()),
            rules: None,
        };
        saved.set(false);
        mutation.run(rpc::save_monitoring(id, patch), move |new| {
            saved.set(true);
            query.set(new);
        });
    });
    view! {
        <section class="card stack" aria-labelledby="monitoring-title">
            <h2 id="monitoring-title">"Monitoring"</h2>
            <Form on_submit=submit>
                <FormProblem problem=mutation.problem_except(&["health_path", "health_interval_seconds", "pause_after_minutes"]) />
                <TextInput
                    label="Health check path"
                    value=path
                    optional=true
                    mono=true
                    placeholder="/health"
                    hint="On the server of the endpoint. A response 2xx passes. Empty for no health check."
                    error=mutation.field_error("health_path")
                />
                <TextInput label="Interval (seconds)" value=interval numeric=true error=mutation.field_error("health_interval_seconds") />
                <TextInput
                    label="Pause after failing for (minutes)"
                    value=pause_after
                    optional=true
                    numeric=true
                    hint="Events stay queued while the webhook is paused. Empty for no automatic pause."
                    error=mutation.field_error("pause_after_minutes")
                />
                <Checkbox
                    label="Resume automatically"
                    value=resume
                    hint="When the health check passes again. Failed deliveries are redelivered. Otherwise Berth offers it to you."
                />
                <div class="row">
                    <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save monitoring"</Button>
                    <span role="status" class="small muted">{move || saved.get().then_some("Saved")}</span>
                </div>
            </Form>
        </section>
    }
}

/// The rules of the webhook with their states.
#[component]
fn Rules(id: WebhookId, monitoring: Monitoring, query: Query<WebhookMonitoring>) -> impl IntoView {
    let open = RwSignal::new(false);
    let rules = ErasedMemo::new(move |_| monitoring.with(|monitoring| monitoring.rules.clone()));
    let mutation = Mutation::new();
    let is_muted = Memo::new(move |_| rules.with(|rules| rules.iter().any(|rule| rule.muted_until.is_some())));
    let toggle = Callback::new(move |()| {
        let until = (!is_muted.get_untracked()).then(|| time::now() + Duration::hours(24));
        mutation.run(rpc::mute_alerts(id, MuteInput { kind: None, until }), move |new| query.set(new));
    });
    view! {
        <section class="card flush" aria-labelledby="webhook-rules-title">
            <div class="row between card-text">
                <h2 id="webhook-rules-title">"Alert rules"</h2>
                <ForWebhookManagers>
                    <span class="row">
                        <Button variant=ButtonVariant::Quiet pending=mutation.pending on_click=toggle>
                            {move || if is_muted.get() { "Unmute" } else { "Mute for 24 hours" }}
                        </Button>
                        <Button on_click=Callback::new(move |()| open.set(true))>"Edit rules"</Button>
                    </span>
                </ForWebhookManagers>
            </div>
            <FormProblem problem=mutation.problem />
            <ScrollableTable label="States of the alert rules">
                <table class="cards-on-phone">
                    <thead>
                        <tr>
                            <th>"Rule"</th>
                            <th>"Status"</th>
                            <th>"Value"</th>
                        </tr>
                    </thead>
                    <tbody>{move || rules.get().into_iter().map(|rule| view! { <RuleRow rule=rule /> }).collect_view()}</tbody>
                </table>
            </ScrollableTable>
        </section>
        <Dialog open=open title="Edit alert rules" wide=true>
            <RulesForm id=id rules=rules query=query open=open />
        </Dialog>
    }
}

#[component]
fn RuleRow(rule: WebhookRule) -> impl IntoView {
    let WebhookRule { rule, own, status, value, muted_until, .. } = rule;
    let value = value.map_or_else(|| "–".to_owned(), |value| rule.kind.format(value));
    let badge = if rule.enabled {
        view! { <Badge status=status /> }.into_any()
    } else {
        view! { <span class="muted">"Off"</span> }.into_any()
    };
    view! {
        <tr>
            <td data-label="Rule" class="wrap">
                <span>
                    {rule.kind.label()}
                    <br />
                    <span class="muted small">{describe(&rule)}{own.then_some(" (own rule)")}</span>
                </span>
            </td>
            <td data-label="Status">
                <span>{badge}{muted_until.map(|at| view! { <br /><span class="muted small">"Muted for "<Countdown at=at /></span> })}</span>
            </td>
            <td data-label="Value">{value}</td>
        </tr>
    }
}

#[component]
fn RulesForm(
    id: WebhookId,
    rules: ErasedMemo<Vec<WebhookRule>>,
    query: Query<WebhookMonitoring>,
    open: RwSignal<bool>,
) -> impl IntoView {
    let mutation = Mutation::new();
    let fields: Vec<RuleFields> =
        rules.with_untracked(|rules| rules.iter().map(|rule| RuleFields::new(&rule.rule, rule.own)).collect());
    let stored = StoredValue::new(fields.clone());
    let submit = Callback::new(move |()| {
        if let Some(rules) = read(&stored.get_value(), mutation) {
            let patch = MonitoringPatch { rules: Some(rules), ..Default::default() };
            mutation.run(rpc::save_monitoring(id, patch), move |new| {
                open.set(false);
                query.set(new);
            });
        }
    });
    view! {
        <Form on_submit=submit>
            <FormProblem problem=mutation.problem_without_fields() />
            <RuleList fields=fields mutation=mutation own=true />
            <div class="dialog-actions">
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save rules"</Button>
            </div>
        </Form>
    }
}
