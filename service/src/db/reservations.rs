//! New reservations, many in one statement.
//!
//! Hand-written: creating reservations under load is a hot path. The insertion depends on other rows (the status of the resource, and on
//! SQLite the overlapping reservations), and SeaORM has no INSERT … SELECT from arrays. Plans: the primary key of `resources`; the
//! index of the exclusion constraint on PostgreSQL, `reservations_span` on SQLite. Benchmark: reservations accepted and delivered.

use super::bulk::BulkValues;
use super::codec::to_json;
use super::connect::Database;
use super::link::DatabaseTransaction;
use super::stored_provisioning::to_stored;
use crate::Result;
use domain::reservation::Reservation;
use domain::resource::ResourceStatus;
use sea_orm::{ConnectionTrait as _, DbErr, TryGetableMany as _};
use std::collections::HashSet;

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
    new: &[NewReservation],
) -> Result<HashSet<String>> {
    if db.is_postgres() { insert_postgres(db, tx, new).await } else { insert_sqlite(db, tx, new).await }
}

/// One statement for all. The exclusion constraint also rejects overlaps within the batch.
async fn insert_postgres(db: &Database, tx: &DatabaseTransaction, new: &[NewReservation]) -> Result<HashSet<String>> {
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
async fn insert_sqlite(db: &Database, tx: &DatabaseTransaction, new: &[NewReservation]) -> Result<HashSet<String>> {
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
