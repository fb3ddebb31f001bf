//! The shares of a process in the limits of webhooks: several dispatchers of one database divide each limit, so that together
//! they do not exceed it.

use domain::id::WebhookId;

/// One dispatcher among the dispatchers that divide the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rank {
    /// The position in the sorted names of all dispatchers, from 0.
    pub(crate) position: u32,
    /// The number of dispatchers, at least 1.
    pub(crate) count: u32,
}

/// The shares of a dispatcher in all limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shares {
    /// No requests: the other dispatchers do not know this one yet.
    None,
    /// The share of a rank.
    Of(Rank),
    /// The smaller one of two shares, while other dispatchers may still use the first division.
    Least(Rank, Rank),
}

impl Rank {
    /// The only dispatcher.
    pub(crate) const ONLY: Self = Self { position: 0, count: 1 };

    /// The share in a limit of a webhook. The shares of all ranks add up to the limit. The remainder of the division begins at
    /// another rank for each webhook, so a webhook with a limit of 1 does not always belong to the first dispatcher.
    fn share(self, webhook: WebhookId, limit: u32) -> u32 {
        let first = u32::try_from(webhook.rem_euclid(i64::from(self.count))).unwrap_or_default();
        let place = (self.position + self.count - first) % self.count;
        limit / self.count + u32::from(place < limit % self.count)
    }
}

impl Shares {
    /// The share in a limit of a webhook.
    pub(crate) fn of(self, webhook: WebhookId, limit: u32) -> u32 {
        match self {
            Self::None => 0,
            Self::Of(rank) => rank.share(webhook, limit),
            Self::Least(one, other) => one.share(webhook, limit).min(other.share(webhook, limit)),
        }
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self::Of(Rank::ONLY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_add_up_to_the_limit_and_differ_by_at_most_one(
            webhook in 1..1_000_i64, limit in 0..3_000_u32, count in 1..12_u32,
        ) {
            let shares: Vec<u32> =
                (0..count).map(|position| Shares::Of(Rank { position, count }).of(webhook, limit)).collect();
            prop_assert_eq!(shares.iter().sum::<u32>(), limit);
            prop_assert!(shares.iter().all(|share| share.abs_diff(shares[0]) <= 1), "{:?}", shares);
        }
    }

    #[test]
    fn webhooks_with_a_limit_of_one_are_distributed() {
        let owner = |webhook| (0..3).find(|position| Rank { position: *position, count: 3 }.share(webhook, 1) == 1);
        assert_eq!((1..=6).map(owner).collect::<Vec<_>>(), [Some(1), Some(2), Some(0), Some(1), Some(2), Some(0)]);
    }

    #[test]
    fn only_dispatcher_has_each_limit() {
        assert_eq!(Shares::default().of(7, 64), 64);
        assert_eq!(Shares::None.of(7, 64), 0);
        assert_eq!(Shares::Least(Rank::ONLY, Rank { position: 1, count: 3 }).of(7, 64), 22);
    }
}
