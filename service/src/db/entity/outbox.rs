//! The queue of open deliveries.

use sea_orm::entity::prelude::*;

/// One open delivery. Rows are narrow, because each claim, lease and retry changes them.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox")]
pub(crate) struct Model {
    /// Position of the delivery in the log.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// The webhook.
    pub webhook_id: i64,
    /// Deliveries of one webhook with the same key are sent in order.
    pub ordering_key: String,
    /// Earliest time of the next attempt.
    pub due_at: i64,
    /// Number of started attempts.
    pub attempts: i32,
    /// Token of the current lease; NULL without a lease.
    pub lease_owner: Option<String>,
    /// Expiry of the current lease.
    pub lease_until: Option<i64>,
    /// Time of the last change.
    pub updated_at: i64,
    /// Whether it was the first of its ordering key at insertion. A claim needs no order check for it.
    pub fresh: bool,
    /// The delivery.
    #[sea_orm(belongs_to, from = "seq", to = "seq", skip_fk)]
    pub delivery: BelongsTo<super::deliveries::Entity>,
    /// The webhook.
    #[sea_orm(belongs_to, from = "webhook_id", to = "id", skip_fk)]
    pub webhook: BelongsTo<super::webhooks::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
