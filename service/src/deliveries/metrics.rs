//! Metrics of deliveries from the counters of attempts.

use super::Deliveries;
use crate::Result;
use crate::db::codec::time;
use crate::db::entity::{deliveries, delivery_counts, outbox, webhooks};
use crate::ownership::visibility::webhooks_of;
use domain::authorization::{Action, Actor, authorize};
use domain::delivery::Outcome;
use domain::event::EventType;
use domain::id::{DeliveryId, WebhookId};
use domain::metrics::{
    AttemptCounts, Backlog, ClassSeries, DeliveryMetrics, EventSeries, Histogram, MetricsPoint, MetricsQuery,
    OldestDelivery, ResponseClass, Steps,
};
use sea_orm::sea_query::{Alias, Asterisk, Expr, ExprTrait as _, Func, Query};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait as _, EntityTrait as _, FromQueryResult, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, QueryTrait as _,
};
use std::collections::BTreeMap;

/// The largest number of queued deliveries that is counted.
const MAX_QUEUED: u64 = 100_000;

/// Attempts of one kind within one step.
#[derive(FromQueryResult)]
struct CountRow {
    point: i64,
    event_type: String,
    class: String,
    outcome: String,
    bucket: i32,
    attempts: i64,
}

/// Attempts within one step, or all of them.
#[derive(Default, Clone)]
struct Sum {
    attempts: u64,
    failed: u64,
    durations: Histogram,
}

impl Sum {
    fn add(&mut self, row: &CountRow) {
        let attempts = row.attempts.unsigned_abs();
        self.attempts += attempts;
        if row.outcome == Outcome::Failed.as_str() {
            self.failed += attempts;
        }
        self.durations.add(usize::try_from(row.bucket).unwrap_or(usize::MAX), attempts);
    }

    fn counts(&self) -> AttemptCounts {
        AttemptCounts::new(self.attempts, self.failed, &self.durations)
    }
}

