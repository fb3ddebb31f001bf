//! Use cases of resources.

use super::Catalogue;
use super::types::not_exists;
use crate::audit_trail::{Record, Target};
use crate::db::column::Text;
use crate::db::entity::{access_grants, reservations, resources};
use crate::db::link::DatabaseTransaction;
use crate::db::reservations::{busy_from, busy_until, is_busy};
use crate::pagination::{decode_number_cursor, page_of};
use crate::{Error, Result};
use chrono::{DateTime, Utc};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, Role, authorize};
use domain::id::ResourceId;
use domain::natural_order;
use domain::ownership::ResourceKey;
use domain::pagination::{Page, PageQuery};
use domain::resource::{Resource, ResourceInput, ResourcePatch, ResourceStatus, check_resource};
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, FromQueryResult, NotSet, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait as _, Select, Set,
};
use tracing::instrument;

/// A resource, and whether the actor has a grant for it.
#[derive(FromQueryResult)]
struct ResourceRow {
    id: ResourceId,
    name: String,
    resource_type: String,
    location: String,
    specs: String,
    status: Text<ResourceStatus>,
    granted: bool,
}

impl ResourceRow {
    fn for_actor(self, actor: &Actor) -> Resource {
        let status = self.status.0;
        let manages = actor.manages(ResourceKey::new(&self.resource_type, self.id));
        Resource {
            id: self.id,
            name: self.name,
            resource_type: self.resource_type,
            location: self.location,
            specs: self.specs,
            status,
            bookable: match (status, actor.role) {
                (ResourceStatus::Maintenance, _) | (_, Role::Auditor) => false,
                (ResourceStatus::Available, _) => true,
                (ResourceStatus::Restricted, _) => manages || self.granted,
            },
        }
    }
}

/// Adds the column `granted` to a query of resources.
fn with_grant(query: Select<resources::Entity>, actor: &Actor) -> Select<resources::Entity> {
    let grants = access_grants::Entity::find()
        .filter(
            Expr::col(access_grants::Column::ResourceId.as_column_ref()).equals(resources::Column::Id.as_column_ref()),
        )
        .filter(access_grants::COLUMN.username.eq(actor.username.as_str()));
    query.expr_as(Expr::exists(grants.into_query()), "granted")
}

