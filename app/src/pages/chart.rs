//! Charts over time, with axes, a cursor for pointer and keyboard, and a table of their values.

use crate::erased::ErasedMemo;
use crate::{intl, time};
use chrono::{DateTime, Duration, Utc};
use leptos::html;
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;
use web_sys::{KeyboardEvent, PointerEvent};

/// The height of a chart in its own units. Its width is the number of steps.
const HEIGHT: f64 = 100.0;
/// The number of times on the axis.
const TICKS: usize = 5;

/// One row of values.
#[derive(Clone, PartialEq)]
pub struct ChartSeries {
    /// The name in the legend.
    pub label: String,
    /// The class of its colour: `good`, `bad`, `warn`, `neutral`, `muted`, or `one` to `six`.
    pub class: &'static str,
    /// The value of each step; `None` where there is none.
    pub values: Vec<Option<f64>>,
}

impl ChartSeries {
    /// A row of numbers.
    pub fn counts(label: impl Into<String>, class: &'static str, counts: &[u64]) -> Self {
        Self { label: label.into(), class, values: counts.iter().map(|count| Some(*count as f64)).collect() }
    }
}

/// The content of a chart.
#[derive(Clone, PartialEq)]
pub struct ChartData {
    /// The start of the first step.
    pub from: DateTime<Utc>,
    /// The length of a step.
    pub step: Duration,
    /// The number of steps.
    pub steps: usize,
    /// How the rows are drawn.
    pub shape: ChartShape,
    /// The rows, the lowest one first.
    pub series: Vec<ChartSeries>,
}

impl ChartData {
    /// The start of a step, or the end of the step before.
    fn at(&self, step: usize) -> DateTime<Utc> {
        self.from + self.step * i32::try_from(step).unwrap_or(i32::MAX)
    }

    fn value(&self, series: usize, step: usize) -> Option<f64> {
        self.series.get(series).and_then(|series| series.values.get(step).copied().flatten())
    }

    /// The largest value, or the largest sum of stacked values.
    fn max(&self) -> f64 {
        let values = |step| (0..self.series.len()).filter_map(move |series| self.value(series, step));
        let of_step = |step: usize| match self.shape {
            ChartShape::Bars => values(step).sum::<f64>(),
            ChartShape::Lines => values(step).fold(0.0, f64::max),
        };
        (0..self.steps).map(of_step).fold(0.0, f64::max)
    }
}

/// How the values are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ChartShape {
    /// Stacked bars.
    Bars,
    /// Lines.
    Lines,
}

/// The address of the deliveries between two times, of one row or of all.
pub type ChartLink = Callback<(Option<usize>, DateTime<Utc>, DateTime<Utc>), String>;

/// The next number of the series 2, 4, 10, 20, 40, 100, … Its half is a whole number too.
fn axis_end(max: f64) -> f64 {
    let mut end = 1.0;
    while end < 1e15 {
        for factor in [2.0, 4.0, 10.0] {
            if max <= end * factor {
                return end * factor;
            }
        }
        end *= 10.0;
    }
    end
}

/// A time on the axis, as exact as the whole period needs.
fn axis_time(at: DateTime<Utc>, period: Duration) -> String {
    if period <= Duration::hours(36) {
        intl::clock(at)
    } else if period <= Duration::days(8) {
        format!("{} {}", intl::weekday(time::date(at)), intl::clock(at))
    } else {
        intl::day(time::date(at))
    }
}

/// A span of steps as text.
fn span_text(data: &ChartData, first: usize, last: usize) -> String {
    let (from, to) = (data.at(first), data.at(last + 1));
    if data.step < Duration::minutes(1) {
        return format!("{} – {}", intl::exact_timestamp(from), intl::exact_timestamp(to));
    }
    intl::span(from, to)
}

/// The cursor of a chart, and the other end of a selection.
#[derive(Clone, Copy)]
struct Cursor {
    at: RwSignal<Option<usize>>,
    anchor: RwSignal<Option<usize>>,
}

impl Cursor {
    /// The first and last selected step. Tracked.
    fn span(self) -> Option<(usize, usize)> {
        let at = self.at.get()?;
        let other = self.anchor.get().unwrap_or(at);
        Some((at.min(other), at.max(other)))
    }

    fn clear(self) {
        self.at.set(None);
        self.anchor.set(None);
    }