impl Deliveries {
    /// The attempts within a period: throughput, success rate and percentiles, by response class and by event. An owner gets
    /// those to the webhooks of the owned resource types.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, an auditor or an owner; 422 for an invalid period.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn metrics(&self, actor: &Actor, query: &MetricsQuery) -> Result<DeliveryMetrics> {
        authorize(actor, Action::ReadOwned)?;
        let steps = query.steps(self.context.now())?;
        let rows = self.counts(actor, query, steps).await?;
        let length = usize::try_from((steps.to - steps.from) / steps.step).unwrap_or_default();
        let mut total = Sum::default();
        let mut points = vec![Sum::default(); length];
        let mut classes: BTreeMap<ResponseClass, Vec<u64>> = BTreeMap::new();
        let mut events: BTreeMap<EventType, Vec<u64>> = BTreeMap::new();
        for row in &rows {
            let Some(at) = usize::try_from(row.point).ok().filter(|at| *at < length) else { continue };
            total.add(row);
            let attempts = row.attempts.unsigned_abs();
            if let Some(point) = points.get_mut(at) {
                point.add(row);
            }
            let class = ResponseClass::parse(&row.class).unwrap_or(ResponseClass::NoResponse);
            let classes = classes.entry(class).or_insert_with(|| vec![0; length]);
            if let Some(count) = classes.get_mut(at) {
                *count += attempts;
            }
            // Only a newer release knows other events. They are part of the sums.
            if let Some(event) = EventType::parse(&row.event_type) {
                let events = events.entry(event).or_insert_with(|| vec![0; length]);
                if let Some(count) = events.get_mut(at) {
                    *count += attempts;
                }
            }
        }
        let series = points.iter().zip(0..);
        Ok(DeliveryMetrics {
            from: time(steps.from * 1_000),
            to: time(steps.to * 1_000),
            step: steps.step,
            total: total.counts(),
            series: series
                .map(|(sum, n)| MetricsPoint { at: time((steps.from + n * steps.step) * 1_000), counts: sum.counts() })
                .collect(),
            by_class: classes
                .into_iter()
                .map(|(class, series)| ClassSeries { class, attempts: series.iter().sum(), series })
                .collect(),
            by_event: events
                .into_iter()
                .map(|(event_type, series)| EventSeries { event_type, attempts: series.iter().sum(), series })
                .collect(),
            backlog: self.backlog(actor, query.webhook_id).await?,
            index: self.index_state().await?,
        })
    }

    async fn counts(&self, actor: &Actor, query: &MetricsQuery, steps: Steps) -> Result<Vec<CountRow>> {
        use delivery_counts::Column;
        let point = Expr::col(Column::StartAt.as_column_ref()).sub(steps.from).div(steps.step);
        // A sum of integers is NUMERIC on PostgreSQL.
        let attempts = delivery_counts::COLUMN.attempts.sum().cast_as(Alias::new("BIGINT"));
        let rows = delivery_counts::Entity::find()
            .select_only()
            .column_as(point, "point")
            .columns([Column::EventType, Column::Class, Column::Outcome, Column::Bucket])
            .column_as(attempts, "attempts")
            .filter(counted(actor, query, steps))
            .group_by(Expr::col(Alias::new("point")))
            .group_by(Column::EventType)
            .group_by(Column::Class)
            .group_by(Column::Outcome)
            .group_by(Column::Bucket);
        Ok(rows.into_model().all(&self.context.db.read).await?)
    }

    /// The deliveries that have not ended, to one webhook or to all, of those that an actor may read.
    async fn backlog(&self, actor: &Actor, webhook: Option<WebhookId>) -> Result<Backlog> {
        let open = || {
            outbox::Entity::find()
                .inner_join(webhooks::Entity)
                .filter(webhooks_of(actor))
                .filter(Condition::all().add_option(webhook.map(|id| outbox::COLUMN.webhook_id.eq(id))))
        };
        let db = &self.context.db.read;
        let rows = open().select_only().expr(Expr::val(1)).limit(MAX_QUEUED).into_query();
        let count = Query::select().expr(Func::count(Expr::col(Asterisk))).from_subquery(rows, Alias::new("q")).take();
        let row = db.query_one(&count).await?;
        let queued = row.map_or(Ok(0), |row| row.try_get_by_index::<i64>(0))?.unsigned_abs();
        let oldest: Option<(String, i64, String, i64)> = open()
            .inner_join(deliveries::Entity)
            .select_only()
            .column(deliveries::Column::Id)
            .column(deliveries::Column::WebhookId)
            .column(webhooks::Column::Name)
            .column(deliveries::Column::CreatedAt)
            .order_by_asc(outbox::COLUMN.seq)
            .into_tuple()
            .one(db)
            .await?;
        let oldest = oldest.map(|(id, webhook_id, webhook_name, created_at)| OldestDelivery {
            delivery_id: DeliveryId(id),
            webhook_id,
            webhook_name,
            created_at: time(created_at),
        });
        Ok(Backlog { queued, oldest })
    }
}

/// The counters of a query that an actor may read.
pub(super) fn counted(actor: &Actor, query: &MetricsQuery, steps: Steps) -> Condition {
    let visible = (!actor.role.reads_everything()).then(|| {
        let ids = webhooks::Entity::find().select_only().column(webhooks::Column::Id).filter(webhooks_of(actor));
        delivery_counts::COLUMN.webhook_id.in_subquery(ids.into_query())
    });
    Condition::all()
        .add(delivery_counts::COLUMN.step.eq(steps.stored))
        .add(delivery_counts::COLUMN.start_at.gte(steps.from))
        .add(delivery_counts::COLUMN.start_at.lt(steps.to))
        .add_option(query.webhook_id.map(|id| delivery_counts::COLUMN.webhook_id.eq(id)))
        .add_option(visible)
}
