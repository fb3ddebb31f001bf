//! `VACUUM INTO`, which SeaORM cannot express.

use super::link::Connection;
use sea_orm::{ConnectionTrait as _, DbErr, Statement};

/// Writes a consistent copy of a SQLite database to `file`, during concurrent reads and writes. The copy is compact and
/// contains only whole transactions.
pub(crate) async fn vacuum_into(connection: &Connection, file: &std::path::Path) -> Result<(), DbErr> {
    let file = file.to_string_lossy().into_owned();
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), "VACUUM INTO $1", [file.into()]);
    connection.execute_raw(statement).await?;
    Ok(())
}
