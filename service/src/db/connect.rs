//! Connections to SQLite and PostgreSQL: pools, pragmas and session settings.

use crate::error::OpenError;
use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, QueryResult,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait as _, Value,
};
use std::str::FromStr as _;
use std::time::Duration;

/// The connections of one process. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    /// SQLite: the one connection that writes. PostgreSQL: the pool.
    pub(crate) write: DatabaseConnection,
    /// SQLite: connections that only read. PostgreSQL: the same pool.
    pub(crate) read: DatabaseConnection,
    /// Claims. On PostgreSQL a connection of its own, see [`CLAIMS`].
    pub(crate) claim: DatabaseConnection,
    /// Results and leases. On PostgreSQL connections of their own, see [`INDEX_PLANS`].
    pub(crate) record: DatabaseConnection,
}

impl Database {
    /// The connection that may change the schema.
    pub fn writer(&self) -> &DatabaseConnection {
        &self.write
    }

    /// Whether the database is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        self.backend() == DbBackend::Postgres
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.write.get_database_backend()
    }

    /// Begins a transaction that changes data.
    pub(crate) async fn begin_write(&self) -> Result<DatabaseTransaction, DbErr> {
        self.begin(&self.write).await
    }

    /// Begins a transaction that records results of attempts.
    pub(crate) async fn begin_record(&self) -> Result<DatabaseTransaction, DbErr> {
        self.begin(&self.record).await
    }

    async fn begin(&self, connection: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
        // SQLite: a transaction that upgrades from reading to writing can fail with SQLITE_BUSY; IMMEDIATE cannot.
        let mode = (!self.is_postgres()).then_some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode: mode, ..TransactionOptions::default() };
        connection.begin_with_options(options).await
    }

    /// A hand-written statement with parameters `$1`, `$2` … (both databases accept them).
    pub(crate) fn statement(&self, sql: impl Into<String>, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }

    /// The rows of a hand-written query on the read side.
    pub(crate) async fn query(
        &self,
        sql: impl Into<String>,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<QueryResult>, DbErr> {
        self.read.query_all_raw(self.statement(sql, values)).await
    }
}

/// Compiling a plan pays for reading millions of rows; no statement here does, but the costs that the settings below make up
/// would have each batch compiled anew.
const NO_JIT: &str = "SET jit = off";
/// A queue grows from nothing and shrinks to nothing within seconds, and statistics lag behind: a plan made for an empty
/// table reads the full one from end to end, for each batch. Along the indexes, whatever there is.
/// Nor can a plan be better for knowing the batch, and making one copies all of it.
const INDEX_PLANS: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_memoize = off; SET plan_cache_mode = force_generic_plan";
/// A claim takes the first of an index, without reading the rest. And a claim that a crash of the server undoes was never
/// made, so that nobody need wait for the disk.
const CLAIMS: &str = "SET enable_bitmapscan = off; SET enable_sort = off; SET synchronous_commit = off";

