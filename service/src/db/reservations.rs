//! New reservations, many in one statement.
//!
//! Hand-written: creating reservations under load is a hot path. The insertion depends on other rows (the status of the resource, and on
//! SQLite the overlapping reservations), and SeaORM has no INSERT … SELECT from arrays. Plans: the primary key of `resources`; the
//! index of the exclusion constraint on PostgreSQL, `reservations_span` on SQLite. Benchmark: reservations accepted and delivered.

use super::bulk::BulkValues;
use super::codec::{time, to_json};
use super::column::Text;
use super::connect::Database;
use super::entity::{reservations, users};
use super::link::DatabaseTransaction;
use super::stored_provisioning::to_stored;
use crate::Result;
use chrono::{DateTime, Duration, Utc};
use domain::id::ReservationId;
use domain::reservation::{Reservation, ReservationStatus};
use domain::resource::ResourceStatus;
use sea_orm::sea_query::LockType;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, TryGetableMany as _,
};
use std::collections::{BTreeSet, HashMap, HashSet};

/// A validated reservation that is written if its span is free.
pub(crate) struct NewReservation {
    pub(crate) reservation: Reservation,
    /// The owner's e-mail address, for the event.
    pub(crate) email: String,
    /// The status against which the request was checked. If it has changed, the reservation is not written.
    pub(crate) resource_status: ResourceStatus,
}

/// Inserts the reservations whose span is free and whose resource still has the expected status. Returns their ids.
pub(crate) async fn insert_free(
    db: &Database,
    tx: &DatabaseTransaction,
    new: &[&NewReservation],
) -> Result<HashSet<String>> {
    if db.is_postgres() { insert_postgres(db, tx, new).await } else { insert_sqlite(db, tx, new).await }
}

/// One statement for all. The exclusion constraint also rejects overlaps within the batch.
async fn insert_postgres(db: &Database, tx: &DatabaseTransaction, new: &[&NewReservation]) -> Result<HashSet<String>> {
    let (mut configs, mut provisionings) = (Vec::with_capacity(new.len()), Vec::with_capacity(new.len()));
    for NewReservation { reservation, .. } in new {
        configs.push(to_json(&reservation.additional_config)?);
        provisionings.push(to_stored(&reservation.provisioning)?);
    }
    let reservations = new.iter().map(|new| &new.reservation);
    let (source, values) = BulkValues::default()
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
        .text_column("resource_status", new.iter().map(|new| new.resource_status.as_str()))
        .into_sql(db);
    let sql = format!(
        "INSERT INTO reservations (
            id, username, resource_id, title, start_at, end_at, user_ssh_key, additional_config,
            status, cancel_reason, provisioning, created_at, updated_at
        )
        SELECT
            r.id, r.username, r.resource_id, r.title, r.start_at, r.end_at, r.user_ssh_key, r.additional_config,
            'active', '', r.provisioning, r.created_at, r.created_at
        FROM {source} JOIN resources x ON x.id = r.resource_id AND x.status = r.resource_status
        ON CONFLICT DO NOTHING
        RETURNING id"
    );
    let mut inserted = HashSet::with_capacity(new.len());
    for row in tx.query_all_raw(db.statement(sql, values)).await? {
        let (id,) = <(String,)>::try_get_many_by_index(&row).map_err(DbErr::from)?;
        inserted.insert(id);
    }
    Ok(inserted)
}

/// One statement for each row, because each must see those before it. An embedded database has no round trips to save.
async fn insert_sqlite(db: &Database, tx: &DatabaseTransaction, new: &[&NewReservation]) -> Result<HashSet<String>> {
    const INSERT: &str = "
        INSERT INTO reservations (
            id, username, resource_id, title, start_at, end_at, user_ssh_key, additional_config,
            status, cancel_reason, provisioning, created_at, updated_at
        )
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, 'active', '', $9, $10, $10
        WHERE EXISTS (SELECT 1 FROM resources x WHERE x.id = $3 AND x.status = $11)
            AND NOT EXISTS (
                SELECT 1 FROM reservations v
                WHERE v.resource_id = $3 AND v.status = 'active' AND v.end_at > $5 AND v.start_at < $6
            )";
    let mut inserted = HashSet::with_capacity(new.len());
    for NewReservation { reservation, resource_status, .. } in new {
        let values = [
            reservation.id.as_str().into(),
            reservation.user_id.as_str().into(),
            reservation.resource_id.into(),
            reservation.title.as_str().into(),
            reservation.start_time.timestamp_millis().into(),
            reservation.end_time.timestamp_millis().into(),
            reservation.user_ssh_key.as_str().into(),
            to_json(&reservation.additional_config)?.into(),
            to_stored(&reservation.provisioning)?.into(),
            reservation.created_at.timestamp_millis().into(),
            resource_status.as_str().into(),
        ];
        if tx.execute_raw(db.statement(INSERT, values)).await?.rows_affected() > 0 {
            inserted.insert(reservation.id.0.clone());
        }
    }
    Ok(inserted)
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
