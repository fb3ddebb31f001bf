//! The change feed: the only way to announce a change.
//!
//! Changes go to this process's subscribers at once. On PostgreSQL they also go to the other replicas by NOTIFY, in
//! batches and outside the causing transaction (a NOTIFY inside would serialise all commits); and only while another
//! replica has said that somebody there listens.

use crate::Service;
use crate::outbox::{Wake, WebhookSet};
use domain::change::Change;
use domain::id::WebhookId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgListener, PgPoolOptions};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

/// The PostgreSQL channel of all messages between replicas.
const CHANNEL: &str = "berth";
/// NOTIFY takes at most 8,000 bytes.
const MAX_PAYLOAD: usize = 7_500;
/// Webhooks that one message names at most, so that it stays within the rest of the bytes.
const MAX_NAMED: usize = 25;
/// How often a replica says that it is there.
const PRESENCE: Duration = Duration::from_secs(10);
/// A replica that has not been heard of for this long is gone.
const PRESENCE_LAPSES: Duration = Duration::from_secs(25);

/// A message between replicas.
#[derive(Serialize, Deserialize)]
struct Message {
    from: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    presence: Option<Presence>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Change>,
    /// Something changed that did not fit: refetch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    resync: bool,
    /// Deliveries are due,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    wake: bool,
    /// of these webhooks; of any when it names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    wake_for: Vec<WebhookId>,
    /// Cached settings (catalogue, accounts) changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    forget: bool,
}

#[derive(Serialize, Deserialize)]
struct Presence {
    /// Whether somebody there listens to the feed.
    listening: bool,
    /// Whether the others should say that they are there.
    hello: bool,
}

enum Outgoing {
    Changes(Vec<Arc<Change>>),
    Wake(WebhookSet),
    Forget,
    Presence { hello: bool },
}

/// What a subscriber gets.
#[derive(Debug, Clone)]
pub enum Update {
    /// A change.
    Change(Arc<Change>),
    /// Changes were missed: refetch.
    Resync,
}

/// The feed of one process.
pub(crate) struct Feed {
    updates: broadcast::Sender<Update>,
    outgoing: Option<mpsc::UnboundedSender<Outgoing>>,
    others: Arc<Others>,
    /// Bumped when cached settings changed on another replica, or accounts on this one.
    pub(crate) forgotten: Arc<std::sync::atomic::AtomicU64>,
}

/// What is known of the other replicas.
#[derive(Default)]
struct Others {
    seen: Mutex<HashMap<String, (Instant, bool)>>,
    any: AtomicBool,
    listening: AtomicBool,
}

impl Others {
    fn note(&self, from: &str, listening: bool) {
        let mut seen = self.seen.lock();
        seen.insert(from.to_owned(), (Instant::now(), listening));
        self.count(&mut seen);
    }

    fn lapse(&self) {
        self.count(&mut self.seen.lock());
    }

    fn count(&self, seen: &mut HashMap<String, (Instant, bool)>) {
        seen.retain(|_, (at, _)| at.elapsed() < PRESENCE_LAPSES);
        self.any.store(!seen.is_empty(), Ordering::Relaxed);
        self.listening.store(seen.values().any(|(_, listening)| *listening), Ordering::Relaxed);
    }
}

impl Feed {
    pub(crate) fn start(postgres: Option<String>, wake: Arc<Wake>, cancel: CancellationToken) -> Self {
        let (updates, _) = broadcast::channel(16_384);
        let others = Arc::new(Others::default());
        let forgotten = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let outgoing = postgres.map(|url| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let link = Link {
                url,
                name: ulid::Ulid::new().to_string(),
                updates: updates.clone(),
                others: others.clone(),
                wake,
                forgotten: forgotten.clone(),
                outgoing: sender.clone(),
            };
            tokio::spawn(async move {
                tokio::select! {
                    () = link.run(receiver) => {}
                    () = cancel.cancelled() => {}
                }
            });
            sender
        });
        Self { updates, outgoing, others, forgotten }
    }

    fn send(&self, outgoing: Outgoing) {
        if let Some(sender) = &self.outgoing {
            // The task ends only with the service.
            let _ = sender.send(outgoing);
        }
    }
}

impl Service {
    /// Every change from now on, of this process and (PostgreSQL) of all replicas. A slow receiver sees
    /// `RecvError::Lagged` and should refetch.
    pub fn subscribe(&self) -> broadcast::Receiver<Update> {
        let first = self.inner.feed.updates.receiver_count() == 0;
        let receiver = self.inner.feed.updates.subscribe();
        if first {
            self.inner.feed.send(Outgoing::Presence { hello: false });
        }
        receiver
    }

    /// Announces what has been committed.
    pub(crate) fn announce(&self, changes: Vec<Change>) {
        let feed = &self.inner.feed;
        let here = feed.updates.receiver_count() > 0;
        let there = feed.others.listening.load(Ordering::Relaxed);
        if changes.is_empty() || !(here || there) {
            return;
        }
        let changes: Vec<Arc<Change>> = changes.into_iter().map(Arc::new).collect();
        if there {
            feed.send(Outgoing::Changes(changes.clone()));
        }
        for change in changes {
            // An error only says that nobody listens.
            let _ = feed.updates.send(Update::Change(change));
        }
    }

    /// Whether anybody, here or on another replica, listens; spares the work of describing changes to nobody.
    pub(crate) fn has_subscribers(&self) -> bool {
        let feed = &self.inner.feed;
        feed.updates.receiver_count() > 0 || feed.others.listening.load(Ordering::Relaxed)
    }

    /// Whether other replicas are there.
    pub fn has_peers(&self) -> bool {
        self.inner.feed.others.any.load(Ordering::Relaxed)
    }