    /// Moves by keyboard. Returns whether the key is one of the cursor's.
    fn on_key(self, event: &KeyboardEvent, steps: usize) -> bool {
        let last = steps.saturating_sub(1);
        let at = self.at.get_untracked().unwrap_or(last).min(last);
        let next = match event.key().as_str() {
            "ArrowLeft" | "ArrowDown" => at.saturating_sub(1),
            "ArrowRight" | "ArrowUp" => (at + 1).min(last),
            "PageDown" => at.saturating_sub(10),
            "PageUp" => (at + 10).min(last),
            "Home" => 0,
            "End" => last,
            _ => return false,
        };
        match (event.shift_key(), self.anchor.get_untracked()) {
            (true, None) => self.anchor.set(Some(at)),
            (false, Some(_)) => self.anchor.set(None),
            _ => {}
        }
        self.at.set(Some(next));
        true
    }
}

/// A chart. A click, a drag or Enter opens the deliveries of the selected steps.
#[component]
pub fn Chart(
    /// The name of the chart.
    #[prop(into)]
    label: Signal<String>,
    data: ErasedMemo<ChartData>,
    /// Formats a value.
    format: fn(f64) -> String,
    /// The address behind a selection.
    link: ChartLink,
    /// Without legend and table.
    #[prop(optional)]
    compact: bool,
) -> impl IntoView {
    let cursor = Cursor { at: RwSignal::new(None), anchor: RwSignal::new(None) };
    let end = Memo::new(move |_| axis_end(data.with(|data| data.max())));
    let navigate = StoredValue::new_local(use_navigate());
    let open = move || {
        let Some((first, last)) = untrack(|| cursor.span()) else { return };
        let (from, to) = data.with_untracked(|data| (data.at(first), data.at(last + 1)));
        cursor.clear();
        navigate.with_value(|navigate| navigate(&link.run((None, from, to)), Default::default()));
    };
    view! {
        <div class=if compact { "time-chart compact" } else { "time-chart" }>
            {(!compact).then(|| view! { <Legend data=data /> })}
            <div class="chart-body">
                <ul class="chart-values" aria-hidden="true">
                    <li>{move || format(end.get())}</li>
                    <li>{move || format(end.get() / 2.0)}</li>
                    <li>"0"</li>
                </ul>
                <Plot label=label data=data  format=format end=end cursor=cursor open=Callback::new(move |()| open()) />
                <Times data=data />
            </div>
            {(!compact).then(|| view! { <Values label=label data=data format=format link=link /> })}
        </div>
    }
}

/// The drawing with its cursor.
#[component]
fn Plot(
    label: Signal<String>,
    data: ErasedMemo<ChartData>,
    format: fn(f64) -> String,
    end: Memo<f64>,
    cursor: Cursor,
    open: Callback<()>,
) -> impl IntoView {
    let plot = NodeRef::<html::Div>::new();
    let steps = move || data.with_untracked(|data| data.steps);
    let step_at = move |event: &PointerEvent| {
        let width = f64::from(plot.get_untracked()?.offset_width().max(1));
        let steps = steps();
        let step = (f64::from(event.offset_x()) / width * steps as f64).floor();
        (steps > 0).then(|| (step.max(0.0) as usize).min(steps - 1))
    };
    let on_move = move |event: PointerEvent| {
        let step = step_at(&event);
        if cursor.at.get_untracked() != step {
            cursor.at.set(step);
        }
    };
    let on_press = move |event: PointerEvent| {
        if event.button() == 0 {
            let step = step_at(&event);
            cursor.at.set(step);
            cursor.anchor.set(step);
            if let Some(plot) = plot.get_untracked() {
                let _ = plot.set_pointer_capture(event.pointer_id());
            }
        }
    };
    let on_release = move |_| {
        if cursor.anchor.get_untracked().is_some() {
            open.run(());
        }
    };
    let on_key = move |event: KeyboardEvent| match event.key().as_str() {
        "Enter" | " " => {
            event.prevent_default();
            open.run(());
        }
        "Escape" => cursor.clear(),
        _ if cursor.on_key(&event, steps()) => event.prevent_default(),
        _ => {}
    };
    let on_focus = move |_| {
        if cursor.at.get_untracked().is_none() {
            cursor.at.set(steps().checked_sub(1));
        }
    };
    let text = move || {
        cursor
            .span()
            .map_or_else(|| "No time selected".to_owned(), |span| data.with(|data| summary(data, span, format)))
    };
    // The content security policy forbids style attributes, but not single properties.
    let selected = move || {
        let steps = data.with(|data| data.steps).max(1) as f64;
        cursor.span().map(|(first, last)| {
            let left = format!("{:.3}%", first as f64 / steps * 100.0);
            let width = format!("{:.3}%", (last + 1 - first) as f64 / steps * 100.0);
            view! { <div class="chart-span" style:left=left style:width=width></div> }
        })
    };
    view! {
        <div
            node_ref=plot
            class="plot"
            tabindex="0"
            role="slider"
            aria-label=move || label.get()
            aria-description="Arrow keys move, Shift and arrow keys select several. Enter shows the deliveries."
            aria-valuemin="0"
            aria-valuemax=move || data.with(|data| data.steps.saturating_sub(1))
            aria-valuenow=move || cursor.at.get().unwrap_or_else(|| data.with(|data| data.steps.saturating_sub(1)))
            aria-valuetext=text
            on:pointermove=on_move
            on:pointerdown=on_press
            on:pointerup=on_release
            on:pointercancel=move |_| cursor.clear()
            on:pointerleave=move |_| cursor.clear()
            on:keydown=on_key
            on:focus=on_focus
            on:blur=move |_| cursor.clear()
        >
            <svg viewBox=move || format!("0 0 {} {HEIGHT}", data.with(|data| data.steps.max(1))) preserveAspectRatio="none" aria-hidden="true">
                {move || data.with(|data| draw(data, end.get()))}
            </svg>
            {selected}
            <Tooltip data=data format=format cursor=cursor />
        </div>
    }
}

