//! Rows in transfer: columns of values, and an order-independent checksum.

use sha2::{Digest as _, Sha256};

/// Maximum number of rows in one batch.
const MAX_ROWS: usize = 500;
/// Size of the texts of a batch in bytes, above which it is full.
const FULL_AT: usize = 4 * 1024 * 1024;

/// The kind of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Boolean,
    Real,
    Text,
}

impl Kind {
    /// The type of PostgreSQL in which values are sent and read.
    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::Integer => "bigint",
            Self::Boolean => "boolean",
            Self::Real => "double precision",
            Self::Text => "text",
        }
    }
}

/// The values of one column.
#[derive(Debug)]
pub(super) enum Values {
    Integers(Vec<Option<i64>>),
    Booleans(Vec<Option<bool>>),
    Reals(Vec<Option<f64>>),
    Texts(Vec<Option<String>>),
}

impl Values {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Integer => Self::Integers(Vec::new()),
            Kind::Boolean => Self::Booleans(Vec::new()),
            Kind::Real => Self::Reals(Vec::new()),
            Kind::Text => Self::Texts(Vec::new()),
        }
    }

    /// Adds the value of a row to its hash.
    fn hash(&self, row: usize, hash: &mut Sha256) {
        match self {
            Self::Integers(values) => update(hash, 1, values[row].map(i64::to_le_bytes)),
            Self::Booleans(values) => update(hash, 2, values[row].map(|value| [u8::from(value)])),
            Self::Reals(values) => update(hash, 3, values[row].map(|value| value.to_bits().to_le_bytes())),
            Self::Texts(values) => update(hash, 4, values[row].as_deref()),
        }
    }
}

/// Adds a value with its length, so that no two rows have the same input.
fn update(hash: &mut Sha256, tag: u8, value: Option<impl AsRef<[u8]>>) {
    match value {
        None => hash.update([0]),
        Some(value) => {
            let bytes = value.as_ref();
            hash.update([tag]);
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
    }
}

/// Some rows of one table, column by column.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) columns: Vec<Values>,
    rows: usize,
    text_size: usize,
}

/// A row that a driver returned.
pub(super) trait Row {
    fn integer(&self, column: usize) -> Result<Option<i64>, sqlx::Error>;
    fn boolean(&self, column: usize) -> Result<Option<bool>, sqlx::Error>;
    fn real(&self, column: usize) -> Result<Option<f64>, sqlx::Error>;
    fn text(&self, column: usize) -> Result<Option<String>, sqlx::Error>;
}

macro_rules! row {
    ($row:ty) => {
        impl Row for $row {
            fn integer(&self, column: usize) -> Result<Option<i64>, sqlx::Error> {
                sqlx::Row::try_get(self, column)
            }

            fn boolean(&self, column: usize) -> Result<Option<bool>, sqlx::Error> {
                sqlx::Row::try_get(self, column)
            }

            fn real(&self, column: usize) -> Result<Option<f64>, sqlx::Error> {
                sqlx::Row::try_get(self, column)
            }

            fn text(&self, column: usize) -> Result<Option<String>, sqlx::Error> {
                sqlx::Row::try_get(self, column)
            }
        }
    };
}

row!(sqlx::sqlite::SqliteRow);
row!(sqlx::postgres::PgRow);

impl Batch {
    /// An empty batch of columns of these kinds.
    pub(super) fn new(kinds: &[Kind]) -> Self {
        Self { columns: kinds.iter().map(|kind| Values::of(*kind)).collect(), rows: 0, text_size: 0 }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: &impl Row) -> Result<(), sqlx::Error> {
        for (n, column) in self.columns.iter_mut().enumerate() {
            match column {
                Values::Integers(values) => values.push(row.integer(n)?),
                Values::Booleans(values) => values.push(row.boolean(n)?),
                Values::Reals(values) => values.push(row.real(n)?),
                Values::Texts(values) => {
                    let text = row.text(n)?;
                    self.text_size += text.as_ref().map_or(0, String::len);
                    values.push(text);
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows >= MAX_ROWS || self.text_size >= FULL_AT
    }
}

/// The number of rows of a table, and the sum of their hashes. It does not depend on the order of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Checksum {
    rows: u64,
    sum: u128,
}

impl Checksum {
    pub(super) fn add(&mut self, batch: &Batch) {
        for row in 0..batch.rows {
            let mut hash = Sha256::new();
            batch.columns.iter().for_each(|column| column.hash(row, &mut hash));
            let digest = hash.finalize();
            let value = digest.iter().take(16).fold(0, |value: u128, byte| (value << 8) | u128::from(*byte));
            self.sum = self.sum.wrapping_add(value);
        }
        self.rows += batch.rows as u64;
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(texts: &[Option<&str>]) -> Checksum {
        let mut checksum = Checksum::default();
        let values = texts.iter().map(|text| text.map(str::to_owned)).collect();
        checksum.add(&Batch { columns: vec![Values::Texts(values)], rows: texts.len(), text_size: 0 });
        checksum
    }

    #[test]
    fn checksum_depends_on_values_and_not_on_their_order() {
        assert_eq!(batch(&[Some("a"), Some("b")]), batch(&[Some("b"), Some("a")]));
        assert_ne!(batch(&[Some("a")]), batch(&[Some("b")]));
        assert_ne!(batch(&[Some("")]), batch(&[None]));
        assert_ne!(batch(&[Some("a"), Some("a")]), batch(&[Some("a")]));
    }
}
