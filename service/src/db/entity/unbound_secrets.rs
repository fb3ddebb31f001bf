//! The mark of a database whose secrets are not bound to their rows.

use sea_orm::entity::prelude::*;

/// The mark. The table has at most one row. While it exists, processes of an earlier release may read the secrets.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "unbound_secrets")]
pub(crate) struct Model {
    /// Always [`ID`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
}

/// The id of the only row.
pub(crate) const ID: i64 = 1;

impl ActiveModelBehavior for ActiveModel {}
