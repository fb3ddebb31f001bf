//! Alerts that fire or have ended.

use sea_orm::entity::prelude::*;

/// One alert.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "alerts")]
pub(crate) struct Model {
    /// Identifier.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The webhook.
    pub webhook_id: i64,
    /// The kind of the rule.
    pub kind: String,
    /// The value at which it fired.
    pub value: f64,
    /// The threshold at that time.
    pub threshold: f64,
    /// One sentence.
    pub message: String,
    /// Time at which it fired.
    pub fired_at: i64,
    /// Time at which it ended; NULL while it fires.
    pub resolved_at: Option<i64>,
    /// Whether notices were created. They are not while the rule is muted.
    pub notified: bool,
    /// The webhook.
    #[sea_orm(belongs_to, from = "webhook_id", to = "id", skip_fk)]
    pub webhook: BelongsTo<super::webhooks::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
