//! Replay: redelivery of all deliveries that match a filter.

use super::Deliveries;
use super::log::{conditions, deliveries_with_queue};
use super::redelivery::Repeat;
use crate::Result;
use crate::audit_trail::{Author, Record, Target};
use crate::db::column::Text;
use crate::db::entity::{deliveries, outbox, webhooks};
use crate::ownership::visibility::deliveries_of;
use crate::wake::WebhookSet;
use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::delivery::{DeliveryFilter, DeliveryStatus, ReplayInput, ReplayResult, ReplaySkipped, ReplayWebhook};
use domain::id::{DeliveryId, WebhookId};
use domain::webhook::WebhookState;
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, IntoIden, Query, SelectStatement};
use sea_orm::{
    EntityTrait as _, FromQueryResult, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select,
};
use std::collections::BTreeMap;

/// Time before the recorded start of a failure in which its first deliveries can have failed.
const FAILURE_MARGIN: Duration = Duration::minutes(2);
/// Maximum number of deliveries of one replay.
const MAX_REPLAYED: u64 = 10_000;

impl Deliveries {
    /// Redelivers all deliveries that match and that the actor may see, oldest first, at most 10,000. Without a status in the filter or its
    /// search, these are the failed ones. A delivery that was redelivered before is skipped, so that a repeated replay sends nothing
    /// twice. Test events and deliveries of deleted webhooks are skipped too; the result contains their numbers.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner, and without a recent confirmation; 422 for the status of an open
    /// delivery.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn replay(&self, actor: &Actor, input: &ReplayInput) -> Result<ReplayResult> {
        let replayable = self.replayable(actor, &input.filter)?;
        let counted = self.count_replayable(&replayable).await?;
        if input.dry_run || counted.matched == 0 {
            return Ok(counted);
        }
        self.context.require_confirmation(actor).await?;
        let repeats = self.repeats_of(replayable.matching()).await?;
        let filter = &replayable.filter;
        let target = match filter.webhook_id {
            Some(id) => Target::new(AuditTargetType::Webhook, id),
            None => Target::new(AuditTargetType::Delivery, ""),
        };
        let changes = Changes::none().field("filter", (), filter).field("redelivered", (), repeats.len());
        let record = Record::new(actor, AuditAction::DeliveryReplayed, target).changes(changes);
        let redelivered = self.redeliver_all(&repeats, record, WebhookSet::All).await?;
        Ok(ReplayResult { redelivered, ..counted })
    }

    /// Redeliveries of the first matches, oldest first, which are not inserted yet.
    async fn repeats_of(&self, matching: Select<deliveries::Entity>) -> Result<Vec<Repeat>> {
        let originals = matching.select_only().column(deliveries::COLUMN.id.0).order_by_asc(deliveries::COLUMN.seq);
        let originals: Vec<String> = originals.limit(MAX_REPLAYED).into_tuple().all(&self.context.db.read).await?;
        Ok(originals.into_iter().map(|of| self.repeat(DeliveryId(of))).collect())
    }

    /// Inserts redeliveries with their entry of the audit log, and wakes the dispatchers. Returns their number.
    async fn redeliver_all(&self, repeats: &[Repeat], record: Record, webhooks: WebhookSet) -> Result<u64> {
        let tx = self.context.begin_change().await?;
        let redelivered = self.insert_repeats(&tx, repeats).await?;
        tx.commit(record).await?;
        self.feed.wake_dispatchers(webhooks);
        Ok(redelivered)
    }

    /// The deliveries that a replay concerns and that the actor may see. Without a status in the filter or its search, these
    /// are the failed ones.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 422 for the status of an open delivery or an invalid search.
    pub(crate) fn replayable(&self, actor: &Actor, filter: &DeliveryFilter) -> Result<Replayable> {
        authorize(actor, Action::WriteOwned)?;
        let mut filter = filter.clone();
        let search = self.matching(&DeliveryFilter { q: filter.q.clone(), ..Default::default() })?;
        // A search for a status replaces the default.
        if filter.status.is_none() && !search.selects_status() {
            filter.status = Some(DeliveryStatus::Failed);
        }
        if filter.status.is_some_and(|status| !status.is_final()) {
            let message =
                "Only succeeded, failed or cancelled deliveries can be replayed. Choose one of these statuses.";
            return Err(Problem::field("filter.status", message).into());
        }
        let mut conditions = conditions(&filter).add(deliveries_of(actor));
        if filter.q.is_some() {
            conditions = conditions
                .add(deliveries::COLUMN.seq.in_subquery(search.seqs()))
                // The index can lag behind: an open delivery is never redelivered.
                .add(outbox::COLUMN.seq.is_null());
        }
        Ok(Replayable { all: deliveries_with_queue().filter(conditions), filter })
    }

    /// The numbers of a replay, which has redelivered none yet.
    pub(crate) async fn count_replayable(&self, replayable: &Replayable) -> Result<ReplayResult> {
        let all = replayable.all.clone().select_only();
        let matching = replayable.matching().select_only();
        let (of_deleted, of_others) =
            (webhooks::COLUMN.deleted_at.is_not_null(), webhooks::COLUMN.deleted_at.is_null());
        let mut counts = Counts::default();
        counts.add(self.count(all.clone().filter(of_deleted)).await?, |part| &mut part.skipped.webhook_deleted);
        let tests = all.clone().filter(of_others.and(deliveries::COLUMN.test.eq(true)));
        counts.add(self.count(tests).await?, |part| &mut part.skipped.test);
        let redelivered = all.filter(is_real()).filter(Expr::exists(redelivery()));
        counts.add(self.count(redelivered).await?, |part| &mut part.skipped.redelivered);
        counts.add(self.count(matching.clone()).await?, |part| &mut part.matched);
        let superseded = matching.clone().filter(Expr::exists(successor()));
        counts.add(self.count(superseded).await?, |part| &mut part.superseded);
        let (matched, skipped, webhooks) = counts.finish();
        Ok(ReplayResult { matched, redelivered: 0, skipped, webhooks })
    }

    /// Redelivers the deliveries of a webhook that failed since a time, oldest first, at most 10,000. Those that were
    /// redelivered before, or are superseded by a later event that succeeded, are skipped. Returns their number.
    pub(crate) async fn redeliver_failed(
        &self,
        author: Author<'_>,
        webhook: WebhookId,
        since: DateTime<Utc>,
    ) -> Result<u64> {
        let repeats = self.repeats_of(failed_since(webhook, since)).await?;
        if repeats.is_empty() {
            return Ok(0);
        }
        let changes = Changes::none().field("failed_since", (), since).field("redelivered", (), repeats.len());
        let target = Target::new(AuditTargetType::Webhook, webhook);
        let record = Record::new(author, AuditAction::DeliveryReplayed, target).changes(changes);
        self.redeliver_all(&repeats, record, webhook.into()).await
    }

    /// The number of deliveries that [`Self::redeliver_failed`] redelivers.
    pub(crate) async fn count_failed(&self, webhook: WebhookId, since: DateTime<Utc>) -> Result<u64> {
        Ok(failed_since(webhook, since).count(&self.context.db.read).await?)
    }

    /// The number of deliveries of each webhook.
    async fn count(&self, deliveries: Select<deliveries::Entity>) -> Result<Vec<CountRow>> {
        let counts = deliveries
            .column_as(webhooks::Column::Id, "webhook_id")
            .column_as(webhooks::Column::Name, "webhook_name")
            .column_as(webhooks::Column::State, "state")
            .column_as(deliveries::COLUMN.seq.count(), "deliveries")
            .group_by(webhooks::Column::Id)
            .group_by(webhooks::Column::Name)
            .group_by(webhooks::Column::State);
        Ok(counts.into_model().all(&self.context.db.read).await?)
    }
}

