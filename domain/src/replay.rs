//! Replays: deliveries that are sent again, or events that a webhook has never received, in the background.

use crate::Problem;
use crate::delivery::DeliveryFilter;
use crate::id::{DeliveryId, ReplayId};
use crate::problem::Validator;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Maximum number of deliveries of one replay.
pub const MAX_REPLAYED: u64 = 100_000;
/// The highest rate of a replay, in deliveries per minute.
pub const MAX_PER_MINUTE: u32 = 60_000;

/// What a replay sends.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ReplaySource {
    /// The deliveries that match the filter, again; failed ones unless the filter selects a status.
    #[default]
    Deliveries,
    /// `reservation.created` for each active reservation of which the webhook has no delivery: reserved before the webhook
    /// existed or while it was deleted, or discarded. The filter has `webhook_id`, and can have `since` and `until`, the
    /// times between which the reservations were created.
    Missing,
}

impl ReplaySource {
    /// Every source.
    pub const ALL: [Self; 2] = [Self::Deliveries, Self::Missing];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The source with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// The status of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ReplayStatus {
    /// It queues deliveries.
    Running,
    /// It queues nothing until it is continued.
    Paused,
    /// All deliveries are queued. Some may still wait for their attempts.
    Completed,
    /// It was cancelled. Deliveries that waited were discarded.
    Cancelled,
}

impl ReplayStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Completed, Self::Cancelled];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The status with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// Whether a client may change this status to `next`.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Running => matches!(next, Self::Paused | Self::Cancelled),
            Self::Paused => matches!(next, Self::Running | Self::Cancelled),
            // Deliveries that still wait are discarded.
            Self::Completed => next == Self::Cancelled,
            Self::Cancelled => false,
        }
    }
}

/// A new replay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// What is sent.
    #[serde(default)]
    pub source: ReplaySource,
    /// Which deliveries, or of which webhook and period the reservations.
    pub filter: DeliveryFilter,
    /// Send one delivery, then pause, so that its result can be checked.
    #[serde(default)]
    pub one_first: bool,
    /// The highest rate in deliveries per minute, 1 to 60,000; null = no limit except those of the webhooks.
    #[serde(default)]
    pub per_minute: Option<u32>,
}

/// A change of a replay. An absent field stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReplayPatch {
    /// `paused`, `running` (continue) or `cancelled`.
    #[serde(default)]
    pub status: Option<ReplayStatus>,
    /// The highest rate in deliveries per minute, 1 to 60,000.
    #[serde(default)]
    pub per_minute: Option<u32>,
}

/// A replay with its progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Replay {
    /// `rpl_…`
    pub id: ReplayId,
    /// The status.
    pub status: ReplayStatus,
    /// What is sent.
    pub source: ReplaySource,
    /// The filter at the start.
    pub filter: DeliveryFilter,
    /// Whether it pauses after the first delivery.
    pub one_first: bool,
    /// The highest rate in deliveries per minute; null = no limit except those of the webhooks.
    pub per_minute: Option<u32>,
    /// The progress.
    pub progress: ReplayProgress,
    /// The first delivery that was queued.
    pub first_delivery: Option<DeliveryId>,
    /// Login name of the user who started it.
    pub created_by: String,
    /// Time of the start.
    pub created_at: DateTime<Utc>,
    /// Time of the last change of its status.
    pub updated_at: DateTime<Utc>,
}

/// The numbers of deliveries of a replay. Those not queued yet, waiting, succeeded, failed, cancelled and skipped are
/// `total` together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplayProgress {
    /// All.
    pub total: u64,
    /// Queued so far, or skipped.
    pub done: u64,
    /// In the queue or being sent.
    pub waiting: u64,
    /// Succeeded.
    pub succeeded: u64,
    /// Failed after all attempts.
    pub failed: u64,
    /// Discarded before they succeeded.
    pub cancelled: u64,
    /// Not queued, because meanwhile somebody had redelivered it, the webhook was deleted, or the reservation had ended.
    pub skipped: u64,
}

