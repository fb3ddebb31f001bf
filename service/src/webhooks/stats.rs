//! Health, the 24-hour summary and the statistics of webhooks. Test events are excluded.

use super::crud::to_webhook;
use super::{Webhooks, read_action};
use crate::Result;
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::attempts::{self, StatusAfter};
use crate::db::entity::{outbox, webhooks};
use crate::db::listeners::listeners_of;
use crate::db::webhook_stats::{AttemptSummary, summarise_attempts};
use chrono::Duration;
use domain::authorization::{Action, Actor, authorize};
use domain::delivery::DeliveryStatus;
use domain::id::WebhookId;
use domain::webhook::{DeliveryMode, StatsPoint, StatsWindow, Webhook, WebhookHealth, WebhookStats, WebhookSummary};
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use std::collections::HashMap;

/// Maximum number of attempts from which percentiles are computed.
const PERCENTILE_SAMPLE: u64 = 20_000;

/// The number of attempts in one step of the series that led to one status.
#[derive(FromQueryResult)]
struct StepCount {
    step: i64,
    delivery_status: Text<StatusAfter>,
    attempts: i64,
}

/// The value at a quantile of sorted values (nearest rank).
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied()
}

/// The health of a webhook. `alerted`: an alert about failures is open.
fn health(alerted: bool, success_rate: Option<f64>, last_status: Option<DeliveryStatus>) -> WebhookHealth {
    match (success_rate, last_status) {
        _ if alerted => WebhookHealth::Failing,
        (Some(rate), _) if rate < 0.5 => WebhookHealth::Failing,
        (Some(rate), _) if rate < 0.99 => WebhookHealth::Degraded,
        (_, Some(DeliveryStatus::Retrying)) => WebhookHealth::Degraded,
        (Some(_), _) => WebhookHealth::Healthy,
        _ => WebhookHealth::Unknown,
    }
}

pub(super) fn summary(alerted: bool, attempts: Option<&AttemptSummary>, queued: u64) -> WebhookSummary {
    let succeeded = attempts.map_or(0, |attempts| attempts.succeeded.unsigned_abs());
    let deliveries = succeeded + attempts.map_or(0, |attempts| attempts.failed.unsigned_abs());
    let success_rate = (deliveries > 0).then(|| succeeded as f64 / deliveries as f64);
    let last_status = attempts.and_then(|attempts| attempts.last_status?.0.delivery_status());
    WebhookSummary {
        health: health(alerted, success_rate, last_status),
        deliveries,
        success_rate,
        p95_ms: attempts.and_then(|attempts| attempts.p95),
        last_delivery_at: attempts.and_then(|attempts| attempts.last_at).map(time),
        last_status,
        waiting: queued,
    }
}

impl Webhooks {
    /// Adds the summary of the last 24 hours to each webhook, and the use of its secrets during a rotation.
    pub(super) async fn with_summaries(&self, models: Vec<webhooks::Model>) -> Result<Vec<Webhook>> {
        let now = self.context.now();
        let since = (now - Duration::hours(24)).timestamp_millis();
        let ids: Vec<WebhookId> = models.iter().map(|model| model.id).collect();
        let attempts = summarise_attempts(&self.context.db, &ids, since).await?;
        let attempts: HashMap<_, _> = attempts.into_iter().map(|summary| (summary.webhook_id, summary)).collect();
        let queued = self.count_queued(&ids).await?;
        let local = models.iter().filter(|model| model.delivery_mode.0 == DeliveryMode::Local).map(|model| model.id);
        let local: Vec<WebhookId> = local.collect();
        let mut listeners = match local.is_empty() {
            true => HashMap::new(),
            false => listeners_of(&self.context.db.read, local, now).await?,
        };
        let mut webhooks = Vec::with_capacity(models.len());
        for model in models {
            let queued = queued.get(&model.id).copied().unwrap_or_default();
            let summary = summary(model.failing_since.is_some(), attempts.get(&model.id), queued);
            let secret_use = self.secret_use(&model, now.timestamp_millis()).await?;
            let listener = listeners.remove(&model.id);
            webhooks.push(Webhook { secret_use, listener, ..to_webhook(model, summary, now) });
        }
        Ok(webhooks)
    }

    /// The number of queued deliveries of each webhook that has some.
    async fn count_queued(&self, webhooks: &[WebhookId]) -> Result<HashMap<WebhookId, u64>> {
        let counts: Vec<(WebhookId, i64)> = outbox::Entity::find()
            .select_only()
            .column(outbox::Column::WebhookId)
            .column_as(outbox::COLUMN.seq.count(), "queued")
            .filter(outbox::COLUMN.webhook_id.is_in(webhooks.iter().copied()))
            .group_by(outbox::COLUMN.webhook_id)
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        Ok(counts.into_iter().map(|(webhook, queued)| (webhook, queued.unsigned_abs())).collect())
    }

