//! Adds the time at which a webhook is to provision, the lead time and the ending notice of resource types, and events that
//! are due at a later time.
//!
//! Expand only: a process of the previous version ignores the columns and the table. While it runs beside the new version, it
//! sends `reservation.created` of its own reservations at booking, and schedules no event for them.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for sql in [
            "ALTER TABLE webhooks ADD COLUMN provision TEXT NOT NULL DEFAULT 'booking'",
            "ALTER TABLE resource_types ADD COLUMN lead_minutes INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE resource_types ADD COLUMN ending_notice_minutes INTEGER NOT NULL DEFAULT 15",
            "CREATE TABLE scheduled_events (
                reservation_id TEXT NOT NULL,
                event_type TEXT NOT NULL,
                webhook_id BIGINT NOT NULL,
                due_at BIGINT,
                PRIMARY KEY (reservation_id, event_type, webhook_id))",
            "CREATE INDEX scheduled_events_due ON scheduled_events (due_at) WHERE due_at IS NOT NULL",
        ] {
            manager.get_connection().execute_unprepared(sql).await?;
        }
        Ok(())
    }
}
