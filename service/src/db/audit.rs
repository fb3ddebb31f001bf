//! Appending to the audit log.
//!
//! Hand-written: an entry is written with each reservation. On PostgreSQL one statement writes the rows and moves the head,
//! because each statement is a round trip during which the head is locked. Plans: the primary keys. Benchmark: reservations
//! accepted.

use super::bulk::BulkValues;
use super::connect::Database;
use super::entity::{audit_head, audit_log};
use super::link::DatabaseTransaction;
use sea_orm::{ConnectionTrait as _, DbErr, EntityTrait as _, QueryFilter as _, QuerySelect as _, Set};

const INSERT: &str = "INSERT INTO audit_log (
        seq, at, actor, credential, credential_id, credential_name, source, request_id, action, outcome, target_type,
        target_id, target_name, changes, detail, occurrences, key_id, hash
    )
    SELECT
        r.seq, r.at, NULLIF(r.actor, ''), r.credential, r.credential_id, r.credential_name, r.source, r.request_id,
        r.action, r.outcome, r.target_type, r.target_id, r.target_name, r.changes, r.detail, r.occurrences, r.key_id,
        r.hash";

/// Reads the head of the chain, and locks it until the end of the transaction. Call it after all other statements of the
/// transaction: nothing is locked after it, which avoids a deadlock, and it is locked only for a short time.
pub(crate) async fn lock_head(tx: &DatabaseTransaction) -> Result<audit_head::Model, DbErr> {
    let head = audit_head::Entity::find_by_id(audit_head::ID).lock_exclusive().one(tx).await?;
    head.ok_or_else(|| DbErr::RecordNotFound("the head of the audit log is missing; see `berth audit verify`".into()))
}

/// Inserts rows, at most [`MAX_ROWS`](super::bulk::MAX_ROWS), and moves the head, which names the last of them.
pub(crate) async fn append(
    db: &Database,
    tx: &DatabaseTransaction,
    rows: &[audit_log::Model],
    head: &audit_head::Model,
) -> Result<(), DbErr> {
    let text = |value: fn(&audit_log::Model) -> &str| rows.iter().map(value);
    let values = BulkValues::default()
        .int_column("seq", rows.iter().map(|row| row.seq))
        .int_column("at", rows.iter().map(|row| row.at))
        .text_column("actor", text(|row| row.actor.as_deref().unwrap_or_default()))
        .text_column("credential", text(|row| &row.credential))
        .text_column("credential_id", text(|row| &row.credential_id))
        .text_column("credential_name", text(|row| &row.credential_name))
        .text_column("source", text(|row| &row.source))
        .text_column("request_id", text(|row| &row.request_id))
        .text_column("action", text(|row| &row.action))
        .text_column("outcome", text(|row| &row.outcome))
        .text_column("target_type", text(|row| &row.target_type))
        .text_column("target_id", text(|row| &row.target_id))
        .text_column("target_name", text(|row| &row.target_name))
        .text_column("changes", text(|row| &row.changes))
        .text_column("detail", text(|row| &row.detail))
        .int_column("occurrences", rows.iter().map(|row| row.occurrences))
        .text_column("key_id", text(|row| &row.key_id))
        .text_column("hash", text(|row| &row.hash));
    if db.is_postgres() {
        // Only the last row has the MAC, and so moves the head.
        let mac = |row: &audit_log::Model| if row.seq == head.seq { head.mac.clone() } else { String::new() };
        let (source, values) = values.text_column("mac", rows.iter().map(mac)).into_sql(db);
        let sql = format!(
            "WITH r AS MATERIALIZED (SELECT * FROM {source}),
            l AS ({INSERT} FROM r)
            UPDATE audit_head SET seq = r.seq, hash = r.hash, key_id = r.key_id, mac = r.mac
            FROM r WHERE audit_head.id = 1 AND r.mac <> ''"
        );
        tx.execute_raw(db.statement(sql, values)).await?;
    } else {
        let (source, values) = values.into_sql(db);
        let sql = format!("{INSERT} FROM {source} WHERE r.seq IS NOT NULL");
        tx.execute_raw(db.statement(sql, values)).await?;
        let values =
            [head.seq.into(), head.hash.as_str().into(), head.key_id.as_str().into(), head.mac.as_str().into()];
        let sql = "UPDATE audit_head SET seq = $1, hash = $2, key_id = $3, mac = $4 WHERE id = 1";
        tx.execute_raw(db.statement(sql, values)).await?;
    }
    Ok(())
}

/// Deletes the rows up to `head.pruned_seq`, and stores the head first: the triggers of the table permit only this deletion.
/// Returns their number.
pub(crate) async fn prune(tx: &DatabaseTransaction, head: &audit_head::Model) -> Result<u64, DbErr> {
    let moved = audit_head::ActiveModel {
        pruned_seq: Set(head.pruned_seq),
        pruned_hash: Set(head.pruned_hash.clone()),
        key_id: Set(head.key_id.clone()),
        mac: Set(head.mac.clone()),
        ..Default::default()
    };
    audit_head::Entity::update_many().set(moved).filter(audit_head::COLUMN.id.eq(head.id)).exec(tx).await?;
    let deleted = audit_log::Entity::delete_many().filter(audit_log::COLUMN.seq.lte(head.pruned_seq)).exec(tx).await?;
    Ok(deleted.rows_affected)
}
