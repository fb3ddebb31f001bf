//! New reservations, many in one statement.
//!
//! Hand-written: creating reservations under load is a hot path. The insertion depends on other rows (the status of the resource, and on
//! SQLite the overlapping reservations), and SeaORM has no INSERT … SELECT from arrays. One statement for many rows also saves
//! SQLite time: each statement is sent to the thread of its connection and back. Plans: the primary key of `resources`; the
//! index of the exclusion constraint on PostgreSQL, `reservations_busy` on SQLite. Benchmark: reservations accepted and delivered.

use super::bulk::BulkValues;
use super::codec::{time, to_json};
use super::column::Text;
use super::connect::Database;
use super::entity::{reservations, users};
use super::link::DatabaseTransaction;
use super::scheduled_events::SCHEDULED;
use super::stored_provisioning::to_stored;
use super::webhook_revision::REVISION;
use crate::Result;
use chrono::{DateTime, Duration, Utc};
use domain::id::{ReservationId, ResourceId};
use domain::reservation::{Reservation, ReservationStatus};
use domain::resource::ResourceStatus;
use sea_orm::sea_query::{Expr, Func, LockType};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait as _, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, TryGetableMany as _, Value,
};
use std::collections::{BTreeSet, HashMap, HashSet};

/// A validated reservation that is written if its span is free.
pub(crate) struct NewReservation {
    pub(crate) reservation: Reservation,
    /// The owner's e-mail address, for the event.
    pub(crate) email: String,
    /// The status against which the request was checked. If it has changed, the reservation is not written.
    pub(crate) resource_status: ResourceStatus,
    /// Time after the reservation in which the resource is not free.
    pub(crate) turnaround: Duration,
}

/// The reservations that were inserted.
pub(crate) struct Inserted {
    /// Their ids.
    pub(crate) ids: HashSet<String>,
    /// The revision of all webhooks when they were inserted; `None` if none was. The caller saves a statement that reads it.
    pub(crate) revision: Option<i64>,
}

impl Inserted {
    /// Runs an insertion that returns ids and the revision of all webhooks.
    async fn read(&mut self, db: &Database, tx: &DatabaseTransaction, sql: String, values: Vec<Value>) -> Result<()> {
        for row in tx.query_all_raw(db.statement(sql, values)).await? {
            let (id, revision) = <(String, i64)>::try_get_many_by_index(&row).map_err(DbErr::from)?;
            self.ids.insert(id);
            self.revision = Some(revision);
        }
        Ok(())
    }
}

/// Inserts the reservations whose span is free, whose resource still has the expected status and whose owner has an account.
/// Of two that overlap each other, the first has precedence. On PostgreSQL the accounts are locked like those of a foreign key, so
/// that none is erased meanwhile.
pub(crate) async fn insert_free(db: &Database, tx: &DatabaseTransaction, new: &[&NewReservation]) -> Result<Inserted> {
    const INSERT: &str = "
        INSERT INTO reservations (
            id, username, resource_id, title, start_at, end_at, user_ssh_key, additional_config,
            status, cancel_reason, provisioning, created_at, updated_at, busy_until
        )
        SELECT
            r.id, r.username, r.resource_id, r.title, r.start_at, r.end_at, r.user_ssh_key, r.additional_config,
            'active', '', r.provisioning, r.created_at, r.created_at,
            CASE WHEN t.turnaround_minutes > 0 THEN r.end_at + t.turnaround_minutes * 60000 END";
    let returning = format!("RETURNING id, ({REVISION})");
    let mut inserted = Inserted { ids: HashSet::with_capacity(new.len()), revision: None };
    if db.is_postgres() {
        // The exclusion constraint also rejects overlaps within the batch.
        let (source, values) = bulk_values(new)?.into_sql(db);
        let sql = format!(
            "{INSERT} FROM {source} JOIN resources x ON x.id = r.resource_id AND x.status = r.resource_status
                JOIN resource_types t ON t.slug = x.resource_type
                JOIN users u ON u.username = r.username
            FOR KEY SHARE OF u
            ON CONFLICT DO NOTHING
            {returning}"
        );
        inserted.read(db, tx, sql, values).await?;
        return Ok(inserted);
    }
    let mut rest = new.to_vec();
    while !rest.is_empty() {
        let (batch, overlapping) = without_overlaps(rest);
        let (source, values) = bulk_values(&batch)?.into_sql(db);
        // CROSS JOIN is SQLite's way to read the few new rows first.
        let sql = format!(
            "{INSERT} FROM {source} CROSS JOIN resources x ON x.id = r.resource_id AND x.status = r.resource_status
                CROSS JOIN resource_types t ON t.slug = x.resource_type
            WHERE EXISTS (SELECT 1 FROM users u WHERE u.username = r.username) AND NOT EXISTS (
                SELECT 1 FROM reservations v
                WHERE v.resource_id = r.resource_id AND (v.status = 'active' OR v.busy_until IS NOT NULL)
                    AND COALESCE(v.busy_until, v.end_at) > r.start_at
                    AND COALESCE(v.busy_from, v.start_at) < r.end_at + t.turnaround_minutes * 60000
            )
            {returning}"
        );
        inserted.read(db, tx, sql, values).await?;
        rest = overlapping;
    }
    Ok(inserted)
}

