//! The replica bus: messages between the replicas of one PostgreSQL database, by LISTEN and NOTIFY.
//!
//! Messages are sent in batches and outside the causing transaction, because a NOTIFY inside it would serialise all
//! commits. Changes are sent only while another replica has a subscriber.

use super::{Shared, Update};
use crate::db::database_url::{postgres_options, search_path, set_search_path};
use crate::db::link::LinkLimits;
use crate::wake::WebhookSet;
use domain::change::Change;
use domain::id::WebhookId;
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgListener, PgPoolOptions};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The PostgreSQL channel of all messages between replicas whose tables are in the schema `public`.
const CHANNEL: &str = "berth";
/// NOTIFY accepts at most 8,000 bytes.
const MAX_PAYLOAD: usize = 7_500;
/// Bytes of a payload that are reserved for fields other than the changes.
const ENVELOPE: usize = 300;
/// Maximum number of webhooks in one message, so that they fit into the envelope.
const MAX_LISTED: usize = 25;
/// Time that messages wait for others, so that one statement sends a batch.
const BATCH_LINGER: Duration = Duration::from_millis(4);
/// The delay before the first attempt to reconnect; it doubles up to [`MAX_RECONNECT_DELAY`].
const RECONNECT_DELAY: Duration = Duration::from_millis(200);
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(5);
/// A connection that lasted this long was stable: the reconnect delay is reset.
const STABLE_CONNECTION: Duration = Duration::from_secs(25);

/// A message between replicas. Its fields are a wire format, because replicas of different versions run during an
/// upgrade.
#[derive(Serialize, Deserialize)]
struct Message {
    from: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    presence: Option<Presence>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Change>,
    /// A change was too large to send: refetch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    resync: bool,
    /// Whether deliveries of the webhooks in `wake_for` are due.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    wake: bool,
    /// The webhooks to poll; empty = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    wake_for: Vec<WebhookId>,
    /// Cached accounts and settings are stale.
    #[serde(default, rename = "forget", skip_serializing_if = "std::ops::Not::not")]
    invalidate: bool,
}

#[derive(Serialize, Deserialize)]
struct Presence {
    /// Whether the sender has subscribers.
    #[serde(rename = "listening")]
    subscribed: bool,
    /// Whether the other replicas should respond with their own presence.
    hello: bool,
}

/// A message to the other replicas, before batching.
pub(super) enum Outgoing {
    Changes(Vec<Arc<Change>>),
    Wake(WebhookSet),
    Invalidate,
    Presence { hello: bool },
}

/// The connection to the other replicas.
pub(super) struct ReplicaBus {
    url: String,
    limits: LinkLimits,
    /// The name of this replica, to ignore its own messages.
    name: String,
    shared: Arc<Shared>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
}

