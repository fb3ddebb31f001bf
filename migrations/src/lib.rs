//! Migrations of the schema for SQLite and PostgreSQL. `README.md` describes the schema and the rules for changes
//! (expand/contract).

mod compatibility;
mod m0001_start;
mod m0002_webhook_options;
mod m0003_outbox;
mod m0004_queue;
mod m0005_provisioning;
mod m0006_setup_code;
mod m0007_earlier_secrets;
mod m0008_accounts;
mod m0009_demo_and_limits;
mod m0010_audit_log;
mod m0011_openid_connect;
mod m0012_key_rotation;
mod m0013_second_factor;
mod m0014_owners;
mod m0015_privacy;
mod m0016_payload_formats;
mod m0017_delivery_index;
mod m0018_delivery_counts;
mod m0019_secret_reminders;
mod m0020_dispatchers;
mod m0021_alerts;
mod m0022_local_listeners;
mod m0023_replays;
mod m0024_scheduled_events;
mod m0025_webhook_tls;
mod m0026_token_reminders;
mod m0027_hand_over;
mod m0028_access_before_start;

pub use sea_orm_migration::MigratorTrait;

use compatibility::Schema;
use sea_orm_migration::MigratorTraitSelf as _;
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
            Box::new(m0006_setup_code::Migration),
            Box::new(m0007_earlier_secrets::Migration),
            Box::new(m0008_accounts::Migration),
            Box::new(m0009_demo_and_limits::Migration),
            Box::new(m0010_audit_log::Migration),
            Box::new(m0011_openid_connect::Migration),
            Box::new(m0012_key_rotation::Migration),
            Box::new(m0013_second_factor::Migration),
            Box::new(m0014_owners::Migration),
            Box::new(m0015_privacy::Migration),
            Box::new(m0016_payload_formats::Migration),
            Box::new(m0017_delivery_index::Migration),
            Box::new(m0018_delivery_counts::Migration),
            Box::new(m0019_secret_reminders::Migration),
            Box::new(m0020_dispatchers::Migration),
            Box::new(m0021_alerts::Migration),
            Box::new(m0022_local_listeners::Migration),
            Box::new(m0023_replays::Migration),
            Box::new(m0024_scheduled_events::Migration),
            Box::new(m0025_webhook_tls::Migration),
            Box::new(m0026_token_reminders::Migration),
            Box::new(m0027_hand_over::Migration),
            Box::new(m0028_access_before_start::Migration),
        ]
    }
}

/// Applies pending migrations. If several processes start at the same time, one of them migrates and the others wait.
///
/// A current schema is only read, so a role without the right to change it can start. A schema that a newer release has
/// expanded is accepted with a warning.
///
/// # Errors
/// If a statement fails, or a newer release has contracted the schema beyond this one. On PostgreSQL, migrations before
/// the failed one stay applied; on SQLite, none is applied.
pub async fn up(database: &DatabaseConnection) -> Result<(), DbErr> {
    let schema = Schema::read(database).await?;
    if schema.pending().is_empty() {
        return schema.check();
    }
    if database.get_database_backend() != DatabaseBackend::Postgres {
        // One transaction under SQLite's write lock, so that an interrupted migration is rolled back.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let transaction = database.begin_with_options(options).await?;
        apply_pending(&transaction).await?;
        return transaction.commit().await;
    }
    // A transaction-scoped lock: PostgreSQL releases it if the connection breaks.
    let lock = database.begin().await?;
    lock.execute_unprepared("SELECT pg_advisory_xact_lock(4242701)").await?;
    let result = apply_pending(database).await;
    lock.commit().await?;
    result
}

/// Reads the schema again, because another process may have migrated while this one waited, and applies what is pending.
async fn apply_pending<'c>(database: impl IntoSchemaManagerConnection<'c> + Copy) -> Result<(), DbErr> {
    let schema = Schema::read(database).await?;
    schema.check()?;
    schema.up(database, None).await
}

/// The names of pending migrations. Changes nothing.
///
/// # Errors
/// If the database is unavailable.
pub async fn pending(database: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    Ok(Schema::read(database).await?.pending().to_vec())
}
