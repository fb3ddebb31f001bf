//! Moves the provisioning state into a separate table.
//!
//! The first response is then written without a read of the reservation's row, which is larger and often on another
//! page. A reservation without a row in `provisioning` is active and has had no response; its column `provisioning` has
//! the initial state.
//!
//! Expand: on PostgreSQL, a trigger copies the writes of processes of the previous version; the next version drops it.
//! There is no copy in the other direction: such processes show reservations as waiting after later responses. This is
//! acceptable only before the first release.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "CREATE TABLE provisioning (reservation_id TEXT PRIMARY KEY NOT NULL, state TEXT NOT NULL)";

const ROWS: &str = r#"INSERT INTO provisioning (reservation_id, state) SELECT id, provisioning FROM reservations
   WHERE status <> 'active' OR provisioning NOT LIKE '{"status":"waiting","message":"","%'"#;

/// Moves the free space on pages to the table with frequent updates. The trigger is created before the rows are copied,
/// because its lock blocks concurrent writes.
const POSTGRES: [&str; 4] = [
    "ALTER TABLE provisioning SET (fillfactor = 70)",
    "ALTER TABLE reservations RESET (fillfactor)",
    "CREATE FUNCTION provisioning_follows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
       INSERT INTO provisioning (reservation_id, state) VALUES (NEW.id, NEW.provisioning)
       ON CONFLICT (reservation_id) DO UPDATE SET state = excluded.state;
       RETURN NULL;
     END $$",
    "CREATE TRIGGER provisioning_follows AFTER UPDATE OF provisioning ON reservations
       FOR EACH ROW EXECUTE FUNCTION provisioning_follows()",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        if connection.get_database_backend() == DatabaseBackend::Postgres {
            for step in [TABLE].iter().chain(&POSTGRES) {
                connection.execute_unprepared(step).await?;
            }
        } else {
            connection.execute_unprepared(&format!("{TABLE} WITHOUT ROWID")).await?;
        }
        connection.execute_unprepared(ROWS).await?;
        Ok(())
    }
}
