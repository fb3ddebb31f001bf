//! Creating, changing and cancelling reservations.

use super::Reservations;
use super::booking::{
    check_bookable, check_horizon, check_span_quotas, conflict_reason, first_overlap, needs_grant, overlap_problem,
    too_many_active, too_many_changes,
};
use super::event::{event_body, for_outbox};
use super::group_commit::Written;
use super::{schedule, starts};
use crate::audit_trail::{AuditedTransaction, Author, Record, Target};
use crate::catalogue::{Bookable, is_granted, read_bookable};
use crate::db::column::{JsonText, Text};
use crate::db::connect::Database;
use crate::db::entity::reservations;
use crate::db::hand_over::{end_busy, move_span, recheck};
use crate::db::link::DatabaseTransaction;
use crate::db::reservations::{NewReservation, count_change};
use crate::error::is_exclusion_violation;
use crate::outbox::Enqueued;
use crate::{Error, Result, provisioning};
use chrono::{DateTime, TimeDelta, Utc};
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::change::Change;
use domain::event::{EventType, ReservationBody};
use domain::id::ReservationId;
use domain::problem::Validator;
use domain::provisioning::Provisioning;
use domain::reservation::{
    Reservation, ReservationInput, ReservationPatch, ReservationStatus, apply_patch, check_input,
};
use domain::{Problem, ProblemKind, validation};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};
use tracing::instrument;

