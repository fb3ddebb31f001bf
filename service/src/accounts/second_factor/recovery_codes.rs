//! Recovery codes: the way to log in after the loss of every second factor. Each can be used once.

use super::super::Accounts;
use crate::Result;
use crate::audit_trail::{AuditedTransaction, Record, Target};
use crate::db::entity::recovery_codes;
use crate::secrets::{digest, random};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType};
use domain::authorization::Actor;
use domain::change::Change;
use domain::second_factor::RECOVERY_CODES;
use sea_orm::{EntityTrait as _, PaginatorTrait as _, QueryFilter as _, Set};
use tracing::instrument;

/// Crockford's base32 in lower case: no characters that look alike. A random byte has each of them without a bias.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of a code, in groups of four. They have 80 random bits, so no slow hash is needed.
const LEN: usize = 16;

impl Accounts {
    /// Replaces the actor's recovery codes. Only this result contains them.
    ///
    /// # Errors
    /// 403 for an API token and without a recent confirmation; 409 without a second factor.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn replace_recovery_codes(&self, actor: &Actor) -> Result<Vec<String>, Problem> {
        self.check_may_add(actor).await?;
        let (codes, notification) = self.replace_codes(actor).await?;
        self.feed.publish(vec![notification]);
        Ok(codes)
    }

    async fn replace_codes(&self, actor: &Actor) -> Result<(Vec<String>, Change)> {
        let username = actor.username.as_str();
        let tx = self.context.begin_change().await?;
        super::lock_user(&tx, username).await?;
        if !super::has_second_factor(&*tx, username).await? {
            return Err(Problem::conflict("Add a passkey or an authenticator app first.").into());
        }
        super::delete_codes(&*tx, username).await?;
        let codes = self.insert_codes(&tx, username).await?;
        let message = "New recovery codes were created for your account. If this was not you, inform an administrator.";
        let notification = self.notify_owner(&tx, username, message).await?;
        let target = Target::new(AuditTargetType::User, username);
        tx.commit(Record::new(actor, AuditAction::RecoveryCodesCreated, target).detail("They were shown.")).await?;
        Ok((codes, notification))
    }

    /// Inserts new recovery codes for an account, and returns them.
    pub(super) async fn insert_codes(&self, tx: &AuditedTransaction, username: &str) -> Result<Vec<String>> {
        let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| new_code()).collect();
        let created_at = self.context.now().timestamp_millis();
        let rows = codes.iter().map(|code| recovery_codes::ActiveModel {
            username: Set(username.to_owned()),
            code_hash: Set(code_hash(username, code)),
            created_at: Set(created_at),
        });
        recovery_codes::Entity::insert_many(rows).exec_without_returning(&**tx).await?;
        Ok(codes)
    }

    /// Uses a recovery code up. Returns the number of codes that are left; `None` if it is wrong or was used before.
    pub(super) async fn accept_recovery_code(
        &self,
        tx: &AuditedTransaction,
        username: &str,
        code: &str,
    ) -> Result<Option<u64>> {
        let key = (username.to_owned(), code_hash(username, code));
        if recovery_codes::Entity::delete_by_id(key).exec(&**tx).await?.rows_affected == 0 {
            return Ok(None);
        }
        let left = recovery_codes::Entity::find().filter(recovery_codes::COLUMN.username.eq(username));
        Ok(Some(left.count(&**tx).await?))
    }
}

/// A new code, e.g. `7kxd-29bf-w3mn-hq8z`.
fn new_code() -> String {
    let mut code = String::with_capacity(LEN + LEN / 4);
    for (n, byte) in random::<LEN>().into_iter().enumerate() {
        if n > 0 && n % 4 == 0 {
            code.push('-');
        }
        code.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
    }
    code
}

/// The stored form of a code. Users may leave out the hyphens, enter capital letters, and mistake O for 0, or I and L for 1.
fn code_hash(username: &str, code: &str) -> String {
    let code = code.chars().filter(char::is_ascii_alphanumeric).map(|c| match c.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        other => other,
    });
    let code: String = code.collect();
    digest(&format!("{username} {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_groups_and_may_be_entered_without_them() {
        let code = new_code();
        assert_eq!(code.len(), 19);
        assert_eq!(code.matches('-').count(), 3);
        assert_eq!(code_hash("alice", &code), code_hash("alice", &code.replace('-', " ").to_ascii_uppercase()));
        assert_eq!(code_hash("alice", "0011"), code_hash("alice", "oOiL"));
        assert_ne!(code_hash("alice", &code), code_hash("bob", &code), "a code belongs to its account");
        assert_ne!(new_code(), new_code());
    }
}
