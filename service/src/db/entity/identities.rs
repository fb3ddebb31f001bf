//! Links of accounts to users of identity providers.

use sea_orm::entity::prelude::*;

/// One user of one provider.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "identities")]
pub(crate) struct Model {
    /// Issuer identifier of the provider.
    #[sea_orm(primary_key, auto_increment = false)]
    pub issuer: String,
    /// Identifier of the user at the provider.
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject: String,
    /// The account.
    pub username: String,
    /// Time of the link.
    pub created_at: i64,
    /// Time of the last log-in; NULL before the first one.
    pub last_used_at: Option<i64>,
    /// The account.
    #[sea_orm(belongs_to, from = "username", to = "username", on_delete = "Cascade")]
    pub user: BelongsTo<super::users::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
