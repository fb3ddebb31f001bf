//! Dates, times, numbers and durations in the reader's locale and time zone.
//!
//! The browser's `Intl` formats them. It also provides the week start and the 12- or 24-hour clock, unless the reader prefers
//! other ones. A local time that occurs twice is shown with its offset.

use crate::preferences;
use crate::time;
use chrono::{DateTime, Duration, NaiveDate, Utc, Weekday};
use js_sys::Intl::{
    DateTimeFormat, DateTimeFormatOptions, DateTimeStyle, DayFormat, Locale, MonthFormat, NumberFormat,
    NumberFormatOptions, NumberFormatStyle, NumericFormat, RelativeTimeFormat, RelativeTimeFormatNumeric,
    RelativeTimeFormatOptions, RelativeTimeFormatStyle, TimeZoneNameFormat, UnitDisplay, WeekdayFormat, YearFormat,
};
use js_sys::{Array, Date, Function, Object, Reflect};
use leptos::prelude::window;
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::JsValue;

/// The locales that the reader can choose, with their names.
pub const LOCALES: [(&str, &str); 26] = [
    ("zh-CN", "Chinese (Simplified)"),
    ("cs-CZ", "Czech"),
    ("da-DK", "Danish"),
    ("nl-NL", "Dutch"),
    ("en-AU", "English (Australia)"),
    ("en-CA", "English (Canada)"),
    ("en-IN", "English (India)"),
    ("en-GB", "English (United Kingdom)"),
    ("en-US", "English (United States)"),
    ("fi-FI", "Finnish"),
    ("fr-CA", "French (Canada)"),
    ("fr-FR", "French (France)"),
    ("de-AT", "German (Austria)"),
    ("de-DE", "German (Germany)"),
    ("de-CH", "German (Switzerland)"),
    ("hi-IN", "Hindi"),
    ("it-IT", "Italian"),
    ("ja-JP", "Japanese"),
    ("ko-KR", "Korean"),
    ("nb-NO", "Norwegian"),
    ("pl-PL", "Polish"),
    ("pt-BR", "Portuguese (Brazil)"),
    ("pt-PT", "Portuguese (Portugal)"),
    ("es-MX", "Spanish (Mexico)"),
    ("es-ES", "Spanish (Spain)"),
    ("sv-SE", "Swedish"),
];

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
    static FORMATS: RefCell<Rc<Formats>> = RefCell::new(Rc::new(Formats::new()));
}

fn formats() -> Rc<Formats> {
    FORMATS.with_borrow(Rc::clone)
}

/// Changes a preference of the reader. Texts that are visible already keep their format.
pub fn set_preference(key: &str, value: &str) {
    preferences::set(key, value);
    FORMATS.set(Rc::new(Formats::new()));
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

/// The locale that the reader prefers, or the languages of the browser. The default of `Intl` is the language of its menus instead.
fn locales() -> Array {
    let preferred = preferences::get(preferences::LOCALE);
    let tags = match LOCALES.iter().find(|(tag, _)| *tag == preferred) {
        Some((tag, _)) => Array::of1(&JsValue::from_str(tag)),
        None => window().navigator().languages(),
    };
    let clock = preferences::get(preferences::CLOCK);
    let usable = |tag: JsValue| {
        let mut tag = tag.as_string()?;
        if matches!(clock.as_str(), "h12" | "h23") {
            tag.push_str(if tag.contains("-u-") { "-hc-" } else { "-u-hc-" });
            tag.push_str(&clock);
        }
        // Some systems report a name that is no tag and that `Intl` rejects, such as `en-US@posix`.
        Locale::new(&tag).ok().map(|_| JsValue::from_str(&tag))
    };
    tags.iter().filter_map(usable).collect()
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
    call(&format(&formats()).format(), &js_date(time))
}

fn format_range(format: impl Fn(&Formats) -> &DateTimeFormat, start: DateTime<Utc>, end: DateTime<Utc>) -> String {
    let text = format(&formats()).format_range(&js_date(start), &js_date(end));
    text.map(String::from).unwrap_or_default()
}

fn format_number(format: impl Fn(&Formats) -> &NumberFormat, value: f64) -> String {
    call(&format(&formats()).format(), &JsValue::from_f64(value))
}

/// A time of day, with its offset if the local time occurs twice.
fn format_clock(format: impl Fn(&Formats) -> &DateTimeFormat, time: DateTime<Utc>) -> String {
    let text = format_time(format, time);
    time::repeated_offset(time).map_or_else(|| text.clone(), |offset| format!("{text} {offset}"))
}

/// A date with time, e.g. `24 Nov 2026, 13:05`.
pub fn timestamp(time: DateTime<Utc>) -> String {
    format_clock(|formats| &formats.timestamp, time)
}

/// A date with time to the millisecond and offset, e.g. `24 Nov 2026, 13:05:09.123 GMT+1`.
pub fn exact_timestamp(time: DateTime<Utc>) -> String {
    format_time(|formats| &formats.exact, time)
}

/// A time span, e.g. `Tue, 24 Nov, 10:00 – 12:00`.
pub fn span(start: DateTime<Utc>, end: DateTime<Utc>) -> String {
    // `Intl` shows a span whose ends have the same local time as one time.
    if [start, end].into_iter().any(|time| time::repeated_offset(time).is_some()) {
        let with_day = |time| format_clock(|formats| &formats.span, time);
        let end = if time::date(start) == time::date(end) { clock(end) } else { with_day(end) };
        return format!("{} – {end}", with_day(start));
    }
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
pub fn clock(time: DateTime<Utc>) -> String {
    format_clock(|formats| &formats.hour, time)
}

/// A time of day with weekday and date, e.g. `Tuesday, 24 November at 13:00`.
pub fn clock_of_day(time: DateTime<Utc>) -> String {
    format_clock(|formats| &formats.slot, time)
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
    formats().relative.format(value as f64, unit).into()
}

fn now_text() -> String {
    formats().now.format(0.0, "second").into()
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

/// The day on which a week starts: the one that the reader prefers, or that of the locale.
pub fn first_weekday() -> Weekday {
    let of_locale = || {
        let locale = Locale::new(&resolved_option("locale")?).ok()?;
        let week = locale.get_week_info().map(|week| week.first_day());
        week.ok().or_else(|| Some(week_start_in(&String::from(locale.maximize().region()?))))
    };
    let day = preferences::get(preferences::WEEK_START).parse::<u8>().ok().or_else(of_locale);
    // Intl counts from 1, Monday, to 7; chrono counts from 0.
    day.and_then(|day| Weekday::try_from(day.checked_sub(1)?).ok()).unwrap_or(Weekday::Mon)
}

/// The first day of a week in a region, from Unicode CLDR. Firefox does not report it.
fn week_start_in(region: &str) -> u8 {
    const SATURDAY: &str = "AE AF BH DJ DZ EG IQ IR JO KW LY OM QA SD SY";
    const SUNDAY: &str = "AG AS BD BR BS BT BW BZ CA CO DM DO ET GT GU HK HN ID IL IN JM JP KE KH KR LA MH MM MO MT MX MZ \
                          NI NP PA PE PH PK PR PT PY SA SG SV TH TT TW UM US VE VI WS YE ZA ZW";
    match region {
        "MV" => 5,
        _ if SATURDAY.contains(region) => 6,
        _ if SUNDAY.contains(region) => 7,
        _ => 1,
    }
}

/// A property of the locale and time zone that the browser has chosen.
fn resolved_option(name: &str) -> Option<String> {
    let options: Object = formats().timestamp.resolved_options();
    Reflect::get(&options, &name.into()).ok()?.as_string()
}
