//! Alert rules that differ from Berth's own.

use domain::alert::{AlertKind, AlertRule};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;

/// The id that stands for all webhooks.
pub(crate) const ALL_WEBHOOKS: i64 = 0;

/// One rule of one webhook, or of all webhooks.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "alert_rules")]
pub(crate) struct Model {
    /// The webhook; 0 = all webhooks.
    #[sea_orm(primary_key, auto_increment = false)]
    pub webhook_id: i64,
    /// What is measured.
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: String,
    /// Whether the rule is applied.
    pub enabled: bool,
    /// The value at which the alert fires.
    pub threshold: f64,
    /// The value at which the alert ends.
    pub clear_threshold: f64,
    /// Time in seconds for which the condition must last.
    pub for_seconds: i64,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The rule; `None` for a kind that only a newer release knows.
    pub(crate) fn to_rule(&self) -> Option<AlertRule> {
        Some(AlertRule {
            kind: AlertKind::parse(&self.kind)?,
            enabled: self.enabled,
            threshold: self.threshold,
            clear_threshold: self.clear_threshold,
            for_seconds: u32::try_from(self.for_seconds).unwrap_or_default(),
        })
    }

    /// The row of a rule.
    pub(crate) fn of_rule(webhook_id: i64, rule: &AlertRule) -> ActiveModel {
        ActiveModel {
            webhook_id: Set(webhook_id),
            kind: Set(rule.kind.as_str().to_owned()),
            enabled: Set(rule.enabled),
            threshold: Set(rule.threshold),
            clear_threshold: Set(rule.clear_threshold),
            for_seconds: Set(rule.for_seconds.into()),
        }
    }
}
