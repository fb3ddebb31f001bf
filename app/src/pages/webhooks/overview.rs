//! The overview tab of a webhook: metrics, endpoints and details.

use super::{received_types, retry_delay};
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::pages::areas;
use domain::webhook::{AuthView, EventFilter, TlsView, Webhook};
use leptos::prelude::*;

/// The overview tab.
#[component]
pub fn Overview(#[prop(into)] webhook: ErasedMemo<Webhook>) -> impl IntoView {
    let id = webhook.with_untracked(|w| w.id);
    view! {
        <div class="stack">
            {areas::show_part(areas::charts::Screen::MetricsOf(id))}
            <div class="columns">
                <Endpoints webhook=webhook />
                <Details webhook=webhook />
            </div>
        </div>
    }
}

/// The URL of each event.
#[component]
fn Endpoints(#[prop(into)] webhook: ErasedMemo<Webhook>) -> impl IntoView {
    view! {
        <section class="card">
            <h2>"Endpoints"</h2>
            <ul class="destinations">
                {move || {
                    webhook
                        .with(|w| {
                            w.events
                                .iter()
                                .map(|event| {
                                    view! {
                                        <li>
                                            <span>{event.label()}</span>
                                            <code>"POST "{w.delivery_paths.url(&w.endpoint_url, *event)}</code>
                                        </li>
                                    }
                                })
                                .collect_view()
                        })
                }}
            </ul>
        </section>
    }
}

/// A content filter in words.
fn describe_filter(filter: &EventFilter) -> String {
    let resources = match filter.resource_ids.as_slice() {
        [] => None,
        [one] => Some(format!("resource {one}")),
        ids => Some(format!("resources {}", ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", "))),
    };
    let conditions =
        filter.fields.iter().map(|condition| format!("{} = {}", condition.field, condition.values.join(" or ")));
    let parts: Vec<_> = resources.into_iter().chain(conditions).collect();
    if parts.is_empty() { "None".to_owned() } else { parts.join("; ") }
}

/// The client certificate with its end of validity, and the number of own authorities.
fn describe_tls(tls: Option<&TlsView>) -> String {
    let Some(tls) = tls else { return "Authorities of the system".to_owned() };
    let client = tls.client();
    let client =
        client.map(|one| format!("Client certificate {}, expires {}", one.subject, intl::timestamp(one.expires_at)));
    let authorities = match tls.ca_details.len() {
        0 => None,
        1 => Some("1 custom CA".to_owned()),
        count => Some(format!("{count} custom CAs")),
    };
    client.into_iter().chain(authorities).collect::<Vec<_>>().join("; ")
}

/// The settings of the webhook.
#[component]
fn Details(#[prop(into)] webhook: ErasedMemo<Webhook>) -> impl IntoView {
    let auth = move || {
        webhook.with(|w| match &w.auth {
            AuthView::None => "Signature only".to_owned(),
            AuthView::ApiKey { header } => format!("API key in {header}"),
            AuthView::Oauth2 { token_url, .. } => format!("OAuth 2.0, token URL {token_url}"),
        })
    };
    let retries = move || {
        webhook.with(|w| match w.retry.delays.as_slice() {
            [] => "None".to_owned(),
            delays => {
                let noun = if delays.len() == 1 { "retry" } else { "retries" };
                format!(
                    "{} {noun}: {}",
                    delays.len(),
                    delays.iter().map(|s| retry_delay(*s)).collect::<Vec<_>>().join(", ")
                )
            }
        })
    };
    let created = Signal::derive(move || webhook.with(|w| w.created_at));
    let updated = Signal::derive(move || webhook.with(|w| w.updated_at));
    view! {
        <section class="card">
            <h2>"Details"</h2>
            <dl class="details-list">
                <dt>"Webhook ID"</dt>
                <dd><code>{move || webhook.with(|w| w.id)}</code></dd>
                <dt>"Receives"</dt>
                <dd>{move || webhook.with(received_types)}</dd>
                <dt>"Delivery"</dt>
                <dd>{move || webhook.with(|w| if w.is_local() { "By a local listener" } else { "HTTP requests of Berth" })}</dd>
                <dt>"Payload format"</dt>
                <dd>{move || webhook.with(|w| w.payload_format.label())}</dd>
                <dt>"Provisioning"</dt>
                <dd>{move || webhook.with(|w| w.provision.label())}</dd>
                <dt>"Content filter"</dt>
                <dd class="wrap">{move || webhook.with(|w| describe_filter(&w.filter))}</dd>
                <dt>"Responses"</dt>
                <dd>{move || webhook.with(|w| if w.provisions { "Update the reservation" } else { "Logged only" })}</dd>
                <dt>"Authentication"</dt>
                <dd>{auth}</dd>
                <dt>"TLS"</dt>
                <dd class="wrap">{move || webhook.with(|w| describe_tls(w.tls.as_ref()))}</dd>
                <dt>"Signing secret"</dt>
                <dd><code>{move || webhook.with(|w| format!("…{}", w.secret_hint))}</code></dd>
                <dt>"Retries"</dt>
                <dd>{retries}</dd>
                <dt>"Concurrent requests"</dt>
                <dd>{move || webhook.with(|w| w.max_in_flight)}</dd>
                <dt>"Rate limit"</dt>
                <dd>{move || webhook.with(|w| w.rate_limit.map_or_else(|| "None".to_owned(), |n| format!("{n} per second")))}</dd>
                <dt>"Created"</dt>
                <dd><RelativeTime at=created /></dd>
                <dt>"Updated"</dt>
                <dd><RelativeTime at=updated /></dd>
            </dl>
        </section>
    }
}
