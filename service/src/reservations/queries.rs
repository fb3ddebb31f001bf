//! Lists and details of reservations, and the busy spans of the calendar.

use super::Reservations;
use super::row::{ReservationRow, select};
use crate::Result;
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::{reservations, resource_types, resources};
use crate::db::reservations::{busy_until, is_busy};
use crate::early_access::hide_early_access;
use crate::ownership::visibility::reservations_of;
use crate::pagination::{decode_cursor, invalid_cursor, page_of};
use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use domain::authorization::{Action, Actor, authorize};
use domain::delivery::DeliverySummary;
use domain::id::ReservationId;
use domain::ownership::ResourceKey;
use domain::pagination::{Page, PageQuery};
use domain::reservation::{
    BusySpan, CalendarFilter, Reservation, ReservationDetail, ReservationFilter, ReservationStatus,
};
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, Condition, DerivePartialModel, EntityTrait as _, JoinType, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _, RelationTrait as _,
};
use tracing::instrument;

/// The longest span of the calendar.
const MAX_CALENDAR_SPAN: Duration = Duration::days(62);
/// Maximum number of a user's next reservations.
const MAX_NEXT: u64 = 8;
/// Maximum and default number of busy spans on one page. A calendar usually needs a single page.
const MAX_BUSY_SPANS: u32 = 5_000;
/// Maximum number of deliveries in the details of a reservation. Further ones are on the pages of their list.
const MAX_DELIVERIES: u32 = 500;

/// An active reservation as the calendar shows it.
#[derive(DerivePartialModel)]
#[sea_orm(entity = "reservations::Entity")]
struct BusyRow {
    id: String,
    username: String,
    resource_id: i64,
    title: String,
    start_at: i64,
    end_at: i64,
    status: Text<ReservationStatus>,
    updated_at: i64,
    busy_from: Option<i64>,
    busy_until: Option<i64>,
    #[sea_orm(nested)]
    resource: BusyResource,
    #[sea_orm(nested)]
    of_type: BusyType,
}

#[derive(DerivePartialModel)]
#[sea_orm(entity = "resources::Entity")]
struct BusyResource {
    resource_type: String,
}

#[derive(DerivePartialModel)]
#[sea_orm(entity = "resource_types::Entity")]
struct BusyType {
    turnaround_minutes: i32,
}

impl BusyRow {
    /// The position in the calendar, which is ordered by start and id.
    fn cursor(&self) -> String {
        format!("{} {}", self.start_at, self.id)
    }

    /// The span, with owner and title only if the actor may read the reservation.
    fn for_actor(self, actor: &Actor) -> BusySpan {
        let resource = ResourceKey::new(&self.resource.resource_type, self.resource_id);
        let visible = authorize(actor, Action::ReadReservation { user: &self.username, resource }).is_ok();
        let (start_time, end_time) = match self.status.0 {
            ReservationStatus::Active => (time(self.start_at), time(self.end_at)),
            // Only its turnaround time is left.
            _ => {
                let end = time(Ord::min(self.end_at, self.updated_at));
                (end, end)
            }
        };
        let turnaround = Duration::minutes(self.of_type.turnaround_minutes.into());
        let busy_from = self.busy_from.map_or(start_time, time) - turnaround;
        BusySpan {
            resource_id: self.resource_id,
            start_time,
            end_time,
            busy_from: (busy_from < start_time).then_some(busy_from),
            busy_until: self.busy_until.map(time),
            reservation_id: visible.then_some(ReservationId(self.id)),
            title: visible.then_some(self.title),
            user_id: visible.then_some(self.username),
        }
    }
}

/// The rows after a cursor of [`BusyRow::cursor`].
fn after_cursor(cursor: &str) -> Result<Condition, Problem> {
    let (start, id) = cursor.split_once(' ').ok_or_else(invalid_cursor)?;
    let start: i64 = start.parse().map_err(|_| invalid_cursor())?;
    let column = reservations::COLUMN;
    Ok(Condition::any()
        .add(column.start_at.gt(start))
        .add(Condition::all().add(column.start_at.eq(start)).add(column.id.gt(id))))
}

