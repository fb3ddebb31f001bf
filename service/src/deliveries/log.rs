//! Reads of the delivery log.
//!
//! The state of an open delivery is in its row of `outbox`. A success is a row of `attempts` and changes no other row
//! of the log. Each read therefore joins both, and [`LogRow::summary`] derives the status.

use super::Deliveries;
use crate::Result;
use crate::db::codec::{json, time};
use crate::db::column::Text;
use crate::db::entity::{attempts, deliveries, outbox, replay_items, webhooks};
use crate::early_access::withheld_responses;
use crate::ownership::visibility::deliveries_of;
use crate::pagination::{decode_number_cursor, page_of};
use chrono::{DateTime, Utc};
use delivery::Transcript;
use domain::Problem;
use domain::authorization::{Action, Actor, authorize};
use domain::change::Change;
use domain::delivery::{Attempt, DeliveryDetail, DeliveryFilter, DeliveryStatus, DeliverySummary};
use domain::event::EventType;
use domain::id::{DeliveryId, EventId, ReplayId, ReservationId, WebhookId};
use domain::pagination::{Page, PageQuery};
use sea_orm::sea_query::{ExprTrait as _, IntoCondition as _, SelectStatement};
use sea_orm::{
    ColumnTrait as _, Condition, DerivePartialModel, EntityTrait, IntoSimpleExpr as _, JoinType, QueryFilter as _,
    QueryOrder as _, QuerySelect, QueryTrait as _, RelationDef, RelationTrait as _, Select,
};

/// Maximum number of deliveries on a page of a reservation's deliveries.
const MAX_OF_RESERVATION: u32 = 500;
/// Their number if the request does not contain one.
const DEFAULT_OF_RESERVATION: u32 = 50;
/// Maximum number of cancelled deliveries announced at once: a screen shows no more.
const MAX_ANNOUNCED: u64 = 200;

/// A delivery with its webhook, its queue entry and its successful attempt.
#[derive(DerivePartialModel)]
#[sea_orm(entity = "deliveries::Entity")]
pub(super) struct LogRow {
    pub(super) seq: i64,
    id: String,
    event_id: String,
    /// Text, because a newer release may have written an event type that is unknown to this one.
    event_type: String,
    pub(super) webhook_id: i64,
    reservation_id: Option<String>,
    status: Text<DeliveryStatus>,
    test: bool,
    attempts: i32,
    max_attempts: i32,
    status_code: Option<i32>,
    duration_ms: Option<f64>,
    problem: Option<String>,
    created_at: i64,
    updated_at: i64,
    redelivery_of: Option<String>,
    #[sea_orm(nested)]
    webhook: LogWebhook,
    #[sea_orm(nested)]
    queued: Option<QueueEntry>,
    #[sea_orm(nested)]
    success: Option<SuccessfulAttempt>,
}

#[derive(DerivePartialModel)]
#[sea_orm(entity = "webhooks::Entity")]
struct LogWebhook {
    name: String,
    resource_type: Option<String>,
    provisions: bool,
    deleted_at: Option<i64>,
}

#[derive(DerivePartialModel)]
#[sea_orm(entity = "outbox::Entity")]
struct QueueEntry {
    attempts: i32,
    due_at: i64,
    lease_owner: Option<String>,
    updated_at: i64,
}

#[derive(DerivePartialModel)]
#[sea_orm(entity = "attempts::Entity")]
struct SuccessfulAttempt {
    attempt: i32,
    started_at: i64,
    status_code: Option<i32>,
    duration_ms: f64,
}

/// A delivery with its body.
#[derive(DerivePartialModel)]
#[sea_orm(entity = "deliveries::Entity")]
struct DetailRow {
    body: String,
    #[sea_orm(nested)]
    entry: LogRow,
}

/// The time at which a delivery succeeded: the end of its successful attempt. Both values are in milliseconds.
pub(crate) fn succeeded_at(started_at: i64, duration_ms: f64) -> DateTime<Utc> {
    time(started_at + duration_ms as i64)
}

impl LogRow {
    /// The current status. A delivery that left the queue has succeeded, unless its own row has a final status.
    pub(super) fn current_status(&self) -> DeliveryStatus {
        match (&self.queued, self.status.0) {
            (Some(entry), _) if entry.lease_owner.is_some() => DeliveryStatus::Sending,
            (None, DeliveryStatus::Pending | DeliveryStatus::Retrying) => DeliveryStatus::Succeeded,
            (_, status) => status,
        }
    }

    /// Whether the webhook was deleted.
    pub(super) fn webhook_is_deleted(&self) -> bool {
        self.webhook.deleted_at.is_some()
    }

