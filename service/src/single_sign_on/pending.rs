//! A log-in that a browser has started and not finished.
//!
//! The browser keeps it in an encrypted cookie, so every replica can finish it and nothing is stored for strangers. The
//! cookie binds the log-in to the browser: a state that an attacker sends to somebody else has no cookie there.

use crate::secrets::{Cipher, SecretUse};
use chrono::{DateTime, Duration, Utc};
use domain::Problem;
use serde::{Deserialize, Serialize};

/// Time in which a log-in must be finished.
pub const PENDING_LIFETIME: Duration = Duration::minutes(10);

/// The reason for a visit to the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    /// A log-in.
    LogIn,
    /// A log-in for which the user must enter a credential at the provider, which confirms a change.
    Confirm,
    /// The link of this account.
    Link { username: String },
}

/// The content of the cookie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) provider: String,
    pub(super) state: String,
    pub(super) nonce: String,
    /// The PKCE verifier.
    pub(super) verifier: String,
    pub(super) purpose: Purpose,
    /// The path to open afterwards.
    pub(super) to: String,
    pub(super) started_at: DateTime<Utc>,
}

impl Pending {
    pub(super) fn seal(&self, cipher: &Cipher) -> Result<String, Problem> {
        let text = serde_json::to_string(self).map_err(|_| Problem::internal())?;
        cipher.encrypt(SecretUse::PendingLogIn, &text)
    }

    /// The log-in of a cookie; `None` if the cookie is not valid or has expired.
    pub(super) fn open(cipher: &Cipher, cookie: &str, now: DateTime<Utc>) -> Option<Self> {
        let pending: Self = serde_json::from_str(&cipher.try_decrypt(SecretUse::PendingLogIn, cookie)?).ok()?;
        let age = now - pending.started_at;
        (age < PENDING_LIFETIME && age > -PENDING_LIFETIME).then_some(pending)
    }

    pub(super) fn expires_at(&self) -> DateTime<Utc> {
        // A clock that was set back by less than the lifetime does not make a used state valid again.
        self.started_at + PENDING_LIFETIME + PENDING_LIFETIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::SecretFormat;

    #[test]
    fn cookie_is_valid_for_ten_minutes_and_cannot_be_changed() {
        let cipher = Cipher::new(&[1; 32].into(), &[], SecretFormat::Bound);
        let now = DateTime::<Utc>::from_timestamp(1_800_000_000, 0).unwrap();
        let pending = Pending {
            provider: "corp".into(),
            state: "s".into(),
            nonce: "n".into(),
            verifier: "v".into(),
            purpose: Purpose::Link { username: "alice".into() },
            to: "/".into(),
            started_at: now,
        };
        let cookie = pending.seal(&cipher).unwrap();
        assert_eq!(Pending::open(&cipher, &cookie, now + Duration::minutes(9)), Some(pending));
        assert_eq!(Pending::open(&cipher, &cookie, now + PENDING_LIFETIME), None);
        assert_eq!(Pending::open(&cipher, &cookie[..cookie.len() - 2], now), None);
        assert_eq!(
            Pending::open(&Cipher::new(&[2; 32].into(), &[], SecretFormat::Bound), &cookie, now),
            None,
            "another key"
        );
        let other = cipher.encrypt(SecretUse::KnownDevice, "{}").unwrap();
        assert_eq!(Pending::open(&cipher, &other, now), None, "a cookie of another purpose");
    }
}
