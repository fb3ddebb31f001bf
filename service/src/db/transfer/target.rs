//! The PostgreSQL database that is written, in one transaction.

use super::rows::{Batch, Checksum, Kind, Values};
use super::{Table, WRITTEN_AT_START, failed, quoted};
use crate::db::database_url::{postgres_options, redacted, search_path, set_search_path};
use crate::error::OpenError;
use futures::TryStreamExt as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use std::collections::HashMap;

/// An empty database with a current schema. Its tables are locked until the end of the transaction, which a drop rolls
/// back.
pub(super) struct Target {
    connection: PgConnection,
    /// The kind of each column, by table and column.
    kinds: HashMap<(String, String), Kind>,
}

fn kind_of(data_type: &str) -> Option<Kind> {
    match data_type {
        "bigint" | "integer" | "smallint" => Some(Kind::Integer),
        "boolean" => Some(Kind::Boolean),
        "double precision" | "real" => Some(Kind::Real),
        "text" => Some(Kind::Text),
        _ => None,
    }
}

impl Target {
    /// Opens the database of a URL, and checks that it has the same schema and no rows.
    pub(super) async fn open(url: &str, migrations: &[String], tables: &[Table]) -> Result<Self, OpenError> {
        let unusable = |error: sqlx::Error| failed(&format!("The database {} cannot be used", redacted(url)), &error);
        let mut connection = postgres_options(url).map_err(unusable)?.connect().await.map_err(unusable)?;
        set_search_path(&mut connection, search_path(url).as_deref()).await.map_err(unusable)?;
        connection
            .execute("BEGIN; SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = 0")
            .await
            .map_err(unusable)?;
        check_migrations(&mut connection, migrations).await?;
        let names: Vec<String> = tables.iter().map(|table| quoted(&table.name)).collect();
        let sql = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", "));
        connection.execute(AssertSqlSafe(sql)).await.map_err(|error| {
            failed(&format!("The tables of {} cannot be locked. Stop all processes that use it", redacted(url)), &error)
        })?;
        for table in tables.iter().filter(|table| !WRITTEN_AT_START.contains(&table.name.as_str())) {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", quoted(&table.name));
            if sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.map_err(unusable)? {
                return Err(OpenError(format!(
                    "The database {} is not empty: the table {} has rows. Name an empty database in --to.",
                    redacted(url),
                    table.name
                )));
            }
        }
        for table in WRITTEN_AT_START {
            connection.execute(AssertSqlSafe(format!("DELETE FROM {table}"))).await.map_err(unusable)?;
        }
        let columns: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT table_name::text, column_name::text, data_type::text
             FROM information_schema.columns WHERE table_schema = current_schema()",
        )
        .fetch_all(&mut connection)
        .await
        .map_err(unusable)?;
        let kinds = columns.into_iter().filter_map(|(table, column, kind)| Some(((table, column), kind_of(&kind)?)));
        Ok(Self { kinds: kinds.collect(), connection })
    }

    /// The kinds of a table's columns.
    pub(super) fn kinds_of(&self, table: &Table) -> Result<Vec<Kind>, OpenError> {
        let kind = |column: &String| self.kinds.get(&(table.name.clone(), column.clone())).copied();
        let kinds: Option<Vec<Kind>> = table.columns.iter().map(kind).collect();
        let in_target = self.kinds.keys().filter(|(name, _)| *name == table.name).count();
        kinds.filter(|kinds| kinds.len() == in_target).ok_or_else(|| {
            OpenError(format!("The table {} has other columns in the target than in the source.", table.name))
        })
    }

    pub(super) async fn insert(&mut self, table: &Table, batch: Batch) -> Result<(), OpenError> {
        let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
        let columns = columns.join(", ");
        let kinds = self.kinds_of(table)?;
        let arrays: Vec<String> =
            kinds.iter().enumerate().map(|(n, kind)| format!("${}::{}[]", n + 1, kind.sql())).collect();
        let sql = format!(
            "INSERT INTO {} ({columns}) SELECT {columns} FROM unnest({}) AS r({columns})",
            quoted(&table.name),
            arrays.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for values in batch.columns {
            query = match values {
                Values::Integers(values) => query.bind(values),
                Values::Booleans(values) => query.bind(values),
                Values::Reals(values) => query.bind(values),
                Values::Texts(values) => query.bind(values),
            };
        }
        let inserted = query.execute(&mut self.connection).await;
        inserted.map_err(|error| failed(&format!("The table {} cannot be copied", table.name), &error))?;
        Ok(())
    }

    /// The checksum of the stored rows of a table.
    pub(super) async fn checksum(&mut self, table: &Table, kinds: Vec<Kind>) -> Result<Checksum, OpenError> {
        let unreadable = |error: sqlx::Error| failed(&format!("The copy of {} cannot be read", table.name), &error);
        let columns: Vec<String> = table
            .columns
            .iter()
            .zip(&kinds)
            .map(|(column, kind)| format!("{}::{}", quoted(column), kind.sql()))
            .collect();
        let sql = format!("SELECT {} FROM {}", columns.join(", "), quoted(&table.name));
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut self.connection);
        let mut checksum = Checksum::default();
        let mut batch = Batch::new(&kinds);
        while let Some(row) = rows.try_next().await.map_err(unreadable)? {
            batch.push(&row).map_err(unreadable)?;
            if batch.is_full() {
                checksum.add(&batch);
                batch = Batch::new(&kinds);
            }
        }
        checksum.add(&batch);
        Ok(checksum)
    }

    /// Continues the generated ids of a table after `last`.
    pub(super) async fn continue_sequence(&mut self, table: &str, last: i64) -> Result<(), OpenError> {
        let failed = |error: sqlx::Error| failed(&format!("The ids of {table} cannot be continued"), &error);
        let column: Option<String> = sqlx::query_scalar(
            "SELECT column_name::text FROM information_schema.columns
             WHERE table_schema = current_schema() AND table_name = $1 AND is_identity = 'YES'",
        )
        .bind(table)
        .fetch_optional(&mut self.connection)
        .await
        .map_err(failed)?;
        if let Some(column) = column.filter(|_| last > 0) {
            sqlx::query("SELECT setval(pg_get_serial_sequence($1, $2), $3)")
                .bind(quoted(table))
                .bind(column)
                .bind(last)
                .execute(&mut self.connection)
                .await
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Lets the worker of the index build the full-text index, which is not copied.
    pub(super) async fn request_text_index(&mut self) -> Result<(), OpenError> {
        let marked = self.connection.execute("UPDATE delivery_index SET needs_text = TRUE").await;
        marked.map(|_| ()).map_err(|error| failed("The index of deliveries cannot be updated", &error))
    }

    pub(super) async fn commit(mut self) -> Result<(), OpenError> {
        self.connection.execute("COMMIT").await.map_err(|error| failed("The copy cannot be committed", &error))?;
        // A full table with the statistics of an empty one would be read in the wrong way at first.
        if let Err(error) = self.connection.execute("ANALYZE").await {
            tracing::warn!(%error, "the statistics of the copy were not updated; autovacuum will do it");
        }
        Ok(())
    }
}

/// Checks that source and target have the same schema.
async fn check_migrations(connection: &mut PgConnection, source: &[String]) -> Result<(), OpenError> {
    let target: Vec<String> = sqlx::query_scalar("SELECT version FROM seaql_migrations")
        .fetch_all(connection)
        .await
        .map_err(|error| failed("The schema of the target cannot be read", &error))?;
    if !source.iter().all(|migration| target.contains(migration)) {
        return Err(OpenError(
            "The source has the schema of a newer release. Use that release for the transfer.".into(),
        ));
    }
    if source.len() < target.len() {
        return Err(OpenError(
            "The source has the schema of an older release. Run `berth migrate --database-url` with its URL first."
                .into(),
        ));
    }
    Ok(())
}
