//! Membership: the dispatchers of one database, which divide the limits of webhooks (`outbox::shares`).
//!
//! Each dispatcher writes a heartbeat with the members that it knows, and reads those of the others. A dispatcher that joins
//! sends nothing until every other one knows it, has reduced its shares, and has no more requests in flight than these. One that
//! leaves ends its requests first. A share grows only when all members have the same list. So all dispatchers together never
//! exceed a limit. A dispatcher whose heartbeats fail stops sending before the others take its shares over; the requests that it
//! has already started are not counted then.
//!
//! SQLite has one process, so one dispatcher has all shares.

use super::{Dispatcher, Engine};
use crate::db::dispatchers::{SeenDispatcher, beat, remove};
use crate::error::{Result, unavailable};
use crate::outbox::shares::{Rank, Shares};
use crate::wake::WebhookSet;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Interval of heartbeats while all members have the same list.
const BEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Interval of heartbeats while the members have different lists, or after an error.
const UNSETTLED_INTERVAL: Duration = Duration::from_millis(500);
/// Without a successful heartbeat for this time, a dispatcher stops sending.
const FENCE_AFTER: Duration = Duration::from_secs(6);
/// Without a heartbeat for this time, in milliseconds, a dispatcher counts as stopped. It is longer than [`FENCE_AFTER`] by
/// more than the duration of a heartbeat.
const STOPPED_AFTER: i64 = 8_000;
/// Without a heartbeat for this time, in milliseconds, the row of a dispatcher is deleted.
const REMOVED_AFTER: i64 = 60_000;
/// Maximum duration of a heartbeat.
const BEAT_TIMEOUT: Duration = Duration::from_secs(1);

/// What one dispatcher knows about the others.
#[derive(Debug)]
struct Membership {
    name: String,
    /// The names of all members including this one, sorted. Empty before the first heartbeat.
    members: Vec<String>,
    /// The rank by the last list that all members had.
    settled: Option<Rank>,
    shares: Shares,
}

impl Membership {
    fn new(name: String) -> Self {
        Self { name, members: Vec::new(), settled: None, shares: Shares::None }
    }

    /// The list as it is stored.
    fn stored(&self) -> String {
        self.members.join(" ")
    }

    /// Applies what a heartbeat has read. Returns whether the list has changed, so that it must be written at once.
    fn observe(&mut self, others: &[SeenDispatcher]) -> bool {
        let live: Vec<&SeenDispatcher> = others.iter().filter(|other| other.age < STOPPED_AFTER).collect();
        let mut members: Vec<String> = live.iter().map(|other| other.name.clone()).collect();
        members.push(self.name.clone());
        members.sort_unstable();
        let has_changed = members != self.members;
        self.members = members;
        let Some(rank) = self.rank() else { return has_changed };
        let stored = self.stored();
        // A list counts for others only after it is written, which the next heartbeat does.
        let is_settled = !has_changed && live.iter().all(|other| other.members == stored);
        if is_settled {
            self.settled = Some(rank);
        }
        self.shares = match self.settled {
            None => Shares::None,
            Some(settled) if settled == rank => Shares::Of(rank),
            Some(settled) => Shares::Least(settled, rank),
        };
        has_changed
    }

    /// Gives all shares up after failed heartbeats: the others may divide them.
    fn fence(&mut self) {
        self.settled = None;
        self.shares = Shares::None;
    }

    fn rank(&self) -> Option<Rank> {
        let position = self.members.iter().position(|member| *member == self.name)?;
        Some(Rank { position: u32::try_from(position).ok()?, count: u32::try_from(self.members.len()).ok()? })
    }

    fn is_settled(&self) -> bool {
        matches!(self.shares, Shares::Of(_))
    }
}

/// The running membership of a dispatcher.
pub(super) struct Member {
    leaving: CancellationToken,
    task: JoinHandle<()>,
}

/// Starts to divide the limits with the other dispatchers. Until the first heartbeats, this one sends nothing.
pub(super) fn join(dispatcher: &Dispatcher) -> Member {
    dispatcher.engine.outbox.set_shares(Shares::None);
    let leaving = CancellationToken::new();
    Member { task: tokio::spawn(divide_limits(dispatcher.clone(), leaving.clone())), leaving }
}

