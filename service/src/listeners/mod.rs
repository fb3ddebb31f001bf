//! Local listeners (`berth listen`): a developer's machine claims the deliveries of a webhook over HTTP requests of its own,
//! forwards them, and reports the results, which are recorded like those of the dispatcher (docs/contract.md §7).
//!
//! The state is in the database: the listener that connected last (`webhook_listeners`), and the leases of its deliveries,
//! whose tokens begin with its id. Any process can serve each request, and a restart loses nothing.

mod claim;
mod result;

use crate::Result;
use crate::audit_trail::{Record, Target};
use crate::change_feed::ChangeFeed;
use crate::context::Context;
use crate::db::entity::{webhook_listeners, webhooks};
use crate::dispatcher::Recorder;
use crate::notifications::Notifications;
use crate::outbox::{Lease, Outbox};
use crate::webhooks::{change_of, find_webhook};
use domain::Problem;
use domain::audit::{AuditAction, AuditTargetType};
use domain::authorization::{Action, Actor, authorize};
use domain::change::Change;
use domain::id::WebhookId;
use domain::webhook::{DeliveryMode, ListenerConnection};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{EntityTrait as _, QueryFilter as _};
use std::sync::Arc;

/// Use cases of local listeners. Cheap to clone.
#[derive(Clone)]
pub struct Listeners {
    context: Context,
    outbox: Outbox,
    feed: ChangeFeed,
    sender: delivery::Sender,
    recorder: Arc<Recorder>,
}

impl Listeners {
    pub(crate) fn new(
        context: Context,
        outbox: Outbox,
        feed: ChangeFeed,
        notifications: Notifications,
        sender: delivery::Sender,
    ) -> Self {
        let recorder = Recorder { context: context.clone(), outbox: outbox.clone(), feed: feed.clone(), notifications };
        Self { context, outbox, feed, sender, recorder: Arc::new(recorder) }
    }

    /// Connects a listener to a local webhook. An earlier listener of the webhook loses its leases and may claim no more, so
    /// that a restarted listener continues at once.
    ///
    /// # Errors
    /// 403 unless the actor is an administrator or an owner; 404, also for a webhook of another owner; 409 for a webhook with
    /// another delivery mode.
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn connect(&self, actor: &Actor, id: WebhookId) -> Result<ListenerConnection> {
        let webhook = self.find(actor, id).await?;
        let listener = format!("lst_{}", self.context.new_ulid());
        let now = self.context.now().timestamp_millis();
        let row = webhook_listeners::ActiveModel {
            webhook_id: Set(id),
            listener: Set(listener.clone()),
            connected_at: Set(now),
            seen_at: Set(now),
            disconnected_at: Set(None),
        };
        let mut replaced = OnConflict::column(webhook_listeners::Column::WebhookId);
        replaced.update_columns([
            webhook_listeners::Column::Listener,
            webhook_listeners::Column::ConnectedAt,
            webhook_listeners::Column::SeenAt,
            webhook_listeners::Column::DisconnectedAt,
        ]);
        let tx = self.context.begin_change().await?;
        webhook_listeners::Entity::insert(row).on_conflict(replaced).exec_without_returning(&*tx).await?;
        let target = Target::named(AuditTargetType::Webhook, id, &webhook.name);
        tx.commit(Record::new(actor, AuditAction::WebhookListenerConnected, target)).await?;
        self.requeue_all_but(id, |_| false).await?;
        self.announce(&webhook);
        let timeout_ms = u64::try_from(self.context.settings.delivery_timeout.as_millis()).unwrap_or(u64::MAX);
        Ok(ListenerConnection { listener, timeout_ms })
    }

    /// Disconnects a listener, or the present one. Its unfinished deliveries are due again. Another listener is not affected.
    ///
    /// # Errors
    /// As [`Self::connect`].
    #[tracing::instrument(skip_all, fields(webhook_id = id), err(level = "debug"))]
    pub async fn disconnect(&self, actor: &Actor, id: WebhookId, listener: Option<&str>) -> Result<()> {
        let webhook = self.find(actor, id).await?;
        let tx = self.context.begin_change().await?;
        let ended = webhook_listeners::ActiveModel {
            disconnected_at: Set(Some(self.context.now().timestamp_millis())),
            ..Default::default()
        };
        let mut update =
            webhook_listeners::Entity::update_many().set(ended).filter(webhook_listeners::COLUMN.webhook_id.eq(id));
        if let Some(listener) = listener {
            update = update.filter(webhook_listeners::COLUMN.listener.eq(listener));
        }
        update.exec(&*tx).await?;
        let target = Target::named(AuditTargetType::Webhook, id, &webhook.name);
        tx.commit(Record::new(actor, AuditAction::WebhookListenerDisconnected, target)).await?;
        self.requeue_all_but(id, |lease| listener.is_some_and(|listener| !is_of(listener, lease))).await?;
        self.announce(&webhook);
        Ok(())
    }

    /// Reads a local webhook that the actor may change: its listener receives what its receiver would.
    async fn find(&self, actor: &Actor, id: WebhookId) -> Result<webhooks::Model> {
        authorize(actor, Action::WriteOwned)?;
        let webhook = find_webhook(&self.context.db.read, id).await?;
        authorize(actor, Action::WriteWebhook { resource_type: webhook.resource_type.as_deref() })?;
        if webhook.delivery_mode.0 != DeliveryMode::Local {
            let detail = "Berth sends the requests of this webhook itself. Create one with the delivery mode local.";
            return Err(Problem::conflict(detail).into());
        }
        Ok(webhook)
    }

    /// Requeues the leased deliveries of a webhook, except those whose lease is kept. Wakes the listener.
    async fn requeue_all_but(&self, id: WebhookId, keeps: impl Fn(&Lease) -> bool) -> Result<()> {
        let mut lost = self.outbox.leases_of(id).await?;
        lost.retain(|lease| !keeps(lease));
        if !lost.is_empty() {
            tracing::info!(webhook_id = id, count = lost.len(), "deliveries of a local listener were requeued");
            self.outbox.requeue(&lost, 0).await?;
            self.feed.wake_dispatchers(id.into());
        }
        Ok(())
    }

    /// Announces that a listener has connected or disconnected.
    fn announce(&self, webhook: &webhooks::Model) {
        self.feed.publish(vec![Change::Webhook(change_of(webhook))]);
    }
}

/// Whether a lease is one of a listener.
fn is_of(listener: &str, lease: &Lease) -> bool {
    lease.token.strip_prefix(listener).is_some_and(|rest| rest.starts_with('/'))
}

/// A lease as a client gets it.
fn to_text(lease: &Lease) -> String {
    format!("{}/{}", lease.seq, lease.token)
}

/// The lease of [`to_text`]; `None` for another text.
fn parse_lease(text: &str) -> Option<Lease> {
    let (seq, token) = text.split_once('/')?;
    Some(Lease { seq: seq.parse().ok()?, token: token.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_survives_the_way_to_a_client_and_names_its_listener() {
        let lease = Lease { seq: 42, token: "lst_01J/01K".into() };
        assert_eq!(to_text(&lease), "42/lst_01J/01K");
        assert_eq!(parse_lease(&to_text(&lease)), Some(lease.clone()));
        assert!(is_of("lst_01J", &lease) && !is_of("lst_01", &lease) && !is_of("lst_01K", &lease));
        for other in ["", "42", "x/lst_01J/01K"] {
            assert_eq!(parse_lease(other), None, "{other}");
        }
    }
}
