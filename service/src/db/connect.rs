//! Connections to SQLite and PostgreSQL: pools, pragmas and session settings.

use super::database_url::{
    is_postgres, log_slow_statements, postgres_options, redacted, search_path, set_search_path, unknown_parameters,
};
use super::link::{Connection, DatabaseTransaction, Link, LinkLimits, Use};
use crate::error::{NEEDS_SESSION_POOLING, OpenError};
use sea_orm::{
    AccessMode, ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, IsolationLevel, QueryResult,
    SqliteTransactionMode, Statement, TransactionOptions, Value,
};
use sqlx::Connection as _;
use std::str::FromStr as _;
use std::time::Duration;

/// The connections of one process. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    /// SQLite: the only connection that writes. PostgreSQL: the pool.
    pub(crate) write: Connection,
    /// SQLite: connections that only read. PostgreSQL: the same pool.
    pub(crate) read: Connection,
    /// Claims. PostgreSQL: a separate connection with other settings, see [`CLAIM_SETTINGS`].
    pub(crate) claim: Connection,
    /// Results and leases. PostgreSQL: separate connections with other settings, see [`INDEX_PLANS`].
    pub(crate) record: Connection,
    pub(crate) limits: LinkLimits,
}

impl Database {
    /// The connection for migrations, without the time limit of other statements.
    pub fn writer(&self) -> &DatabaseConnection {
        self.write.pool()
    }

    /// Whether the database is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        self.backend() == DbBackend::Postgres
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.write.get_database_backend()
    }

    /// Begins a transaction whose change is not in the audit log: a result of a delivery, a limit, retention. Changes of
    /// users begin with [`Context::begin_change`](crate::context::Context::begin_change).
    pub(crate) async fn begin_unaudited(&self) -> Result<DatabaseTransaction, DbErr> {
        self.begin(&self.write).await
    }

    /// Begins a transaction that only reads, and sees one state of the database.
    pub(crate) async fn begin_snapshot(&self) -> Result<DatabaseTransaction, DbErr> {
        let is_postgres = self.is_postgres();
        let options = TransactionOptions {
            isolation_level: is_postgres.then_some(IsolationLevel::RepeatableRead),
            access_mode: is_postgres.then_some(AccessMode::ReadOnly),
            // SQLite: the first read begins the snapshot.
            sqlite_transaction_mode: (!is_postgres).then_some(SqliteTransactionMode::Deferred),
        };
        self.read.begin(options).await
    }

    /// Begins a transaction that records results of attempts.
    pub(crate) async fn begin_record(&self) -> Result<DatabaseTransaction, DbErr> {
        self.begin(&self.record).await
    }

    async fn begin(&self, connection: &Connection) -> Result<DatabaseTransaction, DbErr> {
        // SQLite: a transaction that reads first and writes later can fail with SQLITE_BUSY; IMMEDIATE takes the lock
        // at once.
        let mode = (!self.is_postgres()).then_some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode: mode, ..TransactionOptions::default() };
        connection.begin(options).await
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

/// JIT compilation costs more than it saves: no statement reads millions of rows, and the plan costs of [`INDEX_PLANS`]
/// would trigger it for each batch.
const NO_JIT: &str = "SET jit = off";
/// Forces index plans. A queue grows and empties within seconds, and statistics lag behind. A plan made for an empty
/// table would scan the full one for each batch. A generic plan avoids planning, which copies the whole batch.
const INDEX_PLANS: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_memoize = off; SET plan_cache_mode = force_generic_plan";
/// A claim reads the first rows of an index and stops. Its commit does not wait for the disk: if a crash of the
/// database server loses the claim, the delivery is still in the queue.
const CLAIM_SETTINGS: &str = "SET enable_bitmapscan = off; SET enable_sort = off; SET synchronous_commit = off";

/// Packets that keep an idle connection open in firewalls, and end the session of a process that disappeared. The driver
/// offers no such option for its own socket, so the server sends them.
const KEEP_ALIVE: &str = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 60000";
/// Connects to a database. The caller applies migrations before it opens the service.
///
/// # Errors
/// A sentence for the operator when the URL is invalid or the database does not accept connections.
pub async fn connect(database_url: &str) -> Result<Database, OpenError> {
    connect_with(database_url, LinkLimits::default()).await
}

/// Connects as [`connect`], with other times by which a lost connection to PostgreSQL is recognised.
///
/// # Errors
/// As [`connect`].
pub async fn connect_with(database_url: &str, limits: LinkLimits) -> Result<Database, OpenError> {
    let failed =
        |error: sqlx::Error| OpenError(format!("The database {} cannot be opened: {error}", redacted(database_url)));
    if is_postgres(database_url) {
        let (database, has_own_sessions) = connect_postgres(database_url, limits).await.map_err(failed)?;
        if has_own_sessions { Ok(database) } else { Err(OpenError(NEEDS_SESSION_POOLING.into())) }
    } else if database_url.starts_with("sqlite:") {
        connect_sqlite(database_url).await.map_err(failed)
    } else {
        Err(OpenError("BERTH_DATABASE_URL must begin with sqlite: or postgres:".into()))
    }
}

