//! Retry policy: the delays between attempts (docs/contract.md §2).

use chrono::{DateTime, Duration, Utc};
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
    let date = DateTime::parse_from_rfc2822(value).ok()?.with_timezone(&Utc);
    Some((date - now).max(Duration::zero()))
}
