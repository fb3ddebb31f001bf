//! An entry of the audit log before it has a place in the chain.

use super::Origin;
use super::failures::FailureKey;
use crate::Result;
use crate::db::codec::to_json;
use crate::db::entity::audit_log;
use domain::audit::{AuditAction, AuditCredentialType, AuditOutcome, AuditTargetType, Changes, FieldChange};
use domain::authorization::Actor;
use domain::id::WebhookId;
use serde::Serialize;
use serde_json::Value;

/// Maximum number of characters of a detail, which can contain the reason of a refusal.
const MAX_DETAIL: usize = 500;
/// Maximum number of characters of an id or a name, which a client can send.
const MAX_NAME: usize = 200;

/// Who performs an action, and by which credential.
pub(crate) enum Author<'a> {
    /// A user, by session or API token.
    User(&'a Actor),
    /// A user who logs in.
    Password(&'a str),
    /// A user who logs in with a passkey alone.
    Passkey(&'a str),
    /// A user who logs in at an identity provider.
    IdentityProvider {
        /// Login name; `None` if the provider's user has no account.
        username: Option<&'a str>,
        /// Public id of the link between the account and the provider's user.
        identity: String,
        /// Display name of the provider.
        provider: &'a str,
    },
    /// The first administrator.
    SetupCode(&'a str),
    /// Somebody with access to the machine.
    Operator,
    /// Berth itself.
    System,
    /// The receiver of a webhook.
    Receiver(WebhookId, &'a str),
    /// A client without a valid credential.
    Anonymous,
}

impl<'a> From<&'a Actor> for Author<'a> {
    fn from(actor: &'a Actor) -> Self {
        Self::User(actor)
    }
}

/// The object of an action.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    kind: AuditTargetType,
    id: String,
    name: String,
}

impl Target {
    /// An object with an id.
    pub(crate) fn new(kind: AuditTargetType, id: impl ToString) -> Self {
        Self::named(kind, id, "")
    }

    /// An object with an id and a name.
    pub(crate) fn named(kind: AuditTargetType, id: impl ToString, name: impl Into<String>) -> Self {
        Self { kind, id: printable(&id.to_string(), MAX_NAME), name: printable(&name.into(), MAX_NAME) }
    }
}

/// The text without control characters (PostgreSQL rejects NUL), cut.
fn printable(text: &str, max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(max).collect()
}

/// An entry before it has a place in the chain.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    actor: Option<String>,
    credential: AuditCredentialType,
    credential_id: String,
    credential_name: String,
    source: String,
    request_id: String,
    action: AuditAction,
    outcome: AuditOutcome,
    target: Target,
    changes: Changes,
    detail: String,
    occurrences: i64,
}

impl Record {
    /// An action that was performed in the current request.
    pub(crate) fn new<'a>(author: impl Into<Author<'a>>, action: AuditAction, target: Target) -> Self {
        let origin = Origin::current();
        let (actor, credential, id, name) = match author.into() {
            Author::User(actor) => {
                let (kind, id, name) = match (&actor.session, &actor.token) {
                    (Some(session), _) => (AuditCredentialType::Session, session.id.as_str(), ""),
                    (None, Some(token)) => (AuditCredentialType::ApiToken, token.id.as_str(), token.name.as_str()),
                    (None, None) => (AuditCredentialType::Operator, "", ""),
                };
                (Some(actor.username.clone()), kind, id.to_owned(), name.to_owned())
            }
            Author::Password(username) => {
                (Some(username.to_owned()), AuditCredentialType::Password, String::new(), String::new())
            }
            Author::Passkey(username) => {
                (Some(username.to_owned()), AuditCredentialType::Passkey, String::new(), String::new())
            }
            Author::IdentityProvider { username, identity, provider } => {
                let credential = AuditCredentialType::IdentityProvider;
                (username.map(str::to_owned), credential, identity, provider.to_owned())
            }
            Author::SetupCode(username) => {
                (Some(username.to_owned()), AuditCredentialType::SetupCode, String::new(), String::new())
            }
            Author::Operator => (None, AuditCredentialType::Operator, String::new(), String::new()),
            Author::System => (None, AuditCredentialType::System, String::new(), String::new()),
            Author::Receiver(id, name) => {
                (None, AuditCredentialType::WebhookSignature, id.to_string(), name.to_owned())
            }
            Author::Anonymous => (None, AuditCredentialType::None, String::new(), String::new()),
        };
        Self {
            actor,
            credential,
            credential_id: id,
            credential_name: name,
            source: origin.source().to_owned(),
            request_id: origin.request_id().to_owned(),
            action,
            outcome: AuditOutcome::Succeeded,
            target,
            changes: Changes::none(),
            detail: String::new(),
            occurrences: 1,
        }
    }

    /// The same action, which was refused.
    #[must_use]
    pub(crate) fn refused(self) -> Self {
        Self { outcome: AuditOutcome::Refused, ..self }
    }

    /// With the changed fields.
    #[must_use]
    pub(crate) fn changes(self, changes: Changes) -> Self {
        Self { changes, ..self }
    }

    /// With details in one sentence. Long ones are cut.
    #[must_use]
    pub(crate) fn detail(self, detail: impl AsRef<str>) -> Self {
        Self { detail: printable(detail.as_ref(), MAX_DETAIL), ..self }
    }

    /// Standing for several equal actions.
    #[must_use]
    pub(crate) fn occurrences(self, occurrences: i64) -> Self {
        Self { occurrences, ..self }
    }

    /// Whether the client had no valid credential.
    pub(super) fn is_anonymous(&self) -> bool {
        self.credential == AuditCredentialType::None
    }

    /// The number of equal actions that it stands for.
    pub(super) fn count(&self) -> i64 {
        self.occurrences
    }

    /// What makes two failures equal. The detail is not part of it: it can contain a time.
    pub(super) fn failure_key(&self) -> FailureKey {
        let target = format!("{} {}", self.target.kind.as_str(), self.target.id);
        (
            self.actor.clone(),
            self.credential.as_str(),
            self.credential_id.clone(),
            self.source.clone(),
            self.action.as_str(),
            target,
        )
    }

    /// The same failure without the details that distinguish its kind, for failures of too many kinds.
    pub(super) fn without_details(self) -> Self {
        Self {
            actor: None,
            credential_id: String::new(),
            credential_name: String::new(),
            source: String::new(),
            request_id: String::new(),
            action: AuditAction::RequestRefused,
            target: Target::new(AuditTargetType::Request, ""),
            detail: "Failures of so many clients, accounts or kinds that they are only counted.".to_owned(),
            ..self
        }
    }

    /// The row without its place in the chain.
    pub(super) fn to_row(&self, seq: i64, at: i64, key_id: &str) -> Result<audit_log::Model> {
        Ok(audit_log::Model {
            seq,
            at,
            actor: self.actor.clone(),
            credential: self.credential.as_str().to_owned(),
            credential_id: self.credential_id.clone(),
            credential_name: self.credential_name.clone(),
            source: self.source.clone(),
            request_id: self.request_id.clone(),
            action: self.action.as_str().to_owned(),
            outcome: self.outcome.as_str().to_owned(),
            target_type: self.target.kind.as_str().to_owned(),
            target_id: self.target.id.clone(),
            target_name: self.target.name.clone(),
            changes: to_json(&self.changes.fields().iter().map(StoredChange::from).collect::<Vec<_>>())?,
            detail: self.detail.clone(),
            occurrences: self.occurrences,
            key_id: key_id.to_owned(),
            hash: String::new(),
        })
    }
}

/// A changed field as it is stored: without absent values, because an entry is written with each reservation.
#[derive(Serialize)]
struct StoredChange<'a> {
    field: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    secret: bool,
}

impl<'a> From<&'a FieldChange> for StoredChange<'a> {
    fn from(FieldChange { field, before, after, secret }: &'a FieldChange) -> Self {
        let present = |value: &'a Value| (!value.is_null()).then_some(value);
        Self { field, before: present(before), after: present(after), secret: *secret }
    }
}

/// A transaction with one entry.
impl From<Record> for Vec<Record> {
    fn from(record: Record) -> Self {
        vec![record]
    }
}
