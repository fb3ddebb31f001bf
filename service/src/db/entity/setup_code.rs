//! The set-up code.

use sea_orm::entity::prelude::*;

/// The code of the link that creates the first administrator. The table has at most one row.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "setup_code")]
pub(crate) struct Model {
    /// Always [`ID`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// The code, encrypted.
    pub code: String,
}

/// The id of the only row.
pub(crate) const ID: i64 = 1;

impl ActiveModelBehavior for ActiveModel {}
