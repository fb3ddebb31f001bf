//! Statements about the hand-over of a resource from one reservation to the next.
//!
//! Hand-written: they compare rows of one table with each other, and times with the settings of the resource type. Plans:
//! `reservations_busy` and `reservations_released` for one resource.

use super::codec::time;
use super::connect::Database;
use super::link::DatabaseTransaction;
use super::stored_provisioning::from_stored;
use crate::error::Result;
use chrono::{DateTime, TimeDelta, Utc};
use domain::event::EventType;
use domain::id::{ReservationId, ResourceId};
use domain::provisioning::ProvisioningStatus;
use domain::reservation::{Reservation, ReservationStatus};
use sea_orm::{ConnectionTrait as _, DbErr, TryGetableMany as _};

/// An earlier reservation of a resource that has not released it.
pub(crate) struct Predecessor {
    pub(crate) id: ReservationId,
    pub(crate) username: String,
    pub(crate) title: String,
    /// Its end, or the time at which it was cancelled.
    pub(crate) ended_at: DateTime<Utc>,
    pub(crate) is_active: bool,
    /// Whether a service has reported that the release failed.
    pub(crate) has_failed: bool,
}

/// The reservations that a resource must be released from before it is provisioned for `next`, the one that ends last at the end.
/// A failed release no longer counts when a later reservation was provisioned and released.
pub(crate) async fn predecessors(
    db: &Database,
    tx: &DatabaseTransaction,
    next: &Reservation,
) -> Result<Vec<Predecessor>> {
    const COLUMNS: &str =
        "v.id, v.username, v.title, v.status, v.end_at, v.updated_at, COALESCE(p.state, v.provisioning)
        FROM reservations v LEFT JOIN provisioning p ON p.reservation_id = v.id";
    let sql = format!(
        "SELECT {COLUMNS} WHERE v.resource_id = $1 AND v.status = 'active' AND v.start_at < $2 AND v.id <> $3
        UNION ALL
        SELECT {COLUMNS} WHERE v.resource_id = $1 AND v.status <> 'active' AND v.released_at IS NULL AND NOT EXISTS (
            SELECT 1 FROM reservations c
            WHERE c.resource_id = v.resource_id AND c.status <> 'active' AND c.released_at IS NOT NULL AND c.id <> v.id
                AND (c.status = 'expired' OR c.updated_at >= c.start_at)
                AND c.start_at >= CASE WHEN v.status = 'cancelled' AND v.updated_at < v.end_at THEN v.updated_at ELSE v.end_at END)"
    );
    let values = [next.resource_id.into(), next.start_time.timestamp_millis().into(), next.id.as_str().into()];
    let mut found = Vec::new();
    for row in tx.query_all_raw(db.statement(sql, values)).await? {
        let (id, username, title, status, end_at, updated_at, state) =
            <(String, String, String, String, i64, i64, String)>::try_get_many_by_index(&row).map_err(DbErr::from)?;
        let is_cancelled = status == ReservationStatus::Cancelled.as_str();
        found.push(Predecessor {
            id: ReservationId(id),
            username,
            title,
            ended_at: time(if is_cancelled { Ord::min(end_at, updated_at) } else { end_at }),
            is_active: status == ReservationStatus::Active.as_str(),
            has_failed: from_stored(&state)?.status == ProvisioningStatus::Failed,
        });
    }
    found.sort_by_key(|one| one.ended_at);
    Ok(found)
}

