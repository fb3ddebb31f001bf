//! Notifications to a user about events that can come from somebody else with their password or session.

use super::{Accounts, LogInClient};
use crate::Result;
use crate::db::link::DatabaseTransaction;
use crate::notifications::Recipient;
use domain::change::{Change, Severity};

impl Accounts {
    /// Notifies a user of a log-in from a browser without the cookie of an earlier log-in. Scripts have no cookies, so their
    /// log-ins send no notification. The caller publishes the result after the commit.
    pub(super) async fn notify_new_browser(
        &self,
        tx: &DatabaseTransaction,
        username: &str,
        client: &LogInClient,
        is_known: bool,
    ) -> Result<Option<Change>> {
        if is_known || !client.is_browser() {
            return Ok(None);
        }
        let message = format!(
            "You logged in with a new browser: {} at {}. If this was not you, change your password and inform an \
             administrator.",
            client.description(),
            if client.source.is_empty() { "an unknown address" } else { &client.source }
        );
        Ok(Some(self.warn_user(tx, username, &message, "/settings/account").await?))
    }

    /// Notifies a user of an API token that was created in one of their sessions. The caller publishes the result after the
    /// commit.
    pub(super) async fn notify_new_token(
        &self,
        tx: &DatabaseTransaction,
        username: &str,
        token: &str,
    ) -> Result<Change> {
        let message = format!(
            "The API token {token} was created. If this was not you, revoke it, change your password and inform an \
             administrator."
        );
        self.warn_user(tx, username, &message, "/settings/tokens").await
    }

    /// Notifies a user of a new role. The caller publishes the result after the commit.
    pub(super) async fn notify_new_role(&self, tx: &DatabaseTransaction, username: &str, role: &str) -> Result<Change> {
        let message = format!("Your role was changed to {role} by the groups at your identity provider.");
        self.warn_user(tx, username, &message, "/settings/account").await
    }

    async fn warn_user(&self, tx: &DatabaseTransaction, username: &str, message: &str, link: &str) -> Result<Change> {
        let recipient = Recipient::User(username);
        Ok(Change::Notification(
            self.notifications.create(tx, recipient, Severity::Warning, message, Some(link)).await?,
        ))
    }
}
