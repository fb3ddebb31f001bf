//! Recovery codes that have not been used.

use sea_orm::entity::prelude::*;

/// One recovery code of one account.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "recovery_codes")]
pub(crate) struct Model {
    /// The account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub username: String,
    /// SHA-256 of the account and the code, in hex.
    #[sea_orm(primary_key, auto_increment = false)]
    pub code_hash: String,
    /// Creation time.
    pub created_at: i64,
    /// The account.
    #[sea_orm(belongs_to, from = "username", to = "username", on_delete = "Cascade")]
    pub user: BelongsTo<super::users::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
