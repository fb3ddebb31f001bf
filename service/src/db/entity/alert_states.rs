//! The states of alert rules.

use crate::db::column::Text;
use domain::alert::AlertStatus;
use sea_orm::entity::prelude::*;

/// The state of one rule for one webhook. Without a row it is ok.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "alert_states")]
pub(crate) struct Model {
    /// The webhook.
    #[sea_orm(primary_key, auto_increment = false)]
    pub webhook_id: i64,
    /// The kind of the rule.
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: String,
    /// The status.
    pub status: Text<AlertStatus>,
    /// Start of the status.
    pub since: i64,
    /// The alert that fires.
    pub alert_id: Option<i64>,
    /// End of the time in which no notices are sent.
    pub muted_until: Option<i64>,
    /// Number of changes, for optimistic concurrency of replicas.
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}
