//! Events of reservations that are due at a later time: `reservation.created` for webhooks with `provision: start`,
//! `reservation.started` and `reservation.ending` (docs/contract.md §10, ADR 0024).
//!
//! A row of `scheduled_events` with a due time is an event that is not published yet. It is written in the transaction of the
//! change that it belongs to, and published from the state of the reservation at that time, in the transaction that
//! takes it. So an event is published once, after every change before it, and not after a cancellation. The rows of published
//! starts and endings stay without a due time until the reservation ends, so that a clock that is set back repeats none.

use super::Reservations;
use super::event::{event_body, for_outbox};
use super::row::changes_of;
use crate::db::bulk::MAX_ROWS;
use crate::db::entity::{resource_types, scheduled_events};
use crate::db::link::DatabaseTransaction;
use crate::db::scheduled_events::schedule_missing;
use crate::outbox::{Configs, Enqueued, Held};
use crate::provisioning::{self, DeliveryEffect, ProvisioningUpdate};
use crate::{Error, Result};
use chrono::{DateTime, Duration, Utc};
use domain::event::EventType;
use domain::id::{ReservationId, WebhookId};
use domain::provisioning::DrivingWebhook;
use domain::reservation::{Reservation, ReservationStatus};
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Query, SelectStatement};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};
use std::collections::{BTreeSet, HashMap, HashSet};
use tracing::instrument;

/// The opt-in events, in the order in which they are published at the same time.
const OPT_IN: [EventType; 2] = [EventType::ReservationStarted, EventType::ReservationEnding];
/// Webhook of events for each webhook that receives them.
const EVERY_WEBHOOK: WebhookId = 0;
/// Provisioning message of a service whose webhook does not receive the held creation.
const NO_RECIPIENT: &str = "The webhook of this service no longer receives the reservation.";

/// The notices of a resource type.
#[derive(Debug, Clone, Copy)]
struct Notices {
    /// Time before the start at which held events are published.
    lead: Duration,
    /// Time before the end at which the ending is published.
    ending: Duration,
}

impl Notices {
    fn due(self, event: EventType, reservation: &Reservation) -> DateTime<Utc> {
        match event {
            EventType::ReservationCreated => reservation.start_time - self.lead,
            EventType::ReservationEnding => Ord::max(reservation.end_time - self.ending, reservation.start_time),
            _ => reservation.start_time,
        }
    }
}

/// The place of an event among those of a reservation that are due at the same time.
fn rank(event: EventType) -> usize {
    OPT_IN.iter().position(|other| *other == event).map_or(0, |position| position + 1)
}

/// Events of new or changed reservations for later.
#[derive(Default)]
pub(super) struct Schedule {
    rows: Vec<scheduled_events::ActiveModel>,
    /// The webhooks for which the creation is held.
    pub(super) held: Held,
    /// When the earliest held creation of a reservation is published.
    begins: HashMap<String, DateTime<Utc>>,
}

impl Schedule {
    fn add(&mut self, reservation: &Reservation, event: EventType, webhook_id: WebhookId, due: Option<DateTime<Utc>>) {
        self.rows.push(scheduled_events::ActiveModel {
            reservation_id: Set(reservation.id.0.clone()),
            event_type: Set(event.as_str().to_owned()),
            webhook_id: Set(webhook_id),
            due_at: Set(due.map(|due| due.timestamp_millis())),
        });
    }

    fn hold(&mut self, reservation: &Reservation, webhook_id: WebhookId, due: DateTime<Utc>) {
        self.add(reservation, EventType::ReservationCreated, webhook_id, Some(due));
        self.held.insert((webhook_id, reservation.id.0.clone()));
        let begins = self.begins.entry(reservation.id.0.clone()).or_insert(due);
        *begins = Ord::min(due, *begins);
    }

