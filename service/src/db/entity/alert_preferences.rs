//! Preferences of people for alerts.

use sea_orm::entity::prelude::*;

/// The preferences of one account. Without a row, e-mails are sent.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "alert_preferences")]
pub(crate) struct Model {
    /// The account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub username: String,
    /// Whether alerts are sent by e-mail.
    pub email: bool,
}

impl ActiveModelBehavior for ActiveModel {}
