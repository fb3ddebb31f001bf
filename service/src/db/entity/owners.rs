//! Owners of resource types and resources.

use sea_orm::entity::prelude::*;

/// One owner, an account or a group, of one object, a resource type or a resource.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "owners")]
pub(crate) struct Model {
    /// Identifier.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The account; NULL if the owner is a group.
    pub username: Option<String>,
    /// The group; NULL if the owner is an account.
    pub group_id: Option<i64>,
    /// Slug of the resource type; NULL if the object is a resource.
    pub resource_type: Option<String>,
    /// The resource; NULL if the object is a resource type.
    pub resource_id: Option<i64>,
    /// The account.
    #[sea_orm(belongs_to, from = "username", to = "username", on_delete = "Cascade")]
    pub user: BelongsTo<Option<super::users::Entity>>,
    /// The group.
    #[sea_orm(belongs_to, from = "group_id", to = "id", on_delete = "Cascade")]
    pub group: BelongsTo<Option<super::user_groups::Entity>>,
    /// The resource type.
    #[sea_orm(belongs_to, from = "resource_type", to = "slug", on_delete = "Cascade")]
    pub owned_type: BelongsTo<Option<super::resource_types::Entity>>,
    /// The resource.
    #[sea_orm(belongs_to, from = "resource_id", to = "id", on_delete = "Cascade")]
    pub resource: BelongsTo<Option<super::resources::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}
