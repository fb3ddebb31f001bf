//! The input of a local time. A time that the clocks skip is refused; of a time that occurs twice, the user chooses one.

use super::{FieldMessage, Select, TextInput};
use crate::{intl, time};
use chrono::{DateTime, Duration, Utc};
use domain::local_time::LocalTime;
use domain::problem::{FieldError, Problem};
use leptos::prelude::*;

/// The option for the second occurrence of a local time.
const SECOND: &str = "second";

/// The value of a [`TimeInput`].
#[derive(Clone, Copy)]
pub struct TimeValue {
    text: RwSignal<String>,
    /// The selected occurrence of a local time that occurs twice.
    occurrence: RwSignal<String>,
    /// The time that the page has set. The input omits its seconds.
    exact: StoredValue<Option<DateTime<Utc>>>,
}

impl TimeValue {
    /// The value for a time, or an empty one.
    pub fn new(time: Option<DateTime<Utc>>) -> Self {
        let empty = || RwSignal::new(String::new());
        let value = Self { text: empty(), occurrence: empty(), exact: StoredValue::new(None) };
        if let Some(time) = time {
            value.set(time);
        }
        value
    }

    /// Changes the time.
    pub fn set(self, time: DateTime<Utc>) {
        let text = time::to_input(time);
        let is_second = matches!(time::parse_input(&text), Some(LocalTime::Twice(_, second)) if second <= time);
        self.exact.set_value(Some(time));
        self.occurrence.set(if is_second { SECOND.to_owned() } else { String::new() });
        self.text.set(text);
    }

    /// Empties the input.
    pub fn clear(self) {
        self.exact.set_value(None);
        self.occurrence.set(String::new());
        self.text.set(String::new());
    }

    /// Whether nothing is entered. Not tracked.
    pub fn is_empty(self) -> bool {
        self.text.with_untracked(String::is_empty)
    }

    fn local(self) -> Option<LocalTime> {
        self.text.with(|text| time::parse_input(text))
    }

    /// Why the entered time does not exist. Tracked.
    fn skipped(self) -> Option<String> {
        let Some(LocalTime::Skipped(next)) = self.local() else { return None };
        Some(format!("The clocks are set forward over this time. Enter another one, e.g. {}.", intl::clock(next)))
    }

    /// The entered time, or the message for an invalid input. Tracked.
    pub fn get(self) -> Result<DateTime<Utc>, String> {
        let is_second = self.occurrence.with(|occurrence| occurrence == SECOND);
        let time = match self.local() {
            None => return Err("Enter a date and time.".to_owned()),
            Some(LocalTime::Skipped(_)) => return Err(self.skipped().unwrap_or_default()),
            Some(LocalTime::Twice(_, second)) if is_second => second,
            Some(time) => time.first(),
        };
        let exact = self.exact.get_value().filter(|exact| (time..time + Duration::minutes(1)).contains(exact));
        Ok(exact.unwrap_or(time))
    }
}

/// The start and end that two inputs contain. Tracked.
///
/// # Errors
/// Invalid, with an error for each invalid input.
pub fn entered_span(start: TimeValue, end: TimeValue) -> Result<(DateTime<Utc>, DateTime<Utc>), Problem> {
    match (start.get(), end.get()) {
        (Ok(start), Ok(end)) => Ok((start, end)),
        (start, end) => {
            let errors = [("start_time", start), ("end_time", end)]
                .into_iter()
                .filter_map(|(field, result)| Some(FieldError { field: field.to_owned(), message: result.err()? }));
            Err(Problem::invalid(errors.collect()))
        }
    }
}

/// Moves the end when the user moves the start to it or beyond it, so that the length stays the same.
pub fn keep_length(start: TimeValue, end: TimeValue) {
    Effect::watch(
        move || start.get().ok(),
        move |new, previous, last_valid: Option<Option<DateTime<Utc>>>| {
            let last = last_valid.flatten().or_else(|| previous.copied().flatten());
            if let (Some(new), Some(last), Ok(old_end)) = (*new, last, untrack(|| end.get()))
                && last < old_end
                && old_end <= new
            {
                end.set(new + (old_end - last));
            }
            new.or(last)
        },
        false,
    );
}

/// A `datetime-local` input, with the choice between the occurrences of a local time that occurs twice.
#[component]
pub fn TimeInput(
    label: &'static str,
    value: TimeValue,
    #[prop(optional, into)] error: FieldMessage,
    #[prop(optional)] disabled: bool,
) -> impl IntoView {
    let text = Signal::derive(move || value.skipped().or_else(|| error.get()));
    let error = FieldMessage::new(text, Callback::new(move |()| error.edited()));
    let choice = move || {
        let Some(LocalTime::Twice(first, second)) = value.local().filter(|_| !disabled) else { return None };
        let options = vec![(String::new(), intl::clock(first)), (SECOND.to_owned(), intl::clock(second))];
        Some(view! {
            <Select
                label=format!("Occurrence ({label})")
                value=value.occurrence
                options=options
                hint="The clocks are set back, so this time occurs twice."
            />
        })
    };
    view! {
        <div class="stack tight">
            <TextInput label=label value=value.text kind="datetime-local" error=error disabled=disabled />
            {choice}
        </div>
    }
}
