//! Lists, details and progress of replays.

use super::Replays;
use crate::Result;
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::{deliveries, outbox, replay_items, replays};
use crate::pagination::{decode_cursor, page_of};
use domain::Problem;
use domain::authorization::{Action, Actor, authorize};
use domain::delivery::DeliveryStatus;
use domain::id::{DeliveryId, ReplayId};
use domain::pagination::{Page, PageQuery};
use domain::replay::{Replay, ReplayProgress};
use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait as _, SimpleExpr};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, FromQueryResult, JoinType, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, RelationTrait as _, Select,
};

/// The numbers of the items of a replay. A sum is NULL without items.
#[derive(FromQueryResult)]
struct Numbers {
    total: i64,
    done: Option<i64>,
    skipped: Option<i64>,
    waiting: Option<i64>,
    failed: Option<i64>,
    cancelled: Option<i64>,
}

impl From<Numbers> for ReplayProgress {
    fn from(numbers: Numbers) -> Self {
        let count = |number: Option<i64>| number.unwrap_or_default().unsigned_abs();
        let done = count(numbers.done);
        let (skipped, waiting) = (count(numbers.skipped), count(numbers.waiting));
        let (failed, cancelled) = (count(numbers.failed), count(numbers.cancelled));
        Self {
            total: numbers.total.unsigned_abs(),
            done,
            waiting,
            // A delivery that left the queue has succeeded, unless its row has another status.
            succeeded: done.saturating_sub(skipped + waiting + failed + cancelled),
            failed,
            cancelled,
            skipped,
        }
    }
}

/// The number of rows with a condition.
fn count_if(condition: impl Into<Condition>) -> SimpleExpr {
    let one_if = CaseStatement::new().case(condition.into(), 1).finally(0);
    Expr::expr(one_if).sum().cast_as("bigint")
}

impl Replays {
    /// Lists replays, newest first: all of them, or those that an owner has started.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, an auditor or an owner; 422 for an invalid page.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn list(&self, actor: &Actor, page: &PageQuery) -> Result<Page<Replay>> {
        authorize(actor, Action::ReadOwned)?;
        let limit = page.limit()?;
        let before = decode_cursor(page.cursor.as_deref())?;
        let rows = self
            .visible(actor)
            .filter(Condition::all().add_option(before.map(|id| replays::COLUMN.id.lt(id))))
            .order_by_desc(replays::Column::Id)
            .limit(limit + 1)
            .all(&self.context.db.read)
            .await?;
        let Page { items, next_cursor } = page_of(rows, limit, |row| row.id.clone());
        let mut replays = Vec::with_capacity(items.len());
        for row in items {
            replays.push(self.replay(row).await?);
        }
        Ok(Page { items: replays, next_cursor })
    }

    /// One replay with its progress.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, an auditor or an owner; 404, also for a replay of another owner.
    #[tracing::instrument(skip_all, fields(replay = %id), err(level = "debug"))]
    pub async fn get(&self, actor: &Actor, id: &ReplayId) -> Result<Replay> {
        authorize(actor, Action::ReadOwned)?;
        let row = self.visible(actor).filter(replays::COLUMN.id.eq(id.as_str())).one(&self.context.db.read).await?;
        self.replay(row.ok_or_else(|| Problem::not_found("replay"))?).await
    }

    /// The replays that an actor may read.
    pub(super) fn visible(&self, actor: &Actor) -> Select<replays::Entity> {
        let own = (!actor.role.reads_everything()).then(|| replays::COLUMN.created_by.eq(actor.username.as_str()));
        replays::Entity::find().filter(Condition::all().add_option(own))
    }

    async fn replay(&self, row: replays::Model) -> Result<Replay> {
        let db = &self.context.db.read;
        let has_status = |status| deliveries::COLUMN.status.eq(Text(status)).and(outbox::COLUMN.seq.is_null());
        let numbers = items_with_deliveries(&row.id)
            .select_only()
            .column_as(replay_items::COLUMN.position.count(), "total")
            .column_as(count_if(replay_items::COLUMN.done.eq(true)), "done")
            .column_as(count_if(replay_items::COLUMN.done.eq(true).and(replay_items::COLUMN.seq.is_null())), "skipped")
            .column_as(count_if(outbox::COLUMN.seq.is_not_null()), "waiting")
            .column_as(count_if(has_status(DeliveryStatus::Failed)), "failed")
            .column_as(count_if(has_status(DeliveryStatus::Cancelled)), "cancelled")
            .into_model::<Numbers>()
            .one(db)
            .await?;
        let first: Option<String> = items_with_deliveries(&row.id)
            .select_only()
            .column(deliveries::COLUMN.id.0)
            .filter(deliveries::COLUMN.seq.is_not_null())
            .order_by_asc(replay_items::Column::Position)
            .limit(1)
            .into_tuple()
            .one(db)
            .await?;
        Ok(Replay {
            progress: numbers.map(ReplayProgress::from).unwrap_or_default(),
            first_delivery: first.map(DeliveryId),
            id: ReplayId(row.id),
            status: row.status.0,
            source: row.source.0,
            filter: row.filter.0,
            one_first: row.one_first,
            per_minute: row.per_minute.map(i32::unsigned_abs),
            created_by: row.created_by,
            created_at: time(row.created_at),
            updated_at: time(row.updated_at),
        })
    }
}

/// The items of a replay with their new deliveries and the queue entries of these.
fn items_with_deliveries(replay: &str) -> Select<replay_items::Entity> {
    replay_items::Entity::find()
        .join(JoinType::LeftJoin, replay_items::Relation::Deliveries.def())
        .join(JoinType::LeftJoin, deliveries::Relation::Outbox.def())
        .filter(replay_items::COLUMN.replay_id.eq(replay))
}
