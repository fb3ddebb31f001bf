//! Whether an entry of the queue was the first of its ordering key when it was made, as a new reservation's is. Nothing can
//! come before it later, so that a claim need not look for what does. Expand only: a process of the version before makes
//! entries that are looked after as ever.
//!
//! From this version on a success is not written into the log's row, so that its pages need no room for a second version of
//! each row. Until it is replaced, a process of the version before shows what succeeded meanwhile as pending.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = "ALTER TABLE outbox ADD COLUMN fresh BOOLEAN NOT NULL DEFAULT FALSE";
        let connection = manager.get_connection();
        connection.execute_unprepared(sql).await?;
        if connection.get_database_backend() == DatabaseBackend::Postgres {
            connection.execute_unprepared("ALTER TABLE deliveries SET (fillfactor = 90)").await?;
        }
        Ok(())
    }
}
