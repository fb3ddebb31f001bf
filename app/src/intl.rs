//! Dates, times, numbers and durations in the reader's locale and time zone.
//!
//! The browser's `Intl` formats them. It also provides the week start and the 12- or 24-hour clock.

use crate::time;
use chrono::{DateTime, Duration, NaiveDate, Utc, Weekday};
use js_sys::Intl::{
    DateTimeFormat, DateTimeFormatOptions, DateTimeStyle, DayFormat, Locale, MonthFormat, NumberFormat,
    NumberFormatOptions, NumberFormatStyle, NumericFormat, RelativeTimeFormat, RelativeTimeFormatNumeric,
    RelativeTimeFormatOptions, RelativeTimeFormatStyle, TimeZoneNameFormat, UnitDisplay, WeekdayFormat, YearFormat,
};
use js_sys::{Array, Date, Function, Object, Reflect};
use wasm_bindgen::JsValue;

/// The formatters. Their construction is slow, so each page has one of each.
struct Formats {
    timestamp: DateTimeFormat,
    exact: DateTimeFormat,
    span: DateTimeFormat,
    week: DateTimeFormat,
    weekday: DateTimeFormat,
    day: DateTimeFormat,
    hour: DateTimeFormat,
    slot: DateTimeFormat,
    relative: RelativeTimeFormat,
    now: RelativeTimeFormat,
    number: NumberFormat,
    decimal: NumberFormat,
    percent: NumberFormat,
    days: NumberFormat,
}

thread_local! {
    static FORMATS: Formats = Formats::new();
}

impl Formats {
    fn new() -> Self {
        Self {
            timestamp: date_format(|options| {
                options.set_date_style(DateTimeStyle::Medium);
                options.set_time_style(DateTimeStyle::Short);
            }),
            exact: date_format(|options| {
                set_day_and_month(options);
                options.set_year(YearFormat::Numeric);
                set_clock(options);
                options.set_second(NumericFormat::TwoDigit);
                options.set_fractional_second_digits(3);
                options.set_time_zone_name(TimeZoneNameFormat::ShortOffset);
            }),
            span: date_format(|options| {
                options.set_weekday(WeekdayFormat::Short);
                set_day_and_month(options);
                set_clock(options);
            }),
            week: date_format(|options| {
                set_day_and_month(options);
                options.set_year(YearFormat::Numeric);
            }),
            weekday: date_format(|options| options.set_weekday(WeekdayFormat::Short)),
            day: date_format(set_day_and_month),
            hour: date_format(|options| options.set_time_style(DateTimeStyle::Short)),
            slot: date_format(|options| {
                options.set_weekday(WeekdayFormat::Long);
                options.set_day(DayFormat::Numeric);
                options.set_month(MonthFormat::Long);
                set_clock(options);
            }),
            relative: relative_format(RelativeTimeFormatNumeric::Always),
            now: relative_format(RelativeTimeFormatNumeric::Auto),
            number: number_format(|options| options.set_maximum_fraction_digits(0)),
            decimal: number_format(|options| {
                options.set_minimum_fraction_digits(1);
                options.set_maximum_fraction_digits(1);
            }),
            percent: number_format(|options| {
                options.set_style(NumberFormatStyle::Percent);
                options.set_maximum_fraction_digits(1);
            }),
            days: number_format(|options| {
                options.set_style(NumberFormatStyle::Unit);
                options.set_unit("day");
                options.set_unit_display(UnitDisplay::Long);
            }),
        }
    }
}

/// The browser's default locale: an empty list of preferences.
fn locales() -> Array {
    Array::new()
}

fn date_format(configure: impl Fn(&DateTimeFormatOptions)) -> DateTimeFormat {
    let options = DateTimeFormatOptions::new();
    configure(&options);
    DateTimeFormat::new(&locales(), &options)
}

fn number_format(configure: impl Fn(&NumberFormatOptions)) -> NumberFormat {
    let options = NumberFormatOptions::new();
    configure(&options);
    NumberFormat::new(&locales(), &options)
}

fn relative_format(numeric: RelativeTimeFormatNumeric) -> RelativeTimeFormat {
    let options = RelativeTimeFormatOptions::new();
    options.set_numeric(numeric);
    options.set_style(RelativeTimeFormatStyle::Short);
    RelativeTimeFormat::new(&locales(), &options)
}

fn set_day_and_month(options: &DateTimeFormatOptions) {
    options.set_day(DayFormat::Numeric);
    options.set_month(MonthFormat::Short);
}

fn set_clock(options: &DateTimeFormatOptions) {
    options.set_hour(NumericFormat::Numeric);
    options.set_minute(NumericFormat::TwoDigit);
}

fn js_date(time: DateTime<Utc>) -> Date {
    Date::new(&JsValue::from_f64(time.timestamp_millis() as f64))
}

/// Calls the function that the getter `format` of an `Intl` formatter returns.
fn call(format: &Function, value: &JsValue) -> String {
    format.call1(&JsValue::UNDEFINED, value).ok().and_then(|text| text.as_string()).unwrap_or_default()
}

fn format_time(format: impl Fn(&Formats) -> &DateTimeFormat, time: DateTime<Utc>) -> String {
    FORMATS.with(|formats| call(&format(formats).format(), &js_date(time)))
}

fn format_range(format: impl Fn(&Formats) -> &DateTimeFormat, start: DateTime<Utc>, end: DateTime<Utc>) -> String {
    let text = FORMATS.with(|formats| format(formats).format_range(&js_date(start), &js_date(end)));
    text.map(String::from).unwrap_or_default()
}

