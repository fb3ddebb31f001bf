//! Errors of the service and their translation into [`Problem`]s.

use domain::{Problem, ProblemKind};
use sea_orm::DbErr;

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

/// The database's code of an error: SQLSTATE, or SQLite's result code.
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
                // The low byte is the primary result code: busy, locked, out of memory, I/O error, full.
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

/// Whether an error is a foreign key violation: a referenced row is missing, or a row to delete is still referenced.
pub(crate) fn is_foreign_key_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::ForeignKeyConstraintViolation(_)))
}

/// Whether PostgreSQL's exclusion constraint rejected an overlap (SQLSTATE 23P01).
pub(crate) fn is_exclusion_violation(error: &DbErr) -> bool {
    sql_state(error).is_some_and(|code| code == "23P01")
}
