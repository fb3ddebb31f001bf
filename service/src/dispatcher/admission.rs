//! The line of claims whose requests are still to be started. Requests are cheapest a few at a time: hundreds on their way to
//! receivers that answer at once cost this process and the receivers half as much again each, for all their connections
//! have work and none of it is at hand. But those that take long must hold up nobody: they do not count.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// Whence a claim comes; the two take turns, so that what is new does not wait behind a backlog.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// Just committed, by the direct lane.
    FastPath,
    /// From the queue.
    Queue,
}

/// Claims, of either origin in the order of their coming.
pub(super) struct AdmissionQueue<C>(Mutex<State<C>>);

struct State<C> {
    /// So many recent requests at most.
    soft_limit: usize,
    /// By [`Origin`].
    waiting: [VecDeque<C>; 2],
    /// Whose turn it is.
    turn: usize,
    /// Counts calls of [`AdmissionQueue::hurry`].
    round: u64,
    /// Requests under way that began in this round, and in the one before. Older ones are slow.
    recent: [usize; 2],
}

/// A claim whose request is to be made now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admitted<C> {
    pub(super) claim: C,
    pub(super) began: StartToken,
}

/// When a request began; needed when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StartToken {
    round: u64,
    /// Whether it counts among the recent. One that takes the place of a slow one does not.
    counts: bool,
}

impl<C> State<C> {
    fn start(&mut self, counts: bool) -> Option<Admitted<C>> {
        let (first, second) = (self.turn, 1 - self.turn);
        let claim = self.waiting[first].pop_front().or_else(|| self.waiting[second].pop_front())?;
        self.turn = second;
        self.recent[0] += usize::from(counts);
        Some(Admitted { claim, began: StartToken { round: self.round, counts } })
    }

    fn next(&mut self) -> Option<Admitted<C>> {
        if self.recent.iter().sum::<usize>() < self.soft_limit { self.start(true) } else { None }
    }

    fn has_backlog(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_empty())
    }
}

impl<C> AdmissionQueue<C> {
    /// An empty line, for `soft_limit` requests at once.
    pub(super) fn new(soft_limit: usize) -> Self {
        let waiting = [VecDeque::new(), VecDeque::new()];
        Self(Mutex::new(State { soft_limit, waiting, turn: 0, round: 0, recent: [0; 2] }))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State<C>) -> T) -> T {
        act(&mut self.0.lock())
    }

    /// Adds claims at the end.
    pub(super) fn push(&self, origin: Origin, claims: Vec<C>) {
        self.with(|state| state.waiting[origin as usize].extend(claims));
    }

    /// The next claim, if another request may begin.
    pub(super) fn next(&self) -> Option<Admitted<C>> {
        self.with(State::next)
    }

    /// A request has ended; the claim that takes its place. In that of a slow one another begins in any case, so that slow
    /// receivers get as many requests at once as they may.
    pub(super) fn on_complete(&self, began: StartToken) -> Option<Admitted<C>> {
        self.with(|state| match usize::try_from(state.round - began.round) {
            Ok(age @ (0 | 1)) => {
                state.recent[age] -= usize::from(began.counts && state.recent[age] > 0);
                state.next()
            }
            _ => state.start(false),
        })
    }

    /// Some time has passed: requests that began before the last call are slow from here on.
    pub(super) fn tick(&self) {
        self.with(|state| {
            state.round += 1;
            state.recent = [0, state.recent[0]];
        });
    }

    /// How many of this origin wait.
    pub(super) fn waiting(&self, origin: Origin) -> usize {
        self.with(|state| state.waiting[origin as usize].len())
    }

    /// Whether any wait.
    pub(super) fn has_backlog(&self) -> bool {
        self.with(|state| state.has_backlog())
    }

    /// Whether any wait or are recent, so that [`hurry`](Self::hurry) would change something.
    pub(super) fn is_busy(&self) -> bool {
        self.with(|state| state.recent != [0; 2] || state.has_backlog())
    }

    /// Sends all away who wait.
    pub(super) fn drain(&self) -> Vec<C> {
        self.with(|state| state.waiting.iter_mut().flat_map(|waiting| waiting.drain(..)).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn all(admission: &AdmissionQueue<u32>) -> Vec<Admitted<u32>> {
        std::iter::from_fn(|| admission.next()).collect()
    }

    fn claims(turns: &[Admitted<u32>]) -> Vec<u32> {
        turns.iter().map(|turn| turn.claim).collect()
    }

    #[test]
    fn few_begin_together_and_each_that_ends_makes_room() {
        let admission = AdmissionQueue::new(3);
        admission.push(Origin::Queue, (0..6).collect());
        let first = all(&admission);
        assert_eq!(claims(&first), [0, 1, 2]);
        let second = admission.on_complete(first[1].began).unwrap();
        assert_eq!((second.claim, admission.waiting(Origin::Queue), admission.waiting(Origin::FastPath)), (3, 2, 0));
        assert_eq!(all(&admission), []);
        admission.tick();
        assert_eq!(admission.on_complete(second.began).unwrap().claim, 4, "also when a round has passed");
        assert_eq!(all(&admission), []);
        assert_eq!(admission.drain(), [5]);
        assert_eq!(admission.on_complete(first[0].began), None);
        admission.push(Origin::Queue, vec![7, 8]);
        assert_eq!(claims(&all(&admission)), [7], "places that nobody took stay free");
    }

    #[test]
    fn slow_ones_hold_up_nobody() {
        let admission = AdmissionQueue::new(3);
        admission.push(Origin::Queue, (0..100).collect());
        let stuck = all(&admission);
        admission.tick();
        assert_eq!(all(&admission), [], "not slow yet");
        admission.tick();
        let more = all(&admission);
        assert_eq!(claims(&more), [3, 4, 5]);
        // A slow one that ends has a follower beside them, and so has that one, if it is slow too.
        let beside = admission.on_complete(stuck[0].began).unwrap();
        assert_eq!(beside.claim, 6);
        assert_eq!(all(&admission), []);
        admission.tick();
        admission.tick();
        assert_eq!(claims(&all(&admission)), [7, 8, 9]);
        let beside = admission.on_complete(beside.began).unwrap();
        assert_eq!(beside.claim, 10);
        // One that is not slow has none: with time there are no more under way than may be.
        assert_eq!(admission.on_complete(beside.began), None);
        assert_eq!(all(&admission), []);
    }

    #[test]
    fn what_is_new_takes_turns_with_a_backlog() {
        let admission = AdmissionQueue::new(10);
        admission.push(Origin::Queue, (0..4).collect());
        admission.push(Origin::FastPath, vec![10, 11]);
        assert!(admission.has_backlog());
        assert_eq!(claims(&all(&admission)), [10, 0, 11, 1, 2, 3]);
        assert!(!admission.has_backlog() && admission.is_busy());
        admission.tick();
        admission.tick();
        assert!(!admission.is_busy(), "all are slow");
    }
}
