//! Resources.

use crate::db::column::Text;
use domain::resource::ResourceStatus;
use sea_orm::entity::prelude::*;

/// One resource that can be reserved.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "resources")]
pub(crate) struct Model {
    /// Identifier.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Display name, unique within its type.
    pub name: String,
    /// Slug of the type.
    pub resource_type: String,
    /// Location; empty if not given.
    pub location: String,
    /// Specifications; empty if not given.
    pub specs: String,
    /// Available, restricted or in maintenance.
    pub status: Text<ResourceStatus>,
    /// Creation time.
    pub created_at: i64,
    /// The type.
    #[sea_orm(belongs_to, from = "resource_type", to = "slug")]
    pub of_type: BelongsTo<super::resource_types::Entity>,
    /// Accounts that may reserve it while it is restricted.
    #[sea_orm(has_many)]
    pub access_grants: HasMany<super::access_grants::Entity>,
    /// Requests for access.
    #[sea_orm(has_many)]
    pub access_requests: HasMany<super::access_requests::Entity>,
    /// Reservations.
    #[sea_orm(has_many)]
    pub reservations: HasMany<super::reservations::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