/// Divides reservations into those for one statement, whose rows do not see each other, and those that may overlap one of them.
fn without_overlaps(new: Vec<&NewReservation>) -> (Vec<&NewReservation>, Vec<&NewReservation>) {
    let mut ends: HashMap<ResourceId, DateTime<Utc>> = HashMap::new();
    new.into_iter().partition(|NewReservation { reservation, turnaround, .. }| {
        let is_after = ends.get(&reservation.resource_id).is_none_or(|end| reservation.start_time >= *end);
        if is_after {
            ends.insert(reservation.resource_id, reservation.end_time + *turnaround);
        }
        is_after
    })
}

fn bulk_values(new: &[&NewReservation]) -> Result<BulkValues> {
    let (mut configs, mut provisionings) = (Vec::with_capacity(new.len()), Vec::with_capacity(new.len()));
    for NewReservation { reservation, .. } in new {
        configs.push(to_json(&reservation.additional_config)?);
        provisionings.push(to_stored(&reservation.provisioning)?);
    }
    let reservations = new.iter().map(|new| &new.reservation);
    Ok(BulkValues::default()
        .text_column("id", reservations.clone().map(|reservation| reservation.id.as_str()))
        .text_column("username", reservations.clone().map(|reservation| reservation.user_id.as_str()))
        .int_column("resource_id", reservations.clone().map(|reservation| reservation.resource_id))
        .text_column("title", reservations.clone().map(|reservation| reservation.title.as_str()))
        .int_column("start_at", reservations.clone().map(|reservation| reservation.start_time.timestamp_millis()))
        .int_column("end_at", reservations.clone().map(|reservation| reservation.end_time.timestamp_millis()))
        .text_column("user_ssh_key", reservations.clone().map(|reservation| reservation.user_ssh_key.as_str()))
        .text_column("additional_config", configs)
        .text_column("provisioning", provisionings)
        .int_column("created_at", reservations.map(|reservation| reservation.created_at.timestamp_millis()))
        .text_column("resource_status", new.iter().map(|new| new.resource_status.as_str())))
}

/// Whether a resource is or was busy with a reservation: those that have ended count until the end of their turnaround time.
pub(crate) fn is_busy() -> Condition {
    let is_active = reservations::COLUMN.status.eq(Text(ReservationStatus::Active));
    Condition::any().add(is_active).add(reservations::COLUMN.busy_until.is_not_null())
}

/// The time from which a resource is busy with a reservation: the start, or that of its preparation.
pub(crate) fn busy_from() -> Expr {
    let columns = [reservations::Column::BusyFrom, reservations::Column::StartAt];
    Func::coalesce(columns.map(|column| Expr::col((reservations::Entity, column)))).into()
}

