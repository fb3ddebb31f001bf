//! Authorisation: all permission rules. Each use case of `service` calls [`authorize`] first.

use crate::id::TokenId;
use crate::ownership::{Ownership, ResourceKey};
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
    /// Reserves resources; sees the calendar and their own reservations. Manages the resources that they own.
    User,
    /// Sees everything, like an administrator, and changes nothing but the own account and tokens. Ownership gives an
    /// auditor no further permission.
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
    /// The objects that they own. Read at the authentication, for the role [`Role::User`] only.
    #[serde(default)]
    pub owns: Ownership,
}

impl Actor {
    /// Whether they manage a resource with its reservations and access requests.
    pub fn manages(&self, resource: ResourceKey<'_>) -> bool {
        manages(self.role, &self.owns, resource)
    }

    /// Whether they manage the webhooks of a resource type; `None` stands for every type.
    pub fn manages_webhooks_of(&self, resource_type: Option<&str>) -> bool {
        manages_webhooks_of(self.role, &self.owns, resource_type)
    }

    /// Whether they are a user who owns something.
    fn is_owner(&self) -> bool {
        self.role == Role::User && !self.owns.is_empty()
    }
}

/// Whether a user manages a resource with its reservations and access requests: as an administrator or as an owner.
pub fn manages(role: Role, owns: &Ownership, resource: ResourceKey<'_>) -> bool {
    match role {
        Role::Administrator => true,
        Role::User => owns.has_resource(resource),
        Role::Auditor => false,
    }
}

/// Whether a user manages the webhooks of a resource type; `None` stands for every type, which only administrators manage.
pub fn manages_webhooks_of(role: Role, owns: &Ownership, resource_type: Option<&str>) -> bool {
    match role {
        Role::Administrator => true,
        Role::User => resource_type.is_some_and(|slug| owns.has_type(slug)),
        Role::Auditor => false,
    }
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
    /// Time at which the user last entered a credential, here or at an identity provider. The epoch if the provider does
    /// not state it.
    pub logged_in_at: DateTime<Utc>,
    /// Whether the account must set up a second factor before anything else.
    #[serde(default)]
    pub needs_second_factor: bool,
}

impl Actor {
    /// Rejects a session that may do nothing but set up a second factor.
    ///
    /// # Errors
    /// [`crate::ProblemKind::SecondFactorSetupRequired`].
    pub fn check_second_factor(&self) -> Result<(), Problem> {
        if self.session.as_ref().is_some_and(|session| session.needs_second_factor) {
            return Err(Problem::new(
                crate::ProblemKind::SecondFactorSetupRequired,
                "Your account needs a second factor. Set one up on the page under Settings → Account, then continue.",
            ));
        }
        Ok(())
    }
}