/// Connects to a database as the service does, for migrating it before the service opens.
///
/// # Errors
/// A sentence for the operator.
pub async fn connect(database_url: &str) -> Result<Database, OpenError> {
    let away =
        |error: sqlx::Error| OpenError(format!("The database {} cannot be opened: {error}", redacted(database_url)));
    if database_url.starts_with("postgres://") || database_url.starts_with("postgresql://") {
        let options = postgres_options(database_url).map_err(away)?;
        let pool = |size: u32, settings: &'static [&'static str]| {
            sqlx::postgres::PgPoolOptions::new()
                .max_connections(size)
                // Who asks while the server is away learns it within this time.
                .acquire_timeout(Duration::from_secs(5))
                .test_before_acquire(false)
                .after_connect(move |connection, _| {
                    Box::pin(async move {
                        for setting in settings {
                            sqlx::Executor::execute(&mut *connection, *setting).await?;
                        }
                        Ok(())
                    })
                })
        };
        let main = pool(11, &[NO_JIT]).connect_with(options.clone()).await.map_err(away)?;
        let wrap = sea_orm::SqlxPostgresConnector::from_sqlx_postgres_pool;
        let write = wrap(main);
        return Ok(Database {
            read: write.clone(),
            write,
            claim: wrap(pool(1, &[NO_JIT, INDEX_PLANS, CLAIMS]).connect_lazy_with(options.clone())),
            record: wrap(pool(3, &[NO_JIT, INDEX_PLANS]).connect_lazy_with(options)),
        });
    }
    if !database_url.starts_with("sqlite:") {
        return Err(OpenError("BERTH_DATABASE_URL must begin with sqlite: or postgres:".into()));
    }
    let options = sqlx::sqlite::SqliteConnectOptions::from_str(database_url)
        .map_err(away)?
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
        .pragma("cache_size", "-32000")
        .pragma("journal_size_limit", "67108864")
        .statement_cache_capacity(256)
        // What a claim reads, without waiting for its reader in between.
        .row_buffer_size(512);
    let options = sqlx::ConnectOptions::disable_statement_logging(options);
    let pool = |size: u32, options: sqlx::sqlite::SqliteConnectOptions| {
        sqlx::sqlite::SqlitePoolOptions::new()
            .max_connections(size)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(Duration::from_secs(30))
            .test_before_acquire(false)
            // On errors such as a full disk SQLite itself ends the transaction, and the driver goes on counting one that is
            // open: everything after would be a savepoint inside it, answered as committed and never written. Such a
            // connection is closed.
            .before_acquire(|connection, _| {
                let sound = !sqlx::Connection::is_in_transaction(connection);
                if !sound {
                    tracing::warn!("a connection whose transaction SQLite ended is replaced");
                }
                Box::pin(std::future::ready(Ok(sound)))
            })
            .connect_with(options)
    };
    // The writer first: it makes the file and switches it to WAL.
    let writer = options.clone().pragma("temp_store", "memory");
    let write = pool(1, writer).await.map_err(away)?;
    let read = pool(4, options).await.map_err(away)?;
    let wrap = sea_orm::SqlxSqliteConnector::from_sqlx_sqlite_pool;
    let write = wrap(write);
    Ok(Database { read: wrap(read), claim: write.clone(), record: write.clone(), write })
}

/// How to connect to PostgreSQL. Within one machine there is nobody to hide from: unless the URL says otherwise, no TLS
/// there. Its records also break a statement of more than 16 KiB into several writes, which the driver (0.9.0, without
/// `TCP_NODELAY`) lets wait 40 ms for each other.
pub(crate) fn postgres_options(database_url: &str) -> Result<sqlx::postgres::PgConnectOptions, sqlx::Error> {
    let options = sqlx::postgres::PgConnectOptions::from_str(database_url)?.application_name("berth");
    let options = sqlx::ConnectOptions::disable_statement_logging(options);
    let host = options.get_host().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let query = database_url.split_once('?').map_or("", |(_, query)| query);
    let says = query.split('&').any(|pair| pair.starts_with("sslmode=") || pair.starts_with("ssl-mode="))
        || std::env::var_os("PGSSLMODE").is_some();
    Ok(if local && !says { options.ssl_mode(sqlx::postgres::PgSslMode::Disable) } else { options })
}

/// A database URL without its password.
fn redacted(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => format!("{}://…{}", &url[..scheme], &url[at..]),
        _ => url.to_owned(),
    }
}
#[cfg(test)]
mod tests {
    use super::postgres_options;
    use sqlx::postgres::PgSslMode;

    #[test]
    fn tls_is_not_tried_within_one_machine_unless_asked_for() {
        let without = |url: &str| matches!(postgres_options(url).unwrap().get_ssl_mode(), PgSslMode::Disable);
        assert!(without("postgres://berth@127.0.0.1:5432/berth"));
        assert!(without("postgres://berth@localhost/berth?application_name=x"));
        assert!(without("postgres://berth@[::1]/berth"));
        assert!(!without("postgres://berth@127.0.0.1/berth?sslmode=require"));
        assert!(!without("postgres://berth@localhost/berth?application_name=x&sslmode=prefer"));
        assert!(!without("postgres://berth@db.example.com/berth"));
        assert!(!without("postgres://berth@127.0.0.1.example.com/berth"));
    }
}
