//! Adds the payload format and the content filter of a webhook, the time of its last rotation, and the payload format of a
//! delivery.
//!
//! Expand only: a process of the previous version ignores the columns. While it runs beside the new version, it enqueues
//! events of all webhooks in the default format and without a filter, and sends the bodies of other formats without their
//! headers.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for sql in [
            "ALTER TABLE webhooks ADD COLUMN payload_format TEXT NOT NULL DEFAULT 'berth'",
            "ALTER TABLE webhooks ADD COLUMN filter TEXT NOT NULL DEFAULT '{}'",
            "ALTER TABLE webhooks ADD COLUMN secret_rotated_at BIGINT",
            "ALTER TABLE deliveries ADD COLUMN payload_format TEXT",
        ] {
            manager.get_connection().execute_unprepared(sql).await?;
        }
        Ok(())
    }
}
