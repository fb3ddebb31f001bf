//! Log-in at identity providers (OpenID Connect): the mapping of claims to an account, and the wire types.

use crate::authorization::Role;
use crate::validation;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Maximum length of a username.
const MAX_USERNAME: usize = 32;

/// The claims that a provider sends about a user, after their verification.
pub type Claims = Map<String, Value>;

/// Whether accounts may log in with a password.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, strum::IntoStaticStr, strum::EnumString,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum LocalLogIn {
    /// Every account with a password.
    #[default]
    On,
    /// Only the break-glass administrator.
    BreakGlass,
    /// No account.
    Off,
}

/// How the claims of one provider become an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRules {
    /// Claim with the username, by default `preferred_username`.
    pub username: String,
    /// Claim with the groups. A dot separates the names of nested objects.
    pub groups: Option<String>,
    /// Members of any of these groups are administrators.
    pub admin_groups: Vec<String>,
    /// Members of any of these groups who are no administrators are auditors.
    pub auditor_groups: Vec<String>,
    /// Only members of these groups, of `admin_groups` and of `auditor_groups` may log in. Empty: everybody may.
    pub user_groups: Vec<String>,
    /// Whether an e-mail address without `email_verified` is accepted.
    pub trusts_email: bool,
}

/// The reason why claims do not become an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// The claim with the username is absent or not a text.
    NoUsername {
        /// Name of the claim.
        claim: String,
    },
    /// The username has no form that Berth accepts.
    InvalidUsername {
        /// The value of the claim.
        value: String,
    },
    /// The user is in none of the groups that may log in.
    NotInGroup,
}

impl ClaimRules {
    /// Whether the groups decide on the role at every log-in: if a group of administrators or auditors is set.
    pub fn manages_roles(&self) -> bool {
        !self.admin_groups.is_empty() || !self.auditor_groups.is_empty()
    }

    /// The username of a new account, in the form of the contract.
    ///
    /// # Errors
    /// [`Rejection::NoUsername`], or [`Rejection::InvalidUsername`] if nothing usable is left of the value.
    pub fn username(&self, claims: &Claims) -> Result<String, Rejection> {
        let value = find(claims, &self.username).and_then(Value::as_str).filter(|value| !value.is_empty());
        let Some(value) = value else { return Err(Rejection::NoUsername { claim: self.username.clone() }) };
        to_username(value).ok_or_else(|| Rejection::InvalidUsername { value: value.to_owned() })
    }

    /// The role that the groups give; `None` if the provider does not manage roles.
    ///
    /// # Errors
    /// [`Rejection::NotInGroup`] if the user may not log in.
    pub fn role(&self, claims: &Claims) -> Result<Option<Role>, Rejection> {
        let groups = self.groups.as_deref().map(|claim| texts(find(claims, claim))).unwrap_or_default();
        let is_in = |wanted: &[String]| wanted.iter().any(|group| groups.contains(&group.as_str()));
        if is_in(&self.admin_groups) {
            return Ok(Some(Role::Administrator));
        }
        if is_in(&self.auditor_groups) {
            return Ok(Some(Role::Auditor));
        }
        if !self.user_groups.is_empty() && !is_in(&self.user_groups) {
            return Err(Rejection::NotInGroup);
        }
        Ok(self.manages_roles().then_some(Role::User))
    }

    /// The e-mail address, if it is valid and the provider has verified it.
    pub fn email<'a>(&self, claims: &'a Claims) -> Option<&'a str> {
        // Some providers send the text "true" (Amazon Cognito).
        let is_verified = match claims.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(text)) => text == "true",
            _ => self.trusts_email,
        };
        let email = claims.get("email").and_then(Value::as_str)?;
        (is_verified && validation::email(email).is_ok()).then_some(email)
    }

    /// Whether these claims contain everything that the rules read. Some providers send a part only from the user info
    /// endpoint.
    pub fn is_complete(&self, claims: &Claims) -> bool {
        let has_groups = self.groups.as_deref().is_none_or(|claim| find(claims, claim).is_some());
        has_groups && find(claims, &self.username).is_some() && claims.contains_key("email")
    }
}

