//! Read marks of notifications to all administrators.
//!
//! Hand-written, because SeaORM cannot insert the result of a query.

use super::connect::Database;
use sea_orm::{ConnectionTrait as _, DbErr};

/// Marks the unread notifications to all administrators up to `id` as read for one of them.
pub(crate) async fn mark(db: &Database, username: &str, id: i64) -> Result<(), DbErr> {
    let sql = "
        INSERT INTO notification_reads (username, notification_id)
        SELECT $1, id FROM notifications WHERE username IS NULL AND NOT read AND id <= $2
        ON CONFLICT DO NOTHING";
    db.write.execute_raw(db.statement(sql, [username.into(), id.into()])).await?;
    Ok(())
}
