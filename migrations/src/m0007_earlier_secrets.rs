//! Adds the signing secrets before the previous one, so that each signs until its own end.
//!
//! Expand only: `previous_secret` still has the newest old secret. A process of the previous version ignores the column,
//! and its rotations keep it.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = "ALTER TABLE webhooks ADD COLUMN earlier_secrets TEXT NOT NULL DEFAULT '[]'";
        manager.get_connection().execute_unprepared(sql).await?;
        Ok(())
    }
}
