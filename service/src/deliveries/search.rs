//! Searches in the index of the delivery log.

use super::Deliveries;
use super::log::{has_status, queued_by};
use crate::Result;
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::delivery_words::{self, TextQuery};
use crate::db::entity::{
    access_requests, deliveries, delivery_index, delivery_index_state, outbox, reservations, resources, webhooks,
};
use crate::early_access::has_withheld_responses;
use crate::ownership::visibility::deliveries_of;
use chrono::{DateTime, Utc};
use domain::Problem;
use domain::authorization::{Action, Actor, authorize};
use domain::delivery::{DeliveryCount, DeliveryFilter, DeliveryStatus, IndexState};
use domain::search::{Comparison, Criterion, Pattern, Search, Term};
use sea_orm::sea_query::{
    Alias, Asterisk, BinOper, Expr, ExprTrait as _, Func, LikeExpr, Query, SelectStatement, UnionType,
};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait as _, EntityTrait as _, JoinType, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _, RelationTrait as _, Select,
};

/// Maximum number that is counted exactly.
const MAX_COUNTED: u64 = 10_000;

/// A filter with its parsed search.
pub(super) struct Matching {
    filter: DeliveryFilter,
    search: Search,
    text: TextQuery,
    postgres: bool,
    now: DateTime<Utc>,
}

impl Deliveries {
    /// Parses the search of a filter.
    ///
    /// # Errors
    /// 422 naming `q` for an invalid search, and for one that needs texts if these are not indexed.
    pub(super) fn matching(&self, filter: &DeliveryFilter) -> Result<Matching, Problem> {
        let search = Search::parse(filter.q.as_deref().unwrap_or_default())?;
        if search.needs_text() && !self.context.settings.search_text {
            let message = "Texts are not indexed on this server (BERTH_SEARCH_TEXT=off). Use terms with keys only, e.g. \
                           status:failed code:5xx.";
            return Err(Problem::field("q", message));
        }
        let postgres = self.context.db.is_postgres();
        let text = TextQuery::new(&search, postgres);
        Ok(Matching { filter: filter.clone(), search, text, postgres, now: self.context.now() })
    }

    /// The number of deliveries that match a filter, up to 10,000.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, an auditor or an owner; 422 for an invalid search.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn count_matching(&self, actor: &Actor, filter: &DeliveryFilter) -> Result<DeliveryCount> {
        authorize(actor, Action::ReadOwned)?;
        let matching = self.matching(filter)?;
        let count = self.count_up_to(matching.select(actor), MAX_COUNTED + 1).await?;
        let index = self.index_state().await?;
        Ok(DeliveryCount { count: Ord::min(count, MAX_COUNTED), more: count > MAX_COUNTED, index })
    }

    /// How far the index reaches.
    pub(super) async fn index_state(&self) -> Result<IndexState> {
        let db = &self.context.db.read;
        let text = self.context.settings.search_text;
        let newest = deliveries::Entity::find().select_only().column_as(deliveries::COLUMN.seq.max(), "seq");
        let newest: Option<i64> = newest.into_tuple::<Option<i64>>().one(db).await?.flatten();
        let state = delivery_index_state::Entity::find_by_id(delivery_index_state::ID).one(db).await?;
        let reached = state.map_or(0, |state| state.seq);
        let until: Option<i64> = delivery_index::Entity::find()
            .select_only()
            .column(delivery_index::Column::CreatedAt)
            .order_by_desc(delivery_index::Column::Seq)
            .limit(1)
            .into_tuple()
            .one(db)
            .await?;
        let missing = u64::try_from(newest.unwrap_or_default() - reached).unwrap_or_default();
        let pending = delivery_index::Entity::find().filter(delivery_index::COLUMN.needs_text.eq(true));
        let without_text = if text { self.count_up_to(pending, MAX_COUNTED).await? } else { 0 };
        let behind = Ord::max(missing, without_text);
        Ok(IndexState { complete: behind == 0, until: until.map(time), behind, text })
    }

    /// The number of rows, at most `limit`.
    async fn count_up_to(&self, rows: Select<delivery_index::Entity>, limit: u64) -> Result<u64> {
        let rows = rows.select_only().expr(Expr::val(1)).limit(limit).into_query();
        let count = Query::select().expr(Func::count(Expr::col(Asterisk))).from_subquery(rows, Alias::new("m")).take();
        let row = self.context.db.read.query_one(&count).await?;
        Ok(row.map_or(Ok(0), |row| row.try_get_by_index::<i64>(0))?.unsigned_abs())
    }

    /// The positions of the deliveries that match, newest first, before `before`.
    pub(super) async fn found(
        &self,
        actor: &Actor,
        matching: &Matching,
        before: Option<i64>,
        limit: u64,
    ) -> Result<Vec<i64>> {
        let rows = matching
            .select(actor)
            .select_only()
            .column(delivery_index::Column::Seq)
            .filter(Condition::all().add_option(before.map(|seq| matching.text.order().lt(seq))))
            .order_by_desc(matching.text.order())
            .limit(limit);
        Ok(rows.into_tuple().all(&self.context.db.read).await?)
    }
}