/// The values of a span of steps in one sentence.
fn summary(data: &ChartData, (first, last): (usize, usize), format: fn(f64) -> String) -> String {
    let values = data.series.iter().enumerate().map(|(n, series)| {
        format!("{} {}", series.label, total(data, n, first, last).map_or_else(|| "–".to_owned(), format))
    });
    format!("{}: {}", span_text(data, first, last), values.collect::<Vec<_>>().join(", "))
}

/// The sum of a row within a span, or the largest value of a line. Of one step it is the value.
fn total(data: &ChartData, series: usize, first: usize, last: usize) -> Option<f64> {
    let values: Vec<f64> = (first..=last).filter_map(|step| data.value(series, step)).collect();
    let all = match data.shape {
        ChartShape::Bars => values.iter().sum(),
        ChartShape::Lines => values.iter().copied().fold(0.0, f64::max),
    };
    (!values.is_empty()).then_some(all)
}

/// Draws the bars or lines.
fn draw(data: &ChartData, end: f64) -> AnyView {
    match data.shape {
        ChartShape::Bars => (0..data.steps).map(|step| bar(data, step, end)).collect_view().into_any(),
        ChartShape::Lines => {
            let line = |series: &ChartSeries| {
                view! { <path class=format!("line {}", series.class) d=line_path(&series.values, end) vector-effect="non-scaling-stroke" /> }
            };
            data.series.iter().map(line).collect_view().into_any()
        }
    }
}

/// The stacked values of a step.
fn bar(data: &ChartData, step: usize, end: f64) -> impl IntoView + use<> {
    let mut below = 0.0;
    let mut parts = Vec::new();
    for (number, series) in data.series.iter().enumerate() {
        let value = data.value(number, step).unwrap_or_default();
        if value > 0.0 {
            // A single failure among many successes stays visible.
            let height = (value / end * HEIGHT).max(1.5);
            below += height;
            let y = (HEIGHT - below).max(0.0);
            parts.push(view! {
                <rect
                    class=series.class
                    x=format!("{:.2}", step as f64 + 0.1)
                    y=format!("{y:.2}")
                    width="0.8"
                    height=format!("{height:.2}")
                ></rect>
            });
        }
    }
    parts
}

/// The path of a line. It is interrupted where there is no value.
fn line_path(values: &[Option<f64>], end: f64) -> String {
    let mut path = String::new();
    let mut is_open = false;
    for (step, value) in values.iter().enumerate() {
        let Some(value) = value else {
            is_open = false;
            continue;
        };
        let (x, y) = (step as f64 + 0.5, HEIGHT - value / end * HEIGHT);
        let is_alone = !is_open && values.get(step + 1).copied().flatten().is_none();
        path.push_str(&match (is_open, is_alone) {
            (true, _) => format!("L{x:.2} {y:.2}"),
            // A single point is as wide as a bar.
            (false, true) => format!("M{:.2} {y:.2}h0.80", x - 0.4),
            (false, false) => format!("M{x:.2} {y:.2}"),
        });
        is_open = true;
    }
    path
}

/// The values at the cursor.
#[component]
fn Tooltip(data: ErasedMemo<ChartData>, format: fn(f64) -> String, cursor: Cursor) -> impl IntoView {
    move || {
        let (first, last) = cursor.span()?;
        data.with(|data| {
            let position = (last as f64 + 1.0) / data.steps.max(1) as f64 * 100.0;
            let start = first as f64 / data.steps.max(1) as f64 * 100.0;
            let (left, right) = match position > 55.0 {
                true => ("auto".to_owned(), format!("{:.2}%", 101.0 - start)),
                false => (format!("{:.2}%", position + 1.0), "auto".to_owned()),
            };
            let value = |(number, series): (usize, &ChartSeries)| {
                let value = total(data, number, first, last)?;
                Some(view! {
                    <li><i class=format!("swatch {}", series.class)></i>{series.label.clone()}<b>{format(value)}</b></li>
                })
            };
            Some(view! {
                <div class="chart-tooltip" style:left=left style:right=right aria-hidden="true">
                    <p>{span_text(data, first, last)}</p>
                    <ul>{data.series.iter().enumerate().rev().map(value).collect_view()}</ul>
                </div>
            })
        })
    }
}

