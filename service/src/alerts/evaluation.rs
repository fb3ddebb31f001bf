//! The evaluation of rules: measures all webhooks, moves the states of rules, and creates alerts with their notices.

use super::measurement::Measured;
use super::notices::Draft;
use super::rules::StoredRules;
use super::{Alerts, millis, webhook_link};
use crate::Result;
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::{alert_states, alerts, webhook_monitors, webhooks};
use crate::db::link::DatabaseTransaction;
use crate::webhooks::change_of;
use chrono::{DateTime, Utc};
use domain::Problem;
use domain::alert::{
    Alert, AlertKind, AlertRule, AlertStatus, Condition, ExpiringCertificate, NoticeAlert, NoticeKind, Step,
    Transition, alert_message,
};
use domain::change::{Change, Severity};
use domain::id::WebhookId;
use domain::ownership::ResourceKey;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, SelectStatement};
use sea_orm::{
    EntityTrait as _, NotSet, QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, TryInsertResult,
};
use std::collections::HashMap;

/// Everything that a round reads.
struct Observed {
    webhooks: Vec<webhooks::Model>,
    monitors: HashMap<WebhookId, webhook_monitors::Model>,
    round: Round,
    /// Whether deleted webhooks have states of rules.
    has_left: bool,
}

/// The rules, values and states of one round.
struct Round {
    now: DateTime<Utc>,
    rules: StoredRules,
    measured: HashMap<WebhookId, Measured>,
    states: HashMap<(WebhookId, AlertKind), alert_states::Model>,
    /// Alerts that fire.
    firing: HashMap<i64, alerts::Model>,
}

/// The change of the state of one rule.
struct Move<'a> {
    webhook: &'a webhooks::Model,
    rule: AlertRule,
    value: Option<f64>,
    /// The certificate that expires first.
    certificate: ExpiringCertificate,
    state: Option<&'a alert_states::Model>,
    step: Step,
    /// Whether an active alert has no notices yet, because it was muted.
    is_due: bool,
}