    /// When the provisioning of each reservation begins of which an event is held.
    pub(super) fn take_begins(&mut self) -> HashMap<String, DateTime<Utc>> {
        std::mem::take(&mut self.begins)
    }

    /// When the provisioning of a reservation begins, while an event is held.
    pub(super) fn begins_at(&self, id: &ReservationId) -> Option<DateTime<Utc>> {
        self.begins.get(id.as_str()).copied()
    }

    /// Writes the events.
    pub(super) async fn insert(self, tx: &DatabaseTransaction) -> Result<()> {
        for rows in self.rows.chunks(MAX_ROWS) {
            // A change of a webhook may schedule the same event at the same time, with the times before this change.
            let key = [
                scheduled_events::Column::ReservationId,
                scheduled_events::Column::EventType,
                scheduled_events::Column::WebhookId,
            ];
            let newer = OnConflict::columns(key).update_column(scheduled_events::Column::DueAt).to_owned();
            scheduled_events::Entity::insert_many(rows.to_vec()).on_conflict(newer).exec_without_returning(tx).await?;
        }
        Ok(())
    }
}

/// The events for later of new reservations. Without a webhook that needs them, it reads nothing: this is the path of each
/// new reservation.
pub(super) async fn plan<'a>(
    tx: &DatabaseTransaction,
    configs: &Configs,
    reservations: impl Iterator<Item = &'a Reservation> + Clone,
    now: DateTime<Utc>,
) -> Result<Schedule> {
    let is_scheduled = |reservation: &&Reservation| {
        configs.holding(reservation).next().is_some()
            || OPT_IN.iter().any(|event| configs.has_recipient(&reservation.resource_type, *event))
    };
    let types: BTreeSet<&str> =
        reservations.clone().filter(is_scheduled).map(|reservation| reservation.resource_type.as_str()).collect();
    let mut schedule = Schedule::default();
    if types.is_empty() {
        return Ok(schedule);
    }
    let notices = read_notices(tx, &types).await?;
    for reservation in reservations {
        let Some(notices) = notices.get(&reservation.resource_type) else { continue };
        let due = notices.due(EventType::ReservationCreated, reservation);
        if due > now {
            for webhook in configs.holding(reservation) {
                schedule.hold(reservation, webhook, due);
            }
        }
        for event in OPT_IN {
            if configs.has_recipient(&reservation.resource_type, event) {
                schedule.add(reservation, event, EVERY_WEBHOOK, Some(notices.due(event, reservation)));
            }
        }
    }
    Ok(schedule)
}

/// The notices of resource types, locked against a change until the end of the transaction: a change moves all events that
/// are scheduled with the old ones.
async fn read_notices(tx: &DatabaseTransaction, types: &BTreeSet<&str>) -> Result<HashMap<String, Notices>> {
    let rows: Vec<(String, i32, i32)> = resource_types::Entity::find()
        .select_only()
        .columns([
            resource_types::Column::Slug,
            resource_types::Column::LeadMinutes,
            resource_types::Column::EndingNoticeMinutes,
        ])
        .filter(resource_types::COLUMN.slug.is_in(types.iter().copied()))
        .order_by_asc(resource_types::Column::Slug)
        .lock_shared()
        .into_tuple()
        .all(tx)
        .await?;
    let minutes = |minutes: i32| Duration::minutes(minutes.into());
    let notices = |lead, ending| Notices { lead: minutes(lead), ending: minutes(ending) };
    Ok(rows.into_iter().map(|(slug, lead, ending)| (slug, notices(lead, ending))).collect())
}

fn is_event(row: &scheduled_events::Model, event: EventType) -> bool {
    row.event_type == event.as_str()
}

fn of(id: &ReservationId) -> Expr {
    scheduled_events::COLUMN.reservation_id.eq(id.as_str())
}

