//! Provisioning states that changed since the reservation was created.
//!
//! A separate table keeps the write of a first response small: it does not read or write the larger row of the
//! reservation.

use crate::db::column::JsonText;
use domain::provisioning::Provisioning;
use sea_orm::entity::prelude::*;

/// The current provisioning state of one reservation.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "provisioning")]
pub(crate) struct Model {
    /// The reservation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub reservation_id: String,
    /// The state.
    pub state: JsonText<Provisioning>,
    /// The reservation.
    #[sea_orm(belongs_to, from = "reservation_id", to = "id", skip_fk)]
    pub reservation: BelongsTo<super::reservations::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
