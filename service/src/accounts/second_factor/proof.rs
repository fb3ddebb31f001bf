//! A second factor that a user presents, and its use within the transaction that it permits.

use super::super::Accounts;
use super::super::budgets::Subject;
use super::passkeys::CLONED;
use crate::Result;
use crate::audit_trail::{AuditedTransaction, Author, Origin, Record, Target};
use crate::db::codec::{json, to_json};
use crate::db::entity::passkeys;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType};
use domain::change::Change;
use sea_orm::{EntityTrait as _, QueryFilter as _, QuerySelect as _, Set};
use webauthn_rs::prelude::{AuthenticationResult, Credential, Passkey};

/// A second factor that a user presents.
#[derive(Debug, Clone)]
pub(in crate::accounts) enum Proof {
    /// The code of the authenticator app.
    Code(String),
    /// A recovery code.
    RecoveryCode(String),
    /// The verified response of a passkey.
    Passkey(Box<AuthenticationResult>),
}

/// A second factor that the transaction has used.
pub(in crate::accounts) struct Accepted {
    /// The entries of the audit log about it.
    pub(in crate::accounts) records: Vec<Record>,
    /// The notification to the user about it.
    pub(in crate::accounts) notification: Option<Change>,
}

impl Proof {
    /// The name for the audit log.
    pub(in crate::accounts) fn name(&self) -> &'static str {
        match self {
            Self::Code(_) => "authenticator_app",
            Self::RecoveryCode(_) => "recovery_code",
            Self::Passkey(_) => "passkey",
        }
    }

    /// The budget of guesses. A passkey cannot be guessed.
    pub(in crate::accounts) fn budget(&self, username: &str) -> Option<Subject> {
        match self {
            Self::Code(_) | Self::RecoveryCode(_) => Some(Subject::second_factor(username)),
            Self::Passkey(_) => None,
        }
    }

    /// The problem if it was not accepted.
    pub(in crate::accounts) fn problem(&self) -> Problem {
        match self {
            Self::Code(_) => Problem::field(
                "code",
                "This code is wrong, or was used before. Enter the one that the app shows now, or wait for the next one.",
            ),
            Self::RecoveryCode(_) => {
                Problem::field("recovery_code", "This recovery code is wrong, or was used before. Enter another one.")
            }
            Self::Passkey(_) => Problem::field("passkey", CLONED),
        }
    }
}

impl Accounts {
    /// Uses a second factor up within a transaction; `None` if it is not valid. The transaction must then be rolled back.
    pub(in crate::accounts) async fn accept(
        &self,
        tx: &AuditedTransaction,
        username: &str,
        proof: &Proof,
    ) -> Result<Option<Accepted>> {
        let accepted = || Accepted { records: Vec::new(), notification: None };
        match proof {
            Proof::Code(code) => Ok(self.accept_code(tx, username, code).await?.then(accepted)),
            Proof::Passkey(result) => Ok(self.accept_passkey(tx, username, result).await?.then(accepted)),
            Proof::RecoveryCode(code) => {
                let Some(left) = self.accept_recovery_code(tx, username, code).await? else { return Ok(None) };
                let message = format!(
                    "A recovery code was used to log in to your account; {left} are left. If this was not you, inform an \
                     administrator."
                );
                let notification = self.notify_owner(tx, username, &message).await?;
                let target = Target::new(AuditTargetType::User, username);
                let record = Record::new(Author::Password(username), AuditAction::RecoveryCodeUsed, target);
                let records = vec![record.detail(format!("{left} are left."))];
                Ok(Some(Accepted { records, notification: Some(notification) }))
            }
        }
    }

    /// Stores the counter of a passkey. Returns false if the passkey was removed meanwhile, or its counter has not
    /// increased since the last use (WebAuthn §6.1.1).
    async fn accept_passkey(
        &self,
        tx: &AuditedTransaction,
        username: &str,
        result: &AuthenticationResult,
    ) -> Result<bool> {
        let own = passkeys::Entity::find()
            .filter(passkeys::COLUMN.credential_id.eq(URL_SAFE_NO_PAD.encode(result.cred_id())))
            .filter(passkeys::COLUMN.username.eq(username));
        // The lock makes concurrent uses of a copied passkey compare with each other.
        let Some(row) = own.lock_exclusive().one(&**tx).await? else { return Ok(false) };
        let mut passkey: Passkey = json(&row.credential)?;
        let stored = Credential::from(passkey.clone()).counter;
        if (stored > 0 || result.counter() > 0) && result.counter() <= stored {
            return Ok(false);
        }
        passkey.update_credential(result);
        let used = passkeys::ActiveModel {
            credential: Set(to_json(&passkey)?),
            last_used_at: Set(Some(self.context.now().timestamp_millis())),
            ..Default::default()
        };
        passkeys::Entity::update_many().set(used).filter(passkeys::COLUMN.id.eq(row.id)).exec(&**tx).await?;
        Ok(true)
    }

    /// Records a second factor that was not accepted.
    pub(in crate::accounts) async fn record_rejected_factor(&self, username: &str, detail: &str) {
        let caller = Origin::current().caller();
        let author = caller.as_ref().map_or(Author::Anonymous, Author::User);
        let target = Target::new(AuditTargetType::User, username);
        let record = Record::new(author, AuditAction::SecondFactorRejected, target).detail(detail);
        self.context.trail.write_failure(record).await;
    }
}
