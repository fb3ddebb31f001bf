//! The local listeners of webhooks.

use sea_orm::entity::prelude::*;

/// The listener that connected last to a webhook with the delivery mode `local`. Separate from `webhooks`, because each
/// request of a listener changes it.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_listeners")]
pub(crate) struct Model {
    /// The webhook.
    #[sea_orm(primary_key, auto_increment = false)]
    pub webhook_id: i64,
    /// Id of the connection: the beginning of the tokens of its leases.
    pub listener: String,
    /// Time of its connection.
    pub connected_at: i64,
    /// Time of its last request.
    pub seen_at: i64,
    /// Time of its orderly end; NULL before.
    pub disconnected_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
