//! The open service: database, keys, clock, feed.

use crate::Clock;
use crate::live::Feed;
use crate::outbox::Outbox;
use crate::secrets::Cipher;
use chrono::{DateTime, SubsecRound as _, Utc};
use domain::endpoint::UrlPolicy;
use domain::{Problem, ProblemKind};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, QueryResult, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait as _, Value,
};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What a service is opened with.
#[derive(Clone)]
pub struct Settings {
    /// `sqlite://path?mode=rwc` or `postgres://…`.
    pub database_url: String,
    /// Where people and receivers reach this Berth, without a trailing slash; `status_url` is made of it.
    pub public_url: String,
    /// Encrypts secrets at rest.
    pub master_key: [u8; 32],
    /// What endpoints may be registered and called.
    pub url_policy: UrlPolicy,
    /// Days that deliveries with payloads and attempts are kept.
    pub retention_days: u32,
    /// How long one exchange with a receiver may take (30 s; shorter in tests).
    pub delivery_timeout: Duration,
}

/// Why the service could not be opened, for the operator.
#[derive(Debug)]
pub struct OpenError(pub String);

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OpenError {}

/// Every use case of Berth; cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    /// SQLite: the one connection that writes. PostgreSQL: the pool.
    pub(crate) write: DatabaseConnection,
    /// SQLite: connections that only read. PostgreSQL: the same pool.
    pub(crate) read: DatabaseConnection,
    /// What claims are made on: on PostgreSQL a connection of its own, see [`CLAIMS`].
    pub(crate) claim: DatabaseConnection,
    /// What results are recorded and leases kept on: on PostgreSQL connections of their own, see [`ALONG_INDEXES`].
    pub(crate) record: DatabaseConnection,
    pub(crate) cipher: Cipher,
    pub(crate) sender: delivery::Sender,
    pub(crate) feed: Feed,
    pub(crate) outbox: Outbox,
    pub(crate) accounts: crate::accounts::Memory,
    pub(crate) catalogue: crate::catalogue::Memory,
    pub(crate) reservations: crate::reservations::Writer,
    ulids: Mutex<ulid::Generator>,
    /// The last delivery that retention looked at in this round.
    pub(crate) retention_passed: std::sync::atomic::AtomicI64,
    /// Ends the background tasks with the service.
    _tasks: DropGuard,
}

/// The connections of a service.
#[derive(Clone)]
pub struct Connections {
    write: DatabaseConnection,
    read: DatabaseConnection,
    claim: DatabaseConnection,
    record: DatabaseConnection,
}

impl Connections {
    /// The one that may change the schema.
    pub fn writer(&self) -> &DatabaseConnection {
        &self.write
    }
}

/// Compiling a plan pays for reading millions of rows; no statement here does, but the costs that the settings below make up
/// would have each batch compiled anew.
const NO_JIT: &str = "SET jit = off";
/// A queue grows from nothing and shrinks to nothing within seconds, and statistics lag behind: a plan made for an empty
/// table reads the full one from end to end, for each batch. Along the indexes, whatever there is.
/// Nor can a plan be better for knowing the batch, and making one copies all of it.
const ALONG_INDEXES: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_memoize = off; SET plan_cache_mode = force_generic_plan";
/// A claim takes the first of an index, without reading the rest. And a claim that a crash of the server undoes was never
/// made, so that nobody need wait for the disk.
const CLAIMS: &str = "SET enable_bitmapscan = off; SET enable_sort = off; SET synchronous_commit = off";

/// The user agent of every request to a receiver (CONTRACT §1).
const USER_AGENT: &str = concat!("Berth-Webhooks/", env!("CARGO_PKG_VERSION"));

