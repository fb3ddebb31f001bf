//! Adds the setting whether access information is shown before the start of a reservation.
//!
//! Expand only: a process of the previous version ignores the column, and shows the access information.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = "ALTER TABLE resource_types ADD COLUMN access_before_start TEXT NOT NULL DEFAULT 'automatic'";
        manager.get_connection().execute_unprepared(sql).await?;
        Ok(())
    }
}
