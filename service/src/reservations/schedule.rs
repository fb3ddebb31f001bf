//! Events of reservations that are due at a later time: `reservation.created` for webhooks with `provision: start`,
//! `reservation.started` and `reservation.ending` (docs/contract.md §10, ADR 0024).
//!
//! A row of `scheduled_events` with a due time is an event that is not published yet. It is written in the transaction of the
//! change that it belongs to, and published from the state of the reservation at that time, in the transaction that
//! takes it. So an event is published once, after every change before it, and not after a cancellation. The rows of published
//! starts and endings stay without a due time until the reservation ends, so that a clock that is set back repeats none.

use crate::Result;
use crate::db::bulk::MAX_ROWS;
use crate::db::column::Text;
use crate::db::entity::{deliveries, reservations, resource_types, scheduled_events, webhooks};
use crate::db::link::DatabaseTransaction;
use crate::outbox::{Configs, Held, WebhookConfig};
use chrono::{DateTime, Duration, Utc};
use domain::delivery::DeliveryStatus;
use domain::event::EventType;
use domain::id::{ReservationId, WebhookId};
use domain::reservation::Reservation;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Query, SelectStatement};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use std::collections::{BTreeSet, HashMap, HashSet};

/// The opt-in events, in the order in which they are published at the same time.
pub(super) const OPT_IN: [EventType; 2] = [EventType::ReservationStarted, EventType::ReservationEnding];
/// Webhook of events for each webhook that receives them.
const EVERY_WEBHOOK: WebhookId = 0;

/// The settings of a resource type about the times around a reservation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notices {
    /// Time before the start at which held events are published.
    lead: Duration,
    /// Time before the end at which the ending is published.
    ending: Duration,
    /// Time after a release in which the resource is not provisioned again.
    pub(super) turnaround: Duration,
    /// Time after the end when a release is late.
    pub(super) late_release: Duration,
}

impl Notices {
    /// When an event of a reservation is due.
    pub(super) fn due(self, event: EventType, reservation: &Reservation) -> DateTime<Utc> {
        match event {
            EventType::ReservationCreated => reservation.start_time - self.lead,
            EventType::ReservationEnding => Ord::max(reservation.end_time - self.ending, reservation.start_time),
            _ => reservation.start_time,
        }
    }
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
            blocked: Set(false),
            alerted: Set(false),
        });
    }

    fn hold(&mut self, configs: &Configs, reservation: &Reservation, webhook_id: WebhookId, due: DateTime<Utc>) {
        self.add(reservation, EventType::ReservationCreated, webhook_id, Some(due));
        self.held.insert((webhook_id, reservation.id.0.clone()));
        if !drives(configs, webhook_id) {
            return;
        }
        let begins = self.begins.entry(reservation.id.0.clone()).or_insert(due);
        *begins = Ord::min(due, *begins);
    }

    /// When the provisioning of each reservation begins of which the creation is held for a driving webhook.
    pub(super) fn take_begins(&mut self) -> HashMap<String, DateTime<Utc>> {
        std::mem::take(&mut self.begins)
    }

    /// When the provisioning of a reservation begins, while its creation is held for a driving webhook.
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

