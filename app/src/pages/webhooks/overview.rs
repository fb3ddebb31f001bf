//! How a webhook does: figures, and where each event goes.

use super::{Standing, list::overview_rate};
use crate::components::*;
use crate::live::{LiveEvent, use_live};
use crate::load::load;
use crate::rpc::webhooks as rpc;
use crate::time;
use crate::values::Value;
use domain::webhook::{AuthView, StatsPoint, StatsWindow, Webhook, WebhookStats};
use leptos::prelude::*;

/// The overview of a webhook.
#[component]
pub fn Overview(webhook: Value<Webhook>) -> impl IntoView {
    let id = webhook.with_untracked(|w| w.id);
    let span = RwSignal::new("24h".to_owned());
    let window = move || match span.get().as_str() {
        "1h" => StatsWindow::Hour,
        "7d" => StatsWindow::Week,
        _ => StatsWindow::Day,
    };
    let stats = load(move || rpc::webhook_stats(id, window()));
    use_live().on(move |event| match event {
        LiveEvent::Delivery(d) if d.webhook_id == id && d.status.is_final() => stats.again_soon(),
        LiveEvent::Resync => stats.again(),
        _ => {}
    });
    let waiting = move || webhook.with(|w| w.summary.waiting);
    view! {
        <div class="stack">
            <section class="stack tight">
                <div class="row between">
                    <h2 class="row">"Deliveries "<Standing webhook=webhook /></h2>
                    <Select label="Window" value=span options=words([("1h", "Last hour"), ("24h", "Last 24 hours"), ("7d", "Last 7 days")]) />
                </div>
                {stats.show(move |stats| view! { <Figures stats=stats waiting=Signal::derive(waiting) /> })}
            </section>
            <div class="columns">
                <Destinations webhook=webhook />
                <Facts webhook=webhook />
            </div>
        </div>
    }
}

#[component]
fn Figures(stats: Value<WebhookStats>, waiting: Signal<u64>) -> impl IntoView {
    let figure = |name: &'static str, value: Signal<String>| {
        view! {
            <div class="card figure">
                <dt>{name}</dt>
                <dd>{move || value.get()}</dd>
            </div>
        }
        .into_any()
    };
    let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), time::duration);
    view! {
        <dl class="figures">
            {figure("Succeeded", Signal::derive(move || stats.with(|s| s.succeeded.to_string())))}
            {figure("Failed", Signal::derive(move || stats.with(|s| s.failed.to_string())))}
            {figure("Queued", Signal::derive(move || waiting.get().to_string()))}
            {figure("Success rate", Signal::derive(move || stats.with(|s| overview_rate(s.error_rate.map(|e| 1.0 - e)))))}
            {figure("p50", Signal::derive(move || stats.with(|s| ms(s.p50_ms))))}
            {figure("p95", Signal::derive(move || stats.with(|s| ms(s.p95_ms))))}
            {figure("p99", Signal::derive(move || stats.with(|s| ms(s.p99_ms))))}
        </dl>
        <Chart stats=stats />
    }
}

const HEIGHT: f64 = 90.0;

/// Succeeded and failed over time. A picture; the figures beside it say the same in words.
#[component]
fn Chart(stats: Value<WebhookStats>) -> impl IntoView {
    let bars = move || {
        stats.with(|stats| {
            let most = stats.series.iter().map(|p| p.succeeded + p.failed).max().unwrap_or(0).max(1) as f64;
            let width = 600.0 / stats.series.len().max(1) as f64;
            let bar = |(n, point): (usize, &StatsPoint)| {
                let good = point.succeeded as f64 / most * HEIGHT;
                let bad = point.failed as f64 / most * HEIGHT;
                let x = format!("{:.2}", n as f64 * width + width * 0.1);
                let w = format!("{:.2}", width * 0.8);
                let tip = format!("{}: {} succeeded, {} failed", time::absolute(point.at), point.succeeded, point.failed);
                view! {
                    <g>
                        <title>{tip}</title>
                        <rect class="good" x=x.clone() y=format!("{:.2}", HEIGHT - good) width=w.clone() height=format!("{good:.2}")></rect>
                        <rect class="bad" x=x y=format!("{:.2}", HEIGHT - good - bad) width=w height=format!("{bad:.2}")></rect>
                    </g>
                }.into_any()
            };
            stats.series.iter().enumerate().map(bar).collect_view()
        })
    };
    let ends = move || stats.with(|s| s.series.first().map(|p| time::absolute(p.at)));
    view! {
        <figure class="card chart">
            <svg viewBox="0 0 600 90" preserveAspectRatio="none" role="img" aria-label="Deliveries over time">{bars}</svg>
            <figcaption class="row between small muted">
                <span>{ends}</span>
                <span>"now"</span>
            </figcaption>
        </figure>
    }
}

/// Which URL each event goes to.
#[component]
fn Destinations(webhook: Value<Webhook>) -> impl IntoView {
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
                                    }.into_any()
                                })
                                .collect_view()
                        })
                }}
            </ul>
        </section>
    }
}

#[component]
fn Facts(webhook: Value<Webhook>) -> impl IntoView {
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
            waits => {
                let noun = if waits.len() == 1 { "retry" } else { "retries" };
                format!("{} {noun}: {}", waits.len(), waits.iter().map(|s| waited(*s)).collect::<Vec<_>>().join(", "))
            }
        })
    };
    let made = Signal::derive(move || webhook.with(|w| w.created_at));
    let changed = Signal::derive(move || webhook.with(|w| w.updated_at));
    view! {
        <section class="card">
            <h2>"Details"</h2>
            <dl class="facts">
                <dt>"Webhook ID"</dt>
                <dd><code>{move || webhook.with(|w| w.id)}</code></dd>
                <dt>"Receives"</dt>
                <dd>{move || webhook.with(super::about)}</dd>
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
                <dd><Ago at=made /></dd>
                <dt>"Updated"</dt>
                <dd><Ago at=changed /></dd>
            </dl>
        </section>
    }
}

/// A wait in the largest unit that fits.
pub fn waited(seconds: u32) -> String {
    match seconds {
        s if s >= 3_600 && s.is_multiple_of(3_600) => format!("{} h", s / 3_600),
        s if s >= 60 && s.is_multiple_of(60) => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}