/// Connects to PostgreSQL. Also returns whether each connection has a session of its own.
async fn connect_postgres(database_url: &str, limits: LinkLimits) -> Result<(Database, bool), sqlx::Error> {
    for name in unknown_parameters(database_url) {
        tracing::warn!("the parameter {name} of BERTH_DATABASE_URL is unknown and has no effect");
    }
    let options = postgres_options(database_url)?;
    let schemas = search_path(database_url);
    let link = Link::new(limits);
    let pool = |size: u32, settings: &'static [&'static str]| {
        let (acquired, released, schemas) = (link.clone(), link.clone(), schemas.clone());
        sqlx::postgres::PgPoolOptions::new()
            .max_connections(size)
            // In an outage a request fails within this time.
            .acquire_timeout(Duration::from_secs(5))
            .test_before_acquire(false)
            .before_acquire(move |connection, idle| {
                let link = acquired.clone();
                Box::pin(async move { Ok(link.is_usable(idle.age, idle.idle_for, connection.ping()).await) })
            })
            // The driver tests a returned connection without a time limit, so a lost one must not get there.
            .after_release(move |_, connection| {
                let usable = !released.is_retired(connection.age);
                Box::pin(std::future::ready(Ok(usable)))
            })
            .after_connect(move |connection, _| {
                let schemas = schemas.clone();
                Box::pin(async move {
                    set_search_path(connection, schemas.as_deref()).await?;
                    for setting in settings {
                        sqlx::Executor::execute(&mut *connection, *setting).await?;
                    }
                    Ok(())
                })
            })
    };
    let shared = pool(11, &[NO_JIT, KEEP_ALIVE]).connect_with(options.clone()).await?;
    let has_own_sessions = has_own_sessions(&shared).await?;
    let claims = pool(1, &[NO_JIT, KEEP_ALIVE, INDEX_PLANS, CLAIM_SETTINGS]).connect_lazy_with(options.clone());
    let results = pool(3, &[NO_JIT, KEEP_ALIVE, INDEX_PLANS]).connect_lazy_with(options);
    let over =
        |pool, purpose| Connection::over(&link, sea_orm::SqlxPostgresConnector::from_sqlx_postgres_pool(pool), purpose);
    let database = Database {
        read: over(shared.clone(), Use::Read),
        write: over(shared, Use::Write),
        claim: over(claims, Use::Unattended),
        record: over(results, Use::Unattended),
        limits,
    };
    Ok((database, has_own_sessions))
}

/// Whether each connection has a session of its own. In transaction mode a pooler runs consecutive statements of two
/// connections in one session.
async fn has_own_sessions(pool: &sqlx::PgPool) -> Result<bool, sqlx::Error> {
    let (mut one, mut other) = (pool.acquire().await?, pool.acquire().await?);
    let mut session = None;
    for connection in [&mut one, &mut other] {
        // Not prepared: a pooler in transaction mode may reject prepared statements.
        let row = sqlx::Executor::fetch_one(&mut **connection, "SELECT pg_backend_pid()").await?;
        let id: i32 = sqlx::Row::try_get(&row, 0)?;
        if session.replace(id) == Some(id) {
            return Ok(false);
        }
    }
    Ok(true)
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
    let local = |pool| Connection::local(sea_orm::SqlxSqliteConnector::from_sqlx_sqlite_pool(pool));
    let write = local(write);
    let limits = LinkLimits::default();
    Ok(Database { read: local(read), claim: write.clone(), record: write.clone(), write, limits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_support::{DatabaseKind, TestDatabase, postgres_url};

    #[tokio::test]
    async fn postgres_sends_keep_alive_packets_on_each_pool() {
        if postgres_url().is_none() {
            return;
        }
        let empty = TestDatabase::create(DatabaseKind::Postgres).await;
        let database = connect(&empty.url).await.unwrap();
        let settings = ["tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"];
        for (name, pool) in [
            ("read", &database.read),
            ("write", &database.write),
            ("claim", &database.claim),
            ("record", &database.record),
        ] {
            let mut values = Vec::new();
            for setting in settings {
                let row = pool.query_one_raw(database.statement(format!("SHOW {setting}"), [])).await.unwrap().unwrap();
                values.push(row.try_get_by_index::<String>(0).unwrap());
            }
            // The server reports what its operating system has set for the socket of the connection.
            assert_eq!(values, ["30", "10", "3", "60000"], "{name}");
        }
    }
}
