//! What was said of a reservation, in a table of its own: the first answer is written without reading the reservation's row,
//! which is larger and lies far from those written last. A reservation without a row here waits, is active, and nothing was said of
//! it; its `provisioning` says how it began. Expand only; but what a process of the version before writes of a reservation that
//! has a row here is not seen.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

/// For both databases; `{kind}` differs between them.
const STEPS: [&str; 2] = [
    "CREATE TABLE provisioning (reservation_id TEXT PRIMARY KEY NOT NULL, state TEXT NOT NULL){kind}",
    r#"INSERT INTO provisioning (reservation_id, state) SELECT id, provisioning FROM reservations
       WHERE status <> 'active' OR provisioning NOT LIKE '{"status":"waiting","message":"","%'"#,
];

/// What changes often has room on its page for the next version; what changes seldom needs none.
const POSTGRES: [&str; 2] =
    ["ALTER TABLE provisioning SET (fillfactor = 70)", "ALTER TABLE reservations RESET (fillfactor)"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let (kind, more) = match connection.get_database_backend() {
            DatabaseBackend::Postgres => ("", POSTGRES.as_slice()),
            _ => (" WITHOUT ROWID", [].as_slice()),
        };
        for step in STEPS {
            connection.execute_unprepared(&step.replace("{kind}", kind)).await?;
        }
        for step in more {
            connection.execute_unprepared(step).await?;
        }
        Ok(())
    }
}
