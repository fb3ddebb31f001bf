//! The schema, for SQLite and PostgreSQL. See `README.md` for how it changes (expand/contract).

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

/// The migrations in order.
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

/// Brings the schema up to date. Several processes may start at once: one migrates while the others wait.
///
/// # Errors
/// When a statement fails; what was applied before stays.
pub async fn up(database: &DatabaseConnection) -> Result<(), DbErr> {
    if database.get_database_backend() != DatabaseBackend::Postgres {
        // All or nothing, under SQLite's write lock: a step that is interrupted leaves no half of itself behind.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let transaction = database.begin_with_options(options).await?;
        Migrator::up(&transaction, None).await?;
        return transaction.commit().await;
    }
    // A transaction-scoped lock: it goes by itself when the connection does.
    let lock = database.begin().await?;
    lock.execute_unprepared("SELECT pg_advisory_xact_lock(4242701)").await?;
    let result = Migrator::up(database, None).await;
    lock.commit().await?;
    result
}

/// The names of migrations that are not applied yet.
///
/// # Errors
/// When the database does not answer.
pub async fn pending(database: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    Ok(Migrator::get_pending_migrations(database).await?.iter().map(|m| m.name().to_owned()).collect())
}