impl Alerts {
    /// Evaluates every rule once, pauses webhooks that fail for too long, and handles their recovery.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn evaluate(&self) -> Result<(), Problem> {
        Ok(self.run_round().await?)
    }

    async fn run_round(&self) -> Result<()> {
        let now = self.context.now();
        let mut observed = self.observe(now).await?;
        self.store_observations(&observed.webhooks).await?;
        if self.pause_and_recover(&observed.webhooks, &observed.monitors, &observed.round.measured, now).await? {
            // The rule `disabled` depends on pauses.
            observed = self.observe(now).await?;
        }
        self.move_states(&observed).await
    }

    /// Reads everything that a round needs, in one transaction: an idle process must not use the database much.
    async fn observe(&self, now: DateTime<Utc>) -> Result<Observed> {
        let tx = self.context.db.begin_snapshot().await?;
        let webhooks = webhooks::Entity::find()
            .filter(webhooks::COLUMN.deleted_at.is_null())
            .order_by_asc(webhooks::COLUMN.id)
            .all(&tx)
            .await?;
        let monitors = webhook_monitors::Entity::find().all(&tx).await?;
        let monitors = monitors.into_iter().map(|row| (row.webhook_id, row)).collect();
        let all: Vec<&webhooks::Model> = webhooks.iter().collect();
        let measured = self.measure(&tx, &all, &monitors, now).await?;
        let rules = StoredRules::read(&tx).await?;
        let state = |row: alert_states::Model| Some(((row.webhook_id, AlertKind::parse(&row.kind)?), row));
        let states = alert_states::Entity::find().all(&tx).await?.into_iter().filter_map(state).collect();
        let firing = alerts::Entity::find().filter(alerts::COLUMN.resolved_at.is_null()).all(&tx).await?;
        let firing = firing.into_iter().map(|alert| (alert.id, alert)).collect();
        let has_left = alert_states::Entity::find()
            .filter(alert_states::COLUMN.webhook_id.in_subquery(deleted_webhooks()))
            .one(&tx)
            .await?
            .is_some();
        tx.commit().await?;
        Ok(Observed { webhooks, monitors, has_left, round: Round { now, rules, measured, states, firing } })
    }

    async fn move_states(&self, observed: &Observed) -> Result<()> {
        let round = &observed.round;
        for webhook in &observed.webhooks {
            for kind in AlertKind::ALL {
                let moved = round.evaluate(webhook, *kind);
                if moved.step.transition == Transition::None && !moved.is_due && !moved.changes_status() {
                    continue;
                }
                self.apply(round, &moved).await?;
            }
        }
        if observed.has_left {
            self.end_alerts_of_deleted(round.now).await?;
        }
        Ok(())
    }

    /// Stores a move with its alert and notices, unless another process has done so.
    async fn apply(&self, round: &Round, moved: &Move<'_>) -> Result<()> {
        let tx = self.context.db.begin_unaudited().await?;
        let (webhook, now) = (moved.webhook, round.now);
        let mut alert_id = moved.state.and_then(|state| state.alert_id);
        let mut notice = None;
        match moved.step.transition {
            Transition::Fired => {
                let message =
                    alert_message(&webhook.name, &moved.rule, moved.value.unwrap_or_default(), moved.certificate);
                let is_muted = round.is_muted(moved.state);
                let alert = alerts::ActiveModel {
                    id: NotSet,
                    webhook_id: Set(webhook.id),
                    kind: Set(moved.rule.kind.as_str().to_owned()),
                    value: Set(moved.value.unwrap_or_default()),
                    threshold: Set(moved.rule.threshold),
                    message: Set(message.clone()),
                    fired_at: Set(millis(now)),
                    resolved_at: Set(None),
                    notified: Set(!is_muted),
                };
                let id = alerts::Entity::insert(alert).exec(&tx).await?.last_insert_id;
                alert_id = Some(id);
                if !is_muted {
                    notice = Some((NoticeKind::Firing, moved.alert(id, now, None), message));
                }
            }
            Transition::Resolved => {
                let alert = alert_id.take().and_then(|id| round.firing.get(&id));
                if let Some(alert) = alert {
                    set_resolved(&tx, alert.id, now).await?;
                    if alert.notified && !round.is_muted(moved.state) {
                        let message = format!("{}: {} is back to normal.", webhook.name, moved.rule.kind.label());
                        let shown = moved.alert(alert.id, time(alert.fired_at), Some(now));
                        let shown = NoticeAlert { value: moved.value.unwrap_or(alert.value), ..shown };
                        notice = Some((NoticeKind::Resolved, shown, message));
                    }
                }
            }
            Transition::None if moved.is_due => {
                if let Some(alert) = alert_id.and_then(|id| round.firing.get(&id)) {
                    let notified = alerts::Entity::update_many()
                        .col_expr(alerts::Column::Notified, Expr::value(true))
                        .filter(alerts::COLUMN.id.eq(alert.id))
                        .filter(alerts::COLUMN.notified.eq(false));
                    if notified.exec(&tx).await?.rows_affected != 1 {
                        return Ok(());
                    }
                    let shown = moved.alert(alert.id, time(alert.fired_at), None);
                    notice = Some((NoticeKind::Firing, shown, alert.message.clone()));
                }
            }
            Transition::None => {}
        }
        if !save_state(&tx, moved, alert_id).await? {
            return Ok(());
        }
        let mut changes = vec![Change::Webhook(change_of(webhook))];
        let is_notice = notice.is_some();
        if let Some((kind, alert, message)) = notice {
            let severity = if kind == NoticeKind::Firing { Severity::Error } else { Severity::Info };
            // A pause and a 410 have notifications of their own.
            if alert.kind != AlertKind::Disabled {
                let link = webhook_link(webhook.id);
                let owned = webhook.resource_type.as_deref().map(ResourceKey::of_type);
                let created =
                    self.notifications.create_for_managers(&tx, owned, severity, &message, Some(&link)).await?;
                changes.extend(created.into_iter().map(Change::Notification));
            }
            self.enqueue(&tx, webhook, Draft { kind, message, alert: Some(alert) }).await?;
        }
        tx.commit().await?;
        self.feed.publish(changes);
        if is_notice {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Ends the alerts of deleted webhooks, without notices.
    async fn end_alerts_of_deleted(&self, now: DateTime<Utc>) -> Result<()> {
        let tx = self.context.db.begin_unaudited().await?;
        alerts::Entity::update_many()
            .col_expr(alerts::Column::ResolvedAt, Expr::value(millis(now)))
            .filter(alerts::COLUMN.resolved_at.is_null())
            .filter(alerts::COLUMN.webhook_id.in_subquery(deleted_webhooks()))
            .exec(&tx)
            .await?;
        alert_states::Entity::delete_many()
            .filter(alert_states::COLUMN.webhook_id.in_subquery(deleted_webhooks()))
            .exec(&tx)
            .await?;
        Ok(tx.commit().await?)
    }
}

impl Round {
    /// The move of one rule.
    fn evaluate<'a>(&'a self, webhook: &'a webhooks::Model, kind: AlertKind) -> Move<'a> {
        let (rule, _) = self.rules.effective(webhook.id, kind);
        let state = self.states.get(&(webhook.id, kind));
        let condition = state.map_or_else(|| Condition::initial(self.now), condition_of);
        let measured = self.measured.get(&webhook.id);
        let value = measured.and_then(|measured| measured.value(kind));
        let certificate = measured.map(|measured| measured.certificate).unwrap_or_default();
        let step = condition.step(&rule, value, self.now);
        let alert = state.and_then(|state| self.firing.get(&state.alert_id?));
        let is_due = step.condition.status == AlertStatus::Firing
            && alert.is_some_and(|alert| !alert.notified)
            && !self.is_muted(state);
        Move { webhook, rule, value, certificate, state, step, is_due }
    }

    fn is_muted(&self, state: Option<&alert_states::Model>) -> bool {
        state.and_then(|state| state.muted_until).is_some_and(|until| millis(self.now) < until)
    }
}

impl Move<'_> {
    fn changes_status(&self) -> bool {
        self.state.map(|state| state.status.0).unwrap_or_default() != self.step.condition.status
    }

    fn alert(&self, id: i64, fired_at: DateTime<Utc>, resolved_at: Option<DateTime<Utc>>) -> NoticeAlert {
        NoticeAlert {
            id,
            kind: self.rule.kind,
            value: self.value.unwrap_or_default(),
            threshold: self.rule.threshold,
            fired_at,
            resolved_at,
        }
    }
}

