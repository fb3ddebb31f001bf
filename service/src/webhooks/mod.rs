//! Webhooks: settings, secrets, test events and statistics.

mod crud;
pub(crate) mod health;
mod secrets;
mod stats;
mod test_event;

use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::db::entity::webhooks;
use crate::db::link::DatabaseTransaction;
use crate::db::queue_cancel::Queued;
use crate::deliveries::Deliveries;
use crate::secrets::Cipher;
use crate::{Result, provisioning, reservations};
use domain::Problem;
use domain::change::{Change, WebhookChange};
use domain::id::WebhookId;
use sea_orm::ActiveValue::Set;
use sea_orm::{EntityTrait as _, QueryFilter as _};

/// Use cases of webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    context: Context,
    cipher: Cipher,
    sender: delivery::Sender,
    feed: ChangeFeed,
    deliveries: Deliveries,
}

impl Webhooks {
    pub(crate) fn new(
        context: Context,
        cipher: Cipher,
        sender: delivery::Sender,
        feed: ChangeFeed,
        deliveries: Deliveries,
    ) -> Self {
        Self { context, cipher, sender, feed, deliveries }
    }

    /// Reads a webhook that is not deleted.
    ///
    /// # Errors
    /// 404.
    async fn find(&self, id: WebhookId) -> Result<webhooks::Model> {
        let webhook = webhooks::Entity::find_by_id(id)
            .filter(webhooks::COLUMN.deleted_at.is_null())
            .one(&self.context.db.read)
            .await?;
        Ok(webhook.ok_or_else(|| Problem::not_found("webhook"))?)
    }

    /// Saves changes unless the row has changed since `current` was read (optimistic concurrency). Returns whether it
    /// saved.
    async fn save_if_unchanged(&self, current: &webhooks::Model, changes: webhooks::ActiveModel) -> Result<bool> {
        let changes = webhooks::ActiveModel {
            revision: Set(current.revision + 1),
            updated_at: Set(self.context.now().timestamp_millis()),
            ..changes
        };
        let result = webhooks::Entity::update_many()
            .set(changes)
            .filter(webhooks::COLUMN.id.eq(current.id))
            .filter(webhooks::COLUMN.revision.eq(current.revision))
            .exec(&self.context.db.write)
            .await?;
        Ok(result.rows_affected == 1)
    }

    /// Cancels a webhook's queued deliveries. Returns the changes to announce after the commit.
    async fn cancel_queued(&self, tx: &DatabaseTransaction, id: WebhookId, reason: &str) -> Result<Vec<Change>> {
        let changed = provisioning::cancel_queued(&self.context, tx, Queued::OfWebhook(id), reason).await?;
        reservations::changes_of(&self.feed, tx, &changed).await
    }

    /// Announces a committed change, and wakes the dispatchers, because it may make deliveries claimable.
    fn publish_change(&self, id: WebhookId, deleted: bool) {
        self.feed.publish(vec![Change::Webhook(WebhookChange { id, deleted })]);
        self.feed.wake_dispatchers(id.into());
    }
}
