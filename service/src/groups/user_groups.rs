//! Groups of users.

use crate::accounts::Accounts;
use crate::audit_trail::{Author, Record, Target};
use crate::context::Context;
use crate::db::codec::time;
use crate::db::entity::{group_members, owners, user_groups, users};
use crate::db::link::DatabaseTransaction;
use crate::pagination::{decode_number_cursor, page_of};
use crate::{Error, Result};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::id::GroupId;
use domain::ownership::{Group, GroupInput, GroupPatch, check_group};
use domain::pagination::{Page, PageQuery};
use sea_orm::{
    ActiveModelTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _, NotSet, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
};
use std::collections::{BTreeSet, HashMap};
use tracing::instrument;

/// Use cases of groups. Cheap to clone.
#[derive(Clone)]
pub struct Groups {
    context: Context,
    accounts: Accounts,
}

impl Groups {
    pub(crate) fn new(context: Context, accounts: Accounts) -> Self {
        Self { context, accounts }
    }

    /// Lists groups with their members, oldest first (administrators and auditors).
    ///
    /// # Errors
    /// 403 for other users; 422 for an invalid limit or cursor.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list(&self, actor: &Actor, page: &PageQuery) -> Result<Page<Group>> {
        authorize(actor, Action::ReadUsers)?;
        let limit = page.limit()?;
        let after = decode_number_cursor(page.cursor.as_deref())?.unwrap_or(0);
        let db = &self.context.db.read;
        let rows = user_groups::Entity::find()
            .filter(user_groups::COLUMN.id.gt(after))
            .order_by_asc(user_groups::Column::Id)
            .limit(limit + 1)
            .all(db)
            .await?;
        let Page { items, next_cursor } = page_of(rows, limit, |row| row.id.to_string());
        let ids: Vec<GroupId> = items.iter().map(|row| row.id).collect();
        let mut members = members_of(db, &ids).await?;
        let items = items.into_iter().map(|row| {
            let of_group = members.remove(&row.id).unwrap_or_default();
            to_group(row, of_group)
        });
        Ok(Page { items: items.collect(), next_cursor })
    }

    /// One group with its members (administrators and auditors).
    ///
    /// # Errors
    /// 403 for other users; 404 if there is none.
    #[instrument(skip_all, fields(group = id), err(level = "debug"))]
    pub async fn get(&self, actor: &Actor, id: GroupId) -> Result<Group> {
        authorize(actor, Action::ReadUsers)?;
        read(&self.context.db.read, id).await
    }

    /// Creates a group (administrators).
    ///
    /// # Errors
    /// 403 for other users; 409 if the name is taken; 422 naming invalid fields or unknown members.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn create(&self, actor: &Actor, input: GroupInput) -> Result<Group> {
        authorize(actor, Action::ManageUsers)?;
        self.insert(Author::User(actor), input).await
    }

    /// Creates a group without an actor. For the command line, where access to the machine is the authorisation.
    ///
    /// # Errors
    /// 409 if the name is taken; 422 naming invalid fields or unknown members.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn create_as_operator(&self, input: GroupInput) -> Result<Group, Problem> {
        Ok(self.insert(Author::Operator, input).await?)
    }

    async fn insert(&self, author: Author<'_>, input: GroupInput) -> Result<Group> {
        let name = input.name.trim().to_owned();
        let (description, members) = (input.description.unwrap_or_default(), input.members.unwrap_or_default());
        check_group(&name, &description, &members)?;
        let tx = self.context.begin_change().await?;
        let row = user_groups::ActiveModel {
            id: NotSet,
            name: Set(name.clone()),
            description: Set(description),
            created_at: Set(self.context.now().timestamp_millis()),
        };
        let inserted = user_groups::Entity::insert(row).exec(&tx).await;
        let id = inserted.map_err(|error| Error::on_unique_violation(error, || name_taken(&name)))?.last_insert_id;
        add_members(&tx, id, &members.into_iter().collect()).await?;
        let created = read(&*tx, id).await?;
        tx.commit(record(author, AuditAction::GroupCreated, &created).changes(Changes::created(&created))).await?;
        self.accounts.invalidate_credentials();
        Ok(created)
    }

    /// Changes a group (administrators). A new list of members replaces the present one.
    ///
    /// # Errors
    /// 403 for other users; 404 if there is none; 409 if the name is taken; 422 naming invalid fields or unknown members.
    #[instrument(skip_all, fields(group = id), err(level = "debug"))]
    pub async fn update(&self, actor: &Actor, id: GroupId, patch: GroupPatch) -> Result<Group> {
        authorize(actor, Action::ManageUsers)?;
        let tx = self.context.begin_change().await?;
        lock_in(&tx, id).await?;
        let before = read(&*tx, id).await?;
        let name = patch.name.map_or_else(|| before.name.clone(), |name| name.trim().to_owned());
        let description = patch.description.unwrap_or_else(|| before.description.clone());
        let members = patch.members.unwrap_or_else(|| before.members.clone());
        check_group(&name, &description, &members)?;
        let change =
            user_groups::ActiveModel { name: Set(name.clone()), description: Set(description), ..Default::default() };
        let update = user_groups::Entity::update_many().set(change).filter(user_groups::COLUMN.id.eq(id));
        update.exec(&tx).await.map_err(|error| Error::on_unique_violation(error, || name_taken(&name)))?;
        let (wanted, present): (BTreeSet<String>, BTreeSet<String>) =
            (members.into_iter().collect(), before.members.iter().cloned().collect());
        group_members::Entity::delete_many()
            .filter(group_members::COLUMN.group_id.eq(id))
            .filter(group_members::COLUMN.username.is_in(present.difference(&wanted).map(String::as_str)))
            .exec(&tx)
            .await?;
        add_members(&tx, id, &wanted.difference(&present).cloned().collect()).await?;
        let after = read(&*tx, id).await?;
        let changes = Changes::between(&before, &after);
        let records = match changes.is_empty() {
            true => Vec::new(),
            false => vec![record(actor, AuditAction::GroupUpdated, &after).changes(changes)],
        };
        tx.commit(records).await?;
        self.accounts.invalidate_credentials();
        Ok(after)
    }

    /// Deletes a group with its memberships and ownerships (administrators).
    ///
    /// # Errors
    /// 403 for other users; 404 if there is none.
    #[instrument(skip_all, fields(group = id), err(level = "debug"))]
    pub async fn delete(&self, actor: &Actor, id: GroupId) -> Result<()> {
        authorize(actor, Action::ManageUsers)?;
        let tx = self.context.begin_change().await?;
        lock_in(&tx, id).await?;
        let group = read(&*tx, id).await?;
        let owned = owners::Entity::find().filter(owners::COLUMN.group_id.eq(id)).count(&*tx).await?;
        user_groups::Entity::delete_by_id(id).exec(&tx).await?;
        let detail = match owned {
            0 => String::new(),
            1 => "It owned one resource type or resource.".to_owned(),
            count => format!("It owned {count} resource types and resources."),
        };
        let record = record(actor, AuditAction::GroupDeleted, &group).changes(Changes::deleted(&group));
        tx.commit(record.detail(&detail)).await?;
        self.accounts.invalidate_credentials();
        Ok(())
    }
}