/// The stored state of a rule.
pub(super) fn condition_of(state: &alert_states::Model) -> Condition {
    Condition { status: state.status.0, since: time(state.since) }
}

/// Stores the state of a rule, unless it has changed since the round read it. Returns whether it did.
async fn save_state(tx: &DatabaseTransaction, moved: &Move<'_>, alert_id: Option<i64>) -> Result<bool> {
    let Condition { status, since } = moved.step.condition;
    let (webhook_id, kind) = (moved.webhook.id, moved.rule.kind.as_str());
    let row = alert_states::ActiveModel {
        webhook_id: Set(webhook_id),
        kind: Set(kind.to_owned()),
        status: Set(Text(status)),
        since: Set(millis(since)),
        alert_id: Set(alert_id),
        muted_until: NotSet,
        revision: Set(moved.state.map_or(1, |state| state.revision + 1)),
    };
    let Some(state) = moved.state else {
        let row = alert_states::ActiveModel { muted_until: Set(None), ..row };
        let insert = alert_states::Entity::insert(row).on_conflict_do_nothing();
        let inserted = insert.exec_without_returning(tx).await?;
        return Ok(matches!(inserted, TryInsertResult::Inserted(rows) if rows > 0));
    };
    let row = alert_states::ActiveModel { webhook_id: NotSet, kind: NotSet, ..row };
    let updated = alert_states::Entity::update_many()
        .set(row)
        .filter(alert_states::COLUMN.webhook_id.eq(webhook_id))
        .filter(alert_states::COLUMN.kind.eq(kind))
        .filter(alert_states::COLUMN.revision.eq(state.revision))
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

async fn set_resolved(tx: &DatabaseTransaction, id: i64, now: DateTime<Utc>) -> Result<()> {
    alerts::Entity::update_many()
        .col_expr(alerts::Column::ResolvedAt, Expr::value(millis(now)))
        .filter(alerts::COLUMN.id.eq(id))
        .exec(tx)
        .await?;
    Ok(())
}

/// An alert for callers.
pub(super) fn to_alert(row: alerts::Model, webhook_name: String, muted_until: Option<i64>) -> Option<Alert> {
    Some(Alert {
        id: row.id,
        webhook_id: row.webhook_id,
        webhook_name,
        kind: AlertKind::parse(&row.kind)?,
        value: row.value,
        threshold: row.threshold,
        message: row.message,
        fired_at: time(row.fired_at),
        resolved_at: row.resolved_at.map(time),
        muted_until: muted_until.map(time),
    })
}

/// The ids of deleted webhooks, as a subquery.
fn deleted_webhooks() -> SelectStatement {
    webhooks::Entity::find()
        .select_only()
        .column(webhooks::Column::Id)
        .filter(webhooks::COLUMN.deleted_at.is_not_null())
        .into_query()
}
