//! Metrics of deliveries over time, from counters of attempts and a histogram of their durations.

use crate::event::EventType;
use crate::id::{DeliveryId, WebhookId};
use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

/// Upper ends of the buckets of the histogram in milliseconds, inclusive. A last bucket has no end.
pub const BUCKETS_MS: [f64; 15] =
    [1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 20_000.0, 30_000.0];
/// Maximum number of points of a series.
pub const MAX_POINTS: i64 = 1_000;
/// Lengths of the stored counters in seconds: five minutes, one hour and one day.
pub const STORED_STEPS: [i64; 3] = [300, 3_600, 86_400];

/// The bucket of a duration in milliseconds.
pub fn bucket(duration_ms: f64) -> usize {
    BUCKETS_MS.iter().position(|end| duration_ms <= *end).unwrap_or(BUCKETS_MS.len())
}

/// Numbers of attempts by the bucket of their duration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram([u64; BUCKETS_MS.len() + 1]);

impl Histogram {
    /// Adds attempts to a bucket. An unknown bucket is the last one.
    pub fn add(&mut self, bucket: usize, attempts: u64) {
        if let Some(count) = self.0.get_mut(bucket.min(BUCKETS_MS.len())) {
            *count += attempts;
        }
    }

    /// The duration in milliseconds below which a share `q` of the attempts lies, interpolated within its bucket. `None`
    /// without attempts. The last bucket counts as 30 s, the longest time limit.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total: u64 = self.0.iter().sum();
        if total == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * total as f64;
        let mut below = 0.0;
        let mut start = 0.0;
        for (count, end) in self.0.iter().zip(BUCKETS_MS.iter().chain(BUCKETS_MS.last())) {
            let inside = *count as f64;
            if inside > 0.0 && below + inside >= rank {
                return Some(start + (end - start) * ((rank - below) / inside).clamp(0.0, 1.0));
            }
            below += inside;
            start = *end;
        }
        BUCKETS_MS.last().copied()
    }
}

/// The class of a result.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::EnumString,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ResponseClass {
    /// 2xx.
    #[serde(rename = "2xx")]
    #[strum(serialize = "2xx")]
    Success,
    /// 3xx.
    #[serde(rename = "3xx")]
    #[strum(serialize = "3xx")]
    Redirect,
    /// 4xx.
    #[serde(rename = "4xx")]
    #[strum(serialize = "4xx")]
    ClientError,
    /// 5xx.
    #[serde(rename = "5xx")]
    #[strum(serialize = "5xx")]
    ServerError,
    /// No response.
    #[serde(rename = "none")]
    #[strum(serialize = "none")]
    NoResponse,
}

impl ResponseClass {
    /// The class of a status code; `None` stands for no response.
    pub fn of(status_code: Option<u16>) -> Self {
        match status_code {
            None => Self::NoResponse,
            Some(..300) => Self::Success,
            Some(300..400) => Self::Redirect,
            Some(400..500) => Self::ClientError,
            Some(500..) => Self::ServerError,
        }
    }

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The class with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// The requested metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(default)]
pub struct MetricsQuery {
    /// Start; 24 hours before `to` when absent. Rounded down to a step.
    #[serde(deserialize_with = "crate::timestamp::deserialize_optional")]
    pub from: Option<DateTime<Utc>>,
    /// End; the present time when absent. Rounded up to a step.
    #[serde(deserialize_with = "crate::timestamp::deserialize_optional")]
    pub to: Option<DateTime<Utc>>,
    /// Only attempts to this webhook.
    pub webhook_id: Option<WebhookId>,
    /// Length of a point in seconds, a multiple of 300. When absent, about 60 points. Points shorter than an hour exist for
    /// three days, and points shorter than a day for 100 days.
    #[cfg_attr(feature = "openapi", param(minimum = 300))]
    pub step: Option<i64>,
}

/// A period in equal steps. Times in seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Start, a multiple of `step`.
    pub from: i64,
    /// End, exclusive, a multiple of `step`.
    pub to: i64,
    /// Length of a step.
    pub step: i64,
    /// The longest of [`STORED_STEPS`] that divides `step`.
    pub stored: i64,
}

impl MetricsQuery {
    /// The period and its steps.
    ///
    /// # Errors
    /// Names `from`, `to` or `step` if the period is empty, or has too many steps.
    pub fn steps(&self, now: DateTime<Utc>) -> Result<Steps, crate::Problem> {
        let to = self.to.unwrap_or(now);
        let from = self.from.unwrap_or(to - Duration::hours(24));
        if from >= to {
            return Err(crate::Problem::field("from", "Choose a start before the end."));
        }
        let (from, to) = (from.timestamp(), to.timestamp());
        let step = match self.step {
            None => [300, 900, 3_600, 10_800, 21_600, 86_400].into_iter().find(|step| (to - from) / step <= 100),
            Some(step) if step > 0 && step % 300 == 0 => Some(step),
            Some(_) => return Err(crate::Problem::field("step", "Choose a multiple of 300 seconds.")),
        };
        let step = step.unwrap_or(86_400);
        let from = from.div_euclid(step) * step;
        let to = (to.div_euclid(step) + i64::from(to.rem_euclid(step) > 0)) * step;
        if (to - from) / step > MAX_POINTS {
            let message = format!("At most {MAX_POINTS} points. Choose a longer step or a shorter period.");
            return Err(crate::Problem::field("step", message));
        }
        let stored = STORED_STEPS.into_iter().rev().find(|stored| step % stored == 0);
        Ok(Steps { from, to, step, stored: stored.unwrap_or(300) })
    }
}