/// An entry of the audit log about a group.
fn record<'a>(author: impl Into<Author<'a>>, action: AuditAction, group: &Group) -> Record {
    Record::new(author, action, Target::named(AuditTargetType::Group, group.id, &group.name))
}

fn name_taken(name: &str) -> Problem {
    Problem::conflict(format!("Another group is named {name}. Choose another name."))
}

fn to_group(row: user_groups::Model, members: Vec<String>) -> Group {
    let (id, created_at) = (row.id, time(row.created_at));
    Group { id, name: row.name, description: row.description, members, created_at }
}

async fn read(connection: &impl ConnectionTrait, id: GroupId) -> Result<Group> {
    let row = user_groups::Entity::find_by_id(id).one(connection).await?;
    let row = row.ok_or_else(|| Problem::not_found("group"))?;
    let members = members_of(connection, &[id]).await?.remove(&id).unwrap_or_default();
    Ok(to_group(row, members))
}

/// Locks a group until the end of the transaction, so that the logged change is the one that is made.
async fn lock_in(tx: &DatabaseTransaction, id: GroupId) -> Result<()> {
    let row = user_groups::Entity::find_by_id(id).lock_exclusive().one(tx).await?;
    row.map(drop).ok_or_else(|| Problem::not_found("group").into())
}

/// The members of groups, in alphabetical order.
async fn members_of(connection: &impl ConnectionTrait, groups: &[GroupId]) -> Result<HashMap<GroupId, Vec<String>>> {
    let rows = group_members::Entity::find()
        .filter(group_members::COLUMN.group_id.is_in(groups.iter().copied()))
        .order_by_asc(group_members::Column::Username)
        .all(connection)
        .await?;
    let mut members: HashMap<GroupId, Vec<String>> = HashMap::new();
    for row in rows {
        members.entry(row.group_id).or_default().push(row.username);
    }
    Ok(members)
}

/// Adds members that the group does not have yet.
async fn add_members(tx: &DatabaseTransaction, group_id: GroupId, members: &BTreeSet<String>) -> Result<()> {
    if members.is_empty() {
        return Ok(());
    }
    require_users(tx, "members", members).await?;
    let rows = members
        .iter()
        .map(|username| group_members::Model { group_id, username: username.clone() }.into_active_model().reset_all());
    group_members::Entity::insert_many(rows).exec_without_returning(tx).await?;
    Ok(())
}

/// Fails with 422 for a field if a user does not exist.
pub(super) async fn require_users(tx: &DatabaseTransaction, field: &str, names: &BTreeSet<String>) -> Result<()> {
    let known: Vec<String> = users::Entity::find()
        .select_only()
        .column(users::Column::Username)
        .filter(users::COLUMN.username.is_in(names.iter().map(String::as_str)))
        .into_tuple()
        .all(tx)
        .await?;
    match names.iter().find(|name| !known.contains(name)) {
        Some(unknown) => {
            let message = format!("There is no user {unknown}. Choose existing users.");
            Err(Problem::field(field, message).into())
        }
        None => Ok(()),
    }
}