fn format_number(format: impl Fn(&Formats) -> &NumberFormat, value: f64) -> String {
    FORMATS.with(|formats| call(&format(formats).format(), &JsValue::from_f64(value)))
}

/// A date with time, e.g. `24 Nov 2026, 13:05`.
pub fn timestamp(time: DateTime<Utc>) -> String {
    format_time(|formats| &formats.timestamp, time)
}

/// A date with time to the millisecond and offset, e.g. `24 Nov 2026, 13:05:09.123 GMT+1`.
pub fn exact_timestamp(time: DateTime<Utc>) -> String {
    format_time(|formats| &formats.exact, time)
}

/// A time span, e.g. `Tue, 24 Nov, 10:00 – 12:00`.
pub fn span(start: DateTime<Utc>, end: DateTime<Utc>) -> String {
    format_range(|formats| &formats.span, start, end)
}

/// Several days with the year, e.g. `23–29 Nov 2026`.
pub fn day_range(first: NaiveDate, last: NaiveDate) -> String {
    format_range(|formats| &formats.week, time::noon(first), time::noon(last))
}

/// The short name of the weekday, e.g. `Tue`.
pub fn weekday(day: NaiveDate) -> String {
    format_time(|formats| &formats.weekday, time::noon(day))
}

/// A day without the year, e.g. `24 Nov`.
pub fn day(day: NaiveDate) -> String {
    format_time(|formats| &formats.day, time::noon(day))
}

/// A time of day, e.g. `13:00` or `1:00 PM`.
pub fn hour(time: DateTime<Utc>) -> String {
    format_time(|formats| &formats.hour, time)
}

/// A full hour with weekday and date, e.g. `Tuesday, 24 November at 13:00`.
pub fn hour_of_day(time: DateTime<Utc>) -> String {
    format_time(|formats| &formats.slot, time)
}

/// The distance of a time from now, e.g. `in 3 min`, `2 hr ago`, `now`. More than 30 days away, the time itself.
pub fn relative(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (time - now).num_seconds();
    match seconds.abs() {
        0..=4 => now_text(),
        5..=59 => distance(seconds, "second"),
        60..=3_599 => distance(seconds / 60, "minute"),
        3_600..=86_399 => distance(seconds / 3_600, "hour"),
        86_400..=2_591_999 => distance(seconds / 86_400, "day"),
        _ => timestamp(time),
    }
}

/// The time that is left until `time`, to the second in the last minute, e.g. `in 3 sec`.
pub fn countdown(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match (time - now).num_milliseconds() {
        ..=0 => now_text(),
        left @ 1..=59_999 => distance((left + 999) / 1_000, "second"),
        _ => relative(time, now),
    }
}

fn distance(value: i64, unit: &str) -> String {
    FORMATS.with(|formats| formats.relative.format(value as f64, unit)).into()
}

fn now_text() -> String {
    FORMATS.with(|formats| formats.now.format(0.0, "second")).into()
}

/// A whole number with separators, e.g. `12,345`.
pub fn number(value: u64) -> String {
    format_number(|formats| &formats.number, value as f64)
}

/// A share between 0 and 1 in per cent with one decimal. Only all is shown as 100 %, and only none as 0 %.
pub fn percent(share: f64) -> String {
    let rounded = (share * 1_000.0).round() / 1_000.0;
    let is_whole = share <= 0.0 || share >= 1.0;
    format_number(|formats| &formats.percent, if is_whole { rounded } else { rounded.clamp(0.001, 0.999) })
}

/// A duration in milliseconds with two or more digits, e.g. `1.2 s`, `340 ms`, `0.8 ms`.
pub fn duration(ms: f64) -> String {
    let (value, unit) = if ms >= 1_000.0 { (ms / 1_000.0, "s") } else { (ms, "ms") };
    let number = format_number(|formats| if value >= 10.0 { &formats.number } else { &formats.decimal }, value);
    format!("{number} {unit}")
}

/// The length of a span in days, hours and minutes, e.g. `1 h 30 min`, `3 days 4 h`.
pub fn length(span: Duration) -> String {
    let minutes = span.num_minutes();
    let (days, hours, minutes) = (minutes / 1_440, minutes / 60 % 24, minutes % 60);
    let parts = [
        (days > 0).then(|| format_number(|formats| &formats.days, days as f64)),
        (hours > 0).then(|| format!("{hours} h")),
        (minutes > 0).then(|| format!("{minutes} min")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The name of the reader's time zone, e.g. `Europe/Berlin`.
pub fn time_zone() -> String {
    resolved_option("timeZone").unwrap_or_else(|| "UTC".to_owned())
}

/// The day on which a week starts. Monday if the browser does not report it.
pub fn first_weekday() -> Weekday {
    let locale = resolved_option("locale").unwrap_or_default();
    let first_day = Locale::new(&locale).and_then(|locale| locale.get_week_info()).map(|week| week.first_day());
    // Intl counts from 1, Monday, to 7; chrono counts from 0.
    first_day.ok().and_then(|day| Weekday::try_from(day.checked_sub(1)?).ok()).unwrap_or(Weekday::Mon)
}

/// A property of the locale and time zone that the browser has chosen.
fn resolved_option(name: &str) -> Option<String> {
    let options: Object = FORMATS.with(|formats| formats.timestamp.resolved_options());
    Reflect::get(&options, &name.into()).ok()?.as_string()
}
