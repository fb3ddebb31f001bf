//! Access information before the start of a reservation (docs/contract.md §12, ADR 0027).
//!
//! Stored states are complete. [`hide_early_access`] removes what is hidden from each reservation that leaves the service: in
//! responses, on the live feed and in exports. It also notes the start, at which [`Reservations::announce_access`] sends the
//! reservation again to open pages.

use super::Reservations;
use super::row::read_reservations;
use crate::Result;
use crate::context::Context;
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::{deliveries, delivery_index, reservations, resource_types, resources, webhooks};
use chrono::{DateTime, Utc};
use domain::change::Change;
use domain::event::EventType;
use domain::id::{ReservationId, WebhookId};
use domain::payload::PayloadFormat;
use domain::provisioning::{AccessBeforeStart, EarlyAccess};
use domain::reservation::{Reservation, ReservationStatus};
use domain::webhook::ProvisionTime;
use parking_lot::Mutex;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, QueryFilter as _, QuerySelect as _, QueryTrait as _,
};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::Notify;
use tracing::instrument;

/// Maximum number of reservations that one round announces.
const ANNOUNCED: usize = 500;

/// The starts of reservations whose access information this process has hidden. In memory only: a page that is still open
/// after a restart has connected again, and then loads everything.
#[derive(Clone, Default)]
pub(crate) struct HiddenAccess {
    starts: Arc<Mutex<BTreeSet<(DateTime<Utc>, String)>>>,
    added: Arc<Notify>,
}

impl HiddenAccess {
    fn add(&self, start: DateTime<Utc>, id: &ReservationId) {
        let mut starts = self.starts.lock();
        let is_earliest = starts.first().is_none_or(|(earliest, _)| start < *earliest);
        starts.insert((start, id.0.clone()));
        drop(starts);
        if is_earliest {
            self.added.notify_one();
        }
    }

    /// Removes the reservations that have started, at most [`ANNOUNCED`].
    fn take_started(&self, now: DateTime<Utc>) -> Vec<String> {
        let mut starts = self.starts.lock();
        let mut started = Vec::new();
        while started.len() < ANNOUNCED && starts.first().is_some_and(|(start, _)| *start <= now) {
            started.extend(starts.pop_first().map(|(_, id)| id));
        }
        started
    }
}

/// Whether a webhook receives the creation of a reservation at its start. Also a deleted webhook has the setting.
fn provisions_at_start(provision: ProvisionTime, format: PayloadFormat) -> bool {
    provision == ProvisionTime::Start || format.holds_until_start(EventType::ReservationCreated)
}

/// The same as a condition on `webhooks`. A value that only a newer release knows counts as the start.
fn is_at_start() -> Condition {
    Condition::any()
        .add(webhooks::COLUMN.provision.ne(Text(ProvisionTime::Booking)))
        .add(webhooks::COLUMN.payload_format.eq(Text(PayloadFormat::Classic)))
}

/// The webhooks among these that provision at the start.
async fn at_start(connection: &impl ConnectionTrait, ids: BTreeSet<WebhookId>) -> Result<HashSet<WebhookId>> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let found: Vec<WebhookId> = webhooks::Entity::find()
        .select_only()
        .column(webhooks::Column::Id)
        .filter(webhooks::COLUMN.id.is_in(ids))
        .filter(is_at_start())
        .into_tuple()
        .all(connection)
        .await?;
    Ok(found.into_iter().collect())
}

/// Removes access information and details that are hidden before the start. Every reservation passes through it before it
/// leaves the service. Without access information before a start, it reads nothing.
pub(crate) async fn hide_early_access<'a>(
    context: &Context,
    connection: &impl ConnectionTrait,
    reservations: impl IntoIterator<Item = &'a mut Reservation>,
) -> Result<()> {
    let now = context.now();
    let mut early: Vec<(&mut Reservation, EarlyAccess)> = reservations
        .into_iter()
        .filter(|reservation| reservation.provisioning.has_access_info())
        .filter_map(|reservation| reservation.early_access(now).map(|early| (reservation, early)))
        .collect();
    if early.is_empty() {
        return Ok(());
    }
    let slugs: BTreeSet<&str> = early.iter().map(|(reservation, _)| reservation.resource_type.as_str()).collect();
    let settings: Vec<(String, Text<AccessBeforeStart>)> = resource_types::Entity::find()
        .select_only()
        .columns([resource_types::Column::Slug, resource_types::Column::AccessBeforeStart])
        .filter(resource_types::COLUMN.slug.is_in(slugs))
        .into_tuple()
        .all(connection)
        .await?;
    let settings: HashMap<String, AccessBeforeStart> =
        settings.into_iter().map(|(slug, setting)| (slug, setting.0)).collect();
    let setting_of = |reservation: &Reservation| settings.get(&reservation.resource_type).copied().unwrap_or_default();
    let services = early
        .iter()
        .filter(|(reservation, _)| setting_of(reservation) == AccessBeforeStart::Automatic)
        .flat_map(|(reservation, _)| reservation.provisioning.services.iter().map(|service| service.webhook_id));
    let at_start = at_start(connection, services.collect()).await?;
    for (reservation, early) in &mut early {
        let setting = setting_of(reservation);
        reservation.provisioning.hide_access(*early, |webhook| setting.hides(at_start.contains(&webhook)));
        if let Some(start) = reservation.provisioning.access_available_at {
            context.hidden_access.add(start, &reservation.id);
        }
    }
    Ok(())
}

