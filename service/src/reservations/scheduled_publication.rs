//! Publication of scheduled events ([`super::schedule`]).

use super::event::{event_body, for_outbox};
use super::hand_over::HeldCreations;
use super::row::changes_of;
use super::schedule::{Notices, OPT_IN, drives, drop_all, is_event, of, read_notices};
use super::{Reservations, tolerate};
use crate::Result;
use crate::db::entity::scheduled_events;
use crate::db::link::DatabaseTransaction;
use crate::db::scheduled_events::{SCHEDULED, schedule_missing};
use crate::outbox::{Configs, Enqueued, Held};
use crate::provisioning::{self, DeliveryEffect, ProvisioningUpdate};
use chrono::{DateTime, Utc};
use domain::change::{Change, Notification};
use domain::event::EventType;
use domain::id::{ReservationId, WebhookId};
use domain::provisioning::DrivingWebhook;
use domain::reservation::{Reservation, ReservationStatus};
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use std::collections::{BTreeSet, HashSet};
use tracing::instrument;

/// Provisioning message of a service whose webhook does not receive the held creation.
const NO_RECIPIENT: &str = "The webhook of this service no longer receives the reservation.";

/// A scheduled event of a reservation that is due.
struct Due {
    at: DateTime<Utc>,
    /// Its place among those that are due at the same time.
    rank: usize,
    event: EventType,
    webhook: WebhookId,
    /// Whether the managers of the resource know that it waits.
    alerted: bool,
}

/// Locks the scheduled events of a reservation that is locked by the transaction, and reads those that are due at `now`, in the
/// order of their publication, with the settings of the resource type; `None` if nothing is scheduled. Due times follow from the
/// reservation: a row with another one was written by a process that did not know the latest change, or waits for the hand-over of
/// the resource.
async fn read_due(
    tx: &DatabaseTransaction,
    reservation: &Reservation,
    now: DateTime<Utc>,
) -> Result<Option<(Notices, Vec<Due>)>> {
    let scheduled = || {
        scheduled_events::Entity::find()
            .filter(of(&reservation.id))
            .filter(scheduled_events::COLUMN.due_at.is_not_null())
            .filter(scheduled_events::COLUMN.event_type.is_in(SCHEDULED.map(EventType::as_str)))
    };
    let first = scheduled().select_only().column(scheduled_events::Column::WebhookId).into_tuple::<i64>().one(tx);
    if first.await?.is_none() {
        return Ok(None);
    }
    // The resource type is locked before the rows, as a change of its notices does.
    let slug = reservation.resource_type.as_str();
    let Some(notices) = read_notices(tx, &BTreeSet::from([slug])).await?.remove(slug) else { return Ok(None) };
    let rows = scheduled()
        .order_by_asc(scheduled_events::Column::EventType)
        .order_by_asc(scheduled_events::Column::WebhookId)
        .lock_exclusive()
        .all(tx)
        .await?;
    let mut due = Vec::new();
    for row in rows {
        let known = SCHEDULED.into_iter().enumerate().find(|(_, event)| is_event(&row, *event));
        let Some((rank, event)) = known else { continue };
        let at = notices.due(event, reservation);
        if at <= now {
            due.push(Due { at, rank, event, webhook: row.webhook_id, alerted: row.alerted });
        } else if row.due_at != Some(at.timestamp_millis()) {
            set_due(tx, row_of(&reservation.id, event, row.webhook_id), Some(at)).await?;
        }
    }
    due.sort_unstable_by_key(|due| (due.at, due.rank, due.webhook));
    Ok(Some((notices, due)))
}

/// Takes events that are published: each only once.
async fn take(tx: &DatabaseTransaction, id: &ReservationId, due: &[Due]) -> Result<()> {
    for Due { event, webhook, .. } in due {
        let taken = row_of(id, *event, *webhook);
        match event {
            EventType::ReservationCreated => {
                scheduled_events::Entity::delete_many().filter(taken).exec(tx).await?;
            }
            _ => set_due(tx, taken, None).await?,
        }
    }
    Ok(())
}

fn row_of(id: &ReservationId, event: EventType, webhook: WebhookId) -> Expr {
    of(id)
        .and(scheduled_events::COLUMN.event_type.eq(event.as_str()))
        .and(scheduled_events::COLUMN.webhook_id.eq(webhook))
}

/// The starts and endings of a reservation that were published before.
async fn published(tx: &DatabaseTransaction, id: &ReservationId) -> Result<Vec<EventType>> {
    let names: Vec<String> = scheduled_events::Entity::find()
        .select_only()
        .column(scheduled_events::Column::EventType)
        .filter(of(id))
        .filter(scheduled_events::COLUMN.due_at.is_null())
        .into_tuple()
        .all(tx)
        .await?;
    Ok(OPT_IN.into_iter().filter(|event| names.iter().any(|name| name == event.as_str())).collect())
}

