//! Status updates from receivers that were applied, to detect repeats.

use sea_orm::entity::prelude::*;

/// The digest of one status update.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "status_updates")]
pub(crate) struct Model {
    /// The reservation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub reservation_id: String,
    /// SHA-256 of webhook id and body, in hex.
    #[sea_orm(primary_key, auto_increment = false)]
    pub digest: String,
    /// Time of receipt; old rows are deleted.
    pub received_at: i64,
    /// The reservation.
    #[sea_orm(belongs_to, from = "reservation_id", to = "id", on_delete = "Cascade")]
    pub reservation: BelongsTo<super::reservations::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