    /// Tells every dispatcher that deliveries of these webhooks are due.
    pub(crate) fn wake_dispatchers(&self, whose: WebhookSet) {
        if !whose.is_empty() && self.has_peers() {
            self.inner.feed.send(Outgoing::Wake(whose.clone()));
        }
        self.inner.outbox.wake.notify(whose);
    }

    /// Tells the other replicas to forget cached accounts and catalogue.
    pub(crate) fn broadcast_invalidation(&self) {
        if self.has_peers() {
            self.inner.feed.send(Outgoing::Forget);
        }
    }
}

/// The connection to the other replicas.
struct Link {
    url: String,
    name: String,
    updates: broadcast::Sender<Update>,
    others: Arc<Others>,
    wake: Arc<Wake>,
    forgotten: Arc<std::sync::atomic::AtomicU64>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
}

impl Link {
    async fn run(self, mut outgoing: mpsc::UnboundedReceiver<Outgoing>) {
        let mut wait = Duration::from_millis(200);
        loop {
            let since = Instant::now();
            match self.connected(&mut outgoing).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "the link to other replicas broke; connecting again"),
            }
            if since.elapsed() > PRESENCE_LAPSES {
                wait = Duration::from_millis(200);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
            // What was to be told is stale.
            while outgoing.try_recv().is_ok() {}
            self.others.lapse();
            self.missed();
        }
    }

    /// What happened in between is not known: everybody looks again.
    fn missed(&self) {
        let _ = self.updates.send(Update::Resync);
        self.forgotten.fetch_add(1, Ordering::Relaxed);
        self.wake.notify(WebhookSet::All);
    }

    async fn connected(&self, outgoing: &mut mpsc::UnboundedReceiver<Outgoing>) -> Result<(), sqlx::Error> {
        let one = || PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let options = crate::db::connect::postgres_options(&self.url)?;
        let pool = one().connect_with(options.clone()).await?;
        let mut listener = PgListener::connect_with(&one().connect_with(options).await?).await?;
        listener.listen(CHANNEL).await?;
        self.send(&pool, vec![Outgoing::Presence { hello: true }]).await?;
        let mut presence = tokio::time::interval(PRESENCE);
        presence.tick().await;
        loop {
            tokio::select! {
                notification = listener.try_recv() => match notification? {
                    Some(notification) => self.receive(notification.payload()),
                    // Connected again by itself, but what was said in between is lost.
                    None => self.missed(),
                },
                first = outgoing.recv() => {
                    let Some(first) = first else { return Ok(()) };
                    // A short wait gathers what comes at the same time into one statement.
                    tokio::time::sleep(Duration::from_millis(4)).await;
                    let mut batch = vec![first];
                    while let Ok(more) = outgoing.try_recv() {
                        batch.push(more);
                    }
                    self.send(&pool, batch).await?;
                }
                _ = presence.tick() => {
                    self.others.lapse();
                    self.send(&pool, vec![Outgoing::Presence { hello: false }]).await?;
                }
            }
        }
    }

    fn message(&self) -> Message {
        Message {
            from: self.name.clone(),
            presence: None,
            changes: Vec::new(),
            resync: false,
            wake: false,
            wake_for: Vec::new(),
            forget: false,
        }
    }

    async fn send(&self, pool: &sqlx::PgPool, batch: Vec<Outgoing>) -> Result<(), sqlx::Error> {
        let mut message = self.message();
        let mut payloads = Vec::new();
        let mut size = 0;
        let mut wake = WebhookSet::empty();
        for outgoing in batch {
            match outgoing {
                Outgoing::Wake(whose) => wake.union(whose),
                Outgoing::Forget => message.forget = true,
                Outgoing::Presence { hello } => {
                    message.presence = Some(Presence { listening: self.updates.receiver_count() > 0, hello });
                }
                Outgoing::Changes(changes) => {
                    for change in changes {
                        let length = serde_json::to_string(&*change).map_or(usize::MAX, |text| text.len() + 1);
                        if length > MAX_PAYLOAD - 300 {
                            message.resync = true;
                            continue;
                        }
                        if size + length > MAX_PAYLOAD - 300 {
                            payloads.push(std::mem::replace(&mut message, self.message()));
                            size = 0;
                        }
                        size += length;
                        message.changes.push((*change).clone());
                    }
                }
            }
        }
        if let WebhookSet::These(these) = &wake
            && these.len() <= MAX_NAMED
        {
            message.wake_for = these.iter().copied().collect();
        }
        message.wake = !wake.is_empty();
        payloads.push(message);
        let texts: Vec<String> = payloads.iter().filter_map(|m| serde_json::to_string(m).ok()).collect();
        sqlx::query("SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload")
            .bind(CHANNEL)
            .bind(texts)
            .execute(pool)
            .await?;
        Ok(())
    }

    fn receive(&self, payload: &str) {
        let Ok(message) = serde_json::from_str::<Message>(payload) else {
            tracing::warn!("a message of another replica cannot be read; is it of another version?");
            let _ = self.updates.send(Update::Resync);
            return;
        };
        if message.from == self.name {
            return;
        }
        if let Some(presence) = message.presence {
            self.others.note(&message.from, presence.listening);
            if presence.hello {
                let _ = self.outgoing.send(Outgoing::Presence { hello: false });
            }
        }
        if message.wake {
            let whose =
                if message.wake_for.is_empty() { WebhookSet::All } else { message.wake_for.into_iter().collect() };
            self.wake.notify(whose);
        }
        if message.forget {
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
        for change in message.changes {
            let _ = self.updates.send(Update::Change(Arc::new(change)));
        }
        if message.resync {
            let _ = self.updates.send(Update::Resync);
        }
    }
}
