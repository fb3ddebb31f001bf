//! Reminders of signing secrets that have not been rotated for a long time.

use super::Webhooks;
use crate::Result;
use crate::db::entity::webhooks;
use crate::notifications::Notifications;
use chrono::Duration;
use domain::Problem;
use domain::change::{Change, Severity};
use domain::ownership::ResourceKey;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{EntityTrait as _, QueryFilter as _, QueryOrder as _};

/// Time after which a reminder is repeated.
const REPEAT_AFTER: Duration = Duration::days(30);

impl Webhooks {
    /// Notifies the administrators and the owners of each webhook whose signing secret is older than the setting, and again
    /// every 30 days until it is rotated. Returns the number of webhooks.
    ///
    /// # Errors
    /// 503 if the database is unavailable.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn remind_of_old_secrets(&self) -> Result<u64, Problem> {
        Ok(self.remind().await?)
    }

    async fn remind(&self) -> Result<u64> {
        let days = self.context.settings.secret_reminder_days;
        if days == 0 {
            return Ok(0);
        }
        let now = self.context.now();
        let (changed_before, reminded_before) =
            ((now - Duration::days(days.into())).timestamp_millis(), (now - REPEAT_AFTER).timestamp_millis());
        let old = webhooks::Entity::find()
            .filter(webhooks::COLUMN.deleted_at.is_null())
            .filter(
                Expr::col(webhooks::Column::SecretRotatedAt)
                    .if_null(Expr::col(webhooks::Column::CreatedAt))
                    .lte(changed_before),
            )
            .order_by_asc(webhooks::COLUMN.id)
            .all(&self.context.db.read)
            .await?;
        let mut reminded = 0;
        for webhook in old {
            let changed_at = webhook.secret_rotated_at.unwrap_or(webhook.created_at);
            // A reminder of the secret before the last rotation does not count.
            if webhook.secret_reminded_at.is_none_or(|at| at < changed_at || at <= reminded_before)
                && self.remind_of(&webhook, (now.timestamp_millis() - changed_at) / 86_400_000).await?
            {
                reminded += 1;
            }
        }
        Ok(reminded)
    }

    /// Reminds of the secret of one webhook, unless another process has done it. Returns whether it did.
    async fn remind_of(&self, webhook: &webhooks::Model, age_days: i64) -> Result<bool> {
        let unchanged = match webhook.secret_reminded_at {
            Some(at) => webhooks::COLUMN.secret_reminded_at.eq(at),
            None => webhooks::COLUMN.secret_reminded_at.is_null(),
        };
        let tx = self.context.db.begin_unaudited().await?;
        let marked = webhooks::Entity::update_many()
            .col_expr(webhooks::Column::SecretRemindedAt, Expr::value(self.context.now().timestamp_millis()))
            .filter(webhooks::COLUMN.id.eq(webhook.id))
            .filter(unchanged)
            .exec(&tx)
            .await?;
        if marked.rows_affected != 1 {
            return Ok(false);
        }
        let message = format!(
            "The signing secret of {} is {age_days} days old. Rotate it on the settings tab of the webhook.",
            webhook.name
        );
        let link = format!("/settings/webhooks/{}?tab=settings", webhook.id);
        let owned = webhook.resource_type.as_deref().map(ResourceKey::of_type);
        let notifications = Notifications::new(self.context.clone());
        let created = notifications.create_for_managers(&tx, owned, Severity::Warning, &message, Some(&link)).await?;
        tx.commit().await?;
        self.feed.publish(created.into_iter().map(Change::Notification).collect());
        Ok(true)
    }
}