    pub(super) fn summary(self) -> DeliverySummary {
        let status = self.current_status();
        let is_waiting = matches!(status, DeliveryStatus::Pending | DeliveryStatus::Retrying);
        let (queued, success) = (self.queued.as_ref(), self.success.as_ref());
        let attempts = queued.map(|entry| entry.attempts).or(success.map(|success| success.attempt));
        let updated_at = match success {
            Some(success) => succeeded_at(success.started_at, success.duration_ms),
            None => time(queued.map_or(self.updated_at, |entry| entry.updated_at)),
        };
        let status_code = success.and_then(|success| success.status_code).or(self.status_code);
        DeliverySummary {
            id: DeliveryId(self.id),
            event_id: EventId(self.event_id),
            event_type: EventType::parse(&self.event_type).unwrap_or(EventType::ReservationCreated),
            webhook_id: self.webhook_id,
            webhook_name: self.webhook.name,
            resource_type: self.webhook.resource_type,
            reservation_id: self.reservation_id,
            status,
            test: self.test,
            attempts: attempts.unwrap_or(self.attempts).unsigned_abs(),
            max_attempts: self.max_attempts.unsigned_abs(),
            status_code: status_code.and_then(|code| u16::try_from(code).ok()),
            duration_ms: success.map(|success| success.duration_ms).or(self.duration_ms),
            problem: self.problem.filter(|_| success.is_none()),
            next_attempt_at: queued.filter(|_| is_waiting).map(|entry| time(entry.due_at)),
            created_at: time(self.created_at),
            updated_at,
            redelivery_of: self.redelivery_of.map(DeliveryId),
        }
    }
}

/// The attempt by which a delivery succeeded.
fn successful_attempt() -> RelationDef {
    deliveries::Relation::Attempts.def().on_condition(|_, _| {
        attempts::Column::DeliveryStatus.eq(Text(attempts::StatusAfter::Succeeded)).into_condition()
    })
}

/// All deliveries, with their webhooks and queue entries.
pub(super) fn deliveries_with_queue() -> Select<deliveries::Entity> {
    deliveries::Entity::find()
        .join(JoinType::InnerJoin, deliveries::Relation::Webhooks.def())
        .join(JoinType::LeftJoin, deliveries::Relation::Outbox.def())
}

/// All deliveries, with everything that a [`LogRow`] has.
fn log() -> Select<deliveries::Entity> {
    deliveries_with_queue().join(JoinType::LeftJoin, successful_attempt())
}

/// Open deliveries only, with everything that a [`LogRow`] has.
///
/// The read starts from the queue, which is short. Starting from the log would scan it for the few open deliveries.
/// SQLite keeps the order of a CROSS JOIN; PostgreSQL plans it like an inner join.
fn open_log() -> Select<outbox::Entity> {
    let mut select = outbox::Entity::find();
    QuerySelect::query(&mut select).cross_join(deliveries::Entity).cross_join(webhooks::Entity);
    select
        .join(JoinType::LeftJoin, successful_attempt())
        .filter(deliveries::COLUMN.seq.into_simple_expr().equals((outbox::Entity, outbox::Column::Seq)))
        .filter(webhooks::COLUMN.id.into_simple_expr().equals((deliveries::Entity, deliveries::Column::WebhookId)))
}

/// The conditions of a filter, without its search.
pub(super) fn conditions(filter: &DeliveryFilter) -> Condition {
    let millis = |time: DateTime<Utc>| time.timestamp_millis();
    Condition::all()
        .add_option(filter.webhook_id.map(|id| deliveries::COLUMN.webhook_id.eq(id)))
        .add_option(filter.event_type.map(|event| deliveries::COLUMN.event_type.eq(Text(event))))
        .add_option(filter.reservation_id.as_deref().map(|id| deliveries::COLUMN.reservation_id.eq(id)))
        .add_option(filter.redelivery_of.as_ref().map(|id| deliveries::COLUMN.redelivery_of.eq(id.as_str())))
        .add_option(filter.replay.as_ref().map(|id| deliveries::COLUMN.seq.in_subquery(queued_by(id))))
        .add_option(filter.since.map(|since| deliveries::COLUMN.created_at.gte(millis(since))))
        .add_option(filter.until.map(|until| deliveries::COLUMN.created_at.lt(millis(until))))
        .add_option(filter.status.map(has_status))
}

/// The positions of the deliveries that a replay has queued, as a subquery.
pub(super) fn queued_by(replay: &ReplayId) -> SelectStatement {
    let items = replay_items::Entity::find().select_only().column(replay_items::Column::Seq);
    items
        .filter(replay_items::COLUMN.replay_id.eq(replay.as_str()))
        .filter(replay_items::COLUMN.seq.is_not_null())
        .into_query()
}