/// Numbers of attempts with a result and their durations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptCounts {
    /// All attempts.
    pub attempts: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Share of attempts that succeeded, 0 to 1; null without attempts.
    pub success_rate: Option<f64>,
    /// Median of the durations in milliseconds.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
}

impl AttemptCounts {
    /// The counts with rate and percentiles.
    pub fn new(attempts: u64, failed: u64, durations: &Histogram) -> Self {
        Self {
            attempts,
            failed,
            success_rate: (attempts > 0).then(|| (attempts - failed.min(attempts)) as f64 / attempts as f64),
            p50_ms: durations.quantile(0.50),
            p95_ms: durations.quantile(0.95),
            p99_ms: durations.quantile(0.99),
        }
    }
}

/// A point of the series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MetricsPoint {
    /// Start of the step.
    pub at: DateTime<Utc>,
    /// Attempts that started in the step.
    pub counts: AttemptCounts,
}

/// The attempts of one response class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClassSeries {
    /// The class.
    pub class: ResponseClass,
    /// Number of attempts in the period.
    pub attempts: u64,
    /// Number of attempts in each step, oldest first.
    pub series: Vec<u64>,
}

/// The attempts of one event type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventSeries {
    /// The event type.
    pub event_type: EventType,
    /// Number of attempts in the period.
    pub attempts: u64,
    /// Number of attempts in each step, oldest first.
    pub series: Vec<u64>,
}

/// The oldest delivery that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OldestDelivery {
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// Its webhook.
    pub webhook_id: WebhookId,
    /// The webhook's name.
    pub webhook_name: String,
    /// Creation time of the delivery.
    pub created_at: DateTime<Utc>,
}

/// The deliveries that have not ended: pending, sending or retrying.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Backlog {
    /// Their number, counted up to 100,000.
    pub queued: u64,
    /// The oldest one; null while the queue is empty.
    pub oldest: Option<OldestDelivery>,
}

/// The number of deliveries or attempts over time, for a filter of the delivery log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryHistogram {
    /// Start of the period.
    pub from: DateTime<Utc>,
    /// Length of a step in seconds.
    pub step: i64,
    /// Whether attempts are counted, from the counters. Otherwise deliveries are counted.
    pub attempts: bool,
    /// The number in each step, oldest first.
    pub total: Vec<u64>,
    /// Those of `total` that failed.
    pub failed: Vec<u64>,
}

/// Response of `GET /api/v1/metrics/deliveries`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryMetrics {
    /// Start of the period.
    pub from: DateTime<Utc>,
    /// End of the period, exclusive.
    pub to: DateTime<Utc>,
    /// Length of a step in seconds.
    pub step: i64,
    /// All attempts of the period, without test events.
    pub total: AttemptCounts,
    /// The steps, oldest first.
    pub series: Vec<MetricsPoint>,
    /// By class of the response, those that occurred.
    pub by_class: Vec<ClassSeries>,
    /// By event type, those that occurred.
    pub by_event: Vec<EventSeries>,
    /// The deliveries that have not ended, at present.
    #[serde(default)]
    pub backlog: Backlog,
    /// How far the index reaches from which the attempts were counted.
    pub index: crate::delivery::IndexState,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn steps_are_whole_and_use_the_longest_counters() {
        let now = at("2026-11-28T10:07:00Z");
        let steps = |from: &str, step: Option<i64>| {
            MetricsQuery { from: Some(at(from)), step, ..Default::default() }.steps(now).unwrap()
        };
        let day = MetricsQuery::default().steps(now).unwrap();
        assert_eq!((day.step, day.stored), (900, 300));
        assert_eq!(day.to, at("2026-11-28T10:15:00Z").timestamp());
        let quarter = steps("2026-08-30T10:00:00Z", None);
        assert_eq!((quarter.step, quarter.stored), (86_400, 86_400));
        assert_eq!((quarter.to - quarter.from) / quarter.step, 91);
        assert_eq!(steps("2026-11-28T00:00:00Z", Some(7_200)).stored, 3_600);
        let invalid = |query: MetricsQuery| query.steps(now).unwrap_err().errors[0].field.clone();
        assert_eq!(invalid(MetricsQuery { step: Some(7), ..Default::default() }), "step");
        assert_eq!(invalid(MetricsQuery { from: Some(now), ..Default::default() }), "from");
        let long = MetricsQuery { from: Some(at("2020-01-01T00:00:00Z")), step: Some(300), ..Default::default() };
        assert_eq!(invalid(long), "step");
    }

    #[test]
    fn classes_follow_the_status_code() {
        let names = [Some(204), Some(302), Some(404), Some(503), None].map(|code| ResponseClass::of(code).as_str());
        assert_eq!(names, ["2xx", "3xx", "4xx", "5xx", "none"]);
    }

    #[test]
    fn quantile_of_nothing_is_absent() {
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn quantile_is_within_the_bucket_of_the_exact_value(
            mut durations in proptest::collection::vec(0.01_f64..30_000.0, 1..200),
            q in 0.01_f64..1.0,
        ) {
            let mut histogram = Histogram::default();
            durations.iter().for_each(|duration| histogram.add(bucket(*duration), 1));
            durations.sort_by(f64::total_cmp);
            let rank = ((q * durations.len() as f64).ceil() as usize).clamp(1, durations.len());
            let estimate = histogram.quantile(q).unwrap();
            let exact = bucket(durations[rank - 1]);
            let start = if exact == 0 { 0.0 } else { BUCKETS_MS[exact - 1] };
            prop_assert!((start..=BUCKETS_MS[exact]).contains(&estimate), "{estimate} in bucket {exact}");
        }
    }
}
