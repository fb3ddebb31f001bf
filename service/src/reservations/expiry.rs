//! Reservations that have ended, and the early end of a reservation.

use super::commands::record;
use super::event::event_body;
use super::starts;
use super::{Reservations, tolerate};
use crate::Result;
use crate::audit_trail::{AuditedTransaction, Author};
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::reservations;
use crate::db::reservations::earliest_due;
use chrono::{DateTime, Utc};
use domain::Problem;
use domain::audit::{AuditAction, Changes};
use domain::authorization::Actor;
use domain::change::Change;
use domain::event::EventType;
use domain::id::ReservationId;
use domain::reservation::{Reservation, ReservationStatus};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select};
use tracing::instrument;

fn active() -> Select<reservations::Entity> {
    reservations::Entity::find().filter(reservations::COLUMN.status.eq(Text(ReservationStatus::Active)))
}

impl Reservations {
    /// Expires reservations that have ended, oldest first, at most `limit`; publishes `reservation.expired` for each. Returns how
    /// many this call expired.
    ///
    /// # Errors
    /// If the database is unavailable. Another error of a single reservation is logged, and the others are expired.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn expire_due(&self, limit: u64) -> Result<u64> {
        let now = self.context.now();
        let due: Vec<String> = active()
            .select_only()
            .column(reservations::Column::Id)
            .filter(reservations::COLUMN.end_at.lte(now.timestamp_millis()))
            .order_by_asc(reservations::Column::EndAt)
            .limit(limit)
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        let mut expired = 0;
        for id in due.into_iter().map(ReservationId) {
            let step = self.expire(&id, now).await;
            expired += u64::from(tolerate(step, &id, "a reservation was not expired")?);
        }
        Ok(expired)
    }

    /// Expires one reservation. Returns false if it is no longer active, or its end was moved.
    async fn expire(&self, id: &ReservationId, now: DateTime<Utc>) -> Result<bool> {
        let tx = self.context.begin_change().await?;
        // Several replicas may expire the same reservation. The first one locks it; the others then find it expired.
        let reservation = self.lock_reservation(&tx, None, id).await?;
        if reservation.status != ReservationStatus::Active || reservation.end_time > now {
            return Ok(false);
        }
        self.expire_locked(tx, Author::System, reservation, now).await?;
        Ok(true)
    }

    /// Ends a reservation that is in progress, now; publishes `reservation.expired` with the new end. The rest of its time can be
    /// reserved at once.
    ///
    /// # Errors
    /// 404; 409 if the reservation has not started, or is no longer active.
    #[instrument(skip_all, fields(reservation = %id), err(level = "debug"))]
    pub async fn end(&self, actor: &Actor, id: &ReservationId) -> Result<Reservation> {
        let now = self.context.now();
        let tx = self.context.begin_change().await?;
        let reservation = self.lock_reservation(&tx, Some(actor), id).await?;
        let status = reservation.status.at(reservation.end_time, now);
        if status != ReservationStatus::Active {
            return Err(Problem::conflict(format!("This reservation is {} already.", status.as_str())).into());
        }
        if reservation.start_time > now {
            return Err(Problem::conflict("This reservation has not started. Cancel it instead.").into());
        }
        self.expire_locked(tx, actor, reservation, now).await
    }

    /// Ends a reservation that is locked by the transaction: at its end, or now if that is earlier.
    async fn expire_locked(
        &self,
        tx: AuditedTransaction,
        author: impl Into<Author<'_>>,
        before: Reservation,
        now: DateTime<Utc>,
    ) -> Result<Reservation> {
        let id = &before.id;
        let mut reservation = before.clone();
        reservation.status = ReservationStatus::Expired;
        reservation.end_time = Ord::min(before.end_time, now);
        // After an outage, the start may be due too. It precedes the end.
        let start = match starts::take(&tx, id).await? {
            true => Some(self.enqueue_start(&tx, &before, now).await?),
            false => None,
        };
        let scheduled = self.enqueue_scheduled(&tx, &before, now).await?;
        let email = self.owner_email(&tx, &reservation.user_id).await?;
        let body = event_body(&self.context, EventType::ReservationExpired, &reservation, &email, now);
        let enqueued = self.finish(&tx, &mut reservation, body, now).await?;
        let record = record(author, AuditAction::ReservationExpired, &reservation)
            .changes(Changes::between(&before, &reservation));
        let reservation = self.commit(tx, record, enqueued, reservation).await?;
        if let Some(start) = start {
            self.outbox.publish(start, Vec::new());
        }
        let notifications = scheduled.notifications.into_iter().map(Change::Notification).collect();
        self.feed.publish(notifications);
        for enqueued in scheduled.enqueued {
            self.outbox.publish(enqueued, Vec::new());
        }
        Ok(reservation)
    }

    /// The earliest time at which a reservation ends, or at which a start is published. One statement, because an idle
    /// process runs it every few seconds.
    ///
    /// # Errors
    /// If the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn next_due(&self) -> Result<Option<DateTime<Utc>>> {
        Ok(earliest_due(&self.context.db).await?.map(time))
    }
}
