//! What is stored about an account, for its export and its erasure; usernames of erased accounts.

use super::Accounts;
use super::budgets::Subject;
use super::session_list::to_session;
use crate::db::entity::{erased_usernames, login_budgets};
use crate::db::link::DatabaseTransaction;
use crate::{Error, Result};
use domain::Problem;
use domain::account::{ApiToken, LogInSession, User};
use domain::privacy::PSEUDONYM_PREFIX;
use domain::second_factor::SecondFactors;
use domain::single_sign_on::Identity;
use sea_orm::{ConnectionTrait, EntityTrait as _, QueryFilter as _, SelectExt as _};

/// An account with its credentials, without secrets.
pub(crate) struct StoredAccount {
    pub(crate) user: User,
    pub(crate) sessions: Vec<LogInSession>,
    pub(crate) tokens: Vec<ApiToken>,
    pub(crate) identities: Vec<Identity>,
    pub(crate) second_factors: SecondFactors,
}

impl Accounts {
    /// Everything that is stored about an account. `current` is the public id of the session of the request.
    ///
    /// # Errors
    /// 404 for an unknown account.
    pub(crate) async fn stored_account(&self, username: &str, current: Option<&str>) -> Result<StoredAccount> {
        let user = self.find_user(username).await?;
        let sessions = self.sessions_of(username).await?;
        let second_factors = self.factors_of(&self.context.db.read, &user).await?;
        Ok(StoredAccount {
            user: self.to_user(user),
            sessions: sessions.into_iter().map(|row| to_session(row, current)).collect(),
            tokens: self.tokens_of(username).await?,
            identities: self.identities_of(username).await?,
            second_factors,
        })
    }

    /// Deletes the budgets of failed log-ins of an account.
    pub(crate) async fn delete_budgets(&self, tx: &DatabaseTransaction, username: &str) -> Result<()> {
        let subjects = [Subject::account(username), Subject::confirmation(username), Subject::second_factor(username)];
        let of_account = login_budgets::COLUMN.subject.is_in(subjects.iter().map(Subject::key));
        login_budgets::Entity::delete_many().filter(of_account).exec(tx).await?;
        Ok(())
    }

    /// Refuses the username of a new account if it was that of an erased one, or looks like a pseudonym: the new account
    /// would get resources and reservations of the other user.
    ///
    /// # Errors
    /// 409 if the name cannot be used.
    pub(super) async fn check_is_unused(&self, connection: &impl ConnectionTrait, username: &str) -> Result<(), Error> {
        let digest = self.context.trail.username_digest(username);
        let is_used = username.starts_with(PSEUDONYM_PREFIX)
            || erased_usernames::Entity::find_by_id(digest).exists(connection).await?;
        if is_used {
            return Err(Problem::conflict(format!(
                "The username {username} cannot be used, because receivers may know it from an erased account. Choose another \
                 one."
            ))
            .into());
        }
        Ok(())
    }
}
