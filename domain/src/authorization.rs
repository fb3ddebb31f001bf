//! Who may do what: the one place for authorisation rules. `service` asks first thing in each use case.

use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// What a person is in Berth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs the catalogue, the webhooks and the accounts; sees everything.
    Administrator,
    /// Reserves; sees the calendar and their own reservations.
    User,
}

impl Role {
    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::User => "user",
        }
    }

    /// The role with this wire name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "administrator" => Some(Self::Administrator),
            "user" => Some(Self::User),
            _ => None,
        }
    }
}

/// What an API token is limited to; a session has every scope of its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Read everything the person may read.
    Read,
    /// Make, change and cancel reservations and access requests.
    Reserve,
    /// Everything the person may do, webhooks and accounts included.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 3] = [Self::Read, Self::Reserve, Self::Admin];

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Reserve => "reserve",
            Self::Admin => "admin",
        }
    }
}

/// Who asks: an authenticated person, by session or token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The login name.
    pub username: String,
    /// Their role.
    pub role: Role,
    /// What the credential is good for; a session has [`Scope::ALL`].
    pub scopes: Vec<Scope>,
}

/// An act that needs a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// See the catalogue and the calendar.
    ReadCatalogue,
    /// Change resource types and resources.
    WriteCatalogue,
    /// See the reservation of this owner in full.
    ReadReservation {
        /// Login name of the person who reserved.
        owner: &'a str,
    },
    /// Reserve for oneself.
    Reserve,
    /// Modify or cancel the reservation of this owner.
    WriteReservation {
        /// Login name of the person who reserved.
        owner: &'a str,
    },
    /// Ask for access to a resource.
    RequestAccess,
    /// Approve or deny access requests.
    DecideAccess,
    /// See webhooks and the delivery log.
    ReadWebhooks,
    /// Create, change, test, pause webhooks; redeliver.
    WriteWebhooks,
    /// See and change user accounts.
    ManageUsers,
    /// Make, list and revoke one's own API tokens.
    ManageOwnTokens,
}

/// Whether `actor` may do `action`.
///
/// # Errors
/// [`crate::ProblemKind::Forbidden`] with the reason and the remedy; [`crate::ProblemKind::NotFound`] where even the
/// existence of the thing is not theirs to know (other people's reservations).
pub fn authorize(actor: &Actor, action: Action<'_>) -> Result<(), Problem> {
    let admin = actor.role == Role::Administrator;
    let needed = match action {
        Action::ReadCatalogue | Action::ReadReservation { .. } | Action::ReadWebhooks => Scope::Read,
        Action::Reserve | Action::WriteReservation { .. } | Action::RequestAccess => Scope::Reserve,
        Action::WriteCatalogue
        | Action::DecideAccess
        | Action::WriteWebhooks
        | Action::ManageUsers
        | Action::ManageOwnTokens => Scope::Admin,
    };
    let holds = |scope: Scope| actor.scopes.contains(&scope);
    // Reading is part of every wider scope: a token that may reserve must see what it reserved.
    let scoped = holds(needed) || holds(Scope::Admin) || (needed == Scope::Read && holds(Scope::Reserve));
    if !scoped {
        return Err(Problem::forbidden(format!(
            "This API token lacks the scope \"{}\". Make one that has it under Settings → API tokens.",
            needed.as_str()
        )));
    }
    match action {
        Action::ReadCatalogue | Action::Reserve | Action::RequestAccess | Action::ManageOwnTokens => Ok(()),
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
                Err(Problem::forbidden("Only administrators may do this."))
            }
        }
    }
}
