//! Adds the index of the delivery log: a narrow row for each delivery, the words of its texts, and its position.
//!
//! Expand only: a process of the previous version ignores the tables. The worker of the new version fills them in the
//! background, so that this migration takes no time on a large log.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

/// Statements for both databases. `{seq}` and `{double}` stand for types that differ, `{ops}` for the order of ids.
const STATEMENTS: [&str; 14] = [
    "CREATE TABLE delivery_index (
        seq {seq} PRIMARY KEY NOT NULL,
        id TEXT NOT NULL,
        event_id TEXT NOT NULL,
        ordering_key TEXT NOT NULL,
        event_type TEXT NOT NULL,
        webhook_id BIGINT NOT NULL,
        status TEXT NOT NULL,
        test BOOLEAN NOT NULL,
        attempts INTEGER NOT NULL,
        status_code INTEGER,
        duration_ms {double},
        cause TEXT,
        created_at BIGINT NOT NULL,
        ended_at BIGINT,
        is_open BOOLEAN NOT NULL,
        needs_text BOOLEAN NOT NULL)",
    "CREATE INDEX delivery_index_id ON delivery_index (id{ops})",
    "CREATE INDEX delivery_index_event ON delivery_index (event_id{ops})",
    "CREATE INDEX delivery_index_key ON delivery_index (ordering_key{ops}, seq)",
    "CREATE INDEX delivery_index_webhook ON delivery_index (webhook_id, seq)",
    "CREATE INDEX delivery_index_status ON delivery_index (status, seq)",
    "CREATE INDEX delivery_index_code ON delivery_index (status_code, seq)",
    "CREATE INDEX delivery_index_cause ON delivery_index (cause, seq) WHERE cause IS NOT NULL",
    // The conditions of a search for slow or repeated deliveries contain these of the indexes.
    "CREATE INDEX delivery_index_slow ON delivery_index (seq) WHERE duration_ms >= 1000",
    "CREATE INDEX delivery_index_retried ON delivery_index (seq) WHERE attempts > 1",
    "CREATE INDEX delivery_index_event_type ON delivery_index (event_type, seq)",
    "CREATE INDEX delivery_index_open ON delivery_index (seq) WHERE is_open",
    "CREATE INDEX delivery_index_needs_text ON delivery_index (seq) WHERE needs_text",
    "CREATE TABLE delivery_index_state (id BIGINT PRIMARY KEY, seq BIGINT NOT NULL, revision BIGINT NOT NULL)",
];

const STATE: &str = "INSERT INTO delivery_index_state (id, seq, revision) VALUES (1, 0, 0)";

/// The index has no copy of the texts, which are in the log.
const SQLITE: [&str; 1] = ["CREATE VIRTUAL TABLE delivery_words USING fts5
        (words, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 0')"];

const POSTGRES: [&str; 2] = [
    "CREATE TABLE delivery_words (seq BIGINT PRIMARY KEY, words tsvector NOT NULL)",
    "CREATE INDEX delivery_words_words ON delivery_words USING gin (words)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let (seq, ops, double, more): (_, _, _, &[&str]) = match connection.get_database_backend() {
            // Bytewise order, so that the beginning of an id is a range of the index.
            DatabaseBackend::Postgres => ("BIGINT", " text_pattern_ops", "DOUBLE PRECISION", &POSTGRES),
            _ => ("INTEGER", "", "REAL", &SQLITE),
        };
        for sql in STATEMENTS {
            let sql = sql.replace("{seq}", seq).replace("{ops}", ops).replace("{double}", double);
            connection.execute_unprepared(&sql).await?;
        }
        for sql in more {
            connection.execute_unprepared(sql).await?;
        }
        connection.execute_unprepared(STATE).await?;
        Ok(())
    }
}
