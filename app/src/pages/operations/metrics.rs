//! Throughput, success rate, durations and backlog, with charts over time.

use crate::components::*;
use crate::erased::ErasedMemo;
use crate::live::{LiveEvent, use_live};
use crate::pages::chart::{Chart, ChartData, ChartLink, ChartSeries, ChartShape};
use crate::query::Query;
use crate::query_signals::query_signals;
use crate::rpc::deliveries as rpc;
use crate::{intl, time};
use chrono::{DateTime, Duration, Utc};
use domain::id::WebhookId;
use domain::metrics::{AttemptCounts, DeliveryMetrics, MetricsPoint, MetricsQuery, ResponseClass};
use leptos::prelude::*;

/// The ranges: the value in the address, the label, and the length in hours.
const RANGES: [(&str, &str, i64); 5] =
    [("1h", "1 h", 1), ("24h", "24 h", 24), ("7d", "7 d", 168), ("30d", "30 d", 720), ("90d", "90 d", 2_160)];
/// The range without a parameter in the address.
const DEFAULT_RANGE: &str = "24h";
/// The colours of rows without a meaning of their own.
const CLASSES: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

/// The length of a range in hours.
fn hours(range: &str) -> i64 {
    RANGES.iter().find(|(value, ..)| *value == range).map_or(24, |(.., hours)| *hours)
}

/// The metrics of all webhooks, or of one.
#[component]
pub fn Metrics(#[prop(optional)] webhook: Option<WebhookId>) -> impl IntoView {
    let [range] = query_signals([("range", DEFAULT_RANGE)]);
    let metrics = Query::new(move || {
        let from = time::now() - Duration::hours(hours(&range.get()));
        rpc::metrics(MetricsQuery { from: Some(from), webhook_id: webhook, ..MetricsQuery::default() })
    });
    use_live().on(move |event| {
        if matches!(event, LiveEvent::Delivery(new) if webhook.is_none_or(|id| new.webhook_id == id)) {
            metrics.refetch_with_index();
        }
    });
    let button = move |(value, label, _): (&'static str, &'static str, i64)| {
        view! {
            <button
                type="button"
                aria-pressed=move || (range.get() == value).to_string()
                on:click=move |_| range.set(value.to_owned())
            >
                {label}
            </button>
        }
    };
    view! {
        <section class="stack" aria-labelledby="metrics-title">
            <div class="row between">
                <h2 id="metrics-title">"Deliveries"</h2>
                <div class="segments" role="group" aria-label="Period">{RANGES.map(button).into_iter().collect_view()}</div>
            </div>
            {metrics.view(move |metrics| {
                view! {
                    <Figures metrics=metrics webhook=webhook />
                    <Charts metrics=metrics webhook=webhook />
                    {move || metrics.with(|metrics| !metrics.index.complete).then(|| view! {
                        <p class="small muted">"The newest attempts are not counted yet."</p>
                    })}
                }
            })}
        </section>
    }
}

/// A duration, or a dash.
fn duration_text(ms: Option<f64>) -> String {
    ms.map_or_else(|| "–".to_owned(), intl::duration)
}

/// The throughput in words, e.g. `12 per hour`.
fn throughput(metrics: &DeliveryMetrics) -> String {
    let minutes = (metrics.to - metrics.from).num_minutes().max(1) as f64;
    let attempts = metrics.total.attempts as f64;
    let (rate, unit) = match attempts / minutes {
        rate if rate >= 1.0 => (rate, "per minute"),
        rate if rate * 60.0 >= 1.0 => (rate * 60.0, "per hour"),
        rate => (rate * 1_440.0, "per day"),
    };
    if attempts == 0.0 { String::new() } else { format!("{} {unit}", intl::number(rate.round() as u64)) }
}

#[component]
fn Figures(metrics: ErasedMemo<DeliveryMetrics>, webhook: Option<WebhookId>) -> impl IntoView {
    let total = move || metrics.with(|metrics| metrics.total.clone());
    let success = move || total().success_rate.map_or_else(|| "–".to_owned(), intl::percent);
    let failed = move || match total() {
        AttemptCounts { attempts: 0, .. } => "no attempts".to_owned(),
        AttemptCounts { failed: 0, .. } => "no failed attempts".to_owned(),
        AttemptCounts { failed: 1, .. } => "1 failed attempt".to_owned(),
        AttemptCounts { failed, .. } => format!("{} failed attempts", intl::number(failed)),
    };
    let oldest = move || match metrics.with(|metrics| metrics.backlog.oldest.clone()) {
        None => "nothing waits".into_any(),
        Some(oldest) => {
            let to = webhook.is_none().then(|| format!(" for {}", oldest.webhook_name));
            view! {
                <a href=format!("/deliveries/{}", oldest.delivery_id)>"oldest"</a>
                " "<RelativeTime at=oldest.created_at />{to}
            }
            .into_any()
        }
    };
    view! {
        <dl class="figures operations-figures">
            <div class="card figure">
                <dt>"Success rate"</dt>
                <dd>{success}</dd>
                <dd class="figure-note">{failed}</dd>
            </div>
            <div class="card figure">
                <dt>"Response time p95"</dt>
                <dd>{move || duration_text(total().p95_ms)}</dd>
                <dd class="figure-note">
                    {move || { let total = total(); format!("p50 {}, p99 {}", duration_text(total.p50_ms), duration_text(total.p99_ms)) }}
                </dd>
            </div>
            <div class="card figure">
                <dt>"Attempts"</dt>
                <dd>{move || intl::number(total().attempts)}</dd>
                <dd class="figure-note">{move || metrics.with(throughput)}</dd>
            </div>
            <div class="card figure">
                <dt>"Backlog"</dt>
                <dd>{move || metrics.with(|metrics| intl::number(metrics.backlog.queued))}</dd>
                <dd class="figure-note">{oldest}</dd>
            </div>
        </dl>
    }
}

