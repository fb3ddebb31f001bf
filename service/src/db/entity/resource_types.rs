//! Resource types.

use crate::db::column::{JsonText, Text};
use domain::provisioning::AccessBeforeStart;
use sea_orm::entity::prelude::*;

/// One resource type of the catalogue.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "resource_types")]
pub(crate) struct Model {
    /// Identifier, e.g. `gpu-cluster`; never changes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub slug: String,
    /// Display name.
    pub name: String,
    /// Colour in the calendar (`#rrggbb`).
    pub color: String,
    /// JSON Schema of a reservation's `additional_config`.
    pub config_schema: JsonText<serde_json::Value>,
    /// Creation time.
    pub created_at: i64,
    /// Minutes before the start at which held events are published.
    pub lead_minutes: i32,
    /// Minutes before the end at which the ending is announced.
    pub ending_notice_minutes: i32,
    /// Minutes after a reservation in which its resource is not free.
    pub turnaround_minutes: i32,
    /// Minutes after the end of a reservation when its release is late.
    pub late_release_minutes: i32,
    /// Whether access information is shown before the start of a reservation.
    pub access_before_start: Text<AccessBeforeStart>,
    /// Resources of this type.
    #[sea_orm(has_many)]
    pub resources: HasMany<super::resources::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
