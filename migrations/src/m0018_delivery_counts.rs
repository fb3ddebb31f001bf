//! Adds the counters of attempts by time.
//!
//! Expand only: a process of the previous version ignores the table. The worker that fills the index of the delivery log
//! counts each attempt once, also those of before.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let storage = match connection.get_database_backend() {
            // A counter changes often within its hour: free space on the page keeps the update HOT.
            DatabaseBackend::Postgres => "WITH (fillfactor = 70)",
            _ => "WITHOUT ROWID",
        };
        let sql = format!(
            "CREATE TABLE delivery_counts (
                step BIGINT NOT NULL,
                start_at BIGINT NOT NULL,
                webhook_id BIGINT NOT NULL,
                event_type TEXT NOT NULL,
                class TEXT NOT NULL,
                outcome TEXT NOT NULL,
                bucket INTEGER NOT NULL,
                attempts BIGINT NOT NULL,
                PRIMARY KEY (step, start_at, webhook_id, event_type, class, outcome, bucket)) {storage}"
        );
        connection.execute_unprepared(&sql).await?;
        Ok(())
    }
}
