//! Notifications.

use crate::db::column::Text;
use domain::change::Severity;
use sea_orm::entity::prelude::*;

/// One message to one account or to every administrator.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "notifications")]
pub(crate) struct Model {
    /// Identifier.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The account; NULL = every administrator.
    pub username: Option<String>,
    /// Info, warning or error.
    pub severity: Text<Severity>,
    /// One sentence.
    pub message: String,
    /// Path of the page with the details.
    pub link: Option<String>,
    /// Creation time.
    pub at: i64,
    /// Whether it was read.
    pub read: bool,
    /// The account.
    #[sea_orm(belongs_to, from = "username", to = "username", skip_fk)]
    pub user: BelongsTo<Option<super::users::Entity>>,
}

impl ActiveModelBehavior for ActiveModel {}
