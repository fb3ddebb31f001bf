//! Adds `outbox.fresh`: whether a row was the first of its ordering key when it was inserted.
//!
//! No earlier row is inserted later, so a claim needs no order check for it. Expand only: rows from processes of the
//! previous version have the default and are checked as before.
//!
//! From this version on, a success does not update the row in `deliveries`. Its pages need no space for a second
//! version of each row. Processes of the previous version show these deliveries as pending until they are replaced.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

/// See the module documentation.
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