impl Reservations {
    /// Creates a reservation; publishes `reservation.created`.
    ///
    /// # Errors
    /// 403 if the actor may not book the resource; 409 that names the overlapping span, or at the limit on active
    /// reservations; 422 that names invalid fields or an unknown resource.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn create(&self, actor: &Actor, input: ReservationInput) -> Result<Reservation> {
        authorize(actor, Action::Reserve)?;
        let now = self.context.now();
        let resource = self.catalogue.bookable(input.resource_id).await?.ok_or_else(|| {
            Problem::field("resource_id", "There is no such resource. Choose one of GET /api/v1/resources.")
        })?;
        authorize_booking(&self.context.db.read, actor, &resource).await?;
        let config = check_input(&input, &resource.schema, now)?;
        check_horizon(input.end_time, now)?;
        let quotas = &self.context.settings.quotas;
        check_span_quotas(quotas, (input.start_time, input.end_time), now)?;
        let email = self.accounts.user_cached(&actor.username).await?.email;
        let reservation = Reservation {
            id: ReservationId::from_ulid(self.context.new_ulid()),
            user_id: actor.username.clone(),
            resource_id: resource.id,
            resource_name: resource.name.clone(),
            resource_type: resource.resource_type.clone(),
            title: input.title.unwrap_or_default(),
            start_time: input.start_time,
            end_time: input.end_time,
            user_ssh_key: input.user_ssh_key.unwrap_or_default().trim().to_owned(),
            additional_config: config,
            status: ReservationStatus::Active,
            cancelled_by: None,
            cancel_reason: String::new(),
            // The services are known when the reservation is written.
            provisioning: Provisioning::waiting([], now),
            provisioning_begins_at: None,
            released_at: None,
            created_at: now,
            updated_at: now,
        };
        let turnaround = resource.turnaround;
        let new = NewReservation { reservation, email, resource_status: resource.status, turnaround };
        let record = record(actor, AuditAction::ReservationCreated, &new.reservation)
            .changes(Changes::created(&new.reservation));
        match self.group_commit.write(new, record).await? {
            Written::Inserted(reservation) => Ok(self.send_due_creation(reservation).await),
            Written::OverQuota => Err(too_many_active(quotas.active_reservations.unwrap_or_default()).into()),
            Written::Conflict(reservation) => {
                Err(conflict_reason(&self.context.db.read, &reservation, turnaround).await?.into())
            }
        }
    }

    /// Changes a reservation; publishes `reservation.updated` if a value differs.
    ///
    /// # Errors
    /// 404; 409 if the reservation is not active or its new span overlaps another one; 422 that names invalid fields. As for
    /// [`Self::create`], 403 and 409 if the new span includes time that the actor cannot book. 429 at the limit on changes.
    #[instrument(skip_all, fields(reservation = %id), err(level = "debug"))]
    pub async fn update(&self, actor: &Actor, id: &ReservationId, patch: ReservationPatch) -> Result<Reservation> {
        self.change(actor, id, |_| Ok(patch)).await
    }

    /// Changes a reservation by a patch that depends on it. See [`Self::update`].
    pub(super) async fn change(
        &self,
        actor: &Actor,
        id: &ReservationId,
        patch_of: impl FnOnce(&Reservation) -> Result<ReservationPatch, Problem>,
    ) -> Result<Reservation> {
        let now = self.context.now();
        let tx = self.context.begin_change().await?;
        let current = self.lock_reservation(&tx, Some(actor), id).await?;
        let patch = patch_of(&current)?;
        let resource = read_bookable(&tx, current.resource_id).await?.ok_or_else(Problem::internal)?;
        let (mut next, previous) = apply_patch(&current, &patch, &resource.schema, now)?;
        if previous.is_empty() {
            return self.shown(&*tx, current).await;
        }
        // A smaller span is always allowed: it only frees time.
        if next.start_time < current.start_time || next.end_time > current.end_time {
            authorize_booking(&tx, actor, &resource).await?;
            check_span_quotas(&self.context.settings.quotas, (next.start_time, next.end_time), now)?;
        }
        let moves = next.start_time != current.start_time || next.end_time != current.end_time;
        if moves {
            check_horizon(next.end_time, now)?;
            self.check_overlap(&tx, &next, resource.turnaround).await?;
        }
        self.check_change_quota(&tx, id, now).await?;
        let email = self.owner_email(&tx, &current.user_id).await?;
        let body = ReservationBody {
            previous: Some(previous),
            ..event_body(&self.context, EventType::ReservationUpdated, &next, &email, now)
        };
        let configs = self.outbox.configs().load(&tx).await?;
        let schedule = schedule::reschedule(&tx, &configs, &current, &next, now).await?;
        let enqueued = self.outbox.enqueue(&tx, &configs, vec![for_outbox(body)], false, &schedule.held).await?;
        next.provisioning_begins_at = schedule.begins_at(id);
        schedule.insert(&tx).await?;
        next.provisioning = next.provisioning.after_change(&enqueued.driving(), now);
        let turnaround = moves.then_some(resource.turnaround);
        if let Err(error) = write_changes(&self.context.db, &tx, &next, turnaround).await {
            if let Error::Database(error) = &error
                && is_exclusion_violation(error)
            {
                drop(tx);
                return Err(conflict_reason(&self.context.db.read, &next, resource.turnaround).await?.into());
            }
            return Err(error);
        }
        provisioning::write(&self.context.db, &tx, &next).await?;
        if next.start_time != current.start_time {
            starts::reschedule(&tx, &next).await?;
        }
        let record = record(actor, AuditAction::ReservationUpdated, &next).changes(Changes::between(&current, &next));
        let next = self.commit(tx, record, enqueued, next).await?;
        Ok(self.send_due_creation(next).await)
    }

    /// Counts a change of a reservation, and fails with 429 at the limit.
    async fn check_change_quota(&self, tx: &DatabaseTransaction, id: &ReservationId, now: DateTime<Utc>) -> Result<()> {
        let Some(limit) = self.context.settings.quotas.changes_per_minute else { return Ok(()) };
        let recent = count_change(&self.context.db, tx, id, now).await?;
        if recent.changes > limit.into() {
            return Err(too_many_changes(limit, recent.until - now).into());
        }
        Ok(())
    }

    /// Checks that no other reservation overlaps the new span. On PostgreSQL the exclusion constraint does it instead.
    async fn check_overlap(&self, tx: &DatabaseTransaction, next: &Reservation, turnaround: TimeDelta) -> Result<()> {
        if !self.context.db.is_postgres()
            && let Some(span) = first_overlap(tx, next, turnaround).await?
        {
            return Err(overlap_problem(span, turnaround).into());
        }
        Ok(())
    }

    /// Cancels a reservation; publishes `reservation.cancelled`.
    ///
    /// # Errors
    /// 404; 409 if the reservation is not active; 422 for an invalid reason.
    #[instrument(skip_all, fields(reservation = %id), err(level = "debug"))]
    pub async fn cancel(&self, actor: &Actor, id: &ReservationId, reason: Option<String>) -> Result<Reservation> {
        let reason = reason.unwrap_or_default();
        let mut validator = Validator::new();
        validator.check("reason", validation::text(&reason, 500));
        validator.finish()?;
        let now = self.context.now();
        let tx = self.context.begin_change().await?;
        let mut reservation = self.lock_reservation(&tx, Some(actor), id).await?;
        let status = reservation.status.at(reservation.end_time, now);
        if status != ReservationStatus::Active {
            return Err(Problem::conflict(format!("This reservation is {} already.", status.as_str())).into());
        }
        let before = reservation.clone();
        reservation.status = ReservationStatus::Cancelled;
        reservation.cancelled_by = Some(actor.username.clone());
        reservation.cancel_reason.clone_from(&reason);
        let email = self.owner_email(&tx, &reservation.user_id).await?;
        let body = ReservationBody {
            cancelled_by: Some(actor.username.clone()),
            reason: Some(reason),
            ..event_body(&self.context, EventType::ReservationCancelled, &reservation, &email, now)
        };
        let enqueued = self.finish(&tx, &mut reservation, body, now).await?;
        let record = record(actor, AuditAction::ReservationCancelled, &reservation)
            .changes(Changes::between(&before, &reservation));
        self.commit(tx, record, enqueued, reservation).await
    }

    /// Cancels all active reservations of an account, as [`Self::cancel`] does. Returns their number.
    ///
    /// # Errors
    /// 403 unless the actor manages accounts; 503 if the database becomes unavailable before the last one.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn cancel_all_of(&self, actor: &Actor, username: &str, reason: &str) -> Result<usize> {
        authorize(actor, Action::ManageUsers)?;
        let active: Vec<String> = reservations::Entity::find()
            .select_only()
            .column(reservations::Column::Id)
            .filter(reservations::COLUMN.username.eq(username))
            .filter(reservations::COLUMN.status.eq(Text(ReservationStatus::Active)))
            .order_by_asc(reservations::Column::StartAt)
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        let mut cancelled = 0;
        for id in active.into_iter().map(ReservationId) {
            match self.cancel(actor, &id, Some(reason.to_owned())).await {
                Ok(_) => cancelled += 1,
                // It ended, or someone else cancelled it.
                Err(Error::Problem(problem)) if problem.kind == ProblemKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Ok(cancelled)
    }

    /// Writes the end of a reservation (cancelled or expired) with its event, and begins the release of the resource.
    pub(super) async fn finish(
        &self,
        tx: &DatabaseTransaction,
        reservation: &mut Reservation,
        mut body: ReservationBody,
        now: DateTime<Utc>,
    ) -> Result<Enqueued> {
        let configs = self.outbox.configs().load(tx).await?;
        starts::describe(tx, &configs, &mut body).await?;
        starts::take(tx, &reservation.id).await?;
        let held = schedule::drop_all(tx, &reservation.id).await?;
        let enqueued = self.outbox.enqueue(tx, &configs, vec![for_outbox(body)], false, &held).await?;
        reservation.provisioning_begins_at = None;
        reservation.updated_at = now;
        let changes = reservations::ActiveModel {
            status: Set(Text(reservation.status)),
            end_at: Set(reservation.end_time.timestamp_millis()),
            cancelled_by: Set(reservation.cancelled_by.clone()),
            cancel_reason: Set(reservation.cancel_reason.clone()),
            updated_at: Set(now.timestamp_millis()),
            ..Default::default()
        };
        // Before the end is changed, from which the turnaround time follows.
        end_busy(&self.context.db, tx, &reservation.id, now).await?;
        update_row(tx, &reservation.id, changes).await?;
        provisioning::begin_release(&self.context.db, tx, reservation, &enqueued.driving(), now).await?;
        if !provisioning::record_release(&self.context.db, tx, reservation, now).await? {
            recheck(&self.context.db, tx, reservation.id.as_str(), now).await?;
        }
        Ok(enqueued)
    }

    /// Commits a change with its entry of the audit log, then announces it and dispatches its deliveries. Returns the reservation
    /// as its readers see it.
    pub(super) async fn commit(
        &self,
        tx: AuditedTransaction,
        record: Record,
        enqueued: Enqueued,
        reservation: Reservation,
    ) -> Result<Reservation> {
        let reservation = self.shown(&*tx, reservation).await?;
        tx.commit(record).await?;
        self.outbox.publish(enqueued, vec![Change::Reservation(Box::new(reservation.clone()))]);
        Ok(reservation)
    }
}