/// The condition that corresponds to [`LogRow::current_status`].
pub(super) fn has_status(status: DeliveryStatus) -> Condition {
    let unleased = || Condition::all().add(outbox::COLUMN.lease_owner.is_null());
    match status {
        DeliveryStatus::Sending => Condition::all().add(outbox::COLUMN.lease_owner.is_not_null()),
        DeliveryStatus::Pending => unleased().add(outbox::COLUMN.attempts.eq(0)),
        DeliveryStatus::Retrying => unleased().add(outbox::COLUMN.attempts.gt(0)),
        DeliveryStatus::Succeeded => {
            let ended = [DeliveryStatus::Failed, DeliveryStatus::Cancelled].map(Text);
            Condition::all().add(outbox::COLUMN.seq.is_null()).add(deliveries::COLUMN.status.is_not_in(ended))
        }
        // The partial index on failed deliveries has this condition.
        DeliveryStatus::Failed => Condition::all().add(deliveries::COLUMN.failed_at.is_not_null()),
        DeliveryStatus::Cancelled => Condition::all().add(deliveries::COLUMN.status.eq(Text(status))),
    }
}

/// An attempt of the log, without the request's body.
pub(super) fn recorded_attempt(attempt: attempts::Model, delivery: &DeliveryId) -> Result<Attempt, Problem> {
    // Early versions stored attempts as JSON.
    if attempt.record.starts_with('{') {
        return json(&attempt.record);
    }
    let transcript = Transcript::stored(attempt.record);
    let number = attempt.attempt.unsigned_abs();
    let status_code = attempt.status_code.and_then(|code| u16::try_from(code).ok());
    transcript
        .to_attempt(delivery.clone(), number, time(attempt.started_at), attempt.outcome.0, status_code)
        .ok_or_else(|| {
            tracing::error!(%delivery, attempt = number, "the transcript of an attempt is unreadable");
            Problem::internal()
        })
}

impl Deliveries {
    /// Lists deliveries, newest first: all of them, or those of owned resource types. A search reads the index, which
    /// follows the log within seconds ([`Self::count_matching`] returns how far it reaches).
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, an auditor or an owner; 422 for an invalid page or search.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn list(
        &self,
        actor: &Actor,
        filter: &DeliveryFilter,
        page: &PageQuery,
    ) -> Result<Page<DeliverySummary>> {
        authorize(actor, Action::ReadOwned)?;
        let limit = page.limit()?;
        let before = decode_number_cursor(page.cursor.as_deref())?;
        if filter.q.is_some() {
            let found = self.found(actor, &self.matching(filter)?, before, limit + 1).await?;
            let page = page_of(found, limit, i64::to_string);
            return Ok(Page { items: self.summaries(&page.items).await?, next_cursor: page.next_cursor });
        }
        let conditions = conditions(filter).add(deliveries_of(actor));
        let db = &self.context.db.read;
        let rows: Vec<LogRow> = if filter.status.is_some_and(|status| !status.is_final()) {
            open_log()
                .filter(conditions.add_option(before.map(|seq| outbox::COLUMN.seq.lt(seq))))
                .order_by_desc(outbox::COLUMN.seq)
                .limit(limit + 1)
                .into_partial_model()
                .all(db)
                .await?
        } else {
            log()
                .filter(conditions.add_option(before.map(|seq| deliveries::COLUMN.seq.lt(seq))))
                .order_by_desc(deliveries::COLUMN.seq)
                .limit(limit + 1)
                .into_partial_model()
                .all(db)
                .await?
        };
        let page = page_of(rows, limit, |row| row.seq.to_string());
        Ok(Page { items: page.items.into_iter().map(LogRow::summary).collect(), next_cursor: page.next_cursor })
    }

    /// The deliveries at these positions, newest first.
    pub(super) async fn summaries(&self, seqs: &[i64]) -> Result<Vec<DeliverySummary>> {
        if seqs.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<LogRow> = log()
            .filter(deliveries::COLUMN.seq.is_in(seqs.iter().copied()))
            .order_by_desc(deliveries::COLUMN.seq)
            .into_partial_model()
            .all(&self.context.db.read)
            .await?;
        Ok(rows.into_iter().map(LogRow::summary).collect())
    }

