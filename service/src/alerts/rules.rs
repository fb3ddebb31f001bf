//! The alert rules for all webhooks and for one.

use super::Alerts;
use crate::Result;
use crate::audit_trail::{Record, Target};
use crate::db::entity::alert_rules::{self, ALL_WEBHOOKS};
use crate::db::link::DatabaseTransaction;
use domain::alert::{AlertKind, AlertRule, AlertRules, AlertRulesInput, check_rules, effective_rule};
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor, authorize};
use domain::id::WebhookId;
use domain::problem::Validator;
use sea_orm::{ConnectionTrait, EntityTrait as _, QueryFilter as _};
use std::collections::HashMap;

/// All stored rules.
pub(super) struct StoredRules(HashMap<WebhookId, Vec<AlertRule>>);

impl StoredRules {
    /// Reads all rules. They are few: at most seven for each webhook.
    pub(super) async fn read(connection: &impl ConnectionTrait) -> Result<Self> {
        let mut rules: HashMap<WebhookId, Vec<AlertRule>> = HashMap::new();
        for row in alert_rules::Entity::find().all(connection).await? {
            if let Some(rule) = row.to_rule() {
                rules.entry(row.webhook_id).or_default().push(rule);
            }
        }
        Ok(Self(rules))
    }

    fn of(&self, webhook: WebhookId) -> &[AlertRule] {
        self.0.get(&webhook).map(Vec::as_slice).unwrap_or_default()
    }

    /// The rule that applies to a webhook, and whether it is its own.
    pub(super) fn effective(&self, webhook: WebhookId, kind: AlertKind) -> (AlertRule, bool) {
        effective_rule(kind, self.of(webhook), self.of(ALL_WEBHOOKS))
    }

    /// The webhook's own rules.
    pub(super) fn own(&self, webhook: WebhookId) -> Vec<AlertRule> {
        self.of(webhook).to_vec()
    }
}

/// Replaces the rules of a webhook, or of all webhooks.
pub(super) async fn replace(tx: &DatabaseTransaction, webhook: WebhookId, rules: &[AlertRule]) -> Result<()> {
    alert_rules::Entity::delete_many().filter(alert_rules::COLUMN.webhook_id.eq(webhook)).exec(tx).await?;
    if !rules.is_empty() {
        let rows = rules.iter().map(|rule| alert_rules::Model::of_rule(webhook, rule));
        alert_rules::Entity::insert_many(rows).exec_without_returning(tx).await?;
    }
    Ok(())
}

/// The change of rules, by kind.
pub(super) fn changes(before: &[AlertRule], after: &[AlertRule]) -> Changes {
    let mut changes = Changes::none();
    for kind in AlertKind::ALL {
        let find = |rules: &[AlertRule]| rules.iter().find(|rule| rule.kind == *kind).copied();
        let (before, after) = (find(before), find(after));
        if before != after {
            changes = changes.field(&format!("rules.{}", kind.as_str()), before, after);
        }
    }
    changes
}

impl Alerts {
    /// The rules for all webhooks without rules of their own.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, an auditor or an owner.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn rules(&self, actor: &Actor) -> Result<AlertRules> {
        authorize(actor, Action::ReadOwned)?;
        self.default_rules().await
    }

    async fn default_rules(&self) -> Result<AlertRules> {
        let stored = StoredRules::read(&self.context.db.read).await?;
        let rule = |kind: &AlertKind| stored.effective(ALL_WEBHOOKS, *kind).0;
        Ok(AlertRules { rules: AlertKind::ALL.iter().map(rule).collect() })
    }

    /// Replaces the rules for all webhooks.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator; 422 naming every invalid field.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn set_rules(&self, actor: &Actor, input: AlertRulesInput) -> Result<AlertRules> {
        authorize(actor, Action::ManageAlerts)?;
        let mut validator = Validator::new();
        check_rules(&input.rules, &mut validator);
        validator.finish()?;
        let before = StoredRules::read(&self.context.db.read).await?.own(ALL_WEBHOOKS);
        let tx = self.context.begin_change().await?;
        replace(&tx, ALL_WEBHOOKS, &input.rules).await?;
        let record = Record::new(actor, AuditAction::AlertRulesUpdated, Target::new(AuditTargetType::Alerts, ""));
        tx.commit(record.changes(changes(&before, &input.rules))).await?;
        self.default_rules().await
    }
}
