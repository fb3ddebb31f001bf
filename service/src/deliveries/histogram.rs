//! The number of deliveries over time, for a filter of the delivery log.

use super::Deliveries;
use crate::Result;
use crate::db::codec::time;
use crate::db::entity::{delivery_counts, delivery_index};
use chrono::Duration;
use domain::Problem;
use domain::authorization::{Action, Actor, authorize};
use domain::delivery::{DeliveryFilter, DeliveryStatus, Outcome};
use domain::metrics::{DeliveryHistogram, MetricsQuery, Steps};
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _};
use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QuerySelect as _};

/// The period without a start in the filter.
const DEFAULT_PERIOD: Duration = Duration::hours(24);
/// Periods that are shorter have steps below the length of the shortest counters.
const MIN_COUNTED_PERIOD: Duration = Duration::hours(1);
/// The largest number of steps.
const MAX_STEPS: i64 = 100;
/// Lengths of steps in seconds.
const STEPS: [i64; 12] = [1, 5, 10, 30, 60, 300, 900, 3_600, 10_800, 21_600, 86_400, 604_800];

/// The number within a step, and whether it failed.
type Count = (i64, bool, i64);

impl Deliveries {
    /// The number of deliveries over time that match a filter, in at most 100 steps. Without `since`, those of the last 24
    /// hours. If the counters of attempts answer the filter, they are used: their cost does not depend on the length of the
    /// log.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, an auditor or an owner; 422 for an invalid period or search.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn histogram(&self, actor: &Actor, filter: &DeliveryFilter) -> Result<DeliveryHistogram> {
        authorize(actor, Action::ReadOwned)?;
        let until = filter.until.unwrap_or_else(|| self.context.now());
        let since = filter.since.unwrap_or(until - DEFAULT_PERIOD);
        if since >= until {
            return Err(Problem::field("since", "Choose a start before the end.").into());
        }
        let is_countable = filter.q.is_none()
            && filter.status.is_none()
            && filter.reservation_id.is_none()
            && filter.redelivery_of.is_none()
            && filter.replay.is_none();
        if is_countable && until - since >= MIN_COUNTED_PERIOD {
            // The default steps are for at most 100 days.
            let days = (until - since).num_days();
            let query = MetricsQuery {
                from: Some(since),
                to: Some(until),
                webhook_id: filter.webhook_id,
                step: (days > MAX_STEPS).then(|| (days / MAX_STEPS + 1) * 86_400),
            };
            let steps = query.steps(self.context.now())?;
            let rows = self.counted_attempts(actor, filter, &query, steps).await?;
            return Ok(histogram(steps.from, steps.to, steps.step, true, rows));
        }
        let (from, to) = (since.timestamp(), until.timestamp());
        let step = STEPS.into_iter().find(|step| (to - from) / step < MAX_STEPS).unwrap_or(604_800);
        let start = from.div_euclid(step) * step;
        let end = to.div_euclid(step) * step + step;
        let filter = DeliveryFilter { since: Some(since), until: Some(until), ..filter.clone() };
        let point = Expr::col(delivery_index::Column::CreatedAt.as_column_ref()).sub(start * 1_000).div(step * 1_000);
        let rows: Vec<(i64, String, i64)> = self
            .matching(&filter)?
            .select(actor)
            .select_only()
            .column_as(point, "point")
            .column(delivery_index::Column::Status)
            .column_as(delivery_index::COLUMN.seq.count(), "deliveries")
            .group_by(Expr::col(Alias::new("point")))
            .group_by(delivery_index::Column::Status)
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        let is_failed = |status: String| status == DeliveryStatus::Failed.as_str();
        let rows = rows.into_iter().map(|(point, status, count)| (point, is_failed(status), count));
        Ok(histogram(start, end, step, false, rows.collect()))
    }

    /// The attempts in each step of a query.
    async fn counted_attempts(
        &self,
        actor: &Actor,
        filter: &DeliveryFilter,
        query: &MetricsQuery,
        steps: Steps,
    ) -> Result<Vec<Count>> {
        let point = Expr::col(delivery_counts::Column::StartAt.as_column_ref()).sub(steps.from).div(steps.step);
        // A sum of integers is NUMERIC on PostgreSQL.
        let attempts = delivery_counts::COLUMN.attempts.sum().cast_as(Alias::new("BIGINT"));
        let rows: Vec<(i64, String, i64)> = delivery_counts::Entity::find()
            .select_only()
            .column_as(point, "point")
            .column(delivery_counts::Column::Outcome)
            .column_as(attempts, "attempts")
            .filter(super::metrics::counted(actor, query, steps))
            .filter(
                Condition::all()
                    .add_option(filter.event_type.map(|event| delivery_counts::COLUMN.event_type.eq(event.as_str()))),
            )
            .group_by(Expr::col(Alias::new("point")))
            .group_by(delivery_counts::Column::Outcome)
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        Ok(rows.into_iter().map(|(at, outcome, count)| (at, outcome == Outcome::Failed.as_str(), count)).collect())
    }
}

/// Distributes counts over the steps between two times, in seconds since the epoch.
fn histogram(from: i64, to: i64, step: i64, attempts: bool, rows: Vec<Count>) -> DeliveryHistogram {
    let length = usize::try_from((to - from) / step).unwrap_or_default();
    let (mut total, mut failed) = (vec![0; length], vec![0; length]);
    for (point, is_failure, count) in rows {
        let Some(at) = usize::try_from(point).ok().filter(|at| *at < length) else { continue };
        for series in std::iter::once(&mut total).chain(is_failure.then_some(&mut failed)) {
            if let Some(number) = series.get_mut(at) {
                *number += count.unsigned_abs();
            }
        }
    }
    DeliveryHistogram { from: time(from * 1_000), step, attempts, total, failed }
}