impl Catalogue {
    /// Lists resources by id. `bookable` applies to the actor.
    ///
    /// # Errors
    /// 422 for an invalid limit or cursor.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list_resources(
        &self,
        actor: &Actor,
        resource_type: Option<&str>,
        page: &PageQuery,
    ) -> Result<Page<Resource>, Problem> {
        authorize(actor, Action::ReadCatalogue)?;
        let limit = page.limit()?;
        let after = decode_number_cursor(page.cursor.as_deref())?.unwrap_or(0);
        let query = resources::Entity::find()
            .filter(resources::COLUMN.id.gt(after))
            .apply_if(resource_type, |query, slug| query.filter(resources::COLUMN.resource_type.eq(slug)))
            .order_by_asc(resources::Column::Id)
            .limit(limit + 1);
        let resources = self.read_resources(query, actor).await?;
        Ok(page_of(resources, limit, |resource| resource.id.to_string()))
    }

    /// A resource by id.
    ///
    /// # Errors
    /// 404 if there is none.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn get_resource(&self, actor: &Actor, id: ResourceId) -> Result<Resource, Problem> {
        authorize(actor, Action::ReadCatalogue)?;
        let resources = self.read_resources(resources::Entity::find_by_id(id), actor).await?;
        resources.into_iter().next().ok_or_else(|| Problem::not_found("resource"))
    }

    /// The resources of a type that the actor may reserve and that are not busy within a span, by name. The span ends with the
    /// turnaround time of the type.
    pub(crate) async fn free_resources(
        &self,
        actor: &Actor,
        resource_type: &str,
        (start, end): (DateTime<Utc>, DateTime<Utc>),
    ) -> Result<Vec<Resource>> {
        let overlapping = reservations::Entity::find()
            .filter(
                Expr::col(reservations::Column::ResourceId.as_column_ref())
                    .equals(resources::Column::Id.as_column_ref()),
            )
            .filter(is_busy())
            .filter(busy_from().lt(end.timestamp_millis()))
            .filter(busy_until().gt(start.timestamp_millis()));
        let query = resources::Entity::find()
            .filter(resources::COLUMN.resource_type.eq(resource_type))
            .filter(resources::COLUMN.status.ne(Text(ResourceStatus::Maintenance)))
            .filter(not_exists(overlapping.into_query()))
            .order_by_asc(resources::Column::Id);
        let mut free = self.read_resources(query, actor).await?;
        free.retain(|resource| resource.bookable);
        free.sort_by(|one, other| natural_order::compare(&one.name, &other.name));
        Ok(free)
    }

    async fn read_resources(&self, query: Select<resources::Entity>, actor: &Actor) -> Result<Vec<Resource>> {
        let rows = with_grant(query, actor).into_model::<ResourceRow>().all(&self.context.db.read).await?;
        Ok(rows.into_iter().map(|row| row.for_actor(actor)).collect())
    }

    /// Creates a resource (administrators and owners of the type).
    ///
    /// # Errors
    /// 403 for other users; 409 if the name is taken within the type; 422 that names invalid fields or an unknown type.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn create_resource(&self, actor: &Actor, input: ResourceInput) -> Result<Resource, Problem> {
        authorize(actor, Action::WriteResource { resource: ResourceKey::of_type(&input.resource_type) })?;
        check_resource(&input)?;
        let id = self.insert_resource(actor, input).await?;
        self.get_resource(actor, id).await
    }

    async fn insert_resource(&self, actor: &Actor, input: ResourceInput) -> Result<ResourceId> {
        let row = resources::ActiveModel {
            id: NotSet,
            name: Set(input.name.clone()),
            resource_type: Set(input.resource_type.clone()),
            location: Set(input.location.unwrap_or_default()),
            specs: Set(input.specs.unwrap_or_default()),
            status: Set(Text(input.status.unwrap_or(ResourceStatus::Available))),
            created_at: Set(self.context.now().timestamp_millis()),
        };
        let tx = self.context.begin_change().await?;
        match resources::Entity::insert(row).exec(&tx).await {
            Ok(inserted) => {
                let id = inserted.last_insert_id;
                let created = lock_in(&tx, actor, id).await?;
                tx.commit(record(actor, AuditAction::ResourceCreated, &created).changes(Changes::created(&created)))
                    .await?;
                Ok(id)
            }
            Err(error) if crate::error::is_foreign_key_violation(&error) => Err(Problem::field(
                "resource_type",
                format!("There is no resource type {}. Create it first, or choose another one.", input.resource_type),
            )
            .into()),
            Err(error) => Err(Error::on_unique_violation(error, || name_taken(&input.resource_type, &input.name))),
        }
    }

    /// Changes a resource (administrators and owners).
    ///
    /// # Errors
    /// 403 for other users; 404 if there is none; 409 if the name is taken; 422 that names invalid fields.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn update_resource(
        &self,
        actor: &Actor,
        id: ResourceId,
        patch: ResourcePatch,
    ) -> Result<Resource, Problem> {
        let before = self.get_resource(actor, id).await?;
        authorize(actor, write_action(&before))?;
        let input = ResourceInput {
            name: patch.name.unwrap_or(before.name),
            resource_type: before.resource_type,
            location: Some(patch.location.unwrap_or(before.location)),
            specs: Some(patch.specs.unwrap_or(before.specs)),
            status: Some(patch.status.unwrap_or(before.status)),
        };
        check_resource(&input)?;
        self.write_resource(actor, id, input).await?;
        self.invalidate_resources();
        self.get_resource(actor, id).await
    }

    async fn write_resource(&self, actor: &Actor, id: ResourceId, input: ResourceInput) -> Result<()> {
        let change = resources::ActiveModel {
            name: Set(input.name.clone()),
            location: input.location.map_or(NotSet, Set),
            specs: input.specs.map_or(NotSet, Set),
            status: input.status.map(Text).map_or(NotSet, Set),
            ..Default::default()
        };
        let tx = self.context.begin_change().await?;
        let current = lock_in(&tx, actor, id).await?;
        resources::Entity::update_many()
            .set(change)
            .filter(resources::COLUMN.id.eq(id))
            .exec(&tx)
            .await
            .map_err(|error| Error::on_unique_violation(error, || name_taken(&input.resource_type, &input.name)))?;
        let changed = lock_in(&tx, actor, id).await?;
        let changes = Changes::between(&current, &changed);
        tx.commit(record(actor, AuditAction::ResourceUpdated, &changed).changes(changes)).await
    }

    /// Deletes a resource that was never reserved (administrators and owners).
    ///
    /// # Errors
    /// 403 for other users; 404 if there is none; 409 if it has reservations, including past ones.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn delete_resource(&self, actor: &Actor, id: ResourceId) -> Result<(), Problem> {
        let resource = self.get_resource(actor, id).await?;
        authorize(actor, write_action(&resource))?;
        self.delete_unreserved_resource(actor, &resource).await?;
        self.invalidate_resources();
        Ok(())
    }

    async fn delete_unreserved_resource(&self, actor: &Actor, resource: &Resource) -> Result<()> {
        let reserved =
            || Problem::conflict("This resource has reservations, so it is kept. Set it to maintenance instead.");
        let reservations = reservations::Entity::find().filter(reservations::COLUMN.resource_id.eq(resource.id));
        let tx = self.context.begin_change().await?;
        let deleted = resources::Entity::delete_by_id(resource.id)
            .filter(not_exists(reservations.into_query()))
            .exec(&tx)
            .await
            .map_err(|error| Error::on_foreign_key_violation(error, reserved))?;
        if deleted.rows_affected == 0 {
            return Err(reserved().into());
        }
        tx.commit(record(actor, AuditAction::ResourceDeleted, resource).changes(Changes::deleted(resource))).await
    }
}

/// The permission to change an existing resource. Every user may read the catalogue, so a refusal discloses nothing.
fn write_action(resource: &Resource) -> Action<'_> {
    Action::WriteResource { resource: ResourceKey::new(&resource.resource_type, resource.id) }
}

/// An entry of the audit log about a resource.
fn record(actor: &Actor, action: AuditAction, resource: &Resource) -> Record {
    Record::new(actor, action, Target::named(AuditTargetType::Resource, resource.id, &resource.name))
}

/// A resource as the transaction sees it, locked until its end, so that the logged change is the one that is made.
async fn lock_in(tx: &DatabaseTransaction, actor: &Actor, id: ResourceId) -> Result<Resource> {
    let select = with_grant(resources::Entity::find_by_id(id), actor).lock_exclusive();
    let row = select.into_model::<ResourceRow>().one(tx).await?;
    Ok(row.map(|row| row.for_actor(actor)).ok_or_else(|| Problem::not_found("resource"))?)
}

fn name_taken(resource_type: &str, name: &str) -> Problem {
    Problem::conflict(format!("Another {resource_type} is named {name}. Choose another name."))
}
