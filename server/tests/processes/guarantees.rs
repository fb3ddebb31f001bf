//! Comparison of the committed deliveries with the received requests.

use super::database::{Attempt, Database};
use super::load::ClientRecord;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use test_support::{ReceivedRequest, Receiver};

/// Checks the delivery guarantees after the queue is drained. `interrupted` are the attempts in flight when a process ended,
/// and those whose result could not be recorded: only these may arrive twice.
pub async fn assert_guarantees(
    test: &str,
    database: &Database,
    receiver: &Receiver,
    record: &ClientRecord,
    interrupted: &HashSet<Attempt>,
) {
    let deliveries = database.deliveries().await;
    let received = receiver.requests();
    assert!(!deliveries.is_empty());

    // At-least-once delivery, and no request without a committed delivery.
    let committed: HashSet<&str> = deliveries.iter().map(|delivery| delivery.id.as_str()).collect();
    let mut arrived: HashMap<&str, Vec<(usize, &ReceivedRequest)>> = HashMap::new();
    for (place, request) in received.iter().enumerate() {
        assert!(committed.contains(request.delivery()), "sent but not committed: {request:?}");
        arrived.entry(request.delivery()).or_default().push((place, request));
    }
    for delivery in &deliveries {
        let got = arrived.get(delivery.id.as_str()).unwrap_or_else(|| panic!("lost: {delivery:?}"));
        assert!(
            got.iter().all(|(_, a)| a.event_id() == delivery.event && a.webhook() == delivery.webhook),
            "{delivery:?}"
        );
        assert_eq!(delivery.status, "succeeded", "{delivery:?}");
        assert!(
            got.iter().any(|(_, a)| a.response_status == 200),
            "recorded as a success without a 200 response: {delivery:?}"
        );
    }

    // Order: a later event of a reservation is sent only after the receiver accepted the earlier one.
    let mut predecessors: BTreeMap<(i64, &str), (usize, &str)> = BTreeMap::new();
    for delivery in &deliveries {
        let got = &arrived[delivery.id.as_str()];
        let first = got[0].0;
        let accepted = got.iter().find(|(_, a)| a.response_status == 200).map_or(usize::MAX, |(place, _)| *place);
        if let Some((before, event)) =
            predecessors.insert((delivery.webhook, &delivery.reservation), (accepted, &delivery.event_type))
        {
            assert!(before < first, "out of order: {event} was accepted after the first request of {delivery:?}");
        }
    }

    // Every webhook gets every event, and every acknowledged change is committed.
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
    for (reservation, event) in &record.acknowledged {
        *acknowledged.entry((reservation, event)).or_default() += webhooks;
    }
    for (change, count) in &acknowledged {
        let committed = counts.get(change).copied().unwrap_or_default();
        assert!(committed >= *count, "acknowledged but missing: {change:?}: {committed} of {count}");
    }

    // Duplicates only of interrupted attempts.
    let mut made: HashMap<Attempt, usize> = HashMap::new();
    for request in &received {
        *made.entry((request.delivery().to_owned(), request.attempt())).or_default() += 1;
    }
    let twice: Vec<_> = made.iter().filter(|(_, count)| **count > 1).collect();
    for (attempt, count) in &twice {
        assert!(interrupted.contains(*attempt), "sent {count} times without an interruption: {attempt:?}");
    }
    let duplicates: usize = twice.iter().map(|(_, count)| **count - 1).sum();
    eprintln!(
        "{test}: {} deliveries of {} events committed, {} requests received, {} attempts interrupted, \
         {duplicates} duplicates; clients: {} changes acknowledged, {} responses 503, {} broken connections",
        deliveries.len(),
        first.len(),
        received.len(),
        interrupted.len(),
        record.acknowledged.len(),
        record.unavailable,
        record.broken,
    );
}
