//! Adds the delivery mode of a webhook, the listeners of webhooks with the mode `local`, and the starts and call-backs of the
//! classic payload format.
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
            "CREATE TABLE reservation_starts (reservation_id TEXT PRIMARY KEY NOT NULL, start_at BIGINT NOT NULL)",
            "CREATE INDEX reservation_starts_due ON reservation_starts (start_at)",
            "CREATE TABLE receiver_callbacks (digest TEXT PRIMARY KEY NOT NULL, received_at BIGINT NOT NULL)",
        ] {
            manager.get_connection().execute_unprepared(sql).await?;
        }
        Ok(())
    }
}