/// The deliveries of a webhook that failed since a time, and are neither redelivered nor superseded.
fn failed_since(webhook: WebhookId, since: DateTime<Utc>) -> Select<deliveries::Entity> {
    deliveries::Entity::find()
        .filter(deliveries::COLUMN.webhook_id.eq(webhook))
        .filter(deliveries::COLUMN.failed_at.gte((since - FAILURE_MARGIN).timestamp_millis()))
        .filter(deliveries::COLUMN.test.eq(false))
        .filter(Expr::exists(is_redelivered(deliveries::Entity, deliveries::Column::Id)).not())
        .filter(Expr::exists(successor()).not())
}

/// The number of deliveries of one webhook.
#[derive(FromQueryResult)]
struct CountRow {
    webhook_id: i64,
    webhook_name: String,
    state: Text<WebhookState>,
    deliveries: i64,
}

/// The numbers of a replay for each webhook.
#[derive(Default)]
struct Counts(BTreeMap<WebhookId, ReplayWebhook>);

impl Counts {
    fn add(&mut self, rows: Vec<CountRow>, number: impl Fn(&mut ReplayWebhook) -> &mut u64) {
        for row in rows {
            let part = self.0.entry(row.webhook_id).or_insert_with(|| ReplayWebhook {
                webhook_id: row.webhook_id,
                webhook_name: row.webhook_name,
                paused: row.state.0 == WebhookState::Paused,
                matched: 0,
                superseded: 0,
                skipped: ReplaySkipped::default(),
            });
            *number(part) = row.deliveries.unsigned_abs();
        }
    }