/// An operation that requires permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Read the catalogue and the calendar.
    ReadCatalogue,
    /// Change resource types, and the owners of types and resources.
    WriteCatalogue,
    /// Create, change or delete this resource.
    WriteResource {
        /// The resource.
        resource: ResourceKey<'a>,
    },
    /// Read the owners of this resource or resource type.
    ReadOwners {
        /// The resource, or [`ResourceKey::of_type`].
        resource: ResourceKey<'a>,
    },
    /// List the reservations that the actor may read.
    ListReservations,
    /// Read the full reservation.
    ReadReservation {
        /// Login name of the user who reserved.
        user: &'a str,
        /// The reserved resource.
        resource: ResourceKey<'a>,
    },
    /// Create a reservation for oneself.
    Reserve,
    /// Modify or cancel the reservation.
    WriteReservation {
        /// Login name of the user who reserved.
        user: &'a str,
        /// The reserved resource.
        resource: ResourceKey<'a>,
    },
    /// Request access to a resource.
    RequestAccess,
    /// Approve or deny an access request for this resource.
    DecideAccess {
        /// The requested resource.
        resource: ResourceKey<'a>,
    },
    /// Read some webhooks and deliveries: all of them, or those of owned resource types. Checked before an object is
    /// read, so that the response does not depend on its existence.
    ReadOwned,
    /// Change some webhooks, deliveries and access requests: all of them, or those of owned objects. Checked before an
    /// object is read, as [`Action::ReadOwned`].
    WriteOwned,
    /// Read a webhook and its deliveries.
    ReadWebhook {
        /// The only resource type of the webhook; `None` = every type.
        resource_type: Option<&'a str>,
    },
    /// Change, test, pause, delete a webhook; redeliver its deliveries.
    WriteWebhook {
        /// The only resource type of the webhook; `None` = every type.
        resource_type: Option<&'a str>,
    },
    /// Save a webhook with this filter.
    SetWebhookFilter {
        /// The only resource type of the webhook; `None` = every type.
        resource_type: Option<&'a str>,
    },
    /// Read the audit log.
    ReadAuditLog,
    /// Read the entries of the audit log about one resource, resource type, reservation or webhook.
    ReadChanges {
        /// The resource, or the resource type of the webhook; `None` for a webhook of every type.
        resource: Option<ResourceKey<'a>>,
    },
    /// Read user accounts and groups.
    ReadUsers,
    /// Change user accounts and groups.
    ManageUsers,
    /// Create, list and revoke one's own API tokens and sessions.
    ManageOwnTokens,
    /// Set up and list one's own second factors.
    ManageOwnFactors,
    /// Mark one's own notifications as read.
    MarkNotifications,
    /// Turn e-mails about alerts to oneself on or off.
    SetAlertPreferences,
    /// Read the channels of alerts.
    ReadAlertChannels,
    /// Change and test the channels of alerts, and the rules for all webhooks.
    ManageAlerts,
}

impl Action<'_> {
    /// The scope that an API token needs.
    fn scope(self) -> Scope {
        match self {
            Action::ReadCatalogue
            | Action::ReadOwners { .. }
            | Action::ListReservations
            | Action::ReadReservation { .. }
            | Action::ReadOwned
            | Action::ReadWebhook { .. }
            | Action::ReadAuditLog
            | Action::ReadAlertChannels
            | Action::ReadChanges { .. } => Scope::Read,
            // As wide as the changes of accounts: a token that may only read sees no e-mail addresses.
            Action::ReadUsers => Scope::Admin,
            Action::Reserve
            | Action::WriteReservation { .. }
            | Action::RequestAccess
            | Action::MarkNotifications
            | Action::SetAlertPreferences => Scope::Reserve,
            Action::WriteCatalogue
            | Action::WriteResource { .. }
            | Action::DecideAccess { .. }
            | Action::WriteOwned
            | Action::WriteWebhook { .. }
            | Action::SetWebhookFilter { .. }
            | Action::ManageUsers
            | Action::ManageAlerts
            | Action::ManageOwnTokens
            | Action::ManageOwnFactors => Scope::Admin,
        }
    }
}

