//! Owners of a resource type or a resource.

use super::user_groups::require_users;
use crate::accounts::Accounts;
use crate::audit_trail::{Record, Target};
use crate::context::Context;
use crate::db::entity::{owners, resource_types, resources, user_groups};
use crate::db::link::DatabaseTransaction;
use crate::{Error, Result};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::id::{GroupId, ResourceId};
use domain::ownership::{OwnerGroup, Owners, OwnersInput, ResourceKey, check_owners};
use sea_orm::sea_query::Expr;
use sea_orm::{ConnectionTrait, EntityTrait as _, NotSet, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set};
use std::collections::BTreeSet;
use tracing::instrument;

/// An object that has owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnedObject<'a> {
    /// A resource type, by slug.
    Type(&'a str),
    /// A resource, by id.
    Resource(ResourceId),
}

impl OwnedObject<'_> {
    /// The rows of its owners.
    fn condition(self) -> Expr {
        match self {
            Self::Type(slug) => owners::COLUMN.resource_type.eq(slug),
            Self::Resource(id) => owners::COLUMN.resource_id.eq(id),
        }
    }

    fn not_found(self) -> Problem {
        Problem::not_found(match self {
            Self::Type(_) => "resource type",
            Self::Resource(_) => "resource",
        })
    }

    /// The entry of the audit log about a change of its owners.
    fn record(self, actor: &Actor, name: &str) -> Record {
        let (action, target) = match self {
            Self::Type(slug) => {
                let target = Target::named(AuditTargetType::ResourceType, slug, name);
                (AuditAction::ResourceTypeOwnersChanged, target)
            }
            Self::Resource(id) => {
                let target = Target::named(AuditTargetType::Resource, id, name);
                (AuditAction::ResourceOwnersChanged, target)
            }
        };
        Record::new(actor, action, target)
    }

    /// A row without an owner.
    fn row(self) -> owners::ActiveModel {
        let (resource_type, resource_id) = match self {
            Self::Type(slug) => (Some(slug.to_owned()), None),
            Self::Resource(id) => (None, Some(id)),
        };
        owners::ActiveModel {
            id: NotSet,
            username: Set(None),
            group_id: Set(None),
            resource_type: Set(resource_type),
            resource_id: Set(resource_id),
        }
    }
}

/// Use cases of the owners of objects. Cheap to clone.
#[derive(Clone)]
pub struct OwnerLists {
    context: Context,
    accounts: Accounts,
}

impl OwnerLists {
    pub(crate) fn new(context: Context, accounts: Accounts) -> Self {
        Self { context, accounts }
    }

    /// The owners of an object (administrators, auditors and the owners themselves). Owners of a type are not listed for
    /// each of its resources.
    ///
    /// # Errors
    /// 403 for other users; 404 if there is no such object.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn get(&self, actor: &Actor, object: OwnedObject<'_>) -> Result<Owners> {
        let db = &self.context.db.read;
        let resource_type = match object {
            OwnedObject::Type(slug) => resource_types::Entity::find_by_id(slug).one(db).await?.map(|row| row.slug),
            OwnedObject::Resource(id) => resources::Entity::find_by_id(id).one(db).await?.map(|row| row.resource_type),
        };
        // The catalogue is visible to every user, so 404 discloses nothing.
        let resource_type = resource_type.ok_or_else(|| object.not_found())?;
        let resource = match object {
            OwnedObject::Type(_) => ResourceKey::of_type(&resource_type),
            OwnedObject::Resource(id) => ResourceKey::new(&resource_type, id),
        };
        authorize(actor, Action::ReadOwners { resource })?;
        read(db, object).await
    }

    /// Replaces the owners of an object (administrators).
    ///
    /// # Errors
    /// 403 for other users; 404 if there is no such object; 422 naming `users` or `groups` if one does not exist or there
    /// are too many.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn set(&self, actor: &Actor, object: OwnedObject<'_>, input: OwnersInput) -> Result<Owners> {
        authorize(actor, Action::WriteCatalogue)?;
        check_owners(&input)?;
        let (users, groups): (BTreeSet<String>, BTreeSet<GroupId>) =
            (input.users.into_iter().collect(), input.groups.into_iter().collect());
        let tx = self.context.begin_change().await?;
        let name = lock_in(&tx, object).await?;
        require_users(&tx, "users", &users).await?;
        require_groups(&tx, &groups).await?;
        let before = read(&*tx, object).await?;
        owners::Entity::delete_many().filter(object.condition()).exec(&tx).await?;
        let users = users.into_iter().map(|user| owners::ActiveModel { username: Set(Some(user)), ..object.row() });
        let groups = groups.into_iter().map(|group| owners::ActiveModel { group_id: Set(Some(group)), ..object.row() });
        let rows: Vec<owners::ActiveModel> = users.chain(groups).collect();
        if !rows.is_empty() {
            let inserted = owners::Entity::insert_many(rows).exec_without_returning(&tx).await;
            inserted.map_err(|error| {
                Error::on_foreign_key_violation(error, || {
                    Problem::conflict("An owner has just been deleted. Load the owners again.")
                })
            })?;
        }
        let after = read(&*tx, object).await?;
        let changes = Changes::between(&before, &after);
        let records = match changes.is_empty() {
            true => Vec::new(),
            false => vec![object.record(actor, &name).changes(changes)],
        };
        tx.commit(records).await?;
        self.accounts.invalidate_credentials();
        Ok(after)
    }
}

/// Locks an object until the end of the transaction, so that the logged change is the one that is made. Returns its name.
async fn lock_in(tx: &DatabaseTransaction, object: OwnedObject<'_>) -> Result<String> {
    let name = match object {
        OwnedObject::Type(slug) => {
            resource_types::Entity::find_by_id(slug).lock_exclusive().one(tx).await?.map(|row| row.name)
        }
        OwnedObject::Resource(id) => {
            resources::Entity::find_by_id(id).lock_exclusive().one(tx).await?.map(|row| row.name)
        }
    };
    Ok(name.ok_or_else(|| object.not_found())?)
}

async fn read(connection: &impl ConnectionTrait, object: OwnedObject<'_>) -> Result<Owners> {
    let rows = owners::Entity::find()
        .filter(object.condition())
        .find_also_related(user_groups::Entity)
        .all(connection)
        .await?;
    let mut owners = Owners::default();
    for (row, group) in rows {
        owners.users.extend(row.username);
        owners.groups.extend(group.map(|group| OwnerGroup { id: group.id, name: group.name }));
    }
    owners.users.sort_unstable();
    owners.groups.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(owners)
}

/// Fails with 422 for `groups` if a group does not exist.
async fn require_groups(tx: &DatabaseTransaction, groups: &BTreeSet<GroupId>) -> Result<()> {
    let known: Vec<GroupId> = user_groups::Entity::find()
        .select_only()
        .column(user_groups::Column::Id)
        .filter(user_groups::COLUMN.id.is_in(groups.iter().copied()))
        .order_by_asc(user_groups::Column::Id)
        .into_tuple()
        .all(tx)
        .await?;
    match groups.iter().find(|id| !known.contains(id)) {
        Some(unknown) => {
            Err(Problem::field("groups", format!("There is no group {unknown}. Choose existing groups.")).into())
        }
        None => Ok(()),
    }
}
