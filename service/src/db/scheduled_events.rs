//! Statements about events of reservations that are due at a later time.

use super::connect::Database;
use super::link::DatabaseTransaction;
use crate::error::Result;
use domain::event::EventType;
use domain::resource::ResourceType;
use sea_orm::{ConnectionTrait as _, Value};

const MINUTE_MS: i64 = 60_000;

/// The events that this release schedules, in the order in which they are published at the same time. Rows of another event were
/// written by a newer release, and stay for it.
pub(crate) const SCHEDULED: [EventType; 3] =
    [EventType::ReservationCreated, EventType::ReservationStarted, EventType::ReservationEnding];

/// The due time of `reservation.ending` for the reservation `r`, with a notice of `$1` milliseconds: not before the start.
const ENDING_DUE: &str = "CASE WHEN r.end_at - $1 > r.start_at THEN r.end_at - $1 ELSE r.start_at END";

/// Moves the events of a resource type that are not published yet to its lead time and its ending notice.
pub(crate) async fn move_to_notices(
    db: &Database,
    tx: &DatabaseTransaction,
    resource_type: &ResourceType,
) -> Result<()> {
    let moves = [
        (EventType::ReservationCreated, "r.start_at - $1", resource_type.lead_minutes),
        (EventType::ReservationEnding, ENDING_DUE, resource_type.ending_notice_minutes),
    ];
    for (event, due, minutes) in moves {
        let sql = format!(
            "UPDATE scheduled_events SET due_at = (SELECT {due} FROM reservations r WHERE r.id = reservation_id)
            WHERE due_at IS NOT NULL AND event_type = $2 AND reservation_id IN (
                SELECT r.id FROM reservations r JOIN resources s ON s.id = r.resource_id
                WHERE r.status = 'active' AND s.resource_type = $3)"
        );
        let values: [Value; 3] =
            [(i64::from(minutes) * MINUTE_MS).into(), event.as_str().into(), resource_type.slug.as_str().into()];
        tx.execute_raw(db.statement(sql, values)).await?;
    }
    Ok(())
}

/// Schedules an opt-in event of active reservations that have no entry yet and whose time has not come at `since`, in
/// milliseconds since the epoch: those of one resource type, or all. In the order of their ids, so that replicas do not wait for each
/// other in a circle.
pub(crate) async fn schedule_missing(
    db: &Database,
    event: EventType,
    resource_type: Option<&str>,
    since: i64,
) -> Result<()> {
    let due = match event {
        EventType::ReservationEnding => {
            "CASE WHEN r.end_at - t.ending_notice_minutes * 60000 > r.start_at
                THEN r.end_at - t.ending_notice_minutes * 60000 ELSE r.start_at END"
        }
        _ => "r.start_at",
    };
    // A change of the notice moves the events that exist, so none is written with the notice before it.
    let lock = if db.is_postgres() { "FOR SHARE OF t" } else { "" };
    let (condition, slug) = match resource_type {
        Some(slug) => ("AND t.slug = $3", Some(slug)),
        None => ("", None),
    };
    let sql = format!(
        "INSERT INTO scheduled_events (reservation_id, event_type, webhook_id, due_at)
        SELECT r.id, $1, 0, {due}
        FROM reservations r JOIN resources s ON s.id = r.resource_id JOIN resource_types t ON t.slug = s.resource_type
        WHERE r.status = 'active' AND r.end_at > $2 AND {due} > $2 {condition}
            AND NOT EXISTS (SELECT 1 FROM scheduled_events e WHERE e.reservation_id = r.id AND e.event_type = $1)
        ORDER BY r.id {lock}
        ON CONFLICT DO NOTHING"
    );
    let values = [Value::from(event.as_str()), since.into()].into_iter().chain(slug.map(Value::from));
    db.write.execute_raw(db.statement(sql, values)).await?;
    Ok(())
}