/// The address of the deliveries of a point, with an additional parameter.
fn address(webhook: Option<WebhookId>, from: DateTime<Utc>, to: DateTime<Utc>, filter: Option<(&str, &str)>) -> String {
    let (since, until) = (time::to_parameter(from), time::to_parameter(to));
    let webhook = webhook.map(|id| id.to_string());
    let parameters =
        [("webhook", webhook.as_deref()), ("since", Some(since.as_str())), ("until", Some(until.as_str()))];
    let set = parameters.into_iter().filter_map(|(name, value)| Some((name, value?))).chain(filter);
    let pairs: Vec<_> = set.map(|(name, value)| format!("{name}={}", js_sys::encode_uri_component(value))).collect();
    format!("/deliveries?{}", pairs.join("&"))
}

/// A chart of the metrics.
fn chart(metrics: &DeliveryMetrics, shape: ChartShape, series: Vec<ChartSeries>) -> ChartData {
    ChartData { from: metrics.from, step: Duration::seconds(metrics.step), steps: metrics.series.len(), shape, series }
}

fn by_outcome(metrics: &DeliveryMetrics) -> ChartData {
    let counts =
        |count: fn(&AttemptCounts) -> u64| metrics.series.iter().map(|point| count(&point.counts)).collect::<Vec<_>>();
    let series = vec![
        ChartSeries::counts("failed", "bad", &counts(|counts| counts.failed)),
        ChartSeries::counts("succeeded", "neutral", &counts(|counts| counts.attempts.saturating_sub(counts.failed))),
    ];
    chart(metrics, ChartShape::Bars, series)
}

fn durations(metrics: &DeliveryMetrics) -> ChartData {
    let line = |label: &str, class, value: fn(&AttemptCounts) -> Option<f64>| ChartSeries {
        label: label.to_owned(),
        class,
        values: metrics.series.iter().map(|point: &MetricsPoint| value(&point.counts)).collect(),
    };
    let series = vec![
        line("p50", "two", |counts| counts.p50_ms),
        line("p95", "one", |counts| counts.p95_ms),
        line("p99", "four", |counts| counts.p99_ms),
    ];
    chart(metrics, ChartShape::Lines, series)
}

/// The label and colour of a class of responses.
fn class_style(class: ResponseClass) -> (&'static str, &'static str) {
    match class {
        ResponseClass::Success => ("2xx", "neutral"),
        ResponseClass::Redirect => ("3xx", "two"),
        ResponseClass::ClientError => ("4xx", "warn"),
        ResponseClass::ServerError => ("5xx", "bad"),
        ResponseClass::NoResponse => ("no response", "one"),
    }
}

fn by_class(metrics: &DeliveryMetrics) -> ChartData {
    let series = metrics.by_class.iter().map(|of| {
        let (label, class) = class_style(of.class);
        ChartSeries::counts(label, class, &of.series)
    });
    chart(metrics, ChartShape::Bars, series.collect())
}

fn by_event(metrics: &DeliveryMetrics) -> ChartData {
    let series = metrics
        .by_event
        .iter()
        .zip(CLASSES.into_iter().cycle())
        .map(|(of, class)| ChartSeries::counts(of.event_type.as_str(), class, &of.series));
    chart(metrics, ChartShape::Bars, series.collect())
}

#[component]
fn Charts(metrics: ErasedMemo<DeliveryMetrics>, webhook: Option<WebhookId>) -> impl IntoView {
    type At = (Option<usize>, DateTime<Utc>, DateTime<Utc>);
    let all: ChartLink = Callback::new(move |(_, from, to): At| address(webhook, from, to, None));
    let outcome: ChartLink = Callback::new(move |(series, from, to): At| {
        let q = match series {
            Some(0) => Some(("q", "status:failed,retrying")),
            Some(_) => Some(("status", "succeeded")),
            None => None,
        };
        address(webhook, from, to, q)
    });
    let class: ChartLink = Callback::new(move |(series, from, to): At| {
        let class = metrics.with_untracked(|metrics| series.and_then(|n| metrics.by_class.get(n)).map(|of| of.class));
        let q = class.map(|class| format!("code:{}", class.as_str()));
        address(webhook, from, to, q.as_deref().map(|q| ("q", q)))
    });
    let event: ChartLink = Callback::new(move |(series, from, to): At| {
        let event =
            metrics.with_untracked(|metrics| series.and_then(|n| metrics.by_event.get(n)).map(|of| of.event_type));
        address(webhook, from, to, event.map(|event| ("event", event.as_str())))
    });
    let count: fn(f64) -> String = |value| intl::number(value as u64);
    let of = move |data: fn(&DeliveryMetrics) -> ChartData| ErasedMemo::new(move |_| metrics.with(data));
    let card = |title: &'static str, data: ErasedMemo<ChartData>, format: fn(f64) -> String, link: ChartLink| {
        view! {
            <section class="card chart-card" aria-label=title>
                <h3>{title}</h3>
                <Chart label=Signal::stored(title.to_owned()) data=data format=format link=link />
            </section>
        }
    };
    view! {
        <div class="charts">
            {card("Attempts by outcome", of(by_outcome), count, outcome)}
            {card("Response time", of(durations), intl::duration, all)}
            {card("Attempts by response", of(by_class), count, class)}
            {card("Attempts by event", of(by_event), count, event)}
        </div>
    }
}
