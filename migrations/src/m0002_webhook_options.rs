//! Keys for `v1a` signatures, and whether a webhook's answers drive provisioning. Expand only: a process of the version
//! before works beside it.

use sea_orm_migration::prelude::*;

/// See the module.
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
        Ok(())
    }
}