impl ReplicaBus {
    /// Starts the bus, which runs until `cancel`. Returns the queue of outgoing messages.
    pub(super) fn spawn(
        url: String,
        limits: LinkLimits,
        shared: Arc<Shared>,
        cancel: CancellationToken,
    ) -> mpsc::UnboundedSender<Outgoing> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let bus = Self { url, limits, name: ulid::Ulid::new().to_string(), shared, outgoing: sender.clone() };
        tokio::spawn(async move {
            tokio::select! {
                () = bus.run(receiver) => {}
                () = cancel.cancelled() => {}
            }
        });
        sender
    }

    /// Connects, and reconnects after errors, until the queue of outgoing messages closes.
    async fn run(self, mut outgoing: mpsc::UnboundedReceiver<Outgoing>) {
        let mut delay = RECONNECT_DELAY;
        loop {
            let since = Instant::now();
            match self.exchange(&mut outgoing).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "connection to the other replicas lost; reconnecting"),
            }
            if since.elapsed() > STABLE_CONNECTION {
                delay = RECONNECT_DELAY;
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(MAX_RECONNECT_DELAY);
            // Messages of the outage are stale: the other replicas resynchronise after it.
            while outgoing.try_recv().is_ok() {}
            self.shared.peers.expire();
            self.shared.resync();
        }
    }

    /// Sends and receives messages on one connection, until it breaks.
    async fn exchange(&self, outgoing: &mut mpsc::UnboundedReceiver<Outgoing>) -> Result<(), sqlx::Error> {
        let schemas = search_path(&self.url);
        let single = || {
            let schemas = schemas.clone();
            let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
            pool.after_connect(move |connection, _| {
                let schemas = schemas.clone();
                Box::pin(async move { set_search_path(connection, schemas.as_deref()).await })
            })
        };
        let options = postgres_options(&self.url)?;
        let pool = single().connect_with(options.clone()).await?;
        let channel = channel_of(&pool).await?;
        let mut listener = PgListener::connect_with(&single().connect_with(options).await?).await?;
        listener.listen(&channel).await?;
        self.send(&pool, &channel, vec![Outgoing::Presence { hello: true }]).await?;
        let mut presence = tokio::time::interval(self.limits.presence);
        presence.tick().await;
        let mut last_received = Instant::now();
        loop {
            tokio::select! {
                notification = listener.try_recv() => {
                    last_received = Instant::now();
                    match notification? {
                        Some(notification) => self.receive(notification.payload()),
                        // The listener reconnected automatically; messages of the outage are lost.
                        None => self.shared.resync(),
                    }
                }
                first = outgoing.recv() => {
                    let Some(first) = first else { return Ok(()) };
                    tokio::time::sleep(BATCH_LINGER).await;
                    let mut batch = vec![first];
                    while let Ok(more) = outgoing.try_recv() {
                        batch.push(more);
                    }
                    self.send(&pool, &channel, batch).await?;
                }
                _ = presence.tick() => {
                    if last_received.elapsed() > self.limits.silence {
                        // It should have received the presence messages of this replica.
                        return Err(lost("no message arrived"));
                    }
                    self.shared.peers.expire();
                    self.send(&pool, &channel, vec![Outgoing::Presence { hello: false }]).await?;
                }
            }
        }
    }

    fn empty_message(&self) -> Message {
        Message {
            from: self.name.clone(),
            presence: None,
            changes: Vec::new(),
            resync: false,
            wake: false,
            wake_for: Vec::new(),
            invalidate: false,
        }
    }

    /// Packs a batch into as few messages as NOTIFY's size limit allows.
    fn pack(&self, batch: Vec<Outgoing>) -> Vec<Message> {
        let mut message = self.empty_message();
        let mut messages = Vec::new();
        let mut size = 0;
        let mut wake = WebhookSet::empty();
        for outgoing in batch {
            match outgoing {
                Outgoing::Wake(webhooks) => wake.union(webhooks),
                Outgoing::Invalidate => message.invalidate = true,
                Outgoing::Presence { hello } => {
                    let subscribed = self.shared.updates.receiver_count() > 0;
                    message.presence = Some(Presence { subscribed, hello });
                }
                Outgoing::Changes(changes) => {
                    for change in changes {
                        let length = serde_json::to_string(&*change).map_or(usize::MAX, |text| text.len() + 1);
                        if length > MAX_PAYLOAD - ENVELOPE {
                            message.resync = true;
                            continue;
                        }
                        if size + length > MAX_PAYLOAD - ENVELOPE {
                            messages.push(std::mem::replace(&mut message, self.empty_message()));
                            size = 0;
                        }
                        size += length;
                        message.changes.push((*change).clone());
                    }
                }
            }
        }
        if let WebhookSet::These(these) = &wake
            && these.len() <= MAX_LISTED
        {
            message.wake_for = these.iter().copied().collect();
        }
        message.wake = !wake.is_empty();
        messages.push(message);
        messages
    }

    async fn send(&self, pool: &sqlx::PgPool, channel: &str, batch: Vec<Outgoing>) -> Result<(), sqlx::Error> {
        let payloads: Vec<String> =
            self.pack(batch).iter().filter_map(|message| serde_json::to_string(message).ok()).collect();
        let notify = sqlx::query("SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload")
            .bind(channel)
            .bind(payloads)
            .execute(pool);
        tokio::time::timeout(self.limits.send, notify).await.map_err(|_| lost("a message was not accepted"))??;
        Ok(())
    }

    /// Applies a message of another replica.
    fn receive(&self, payload: &str) {
        let Ok(message) = serde_json::from_str::<Message>(payload) else {
            tracing::warn!("a message of another replica cannot be parsed; it may run another version");
            let _ = self.shared.updates.send(Update::Resync);
            return;
        };
        if message.from == self.name {
            return;
        }
        if let Some(presence) = message.presence {
            self.shared.peers.record(&message.from, presence.subscribed);
            if presence.hello {
                self.shared.greeted.notify_one();
                let _ = self.outgoing.send(Outgoing::Presence { hello: false });
            }
        }
        if message.wake {
            let webhooks =
                if message.wake_for.is_empty() { WebhookSet::All } else { message.wake_for.into_iter().collect() };
            self.shared.wake.notify(webhooks);
        }
        if message.invalidate {
            self.shared.cache_generation.fetch_add(1, Ordering::Relaxed);
        }
        for change in message.changes {
            let _ = self.shared.updates.send(Update::Change(Arc::new(change)));
        }
        if message.resync {
            let _ = self.shared.updates.send(Update::Resync);
        }
    }
}

/// The channel of the replicas whose tables are in the same schema. Another schema of the database has another Berth.
async fn channel_of(pool: &sqlx::PgPool) -> Result<String, sqlx::Error> {
    let schema: Option<String> = sqlx::query_scalar("SELECT current_schema()::text").fetch_one(pool).await?;
    Ok(match schema.as_deref() {
        None | Some("public") => CHANNEL.to_owned(),
        // A digest, because the name of a channel has at most 63 bytes.
        Some(schema) => format!("{CHANNEL}_{}", &crate::secrets::digest(schema)[..32]),
    })
}

/// The error of a connection whose packets are dropped.
fn lost(reason: &str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, reason))
}