/// Connects to a database as the service does, for migrating it before the service opens.
///
/// # Errors
/// A sentence for the operator.
pub async fn connect(database_url: &str) -> Result<Connections, OpenError> {
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
        return Ok(Connections {
            read: write.clone(),
            write,
            claim: wrap(pool(1, &[NO_JIT, ALONG_INDEXES, CLAIMS]).connect_lazy_with(options.clone())),
            record: wrap(pool(3, &[NO_JIT, ALONG_INDEXES]).connect_lazy_with(options)),
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
    Ok(Connections { read: wrap(read), claim: write.clone(), record: write.clone(), write })
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

impl Service {
    /// Connects; does not migrate (that is `migrations::up`, called by the server first).
    ///
    /// # Errors
    /// When the database cannot be reached or the settings are not sound.
    pub async fn open(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let connections = connect(&settings.database_url).await?;
        Self::open_with(settings, clock, connections)
    }

    /// Opens on connections made by [`connect`].
    ///
    /// # Errors
    /// When the settings are not sound.
    pub fn open_with(settings: Settings, clock: Arc<dyn Clock>, connections: Connections) -> Result<Self, OpenError> {
        let Connections { write, read, claim, record } = connections;
        let sender = delivery::Sender::new(delivery::SenderConfig {
            url_policy: settings.url_policy.clone(),
            timeout: settings.delivery_timeout,
            user_agent: USER_AGENT.into(),
        })
        .map_err(OpenError)?;
        let cancel = CancellationToken::new();
        let postgres = (write.get_database_backend() == DbBackend::Postgres).then(|| settings.database_url.clone());
        let outbox = Outbox::default();
        let feed = Feed::start(postgres, outbox.wake.clone(), cancel.clone());
        let (reservations, queue) = crate::reservations::Writer::new();
        let inner = Inner {
            cipher: Cipher::new(&settings.master_key),
            settings,
            clock,
            write,
            read,
            claim,
            record,
            sender,
            feed,
            outbox,
            accounts: crate::accounts::Memory::default(),
            catalogue: crate::catalogue::Memory::default(),
            reservations,
            ulids: Mutex::new(ulid::Generator::new()),
            retention_passed: std::sync::atomic::AtomicI64::new(0),
            _tasks: cancel.drop_guard(),
        };
        let service = Self { inner: Arc::new(inner) };
        crate::reservations::Writer::start(queue, &service);
        Ok(service)
    }

    /// The present time, to the millisecond (what the database keeps).
    pub fn now(&self) -> DateTime<Utc> {
        self.inner.clock.now().trunc_subsecs(3)
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`ProblemKind::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<(), Problem> {
        self.inner.read.execute_unprepared("SELECT 1").await.map(|_| ()).map_err(|error| {
            tracing::warn!(%error, "the database does not answer");
            unavailable()
        })
    }

    /// Whether the database is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        self.backend() == DbBackend::Postgres
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.inner.write.get_database_backend()
    }

    /// Begins a transaction that will write.
    pub(crate) async fn write_tx(&self) -> Result<DatabaseTransaction, Problem> {
        self.begin(&self.inner.write).await
    }

    /// Begins a transaction that will record results.
    pub(crate) async fn record_tx(&self) -> Result<DatabaseTransaction, Problem> {
        self.begin(&self.inner.record).await
    }

    async fn begin(&self, connection: &DatabaseConnection) -> Result<DatabaseTransaction, Problem> {
        let mode = (!self.is_postgres()).then_some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode: mode, ..TransactionOptions::default() };
        connection.begin_with_options(options).await.map_err(db_problem)
    }

    /// A new ULID, greater than every one before of this process.
    pub(crate) fn new_ulid(&self) -> ulid::Ulid {
        let now = self.inner.clock.now();
        let mut generator = self.inner.ulids.lock().unwrap_or_else(PoisonError::into_inner);
        generator
            .generate_from_datetime(std::time::SystemTime::from(now))
            .unwrap_or_else(|_| ulid::Ulid::from_datetime(now.into()))
    }

    /// A statement; write parameters as `$1`, `$2` … (both databases take them).
    pub(crate) fn sql(&self, sql: impl Into<String>, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }

    /// The rows of a query on the read side.
    pub(crate) async fn rows(
        &self,
        sql: impl Into<String>,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<QueryResult>, Problem> {
        self.inner.read.query_all_raw(self.sql(sql, values)).await.map_err(db_problem)
    }
}

/// The answer when the database is away.
pub(crate) fn unavailable() -> Problem {
    let mut problem =
        Problem::new(ProblemKind::Unavailable, "The database does not answer right now. Please try again in a moment.");
    problem.retry_after = Some(5);
    problem
}

/// Whether an error says that the database is away or cannot write: the same call can succeed later.
pub(crate) fn is_away(error: &DbErr) -> bool {
    matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) || connection_lost(error)
}

/// What a caller learns of a database error; the log gets the rest.
pub(crate) fn db_problem(error: DbErr) -> Problem {
    if is_away(&error) {
        tracing::warn!(%error, "the database does not answer");
        return unavailable();
    }
    // PostgreSQL keeps no NUL in texts; one can still come in a path or a filter, where no rule for a field looks.
    if sql_state(&error).is_some_and(|code| code == "22021") {
        return Problem::malformed("The request holds a NUL character. Remove it.");
    }
    tracing::error!(%error, "a database statement failed");
    Problem::internal()
}

/// The database's own code of an error.
fn sql_state(error: &DbErr) -> Option<String> {
    let (DbErr::Exec(sea_orm::RuntimeErr::SqlxError(inner)) | DbErr::Query(sea_orm::RuntimeErr::SqlxError(inner))) =
        error
    else {
        return None;
    };
    inner.as_database_error()?.code().map(Into::into)
}

fn connection_lost(error: &DbErr) -> bool {
    let (DbErr::Exec(sea_orm::RuntimeErr::SqlxError(inner)) | DbErr::Query(sea_orm::RuntimeErr::SqlxError(inner))) =
        error
    else {
        return false;
    };
    match &**inner {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            match database.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
                // The low byte of SQLite's code is its kind: busy, locked, out of memory, I/O error, full.
                Some(_) => code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 7 | 10 | 13)),
                // 57P0x: the server is shutting down or starting; 53xxx: out of connections, memory or disk.
                None => code.starts_with("57P") || code.starts_with("53"),
            }
        }
        _ => false,
    }
}

/// Whether an error is a unique violation.
pub(crate) fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
}

/// Whether an error is a foreign key violation: what a row names is gone, or what is to go is still named.
pub(crate) fn is_foreign_key_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::ForeignKeyConstraintViolation(_)))
}

/// Reads a column; a mismatch is a defect and goes to the log.
pub(crate) fn get<T: sea_orm::TryGetable>(row: &QueryResult, column: &str) -> Result<T, Problem> {
    row.try_get("", column).map_err(db_problem)
}

/// Milliseconds since the epoch as a time; out of range (never stored) is the epoch.
pub(crate) fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}

/// A column of JSON; what cannot be read is a defect and goes to the log.
pub(crate) fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|error| {
        tracing::error!(%error, "stored JSON cannot be read");
        Problem::internal()
    })
}

/// JSON for a column or for many rows.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, Problem> {
    // Few are smaller than a third of this, and growing costs more than writing.
    let mut json = Vec::with_capacity(512);
    let written = serde_json::to_writer(&mut json, value).map_err(|error| error.to_string());
    written.and_then(|()| String::from_utf8(json).map_err(|error| error.to_string())).map_err(|error| {
        tracing::error!(%error, "JSON cannot be written");
        Problem::internal()
    })
}

/// A cursor is opaque: base64url of the last item's sort key.
pub(crate) mod cursor {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use domain::Problem;

    pub(crate) fn write(key: &str) -> String {
        URL_SAFE_NO_PAD.encode(key)
    }

    pub(crate) fn read(cursor: Option<&str>) -> Result<Option<String>, Problem> {
        let Some(cursor) = cursor else { return Ok(None) };
        URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok()).map(Some).ok_or_else(wrong)
    }

    pub(crate) fn wrong() -> Problem {
        Problem::field("cursor", "Use the next_cursor of the page before, unchanged.")
    }

    pub(crate) fn read_number(cursor: Option<&str>) -> Result<Option<i64>, Problem> {
        read(cursor)?.map(|key| key.parse().map_err(|_| wrong())).transpose()
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
