//! Counters of attempts by time.

use sea_orm::entity::prelude::*;

/// The number of attempts of one kind that started within one step.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "delivery_counts")]
pub(crate) struct Model {
    /// Length of the step in seconds.
    #[sea_orm(primary_key, auto_increment = false)]
    pub step: i64,
    /// Start of the step in seconds since the epoch, a multiple of `step`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub start_at: i64,
    /// The webhook.
    #[sea_orm(primary_key, auto_increment = false)]
    pub webhook_id: i64,
    /// Type of the event.
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_type: String,
    /// Class of the response (`domain::metrics::ResponseClass`).
    #[sea_orm(primary_key, auto_increment = false)]
    pub class: String,
    /// Success or failure (`domain::delivery::Outcome`).
    #[sea_orm(primary_key, auto_increment = false)]
    pub outcome: String,
    /// Bucket of the duration (`domain::metrics::bucket`).
    #[sea_orm(primary_key, auto_increment = false)]
    pub bucket: i32,
    /// Number of attempts.
    pub attempts: i64,
    /// The webhook.
    #[sea_orm(belongs_to, from = "webhook_id", to = "id", skip_fk)]
    pub webhook: BelongsTo<super::webhooks::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
