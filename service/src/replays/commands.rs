//! Preview, start, pause, continuation and cancellation of a replay.

use super::Replays;
use crate::audit_trail::{Record, Target};
use crate::db::column::{JsonText, Text};
use crate::db::entity::{deliveries, replay_items, replays};
use crate::db::link::DatabaseTransaction;
use crate::db::queue_cancel::Queued;
use crate::error::Error;
use crate::reservations::MissingEvents;
use crate::{Result, provisioning, reservations};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::change::Change;
use domain::delivery::{DeliveryFilter, ReplayResult};
use domain::id::ReplayId;
use domain::replay::{MAX_REPLAYED, Replay, ReplayPatch, ReplayRequest, ReplaySource, ReplayStatus};
use sea_orm::sea_query::{Expr, Query};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait as _, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _, Select,
};
use tracing::instrument;

/// Rows of one INSERT.
const BATCH: usize = 500;
/// The reason for the cancellation of deliveries.
const REPLAY_CANCELLED: &str = "The replay was cancelled.";

/// What a replay will send.
enum Items {
    Deliveries(Box<Select<deliveries::Entity>>),
    Missing(MissingEvents),
}

impl Replays {
    /// Counts what a replay would send, by webhook, with the reasons for what it would not send.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404 for an unknown webhook; 422 that names invalid fields.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn preview(&self, actor: &Actor, request: &ReplayRequest) -> Result<ReplayResult> {
        Ok(self.plan(actor, request).await?.1)
    }

    /// Starts a replay of at most 100,000 deliveries, oldest first. Test events, and deliveries that were redelivered before
    /// or whose webhook was deleted, are not part of it.
    ///
    /// # Errors
    /// As [`Self::preview`]; 403 without a recent confirmation; 409 if there is nothing to send, or too much.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn start(&self, actor: &Actor, request: &ReplayRequest) -> Result<Replay> {
        let (filter, counted, items) = self.plan(actor, request).await?;
        if counted.matched == 0 {
            return Err(Problem::conflict(
                "There is nothing to send. Count the deliveries first, and change the filter.",
            )
            .into());
        }
        if counted.matched > MAX_REPLAYED {
            let message = format!(
                "A replay has at most {MAX_REPLAYED} deliveries, and {} match. Shorten the period.",
                counted.matched
            );
            return Err(Problem::conflict(message).into());
        }
        self.context.require_confirmation(actor).await?;
        let id = ReplayId::from_ulid(self.context.new_ulid());
        let now = self.context.now().timestamp_millis();
        let row = replays::Model {
            id: id.0.clone(),
            status: Text(ReplayStatus::Running),
            source: Text(request.source),
            filter: JsonText(filter.clone()),
            one_first: request.one_first,
            per_minute: request.per_minute.and_then(|rate| i32::try_from(rate).ok()),
            created_by: actor.username.clone(),
            created_at: now,
            updated_at: now,
            due_at: now,
            revision: 0,
        };
        let tx = self.context.begin_change().await?;
        replays::Entity::insert(sea_orm::IntoActiveModel::into_active_model(row)).exec_without_returning(&*tx).await?;
        let stored = match items {
            Items::Deliveries(matching) => store_deliveries(&tx, &id, *matching).await?,
            Items::Missing(missing) => store_reservations(&tx, &id, &missing.reservations).await?,
        };
        let target = match filter.webhook_id {
            Some(webhook) => Target::new(AuditTargetType::Webhook, webhook),
            None => Target::new(AuditTargetType::Replay, &id),
        };
        let changes = Changes::none()
            .field("replay", (), id.as_str())
            .field("source", (), request.source.as_str())
            .field("filter", (), &filter)
            .field("redelivered", (), stored);
        tx.commit(Record::new(actor, AuditAction::DeliveryReplayed, target).changes(changes)).await?;
        self.wake_runner(&id);
        self.get(actor, &id).await
    }

    /// The filter with its default status, the numbers, and the items of a replay.
    async fn plan(&self, actor: &Actor, request: &ReplayRequest) -> Result<(DeliveryFilter, ReplayResult, Items)> {
        authorize(actor, Action::WriteOwned)?;
        request.check()?;
        match request.source {
            ReplaySource::Deliveries => {
                let replayable = self.deliveries.replayable(actor, &request.filter)?;
                let counted = self.deliveries.count_replayable(&replayable).await?;
                Ok((replayable.filter.clone(), counted, Items::Deliveries(Box::new(replayable.matching()))))
            }
            ReplaySource::Missing => {
                let missing = self.reservations.missing_events(actor, &request.filter).await?;
                Ok((request.filter.clone(), missing.counts(), Items::Missing(missing)))
            }
        }
    }

    /// Pauses, continues or cancels a replay, or changes its rate. A cancellation discards its deliveries that still wait.
    ///
    /// # Errors
    /// 403 unless the actor started it or is an administrator; 404; 409 for a status that cannot follow; 422 that names invalid
    /// fields.
    #[instrument(skip_all, fields(replay = %id), err(level = "debug"))]
    pub async fn update(&self, actor: &Actor, id: &ReplayId, patch: &ReplayPatch) -> Result<Replay> {
        authorize(actor, Action::WriteOwned)?;
        patch.check()?;
        let tx = self.context.begin_change().await?;
        let current = self.visible(actor).filter(replays::COLUMN.id.eq(id.as_str())).lock_exclusive().one(&*tx).await?;
        let current = current.ok_or_else(|| Problem::not_found("replay"))?;
        let status = current.status.0;
        let next = patch.status.unwrap_or(status);
        if next != status && !status.may_become(next) {
            let message = format!("This replay is {} already, so it cannot become {}.", status.as_str(), next.as_str());
            return Err(Problem::conflict(message).into());
        }
        let per_minute = patch.per_minute.and_then(|rate| i32::try_from(rate).ok()).or(current.per_minute);
        if next == status && per_minute == current.per_minute {
            drop(tx);
            return self.get(actor, id).await;
        }
        let now = self.context.now().timestamp_millis();
        let changes = replays::ActiveModel {
            status: Set(Text(next)),
            per_minute: Set(per_minute),
            updated_at: Set(now),
            due_at: Set(now),
            // The runner must not continue a batch that it has read before this change.
            revision: Set(current.revision + 1),
            ..Default::default()
        };
        replays::Entity::update_many().set(changes).filter(replays::COLUMN.id.eq(id.as_str())).exec(&*tx).await?;
        let announced = if next == ReplayStatus::Cancelled { self.discard(&tx, id).await? } else { Vec::new() };
        let changes = Changes::none().field("status", status.as_str(), next.as_str()).field(
            "per_minute",
            current.per_minute,
            per_minute,
        );
        let target = Target::new(AuditTargetType::Replay, id);
        tx.commit(Record::new(actor, AuditAction::ReplayUpdated, target).changes(changes)).await?;
        self.feed.publish(announced);
        self.wake_runner(id);
        self.get(actor, id).await
    }

    /// Discards the deliveries of a replay that wait. Returns the changes to announce.
    async fn discard(&self, tx: &DatabaseTransaction, id: &ReplayId) -> Result<Vec<Change>, Error> {
        let queued = Queued::Replay(id.as_str());
        let changed = provisioning::cancel_queued(&self.context, tx, queued, REPLAY_CANCELLED).await?;
        reservations::changes_of(&self.context, &self.feed, tx, &changed).await
    }
}

