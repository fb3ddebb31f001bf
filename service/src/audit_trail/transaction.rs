//! A transaction that can only be committed with its entries of the audit log.

use super::Record;
use super::chain::ChainKey;
use super::failures::Failures;
use crate::db::audit::{append, lock_head};
use crate::db::bulk::MAX_ROWS;
use crate::db::connect::Database;
use crate::db::link::DatabaseTransaction;
use crate::{Clock, Result};
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use std::ops::Deref;
use std::sync::Arc;

/// The writer of the audit log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AuditTrail {
    db: Database,
    clock: Arc<dyn Clock>,
    key: Arc<ChainKey>,
    failures: Arc<Mutex<Failures>>,
}

/// A transaction that changes data which the audit log covers. It is rolled back when it is dropped.
pub(crate) struct AuditedTransaction {
    inner: DatabaseTransaction,
    trail: AuditTrail,
}

impl AuditTrail {
    pub(crate) fn new(db: Database, clock: Arc<dyn Clock>, key: [u8; 32]) -> Self {
        Self { db, clock, key: Arc::new(ChainKey::new(key)), failures: Arc::default() }
    }

    /// The key of the chain.
    pub(crate) fn key(&self) -> &ChainKey {
        &self.key
    }

    /// Begins a transaction whose change is recorded.
    pub(crate) async fn begin(&self) -> Result<AuditedTransaction, DbErr> {
        Ok(AuditedTransaction { inner: self.db.begin_unaudited().await?, trail: self.clone() })
    }

    /// Appends entries in a transaction. Call it after all other statements: it locks the head of the chain.
    pub(crate) async fn append(&self, tx: &DatabaseTransaction, records: &[Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let at = self.clock.now().timestamp_millis();
        let mut head = lock_head(tx).await?;
        for records in records.chunks(MAX_ROWS) {
            let mut rows = Vec::with_capacity(records.len());
            for record in records {
                let mut row = record.to_row(head.seq + 1, at, self.key.id())?;
                row.hash = self.key.entry_hash(&head.hash, &row);
                head.seq = row.seq;
                head.hash.clone_from(&row.hash);
                rows.push(row);
            }
            head = self.key.sealed(head);
            append(&self.db, tx, &rows, &head).await?;
        }
        Ok(())
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
        self.trail.append(&self.inner, &records.into()).await?;
        Ok(self.inner.commit().await?)
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
