//! Many rows in one statement, on both databases.

use super::Lease;
use crate::Service;
use crate::store::{db_problem, to_json};
use domain::Problem;
use domain::delivery_log::{Attempt, Outcome};
use domain::id::{DeliveryId, EventId, WebhookId};
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, Value};
use serde::Serialize;
use serde_json::json;

/// A row with a long text, for [`Service::json_rows_with_text`].
pub(super) trait WithText: Serialize {
    fn take_text(&mut self) -> Option<String>;
}

/// A new delivery as a row.
#[derive(Serialize)]
pub(super) struct DeliveryRow {
    pub(super) id: DeliveryId,
    pub(super) event_id: EventId,
    pub(super) event_type: &'static str,
    pub(super) webhook_id: WebhookId,
    pub(super) ordering_key: String,
    pub(super) reservation_id: Option<String>,
    pub(super) max_attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<String>,
}

impl WithText for DeliveryRow {
    fn take_text(&mut self) -> Option<String> {
        self.body.take()
    }
}

/// An attempt as a row; the request's body is the delivery's and is not kept twice.
#[derive(Serialize)]
pub(crate) struct AttemptRow {
    delivery_seq: i64,
    attempt: u32,
    webhook_id: WebhookId,
    started_at: i64,
    outcome: &'static str,
    status_code: Option<u16>,
    duration_ms: f64,
    pub(super) delivery_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
}

impl WithText for AttemptRow {
    fn take_text(&mut self) -> Option<String> {
        self.record.take()
    }
}

impl AttemptRow {
    /// `status` says what became of the delivery by it: its status, `superseded` or `test`.
    pub(crate) fn new(seq: i64, webhook: WebhookId, status: &'static str, attempt: &Attempt) -> Result<Self, Problem> {
        Ok(Self {
            delivery_seq: seq,
            attempt: attempt.attempt,
            webhook_id: webhook,
            started_at: attempt.started_at.timestamp_millis(),
            outcome: if attempt.outcome == Outcome::Succeeded { "succeeded" } else { "failed" },
            status_code: attempt.status_code,
            duration_ms: attempt.duration_ms,
            delivery_status: status,
            record: Some(to_json(attempt)?),
        })
    }
}

/// Leases as the parameter `$1` of [`Service::still_leased`].
pub(super) fn lease_rows<'a>(leases: impl IntoIterator<Item = &'a Lease>) -> Result<String, Problem> {
    let rows = leases.into_iter().map(|lease| json!({"n": lease.seq, "lease": &*lease.token}));
    to_json(&rows.collect::<Vec<_>>())
}

/// Columns with their types, as PostgreSQL defines them.
fn definitions(columns: &[(&str, &str)]) -> String {
    columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect::<Vec<_>>().join(", ")
}

/// The names of columns, for a list.
pub(super) fn names(columns: &[(&str, &str)]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

impl Service {
    /// A query of the numbers given as one JSON array `$1`.
    pub(super) fn json_numbers(&self) -> &'static str {
        if self.is_postgres() {
            "SELECT CAST(value AS BIGINT) FROM json_array_elements_text($1::json)"
        } else {
            "SELECT value FROM json_each($1)"
        }
    }

    /// A source for rows given as one JSON parameter `$1`: one statement for many rows on both databases.
    pub(crate) fn json_rows(&self, columns: &[(&str, &str)]) -> String {
        if self.is_postgres() {
            return format!("json_to_recordset($1::json) AS r({})", definitions(columns));
        }
        let columns: Vec<String> = columns.iter().map(|(name, _)| format!("value ->> '$.{name}' AS {name}")).collect();
        format!("(SELECT {} FROM json_each($1)) AS r", columns.join(", "))
    }

    /// The condition that the leases of [`lease_rows`] still hold.
    pub(super) fn still_leased(&self) -> String {
        let rows = self.json_rows(&[("n", "bigint"), ("lease", "text")]);
        format!("(seq, lease_owner) IN (SELECT n, lease FROM {rows})")
    }

    /// As [`Self::json_rows`], for rows with a long text under `name`: PostgreSQL gets these as an array, which needs no
    /// escaping. Returns the source and its parameters, `$1` first.
    pub(super) fn json_rows_with_text<T: WithText>(
        &self,
        columns: &[(&str, &str)],
        name: &str,
        mut rows: Vec<T>,
    ) -> Result<(String, Vec<Value>), Problem> {
        if !self.is_postgres() {
            let columns: Vec<_> = columns.iter().copied().chain([(name, "text")]).collect();
            return Ok((self.json_rows(&columns), vec![to_json(&rows)?.into()]));
        }
        let texts: Vec<String> = rows.iter_mut().map(|row| row.take_text().unwrap_or_default()).collect();
        let source = format!(
            "ROWS FROM (json_to_recordset($1::json) AS ({}), unnest($2::text[])) AS r({}, {name})",
            definitions(columns),
            names(columns)
        );
        Ok((source, vec![to_json(&rows)?.into(), texts.into()]))
    }

    /// Writes attempts. One that was interrupted is made again under its number: with `overwrite` its row takes the place
    /// of one that came late for the same number, else it gives way to it.
    pub(crate) async fn insert_attempts(
        &self,
        tx: &DatabaseTransaction,
        rows: Vec<AttemptRow>,
        overwrite: bool,
    ) -> Result<(), Problem> {
        if rows.is_empty() {
            return Ok(());
        }
        let conflict = if overwrite {
            "(delivery_seq, attempt) DO UPDATE SET started_at = excluded.started_at, outcome = excluded.outcome, status_code = excluded.status_code, duration_ms = excluded.duration_ms, delivery_status = excluded.delivery_status, record = excluded.record"
        } else {
            "DO NOTHING"
        };
        let columns = [
            ("delivery_seq", "bigint"),
            ("attempt", "int"),
            ("webhook_id", "bigint"),
            ("started_at", "bigint"),
            ("outcome", "text"),
            ("status_code", "int"),
            ("duration_ms", "double precision"),
            ("delivery_status", "text"),
        ];
        let (source, values) = self.json_rows_with_text(&columns, "record", rows)?;
        let sql = format!(
            "INSERT INTO attempts ({0}, record) SELECT {0}, record FROM {source} WHERE true ON CONFLICT {conflict}",
            names(&columns)
        );
        tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?;
        Ok(())
    }
}
