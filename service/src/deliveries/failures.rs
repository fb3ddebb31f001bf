//! Failed deliveries, grouped by webhook and cause.

use super::Deliveries;
use super::replay::is_redelivered;
use super::search::Matching;
use crate::Result;
use crate::db::codec::time;
use crate::db::entity::{access_requests, deliveries, delivery_index, reservations, webhooks};
use chrono::Duration;
use domain::Problem;
use domain::authorization::{Action, Actor, authorize};
use domain::delivery::{DeliveryFilter, DeliveryStatus, DiagnosisCode, FailureGroup, Failures};
use domain::id::WebhookId;
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Func};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, FromQueryResult, Order, QueryFilter as _, QueryOrder as _, QuerySelect, Select,
};
use std::collections::HashMap;

/// Number of points of a series.
const POINTS: i64 = 24;
/// Maximum number of groups.
const MAX_GROUPS: u64 = 200;
/// The period without a start in the filter.
const DEFAULT_PERIOD: Duration = Duration::days(7);

/// A group: webhook and cause.
type Key = (WebhookId, Option<String>);

#[derive(FromQueryResult)]
struct GroupRow {
    webhook_id: i64,
    cause: Option<String>,
    failures: i64,
    first_at: i64,
    last_at: i64,
    reservations: i64,
    users: i64,
    newest: i64,
}

impl Deliveries {
    /// The failed deliveries that match a filter, grouped by webhook and cause. Without `since`, those of the last seven days.
    /// Test events are left out.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, an auditor or an owner; 422 for an invalid filter.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn failures(&self, actor: &Actor, filter: &DeliveryFilter) -> Result<Failures> {
        authorize(actor, Action::ReadOwned)?;
        let until = filter.until.unwrap_or_else(|| self.context.now() + Duration::milliseconds(1));
        let since = filter.since.unwrap_or(until - DEFAULT_PERIOD);
        if since >= until {
            return Err(Problem::field("since", "Choose a start before the end.").into());
        }
        if filter.status.is_some_and(|status| status != DeliveryStatus::Failed) {
            return Err(Problem::field("status", "Leave out the status: only failed deliveries are grouped.").into());
        }
        let status = Some(DeliveryStatus::Failed);
        let matching =
            self.matching(&DeliveryFilter { status, since: Some(since), until: Some(until), ..filter.clone() })?;
        let db = &self.context.db.read;
        let failed = || failed_deliveries(&matching, actor);
        let groups: Vec<GroupRow> = grouped(with_users(failed()))
            .column_as(delivery_index::COLUMN.seq.count(), "failures")
            .column_as(delivery_index::COLUMN.ended_at.min(), "first_at")
            .column_as(delivery_index::COLUMN.ended_at.max(), "last_at")
            .column_as(distinct(Expr::col(delivery_index::Column::OrderingKey.as_column_ref())), "reservations")
            .column_as(distinct(user()), "users")
            .column_as(delivery_index::COLUMN.seq.max(), "newest")
            .order_by(Expr::col(Alias::new("last_at")), Order::Desc)
            .limit(MAX_GROUPS)
            .into_model()
            .all(db)
            .await?;
        let unresolved: Vec<(i64, Option<String>, i64)> = grouped(failed())
            .column_as(delivery_index::COLUMN.seq.count(), "failures")
            .filter(Expr::not_exists(is_redelivered(delivery_index::Entity, delivery_index::Column::Id)))
            .into_tuple()
            .all(db)
            .await?;
        let unresolved: HashMap<Key, i64> =
            unresolved.into_iter().map(|(webhook, cause, count)| ((webhook, cause), count)).collect();
        let begin = since.timestamp_millis();
        let width = (until.timestamp_millis() - begin + POINTS - 1) / POINTS;
        let point = Expr::col(delivery_index::Column::CreatedAt.as_column_ref()).sub(begin).div(width);
        let points: Vec<(i64, Option<String>, i64, i64)> = grouped(failed())
            .column_as(point, "point")
            .column_as(delivery_index::COLUMN.seq.count(), "failures")
            .group_by(Expr::col(Alias::new("point")))
            .into_tuple()
            .all(db)
            .await?;
        let mut series: HashMap<Key, Vec<u64>> = HashMap::new();
        for (webhook, cause, point, count) in points {
            let series = series.entry((webhook, cause)).or_insert_with(|| vec![0; POINTS as usize]);
            if let Some(number) = usize::try_from(point).ok().and_then(|point| series.get_mut(point)) {
                *number = count.unsigned_abs();
            }
        }
        let names = self.webhook_names(groups.iter().map(|group| group.webhook_id)).await?;
        let problems = self.problems(groups.iter().map(|group| group.newest)).await?;
        let groups = groups.into_iter().map(|row| {
            let key = (row.webhook_id, row.cause.clone());
            let (webhook_name, deleted_at) = names.get(&row.webhook_id).cloned().unwrap_or_default();
            FailureGroup {
                webhook_id: row.webhook_id,
                webhook_name,
                webhook_deleted: deleted_at.is_some(),
                q: query_of(filter.q.as_deref(), &row),
                cause: row.cause.as_deref().map(|cause| DiagnosisCode::parse(cause).unwrap_or(DiagnosisCode::Unknown)),
                problem: problems.get(&row.newest).cloned().flatten(),
                count: row.failures.unsigned_abs(),
                unresolved: unresolved.get(&key).copied().unwrap_or_default().unsigned_abs(),
                first_at: time(row.first_at),
                last_at: time(row.last_at),
                reservations: row.reservations.unsigned_abs(),
                users: row.users.unsigned_abs(),
                series: series.remove(&key).unwrap_or_else(|| vec![0; POINTS as usize]),
            }
        });
        let groups = groups.collect();
        Ok(Failures { since, until, groups, index: self.index_state().await? })
    }

    /// Names of webhooks, and the times of their deletion.
    async fn webhook_names(
        &self,
        ids: impl Iterator<Item = WebhookId>,
    ) -> Result<HashMap<WebhookId, (String, Option<i64>)>> {
        let rows: Vec<(i64, String, Option<i64>)> = webhooks::Entity::find()
            .select_only()
            .columns([webhooks::Column::Id, webhooks::Column::Name, webhooks::Column::DeletedAt])
            .filter(webhooks::COLUMN.id.is_in(ids))
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        Ok(rows.into_iter().map(|(id, name, deleted_at)| (id, (name, deleted_at))).collect())
    }

    /// The diagnoses of deliveries.
    async fn problems(&self, seqs: impl Iterator<Item = i64>) -> Result<HashMap<i64, Option<String>>> {
        let rows: Vec<(i64, Option<String>)> = deliveries::Entity::find()
            .select_only()
            .columns([deliveries::Column::Seq, deliveries::Column::Problem])
            .filter(deliveries::COLUMN.seq.is_in(seqs))
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        Ok(rows.into_iter().collect())
    }
}