/// The value of a claim. A name is first a member itself (`https://example.com/groups`), then a path of nested objects
/// (`realm_access.roles`).
fn find<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

/// The texts of a list, or a single text.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A username in the form `[a-z][a-z0-9._-]{0,31}`: without the domain of an address and in lower case; every other
/// character becomes a hyphen. `None` if it does not begin with a letter.
///
/// Two values can have the same username. That is safe, because accounts are found by issuer and subject only.
pub fn to_username(value: &str) -> Option<String> {
    let local = value.split('@').next().unwrap_or_default();
    let mut name = String::new();
    for c in local.trim().chars().map(|c| c.to_ascii_lowercase()) {
        let is_allowed = c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        name.push(if is_allowed { c } else { '-' });
        if name.len() == MAX_USERNAME {
            break;
        }
    }
    let name = name.trim_end_matches('-');
    validation::username(name).is_ok().then(|| name.to_owned())
}

/// A link between an account and a user of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Identity {
    /// Its public id.
    pub id: String,
    /// Display name of the provider; the issuer if the provider is not configured any more.
    pub provider: String,
    /// Issuer identifier of the provider, a URL.
    pub issuer: String,
    /// Identifier of the user at the provider (claim `sub`).
    pub subject: String,
    /// Time of the link.
    pub created_at: DateTime<Utc>,
    /// Time of the last log-in with it; null before the first one.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Links an account to a user of a provider (administrators).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct IdentityInput {
    /// Name of the provider in the settings, e.g. `corp`.
    pub provider: String,
    /// Identifier of the user at the provider (claim `sub`): 1 to 255 characters.
    pub subject: String,
}

/// Checks the identifier of a user at a provider: 1 to 255 visible characters (OpenID Connect Core §2).
///
/// # Errors
/// A message for the field.
pub fn validate_subject(subject: &str) -> Result<(), String> {
    let is_valid = (1..=255).contains(&subject.len()) && !subject.chars().any(char::is_control);
    if is_valid { Ok(()) } else { Err("Enter 1 to 255 characters: the claim sub of the user at the provider.".into()) }
}

