//! Adds the audit log, the head of its chain of hashes, and the positions of its streams.
//!
//! The log is append-only: triggers refuse changes of its rows. Retention first moves `audit_head.pruned_seq` to the last
//! row that it deletes, and the triggers accept only the deletion of rows up to it. A role with the
//! right to change the schema can drop the triggers; the chain of hashes then shows the changed entries.
//!
//! Expand only: a process of the previous version ignores the new tables, and its changes are not in the log.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

/// Statements for both databases. `{seq}` stands for a type that differs.
const TABLES: [&str; 6] = [
    "CREATE TABLE audit_log (
        seq {seq} PRIMARY KEY NOT NULL,
        at BIGINT NOT NULL,
        actor TEXT,
        credential TEXT NOT NULL,
        credential_id TEXT NOT NULL,
        credential_name TEXT NOT NULL,
        source TEXT NOT NULL,
        request_id TEXT NOT NULL,
        action TEXT NOT NULL,
        outcome TEXT NOT NULL,
        target_type TEXT NOT NULL,
        target_id TEXT NOT NULL,
        target_name TEXT NOT NULL,
        changes TEXT NOT NULL,
        detail TEXT NOT NULL,
        occurrences BIGINT NOT NULL,
        key_id TEXT NOT NULL,
        hash TEXT NOT NULL
    )",
    "CREATE INDEX audit_log_target ON audit_log (target_type, target_id, seq)",
    "CREATE INDEX audit_log_actor ON audit_log (actor, seq)",
    "CREATE TABLE audit_head (
        id BIGINT PRIMARY KEY NOT NULL,
        seq BIGINT NOT NULL,
        hash TEXT NOT NULL,
        pruned_seq BIGINT NOT NULL,
        pruned_hash TEXT NOT NULL,
        key_id TEXT NOT NULL,
        mac TEXT NOT NULL
    )",
    "INSERT INTO audit_head (id, seq, hash, pruned_seq, pruned_hash, key_id, mac) VALUES (1, 0, '', 0, '', '', '')",
    "CREATE TABLE audit_streams (
        name TEXT PRIMARY KEY NOT NULL,
        seq BIGINT NOT NULL,
        lease_owner TEXT NOT NULL,
        lease_until BIGINT NOT NULL
    )",
];

const SQLITE_TRIGGERS: [&str; 2] = [
    "CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log
     BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    "CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
     WHEN OLD.seq > (SELECT pruned_seq FROM audit_head WHERE id = 1)
     BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
];

/// The head is updated with each entry: half-filled pages keep the update HOT.
const POSTGRES_TRIGGERS: [&str; 4] = [
    "CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
     BEGIN
        IF TG_OP = 'DELETE' THEN
            IF OLD.seq <= (SELECT pruned_seq FROM audit_head WHERE id = 1) THEN
                RETURN OLD;
            END IF;
        END IF;
        RAISE EXCEPTION 'the audit log is append-only';
     END $$",
    "CREATE TRIGGER audit_log_no_change BEFORE UPDATE OR DELETE ON audit_log
     FOR EACH ROW EXECUTE FUNCTION audit_log_is_append_only()",
    "CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log
     FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only()",
    "ALTER TABLE audit_head SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let (seq, triggers): (&str, &[&str]) = match connection.get_database_backend() {
            DatabaseBackend::Postgres => ("BIGINT", &POSTGRES_TRIGGERS),
            _ => ("INTEGER", &SQLITE_TRIGGERS),
        };
        for sql in TABLES {
            connection.execute_unprepared(&sql.replace("{seq}", seq)).await?;
        }
        for sql in triggers {
            connection.execute_unprepared(sql).await?;
        }
        Ok(())
    }
}
