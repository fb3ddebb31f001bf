//! Adds second factors: passkeys, authenticator apps and recovery codes, and the challenges that they answer.
//!
//! Expand only: a process of the previous version ignores the new tables. It logs users in with a password alone, so the
//! upgrade must be complete before an account relies on its second factor (docs/operations.md).

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

const STATEMENTS: [&str; 7] = [
    "CREATE TABLE passkeys (
        id TEXT PRIMARY KEY NOT NULL,
        username TEXT NOT NULL REFERENCES users(username) ON DELETE CASCADE,
        name TEXT NOT NULL,
        credential_id TEXT NOT NULL,
        user_handle TEXT NOT NULL,
        credential TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        last_used_at BIGINT)",
    "CREATE UNIQUE INDEX passkeys_credential_id ON passkeys (credential_id)",
    "CREATE INDEX passkeys_username ON passkeys (username)",
    "CREATE TABLE authenticator_apps (
        username TEXT PRIMARY KEY NOT NULL REFERENCES users(username) ON DELETE CASCADE,
        secret TEXT NOT NULL,
        last_step BIGINT NOT NULL,
        created_at BIGINT NOT NULL,
        last_used_at BIGINT NOT NULL)",
    "CREATE TABLE recovery_codes (
        username TEXT NOT NULL REFERENCES users(username) ON DELETE CASCADE,
        code_hash TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        PRIMARY KEY (username, code_hash))",
    "CREATE TABLE challenges (
        token_hash TEXT PRIMARY KEY NOT NULL,
        holder TEXT NOT NULL,
        state TEXT NOT NULL,
        expires_at BIGINT NOT NULL)",
    "CREATE INDEX challenges_holder ON challenges (holder, expires_at)",
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
