//! The clock, local times, and the values of `datetime-local` inputs.

use chrono::{DateTime, Duration, Local, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Utc};

/// The length of a `datetime-local` value without seconds, e.g. `2026-11-24T13:05`.
const INPUT_LEN: usize = 16;

/// The current time.
#[expect(clippy::disallowed_methods, reason = "the clock of the page")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Converts a time in the reader's time zone. A time that a clock change skips becomes the time one hour later.
pub fn from_local(time: NaiveDateTime) -> Option<DateTime<Utc>> {
    let earliest = |time: NaiveDateTime| Local.from_local_datetime(&time).earliest();
    earliest(time).or_else(|| earliest(time + Duration::hours(1))).map(|time| time.with_timezone(&Utc))
}

/// The start of an hour of a day, 0 to 23, in the reader's time zone.
pub fn hour_of(day: NaiveDate, hour: u32) -> DateTime<Utc> {
    let time = day.and_time(NaiveTime::from_hms_opt(hour, 0, 0).unwrap_or_default());
    from_local(time).unwrap_or_else(|| time.and_utc())
}

/// The middle of a day in the reader's time zone: a time that exists on each day.
pub fn noon(day: NaiveDate) -> DateTime<Utc> {
    hour_of(day, 12)
}

/// The value of a `datetime-local` input for a time, to the minute.
pub fn to_input(time: DateTime<Utc>) -> String {
    let mut text = time.with_timezone(&Local).to_rfc3339();
    text.truncate(INPUT_LEN);
    text
}

/// The time in a `datetime-local` input. `None` if the input is empty or incomplete.
pub fn from_input(value: &str) -> Option<DateTime<Utc>> {
    let seconds = if value.len() == INPUT_LEN { ":00" } else { "" };
    let time = DateTime::parse_from_rfc3339(&format!("{value}{seconds}Z")).ok()?;
    from_local(time.naive_utc())
}