async fn set_due(tx: &DatabaseTransaction, rows: Expr, due: Option<DateTime<Utc>>) -> Result<()> {
    scheduled_events::Entity::update_many()
        .col_expr(scheduled_events::Column::DueAt, Expr::value(due.map(|due| due.timestamp_millis())))
        .filter(rows)
        .exec(tx)
        .await?;
    Ok(())
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

/// What the publication of due events has led to.
#[derive(Default)]
pub(super) struct Publication {
    /// The deliveries, to publish after the commit.
    pub(super) enqueued: Vec<Enqueued>,
    /// Notifications to announce after the commit.
    pub(super) notifications: Vec<Notification>,
    /// Whether a creation waits for the hand-over of the resource.
    is_deferred: bool,
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
        let mut due: Vec<String> = scheduled_events::Entity::find()
            .select_only()
            .column(scheduled_events::Column::ReservationId)
            .filter(scheduled_events::COLUMN.due_at.lte(now.timestamp_millis()))
            .filter(scheduled_events::COLUMN.event_type.is_in(SCHEDULED.map(EventType::as_str)))
            .order_by_asc(scheduled_events::Column::DueAt)
            .limit(limit)
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        let mut seen = HashSet::new();
        due.retain(|id| seen.insert(id.clone()));
        let mut published = 0;
        for id in due.into_iter().map(ReservationId) {
            let step = self.publish_scheduled_of(&id, now).await;
            published += u64::from(tolerate(step, &id, "scheduled events of a reservation were not published")?);
        }
        Ok(published)
    }

    /// Publishes the due events of one reservation. Returns false if another replica did, or they were moved.
    pub(super) async fn publish_scheduled_of(&self, id: &ReservationId, now: DateTime<Utc>) -> Result<bool> {
        let tx = self.context.db.begin_unaudited().await?;
        let reservation = self.lock_reservation(&tx, None, id).await?;
        if reservation.status != ReservationStatus::Active {
            // A process of the previous release has ended it.
            drop_all(&tx, id).await?;
            tx.commit().await?;
            return Ok(false);
        }
        let Publication { enqueued, notifications, is_deferred } =
            self.enqueue_scheduled(&tx, &reservation, now).await?;
        let published = !enqueued.is_empty();
        let mut changes = match published || is_deferred {
            true => changes_of(&self.context, &self.feed, &tx, std::slice::from_ref(&id.0)).await?,
            false => Vec::new(),
        };
        changes.extend(notifications.into_iter().map(Change::Notification));
        // Also without an event: due times may have been corrected.
        tx.commit().await?;
        if enqueued.is_empty() {
            self.feed.publish(std::mem::take(&mut changes));
        }
        for enqueued in enqueued {
            self.outbox.publish(enqueued, std::mem::take(&mut changes));
        }
        Ok(published)
    }

    /// Takes the due events of a reservation that is locked by the transaction, and enqueues them in the order of their due
    /// times. Those of services that wait for the hand-over of the resource stay. Publish them after the commit.
    pub(super) async fn enqueue_scheduled(
        &self,
        tx: &DatabaseTransaction,
        reservation: &Reservation,
        now: DateTime<Utc>,
    ) -> Result<Publication> {
        let mut publication = Publication::default();
        let Some((notices, mut due)) = read_due(tx, reservation, now).await? else { return Ok(publication) };
        if due.is_empty() {
            return Ok(publication);
        }
        let configs = self.outbox.configs().load(tx).await?;
        let waits = |due: &Due| due.event == EventType::ReservationCreated && drives(&configs, due.webhook);
        let driving: Vec<WebhookId> = due.iter().filter(|due| waits(due)).map(|due| due.webhook).collect();
        if !driving.is_empty() {
            let held = HeldCreations { webhooks: &driving, alerted: due.iter().any(|due| due.alerted), notices };
            let (is_open, notifications) = self.hand_over(tx, reservation, &held, now).await?;
            if !is_open {
                due.retain(|due| !waits(due));
                publication.is_deferred = true;
            }
            publication.notifications = notifications;
        }
        let published_before = published(tx, &reservation.id).await?;
        take(tx, &reservation.id, &due).await?;
        let held = held(tx, &reservation.id).await?;
        let email = self.owner_email(tx, &reservation.user_id).await?;
        let creations = due.iter().filter(|due| due.event == EventType::ReservationCreated);
        let webhooks: BTreeSet<WebhookId> = creations.map(|due| due.webhook).collect();
        let mut events: Vec<EventType> = due.into_iter().map(|due| due.event).collect();
        events.dedup();
        for event in events {
            let body = || for_outbox(event_body(&self.context, event, reservation, &email, now));
            if event != EventType::ReservationCreated {
                let enqueued = self.outbox.enqueue(tx, &configs, vec![body()], false, &held).await?;
                publication.enqueued.push(enqueued);
                continue;
            }
            let enqueued = self.outbox.enqueue_held(tx, &configs, body(), &webhooks).await?;
            // A webhook that has changed to a format with its own start receives that one.
            let has_own_start = |webhook: WebhookId| {
                configs.get(webhook).is_some_and(|config| config.receives_start(&reservation.resource_type))
            };
            let abandoned = |webhook: &WebhookId| !enqueued.is_for(*webhook) && !has_own_start(*webhook);
            let abandoned: Vec<_> = webhooks.iter().copied().filter(abandoned).collect();
            self.abandon_services(tx, reservation, &abandoned).await?;
            publication.enqueued.push(enqueued);
            // What the other webhooks received while this creation waited.
            for event in &published_before {
                let body = for_outbox(event_body(&self.context, *event, reservation, &email, now));
                publication.enqueued.push(self.outbox.enqueue_held(tx, &configs, body, &webhooks).await?);
            }
        }
        Ok(publication)
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

    /// Schedules the opt-in events of reservations that are older than the webhook that receives them, unless they were due at
    /// `since`.
    pub(super) async fn schedule_opt_in_events(&self, configs: &Configs, since: DateTime<Utc>) -> Result<()> {
        for event in OPT_IN {
            let types: HashSet<Option<&str>> = configs.types_with(event).collect();
            for resource_type in types {
                schedule_missing(&self.context.db, event, resource_type, since.timestamp_millis()).await?;
            }
        }
        Ok(())
    }
}
