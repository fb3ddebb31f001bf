//! Streams of the log to other systems: from the stored entries, in order, at least once.
//!
//! The position of a stream is stored, and one process holds its lease, so that a restart neither skips nor reorders
//! entries. Entries get their numbers under the lock of the head, so none can appear before one that was read.

use super::Audit;
use super::queries::to_entry;
use crate::Result;
use crate::db::entity::{audit_log, audit_streams};
use chrono::Duration;
use domain::Problem;
use domain::audit::AuditEntry;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set};
use tracing::instrument;

/// Time without a renewal after which another process takes a stream over.
const LEASE: Duration = Duration::seconds(30);
/// Number of entries that are sent before their position is stored.
const BATCH: u64 = 200;

/// A system that receives the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamName {
    /// RFC 5424 messages.
    Syslog,
    /// OpenTelemetry log records.
    Otlp,
}

impl StreamName {
    /// The name that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syslog => "syslog",
            Self::Otlp => "otlp",
        }
    }
}

impl Audit {
    /// Takes or renews the lease of a stream for `owner`, and returns the next entries to send, oldest first. `None` if
    /// another process holds the lease. A new stream begins with the oldest entry.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn next_to_stream(&self, name: StreamName, owner: &str) -> Result<Option<Vec<AuditEntry>>, Problem> {
        Ok(self.take_and_read(name, owner).await?)
    }

    async fn take_and_read(&self, name: StreamName, owner: &str) -> Result<Option<Vec<AuditEntry>>> {
        let db = &self.context.db;
        let position = match audit_streams::Entity::find_by_id(name.as_str()).one(&db.read).await? {
            Some(stream) => stream.seq,
            None => {
                self.insert_stream(name).await?;
                0
            }
        };
        let rows = audit_log::Entity::find()
            .filter(audit_log::COLUMN.seq.gt(position))
            .order_by_asc(audit_log::Column::Seq)
            .limit(BATCH)
            .all(&db.read)
            .await?;
        // Without entries there is nothing to send, and no lease is needed.
        if rows.is_empty() {
            return Ok(Some(Vec::new()));
        }
        Ok(self.take_lease(name, owner, position).await?.then(|| rows.into_iter().map(to_entry).collect()))
    }

    async fn insert_stream(&self, name: StreamName) -> Result<()> {
        let stream = audit_streams::ActiveModel {
            name: Set(name.as_str().to_owned()),
            seq: Set(0),
            lease_owner: Set(String::new()),
            lease_until: Set(0),
        };
        let insert = audit_streams::Entity::insert(stream).on_conflict_do_nothing();
        insert.exec_without_returning(&self.context.db.write).await?;
        Ok(())
    }

    /// Takes the lease if it is free or own, and the position has not changed.
    async fn take_lease(&self, name: StreamName, owner: &str, position: i64) -> Result<bool> {
        let now = self.context.now();
        let is_free = Condition::any()
            .add(audit_streams::COLUMN.lease_owner.eq(owner))
            .add(audit_streams::COLUMN.lease_until.lt(now.timestamp_millis()));
        let taken = audit_streams::Entity::update_many()
            .col_expr(audit_streams::Column::LeaseOwner, Expr::value(owner))
            .col_expr(audit_streams::Column::LeaseUntil, Expr::value((now + LEASE).timestamp_millis()))
            .filter(audit_streams::COLUMN.name.eq(name.as_str()))
            .filter(audit_streams::COLUMN.seq.eq(position))
            .filter(is_free)
            .exec(&self.context.db.write)
            .await?;
        Ok(taken.rows_affected > 0)
    }

    /// Stores that the entries up to `seq` were sent. Ignored if `owner` has lost the lease; they are then sent again.
    ///
    /// # Errors
    /// 503 if the database is unavailable; they are then sent again.
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn mark_streamed(&self, name: StreamName, owner: &str, seq: i64) -> Result<(), Problem> {
        Ok(self.store_position(name, owner, seq).await?)
    }

    async fn store_position(&self, name: StreamName, owner: &str, seq: i64) -> Result<()> {
        audit_streams::Entity::update_many()
            .col_expr(audit_streams::Column::Seq, Expr::value(seq))
            .filter(audit_streams::COLUMN.name.eq(name.as_str()))
            .filter(audit_streams::COLUMN.lease_owner.eq(owner))
            .filter(Expr::col(audit_streams::Column::Seq).lt(seq))
            .exec(&self.context.db.write)
            .await?;
        Ok(())
    }
}
