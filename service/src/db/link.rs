//! Connections that can break: time limits, replacement, and one silent retry where it is safe.
//!
//! A PostgreSQL connection can end at any time: a restart, an administrator, a firewall or a pooler closes it, or its
//! packets are dropped silently. The pool then holds more connections of the same age that are broken too.
//!
//! - A loss retires every connection that was opened before it ([`Link::is_retired`]).
//! - A read is repeated once on a new connection. So is `BEGIN`; a write outside a transaction therefore gets one.
//! - Each statement has a time limit, and a connection that was idle is tested first. Both find dropped packets, for
//!   which the operating system waits up to 15 minutes.
//!
//! SQLite has no network: its connections pass through without changes.

use crate::error::is_disconnect;
use parking_lot::Mutex;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement,
    TransactionOptions, TransactionTrait as _,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The times by which a lost connection to PostgreSQL is recognised.
#[derive(Debug, Clone, Copy)]
pub struct LinkLimits {
    /// A statement without a result after this time has lost its connection. No statement of Berth takes this long.
    pub statement: Duration,
    /// Idle time after which a connection is tested before it is used. Shorter than the idle timeouts of firewalls.
    pub idle: Duration,
    /// Time limit of the test.
    pub test: Duration,
    /// Interval of presence messages between replicas. A replica also receives its own.
    pub presence: Duration,
    /// A replica that received no message for this long has lost its connection; more than twice `presence`.
    pub silence: Duration,
    /// Time limit of sending messages to the other replicas.
    pub send: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            statement: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            test: Duration::from_secs(2),
            presence: Duration::from_secs(10),
            silence: Duration::from_secs(25),
            send: Duration::from_secs(10),
        }
    }
}

/// The state of the network between this process and PostgreSQL. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Link {
    limits: LinkLimits,
    last_loss: Arc<Mutex<Option<Instant>>>,
}

impl Link {
    /// A link without a loss.
    pub(crate) fn new(limits: LinkLimits) -> Self {
        Self { limits, last_loss: Arc::default() }
    }

    fn record_loss(&self) {
        *self.last_loss.lock() = Some(Instant::now());
    }

    /// Whether a connection of this age was opened before the last loss. It is probably broken too.
    pub(crate) fn is_retired(&self, age: Duration) -> bool {
        self.last_loss.lock().is_some_and(|lost| lost.elapsed() <= age)
    }

    /// Whether a connection of this age can be used after this idle time. `ping` tests it.
    pub(crate) async fn is_usable<E: std::fmt::Display>(
        &self,
        age: Duration,
        idle: Duration,
        ping: impl Future<Output = Result<(), E>>,
    ) -> bool {
        if self.is_retired(age) {
            return false;
        }
        if idle < self.limits.idle {
            return true;
        }
        let reason = match timeout(self.limits.test, ping).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no response within {:?}", self.limits.test),
        };
        tracing::info!(reason, "an idle database connection was lost; it is replaced");
        self.record_loss();
        false
    }

    /// Runs a statement within the time limit. Records the loss of its connection.
    async fn watch<T>(&self, statement: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        match timeout(self.limits.statement, statement).await {
            Ok(Err(error)) if is_disconnect(&error) => {
                self.record_loss();
                Err(error)
            }
            Ok(result) => result,
            Err(_) => {
                self.record_loss();
                let reason = format!("the database did not respond within {:?}", self.limits.statement);
                Err(DbErr::Conn(RuntimeErr::Internal(reason)))
            }
        }
    }

    /// The same as [`Self::watch`]; repeats the statement once if its connection was lost. It must be safe to repeat.
    async fn watch_and_retry<T, F>(&self, statement: impl Fn() -> F) -> Result<T, DbErr>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        match self.watch(statement()).await {
            Err(error) if is_disconnect(&error) => {
                tracing::debug!(%error, "a database connection was lost; the statement is repeated on another one");
                self.watch(statement()).await
            }
            result => result,
        }
    }
}

/// The use of a connection, which determines what is repeated after a loss.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Reads: each statement is repeated.
    Read,
    /// Writes: a statement outside a transaction gets one, because only `BEGIN` can be repeated.
    Write,
    /// Statements whose caller repeats them itself.
    Unattended,
}

/// A pool of connections for one use. Cheap to clone.
#[derive(Clone)]
pub struct Connection {
    pool: DatabaseConnection,
    /// PostgreSQL only.
    link: Option<Link>,
    purpose: Use,
}

impl Connection {
    /// Connections of a SQLite database.
    pub(crate) fn local(pool: DatabaseConnection) -> Self {
        Self { pool, link: None, purpose: Use::Unattended }
    }

    /// Connections over a link that can break.
    pub(crate) fn over(link: &Link, pool: DatabaseConnection, purpose: Use) -> Self {
        Self { pool, link: Some(link.clone()), purpose }
    }

