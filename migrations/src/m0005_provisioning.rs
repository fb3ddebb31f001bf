//! What was said of a reservation, in a table of its own: the first answer is written without reading the reservation's row,
//! which is larger and lies far from those written last. A reservation without a row here waits, is active, and nothing was said of
//! it; its `provisioning` says how it began.
//!
//! Expand: on PostgreSQL, what a process of the version before writes of a reservation comes here too, by a trigger that
//! the next version drops. What is written here does not come to it: until it is replaced it shows, as after going back,
//! what was answered meanwhile as waiting. Allowed before the first release only.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

/// See the module.
#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "CREATE TABLE provisioning (reservation_id TEXT PRIMARY KEY NOT NULL, state TEXT NOT NULL)";

const ROWS: &str = r#"INSERT INTO provisioning (reservation_id, state) SELECT id, provisioning FROM reservations
   WHERE status <> 'active' OR provisioning NOT LIKE '{"status":"waiting","message":"","%'"#;

/// What changes often has room on its page for the next version; what changes seldom needs none. The trigger comes before
/// the rows: it lets nobody write in between.
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
