//! The channels of alerts, and the reader's own e-mails.

use crate::components::*;
use crate::erased::{ErasedMemo, ErasedSignal};
use crate::query::{Mutation, Query};
use crate::rpc::alerts as rpc;
use crate::session::ForAdministrators;
use domain::alert::{
    AlertChannels, AlertChannelsInput, AlertPreferences, ChannelResult, ChannelStatus, NoticeFormat,
    OperationsWebhookInput,
};
use leptos::prelude::*;

/// The channels.
#[component]
pub fn Channels() -> impl IntoView {
    let query = Query::new(rpc::read_alert_channels);
    let open = RwSignal::new(false);
    let secret = RwSignal::new(None::<String>);
    view! {
        <section class="card stack" aria-labelledby="channels-title">
            <div class="row between">
                <h2 id="channels-title">"Channels"</h2>
                <ForAdministrators>
                    <Button on_click=Callback::new(move |()| open.set(true))>"Edit operations webhook"</Button>
                </ForAdministrators>
            </div>
            {query.view(move |channels: ErasedMemo<AlertChannels>| {
                view! {
                    <dl class="details-list">
                        <dt>"E-mail"</dt>
                        <dd class="wrap">
                            {move || {
                                let from = channels.with(|channels| channels.email_from.clone());
                                from.map_or_else(
                                    || "Not configured. The operator sets BERTH_SMTP_URL and BERTH_SMTP_FROM.".to_owned(),
                                    |from| format!("Sent from {from} to administrators and owners"),
                                )
                            }}
                            <ChannelState status=ErasedMemo::new(move |_| channels.with(|channels| channels.email.clone())) />
                        </dd>
                        <dt>"Operations webhook"</dt>
                        <dd class="wrap">
                            {move || {
                                let webhook = channels.with(|channels| channels.webhook.clone());
                                webhook.map_or_else(
                                    || "None".to_owned(),
                                    |webhook| {
                                        let state = if webhook.enabled { "" } else { ", off" };
                                        format!("{} ({}{state})", webhook.url_hint, format_label(webhook.format))
                                    },
                                )
                            }}
                            <ChannelState status=ErasedMemo::new(move |_| channels.with(|channels| channels.webhook_status.clone())) />
                        </dd>
                    </dl>
                    {move || secret.get().map(|secret| view! {
                        <Notice kind=NoticeKind::Success>
                            <p>"Signing secret of the operations webhook. It is not shown again."</p>
                            <code class="wrap">{secret.clone()}</code>
                            <CopyButton text=RwSignal::new(secret) label="Copy signing secret" />
                        </Notice>
                    })}
                    <ForAdministrators><TestAlert query=query /></ForAdministrators>
                    <Dialog open=open title="Operations webhook">
                        <ChannelForm channels=channels query=query open=open secret=secret />
                    </Dialog>
                }
            })}
        </section>
    }
}

fn format_label(format: NoticeFormat) -> &'static str {
    match format {
        NoticeFormat::Berth => "Berth JSON",
        NoticeFormat::Slack => "Slack message",
    }
}

/// The last notices of a channel.
#[component]
fn ChannelState(status: ErasedMemo<ChannelStatus>) -> impl IntoView {
    move || {
        let status = status.get();
        let queued = (status.queued > 0).then(|| format!("{} queued", status.queued));
        view! {
            {status.last_sent_at.map(|at| view! { <p class="small muted">"Last sent "<RelativeTime at=at /></p> })}
            {queued.map(|text| view! { <p class="small muted">{text}</p> })}
            {status.last_error.map(|error| view! { <p class="small">{error}</p> })}
        }
    }
}

/// Sends a test alert, and shows the result of each channel.
#[component]
fn TestAlert(query: Query<AlertChannels>) -> impl IntoView {
    let mutation = Mutation::new();
    let results = ErasedSignal::new(Vec::<ChannelResult>::new());
    let send = Callback::new(move |()| {
        results.set(Vec::new());
        mutation.run(rpc::send_test_alert(), move |test| {
            results.set(test.results);
            query.refetch();
        });
    });
    let result = |result: ChannelResult| {
        let (kind, text) = match result.error {
            None => (NoticeKind::Success, format!("Sent to {}", result.recipient)),
            Some(error) => (NoticeKind::Warning, format!("{}: {error}", result.recipient)),
        };
        view! { <Notice kind=kind><p>{text}</p></Notice> }
    };
    view! {
        <div><Button pending=mutation.pending on_click=send><IconView icon=Icon::Send />"Send test alert"</Button></div>
        <FormProblem problem=mutation.problem />
        <div class="stack tight" aria-live="polite">{move || results.get().into_iter().map(result).collect_view()}</div>
    }
}

