//! Owners of resource types and of single resources, and groups of users.

use crate::id::{GroupId, ResourceId};
use crate::problem::{Problem, Validator};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Maximum number of members of a group.
pub const MAX_MEMBERS: usize = 1_000;
/// Maximum number of users, and of groups, that own one resource type or resource.
pub const MAX_OWNERS: usize = 100;

/// The objects that a user owns, in person or through groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ownership {
    /// Slugs of the owned resource types. All their resources are owned too.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub resource_types: BTreeSet<String>,
    /// Ids of resources that are owned one by one.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<i64>))]
    pub resources: BTreeSet<ResourceId>,
}

impl Ownership {
    /// Whether nothing is owned.
    pub fn is_empty(&self) -> bool {
        self.resource_types.is_empty() && self.resources.is_empty()
    }

    /// Whether the resource type with this slug is owned.
    pub fn has_type(&self, slug: &str) -> bool {
        self.resource_types.contains(slug)
    }

    /// Whether a resource is owned, by its type or by its id.
    pub fn has_resource(&self, resource: ResourceKey<'_>) -> bool {
        self.has_type(resource.resource_type) || resource.id.is_some_and(|id| self.resources.contains(&id))
    }
}

/// A resource, as far as its owners depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceKey<'a> {
    /// Slug of its type.
    pub resource_type: &'a str,
    /// Its id; `None` for a new resource, which only owners of its type own.
    pub id: Option<ResourceId>,
}

impl<'a> ResourceKey<'a> {
    /// An existing resource.
    pub fn new(resource_type: &'a str, id: ResourceId) -> Self {
        Self { resource_type, id: Some(id) }
    }

    /// A resource that is about to be created, or the resource type itself.
    pub fn of_type(resource_type: &'a str) -> Self {
        Self { resource_type, id: None }
    }
}

/// A group of users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Group {
    /// A positive integer.
    pub id: GroupId,
    /// Its name, which no other group has.
    pub name: String,
    /// Its purpose; `""` if not given.
    pub description: String,
    /// Login names of its members, in alphabetical order.
    pub members: Vec<String>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
}

/// A new group.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GroupInput {
    /// 1 to 100 characters.
    pub name: String,
    /// At most 1,000 characters; `""` when absent.
    #[serde(default)]
    pub description: Option<String>,
    /// Login names of the members, at most 1,000; none when absent.
    #[serde(default)]
    pub members: Option<Vec<String>>,
}

/// A change to a group; absent fields are unchanged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct GroupPatch {
    /// 1 to 100 characters.
    pub name: Option<String>,
    /// At most 1,000 characters.
    pub description: Option<String>,
    /// Login names of all members, at most 1,000. The list replaces the present one.
    pub members: Option<Vec<String>>,
}

/// A group that owns an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnerGroup {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: String,
}

/// The owners of a resource type or of a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Owners {
    /// Login names of users, in alphabetical order.
    pub users: Vec<String>,
    /// Groups by name. Each member is an owner.
    pub groups: Vec<OwnerGroup>,
}

/// The new owners of a resource type or of a resource. They replace the present ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OwnersInput {
    /// Login names of users, at most 100.
    #[serde(default)]
    pub users: Vec<String>,
    /// Ids of groups, at most 100.
    #[serde(default)]
    pub groups: Vec<GroupId>,
}

/// Checks the fields of a group.
///
/// # Errors
/// [`crate::ProblemKind::Invalid`] naming `name`, `description` or `members`.
pub fn check_group(name: &str, description: &str, members: &[String]) -> Result<(), Problem> {
    let mut validator = Validator::new();
    validator.check("name", crate::validation::name(name));
    validator.check("description", crate::validation::text(description, 1_000));
    if members.len() > MAX_MEMBERS {
        validator.error("members", format!("Choose at most {MAX_MEMBERS} members."));
    }
    validator.finish()
}

/// Checks the number of owners.
///
/// # Errors
/// [`crate::ProblemKind::Invalid`] naming `users` or `groups`.
pub fn check_owners(input: &OwnersInput) -> Result<(), Problem> {
    let mut validator = Validator::new();
    for (field, count) in [("users", input.users.len()), ("groups", input.groups.len())] {
        if count > MAX_OWNERS {
            validator.error(field, format!("Choose at most {MAX_OWNERS}. Put more users into a group."));
        }
    }
    validator.finish()
}
