//! The hashes that chain the entries of the audit log (docs/operations.md, "Audit log").
//!
//! The hash of an entry is the HMAC-SHA256 of the previous entry's hash and of all its columns. Its key is stored encrypted
//! with the master key: somebody who can only write to the database cannot compute the hash of a changed entry. A second HMAC
//! covers the head, so that they cannot move it back to an earlier entry either.
//!
//! The key outlives a rotation of the master key, so the whole chain has one key. Each hash has its id, so that entries of
//! another key are distinguished from changed ones.

use crate::db::entity::{audit_head, audit_log};
use crate::secrets::hmac_sha256;
use secrecy::{ExposeSecret as _, SecretBox};

/// Begins the input of an entry's hash.
const ENTRY: &str = "berth audit entry v1";
/// Begins the input of the head's MAC.
const HEAD: &str = "berth audit head v1";
/// Begins the input of the key's id.
const KEY_ID: &str = "berth audit key id v1";

/// The key of the chain. It is never printed.
pub(crate) struct ChainKey {
    key: SecretBox<[u8; 32]>,
    id: String,
}

/// The input of an HMAC. Each part has its length, so that no two lists of parts have the same input.
struct Message(Vec<u8>);

impl Message {
    fn new(purpose: &str) -> Self {
        Self::with_capacity(purpose, 512)
    }

    /// A message of about `capacity` bytes.
    fn with_capacity(purpose: &str, capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity)).text(purpose)
    }

    fn text(mut self, text: &str) -> Self {
        self.0.extend((text.len() as u64).to_be_bytes());
        self.0.extend(text.as_bytes());
        self
    }

    fn int(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
}

