//! Adds the links of accounts to users of identity providers, the used states of log-ins, and the provider of a session
//! and of a role.
//!
//! Expand only: a process of the previous version ignores the new tables and columns. Its sessions have no provider, and
//! count as log-ins with a password.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: [&str; 9] = [
    "CREATE TABLE identities (
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        username TEXT NOT NULL REFERENCES users(username) ON DELETE CASCADE,
        created_at BIGINT NOT NULL,
        last_used_at BIGINT,
        PRIMARY KEY (issuer, subject))",
    "CREATE INDEX identities_username ON identities (username)",
    "CREATE TABLE used_log_in_states (state_hash TEXT PRIMARY KEY NOT NULL, expires_at BIGINT NOT NULL)",
    "ALTER TABLE users ADD COLUMN role_provider TEXT",
    "ALTER TABLE sessions ADD COLUMN issuer TEXT",
    "ALTER TABLE sessions ADD COLUMN provider_session TEXT",
    "ALTER TABLE sessions ADD COLUMN id_token TEXT",
    "ALTER TABLE sessions ADD COLUMN authenticated_at BIGINT",
    "CREATE INDEX sessions_provider_session ON sessions (provider_session)",
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
