//! Table locks, which SeaORM cannot express.

use super::link::DatabaseTransaction;
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr};

/// Serialises changes of `users` whose condition spans rows (the first account, the last administrator), until the end
/// of the transaction. Readers are not blocked.
///
/// Without the lock, PostgreSQL's READ COMMITTED permits write skew between two such transactions. SQLite has one
/// writer, whose transaction began with IMMEDIATE, so it needs no lock.
pub(crate) async fn lock_users(tx: &DatabaseTransaction) -> Result<(), DbErr> {
    if tx.get_database_backend() == DbBackend::Postgres {
        tx.execute_unprepared("LOCK TABLE users IN EXCLUSIVE MODE").await?;
    }
    Ok(())
}
