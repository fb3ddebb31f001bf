//! Requests for access to restricted resources.

use crate::db::column::Text;
use domain::resource::AccessStatus;
use sea_orm::entity::prelude::*;

/// One request. An account has at most one pending request for a resource (partial unique index).
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "access_requests")]
pub(crate) struct Model {
    /// Identifier (`acr_…`).
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The requesting account.
    pub username: String,
    /// The resource.
    pub resource_id: i64,
    /// Reason given by the requester.
    pub reason: String,
    /// Pending, approved or denied.
    pub status: Text<AccessStatus>,
    /// Request time.
    pub requested_at: i64,
    /// The account that decided.
    pub decided_by: Option<String>,
    /// Decision time.
    pub decided_at: Option<i64>,
    /// The resource.
    #[sea_orm(belongs_to, from = "resource_id", to = "id", on_delete = "Cascade")]
    pub resource: BelongsTo<super::resources::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
