//! People, sessions and API tokens.

use crate::authorization::{Role, Scope};
use crate::id::TokenId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A person's account as shown to them and to administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct User {
    /// Login name: `[a-z][a-z0-9._-]{0,31}`, never changes.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// Administrator or user.
    pub role: Role,
    /// A disabled account cannot log in; its tokens do not work.
    pub disabled: bool,
    /// The SSH public key offered in the reservation form, `""` when none.
    pub ssh_key: String,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// `POST /api/v1/session`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Credentials {
    /// Login name.
    pub username: String,
    /// Password.
    pub password: String,
}

/// Where to go after logging in: only ever a path of this site, and `/` where `to` is none.
pub fn destination(to: Option<&str>) -> &str {
    // Browsers read a backslash as a slash, and pass over tabs and line ends.
    let ours =
        |to: &&str| to.starts_with('/') && !to.starts_with("//") && !to.contains(|c: char| c == '\\' || c.is_control());
    to.filter(ours).unwrap_or("/")
}

/// A new account.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserInput {
    /// Login name: `[a-z][a-z0-9._-]{0,31}`.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// 10 to 200 characters.
    pub password: String,
    /// Administrator or user.
    pub role: Role,
}

/// A change to an account; absent fields stay.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct UserPatch {
    /// New e-mail address.
    pub email: Option<String>,
    /// New password, 10 to 200 characters; ends every session of the account, and deletes its API tokens when an administrator
    /// sets somebody else's.
    pub password: Option<String>,
    /// The current password: needed to change one's own.
    pub current_password: Option<String>,
    /// New role (administrators only).
    pub role: Option<Role>,
    /// Disable or enable (administrators only).
    pub disabled: Option<bool>,
    /// New SSH public key, `""` to remove.
    pub ssh_key: Option<String>,
}

/// Who am I: what the page needs to know of the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionInfo {
    /// The person.
    pub user: User,
    /// What this credential may do.
    pub scopes: Vec<Scope>,
    /// When the session ends; null for a token that does not.
    pub expires_at: Option<DateTime<Utc>>,
}

/// An API token as listed; the secret is never shown again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiToken {
    /// Its public id.
    pub id: TokenId,
    /// What its owner calls it.
    pub name: String,
    /// What it is good for.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops working; null = never.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// `POST /api/v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiTokenInput {
    /// 1 to 100 characters.
    pub name: String,
    /// All scopes of the person when absent.
    #[serde(default)]
    pub scopes: Option<Vec<Scope>>,
    /// In the future; never when absent.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

/// The answer to [`ApiTokenInput`]: the only time the token is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewApiToken {
    /// Its public id.
    pub id: TokenId,
    /// Its name.
    pub name: String,
    /// The secret, to be sent as `Authorization: Bearer`.
    pub token: String,
}

/// The administrator's first set-up, through the page.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetupInput {
    /// The one-time code of the link printed at start, unless the visit comes from this machine.
    pub code: Option<String>,
    /// Login name.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// 10 to 200 characters.
    pub password: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_leads_to_no_other_site() {
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
