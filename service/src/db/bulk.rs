//! Many rows in one statement, on both databases.

use crate::Service;
use crate::error::{db_problem, is_unique_violation};
use crate::outbox::Lease;
use delivery::{AttemptOutcome, Transcript};
use domain::Problem;
use domain::delivery::Diagnosis;
use domain::id::WebhookId;
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, Value};

/// Rows that one statement gets at most: SQLite takes 32,766 parameters.
pub(crate) const MAX_ROWS: usize = 1_000;

/// Many rows, at most [`MAX_ROWS`], column by column, as parameters of one statement; each column has a value for each row.
/// None of the values is NULL: what may be absent is written as 0 or as an empty text, and read by `NULLIF`.
#[derive(Default)]
pub(crate) struct BulkValues {
    columns: Vec<(&'static str, Column)>,
    /// Columns with one word for all rows.
    shared: Vec<(&'static str, &'static str)>,
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

impl BulkValues {
    fn with(mut self, name: &'static str, column: Column) -> Self {
        self.columns.push((name, column));
        self
    }

    /// A column of numbers.
    pub(crate) fn int_column(self, name: &'static str, values: impl IntoIterator<Item = i64>) -> Self {
        self.with(name, Column::Ints(values.into_iter().collect()))
    }

    /// A column of floating-point numbers.
    pub(crate) fn real_column(self, name: &'static str, values: impl IntoIterator<Item = f64>) -> Self {
        self.with(name, Column::Reals(values.into_iter().collect()))
    }

    /// A column of texts.
    pub(crate) fn text_column<T: Into<String>>(self, name: &'static str, values: impl IntoIterator<Item = T>) -> Self {
        self.with(name, Column::Texts(values.into_iter().map(Into::into).collect()))
    }

    /// A column of words of this program, not the first. Mostly all rows have the same: then it stands in the statement, once.
    pub(crate) fn constant_column(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        let words: Vec<_> = values.into_iter().collect();
        match words.first() {
            Some(first) if words.iter().all(|word| word == first) => {
                self.shared.push((name, *first));
                self
            }
            _ => self.text_column(name, words),
        }
    }

    /// Leases: `n` is the place in the outbox, `lease` the token.
    pub(crate) fn leases<'a>(leases: impl IntoIterator<Item = &'a Lease>) -> Self {
        let (seqs, tokens): (Vec<_>, Vec<_>) = leases.into_iter().map(|lease| (lease.seq, &*lease.token)).unzip();
        Self::default().int_column("n", seqs).text_column("lease", tokens)
    }
}

/// As many rows as a statement for `count` of them has on SQLite: few sizes, so that their plans are kept. Those that are too
/// many are NULL in all their columns.
fn padded(count: usize) -> usize {
    [1, 4, 16, 64, 256].into_iter().find(|size| *size >= count).unwrap_or(count)
}

/// An attempt as a row; the request's body is the delivery's and is not kept twice.
#[derive(Clone)]
pub(crate) struct AttemptRow {
    delivery_seq: i64,
    pub(crate) attempt: u32,
    webhook_id: WebhookId,
    /// In milliseconds since the epoch.
    pub(crate) started_at: i64,
    outcome: &'static str,
    pub(crate) status_code: Option<u16>,
    pub(crate) duration_ms: f64,
    pub(crate) delivery_status: &'static str,
    record: Transcript,
}

impl AttemptRow {
    /// `status` says what became of the delivery by it: its status, `superseded` or `test`.
    pub(crate) fn new(
        seq: i64,
        webhook: WebhookId,
        status: &'static str,
        attempted: &AttemptOutcome,
        record: Transcript,
    ) -> Self {
        Self {
            delivery_seq: seq,
            attempt: attempted.attempt,
            webhook_id: webhook,
            started_at: attempted.started_at.timestamp_millis(),
            outcome: attempted.outcome.as_str(),
            status_code: attempted.status_code,
            duration_ms: attempted.timings.total_ms,
            delivery_status: status,
            record,
        }
    }

    /// Makes the record one without a response.
    pub(crate) fn forget_response(&mut self, diagnosis: &Diagnosis) {
        self.record = self.record.without_response(diagnosis);
    }
}

/// What becomes of an attempt whose number is taken: one that was interrupted is made again under its number, and what
/// came of the first may come after all.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OnConflict {
    /// Nothing is written. Not to look for what is hardly ever there costs a third less.
    Refuse,
    /// It takes the place of the one before.
    Overwrite,
    /// It gives way.
    Keep,
}