impl Matching {
    /// The rows of the index that match and that the actor may read.
    pub(super) fn select(&self, actor: &Actor) -> Select<delivery_index::Entity> {
        let mut rows = self.rows();
        if actor.role.reads_everything() {
            // Texts contain responses. A search must not find what the log does not show to an auditor.
            if self.search.needs_text() && !actor.manages_webhooks_of(None) {
                rows = rows.filter(has_withheld_responses(self.now).not());
            }
            return rows;
        }
        rows.join(JoinType::InnerJoin, delivery_index::Relation::Deliveries.def())
            .join(JoinType::InnerJoin, delivery_index::Relation::Webhooks.def())
            .filter(deliveries_of(actor))
    }

    /// The positions of the rows that match, as a subquery. The caller limits them to what an actor may read.
    pub(super) fn seqs(&self) -> SelectStatement {
        self.rows().select_only().column(delivery_index::Column::Seq).into_query()
    }

    /// The rows of the index that match.
    fn rows(&self) -> Select<delivery_index::Entity> {
        let mut select = delivery_index::Entity::find().filter(filter_conditions(&self.filter));
        for term in self.search.terms.iter().filter(|term| !is_text(term)) {
            let any =
                term.any.iter().fold(Condition::any(), |any, criterion| any.add(condition(criterion, self.postgres)));
            select = select.filter(if term.negated { any.not() } else { any });
        }
        self.text.apply(sea_orm::QuerySelect::query(&mut select));
        select
    }

    /// Whether the search selects a status.
    pub(super) fn selects_status(&self) -> bool {
        self.search.selects_status()
    }
}

fn is_text(term: &Term) -> bool {
    term.any.iter().any(|criterion| matches!(criterion, Criterion::Text(_)))
}

/// The conditions of the other filters.
fn filter_conditions(filter: &DeliveryFilter) -> Condition {
    let millis = |time: DateTime<Utc>| time.timestamp_millis();
    let of = |column: deliveries::Column, value: &str| {
        let rows = deliveries::Entity::find().select_only().column(deliveries::Column::Seq);
        delivery_index::COLUMN.seq.in_subquery(rows.filter(column.eq(value)).into_query())
    };
    Condition::all()
        .add_option(filter.webhook_id.map(|id| delivery_index::COLUMN.webhook_id.eq(id)))
        .add_option(filter.event_type.map(|event| delivery_index::COLUMN.event_type.eq(event.as_str())))
        .add_option(filter.reservation_id.as_deref().map(|id| of(deliveries::Column::ReservationId, id)))
        .add_option(filter.redelivery_of.as_ref().map(|id| of(deliveries::Column::RedeliveryOf, id.as_str())))
        .add_option(filter.replay.as_ref().map(|id| delivery_index::COLUMN.seq.in_subquery(queued_by(id))))
        .add_option(filter.since.map(|since| delivery_index::COLUMN.created_at.gte(millis(since))))
        .add_option(filter.until.map(|until| delivery_index::COLUMN.created_at.lt(millis(until))))
        .add_option(filter.status.map(status))
}

/// The status of a delivery. The queue has that of an open one.
fn status(status: DeliveryStatus) -> Expr {
    if status.is_final() {
        return delivery_index::COLUMN.status.eq(Text(status));
    }
    let queued = outbox::Entity::find().select_only().column(outbox::Column::Seq).filter(has_status(status));
    delivery_index::COLUMN.seq.in_subquery(queued.into_query())
}

/// A pattern for LIKE around an escaped text.
fn like(before: &str, text: &str, after: &str) -> LikeExpr {
    let mut pattern = before.to_owned();
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push_str(after);
    LikeExpr::new(pattern).escape('\\')
}

