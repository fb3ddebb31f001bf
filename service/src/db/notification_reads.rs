//! Read marks of notifications to all administrators.
//!
//! Hand-written, because SeaORM cannot insert the result of a query.

use super::connect::Database;
use super::link::DatabaseTransaction;
use sea_orm::{ConnectionTrait as _, DbErr};

/// Marks the unread notifications to all administrators up to `id` as read for one of them. Returns their number.
pub(crate) async fn mark(db: &Database, tx: &DatabaseTransaction, username: &str, id: i64) -> Result<u64, DbErr> {
    let sql = "
        INSERT INTO notification_reads (username, notification_id)
        SELECT $1, id FROM notifications WHERE username IS NULL AND NOT read AND id <= $2
        ON CONFLICT DO NOTHING";
    Ok(tx.execute_raw(db.statement(sql, [username.into(), id.into()])).await?.rows_affected())
}

/// Marks single unread notifications to all administrators as read for one of them. Returns their number.
pub(crate) async fn mark_each(
    db: &Database,
    tx: &DatabaseTransaction,
    username: &str,
    ids: &[i64],
) -> Result<u64, DbErr> {
    let sql = "
        INSERT INTO notification_reads (username, notification_id)
        SELECT $1, id FROM notifications WHERE username IS NULL AND NOT read AND id = $2
        ON CONFLICT DO NOTHING";
    let mut marked = 0;
    for id in ids {
        marked += tx.execute_raw(db.statement(sql, [username.into(), (*id).into()])).await?.rows_affected();
    }
    Ok(marked)
}