/// A provider, for the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderView {
    /// Name in the settings and in paths.
    pub name: String,
    /// Name for people.
    pub display_name: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn rules() -> ClaimRules {
        ClaimRules {
            username: "preferred_username".into(),
            groups: Some("groups".into()),
            admin_groups: vec!["berth-admins".into()],
            auditor_groups: vec!["revision".into()],
            user_groups: Vec::new(),
            trusts_email: false,
        }
    }

    fn claims(value: Value) -> Claims {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn usernames_take_the_form_of_the_contract() {
        for (value, expected) in [
            ("alice", Some("alice")),
            ("Alice.Smith@corp.example", Some("alice.smith")),
            ("jörg müller", Some("j-rg-m-ller")),
            ("  bob  ", Some("bob")),
            ("CORP\\carol", Some("corp-carol")),
            ("a+b@corp.example", Some("a-b")),
            ("x---", Some("x")),
            ("1alice", None),
            ("@corp.example", None),
            ("", None),
            ("-", None),
            ("日本", None),
        ] {
            assert_eq!(to_username(value).as_deref(), expected, "{value:?}");
        }
        assert_eq!(to_username(&"a".repeat(100)).unwrap().len(), MAX_USERNAME);
    }

    #[test]
    fn missing_and_unusable_usernames_are_rejected_differently() {
        let rules = rules();
        for value in [json!({}), json!({"preferred_username": ""}), json!({"preferred_username": 7})] {
            let missing = rules.username(&claims(value)).unwrap_err();
            assert_eq!(missing, Rejection::NoUsername { claim: "preferred_username".into() });
        }
        let invalid = rules.username(&claims(json!({"preferred_username": "42"}))).unwrap_err();
        assert_eq!(invalid, Rejection::InvalidUsername { value: "42".into() });
    }

    #[test]
    fn groups_decide_on_the_role() {
        let rules = rules();
        let role = |value: Value| rules.role(&claims(value));
        assert_eq!(role(json!({"groups": ["x", "berth-admins"]})), Ok(Some(Role::Administrator)));
        assert_eq!(role(json!({"groups": "berth-admins"})), Ok(Some(Role::Administrator)));
        assert_eq!(role(json!({"groups": ["berth-admins2", 7]})), Ok(Some(Role::User)));
        assert_eq!(role(json!({})), Ok(Some(Role::User)), "a missing claim gives no rights");
        assert_eq!(role(json!({"groups": ["revision", "x"]})), Ok(Some(Role::Auditor)));
        assert_eq!(role(json!({"groups": ["revision", "berth-admins"]})), Ok(Some(Role::Administrator)));
        let unmanaged = ClaimRules { admin_groups: Vec::new(), auditor_groups: Vec::new(), ..rules.clone() };
        assert_eq!(unmanaged.role(&claims(json!({"groups": ["berth-admins"]}))), Ok(None));
    }

    #[test]
    fn only_members_of_allowed_groups_log_in() {
        let rules = ClaimRules { user_groups: vec!["staff".into()], ..rules() };
        let role = |value: Value| rules.role(&claims(value));
        assert_eq!(role(json!({"groups": ["staff"]})), Ok(Some(Role::User)));
        assert_eq!(role(json!({"groups": ["berth-admins"]})), Ok(Some(Role::Administrator)));
        assert_eq!(role(json!({"groups": ["revision"]})), Ok(Some(Role::Auditor)));
        for outside in [json!({"groups": ["guests"]}), json!({"groups": []}), json!({})] {
            assert_eq!(role(outside), Err(Rejection::NotInGroup));
        }
    }

    #[test]
    fn claim_names_are_members_or_paths() {
        let nested = claims(json!({"realm_access": {"roles": ["a"]}, "https://x.example/groups": ["b"]}));
        assert_eq!(texts(find(&nested, "realm_access.roles")), ["a"]);
        assert_eq!(texts(find(&nested, "https://x.example/groups")), ["b"]);
        assert_eq!(find(&nested, "realm_access.x"), None);
        assert_eq!(find(&nested, "realm_access.roles.x"), None);
    }

    #[test]
    fn only_verified_addresses_are_accepted() {
        let rules = rules();
        let trusting = ClaimRules { trusts_email: true, ..rules.clone() };
        for (value, strict, trusted) in [
            (json!({"email": "a@x.example", "email_verified": true}), true, true),
            (json!({"email": "a@x.example", "email_verified": "true"}), true, true),
            (json!({"email": "a@x.example"}), false, true),
            (json!({"email": "a@x.example", "email_verified": false}), false, false),
            (json!({"email": "nonsense", "email_verified": true}), false, false),
            (json!({"email_verified": true}), false, false),
        ] {
            let claims = claims(value.clone());
            assert_eq!(rules.email(&claims).is_some(), strict, "{value}");
            assert_eq!(trusting.email(&claims).is_some(), trusted, "{value}");
        }
    }

    proptest! {
        #[test]
        fn every_username_is_valid(value in any::<String>()) {
            if let Some(name) = to_username(&value) {
                prop_assert!(validation::username(&name).is_ok());
                prop_assert_eq!(to_username(&name), Some(name));
            }
        }

        #[test]
        fn nobody_outside_the_groups_is_an_administrator(groups in prop::collection::vec("[a-z-]{0,12}", 0..6)) {
            let is_member = groups.iter().any(|group| group == "berth-admins");
            let role = rules().role(&claims(json!({"groups": groups}))).unwrap();
            prop_assert_eq!(role == Some(Role::Administrator), is_member);
        }
    }
}