/// The condition of a criterion. It is never NULL, so that it can be negated.
fn condition(criterion: &Criterion, postgres: bool) -> Expr {
    let column = delivery_index::COLUMN;
    match criterion {
        Criterion::Status(of) => status(*of),
        Criterion::WebhookId(id) => column.webhook_id.eq(*id),
        Criterion::WebhookName(name) => {
            let named = Expr::expr(Func::lower(Expr::col(webhooks::Column::Name))).like(like("%", name, "%"));
            let ids = webhooks::Entity::find().select_only().column(webhooks::Column::Id).filter(named);
            column.webhook_id.in_subquery(ids.into_query())
        }
        Criterion::Event(event) => column.event_type.eq(event.as_str()),
        Criterion::Code(from, to) if from == to => {
            column.status_code.is_not_null().and(column.status_code.eq(i32::from(*from)))
        }
        Criterion::Code(from, to) => {
            let range = column.status_code.between(i32::from(*from), i32::from(*to));
            column.status_code.is_not_null().and(range)
        }
        // A delivery without an attempt has no duration.
        Criterion::NoResponse => column.status_code.is_null().and(column.duration_ms.is_not_null()),
        Criterion::Cause(cause) => column.cause.is_not_null().and(column.cause.eq(cause.as_str())),
        Criterion::Duration(comparison, ms) => {
            let duration = Expr::col((delivery_index::Entity, delivery_index::Column::DurationMs));
            // Durations are shown in whole milliseconds.
            let compared = match comparison {
                Comparison::Equal => duration.gte(*ms - 0.5).and(column.duration_ms.lt(*ms + 0.5)),
                _ => compare(duration, *comparison, *ms),
            };
            let compared = column.duration_ms.is_not_null().and(compared);
            // An equal duration can be shorter by the rounding.
            let shortest = if *comparison == Comparison::Equal { *ms - 0.5 } else { *ms };
            let is_slow = shortest >= 1_000.0 && is_lower_bound(*comparison);
            if is_slow { compared.and(delivery_words::is_slow()) } else { compared }
        }
        Criterion::Attempts(comparison, number) => {
            let attempts = Expr::col((delivery_index::Entity, delivery_index::Column::Attempts));
            let compared = compare(attempts, *comparison, i64::from(*number));
            let is_retried = *number >= 2 && is_lower_bound(*comparison);
            if is_retried || (*number == 1 && *comparison == Comparison::Greater) {
                compared.and(delivery_words::is_retried())
            } else {
                compared
            }
        }
        Criterion::Id(id) => id_condition(id, postgres),
        Criterion::User(Pattern::Exactly(name)) => {
            about(reservations::COLUMN.username.eq(name.as_str()), access_requests::COLUMN.username.eq(name.as_str()))
        }
        Criterion::User(Pattern::Prefix(name)) => about(
            Expr::col(reservations::Column::Username.as_column_ref()).like(like("", name, "%")),
            Expr::col(access_requests::Column::Username.as_column_ref()).like(like("", name, "%")),
        ),
        Criterion::ResourceId(id) => {
            about(reservations::COLUMN.resource_id.eq(*id), access_requests::COLUMN.resource_id.eq(*id))
        }
        Criterion::ResourceName(name) => {
            let ids = || {
                let named = Expr::expr(Func::lower(Expr::col(resources::Column::Name))).like(like("%", name, "%"));
                resources::Entity::find().select_only().column(resources::Column::Id).filter(named).into_query()
            };
            about(
                reservations::COLUMN.resource_id.in_subquery(ids()),
                access_requests::COLUMN.resource_id.in_subquery(ids()),
            )
        }
        Criterion::Test(test) => column.test.eq(*test),
        // The texts of a search are one condition: `TextQuery`.
        Criterion::Text(_) => Expr::val(true),
    }
}

/// Whether a comparison excludes all smaller values.
fn is_lower_bound(comparison: Comparison) -> bool {
    matches!(comparison, Comparison::Greater | Comparison::AtLeast | Comparison::Equal)
}

fn compare(value: Expr, comparison: Comparison, with: impl Into<Expr>) -> Expr {
    match comparison {
        Comparison::Greater => value.gt(with),
        Comparison::AtLeast => value.gte(with),
        Comparison::Less => value.lt(with),
        Comparison::AtMost => value.lte(with),
        Comparison::Equal => value.eq(with),
    }
}

/// Deliveries about reservations and access requests with these conditions.
fn about(reservation: Expr, request: Expr) -> Expr {
    let reservations = reservations::Entity::find().select_only().column(reservations::Column::Id).filter(reservation);
    let requests = access_requests::Entity::find().select_only().column(access_requests::Column::Id).filter(request);
    let mut ids = reservations.into_query();
    ids.union(UnionType::All, requests.into_query());
    delivery_index::COLUMN.ordering_key.in_subquery(ids)
}

/// A part of an id. One that begins like an id is the beginning of it, which is a range of an index.
fn id_condition(id: &str, postgres: bool) -> Expr {
    use delivery_index::Column::{EventId, Id, OrderingKey};
    let column = match id.get(..4) {
        Some("dlv_") => Some(Id),
        Some("evt_") => Some(EventId),
        Some("rsv-" | "acr_") => Some(OrderingKey),
        _ => None,
    };
    if let Some(column) = column {
        let column = || Expr::col(column.as_column_ref());
        // `~` is greater than every character of an id.
        let end = format!("{id}~");
        // PostgreSQL: the operators of the index, which compares bytes.
        return if postgres {
            column().binary(BinOper::Custom("~>=~"), id).and(column().binary(BinOper::Custom("~<~"), end))
        } else {
            column().gte(id).and(column().lt(end))
        };
    }
    [Id, EventId, OrderingKey]
        .into_iter()
        .map(|column| Expr::col(column.as_column_ref()).like(like("%", id, "%")))
        .reduce(|one, other| one.or(other))
        .unwrap_or_else(|| Expr::val(false))
}