#[component]
fn ChannelForm(
    channels: ErasedMemo<AlertChannels>,
    query: Query<AlertChannels>,
    open: RwSignal<bool>,
    secret: RwSignal<Option<String>>,
) -> impl IntoView {
    let mutation = Mutation::new();
    let stored = channels.with_untracked(|channels| channels.webhook.clone());
    let exists = stored.is_some();
    let url = RwSignal::new(String::new());
    let own_secret = RwSignal::new(String::new());
    let format = RwSignal::new(stored.as_ref().map(|webhook| webhook.format).unwrap_or_default().as_str().to_owned());
    let enabled = RwSignal::new(stored.as_ref().is_none_or(|webhook| webhook.enabled));
    let saved = move |new: AlertChannels| {
        open.set(false);
        secret.set(new.secret.clone());
        query.set(AlertChannels { secret: None, ..new });
    };
    let submit = Callback::new(move |()| {
        let entered =
            |text: RwSignal<String>| Some(text.get_untracked().trim().to_owned()).filter(|text| !text.is_empty());
        let webhook = OperationsWebhookInput {
            url: entered(url),
            format: NoticeFormat::parse(&format.get_untracked()),
            enabled: Some(enabled.get_untracked()),
            secret: entered(own_secret),
        };
        mutation.run(rpc::save_alert_channels(AlertChannelsInput { webhook: Some(webhook) }), saved);
    });
    let remove = Callback::new(move |()| mutation.run(rpc::save_alert_channels(AlertChannelsInput::default()), saved));
    let url_hint =
        stored.map_or_else(String::new, |webhook| format!("Now {}. Leave empty to keep it.", webhook.url_hint));
    let secret_hint =
        if exists { "Leave empty to keep the present one." } else { "Generated if empty, and shown once." };
    view! {
        <Form on_submit=submit>
            <FormProblem problem=mutation.problem_except(&["webhook.url", "webhook.secret"]) />
            <TextInput label="URL" value=url hint=url_hint mono=true placeholder="https://" error=mutation.field_error("webhook.url") />
            <Select label="Format" value=format options=select_options([("berth", "Berth JSON, signed"), ("slack", "Slack message")]) />
            <TextInput label="Signing secret" value=own_secret hint=secret_hint optional=true mono=true error=mutation.field_error("webhook.secret") />
            <Checkbox label="Send alerts" value=enabled />
            <div class="dialog-actions">
                {exists.then(|| view! { <Button variant=ButtonVariant::Danger pending=mutation.pending on_click=remove>"Remove webhook"</Button> })}
                <Button on_click=Callback::new(move |()| open.set(false))>"Cancel"</Button>
                <Button variant=ButtonVariant::Primary submit=true pending=mutation.pending>"Save webhook"</Button>
            </div>
        </Form>
    }
}

/// The reader's own e-mails.
#[component]
pub fn Preferences() -> impl IntoView {
    let query = Query::new(rpc::read_alert_preferences);
    let mutation = Mutation::new();
    let change = Callback::new(move |email: bool| {
        mutation.run(rpc::save_alert_preferences(AlertPreferences { email }), move |new| query.set(new));
    });
    view! {
        <section class="card stack tight" aria-labelledby="preferences-title">
            <h2 id="preferences-title">"Your e-mails"</h2>
            {query.view(move |preferences: ErasedMemo<AlertPreferences>| {
                let on = Signal::derive(move || preferences.get().email);
                view! {
                    <span class="row">
                        <Switch label="Alerts by e-mail" on=on pending=mutation.pending on_change=change />
                        <span>"Send alerts about your webhooks to your e-mail address"</span>
                    </span>
                }
            })}
            <FormProblem problem=mutation.problem />
        </section>
    }
}
