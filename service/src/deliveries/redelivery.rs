//! Redelivery: a new delivery of the same event.

use super::Deliveries;
use crate::audit_trail::{Record, Target};
use crate::db::bulk::MAX_ROWS;
use crate::db::column::Text;
use crate::db::entity::{deliveries, outbox, webhooks};
use crate::db::link::DatabaseTransaction;
use crate::{Error, Result};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::change::Change;
use domain::delivery::{DeliveryStatus, DeliverySummary};
use domain::id::DeliveryId;
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, InsertStatement, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait as _, DbErr};

/// A delivery and the id of its redelivery.
pub(crate) struct Repeat {
    of: DeliveryId,
    id: DeliveryId,
}

impl Repeat {
    /// The id of the redelivery.
    pub(crate) fn id(&self) -> &DeliveryId {
        &self.id
    }
}

impl Deliveries {
    /// Sends the event of a delivery again, as a new delivery.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404, also for a delivery of another owner; 409 while the delivery is open, for a test event, or after its
    /// webhook was deleted.
    #[tracing::instrument(skip_all, fields(delivery = %id), err(level = "debug"))]
    pub async fn redeliver(&self, actor: &Actor, id: &DeliveryId) -> Result<DeliverySummary> {
        authorize(actor, Action::WriteOwned)?;
        let row = self.find(actor, id).await?.ok_or_else(|| Problem::not_found("delivery"))?;
        if row.webhook_is_deleted() {
            return Err(Problem::conflict("The webhook of this delivery was deleted.").into());
        }
        let original = row.summary();
        if original.test {
            return Err(Problem::conflict("This is a test event. Send another test event instead.").into());
        }
        if !original.status.is_final() {
            return Err(Problem::conflict("This delivery is still in progress. Redeliver it when it ends.").into());
        }
        let repeat = self.repeat(id.clone());
        let target = Target::named(AuditTargetType::Delivery, id, &original.webhook_name);
        let record = Record::new(actor, AuditAction::DeliveryRedelivered, target).changes(Changes::none().field(
            "redelivery",
            (),
            repeat.id.as_str(),
        ));
        let tx = self.context.begin_change().await?;
        self.insert_repeats(&tx, std::slice::from_ref(&repeat)).await?;
        tx.commit(record).await?;
        let created = self.find(actor, &repeat.id).await?.ok_or_else(Problem::internal)?.summary();
        self.feed.publish(vec![Change::Delivery(Box::new(created.clone()))]);
        self.feed.wake_dispatchers(created.webhook_id.into());
        Ok(created)
    }

    /// A redelivery of a delivery, which is not inserted yet.
    pub(crate) fn repeat(&self, of: DeliveryId) -> Repeat {
        Repeat { of, id: DeliveryId::from_ulid(self.context.new_ulid()) }
    }

    /// Inserts redeliveries in the order of the originals, except those whose webhook was deleted. Returns their
    /// number.
    pub(crate) async fn insert_repeats(&self, tx: &DatabaseTransaction, repeats: &[Repeat]) -> Result<u64> {
        let now = self.context.now().timestamp_millis();
        let mut inserted = 0;
        for chunk in repeats.chunks(MAX_ROWS) {
            inserted += tx.execute(&insert_deliveries(chunk, now)?).await?.rows_affected();
            tx.execute(&insert_queue_entries(chunk, now)?).await?;
        }
        Ok(inserted)
    }
}

/// Copies the originals into new rows of the log.
fn insert_deliveries(repeats: &[Repeat], now: i64) -> Result<InsertStatement> {
    use deliveries::Column;
    // A VALUES list names its columns `column1`, `column2` on both databases.
    let pairs = Alias::new("pairs");
    let (original, new) = ((pairs.clone(), Alias::new("column1")), (pairs.clone(), Alias::new("column2")));
    let copied = |column: Column| Expr::col((deliveries::Entity, column));
    let originals = Query::select()
        .column(new)
        .exprs([Column::EventId, Column::EventType, Column::WebhookId, Column::OrderingKey].map(copied))
        .exprs([Column::ReservationId, Column::Body, Column::PayloadFormat, Column::Test].map(copied))
        .exprs([Column::MaxAttempts, Column::Id].map(copied))
        .exprs([Expr::val(Text(DeliveryStatus::Pending)), Expr::val(0), Expr::val(now), Expr::val(now)])
        .from_values(repeats.iter().map(|repeat| (repeat.of.as_str(), repeat.id.as_str())), pairs)
        .inner_join(deliveries::Entity, copied(Column::Id).equals(original))
        .inner_join(
            webhooks::Entity,
            Expr::col((webhooks::Entity, webhooks::Column::Id)).equals((deliveries::Entity, Column::WebhookId)),
        )
        .and_where(webhooks::COLUMN.deleted_at.is_null())
        .order_by((deliveries::Entity, Column::Seq), Order::Asc)
        .take();
    let columns = [
        Column::Id,
        Column::EventId,
        Column::EventType,
        Column::WebhookId,
        Column::OrderingKey,
        Column::ReservationId,
        Column::Body,
        Column::PayloadFormat,
        Column::Test,
        Column::MaxAttempts,
        Column::RedeliveryOf,
        Column::Status,
        Column::Attempts,
        Column::CreatedAt,
        Column::UpdatedAt,
    ];
    insert_from(Query::insert().into_table(deliveries::Entity).columns(columns), originals)
}

/// Queues the new deliveries.
fn insert_queue_entries(repeats: &[Repeat], now: i64) -> Result<InsertStatement> {
    use outbox::Column;
    let new = Query::select()
        .columns([deliveries::Column::Seq, deliveries::Column::WebhookId, deliveries::Column::OrderingKey])
        .exprs([Expr::val(now), Expr::val(0), Expr::val(now), Expr::val(false)])
        .from(deliveries::Entity)
        .and_where(deliveries::COLUMN.id.is_in(repeats.iter().map(|repeat| repeat.id.as_str())))
        .take();
    let columns = [
        Column::Seq,
        Column::WebhookId,
        Column::OrderingKey,
        Column::DueAt,
        Column::Attempts,
        Column::UpdatedAt,
        Column::Fresh,
    ];
    insert_from(Query::insert().into_table(outbox::Entity).columns(columns), new)
}

/// An INSERT … SELECT.
///
/// # Errors
/// When the number of columns differs.
fn insert_from(insert: &mut InsertStatement, select: SelectStatement) -> Result<InsertStatement> {
    match insert.select_from(select) {
        Ok(insert) => Ok(insert.take()),
        Err(error) => Err(Error::Database(DbErr::Custom(error.to_string()))),
    }
}