/// Whether the responses to a reservation's events are withheld from users who do not manage the webhook, because they can
/// contain access information that is hidden at `now`.
pub(crate) async fn withheld_responses(
    connection: &impl ConnectionTrait,
    reservation: &str,
    webhook: WebhookId,
    now: DateTime<Utc>,
) -> Result<Option<EarlyAccess>> {
    type Row = (Text<ReservationStatus>, i64, i64, String);
    let row: Option<Row> = reservations::Entity::find_by_id(reservation)
        .inner_join(resources::Entity)
        .select_only()
        .columns([reservations::Column::Status, reservations::Column::StartAt, reservations::Column::UpdatedAt])
        .column(resources::Column::ResourceType)
        .into_tuple()
        .one(connection)
        .await?;
    let Some((status, start, updated, slug)) = row else { return Ok(None) };
    let Some(early) = EarlyAccess::of(status.0, time(start), time(updated), now) else { return Ok(None) };
    let resource_type = resource_types::Entity::find_by_id(slug).one(connection).await?;
    let setting = resource_type.map(|row| row.access_before_start.0).unwrap_or_default();
    let webhook = webhooks::Entity::find_by_id(webhook).one(connection).await?;
    let at_start = webhook.is_some_and(|row| provisions_at_start(row.provision.0, row.payload_format.0));
    Ok(setting.hides(at_start).then_some(early))
}

/// The deliveries of the index whose responses are withheld ([`withheld_responses`]), as a condition of a search by a user who
/// does not manage webhooks.
pub(crate) fn has_withheld_responses(now: DateTime<Utc>) -> Expr {
    let column = reservations::COLUMN;
    let starts_later = Condition::all()
        .add(column.status.ne(Text(ReservationStatus::Cancelled)))
        .add(column.start_at.gt(now.timestamp_millis()));
    let never_starts = Condition::all().add(column.status.eq(Text(ReservationStatus::Cancelled))).add(
        Expr::col(reservations::Column::UpdatedAt.as_column_ref())
            .lt(Expr::col(reservations::Column::StartAt.as_column_ref())),
    );
    let is_not = |setting| resource_types::COLUMN.access_before_start.ne(Text(setting));
    let ids = webhooks::Entity::find().select_only().column(webhooks::Column::Id).filter(is_at_start());
    let hides = Condition::any()
        .add(is_not(AccessBeforeStart::Automatic))
        .add(delivery_index::COLUMN.webhook_id.in_subquery(ids.into_query()));
    let types = resource_types::Entity::find().select_only().column(resource_types::Column::Slug);
    let types = types.filter(is_not(AccessBeforeStart::Show)).filter(hides);
    let early = reservations::Entity::find()
        .inner_join(resources::Entity)
        .select_only()
        .column(reservations::Column::Id)
        .filter(Condition::any().add(starts_later).add(never_starts))
        .filter(resources::COLUMN.resource_type.in_subquery(types.into_query()));
    let of = deliveries::Entity::find().select_only().column(deliveries::Column::Seq);
    let of = of.filter(deliveries::COLUMN.reservation_id.in_subquery(early.into_query()));
    delivery_index::COLUMN.seq.in_subquery(of.into_query())
}

impl Reservations {
    /// A reservation as its readers see it.
    pub(super) async fn shown(
        &self,
        connection: &impl ConnectionTrait,
        mut reservation: Reservation,
    ) -> Result<Reservation> {
        hide_early_access(&self.context, connection, [&mut reservation]).await?;
        Ok(reservation)
    }

    /// Announces reservations whose access information this process has hidden and that have started, so that open pages show
    /// it. Returns their number.
    ///
    /// # Errors
    /// If the database is unavailable. The reservations are announced by the next call.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn announce_access(&self) -> Result<u64> {
        let started = self.context.hidden_access.take_started(self.context.now());
        if started.is_empty() || !self.feed.has_subscribers() {
            return Ok(started.len() as u64);
        }
        let found = read_reservations(&self.context, &self.context.db.read, &started).await;
        let found = found.inspect_err(|_| {
            let now = self.context.now();
            started.iter().for_each(|id| self.context.hidden_access.add(now, &ReservationId(id.clone())));
        })?;
        self.feed.publish(found.into_iter().map(|reservation| Change::Reservation(Box::new(reservation))).collect());
        Ok(started.len() as u64)
    }

    /// The next start at which access information becomes readable.
    pub fn next_access(&self) -> Option<DateTime<Utc>> {
        self.context.hidden_access.starts.lock().first().map(|(start, _)| *start)
    }

    /// Waits until [`Self::next_access`] is earlier. Only one task may call it.
    pub async fn wait_for_hidden_access(&self) {
        self.context.hidden_access.added.notified().await;
    }
}
