//! Access information before the start of a reservation (docs/contract.md §12, ADR 0027).
//!
//! Stored states are complete. [`hide_early_access`] removes what is hidden from each reservation that leaves the service: in
//! responses, on the live feed and in exports. It also notes the start, at which the reservation is sent again to open pages
//! ([`crate::hidden_access`]).

use crate::Result;
use crate::context::Context;
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::{deliveries, delivery_index, reservations, resource_types, resources, webhooks};
use chrono::{DateTime, Utc};
use domain::event::EventType;
use domain::id::WebhookId;
use domain::payload::PayloadFormat;
use domain::provisioning::{AccessBeforeStart, EarlyAccess};
use domain::reservation::{Reservation, ReservationStatus};
use domain::webhook::ProvisionTime;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, QueryFilter as _, QuerySelect as _, QueryTrait as _,
};
use std::collections::{BTreeSet, HashMap, HashSet};

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
    let Some(early) = EarlyAccess::of(status.0 == ReservationStatus::Cancelled, time(start), time(updated), now) else {
        return Ok(None);
    };
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
