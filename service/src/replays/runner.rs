//! The runner, which queues the deliveries of running replays.

use super::Replays;
use crate::Result;
use crate::db::column::Text;
use crate::db::entity::{deliveries, replay_items, replays};
use crate::db::link::DatabaseTransaction;
use crate::deliveries::{Repeat, is_redelivered};
use crate::wake::WebhookSet;
use domain::Problem;
use domain::id::{DeliveryId, ReplayId};
use domain::replay::{ReplaySource, ReplayStatus, pace};
use sea_orm::sea_query::{Expr, ExprTrait as _, Query, SubQueryStatement};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, JoinType, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, RelationTrait as _, SelectExt as _,
};
use std::time::Duration;
use tracing::instrument;

/// Maximum number of deliveries in one batch.
const BATCH: u64 = 200;
/// While this many deliveries of a replay are open, nothing is added: it can be paused and cancelled, and other deliveries
/// of the webhook do not wait behind all of them.
const MAX_OPEN: u64 = 1_000;
/// Pause, in milliseconds, while [`MAX_OPEN`] deliveries are open.
const FULL_PAUSE: i64 = 1_000;
/// A replay of another process that is late by this many milliseconds has no process any more.
const TAKE_OVER_AFTER: i64 = 10_000;

/// The result of one batch.
enum Batch {
    /// Queued or skipped items; the replay goes on.
    Done,
    /// Another process has the batch, or the status has changed.
    Lost,
}

impl Replays {
    /// Queues the next batch of each running replay that is due. Returns the time until the next one is; `None` if none runs.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn run_due(&self) -> Result<Option<Duration>, Problem> {
        Ok(self.run_batches().await?)
    }

    async fn run_batches(&self) -> Result<Option<Duration>> {
        let running = replays::Entity::find()
            .filter(replays::COLUMN.status.eq(Text(ReplayStatus::Running)))
            .filter(replays::COLUMN.source.is_in(ReplaySource::ALL.map(Text)))
            .order_by_asc(replays::Column::DueAt)
            .all(&self.context.db.read)
            .await?;
        let mut next: Option<i64> = None;
        for replay in running {
            let is_own = self.own.lock().contains(&replay.id);
            let due_at = replay.due_at + if is_own { 0 } else { TAKE_OVER_AFTER };
            if due_at > self.context.now().timestamp_millis() {
                next = Some(next.map_or(due_at, |next| Ord::min(next, due_at)));
                continue;
            }
            match self.run_batch(&replay).await? {
                Batch::Done => {
                    self.own.lock().insert(replay.id);
                    // It is read again at once: its next batch may be due.
                    next = Some(0);
                }
                Batch::Lost => {
                    self.own.lock().remove(&replay.id);
                }
            }
        }
        let now = self.context.now().timestamp_millis();
        Ok(next.map(|at| Duration::from_millis(Ord::max(at - now, 0).unsigned_abs())))
    }

    /// Waits until this process starts or continues a replay.
    pub async fn wait_for_start(&self) {
        self.started.notified().await;
    }

    /// Lets the runner of this process begin with a replay.
    pub(super) fn wake_runner(&self, id: &ReplayId) {
        self.own.lock().insert(id.0.clone());
        self.started.notify_one();
    }

    /// Queues one batch.
    async fn run_batch(&self, replay: &replays::Model) -> Result<Batch> {
        let now = self.context.now().timestamp_millis();
        let room = MAX_OPEN.saturating_sub(self.open(&replay.id).await?);
        let (paced, pause) = pace(replay.per_minute.map(i32::unsigned_abs), BATCH);
        let tx = self.context.db.begin_unaudited().await?;
        let is_first = replay.one_first && !self.has_queued(&tx, &replay.id).await?;
        let limit = Ord::min(Ord::min(paced, room), if is_first { 1 } else { u64::MAX });
        let due_at = now + if room == 0 { FULL_PAUSE } else { pause };
        if !advance(&tx, replay, due_at).await? {
            return Ok(Batch::Lost);
        }
        if room == 0 {
            tx.commit().await?;
            return Ok(Batch::Done);
        }
        let items = waiting_items(&tx, &replay.id, limit).await?;
        let queued = match replay.source.0 {
            ReplaySource::Deliveries => self.queue_deliveries(&tx, &replay.id, &items).await?,
            ReplaySource::Missing => self.queue_missing(&tx, replay, &items).await?,
        };
        let ends = (items.len() as u64) < limit;
        let status = match (ends, is_first && queued > 0) {
            (true, _) => Some(ReplayStatus::Completed),
            (_, true) => Some(ReplayStatus::Paused),
            _ => None,
        };
        if let Some(status) = status {
            let changes =
                replays::ActiveModel { status: Set(Text(status)), updated_at: Set(now), ..Default::default() };
            replays::Entity::update_many().set(changes).filter(replays::COLUMN.id.eq(&*replay.id)).exec(&tx).await?;
        }
        tx.commit().await?;
        self.feed.wake_dispatchers(WebhookSet::All);
        Ok(Batch::Done)
    }

    /// The number of open deliveries of a replay.
    async fn open(&self, replay: &str) -> Result<u64> {
        let open = replay_items::Entity::find()
            .join(JoinType::InnerJoin, replay_items::Relation::Deliveries.def())
            .join(JoinType::InnerJoin, deliveries::Relation::Outbox.def())
            .filter(replay_items::COLUMN.replay_id.eq(replay));
        Ok(open.count(&self.context.db.read).await?)
    }

    /// Whether a replay has queued a delivery.
    async fn has_queued(&self, tx: &DatabaseTransaction, replay: &str) -> Result<bool> {
        let queued = replay_items::Entity::find().filter(replay_items::COLUMN.replay_id.eq(replay));
        Ok(queued.filter(replay_items::COLUMN.seq.is_not_null()).exists(tx).await?)
    }

    /// Queues the redeliveries of items, except those that somebody else has redelivered meanwhile. Returns their number.
    async fn queue_deliveries(
        &self,
        tx: &DatabaseTransaction,
        replay: &str,
        items: &[replay_items::Model],
    ) -> Result<u64> {
        let ids = items.iter().map(|item| item.item.as_str());
        let wanted: Vec<String> = deliveries::Entity::find()
            .select_only()
            .column(deliveries::Column::Id)
            .filter(deliveries::COLUMN.id.is_in(ids))
            .filter(Expr::not_exists(is_redelivered(deliveries::Entity, deliveries::Column::Id)))
            .into_tuple()
            .all(tx)
            .await?;
        let repeats: Vec<Repeat> = wanted.into_iter().map(|of| self.deliveries.repeat(DeliveryId(of))).collect();
        let queued = if repeats.is_empty() { 0 } else { self.deliveries.insert_repeats(tx, &repeats).await? };
        let of_item = Query::select()
            .expr(Expr::col((deliveries::Entity, deliveries::Column::Seq)).max())
            .from(deliveries::Entity)
            .and_where(deliveries::COLUMN.id.is_in(repeats.iter().map(|repeat| repeat.id().as_str())))
            .and_where(
                Expr::col((deliveries::Entity, deliveries::Column::RedeliveryOf))
                    .equals((replay_items::Entity, replay_items::Column::Item)),
            )
            .take();
        finish_items(tx, replay, items, of_item).await?;
        Ok(queued)
    }

    /// Queues `reservation.created` for the reservations of items. Returns their number.
    async fn queue_missing(
        &self,
        tx: &DatabaseTransaction,
        replay: &replays::Model,
        items: &[replay_items::Model],
    ) -> Result<u64> {
        let webhook = replay.filter.0.webhook_id.unwrap_or_default();
        let ids = items.iter().map(|item| item.item.as_str());
        let sent = self.reservations.send_missing(tx, ids, webhook).await?;
        let queued = sent.len() as u64;
        let of_item = Query::select()
            .expr(Expr::col((deliveries::Entity, deliveries::Column::Seq)).max())
            .from(deliveries::Entity)
            .and_where(deliveries::COLUMN.reservation_id.is_in(sent))
            .and_where(deliveries::COLUMN.webhook_id.eq(webhook))
            .and_where(
                Expr::col((deliveries::Entity, deliveries::Column::ReservationId))
                    .equals((replay_items::Entity, replay_items::Column::Item)),
            )
            .take();
        finish_items(tx, &replay.id, items, of_item).await?;
        Ok(queued)
    }
}

