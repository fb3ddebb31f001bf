//! The provisioning states of reservations, many in one statement.
//!
//! Hand-written: recording a batch of results is a hot path, and SeaORM has no UPDATE … FROM and no bulk insert from
//! arrays. Plans: the primary keys of `provisioning` and `reservations` for each row of the batch. Benchmarks: drain,
//! half load.

use super::bulk::{BulkValues, MAX_ROWS};
use super::connect::Database;
use super::link::DatabaseTransaction;
use super::stored_provisioning::from_stored;
use crate::error::Error;
use domain::provisioning::Provisioning;
use domain::reservation::ReservationStatus;
use sea_orm::{ConnectionTrait as _, DbErr, TryGetableMany as _};

/// A reservation with its provisioning state, locked by the transaction.
pub(crate) struct LockedState {
    pub(crate) reservation_id: String,
    pub(crate) active: bool,
    pub(crate) provisioning: Provisioning,
}

/// Inserts states of reservations without a row, as pairs of reservation id and JSON. Returns the number of inserted
/// rows.
pub(crate) async fn insert_missing(
    db: &Database,
    tx: &DatabaseTransaction,
    states: &[(&str, String)],
) -> Result<u64, Error> {
    let mut inserted = 0;
    for chunk in states.chunks(MAX_ROWS) {
        let (source, values) = BulkValues::default()
            .text_column("k", chunk.iter().map(|(id, _)| *id))
            .text_column("p", chunk.iter().map(|(_, state)| state.as_str()))
            .into_sql(db);
        let sql = format!(
            "INSERT INTO provisioning (reservation_id, state)
            SELECT r.k, r.p FROM {source} WHERE r.k IS NOT NULL
            ON CONFLICT DO NOTHING"
        );
        inserted += tx.execute_raw(db.statement(sql, values)).await?.rows_affected();
    }
    Ok(inserted)
}

/// Ensures that reservations have a row; a new row has the state at creation. The first response to a new reservation
/// inserts its row without a lock. Every other change ensures the row first, so that both conflict on the primary key.
pub(crate) async fn ensure_rows(db: &Database, tx: &DatabaseTransaction, ids: &[&str]) -> Result<(), Error> {
    for chunk in ids.chunks(MAX_ROWS) {
        let (source, values) = BulkValues::default().text_column("k", chunk.iter().copied()).into_sql(db);
        let sql = format!(
            "INSERT INTO provisioning (reservation_id, state)
            SELECT v.id, v.provisioning
            FROM {source} CROSS JOIN reservations v
            WHERE v.id = r.k
            ORDER BY v.id
            ON CONFLICT DO NOTHING"
        );
        tx.execute_raw(db.statement(sql, values)).await?;
    }
    Ok(())
}

/// Locks reservations with their states, in the order of their ids, and reads them.
pub(crate) async fn lock(db: &Database, tx: &DatabaseTransaction, ids: &[&str]) -> Result<Vec<LockedState>, Error> {
    let lock = if db.is_postgres() { "ORDER BY v.id FOR UPDATE OF v, p" } else { "" };
    let mut locked = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(MAX_ROWS) {
        let (source, values) = BulkValues::default().text_column("k", chunk.iter().copied()).into_sql(db);
        let sql = format!(
            "SELECT v.id, v.status, p.state
            FROM {source} CROSS JOIN reservations v JOIN provisioning p ON p.reservation_id = v.id
            WHERE v.id = r.k
            {lock}"
        );
        for row in tx.query_all_raw(db.statement(sql, values)).await? {
            let (reservation_id, status, state) =
                <(String, String, String)>::try_get_many_by_index(&row).map_err(DbErr::from)?;
            let active = status == ReservationStatus::Active.as_str();
            locked.push(LockedState { reservation_id, active, provisioning: from_stored(&state)? });
        }
    }
    Ok(locked)
}

/// Overwrites states, given as pairs of reservation id and JSON.
pub(crate) async fn update(db: &Database, tx: &DatabaseTransaction, states: &[(String, String)]) -> Result<(), Error> {
    for chunk in states.chunks(MAX_ROWS) {
        let (source, values) = BulkValues::default()
            .text_column("k", chunk.iter().map(|(id, _)| id.as_str()))
            .text_column("p", chunk.iter().map(|(_, state)| state.as_str()))
            .into_sql(db);
        let sql = format!(
            "UPDATE provisioning AS p
            SET state = r.p
            FROM {source}
            WHERE p.reservation_id = r.k"
        );
        tx.execute_raw(db.statement(sql, values)).await?;
    }
    Ok(())
}