fn failed_deliveries(matching: &Matching, actor: &Actor) -> Select<delivery_index::Entity> {
    matching.select(actor).filter(delivery_index::COLUMN.test.eq(false)).select_only()
}

fn grouped(rows: Select<delivery_index::Entity>) -> Select<delivery_index::Entity> {
    rows.column(delivery_index::Column::WebhookId)
        .column(delivery_index::Column::Cause)
        .group_by(delivery_index::Column::WebhookId)
        .group_by(delivery_index::Column::Cause)
}

/// Joins the reservations and access requests.
fn with_users(mut rows: Select<delivery_index::Entity>) -> Select<delivery_index::Entity> {
    let key = (delivery_index::Entity, delivery_index::Column::OrderingKey);
    QuerySelect::query(&mut rows)
        .left_join(reservations::Entity, Expr::col((reservations::Entity, reservations::Column::Id)).equals(key))
        .left_join(
            access_requests::Entity,
            Expr::col((access_requests::Entity, access_requests::Column::Id)).equals(key),
        );
    rows
}

fn distinct(value: Expr) -> Expr {
    Func::count_distinct(value).into()
}

/// The user who reserved, or who requested access.
fn user() -> Expr {
    let names = [
        Expr::col((reservations::Entity, reservations::Column::Username)),
        Expr::col((access_requests::Entity, access_requests::Column::Username)),
    ];
    Func::coalesce(names).into()
}

/// The search that finds the deliveries of a group.
fn query_of(q: Option<&str>, row: &GroupRow) -> String {
    let cause = match &row.cause {
        Some(cause) if DiagnosisCode::parse(cause).is_some() => format!(" error:{cause}"),
        _ => String::new(),
    };
    let rest = q.map(|q| format!(" {}", q.trim())).filter(|rest| rest != " ").unwrap_or_default();
    format!("status:failed test:no webhook:{}{cause}{rest}", row.webhook_id)
}
