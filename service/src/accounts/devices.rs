//! Known devices: an encrypted cookie proves that somebody has logged in to an account with this browser.
//!
//! A known device has its own budget of failed log-ins and reserved hashing capacity, so that guesses from elsewhere do
//! not lock its user out. The cookie is no credential: it does not replace the password.

use super::Accounts;
use crate::secrets::{SecretUse, random};
use chrono::{DateTime, Duration, Utc};
use domain::Problem;

/// Time after a log-in in which its device stays known.
pub const DEVICE_LIFETIME: Duration = Duration::days(365);

/// A device on which its user has logged in before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownDevice {
    /// Random id of the device.
    pub(super) id: String,
}

impl Accounts {
    /// The device of a cookie, if the cookie was issued for this account and has not expired.
    pub(super) fn known_device(&self, cookie: Option<&str>, username: &str) -> Option<KnownDevice> {
        let text = self.cipher.try_decrypt(SecretUse::KnownDevice, cookie?)?;
        let mut parts = text.splitn(3, ' ');
        let (issued_at, id, holder) = (parts.next()?, parts.next()?, parts.next()?);
        let issued_at = DateTime::<Utc>::from_timestamp_millis(issued_at.parse().ok()?)?;
        (holder == username && self.context.now() - issued_at < DEVICE_LIFETIME)
            .then(|| KnownDevice { id: id.to_owned() })
    }

    /// The cookie of a device on which the user has logged in just now. A known device keeps its id, and so its budget.
    pub(super) fn device_cookie(&self, known: Option<KnownDevice>, username: &str) -> Result<String, Problem> {
        let id = known.map_or_else(|| hex::encode(random::<16>()), |device| device.id);
        self.cipher
            .encrypt(SecretUse::KnownDevice, &format!("{} {id} {username}", self.context.now().timestamp_millis()))
    }
}
