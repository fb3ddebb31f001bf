//! The hand-over of a resource from one reservation to the next (docs/contract.md §11, ADR 0026).
//!
//! A service that provisions at the start receives `reservation.created` only when the resource is free: each earlier reservation has
//! ended, its release is confirmed, and the turnaround time has passed. Until then the event stays held. It is checked again when
//! a release is confirmed, and every half minute. When a release is late or has failed, the managers of the resource are notified, and
//! can confirm it themselves.

use super::Reservations;
use super::commands::record;
use super::row::read_reservations;
use super::schedule::{Notices, of};
use crate::Result;
use crate::db::entity::scheduled_events;
use crate::db::hand_over::{Predecessor, begin_preparation, last_release, mark_released, predecessors};
use crate::db::link::DatabaseTransaction;
use crate::notifications::Notifications;
use crate::provisioning;
use chrono::{DateTime, TimeDelta, Utc};
use domain::Problem;
use domain::audit::{AuditAction, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::change::{Change, Notification, Severity};
use domain::event::EventType;
use domain::id::{ReservationId, WebhookId};
use domain::ownership::ResourceKey;
use domain::reservation::{Reservation, ReservationStatus};
use sea_orm::sea_query::Expr;
use sea_orm::{EntityTrait as _, QueryFilter as _};
use tracing::instrument;

/// Time until a hand-over that waits is checked again. A confirmed release is checked at once.
const RECHECK: TimeDelta = TimeDelta::seconds(30);

/// What a reservation waits for. The texts are the provisioning message of its services, so they tell nothing about another user.
///
/// In the order of their weight: of several, the last one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// Its resource is being released from an earlier reservation.
    Releasing,
    /// An earlier reservation has not ended.
    Active,
    /// The release is not confirmed in time.
    Late,
    /// The release has failed.
    Failed,
}

impl Cause {
    fn of(predecessor: &Predecessor, late: TimeDelta, now: DateTime<Utc>) -> Self {
        match predecessor {
            Predecessor { is_active: true, .. } => Self::Active,
            Predecessor { has_failed: true, .. } => Self::Failed,
            Predecessor { ended_at, .. } if *ended_at + late <= now => Self::Late,
            _ => Self::Releasing,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Active => "Waits for the end of the previous reservation of this resource.",
            Self::Releasing => "Waits until the resource is released from the previous reservation.",
            Self::Late => {
                "The resource is not released from the previous reservation in time. Those who manage the resource know."
            }
            Self::Failed => "The release from the previous reservation has failed. Those who manage the resource know.",
        }
    }

    fn alerts(self) -> bool {
        matches!(self, Self::Late | Self::Failed)
    }
}

/// Whether a resource can be provisioned for a reservation.
enum Gate {
    Open,
    /// Its turnaround time ends then.
    OpensAt(DateTime<Utc>),
    /// It is not released from this reservation.
    Closed(Predecessor, Cause),
}

/// The held creations of a reservation for driving webhooks that are due, as their webhooks.
pub(super) struct HeldCreations<'a> {
    pub(super) webhooks: &'a [WebhookId],
    /// Whether the managers of the resource were notified that the reservation waits.
    pub(super) alerted: bool,
    /// The settings of the resource type.
    pub(super) notices: Notices,
}

impl Reservations {
    /// Decides whether the creation of a reservation, which is locked by the transaction, may be sent to driving webhooks. If not,
    /// writes when it is checked again and why it waits, and notifies the managers of the resource if a release is late. Returns
    /// whether it may be sent, and notifications to announce after the commit.
    pub(super) async fn hand_over(
        &self,
        tx: &DatabaseTransaction,
        reservation: &Reservation,
        held: &HeldCreations<'_>,
        now: DateTime<Utc>,
    ) -> Result<(bool, Vec<Notification>)> {
        match self.gate(tx, reservation, held.notices, now).await? {
            Gate::Open => {
                begin_preparation(&self.context.db, tx, &reservation.id, now).await?;
                self.explain(tx, reservation, held.webhooks, "", now).await?;
                Ok((true, Vec::new()))
            }
            Gate::OpensAt(at) => {
                defer(tx, reservation, held, at, false, held.alerted).await?;
                self.explain(tx, reservation, held.webhooks, "", now).await?;
                Ok((false, Vec::new()))
            }
            Gate::Closed(predecessor, cause) => {
                let alerts = cause.alerts() && !held.alerted;
                let next = match cause {
                    Cause::Releasing => Ord::min(now + RECHECK, predecessor.ended_at + held.notices.late_release),
                    _ => now + RECHECK,
                };
                defer(tx, reservation, held, next, true, held.alerted || alerts).await?;
                self.explain(tx, reservation, held.webhooks, cause.message(), now).await?;
                let created = match alerts {
                    true => self.alert(tx, reservation, &predecessor, cause).await?,
                    false => Vec::new(),
                };
                Ok((false, created))
            }
        }
    }

    /// Whether the resource can be provisioned for a reservation.
    async fn gate(
        &self,
        tx: &DatabaseTransaction,
        next: &Reservation,
        notices: Notices,
        now: DateTime<Utc>,
    ) -> Result<Gate> {
        let cause = |one: Predecessor| (Cause::of(&one, notices.late_release, now), one);
        let found = predecessors(&self.context.db, tx, next).await?.into_iter().map(cause);
        if let Some((cause, worst)) = found.max_by_key(|(cause, _)| *cause) {
            return Ok(Gate::Closed(worst, cause));
        }
        let last = last_release(&self.context.db, tx, next.resource_id, now - notices.turnaround).await?;
        Ok(last.map_or(Gate::Open, |last| Gate::OpensAt(last + notices.turnaround)))
    }

