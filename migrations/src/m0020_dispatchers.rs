//! Adds the running dispatchers, which divide the limits of webhooks.
//!
//! Expand only: a process of the previous version ignores the table, and its dispatcher still applies the limits to itself.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "CREATE TABLE dispatchers (
    name TEXT PRIMARY KEY NOT NULL,
    heartbeat_at BIGINT NOT NULL,
    members TEXT NOT NULL
)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(TABLE).await?;
        Ok(())
    }
}
