//! The change feed: the only way to announce a committed change.
//!
//! Subscribers of this process receive changes at once. On PostgreSQL the `ReplicaBus` also sends them to the other
//! replicas, together with wake-ups of dispatchers and invalidations of caches.

mod replica_bus;

use crate::db::link::LinkLimits;
use crate::wake::{Wake, WebhookSet};
use domain::change::Change;
use parking_lot::Mutex;
use replica_bus::{Outgoing, ReplicaBus};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, broadcast, mpsc};
use tokio_util::sync::CancellationToken;

/// Maximum lag of a subscriber, in updates. A slower subscriber must refetch.
const CAPACITY: usize = 16_384;
/// A replica that has sent no message for this long is considered stopped.
const PEER_TIMEOUT: Duration = Duration::from_secs(25);

/// A message to a subscriber.
#[derive(Debug, Clone)]
pub enum Update {
    /// A committed change.
    Change(Arc<Change>),
    /// Changes were missed: refetch.
    Resync,
}

/// The change feed of one process. Cheap to clone.
#[derive(Clone)]
pub struct ChangeFeed {
    shared: Arc<Shared>,
    /// The queue of the replica bus; only PostgreSQL has one.
    outgoing: Option<mpsc::UnboundedSender<Outgoing>>,
}

/// State shared by the feed and the replica bus.
struct Shared {
    updates: broadcast::Sender<Update>,
    peers: Peers,
    wake: Wake,
    /// Notified when this process announces something.
    announced: Notify,
    /// Notified when another replica has greeted this one.
    greeted: Notify,
    cache_generation: AtomicU64,
}

impl Shared {
    /// Recovers from lost messages: subscribers refetch, caches are invalidated, and all queues are polled.
    fn resync(&self) {
        let _ = self.updates.send(Update::Resync);
        self.cache_generation.fetch_add(1, Ordering::Relaxed);
        self.wake.notify(WebhookSet::All);
    }
}

/// The other replicas, detected by their presence messages.
#[derive(Default)]
struct Peers {
    /// Keyed by name: the time of the last message, and whether the replica has subscribers.
    seen: Mutex<HashMap<String, (Instant, bool)>>,
    any: AtomicBool,
    subscribed: AtomicBool,
}

impl Peers {
    /// Records a presence message.
    fn record(&self, name: &str, subscribed: bool) {
        let mut seen = self.seen.lock();
        seen.insert(name.to_owned(), (Instant::now(), subscribed));
        self.refresh(&mut seen);
    }

    /// Removes stopped replicas.
    fn expire(&self) {
        self.refresh(&mut self.seen.lock());
    }

    fn refresh(&self, seen: &mut HashMap<String, (Instant, bool)>) {
        seen.retain(|_, (at, _)| at.elapsed() < PEER_TIMEOUT);
        self.any.store(!seen.is_empty(), Ordering::Relaxed);
        self.subscribed.store(seen.values().any(|(_, subscribed)| *subscribed), Ordering::Relaxed);
    }
}

impl ChangeFeed {
    /// Creates the feed. With the URL of a PostgreSQL database it also starts the replica bus, which runs until
    /// `cancel`.
    pub(crate) fn start(postgres: Option<(String, LinkLimits)>, cancel: CancellationToken) -> Self {
        let (updates, _) = broadcast::channel(CAPACITY);
        let shared = Arc::new(Shared {
            updates,
            peers: Peers::default(),
            wake: Wake::default(),
            announced: Notify::new(),
            greeted: Notify::new(),
            cache_generation: AtomicU64::new(0),
        });
        let outgoing = postgres.map(|(url, limits)| ReplicaBus::spawn(url, limits, shared.clone(), cancel));
        Self { shared, outgoing }
    }

    /// Receives every later change, of this process and (PostgreSQL) of all replicas. A subscriber that lags receives
    /// `RecvError::Lagged` and should refetch.
    pub fn subscribe(&self) -> broadcast::Receiver<Update> {
        let first = self.shared.updates.receiver_count() == 0;
        let receiver = self.shared.updates.subscribe();
        if first {
            self.send(Outgoing::Presence { hello: false });
        }
        receiver
    }

    /// Announces committed changes.
    pub(crate) fn publish(&self, changes: Vec<Change>) {
        self.shared.announced.notify_one();
        let local = self.shared.updates.receiver_count() > 0;
        let remote = self.shared.peers.subscribed.load(Ordering::Relaxed);
        if changes.is_empty() || !(local || remote) {
            return;
        }
        let changes: Vec<Arc<Change>> = changes.into_iter().map(Arc::new).collect();
        if remote {
            self.send(Outgoing::Changes(changes.clone()));
        }
        for change in changes {
            // Sending fails only without a subscriber.
            let _ = self.shared.updates.send(Update::Change(change));
        }
    }

    /// Whether this process or another replica has a subscriber. Without one, changes need not be described.
    pub(crate) fn has_subscribers(&self) -> bool {
        self.shared.updates.receiver_count() > 0 || self.shared.peers.subscribed.load(Ordering::Relaxed)
    }

    /// Whether other replicas are running.
    pub fn has_peers(&self) -> bool {
        self.shared.peers.any.load(Ordering::Relaxed)
    }

    /// Wakes the dispatchers of all replicas: deliveries of these webhooks may be due.
    pub(crate) fn wake_dispatchers(&self, webhooks: WebhookSet) {
        self.shared.announced.notify_one();
        if !webhooks.is_empty() && self.has_peers() {
            self.send(Outgoing::Wake(webhooks.clone()));
        }
        self.shared.wake.notify(webhooks);
    }

    /// Wakes the dispatcher of this process, as if deliveries of these webhooks were due.
    pub(crate) fn wake_own_dispatcher(&self, webhooks: WebhookSet) {
        self.shared.wake.notify(webhooks);
    }

    /// Greets the other replicas, so that they notice at once that this one has joined them.
    pub(crate) fn greet_replicas(&self) {
        self.send(Outgoing::Presence { hello: true });
    }

    /// Waits until another replica has greeted this one since the last call. Only one task may call it.
    pub(crate) async fn wait_for_greeting(&self) {
        self.shared.greeted.notified().await;
    }

    /// Waits for a wake-up of this process's dispatcher and returns the webhooks to poll. Only one task may call it,
    /// because each wake-up is returned once.
    pub async fn wait_for_wakeup(&self) -> WebhookSet {
        self.shared.wake.next().await
    }

    /// Receives every later wake-up, besides the dispatcher.
    pub(crate) fn observe_wakeups(&self) -> broadcast::Receiver<WebhookSet> {
        self.shared.wake.observe()
    }

    /// Waits until this process has announced something, changes or due deliveries, since the last call. Only one task may
    /// call it.
    pub(crate) async fn wait_for_announcement(&self) {
        self.shared.announced.notified().await;
    }

    /// The generation of cached accounts and settings. Another number means that cached values may be stale.
    pub(crate) fn cache_generation(&self) -> u64 {
        self.shared.cache_generation.load(Ordering::SeqCst)
    }

    /// Invalidates the cached values of this process.
    pub(crate) fn advance_cache_generation(&self) {
        self.shared.cache_generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Invalidates the cached values of the other replicas.
    pub(crate) fn broadcast_invalidation(&self) {
        if self.has_peers() {
            self.send(Outgoing::Invalidate);
        }
    }

    fn send(&self, outgoing: Outgoing) {
        if let Some(sender) = &self.outgoing {
            // Sending fails only while the service closes.
            let _ = sender.send(outgoing);
        }
    }
}
