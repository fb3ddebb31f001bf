//! Starts of reservations for webhooks with the classic payload format, which receive `EVENT_START` at the start of the reserved
//! time, and not at the creation of the reservation (docs/contract.md §8).
//!
//! A row in `reservation_starts` is a start that is not published yet. It is written with the reservation, moved with its
//! start, and deleted in the transaction that enqueues the event, or that ends the reservation. So a start is published once,
//! and not after a cancellation.

use super::event::{event_body, for_outbox};
use super::{Reservations, tolerate};
use crate::Result;
use crate::db::column::Text;
use crate::db::entity::{deliveries, reservation_starts, reservations, resource_types, resources};
use crate::db::link::DatabaseTransaction;
use crate::outbox::{Configs, Enqueued};
use chrono::{DateTime, TimeDelta, Utc};
use domain::event::{EventType, ReservationBody, ResourceDetails};
use domain::id::ReservationId;
use domain::payload::PayloadFormat;
use domain::reservation::{Reservation, ReservationStatus};
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Order, Query};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _,
};
use tracing::instrument;

/// Time after a change of a webhook when each booking that was made with the settings before it is committed or has failed.
const SETTLING: TimeDelta = TimeDelta::seconds(60);

/// Writes the start of reservations of which a classic webhook receives the start.
pub(super) async fn schedule<'a>(
    tx: &DatabaseTransaction,
    configs: &Configs,
    reservations: impl Iterator<Item = &'a Reservation>,
) -> Result<()> {
    let rows: Vec<_> = reservations
        .filter(|reservation| configs.holds_start(reservation))
        .map(|reservation| reservation_starts::ActiveModel {
            reservation_id: Set(reservation.id.0.clone()),
            start_at: Set(reservation.start_time.timestamp_millis()),
        })
        .collect();
    if !rows.is_empty() {
        reservation_starts::Entity::insert_many(rows).on_conflict_do_nothing().exec_without_returning(tx).await?;
    }
    Ok(())
}

/// Moves a start that is not published yet.
pub(super) async fn reschedule(tx: &DatabaseTransaction, reservation: &Reservation) -> Result<()> {
    reservation_starts::Entity::update_many()
        .col_expr(reservation_starts::Column::StartAt, Expr::value(reservation.start_time.timestamp_millis()))
        .filter(reservation_starts::COLUMN.reservation_id.eq(reservation.id.as_str()))
        .exec(tx)
        .await?;
    Ok(())
}

/// Takes a start that is not published yet. Returns whether there was one.
pub(super) async fn take(tx: &DatabaseTransaction, id: &ReservationId) -> Result<bool> {
    let taken = reservation_starts::Entity::delete_many()
        .filter(reservation_starts::COLUMN.reservation_id.eq(id.as_str()))
        .exec(tx)
        .await?;
    Ok(taken.rows_affected > 0)
}

/// Adds the properties of the resource that only the classic format sends, if a webhook has it.
pub(super) async fn describe(tx: &DatabaseTransaction, configs: &Configs, body: &mut ReservationBody) -> Result<()> {
    if !configs.has_classic() {
        return Ok(());
    }
    let resource = resources::Entity::find_by_id(body.resource_id).one(tx).await?;
    let resource_type = resource_types::Entity::find_by_id(body.resource_type.as_str()).one(tx).await?;
    body.resource_details = resource.zip(resource_type).map(|(resource, resource_type)| {
        Box::new(ResourceDetails { type_name: resource_type.name, specs: resource.specs, location: resource.location })
    });
    Ok(())
}

