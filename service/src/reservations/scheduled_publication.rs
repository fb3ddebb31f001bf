//! Publication of scheduled events ([`super::schedule`]).

use super::event::{event_body, for_outbox};
use super::row::changes_of;
use super::schedule::{OPT_IN, drop_all, is_event, of};
use super::{Reservations, tolerate};
use crate::Result;
use crate::db::entity::scheduled_events;
use crate::db::link::DatabaseTransaction;
use crate::db::scheduled_events::schedule_missing;
use crate::outbox::{Configs, Enqueued, Held};
use crate::provisioning::{self, DeliveryEffect, ProvisioningUpdate};
use chrono::{DateTime, Utc};
use domain::event::EventType;
use domain::id::{ReservationId, WebhookId};
use domain::provisioning::DrivingWebhook;
use domain::reservation::{Reservation, ReservationStatus};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use std::collections::{BTreeSet, HashSet};
use tracing::instrument;

/// Provisioning message of a service whose webhook does not receive the held creation.
const NO_RECIPIENT: &str = "The webhook of this service no longer receives the reservation.";

/// The place of an event among those of a reservation that are due at the same time.
fn rank(event: EventType) -> usize {
    OPT_IN.iter().position(|other| *other == event).map_or(0, |position| position + 1)
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
            let step = self.publish_scheduled_of(&id, now).await;
            published += u64::from(tolerate(step, &id, "scheduled events of a reservation were not published")?);
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
