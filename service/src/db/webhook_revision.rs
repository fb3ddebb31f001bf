//! The revision of all webhooks.
//!
//! Hand-written, because each claim and each event reads it: SeaORM would build the statement anew each time. Plan: a scan of the few
//! rows of `webhooks`. Benchmarks: throughput, drain.

use super::connect::Database;
use sea_orm::{ConnectionTrait, DbErr};

/// The sum of the revisions of all webhooks. Every change increments a row's revision and no row is ever deleted, so the sum
/// identifies the state of all rows.
pub(crate) const REVISION: &str = "SELECT CAST(COALESCE(SUM(revision), 0) AS BIGINT) FROM webhooks";

/// Reads the revision of all webhooks.
pub(crate) async fn read_revision(db: &Database, connection: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let row = connection.query_one_raw(db.statement(REVISION, [])).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("revision of webhooks".to_owned()))?.try_get_by_index(0)
}