/// Replaces the scheduled events of a reservation that changes from `current` to `next`. The creation stays held for webhooks
/// that do not know the reservation, also if it is due now, and for those whose filters exclude it no longer.
pub(super) async fn reschedule(
    tx: &DatabaseTransaction,
    configs: &Configs,
    current: &Reservation,
    next: &Reservation,
    now: DateTime<Utc>,
) -> Result<Schedule> {
    let rows = scheduled_events::Entity::find().filter(of(&next.id)).all(tx).await?;
    let before: HashSet<WebhookId> = configs.holding(current).collect();
    let added: Vec<WebhookId> = configs.holding(next).filter(|webhook| !before.contains(webhook)).collect();
    let receives = |event: &EventType| configs.has_recipient(&next.resource_type, *event);
    let mut schedule = Schedule::default();
    if rows.is_empty() && added.is_empty() && !OPT_IN.iter().any(receives) {
        return Ok(schedule);
    }
    let types = BTreeSet::from([next.resource_type.as_str()]);
    let Some(notices) = read_notices(tx, &types).await?.remove(&next.resource_type) else { return Ok(schedule) };
    let due = notices.due(EventType::ReservationCreated, next);
    let creations = || rows.iter().filter(|row| is_event(row, EventType::ReservationCreated));
    for row in creations() {
        // It does not know the reservation, so a filter that excludes the changed one drops the event at the due time.
        schedule.hold(next, row.webhook_id, due);
    }
    for webhook in added {
        if due > now && !schedule.held.contains(&(webhook, next.id.0.clone())) && !knows(tx, webhook, &next.id).await? {
            schedule.hold(next, webhook, due);
        }
    }
    for event in OPT_IN {
        let row = rows.iter().find(|row| is_event(row, event));
        let due = notices.due(event, next);
        match row {
            // It was published, and is published again if its time is moved into the future.
            Some(row) if row.due_at.is_none() => {
                let is_moved = due > now && due != notices.due(event, current);
                schedule.add(next, event, EVERY_WEBHOOK, is_moved.then_some(due));
            }
            Some(_) => schedule.add(next, event, EVERY_WEBHOOK, Some(due)),
            None if receives(&event) && due > now => schedule.add(next, event, EVERY_WEBHOOK, Some(due)),
            None => {}
        }
    }
    scheduled_events::Entity::delete_many().filter(of(&next.id)).exec(tx).await?;
    Ok(schedule)
}

/// Whether a webhook has received an event of a reservation.
async fn knows(tx: &DatabaseTransaction, webhook: WebhookId, id: &ReservationId) -> Result<bool> {
    use crate::db::entity::deliveries;
    let earlier: Option<i64> = deliveries::Entity::find()
        .select_only()
        .column(deliveries::Column::WebhookId)
        .filter(deliveries::COLUMN.reservation_id.eq(id.as_str()))
        .filter(deliveries::COLUMN.webhook_id.eq(webhook))
        .filter(deliveries::COLUMN.test.eq(false))
        .limit(1)
        .into_tuple()
        .one(tx)
        .await?;
    Ok(earlier.is_some())
}

/// Deletes the scheduled events of a reservation that ends. Returns the webhooks that do not know it, which receive nothing.
pub(super) async fn drop_all(tx: &DatabaseTransaction, id: &ReservationId) -> Result<Held> {
    let webhooks: Vec<(WebhookId, String)> = scheduled_events::Entity::find()
        .select_only()
        .columns([scheduled_events::Column::WebhookId, scheduled_events::Column::EventType])
        .filter(of(id))
        .into_tuple()
        .all(tx)
        .await?;
    if webhooks.is_empty() {
        return Ok(Held::new());
    }
    scheduled_events::Entity::delete_many().filter(of(id)).exec(tx).await?;
    let creations = webhooks.into_iter().filter(|(_, event)| event == EventType::ReservationCreated.as_str());
    Ok(creations.map(|(webhook, _)| (webhook, id.0.clone())).collect())
}

