//! The position of the index of the delivery log.

use sea_orm::entity::prelude::*;

/// Key of the only row.
pub(crate) const ID: i64 = 1;

/// How far the index reaches.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "delivery_index_state")]
pub(crate) struct Model {
    /// Always [`ID`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// Position of the last delivery of the log that is in the index.
    pub seq: i64,
    /// Number of changes of the index. A batch is written only if nothing else has changed the index meanwhile.
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}
