//! API tokens.

use crate::db::column::JsonText;
use domain::authorization::Scope;
use sea_orm::entity::prelude::*;

/// One API token of one account.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_tokens")]
pub(crate) struct Model {
    /// Public id (`tok_…`).
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The account.
    pub username: String,
    /// Name chosen by the account's owner.
    pub name: String,
    /// SHA-256 of the token, in hex.
    #[sea_orm(unique)]
    pub token_hash: String,
    /// Scopes, sorted.
    pub scopes: JsonText<Vec<Scope>>,
    /// Creation time.
    pub created_at: i64,
    /// The token is invalid from this time on; NULL = never.
    pub expires_at: Option<i64>,
    /// Time of the last use, to the minute.
    pub last_used_at: Option<i64>,
    /// Time of the reminder that it expires; NULL before.
    pub reminded_at: Option<i64>,
    /// The account.
    #[sea_orm(belongs_to, from = "username", to = "username", on_delete = "Cascade")]
    pub user: BelongsTo<super::users::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
