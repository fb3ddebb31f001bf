//! Moves the queue into a separate table.
//!
//! A row of `deliveries` has many indexes and a body, while claims and leases change only a few columns. With the
//! split, a claim updates a narrow row in `outbox`. The row in `deliveries` is written at creation and at the end of an
//! attempt.
//!
//! No index contains the columns that claims, leases and results change, so PostgreSQL can use HOT updates. Expired
//! leases are found by a scan of the queue, which is usually short.
//!
//! This migration is not expand/contract, because it precedes the first release. Stop processes of the previous version
//! first. If one still runs, its statements fail on the missing columns; nothing is lost.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

/// Statements for both databases. `{seq}` stands for a type that differs.
const STEPS: &str = "
CREATE TABLE outbox (seq {seq} PRIMARY KEY, webhook_id BIGINT NOT NULL, ordering_key TEXT NOT NULL, due_at BIGINT NOT NULL,
  attempts INTEGER NOT NULL, lease_owner TEXT, lease_until BIGINT, updated_at BIGINT NOT NULL);
INSERT INTO outbox (seq, webhook_id, ordering_key, due_at, attempts, lease_owner, lease_until, updated_at)
  SELECT seq, webhook_id, ordering_key, due_at, attempts, lease_owner, lease_until, updated_at FROM deliveries
  WHERE status IN ('pending', 'sending', 'retrying');
CREATE INDEX outbox_due ON outbox (webhook_id, due_at, seq);
CREATE INDEX outbox_order ON outbox (webhook_id, ordering_key, seq);
UPDATE deliveries SET status = CASE WHEN attempts > 1 THEN 'retrying' ELSE 'pending' END, attempts = attempts - 1
  WHERE status = 'sending';
DROP INDEX deliveries_due;
DROP INDEX deliveries_open;
DROP INDEX deliveries_lease;
DROP INDEX deliveries_failed;
ALTER TABLE deliveries DROP COLUMN due_at;
ALTER TABLE deliveries DROP COLUMN lease_owner;
ALTER TABLE deliveries DROP COLUMN lease_until;
ALTER TABLE deliveries ADD COLUMN failed_at BIGINT;
UPDATE deliveries SET failed_at = ended_at WHERE status = 'failed';
CREATE INDEX deliveries_failed ON deliveries (seq) WHERE failed_at IS NOT NULL";

/// Bodies are stored outside the rows and pages are half filled, so that new row versions fit on the same page (HOT).
/// Rows of the queue are short-lived: autovacuum starts at a fixed number of dead rows, not at a share of the table.
const POSTGRES: &str = "
ALTER TABLE deliveries ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE deliveries SET (fillfactor = 50, toast_tuple_target = 640);
ALTER TABLE reservations SET (fillfactor = 45);
ALTER TABLE outbox SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
  autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let (seq, more) = match connection.get_database_backend() {
            DatabaseBackend::Postgres => ("BIGINT", POSTGRES),
            _ => ("INTEGER", ""),
        };
        let steps = STEPS.replace("{seq}", seq);
        for statement in steps.split(';').chain(more.split(';')).filter(|statement| !statement.trim().is_empty()) {
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
