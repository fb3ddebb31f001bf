//! Transfer of all rows from a SQLite database to an empty PostgreSQL database.
//!
//! Hand-written, because it copies whatever tables and columns the schema has, byte for byte: an entity would parse JSON
//! and enums, and could change or reject them.

mod rows;
mod source;
mod target;

pub use source::Source;

use crate::error::OpenError;
use rows::Checksum;
use target::Target;

/// Tables in which a target without data has rows: a process that migrated it may have written a set-up code, and the
/// migrations insert the head of the empty audit log and the state of the empty index.
const WRITTEN_AT_START: [&str; 3] = ["audit_head", "delivery_index_state", "setup_code"];
/// The beginning of the names of the tables of SQLite's full-text index, which PostgreSQL builds in another form.
const TEXT_INDEX: &str = "delivery_words";
/// SeaORM's table of migrations. The target has its own rows.
const MIGRATIONS: &str = "seaql_migrations";

/// The state of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The table that is copied at present.
    pub table: &'a str,
    /// Its copied rows.
    pub copied: u64,
    /// All its rows.
    pub rows: u64,
}

/// What a transfer has copied and verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Number of tables.
    pub tables: usize,
    /// Number of rows.
    pub rows: u64,
}

/// A table of the source.
#[derive(Debug, Clone)]
struct Table {
    name: String,
    /// Columns, sorted by name.
    columns: Vec<String>,
    /// Tables that its rows reference.
    parents: Vec<String>,
}

/// An identifier in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> OpenError {
    OpenError(format!("{what} ({error})."))
}

impl Source {
    /// Copies all rows to the PostgreSQL database `url`, whose schema must be current, in one transaction. Verifies the
    /// number of rows and their checksum before the commit.
    ///
    /// # Errors
    /// A sentence for the operator. The target is then unchanged.
    pub async fn copy_to(mut self, url: &str, mut progress: impl FnMut(Progress<'_>)) -> Result<Copied, OpenError> {
        let tables = self.tables().to_vec();
        let mut target = Target::open(url, self.migrations(), &tables).await?;
        let mut rows = 0;
        for table in &tables {
            let total = self.count(&table.name).await?;
            let mut copied = Checksum::default();
            progress(Progress { table: &table.name, copied: 0, rows: total });
            let kinds = target.kinds_of(table)?;
            let mut stream = self.read(table, kinds.clone());
            while let Some(batch) = stream.next_batch().await? {
                copied.add(&batch);
                target.insert(table, batch).await?;
                progress(Progress { table: &table.name, copied: copied.rows(), rows: total });
            }
            drop(stream);
            let stored = target.checksum(table, kinds).await?;
            if copied.rows() != total || stored != copied {
                return Err(OpenError(format!(
                    "The copy of the table {} differs from the original: {} rows were read and {} stored. Nothing was \
                     changed; check the disks and try again.",
                    table.name,
                    copied.rows(),
                    stored.rows()
                )));
            }
            rows += total;
        }
        target.request_text_index().await?;
        for (table, last) in self.sequences().await? {
            target.continue_sequence(&table, last).await?;
        }
        target.commit().await?;
        Ok(Copied { tables: tables.len(), rows })
    }
}
