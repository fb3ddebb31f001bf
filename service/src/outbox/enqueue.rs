//! Enqueueing: deliveries are inserted in the transaction of the change that caused them, and published after its
//! commit.

use super::config::driving;
use super::fast_path::FastPathSender;
use super::{ClaimedDelivery, Configs, Lease, Outbox, Permit, WebhookConfig, WebhookSet, body_bytes};
use crate::db::bulk::MAX_ROWS;
use crate::db::entity::deliveries;
use crate::db::link::DatabaseTransaction;
use crate::db::queue_enqueue::{Insertion, NewDelivery, insert_deliveries};
use crate::error::Result;
use chrono::{DateTime, Utc};
use domain::Problem;
use domain::change::Change;
use domain::delivery::{DeliveryStatus, DeliverySummary};
use domain::event::EventBody;
use domain::id::{DeliveryId, WebhookId};
use domain::provisioning::DrivingWebhook;
use domain::webhook::{FilterSubject, WebhookState};
use sea_orm::{EntityTrait as _, QueryFilter as _, QuerySelect as _};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Deliveries of a transaction that is not committed yet; [`Outbox::publish`] them after the commit.
#[must_use = "publish after the commit"]
pub(crate) struct Enqueued {
    /// Summaries for subscribers; empty without subscribers.
    summaries: Vec<DeliverySummary>,
    /// Deliveries that the fast path claimed.
    claimed: Vec<ClaimedDelivery>,
    /// The webhooks whose deliveries wait for a claim.
    queued: WebhookSet,
    /// The webhooks that receive an event of an earlier object. Those of a new one are not collected.
    recipients: Vec<Arc<WebhookConfig>>,
}

impl Enqueued {
    /// Whether a webhook receives the event; false for new objects.
    pub(crate) fn is_for(&self, webhook: WebhookId) -> bool {
        self.recipients.iter().any(|config| config.id == webhook)
    }

    /// The webhooks that receive the event and drive provisioning, in the order of their ids; none for new objects.
    pub(crate) fn driving(&self) -> Vec<DrivingWebhook<'_>> {
        driving(self.recipients.iter())
    }
}

/// The webhooks that do not know a reservation yet, with its id: its creation is held for them.
pub(crate) type Held = HashSet<(WebhookId, String)>;

/// The webhooks for which an event is enqueued.
#[derive(Debug, Clone, Copy)]
enum Recipients<'a> {
    /// Those that receive it when it happens.
    Now(&'a Held),
    /// Those with a format that receives it at the start of the reserved time.
    AtStart,
    /// These, for which it was held, except those with a format that receives it at the start.
    Only(&'a BTreeSet<WebhookId>),
}

impl Recipients<'_> {
    fn include(self, config: &WebhookConfig, event: &EventBody) -> bool {
        let at_start = config.payload_format.holds_until_start(event.event_type());
        match self {
            // The set is nearly always empty, and the key of a look-up is a copy.
            Self::Now(held) if held.is_empty() => !at_start,
            Self::Now(held) => !at_start && !held.contains(&(config.id, event.ordering_key().to_owned())),
            Self::AtStart => at_start,
            Self::Only(webhooks) => !at_start && webhooks.contains(&config.id),
        }
    }
}

/// A delivery that is about to be inserted.
struct Pending {
    id: DeliveryId,
    event: EventBody,
    ordering_key: String,
    reservation_id: Option<String>,
    body: String,
    /// The permit for its request, on the fast path.
    permit: Option<Permit>,
    config: Arc<WebhookConfig>,
}

impl Pending {
    fn row(&self) -> NewDelivery<'_> {
        NewDelivery {
            id: self.id.as_str(),
            event_id: self.event.event_id().as_str(),
            event_type: self.event.event_type().as_str(),
            webhook_id: self.config.id,
            ordering_key: &self.ordering_key,
            reservation_id: self.reservation_id.as_deref(),
            max_attempts: self.config.retry.max_attempts(),
            body: &self.body,
            payload_format: self.config.payload_format,
            claimed: self.permit.is_some(),
        }
    }

    fn summary(&self, now: DateTime<Utc>) -> DeliverySummary {
        let claimed = self.permit.is_some();
        DeliverySummary {
            id: self.id.clone(),
            event_id: self.event.event_id().clone(),
            event_type: self.event.event_type(),
            webhook_id: self.config.id,
            webhook_name: self.config.name.clone(),
            resource_type: self.config.resource_type.clone(),
            reservation_id: self.reservation_id.clone(),
            status: if claimed { DeliveryStatus::Sending } else { DeliveryStatus::Pending },
            test: false,
            attempts: u32::from(claimed),
            max_attempts: self.config.retry.max_attempts(),
            status_code: None,
            duration_ms: None,
            problem: None,
            next_attempt_at: (!claimed).then_some(now),
            created_at: now,
            updated_at: now,
            redelivery_of: None,
        }
    }

    /// The first attempt under this lease.
    fn into_claimed(self, permit: Permit, lease: Lease, now: DateTime<Utc>) -> ClaimedDelivery {
        let event_type = self.event.event_type();
        ClaimedDelivery {
            lease,
            request: delivery::DeliveryRequest {
                target: self.config.target(now),
                url: self.config.url(event_type, self.config.payload_format),
                delivery_id: self.id,
                event_id: self.event.event_id().clone(),
                event_type,
                attempt: 1,
                test: false,
                format: self.config.payload_format,
                body: body_bytes(self.body),
            },
            config: self.config,
            ordering_key: self.ordering_key,
            reservation_id: self.reservation_id,
            created_at: now,
            redelivery_of: None,
            permit: Some(permit),
        }
    }
}

