//! The reason why an open delivery is not being sent.

use super::Deliveries;
use super::log::LogRow;
use crate::Result;
use crate::db::codec::time;
use crate::db::entity::{deliveries, outbox, webhooks};
use crate::db::listeners::listeners_of;
use crate::outbox::ExhaustedLimit;
use domain::delivery::{DeliveryStatus, DeliveryWait, WaitReason};
use domain::id::DeliveryId;
use domain::webhook::{DeliveryMode, WebhookState};
use sea_orm::{EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

impl Deliveries {
    /// The reason why a delivery waits; `None` unless it is pending or retrying. Settings and the queue are those of the
    /// database; circuit breaker and rate limit are those of this process.
    pub(super) async fn wait_of(&self, row: &LogRow) -> Result<Option<DeliveryWait>> {
        if !matches!(row.current_status(), DeliveryStatus::Pending | DeliveryStatus::Retrying) {
            return Ok(None);
        }
        let db = &self.context.db.read;
        let queued = outbox::Entity::find_by_id(row.seq).one(db).await?;
        let webhook = webhooks::Entity::find_by_id(row.webhook_id).one(db).await?;
        // The delivery ended in the meantime.
        let Some((queued, webhook)) = queued.zip(webhook) else { return Ok(None) };
        match webhook.state.0 {
            WebhookState::Paused => return Ok(Some(DeliveryWait::new(WaitReason::Paused))),
            WebhookState::Gone => return Ok(Some(DeliveryWait::new(WaitReason::Disabled))),
            WebhookState::Enabled => {}
        }
        if let Some(id) = self.earlier_delivery(&queued).await? {
            return Ok(Some(DeliveryWait { behind: Some(id), ..DeliveryWait::new(WaitReason::EarlierEvent) }));
        }
        let due_at = time(queued.due_at);
        if due_at > self.context.now() {
            return Ok(Some(DeliveryWait { until: Some(due_at), ..DeliveryWait::new(WaitReason::ScheduledRetry) }));
        }
        if webhook.delivery_mode.0 == DeliveryMode::Local {
            let db = &self.context.db.read;
            let listeners = listeners_of(db, [webhook.id], self.context.now()).await?;
            let is_connected = listeners.get(&webhook.id).is_some_and(|listener| listener.connected);
            let reason = if is_connected { WaitReason::Queued } else { WaitReason::NoListener };
            return Ok(Some(DeliveryWait::new(reason)));
        }
        Ok(Some(self.exhausted_limit(&webhook).await?))
    }

    /// The delivery of the earliest event that must end before this one.
    async fn earlier_delivery(&self, queued: &outbox::Model) -> Result<Option<DeliveryId>> {
        let id: Option<String> = outbox::Entity::find()
            .inner_join(deliveries::Entity)
            .select_only()
            .column(deliveries::Column::Id)
            .filter(outbox::COLUMN.webhook_id.eq(queued.webhook_id))
            .filter(outbox::COLUMN.ordering_key.eq(queued.ordering_key.as_str()))
            .filter(outbox::COLUMN.seq.lt(queued.seq))
            .order_by_asc(outbox::COLUMN.seq)
            .into_tuple()
            .one(&self.context.db.read)
            .await?;
        Ok(id.map(DeliveryId))
    }

    /// The limit for which a due delivery waits.
    async fn exhausted_limit(&self, webhook: &webhooks::Model) -> Result<DeliveryWait> {
        let max_in_flight = webhook.max_in_flight.unsigned_abs();
        let rate_limit = webhook.rate_limit.map(i32::unsigned_abs);
        let exhausted = self.limits.exhausted(webhook.id, max_in_flight, rate_limit, self.context.now());
        let concurrency =
            || DeliveryWait { limit: Some(max_in_flight), ..DeliveryWait::new(WaitReason::ConcurrencyLimit) };
        match exhausted {
            Some(ExhaustedLimit::Circuit) => return Ok(DeliveryWait::new(WaitReason::CircuitOpen)),
            Some(ExhaustedLimit::Concurrency) => return Ok(concurrency()),
            Some(ExhaustedLimit::Rate) => {
                return Ok(DeliveryWait { limit: rate_limit, ..DeliveryWait::new(WaitReason::RateLimit) });
            }
            None => {}
        }
        // Another process may send the requests.
        let leased = outbox::Entity::find()
            .filter(outbox::COLUMN.webhook_id.eq(webhook.id))
            .filter(outbox::COLUMN.lease_owner.is_not_null())
            .count(&self.context.db.read)
            .await?;
        Ok(if leased >= u64::from(max_in_flight) { concurrency() } else { DeliveryWait::new(WaitReason::Queued) })
    }
}
