//! Adds keys that outlive a rotation of the master key, and the mark of a database whose secrets are not bound to rows.
//!
//! Expand only. In a database with webhooks, processes of the previous version may run, which read only unbound secrets.
//! It is marked, so that processes write that form until `berth key rotate` removes the mark.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for sql in [
            "CREATE TABLE unbound_secrets (id BIGINT PRIMARY KEY NOT NULL)",
            "INSERT INTO unbound_secrets (id) SELECT 1 WHERE EXISTS (SELECT 1 FROM webhooks)",
            "CREATE TABLE stored_keys (purpose TEXT PRIMARY KEY NOT NULL, encrypted TEXT NOT NULL)",
        ] {
            manager.get_connection().execute_unprepared(sql).await?;
        }
        Ok(())
    }
}
