//! Replay: redelivery of all deliveries that match a filter.

use super::Deliveries;
use super::log::{conditions, deliveries_with_queue};
use super::redelivery::Repeat;
use crate::Result;
use crate::audit_trail::{Record, Target};
use crate::db::entity::{deliveries, webhooks};
use crate::wake::WebhookSet;
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::delivery::{DeliveryStatus, ReplayInput, ReplayResult, ReplaySkipped};
use domain::id::DeliveryId;
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Query, SelectStatement};
use sea_orm::{QueryFilter as _, QueryOrder as _, QuerySelect as _, Select};

/// Maximum number of deliveries of one replay.
const MAX_REPLAYED: u64 = 10_000;

impl Deliveries {
    /// Redelivers all deliveries that match, oldest first, at most 10,000. Without a status in the filter, these are
    /// the failed ones. A delivery that was redelivered before is skipped, so that a repeated replay sends nothing
    /// twice. Test events and deliveries of deleted webhooks are skipped too; the result contains their numbers.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, 422 for the status of an open delivery.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn replay(&self, actor: &Actor, input: &ReplayInput) -> Result<ReplayResult> {
        authorize(actor, Action::WriteWebhooks)?;
        let mut filter = input.filter.clone();
        if !filter.status.get_or_insert(DeliveryStatus::Failed).is_final() {
            let message =
                "Only succeeded, failed or cancelled deliveries can be replayed. Choose one of these statuses.";
            return Err(Problem::field("filter.status", message).into());
        }
        let all = deliveries_with_queue().filter(conditions(&filter)).select_only();
        let (of_deleted, of_others) =
            (webhooks::COLUMN.deleted_at.is_not_null(), webhooks::COLUMN.deleted_at.is_null());
        let real = of_others.clone().and(deliveries::COLUMN.test.eq(false));
        let matching = all.clone().filter(real.clone()).filter(Expr::not_exists(redelivery()));
        let skipped = ReplaySkipped {
            webhook_deleted: self.count(all.clone().filter(of_deleted)).await?,
            test: self.count(all.clone().filter(of_others.and(deliveries::COLUMN.test.eq(true)))).await?,
            redelivered: self.count(all.filter(real).filter(Expr::exists(redelivery()))).await?,
        };
        let matched = self.count(matching.clone()).await?;
        if input.dry_run || matched == 0 {
            return Ok(ReplayResult { matched, redelivered: 0, skipped });
        }
        let db = &self.context.db.read;
        let originals = matching.column(deliveries::COLUMN.id.0).order_by_asc(deliveries::COLUMN.seq);
        let originals: Vec<String> = originals.limit(MAX_REPLAYED).into_tuple().all(db).await?;
        let repeats: Vec<Repeat> = originals
            .into_iter()
            .map(|of| Repeat { of: DeliveryId(of), id: DeliveryId::from_ulid(self.context.new_ulid()) })
            .collect();
        let target = match filter.webhook_id {
            Some(id) => Target::new(AuditTargetType::Webhook, id),
            None => Target::new(AuditTargetType::Delivery, ""),
        };
        let changes = Changes::none().field("filter", (), &filter).field("redelivered", (), repeats.len());
        let record = Record::new(actor, AuditAction::DeliveryReplayed, target).changes(changes);
        let redelivered = self.insert_repeats(&repeats, record).await?;
        self.feed.wake_dispatchers(WebhookSet::All);
        Ok(ReplayResult { matched, redelivered, skipped })
    }

    async fn count(&self, deliveries: Select<deliveries::Entity>) -> Result<u64> {
        let count = deliveries.column_as(deliveries::COLUMN.seq.count(), "n").into_tuple::<i64>();
        Ok(count.one(&self.context.db.read).await?.unwrap_or_default().unsigned_abs())
    }
}

/// The redeliveries of a delivery, as a subquery.
fn redelivery() -> SelectStatement {
    let repeats = Alias::new("repeats");
    Query::select()
        .expr(Expr::val(1))
        .from_as(deliveries::Entity, repeats.clone())
        .and_where(
            Expr::col((repeats, deliveries::Column::RedeliveryOf)).equals((deliveries::Entity, deliveries::Column::Id)),
        )
        .take()
}