    /// Reads one delivery with its attempts and the newest 50 redeliveries. The audit log records the view; without this
    /// entry, nothing is shown.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, an auditor or an owner; 404, also for a delivery of another owner; 503 if
    /// the view cannot be recorded.
    #[tracing::instrument(skip_all, fields(delivery = %id), err(level = "debug"))]
    pub async fn get(&self, actor: &Actor, id: &DeliveryId) -> Result<DeliveryDetail> {
        authorize(actor, Action::ReadOwned)?;
        let db = &self.context.db.read;
        let row: Option<DetailRow> = log()
            .filter(deliveries::COLUMN.id.eq(id.as_str()))
            .filter(deliveries_of(actor))
            .into_partial_model()
            .one(db)
            .await?;
        let DetailRow { body, entry } = row.ok_or_else(|| Problem::not_found("delivery"))?;
        let attempts = attempts::Entity::find()
            .filter(attempts::COLUMN.delivery_seq.eq(entry.seq))
            .order_by_asc(attempts::COLUMN.attempt)
            .all(db)
            .await?;
        self.record_view(actor, id, &entry.webhook.name).await?;
        let withholds = match &entry.reservation_id {
            // Those who manage the webhook also see its receiver.
            Some(reservation) if !actor.manages_webhooks_of(entry.webhook.resource_type.as_deref()) => {
                withheld_responses(db, reservation, entry.webhook_id, self.context.now()).await?.is_some()
            }
            _ => false,
        };
        let mut attempt_log = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            let mut attempt = recorded_attempt(attempt, id)?;
            attempt.insert_body(&body);
            // The responses of other webhooks change no reservation.
            if let (Some(event), true) = (EventType::parse(&entry.event_type), entry.webhook.provisions) {
                attempt = attempt.with_effect(event);
            }
            if withholds {
                attempt.withhold_response();
            }
            attempt_log.push(attempt);
        }
        let of_this = DeliveryFilter { redelivery_of: Some(id.clone()), ..DeliveryFilter::default() };
        let redeliveries = self.list(actor, &of_this, &PageQuery::default()).await?;
        let webhook_deleted = entry.webhook_is_deleted();
        let waiting = self.wait_of(&entry).await?;
        Ok(DeliveryDetail {
            delivery: entry.summary(),
            body,
            attempt_log,
            redeliveries: redeliveries.items,
            redeliveries_next_cursor: redeliveries.next_cursor,
            webhook_deleted,
            responses_withheld: withholds,
            waiting,
        })
    }

    /// Reads one delivery without its attempts; `None` also if the actor may not see it.
    pub(super) async fn find(&self, actor: &Actor, id: &DeliveryId) -> Result<Option<LogRow>> {
        let select = log().filter(deliveries::COLUMN.id.eq(id.as_str())).filter(deliveries_of(actor));
        Ok(select.into_partial_model().one(&self.context.db.read).await?)
    }

    /// The deliveries of a reservation's events, oldest first, at most 500 on a page.
    ///
    /// # Errors
    /// 422 for an invalid page.
    pub(crate) async fn of_reservation(&self, id: &ReservationId, page: &PageQuery) -> Result<Page<DeliverySummary>> {
        let limit = page.limit_within(DEFAULT_OF_RESERVATION, MAX_OF_RESERVATION)?;
        let after = decode_number_cursor(page.cursor.as_deref())?.unwrap_or(0);
        let rows: Vec<LogRow> = log()
            .filter(deliveries::COLUMN.reservation_id.eq(id.as_str()))
            .filter(deliveries::COLUMN.seq.gt(after))
            .order_by_asc(deliveries::COLUMN.seq)
            .limit(limit + 1)
            .into_partial_model()
            .all(&self.context.db.read)
            .await?;
        let page = page_of(rows, limit, |row| row.seq.to_string());
        Ok(Page { items: page.items.into_iter().map(LogRow::summary).collect(), next_cursor: page.next_cursor })
    }

    /// Publishes the deliveries of a webhook that were cancelled at `now` (in milliseconds).
    pub(crate) async fn announce_cancelled(&self, webhook: WebhookId, now: i64) {
        if !self.feed.has_subscribers() {
            return;
        }
        let rows: Result<Vec<LogRow>, _> = log()
            .filter(deliveries::COLUMN.webhook_id.eq(webhook))
            .filter(deliveries::COLUMN.status.eq(Text(DeliveryStatus::Cancelled)))
            .filter(deliveries::COLUMN.ended_at.eq(now))
            .order_by_desc(deliveries::COLUMN.seq)
            .limit(MAX_ANNOUNCED)
            .into_partial_model()
            .all(&self.context.db.read)
            .await;
        match rows {
            Ok(rows) => {
                let changes = rows.into_iter().map(|row| Change::Delivery(Box::new(row.summary())));
                self.feed.publish(changes.collect());
            }
            // The cancellation is committed. Pages show it after the next load.
            Err(error) => tracing::warn!(%error, "cancelled deliveries could not be announced"),
        }
    }
}
