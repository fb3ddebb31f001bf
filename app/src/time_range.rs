//! The time filter of a list: a preset, or two times. The address contains the values of `since` and `until`.

use crate::components::*;
use crate::{intl, time};
use chrono::{DateTime, Duration, SubsecRound as _, Utc};
use leptos::prelude::*;

/// The presets: the value in the address, and the label.
const PRESETS: [(&str, &str); 4] =
    [("", "Any time"), ("1h", "Last hour"), ("24h", "Last 24 hours"), ("7d", "Last 7 days")];

/// The option that shows two time inputs. The address contains their values instead.
const CUSTOM_RANGE: &str = "custom";

/// The time filter.
#[derive(Clone, Copy)]
pub struct TimeRange {
    since: RwSignal<String>,
    until: RwSignal<String>,
    /// The selected option: a preset or [`CUSTOM_RANGE`].
    range: RwSignal<String>,
}

impl TimeRange {
    /// A filter with these signals of the address.
    pub fn new(since: RwSignal<String>, until: RwSignal<String>) -> Self {
        Self { since, until, range: range_signal(since, until) }
    }

    /// The first time of the filter. Tracked.
    pub fn since(self) -> Option<DateTime<Utc>> {
        self.since.with(|time| parse_time(time))
    }

    /// The time at which the filter ends, exclusive. Tracked.
    pub fn until(self) -> Option<DateTime<Utc>> {
        self.until.with(|time| parse_time(time))
    }

    /// Removes the filter.
    pub fn clear(self) {
        self.since.set(String::new());
        self.until.set(String::new());
        self.range.set(String::new());
    }

    fn is_custom(self) -> bool {
        self.range.get() == CUSTOM_RANGE
    }
}

/// Parses a time filter: a preset before now such as `1h`, or a time.
fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    match text {
        "1h" => Some(time::now() - Duration::hours(1)),
        "24h" => Some(time::now() - Duration::hours(24)),
        "7d" => Some(time::now() - Duration::days(7)),
        _ => time::from_parameter(text),
    }
}

fn is_preset(text: &str) -> bool {
    PRESETS.iter().any(|(value, _)| *value == text)
}

/// The option for two values of the address.
fn range_of(since: &str, until: &str) -> String {
    let is_preset = until.is_empty() && is_preset(since);
    if is_preset { since } else { CUSTOM_RANGE }.to_owned()
}

/// Creates the signal for the selected option, which follows `since` and `until` and sets them.
fn range_signal(since: RwSignal<String>, until: RwSignal<String>) -> RwSignal<String> {
    let range = RwSignal::new(range_of(&since.get_untracked(), &until.get_untracked()));
    let set = |signal: RwSignal<String>, value: String| {
        if signal.get_untracked() != value {
            signal.set(value);
        }
    };
    Effect::new(move |_| {
        let current = range_of(&since.get(), &until.get());
        // A custom range without times is not in the address, and must stay selected.
        if !current.is_empty() || range.get_untracked() != CUSTOM_RANGE {
            set(range, current);
        }
    });
    Effect::watch(
        move || range.get(),
        move |current, previous, _| {
            if Some(current) == previous {
                return;
            }
            if current != CUSTOM_RANGE {
                set(until, String::new());
                set(since, current.clone());
            } else if let Some(start) = parse_time(&since.get_untracked()) {
                set(since, time::to_parameter(start));
            }
        },
        false,
    );
    range
}

/// The inputs of the time filter.
#[component]
pub fn TimeRangeInputs(range: TimeRange) -> impl IntoView {
    let mut options = select_options(PRESETS);
    options.push((CUSTOM_RANGE.to_owned(), "Custom range".to_owned()));
    let is_custom = Memo::new(move |_| range.is_custom());
    view! {
        <Select label="Time" value=range.range options=options />
        <Show when=move || is_custom.get()>
            <CustomRange since=range.since until=range.until />
        </Show>
    }
}

/// The inputs of a custom time range, whose ends are parameters of the address.
#[component]
fn CustomRange(since: RwSignal<String>, until: RwSignal<String>) -> impl IntoView {
    let (from, to) = (time_in_address(since), time_in_address(until));
    let error = Signal::derive(move || {
        let range = (parse_time(&since.get()), parse_time(&until.get()));
        matches!(range, (Some(from), Some(to)) if from >= to).then(|| "To must be after From.".to_owned())
    });
    view! {
        <TimeInput label="From" value=from />
        <TimeInput label="To" value=to error=error />
    }
}

/// The value of a time input that follows a parameter of the address and sets it. An input that is empty or contains no valid time
/// removes the parameter.
fn time_in_address(parameter: RwSignal<String>) -> TimeValue {
    let value = TimeValue::new(parse_time(&parameter.get_untracked()));
    let entered = move || value.get().ok().map(|time| time.trunc_subsecs(0));
    Effect::watch(
        entered,
        move |time, _, _| {
            if *time != parse_time(&parameter.get_untracked()) {
                parameter.set(time.map(time::to_parameter).unwrap_or_default());
            }
        },
        false,
    );
    Effect::watch(
        move || parameter.get(),
        move |text, _, _| {
            let time = parse_time(text);
            // A preset replaces the custom range.
            if (!text.is_empty() && is_preset(text)) || time == untrack(entered) {
                return;
            }
            match time {
                Some(time) => value.set(time),
                None => value.clear(),
            }
        },
        false,
    );
    value
}

/// The time zone of a custom range.
#[component]
pub fn TimeRangeZone(range: TimeRange) -> impl IntoView {
    let is_custom = Memo::new(move |_| range.is_custom());
    view! {
        <Show when=move || is_custom.get()>
            <p class="muted small filter-note">"Times in "{intl::time_zone()}"."</p>
        </Show>
    }
}
