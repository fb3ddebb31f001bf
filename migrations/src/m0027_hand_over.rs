//! Adds what the hand-over of a resource from one reservation to the next needs: the turnaround time of resource types, the time
//! after which a release is late, the time during which a resource is busy beyond its reservation, and when it was released.
//!
//! Expand only: a process of the previous version ignores the columns. The constraint against overlaps covers its reservations too,
//! because a row without busy times is busy during its reservation. A reservation that it ends has no time of release; the
//! hand-over then reads its provisioning state.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

const COLUMNS: [&str; 7] = [
    "ALTER TABLE resource_types ADD COLUMN turnaround_minutes INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE resource_types ADD COLUMN late_release_minutes INTEGER NOT NULL DEFAULT 15",
    "ALTER TABLE reservations ADD COLUMN busy_from BIGINT",
    "ALTER TABLE reservations ADD COLUMN busy_until BIGINT",
    "ALTER TABLE reservations ADD COLUMN released_at BIGINT",
    "ALTER TABLE scheduled_events ADD COLUMN blocked BOOLEAN NOT NULL DEFAULT FALSE",
    "ALTER TABLE scheduled_events ADD COLUMN alerted BOOLEAN NOT NULL DEFAULT FALSE",
];

/// Failed releases of the past are not repeated. Only what is being released now is waited for. The text of a state begins with
/// its status.
const RELEASED: &str = "UPDATE reservations SET released_at = updated_at WHERE status <> 'active' AND NOT EXISTS (
    SELECT 1 FROM provisioning p WHERE p.reservation_id = reservations.id AND p.state LIKE '{\"status\":\"releasing\"%')";

const INDEXES: [&str; 2] = [
    "CREATE INDEX reservations_released ON reservations (resource_id, released_at) WHERE status <> 'active'",
    "CREATE INDEX scheduled_events_blocked ON scheduled_events (reservation_id) WHERE blocked",
];

const SQLITE: [&str; 2] = [
    "CREATE INDEX reservations_busy ON reservations (resource_id, COALESCE(busy_until, end_at), COALESCE(busy_from, start_at))
        WHERE status = 'active' OR busy_until IS NOT NULL",
    "DROP INDEX reservations_span",
];

/// The new constraint exists before the old one is dropped.
const POSTGRES: [&str; 2] = [
    "ALTER TABLE reservations ADD CONSTRAINT reservations_busy EXCLUDE USING gist
        (resource_id WITH =, int8range(COALESCE(busy_from, start_at), COALESCE(busy_until, end_at)) WITH &&)
        WHERE (status = 'active' OR busy_until IS NOT NULL)",
    "ALTER TABLE reservations DROP CONSTRAINT reservations_overlap",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let constraint: &[&str] = match connection.get_database_backend() {
            DatabaseBackend::Postgres => &POSTGRES,
            _ => &SQLITE,
        };
        for sql in COLUMNS.iter().chain(&[RELEASED]).chain(&INDEXES).chain(constraint) {
            connection.execute_unprepared(sql).await?;
        }
        Ok(())
    }
}
