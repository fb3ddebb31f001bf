//! The SQLite database that is read.

use super::rows::{Batch, Kind};
use super::{MIGRATIONS, TEXT_INDEX, Table, failed, quoted};
use crate::db::database_url::sqlite_file;
use crate::error::OpenError;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteLockingMode, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, Row as _};
use std::str::FromStr as _;
use std::time::Duration;

/// A SQLite database that no other process uses.
pub struct Source {
    connection: SqliteConnection,
    migrations: Vec<String>,
    /// Parents before the tables that reference them.
    tables: Vec<Table>,
}

/// The rows of one table, in batches.
pub(super) struct Batches<'a> {
    rows: BoxStream<'a, Result<SqliteRow, sqlx::Error>>,
    kinds: Vec<Kind>,
    table: String,
}

impl Batches<'_> {
    /// The next rows; `None` after the last one.
    pub(super) async fn next_batch(&mut self) -> Result<Option<Batch>, OpenError> {
        let unreadable =
            |error: sqlx::Error| failed(&format!("The table {} of the source cannot be read", self.table), &error);
        let mut batch = Batch::new(&self.kinds);
        while !batch.is_full() {
            let Some(row) = self.rows.try_next().await.map_err(unreadable)? else { break };
            batch.push(&row).map_err(unreadable)?;
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}

impl Source {
    /// Opens the SQLite database of a URL and locks it against all other processes.
    ///
    /// # Errors
    /// A sentence for the operator: if there is no such file, another process uses it, or it is no database of Berth.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        let file = sqlite_file(url).map_err(|error| failed("--from is not a valid SQLite URL", &error))?;
        let file = file
            .ok_or_else(|| OpenError("--from must be the URL of a SQLite file, such as sqlite://berth.db.".into()))?;
        if !file.exists() {
            return Err(OpenError(format!("There is no SQLite database at {}.", file.display())));
        }
        let unusable = |error: sqlx::Error| {
            let is_busy = error.as_database_error().is_some_and(|error| error.message().contains("locked"));
            if is_busy {
                OpenError(format!("Another process uses {}. Stop Berth first.", file.display()))
            } else {
                failed(&format!("The database {} cannot be read", file.display()), &error)
            }
        };
        let options = SqliteConnectOptions::from_str(url)
            .map_err(unusable)?
            .create_if_missing(false)
            // In this mode, SQLite fails if another connection is open, even if that one is idle.
            .locking_mode(SqliteLockingMode::Exclusive)
            .busy_timeout(Duration::from_secs(1));
        let mut connection = options.connect().await.map_err(unusable)?;
        connection.execute("BEGIN EXCLUSIVE").await.map_err(unusable)?;
        let migrations = names(&mut connection, "SELECT version FROM seaql_migrations").await;
        let migrations =
            migrations.map_err(|error| failed(&format!("{} is not a database of Berth", file.display()), &error))?;
        let tables = read_tables(&mut connection).await.map_err(unusable)?;
        Ok(Self { connection, migrations, tables })
    }

    pub(super) fn migrations(&self) -> &[String] {
        &self.migrations
    }

    pub(super) fn tables(&self) -> &[Table] {
        &self.tables
    }

    pub(super) async fn count(&mut self, table: &str) -> Result<u64, OpenError> {
        let sql = format!("SELECT COUNT(*) FROM {}", quoted(table));
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| failed(&format!("The rows of {table} cannot be counted"), &error))?;
        Ok(count.unsigned_abs())
    }

    /// The rows of a table, whose columns have these kinds.
    pub(super) fn read(&mut self, table: &Table, kinds: Vec<Kind>) -> Batches<'_> {
        let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
        let sql = format!("SELECT {} FROM {}", columns.join(", "), quoted(&table.name));
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut self.connection).boxed();
        Batches { rows, kinds, table: table.name.clone() }
    }

    /// The tables with generated ids, each with the last id that was generated. Ids of deleted rows are not used again.
    pub(super) async fn sequences(&mut self) -> Result<Vec<(String, i64)>, OpenError> {
        sqlx::query_as("SELECT name, seq FROM sqlite_sequence")
            .fetch_all(&mut self.connection)
            .await
            .map_err(|error| failed("The generated ids of the source cannot be read", &error))
    }
}

/// The first column of a query.
async fn names(connection: &mut SqliteConnection, sql: &'static str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(sql).fetch_all(connection).await
}

async fn read_tables(connection: &mut SqliteConnection) -> Result<Vec<Table>, sqlx::Error> {
    let sql =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
    let mut tables = Vec::new();
    for name in names(connection, sql).await? {
        if name == MIGRATIONS || name.starts_with(TEXT_INDEX) {
            continue;
        }
        let columns = sqlx::query("SELECT name FROM pragma_table_info($1) ORDER BY name").bind(&name);
        let columns = columns.map(|row: SqliteRow| row.get(0)).fetch_all(&mut *connection).await?;
        let parents = sqlx::query("SELECT DISTINCT \"table\" FROM pragma_foreign_key_list($1)").bind(&name);
        let parents = parents.map(|row: SqliteRow| row.get(0)).fetch_all(&mut *connection).await?;
        tables.push(Table { name, columns, parents });
    }
    Ok(parents_first(tables))
}

/// Orders tables so that each follows the tables that it references. Tables of a cycle come last.
fn parents_first(mut tables: Vec<Table>) -> Vec<Table> {
    let mut ordered: Vec<Table> = Vec::with_capacity(tables.len());
    loop {
        let (ready, blocked): (Vec<Table>, Vec<Table>) = tables.into_iter().partition(|table| {
            table
                .parents
                .iter()
                .all(|parent| *parent == table.name || ordered.iter().any(|other| other.name == *parent))
        });
        if ready.is_empty() {
            ordered.extend(blocked);
            return ordered;
        }
        ordered.extend(ready);
        tables = blocked;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_precede_the_tables_that_reference_them() {
        let table = |name: &str, parents: &[&str]| Table {
            name: name.into(),
            columns: Vec::new(),
            parents: parents.iter().map(|parent| (*parent).to_owned()).collect(),
        };
        let tables = vec![table("a", &["b", "a"]), table("b", &["c"]), table("c", &[]), table("d", &["a"])];
        let ordered: Vec<String> = parents_first(tables).into_iter().map(|table| table.name).collect();
        assert_eq!(ordered, ["c", "b", "a", "d"]);
    }
}
