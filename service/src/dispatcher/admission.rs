//! Admission: the queue of claims whose requests have not started. It limits concurrent requests to fast receivers.
//! With hundreds in flight, each request costs this process and the receivers 50 % more, because of CPU cache misses.
//! Slow requests do not count against the limit, so that they do not delay others.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// The origin of a claim. The two origins alternate, so new deliveries do not wait behind a backlog.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// Committed by this process.
    FastPath,
    /// Claimed from the queue.
    Queue,
}

/// The claims that wait for admission, first in, first out for each origin.
pub(super) struct AdmissionQueue<C>(Mutex<State<C>>);

struct State<C> {
    /// Maximum number of requests in flight that are not slow.
    soft_limit: usize,
    /// Indexed by [`Origin`].
    waiting: [VecDeque<C>; 2],
    /// The index of the origin whose claim is next.
    turn: usize,
    /// The number of calls of [`AdmissionQueue::tick`].
    round: u64,
    /// Requests in flight that started in this round, and in the one before. Older ones are slow.
    recent: [usize; 2],
}

/// A claim whose request starts now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admitted<C> {
    pub(super) claim: C,
    pub(super) token: StartToken,
}

/// The start of a request, for [`AdmissionQueue::on_complete`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StartToken {
    round: u64,
    /// Whether the request counts against the soft limit. One that replaces a slow request does not.
    counts: bool,
}

impl<C> State<C> {
    fn start(&mut self, counts: bool) -> Option<Admitted<C>> {
        let (first, second) = (self.turn, 1 - self.turn);
        let claim = self.waiting[first].pop_front().or_else(|| self.waiting[second].pop_front())?;
        self.turn = second;
        self.recent[0] += usize::from(counts);
        Some(Admitted { claim, token: StartToken { round: self.round, counts } })
    }

    fn next(&mut self) -> Option<Admitted<C>> {
        if self.recent.iter().sum::<usize>() < self.soft_limit { self.start(true) } else { None }
    }

    fn has_backlog(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_empty())
    }
}

impl<C> AdmissionQueue<C> {
    /// An empty queue that admits at most `soft_limit` concurrent requests, besides slow ones.
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

    /// The next claim, if the soft limit allows another request.
    pub(super) fn next(&self) -> Option<Admitted<C>> {
        self.with(State::next)
    }

    /// Ends a request and returns the claim that replaces it. A slow request is always replaced, so that slow receivers
    /// use their full concurrency limit.
    pub(super) fn on_complete(&self, token: StartToken) -> Option<Admitted<C>> {
        self.with(|state| match usize::try_from(state.round - token.round) {
            Ok(age @ (0 | 1)) => {
                state.recent[age] -= usize::from(token.counts && state.recent[age] > 0);
                state.next()
            }
            _ => state.start(false),
        })
    }

    /// Begins a round. Requests that started before the previous round count as slow from now on.
    pub(super) fn tick(&self) {
        self.with(|state| {
            state.round += 1;
            state.recent = [0, state.recent[0]];
        });
    }

    /// The number of waiting claims of an origin.
    pub(super) fn waiting(&self, origin: Origin) -> usize {
        self.with(|state| state.waiting[origin as usize].len())
    }

    /// Whether claims wait.
    pub(super) fn has_backlog(&self) -> bool {
        self.with(|state| state.has_backlog())
    }

    /// Whether claims wait or requests that are not slow are in flight, so that [`tick`](Self::tick) has an effect.
    pub(super) fn is_busy(&self) -> bool {
        self.with(|state| state.recent != [0; 2] || state.has_backlog())
    }

    /// Removes all waiting claims.
    pub(super) fn drain(&self) -> Vec<C> {
        self.with(|state| state.waiting.iter_mut().flat_map(|waiting| waiting.drain(..)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit_all(admission: &AdmissionQueue<u32>) -> Vec<Admitted<u32>> {
        std::iter::from_fn(|| admission.next()).collect()
    }

    fn claims(admitted: &[Admitted<u32>]) -> Vec<u32> {
        admitted.iter().map(|admitted| admitted.claim).collect()
    }

    #[test]
    fn soft_limit_admits_few_and_each_completion_admits_one_more() {
        let admission = AdmissionQueue::new(3);
        admission.push(Origin::Queue, (0..6).collect());
        let first = admit_all(&admission);
        assert_eq!(claims(&first), [0, 1, 2]);
        let second = admission.on_complete(first[1].token).unwrap();
        assert_eq!((second.claim, admission.waiting(Origin::Queue), admission.waiting(Origin::FastPath)), (3, 2, 0));
        assert_eq!(admit_all(&admission), []);
        admission.tick();
        assert_eq!(admission.on_complete(second.token).unwrap().claim, 4, "also after a tick");
        assert_eq!(admit_all(&admission), []);
        assert_eq!(admission.drain(), [5]);
        assert_eq!(admission.on_complete(first[0].token), None);
        admission.push(Origin::Queue, vec![7, 8]);
        assert_eq!(claims(&admit_all(&admission)), [7], "unused capacity stays available");
    }

    #[test]
    fn slow_requests_do_not_delay_others() {
        let admission = AdmissionQueue::new(3);
        admission.push(Origin::Queue, (0..100).collect());
        let slow = admit_all(&admission);
        admission.tick();
        assert_eq!(admit_all(&admission), [], "not slow yet");
        admission.tick();
        let more = admit_all(&admission);
        assert_eq!(claims(&more), [3, 4, 5]);
        // A slow request is replaced in addition to the recent ones, and so is its replacement if it is slow too.
        let replacement = admission.on_complete(slow[0].token).unwrap();
        assert_eq!(replacement.claim, 6);
        assert_eq!(admit_all(&admission), []);
        admission.tick();
        admission.tick();
        assert_eq!(claims(&admit_all(&admission)), [7, 8, 9]);
        let replacement = admission.on_complete(replacement.token).unwrap();
        assert_eq!(replacement.claim, 10);
        // A fast replacement is not replaced, so the number in flight returns to the soft limit.
        assert_eq!(admission.on_complete(replacement.token), None);
        assert_eq!(admit_all(&admission), []);
    }

    #[test]
    fn fast_path_alternates_with_a_backlog() {
        let admission = AdmissionQueue::new(10);
        admission.push(Origin::Queue, (0..4).collect());
        admission.push(Origin::FastPath, vec![10, 11]);
        assert!(admission.has_backlog());
        assert_eq!(claims(&admit_all(&admission)), [10, 0, 11, 1, 2, 3]);
        assert!(!admission.has_backlog() && admission.is_busy());
        admission.tick();
        admission.tick();
        assert!(!admission.is_busy(), "all requests are slow");
    }
}
