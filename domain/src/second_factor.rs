//! Second factors of accounts: passkeys, codes of an authenticator app, and recovery codes.

use crate::authorization::Role;
use crate::redacted_debug;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Number of recovery codes that are created at once.
pub const RECOVERY_CODES: usize = 10;
/// The public id of the authenticator app of an account, which has at most one.
pub const APP_ID: &str = "authenticator-app";
/// Maximum number of passkeys of one account.
pub const MAX_PASSKEYS: usize = 20;

/// The accounts that need a second factor.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum SecondFactorPolicy {
    /// No account. Users may still set one up.
    #[default]
    None,
    /// Administrators.
    Administrators,
    /// Every account.
    Everyone,
}

impl SecondFactorPolicy {
    /// Whether accounts with this role need a second factor.
    pub fn covers(self, role: Role) -> bool {
        match self {
            Self::None => false,
            Self::Administrators => role == Role::Administrator,
            Self::Everyone => true,
        }
    }
}

/// A passkey (WebAuthn credential), as listed for its owner and for administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Passkey {
    /// Its public id.
    pub id: String,
    /// The name that its owner chose.
    pub name: String,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it was last used; null before the first use.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// An authenticator app that shows codes (TOTP, RFC 6238).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuthenticatorApp {
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When one of its codes was last accepted. The code that added it counts.
    pub last_used_at: DateTime<Utc>,
}

/// The second factors of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecondFactors {
    /// Passkeys, oldest first.
    pub passkeys: Vec<Passkey>,
    /// The authenticator app; null if there is none.
    pub authenticator_app: Option<AuthenticatorApp>,
    /// Number of recovery codes that have not been used.
    pub recovery_codes_left: u32,
    /// Whether the settings require a second factor of this account. Its last one cannot be removed then.
    pub required: bool,
}

impl SecondFactors {
    /// Whether there is no second factor. Recovery codes alone are none.
    pub fn is_empty(&self) -> bool {
        self.passkeys.is_empty() && self.authenticator_app.is_none()
    }

    /// Number of second factors, without recovery codes.
    pub fn count(&self) -> usize {
        self.passkeys.len() + usize::from(self.authenticator_app.is_some())
    }
}

/// A log-in whose password was correct, and which needs a second factor. It has no session yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PendingLogIn {
    /// Whether a passkey can finish it.
    pub passkey: bool,
    /// Whether a code of the authenticator app can finish it.
    pub code: bool,
    /// Whether a recovery code can finish it.
    pub recovery_code: bool,
    /// The log-in must be finished before this time.
    pub expires_at: DateTime<Utc>,
}

/// `POST /api/v1/session/second-factor`: one of the fields.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SecondFactorInput {
    /// The six digits that the authenticator app shows.
    pub code: Option<String>,
    /// A recovery code. It can be used once.
    pub recovery_code: Option<String>,
}

redacted_debug!(SecondFactorInput {} hides { code, recovery_code });

/// `POST /api/v1/session/confirmation`: one of the fields.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ConfirmationInput {
    /// The current password.
    pub password: Option<String>,
    /// The six digits that the authenticator app shows.
    pub code: Option<String>,
}

redacted_debug!(ConfirmationInput {} hides { password, code });

/// The ways in which a user can confirm a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmationMethods {
    /// The current password.
    pub password: bool,
    /// A code of the authenticator app.
    pub code: bool,
    /// A passkey.
    pub passkey: bool,
}

/// A request to an authenticator (WebAuthn), for `navigator.credentials`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyRequest {
    /// Identifies the challenge, which expires and can be answered once.
    pub challenge: String,
    /// The options as JSON, with binary values in base64url.
    pub options: String,
}

/// The response of an authenticator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PasskeyResponse {
    /// The challenge of the request.
    pub challenge: String,
    /// The credential as JSON, with binary values in base64url.
    pub credential: String,
}

/// A QR code, for the attribute `d` of an SVG path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QrCode {
    /// Width and height in modules, with the quiet zone.
    pub size: i32,
    /// One square for each dark module.
    pub path: String,
}

/// The key of a new authenticator app. It has no effect until a code of the app is entered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AppEnrolment {
    /// Identifies the enrolment, which expires.
    pub challenge: String,
    /// The key in base32, for apps without a camera.
    pub key: String,
    /// The key as `otpauth` URL in a QR code.
    pub qr: QrCode,
}

/// The second factors after one was added.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FactorAdded {
    /// All second factors.
    pub factors: SecondFactors,
    /// New recovery codes, if the account had none. Only this response contains them.
    pub recovery_codes: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_covers_roles() {
        for role in Role::ALL {
            assert!(!SecondFactorPolicy::None.covers(role));
            assert!(SecondFactorPolicy::Everyone.covers(role));
            assert_eq!(SecondFactorPolicy::Administrators.covers(role), role == Role::Administrator);
        }
        assert_eq!("administrators".parse(), Ok(SecondFactorPolicy::Administrators));
    }
}
