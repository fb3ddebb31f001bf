//! Export of a user's data, and erasure of an account.

use crate::access_request::AccessRequest;
use crate::account::{ApiToken, LogInSession, User};
use crate::audit::AuditEntry;
use crate::change::Notification;
use crate::id::ResourceId;
use crate::ownership::Ownership;
use crate::redacted_debug;
use crate::reservation::Reservation;
use crate::second_factor::SecondFactors;
use crate::single_sign_on::Identity;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Begins the pseudonym of an erased account. New accounts cannot have such a name.
pub const PSEUDONYM_PREFIX: &str = "erased-";
/// Replaces an e-mail address, a key or a text of an erased account.
pub const ERASED: &str = "(erased)";

/// A permission to reserve a restricted resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExportedGrant {
    /// The resource.
    pub resource_id: ResourceId,
    /// Its name.
    pub resource_name: String,
}

/// Everything that Berth stores about a user, without secrets: `GET /api/v1/account/export`.
///
/// Payloads in the delivery log repeat values of reservations and access requests, and are not part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccountExport {
    /// Time of the export.
    pub exported_at: DateTime<Utc>,
    /// The account.
    pub user: User,
    /// Open sessions with device and address of the log-in, newest first, at most 200.
    pub sessions: Vec<LogInSession>,
    /// API tokens without their secrets, newest first.
    pub tokens: Vec<ApiToken>,
    /// Links to identity providers.
    pub identities: Vec<Identity>,
    /// Passkeys and authenticator app, without their keys.
    pub second_factors: SecondFactors,
    /// Names of the user's groups.
    pub groups: Vec<String>,
    /// Resource types and resources that the user owns, in person or through groups.
    pub owns: Ownership,
    /// Restricted resources that the user may reserve.
    pub grants: Vec<ExportedGrant>,
    /// Access requests, oldest first.
    pub access_requests: Vec<AccessRequest>,
    /// Notifications to the user, oldest first. Those to all administrators are not part of it.
    pub notifications: Vec<Notification>,
    /// Reservations with configuration and access information, oldest first.
    pub reservations: Vec<Reservation>,
    /// Entries of the audit log by the user or about the account, oldest first. An entry about the action of another user
    /// has no client address.
    pub audit_log: Vec<AuditEntry>,
}

/// `POST /api/v1/users/{username}/erase`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ErasureInput {
    /// The current password. Required to erase one's own account, unless the user logged in within the last 10 minutes.
    pub current_password: Option<String>,
    /// Erases the account although resources of ended reservations are not released (administrators only). Their receivers
    /// know them by the username, which later events do not contain.
    pub ignore_unreleased: bool,
}

redacted_debug!(ErasureInput { ignore_unreleased } hides { current_password });

/// The result of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Erasure {
    /// Replaces the username in reservations, access requests, the delivery log and the audit log.
    pub pseudonym: String,
    /// Number of reservations that were pseudonymised.
    pub reservations: u64,
    /// Number of access requests that were pseudonymised.
    pub access_requests: u64,
    /// Number of deliveries whose payload was pseudonymised.
    pub deliveries: u64,
    /// Number of entries of the audit log that were pseudonymised.
    pub audit_entries: u64,
}

/// Replaces what identifies a user.
#[derive(Debug, Clone)]
pub struct Pseudonymizer {
    username: String,
    pseudonym: String,
    /// The e-mail address and the SSH key, if the account has them.
    values: Vec<String>,
}

impl Pseudonymizer {
    /// Replaces the username of an account by a pseudonym, and its e-mail address and SSH key by [`ERASED`].
    pub fn new(user: &User, pseudonym: &str) -> Self {
        let values = [&user.email, &user.ssh_key].into_iter().filter(|value| !value.is_empty());
        Self { username: user.username.clone(), pseudonym: pseudonym.to_owned(), values: values.cloned().collect() }
    }

    /// The username that is replaced.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The pseudonym.
    pub fn pseudonym(&self) -> &str {
        &self.pseudonym
    }

    /// Replaces a username. Returns whether it was that of the account.
    pub fn replace_name(&self, name: &mut String) -> bool {
        let is_own = *name == self.username;
        if is_own {
            name.clone_from(&self.pseudonym);
        }
        is_own
    }

    /// Replaces the e-mail address and the SSH key in a text. Returns whether it has changed.
    pub fn replace_values(&self, text: &mut String) -> bool {
        let mut has_changed = false;
        for value in &self.values {
            if text.contains(value.as_str()) {
                *text = text.replace(value.as_str(), ERASED);
                has_changed = true;
            }
        }
        has_changed
    }

    /// Replaces the username as a whole word, the e-mail address and the SSH key in a sentence. Returns whether it has
    /// changed.
    pub fn replace_words(&self, text: &mut String) -> bool {
        // First, because the address can contain the username.
        let mut has_changed = self.replace_values(text);
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text.as_str();
        let mut before = None;
        while let Some(at) = rest.find(&self.username) {
            let (head, tail) = (&rest[..at], &rest[at + self.username.len()..]);
            let is_word = !ends_with_name(head.chars().next_back().or(before)) && !continues_name(tail);
            replaced.push_str(head);
            replaced.push_str(if is_word { &self.pseudonym } else { &self.username });
            has_changed |= is_word;
            before = self.username.chars().next_back();
            rest = tail;
        }
        replaced.push_str(rest);
        *text = replaced;
        has_changed
    }

