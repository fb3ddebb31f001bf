//! Claims of local listeners (`berth listen`). A listener is outside this process, so its claims hold no permit, and its
//! result is recorded from the lease alone: any process of the database can record it.

use super::claim::into_claimed;
use super::{ClaimedDelivery, Lease, Outbox, WebhookConfig};
use crate::db::entity::outbox;
use crate::db::queue_claim::{self, ClaimBudget, ClaimRequest, ClaimedRow, QueuePosition};
use crate::error::Result;
use chrono::{DateTime, Utc};
use domain::event::EventType;
use domain::id::WebhookId;
use domain::payload::PayloadFormat;
use domain::webhook::WebhookState;
use sea_orm::{EntityTrait as _, QueryFilter as _, QuerySelect as _};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The lease tokens of a listener: the id of its connection, and a ULID with the time of the claim.
pub(crate) fn listener_token(listener: &str, claimed_at: ulid::Ulid) -> Arc<str> {
    format!("{listener}/{claimed_at}").into()
}

/// The time of the claim of a listener's lease, which is the time of its signatures; `None` for another token.
pub(crate) fn claimed_at(token: &str) -> Option<DateTime<Utc>> {
    let (_, ulid) = token.rsplit_once('/')?;
    let at = ulid::Ulid::from_string(ulid).ok()?.timestamp_ms();
    DateTime::from_timestamp_millis(i64::try_from(at).ok()?)
}

impl Outbox {
    /// Claims at most `limit` due deliveries of a local webhook for its listener, with the order and the concurrency limit of
    /// every claim. None while the webhook is paused.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn claim_local(
        &self,
        webhook: WebhookId,
        listener: &str,
        limit: u32,
    ) -> Result<Vec<ClaimedDelivery>> {
        let configs = self.configs.load(&self.context.db.read).await?;
        let Some(config) = configs.get(webhook) else { return Ok(Vec::new()) };
        if !config.is_local || config.state != WebhookState::Enabled {
            return Ok(Vec::new());
        }
        let leased = u32::try_from(self.leases_of(webhook).await?.len()).unwrap_or(u32::MAX);
        let free = limit.min(config.max_in_flight.saturating_sub(leased));
        if free == 0 {
            return Ok(Vec::new());
        }
        let claimed_at = self.context.new_ulid();
        let token = listener_token(listener, claimed_at);
        let at = self.context.now().timestamp_millis();
        let request = ClaimRequest {
            token: &token,
            at,
            lease_until: at + self.lease_duration().num_milliseconds(),
            limit: free,
            budgets: BTreeMap::from([(webhook, ClaimBudget { free, after: QueuePosition::START })]),
            first_attempts_only: false,
        };
        let rows = queue_claim::claim(&self.context.db, &request, &self.state.round_robin).await?;
        let signed_at = super::local::claimed_at(&token).unwrap_or_else(|| self.context.now());
        let mut claims = Vec::with_capacity(rows.len());
        let mut unknown = Vec::new();
        for row in rows {
            let lease = Lease { seq: row.seq, token: token.clone() };
            match to_claim(config, row, lease.clone(), signed_at) {
                Some(claim) => claims.push(claim),
                None => unknown.push(lease),
            }
        }
        // Without a wake-up, which would cause a busy loop of claims.
        self.requeue(&unknown, at + super::claim::UNKNOWN_EVENT_DELAY.num_milliseconds()).await?;
        claims.sort_by_key(|claim| claim.lease.seq);
        Ok(claims)
    }

    /// The delivery of a listener's lease; `None` if the lease was lost.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn find_claimed(&self, webhook: WebhookId, lease: Lease) -> Result<Option<ClaimedDelivery>> {
        let configs = self.configs.load(&self.context.db.read).await?;
        let Some((config, signed_at)) = configs.get(webhook).zip(claimed_at(&lease.token)) else { return Ok(None) };
        let row = queue_claim::find_leased(&self.context.db, webhook, &lease).await?;
        Ok(row.and_then(|row| to_claim(config, row, lease, signed_at)))
    }

    /// The leases of a webhook's deliveries.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn leases_of(&self, webhook: WebhookId) -> Result<Vec<Lease>> {
        let leased: Vec<(i64, String)> = outbox::Entity::find()
            .select_only()
            .columns([outbox::Column::Seq, outbox::Column::LeaseOwner])
            .filter(outbox::COLUMN.webhook_id.eq(webhook))
            .filter(outbox::COLUMN.lease_owner.is_not_null())
            .into_tuple()
            .all(&self.context.db.read)
            .await?;
        Ok(leased.into_iter().map(|(seq, token)| Lease { seq, token: token.into() }).collect())
    }
}

/// A claimed row as a delivery; `None` if this version does not know its event type or format.
fn to_claim(
    config: &Arc<WebhookConfig>,
    row: ClaimedRow,
    lease: Lease,
    signed_at: DateTime<Utc>,
) -> Option<ClaimedDelivery> {
    let format = row.payload_format.as_deref().map_or(Some(PayloadFormat::default()), PayloadFormat::parse)?;
    let event_type = EventType::parse(&row.event_type)?;
    Some(into_claimed((event_type, format), row, lease, config, None, signed_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_of_a_listener_contains_the_time_of_the_claim() {
        let at: DateTime<Utc> = "2026-03-02T09:00:00.250Z".parse().unwrap();
        let token = listener_token("lst_01J", ulid::Ulid::from_datetime(at.into()));
        assert!(token.starts_with("lst_01J/"));
        assert_eq!(claimed_at(&token), Some(at));
        for other in ["01J/7", "lst_01J", "lst_01J/", ""] {
            assert_eq!(claimed_at(other), None, "{other}");
        }
    }
}
