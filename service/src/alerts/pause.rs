//! The automatic pause of webhooks that fail for too long, and their recovery.
//!
//! Nothing is lost: events stay queued while a webhook is paused. What failed before the pause is redelivered on recovery.

use super::measurement::Measured;
use super::notices::Draft;
use super::{Alerts, millis, webhook_link};
use crate::Result;
use crate::audit_trail::{AuditedTransaction, Author, Record, Target};
use crate::db::codec::time;
use crate::db::column::Text;
use crate::db::entity::{webhook_monitors, webhooks};
use crate::webhooks::{change_of, clear_pause};
use chrono::{DateTime, Duration, Utc};
use domain::alert::NoticeKind;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::change::{Change, Severity};
use domain::id::WebhookId;
use domain::ownership::ResourceKey;
use domain::webhook::{WebhookState, failure_start, has_recovered};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{EntityTrait as _, QueryFilter as _};
use std::collections::HashMap;

impl Alerts {
    /// Pauses webhooks that fail for too long, and handles the recovery of paused ones. Returns whether one changed.
    pub(super) async fn pause_and_recover(
        &self,
        webhooks: &[webhooks::Model],
        monitors: &HashMap<WebhookId, webhook_monitors::Model>,
        measured: &HashMap<WebhookId, Measured>,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let mut changed = false;
        for webhook in webhooks {
            let Some(monitor) = monitors.get(&webhook.id) else { continue };
            changed |= match (webhook.state.0, monitor.paused_at) {
                (WebhookState::Enabled, paused_at) => {
                    if paused_at.is_some() {
                        // A process of the previous version has resumed it.
                        clear_pause(&self.context.db.write, webhook.id).await?;
                    }
                    let last_success = measured.get(&webhook.id).and_then(|measured| measured.last_success);
                    self.pause_if_failing(webhook, monitor, last_success, now).await?
                }
                (WebhookState::Paused, Some(paused_at)) => {
                    let is_new = monitor.recovered_at.is_none() && has_recovered(time(paused_at), &monitor.health());
                    is_new && self.handle_recovery(webhook, monitor, now).await?
                }
                _ => false,
            };
        }
        Ok(changed)
    }

    async fn pause_if_failing(
        &self,
        webhook: &webhooks::Model,
        monitor: &webhook_monitors::Model,
        last_success: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let Some(minutes) = monitor.pause_after else { return Ok(false) };
        let start = failure_start(webhook.failing_since.map(time), &monitor.health(), last_success);
        let Some(start) = start.filter(|start| now - *start >= Duration::minutes(minutes)) else { return Ok(false) };
        let tx = self.context.begin_change().await?;
        if !set_state(&tx, webhook, WebhookState::Paused, now).await? {
            return Ok(false);
        }
        let row = webhook_monitors::ActiveModel {
            paused_at: Set(Some(millis(now))),
            pause_failing_since: Set(Some(millis(start))),
            recovered_at: Set(None),
            ..Default::default()
        };
        webhook_monitors::Entity::update_many()
            .set(row)
            .filter(webhook_monitors::COLUMN.webhook_id.eq(webhook.id))
            .exec(&tx)
            .await?;
        let message = format!("{} has failed for {minutes} min and was paused. Its events are kept.", webhook.name);
        let record = system_record(webhook, AuditAction::WebhookPaused)
            .changes(Changes::none().field("state", WebhookState::Enabled, WebhookState::Paused))
            .detail(format!("It failed for {minutes} minutes."));
        self.announce(tx, webhook, (None, Severity::Error, message), record.into()).await?;
        Ok(true)
    }