/// Whether a webhook drives provisioning. Its service waits for the hand-over of the resource.
pub(super) fn drives(configs: &Configs, webhook: WebhookId) -> bool {
    configs.get(webhook).is_some_and(|config| config.provisions)
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
    let reservations: Vec<&Reservation> = reservations.collect();
    let notices = read_notices(tx, &types).await?;
    for reservation in reservations {
        let Some(notices) = notices.get(&reservation.resource_type) else { continue };
        let due = notices.due(EventType::ReservationCreated, reservation);
        for webhook in configs.holding(reservation) {
            if due > now || drives(configs, webhook) {
                schedule.hold(configs, reservation, webhook, due);
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
pub(super) async fn read_notices(tx: &DatabaseTransaction, types: &BTreeSet<&str>) -> Result<HashMap<String, Notices>> {
    let rows: Vec<(String, i32, i32, i32, i32)> = resource_types::Entity::find()
        .select_only()
        .columns([
            resource_types::Column::Slug,
            resource_types::Column::LeadMinutes,
            resource_types::Column::EndingNoticeMinutes,
            resource_types::Column::TurnaroundMinutes,
            resource_types::Column::LateReleaseMinutes,
        ])
        .filter(resource_types::COLUMN.slug.is_in(types.iter().copied()))
        .order_by_asc(resource_types::Column::Slug)
        .lock_shared()
        .into_tuple()
        .all(tx)
        .await?;
    let minutes = |minutes: i32| Duration::minutes(minutes.into());
    let notices = |(slug, lead, ending, turnaround, late_release)| {
        let notices = Notices {
            lead: minutes(lead),
            ending: minutes(ending),
            turnaround: minutes(turnaround),
            late_release: minutes(late_release),
        };
        (slug, notices)
    };
    Ok(rows.into_iter().map(notices).collect())
}

/// Whether a row has this event.
pub(super) fn is_event(row: &scheduled_events::Model, event: EventType) -> bool {
    row.event_type == event.as_str()
}

/// The rows of a reservation.
pub(super) fn of(id: &ReservationId) -> Expr {
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
        schedule.hold(configs, next, row.webhook_id, due);
        if let Some(held) = schedule.rows.last_mut() {
            held.alerted = Set(row.alerted);
        }
    }
    for webhook in added {
        if (due > now || drives(configs, webhook))
            && !schedule.held.contains(&(webhook, next.id.0.clone()))
            && !knows(tx, webhook, &next.id).await?
        {
            schedule.hold(configs, next, webhook, due);
        }
    }
    for event in OPT_IN {
        let row = rows.iter().find(|row| is_event(row, event));
        let due = notices.due(event, next);
        match row {
            // It was published, and is published again if its time is moved into the future, or the end to a later time: a short
            // extension is announced at once.
            Some(row) if row.due_at.is_none() => {
                let is_moved = due > now && due != notices.due(event, current);
                let is_extended = event == EventType::ReservationEnding && next.end_time > current.end_time;
                schedule.add(next, event, EVERY_WEBHOOK, (is_moved || is_extended).then_some(due));
            }
            Some(_) => schedule.add(next, event, EVERY_WEBHOOK, Some(due)),
            None if receives(&event) && due > now => schedule.add(next, event, EVERY_WEBHOOK, Some(due)),
            None => {}
        }
    }
    scheduled_events::Entity::delete_many().filter(of(&next.id)).exec(tx).await?;
    Ok(schedule)
}

/// Whether a webhook has received an event of a reservation, or will: cancelled deliveries do not count. Those that the retention
/// has deleted do not either, but a reservation that has not begun is rarely older than the retention.
async fn knows(tx: &DatabaseTransaction, webhook: WebhookId, id: &ReservationId) -> Result<bool> {
    let earlier: Option<i64> = deliveries::Entity::find()
        .select_only()
        .column(deliveries::Column::WebhookId)
        .filter(deliveries::COLUMN.reservation_id.eq(id.as_str()))
        .filter(deliveries::COLUMN.webhook_id.eq(webhook))
        .filter(deliveries::COLUMN.test.eq(false))
        .filter(deliveries::COLUMN.status.ne(Text(DeliveryStatus::Cancelled)))
        .limit(1)
        .into_tuple()
        .one(tx)
        .await?;
    Ok(earlier.is_some())
}

/// Holds the creation of a reservation for a webhook that does not know it, until the lead time before its start and, if it drives
/// provisioning, the hand-over of the resource. Returns false if it can be sent at `now`.
pub(super) async fn hold_missing(
    tx: &DatabaseTransaction,
    reservation: &Reservation,
    webhook: &WebhookConfig,
    now: DateTime<Utc>,
) -> Result<bool> {
    let types = BTreeSet::from([reservation.resource_type.as_str()]);
    let notices = read_notices(tx, &types).await?.remove(&reservation.resource_type);
    let due = notices.map(|notices| notices.due(EventType::ReservationCreated, reservation));
    let Some(due) = due.filter(|due| *due > now || webhook.provisions) else { return Ok(false) };
    let mut schedule = Schedule::default();
    schedule.add(reservation, EventType::ReservationCreated, webhook.id, Some(due));
    schedule.insert(tx).await?;
    Ok(true)
}

/// Deletes the scheduled events of a reservation that ends. Returns the webhooks that do not know it, which receive nothing.
pub(super) async fn drop_all(tx: &DatabaseTransaction, id: &ReservationId) -> Result<Held> {
    let webhooks: Vec<(WebhookId, String)> = scheduled_events::Entity::find()
        .select_only()
        .columns([scheduled_events::Column::WebhookId, scheduled_events::Column::EventType])
        .filter(of(id))
        // In the order in which a change of the notices locks them.
        .order_by_asc(scheduled_events::Column::EventType)
        .lock_exclusive()
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

/// The due time of the earliest creation that is held for a driving webhook and does not wait for the release of the resource, of
/// the reservation in the outer query.
pub(super) fn begins_at() -> Expr {
    let earliest = Query::select()
        .expr(Expr::col((scheduled_events::Entity, scheduled_events::Column::DueAt)).min())
        .from(scheduled_events::Entity)
        .inner_join(
            webhooks::Entity,
            Expr::col((webhooks::Entity, webhooks::Column::Id))
                .equals((scheduled_events::Entity, scheduled_events::Column::WebhookId)),
        )
        .and_where(
            Expr::col((scheduled_events::Entity, scheduled_events::Column::ReservationId))
                .equals((reservations::Entity, reservations::Column::Id)),
        )
        .and_where(scheduled_events::COLUMN.event_type.eq(EventType::ReservationCreated.as_str()))
        .and_where(scheduled_events::COLUMN.blocked.eq(false))
        .and_where(webhooks::COLUMN.provisions.eq(true))
        .and_where(webhooks::COLUMN.deleted_at.is_null())
        .take();
    earliest.into()
}

/// The held creation of the reservation of the outer query for a webhook, as a subquery.
pub(super) fn held_for(webhook: WebhookId) -> SelectStatement {
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