/// Divides the limits until `leaving`.
async fn divide_limits(dispatcher: Dispatcher, leaving: CancellationToken) {
    let engine = &dispatcher.engine;
    let mut membership = Membership::new(engine.owner.clone());
    let mut written = String::new();
    let mut last_success = Instant::now();
    let mut is_failing = false;
    while !leaving.is_cancelled() {
        // A written list tells the others that this one is within its shares.
        if engine.outbox.is_within_shares() {
            written = membership.stored();
        }
        let started = Instant::now();
        if started - last_success > FENCE_AFTER {
            membership.fence();
            engine.outbox.set_shares(membership.shares);
        }
        let has_changed = match heartbeat(&dispatcher, &written).await {
            Ok(others) => {
                (last_success, is_failing) = (started, false);
                let before = membership.shares;
                let has_changed = membership.observe(&others);
                if membership.shares != before {
                    engine.outbox.set_shares(membership.shares);
                    // Deliveries may wait for the additional shares.
                    engine.feed.wake_own_dispatcher(WebhookSet::All);
                }
                has_changed
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "the heartbeat of the dispatcher failed; it is repeated");
                }
                false
            }
        };
        if has_changed {
            // The others learn the new list at once; it is in the next heartbeat.
            continue;
        }
        let is_settled = membership.is_settled() && written == membership.stored() && !is_failing;
        if !is_settled {
            engine.feed.greet_replicas();
        }
        tokio::select! {
            () = tokio::time::sleep(if is_settled { BEAT_INTERVAL } else { UNSETTLED_INTERVAL }) => {}
            () = engine.feed.wait_for_greeting(), if is_settled => {}
            () = leaving.cancelled() => {}
        }
    }
}

/// Writes a heartbeat, removes dispatchers that stopped long ago, and returns the others.
async fn heartbeat(dispatcher: &Dispatcher, members: &str) -> Result<Vec<SeenDispatcher>> {
    let Engine { context, owner, .. } = &*dispatcher.engine;
    let others = async {
        let (stopped, others): (Vec<_>, Vec<_>) =
            beat(&context.db, owner, members).await?.into_iter().partition(|other| other.age >= REMOVED_AFTER);
        remove(&context.db, stopped.into_iter().map(|other| other.name).collect()).await?;
        Ok(others)
    };
    tokio::time::timeout(BEAT_TIMEOUT, others).await.unwrap_or_else(|_| Err(unavailable().into()))
}

