//! Errors of the service and their translation into [`Problem`]s.

use domain::{Problem, ProblemKind};
use sea_orm::DbErr;

/// Session settings and `LISTEN` need a session that belongs to one connection.
pub(crate) const NEEDS_SESSION_POOLING: &str = "BERTH_DATABASE_URL leads to a connection pooler in transaction mode, which mixes the sessions of its clients. Use \
     session mode (PgBouncer: pool_mode = session), or connect to PostgreSQL directly.";

/// The reason why the service cannot be opened: a sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// The error of a use case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An invalid request or a conflict with the current state. Callers receive it unchanged.
    #[error("{}", .0.detail)]
    Problem(#[from] Problem),
    /// The database failed. Callers receive a generic problem; the log contains the cause.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// The result of a use case.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Problem(problem) => problem,
            Error::Database(error) => db_problem(error),
        }
    }
}

impl Error {
    /// Whether the database is unavailable now, so that the same call can succeed later.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Problem(problem) => problem.kind == ProblemKind::Unavailable,
            Self::Database(error) => is_away(error),
        }
    }

    /// The problem for the caller; logs a database error.
    pub fn into_problem(self) -> Problem {
        self.into()
    }

    /// A database error, or `problem` if it is a unique violation.
    pub(crate) fn on_unique_violation(error: DbErr, problem: impl FnOnce() -> Problem) -> Self {
        if is_unique_violation(&error) { problem().into() } else { error.into() }
    }

    /// A database error, or `problem` if it is a foreign key violation.
    pub(crate) fn on_foreign_key_violation(error: DbErr, problem: impl FnOnce() -> Problem) -> Self {
        if is_foreign_key_violation(&error) { problem().into() } else { error.into() }
    }
}

/// The problem for callers while the database is unavailable.
pub(crate) fn unavailable() -> Problem {
    let mut problem = Problem::new(ProblemKind::Unavailable, "The database is unavailable. Try again in a moment.");
    problem.retry_after = Some(5);
    problem
}

/// Whether the database is unavailable or cannot write, so that the same call can succeed later.
pub(crate) fn is_away(error: &DbErr) -> bool {
    matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) || connection_lost(error)
}

/// The problem for the caller after a database error. The log contains the error itself.
pub(crate) fn db_problem(error: DbErr) -> Problem {
    if is_away(&error) {
        tracing::warn!(%error, "the database is unavailable");
        return unavailable();
    }
    // PostgreSQL cannot store NUL in text. Fields are validated; a path or a filter can still contain one.
    if sql_state(&error).is_some_and(|code| code == "22021") {
        return Problem::malformed("The request contains a NUL character. Remove it.");
    }
    tracing::error!(%error, "a database statement failed");
    Problem::internal()
}

/// The driver's error in a failed statement.
fn statement_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Exec(sea_orm::RuntimeErr::SqlxError(inner)) | DbErr::Query(sea_orm::RuntimeErr::SqlxError(inner)) => {
            Some(inner)
        }
        _ => None,
    }
}

/// The database's code of an error: SQLSTATE, or SQLite's result code.
fn sql_state(error: &DbErr) -> Option<String> {
    statement_error(error)?.as_database_error()?.code().map(Into::into)
}

/// Whether a PostgreSQL statement failed because its connection was closed. Another connection may work.
pub(crate) fn is_disconnect(error: &DbErr) -> bool {
    match statement_error(error) {
        Some(sqlx::Error::Io(_)) => true,
        Some(sqlx::Error::Database(database)) => {
            let code = database.code().unwrap_or_default();
            // 57P01 to 57P05: an administrator, a crash or an idle timeout ended the session; 25P03: so did the timeout of
            // an idle transaction; 08xxx: a connection pooler closed the connection.
            database.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_none()
                && (code.starts_with("57P") || code == "25P03" || code.starts_with("08"))
        }
        _ => false,
    }
}

fn connection_lost(error: &DbErr) -> bool {
    match statement_error(error) {
        Some(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed) => true,
        Some(sqlx::Error::Database(database)) => {
            let code = database.code().unwrap_or_default();
            match database.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
                // The low byte is the primary result code: busy, locked, out of memory, I/O error, full.
                Some(_) => code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 7 | 10 | 13)),
                // 53xxx: out of connections, memory or disk.
                None => is_disconnect(error) || code.starts_with("53"),
            }
        }
        _ => is_disconnect(error),
    }
}

/// A sentence for the operator about a failed migration: the cause and the remedy.
pub fn explain_migration_error(error: &DbErr) -> String {
    match sql_state(error).as_deref() {
        Some("42501") => format!(
            "The database schema cannot be migrated: {error}. The role of BERTH_DATABASE_URL needs the right to change \
             the schema. As the owner of the database, run CREATE EXTENSION IF NOT EXISTS btree_gist and GRANT CREATE, \
             USAGE ON SCHEMA public TO the role. Or run `berth migrate` as a role with these rights; a role with SELECT, \
             INSERT, UPDATE and DELETE can serve a current schema."
        ),
        // Prepared statements of another session.
        Some("42P05" | "26000") => NEEDS_SESSION_POOLING.to_owned(),
        _ => format!("The database schema cannot be migrated: {error}"),
    }
}

/// Whether an error is a unique violation.
pub(crate) fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
}

/// Whether an error is a foreign key violation: a referenced row is missing, or a row to delete is still referenced.
pub(crate) fn is_foreign_key_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::ForeignKeyConstraintViolation(_)))
}

/// Whether PostgreSQL's exclusion constraint rejected an overlap (SQLSTATE 23P01).
pub(crate) fn is_exclusion_violation(error: &DbErr) -> bool {
    sql_state(error).is_some_and(|code| code == "23P01")
}
