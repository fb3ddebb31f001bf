//! Webhooks: settings, secrets, test events, certification of receivers, checks before saving, and statistics.

mod automatic_pause;
mod certify;
mod check_draft;
mod crud;
pub(crate) mod health;
mod public_keys;
mod secret_age;
mod secret_use;
mod secrets;
mod stats;
mod test_event;
mod tls;

pub(crate) use automatic_pause::clear_pause;

use crate::audit_trail::{AuditedTransaction, Record, Target};
use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::db::entity::webhooks;
use crate::db::link::DatabaseTransaction;
use crate::db::queue_cancel::Queued;
use crate::deliveries::Deliveries;
use crate::outbox::ConfigCache;
use crate::secrets::Cipher;
use crate::{Result, provisioning, reservations};
use crud::to_webhook;
use domain::audit::{AuditAction, AuditTargetType, Changes};
use domain::authorization::{Action, Actor};
use domain::change::{Change, WebhookChange};
use domain::id::WebhookId;
use domain::revision::Condition;
use domain::webhook::WebhookState;
use domain::{Problem, ProblemKind};
use sea_orm::ActiveValue::Set;
use sea_orm::{ConnectionTrait, EntityTrait as _, QueryFilter as _};

/// Use cases of webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    context: Context,
    cipher: Cipher,
    sender: delivery::Sender,
    feed: ChangeFeed,
    deliveries: Deliveries,
    configs: ConfigCache,
    /// The condition of changes.
    condition: Condition,
}

/// Reads a webhook that is not deleted.
///
/// # Errors
/// 404.
pub(crate) async fn find_webhook(connection: &impl ConnectionTrait, id: WebhookId) -> Result<webhooks::Model> {
    let webhook =
        webhooks::Entity::find_by_id(id).filter(webhooks::COLUMN.deleted_at.is_null()).one(connection).await?;
    Ok(webhook.ok_or_else(|| Problem::not_found("webhook"))?)
}

/// A change of a webhook that keeps its resource type.
pub(crate) fn change_of(webhook: &webhooks::Model) -> WebhookChange {
    let resource_type = webhook.resource_type.clone();
    WebhookChange { id: webhook.id, deleted: false, resource_type, previous_resource_type: None }
}

/// The refusal of an operation that only its listener can perform for a local webhook.
fn only_listener_sends() -> Problem {
    Problem::conflict(
        "Berth does not call the endpoint of a local webhook; its listener does. Redeliver an event instead, or reserve a \
         resource.",
    )
}

/// The permission to read a webhook.
fn read_action(webhook: &webhooks::Model) -> Action<'_> {
    Action::ReadWebhook { resource_type: webhook.resource_type.as_deref() }
}

/// The permission to change a webhook.
fn write_action(webhook: &webhooks::Model) -> Action<'_> {
    Action::WriteWebhook { resource_type: webhook.resource_type.as_deref() }
}

impl Webhooks {
    pub(crate) fn new(
        context: Context,
        cipher: Cipher,
        sender: delivery::Sender,
        feed: ChangeFeed,
        deliveries: Deliveries,
        configs: ConfigCache,
    ) -> Self {
        Self { context, cipher, sender, feed, deliveries, configs, condition: Condition::Any }
    }

    /// The same use cases, which change settings, rotate secrets and delete only under a condition.
    #[must_use]
    pub fn if_match(&self, condition: Condition) -> Self {
        Self { condition, ..self.clone() }
    }

    /// Checks the condition of a change.
    ///
    /// # Errors
    /// 412 if the webhook has another revision.
    fn check_condition(&self, current: &webhooks::Model) -> Result<(), Problem> {
        if self.condition.permits(current.revision) {
            return Ok(());
        }
        Err(Problem::new(
            ProblemKind::PreconditionFailed,
            "The webhook was changed since you read it. Read it again, and repeat the change with its new ETag.",
        ))
    }

    /// Reads a webhook that is not deleted.
    ///
    /// # Errors
    /// 404.
    async fn find(&self, id: WebhookId) -> Result<webhooks::Model> {
        find_webhook(&self.context.db.read, id).await
    }

    /// Saves changes unless the row has changed since `current` was read (optimistic concurrency). Returns whether it
    /// saved. `secrets` are the secrets that the changes replace.
    async fn save_if_unchanged(
        &self,
        actor: &Actor,
        action: AuditAction,
        current: &webhooks::Model,
        changes: webhooks::ActiveModel,
        secrets: Changes,
    ) -> Result<bool> {
        let changes = webhooks::ActiveModel {
            revision: Set(current.revision + 1),
            updated_at: Set(self.context.now().timestamp_millis()),
            ..changes
        };
        let tx = self.context.begin_change().await?;
        let result = webhooks::Entity::update_many()
            .set(changes)
            .filter(webhooks::COLUMN.id.eq(current.id))
            .filter(webhooks::COLUMN.revision.eq(current.revision))
            .exec(&tx)
            .await?;
        if result.rows_affected != 1 {
            return Ok(false);
        }
        self.commit(tx, actor, action, Some(current), current.id, secrets).await?;
        Ok(true)
    }

    /// Commits a change with its entry of the audit log. `before` is the row before the change, and `secrets` are the
    /// secrets that the change sets.
    async fn commit(
        &self,
        tx: AuditedTransaction,
        actor: &Actor,
        action: AuditAction,
        before: Option<&webhooks::Model>,
        id: WebhookId,
        secrets: Changes,
    ) -> Result<()> {
        let now = self.context.now();
        let view = |model: &webhooks::Model| to_webhook(model.clone(), stats::summary(false, None, 0), now);
        let after = webhooks::Entity::find_by_id(id).one(&*tx).await?.ok_or_else(Problem::internal)?;
        if after.state.0 == WebhookState::Enabled {
            clear_pause(&*tx, id).await?;
        }
        let before_headers = before.map(|before| before.headers.0.as_slice()).unwrap_or_default();
        let changes = match before {
            None => Changes::created(&view(&after)),
            Some(before) if after.deleted_at.is_some() => Changes::deleted(&view(before)),
            Some(before) => Changes::between(&view(before), &view(&after)),
        };
        let changes = changes.and(secrets).secret_headers(before_headers, &after.headers.0);
        let target = Target::named(AuditTargetType::Webhook, id, &after.name);
        tx.commit(Record::new(actor, action, target).changes(changes)).await
    }

    /// Cancels a webhook's queued deliveries. Returns the changes to announce after the commit.
    async fn cancel_queued(&self, tx: &DatabaseTransaction, id: WebhookId, reason: &str) -> Result<Vec<Change>> {
        let changed = provisioning::cancel_queued(&self.context, tx, Queued::Webhook(id), reason).await?;
        reservations::changes_of(&self.context, &self.feed, tx, &changed).await
    }

    /// Announces a committed change, and wakes the dispatchers, because it may make deliveries claimable.
    fn publish_change(&self, change: WebhookChange) {
        let id = change.id;
        self.feed.publish(vec![Change::Webhook(change)]);
        self.feed.wake_dispatchers(id.into());
    }
}
