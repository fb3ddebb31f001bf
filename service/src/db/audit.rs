//! Appending to the audit log.
//!
//! Hand-written: an entry is written with each reservation. On PostgreSQL one statement writes the rows and moves the head,
//! because each statement is a round trip during which the head is locked. The head is compared with the one that the writer
//! knows, which saves reading it. Plans: the primary keys. Benchmark: reservations accepted.

use super::bulk::BulkValues;
use super::connect::Database;
use super::entity::{audit_head, audit_log};
use super::link::DatabaseTransaction;
use sea_orm::{
    ActiveModelTrait as _, ConnectionTrait as _, DbErr, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QuerySelect as _,
};

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

/// The columns of rows for [`INSERT`]. The texts are moved, not copied: this is a hot path.
fn bulk_values(mut rows: Vec<audit_log::Model>) -> BulkValues {
    let ints = |value: fn(&audit_log::Model) -> i64| rows.iter().map(value).collect::<Vec<_>>();
    let (seqs, times, occurrences) = (ints(|row| row.seq), ints(|row| row.at), ints(|row| row.occurrences));
    let mut text = |field: fn(&mut audit_log::Model) -> &mut String| -> Vec<String> {
        rows.iter_mut().map(|row| std::mem::take(field(row))).collect()
    };
    BulkValues::default()
        .int_column("seq", seqs)
        .int_column("at", times)
        .text_column("actor", text(|row| row.actor.get_or_insert_default()))
        .text_column("credential", text(|row| &mut row.credential))
        .text_column("credential_id", text(|row| &mut row.credential_id))
        .text_column("credential_name", text(|row| &mut row.credential_name))
        .text_column("source", text(|row| &mut row.source))
        .text_column("request_id", text(|row| &mut row.request_id))
        .text_column("action", text(|row| &mut row.action))
        .text_column("outcome", text(|row| &mut row.outcome))
        .text_column("target_type", text(|row| &mut row.target_type))
        .text_column("target_id", text(|row| &mut row.target_id))
        .text_column("target_name", text(|row| &mut row.target_name))
        .text_column("changes", text(|row| &mut row.changes))
        .text_column("detail", text(|row| &mut row.detail))
        .int_column("occurrences", occurrences)
        .text_column("key_id", text(|row| &mut row.key_id))
        .text_column("hash", text(|row| &mut row.hash))
}

/// Inserts rows, at most [`MAX_ROWS`](super::bulk::MAX_ROWS), and moves the head from the one with the MAC `previous` to
/// `head`, which names the last of them. Returns whether it did: another transaction may have moved the head meanwhile.
///
/// A returned `true` means that the head is locked until the end of the transaction. On PostgreSQL the statement waits for a
/// transaction that has it.
pub(crate) async fn append(
    db: &Database,
    tx: &DatabaseTransaction,
    rows: Vec<audit_log::Model>,
    previous: &str,
    head: &audit_head::Model,
) -> Result<bool, DbErr> {
    if !db.is_postgres() {
        let is_moved = move_head(db, tx, previous, head).await?;
        if is_moved {
            insert(db, tx, rows).await?;
        }
        return Ok(is_moved);
    }
    // Only the last row has the MAC, and so moves the head.
    let count = rows.len();
    let last = |text: &str| (1..=count).map(|n| if n == count { text } else { "" }.to_owned()).collect();
    let (next, previous): (Vec<String>, Vec<String>) = (last(&head.mac), last(previous));
    let (source, values) = bulk_values(rows).text_column("mac", next).text_column("previous", previous).into_sql(db);
    let sql = format!(
        "WITH r AS MATERIALIZED (SELECT * FROM {source}),
        h AS (
            UPDATE audit_head SET seq = r.seq, hash = r.hash, key_id = r.key_id, mac = r.mac
            FROM r WHERE audit_head.id = 1 AND audit_head.mac = r.previous AND r.mac <> ''
            RETURNING audit_head.id
        )
        {INSERT} FROM r WHERE EXISTS (SELECT 1 FROM h)"
    );
    Ok(tx.execute_raw(db.statement(sql, values)).await?.rows_affected() > 0)
}

/// Inserts rows, at most [`MAX_ROWS`](super::bulk::MAX_ROWS).
async fn insert(db: &Database, tx: &DatabaseTransaction, rows: Vec<audit_log::Model>) -> Result<(), DbErr> {
    let (source, values) = bulk_values(rows).into_sql(db);
    tx.execute_raw(db.statement(format!("{INSERT} FROM {source} WHERE r.seq IS NOT NULL"), values)).await?;
    Ok(())
}

/// Moves the head, if it still has the MAC `previous`. Returns whether it did.
async fn move_head(
    db: &Database,
    tx: &DatabaseTransaction,
    previous: &str,
    head: &audit_head::Model,
) -> Result<bool, DbErr> {
    const MOVE: &str = "UPDATE audit_head SET seq = $1, hash = $2, key_id = $3, mac = $4 WHERE id = 1 AND mac = $5";
    let texts = [&head.hash, &head.key_id, &head.mac, previous].map(|text: &str| text.into());
    let values = std::iter::once(head.seq.into()).chain(texts);
    Ok(tx.execute_raw(db.statement(MOVE, values)).await?.rows_affected() > 0)
}

/// Deletes the rows up to `head.pruned_seq`, and stores the head first: the triggers of the table permit only this deletion.
/// Returns their number.
pub(crate) async fn prune(tx: &DatabaseTransaction, head: &audit_head::Model) -> Result<u64, DbErr> {
    store_head(tx, head).await?;
    let deleted = audit_log::Entity::delete_many().filter(audit_log::COLUMN.seq.lte(head.pruned_seq)).exec(tx).await?;
    Ok(deleted.rows_affected)
}

/// Stores the head. Moving `pruned_seq` to the newest row lets [`replace`] delete rows, which the triggers refuse otherwise.
pub(crate) async fn store_head(tx: &DatabaseTransaction, head: &audit_head::Model) -> Result<(), DbErr> {
    let row = head.clone().into_active_model().reset_all();
    audit_head::Entity::update_many().set(row).filter(audit_head::COLUMN.id.eq(head.id)).exec(tx).await?;
    Ok(())
}

/// Replaces consecutive rows, at most [`MAX_ROWS`](super::bulk::MAX_ROWS), by rows with the same numbers.
pub(crate) async fn replace(db: &Database, tx: &DatabaseTransaction, rows: Vec<audit_log::Model>) -> Result<(), DbErr> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
    let deleted = audit_log::Entity::delete_many().filter(audit_log::COLUMN.seq.between(first.seq, last.seq));
    deleted.exec(tx).await?;
    insert(db, tx, rows).await
}
