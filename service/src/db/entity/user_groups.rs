//! Groups of users.

use sea_orm::entity::prelude::*;

/// One group.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "user_groups")]
pub(crate) struct Model {
    /// Identifier.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Name, unique.
    pub name: String,
    /// Purpose; empty if not given.
    pub description: String,
    /// Creation time.
    pub created_at: i64,
    /// Its members.
    #[sea_orm(has_many)]
    pub members: HasMany<super::group_members::Entity>,
    /// The objects that it owns.
    #[sea_orm(has_many)]
    pub owned: HasMany<super::owners::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