/// Sets the time of the next batch of a running replay, unless it has changed since it was read. Returns whether it did.
async fn advance(tx: &DatabaseTransaction, read: &replays::Model, due_at: i64) -> Result<bool> {
    let changes = replays::ActiveModel { due_at: Set(due_at), revision: Set(read.revision + 1), ..Default::default() };
    let updated = replays::Entity::update_many()
        .set(changes)
        .filter(replays::COLUMN.id.eq(&*read.id))
        .filter(replays::COLUMN.status.eq(Text(ReplayStatus::Running)))
        .filter(replays::COLUMN.revision.eq(read.revision))
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// The next items of a replay.
async fn waiting_items(tx: &DatabaseTransaction, replay: &str, limit: u64) -> Result<Vec<replay_items::Model>> {
    let items = replay_items::Entity::find()
        .filter(replay_items::COLUMN.replay_id.eq(replay))
        .filter(replay_items::COLUMN.done.eq(false))
        .order_by_asc(replay_items::Column::Position)
        .limit(limit);
    Ok(items.all(tx).await?)
}

/// Marks items as done, each with the delivery that `seq` selects for it.
async fn finish_items(
    tx: &DatabaseTransaction,
    replay: &str,
    items: &[replay_items::Model],
    seq: sea_orm::sea_query::SelectStatement,
) -> Result<()> {
    let (Some(first), Some(last)) = (items.first(), items.last()) else { return Ok(()) };
    replay_items::Entity::update_many()
        .col_expr(replay_items::Column::Done, Expr::val(true))
        .col_expr(replay_items::Column::Seq, Expr::SubQuery(None, Box::new(SubQueryStatement::SelectStatement(seq))))
        .filter(replay_items::COLUMN.replay_id.eq(replay))
        .filter(replay_items::COLUMN.position.between(first.position, last.position))
        .exec(tx)
        .await?;
    Ok(())
}