/// The webhooks whose filters exclude an event, but that have received an earlier event of its reservation, with the id of
/// the reservation. They receive it nevertheless: after a change of the configuration, a service must still release what it
/// has provisioned.
async fn followers(
    tx: &DatabaseTransaction,
    configs: &Configs,
    events: &[(String, EventBody)],
) -> Result<HashSet<(WebhookId, String)>> {
    let (mut webhooks, mut reservations) = (BTreeSet::new(), BTreeSet::new());
    for (resource_type, event) in events {
        let excluded = configs
            .subscribed(resource_type, event.event_type())
            .filter(|config| !config.passes(FilterSubject::of(event)));
        for config in excluded {
            webhooks.insert(config.id);
            reservations.insert(event.ordering_key());
        }
    }
    if webhooks.is_empty() {
        return Ok(HashSet::new());
    }
    let earlier = deliveries::Entity::find()
        .select_only()
        .columns([deliveries::Column::WebhookId, deliveries::Column::OrderingKey])
        .distinct()
        .filter(deliveries::COLUMN.reservation_id.is_in(reservations))
        .filter(deliveries::COLUMN.webhook_id.is_in(webhooks));
    Ok(earlier.into_tuple().all(tx).await?.into_iter().collect())
}

/// The body of an event in the format of a webhook.
fn rendered(config: &WebhookConfig, event: &EventBody, public_url: &str) -> Result<String, Problem> {
    config.payload_format.body(event, public_url).map_err(|error| {
        tracing::error!(%error, "an event has no JSON form");
        Problem::internal()
    })
}

impl Outbox {
    /// Inserts deliveries of events, each with the slug of its resource type, for every webhook of `configs` that receives it.
    /// `fresh` states that no earlier delivery has an event's ordering key; only then the fast path can be used. Webhooks do not
    /// receive the events of reservations of which the creation is `held` for them.
    pub(crate) async fn enqueue(
        &self,
        tx: &DatabaseTransaction,
        configs: &Configs,
        events: Vec<(String, EventBody)>,
        fresh: bool,
        held: &Held,
    ) -> Result<Enqueued> {
        self.enqueue_to(Recipients::Now(held), tx, configs, events, fresh).await
    }

    /// Inserts deliveries of `reservation.created` for the webhooks that receive it at the start of the reserved time.
    pub(crate) async fn enqueue_starts(
        &self,
        tx: &DatabaseTransaction,
        configs: &Configs,
        events: Vec<(String, EventBody)>,
    ) -> Result<Enqueued> {
        self.enqueue_to(Recipients::AtStart, tx, configs, events, false).await
    }

    /// Inserts the delivery of a held `reservation.created` for these webhooks, unless their filters exclude it now.
    pub(crate) async fn enqueue_held(
        &self,
        tx: &DatabaseTransaction,
        configs: &Configs,
        event: (String, EventBody),
        webhooks: &BTreeSet<WebhookId>,
    ) -> Result<Enqueued> {
        self.enqueue_to(Recipients::Only(webhooks), tx, configs, vec![event], false).await
    }

    async fn enqueue_to(
        &self,
        recipients: Recipients<'_>,
        tx: &DatabaseTransaction,
        configs: &Configs,
        events: Vec<(String, EventBody)>,
        fresh: bool,
    ) -> Result<Enqueued> {
        let now = self.context.now();
        let fast_path = if fresh { self.state.fast_path.sender() } else { None };
        let followers = if fresh { HashSet::new() } else { followers(tx, configs, &events).await? };
        let pending = self.prepare(recipients, configs, events, &followers, fast_path.as_ref(), now)?;
        let mut enqueued = Enqueued {
            summaries: Vec::new(),
            claimed: Vec::new(),
            queued: WebhookSet::empty(),
            recipients: Vec::new(),
        };
        if !fresh {
            enqueued.recipients = pending.iter().map(|delivery| delivery.config.clone()).collect();
        }
        if pending.is_empty() {
            return Ok(enqueued);
        }
        let token: Option<Arc<str>> = fast_path.map(|fast_path| self.new_token(&fast_path.owner));
        let seqs = self.insert(tx, &pending, token.as_deref().unwrap_or_default(), fresh, now).await?;
        metrics::counter!("berth_events_enqueued_total").increment(pending.len() as u64);
        let has_subscribers = self.feed.has_subscribers();
        for mut delivery in pending {
            if has_subscribers {
                enqueued.summaries.push(delivery.summary(now));
            }
            match (delivery.permit.take(), &token) {
                (Some(permit), Some(token)) => {
                    let seq = seqs.get(delivery.id.as_str()).copied().unwrap_or_default();
                    let lease = Lease { seq, token: token.clone() };
                    enqueued.claimed.push(delivery.into_claimed(permit, lease, now));
                }
                _ => enqueued.queued.union(delivery.config.id.into()),
            }
        }
        Ok(enqueued)
    }

