//! Migrations of the schema for SQLite and PostgreSQL. `README.md` describes the schema and the rules for changes
//! (expand/contract).

mod m0001_start;
mod m0002_webhook_options;
mod m0003_outbox;
mod m0004_queue;
mod m0005_provisioning;

pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{
    DatabaseBackend, DatabaseConnection, SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
};

/// All migrations, in order.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_start::Migration),
            Box::new(m0002_webhook_options::Migration),
            Box::new(m0003_outbox::Migration),
            Box::new(m0004_queue::Migration),
            Box::new(m0005_provisioning::Migration),
        ]
    }
}

/// Applies pending migrations. If several processes start at the same time, one of them migrates and the others wait.
///
/// # Errors
/// If a statement fails. On PostgreSQL, migrations before the failed one stay applied; on SQLite, none is applied.
pub async fn up(database: &DatabaseConnection) -> Result<(), DbErr> {
    if database.get_database_backend() != DatabaseBackend::Postgres {
        // One transaction under SQLite's write lock, so that an interrupted migration is rolled back.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let transaction = database.begin_with_options(options).await?;
        Migrator::up(&transaction, None).await?;
        return transaction.commit().await;
    }
    // A transaction-scoped lock: PostgreSQL releases it if the connection breaks.
    let lock = database.begin().await?;
    lock.execute_unprepared("SELECT pg_advisory_xact_lock(4242701)").await?;
    let result = Migrator::up(database, None).await;
    lock.commit().await?;
    result
}

/// The names of pending migrations.
///
/// # Errors
/// If the database is unavailable.
pub async fn pending(database: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    Ok(Migrator::get_pending_migrations(database).await?.iter().map(|m| m.name().to_owned()).collect())
}
