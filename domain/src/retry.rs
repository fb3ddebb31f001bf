//! Retry policy: the delays between attempts (docs/contract.md §2).

use chrono::{DateTime, Datelike as _, Duration, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

/// A webhook's retry policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RetryPolicy {
    /// Delay in seconds before the 2nd, 3rd, … attempt: 0 to 12 entries of 1 to 86,400 s. Default: 1, 2, 4.
    #[serde(rename = "waits")]
    pub delays: Vec<u32>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { delays: vec![1, 2, 4] }
    }
}

/// The longest delay that `Retry-After` can request.
pub const RETRY_AFTER_CAP: Duration = Duration::hours(1);

impl RetryPolicy {
    /// The extended policy: the default delays, then 30 s, 5 min, 30 min, 2 h, 6 h and 12 h.
    pub fn extended() -> Self {
        Self { delays: vec![1, 2, 4, 30, 300, 1_800, 7_200, 21_600, 43_200] }
    }

    /// Maximum number of attempts of a delivery.
    pub fn max_attempts(&self) -> u32 {
        self.delays.len() as u32 + 1
    }

    /// The time of the next attempt after `attempt` (1-based) failed at `ended`; `None` after the last one. `jitter`
    /// (0.0 to 1.0) adds at most 10 %, only to delays of 30 s or more: the default delays stay exact. A `retry_after`
    /// of a 429 or 503 replaces a shorter delay, up to [`RETRY_AFTER_CAP`].
    pub fn next_attempt(
        &self,
        attempt: u32,
        ended: DateTime<Utc>,
        retry_after: Option<Duration>,
        jitter: f64,
    ) -> Option<DateTime<Utc>> {
        let seconds = *self.delays.get(attempt.checked_sub(1)? as usize)?;
        let mut millis = i64::from(seconds) * 1_000;
        if seconds >= 30 {
            millis += (f64::from(seconds) * 100.0 * jitter.clamp(0.0, 1.0)) as i64;
        }
        let mut delay = Duration::milliseconds(millis);
        if let Some(requested) = retry_after {
            delay = delay.max(requested.min(RETRY_AFTER_CAP));
        }
        Some(ended + delay)
    }

    /// Checks the number and range of the delays.
    ///
    /// # Errors
    /// A sentence for the field `retry.waits`.
    pub fn check(&self) -> Result<(), String> {
        if self.delays.len() > 12 {
            return Err("Use at most 12 retries.".into());
        }
        if self.delays.iter().any(|w| !(1..=86_400).contains(w)) {
            return Err("Each delay must be 1 to 86400 seconds.".into());
        }
        Ok(())
    }
}

/// Parses a `Retry-After` value (RFC 9110 §10.2.3): seconds or an HTTP date, relative to `now`. `None` when invalid.
pub fn parse_retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than an i64 holds means "very long": the cap applies.
        return Some(Duration::seconds(value.parse::<i64>().unwrap_or(i64::MAX / 1_000).min(31_536_000)));
    }
    Some((parse_http_date(value, now)? - now).max(Duration::zero()))
}

/// Parses an HTTP date (RFC 9110 §5.6.7): IMF-fixdate, RFC 850 and asctime. The day of the week is ignored, because it
/// is redundant and sometimes wrong. A two-digit year is at most 50 years in the future.
fn parse_http_date(value: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let Some((_, date)) = value.split_once(',') else {
        let (_, date) = value.split_once(' ')?;
        return Some(NaiveDateTime::parse_from_str(date.trim_start(), "%b %e %H:%M:%S %Y").ok()?.and_utc());
    };
    let date = date.trim();
    if let Ok(date) = DateTime::parse_from_rfc2822(date) {
        return Some(date.with_timezone(&Utc));
    }
    let (day, rest) = date.split_once('-')?;
    let (month, rest) = rest.split_once('-')?;
    let (year, time) = rest.split_once(' ')?;
    let mut year: i32 = year.parse().ok()?;
    if (0..100).contains(&year) {
        year += now.year() / 100 * 100;
        if year > now.year() + 50 {
            year -= 100;
        }
    }
    let time = time.trim().trim_end_matches("GMT").trim_end();
    let date = format!("{day} {month} {year} {time}");
    Some(NaiveDateTime::parse_from_str(&date, "%d %b %Y %H:%M:%S").ok()?.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn retry_after_is_read_in_every_format_of_an_http_date() {
        let now = DateTime::parse_from_rfc3339("2027-03-28T08:49:07Z").unwrap().with_timezone(&Utc);
        for (value, seconds) in [
            ("30", Some(30)),
            (" 0 ", Some(0)),
            ("99999999999999999999", Some(31_536_000)),
            ("Sun, 28 Mar 2027 08:49:37 GMT", Some(30)),
            ("Sun, 28 Mar 2027 08:49:37 +0000", Some(30)),
            ("Sunday, 28-Mar-27 08:49:37 GMT", Some(30)),
            ("Sun, 28-Mar-2027 08:49:37 GMT", Some(30)),
            ("Sun Mar 28 08:49:37 2027", Some(30)),
            ("Thu Apr  1 08:49:07 2027", Some(4 * 86_400)),
            // The day of the week is wrong.
            ("Monday, 28-Mar-27 08:49:37 GMT", Some(30)),
            ("Mon Mar 28 08:49:37 2027", Some(30)),
            // In the past: at once.
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(0)),
            ("Sun Nov  6 08:49:37 1994", Some(0)),
            ("", None),
            ("soon", None),
            ("-5", None),
            ("1.5", None),
            ("Sunday, 28-Mar-27", None),
            ("Sun Mar 28", None),
        ] {
            let parsed = parse_retry_after(value, now).map(|delay| delay.num_seconds());
            assert_eq!(parsed, seconds, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_retry_after_never_panics(text: String, day in "[A-Za-z]{3,9}, [0-9]{1,3}-[A-Za-z]{3}-[0-9-]{1,11} .{0,12}") {
            let now = DateTime::UNIX_EPOCH;
            let _ = parse_retry_after(&text, now);
            let _ = parse_retry_after(&day, now);
        }
    }
}