    /// Counts, error rate, percentiles and series of a webhook. Counts are exact; percentiles are of the newest 20,000
    /// attempts in the window.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, an auditor or an owner; 404, also for a webhook of another owner.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn stats(&self, actor: &Actor, id: WebhookId, window: StatsWindow) -> Result<WebhookStats> {
        authorize(actor, Action::ReadOwned)?;
        authorize(actor, read_action(&self.find(id).await?))?;
        let step = window.step() * 1_000;
        let steps = window.seconds() / window.step();
        // Whole steps; the last one contains the current time.
        let begin = (self.context.now().timestamp_millis() / step + 1 - steps) * step;
        let mut stats = WebhookStats {
            window,
            succeeded: 0,
            failed: 0,
            attempts: 0,
            error_rate: None,
            p50_ms: None,
            p95_ms: None,
            p99_ms: None,
            series: (0..steps)
                .map(|n| StatsPoint { at: time(begin + n * step), succeeded: 0, failed: 0, p95_ms: None })
                .collect(),
        };
        self.add_counts(&mut stats, id, begin, step).await?;
        self.add_percentiles(&mut stats, id, begin, step).await?;
        Ok(stats)
    }

    async fn add_counts(&self, stats: &mut WebhookStats, id: WebhookId, begin: i64, step: i64) -> Result<()> {
        let step_of = Expr::col(attempts::Column::StartedAt).sub(begin).div(step);
        let counts: Vec<StepCount> = attempts::Entity::find()
            .select_only()
            .column_as(step_of, "step")
            .column(attempts::Column::DeliveryStatus)
            .column_as(attempts::COLUMN.attempt.count(), "attempts")
            .filter(counted_attempts(id, begin))
            .group_by(Expr::col(Alias::new("step")))
            .group_by(attempts::Column::DeliveryStatus)
            .into_model()
            .all(&self.context.db.read)
            .await?;
        for StepCount { step, delivery_status, attempts } in counts {
            let attempts = attempts.unsigned_abs();
            stats.attempts += attempts;
            let Some(point) = usize::try_from(step).ok().and_then(|step| stats.series.get_mut(step)) else { continue };
            match delivery_status.0 {
                StatusAfter::Succeeded => {
                    stats.succeeded += attempts;
                    point.succeeded += attempts;
                }
                StatusAfter::Failed => {
                    stats.failed += attempts;
                    point.failed += attempts;
                }
                _ => {}
            }
        }
        let ended = stats.succeeded + stats.failed;
        stats.error_rate = (ended > 0).then(|| stats.failed as f64 / ended as f64);
        Ok(())
    }

    async fn add_percentiles(&self, stats: &mut WebhookStats, id: WebhookId, begin: i64, step: i64) -> Result<()> {
        let durations: Vec<(i64, f64)> = attempts::Entity::find()
            .select_only()
            .columns([attempts::Column::StartedAt, attempts::Column::DurationMs])
            .filter(counted_attempts(id, begin))
            .order_by_desc(attempts::COLUMN.started_at)
            .limit(PERCENTILE_SAMPLE)
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        let mut all = Vec::with_capacity(durations.len());
        let mut by_step: HashMap<i64, Vec<f64>> = HashMap::new();
        for (started_at, duration) in durations {
            all.push(duration);
            by_step.entry((started_at - begin) / step).or_default().push(duration);
        }
        all.sort_by(f64::total_cmp);
        stats.p50_ms = quantile(&all, 0.50);
        stats.p95_ms = quantile(&all, 0.95);
        stats.p99_ms = quantile(&all, 0.99);
        for (step, mut durations) in by_step {
            durations.sort_by(f64::total_cmp);
            if let Some(point) = usize::try_from(step).ok().and_then(|step| stats.series.get_mut(step)) {
                point.p95_ms = quantile(&durations, 0.95);
            }
        }
        Ok(())
    }
}

/// The attempts of a webhook since a time in milliseconds, without test events.
fn counted_attempts(id: WebhookId, since: i64) -> Condition {
    Condition::all()
        .add(attempts::COLUMN.webhook_id.eq(id))
        .add(attempts::COLUMN.started_at.gte(since))
        .add(attempts::COLUMN.delivery_status.ne(Text(StatusAfter::Test)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_the_nearest_rank() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.50), Some(10.0));
        assert_eq!(quantile(&values, 0.95), Some(19.0));
        assert_eq!(quantile(&values, 0.99), Some(20.0));
        assert_eq!(quantile(&values[..1], 0.50), Some(1.0));
        assert_eq!(quantile(&[], 0.50), None);
    }

    #[test]
    fn health_depends_on_alert_success_rate_and_last_status() {
        use DeliveryStatus::{Failed, Retrying, Succeeded};
        assert_eq!(health(false, None, None), WebhookHealth::Unknown);
        assert_eq!(health(false, None, Some(Retrying)), WebhookHealth::Degraded);
        assert_eq!(health(false, Some(1.0), Some(Succeeded)), WebhookHealth::Healthy);
        assert_eq!(health(false, Some(1.0), Some(Retrying)), WebhookHealth::Degraded);
        assert_eq!(health(false, Some(0.98), Some(Succeeded)), WebhookHealth::Degraded);
        assert_eq!(health(false, Some(0.49), Some(Failed)), WebhookHealth::Failing);
        assert_eq!(health(true, Some(1.0), Some(Succeeded)), WebhookHealth::Failing);
    }
}
