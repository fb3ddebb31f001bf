//! Adds the origin and the last use of sessions, stored budgets of failed log-ins, and read marks for each administrator.
//!
//! Expand only: a process of the previous version ignores the new tables and columns. Its sessions have no last use, so
//! the idle limit starts with their first use. It marks notifications to all administrators as read in `notifications`,
//! which is still valid for all of them.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: [&str; 6] = [
    "ALTER TABLE sessions ADD COLUMN last_used_at BIGINT",
    "ALTER TABLE sessions ADD COLUMN source TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE sessions ADD COLUMN device TEXT NOT NULL DEFAULT ''",
    "CREATE TABLE login_budgets (subject TEXT PRIMARY KEY NOT NULL, spent_until BIGINT NOT NULL)",
    "CREATE TABLE notification_reads (
        username TEXT NOT NULL REFERENCES users(username) ON DELETE CASCADE,
        notification_id BIGINT NOT NULL REFERENCES notifications(id) ON DELETE CASCADE,
        PRIMARY KEY (username, notification_id))",
    "CREATE INDEX notification_reads_notification ON notification_reads (notification_id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for sql in STATEMENTS {
            manager.get_connection().execute_unprepared(sql).await?;
        }
        Ok(())
    }
}
