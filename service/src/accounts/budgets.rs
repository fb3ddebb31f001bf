//! Stored budgets of failed log-ins and confirmations. All replicas share them, and a restart keeps them.

use super::Accounts;
use crate::Error;
use crate::db::login_budgets::{Budget, refund, spend};
use crate::secrets::digest;
use chrono::Duration;
use domain::Problem;
use sea_orm::ConnectionTrait;

/// The subject of a stored budget.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// Primary key of the budget. It has a digest, because users enter passwords in the wrong field.
    key: String,
    budget: Budget,
    text: &'static str,
}

impl Subject {
    /// Log-ins of an account from unknown devices: 50 failures, then one per 5 minutes.
    pub(super) fn account(username: &str) -> Self {
        let budget = Budget { failures: 50, interval: Duration::minutes(5) };
        let text =
            "Too many failed log-ins for this account. Use a device that you have logged in on before, or try again";
        Self { key: format!("account {}", digest(username)), budget, text }
    }

    /// Log-ins of an account from one known device: 10 failures, then one per minute.
    pub(super) fn device(id: &str) -> Self {
        let budget = Budget { failures: 10, interval: Duration::minutes(1) };
        let text = "Too many failed log-ins for this account. Try again";
        Self { key: format!("device {}", digest(id)), budget, text }
    }

    /// Confirmations with the current password: 10 failures, then one per 3 minutes.
    pub(super) fn confirmation(username: &str) -> Self {
        let budget = Budget { failures: 10, interval: Duration::minutes(3) };
        let text = "Too many wrong passwords. Try again";
        Self { key: format!("confirmation {}", digest(username)), budget, text }
    }

    /// Codes of an authenticator app and recovery codes of an account: 10 failures, then one per 3 minutes. Somebody who
    /// has the password guesses one of the three valid codes with a probability of 0.15 % a day.
    pub(super) fn second_factor(username: &str) -> Self {
        let budget = Budget { failures: 10, interval: Duration::minutes(3) };
        let text = "Too many wrong codes. Use a passkey, or try again";
        Self { key: format!("second-factor {}", digest(username)), budget, text }
    }
}

impl Subject {
    /// The primary key of the budget.
    pub(super) fn key(&self) -> &str {
        &self.key
    }
}

impl Accounts {
    /// Counts an attempt as failed until [`Self::refund`], so that concurrent attempts count too.
    ///
    /// # Errors
    /// 429 if the budget is spent; the attempt is not counted then.
    pub(super) async fn spend(&self, subject: &Subject) -> Result<(), Problem> {
        let now = self.context.now();
        match spend(&self.context.db, &subject.key, subject.budget, now).await.map_err(Error::from)? {
            None => Ok(()),
            Some(wait) => {
                let seconds = (wait + Duration::milliseconds(999)).num_seconds().max(1);
                let unit = if seconds == 1 { "second" } else { "seconds" };
                Err(Problem::rate_limited(format!("{} in {seconds} {unit}.", subject.text), seconds.unsigned_abs()))
            }
        }
    }

    /// Undoes the count of an attempt that succeeded or could not be checked.
    pub(super) async fn refund(&self, connection: &impl ConnectionTrait, subject: &Subject) -> Result<(), Error> {
        Ok(refund(&self.context.db, connection, &subject.key, subject.budget).await?)
    }
}