/// The webhooks for which the creation of a reservation is held.
async fn held(tx: &DatabaseTransaction, id: &ReservationId) -> Result<Held> {
    let webhooks: Vec<WebhookId> = scheduled_events::Entity::find()
        .select_only()
        .column(scheduled_events::Column::WebhookId)
        .filter(of(id))
        .filter(scheduled_events::COLUMN.event_type.eq(EventType::ReservationCreated.as_str()))
        .into_tuple()
        .all(tx)
        .await?;
    Ok(webhooks.into_iter().map(|webhook| (webhook, id.0.clone())).collect())
}

/// The due time of the earliest held creation of the reservation in the outer query.
pub(super) fn begins_at() -> Expr {
    use crate::db::entity::reservations;
    let earliest = Query::select()
        .expr(Expr::col((scheduled_events::Entity, scheduled_events::Column::DueAt)).min())
        .from(scheduled_events::Entity)
        .and_where(
            Expr::col((scheduled_events::Entity, scheduled_events::Column::ReservationId))
                .equals((reservations::Entity, reservations::Column::Id)),
        )
        .and_where(scheduled_events::COLUMN.event_type.eq(EventType::ReservationCreated.as_str()))
        .take();
    earliest.into()
}

/// The held creation of the reservation of the outer query for a webhook, as a subquery.
pub(super) fn held_for(webhook: WebhookId) -> SelectStatement {
    use crate::db::entity::reservations;
    Query::select()
        .expr(Expr::val(1))
        .from(scheduled_events::Entity)
        .and_where(
            Expr::col((scheduled_events::Entity, scheduled_events::Column::ReservationId))
                .equals((reservations::Entity, reservations::Column::Id)),
        )
        .and_where(scheduled_events::COLUMN.webhook_id.eq(webhook))
        .and_where(scheduled_events::COLUMN.event_type.eq(EventType::ReservationCreated.as_str()))
        .take()
}

