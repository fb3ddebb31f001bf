//! Isolation: limits of each webhook, and fairness between webhooks.

use super::fixture;
use crate::support::{TestService, step, webhook_input};
use chrono::Duration;
use domain::webhook::WebhookPatch;
use service::outbox::WebhookSet;
use std::collections::{HashMap, HashSet};
use test_support::{Receiver, on_both_databases};

on_both_databases![
    backlog_of_one_webhook_does_not_delay_others,
    concurrency_limit_covers_queue_and_fast_path,
    capacity_is_freed_when_the_request_ends_before_its_record,
    circuit_breaker_probes_one_request_at_a_time,
    rate_limit_is_respected,
];

on_both_databases![sqlite only: slow_receiver_delays_only_itself];

async fn backlog_of_one_webhook_does_not_delay_others(t: TestService) {
    let s = fixture(&t).await;
    let mut unlimited = webhook_input(&s.receiver.url);
    unlimited.max_in_flight = Some(2_000);
    // One webhook is registered before the other two, and one after them.
    let patch = WebhookPatch { max_in_flight: Some(2_000), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    let modest = t.webhook(&s.root, &s.receiver).await;
    let last = t.webhooks().create(&s.root, unlimited).await.unwrap().webhook.id;
    for n in 0..60 {
        t.booking(&s.alice, s.resource, n, n + 1).await;
    }
    for _ in 0..3 {
        let dispatcher = t.dispatcher();
        let claim = dispatcher.claim_once(&WebhookSet::All, 12).await.unwrap();
        let mut share: HashMap<i64, usize> = HashMap::new();
        for item in &claim.items {
            *share.entry(item.webhook_id()).or_default() += 1;
        }
        assert_eq!(share, HashMap::from([(s.webhook, 4), (modest, 4), (last, 4)]));
        assert_eq!(claim.blocked, WebhookSet::All);
    }
    // A limit below the number of webhooks: each gets its turn within as many claims as there are webhooks.
    let mut served = HashSet::new();
    for _ in 0..3 {
        let claim = t.dispatcher().claim_once(&WebhookSet::All, 1).await.unwrap();
        assert_eq!(claim.items.len(), 1);
        served.insert(claim.items[0].webhook_id());
    }
    assert_eq!(served.len(), 3);
}

async fn concurrency_limit_covers_queue_and_fast_path(t: TestService) {
    let s = fixture(&t).await;
    let patch = WebhookPatch { max_in_flight: Some(3), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    for n in 0..8 {
        t.booking(&s.alice, s.resource, n, n + 1).await;
    }
    let dispatcher = t.dispatcher();
    let mut first = dispatcher.claim_once(&WebhookSet::All, 100).await.unwrap();
    assert_eq!((first.items.len(), first.blocked), (3, s.webhook.into()));
    let second = dispatcher.claim_once(&WebhookSet::All, 100).await.unwrap();
    assert_eq!((second.items.len(), second.blocked), (0, s.webhook.into()));
    first.items.pop();
    assert_eq!(
        dispatcher.claim_once(&WebhookSet::All, 100).await.unwrap().items.len(),
        1,
        "a dropped claim frees its permit"
    );
    // The fast path has no more capacity than the queue.
    let rest = dispatcher.claim_once(&WebhookSet::All, 100).await.unwrap();
    let mut fast_path = dispatcher.open_fast_path();
    t.booking(&s.alice, s.resource, 20, 21).await;
    t.booking(&s.alice, s.resource, 21, 22).await;
    let direct: usize = std::iter::from_fn(|| fast_path.try_recv().ok()).map(|claims| claims.len()).sum();
    assert_eq!(direct + rest.items.len() + first.items.len(), 3);
}

async fn capacity_is_freed_when_the_request_ends_before_its_record(t: TestService) {
    let s = fixture(&t).await;
    let patch = WebhookPatch { max_in_flight: Some(1), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    t.booking(&s.alice, s.resource, 1, 2).await;
    t.booking(&s.alice, s.resource, 2, 3).await;
    let dispatcher = t.dispatcher();
    let first = dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!((first.len(), t.outbox().in_flight(), t.outbox().unrecorded()), (1, 1, 0));
    assert!(dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items.is_empty());
    let first = dispatcher.send_claimed(first).await;
    assert_eq!((t.outbox().in_flight(), t.outbox().unrecorded()), (0, 1));
    let second = dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!(second.len(), 1);
    dispatcher.record_once(&first).await.unwrap();
    drop(first);
    assert_eq!((t.outbox().in_flight(), t.outbox().unrecorded()), (1, 0));
}

async fn circuit_breaker_probes_one_request_at_a_time(t: TestService) {
    let s = fixture(&t).await;
    // A port without a listener.
    let nowhere = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let patch = |url: &str| WebhookPatch { endpoint_url: Some(url.to_owned()), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch(&nowhere)).await.unwrap();
    for n in 0..30 {
        t.booking(&s.alice, s.resource, n, n + 1).await;
    }
    let dispatcher = t.dispatcher();
    assert_eq!(step(&dispatcher).await, 30, "the first requests are concurrent");
    t.clock.advance(Duration::seconds(1));
    assert_eq!(step(&dispatcher).await, 1);
    assert_eq!(step(&dispatcher).await, 1, "one probe after another");
    t.webhooks().update(&s.root, s.webhook, patch(&s.receiver.url)).await.unwrap();
    assert_eq!(step(&dispatcher).await, 1);
    assert_eq!(step(&dispatcher).await, 27, "a response closes the breaker");
}

async fn rate_limit_is_respected(t: TestService) {
    let s = fixture(&t).await;
    let patch = WebhookPatch { rate_limit: Some(Some(5)), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    for n in 0..14 {
        t.booking(&s.alice, s.resource, n, n + 1).await;
    }
    let dispatcher = t.dispatcher();
    assert_eq!(step(&dispatcher).await, 5);
    let claim = dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap();
    assert!(claim.blocked.contains(s.webhook), "it is polled again soon");
    assert_eq!(step(&dispatcher).await, 0);
    t.clock.advance(Duration::milliseconds(400));
    assert_eq!(step(&dispatcher).await, 2);
    t.clock.advance(Duration::hours(1));
    assert_eq!(step(&dispatcher).await, 5, "unused requests do not accumulate");
}

/// A receiver that does not respond uses its own limit and no other webhook's.
async fn slow_receiver_delays_only_itself(t: TestService) {
    let s = fixture(&t).await;
    let slow = Receiver::start().await;
    slow.hold();
    let slow_webhook = t.webhook(&s.root, &slow).await;
    for n in 0..100 {
        t.booking(&s.alice, s.resource, n, n + 1).await;
    }
    let dispatcher = t.dispatcher();
    let mut stuck = Vec::new();
    loop {
        let claims = dispatcher.claim_once(&WebhookSet::All, 256).await.unwrap().items;
        if claims.is_empty() {
            break;
        }
        let (slow, healthy): (Vec<_>, Vec<_>) = claims.into_iter().partition(|c| c.webhook_id() == slow_webhook);
        stuck.extend(slow);
        let results = dispatcher.send_claimed(healthy).await;
        dispatcher.record_once(&results).await.unwrap();
    }
    assert_eq!(s.receiver.count(), 100, "the healthy webhook got all events");
    assert_eq!(stuck.len(), 64, "the slow webhook is at its own limit");
}
