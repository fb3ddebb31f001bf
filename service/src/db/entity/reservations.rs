//! Reservations.

use crate::db::column::{JsonText, Text};
use domain::provisioning::Provisioning;
use domain::reservation::ReservationStatus;
use sea_orm::entity::prelude::*;

/// One reservation of one resource. PostgreSQL rejects reservations that overlap, with their busy times, by an exclusion constraint.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "reservations")]
pub(crate) struct Model {
    /// Identifier (`rsv-…`).
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The owner.
    pub username: String,
    /// The resource.
    pub resource_id: i64,
    /// Title; empty if not given.
    pub title: String,
    /// Start time, included.
    pub start_at: i64,
    /// End time, excluded.
    pub end_at: i64,
    /// SSH public key sent to the receiver; empty if none.
    pub user_ssh_key: String,
    /// Values of the type's configuration fields.
    pub additional_config: JsonText<serde_json::Map<String, serde_json::Value>>,
    /// Active, cancelled or expired.
    pub status: Text<ReservationStatus>,
    /// The account that cancelled it.
    pub cancelled_by: Option<String>,
    /// Reason of the cancellation; empty if none.
    pub cancel_reason: String,
    /// The initial provisioning state. A row in `provisioning` replaces it.
    pub provisioning: JsonText<Provisioning>,
    /// Creation time.
    pub created_at: i64,
    /// Time of the last change.
    pub updated_at: i64,
    /// Time from which the resource is prepared for it; NULL = from its start.
    pub busy_from: Option<i64>,
    /// End of its turnaround time; NULL = its end, and after its end: none.
    pub busy_until: Option<i64>,
    /// Time at which the resource was released after the reservation; NULL = it is not, or a previous release of Berth has ended it.
    pub released_at: Option<i64>,
    /// The resource.
    #[sea_orm(belongs_to, from = "resource_id", to = "id")]
    pub resource: BelongsTo<super::resources::Entity>,
    /// The current provisioning state, if it has changed since the reservation was created.
    #[sea_orm(has_one)]
    pub current_provisioning: HasOne<super::provisioning::Entity>,
    /// Digests of the status updates that were applied.
    #[sea_orm(has_many)]
    pub status_updates: HasMany<super::status_updates::Entity>,
    /// Deliveries of its events.
    #[sea_orm(has_many)]
    pub deliveries: HasMany<super::deliveries::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