/// Decides whether `actor` may perform `action`.
///
/// # Errors
/// [`crate::ProblemKind::Forbidden`] with the reason and the remedy. [`crate::ProblemKind::NotFound`] for other users'
/// reservations, and for webhooks and access requests of objects that other owners own: their existence is not
/// disclosed. [`crate::ProblemKind::Invalid`] for a webhook filter beyond the owned resource types.
/// [`crate::ProblemKind::SecondFactorSetupRequired`] for everything but [`Action::ManageOwnFactors`], if the account must
/// set up a second factor first.
pub fn authorize(actor: &Actor, action: Action<'_>) -> Result<(), Problem> {
    if action != Action::ManageOwnFactors {
        actor.check_second_factor()?;
    }
    let required = action.scope();
    let holds = |scope: Scope| actor.scopes.contains(&scope);
    // Every wider scope includes reading: a token that may reserve must be able to read its reservations.
    let scoped = holds(required) || holds(Scope::Admin) || (required == Scope::Read && holds(Scope::Reserve));
    if !scoped {
        return Err(Problem::forbidden(format!(
            "This API token does not have the scope \"{}\". Create one that has it in Settings → API tokens.",
            required.as_str()
        )));
    }
    let (admin, reads_everything) = (actor.role == Role::Administrator, actor.role.reads_everything());
    let permitted = match action {
        Action::ReadCatalogue
        | Action::ListReservations
        | Action::ManageOwnTokens
        | Action::ManageOwnFactors
        | Action::MarkNotifications
        | Action::SetAlertPreferences => true,
        Action::Reserve | Action::RequestAccess => actor.role != Role::Auditor,
        Action::ReadReservation { user, resource } => {
            reads_everything || user == actor.username || actor.manages(resource)
        }
        Action::WriteReservation { user, resource } => {
            (user == actor.username && actor.role != Role::Auditor) || actor.manages(resource)
        }
        Action::WriteResource { resource } | Action::DecideAccess { resource } => actor.manages(resource),
        Action::ReadOwners { resource } => reads_everything || actor.manages(resource),
        Action::ReadOwned => reads_everything || actor.is_owner(),
        Action::WriteOwned => admin || actor.is_owner(),
        Action::ReadWebhook { resource_type } => reads_everything || actor.manages_webhooks_of(resource_type),
        Action::WriteWebhook { resource_type } | Action::SetWebhookFilter { resource_type } => {
            actor.manages_webhooks_of(resource_type)
        }
        Action::ReadChanges { resource } => {
            reads_everything || resource.is_some_and(|resource| actor.manages(resource))
        }
        Action::ReadAuditLog | Action::ReadUsers | Action::ReadAlertChannels => reads_everything,
        Action::WriteCatalogue | Action::ManageUsers | Action::ManageAlerts => admin,
    };
    if permitted { Ok(()) } else { Err(refusal(actor, action)) }
}

/// The problem of a refused action.
fn refusal(actor: &Actor, action: Action<'_>) -> Problem {
    if actor.role == Role::Auditor {
        return Problem::forbidden(
            "Auditors read everything and change nothing. Ask an administrator for another role.",
        );
    }
    match action {
        Action::ReadReservation { .. } | Action::WriteReservation { .. } => Problem::not_found("reservation"),
        Action::ReadWebhook { .. } | Action::WriteWebhook { .. } if actor.is_owner() => Problem::not_found("webhook"),
        Action::DecideAccess { .. } if actor.is_owner() => Problem::not_found("access request"),
        Action::SetWebhookFilter { .. } if actor.is_owner() => Problem::field("resource_type", filter_remedy(actor)),
        Action::ReadAuditLog | Action::ReadUsers | Action::ReadAlertChannels => {
            Problem::forbidden("Only administrators and auditors may do this. Ask an administrator.")
        }
        Action::ReadOwners { .. } | Action::ReadOwned | Action::ReadWebhook { .. } | Action::ReadChanges { .. } => {
            Problem::forbidden("Only administrators, auditors and owners may do this. Ask an administrator.")
        }
        Action::WriteResource { .. }
        | Action::DecideAccess { .. }
        | Action::WriteOwned
        | Action::WriteWebhook { .. }
        | Action::SetWebhookFilter { .. } => {
            Problem::forbidden("Only administrators and owners may do this. Ask an administrator.")
        }
        _ => Problem::forbidden("Only administrators may do this. Ask an administrator."),
    }
}

