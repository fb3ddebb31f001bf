//! The queue and the log of notices about alerts.

use sea_orm::entity::prelude::*;

/// One notice to one recipient.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "alert_notices")]
pub(crate) struct Model {
    /// Identifier.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Recipient of an e-mail; NULL = the operations webhook.
    pub username: Option<String>,
    /// Id of the notice, the same for all recipients.
    pub event_id: String,
    /// The reason, e.g. `alert.firing`.
    pub event_type: String,
    /// Subject of an e-mail.
    pub subject: String,
    /// Text of an e-mail, or body of a request.
    pub body: String,
    /// Creation time.
    pub created_at: i64,
    /// Time of the next attempt, which a process moves into the future while it sends (lease); NULL after the last one.
    pub due_at: Option<i64>,
    /// Number of attempts.
    pub attempts: i32,
    /// Time at which it was accepted.
    pub sent_at: Option<i64>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