/// The time until which a resource is busy with a reservation: the end, or that of its turnaround time.
pub(crate) fn busy_until() -> Expr {
    let columns = [reservations::Column::BusyUntil, reservations::Column::EndAt];
    Func::coalesce(columns.map(|column| Expr::col((reservations::Entity, column)))).into()
}

/// The earliest end of an active reservation, start that is not published yet, or due time of a scheduled event, in
/// milliseconds since the epoch. Plans: the first entries of `reservations_end`, `reservation_starts_due` and
/// `scheduled_events_due`. Benchmark: idle.
pub(crate) async fn earliest_due(db: &Database) -> Result<Option<i64>> {
    let sql = "SELECT
            (SELECT MIN(end_at) FROM reservations WHERE status = 'active'),
            (SELECT MIN(start_at) FROM reservation_starts),
            (SELECT MIN(due_at) FROM scheduled_events WHERE due_at IS NOT NULL AND event_type IN ($1, $2, $3))";
    let rows = db.query(sql, SCHEDULED.map(|event| event.as_str().into())).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (end, start): (Option<i64>, Option<i64>) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    let scheduled: Option<i64> = row.try_get_by_index(2)?;
    Ok(end.into_iter().chain(start).chain(scheduled).min())
}

/// The active reservations of each of these users that have not ended. Users without one are absent.
///
/// On PostgreSQL the users' rows are locked, in the same order everywhere, so that replicas count one after another.
pub(crate) async fn count_active(
    db: &Database,
    tx: &DatabaseTransaction,
    usernames: BTreeSet<&str>,
    now: DateTime<Utc>,
) -> Result<HashMap<String, u64>> {
    if db.is_postgres() {
        users::Entity::find()
            .select_only()
            .column(users::Column::Username)
            .filter(users::COLUMN.username.is_in(usernames.iter().copied()))
            .order_by_asc(users::Column::Username)
            .lock(LockType::NoKeyUpdate)
            .into_tuple::<String>()
            .all(tx)
            .await?;
    }
    let counts: Vec<(String, i64)> = reservations::Entity::find()
        .select_only()
        .column(reservations::Column::Username)
        .column_as(reservations::Column::Id.count(), "active")
        .filter(reservations::COLUMN.username.is_in(usernames))
        .filter(reservations::COLUMN.status.eq(Text(ReservationStatus::Active)))
        .filter(reservations::COLUMN.end_at.gt(now.timestamp_millis()))
        .group_by(reservations::Column::Username)
        .into_tuple()
        .all(tx)
        .await?;
    Ok(counts.into_iter().map(|(username, count)| (username, count.unsigned_abs())).collect())
}

/// Recent changes of a reservation.
pub(crate) struct RecentChanges {
    /// Changes within the counted minute, with the present one.
    pub(crate) changes: i64,
    /// End of the counted minute.
    pub(crate) until: DateTime<Utc>,
}

/// Counts a change of a reservation. A minute begins with the first change after the last counted minute.
pub(crate) async fn count_change(
    db: &Database,
    tx: &DatabaseTransaction,
    id: &ReservationId,
    now: DateTime<Utc>,
) -> Result<RecentChanges> {
    const COUNT: &str = "
        INSERT INTO reservation_changes (reservation_id, since, changes) VALUES ($1, $2, 1)
        ON CONFLICT (reservation_id) DO UPDATE SET
            changes = CASE WHEN reservation_changes.since > $3 THEN reservation_changes.changes + 1 ELSE 1 END,
            since = CASE WHEN reservation_changes.since > $3 THEN reservation_changes.since ELSE excluded.since END
        RETURNING since, changes";
    let minute = Duration::minutes(1);
    let values = [id.as_str().into(), now.timestamp_millis().into(), (now - minute).timestamp_millis().into()];
    let row = tx.query_one_raw(db.statement(COUNT, values)).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("reservation_changes".into()))?;
    let (since, changes) = <(i64, i64)>::try_get_many_by_index(&row).map_err(DbErr::from)?;
    Ok(RecentChanges { changes, until: time(since) + minute })
}
