//! Pseudonyms in the audit log: the only change of written entries (docs/adr/0015-erasure-of-accounts.md).
//!
//! The entries that name an erased account are rewritten, and the chain is computed again from the first of them, in one
//! transaction under the lock of the head. The entry `account.erased` states how many entries were rewritten, and the head
//! before. Only a process with the key of the chain can do this: for everybody else the log stays append-only.

use super::chain::ChainKey;
use super::{AuditTrail, AuditedTransaction, Record};
use crate::db::audit::{lock_head, replace, store_head};
use crate::db::bulk::MAX_ROWS;
use crate::db::codec::to_json;
use crate::db::entity::{audit_head, audit_log};
use crate::{Error, Result};
use domain::Problem;
use domain::audit::{AuditCredentialType, AuditTargetType, Changes, FieldChange};
use domain::privacy::{ERASED, Pseudonymizer};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use serde_json::Value;
use std::collections::HashSet;

/// Begins the input of the digest of an erased username.
const USERNAME: &str = "berth erased username v1";
/// Fields whose value can be a username.
const NAME_FIELDS: [&str; 6] = ["actor", "cancelled_by", "decided_by", "target_id", "user_id", "username"];
/// Fields of the user's own objects with a text or value that identifies them.
const PERSONAL_FIELDS: [&str; 7] = ["cancel_reason", "email", "reason", "ssh_key", "subject", "title", "user_ssh_key"];

/// The account whose name is replaced in the log.
pub(crate) struct ErasedSubject<'a> {
    /// What is replaced.
    pub(crate) names: &'a Pseudonymizer,
    /// Ids of the reservations and access requests of the account.
    pub(crate) objects: HashSet<String>,
}

/// The result of a rewrite.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// Number of entries whose content has changed.
    pub(crate) entries: u64,
    /// Number of the first of them; 0 without one.
    first: i64,
    /// Number of the newest entry before the rewrite.
    head: i64,
    /// Its hash before the rewrite.
    hash: String,
}

impl Rewritten {
    /// The fields of the entry `account.erased`.
    fn changes(&self) -> Changes {
        Changes::none()
            .field("rewritten_entries", (), self.entries)
            .field("first_rewritten_entry", (), self.first)
            .field("previous_head", (), self.head)
            .field(PREVIOUS_HASH, (), &self.hash)
    }
}

/// The field of the entry `account.erased` with the hash of the head before.
const PREVIOUS_HASH: &str = "previous_hash";

/// The hash of the head before an erasure, from the changes of its entry; `None` if it has none.
pub(crate) fn previous_hash(changes: &str) -> Option<String> {
    let fields: Vec<FieldChange> = serde_json::from_str(changes).ok()?;
    let field = fields.into_iter().find(|change| change.field == PREVIOUS_HASH)?;
    field.after.as_str().map(str::to_owned)
}

impl AuditTrail {
    /// The digest of an erased username, by which a new account with the same name is refused. It depends on the key of the
    /// chain, so that the name cannot be guessed from a copy of the database.
    pub(crate) fn username_digest(&self, username: &str) -> String {
        self.key().text_mac(USERNAME, username)
    }

    /// The number of the first entry that names the account, or of the first one after the newest. Entries do not change, so
    /// it can be searched before the head is locked.
    pub(crate) async fn first_entry_about(
        &self,
        connection: &impl ConnectionTrait,
        subject: &ErasedSubject<'_>,
    ) -> Result<i64> {
        let mut next = 0;
        loop {
            let rows = rows_from(connection, next).await?;
            let Some(last) = rows.last() else { return Ok(next) };
            next = last.seq + 1;
            for mut row in rows {
                let seq = row.seq;
                if subject.pseudonymize(&mut row)? {
                    return Ok(seq);
                }
            }
        }
    }
}