impl Service {
    /// A source `r` of rows for one statement, and its parameters, which have to be the only ones of the statement. BulkValues
    /// whose first column is NULL are none.
    pub(crate) fn bulk_source(&self, rows: BulkValues) -> (String, Vec<Value>) {
        let BulkValues { columns, shared } = rows;
        let width = columns.len();
        let mut named: Vec<_> = shared.into_iter().map(|(name, word)| format!("'{word}' AS {name}")).collect();
        if self.is_postgres() {
            // Unnested in the list of columns: in FROM each array would be written to a store of rows and read from it again.
            let mut values = Vec::with_capacity(width);
            for (n, (name, column)) in columns.into_iter().enumerate() {
                let (kind, value) = match column {
                    Column::Ints(ints) => ("bigint", ints.into()),
                    Column::Reals(reals) => ("double precision", reals.into()),
                    Column::Texts(texts) => ("text", texts.into()),
                };
                named.push(format!("unnest(${}::{kind}[]) AS {name}", n + 1));
                values.push(value);
            }
            let source = format!("(SELECT {}) AS r", named.join(", "));
            return (source, values);
        }
        let padded = padded(columns.first().map_or(0, |(_, column)| column.len()));
        let mut values = vec![Value::BigInt(None); padded * width];
        for (n, (name, column)) in columns.into_iter().enumerate() {
            named.push(format!("column{} AS {name}", n + 1));
            let places = values.iter_mut().skip(n).step_by(width);
            match column {
                Column::Ints(ints) => ints.into_iter().zip(places).for_each(|(int, place)| *place = int.into()),
                Column::Reals(reals) => reals.into_iter().zip(places).for_each(|(real, place)| *place = real.into()),
                Column::Texts(texts) => texts.into_iter().zip(places).for_each(|(text, place)| *place = text.into()),
            }
        }
        // Without numbers: the driver looks each numbered one up among all of them.
        let row = format!("({})", vec!["?"; width].join(","));
        let source =
            format!("(SELECT {} FROM (VALUES {})) AS r", named.join(", "), vec![row.as_str(); padded].join(","));
        (source, values)
    }

    /// Writes attempts. False when a number is taken and `taken` refuses it: then the transaction has to be rolled back.
    pub(crate) async fn insert_attempts(
        &self,
        tx: &DatabaseTransaction,
        rows: Vec<AttemptRow>,
        taken: OnConflict,
    ) -> Result<bool, Problem> {
        if rows.is_empty() {
            return Ok(true);
        }
        let conflict = match taken {
            OnConflict::Refuse => "",
            OnConflict::Keep => " ON CONFLICT DO NOTHING",
            OnConflict::Overwrite => {
                " ON CONFLICT (delivery_seq, attempt) DO UPDATE SET started_at = excluded.started_at, outcome = excluded.outcome, status_code = excluded.status_code, duration_ms = excluded.duration_ms, delivery_status = excluded.delivery_status, record = excluded.record"
            }
        };
        let columns = BulkValues::default()
            .int_column("delivery_seq", rows.iter().map(|row| row.delivery_seq))
            .int_column("attempt", rows.iter().map(|row| row.attempt.into()))
            .int_column("webhook_id", rows.iter().map(|row| row.webhook_id))
            .int_column("started_at", rows.iter().map(|row| row.started_at))
            .constant_column("outcome", rows.iter().map(|row| row.outcome))
            .int_column("status_code", rows.iter().map(|row| row.status_code.unwrap_or_default().into()))
            .real_column("duration_ms", rows.iter().map(|row| row.duration_ms))
            .constant_column("delivery_status", rows.iter().map(|row| row.delivery_status))
            .text_column("record", rows.into_iter().map(|row| row.record.into_text()));
        let (source, values) = self.bulk_source(columns);
        let sql = format!(
            "INSERT INTO attempts (delivery_seq, attempt, webhook_id, started_at, outcome, status_code, duration_ms, delivery_status, record) SELECT r.delivery_seq, r.attempt, r.webhook_id, r.started_at, r.outcome, NULLIF(r.status_code, 0), r.duration_ms, r.delivery_status, r.record FROM {source} WHERE r.delivery_seq IS NOT NULL{conflict}"
        );
        match tx.execute_raw(self.sql(sql, values)).await {
            Ok(_) => Ok(true),
            Err(error) if is_unique_violation(&error) && matches!(taken, OnConflict::Refuse) => Ok(false),
            Err(error) => Err(db_problem(error)),
        }
    }
}
