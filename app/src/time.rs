//! Times as people read them, in their own zone.

use chrono::{DateTime, Duration, Local, NaiveDateTime, TimeZone as _, Utc};

/// Now.
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// `24 Nov 2026, 13:05`.
pub fn absolute(time: DateTime<Utc>) -> String {
    time.with_timezone(&Local).format("%-d %b %Y, %H:%M").to_string()
}

/// `24 Nov 2026, 13:05:09.123 +01:00`, for titles.
pub fn exact(time: DateTime<Utc>) -> String {
    time.with_timezone(&Local).format("%-d %b %Y, %H:%M:%S%.3f %:z").to_string()
}

/// `Tue 24 Nov, 10:00–12:00`, or with both dates where they differ.
pub fn span(start: DateTime<Utc>, end: DateTime<Utc>) -> String {
    let (start, end) = (start.with_timezone(&Local), end.with_timezone(&Local));
    let from = start.format("%a %-d %b, %H:%M");
    if start.date_naive() == end.date_naive() {
        format!("{from}–{}", end.format("%H:%M"))
    } else {
        format!("{from} – {}", end.format("%a %-d %b, %H:%M"))
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
    time.with_timezone(&Local).format("%Y-%m-%dT%H:%M").to_string()
}

/// What a `datetime-local` input holds; a time that the clocks skip is the one after.
pub fn from_input(value: &str) -> Option<DateTime<Utc>> {
    let naive = NaiveDateTime::parse_from_str(value, "%Y-%m-%dT%H:%M")
        .or_else(|_| NaiveDateTime::parse_from_str(value, "%Y-%m-%dT%H:%M:%S"))
        .ok()?;
    let local = Local.from_local_datetime(&naive);
    local
        .earliest()
        .or_else(|| Local.from_local_datetime(&(naive + Duration::hours(1))).earliest())
        .map(|t| t.with_timezone(&Utc))
}

/// The person's time zone by name, e.g. `Europe/Berlin`.
pub fn zone() -> String {
    let options = js_sys::Intl::DateTimeFormat::new(&js_sys::Array::new(), &js_sys::Object::new()).resolved_options();
    js_sys::Reflect::get(&options, &"timeZone".into())
        .ok()
        .and_then(|zone| zone.as_string())
        .unwrap_or_else(|| Local::now().format("UTC%:z").to_string())
}
