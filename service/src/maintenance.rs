//! Retention and back-ups.

use crate::Service;
use crate::db::codec::get;
use crate::error::db_problem;
use domain::{Problem, ProblemKind};
use sea_orm::{ConnectionTrait as _, Value};
use std::sync::atomic::Ordering;

/// Rows of each kind that one batch deletes at most: small enough that nothing else waits for it.
const BATCH: i64 = 500;

impl Service {
    /// Deletes one small batch of what is past its retention (deliveries with attempts, counted from their end, sessions, keys); returns how many
    /// rows went, 0 when there is nothing left to do.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn retention_batch(&self) -> Result<u64, Problem> {
        let now = self.now().timestamp_millis();
        let until = now - i64::from(self.inner.context.settings.retention_days) * 86_400_000;
        let seqs = self.past_retention(until).await?;
        let tx = self.write_tx().await?;
        let mut gone = 0;
        if !seqs.is_empty() {
            let list = seqs.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
            tx.execute_unprepared(&format!("DELETE FROM attempts WHERE delivery_seq IN ({list})"))
                .await
                .map_err(db_problem)?;
            gone = tx
                .execute_unprepared(&format!("DELETE FROM deliveries WHERE seq IN ({list})"))
                .await
                .map_err(db_problem)?
                .rows_affected();
            metrics::counter!("berth_retention_deleted_total", "kind" => "delivery").increment(gone);
        }
        for (kind, table, key, at, limit) in [
            ("session", "sessions", "token_hash", "expires_at", now),
            ("idempotency_key", "idempotency_keys", "username, key", "created_at", now - 86_400_000),
            ("status_update", "status_updates", "reservation_id, digest", "received_at", now - 3_600_000),
            ("notification", "notifications", "id", "at", until),
        ] {
            let sql =
                format!("DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {at} < $1 LIMIT $2)");
            let values = [Value::from(limit), BATCH.into()];
            let deleted = tx.execute_raw(self.sql(sql, values)).await.map_err(db_problem)?.rows_affected();
            metrics::counter!("berth_retention_deleted_total", "kind" => kind).increment(deleted);
            gone += deleted;
        }
        tx.commit().await.map_err(db_problem)?;
        Ok(gone)
    }

    /// The next finished deliveries that ended before `until`, about a batch of them; none when there are no more.
    async fn past_retention(&self, until: i64) -> Result<Vec<i64>, Problem> {
        // In order of seq, which is about that of creation: the oldest rows are the first of the primary key. What was made long ago
        // may have ended lately, after a pause: that stays, and is passed over by the next batch. A success ended with its last attempt.
        let sql = "SELECT d.seq, d.created_at, COALESCE(d.ended_at, (SELECT MAX(a.started_at) FROM attempts a WHERE a.delivery_seq = d.seq), d.updated_at) AS ended_at FROM deliveries d WHERE d.seq > $1 AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.seq = d.seq) ORDER BY d.seq LIMIT $2";
        let passed = &self.inner.retention_cursor;
        loop {
            let mut after = passed.load(Ordering::Relaxed);
            let rows = self.rows(sql, [after.into(), BATCH.into()]).await?;
            let mut more = rows.len() as i64 == BATCH;
            let mut seqs = Vec::new();
            for row in &rows {
                if get::<i64>(row, "created_at")? >= until {
                    more = false;
                    break;
                }
                after = get(row, "seq")?;
                if get::<i64>(row, "ended_at")? < until {
                    seqs.push(after);
                }
            }
            passed.store(if more { after } else { 0 }, Ordering::Relaxed);
            if !more || !seqs.is_empty() {
                return Ok(seqs);
            }
        }
    }

    /// Writes a consistent copy of the SQLite database to `file` (`VACUUM INTO`), while Berth runs.
    ///
    /// # Errors
    /// 409 when the file exists; on PostgreSQL, a problem that names `pg_dump`.
    pub async fn backup(&self, file: &std::path::Path) -> Result<(), Problem> {
        if self.is_postgres() {
            return Err(Problem::conflict(
                "On PostgreSQL use its own tools, e.g. pg_dump --format=custom, or continuous archiving.",
            ));
        }
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "the back-up failed");
            Problem::new(
                ProblemKind::Internal,
                format!(
                    "The back-up could not be written to {}. Is the folder there, and is there room?",
                    file.display()
                ),
            )
        };
        // An empty file of one's own first: it takes the name for good, and nobody else may read what goes into it.
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(file).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Problem::conflict(format!("{} exists already. Name a new file.", file.display()))
            }
            _ => failed(&error),
        })?;
        let sql = self.sql("VACUUM INTO $1", [file.to_string_lossy().into_owned().into()]);
        if let Err(error) = self.inner.context.db.read.execute_raw(sql).await {
            let _ = std::fs::remove_file(file);
            return Err(failed(&error));
        }
        Ok(())
    }
}
