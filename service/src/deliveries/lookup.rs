//! The object of a whole id.

use super::Deliveries;
use crate::Result;
use crate::db::entity::{access_requests, audit_log, delivery_index, reservations, resources, webhooks};
use crate::ownership::visibility::{access_requests_of, deliveries_of, reservations_of, webhooks_of};
use domain::Problem;
use domain::authorization::{Action, Actor, authorize};
use domain::delivery::{Lookup, LookupKind};
use domain::id::{AccessRequestId, DeliveryId, EventId, ReservationId};
use sea_orm::{EntityTrait as _, JoinType, QueryFilter as _, QuerySelect as _, RelationTrait as _};

impl Deliveries {
    /// Finds the object of an id: a delivery, event, reservation, access request, webhook, or request to this server.
    ///
    /// # Errors
    /// 404 if there is no such object, also if the actor may not see it; 422 without an id.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn look_up(&self, actor: &Actor, id: &str) -> Result<Lookup> {
        authorize(actor, Action::ListReservations)?;
        let id = id.trim();
        if id.is_empty() || id.len() > 100 || id.chars().any(char::is_control) {
            return Err(Problem::field("id", "Enter a whole id, e.g. dlv_… or rsv-….").into());
        }
        let lower = id.to_lowercase();
        let reads_log = authorize(actor, Action::ReadOwned).is_ok();
        let found = if lower.starts_with(DeliveryId::PREFIX) && reads_log {
            self.delivery_exists(actor, &lower).await?.then(|| (LookupKind::Delivery, format!("/deliveries/{lower}")))
        } else if lower.starts_with(EventId::PREFIX) && reads_log {
            self.event_exists(actor, &lower).await?.then(|| (LookupKind::Event, format!("/deliveries?q=id:{lower}")))
        } else if lower.starts_with(ReservationId::PREFIX) {
            let exists = self.reservation_exists(actor, &lower).await?;
            exists.then(|| (LookupKind::Reservation, format!("/reservations/{lower}")))
        } else if lower.starts_with(AccessRequestId::PREFIX) {
            let exists = self.request_exists(actor, &lower).await?;
            exists.then(|| (LookupKind::AccessRequest, "/access-requests".to_owned()))
        } else if let Ok(number) = lower.parse::<i64>() {
            let exists = reads_log && self.webhook_exists(actor, number).await?;
            exists.then(|| (LookupKind::Webhook, format!("/settings/webhooks/{number}")))
        } else {
            // Ids of requests keep their case.
            let exists = authorize(actor, Action::ReadAuditLog).is_ok() && self.was_requested(id).await?;
            return exists
                .then(|| Lookup { kind: LookupKind::Request, id: id.to_owned(), link: "/settings/audit".into() })
                .ok_or_else(|| Problem::not_found("object").into());
        };
        let (kind, link) = found.ok_or_else(|| Problem::not_found("object"))?;
        Ok(Lookup { kind, id: lower, link })
    }

    async fn delivery_exists(&self, actor: &Actor, id: &str) -> Result<bool> {
        Ok(self.find(actor, &DeliveryId(id.to_owned())).await?.is_some())
    }

    /// Whether an event has a delivery that the actor may read. Only the index of searches has events by id.
    async fn event_exists(&self, actor: &Actor, id: &str) -> Result<bool> {
        let rows = delivery_index::Entity::find()
            .select_only()
            .column(delivery_index::Column::Seq)
            .join(JoinType::InnerJoin, delivery_index::Relation::Deliveries.def())
            .join(JoinType::InnerJoin, delivery_index::Relation::Webhooks.def())
            .filter(delivery_index::COLUMN.event_id.eq(id))
            .filter(deliveries_of(actor))
            .limit(1);
        Ok(rows.into_tuple::<i64>().one(&self.context.db.read).await?.is_some())
    }

    async fn reservation_exists(&self, actor: &Actor, id: &str) -> Result<bool> {
        let rows = reservations::Entity::find()
            .select_only()
            .column(reservations::Column::Id)
            .inner_join(resources::Entity)
            .filter(reservations::COLUMN.id.eq(id))
            .filter(reservations_of(actor));
        Ok(rows.into_tuple::<String>().one(&self.context.db.read).await?.is_some())
    }

    async fn request_exists(&self, actor: &Actor, id: &str) -> Result<bool> {
        let rows = access_requests::Entity::find()
            .select_only()
            .column(access_requests::Column::Id)
            .inner_join(resources::Entity)
            .filter(access_requests::COLUMN.id.eq(id))
            .filter(access_requests_of(actor));
        Ok(rows.into_tuple::<String>().one(&self.context.db.read).await?.is_some())
    }

    async fn webhook_exists(&self, actor: &Actor, id: i64) -> Result<bool> {
        let rows = webhooks::Entity::find()
            .select_only()
            .column(webhooks::Column::Id)
            .filter(webhooks::COLUMN.id.eq(id))
            .filter(webhooks::COLUMN.deleted_at.is_null())
            .filter(webhooks_of(actor));
        Ok(rows.into_tuple::<i64>().one(&self.context.db.read).await?.is_some())
    }

    /// Whether the audit log has an entry of this request.
    async fn was_requested(&self, id: &str) -> Result<bool> {
        let rows = audit_log::Entity::find()
            .select_only()
            .column(audit_log::Column::Seq)
            .filter(audit_log::COLUMN.request_id.eq(id))
            .limit(1);
        Ok(rows.into_tuple::<i64>().one(&self.context.db.read).await?.is_some())
    }
}