    /// Resumes a webhook whose receiver has recovered, or offers it to the owners.
    async fn handle_recovery(
        &self,
        webhook: &webhooks::Model,
        monitor: &webhook_monitors::Model,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let since = time(monitor.pause_failing_since.or(monitor.paused_at).unwrap_or_default());
        if !monitor.resume_on_recovery {
            let tx = self.context.begin_change().await?;
            let marked = webhook_monitors::Entity::update_many()
                .col_expr(webhook_monitors::Column::RecoveredAt, Expr::value(millis(now)))
                .filter(webhook_monitors::COLUMN.webhook_id.eq(webhook.id))
                .filter(webhook_monitors::COLUMN.recovered_at.is_null())
                .filter(webhook_monitors::COLUMN.paused_at.eq(monitor.paused_at))
                .exec(&tx)
                .await?;
            if marked.rows_affected != 1 {
                return Ok(false);
            }
            let message = format!("{} is healthy again. Resume it to send its queued events.", webhook.name);
            self.announce(tx, webhook, (Some(NoticeKind::Recovered), Severity::Info, message), Vec::new()).await?;
            return Ok(true);
        }
        // First, so that an interrupted recovery is repeated: what was redelivered is skipped.
        let redelivered = self.deliveries.redeliver_failed(Author::System, webhook.id, since).await?;
        let tx = self.context.begin_change().await?;
        if !set_state(&tx, webhook, WebhookState::Enabled, now).await? {
            return Ok(false);
        }
        clear_pause(&*tx, webhook.id).await?;
        let record = system_record(webhook, AuditAction::WebhookResumed)
            .changes(Changes::none().field("state", WebhookState::Paused, WebhookState::Enabled))
            .detail("Its health checks pass again.");
        let message = match redelivered {
            0 => format!("{} is healthy again and was resumed.", webhook.name),
            count => {
                format!("{} is healthy again and was resumed; {count} failed deliveries are sent again.", webhook.name)
            }
        };
        self.announce(tx, webhook, (Some(NoticeKind::Recovered), Severity::Info, message), record.into()).await?;
        self.feed.wake_dispatchers(webhook.id.into());
        Ok(true)
    }

    /// Commits a pause or recovery with its notifications and a notice, and announces it. A pause has no notice of its own: the
    /// alert `disabled` reports it.
    async fn announce(
        &self,
        tx: AuditedTransaction,
        webhook: &webhooks::Model,
        (notice, severity, message): (Option<NoticeKind>, Severity, String),
        records: Vec<Record>,
    ) -> Result<()> {
        let owned = webhook.resource_type.as_deref().map(ResourceKey::of_type);
        let link = webhook_link(webhook.id);
        let created = self.notifications.create_for_managers(&tx, owned, severity, &message, Some(&link)).await?;
        if let Some(kind) = notice {
            self.enqueue(&tx, webhook, Draft { kind, message, alert: None }).await?;
        }
        tx.commit(records).await?;
        let mut changes = vec![Change::Webhook(change_of(webhook))];
        changes.extend(created.into_iter().map(Change::Notification));
        self.feed.publish(changes);
        self.wake.notify_one();
        Ok(())
    }
}

fn system_record(webhook: &webhooks::Model, action: AuditAction) -> Record {
    Record::new(Author::System, action, Target::named(AuditTargetType::Webhook, webhook.id, &webhook.name))
}

/// Changes the state of a webhook unless it was changed since `webhook` was read. Returns whether it did.
async fn set_state(
    tx: &AuditedTransaction,
    webhook: &webhooks::Model,
    state: WebhookState,
    now: DateTime<Utc>,
) -> Result<bool> {
    let mut row = webhooks::ActiveModel { state: Set(Text(state)), updated_at: Set(millis(now)), ..Default::default() };
    if state == WebhookState::Enabled {
        row.failing_since = Set(None);
    }
    let updated = webhooks::Entity::update_many()
        .set(row)
        .col_expr(webhooks::Column::Revision, Expr::col(webhooks::Column::Revision).add(1))
        .filter(webhooks::COLUMN.id.eq(webhook.id))
        .filter(webhooks::COLUMN.revision.eq(webhook.revision))
        .filter(webhooks::COLUMN.deleted_at.is_null())
        .exec(tx)
        .await?;
    Ok(updated.rows_affected == 1)
}
