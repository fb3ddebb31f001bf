//! Which resources an actor may book, and overlaps of reservations.

use crate::Result;
use crate::catalogue::Bookable;
use crate::db::codec::time;
use crate::db::entity::reservations;
use crate::db::reservations::{busy_from, busy_until, is_busy};
use crate::settings::Quotas;
use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use domain::authorization::Actor;
use domain::ownership::ResourceKey;
use domain::problem::{ConflictSpan, Validator};
use domain::reservation::Reservation;
use domain::resource::ResourceStatus;
use sea_orm::sea_query::ExprTrait as _;
use sea_orm::{ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

/// How far ahead a reservation may end.
const HORIZON: Duration = Duration::days(3_660);

/// Checks the limits on the end and the duration of a reservation.
pub(super) fn check_span_quotas(
    quotas: &Quotas,
    (start, end): (DateTime<Utc>, DateTime<Utc>),
    now: DateTime<Utc>,
) -> Result<(), Problem> {
    let exceeds = |span: Duration, hours: Option<u32>| hours.filter(|hours| span > Duration::hours((*hours).into()));
    let mut validator = Validator::new();
    if let Some(hours) = exceeds(end - now, quotas.hours_ahead) {
        validator.error(
            "end_time",
            format!(
                "Reserve at most {} ahead. Choose an earlier time, or ask the operator to raise BERTH_MAX_HOURS_AHEAD.",
                in_words(hours)
            ),
        );
    }
    if let Some(hours) = exceeds(end - start, quotas.reservation_hours) {
        validator.error(
            "end_time",
            format!(
                "A reservation lasts at most {}. Choose an earlier end, or ask the operator to raise \
                 BERTH_MAX_RESERVATION_HOURS.",
                in_words(hours)
            ),
        );
    }
    validator.finish()
}

/// Hours, or days if they are full.
fn in_words(hours: u32) -> String {
    match hours {
        1 => "1 hour".to_owned(),
        _ if hours >= 48 && hours.is_multiple_of(24) => format!("{} days", hours / 24),
        _ => format!("{hours} hours"),
    }
}

/// The problem of a user with as many active reservations as one user may have.
pub(super) fn too_many_active(limit: u32) -> Problem {
    Problem::conflict(format!(
        "You have {limit} active reservations, which is the limit. Cancel one that you do not need, or ask the operator to \
         raise BERTH_MAX_ACTIVE_RESERVATIONS."
    ))
}

/// The problem of a reservation that was changed as often as allowed, with the time until the next change.
pub(super) fn too_many_changes(limit: u32, wait: Duration) -> Problem {
    let seconds = u64::try_from(wait.num_seconds()).unwrap_or_default() + 1;
    let detail = format!(
        "This reservation was changed {limit} times within a minute, which is the limit. Try again in {seconds} s, or \
         ask the operator to raise BERTH_MAX_CHANGES_PER_MINUTE."
    );
    Problem::rate_limited(detail, seconds)
}

/// Checks that a reservation does not end too far in the future.
pub(super) fn check_horizon(end: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Problem> {
    if end - now > HORIZON {
        return Err(Problem::field("end_time", "Reserve at most ten years ahead."));
    }
    Ok(())
}

/// Whether the actor needs a grant to book a resource: it is restricted, and they are neither administrator nor owner.
pub(super) fn needs_grant(actor: &Actor, resource: &Bookable) -> bool {
    let key = ResourceKey::new(&resource.resource_type, resource.id);
    resource.status == ResourceStatus::Restricted && !actor.manages(key)
}

/// Checks that the actor may book time of a resource. `granted` counts only if [`needs_grant`].
pub(super) fn check_bookable(actor: &Actor, resource: &Bookable, granted: bool) -> Result<(), Problem> {
    let name = &resource.name;
    match resource.status {
        ResourceStatus::Maintenance => {
            Err(Problem::conflict(format!("{name} is in maintenance and cannot be reserved now.")))
        }
        _ if needs_grant(actor, resource) && !granted => {
            Err(Problem::forbidden(format!("{name} is restricted. Request access to it first.")))
        }
        ResourceStatus::Available | ResourceStatus::Restricted => Ok(()),
    }
}

/// The first other span in which the resource is busy, and that overlaps `wanted` with its turnaround time.
pub(super) async fn first_overlap(
    connection: &impl ConnectionTrait,
    wanted: &Reservation,
    turnaround: Duration,
) -> Result<Option<(DateTime<Utc>, DateTime<Utc>)>> {
    let span: Option<(i64, i64)> = reservations::Entity::find()
        .select_only()
        .expr(busy_from())
        .expr(busy_until())
        .filter(reservations::COLUMN.resource_id.eq(wanted.resource_id))
        .filter(is_busy())
        .filter(busy_from().lt((wanted.end_time + turnaround).timestamp_millis()))
        .filter(busy_until().gt(wanted.start_time.timestamp_millis()))
        .filter(reservations::COLUMN.id.ne(wanted.id.as_str()))
        .order_by_asc(busy_from())
        .limit(1)
        .into_tuple()
        .one(connection)
        .await?;
    Ok(span.map(|(start, end)| (time(start), time(end))))
}

/// The problem of a span that overlaps another reservation.
pub(super) fn overlap_problem((start_time, end_time): (DateTime<Utc>, DateTime<Utc>), turnaround: Duration) -> Problem {
    let format = "%Y-%m-%d %H:%M";
    let detail = format!(
        "The resource is already reserved from {} to {} UTC{}. Choose another time or another resource.",
        start_time.format(format),
        end_time.format(format),
        match turnaround.num_minutes() {
            0 => String::new(),
            minutes => format!(", and stays free for {minutes} minutes after each reservation"),
        }
    );
    Problem { conflict: Some(ConflictSpan { start_time, end_time }), ..Problem::conflict(detail) }
}

/// Why a reservation was not written: another one overlaps it, or its resource has changed.
pub(super) async fn conflict_reason(
    connection: &impl ConnectionTrait,
    wanted: &Reservation,
    turnaround: Duration,
) -> Result<Problem> {
    Ok(match first_overlap(connection, wanted, turnaround).await? {
        Some(span) => overlap_problem(span, turnaround),
        None => Problem::conflict("The resource or your account has just changed. Check them and reserve again."),
    })
}
