//! Entries of the audit log about invalid credentials.

use super::Accounts;
use crate::Result;
use crate::audit_trail::{Author, Origin, Record, Target};
use crate::db::entity::users;
use domain::audit::{AuditAction, AuditTargetType};
use domain::validation;
use sea_orm::{EntityTrait as _, SelectExt as _};

impl Accounts {
    /// Records a failed log-in. The name of an unknown account is not kept, because users enter passwords in the wrong
    /// field.
    pub(super) async fn record_rejected_log_in(&self, username: &str, reason: &str) {
        // An outage must not make the response differ between known and unknown accounts.
        let name = if self.account_exists(username).await.unwrap_or(false) { username } else { "" };
        let target = Target::new(AuditTargetType::User, name);
        let record = Record::new(Author::Anonymous, AuditAction::SessionRejected, target).detail(reason);
        self.context.trail.write_failure(record).await;
    }

    async fn account_exists(&self, username: &str) -> Result<bool> {
        // PostgreSQL rejects NUL.
        let is_valid = validation::username(username).is_ok();
        Ok(is_valid && users::Entity::find_by_id(username).exists(&self.context.db.read).await?)
    }

    /// Records a request with an unknown, expired or revoked API token, or one of a disabled account.
    pub(super) async fn record_rejected_token(&self) {
        let target = Target::new(AuditTargetType::Token, "");
        self.context.trail.write_failure(Record::new(Author::Anonymous, AuditAction::TokenRejected, target)).await;
    }

    /// Records a wrong current password.
    pub(super) async fn record_rejected_password(&self, username: &str) {
        let caller = Origin::current().caller();
        let author = caller.as_ref().map_or(Author::Anonymous, Author::User);
        let target = Target::new(AuditTargetType::User, username);
        self.context.trail.write_failure(Record::new(author, AuditAction::PasswordRejected, target)).await;
    }
}