/// The times below the drawing.
#[component]
fn Times(data: ErasedMemo<ChartData>) -> impl IntoView {
    let times = move || {
        data.with(|data| {
            let period = data.step * i32::try_from(data.steps).unwrap_or(i32::MAX);
            let tick = |n: usize| view! { <li>{axis_time(data.at(n * data.steps / (TICKS - 1)), period)}</li> };
            (0..TICKS).map(tick).collect_view()
        })
    };
    view! { <ul class="chart-times" aria-hidden="true">{times}</ul> }
}

#[component]
fn Legend(data: ErasedMemo<ChartData>) -> impl IntoView {
    let items = move || {
        data.with(|data| {
            let item = |series: &ChartSeries| {
                view! { <li><i class=format!("swatch {}", series.class)></i>{series.label.clone()}</li> }
            };
            data.series.iter().map(item).collect_view()
        })
    };
    view! { <ul class="chart-legend">{items}</ul> }
}

/// The values as a table, the newest first, with a link behind each value. Rendered while it is open.
#[component]
fn Values(
    label: Signal<String>,
    data: ErasedMemo<ChartData>,
    format: fn(f64) -> String,
    link: ChartLink,
) -> impl IntoView {
    let is_open = RwSignal::new(false);
    let toggle = move |_| is_open.update(|open| *open = !*open);
    let table = move || {
        data.with(|data| {
            let heads = data
                .series
                .iter()
                .map(|series| view! { <th class="number">{series.label.clone()}</th> })
                .collect_view();
            let row = |step: usize| {
                let (from, to) = (data.at(step), data.at(step + 1));
                let cell = |series: usize| {
                    let value = data.value(series, step);
                    let content = match value {
                        Some(value) if value > 0.0 => {
                            view! { <a href=link.run((Some(series), from, to))>{format(value)}</a> }.into_any()
                        }
                        Some(value) => format(value).into_any(),
                        None => "–".into_any(),
                    };
                    view! { <td class="number">{content}</td> }
                };
                view! {
                    <tr>
                        <td><a href=link.run((None, from, to))>{span_text(data, step, step)}</a></td>
                        {(0..data.series.len()).map(cell).collect_view()}
                    </tr>
                }
            };
            let rows = (0..data.steps).rev().map(row).collect_view();
            view! {
                <table>
                    <thead><tr><th>"Time"</th>{heads}</tr></thead>
                    <tbody>{rows}</tbody>
                </table>
            }
        })
    };
    let table_label = move || format!("{}, values", label.get());
    view! {
        <button
            type="button"
            class="button quiet small"
            aria-expanded=move || is_open.get().to_string()
            aria-label=move || format!("Table: {}", label.get())
            on:click=toggle
        >
            {move || if is_open.get() { "Hide table" } else { "Show as table" }}
        </button>
        <Show when=move || is_open.get()>
            <div class="table-box chart-table" role="region" tabindex="0" aria-label=table_label>{table}</div>
        </Show>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_ends_at_a_round_number_with_a_round_half() {
        let cases = [(0.0, 2.0), (1.0, 2.0), (3.0, 4.0), (5.0, 10.0), (11.0, 20.0), (41.0, 100.0), (131.0, 200.0)];
        for (max, end) in cases {
            assert_eq!(axis_end(max), end, "{max}");
        }
    }

    #[test]
    fn line_is_interrupted_where_there_is_no_value() {
        let path = line_path(&[Some(0.0), Some(2.0), None, Some(1.0)], 2.0);
        assert_eq!(path, "M0.50 100.00L1.50 0.00M3.10 50.00h0.80");
    }

    #[test]
    fn stacked_bars_determine_the_axis_together() {
        let counts = |counts: &[u64]| ChartSeries::counts("", "good", counts);
        let chart = |shape| ChartData {
            from: DateTime::UNIX_EPOCH,
            step: Duration::minutes(5),
            steps: 2,
            shape,
            series: vec![counts(&[1, 5]), counts(&[3, 2])],
        };
        let (bars, lines) = (chart(ChartShape::Bars), chart(ChartShape::Lines));
        assert_eq!((bars.max(), lines.max()), (7.0, 5.0));
        assert_eq!((total(&bars, 0, 0, 1), total(&lines, 0, 0, 1)), (Some(6.0), Some(5.0)));
        assert_eq!(bars.at(2), DateTime::UNIX_EPOCH + Duration::minutes(10));
    }
}
