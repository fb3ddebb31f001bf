//! Events that a webhook has never received: the creation of reservations that are still active.

use super::Reservations;
use super::event::{event_body, for_outbox};
use super::row::{ReservationRow, select};
use super::schedule::{held_for, hold_missing};
use crate::Result;
use crate::db::column::Text;
use crate::db::entity::{deliveries, reservations, resources, webhooks};
use crate::db::link::DatabaseTransaction;
use crate::outbox::WebhookConfig;
use domain::Problem;
use domain::authorization::{Action, Actor, authorize};
use domain::delivery::{DeliveryFilter, DeliveryStatus, ReplayResult, ReplaySkipped, ReplayWebhook};
use domain::event::EventType;
use domain::id::{ReservationId, WebhookId};
use domain::replay::MAX_REPLAYED;
use domain::reservation::{Reservation, ReservationStatus};
use domain::webhook::{FilterSubject, WebhookState};
use sea_orm::sea_query::{Expr, ExprTrait as _, Query, SelectStatement};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};
use std::sync::Arc;

/// Reservations that are read at once.
const BATCH: u64 = 500;

/// The reservations whose creation a webhook has not received.
pub(crate) struct MissingEvents {
    /// Their ids, oldest first.
    pub(crate) reservations: Vec<String>,
    webhook: ReplayWebhook,
}

impl MissingEvents {
    /// Their number, and those that are not sent.
    pub(crate) fn counts(&self) -> ReplayResult {
        let webhook = self.webhook.clone();
        ReplayResult { matched: webhook.matched, redelivered: 0, skipped: webhook.skipped, webhooks: vec![webhook] }
    }
}

impl Reservations {
    /// The active reservations of a period of which a webhook has no delivery of their creation or a change. Cancelled
    /// deliveries and tests do not count. The filter has the webhook, and the times between which they were created.
    ///
    /// # Errors
    /// 403 unless the actor may change the webhook; 404; 409 for a webhook that receives no creations.
    pub(crate) async fn missing_events(&self, actor: &Actor, filter: &DeliveryFilter) -> Result<MissingEvents> {
        let id = filter.webhook_id.unwrap_or_default();
        let db = &self.context.db.read;
        let row = webhooks::Entity::find_by_id(id).filter(webhooks::COLUMN.deleted_at.is_null()).one(db).await?;
        let row = row.ok_or_else(|| Problem::not_found("webhook"))?;
        authorize(actor, Action::ReadWebhook { resource_type: row.resource_type.as_deref() })
            .map_err(|_| Problem::not_found("webhook"))?;
        authorize(actor, Action::WriteWebhook { resource_type: row.resource_type.as_deref() })?;
        let configs = self.outbox.configs().load(db).await?;
        let config = configs.get(id).ok_or_else(|| Problem::not_found("webhook"))?;
        if !config.events.contains(&EventType::ReservationCreated) {
            let message = "This webhook does not receive reservation.created. Select the event in its settings first.";
            return Err(Problem::conflict(message).into());
        }
        let wanted = self.active_of(config, filter);
        let sent = reservations::Entity::find()
            .inner_join(resources::Entity)
            .filter(wanted.clone())
            .filter(Expr::exists(delivery_to(id)))
            .count(db)
            .await?;
        let (mut missing, mut filtered) = (Vec::new(), 0);
        let mut after = String::new();
        // One more than a replay can have shows that it has too many.
        while missing.len() as u64 <= MAX_REPLAYED {
            let rows: Vec<ReservationRow> = select()
                .filter(wanted.clone())
                .filter(Expr::not_exists(delivery_to(id)))
                .filter(reservations::COLUMN.id.gt(after.as_str()))
                .order_by_asc(reservations::Column::Id)
                .limit(BATCH)
                .into_partial_model()
                .all(db)
                .await?;
            let Some(last) = rows.len().checked_sub(1) else { break };
            for (n, reservation) in rows.into_iter().map(Reservation::from).enumerate() {
                if n == last {
                    after.clone_from(&reservation.id.0);
                }
                if receives(config, &reservation) {
                    missing.push(reservation.id.0);
                } else {
                    filtered += 1;
                }
            }
        }
        let webhook = ReplayWebhook {
            webhook_id: id,
            webhook_name: row.name,
            paused: row.state.0 == WebhookState::Paused,
            matched: missing.len() as u64,
            superseded: 0,
            skipped: ReplaySkipped { filtered, already_sent: sent, ..ReplaySkipped::default() },
        };
        Ok(MissingEvents { reservations: missing, webhook })
    }

