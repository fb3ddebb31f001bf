//! Errors of the service and their translation into [`Problem`]s.

use domain::{Problem, ProblemKind};
use sea_orm::DbErr;

/// Why the service cannot be opened, as a sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's mistake, or a conflict with the present state: shown to the caller as it is.
    #[error("{}", .0.detail)]
    Problem(#[from] Problem),
    /// The database failed. Callers see a generic problem; the log contains the cause.
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
    /// The problem that a caller sees; logs a database error.
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
