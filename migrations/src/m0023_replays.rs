//! Adds replays, which send deliveries again in the background, and their items.
//!
//! Expand only: a process of the previous version ignores the tables.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

const REPLAYS: &str = "CREATE TABLE replays (
    id TEXT PRIMARY KEY NOT NULL,
    status TEXT NOT NULL,
    source TEXT NOT NULL,
    filter TEXT NOT NULL,
    one_first BOOLEAN NOT NULL,
    per_minute INTEGER,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    revision BIGINT NOT NULL
)";

/// The few replays that a worker looks for.
const RUNNING: &str = "CREATE INDEX replays_running ON replays (due_at) WHERE status = 'running'";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let storage = match connection.get_database_backend() {
            DatabaseBackend::Postgres => "",
            _ => "WITHOUT ROWID",
        };
        let items = format!(
            "CREATE TABLE replay_items (
                replay_id TEXT NOT NULL,
                position BIGINT NOT NULL,
                item TEXT NOT NULL,
                done BOOLEAN NOT NULL DEFAULT false,
                seq BIGINT,
                PRIMARY KEY (replay_id, position)) {storage}"
        );
        connection.execute_unprepared(REPLAYS).await?;
        connection.execute_unprepared(RUNNING).await?;
        connection.execute_unprepared(&items).await?;
        // Items that are still to be queued, in their order.
        let waiting = "CREATE INDEX replay_items_waiting ON replay_items (replay_id, position) WHERE NOT done";
        connection.execute_unprepared(waiting).await?;
        Ok(())
    }
}
