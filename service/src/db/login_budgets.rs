//! Stored budgets of failed log-ins.
//!
//! Hand-written, because SeaORM cannot express the condition of an upsert. The condition makes concurrent log-ins of
//! several replicas share one budget.

use super::connect::Database;
use chrono::{DateTime, Duration, Utc};
use sea_orm::{ConnectionTrait, DbErr};

/// A limit as a generic cell rate algorithm: `failures` at once, then one for each `interval`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Failures that a complete budget allows at once.
    pub(crate) failures: i32,
    /// Time after which one failure expires.
    pub(crate) interval: Duration,
}

/// Spends one failure of the budget. Returns the time to wait if the budget is spent; nothing is changed then.
pub(crate) async fn spend(
    db: &Database,
    subject: &str,
    budget: Budget,
    now: DateTime<Utc>,
) -> Result<Option<Duration>, DbErr> {
    let full_at = now + budget.interval * (budget.failures - 1);
    let sql = "
        INSERT INTO login_budgets (subject, spent_until) VALUES ($1, $2)
        ON CONFLICT (subject) DO UPDATE SET spent_until =
            CASE WHEN login_budgets.spent_until > $3 THEN login_budgets.spent_until ELSE $3 END + $4
        WHERE login_budgets.spent_until <= $5";
    let values = [
        subject.into(),
        (now + budget.interval).timestamp_millis().into(),
        now.timestamp_millis().into(),
        budget.interval.num_milliseconds().into(),
        full_at.timestamp_millis().into(),
    ];
    if db.write.execute_raw(db.statement(sql, values)).await?.rows_affected() > 0 {
        return Ok(None);
    }
    let sql = "SELECT spent_until FROM login_budgets WHERE subject = $1";
    let row = db.write.query_one_raw(db.statement(sql, [subject.into()])).await?;
    let spent_until: i64 = row.map_or(Ok(0), |row| row.try_get_by_index(0))?;
    Ok(Some(Duration::milliseconds((spent_until - full_at.timestamp_millis()).max(1_000))))
}

/// Returns one failure to the budget.
pub(crate) async fn refund(
    db: &Database,
    connection: &impl ConnectionTrait,
    subject: &str,
    budget: Budget,
) -> Result<(), DbErr> {
    let sql = "UPDATE login_budgets SET spent_until = spent_until - $2 WHERE subject = $1";
    let values = [subject.into(), budget.interval.num_milliseconds().into()];
    connection.execute_raw(db.statement(sql, values)).await?;
    Ok(())
}
