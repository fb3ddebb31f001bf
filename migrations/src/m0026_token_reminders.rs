//! Adds the time of the reminder that an API token expires.
//!
//! Expand only: a process of the previous version ignores the column.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        connection.execute_unprepared("ALTER TABLE api_tokens ADD COLUMN reminded_at BIGINT").await?;
        Ok(())
    }
}
