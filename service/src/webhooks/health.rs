//! Webhook health: the effects of delivery results on a webhook.
//!
//! - The first permanent failure sets `failing_since` and alerts the administrators and the owners of the webhook's
//!   resource type; the next success clears it.
//! - 410 Gone disables the webhook.

use crate::audit_trail::{Author, Record, Target};
use crate::db::entity::{notifications, webhooks};
use crate::db::link::DatabaseTransaction;
use crate::error::Result;
use crate::notifications::Notifications;
use crate::outbox::AttemptResult;
use chrono::{DateTime, Duration, Utc};
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::change::{Change, Severity, WebhookChange};
use domain::delivery::{DeliveryStatus, DiagnosisCode};
use domain::id::WebhookId;
use domain::ownership::ResourceKey;
use domain::webhook::WebhookState;
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Order, Query};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, UpdateMany};
use std::collections::BTreeMap;

/// Minimum interval of alerts about one webhook, so that a flaky receiver does not cause one for each batch of results.
const ALERT_COOLDOWN: Duration = Duration::minutes(1);
/// Number of newest notifications that are searched for a recent alert.
const ALERT_WINDOW: u64 = 200;

/// Applies the results of deliveries that ended, in one transaction with their record. Returns the changes to announce
/// after the commit, and the entries of the audit log to append before it.
pub(crate) async fn apply<'a>(
    notifications: &Notifications,
    tx: &DatabaseTransaction,
    results: impl Iterator<Item = &'a AttemptResult>,
    now: DateTime<Utc>,
) -> Result<(Vec<Change>, Vec<Record>)> {
    let (mut changes, mut records) = (Vec::new(), Vec::new());
    for (id, result) in decisive_results(results) {
        let config = result.config();
        let (severity, message) = if result.diagnosis.code == DiagnosisCode::Gone {
            if !disable(tx, id, now).await? {
                continue;
            }
            let target = Target::named(AuditTargetType::Webhook, id, &config.name);
            let changed = Changes::none().field("state", WebhookState::Enabled, WebhookState::Gone);
            let record = Record::new(Author::System, AuditAction::WebhookDisabled, target).changes(changed);
            records.push(record.detail("The receiver responded 410 Gone."));
            let message = format!(
                "{} responded 410 Gone and was disabled. Its events are kept. Resume it when its service is back.",
                config.name
            );
            (Severity::Error, message)
        } else if result.status == DeliveryStatus::Failed && !config.failing {
            if !begin_failing(tx, id, now).await? {
                continue;
            }
            (Severity::Error, format!("Deliveries to {} fail: {}", config.name, result.diagnosis.message))
        } else if result.status == DeliveryStatus::Succeeded && config.failing {
            if !end_failing(tx, id).await? {
                continue;
            }
            (Severity::Info, format!("Deliveries to {} succeed again.", config.name))
        } else {
            continue;
        };
        let owned = config.resource_type.as_deref().map(ResourceKey::of_type);
        let alerts = notifications.create_for_managers(tx, owned, severity, &message, Some(&link(id))).await?;
        changes.extend(alerts.into_iter().map(Change::Notification));
        let resource_type = config.resource_type.clone();
        changes.push(Change::Webhook(WebhookChange {
            id,
            deleted: false,
            resource_type,
            previous_resource_type: None,
        }));
    }
    Ok((changes, records))
}

/// The decisive result of each webhook: the last one that ended a delivery, or a 410, which outweighs later results of
/// the same batch. Sorted by webhook, so that concurrent transactions lock rows in the same order, which avoids a
/// deadlock.
fn decisive_results<'a>(results: impl Iterator<Item = &'a AttemptResult>) -> BTreeMap<WebhookId, &'a AttemptResult> {
    let mut decisive: BTreeMap<WebhookId, &AttemptResult> = BTreeMap::new();
    for result in results.filter(|result| result.status.is_final()) {
        decisive
            .entry(result.config().id)
            .and_modify(|known| {
                if known.diagnosis.code != DiagnosisCode::Gone || result.diagnosis.code == DiagnosisCode::Gone {
                    *known = result;
                }
            })
            .or_insert(result);
    }
    decisive
}

/// The page of a webhook, for links in alerts.
fn link(id: WebhookId) -> String {
    format!("/settings/webhooks/{id}")
}

/// An update of a webhook that invalidates cached settings.
fn update(id: WebhookId) -> UpdateMany<webhooks::Entity> {
    webhooks::Entity::update_many()
        .col_expr(webhooks::Column::Revision, Expr::col(webhooks::Column::Revision).add(1))
        .filter(webhooks::Column::Id.eq(id))
}

/// Disables an enabled webhook. Returns whether the row changed.
async fn disable(tx: &DatabaseTransaction, id: WebhookId, now: DateTime<Utc>) -> Result<bool> {
    let failing_since = Expr::col(webhooks::Column::FailingSince).if_null(Expr::value(now.timestamp_millis()));
    let updated = update(id)
        .col_expr(webhooks::Column::State, Expr::value(WebhookState::Gone.as_str()))
        .col_expr(webhooks::Column::FailingSince, failing_since)
        .filter(webhooks::Column::State.eq(WebhookState::Enabled.as_str()))
        .filter(webhooks::Column::DeletedAt.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Marks a webhook as failing, unless it is already failing or had an alert within the cooldown. Returns whether the
/// row changed.
async fn begin_failing(tx: &DatabaseTransaction, id: WebhookId, now: DateTime<Utc>) -> Result<bool> {
    let (n, since) = (Alias::new("n"), (now - ALERT_COOLDOWN).timestamp_millis());
    let newest = Query::select()
        .columns([notifications::Column::Link, notifications::Column::At])
        .from(notifications::Entity)
        .order_by(notifications::Column::Id, Order::Desc)
        .limit(ALERT_WINDOW)
        .to_owned();
    let recent_alert = Query::select()
        .expr(Expr::value(1))
        .from_subquery(newest, n.clone())
        .and_where(Expr::col((n.clone(), notifications::Column::Link)).eq(link(id)))
        .and_where(Expr::col((n, notifications::Column::At)).gt(since))
        .to_owned();
    let updated = update(id)
        .col_expr(webhooks::Column::FailingSince, Expr::value(now.timestamp_millis()))
        .filter(webhooks::Column::FailingSince.is_null())
        .filter(webhooks::Column::DeletedAt.is_null())
        .filter(Expr::exists(recent_alert).not())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected > 0)
}

/// Ends the failing state of a webhook. Returns whether the row changed.
async fn end_failing(tx: &DatabaseTransaction, id: WebhookId) -> Result<bool> {
    let updated = update(id)
        .col_expr(webhooks::Column::FailingSince, Expr::value(Option::<i64>::None))
        .filter(webhooks::Column::FailingSince.is_not_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected > 0)
}
