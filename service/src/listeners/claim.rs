//! Claims of listeners: long polls.

use super::{Listeners, parse_lease, to_text};
use crate::Result;
use crate::db::codec::time;
use crate::db::entity::{webhook_listeners, webhooks};
use crate::outbox::{ClaimedDelivery, WebhookSet};
use chrono::Duration as TimeDelta;
use domain::Problem;
use domain::authorization::Actor;
use domain::id::{ReservationId, WebhookId};
use domain::webhook::{CONNECTED_SECONDS, ListenerClaimInput, ListenerDeliveries, ListenerDelivery};
use sea_orm::ActiveValue::Set;
use sea_orm::{EntityTrait as _, QueryFilter as _};
use std::collections::HashSet;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Interval of polls without a wake-up: retries become due, and wake-ups of other replicas can be lost.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Wait after a wake-up, so that events of one burst share a claim.
const LINGER: Duration = Duration::from_millis(5);
/// Interval at which a waiting claim reports that its listener is connected.
const TOUCH_INTERVAL: Duration = Duration::from_secs(10);

impl Listeners {
    /// Claims deliveries for a listener, and waits for one until `wait_seconds` have passed or `stop`. Requeues leases of the
    /// webhook that the listener does not hold: the response with them was lost, or another listener held them.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404, also for a webhook of another owner; 409 for a webhook with
    /// another delivery mode, and if another listener has connected since; 422 for a value out of range.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn claim(
        &self,
        actor: &Actor,
        id: WebhookId,
        input: ListenerClaimInput,
        stop: &CancellationToken,
    ) -> Result<ListenerDeliveries> {
        let webhook = self.find(actor, id).await?;
        input.check()?;
        let deadline = Instant::now() + Duration::from_secs(input.wait_seconds.into());
        // Before the first claim, so that no wake-up is lost.
        let mut wakeups = self.feed.observe_wakeups();
        self.touch(&webhook, &input.listener).await?;
        let mut touched = Instant::now();
        let held: HashSet<_> = input.held.iter().filter_map(|lease| parse_lease(lease)).collect();
        self.requeue_all_but(id, |lease| held.contains(lease)).await?;
        loop {
            let claims = self.outbox.claim_local(id, &input.listener, input.limit).await?;
            let is_over = Instant::now() >= deadline || stop.is_cancelled() || input.limit == 0;
            if !claims.is_empty() || is_over {
                return Ok(ListenerDeliveries {
                    deliveries: claims.iter().map(|claim| self.hand_over(claim)).collect(),
                });
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = wake_up(&mut wakeups, id) => tokio::time::sleep(LINGER).await,
                () = tokio::time::sleep_until(deadline.min(Instant::now() + POLL_INTERVAL)) => {}
            }
            if touched.elapsed() >= TOUCH_INTERVAL {
                self.touch(&webhook, &input.listener).await?;
                touched = Instant::now();
            }
        }
    }

    /// Records that a listener is connected. Announces it if it was not.
    ///
    /// # Errors
    /// 409 if another listener has connected since.
    pub(super) async fn touch(&self, webhook: &webhooks::Model, listener: &str) -> Result<()> {
        let now = self.context.now();
        let current = webhook_listeners::Entity::find_by_id(webhook.id).one(&self.context.db.read).await?;
        let current = current.filter(|row| row.listener == listener).ok_or_else(replaced)?;
        let changes = webhook_listeners::ActiveModel {
            seen_at: Set(now.timestamp_millis()),
            disconnected_at: Set(None),
            ..Default::default()
        };
        let touched = webhook_listeners::Entity::update_many()
            .set(changes)
            .filter(webhook_listeners::COLUMN.webhook_id.eq(webhook.id))
            .filter(webhook_listeners::COLUMN.listener.eq(listener))
            .exec(&self.context.db.record)
            .await?;
        if touched.rows_affected == 0 {
            return Err(replaced().into());
        }
        let was_away = now - time(current.seen_at) > TimeDelta::seconds(CONNECTED_SECONDS);
        if was_away || current.disconnected_at.is_some() {
            self.announce(webhook);
        }
        Ok(())
    }

    /// The complete request of a claim.
    fn hand_over(&self, claim: &ClaimedDelivery) -> ListenerDelivery {
        let request = &claim.request;
        ListenerDelivery {
            lease: to_text(&claim.lease),
            delivery_id: request.delivery_id.clone(),
            event_id: request.event_id.clone(),
            event_type: request.event_type,
            reservation_id: claim.reservation_id().map(|id| ReservationId(id.to_owned())),
            attempt: request.attempt,
            redelivery_of: claim.redelivery_of().cloned(),
            headers: self.sender.hand_over(request, claim.signed_at()),
            body: String::from_utf8_lossy(&request.body).into_owned(),
        }
    }
}

/// The refusal of a listener that another one has replaced.
fn replaced() -> Problem {
    Problem::conflict("Another listener has connected to this webhook. Only the newest one receives deliveries.")
}

/// Waits until a delivery of a webhook may be due.
async fn wake_up(wakeups: &mut Receiver<WebhookSet>, id: WebhookId) {
    loop {
        match wakeups.recv().await {
            Ok(webhooks) if !webhooks.contains(id) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            // The process ends.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
