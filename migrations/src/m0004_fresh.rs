//! Whether an entry of the queue was the first of its ordering key when it was made, as a new reservation's is. Nothing can
//! come before it later, so that a claim need not look for what does. Expand only: a process of the version before makes
//! entries that are looked after as ever.

use sea_orm_migration::prelude::*;

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = "ALTER TABLE outbox ADD COLUMN fresh BOOLEAN NOT NULL DEFAULT FALSE";
        manager.get_connection().execute_unprepared(sql).await?;
        Ok(())
    }
}