/// The remedy for a webhook filter that is wider than the types that the actor owns.
fn filter_remedy(actor: &Actor) -> String {
    let types: Vec<&str> = actor.owns.resource_types.iter().map(String::as_str).collect();
    if types.is_empty() {
        return "You own single resources, and webhooks serve a whole resource type. Ask an administrator to register the \
                webhook or to make you an owner of the type."
            .into();
    }
    format!(
        "Choose a resource type that you own: {}. Ask an administrator for a webhook of other types.",
        types.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::ProblemKind;
    use proptest::prelude::*;

    /// What the actor owns, relative to the object of an action.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Relation {
        /// They own its resource type.
        OfType,
        /// They own its resource, but not the type.
        OfResource,
        /// They own objects of another type.
        OfOthers,
        /// They own nothing.
        Nothing,
    }

    use Relation::{Nothing, OfOthers, OfResource, OfType};

    const RELATIONS: [Relation; 4] = [OfType, OfResource, OfOthers, Nothing];
    const USERS: [&str; 2] = ["alice", "bob"];
    const RESOURCE: ResourceKey<'static> = ResourceKey { resource_type: "gpu", id: Some(7) };

    fn owns(relation: Relation) -> Ownership {
        let (types, resources): (&[&str], &[i64]) = match relation {
            OfType => (&["gpu"], &[]),
            OfResource => (&[], &[7]),
            OfOthers => (&["fpga"], &[8]),
            Nothing => (&[], &[]),
        };
        Ownership {
            resource_types: types.iter().map(ToString::to_string).collect(),
            resources: resources.iter().copied().collect(),
        }
    }

    fn actor(role: Role, relation: Relation, scopes: Vec<Scope>) -> Actor {
        Actor { username: "alice".into(), role, scopes, session: None, token: None, owns: owns(relation) }
    }

    /// Every action on the resource 7 of the type `gpu`, with a webhook of that type and a webhook of all types.
    fn actions(user: &str) -> Vec<Action<'_>> {
        let (resource, of_type) = (RESOURCE, ResourceKey::of_type("gpu"));
        let mut actions = vec![
            Action::ReadCatalogue,
            Action::WriteCatalogue,
            Action::WriteResource { resource },
            Action::WriteResource { resource: of_type },
            Action::ReadOwners { resource },
            Action::ReadOwners { resource: of_type },
            Action::ListReservations,
            Action::ReadReservation { user, resource },
            Action::Reserve,
            Action::WriteReservation { user, resource },
            Action::RequestAccess,
            Action::DecideAccess { resource },
            Action::ReadOwned,
            Action::WriteOwned,
            Action::ReadAuditLog,
            Action::ReadChanges { resource: Some(resource) },
            Action::ReadChanges { resource: Some(of_type) },
            Action::ReadChanges { resource: None },
            Action::ReadUsers,
            Action::ManageUsers,
            Action::ManageOwnTokens,
            Action::ManageOwnFactors,
            Action::MarkNotifications,
            Action::SetAlertPreferences,
            Action::ReadAlertChannels,
            Action::ManageAlerts,
        ];
        for resource_type in [Some("gpu"), None] {
            actions.extend([
                Action::ReadWebhook { resource_type },
                Action::WriteWebhook { resource_type },
                Action::SetWebhookFilter { resource_type },
            ]);
        }
        actions
    }

    /// The rule as a table: the roles and relations that may.
    fn permitted(role: Role, relation: Relation, action: Action<'_>) -> bool {
        use Role::{Administrator, Auditor, User};
        let (admin, reads_everything) = (role == Administrator, role != User);
        let owner_of = |resource: ResourceKey<'_>| {
            role == User && (relation == OfType || (relation == OfResource && resource.id == Some(7)))
        };
        let owner_of_webhook =
            |resource_type: Option<&str>| role == User && relation == OfType && resource_type.is_some();
        match action {
            Action::ReadCatalogue
            | Action::ListReservations
            | Action::ManageOwnTokens
            | Action::ManageOwnFactors
            | Action::MarkNotifications
            | Action::SetAlertPreferences => true,
            Action::Reserve | Action::RequestAccess => role != Auditor,
            Action::ReadReservation { user, resource } => reads_everything || user == "alice" || owner_of(resource),
            Action::WriteReservation { user, resource } => {
                admin || (role == User && user == "alice") || owner_of(resource)
            }
            Action::WriteResource { resource } | Action::DecideAccess { resource } => admin || owner_of(resource),
            Action::ReadOwners { resource } => reads_everything || owner_of(resource),
            Action::ReadOwned => reads_everything || relation != Nothing,
            Action::WriteOwned => admin || (role == User && relation != Nothing),
            Action::ReadWebhook { resource_type } => reads_everything || owner_of_webhook(resource_type),
            Action::WriteWebhook { resource_type } | Action::SetWebhookFilter { resource_type } => {
                admin || owner_of_webhook(resource_type)
            }
            Action::ReadChanges { resource } => reads_everything || resource.is_some_and(owner_of),
            Action::ReadAuditLog | Action::ReadUsers | Action::ReadAlertChannels => reads_everything,
            Action::WriteCatalogue | Action::ManageUsers | Action::ManageAlerts => admin,
        }
    }

    fn changes(action: Action<'_>) -> bool {
        action.scope() != Scope::Read && action != Action::ReadUsers
    }

    proptest! {
        #[test]
        fn permission_needs_role_ownership_and_scope(
            role in proptest::sample::select(Role::ALL.to_vec()),
            relation in proptest::sample::select(RELATIONS.to_vec()),
            user in proptest::sample::select(USERS.to_vec()),
            scopes in proptest::sample::subsequence(Scope::ALL.to_vec(), 0..=3),
        ) {
            for action in actions(user) {
                let verdict = authorize(&actor(role, relation, scopes.clone()), action);
                let full = authorize(&actor(role, relation, Scope::ALL.to_vec()), action);
                prop_assert_eq!(full.is_ok(), permitted(role, relation, action), "{:?}", action);
                // A scope never permits what role and ownership do not.
                prop_assert!(verdict.is_err() || full.is_ok());
                if scopes.contains(&Scope::Admin) {
                    prop_assert_eq!(verdict.is_ok(), full.is_ok());
                }
                if scopes == [Scope::Read] && changes(action) || scopes.is_empty() {
                    prop_assert_eq!(verdict.unwrap_err().kind, ProblemKind::Forbidden);
                }
            }
        }
    }

    #[test]
    fn session_without_required_second_factor_may_only_set_one_up() {
        for role in Role::ALL {
            let session =
                ActorSession { id: "ses_1".into(), logged_in_at: DateTime::UNIX_EPOCH, needs_second_factor: true };
            let actor = Actor { session: Some(session), ..actor(role, OfType, Scope::ALL.to_vec()) };
            for action in actions("alice") {
                let verdict = authorize(&actor, action).map_err(|problem| problem.kind);
                let expected = if action == Action::ManageOwnFactors {
                    Ok(())
                } else {
                    Err(ProblemKind::SecondFactorSetupRequired)
                };
                assert_eq!(verdict, expected, "{action:?}");
            }
        }
    }

    #[test]
    fn auditors_change_nothing_of_others_even_as_owners() {
        for relation in RELATIONS {
            let auditor = actor(Role::Auditor, relation, Scope::ALL.to_vec());
            for action in actions("bob").into_iter().filter(|action| changes(*action)) {
                let own = matches!(
                    action,
                    Action::ManageOwnTokens
                        | Action::ManageOwnFactors
                        | Action::MarkNotifications
                        | Action::SetAlertPreferences
                );
                assert_eq!(authorize(&auditor, action).is_ok(), own, "{action:?}");
            }
        }
    }

    #[test]
    fn objects_of_other_owners_are_hidden_and_a_wider_filter_names_the_field() {
        let kind =
            |relation, action| authorize(&actor(Role::User, relation, Scope::ALL.to_vec()), action).unwrap_err().kind;
        let webhook = Action::WriteWebhook { resource_type: Some("gpu") };
        assert_eq!(kind(OfOthers, webhook), ProblemKind::NotFound);
        assert_eq!(kind(Nothing, webhook), ProblemKind::Forbidden);
        assert_eq!(kind(OfOthers, Action::DecideAccess { resource: RESOURCE }), ProblemKind::NotFound);
        assert_eq!(kind(Nothing, Action::DecideAccess { resource: RESOURCE }), ProblemKind::Forbidden);
        for relation in [OfType, OfResource, OfOthers] {
            let owner = actor(Role::User, relation, Scope::ALL.to_vec());
            let problem = authorize(&owner, Action::SetWebhookFilter { resource_type: None }).unwrap_err();
            assert!(problem.message_for("resource_type").is_some(), "{problem:?}");
        }
    }
}
