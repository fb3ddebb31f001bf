//! The operations webhook of alerts.

use crate::db::column::Text;
use domain::alert::NoticeFormat;
use sea_orm::entity::prelude::*;

/// The id of the only row.
pub(crate) const ID: i64 = 1;

/// The operations webhook.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "alert_channel")]
pub(crate) struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// The URL, encrypted.
    pub url: String,
    /// Scheme and host of the URL, and its last characters.
    pub url_hint: String,
    /// The signing secret, encrypted.
    pub secret: String,
    /// Last characters of the signing secret.
    pub secret_hint: String,
    /// The form of the body.
    pub format: Text<NoticeFormat>,
    /// Whether notices are sent.
    pub enabled: bool,
}

impl ActiveModelBehavior for ActiveModel {}