    /// Enqueues `reservation.created` of reservations for one webhook, except of those that have ended, or that it has received
    /// meanwhile; none if it was deleted. A webhook that provisions at the start receives those of later reservations at their
    /// lead time. Returns those of which it did.
    pub(crate) async fn send_missing<'a>(
        &self,
        tx: &DatabaseTransaction,
        ids: impl Iterator<Item = &'a str>,
        webhook: WebhookId,
    ) -> Result<Vec<&'a str>> {
        let configs = self.outbox.configs().load(tx).await?;
        let Some(config) = configs.get(webhook) else { return Ok(Vec::new()) };
        let mut sent = Vec::new();
        for id in ids {
            if self.send_missing_one(tx, &id.into(), config).await? {
                sent.push(id);
            }
        }
        Ok(sent)
    }

    async fn send_missing_one(
        &self,
        tx: &DatabaseTransaction,
        id: &ReservationId,
        config: &Arc<WebhookConfig>,
    ) -> Result<bool> {
        let now = self.context.now();
        let reservation = match self.lock_reservation(tx, None, id).await {
            Ok(reservation) => reservation,
            // It was erased with its account.
            Err(crate::Error::Problem(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let is_active = reservation.status.at(reservation.end_time, now) == ReservationStatus::Active;
        if !is_active || !receives(config, &reservation) {
            return Ok(false);
        }
        let is_sent = reservations::Entity::find_by_id(id.as_str()).filter(Expr::exists(delivery_to(config.id)));
        let is_held = reservations::Entity::find_by_id(id.as_str()).filter(Expr::exists(held_for(config.id)));
        if is_sent.count(tx).await? > 0 || is_held.count(tx).await? > 0 {
            return Ok(false);
        }
        if config.provisions_at_start() && hold_missing(tx, &reservation, config, now).await? {
            return Ok(true);
        }
        let email = self.owner_email(tx, &reservation.user_id).await?;
        let body = event_body(&self.context, EventType::ReservationCreated, &reservation, &email, now);
        self.outbox.enqueue_for(tx, config, for_outbox(body).1).await?;
        Ok(true)
    }

    /// The active reservations that a webhook would receive without its content filter.
    fn active_of(&self, config: &WebhookConfig, filter: &DeliveryFilter) -> Condition {
        let now = self.context.now().timestamp_millis();
        Condition::all()
            .add(reservations::COLUMN.status.eq(Text(ReservationStatus::Active)))
            .add(reservations::COLUMN.end_at.gt(now))
            .add_option(config.resource_type.as_deref().map(|slug| resources::COLUMN.resource_type.eq(slug)))
            // Its creation is sent at the start.
            .add_option(
                config
                    .payload_format
                    .holds_until_start(EventType::ReservationCreated)
                    .then(|| reservations::COLUMN.start_at.lte(now)),
            )
            // Its creation is sent later.
            .add(Expr::exists(held_for(config.id)).not())
            .add_option(filter.since.map(|since| reservations::COLUMN.created_at.gte(since.timestamp_millis())))
            .add_option(filter.until.map(|until| reservations::COLUMN.created_at.lt(until.timestamp_millis())))
    }
}

/// Whether a webhook receives the creation of a reservation.
fn receives(config: &WebhookConfig, reservation: &Reservation) -> bool {
    let subject = FilterSubject { resource_id: reservation.resource_id, config: Some(&reservation.additional_config) };
    config.serves(&reservation.resource_type) && config.passes(subject)
}

/// The deliveries to a webhook about the reservation of the outer query, from which its service knows it, as a subquery.
fn delivery_to(webhook: WebhookId) -> SelectStatement {
    let known = [EventType::ReservationCreated, EventType::ReservationUpdated].map(EventType::as_str);
    Query::select()
        .expr(Expr::val(1))
        .from(deliveries::Entity)
        .and_where(
            Expr::col((deliveries::Entity, deliveries::Column::ReservationId))
                .equals((reservations::Entity, reservations::Column::Id)),
        )
        .and_where(deliveries::COLUMN.webhook_id.eq(webhook))
        .and_where(deliveries::COLUMN.event_type.is_in(known))
        .and_where(deliveries::COLUMN.test.eq(false))
        .and_where(deliveries::COLUMN.status.ne(Text(DeliveryStatus::Cancelled)))
        .take()
}
