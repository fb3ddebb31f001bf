//! The list of alerts.

use super::Alerts;
use super::evaluation::to_alert;
use crate::Result;
use crate::db::entity::{alert_states, alerts, webhooks};
use crate::ownership::visibility::webhooks_of;
use crate::pagination::{decode_number_cursor, page_of};
use domain::alert::{Alert, AlertFilter};
use domain::authorization::{Action, Actor, authorize};
use domain::id::WebhookId;
use domain::pagination::{Page, PageQuery};
use sea_orm::{EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _};
use std::collections::{HashMap, HashSet};

impl Alerts {
    /// Lists alerts, newest first: all of them, or those about webhooks of owned resource types.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator, an auditor or an owner; 422 for an invalid page.
    #[tracing::instrument(skip_all, err(level = "debug"))]
    pub async fn list(&self, actor: &Actor, filter: &AlertFilter, page: &PageQuery) -> Result<Page<Alert>> {
        authorize(actor, Action::ReadOwned)?;
        let limit = page.limit()?;
        let visible =
            webhooks::Entity::find().select_only().column(webhooks::Column::Id).filter(webhooks_of(actor)).into_query();
        let rows = alerts::Entity::find()
            .filter(alerts::COLUMN.webhook_id.in_subquery(visible))
            .apply_if(filter.webhook_id, |query, id| query.filter(alerts::COLUMN.webhook_id.eq(id)))
            .apply_if(filter.firing, |query, firing| {
                let resolved_at = alerts::COLUMN.resolved_at;
                query.filter(if firing { resolved_at.is_null() } else { resolved_at.is_not_null() })
            })
            .apply_if(decode_number_cursor(page.cursor.as_deref())?, |query, id| query.filter(alerts::COLUMN.id.lt(id)))
            .order_by_desc(alerts::COLUMN.id)
            .limit(limit + 1)
            .all(&self.context.db.read)
            .await?;
        let page = page_of(rows, limit, |row| row.id.to_string());
        let ids: HashSet<WebhookId> = page.items.iter().map(|row| row.webhook_id).collect();
        let names: Vec<(WebhookId, String)> = webhooks::Entity::find()
            .select_only()
            .columns([webhooks::Column::Id, webhooks::Column::Name])
            .filter(webhooks::COLUMN.id.is_in(ids.iter().copied()))
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        let names: HashMap<WebhookId, String> = names.into_iter().collect();
        let now = super::millis(self.context.now());
        let muted: HashMap<(WebhookId, String), i64> = alert_states::Entity::find()
            .filter(alert_states::COLUMN.webhook_id.is_in(ids))
            .filter(alert_states::COLUMN.muted_until.gt(now))
            .all(&self.context.db.read)
            .await?
            .into_iter()
            .filter_map(|state| Some(((state.webhook_id, state.kind), state.muted_until?)))
            .collect();
        let to_item = |row: alerts::Model| {
            let name = names.get(&row.webhook_id).cloned().unwrap_or_default();
            let muted_until = muted.get(&(row.webhook_id, row.kind.clone())).copied();
            to_alert(row, name, muted_until)
        };
        // A kind that only a newer release knows is not shown.
        Ok(Page { items: page.items.into_iter().filter_map(to_item).collect(), next_cursor: page.next_cursor })
    }
}
