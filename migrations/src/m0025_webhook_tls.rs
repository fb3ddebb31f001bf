//! Adds the TLS settings of a webhook: authorities that it trusts, a client certificate, and its private key.
//!
//! Expand only: a process of the previous version ignores the columns. While it runs beside the new version, it connects without
//! the client certificate; the receiver rejects the connection, and the attempt is repeated.

use sea_orm_migration::prelude::*;

/// See the module documentation.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["ca_certificates", "client_certificate", "client_key"] {
            let sql = format!("ALTER TABLE webhooks ADD COLUMN {column} TEXT");
            manager.get_connection().execute_unprepared(&sql).await?;
        }
        Ok(())
    }
}
