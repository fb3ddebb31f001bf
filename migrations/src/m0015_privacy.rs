//! Adds the usernames of erased accounts.
//!
//! Expand only: a process of the previous version ignores the table.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = "CREATE TABLE erased_usernames (digest TEXT PRIMARY KEY NOT NULL, erased_at BIGINT NOT NULL)";
        manager.get_connection().execute_unprepared(sql).await?;
        Ok(())
    }
}
