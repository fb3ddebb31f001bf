//! The check of the chain of hashes.

use super::Audit;
use crate::Result;
use crate::audit_trail::previous_hash;
use crate::db::entity::{audit_head, audit_log};
use crate::db::link::DatabaseTransaction;
use domain::Problem;
use domain::audit::AuditAction;
use sea_orm::{EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use tracing::instrument;

/// Number of rows that are read at once.
const BATCH: u64 = 1_000;

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No entry was modified, removed or reordered.
    Intact(Intact),
    /// The first fault.
    Faulty(Fault),
}

/// An intact log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intact {
    /// Number of entries.
    pub entries: u64,
    /// Number of the newest entry; 0 without one.
    pub head: i64,
    /// Its hash, to be noted for a later verification; empty without one.
    pub hash: String,
    /// Number of the last entry that retention deleted; 0 without one.
    pub pruned: i64,
}

/// A fault of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Number of the first entry that is wrong or missing; `None` for a fault of the head.
    pub seq: Option<i64>,
    /// What is wrong, as a sentence.
    pub reason: String,
}

fn fault(seq: impl Into<Option<i64>>, reason: impl Into<String>) -> Fault {
    Fault { seq: seq.into(), reason: reason.into() }
}

/// Several entries, as the subject of a sentence.
fn missing(from: i64, to: i64) -> String {
    if from == to {
        format!("The entry {from} is missing.")
    } else {
        format!("The entries {from} to {to} are missing.")
    }
}

impl Audit {
    /// Verifies every entry, in one consistent view of the database. For the command line, where access to the machine is
    /// the authorisation.
    ///
    /// `noted` is the hash of the head at an earlier time, which the operator has kept elsewhere. Without it, a verification
    /// cannot find that somebody restored an older state of the whole database.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn verify(&self, noted: Option<&str>) -> Result<Verdict, Problem> {
        Ok(self.verify_snapshot(noted).await?)
    }

    async fn verify_snapshot(&self, noted: Option<&str>) -> Result<Verdict> {
        let tx = self.context.db.begin_snapshot().await?;
        let verdict = self.verify_in(&tx, noted).await?;
        tx.rollback().await?;
        Ok(verdict.map_or_else(Verdict::Faulty, Verdict::Intact))
    }

    async fn verify_in(&self, tx: &DatabaseTransaction, noted: Option<&str>) -> Result<Result<Intact, Fault>> {
        let Some(head) = audit_head::Entity::find_by_id(audit_head::ID).one(tx).await? else {
            return Ok(Err(fault(None, "The head of the log is missing.")));
        };
        if let Err(fault) = self.check_head(&head) {
            return Ok(Err(fault));
        }
        let mut chain = Chain {
            last: head.pruned_seq,
            hash: head.pruned_hash.clone(),
            entries: 0,
            has_noted: false,
            has_erasure: false,
        };
        chain.has_noted = noted.is_some_and(|noted| noted == chain.hash);
        let mut cursor = i64::MIN;
        loop {
            let rows = audit_log::Entity::find()
                .filter(audit_log::COLUMN.seq.gt(cursor))
                .order_by_asc(audit_log::Column::Seq)
                .limit(BATCH)
                .all(tx)
                .await?;
            let Some(last) = rows.last() else { break };
            cursor = last.seq;
            for row in &rows {
                if let Err(fault) = self.check_row(&mut chain, row, noted) {
                    return Ok(Err(fault));
                }
            }
        }
        Ok(chain.finish(&head, noted))
    }

    fn check_head(&self, head: &audit_head::Model) -> Result<(), Fault> {
        let key = self.context.trail.key();
        let is_new = head.seq == 0 && head.pruned_seq == 0;
        if is_new && head.mac.is_empty() {
            return Ok(());
        }
        if head.key_id != key.id() {
            return Err(fault(None, other_key("The head of the log", &head.key_id)));
        }
        if key.head_mac(head) != head.mac {
            return Err(fault(None, "The head of the log was changed."));
        }
        Ok(())
    }

    fn check_row(&self, chain: &mut Chain, row: &audit_log::Model, noted: Option<&str>) -> Result<(), Fault> {
        let key = self.context.trail.key();
        let expected = chain.last + 1;
        if row.seq < expected {
            return Err(fault(row.seq, format!("The entry {} was inserted: it is not part of the chain.", row.seq)));
        }
        if row.seq > expected {
            return Err(fault(expected, missing(expected, row.seq - 1)));
        }
        if row.key_id != key.id() {
            return Err(fault(row.seq, other_key(&format!("The entry {}", row.seq), &row.key_id)));
        }
        if key.entry_hash(&chain.hash, row) != row.hash {
            let reason = format!("The entry {} was changed, or entries were reordered or removed before it.", row.seq);
            return Err(fault(row.seq, reason));
        }
        chain.last = row.seq;
        chain.hash.clone_from(&row.hash);
        chain.entries += 1;
        chain.has_noted |= noted.is_some_and(|noted| noted == row.hash);
        if row.action == AuditAction::AccountErased.as_str() {
            // The entry is part of the chain, so its statement about the head before the erasure is authentic.
            chain.has_erasure = true;
            chain.has_noted |= noted.is_some() && previous_hash(&row.changes).as_deref() == noted;
        }
        Ok(())
    }
}

fn other_key(subject: &str, id: &str) -> String {
    format!(
        "{subject} was written with another master key (key id {id}), or changed. Run this command with the master key of \
         that time."
    )
}

/// The verified part of the chain.
struct Chain {
    last: i64,
    hash: String,
    entries: u64,
    has_noted: bool,
    /// Whether an account was erased, which changes the hashes of earlier entries.
    has_erasure: bool,
}

impl Chain {
    fn finish(self, head: &audit_head::Model, noted: Option<&str>) -> Result<Intact, Fault> {
        if self.last > head.seq {
            return Err(fault(head.seq + 1, "There are entries after the head of the log."));
        }
        if self.last < head.seq {
            return Err(fault(self.last + 1, missing(self.last + 1, head.seq)));
        }
        if self.hash != head.hash {
            return Err(fault(self.last, format!("The entry {} is not the one that was written last.", self.last)));
        }
        if noted.is_some() && !self.has_noted {
            let erasure = if self.has_erasure {
                " Or an account was erased since: the entry account.erased states the hash of the head before."
            } else {
                ""
            };
            return Err(fault(
                None,
                format!(
                    "No entry has the hash of --head: the log ends before it or was replaced, or retention has deleted the \
                     entry.{erasure}"
                ),
            ));
        }
        Ok(Intact { entries: self.entries, head: head.seq, hash: self.hash, pruned: head.pruned_seq })
    }
}
