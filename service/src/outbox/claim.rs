//! Claims: leases due deliveries within the limits of their webhooks.

use super::{Configs, Lease, Outbox, Permit, WebhookConfig, WebhookSet, body_bytes};
use crate::db::codec::time;
use crate::db::queue_claim::{self, ClaimBudget, ClaimRequest, ClaimedRow, QueuePosition};
use crate::error::Result;
use chrono::{DateTime, Duration, Utc};
use domain::change::Change;
use domain::delivery::{DeliveryStatus, DeliverySummary};
use domain::event::EventType;
use domain::id::{DeliveryId, EventId, WebhookId};
use domain::payload::PayloadFormat;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Delay of a delivery whose event type or format is unknown to this version, for example after a downgrade.
pub(super) const UNKNOWN_EVENT_DELAY: Duration = Duration::minutes(1);

/// The result of a claim.
pub struct Claim {
    /// Deliveries to send now.
    pub items: Vec<ClaimedDelivery>,
    /// Webhooks at a limit, or with more due deliveries than were claimed. Claim again when their requests end, and
    /// periodically, because rate limits allow more requests as time passes.
    pub blocked: WebhookSet,
}

/// A claimed delivery, ready to be sent.
pub struct ClaimedDelivery {
    /// Its lease.
    pub lease: Lease,
    /// The request for `delivery::Sender`.
    pub request: delivery::DeliveryRequest,
    pub(super) config: Arc<WebhookConfig>,
    pub(super) ordering_key: String,
    pub(super) reservation_id: Option<String>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) redelivery_of: Option<DeliveryId>,
    /// The permit for its request; none under the lease of a local listener.
    pub(super) permit: Option<Permit>,
}

impl ClaimedDelivery {
    /// The webhook.
    pub fn webhook_id(&self) -> WebhookId {
        self.config.id
    }

    /// The reservation, if it is an event of one.
    pub(crate) fn reservation_id(&self) -> Option<&str> {
        self.reservation_id.as_deref()
    }

    /// The delivery of which it is a redelivery.
    pub(crate) fn redelivery_of(&self) -> Option<&DeliveryId> {
        self.redelivery_of.as_ref()
    }

    /// The time of the claim, and of the signatures, under the lease of a local listener.
    pub(crate) fn signed_at(&self) -> DateTime<Utc> {
        super::local::claimed_at(&self.lease.token).unwrap_or(self.created_at)
    }

    /// The delivery for subscribers, in the given status.
    pub(super) fn summary(&self, status: DeliveryStatus, now: DateTime<Utc>) -> DeliverySummary {
        DeliverySummary {
            id: self.request.delivery_id.clone(),
            event_id: self.request.event_id.clone(),
            event_type: self.request.event_type,
            webhook_id: self.config.id,
            webhook_name: self.config.name.clone(),
            resource_type: self.config.resource_type.clone(),
            reservation_id: self.reservation_id.clone(),
            status,
            test: false,
            attempts: self.request.attempt,
            max_attempts: self.config.retry.max_attempts(),
            status_code: None,
            duration_ms: None,
            problem: None,
            next_attempt_at: None,
            created_at: self.created_at,
            updated_at: now,
            redelivery_of: self.redelivery_of.clone(),
        }
    }
}

/// The rows of a claim in progress.
#[derive(Default)]
struct ClaimedRows {
    rows: Vec<(EventType, PayloadFormat, ClaimedRow)>,
    by_webhook: HashMap<WebhookId, ClaimedCount>,
    /// Leases of deliveries whose event type or format is unknown to this version.
    unknown: Vec<Lease>,
}

/// The rows of one webhook.
#[derive(Debug, Default)]
struct ClaimedCount {
    count: u32,
    last: QueuePosition,
}

impl ClaimedRows {
    fn count(&self, webhook: WebhookId) -> u32 {
        self.by_webhook.get(&webhook).map_or(0, |claimed| claimed.count)
    }

    /// Adds rows that were leased under `token`.
    fn extend(&mut self, rows: Vec<ClaimedRow>, token: &Arc<str>) {
        for row in rows {
            let format = row.payload_format.as_deref().map_or(Some(PayloadFormat::default()), PayloadFormat::parse);
            let (Some(event_type), Some(format)) = (EventType::parse(&row.event_type), format) else {
                tracing::warn!(
                    row.seq,
                    row.event_type,
                    row.payload_format,
                    "the event type or format of a delivery is unknown to this version; it stays queued"
                );
                self.unknown.push(Lease { seq: row.seq, token: token.clone() });
                continue;
            };
            let claimed = self.by_webhook.entry(row.webhook_id).or_default();
            claimed.count += 1;
            claimed.last = claimed.last.max(QueuePosition { due_at: row.due_at, seq: row.seq });
            self.rows.push((event_type, format, row));
        }
    }

