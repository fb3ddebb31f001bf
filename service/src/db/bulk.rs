//! Bulk values: many rows as parameters of one statement, on both databases.

use super::connect::Database;
use sea_orm::Value;

/// Maximum number of rows in one statement: SQLite accepts 32,766 parameters.
pub(crate) const MAX_ROWS: usize = 1_000;

/// A table of values, column by column, at most [`MAX_ROWS`] rows. Each column has a value for each row.
///
/// No value is NULL: callers write an absent value as 0 or as an empty text, and the statement restores it with
/// `NULLIF`.
#[derive(Default)]
pub(crate) struct BulkValues {
    columns: Vec<(&'static str, Column)>,
    /// Columns with one value for all rows.
    constants: Vec<(&'static str, &'static str)>,
}

enum Column {
    Ints(Vec<i64>),
    Reals(Vec<f64>),
    Texts(Vec<String>),
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::Ints(ints) => ints.len(),
            Self::Reals(reals) => reals.len(),
            Self::Texts(texts) => texts.len(),
        }
    }
}

/// The number of rows in a SQLite statement for `count` rows. Few sizes limit the number of prepared statements; the
/// surplus rows are NULL in all columns.
fn padded(count: usize) -> usize {
    [1, 4, 8, 16, 32, 64, 128, 256].into_iter().find(|size| *size >= count).unwrap_or(count)
}

/// Keys for an `IN` list, at most [`MAX_ROWS`]. The last key is repeated, because few sizes keep the number of prepared statements small.
pub(crate) fn padded_keys(keys: &[String]) -> Vec<&str> {
    let mut list: Vec<&str> = keys.iter().map(String::as_str).collect();
    if let Some(last) = list.last().copied() {
        list.resize(padded(list.len()), last);
    }
    list
}

impl BulkValues {
    fn with(mut self, name: &'static str, column: Column) -> Self {
        self.columns.push((name, column));
        self
    }

    /// Adds a column of integers.
    pub(crate) fn int_column(self, name: &'static str, values: impl IntoIterator<Item = i64>) -> Self {
        self.with(name, Column::Ints(values.into_iter().collect()))
    }

    /// Adds a column of floating-point numbers.
    pub(crate) fn real_column(self, name: &'static str, values: impl IntoIterator<Item = f64>) -> Self {
        self.with(name, Column::Reals(values.into_iter().collect()))
    }

    /// Adds a column of texts.
    pub(crate) fn text_column<T: Into<String>>(self, name: &'static str, values: impl IntoIterator<Item = T>) -> Self {
        self.with(name, Column::Texts(values.into_iter().map(Into::into).collect()))
    }

    /// Adds a column of trusted constants; it must not be the first column. If all rows have the same value, the
    /// statement contains it once, unescaped.
    pub(crate) fn constant_column(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        let values: Vec<_> = values.into_iter().collect();
        match values.first() {
            Some(first) if values.iter().all(|value| value == first) => {
                self.constants.push((name, *first));
                self
            }
            _ => self.text_column(name, values),
        }
    }

    /// A table expression `r` for one statement, and its parameters, which must be the only parameters of the
    /// statement. On SQLite the table can contain rows that are NULL in all columns; a statement must skip them.
    pub(crate) fn into_sql(self, db: &Database) -> (String, Vec<Value>) {
        if db.is_postgres() { self.into_postgres() } else { self.into_sqlite() }
    }

    fn constant_sql(&self) -> Vec<String> {
        self.constants.iter().map(|(name, value)| format!("'{value}' AS {name}")).collect()
    }

    /// One array for each column, unnested in the select list: in FROM, PostgreSQL materialises each array before it
    /// reads it.
    fn into_postgres(self) -> (String, Vec<Value>) {
        let mut select = self.constant_sql();
        let mut values = Vec::with_capacity(self.columns.len());
        for (n, (name, column)) in self.columns.into_iter().enumerate() {
            let (kind, value) = match column {
                Column::Ints(ints) => ("bigint", ints.into()),
                Column::Reals(reals) => ("double precision", reals.into()),
                Column::Texts(texts) => ("text", texts.into()),
            };
            select.push(format!("unnest(${}::{kind}[]) AS {name}", n + 1));
            values.push(value);
        }
        (format!("(SELECT {}) AS r", select.join(", ")), values)
    }

    /// One parameter for each cell of a VALUES list.
    fn into_sqlite(self) -> (String, Vec<Value>) {
        let mut select = self.constant_sql();
        let width = self.columns.len();
        let padded = padded(self.columns.first().map_or(0, |(_, column)| column.len()));
        let mut values = vec![Value::BigInt(None); padded * width];
        for (n, (name, column)) in self.columns.into_iter().enumerate() {
            select.push(format!("column{} AS {name}", n + 1));
            let cells = values.iter_mut().skip(n).step_by(width);
            match column {
                Column::Ints(ints) => ints.into_iter().zip(cells).for_each(|(int, cell)| *cell = int.into()),
                Column::Reals(reals) => reals.into_iter().zip(cells).for_each(|(real, cell)| *cell = real.into()),
                Column::Texts(texts) => texts.into_iter().zip(cells).for_each(|(text, cell)| *cell = text.into()),
            }
        }
        // Parameters without numbers: the driver searches all parameters for each numbered one.
        let row = format!("({})", vec!["?"; width].join(","));
        let rows = vec![row.as_str(); padded].join(",");
        (format!("(SELECT {} FROM (VALUES {rows})) AS r", select.join(", ")), values)
    }
}
