//! Use cases of resource types.

use super::Catalogue;
use crate::audit_trail::{Record, Target};
use crate::db::column::{JsonText, Text};
use crate::db::entity::{resource_types, resources, webhooks};
use crate::db::link::DatabaseTransaction;
use crate::db::scheduled_events::move_to_notices;
use crate::pagination::{decode_cursor, page_of};
use crate::{Error, Result};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::pagination::{Page, PageQuery};
use domain::provisioning::AccessBeforeStart;
use domain::resource::{
    DEFAULT_ENDING_NOTICE, DEFAULT_LATE_RELEASE, ResourceType, ResourceTypeInput, ResourceTypePatch, check_type,
};
use sea_orm::sea_query::{Expr, ExprTrait as _, SelectStatement};
use sea_orm::{
    ColumnTrait as _, DerivePartialModel, EntityTrait as _, NotSet, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _, Set,
};
use serde_json::{Value, json};
use tracing::instrument;

/// The colour of a type without one.
const DEFAULT_COLOR: &str = "#4f46e5";

/// A resource type with the number of its resources.
#[derive(DerivePartialModel)]
#[sea_orm(entity = "resource_types::Entity")]
struct TypeRow {
    slug: String,
    name: String,
    color: String,
    config_schema: JsonText<Value>,
    lead_minutes: i32,
    ending_notice_minutes: i32,
    turnaround_minutes: i32,
    late_release_minutes: i32,
    access_before_start: Text<AccessBeforeStart>,
    #[sea_orm(from_expr = "resource_count()")]
    resources: i64,
}

/// Counts the resources of the type in the outer query.
fn resource_count() -> Expr {
    let count = resources::Entity::find()
        .select_only()
        .expr(resources::Column::Id.count())
        .filter(
            Expr::col(resources::Column::ResourceType.as_column_ref())
                .equals(resource_types::Column::Slug.as_column_ref()),
        )
        .into_query();
    count.into()
}

impl From<TypeRow> for ResourceType {
    fn from(row: TypeRow) -> Self {
        Self {
            id: row.slug.clone(),
            slug: row.slug,
            name: row.name,
            color: row.color,
            config_schema: row.config_schema.0,
            resources: row.resources.unsigned_abs(),
            lead_minutes: row.lead_minutes.unsigned_abs(),
            ending_notice_minutes: row.ending_notice_minutes.unsigned_abs(),
            turnaround_minutes: row.turnaround_minutes.unsigned_abs(),
            late_release_minutes: row.late_release_minutes.unsigned_abs(),
            access_before_start: row.access_before_start.0,
        }
    }
}