    /// The pool itself, without time limit and retry.
    pub(crate) fn pool(&self) -> &DatabaseConnection {
        &self.pool
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&self, options: TransactionOptions) -> Result<DatabaseTransaction, DbErr> {
        let inner = match &self.link {
            None => self.pool.begin_with_options(options).await?,
            Some(link) => link.watch_and_retry(|| self.pool.begin_with_options(options)).await?,
        };
        Ok(DatabaseTransaction { inner, link: self.link.clone() })
    }
}

/// Runs a statement by the rules of a connection's use.
macro_rules! run {
    ($connection:ident.$method:ident($statement:ident)) => {
        match (&$connection.link, $connection.purpose) {
            (None, _) => $connection.pool.$method($statement).await,
            (Some(link), Use::Unattended) => link.watch($connection.pool.$method($statement)).await,
            (Some(link), Use::Read) => link.watch_and_retry(|| $connection.pool.$method($statement.clone())).await,
            (Some(_), Use::Write) => {
                let transaction = $connection.begin(TransactionOptions::default()).await?;
                let result = transaction.$method($statement).await?;
                transaction.commit().await?;
                Ok(result)
            }
        }
    };
}

#[async_trait::async_trait]
impl ConnectionTrait for Connection {
    fn get_database_backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        run!(self.execute_raw(statement))
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        run!(self.execute_unprepared(sql))
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        run!(self.query_one_raw(statement))
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        run!(self.query_all_raw(statement))
    }
}

/// A transaction whose statements have a time limit. It is rolled back when it is dropped.
pub struct DatabaseTransaction {
    inner: sea_orm::DatabaseTransaction,
    link: Option<Link>,
}

impl DatabaseTransaction {
    /// Commits the transaction.
    ///
    /// # Errors
    /// If the connection is lost, the transaction may have been committed.
    pub(crate) async fn commit(self) -> Result<(), DbErr> {
        match &self.link {
            None => self.inner.commit().await,
            Some(link) => link.watch(self.inner.commit()).await,
        }
    }

    /// Rolls the transaction back.
    ///
    /// # Errors
    /// If the connection is lost. The transaction is then rolled back too.
    pub(crate) async fn rollback(self) -> Result<(), DbErr> {
        match &self.link {
            None => self.inner.rollback().await,
            Some(link) => link.watch(self.inner.rollback()).await,
        }
    }

    async fn watch<T>(&self, statement: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        match &self.link {
            None => statement.await,
            Some(link) => link.watch(statement).await,
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for DatabaseTransaction {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.watch(self.inner.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.watch(self.inner.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.watch(self.inner.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.watch(self.inner.query_all_raw(statement)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn disconnected() -> DbErr {
        let closed = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        DbErr::Query(RuntimeErr::SqlxError(Arc::new(sqlx::Error::Io(closed))))
    }

    /// A link on which everything without an immediate response is lost.
    fn impatient() -> Link {
        Link::new(LinkLimits { statement: Duration::ZERO, test: Duration::ZERO, ..LinkLimits::default() })
    }

    #[tokio::test]
    async fn statement_without_response_ends_and_retires_older_connections() {
        let link = impatient();
        let before = Instant::now();
        let error = link.watch(pending::<Result<(), DbErr>>()).await.unwrap_err();
        assert!(crate::error::is_away(&error), "{error}");
        assert!(link.is_retired(before.elapsed()));
        let lost = link.last_loss.lock().unwrap();
        while Instant::now() == lost {}
        assert!(!link.is_retired(Duration::ZERO), "a connection opened after the loss");
    }

    #[tokio::test]
    async fn idle_connection_without_response_is_replaced() {
        let link = impatient();
        let (age, brief, long) = (Duration::from_secs(600), Duration::from_secs(5), Duration::from_secs(60));
        let never = pending::<Result<(), DbErr>>;
        let pong = async || Ok::<_, DbErr>(());
        assert!(link.is_usable(age, brief, never()).await, "not tested while it is in use");
        assert!(link.is_usable(age, long, pong()).await);
        assert!(!link.is_usable(age, long, never()).await);
        assert!(!link.is_usable(age, brief, pong()).await, "retired by the loss");
    }

    #[tokio::test]
    async fn lost_statement_is_repeated_once() {
        let link = Link::default();
        let calls = AtomicU32::new(0);
        let fail_first = |failures: u32| {
            let calls = &calls;
            move || async move {
                if calls.fetch_add(1, Ordering::Relaxed) < failures { Err(disconnected()) } else { Ok(()) }
            }
        };
        link.watch_and_retry(fail_first(1)).await.unwrap();
        assert_eq!(calls.swap(0, Ordering::Relaxed), 2);
        link.watch_and_retry(fail_first(5)).await.unwrap_err();
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}
