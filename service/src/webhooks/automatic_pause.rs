//! The mark of an automatic pause, which `crate::alerts` sets.

use crate::Result;
use crate::db::entity::webhook_monitors;
use domain::id::WebhookId;
use sea_orm::ActiveValue::Set;
use sea_orm::{ConnectionTrait, EntityTrait as _, QueryFilter as _};

/// Removes the mark: the webhook was resumed.
pub(crate) async fn clear_pause(connection: &impl ConnectionTrait, id: WebhookId) -> Result<()> {
    let row = webhook_monitors::ActiveModel {
        paused_at: Set(None),
        pause_failing_since: Set(None),
        recovered_at: Set(None),
        ..Default::default()
    };
    webhook_monitors::Entity::update_many()
        .set(row)
        .filter(webhook_monitors::COLUMN.webhook_id.eq(id))
        .filter(webhook_monitors::COLUMN.paused_at.is_not_null())
        .exec(connection)
        .await?;
    Ok(())
}
