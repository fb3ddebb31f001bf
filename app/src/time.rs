//! Times as people read them, in their own zone.

use chrono::{DateTime, Datelike, Duration, Local, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Timelike, Utc};

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The day's name.
pub fn weekday(day: &impl Datelike) -> &'static str {
    DAYS.get(day.weekday().num_days_from_monday() as usize).copied().unwrap_or_default()
}

/// The month's name.
pub fn month(day: &impl Datelike) -> &'static str {
    MONTHS.get(day.month0() as usize).copied().unwrap_or_default()
}

/// A name's first three letters.
pub fn short(name: &'static str) -> &'static str {
    name.get(..3).unwrap_or(name)
}

/// `24 Nov`.
pub fn day(day: &impl Datelike) -> String {
    format!("{} {}", day.day(), short(month(day)))
}

/// `13:05`.
fn clock(time: &impl Timelike) -> String {
    format!("{:02}:{:02}", time.hour(), time.minute())
}

/// Now.
#[expect(clippy::disallowed_methods, reason = "the clock of the page")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// `24 Nov 2026, 13:05`.
pub fn absolute(time: DateTime<Utc>) -> String {
    let time = time.with_timezone(&Local);
    format!("{} {}, {}", day(&time), time.year(), clock(&time))
}

/// `24 Nov 2026, 13:05:09.123 +01:00`, for titles.
pub fn exact(time: DateTime<Utc>) -> String {
    let local = time.with_timezone(&Local);
    let (second, millisecond) = (local.second(), local.timestamp_subsec_millis() % 1_000);
    format!("{}:{second:02}.{millisecond:03} {}", absolute(time), local.offset())
}

/// `Tue 24 Nov, 10:00–12:00`, or with both dates where they differ.
pub fn span(start: DateTime<Utc>, end: DateTime<Utc>) -> String {
    let (start, end) = (start.with_timezone(&Local), end.with_timezone(&Local));
    let words = |time: &DateTime<Local>| format!("{} {}, {}", short(weekday(time)), day(time), clock(time));
    if start.date_naive() == end.date_naive() {
        format!("{}–{}", words(&start), clock(&end))
    } else {
        format!("{} – {}", words(&start), words(&end))
    }
}

/// `in 3 minutes`, `2 hours ago`, `now`.
pub fn relative(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let distance = time - now;
    let seconds = distance.num_seconds().abs();
    let words = match seconds {
        0..=4 => return "now".into(),
        5..=59 => format!("{seconds} s"),
        60..=3_599 => format!("{} min", seconds / 60),
        3_600..=86_399 => format!("{} h", seconds / 3_600),
        86_400..=2_591_999 => match seconds / 86_400 {
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        },
        _ => return absolute(time),
    };
    if distance < Duration::zero() { format!("{words} ago") } else { format!("in {words}") }
}

/// `1.2 s`, `340 ms`, `0.8 ms`.
pub fn duration(ms: f64) -> String {
    if ms >= 10_000.0 {
        format!("{:.0} s", ms / 1_000.0)
    } else if ms >= 1_000.0 {
        format!("{:.1} s", ms / 1_000.0)
    } else if ms >= 10.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{ms:.1} ms")
    }
}

/// `2 h`, `1 h 30 min`, `3 days 4 h`.
pub fn length(span: Duration) -> String {
    let minutes = span.num_minutes();
    let (days, hours, minutes) = (minutes / 1_440, minutes / 60 % 24, minutes % 60);
    let parts = [
        (days > 0).then(|| if days == 1 { "1 day".to_owned() } else { format!("{days} days") }),
        (hours > 0).then(|| format!("{hours} h")),
        (minutes > 0).then(|| format!("{minutes} min")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The value of a `datetime-local` input.
pub fn to_input(time: DateTime<Utc>) -> String {
    let time = time.with_timezone(&Local);
    format!("{:04}-{:02}-{:02}T{}", time.year(), time.month(), time.day(), clock(&time))
}

/// What a `datetime-local` input holds; a time that the clocks skip is the one after.
pub fn from_input(value: &str) -> Option<DateTime<Utc>> {
    let (date, clock) = value.split_once('T')?;
    let date: Vec<u32> = numbers(date, '-')?;
    let clock: Vec<u32> = numbers(clock, ':')?;
    let ([year, month, day], ([hour, minute], second)) = (date.as_slice(), clock.split_first_chunk()?) else {
        return None;
    };
    let second = match second {
        [] => 0,
        [second] => *second,
        _ => return None,
    };
    let date = NaiveDate::from_ymd_opt(i32::try_from(*year).ok()?, *month, *day)?;
    local(date.and_time(NaiveTime::from_hms_opt(*hour, *minute, second)?))
}

fn numbers(text: &str, between: char) -> Option<Vec<u32>> {
    text.split(between).map(|part| part.parse().ok()).collect()
}

/// A local time; one that the clocks skip is the one after.
pub fn local(naive: NaiveDateTime) -> Option<DateTime<Utc>> {
    let earliest = |naive: NaiveDateTime| Local.from_local_datetime(&naive).earliest();
    earliest(naive).or_else(|| earliest(naive + Duration::hours(1))).map(|time| time.with_timezone(&Utc))
}

/// The person's time zone by name, e.g. `Europe/Berlin`.
pub fn zone() -> String {
    let options = js_sys::Intl::DateTimeFormat::new(&js_sys::Array::new(), &js_sys::Object::new()).resolved_options();
    js_sys::Reflect::get(&options, &"timeZone".into())
        .ok()
        .and_then(|zone| zone.as_string())
        .unwrap_or_else(|| format!("UTC{}", Local::now().offset()))
}