impl AuditedTransaction {
    /// Replaces the name of an account in the log, appends `record` with the numbers of the rewrite, and commits.
    ///
    /// `from` is the number of the first entry that can name the account. The head is locked until the commit, so changes of
    /// all replicas wait meanwhile.
    pub(crate) async fn commit_erasure(self, subject: &ErasedSubject<'_>, from: i64, record: Record) -> Result<u64> {
        let rewritten = self.trail().rewrite(&self, subject, from).await?;
        self.commit(record.changes(rewritten.changes())).await?;
        Ok(rewritten.entries)
    }
}

impl AuditTrail {
    async fn rewrite(&self, tx: &AuditedTransaction, subject: &ErasedSubject<'_>, from: i64) -> Result<Rewritten> {
        let before = lock_head(tx).await?;
        let key = self.key();
        if before.seq > 0 && key.head_mac(&before) != before.mac {
            return Err(not_intact(before.seq));
        }
        let mut rewritten = Rewritten { head: before.seq, hash: before.hash.clone(), ..Rewritten::default() };
        let from = from.max(before.pruned_seq + 1);
        let mut link = Link::new(self.hash_before(tx, &before, from).await?, from);
        store_head(tx, &audit_head::Model { pruned_seq: before.seq, ..before.clone() }).await?;
        loop {
            let mut rows = rows_from(tx, link.next).await?;
            if rows.is_empty() {
                break;
            }
            for row in &mut rows {
                link.check(key, row)?;
                if subject.pseudonymize(row)? {
                    rewritten.entries += 1;
                    if rewritten.first == 0 {
                        rewritten.first = row.seq;
                    }
                }
                link.extend(key, row);
            }
            replace(self.database(), tx, rows).await?;
        }
        if link.next != before.seq + 1 || link.old_hash != before.hash {
            return Err(not_intact(link.next));
        }
        store_head(tx, &key.sealed(audit_head::Model { hash: link.new_hash, ..before })).await?;
        Ok(rewritten)
    }

    /// The hash before the entry `from`, which is not before the first one.
    async fn hash_before(&self, tx: &AuditedTransaction, head: &audit_head::Model, from: i64) -> Result<String> {
        if from == head.pruned_seq + 1 {
            return Ok(head.pruned_hash.clone());
        }
        let row = audit_log::Entity::find_by_id(from - 1).one(&**tx).await?;
        row.map(|row| row.hash).ok_or_else(|| not_intact(from - 1))
    }
}

/// The end of the rewritten part of the chain. Each entry is verified before it gets its new hash: otherwise a rewrite would
/// hide an earlier modification.
struct Link {
    /// Number of the next entry.
    next: i64,
    /// Hash of the entry before, as it was.
    old_hash: String,
    /// Its new hash.
    new_hash: String,
}

impl Link {
    fn new(hash: String, next: i64) -> Self {
        Self { next, old_hash: hash.clone(), new_hash: hash }
    }

    fn check(&mut self, key: &ChainKey, row: &audit_log::Model) -> Result<()> {
        if row.seq != self.next || row.key_id != key.id() || key.entry_hash(&self.old_hash, row) != row.hash {
            return Err(not_intact(self.next));
        }
        self.old_hash.clone_from(&row.hash);
        Ok(())
    }

    fn extend(&mut self, key: &ChainKey, row: &mut audit_log::Model) {
        row.hash = key.entry_hash(&self.new_hash, row);
        self.new_hash.clone_from(&row.hash);
        self.next = row.seq + 1;
    }
}

fn not_intact(seq: i64) -> Error {
    tracing::error!(seq, "the audit log is not intact, so no account can be erased");
    Problem::conflict(format!(
        "The audit log is not intact at entry {seq}, so nothing was erased. Ask the operator to run `berth audit verify`."
    ))
    .into()
}

async fn rows_from(connection: &impl ConnectionTrait, seq: i64) -> Result<Vec<audit_log::Model>, DbErr> {
    audit_log::Entity::find()
        .filter(audit_log::COLUMN.seq.gte(seq))
        .order_by_asc(audit_log::Column::Seq)
        .limit(MAX_ROWS as u64)
        .all(connection)
        .await
}

