//! Adds the mark of a database with demo data, and the number of recent changes of each reservation, and an
//! index on the active reservations of a user.
//!
//! Expand only: processes of the previous version do not count their changes. A database with the sample receiver of an
//! earlier `berth serve --demo` is marked, so that the demo still starts on it.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for sql in [
            "CREATE TABLE demo (id BIGINT PRIMARY KEY NOT NULL)",
            "INSERT INTO demo (id) SELECT 1 WHERE EXISTS (SELECT 1 FROM webhooks WHERE name LIKE 'Sample receiver%')",
            "CREATE TABLE reservation_changes (
                reservation_id TEXT PRIMARY KEY NOT NULL REFERENCES reservations(id) ON DELETE CASCADE,
                since BIGINT NOT NULL,
                changes BIGINT NOT NULL
            )",
            "CREATE INDEX reservations_active ON reservations (username, end_at) WHERE status = 'active'",
        ] {
            manager.get_connection().execute_unprepared(sql).await?;
        }
        Ok(())
    }
}
