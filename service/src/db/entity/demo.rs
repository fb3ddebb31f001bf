//! The mark of a database with demo data.

use sea_orm::entity::prelude::*;

/// The mark. The table has at most one row.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "demo")]
pub(crate) struct Model {
    /// Always [`ID`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
}

/// The id of the only row.
pub(crate) const ID: i64 = 1;

impl ActiveModelBehavior for ActiveModel {}
