//! Transfer of a SQLite database to PostgreSQL, for `berth transfer`.

pub use crate::db::transfer::{Copied, Progress, Source};