impl Reservations {
    /// Publishes the starts of reservations that have begun, earliest first, at most `limit`. Returns how many this call
    /// published or dropped.
    ///
    /// # Errors
    /// If the database is unavailable. Another error of a single reservation is logged, and the others are published.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn start_due(&self, limit: u64) -> Result<u64> {
        let configs = self.outbox.configs().load(&self.context.db.read).await?;
        self.schedule_earlier_reservations(&configs).await?;
        let now = self.context.now();
        let due: Vec<String> = reservation_starts::Entity::find()
            .select_only()
            .column(reservation_starts::Column::ReservationId)
            .filter(reservation_starts::COLUMN.start_at.lte(now.timestamp_millis()))
            .order_by_asc(reservation_starts::Column::StartAt)
            .limit(limit)
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        let mut published = 0;
        for id in due.into_iter().map(ReservationId) {
            let step = self.start_one(&id, now).await;
            published += u64::from(tolerate(step, &id, "the start of a reservation was not published")?);
        }
        Ok(published)
    }

    /// Publishes one start. Returns false if another replica did, or the start was moved.
    async fn start_one(&self, id: &ReservationId, now: DateTime<Utc>) -> Result<bool> {
        let tx = self.context.db.begin_unaudited().await?;
        let reservation = self.lock_reservation(&tx, None, id).await?;
        if reservation.start_time > now || !take(&tx, id).await? {
            return Ok(false);
        }
        let enqueued = match reservation.status {
            ReservationStatus::Active => Some(self.enqueue_start(&tx, &reservation, now).await?),
            _ => None,
        };
        tx.commit().await?;
        if let Some(enqueued) = enqueued {
            self.outbox.publish(enqueued, Vec::new());
        }
        Ok(true)
    }

    /// Enqueues the start of a reservation for classic webhooks.
    pub(super) async fn enqueue_start(
        &self,
        tx: &DatabaseTransaction,
        reservation: &Reservation,
        now: DateTime<Utc>,
    ) -> Result<Enqueued> {
        let email = self.owner_email(tx, &reservation.user_id).await?;
        let mut body = event_body(&self.context, EventType::ReservationCreated, reservation, &email, now);
        let configs = self.outbox.configs().load(tx).await?;
        describe(tx, &configs, &mut body).await?;
        self.outbox.enqueue_starts(tx, &configs, vec![for_outbox(body)]).await
    }

    /// Schedules the starts of reservations that are older than a classic webhook, or than its present settings. Without a
    /// change of a webhook since the last call it does not read the database: the dispatcher loads the settings.
    ///
    /// # Errors
    /// If the database is unavailable.
    pub async fn schedule_starts(&self) -> Result<()> {
        match self.outbox.configs().cached() {
            Some(configs) => self.schedule_earlier_reservations(&configs).await,
            None => Ok(()),
        }
    }

    /// Schedules the starts of earlier reservations, after each change of a webhook and at the start of the process. A second pass
    /// follows when no transaction is left that has read the former settings.
    async fn schedule_earlier_reservations(&self, configs: &Configs) -> Result<()> {
        let now = self.context.now();
        let pass = self.scheduled.lock().next(configs.revision(), now);
        let Some(Pass { since, is_last }) = pass else { return Ok(()) };
        for resource_type in configs.classic_types() {
            self.schedule_starts_of(configs, resource_type, since, now).await?;
        }
        self.schedule_opt_in_events(configs, since).await?;
        *self.scheduled.lock() = Scheduled { revision: configs.revision(), at: now, is_settled: is_last };
        Ok(())
    }

    /// Schedules the starts of reservations of a type, or all, that begin after `since` and that no classic webhook has received.
    async fn schedule_starts_of(
        &self,
        configs: &Configs,
        resource_type: Option<&str>,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let classic = configs.all().filter(|config| config.payload_format == PayloadFormat::Classic);
        let received = Query::select()
            .expr(Expr::val(1))
            .from(deliveries::Entity)
            .and_where(
                Expr::col((deliveries::Entity, deliveries::Column::ReservationId))
                    .equals((reservations::Entity, reservations::Column::Id)),
            )
            .and_where(deliveries::COLUMN.event_type.eq(EventType::ReservationCreated.as_str()))
            .and_where(deliveries::COLUMN.webhook_id.is_in(classic.map(|config| config.id)))
            .and_where(deliveries::COLUMN.test.eq(false))
            .take();
        let is_future = reservations::COLUMN.start_at.gt(now.timestamp_millis());
        let has_just_begun =
            reservations::COLUMN.start_at.gt(since.timestamp_millis()).and(Expr::exists(received).not());
        let mut earlier = Query::select();
        earlier
            .columns([
                (reservations::Entity, reservations::Column::Id),
                (reservations::Entity, reservations::Column::StartAt),
            ])
            .from(reservations::Entity)
            .and_where(reservations::COLUMN.status.eq(Text(ReservationStatus::Active)))
            .and_where(is_future.or(has_just_begun))
            .order_by((reservations::Entity, reservations::Column::Id), Order::Asc);
        if let Some(slug) = resource_type {
            let of_type = resources::Entity::find()
                .select_only()
                .column(resources::Column::Id)
                .filter(resources::COLUMN.resource_type.eq(slug));
            earlier.and_where(reservations::COLUMN.resource_id.in_subquery(of_type.into_query()));
        }
        let mut insert = Query::insert();
        insert
            .into_table(reservation_starts::Entity)
            .columns([reservation_starts::Column::ReservationId, reservation_starts::Column::StartAt])
            .select_from(earlier)
            .map_err(|error| sea_orm::DbErr::Custom(error.to_string()))?
            .on_conflict(OnConflict::column(reservation_starts::Column::ReservationId).do_nothing().to_owned());
        self.context.db.write.execute(&insert).await?;
        Ok(())
    }
}

/// For which settings of the webhooks the starts of earlier reservations are scheduled.
pub(super) struct Scheduled {
    revision: i64,
    at: DateTime<Utc>,
    is_settled: bool,
}

/// A search for reservations whose events are not scheduled.
#[derive(Debug, PartialEq)]
struct Pass {
    /// Events that were due before are not published any more.
    since: DateTime<Utc>,
    is_last: bool,
}

impl Scheduled {
    /// For no settings yet.
    pub(super) fn nothing() -> Self {
        Self { revision: -1, at: DateTime::UNIX_EPOCH, is_settled: false }
    }

    /// The next search, if one is due.
    fn next(&self, revision: i64, now: DateTime<Utc>) -> Option<Pass> {
        if self.revision != revision {
            return Some(Pass { since: now, is_last: false });
        }
        (!self.is_settled && now >= self.at + SETTLING).then_some(Pass { since: self.at, is_last: true })
    }
}