impl ErasedSubject<'_> {
    /// Replaces the name of the account in an entry. Returns whether it has changed.
    fn pseudonymize(&self, row: &mut audit_log::Model) -> Result<bool> {
        let names = self.names;
        let is_author = row.actor.as_mut().is_some_and(|actor| names.replace_name(actor));
        let is_user = row.target_type == AuditTargetType::User.as_str();
        let is_account = is_user && names.replace_name(&mut row.target_id);
        let is_object = self.objects.contains(&row.target_id);
        let mut has_changed = is_author | is_account;
        has_changed |= names.replace_name(&mut row.target_name);
        let is_token =
            row.target_type == AuditTargetType::Token.as_str() && (is_author || self.is_named_in(&row.changes));
        let is_reservation = is_object && row.target_type == AuditTargetType::Reservation.as_str();
        if (is_reservation || is_token) && !row.target_name.is_empty() {
            // The title of the reservation or the name of the token, which the user has chosen.
            row.target_name.clear();
            has_changed = true;
        }
        if is_author && row.credential == AuditCredentialType::ApiToken.as_str() && !row.credential_name.is_empty() {
            row.credential_name = ERASED.to_owned();
        }
        if is_author || is_account || is_object {
            has_changed |= names.replace_words(&mut row.detail);
        } else {
            has_changed |= self.replace_in_detail(&mut row.detail);
        }
        has_changed |= self.pseudonymize_changes(&mut row.changes, is_account || is_object, is_token)?;
        Ok(has_changed)
    }

    /// Replaces the name in a sentence of an entry about something else, e.g. a refused log-in at an identity provider.
    fn replace_in_detail(&self, detail: &mut String) -> bool {
        let (old, new) =
            (format!("The account {} ", self.names.username()), format!("The account {} ", self.names.pseudonym()));
        let has_name = detail.contains(&old);
        if has_name {
            *detail = detail.replace(&old, &new);
        }
        self.names.replace_values(detail) | has_name
    }

    /// Whether the changed fields name the account as the owner of the object.
    fn is_named_in(&self, changes: &str) -> bool {
        let fields = serde_json::from_str::<Vec<FieldChange>>(changes).unwrap_or_default();
        let is_owner = |value: &Value| value.as_str() == Some(self.names.username());
        fields.iter().any(|change| change.field == "user_id" && (is_owner(&change.before) || is_owner(&change.after)))
    }

    /// Replaces names and values in the changed fields. Changes that cannot be read are kept.
    fn pseudonymize_changes(&self, text: &mut String, is_own: bool, is_token: bool) -> Result<bool> {
        let Ok(mut changes) = serde_json::from_str::<Vec<FieldChange>>(text) else { return Ok(false) };
        let mut has_changed = false;
        for change in &mut changes {
            if is_token && change.field == "name" {
                let values = [&mut change.before, &mut change.after].into_iter().filter(|value| value.is_string());
                values.for_each(|value| *value = Value::from(ERASED));
                has_changed = true;
            }
            for value in [&mut change.before, &mut change.after] {
                has_changed |= self.replace_in(&change.field, value, is_own);
            }
        }
        if has_changed {
            *text = to_json(&changes)?;
        }
        Ok(has_changed)
    }

    fn replace_in(&self, field: &str, value: &mut Value, is_own: bool) -> bool {
        match value {
            Value::String(text) if is_own && PERSONAL_FIELDS.contains(&field) => {
                let has_text = !text.is_empty() && text != ERASED;
                if has_text {
                    ERASED.clone_into(text);
                }
                has_text
            }
            Value::String(text) if NAME_FIELDS.contains(&field) => {
                self.names.replace_name(text) || self.names.replace_values(text)
            }
            Value::Object(fields) => fields
                .iter_mut()
                .fold(false, |has_changed, (name, value)| self.replace_in(name, value, is_own) | has_changed),
            value => self.names.replace_in_json(value),
        }
    }
}
