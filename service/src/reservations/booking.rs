//! Which resources an actor may book, and overlaps of reservations.

use crate::Result;
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::reservations;
use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use domain::authorization::{Actor, Role};
use domain::problem::ConflictSpan;
use domain::reservation::{Reservation, ReservationStatus};
use domain::resource::ResourceStatus;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

/// How far ahead a reservation may end.
const HORIZON: Duration = Duration::days(3_660);

/// Checks that a reservation does not end too far in the future.
pub(super) fn check_horizon(end: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Problem> {
    if end - now > HORIZON {
        return Err(Problem::field("end_time", "Reserve at most ten years ahead."));
    }
    Ok(())
}

/// Whether the actor needs a grant to book a resource with this status.
pub(super) fn needs_grant(actor: &Actor, status: ResourceStatus) -> bool {
    status == ResourceStatus::Restricted && actor.role != Role::Administrator
}

/// Checks that the actor may book time of a resource. `granted` counts only if [`needs_grant`].
pub(super) fn check_bookable(actor: &Actor, name: &str, status: ResourceStatus, granted: bool) -> Result<(), Problem> {
    match status {
        ResourceStatus::Maintenance => {
            Err(Problem::conflict(format!("{name} is in maintenance and cannot be reserved now.")))
        }
        _ if needs_grant(actor, status) && !granted => {
            Err(Problem::forbidden(format!("{name} is restricted. Request access to it first.")))
        }
        ResourceStatus::Available | ResourceStatus::Restricted => Ok(()),
    }
}

/// The span of the first other active reservation that overlaps `wanted`.
pub(super) async fn first_overlap(
    connection: &impl ConnectionTrait,
    wanted: &Reservation,
) -> Result<Option<(DateTime<Utc>, DateTime<Utc>)>> {
    let span: Option<(i64, i64)> = reservations::Entity::find()
        .select_only()
        .columns([reservations::Column::StartAt, reservations::Column::EndAt])
        .filter(reservations::COLUMN.resource_id.eq(wanted.resource_id))
        .filter(reservations::COLUMN.status.eq(Text(ReservationStatus::Active)))
        .filter(reservations::COLUMN.start_at.lt(wanted.end_time.timestamp_millis()))
        .filter(reservations::COLUMN.end_at.gt(wanted.start_time.timestamp_millis()))
        .filter(reservations::COLUMN.id.ne(wanted.id.as_str()))
        .order_by_asc(reservations::Column::StartAt)
        .limit(1)
        .into_tuple()
        .one(connection)
        .await?;
    Ok(span.map(|(start, end)| (time(start), time(end))))
}

/// The problem of a span that overlaps another reservation.
pub(super) fn overlap_problem((start_time, end_time): (DateTime<Utc>, DateTime<Utc>)) -> Problem {
    let format = "%Y-%m-%d %H:%M";
    let detail = format!(
        "The resource is already reserved from {} to {} UTC. Choose another time or another resource.",
        start_time.format(format),
        end_time.format(format)
    );
    Problem { conflict: Some(ConflictSpan { start_time, end_time }), ..Problem::conflict(detail) }
}

/// Why a reservation was not written: another one overlaps it, or its resource has changed.
pub(super) async fn conflict_reason(connection: &impl ConnectionTrait, wanted: &Reservation) -> Result<Problem> {
    Ok(match first_overlap(connection, wanted).await? {
        Some(span) => overlap_problem(span),
        None => Problem::conflict("The resource has just changed. Check it and reserve again."),
    })
}
