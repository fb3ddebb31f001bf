//! The clock, local times, and the values of `datetime-local` inputs and of parameters of the address.

use chrono::{DateTime, Duration, Local, NaiveDate, NaiveTime, SecondsFormat, SubsecRound as _, Timelike as _, Utc};
use domain::local_time::{self, LocalTime, TimeGrid};

/// The length of a `datetime-local` value without seconds, e.g. `2026-11-24T13:05`.
const INPUT_LEN: usize = 16;

/// A quarter hour, the precision of the calendar.
pub const QUARTER: Duration = Duration::minutes(15);

/// The current time.
#[expect(clippy::disallowed_methods, reason = "the clock of the page")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// The offset of the reader's time zone. Chrono's own conversion of local times ignores changes of the clocks in browsers.
fn zone(time: DateTime<Utc>) -> i32 {
    time.with_timezone(&Local).offset().local_minus_utc()
}

/// The offset of a time whose local time occurs twice, e.g. `GMT+2`.
pub fn repeated_offset(time: DateTime<Utc>) -> Option<String> {
    let LocalTime::Twice(..) = LocalTime::new(&zone, local_time::to_local(&zone, time)) else { return None };
    let minutes = zone(time) / 60;
    let part = minutes.abs() % 60;
    let part = if part == 0 { String::new() } else { format!(":{part:02}") };
    Some(format!("GMT{:+}{part}", minutes / 60))
}

/// The date of a time in the reader's time zone.
pub fn date(time: DateTime<Utc>) -> NaiveDate {
    local_time::to_local(&zone, time).date()
}

/// The start of a day in the reader's time zone.
pub fn day_start(day: NaiveDate) -> DateTime<Utc> {
    local_time::day_start(&zone, day)
}

/// The middle of a day in the reader's time zone.
pub fn noon(day: NaiveDate) -> DateTime<Utc> {
    LocalTime::new(&zone, day.and_time(NaiveTime::from_hms_opt(12, 0, 0).unwrap_or_default())).first()
}

/// The same local time some days later.
pub fn add_days(time: DateTime<Utc>, days: i64) -> DateTime<Utc> {
    LocalTime::new(&zone, local_time::to_local(&zone, time) + Duration::days(days)).first()
}

/// The quarter hours of some days in the reader's time zone.
pub fn grid(first: NaiveDate, days: usize) -> TimeGrid {
    TimeGrid::new(&zone, first, days)
}

/// The value of a `datetime-local` input for a time, to the minute.
pub fn to_input(time: DateTime<Utc>) -> String {
    let mut text = time.with_timezone(&Local).to_rfc3339();
    text.truncate(INPUT_LEN);
    text
}

/// The local time in a `datetime-local` input. `None` if the input is empty or incomplete.
pub fn parse_input(value: &str) -> Option<LocalTime> {
    let seconds = if value.len() == INPUT_LEN { ":00" } else { "" };
    let time = DateTime::parse_from_rfc3339(&format!("{value}{seconds}Z")).ok()?;
    Some(LocalTime::new(&zone, time.naive_utc()))
}

/// The value of a parameter of the address for a time, e.g. `2026-11-24T12:05:00Z`: in UTC and to the second, so that a link means
/// the same time in every time zone.
pub fn to_parameter(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The time of a parameter from [`to_parameter`]. Links of earlier releases contain a local time, whose first instant it is.
pub fn from_parameter(value: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(value).ok().map(|time| time.to_utc());
    time.or_else(|| parse_input(value).map(LocalTime::first))
}

/// The next full hour after a time, in the reader's time zone.
pub fn next_full_hour(time: DateTime<Utc>) -> DateTime<Utc> {
    let local = local_time::to_local(&zone, time);
    let past = i64::from(local.minute()) * 60 + i64::from(local.second());
    time.trunc_subsecs(0) + Duration::seconds(3_600 - past)
}

/// The last quarter hour at or before a time. The offset of every time zone is a multiple of it.
pub fn quarter(time: DateTime<Utc>) -> DateTime<Utc> {
    let time = time.trunc_subsecs(0);
    time - Duration::seconds(time.timestamp().rem_euclid(QUARTER.num_seconds()))
}

/// The first quarter hour at or after a time.
pub fn next_quarter(time: DateTime<Utc>) -> DateTime<Utc> {
    let before = quarter(time);
    if before < time { before + QUARTER } else { before }
}