/// An entry of the audit log about a reservation.
pub(super) fn record<'a>(author: impl Into<Author<'a>>, action: AuditAction, reservation: &Reservation) -> Record {
    let name = if reservation.title.is_empty() { &reservation.resource_name } else { &reservation.title };
    let target = Target::named(AuditTargetType::Reservation, &reservation.id, name);
    Record::new(author, action, target)
}

/// Checks that the actor may book the resource. Inside a transaction `connection` is the transaction: waiting for a second
/// connection of the pool could deadlock.
async fn authorize_booking(connection: &impl ConnectionTrait, actor: &Actor, resource: &Bookable) -> Result<()> {
    let granted = needs_grant(actor, resource) && is_granted(connection, resource.id, &actor.username).await?;
    Ok(check_bookable(actor, resource, granted)?)
}

/// Writes the changed values of a reservation, and with a turnaround time its span.
async fn write_changes(
    db: &Database,
    tx: &DatabaseTransaction,
    next: &Reservation,
    turnaround: Option<TimeDelta>,
) -> Result<()> {
    let changes = reservations::ActiveModel {
        title: Set(next.title.clone()),
        user_ssh_key: Set(next.user_ssh_key.clone()),
        additional_config: Set(JsonText(next.additional_config.clone())),
        updated_at: Set(next.updated_at.timestamp_millis()),
        ..Default::default()
    };
    update_row(tx, &next.id, changes).await?;
    match turnaround {
        Some(turnaround) => move_span(db, tx, next, turnaround).await,
        None => Ok(()),
    }
}

async fn update_row(
    tx: &DatabaseTransaction,
    id: &ReservationId,
    changes: reservations::ActiveModel,
) -> Result<(), DbErr> {
    let rows = reservations::Entity::update_many().set(changes).filter(reservations::COLUMN.id.eq(id.as_str()));
    rows.exec(tx).await.map(|_| ())
}