    /// Writes why services wait as their provisioning message.
    async fn explain(
        &self,
        tx: &DatabaseTransaction,
        reservation: &Reservation,
        webhooks: &[WebhookId],
        message: &str,
        now: DateTime<Utc>,
    ) -> Result<()> {
        if let Some(next) = reservation.provisioning.with_wait(webhooks, message, now) {
            let next = Reservation { provisioning: next, ..reservation.clone() };
            provisioning::write(&self.context.db, tx, &next).await?;
        }
        Ok(())
    }

    async fn alert(
        &self,
        tx: &DatabaseTransaction,
        next: &Reservation,
        predecessor: &Predecessor,
        cause: Cause,
    ) -> Result<Vec<Notification>> {
        let title = match predecessor.title.as_str() {
            "" => String::new(),
            title => format!(" \"{title}\""),
        };
        let message = format!(
            "The release of {} {}: the reservation{title} of {} has ended, and the next one waits for it. If the resource is free, \
             confirm the release.",
            next.resource_name,
            if cause == Cause::Failed { "has failed" } else { "is late" },
            predecessor.username,
        );
        let notifications = Notifications::new(self.context.clone());
        let resource = ResourceKey::new(&next.resource_type, next.resource_id);
        let link = format!("/reservations/{}", predecessor.id);
        notifications.create_for_managers(tx, Some(resource), Severity::Error, &message, Some(&link)).await
    }

    /// Confirms that the resource of an ended reservation is released, in place of its services (those who manage the resource). The
    /// next reservation no longer waits for it.
    ///
    /// # Errors
    /// 403 for other users; 404; 409 if the reservation has not ended, or its release is confirmed already.
    #[instrument(skip_all, fields(reservation = %id), err(level = "debug"))]
    pub async fn confirm_release(&self, actor: &Actor, id: &ReservationId) -> Result<Reservation> {
        let now = self.context.now();
        let tx = self.context.begin_change().await?;
        let mut reservation = self.lock_reservation(&tx, None, id).await?;
        authorize(actor, reservation.read_action()).map_err(|_| Problem::not_found("reservation"))?;
        let resource = ResourceKey::new(&reservation.resource_type, reservation.resource_id);
        authorize(actor, Action::WriteResource { resource })?;
        if reservation.status == ReservationStatus::Active {
            return Err(Problem::conflict("This reservation has not ended. Cancel it first.").into());
        }
        if reservation.released_at.is_some() {
            return Err(Problem::conflict("The release of this reservation is confirmed already.").into());
        }
        let before = reservation.clone();
        let message = format!("Confirmed by {}.", actor.username);
        reservation.provisioning = reservation.provisioning.with_confirmed_release(&message, now);
        reservation.released_at = Some(now);
        provisioning::write(&self.context.db, &tx, &reservation).await?;
        mark_released(&self.context.db, &tx, &[id.as_str()], now).await?;
        let record = record(actor, AuditAction::ReservationReleaseConfirmed, &reservation)
            .changes(Changes::between(&before, &reservation));
        let reservation = self.shown(&*tx, reservation).await?;
        tx.commit(record).await?;
        self.feed.publish(vec![Change::Reservation(Box::new(reservation.clone()))]);
        Ok(reservation)
    }

    /// Sends the held creation of a reservation whose time has come, as the worker would do within seconds. Returns the reservation
    /// as it is then. A failure is left to the worker.
    pub(super) async fn send_due_creation(&self, reservation: Reservation) -> Reservation {
        let now = self.context.now();
        if reservation.provisioning_begins_at.is_none_or(|at| at > now) {
            return reservation;
        }
        let sent = async {
            self.publish_scheduled_of(&reservation.id, now).await?;
            let current = std::slice::from_ref(&reservation.id.0);
            read_reservations(&self.context, &self.context.db.read, current).await
        };
        match sent.await {
            Ok(mut current) => current.pop().unwrap_or(reservation),
            Err(error) => {
                let problem = crate::Error::into_problem(error);
                tracing::warn!(%problem, reservation = %reservation.id, "a creation was not sent; the worker sends it");
                reservation
            }
        }
    }
}

/// Writes when the held creations of a reservation are checked again.
async fn defer(
    tx: &DatabaseTransaction,
    reservation: &Reservation,
    held: &HeldCreations<'_>,
    at: DateTime<Utc>,
    blocked: bool,
    alerted: bool,
) -> Result<()> {
    use scheduled_events::Column;
    scheduled_events::Entity::update_many()
        .col_expr(Column::DueAt, Expr::value(at.timestamp_millis()))
        .col_expr(Column::Blocked, Expr::value(blocked))
        .col_expr(Column::Alerted, Expr::value(alerted))
        .filter(of(&reservation.id))
        .filter(scheduled_events::COLUMN.event_type.eq(EventType::ReservationCreated.as_str()))
        .filter(scheduled_events::COLUMN.webhook_id.is_in(held.webhooks.iter().copied()))
        .exec(tx)
        .await?;
    Ok(())
}