/// Reservations with this status. Their expiry may not be recorded yet ([`ReservationStatus::at`]).
fn has_status(status: ReservationStatus, now: DateTime<Utc>) -> Condition {
    let column = reservations::COLUMN;
    let recorded = |status| Condition::all().add(column.status.eq(Text(status)));
    let now = now.timestamp_millis();
    match status {
        ReservationStatus::Active => recorded(status).add(column.end_at.gt(now)),
        ReservationStatus::Expired => {
            let unrecorded = recorded(ReservationStatus::Active).add(column.end_at.lte(now));
            Condition::any().add(recorded(status)).add(unrecorded)
        }
        ReservationStatus::Cancelled => recorded(status),
    }
}

/// The conditions of a filter.
fn conditions(filter: &ReservationFilter, now: DateTime<Utc>) -> Condition {
    let column = reservations::COLUMN;
    Condition::all()
        .add_option(filter.resource_id.map(|id| column.resource_id.eq(id)))
        .add_option(filter.status.map(|status| has_status(status, now)))
        .add_option(filter.from.map(|from| column.end_at.gt(from.timestamp_millis())))
        .add_option(filter.to.map(|to| column.start_at.lt(to.timestamp_millis())))
}

/// A reservation as it is at `now`.
fn at(row: ReservationRow, now: DateTime<Utc>) -> Reservation {
    let reservation = Reservation::from(row);
    Reservation { status: reservation.status.at(reservation.end_time, now), ..reservation }
}

/// The deliveries as an actor may see them: a problem contains addresses of the receiver's network, which only those who
/// may read the webhook see.
fn visible(actor: &Actor, mut page: Page<DeliverySummary>) -> Page<DeliverySummary> {
    for delivery in &mut page.items {
        if authorize(actor, Action::ReadWebhook { resource_type: delivery.resource_type.as_deref() }).is_err() {
            delivery.problem = None;
        }
    }
    page
}

/// The reservations of the actor.
fn is_of(actor: &Actor) -> Expr {
    reservations::COLUMN.username.eq(actor.username.as_str())
}