    /// Replaces the e-mail address and the SSH key in the texts of a JSON value. Returns whether it has changed.
    pub fn replace_in_json(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => self.replace_values(text),
            Value::Array(items) => {
                items.iter_mut().fold(false, |has_changed, item| self.replace_in_json(item) | has_changed)
            }
            Value::Object(fields) => {
                fields.values_mut().fold(false, |has_changed, field| self.replace_in_json(field) | has_changed)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    /// Pseudonymises the payload of an event. Returns whether it has changed. Only the user's own events lose their texts.
    pub fn replace_in_payload(&self, payload: &mut Value) -> bool {
        let mut has_changed = false;
        let is_own = payload.get("user_id").and_then(Value::as_str) == Some(self.username.as_str());
        if is_own {
            payload["user_id"] = Value::from(self.pseudonym.as_str());
            for field in ["user_email", "user_ssh_key", "title", "reason"] {
                clear_text(payload.get_mut(field));
            }
            if let Some(previous) = payload.get_mut("previous") {
                clear_text(previous.get_mut("title"));
                clear_text(previous.get_mut("user_ssh_key"));
            }
            has_changed = true;
        }
        if payload.get("cancelled_by").and_then(Value::as_str) == Some(self.username.as_str()) {
            payload["cancelled_by"] = Value::from(self.pseudonym.as_str());
            has_changed = true;
        }
        // The classic payload format has other names (`domain::classic`).
        if payload.get("userId").and_then(Value::as_str) == Some(self.username.as_str()) {
            for field in ["userId", "username"] {
                payload[field] = Value::from(self.pseudonym.as_str());
            }
            for field in ["email", "sshPublicKey", "eventTitle"] {
                clear_text(payload.get_mut(field));
            }
            has_changed = true;
        }
        if payload.get("keycloakId").and_then(Value::as_str) == Some(self.username.as_str()) {
            payload["keycloakId"] = Value::from(self.pseudonym.as_str());
            has_changed = true;
        }
        // A CloudEvent has the fields of its event in `data`.
        if let Some(data) = payload.get_mut("data") {
            has_changed |= self.replace_in_payload(data);
        }
        self.replace_in_json(payload) | has_changed
    }
}

fn clear_text(value: Option<&mut Value>) {
    if let Some(Value::String(text)) = value {
        text.clear();
    }
}

fn is_name_character(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '@')
}

fn ends_with_name(before: Option<char>) -> bool {
    before.is_some_and(|c| is_name_character(c) || c == '.')
}

/// Whether a name continues in `text`. A full stop ends a sentence, unless a name character follows it.
fn continues_name(text: &str) -> bool {
    let mut next = text.chars();
    match next.next() {
        Some('.') => next.next().is_some_and(is_name_character),
        Some(c) => is_name_character(c),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::Role;
    use serde_json::json;

    fn pseudonymizer() -> Pseudonymizer {
        let user = User {
            username: "alice".into(),
            email: "alice@example.com".into(),
            role: Role::User,
            disabled: false,
            ssh_key: "ssh-ed25519 AAAA alice@laptop".into(),
            created_at: DateTime::UNIX_EPOCH,
            has_password: true,
            role_provider: None,
        };
        Pseudonymizer::new(&user, "erased-1")
    }

    #[test]
    fn username_is_replaced_as_a_whole_word_only() {
        for (text, expected) in [
            ("alice requests access.", Some("erased-1 requests access.")),
            ("Changed by alice.", Some("Changed by erased-1.")),
            ("alice, alice", Some("erased-1, erased-1")),
            ("Write to alice@example.com.", Some("Write to (erased).")),
            ("alicealice and malice and alice2 and alice-b and alice.b and x.alice and alice@x", None),
            ("Alice", None),
            ("", None),
        ] {
            let mut replaced = text.to_owned();
            let has_changed = pseudonymizer().replace_words(&mut replaced);
            assert_eq!((replaced.as_str(), has_changed), (expected.unwrap_or(text), expected.is_some()), "{text}");
        }
    }

    #[test]
    fn own_payload_keeps_times_and_loses_name_address_key_and_texts() {
        let mut payload = json!({
            "user_id": "alice", "user_email": "alice@example.com", "user_ssh_key": "ssh-ed25519 AAAA alice@laptop",
            "title": "Thesis of Alice", "resource_id": 7, "previous": {"title": "Thesis", "end_time": "x"},
            "additional_config": {"contact": "alice@example.com", "cores": 8}, "cancelled_by": "alice", "reason": "ill",
        });
        assert!(pseudonymizer().replace_in_payload(&mut payload));
        let expected = json!({
            "user_id": "erased-1", "user_email": "", "user_ssh_key": "", "title": "", "resource_id": 7,
            "previous": {"title": "", "end_time": "x"}, "additional_config": {"contact": "(erased)", "cores": 8},
            "cancelled_by": "erased-1", "reason": "",
        });
        assert_eq!(payload, expected);
    }

    #[test]
    fn payload_about_another_user_keeps_its_texts() {
        let mut payload = json!({"user_id": "bob", "title": "alice", "cancelled_by": "alice", "reason": "maintenance"});
        assert!(pseudonymizer().replace_in_payload(&mut payload));
        let expected = json!({"user_id": "bob", "title": "alice", "cancelled_by": "erased-1", "reason": "maintenance"});
        assert_eq!(payload, expected);
        let mut unrelated = json!({"user_id": "bob", "title": "alice"});
        assert!(!pseudonymizer().replace_in_payload(&mut unrelated));
    }
}