    /// Enqueues an event of an existing object for one webhook, also if its filters exclude it. Wake the dispatchers after the
    /// commit.
    pub(crate) async fn enqueue_for(
        &self,
        tx: &DatabaseTransaction,
        config: &Arc<WebhookConfig>,
        event: EventBody,
    ) -> Result<()> {
        let pending = self.pending(config, event, None)?;
        self.insert(tx, &[pending], "", false, self.context.now()).await?;
        metrics::counter!("berth_events_enqueued_total").increment(1);
        Ok(())
    }

    /// The delivery of an event to a webhook.
    fn pending(&self, config: &Arc<WebhookConfig>, event: EventBody, permit: Option<Permit>) -> Result<Pending> {
        let urls = &self.context.status_urls;
        let event = event.for_webhook(config.id, |id, webhook| urls.url(id, webhook));
        let ordering_key = event.ordering_key().to_owned();
        Ok(Pending {
            id: DeliveryId::from_ulid(self.context.new_ulid()),
            reservation_id: matches!(event, EventBody::Reservation(_)).then(|| ordering_key.clone()),
            body: rendered(config, &event, &self.context.settings.public_url)?,
            event,
            ordering_key,
            permit,
            config: config.clone(),
        })
    }

    /// One delivery for each event and receiving webhook. Takes a permit where the fast path is open.
    fn prepare(
        &self,
        recipients: Recipients<'_>,
        configs: &Configs,
        events: Vec<(String, EventBody)>,
        followers: &HashSet<(WebhookId, String)>,
        fast_path: Option<&FastPathSender>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Pending>> {
        let mut pending = Vec::new();
        for (resource_type, event) in events {
            let receives = |config: &&Arc<WebhookConfig>| {
                recipients.include(config, &event)
                    && (config.passes(FilterSubject::of(&event))
                        || followers.contains(&(config.id, event.ordering_key().to_owned())))
            };
            for config in configs.subscribed(&resource_type, event.event_type()).filter(receives) {
                let permit = match fast_path {
                    Some(_) if config.state == WebhookState::Enabled && !config.is_local => {
                        self.limits.try_acquire(config, now, false)
                    }
                    _ => None,
                };
                pending.push(self.pending(config, event.clone(), permit)?);
            }
        }
        Ok(pending)
    }

    /// Inserts deliveries, those with a permit as claimed under `token`. Returns their sequence numbers by id.
    async fn insert(
        &self,
        tx: &DatabaseTransaction,
        pending: &[Pending],
        token: &str,
        fresh: bool,
        now: DateTime<Utc>,
    ) -> Result<HashMap<String, i64>> {
        let lease_until = (now + self.lease_duration()).timestamp_millis();
        let insertion = Insertion { token, lease_until, fresh, at: now.timestamp_millis() };
        let mut seqs = HashMap::with_capacity(pending.len());
        for chunk in pending.chunks(MAX_ROWS) {
            let rows: Vec<_> = chunk.iter().map(Pending::row).collect();
            seqs.extend(insert_deliveries(&self.context.db, tx, &rows, &insertion).await?);
        }
        Ok(seqs)
    }

    /// Announces and dispatches enqueued deliveries, together with other changes. Call it after the commit.
    pub(crate) fn publish(&self, enqueued: Enqueued, mut changes: Vec<Change>) {
        changes.extend(enqueued.summaries.into_iter().map(|summary| Change::Delivery(Box::new(summary))));
        if !enqueued.claimed.is_empty() {
            self.send_to_fast_path(enqueued.claimed);
        }
        self.feed.publish(changes);
        self.feed.wake_dispatchers(enqueued.queued);
    }

    /// Sends claims to the dispatcher. If it has stopped, the claims are released, so that another dispatcher claims
    /// them before their leases expire.
    fn send_to_fast_path(&self, claimed: Vec<ClaimedDelivery>) {
        let unsent = match self.state.fast_path.sender() {
            Some(fast_path) => fast_path.claims.send(claimed).err().map(|error| error.0),
            None => Some(claimed),
        };
        let Some(unsent) = unsent else { return };
        let outbox = self.clone();
        tokio::spawn(async move {
            let leases: Vec<Lease> = unsent.into_iter().map(|claim| claim.lease).collect();
            if let Err(error) = outbox.release(&leases).await {
                tracing::warn!(%error, "claims were not released; their leases will expire");
            }
        });
    }
}