    /// The sums, and the numbers of each webhook by name.
    fn finish(self) -> (u64, ReplaySkipped, Vec<ReplayWebhook>) {
        let mut webhooks: Vec<ReplayWebhook> = self.0.into_values().collect();
        webhooks.sort_by(|one, other| one.webhook_name.cmp(&other.webhook_name));
        let sum = |number: fn(&ReplayWebhook) -> u64| webhooks.iter().map(number).sum();
        let skipped = ReplaySkipped {
            filtered: 0,
            already_sent: 0,
            redelivered: sum(|part| part.skipped.redelivered),
            test: sum(|part| part.skipped.test),
            webhook_deleted: sum(|part| part.skipped.webhook_deleted),
        };
        (sum(|part| part.matched), skipped, webhooks)
    }
}

/// The deliveries that a replay concerns.
pub(crate) struct Replayable {
    all: Select<deliveries::Entity>,
    /// The filter with the status that it selects by default.
    pub(crate) filter: DeliveryFilter,
}

impl Replayable {
    /// Those that can be redelivered.
    pub(crate) fn matching(&self) -> Select<deliveries::Entity> {
        self.all.clone().filter(is_real()).filter(Expr::not_exists(redelivery()))
    }
}

/// Deliveries that are no test, of webhooks that exist.
fn is_real() -> Expr {
    webhooks::COLUMN.deleted_at.is_null().and(deliveries::COLUMN.test.eq(false))
}

/// The redeliveries of a delivery of the outer query, as a subquery.
fn redelivery() -> SelectStatement {
    is_redelivered(deliveries::Entity, deliveries::Column::Id)
}

/// The redeliveries of the delivery with an id of the outer query, as a subquery. A discarded one does not count.
pub(crate) fn is_redelivered<E: IntoIden, C: IntoIden>(table: E, id: C) -> SelectStatement {
    let repeats = Alias::new("repeats");
    let column = |column: deliveries::Column| Expr::col((repeats.clone(), column));
    Query::select()
        .expr(Expr::val(1))
        .from_as(deliveries::Entity, repeats.clone())
        .and_where(column(deliveries::Column::RedeliveryOf).equals((table, id)))
        .and_where(column(deliveries::Column::Status).ne(Text(DeliveryStatus::Cancelled)))
        .take()
}

/// Later deliveries to the same webhook about the same object that have succeeded, as a subquery.
fn successor() -> SelectStatement {
    let later = Alias::new("later");
    let column = |column: deliveries::Column| Expr::col((later.clone(), column));
    let same = |of: deliveries::Column| column(of).equals((deliveries::Entity, of));
    let queued = Query::select()
        .expr(Expr::val(1))
        .from_as(outbox::Entity, Alias::new("queued"))
        .and_where(
            Expr::col((Alias::new("queued"), outbox::Column::Seq)).equals((later.clone(), deliveries::Column::Seq)),
        )
        .take();
    let failed = [DeliveryStatus::Failed, DeliveryStatus::Cancelled].map(Text);
    Query::select()
        .expr(Expr::val(1))
        .from_as(deliveries::Entity, later.clone())
        // An event of a reservation has its id as ordering key, and only the reservation has an index.
        .and_where(same(deliveries::Column::ReservationId))
        .and_where(same(deliveries::Column::WebhookId))
        .and_where(column(deliveries::Column::Seq).gt(Expr::col((deliveries::Entity, deliveries::Column::Seq))))
        .and_where(column(deliveries::Column::Status).is_not_in(failed))
        .and_where(column(deliveries::Column::Test).eq(false))
        .and_where(Expr::not_exists(queued))
        .take()
}
