//! Step-up authentication: the current password before a change of a credential, unless the user has just logged in.

use super::budgets::Subject;
use super::passwords::Capacity;
use super::{Accounts, passwords};
use chrono::Duration;
use domain::Problem;
use domain::authorization::Actor;

/// Time after a log-in in which the password is not asked for again.
const RECENT: Duration = Duration::minutes(10);

impl Accounts {
    /// Checks that the request comes from the user and not from somebody with their unattended or stolen session: the
    /// user entered a credential within the last minutes, or the current password is correct. An account without a
    /// password needs a new log-in at its identity provider.
    ///
    /// # Errors
    /// 422 for `current_password`; 429 after too many wrong passwords.
    pub(crate) async fn confirm_identity(&self, actor: &Actor, password: Option<String>) -> Result<(), Problem> {
        let age = actor.session.as_ref().map(|session| self.context.now() - session.logged_in_at);
        if age.is_some_and(|age| age < RECENT) {
            return Ok(());
        }
        let settings = &self.context.settings.single_sign_on;
        if !self.has_password(&self.find_user(&actor.username).await?) {
            return Err(Problem::field(
                "current_password",
                format!("Log in again with {} to confirm this change. Then repeat it.", settings.names()),
            ));
        }
        match password.filter(|password| !password.is_empty()) {
            Some(password) => self.check_current_password(&actor.username, password).await,
            None => Err(Problem::field("current_password", "Enter your current password to confirm this change.")),
        }
    }

    /// Checks the current password. Guesses have a stored budget like log-ins, because a stolen session must not make
    /// guessing easier.
    pub(super) async fn check_current_password(&self, username: &str, password: String) -> Result<(), Problem> {
        let budget = Subject::confirmation(username);
        self.spend(&budget).await?;
        let stored = self.find_user(username).await?.password_hash;
        if !passwords::verify(password.into(), stored, Capacity::Shared).await {
            self.record_rejected_password(username).await;
            return Err(Problem::field("current_password", "This is not your current password. Enter it again."));
        }
        Ok(self.refund(&self.context.db.write, &budget).await?)
    }
}
