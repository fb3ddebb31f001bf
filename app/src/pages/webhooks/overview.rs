//! The overview tab of a webhook: statistics, endpoints and details.

use super::{WebhookBadge, received_types, retry_delay, success_rate};
use crate::components::*;
use crate::erased::ErasedMemo;
use crate::intl;
use crate::live::{LiveEvent, use_live};
use crate::query::Query;
use crate::rpc::webhooks as rpc;
use domain::webhook::{AuthView, StatsPoint, StatsWindow, Webhook, WebhookStats};
use leptos::prelude::*;

/// The overview tab.
#[component]
pub fn Overview(#[prop(into)] webhook: ErasedMemo<Webhook>) -> impl IntoView {
    let id = webhook.with_untracked(|w| w.id);
    let window = RwSignal::new("24h".to_owned());
    let stats_window = move || match window.get().as_str() {
        "1h" => StatsWindow::Hour,
        "7d" => StatsWindow::Week,
        _ => StatsWindow::Day,
    };
    let stats = Query::new(move || rpc::webhook_stats(id, stats_window()));
    use_live().on(move |event| {
        if matches!(event, LiveEvent::Delivery(d) if d.webhook_id == id && d.status.is_final()) {
            stats.refetch_soon();
        }
    });
    let queued = Signal::derive(move || webhook.with(|w| w.summary.waiting));
    view! {
        <div class="stack">
            <section class="stack tight">
                <div class="row between">
                    <h2 class="row">"Deliveries "<WebhookBadge webhook=webhook /></h2>
                    <Select label="Window" value=window options=select_options([("1h", "Last hour"), ("24h", "Last 24 hours"), ("7d", "Last 7 days")]) />
                </div>
                {stats.view(move |stats| view! { <Figures stats=stats queued=queued /> })}
            </section>
            <div class="columns">
                <Endpoints webhook=webhook />
                <Details webhook=webhook />
            </div>
        </div>
    }
}

#[component]
fn Figures(stats: ErasedMemo<WebhookStats>, queued: Signal<u64>) -> impl IntoView {
    let figure = |name: &'static str, value: Signal<String>| {
        view! {
            <div class="card figure">
                <dt>{name}</dt>
                <dd>{move || value.get()}</dd>
            </div>
        }
    };
    let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), intl::duration);
    view! {
        <dl class="figures">
            {figure("Succeeded", Signal::derive(move || intl::number(stats.with(|s| s.succeeded))))}
            {figure("Failed", Signal::derive(move || intl::number(stats.with(|s| s.failed))))}
            {figure("Queued", Signal::derive(move || intl::number(queued.get())))}
            {figure("Success rate", Signal::derive(move || stats.with(|s| success_rate(s.error_rate.map(|e| 1.0 - e)))))}
            {figure("p50", Signal::derive(move || stats.with(|s| ms(s.p50_ms))))}
            {figure("p95", Signal::derive(move || stats.with(|s| ms(s.p95_ms))))}
            {figure("p99", Signal::derive(move || stats.with(|s| ms(s.p99_ms))))}
        </dl>
        <Chart stats=stats />
    }
}

/// The size of the chart in its own units.
const WIDTH: f64 = 600.0;
/// See [`WIDTH`].
const HEIGHT: f64 = 90.0;

/// Succeeded and failed deliveries over time.
#[component]
fn Chart(stats: ErasedMemo<WebhookStats>) -> impl IntoView {
    let bars = move || {
        stats.with(|stats| {
            let max = stats.series.iter().map(|p| p.succeeded + p.failed).max().unwrap_or(0).max(1) as f64;
            let width = WIDTH / stats.series.len().max(1) as f64;
            let bar = |(n, point): (usize, &StatsPoint)| {
                let good = point.succeeded as f64 / max * HEIGHT;
                let bad = point.failed as f64 / max * HEIGHT;
                let x = format!("{:.2}", n as f64 * width + width * 0.1);
                let w = format!("{:.2}", width * 0.8);
                let tooltip = format!(
                    "{}: {} succeeded, {} failed",
                    intl::timestamp(point.at),
                    intl::number(point.succeeded),
                    intl::number(point.failed)
                );
                view! {
                    <g>
                        <title>{tooltip}</title>
                        <rect class="good" x=x.clone() y=format!("{:.2}", HEIGHT - good) width=w.clone() height=format!("{good:.2}")></rect>
                        <rect class="bad" x=x y=format!("{:.2}", HEIGHT - good - bad) width=w height=format!("{bad:.2}")></rect>
                    </g>
                }
            };
            stats.series.iter().enumerate().map(bar).collect_view()
        })
    };
    let start = move || stats.with(|s| s.series.first().map(|p| intl::timestamp(p.at)));
    view! {
        <figure class="card chart">
            <svg viewBox=format!("0 0 {WIDTH} {HEIGHT}") preserveAspectRatio="none" role="img" aria-label="Deliveries over time">{bars}</svg>
            <figcaption class="row between small muted">
                <span>{start}</span>
                <span>"now"</span>
            </figcaption>
        </figure>
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
                <dt>"Responses"</dt>
                <dd>{move || webhook.with(|w| if w.provisions { "Update the reservation" } else { "Logged only" })}</dd>
                <dt>"Authentication"</dt>
                <dd>{auth}</dd>
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