impl Reservations {
    /// Lists reservations, newest first. Administrators and auditors see all of them unless `mine` is set, and owners those
    /// of their resources too.
    ///
    /// # Errors
    /// 422 for an invalid limit or cursor.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list(&self, actor: &Actor, filter: &ReservationFilter, page: &PageQuery) -> Result<Page<Reservation>> {
        authorize(actor, Action::ListReservations)?;
        let limit = page.limit()?;
        let now = self.context.now();
        let rows: Vec<ReservationRow> = select()
            .filter(conditions(filter, now).add(reservations_of(actor)))
            .apply_if(filter.mine.filter(|mine| *mine), |query, _| query.filter(is_of(actor)))
            .apply_if(decode_cursor(page.cursor.as_deref())?, |query, id| query.filter(reservations::COLUMN.id.lt(id)))
            .order_by_desc(reservations::Column::Id)
            .limit(limit + 1)
            .into_partial_model()
            .all(&self.context.db.read)
            .await?;
        let mut reservations: Vec<Reservation> = rows.into_iter().map(|row| at(row, now)).collect();
        hide_early_access(&self.context, &self.context.db.read, &mut reservations).await?;
        Ok(page_of(reservations, limit, |reservation| reservation.id.0.clone()))
    }

    /// Lists the actor's own reservations that are in progress or upcoming, in the order of their start.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list_next(&self, actor: &Actor) -> Result<Vec<Reservation>> {
        authorize(actor, Action::ListReservations)?;
        let now = self.context.now();
        let filter =
            ReservationFilter { status: Some(ReservationStatus::Active), from: Some(now), ..Default::default() };
        let rows: Vec<ReservationRow> = select()
            .filter(conditions(&filter, now))
            .filter(is_of(actor))
            .order_by_asc(reservations::Column::StartAt)
            .order_by_asc(reservations::Column::Id)
            .limit(MAX_NEXT)
            .into_partial_model()
            .all(&self.context.db.read)
            .await?;
        let mut reservations: Vec<Reservation> = rows.into_iter().map(|row| at(row, now)).collect();
        hide_early_access(&self.context, &self.context.db.read, &mut reservations).await?;
        Ok(reservations)
    }

    /// Reads one reservation with its deliveries.
    ///
    /// # Errors
    /// 404, also for another user's reservation.
    #[instrument(skip_all, fields(reservation = %id), err(level = "debug"))]
    pub async fn get(&self, actor: &Actor, id: &ReservationId) -> Result<ReservationDetail> {
        let row: Option<ReservationRow> = select()
            .filter(reservations::COLUMN.id.eq(id.as_str()))
            .into_partial_model()
            .one(&self.context.db.read)
            .await?;
        let reservation = at(row.ok_or_else(|| Problem::not_found("reservation"))?, self.context.now());
        authorize(actor, reservation.read_action())?;
        let reservation = self.shown(&self.context.db.read, reservation).await?;
        let first = PageQuery { limit: Some(MAX_DELIVERIES), cursor: None };
        let Page { items, next_cursor } = visible(actor, self.deliveries.of_reservation(id, &first).await?);
        Ok(ReservationDetail { reservation, deliveries: items, deliveries_next_cursor: next_cursor })
    }

    /// Lists the deliveries of a reservation, oldest first.
    ///
    /// # Errors
    /// 404, also for another user's reservation; 422 for an invalid limit or cursor.
    #[instrument(skip_all, fields(reservation = %id), err(level = "debug"))]
    pub async fn list_deliveries(
        &self,
        actor: &Actor,
        id: &ReservationId,
        page: &PageQuery,
    ) -> Result<Page<DeliverySummary>> {
        let found = reservations::Entity::find_by_id(id.as_str()).find_also_related(resources::Entity);
        let Some((reservation, Some(resource))) = found.one(&self.context.db.read).await? else {
            return Err(Problem::not_found("reservation").into());
        };
        let resource = ResourceKey::new(&resource.resource_type, resource.id);
        authorize(actor, Action::ReadReservation { user: &reservation.username, resource })?;
        Ok(visible(actor, self.deliveries.of_reservation(id, page).await?))
    }

    /// Lists the busy spans between two times, at most 62 days apart, by start. A page has at most 5,000 spans.
    ///
    /// # Errors
    /// 422 if `to` is not after `from` or too far from it, or for an invalid limit or cursor.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list_busy_spans(
        &self,
        actor: &Actor,
        filter: &CalendarFilter,
        page: &PageQuery,
    ) -> Result<Page<BusySpan>> {
        authorize(actor, Action::ReadCatalogue)?;
        let CalendarFilter { from, to, resource_type, resource_id } = filter;
        if to <= from || *to - *from > MAX_CALENDAR_SPAN {
            return Err(Problem::field("to", "Choose an end after the start, at most 62 days later.").into());
        }
        let limit = page.limit_within(MAX_BUSY_SPANS, MAX_BUSY_SPANS)?;
        let after = decode_cursor(page.cursor.as_deref())?.as_deref().map(after_cursor).transpose()?;
        // Of those that have ended, only the turnaround time that is left.
        let has_turnaround = reservations::COLUMN.busy_until.gt(self.context.now().timestamp_millis());
        let is_active = reservations::COLUMN.status.eq(Text(ReservationStatus::Active));
        let is_shown = Condition::all().add(is_busy()).add(Condition::any().add(is_active).add(has_turnaround));
        let rows: Vec<BusyRow> = reservations::Entity::find()
            .inner_join(resources::Entity)
            .join(JoinType::InnerJoin, resources::Relation::ResourceTypes.def())
            .filter(is_shown)
            .filter(busy_until().gt(from.timestamp_millis()))
            .filter(reservations::COLUMN.start_at.lt(to.timestamp_millis()))
            .apply_if(*resource_id, |query, id| query.filter(reservations::COLUMN.resource_id.eq(id)))
            .apply_if(resource_type.as_deref(), |query, slug| query.filter(resources::COLUMN.resource_type.eq(slug)))
            .apply_if(after, |query, after| query.filter(after))
            .order_by_asc(reservations::Column::StartAt)
            .order_by_asc(reservations::Column::Id)
            .limit(limit + 1)
            .into_partial_model()
            .all(&self.context.db.read)
            .await?;
        let Page { items, next_cursor } = page_of(rows, limit, BusyRow::cursor);
        Ok(Page { items: items.into_iter().map(|row| row.for_actor(actor)).collect(), next_cursor })
    }
}
