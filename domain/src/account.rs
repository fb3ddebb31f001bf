//! Users, sessions and API tokens.

use crate::authorization::{self, Role, Scope};
use crate::id::TokenId;
use crate::ownership::{Ownership, ResourceKey};
use crate::redacted_debug;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A user account, as shown to its owner and to administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct User {
    /// Login name: `[a-z][a-z0-9._-]{0,31}`. It cannot be changed.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// Administrator or user.
    pub role: Role,
    /// A disabled account cannot log in. Disabling it ends its sessions and revokes its tokens.
    pub disabled: bool,
    /// The SSH public key offered in the reservation form, `""` when none.
    pub ssh_key: String,
    /// When the account was created.
    pub created_at: DateTime<Utc>,
    /// Whether its user can log in with a password. Otherwise the user logs in at an identity provider.
    #[serde(default = "yes")]
    pub has_password: bool,
    /// Name of the identity provider whose groups decide on the role; null if administrators do.
    #[serde(default)]
    pub role_provider: Option<String>,
}

/// Accounts of earlier releases have a password.
fn yes() -> bool {
    true
}

/// `POST /api/v1/session`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Credentials {
    /// Login name.
    pub username: String,
    /// Password.
    pub password: String,
}

redacted_debug!(Credentials { username } hides { password });

/// The path to open after log-in. Only paths of this site are accepted; anything else becomes `/` (open-redirect
/// protection).
pub fn destination(to: Option<&str>) -> &str {
    // Browsers treat a backslash as a slash and ignore tabs and line breaks.
    let ours =
        |to: &&str| to.starts_with('/') && !to.starts_with("//") && !to.contains(|c: char| c == '\\' || c.is_control());
    to.filter(ours).unwrap_or("/")
}

/// A new account.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserInput {
    /// Login name: `[a-z][a-z0-9._-]{0,31}`.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// 12 to 200 characters, not a common password, and without the username and the e-mail address.
    pub password: String,
    /// Administrator or user.
    pub role: Role,
}

redacted_debug!(UserInput { username, email, role } hides { password });

/// A change to an account; absent fields stay.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct UserPatch {
    /// New e-mail address.
    pub email: Option<String>,
    /// New password: 12 to 200 characters, not a common password, and without the username and the e-mail address. It
    /// ends the account's other sessions, and revokes its API tokens unless `keep_tokens` is true.
    pub password: Option<String>,
    /// Whether a new password keeps the account's API tokens. Absent: they are revoked.
    pub keep_tokens: Option<bool>,
    /// The current password. Required to change one's own password; also required to change one's own e-mail address or
    /// SSH key, unless the user logged in within the last 10 minutes.
    pub current_password: Option<String>,
    /// New role (administrators only).
    pub role: Option<Role>,
    /// Disable or enable (administrators only).
    pub disabled: Option<bool>,
    /// With `disabled: true`: what happens to the account's active reservations. `keep` when absent.
    pub reservations: Option<ReservationsOfDisabled>,
    /// New SSH public key, `""` to remove.
    pub ssh_key: Option<String>,
}

redacted_debug!(UserPatch { email, keep_tokens, role, disabled, reservations, ssh_key } hides { password, current_password });

/// What happens to the active reservations of an account that is disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReservationsOfDisabled {
    /// They stay active until they end.
    Keep,
    /// They are cancelled, each with the event `reservation.cancelled`.
    Cancel,
}

/// The current session: the user and the scopes of the credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionInfo {
    /// The person.
    pub user: User,
    /// The scopes of this credential.
    pub scopes: Vec<Scope>,
    /// When the session or token expires; null for a token without expiry.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether this session may do nothing but set up a second factor, which the settings require of the account.
    #[serde(default)]
    pub needs_second_factor: bool,
    /// The resource types and resources that the user owns. Empty for administrators, who manage all of them, and for
    /// auditors.
    #[serde(default)]
    pub owns: Ownership,
}

impl SessionInfo {
    /// Whether the user manages a resource with its reservations and access requests.
    pub fn manages(&self, resource: ResourceKey<'_>) -> bool {
        authorization::manages(self.user.role, &self.owns, resource)
    }

    /// Whether the user manages the webhooks of a resource type; `None` stands for every type.
    pub fn manages_webhooks_of(&self, resource_type: Option<&str>) -> bool {
        authorization::manages_webhooks_of(self.user.role, &self.owns, resource_type)
    }
}

/// An API token as listed, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiToken {
    /// Its public id.
    pub id: TokenId,
    /// The name that its owner chose.
    pub name: String,
    /// The scopes of the token.
    pub scopes: Vec<Scope>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it expires; null = never, for tokens of earlier releases.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// `POST /api/v1/tokens`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiTokenInput {
    /// 1 to 100 characters.
    pub name: String,
    /// All scopes of the person when absent.
    #[serde(default)]
    pub scopes: Option<Vec<Scope>>,
    /// In the future, at most `BERTH_TOKEN_MAX_DAYS` ahead (365 days by default). The latest possible time when absent.
    #[serde(default, deserialize_with = "crate::timestamp::deserialize_optional")]
    pub expires_at: Option<DateTime<Utc>>,
    /// The current password. Required unless the user logged in within the last 10 minutes.
    #[serde(default)]
    pub current_password: Option<String>,
}

redacted_debug!(ApiTokenInput { name, scopes, expires_at } hides { current_password });

/// A log-in session, as listed for its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogInSession {
    /// Its public id.
    pub id: String,
    /// Browser and operating system of the log-in, `""` when unknown.
    pub device: String,
    /// Address of the client at log-in, or its IPv6 /64 network; `""` when unknown.
    pub source: String,
    /// Time of the log-in.
    pub created_at: DateTime<Utc>,
    /// Time of the last use, to the minute; null for a session of an earlier release that has not been used since.
    pub last_used_at: Option<DateTime<Utc>>,
    /// The session ends at this time at the latest.
    pub expires_at: DateTime<Utc>,
    /// Whether this request belongs to it.
    pub current: bool,
}

/// The response to a new token. Only this response contains the token itself.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewApiToken {
    /// Its public id.
    pub id: TokenId,
    /// Its name.
    pub name: String,
    /// The secret, to be sent as `Authorization: Bearer`.
    pub token: String,
}

redacted_debug!(NewApiToken { id, name } hides { token });

/// The first administrator, created in the page when no account exists.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetupInput {
    /// The one-time code of the link printed at start; not required from the machine itself.
    pub code: Option<String>,
    /// Login name.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// 12 to 200 characters, not a common password, and without the username and the e-mail address.
    pub password: String,
}

redacted_debug!(SetupInput { username, email } hides { code, password });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_after_login_stays_on_this_site() {
        for ours in ["/", "/reservations?status=active", "/a//b", "/größe"] {
            assert_eq!(destination(Some(ours)), ours);
        }
        for foreign in
            ["", "x", "https://x.example", "//x.example", "/\\x.example", "/\t/x.example", "/a\r\nset-cookie: x"]
        {
            assert_eq!(destination(Some(foreign)), "/", "{foreign:?}");
        }
        assert_eq!(destination(None), "/");
    }
}