    /// Whether a webhook used its whole share of a claim, so that more of its deliveries may be due. The claim
    /// statement gives each webhook at least this share.
    fn used_budget(&self, request: &ClaimRequest<'_>, webhook: WebhookId, budget: ClaimBudget) -> bool {
        let share = (request.limit / request.budgets.len().max(1) as u32).max(1);
        self.by_webhook.get(&webhook).is_some_and(|claimed| claimed.count >= share.min(budget.free))
    }

    /// Whether the claim reached its limit before this webhook.
    fn skipped(&self, request: &ClaimRequest<'_>, webhook: WebhookId) -> bool {
        self.rows.len() as u32 >= request.limit && !self.by_webhook.contains_key(&webhook)
    }
}

impl Outbox {
    /// Claims due deliveries of enabled webhooks in `webhooks` for `owner`, for each webhook at most as many as its
    /// limits allow. The order of due times is approximate. Skips deliveries with an earlier unfinished delivery of the
    /// same ordering key. Announces each claim as `sending`.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(level = "debug", skip_all, err(level = "debug"), fields(limit, claimed = tracing::field::Empty))]
    pub(crate) async fn claim(&self, owner: &str, webhooks: &WebhookSet, limit: u32) -> Result<Claim> {
        let now = self.context.now();
        let at = now.timestamp_millis();
        self.state.clock.observe(at);
        let configs = self.configs.load(&self.context.db.read).await?;
        let first_attempts_only = self.limits.retries_exhausted();
        // The end of any request may free capacity for a retry.
        let mut blocked = if first_attempts_only { WebhookSet::All } else { WebhookSet::empty() };
        let mut budgets = BTreeMap::new();
        // A webhook without a share is not blocked: other processes send its deliveries.
        // Local listeners claim the deliveries of local webhooks themselves.
        let own = |config: &&Arc<WebhookConfig>| {
            webhooks.contains(config.id) && !config.is_local && self.limits.has_share(config)
        };
        for config in configs.enabled().filter(own) {
            let capacity = self.limits.capacity(config, now);
            if capacity.requests == 0 {
                blocked.union(if capacity.limited_globally { WebhookSet::All } else { config.id.into() });
                continue;
            }
            // Retries that were excluded may be before the cursor.
            let after = if first_attempts_only { QueuePosition::START } else { self.state.cursors.after(config.id) };
            budgets.insert(config.id, ClaimBudget { free: capacity.requests.min(limit), after });
        }
        if budgets.is_empty() {
            return Ok(Claim { items: Vec::new(), blocked });
        }
        let token = self.new_token(owner);
        let lease_until = at + self.lease_duration().num_milliseconds();
        let request = ClaimRequest { token: &token, at, lease_until, limit, budgets, first_attempts_only };
        let claimed = self.lease_due(&request, webhooks, &mut blocked).await?;
        if claimed.rows.len() as u32 >= limit {
            blocked.union(webhooks.clone());
        } else {
            let used = request.budgets.iter().filter(|(id, budget)| claimed.used_budget(&request, **id, **budget));
            blocked.union(used.map(|(id, _)| *id).collect());
        }
        let items = self.acquire_permits(&configs, claimed, &token, now, &mut blocked).await;
        tracing::Span::current().record("claimed", items.len());
        if self.feed.has_subscribers() {
            let sending = items.iter().map(|claim| claim.summary(DeliveryStatus::Sending, now));
            self.feed.publish(sending.map(|summary| Change::Delivery(Box::new(summary))).collect());
        }
        Ok(Claim { items, blocked })
    }

    /// Leases due deliveries: first after the scan cursors, then from the start for webhooks whose cursor left budget
    /// unused.
    async fn lease_due(
        &self,
        request: &ClaimRequest<'_>,
        webhooks: &WebhookSet,
        blocked: &mut WebhookSet,
    ) -> Result<ClaimedRows> {
        let mut claimed = ClaimedRows::default();
        let rows = queue_claim::claim(&self.context.db, request, &self.state.round_robin).await?;
        claimed.extend(rows, request.token);
        let rescan = rescan(request, &claimed);
        if !rescan.budgets.is_empty() && rescan.limit > 0 {
            let before = claimed.rows.len();
            match queue_claim::claim(&self.context.db, &rescan, &self.state.round_robin).await {
                Ok(rows) => claimed.extend(rows, request.token),
                Err(error) => {
                    // The first part holds its leases, so its deliveries are sent.
                    tracing::warn!(%error, "a part of a claim failed; it is repeated later");
                    blocked.union(webhooks.clone());
                }
            }
            // Their share of the second part was different, so they may have more due deliveries.
            blocked.union(claimed.rows.iter().skip(before).map(|(.., row)| row.webhook_id).collect());
        }
        self.advance_cursors(request, &rescan, &claimed);
        Ok(claimed)
    }

