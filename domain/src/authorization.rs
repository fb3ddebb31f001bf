//! Authorisation: all permission rules. Each use case of `service` calls [`authorize`] first.

use crate::id::TokenId;
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
    /// Sees everything, like an administrator, and changes nothing but the own account and tokens.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Self::Administrator, Self::User, Self::Auditor];

    /// Whether the role may read what belongs to other users, the delivery log and the settings of webhooks.
    pub fn reads_everything(self) -> bool {
        matches!(self, Self::Administrator | Self::Auditor)
    }

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
    /// The API token of the request; `None` for a session, and for an actor without a request.
    #[serde(default)]
    pub token: Option<ActorToken>,
}

/// The API token of an actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorToken {
    /// Public id.
    pub id: TokenId,
    /// The name that its owner chose.
    pub name: String,
}

/// The log-in session of an actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorSession {
    /// Public id.
    pub id: String,
    /// Time at which the user entered a credential, here or at an identity provider. The epoch if the provider does not
    /// state it.
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
    /// Read the audit log.
    ReadAuditLog,
    /// Read user accounts.
    ReadUsers,
    /// Change user accounts.
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
        Action::ReadCatalogue | Action::ReadReservation { .. } | Action::ReadWebhooks | Action::ReadAuditLog => {
            Scope::Read
        }
        // As wide as the changes of accounts: a token that may only read sees no e-mail addresses.
        Action::ReadUsers => Scope::Admin,
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
    let (is_auditor, reads_everything) = (actor.role == Role::Auditor, actor.role.reads_everything());
    let auditors_change_nothing =
        || Problem::forbidden("Auditors read everything and change nothing. Ask an administrator for another role.");
    match action {
        Action::ReadCatalogue | Action::ManageOwnTokens | Action::MarkNotifications => Ok(()),
        Action::ReadReservation { owner } if reads_everything || owner == actor.username => Ok(()),
        Action::Reserve | Action::RequestAccess | Action::WriteReservation { .. } if is_auditor => {
            Err(auditors_change_nothing())
        }
        Action::Reserve | Action::RequestAccess => Ok(()),
        Action::WriteReservation { owner } if admin || owner == actor.username => Ok(()),
        Action::ReadReservation { .. } | Action::WriteReservation { .. } => Err(Problem::not_found("reservation")),
        Action::ReadWebhooks | Action::ReadAuditLog | Action::ReadUsers if reads_everything => Ok(()),
        Action::ReadWebhooks | Action::ReadAuditLog | Action::ReadUsers => {
            Err(Problem::forbidden("Only administrators and auditors may do this. Ask an administrator."))
        }
        Action::WriteCatalogue | Action::DecideAccess | Action::WriteWebhooks | Action::ManageUsers if admin => Ok(()),
        Action::WriteCatalogue | Action::DecideAccess | Action::WriteWebhooks | Action::ManageUsers if is_auditor => {
            Err(auditors_change_nothing())
        }
        Action::WriteCatalogue | Action::DecideAccess | Action::WriteWebhooks | Action::ManageUsers => {
            Err(Problem::forbidden("Only administrators may do this. Ask an administrator."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::ProblemKind;
    use proptest::prelude::*;

    const OWNERS: [&str; 2] = ["alice", "bob"];

    fn actions(owner: &str) -> [Action<'_>; 14] {
        [
            Action::ReadCatalogue,
            Action::WriteCatalogue,
            Action::ReadReservation { owner },
            Action::Reserve,
            Action::WriteReservation { owner },
            Action::RequestAccess,
            Action::DecideAccess,
            Action::ReadWebhooks,
            Action::WriteWebhooks,
            Action::ReadAuditLog,
            Action::ReadUsers,
            Action::ManageUsers,
            Action::ManageOwnTokens,
            Action::MarkNotifications,
        ]
    }

    /// The rule as a table: the roles that may, for an object of the actor and for one of somebody else.
    fn permitted(role: Role, action: Action<'_>, is_own: bool) -> bool {
        use Role::{Administrator, Auditor, User};
        match action {
            Action::ReadCatalogue | Action::ManageOwnTokens | Action::MarkNotifications => true,
            Action::Reserve | Action::RequestAccess => matches!(role, Administrator | User),
            Action::ReadReservation { .. } => is_own || matches!(role, Administrator | Auditor),
            Action::WriteReservation { .. } => role == Administrator || (is_own && role == User),
            Action::ReadWebhooks | Action::ReadAuditLog | Action::ReadUsers => matches!(role, Administrator | Auditor),
            Action::WriteCatalogue | Action::DecideAccess | Action::WriteWebhooks | Action::ManageUsers => {
                role == Administrator
            }
        }
    }

    fn changes(action: Action<'_>) -> bool {
        !matches!(
            action,
            Action::ReadCatalogue
                | Action::ReadReservation { .. }
                | Action::ReadWebhooks
                | Action::ReadAuditLog
                | Action::ReadUsers
        )
    }

    proptest! {
        #[test]
        fn permission_needs_role_ownership_and_scope(
            role in proptest::sample::select(Role::ALL.to_vec()),
            owner in proptest::sample::select(OWNERS.to_vec()),
            scopes in proptest::sample::subsequence(Scope::ALL.to_vec(), 0..=3),
            n in 0..14_usize,
        ) {
            let action = actions(owner)[n];
            let actor = Actor { username: "alice".into(), role, scopes: scopes.clone(), session: None, token: None };
            let verdict = authorize(&actor, action);
            let full = authorize(&Actor { scopes: Scope::ALL.to_vec(), ..actor }, action);
            prop_assert_eq!(full.is_ok(), permitted(role, action, owner == "alice"));
            // A scope never permits what the role does not.
            prop_assert!(verdict.is_err() || full.is_ok());
            if scopes.contains(&Scope::Admin) {
                prop_assert_eq!(verdict.is_ok(), full.is_ok());
            }
            if scopes == [Scope::Read] && changes(action) || scopes.is_empty() {
                prop_assert_eq!(verdict.unwrap_err().kind, ProblemKind::Forbidden);
            }
        }
    }

    #[test]
    fn auditors_change_nothing_of_others() {
        let (role, scopes) = (Role::Auditor, Scope::ALL.to_vec());
        let actor = Actor { username: "dora".into(), role, scopes, session: None, token: None };
        for action in actions("alice").into_iter().filter(|action| changes(*action)) {
            let own = matches!(action, Action::ManageOwnTokens | Action::MarkNotifications);
            assert_eq!(authorize(&actor, action).is_ok(), own, "{action:?}");
        }
    }
}
