//! Adds keys for `v1a` signatures, the option `provisions`, and an index on redeliveries.
//!
//! Expand only: processes of the previous version keep working.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [
            "signing_key TEXT",
            "public_key TEXT",
            "previous_signing_key TEXT",
            "provisions BOOLEAN NOT NULL DEFAULT TRUE",
        ] {
            let sql = format!("ALTER TABLE webhooks ADD COLUMN {column}");
            manager.get_connection().execute_unprepared(&sql).await?;
        }
        let sql = "CREATE INDEX deliveries_redelivery ON deliveries (redelivery_of) WHERE redelivery_of IS NOT NULL";
        manager.get_connection().execute_unprepared(sql).await?;
        Ok(())
    }
}
