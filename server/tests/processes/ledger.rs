//! The comparison of what was committed with what arrived.

use super::database::{Attempt, TestDatabase};
use super::load::Told;
use super::receiver::{Arrival, Receiver};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Compares, once everything has been delivered. `interrupted` are the attempts that a process was at when it ended, or
/// whose result it could not record: only they may have been made twice.
pub async fn compare(
    test: &str,
    database: &TestDatabase,
    receiver: &Receiver,
    told: &Told,
    interrupted: &HashSet<Attempt>,
) {
    let deliveries = database.deliveries().await;
    let arrivals = receiver.arrivals();
    assert!(!deliveries.is_empty());

    // At least once, and nothing that was not committed.
    let committed: HashSet<&str> = deliveries.iter().map(|delivery| delivery.id.as_str()).collect();
    let mut arrived: HashMap<&str, Vec<(usize, &Arrival)>> = HashMap::new();
    for (place, arrival) in arrivals.iter().enumerate() {
        assert!(committed.contains(arrival.delivery.as_str()), "sent, but not committed: {arrival:?}");
        arrived.entry(&arrival.delivery).or_default().push((place, arrival));
    }
    for delivery in &deliveries {
        let got = arrived.get(delivery.id.as_str()).unwrap_or_else(|| panic!("lost: {delivery:?}"));
        assert!(got.iter().all(|(_, a)| a.event == delivery.event && a.webhook == delivery.webhook), "{delivery:?}");
        assert_eq!(delivery.status, "succeeded", "{delivery:?}");
        assert!(got.iter().any(|(_, a)| a.status == 200), "recorded as a success that never was: {delivery:?}");
    }

    // In order: a later event of a reservation comes only when the earlier one has been accepted.
    let mut lines: BTreeMap<(i64, &str), (usize, &str)> = BTreeMap::new();
    for delivery in &deliveries {
        let got = &arrived[delivery.id.as_str()];
        let first = got[0].0;
        let accepted = got.iter().find(|(_, a)| a.status == 200).map_or(usize::MAX, |(place, _)| *place);
        if let Some((before, event)) =
            lines.insert((delivery.webhook, &delivery.reservation), (accepted, &delivery.event_type))
        {
            assert!(before < first, "out of order: {event} was accepted after the first request of {delivery:?}");
        }
    }

    // Every webhook gets every event, and what was acknowledged is there.
    let mut events: BTreeMap<i64, BTreeSet<&str>> = BTreeMap::new();
    let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
    for delivery in &deliveries {
        events.entry(delivery.webhook).or_default().insert(&delivery.event);
        *counts.entry((&delivery.reservation, &delivery.event_type)).or_default() += 1;
    }
    let webhooks = events.len();
    let mut sets = events.values();
    let first = sets.next().unwrap();
    assert!(sets.all(|set| set == first), "an event was committed for one webhook and not for another");
    let mut acknowledged: HashMap<(&str, &str), usize> = HashMap::new();
    for (reservation, event) in &told.acknowledged {
        *acknowledged.entry((reservation, event)).or_default() += webhooks;
    }
    for (change, count) in &acknowledged {
        let committed = counts.get(change).copied().unwrap_or_default();
        assert!(committed >= *count, "acknowledged but gone: {change:?}: {committed} of {count}");
    }

    // Twice only what was interrupted.
    let mut made: HashMap<Attempt, usize> = HashMap::new();
    for arrival in &arrivals {
        *made.entry((arrival.delivery.clone(), arrival.attempt)).or_default() += 1;
    }
    let twice: Vec<_> = made.iter().filter(|(_, count)| **count > 1).collect();
    for (attempt, count) in &twice {
        assert!(interrupted.contains(*attempt), "made {count} times though nothing interrupted it: {attempt:?}");
    }
    let duplicates: usize = twice.iter().map(|(_, count)| **count - 1).sum();
    eprintln!(
        "{test}: {} deliveries of {} events committed, {} requests arrived, {} attempts interrupted, {duplicates} made again \
         although they had arrived; clients: {} changes acknowledged, {} answers 503, {} requests without an answer",
        deliveries.len(),
        first.len(),
        arrivals.len(),
        interrupted.len(),
        told.acknowledged.len(),
        told.unavailable,
        told.broken,
    );
}
