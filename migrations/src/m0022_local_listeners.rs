//! Adds the delivery mode of a webhook, and the listeners of webhooks with the mode `local`.
//!
//! Expand only: a process of the previous version ignores the column and the table. While it runs beside the new version, it
//! calls the endpoint URL of a local webhook itself; in production its address check rejects one on the developer's machine,
//! and the attempt is repeated.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for sql in [
            "ALTER TABLE webhooks ADD COLUMN delivery_mode TEXT NOT NULL DEFAULT 'http'",
            "CREATE TABLE webhook_listeners (
                webhook_id BIGINT PRIMARY KEY NOT NULL,
                listener TEXT NOT NULL,
                connected_at BIGINT NOT NULL,
                seen_at BIGINT NOT NULL,
                disconnected_at BIGINT
            )",
        ] {
            manager.get_connection().execute_unprepared(sql).await?;
        }
        Ok(())
    }
}
