//! Adds the table of the set-up code, which all replicas share.
//!
//! Expand only: processes of the previous version print a code of their own, as before.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = "CREATE TABLE setup_code (id BIGINT PRIMARY KEY NOT NULL, code TEXT NOT NULL)";
        manager.get_connection().execute_unprepared(sql).await?;
        Ok(())
    }
}
