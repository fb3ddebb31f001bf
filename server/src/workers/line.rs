//! The line of claims whose requests are still to be started. Requests are cheapest a few at a time: hundreds on their way to
//! receivers that answer at once cost this process and the receivers half as much again each, for all their connections
//! have work and none of it is at hand. But those that take long must hold up nobody: they do not count.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Whence a claim comes; the two take turns, so that what is new does not wait behind a backlog.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// Just committed, by the direct lane.
    Lane,
    /// From the queue.
    Queue,
}

/// Claims, of either origin in the order of their coming.
pub(super) struct Line<C>(Mutex<State<C>>);

struct State<C> {
    /// So many young requests at most.
    together: usize,
    /// By [`Origin`].
    waiting: [VecDeque<C>; 2],
    /// Whose turn it is.
    turn: usize,
    /// Counts calls of [`Line::hurry`].
    round: u64,
    /// Requests under way that began in this round, and in the one before. Older ones are slow.
    young: [usize; 2],
}

/// A claim whose request is to be made now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn<C> {
    pub(super) claim: C,
    pub(super) began: Began,
}

/// When a request began; needed when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Began {
    round: u64,
    /// Whether it counts among the young. One that takes the place of a slow one does not.
    counts: bool,
}

impl<C> State<C> {
    fn start(&mut self, counts: bool) -> Option<Turn<C>> {
        let (first, second) = (self.turn, 1 - self.turn);
        let claim = self.waiting[first].pop_front().or_else(|| self.waiting[second].pop_front())?;
        self.turn = second;
        self.young[0] += usize::from(counts);
        Some(Turn { claim, began: Began { round: self.round, counts } })
    }

    fn next(&mut self) -> Option<Turn<C>> {
        if self.young.iter().sum::<usize>() < self.together { self.start(true) } else { None }
    }

    fn is_crowded(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_empty())
    }
}

impl<C> Line<C> {
    /// An empty line, for `together` requests at once.
    pub(super) fn new(together: usize) -> Self {
        let waiting = [VecDeque::new(), VecDeque::new()];
        Self(Mutex::new(State { together, waiting, turn: 0, round: 0, young: [0; 2] }))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State<C>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds claims at the end.
    pub(super) fn join(&self, origin: Origin, claims: Vec<C>) {
        self.with(|state| state.waiting[origin as usize].extend(claims));
    }

    /// The next claim, if another request may begin.
    pub(super) fn next(&self) -> Option<Turn<C>> {
        self.with(State::next)
    }

    /// A request has ended; the claim that takes its place. In that of a slow one another begins in any case, so that slow
    /// receivers get as many requests at once as they may.
    pub(super) fn follow(&self, began: Began) -> Option<Turn<C>> {
        self.with(|state| match usize::try_from(state.round - began.round) {
            Ok(age @ (0 | 1)) => {
                state.young[age] -= usize::from(began.counts && state.young[age] > 0);
                state.next()
            }
            _ => state.start(false),
        })
    }

    /// Some time has passed: requests that began before the last call are slow from here on.
    pub(super) fn hurry(&self) {
        self.with(|state| {
            state.round += 1;
            state.young = [0, state.young[0]];
        });
    }

    /// How many of this origin wait.
    pub(super) fn waiting(&self, origin: Origin) -> usize {
        self.with(|state| state.waiting[origin as usize].len())
    }

    /// Whether any wait.
    pub(super) fn is_crowded(&self) -> bool {
        self.with(|state| state.is_crowded())
    }

    /// Whether any wait or are young, so that [`hurry`](Self::hurry) would change something.
    pub(super) fn is_busy(&self) -> bool {
        self.with(|state| state.young != [0; 2] || state.is_crowded())
    }

    /// Sends all away who wait.
    pub(super) fn clear(&self) -> Vec<C> {
        self.with(|state| state.waiting.iter_mut().flat_map(|waiting| waiting.drain(..)).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn all(line: &Line<u32>) -> Vec<Turn<u32>> {
        std::iter::from_fn(|| line.next()).collect()
    }

    fn claims(turns: &[Turn<u32>]) -> Vec<u32> {
        turns.iter().map(|turn| turn.claim).collect()
    }

    #[test]
    fn few_begin_together_and_each_that_ends_makes_room() {
        let line = Line::new(3);
        line.join(Origin::Queue, (0..6).collect());
        let first = all(&line);
        assert_eq!(claims(&first), [0, 1, 2]);
        let second = line.follow(first[1].began).unwrap();
        assert_eq!((second.claim, line.waiting(Origin::Queue), line.waiting(Origin::Lane)), (3, 2, 0));
        assert_eq!(all(&line), []);
        line.hurry();
        assert_eq!(line.follow(second.began).unwrap().claim, 4, "also when a round has passed");
        assert_eq!(all(&line), []);
        assert_eq!(line.clear(), [5]);
        assert_eq!(line.follow(first[0].began), None);
        line.join(Origin::Queue, vec![7, 8]);
        assert_eq!(claims(&all(&line)), [7], "places that nobody took stay free");
    }

    #[test]
    fn slow_ones_hold_up_nobody() {
        let line = Line::new(3);
        line.join(Origin::Queue, (0..100).collect());
        let stuck = all(&line);
        line.hurry();
        assert_eq!(all(&line), [], "not slow yet");
        line.hurry();
        let more = all(&line);
        assert_eq!(claims(&more), [3, 4, 5]);
        // A slow one that ends has a follower beside them, and so has that one, if it is slow too.
        let beside = line.follow(stuck[0].began).unwrap();
        assert_eq!(beside.claim, 6);
        assert_eq!(all(&line), []);
        line.hurry();
        line.hurry();
        assert_eq!(claims(&all(&line)), [7, 8, 9]);
        let beside = line.follow(beside.began).unwrap();
        assert_eq!(beside.claim, 10);
        // One that is not slow has none: with time there are no more under way than may be.
        assert_eq!(line.follow(beside.began), None);
        assert_eq!(all(&line), []);
    }

    #[test]
    fn what_is_new_takes_turns_with_a_backlog() {
        let line = Line::new(10);
        line.join(Origin::Queue, (0..4).collect());
        line.join(Origin::Lane, vec![10, 11]);
        assert!(line.is_crowded());
        assert_eq!(claims(&all(&line)), [10, 0, 11, 1, 2, 3]);
        assert!(!line.is_crowded() && line.is_busy());
        line.hurry();
        line.hurry();
        assert!(!line.is_busy(), "all are slow");
    }
}