impl Catalogue {
    /// Lists resource types by slug.
    ///
    /// # Errors
    /// 422 for an invalid limit or cursor.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn list_types(&self, actor: &Actor, page: &PageQuery) -> Result<Page<ResourceType>, Problem> {
        authorize(actor, Action::ReadCatalogue)?;
        let limit = page.limit()?;
        let after = decode_cursor(page.cursor.as_deref())?.unwrap_or_default();
        let types = self.types_after(&after, limit + 1).await?;
        Ok(page_of(types, limit, |resource_type| resource_type.slug.clone()))
    }

    async fn types_after(&self, slug: &str, limit: u64) -> Result<Vec<ResourceType>> {
        let rows = resource_types::Entity::find()
            .filter(resource_types::COLUMN.slug.gt(slug))
            .order_by_asc(resource_types::Column::Slug)
            .limit(limit)
            .into_partial_model::<TypeRow>()
            .all(&self.context.db.read)
            .await?;
        Ok(rows.into_iter().map(ResourceType::from).collect())
    }

    /// A resource type by slug.
    ///
    /// # Errors
    /// 404 if there is none.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn get_type(&self, actor: &Actor, slug: &str) -> Result<ResourceType, Problem> {
        authorize(actor, Action::ReadCatalogue)?;
        Ok(self.read_type(slug).await?)
    }

    async fn read_type(&self, slug: &str) -> Result<ResourceType> {
        let row =
            resource_types::Entity::find_by_id(slug).into_partial_model::<TypeRow>().one(&self.context.db.read).await?;
        Ok(row.map(ResourceType::from).ok_or_else(|| Problem::not_found("resource type"))?)
    }

    /// Creates a resource type (administrators).
    ///
    /// # Errors
    /// 403 for other users; 409 if the slug is taken; 422 that names invalid fields.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn create_type(&self, actor: &Actor, input: ResourceTypeInput) -> Result<ResourceType, Problem> {
        authorize(actor, Action::WriteCatalogue)?;
        check_type(&input)?;
        let slug = input.slug.clone();
        self.insert_type(actor, input).await?;
        Ok(self.read_type(&slug).await?)
    }

    async fn insert_type(&self, actor: &Actor, input: ResourceTypeInput) -> Result<()> {
        let schema = input.config_schema.filter(|schema| !schema.is_null()).unwrap_or_else(|| json!({}));
        let slug = input.slug.clone();
        let row = resource_types::ActiveModel {
            slug: Set(input.slug),
            name: Set(input.name),
            color: Set(input.color.unwrap_or_else(|| DEFAULT_COLOR.to_owned())),
            config_schema: Set(JsonText(schema)),
            created_at: Set(self.context.now().timestamp_millis()),
            lead_minutes: Set(minutes(input.lead_minutes.unwrap_or(0))),
            ending_notice_minutes: Set(minutes(input.ending_notice_minutes.unwrap_or(DEFAULT_ENDING_NOTICE))),
            turnaround_minutes: Set(minutes(input.turnaround_minutes.unwrap_or(0))),
            late_release_minutes: Set(minutes(input.late_release_minutes.unwrap_or(DEFAULT_LATE_RELEASE))),
            access_before_start: Set(Text(input.access_before_start.unwrap_or_default())),
        };
        let tx = self.context.begin_change().await?;
        let inserted = resource_types::Entity::insert(row).exec_without_returning(&tx).await;
        inserted.map_err(|error| {
            Error::on_unique_violation(error, || {
                Problem::conflict(format!("The slug {slug} belongs to another resource type. Choose another one."))
            })
        })?;
        let created = lock_in(&tx, &slug).await?;
        tx.commit(record(actor, AuditAction::ResourceTypeCreated, &created).changes(Changes::created(&created))).await
    }

    /// Changes a resource type (administrators).
    ///
    /// # Errors
    /// 403 for other users; 404 if there is none; 422 that names invalid fields.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn update_type(
        &self,
        actor: &Actor,
        slug: &str,
        patch: ResourceTypePatch,
    ) -> Result<ResourceType, Problem> {
        authorize(actor, Action::WriteCatalogue)?;
        let before = self.read_type(slug).await?;
        let schema = patch.config_schema.unwrap_or(before.config_schema);
        let input = ResourceTypeInput {
            slug: slug.to_owned(),
            name: patch.name.unwrap_or(before.name),
            color: Some(patch.color.unwrap_or(before.color)),
            config_schema: Some(schema),
            lead_minutes: Some(patch.lead_minutes.unwrap_or(before.lead_minutes)),
            ending_notice_minutes: Some(patch.ending_notice_minutes.unwrap_or(before.ending_notice_minutes)),
            turnaround_minutes: Some(patch.turnaround_minutes.unwrap_or(before.turnaround_minutes)),
            late_release_minutes: Some(patch.late_release_minutes.unwrap_or(before.late_release_minutes)),
            access_before_start: Some(patch.access_before_start.unwrap_or(before.access_before_start)),
        };
        check_type(&input)?;
        self.write_type(actor, slug, input).await?;
        self.invalidate_resources();
        Ok(self.read_type(slug).await?)
    }

    async fn write_type(&self, actor: &Actor, slug: &str, input: ResourceTypeInput) -> Result<()> {
        let change = resource_types::ActiveModel {
            name: Set(input.name),
            color: input.color.map_or(NotSet, Set),
            config_schema: input.config_schema.map(JsonText).map_or(NotSet, Set),
            lead_minutes: input.lead_minutes.map(minutes).map_or(NotSet, Set),
            ending_notice_minutes: input.ending_notice_minutes.map(minutes).map_or(NotSet, Set),
            turnaround_minutes: input.turnaround_minutes.map(minutes).map_or(NotSet, Set),
            late_release_minutes: input.late_release_minutes.map(minutes).map_or(NotSet, Set),
            access_before_start: input.access_before_start.map(Text).map_or(NotSet, Set),
            ..Default::default()
        };
        let tx = self.context.begin_change().await?;
        let current = lock_in(&tx, slug).await?;
        resource_types::Entity::update_many()
            .set(change)
            .filter(resource_types::COLUMN.slug.eq(slug))
            .exec(&tx)
            .await?;
        let changed = lock_in(&tx, slug).await?;
        if (changed.lead_minutes, changed.ending_notice_minutes)
            != (current.lead_minutes, current.ending_notice_minutes)
        {
            move_to_notices(&self.context.db, &tx, &changed).await?;
        }
        let changes = Changes::between(&current, &changed);
        tx.commit(record(actor, AuditAction::ResourceTypeUpdated, &changed).changes(changes)).await
    }

    /// Deletes an unused resource type (administrators).
    ///
    /// # Errors
    /// 403 for other users; 404 if there is none; 409 while resources or webhooks use it.
    #[instrument(skip_all, err(level = "debug"))]
    pub async fn delete_type(&self, actor: &Actor, slug: &str) -> Result<(), Problem> {
        authorize(actor, Action::WriteCatalogue)?;
        let deleted = self.read_type(slug).await?;
        self.delete_unused_type(actor, &deleted).await?;
        self.invalidate_resources();
        Ok(())
    }

    async fn delete_unused_type(&self, actor: &Actor, resource_type: &ResourceType) -> Result<()> {
        let in_use = || {
            Problem::conflict("Resources or webhooks use this resource type. Delete them or change their type first.")
        };
        let slug = resource_type.slug.as_str();
        let resources = resources::Entity::find().filter(resources::COLUMN.resource_type.eq(slug));
        let webhooks = webhooks::Entity::find()
            .filter(webhooks::COLUMN.resource_type.eq(slug))
            .filter(webhooks::COLUMN.deleted_at.is_null());
        // The conditions are part of the statement, so that check and deletion are atomic.
        let tx = self.context.begin_change().await?;
        let deleted = resource_types::Entity::delete_by_id(slug)
            .filter(not_exists(resources.into_query()))
            .filter(not_exists(webhooks.into_query()))
            .exec(&tx)
            .await
            .map_err(|error| Error::on_foreign_key_violation(error, in_use))?;
        if deleted.rows_affected == 0 {
            return Err(in_use().into());
        }
        let changes = Changes::deleted(resource_type);
        tx.commit(record(actor, AuditAction::ResourceTypeDeleted, resource_type).changes(changes)).await
    }
}

/// A column of minutes.
fn minutes(minutes: u32) -> i32 {
    i32::try_from(minutes).unwrap_or(i32::MAX)
}

/// An entry of the audit log about a resource type.
fn record(actor: &Actor, action: AuditAction, resource_type: &ResourceType) -> Record {
    Record::new(actor, action, Target::named(AuditTargetType::ResourceType, &resource_type.slug, &resource_type.name))
}

/// A resource type as the transaction sees it, locked until its end, so that the logged change is the one that is made.
async fn lock_in(tx: &DatabaseTransaction, slug: &str) -> Result<ResourceType> {
    let select = resource_types::Entity::find_by_id(slug).lock_exclusive();
    let row = select.into_partial_model::<TypeRow>().one(tx).await?;
    Ok(row.map(ResourceType::from).ok_or_else(|| Problem::not_found("resource type"))?)
}

/// `NOT EXISTS (query)`.
pub(super) fn not_exists(query: SelectStatement) -> Expr {
    Expr::exists(query).not()
}
