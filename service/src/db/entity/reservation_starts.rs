//! Starts of reservations that are not published yet.

use sea_orm::entity::prelude::*;

/// The start of a reservation of which a webhook with the classic payload format receives the start.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reservation_starts")]
pub(crate) struct Model {
    /// The reservation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub reservation_id: String,
    /// Its start.
    pub start_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