impl Member {
    /// Leaves: the other dispatchers divide the shares of this one, whose requests have ended.
    pub(super) async fn leave(self, dispatcher: &Dispatcher) {
        let engine = &dispatcher.engine;
        self.leaving.cancel();
        // Its last heartbeat must not follow the removal.
        let _ = self.task.await;
        engine.outbox.set_shares(Shares::None);
        match tokio::time::timeout(BEAT_TIMEOUT, remove(&engine.context.db, vec![engine.owner.clone()])).await {
            Ok(Ok(())) => engine.feed.greet_replicas(),
            Ok(Err(error)) => tracing::warn!(%error, "the dispatcher did not leave; the others notice it after 8 s"),
            Err(_) => tracing::warn!("the dispatcher did not leave in time; the others notice it after 8 s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const WEBHOOKS: [i64; 3] = [1, 2, 7];

    /// A database table of heartbeats, with the dispatchers that run.
    #[derive(Default)]
    struct Simulation {
        now: i64,
        stored: BTreeMap<String, (i64, String)>,
        running: BTreeMap<String, (Membership, i64)>,
    }

    impl Simulation {
        fn start(&mut self, name: &str) {
            let is_new = !self.stored.contains_key(name) && !self.running.contains_key(name);
            if is_new {
                self.running.insert(name.to_owned(), (Membership::new(name.to_owned()), self.now));
            }
        }

        /// A heartbeat, with the fence that precedes a late one.
        fn beat(&mut self, name: &str) {
            let Some((membership, last)) = self.running.get_mut(name) else { return };
            if self.now - *last > FENCE_AFTER.as_millis() as i64 {
                membership.fence();
            }
            *last = self.now;
            for _ in 0..2 {
                self.stored.insert(name.to_owned(), (self.now, membership.stored()));
                let others: Vec<_> = self
                    .stored
                    .iter()
                    .filter(|(other, _)| *other != name)
                    .map(|(other, (at, members))| SeenDispatcher {
                        name: other.clone(),
                        age: self.now - at,
                        members: members.clone(),
                    })
                    .collect();
                if !membership.observe(&others) {
                    return;
                }
            }
        }

        fn crash(&mut self, name: &str) {
            self.running.remove(name);
        }

        fn leave(&mut self, name: &str) {
            if self.running.remove(name).is_some() {
                self.stored.remove(name);
            }
        }

        /// The requests that all dispatchers together allow, for each webhook.
        fn total(&self, limit: u32) -> Vec<u32> {
            // A dispatcher whose heartbeats fail fences itself in time.
            let fenced = |last: i64| self.now - last > FENCE_AFTER.as_millis() as i64;
            let shares = |webhook| {
                self.running.values().filter(|(_, last)| !fenced(*last)).map(move |(m, _)| m.shares.of(webhook, limit))
            };
            WEBHOOKS.iter().map(|webhook| shares(*webhook).sum()).collect()
        }
    }

    #[derive(Debug, Clone)]
    enum Action {
        Start(u8),
        Beat(u8),
        Crash(u8),
        Leave(u8),
        Wait(i64),
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            2 => (0..5_u8).prop_map(Action::Start),
            8 => (0..5_u8).prop_map(Action::Beat),
            1 => (0..5_u8).prop_map(Action::Crash),
            1 => (0..5_u8).prop_map(Action::Leave),
            4 => (1..9_000_i64).prop_map(Action::Wait),
        ]
    }

    proptest! {
        #[test]
        fn dispatchers_together_never_exceed_a_limit(
            actions in proptest::collection::vec(action(), 1..120), limit in 1..9_u32,
        ) {
            let mut simulation = Simulation::default();
            let mut generation = [0; 5];
            let name = |dispatcher: u8, generation: &[u32; 5]| format!("d{dispatcher}-{}", generation[usize::from(dispatcher)]);
            for action in &actions {
                match *action {
                    Action::Start(n) => simulation.start(&name(n, &generation)),
                    Action::Beat(n) => simulation.beat(&name(n, &generation)),
                    Action::Crash(n) => { simulation.crash(&name(n, &generation)); generation[usize::from(n)] += 1; }
                    Action::Leave(n) => { simulation.leave(&name(n, &generation)); generation[usize::from(n)] += 1; }
                    Action::Wait(ms) => simulation.now += ms,
                }
                for total in simulation.total(limit) {
                    prop_assert!(total <= limit, "{total} of {limit} after {action:?}");
                }
            }
            // Left alone, the running ones use each limit completely.
            let names: Vec<String> = simulation.running.keys().cloned().collect();
            for _ in 0..10 {
                simulation.now += 2_000;
                names.iter().for_each(|name| simulation.beat(name));
            }
            if !names.is_empty() {
                prop_assert_eq!(simulation.total(limit), vec![limit; WEBHOOKS.len()]);
            }
        }
    }

    #[test]
    fn only_dispatcher_sends_after_its_first_heartbeats() {
        let mut membership = Membership::new("a".into());
        assert_eq!(membership.shares, Shares::None);
        assert!(membership.observe(&[]), "its list must be written");
        assert!(!membership.observe(&[]));
        assert_eq!(membership.shares, Shares::Of(Rank::ONLY));
    }

    #[test]
    fn joining_dispatcher_waits_until_the_others_know_it() {
        let other = |members: &str, age| [SeenDispatcher { name: "a".into(), age, members: members.into() }];
        let mut membership = Membership::new("b".into());
        membership.observe(&other("a", 0));
        membership.observe(&other("a", 4_000));
        assert_eq!(membership.shares, Shares::None);
        membership.observe(&other("a b", 0));
        assert_eq!(membership.shares, Shares::Of(Rank { position: 1, count: 2 }));
        membership.observe(&other("a b", STOPPED_AFTER));
        membership.observe(&other("a b", STOPPED_AFTER));
        assert_eq!(membership.shares, Shares::Of(Rank::ONLY), "the other one has crashed");
    }
}
