//! Authorisation: all permission rules. Each use case of `service` calls [`authorize`] first.

use crate::problem::Problem;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The role of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Manages the catalogue, webhooks and accounts; sees everything.
    Administrator,
    /// Reserves resources; sees the calendar and their own reservations.
    User,
}

impl Role {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The role with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A permission of an API token. A session has every scope.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::EnumString,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Scope {
    /// Read everything that the user may read.
    Read,
    /// Create, change and cancel reservations and access requests.
    Reserve,
    /// Everything that the user may do, including webhooks and accounts.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 3] = [Self::Read, Self::Reserve, Self::Admin];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The authenticated user behind a request, by session or API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The login name.
    pub username: String,
    /// Their role.
    pub role: Role,
    /// The scopes of the credential; a session has [`Scope::ALL`].
    pub scopes: Vec<Scope>,
    /// The log-in session of the request; `None` for an API token.
    #[serde(default)]
    pub session: Option<ActorSession>,
}

/// The log-in session of an actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorSession {
    /// Public id.
    pub id: String,
    /// Time of the log-in.
    pub logged_in_at: DateTime<Utc>,
}

/// An operation that requires permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Read the catalogue and the calendar.
    ReadCatalogue,
    /// Change resource types and resources.
    WriteCatalogue,
    /// Read the full reservation of this owner.
    ReadReservation {
        /// Login name of the user who reserved.
        owner: &'a str,
    },
    /// Create a reservation for oneself.
    Reserve,
    /// Modify or cancel the reservation of this owner.
    WriteReservation {
        /// Login name of the user who reserved.
        owner: &'a str,
    },
    /// Request access to a resource.
    RequestAccess,
    /// Approve or deny access requests.
    DecideAccess,
    /// Read webhooks and the delivery log.
    ReadWebhooks,
    /// Create, change, test, pause webhooks; redeliver.
    WriteWebhooks,
    /// Read and change user accounts.
    ManageUsers,
    /// Create, list and revoke one's own API tokens and sessions.
    ManageOwnTokens,
    /// Mark one's own notifications as read.
    MarkNotifications,
}

/// Decides whether `actor` may perform `action`.
///
/// # Errors
/// [`crate::ProblemKind::Forbidden`] with the reason and the remedy. [`crate::ProblemKind::NotFound`] for other users'
/// reservations, whose existence is not disclosed.
pub fn authorize(actor: &Actor, action: Action<'_>) -> Result<(), Problem> {
    let admin = actor.role == Role::Administrator;
    let required = match action {
        Action::ReadCatalogue | Action::ReadReservation { .. } | Action::ReadWebhooks => Scope::Read,
        Action::Reserve | Action::WriteReservation { .. } | Action::RequestAccess | Action::MarkNotifications => {
            Scope::Reserve
        }
        Action::WriteCatalogue
        | Action::DecideAccess
        | Action::WriteWebhooks
        | Action::ManageUsers
        | Action::ManageOwnTokens => Scope::Admin,
    };
    let holds = |scope: Scope| actor.scopes.contains(&scope);
    // Every wider scope includes reading: a token that may reserve must be able to read its reservations.
    let scoped = holds(required) || holds(Scope::Admin) || (required == Scope::Read && holds(Scope::Reserve));
    if !scoped {
        return Err(Problem::forbidden(format!(
            "This API token does not have the scope \"{}\". Create one that has it in Settings → API tokens.",
            required.as_str()
        )));
    }
    match action {
        Action::ReadCatalogue
        | Action::Reserve
        | Action::RequestAccess
        | Action::ManageOwnTokens
        | Action::MarkNotifications => Ok(()),
        Action::ReadReservation { owner } | Action::WriteReservation { owner } => {
            if admin || owner == actor.username {
                Ok(())
            } else {
                Err(Problem::not_found("reservation"))
            }
        }
        Action::WriteCatalogue
        | Action::DecideAccess
        | Action::ReadWebhooks
        | Action::WriteWebhooks
        | Action::ManageUsers => {
            if admin {
                Ok(())
            } else {
                Err(Problem::forbidden("Only administrators may do this. Ask an administrator."))
            }
        }
    }
}
