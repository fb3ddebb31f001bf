//! The local listeners of webhooks, for display.

use super::codec::time;
use super::entity::webhook_listeners;
use crate::error::Result;
use chrono::{DateTime, Duration, Utc};
use domain::id::WebhookId;
use domain::webhook::{CONNECTED_SECONDS, LocalListener};
use sea_orm::{ConnectionTrait, EntityTrait as _, QueryFilter as _};
use std::collections::HashMap;

/// The listener of each webhook that has had one, as of `now`.
pub(crate) async fn listeners_of(
    connection: &impl ConnectionTrait,
    webhooks: impl IntoIterator<Item = WebhookId>,
    now: DateTime<Utc>,
) -> Result<HashMap<WebhookId, LocalListener>> {
    let rows = webhook_listeners::Entity::find()
        .filter(webhook_listeners::COLUMN.webhook_id.is_in(webhooks))
        .all(connection)
        .await?;
    Ok(rows.into_iter().map(|row| (row.webhook_id, view(&row, now))).collect())
}

fn view(row: &webhook_listeners::Model, now: DateTime<Utc>) -> LocalListener {
    let last_seen_at = time(row.seen_at);
    LocalListener {
        connected: row.disconnected_at.is_none() && now - last_seen_at <= Duration::seconds(CONNECTED_SECONDS),
        connected_at: time(row.connected_at),
        last_seen_at,
    }
}
