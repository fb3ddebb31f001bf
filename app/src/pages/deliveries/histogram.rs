//! The histogram above the list: matching deliveries over time. A selection becomes the time filter.

use crate::erased::ErasedMemo;
use crate::live::{LiveEvent, use_live};
use crate::pages::chart::{Chart, ChartData, ChartSeries, ChartShape};
use crate::query::Query;
use crate::rpc::deliveries as rpc;
use crate::{intl, time};
use chrono::{DateTime, Duration, Utc};
use domain::delivery::DeliveryFilter;
use domain::metrics::DeliveryHistogram;
use leptos::prelude::*;
use leptos_router::hooks::{use_location, use_query_map};

/// Succeeded or open, and failed deliveries.
fn chart_data(histogram: &DeliveryHistogram) -> ChartData {
    let others: Vec<u64> =
        histogram.total.iter().zip(&histogram.failed).map(|(total, failed)| total.saturating_sub(*failed)).collect();
    ChartData {
        from: histogram.from,
        step: Duration::seconds(histogram.step),
        steps: histogram.total.len(),
        shape: ChartShape::Bars,
        series: vec![
            ChartSeries::counts("failed", "bad", &histogram.failed),
            ChartSeries::counts("others", "neutral", &others),
        ],
    }
}

/// The name of the chart: unit and length of a step.
fn label(histogram: &DeliveryHistogram) -> String {
    let unit = if histogram.attempts { "Attempts" } else { "Deliveries" };
    let step = match histogram.step {
        seconds @ ..60 => format!("{seconds} s"),
        seconds => intl::length(Duration::seconds(seconds)),
    };
    format!("{unit} per {step}")
}

/// The histogram of a filter.
#[component]
pub fn Histogram(filter: ErasedMemo<DeliveryFilter>) -> impl IntoView {
    let histogram = Query::new(move || rpc::histogram(filter.get()));
    use_live().on(move |event| {
        if matches!(event, LiveEvent::Delivery(new) if new.status.is_final()) {
            histogram.refetch_with_index();
        }
    });
    let (query, location) = (use_query_map(), use_location());
    // The address of this list with another time filter.
    let link = Callback::new(move |(_, from, to): (Option<usize>, DateTime<Utc>, DateTime<Utc>)| {
        let mut parameters = query.get_untracked();
        for (name, value) in [("since", time::to_parameter(from)), ("until", time::to_parameter(to))] {
            parameters.remove(name);
            parameters.insert(name, value);
        }
        format!("{}{}", location.pathname.get_untracked(), parameters.to_query_string())
    });
    let has_data = Memo::new(move |_| histogram.get().is_some());
    let data = ErasedMemo::new(move |_| histogram.get().as_ref().map(chart_data));
    let name = Signal::derive(move || histogram.get().as_ref().map(label).unwrap_or_default());
    view! {
        <section class="histogram" aria-label="Over time">
            <p class="small muted histogram-label">
                <span>{move || name.get()}</span>
                <span class="histogram-hint">"Drag to select a time"</span>
            </p>
            // The errors of a search are shown by the list.
            <Show when=move || has_data.get() fallback=|| view! { <div class="histogram-space"></div> }>
                {move || {
                    let first = data.get_untracked()?;
                    let data = ErasedMemo::new(move |_| data.get().unwrap_or_else(|| first.clone()));
                    Some(view! { <Chart label=name data=data format=|value| intl::number(value as u64) link=link compact=true /> })
                }}
            </Show>
        </section>
    }
}