impl ChainKey {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        let id = hex::encode(&hmac_sha256(&key, KEY_ID.as_bytes())[..8]);
        Self { key: SecretBox::new(Box::new(key)), id }
    }

    /// The id of the key, from which the key cannot be derived.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The hash of an entry that follows the entry with the hash `previous`. The entry's own hash is ignored.
    pub(crate) fn entry_hash(&self, previous: &str, row: &audit_log::Model) -> String {
        self.mac(
            Message::with_capacity(ENTRY, row.changes.len() + 1_024)
                .text(previous)
                .int(row.seq)
                .int(row.at)
                .text(row.actor.as_deref().unwrap_or_default())
                .text(&row.credential)
                .text(&row.credential_id)
                .text(&row.credential_name)
                .text(&row.source)
                .text(&row.request_id)
                .text(&row.action)
                .text(&row.outcome)
                .text(&row.target_type)
                .text(&row.target_id)
                .text(&row.target_name)
                .text(&row.changes)
                .text(&row.detail)
                .int(row.occurrences)
                .text(&row.key_id),
        )
    }

    /// The MAC of a text for another purpose.
    pub(crate) fn text_mac(&self, purpose: &str, text: &str) -> String {
        self.mac(Message::new(purpose).text(text))
    }

    /// The MAC of the head. Its own MAC is ignored.
    pub(crate) fn head_mac(&self, head: &audit_head::Model) -> String {
        self.mac(
            Message::new(HEAD)
                .int(head.seq)
                .text(&head.hash)
                .int(head.pruned_seq)
                .text(&head.pruned_hash)
                .text(&head.key_id),
        )
    }

    /// The head with its MAC.
    pub(crate) fn sealed(&self, mut head: audit_head::Model) -> audit_head::Model {
        self.id.clone_into(&mut head.key_id);
        head.mac = self.head_mac(&head);
        head
    }

    fn mac(&self, message: Message) -> String {
        hex::encode(hmac_sha256(self.key.expose_secret(), &message.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> audit_log::Model {
        audit_log::Model {
            seq: 7,
            at: 1_772_442_000_250,
            actor: Some("alice".into()),
            credential: "session".into(),
            credential_id: "ses_1".into(),
            credential_name: String::new(),
            source: "192.0.2.1".into(),
            request_id: "req_1".into(),
            action: "webhook.updated".into(),
            outcome: "succeeded".into(),
            target_type: "webhook".into(),
            target_id: "3".into(),
            target_name: "GPU".into(),
            changes: "[]".into(),
            detail: String::new(),
            occurrences: 1,
            key_id: "k".into(),
            hash: String::new(),
        }
    }

    #[test]
    fn hash_depends_on_key_previous_hash_and_every_column() {
        let key = ChainKey::new([7; 32]);
        let hash = key.entry_hash("a", &row());
        assert_eq!(hash, key.entry_hash("a", &audit_log::Model { hash: "x".into(), ..row() }));
        let mut others = vec![ChainKey::new([8; 32]).entry_hash("a", &row()), key.entry_hash("b", &row())];
        let changes: Vec<fn(&mut audit_log::Model)> = vec![
            |row| row.seq = 8,
            |row| row.at += 1,
            |row| row.actor = None,
            |row| row.credential.push('x'),
            |row| row.credential_id.push('x'),
            |row| row.credential_name.push('x'),
            |row| row.source.push('x'),
            |row| row.request_id.push('x'),
            |row| row.action.push('x'),
            |row| row.outcome.push('x'),
            |row| row.target_type.push('x'),
            |row| row.target_id.push('x'),
            |row| row.target_name.push('x'),
            |row| row.changes.push('x'),
            |row| row.detail.push('x'),
            |row| row.occurrences = 2,
            |row| row.key_id.push('x'),
            // The same characters, in other columns.
            |row| {
                row.target_id = "3G".into();
                row.target_name = "PU".into();
            },
        ];
        for change in changes {
            let mut changed = row();
            change(&mut changed);
            others.push(key.entry_hash("a", &changed));
        }
        others.push(hash);
        let count = others.len();
        others.sort_unstable();
        others.dedup();
        assert_eq!(others.len(), count);
    }

    /// The format is documented and must not change: old entries would no longer verify.
    #[test]
    fn hash_has_the_documented_format() {
        let key = ChainKey::new([7; 32]);
        let mut message = Vec::new();
        let text = |message: &mut Vec<u8>, text: &str| {
            message.extend((text.len() as u64).to_be_bytes());
            message.extend(text.as_bytes());
        };
        text(&mut message, "berth audit entry v1");
        text(&mut message, "a");
        message.extend(7_i64.to_be_bytes());
        message.extend(1_772_442_000_250_i64.to_be_bytes());
        for value in [
            "alice",
            "session",
            "ses_1",
            "",
            "192.0.2.1",
            "req_1",
            "webhook.updated",
            "succeeded",
            "webhook",
            "3",
            "GPU",
            "[]",
            "",
        ] {
            text(&mut message, value);
        }
        message.extend(1_i64.to_be_bytes());
        text(&mut message, "k");
        assert_eq!(key.entry_hash("a", &row()), hex::encode(hmac_sha256(&[7; 32], &message)));
    }

    #[test]
    fn head_cannot_be_moved_without_the_key() {
        let key = ChainKey::new([7; 32]);
        let head = audit_head::Model {
            id: audit_head::ID,
            seq: 7,
            hash: "h".into(),
            pruned_seq: 2,
            pruned_hash: "p".into(),
            key_id: String::new(),
            mac: String::new(),
        };
        let sealed = key.sealed(head);
        assert_eq!(key.head_mac(&sealed), sealed.mac);
        let changes: Vec<fn(&mut audit_head::Model)> =
            vec![|head| head.seq = 6, |head| head.hash.push('x'), |head| head.pruned_seq = 3, |head| {
                head.pruned_hash.push('x')
            }];
        for change in changes {
            let mut moved = sealed.clone();
            change(&mut moved);
            assert_ne!(key.head_mac(&moved), sealed.mac);
        }
        assert_ne!(key.id(), ChainKey::new([8; 32]).id());
    }
}