    /// Moves the scan cursor of each webhook that used its whole budget; removes the others.
    fn advance_cursors(&self, request: &ClaimRequest<'_>, rescan: &ClaimRequest<'_>, claimed: &ClaimedRows) {
        for (id, budget) in &request.budgets {
            if claimed.skipped(request, *id) {
                continue;
            }
            let more = !request.first_attempts_only && claimed.used_budget(request, *id, *budget);
            let last = claimed.by_webhook.get(id).filter(|_| more).map(|claimed| claimed.last);
            let after = if rescan.budgets.contains_key(id) { QueuePosition::START } else { budget.after };
            self.state.cursors.advance(*id, after, last);
        }
    }

    /// Acquires a permit for each row. Releases rows without a permit, and delays rows of unknown events.
    async fn acquire_permits(
        &self,
        configs: &Configs,
        claimed: ClaimedRows,
        token: &Arc<str>,
        now: DateTime<Utc>,
        blocked: &mut WebhookSet,
    ) -> Vec<ClaimedDelivery> {
        let mut items = Vec::with_capacity(claimed.rows.len());
        let mut unplaced = Vec::new();
        for (event_type, format, row) in claimed.rows {
            let lease = Lease { seq: row.seq, token: token.clone() };
            let config = configs.get(row.webhook_id);
            // The fast path may have used the capacity since the budgets were computed.
            let permit = config.and_then(|config| self.limits.try_acquire(config, now, row.attempt > 1));
            match (config, permit) {
                (Some(config), Some(permit)) => {
                    items.push(into_claimed((event_type, format), row, lease, config, Some(permit), now));
                }
                _ => {
                    blocked.union(row.webhook_id.into());
                    unplaced.push(lease);
                }
            }
        }
        let released = async {
            self.release(&unplaced).await?;
            // Without a wake-up, which would cause a busy loop of claims.
            self.requeue(&claimed.unknown, (now + UNKNOWN_EVENT_DELAY).timestamp_millis()).await
        };
        if let Err(error) = released.await {
            tracing::warn!(%error, "claims were not released; their leases will expire");
        }
        // The database returns them in no particular order; they are sent in the order of the outbox.
        items.sort_by_key(|claimed| claimed.lease.seq);
        items
    }
}

/// The second part of a claim: from the start of the queue, for webhooks whose cursor left budget unused.
fn rescan<'a>(request: &ClaimRequest<'a>, claimed: &ClaimedRows) -> ClaimRequest<'a> {
    let mut budgets = BTreeMap::new();
    for (id, budget) in &request.budgets {
        if budget.after != QueuePosition::START && !claimed.used_budget(request, *id, *budget) {
            let free = budget.free - claimed.count(*id);
            budgets.insert(*id, ClaimBudget { free, after: QueuePosition::START });
        }
    }
    ClaimRequest {
        token: request.token,
        at: request.at,
        lease_until: request.lease_until,
        limit: request.limit.saturating_sub(claimed.rows.len() as u32),
        budgets,
        first_attempts_only: request.first_attempts_only,
    }
}

pub(super) fn into_claimed(
    (event_type, format): (EventType, PayloadFormat),
    row: ClaimedRow,
    lease: Lease,
    config: &Arc<WebhookConfig>,
    permit: Option<Permit>,
    now: DateTime<Utc>,
) -> ClaimedDelivery {
    ClaimedDelivery {
        lease,
        request: delivery::DeliveryRequest {
            target: config.target(now),
            url: config.url(event_type, format),
            delivery_id: DeliveryId(row.delivery_id),
            event_id: EventId(row.event_id),
            event_type,
            attempt: row.attempt,
            test: false,
            format,
            body: body_bytes(row.body),
        },
        config: config.clone(),
        ordering_key: row.ordering_key,
        reservation_id: row.reservation_id,
        created_at: time(row.created_at),
        redelivery_of: row.redelivery_of.map(DeliveryId),
        permit,
    }
}
