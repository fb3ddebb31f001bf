//! A transaction that can only be committed with its entries of the audit log.

use super::Record;
use super::chain::ChainKey;
use super::failures::Failures;
use crate::db::audit::{append, lock_head};
use crate::db::bulk::MAX_ROWS;
use crate::db::connect::Database;
use crate::db::entity::audit_head;
use crate::db::link::DatabaseTransaction;
use crate::{Clock, Result};
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use std::borrow::Borrow;
use std::ops::Deref;
use std::sync::Arc;

/// The writer of the audit log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AuditTrail {
    db: Database,
    clock: Arc<dyn Clock>,
    key: Arc<ChainKey>,
    /// The head after the last entry of this process. It can be out of date: each statement that uses it compares it with the
    /// stored one.
    head: Arc<Mutex<Option<audit_head::Model>>>,
    failures: Arc<Mutex<Failures>>,
}

/// A transaction that changes data which the audit log covers. It is rolled back when it is dropped.
pub(crate) struct AuditedTransaction {
    inner: DatabaseTransaction,
    trail: AuditTrail,
}

impl AuditTrail {
    pub(crate) fn new(db: Database, clock: Arc<dyn Clock>, key: [u8; 32]) -> Self {
        Self { db, clock, key: Arc::new(ChainKey::new(key)), head: Arc::default(), failures: Arc::default() }
    }

    /// The key of the chain.
    pub(crate) fn key(&self) -> &ChainKey {
        &self.key
    }

    /// The database of the log.
    pub(super) fn database(&self) -> &Database {
        &self.db
    }

    /// Begins a transaction whose change is recorded.
    pub(crate) async fn begin(&self) -> Result<AuditedTransaction, DbErr> {
        Ok(AuditedTransaction { inner: self.db.begin_unaudited().await?, trail: self.clone() })
    }

    /// Appends entries in a transaction. Call it after all other statements: it locks the head of the chain.
    pub(crate) async fn append<R: Borrow<Record>>(&self, tx: &DatabaseTransaction, records: &[R]) -> Result<()> {
        let at = self.clock.now().timestamp_millis();
        for records in records.chunks(MAX_ROWS) {
            let known = self.head.lock().clone();
            let appended = match known {
                Some(head) => self.append_after(tx, head, records, at).await?,
                None => None,
            };
            let head = match appended {
                Some(head) => head,
                // Another process or a transaction that was rolled back has moved the head.
                None => {
                    let head = lock_head(tx).await?;
                    self.append_after(tx, head, records, at).await?.ok_or(DbErr::RecordNotUpdated)?
                }
            };
            *self.head.lock() = Some(head);
        }
        Ok(())
    }

    /// Appends entries if `head` is the head of the chain. Returns the new head.
    async fn append_after<R: Borrow<Record>>(
        &self,
        tx: &DatabaseTransaction,
        mut head: audit_head::Model,
        records: &[R],
        at: i64,
    ) -> Result<Option<audit_head::Model>> {
        let previous = std::mem::take(&mut head.mac);
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let mut row = record.borrow().to_row(head.seq + 1, at, self.key.id())?;
            row.hash = self.key.entry_hash(&head.hash, &row);
            head.seq = row.seq;
            head.hash.clone_from(&row.hash);
            rows.push(row);
        }
        let head = self.key.sealed(head);
        Ok(append(&self.db, tx, rows, &previous, &head).await?.then_some(head))
    }

    /// Records a failed log-in or a refusal, of which a client can cause many: equal ones are counted. A failure to write it
    /// is only logged, because the request fails anyway.
    pub(crate) async fn write_failure(&self, record: Record) {
        let now = self.clock.now();
        let record = self.failures.lock().count(record.refused(), now);
        let Some(record) = record else { return };
        if let Err(error) = self.write(record.clone()).await {
            tracing::warn!(%error, "a failure was not recorded in the audit log; the next round tries again");
            self.failures.lock().restore(vec![record], now);
        }
    }

    /// Writes the numbers of the failures whose minute has passed, or of all if `all`.
    pub(crate) async fn flush_failures(&self, all: bool) -> Result<()> {
        let now = self.clock.now();
        let records = self.failures.lock().end_windows(now, all);
        if records.is_empty() {
            return Ok(());
        }
        let written = async { self.begin().await?.commit(records.clone()).await }.await;
        if written.is_err() {
            self.failures.lock().restore(records, now);
        }
        written
    }

    /// Writes an entry that belongs to no change.
    pub(crate) async fn write(&self, record: Record) -> Result<()> {
        self.begin().await?.commit(record).await
    }
}

impl AuditedTransaction {
    /// Appends the entries and commits.
    pub(crate) async fn commit(self, records: impl Into<Vec<Record>>) -> Result<()> {
        self.commit_all(&records.into()).await
    }

    /// Appends entries that the caller keeps, and commits.
    pub(crate) async fn commit_all<R: Borrow<Record>>(self, records: &[R]) -> Result<()> {
        self.trail.append(&self.inner, records).await?;
        Ok(self.inner.commit().await?)
    }

    /// The writer of the audit log.
    pub(super) fn trail(&self) -> &AuditTrail {
        &self.trail
    }

    /// Rolls the transaction back.
    pub(crate) async fn rollback(self) -> Result<(), DbErr> {
        self.inner.rollback().await
    }
}

impl Deref for AuditedTransaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.inner
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for AuditedTransaction {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.inner.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.inner.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.inner.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.inner.query_all_raw(statement).await
    }
}