/// Stores the deliveries of a replay as its items. Returns their number.
async fn store_deliveries(
    tx: &DatabaseTransaction,
    id: &ReplayId,
    matching: Select<deliveries::Entity>,
) -> Result<u64> {
    let items = matching
        .select_only()
        .expr(Expr::val(id.as_str()))
        .column(deliveries::COLUMN.seq.0)
        .column(deliveries::COLUMN.id.0)
        .expr(Expr::val(false))
        .order_by_asc(deliveries::COLUMN.seq)
        .limit(MAX_REPLAYED)
        .into_query();
    let columns = [
        replay_items::Column::ReplayId,
        replay_items::Column::Position,
        replay_items::Column::Item,
        replay_items::Column::Done,
    ];
    let mut insert = Query::insert();
    insert.into_table(replay_items::Entity).columns(columns);
    let insert = insert.select_from(items).map_err(|error| DbErr::Custom(error.to_string()))?;
    Ok(tx.execute(insert).await?.rows_affected())
}

/// Stores the reservations of a replay as its items, in this order. Returns their number.
async fn store_reservations(tx: &DatabaseTransaction, id: &ReplayId, reservations: &[String]) -> Result<u64> {
    let item = |(position, item): (i64, &String)| replay_items::ActiveModel {
        replay_id: Set(id.0.clone()),
        position: Set(position),
        item: Set(item.clone()),
        done: Set(false),
        seq: Set(None),
    };
    let items: Vec<_> = (1..).zip(reservations).map(item).collect();
    for chunk in items.chunks(BATCH) {
        replay_items::Entity::insert_many(chunk.iter().cloned()).exec_without_returning(tx).await?;
    }
    Ok(items.len() as u64)
}