impl Reservations {
    /// Publishes scheduled events that are due, earliest first, of at most `limit` reservations. Returns of how many
    /// this call published any.
    ///
    /// # Errors
    /// If the database is unavailable. Another error of a single reservation is logged, and the others are published.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn publish_scheduled(&self, limit: u64) -> Result<u64> {
        let now = self.context.now();
        let due: Vec<String> = scheduled_events::Entity::find()
            .select_only()
            .column(scheduled_events::Column::ReservationId)
            .filter(scheduled_events::COLUMN.due_at.lte(now.timestamp_millis()))
            .group_by(scheduled_events::Column::ReservationId)
            .order_by_asc(scheduled_events::Column::DueAt.min())
            .limit(limit)
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        let mut published = 0;
        for id in due.into_iter().map(ReservationId) {
            match self.publish_scheduled_of(&id, now).await {
                Ok(was_due) => published += u64::from(was_due),
                Err(error) if error.is_outage() => return Err(error),
                // One event that cannot be published must not block those behind it.
                Err(error) => {
                    let problem = Error::into_problem(error);
                    tracing::error!(%problem, reservation = %id, "scheduled events of a reservation were not published");
                }
            }
        }
        Ok(published)
    }

    /// Publishes the due events of one reservation. Returns false if another replica did, or they were moved.
    async fn publish_scheduled_of(&self, id: &ReservationId, now: DateTime<Utc>) -> Result<bool> {
        let tx = self.context.db.begin_unaudited().await?;
        let reservation = self.lock_reservation(&tx, None, id).await?;
        if reservation.status != ReservationStatus::Active {
            // A process of the previous release has ended it.
            drop_all(&tx, id).await?;
            tx.commit().await?;
            return Ok(false);
        }
        let enqueued = self.enqueue_scheduled(&tx, &reservation, now).await?;
        if enqueued.is_empty() {
            return Ok(false);
        }
        let mut changes = changes_of(&self.feed, &tx, std::slice::from_ref(&id.0)).await?;
        tx.commit().await?;
        for enqueued in enqueued {
            self.outbox.publish(enqueued, std::mem::take(&mut changes));
        }
        Ok(true)
    }

    /// Takes the due events of a reservation that is locked by the transaction, and enqueues them in the order of their due
    /// times. Publish them after the commit.
    pub(super) async fn enqueue_scheduled(
        &self,
        tx: &DatabaseTransaction,
        reservation: &Reservation,
        now: DateTime<Utc>,
    ) -> Result<Vec<Enqueued>> {
        let is_due = || scheduled_events::COLUMN.due_at.lte(now.timestamp_millis());
        let due = || Condition::all().add(of(&reservation.id)).add(is_due());
        let mut rows = scheduled_events::Entity::find().filter(due()).all(tx).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        rows.sort_by_key(|row| (row.due_at, EventType::parse(&row.event_type).map(rank)));
        let is_creation = scheduled_events::COLUMN.event_type.eq(EventType::ReservationCreated.as_str());
        scheduled_events::Entity::delete_many().filter(due()).filter(is_creation).exec(tx).await?;
        scheduled_events::Entity::update_many()
            .col_expr(scheduled_events::Column::DueAt, Expr::value(None::<i64>))
            .filter(due())
            .exec(tx)
            .await?;
        let held = held(tx, &reservation.id).await?;
        let configs = self.outbox.configs().load(tx).await?;
        let email = self.owner_email(tx, &reservation.user_id).await?;
        let creations = rows.iter().filter(|row| is_event(row, EventType::ReservationCreated));
        let webhooks: BTreeSet<WebhookId> = creations.map(|row| row.webhook_id).collect();
        let mut events: Vec<EventType> = rows.iter().filter_map(|row| EventType::parse(&row.event_type)).collect();
        events.dedup();
        let mut enqueued = Vec::with_capacity(events.len());
        for event in events {
            let body = for_outbox(event_body(&self.context, event, reservation, &email, now));
            enqueued.push(match event {
                EventType::ReservationCreated => {
                    let enqueued = self.outbox.enqueue_held(tx, &configs, body, &webhooks).await?;
                    let abandoned: Vec<_> =
                        webhooks.iter().copied().filter(|webhook| !enqueued.is_for(*webhook)).collect();
                    self.abandon_services(tx, reservation, &abandoned).await?;
                    enqueued
                }
                _ => self.outbox.enqueue(tx, &configs, vec![body], false, &held).await?,
            });
        }
        Ok(enqueued)
    }

    /// Marks services whose webhooks no longer receive the creation of a reservation that was held for them: a webhook was
    /// deleted, or its settings exclude the reservation.
    async fn abandon_services(
        &self,
        tx: &DatabaseTransaction,
        reservation: &Reservation,
        webhooks: &[WebhookId],
    ) -> Result<()> {
        let services = reservation.provisioning.services.iter();
        let services = services.filter(|service| webhooks.contains(&service.webhook_id));
        let updates: Vec<_> = services
            .map(|service| ProvisioningUpdate {
                reservation_id: reservation.id.as_str(),
                webhook: DrivingWebhook { id: service.webhook_id, name: &service.webhook_name },
                event: EventType::ReservationCreated,
                effect: DeliveryEffect::Cancellation(NO_RECIPIENT),
            })
            .collect();
        if !updates.is_empty() {
            provisioning::apply(&self.context.db, tx, updates, self.context.now()).await?;
        }
        Ok(())
    }

    /// Schedules the opt-in events of reservations that are older than the webhook that receives them.
    pub(super) async fn schedule_opt_in_events(&self, configs: &Configs) -> Result<()> {
        let now = self.context.now().timestamp_millis();
        for event in OPT_IN {
            let types: HashSet<Option<&str>> = configs.types_with(event).collect();
            for resource_type in types {
                schedule_missing(&self.context.db, event, resource_type, now).await?;
            }
        }
        Ok(())
    }
}
