//! Ownership: the objects that a user owns, in person or through groups, and what follows for lists.
//!
//! [`visibility`] has the objects that an actor may see, as conditions of queries. The rules are in `domain::authorization`.
//! The objects that a user owns are read with the credential and cached with it, so that a request needs no statement for
//! them. `crate::groups` changes groups and owners and invalidates the cached credentials on every replica; open live feeds
//! check theirs again.

pub(crate) mod visibility;

use crate::Result;
use crate::db::column::Text;
use crate::db::entity::{group_members, owners, user_groups, users};
use domain::authorization::Role;
use domain::ownership::{Ownership, ResourceKey};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _,
};

/// The objects that a user owns, in person or through groups. Nothing for administrators and auditors, whose permissions
/// do not depend on it.
pub(crate) async fn owned_by(connection: &impl ConnectionTrait, username: &str, role: Role) -> Result<Ownership> {
    if role != Role::User {
        return Ok(Ownership::default());
    }
    let groups = group_members::Entity::find()
        .select_only()
        .column(group_members::Column::GroupId)
        .filter(group_members::COLUMN.username.eq(username))
        .into_query();
    let is_owner =
        Condition::any().add(owners::COLUMN.username.eq(username)).add(owners::Column::GroupId.in_subquery(groups));
    let owned: Vec<(Option<String>, Option<i64>)> = owners::Entity::find()
        .select_only()
        .columns([owners::Column::ResourceType, owners::Column::ResourceId])
        .filter(is_owner)
        .into_tuple()
        .all(connection)
        .await?;
    let mut ownership = Ownership::default();
    for (resource_type, resource) in owned {
        ownership.resource_types.extend(resource_type);
        ownership.resources.extend(resource);
    }
    Ok(ownership)
}

/// The names of the groups of a user, sorted.
pub(crate) async fn groups_of(connection: &impl ConnectionTrait, username: &str) -> Result<Vec<String>> {
    let own = group_members::Entity::find()
        .select_only()
        .column(group_members::Column::GroupId)
        .filter(group_members::COLUMN.username.eq(username))
        .into_query();
    Ok(user_groups::Entity::find()
        .select_only()
        .column(user_groups::Column::Name)
        .filter(user_groups::Column::Id.in_subquery(own))
        .order_by_asc(user_groups::Column::Name)
        .into_tuple()
        .all(connection)
        .await?)
}

/// Login names of the users who own a resource, in person or through groups, sorted. Administrators, auditors and disabled
/// accounts are excluded.
pub(crate) async fn owners_of(connection: &impl ConnectionTrait, resource: ResourceKey<'_>) -> Result<Vec<String>> {
    let of_resource = || {
        Condition::any()
            .add(owners::COLUMN.resource_type.eq(resource.resource_type))
            .add_option(resource.id.map(|id| owners::COLUMN.resource_id.eq(id)))
    };
    let in_person =
        owners::Entity::find().select_only().column(owners::Column::Username).filter(of_resource()).into_query();
    let groups = owners::Entity::find()
        .select_only()
        .column(owners::Column::GroupId)
        .filter(of_resource())
        .filter(owners::COLUMN.group_id.is_not_null())
        .into_query();
    let in_groups = group_members::Entity::find()
        .select_only()
        .column(group_members::Column::Username)
        .filter(group_members::Column::GroupId.in_subquery(groups))
        .into_query();
    let is_owner = Condition::any()
        .add(users::Column::Username.in_subquery(in_person))
        .add(users::Column::Username.in_subquery(in_groups));
    Ok(users::Entity::find()
        .select_only()
        .column(users::Column::Username)
        .filter(is_owner)
        .filter(users::COLUMN.role.eq(Text(Role::User)))
        .filter(users::COLUMN.disabled.eq(false))
        .order_by_asc(users::Column::Username)
        .into_tuple()
        .all(connection)
        .await?)
}