fn check_rate(validator: &mut Validator, per_minute: Option<u32>) {
    if per_minute.is_some_and(|rate| !(1..=MAX_PER_MINUTE).contains(&rate)) {
        validator.error("per_minute", "Enter a number from 1 to 60,000, or leave it empty for no limit.");
    }
}

impl ReplayRequest {
    /// Checks the input.
    ///
    /// # Errors
    /// 422 that names invalid fields.
    pub fn check(&self) -> Result<(), Problem> {
        let mut validator = Validator::new();
        check_rate(&mut validator, self.per_minute);
        if self.source == ReplaySource::Missing {
            let filter = &self.filter;
            if filter.webhook_id.is_none() {
                validator.error("filter.webhook_id", "Choose the webhook that has never received the events.");
            }
            let has_others = [
                ("filter.event_type", filter.event_type.is_some()),
                ("filter.status", filter.status.is_some()),
                ("filter.reservation_id", filter.reservation_id.is_some()),
                ("filter.redelivery_of", filter.redelivery_of.is_some()),
                ("filter.replay", filter.replay.is_some()),
                ("filter.q", filter.q.is_some()),
            ];
            for (field, _) in has_others.into_iter().filter(|(_, is_set)| *is_set) {
                let message =
                    "Events that were never sent have no delivery to filter. Use webhook_id, since and until.";
                validator.error(field, message);
            }
        }
        validator.finish()
    }
}

impl ReplayPatch {
    /// Checks the input.
    ///
    /// # Errors
    /// 422 that names invalid fields.
    pub fn check(&self) -> Result<(), Problem> {
        let mut validator = Validator::new();
        check_rate(&mut validator, self.per_minute);
        if self.status == Some(ReplayStatus::Completed) {
            validator.error("status", "Use paused, running or cancelled.");
        }
        validator.finish()
    }
}

/// How many deliveries a replay queues at once, and the pause after them in milliseconds.
///
/// A batch has at most `max` deliveries. With a rate, a batch has those of one second, at least one.
pub fn pace(per_minute: Option<u32>, max: u64) -> (u64, i64) {
    let Some(rate) = per_minute.map(|rate| u64::from(rate.max(1))) else { return (max, 0) };
    let batch = (rate / 60).clamp(1, max.max(1));
    let pause = (batch * 60_000).div_ceil(rate);
    (batch, i64::try_from(pause).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pace_keeps_the_rate(rate in 1_u32..=MAX_PER_MINUTE, max in 1_u64..1_000) {
            let (batch, pause) = pace(Some(rate), max);
            prop_assert!((1..=max).contains(&batch));
            // No more than the rate, and no less than nine tenths of it unless `max` limits the batch.
            prop_assert!(batch * 60_000 <= u64::from(rate) * pause.unsigned_abs());
            prop_assert!(batch == max || pause <= 60_000);
        }
    }

    #[test]
    fn pace_without_a_rate_has_no_pause() {
        assert_eq!(pace(None, 200), (200, 0));
        assert_eq!(pace(Some(1), 200), (1, 60_000));
        assert_eq!(pace(Some(6_000), 200), (100, 1_000));
    }

    #[test]
    fn missing_events_need_a_webhook_and_no_filter_of_deliveries() {
        let request = |filter| ReplayRequest { source: ReplaySource::Missing, filter, ..Default::default() };
        let fields = |filter| {
            let problem = request(filter).check().unwrap_err();
            problem.errors.into_iter().map(|error| error.field).collect::<Vec<_>>()
        };
        assert_eq!(fields(DeliveryFilter::default()), ["filter.webhook_id"]);
        let searched = DeliveryFilter { webhook_id: Some(1), q: Some("code:5xx".into()), ..Default::default() };
        assert_eq!(fields(searched), ["filter.q"]);
        assert!(request(DeliveryFilter { webhook_id: Some(1), ..Default::default() }).check().is_ok());
        assert!(ReplayRequest { per_minute: Some(0), ..Default::default() }.check().is_err());
    }
}