/// The last release of a resource after a reservation with a turnaround time, since `since`.
pub(crate) async fn last_release(
    db: &Database,
    tx: &DatabaseTransaction,
    resource: ResourceId,
    since: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>> {
    let sql = "SELECT MAX(released_at) FROM reservations
        WHERE resource_id = $1 AND status <> 'active' AND released_at > $2 AND busy_until IS NOT NULL";
    let values = [resource.into(), since.timestamp_millis().into()];
    let row = tx.query_one_raw(db.statement(sql, values)).await?;
    let last: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
    Ok(last.map(time))
}

/// Keeps a resource busy from `now`, while it is prepared for a reservation that begins later.
pub(crate) async fn begin_preparation(
    db: &Database,
    tx: &DatabaseTransaction,
    id: &ReservationId,
    now: DateTime<Utc>,
) -> Result<()> {
    let sql = "UPDATE reservations SET busy_from = $1 WHERE id = $2 AND busy_from IS NULL AND start_at > $1";
    tx.execute_raw(db.statement(sql, [now.timestamp_millis().into(), id.as_str().into()])).await?;
    Ok(())
}

/// Sets the span of a reservation and its busy time. A resource that is being prepared stays busy.
pub(crate) async fn move_span(
    db: &Database,
    tx: &DatabaseTransaction,
    reservation: &Reservation,
    turnaround: TimeDelta,
) -> Result<()> {
    let sql = "UPDATE reservations SET
            start_at = $1, end_at = $2,
            busy_from = CASE WHEN busy_from < $1 THEN busy_from END,
            busy_until = CASE WHEN $3 > 0 THEN $2 + $3 END
        WHERE id = $4";
    let times = [
        reservation.start_time.timestamp_millis(),
        reservation.end_time.timestamp_millis(),
        turnaround.num_milliseconds(),
    ];
    let values = times.into_iter().map(Into::into).chain([reservation.id.as_str().into()]);
    tx.execute_raw(db.statement(sql, values)).await?;
    Ok(())
}

/// Ends the busy time of a reservation that ends at `now`: its turnaround time begins, if the resource was used or prepared.
pub(crate) async fn end_busy(
    db: &Database,
    tx: &DatabaseTransaction,
    id: &ReservationId,
    now: DateTime<Utc>,
) -> Result<()> {
    let sql = "UPDATE reservations SET busy_until = CASE
            WHEN COALESCE(busy_from, start_at) > $1 THEN NULL
            WHEN end_at > $1 THEN busy_until - end_at + $1
            ELSE busy_until END
        WHERE id = $2 AND busy_until IS NOT NULL";
    tx.execute_raw(db.statement(sql, [now.timestamp_millis().into(), id.as_str().into()])).await?;
    Ok(())
}

/// Records that the resources of ended reservations are released, and lets the reservations that wait for them go on.
pub(crate) async fn mark_released(
    db: &Database,
    tx: &DatabaseTransaction,
    ids: &[&str],
    now: DateTime<Utc>,
) -> Result<()> {
    for id in ids {
        let sql =
            "UPDATE reservations SET released_at = $1 WHERE id = $2 AND status <> 'active' AND released_at IS NULL";
        let values = [now.timestamp_millis().into(), (*id).into()];
        if tx.execute_raw(db.statement(sql, values)).await?.rows_affected() > 0 {
            recheck(db, tx, id, now).await?;
        }
    }
    Ok(())
}

/// Lets the reservations that wait for the resource of this one be checked at once.
pub(crate) async fn recheck(db: &Database, tx: &DatabaseTransaction, id: &str, now: DateTime<Utc>) -> Result<()> {
    // A row that another transaction holds is published by it, or checked again soon.
    let lock = if db.is_postgres() { "FOR UPDATE OF e SKIP LOCKED" } else { "" };
    let sql = format!(
        "UPDATE scheduled_events SET due_at = $1 WHERE event_type = $2 AND blocked AND reservation_id IN (
            SELECT e.reservation_id FROM scheduled_events e
            JOIN reservations w ON w.id = e.reservation_id
            WHERE e.event_type = $2 AND e.blocked AND w.status = 'active'
                AND w.resource_id = (SELECT r.resource_id FROM reservations r WHERE r.id = $3)
            {lock})"
    );
    let values = [now.timestamp_millis().into(), EventType::ReservationCreated.as_str().into(), id.into()];
    tx.execute_raw(db.statement(sql, values)).await?;
    Ok(())
}
