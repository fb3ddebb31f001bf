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
    /// SQLite: the only connection that writes. PostgreSQL: the pool.
    pub(crate) write: DatabaseConnection,
    /// SQLite: connections that only read. PostgreSQL: the same pool.
    pub(crate) read: DatabaseConnection,
    /// Claims. PostgreSQL: a separate connection with other settings, see [`CLAIM_SETTINGS`].
    pub(crate) claim: DatabaseConnection,
    /// Results and leases. PostgreSQL: separate connections with other settings, see [`INDEX_PLANS`].
    pub(crate) record: DatabaseConnection,
}

impl Database {
    /// The connection for migrations.
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
        // SQLite: a transaction that reads first and writes later can fail with SQLITE_BUSY; IMMEDIATE takes the lock
        // at once.
        let mode = (!self.is_postgres()).then_some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode: mode, ..TransactionOptions::default() };
        connection.begin_with_options(options).await
    }

    /// A hand-written statement with parameters `$1`, `$2` … (both databases accept them).
    pub(crate) fn statement(&self, sql: impl Into<String>, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }

    /// The rows of a hand-written query on a read connection.
    pub(crate) async fn query(
        &self,
        sql: impl Into<String>,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<QueryResult>, DbErr> {
        self.read.query_all_raw(self.statement(sql, values)).await
    }
}

/// Statements that take longer are logged as warnings, with their duration and without their parameters.
const SLOW_STATEMENT: Duration = Duration::from_secs(1);

/// JIT compilation costs more than it saves: no statement reads millions of rows, and the plan costs of [`INDEX_PLANS`]
/// would trigger it for each batch.
const NO_JIT: &str = "SET jit = off";
/// Forces index plans. A queue grows and empties within seconds, and statistics lag behind. A plan made for an empty
/// table would scan the full one for each batch. A generic plan avoids planning, which copies the whole batch.
const INDEX_PLANS: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_memoize = off; SET plan_cache_mode = force_generic_plan";
/// A claim reads the first rows of an index and stops. Its commit does not wait for the disk: if a crash of the
/// database server loses the claim, the delivery is still in the queue.
const CLAIM_SETTINGS: &str = "SET enable_bitmapscan = off; SET enable_sort = off; SET synchronous_commit = off";

/// Connects to a database. The caller applies migrations before it opens the service.
///
/// # Errors
/// A sentence for the operator when the URL is invalid or the database does not accept connections.
pub async fn connect(database_url: &str) -> Result<Database, OpenError> {
    let connected = if database_url.starts_with("postgres://") || database_url.starts_with("postgresql://") {
        connect_postgres(database_url).await
    } else if database_url.starts_with("sqlite:") {
        connect_sqlite(database_url).await
    } else {
        return Err(OpenError("BERTH_DATABASE_URL must begin with sqlite: or postgres:".into()));
    };
    connected.map_err(|error| OpenError(format!("The database {} cannot be opened: {error}", redacted(database_url))))
}

async fn connect_postgres(database_url: &str) -> Result<Database, sqlx::Error> {
    let options = postgres_options(database_url)?;
    let pool = |size: u32, settings: &'static [&'static str]| {
        sqlx::postgres::PgPoolOptions::new()
            .max_connections(size)
            // In an outage a request fails within this time.
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
    let wrap = sea_orm::SqlxPostgresConnector::from_sqlx_postgres_pool;
    let write = wrap(pool(11, &[NO_JIT]).connect_with(options.clone()).await?);
    Ok(Database {
        read: write.clone(),
        write,
        claim: wrap(pool(1, &[NO_JIT, INDEX_PLANS, CLAIM_SETTINGS]).connect_lazy_with(options.clone())),
        record: wrap(pool(3, &[NO_JIT, INDEX_PLANS]).connect_lazy_with(options)),
    })
}

async fn connect_sqlite(database_url: &str) -> Result<Database, sqlx::Error> {
    let options = sqlx::sqlite::SqliteConnectOptions::from_str(database_url)?
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
        .pragma("cache_size", "-32000")
        .pragma("journal_size_limit", "67108864")
        .statement_cache_capacity(256)
        // Holds the rows of one claim, so that SQLite's thread does not wait for the reader between rows.
        .row_buffer_size(512);
    let options = log_slow_statements(options);
    let pool = |size: u32, options: sqlx::sqlite::SqliteConnectOptions| {
        sqlx::sqlite::SqlitePoolOptions::new()
            .max_connections(size)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(Duration::from_secs(30))
            .test_before_acquire(false)
            // After an error such as a full disk, SQLite rolls the transaction back itself, but the driver still counts
            // it as open. Later transactions on the connection would be savepoints that never commit. Such a connection
            // is replaced.
            .before_acquire(|connection, _| {
                let reusable = !sqlx::Connection::is_in_transaction(connection);
                if !reusable {
                    tracing::warn!("SQLite rolled back a transaction; its connection is replaced");
                }
                Box::pin(std::future::ready(Ok(reusable)))
            })
            .connect_with(options)
    };
    // The writer first: it creates the file and switches it to WAL.
    let write = pool(1, options.clone().pragma("temp_store", "memory")).await?;
    let read = pool(4, options).await?;
    let wrap = sea_orm::SqlxSqliteConnector::from_sqlx_sqlite_pool;
    let write = wrap(write);
    Ok(Database { read: wrap(read), claim: write.clone(), record: write.clone(), write })
}

/// Logs slow statements only: logging each statement would cost more than most statements.
fn log_slow_statements<O: sqlx::ConnectOptions>(options: O) -> O {
    options.log_statements(log::LevelFilter::Off).log_slow_statements(log::LevelFilter::Warn, SLOW_STATEMENT)
}

/// Options for PostgreSQL. On a loopback address TLS is off unless the URL or `PGSSLMODE` sets it: there is no network
/// to protect. TLS splits a statement of more than 16 KiB into several writes. The driver (0.9.0) does not set
/// `TCP_NODELAY`, so each write is delayed by 40 ms (Nagle's algorithm with delayed ACK).
pub(crate) fn postgres_options(database_url: &str) -> Result<sqlx::postgres::PgConnectOptions, sqlx::Error> {
    let options = sqlx::postgres::PgConnectOptions::from_str(database_url)?.application_name("berth");
    let options = log_slow_statements(options);
    let host = options.get_host().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let query = database_url.split_once('?').map_or("", |(_, query)| query);
    let configured = query.split('&').any(|pair| pair.starts_with("sslmode=") || pair.starts_with("ssl-mode="))
        || std::env::var_os("PGSSLMODE").is_some();
    Ok(if local && !configured { options.ssl_mode(sqlx::postgres::PgSslMode::Disable) } else { options })
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
    fn tls_is_off_on_loopback_unless_configured() {
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
