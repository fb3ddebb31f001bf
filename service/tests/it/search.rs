//! Searches, groups of failures, metrics, exports and look-ups of the delivery log, and the index behind them.

use crate::support::{TestService, drain, refused, step};
use chrono::Duration;
use domain::ProblemKind::{Forbidden, Invalid, NotFound};
use domain::authorization::{Actor, Role};
use domain::delivery::{
    DeliveryFilter, DeliveryStatus, DeliverySummary, DiagnosisCode, ExportFormat, LookupKind, ReplayInput,
};
use domain::event::EventType;
use domain::metrics::{Backlog, DeliveryHistogram, MetricsQuery, OldestDelivery, ResponseClass};
use domain::ownership::Ownership;
use domain::pagination::PageQuery;
use domain::resource::ResourceStatus;
use domain::retry::RetryPolicy;
use domain::webhook::WebhookPatch;
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::json;
use service::Service;
use service::deliveries::IndexBatch;
use test_support::{Receiver, Response, on_both_databases};

on_both_databases![
    search_finds_deliveries_by_each_key,
    search_combines_with_filters_and_pages,
    open_deliveries_are_found_and_followed_to_their_end,
    attempts_are_counted_once_by_several_replicas,
    failures_are_grouped_and_replayed_by_their_search,
    dry_run_of_a_replay_explains_each_webhook,
    erasure_and_retention_remove_deliveries_from_the_index,
    owners_find_only_their_deliveries,
    ids_are_looked_up,
    metrics_have_counts_and_percentiles,
    metrics_have_the_backlog_that_the_actor_may_see,
    histogram_counts_attempts_or_matching_deliveries,
    export_contains_every_match_and_is_audited,
];

on_both_databases![sqlite only: texts_are_not_indexed_if_they_are_off];

on_both_databases![postgres only: index_waits_for_a_transaction_that_is_not_committed];

/// Two webhooks, and three reservations of `alice` and one of `bob`.
struct Fixture {
    root: Actor,
    alice: Actor,
    good: i64,
    bad: i64,
    resource: i64,
    receiver: Receiver,
    reservations: Vec<String>,
}

/// `good` succeeds. `bad` receives created events only, and fails with 503 without a retry.
async fn fixture(t: &TestService) -> Fixture {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let bob = t.person("bob", Role::User).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let [receiver, broken] = [Receiver::start().await, Receiver::start().await];
    broken.respond(Response::json(503, json!({"error": "No free node in rack Größe-7"})));
    let good = t.webhook(&root, &receiver).await;
    let bad = t.webhook(&root, &broken).await;
    let patch = WebhookPatch {
        name: Some("Broken GPU".into()),
        retry: Some(RetryPolicy { delays: vec![] }),
        events: Some(vec![domain::event::EventType::ReservationCreated]),
        ..Default::default()
    };
    t.webhooks().update(&root, bad, patch).await.unwrap();
    let mut reservations = Vec::new();
    for (n, actor) in [&alice, &alice, &alice, &bob].into_iter().enumerate() {
        let n = i64::try_from(n).unwrap();
        reservations.push(t.booking(actor, resource, 2 * n, 2 * n + 1).await.id.0);
        drain(t).await;
        t.clock.advance(Duration::seconds(1));
    }
    t.index().await;
    Fixture { root, alice, good, bad, resource, receiver, reservations }
}

fn search(q: &str) -> DeliveryFilter {
    DeliveryFilter { q: Some(q.into()), ..Default::default() }
}

async fn found(t: &TestService, actor: &Actor, q: &str) -> Vec<DeliverySummary> {
    let page = PageQuery { limit: Some(200), cursor: None };
    let items = t.service.deliveries().list(actor, &search(q), &page).await.unwrap().items;
    let count = t.service.deliveries().count_matching(actor, &search(q)).await.unwrap();
    assert_eq!((count.count, count.more, count.index.complete), (items.len() as u64, false, true), "{q}");
    items
}

async fn search_finds_deliveries_by_each_key(t: TestService) {
    let s = fixture(&t).await;
    let all = found(&t, &s.root, "").await;
    assert_eq!(all.len(), 8);
    let failed = all.iter().find(|delivery| delivery.status == DeliveryStatus::Failed).unwrap();
    let (id, event) = (&failed.id.0, &failed.event_id.0);
    let cases = [
        ("status:failed", 4),
        ("status:failed,succeeded", 8),
        ("status:cancelled", 0),
        ("-status:failed", 4),
        ("webhook:\"broken gpu\"", 4),
        ("webhook:gpu*", 4),
        (&format!("webhook:{}", s.good), 4),
        ("event:created", 8),
        ("event:cancelled", 0),
        ("code:5xx", 4),
        ("code:503", 4),
        ("-code:5xx", 4),
        ("code:200", 4),
        ("code:none", 0),
        ("error:server_error", 4),
        ("error:timeout", 0),
        ("-error:timeout", 8),
        ("duration:<30s", 8),
        ("duration:>30s", 0),
        ("attempts:1", 8),
        ("attempts:>1", 0),
        (&format!("id:{id}"), 1),
        (&format!("id:{}", &id[id.len() - 8..]), 1),
        (&format!("id:{event}"), 2),
        (&format!("id:{}", s.reservations[0]), 2),
        (&s.reservations[0], 2),
        ("user:alice", 6),
        ("user:ali*", 6),
        ("user:bob", 2),
        ("-user:bob", 6),
        ("user:carol", 0),
        ("resource:node-1", 8),
        (&format!("resource:{}", s.resource), 8),
        ("resource:other", 0),
        ("test:no", 8),
        ("test:yes", 0),
        ("\"no free node\"", 4),
        ("\"free no\"", 4),
        ("\"free ode\"", 0),
        ("größ", 4),
        ("text:\"RACK größe 7\"", 4),
        ("training", 8),
        ("training -\"free node\"", 4),
        ("-\"free node\"", 4),
        ("text:rack,nothing", 4),
        ("alice@example.com", 6),
        ("status:failed user:bob \"free node\" code:5xx", 1),
        ("100%", 0),
        ("webhook:\"100%\"", 0),
    ];
    for (q, count) in cases {
        assert_eq!(found(&t, &s.root, q).await.len(), count, "{q}");
    }
    // Ids of the same millisecond differ in their last characters only.
    let of_beginning = found(&t, &s.root, &format!("id:{}", &id[..id.len() - 4])).await;
    assert!(of_beginning.iter().any(|delivery| delivery.id.0 == *id), "{of_beginning:?}");
    let problem =
        refused(t.service.deliveries().list(&s.root, &search("stat:x"), &PageQuery::default()).await, Invalid);
    assert!(problem.message_for("q").unwrap().contains("Character 1"), "{problem}");
    refused(t.service.deliveries().list(&s.alice, &search("status:failed"), &PageQuery::default()).await, Forbidden);
    refused(t.service.deliveries().count_matching(&s.alice, &search("")).await, Forbidden);
}

async fn search_combines_with_filters_and_pages(t: TestService) {
    let s = fixture(&t).await;
    let all = found(&t, &s.root, "").await;
    for q in ["code:200,503", "training"] {
        let mut collected = Vec::new();
        let mut page = PageQuery { limit: Some(3), cursor: None };
        loop {
            let next = t.service.deliveries().list(&s.root, &search(q), &page).await.unwrap();
            collected.extend(next.items);
            page.cursor = next.next_cursor;
            if page.cursor.is_none() {
                break;
            }
        }
        assert_eq!(collected, all, "newest first, {q}");
    }
    let reservation_id = Some(s.reservations[1].clone());
    let since = Some(all[3].created_at);
    for (filter, count) in [
        (DeliveryFilter { webhook_id: Some(s.bad), ..search("training") }, 4),
        (DeliveryFilter { status: Some(DeliveryStatus::Failed), ..search("user:alice") }, 3),
        (DeliveryFilter { status: Some(DeliveryStatus::Pending), ..search("user:alice") }, 0),
        (DeliveryFilter { reservation_id, ..search("code:5xx") }, 1),
        (DeliveryFilter { since, ..search("training") }, 4),
        (DeliveryFilter { until: since, ..search("training") }, 4),
        (DeliveryFilter { redelivery_of: Some(all[0].id.clone()), ..search("training") }, 0),
    ] {
        assert_eq!(t.deliveries(&s.root, filter.clone()).await.len(), count, "{filter:?}");
    }
}

async fn open_deliveries_are_found_and_followed_to_their_end(t: TestService) {
    let s = fixture(&t).await;
    s.receiver.respond(Response::status(500));
    t.booking(&s.alice, s.resource, 20, 21).await;
    let reaches = t.service.deliveries().count_matching(&s.root, &search("status:failed")).await.unwrap();
    assert_eq!((reaches.count, reaches.index.complete, reaches.index.behind), (4, false, 2));
    t.index().await;
    assert_eq!(found(&t, &s.root, "status:pending").await.len(), 2);
    assert_eq!(found(&t, &s.root, "status:pending code:none").await.len(), 0, "nothing was sent yet");
    let dispatcher = t.dispatcher();
    assert_eq!(step(&dispatcher).await, 2);
    t.index().await;
    assert_eq!(found(&t, &s.root, "status:failed").await.len(), 5);
    let retrying = found(&t, &s.root, "status:retrying error:server_error code:500 attempts:1").await;
    assert_eq!(retrying.len(), 1);
    t.clock.advance(Duration::seconds(2));
    s.receiver.respond(Response::json(200, json!({"message": "Recovered at last"})));
    assert_eq!(step(&dispatcher).await, 1);
    t.index().await;
    let recovered = found(&t, &s.root, "recovered attempts:2").await;
    assert_eq!(recovered[0].id, retrying[0].id);
    // The last failure and the last response are both searchable.
    assert_eq!(found(&t, &s.root, "error:server_error code:200 status:succeeded").await.len(), 1);
    assert_eq!(
        t.service.deliveries().index_batch(IndexBatch::SMALL).await.unwrap(),
        0,
        "a complete index is not written again"
    );
}

/// Totals of all attempts.
async fn total(t: &TestService, root: &Actor) -> (u64, u64) {
    let metrics = t.service.deliveries().metrics(root, &MetricsQuery::default()).await.unwrap();
    (metrics.total.attempts, metrics.total.failed)
}

async fn attempts_are_counted_once_by_several_replicas(t: TestService) {
    let s = fixture(&t).await;
    assert_eq!(total(&t, &s.root).await, (8, 4));
    for n in 0..20 {
        t.booking(&s.alice, s.resource, 30 + n, 31 + n).await;
    }
    drain(&t).await;
    let replicas = [t.service.clone(), t.replica().await, t.replica().await];
    let index = async |replica: &Service| {
        for _ in 0..6 {
            // Two writers of SQLite can exclude each other; the next round continues.
            let _ = replica.deliveries().index_batch(IndexBatch::SMALL).await;
        }
    };
    futures::future::join_all(replicas.iter().map(index)).await;
    t.index().await;
    assert_eq!(total(&t, &s.root).await, (48, 24));
    assert_eq!(found(&t, &s.root, "training").await.len(), 48);
}

async fn failures_are_grouped_and_replayed_by_their_search(t: TestService) {
    let s = fixture(&t).await;
    let failures = t.service.deliveries().failures(&s.root, &DeliveryFilter::default()).await.unwrap();
    let [group] = failures.groups.as_slice() else { panic!("{:?}", failures.groups) };
    assert_eq!((group.webhook_id, group.webhook_name.as_str()), (s.bad, "Broken GPU"));
    assert_eq!(group.cause, Some(DiagnosisCode::ServerError));
    assert_eq!((group.count, group.unresolved, group.reservations, group.users), (4, 4, 4, 2));
    assert!(group.first_at < group.last_at && group.problem.as_ref().unwrap().contains("503"));
    assert_eq!((group.series.len(), group.series.iter().sum::<u64>()), (24, 4));
    assert_eq!(found(&t, &s.root, &group.q).await.len(), 4);
    let of_bob = t.service.deliveries().failures(&s.root, &search("user:bob")).await.unwrap();
    assert_eq!((of_bob.groups[0].count, of_bob.groups[0].users), (1, 1));
    assert_eq!(found(&t, &s.root, &of_bob.groups[0].q).await.len(), 1);
    refused(t.service.deliveries().failures(&s.alice, &DeliveryFilter::default()).await, Forbidden);

    let root = t.logged_in("root").await;
    let replay = |dry_run: bool| ReplayInput { filter: search(&of_bob.groups[0].q), dry_run };
    let result = t.service.deliveries().replay(&root, &replay(true)).await.unwrap();
    assert_eq!((result.matched, result.redelivered), (1, 0));
    let result = t.service.deliveries().replay(&root, &replay(false)).await.unwrap();
    assert_eq!((result.matched, result.redelivered), (1, 1));
    drain(&t).await;
    t.index().await;
    let again = t.service.deliveries().replay(&root, &replay(true)).await.unwrap();
    assert_eq!((again.matched, again.skipped.redelivered), (1, 1), "the redelivery has failed, too");
    let failures = t.service.deliveries().failures(&s.root, &DeliveryFilter::default()).await.unwrap();
    assert_eq!((failures.groups[0].count, failures.groups[0].unresolved), (5, 4));
}

async fn dry_run_of_a_replay_explains_each_webhook(t: TestService) {
    let s = fixture(&t).await;
    t.webhooks().pause(&s.root, s.bad).await.unwrap();
    let input = ReplayInput { filter: search("status:failed,succeeded user:alice"), dry_run: true };
    let result = t.service.deliveries().replay(&s.root, &input).await.unwrap();
    assert_eq!((result.matched, result.webhooks.len()), (6, 2));
    let of = |id: i64| result.webhooks.iter().find(|part| part.webhook_id == id).unwrap();
    assert_eq!((of(s.bad).matched, of(s.bad).paused, of(s.bad).superseded), (3, true, 0));
    assert_eq!((of(s.good).matched, of(s.good).paused, of(s.good).superseded), (3, false, 0));
    // A later event of the reservation supersedes the first one at the webhook that received it.
    t.reservations().cancel(&s.alice, &s.reservations[1].as_str().into(), None).await.unwrap();
    drain(&t).await;
    t.webhooks().delete(&s.root, s.bad).await.unwrap();
    t.index().await;
    let input = ReplayInput { filter: search("event:created user:alice status:failed,succeeded"), dry_run: true };
    let result = t.service.deliveries().replay(&s.root, &input).await.unwrap();
    let of = |id: i64| result.webhooks.iter().find(|part| part.webhook_id == id).unwrap();
    assert_eq!((of(s.bad).matched, of(s.bad).skipped.webhook_deleted), (0, 3));
    assert_eq!((of(s.good).matched, of(s.good).superseded), (3, 1));
    let open = ReplayInput { filter: search("status:pending"), dry_run: true };
    assert_eq!(t.service.deliveries().replay(&s.root, &open).await.unwrap().matched, 0);
}

async fn rows_of(t: &TestService, table: &str) -> i64 {
    let database = t.database().await;
    let sql = format!("SELECT COUNT(*) FROM {table}");
    let statement = Statement::from_string(database.get_database_backend(), sql);
    database.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

async fn erasure_and_retention_remove_deliveries_from_the_index(t: TestService) {
    let s = fixture(&t).await;
    assert_eq!((rows_of(&t, "delivery_index").await, rows_of(&t, "delivery_words").await), (8, 8));
    t.clock.advance(Duration::days(1));
    t.reservations().expire_due(100).await.unwrap();
    drain(&t).await;
    t.index().await;
    let own = found(&t, &s.root, "user:bob").await.len();
    assert!(own >= 2 && found(&t, &s.root, "bob").await.len() >= own);
    let root = t.logged_in("root").await;
    let input = domain::privacy::ErasureInput { ignore_unreleased: true, ..Default::default() };
    let erased = t.privacy().erase(&root, "bob", input).await.unwrap();
    assert_eq!(found_text(&t, &s.root, "bob").await, 0, "at once");
    t.index().await;
    assert_eq!(found(&t, &s.root, "bob").await.len(), 0);
    assert_eq!(found(&t, &s.root, &format!("user:{}", erased.pseudonym)).await.len(), own);
    t.clock.advance(Duration::days(31));
    while t.maintenance().retention_batch().await.unwrap() > 0 {}
    for table in ["deliveries", "delivery_index", "delivery_words"] {
        assert_eq!(rows_of(&t, table).await, 0, "{table}");
    }
    assert!(rows_of(&t, "delivery_counts").await > 0, "counters outlive the deliveries");
    t.clock.advance(Duration::days(400));
    while t.maintenance().retention_batch().await.unwrap() > 0 {}
    assert_eq!(rows_of(&t, "delivery_counts").await, 0);
}

async fn found_text(t: &TestService, actor: &Actor, q: &str) -> usize {
    t.deliveries(actor, search(q)).await.len()
}

async fn owners_find_only_their_deliveries(t: TestService) {
    let s = fixture(&t).await;
    let owner = |slug: &str| Actor {
        owns: Ownership { resource_types: [slug.to_owned()].into(), ..Default::default() },
        ..s.alice.clone()
    };
    for (slug, count) in [("gpu-cluster", 8), ("fpga", 0)] {
        let owner = owner(slug);
        assert_eq!(found(&t, &owner, "training").await.len(), count);
        assert_eq!(found(&t, &owner, "-error:timeout").await.len(), count);
        let failures = t.service.deliveries().failures(&owner, &DeliveryFilter::default()).await.unwrap();
        assert_eq!(failures.groups.iter().map(|group| group.count).sum::<u64>(), count as u64 / 2);
        assert_eq!(total(&t, &owner).await.0, count as u64);
        let input = ReplayInput { filter: search("training"), dry_run: true };
        assert_eq!(t.service.deliveries().replay(&owner, &input).await.unwrap().matched, count as u64 / 2);
        let id = &t.deliveries(&s.root, DeliveryFilter::default()).await[0].id.0;
        assert_eq!(t.service.deliveries().look_up(&owner, id).await.is_ok(), count > 0);
    }
}

async fn ids_are_looked_up(t: TestService) {
    let s = fixture(&t).await;
    let delivery = t.deliveries(&s.root, DeliveryFilter::default()).await.remove(0);
    let look_up = async |actor: &Actor, id: &str| {
        t.service.deliveries().look_up(actor, id).await.map(|found| (found.kind, found.link))
    };
    let id = &delivery.id.0;
    let expected = (LookupKind::Delivery, format!("/deliveries/{id}"));
    assert_eq!(look_up(&s.root, &format!(" {} ", id.to_uppercase())).await.unwrap(), expected);
    let event = look_up(&s.root, &delivery.event_id.0).await.unwrap();
    assert_eq!(event, (LookupKind::Event, format!("/deliveries?q=id:{}", delivery.event_id)));
    let reservation = look_up(&s.alice, &s.reservations[0]).await.unwrap();
    assert_eq!(reservation, (LookupKind::Reservation, format!("/reservations/{}", s.reservations[0])));
    let webhook = look_up(&s.root, &s.bad.to_string()).await.unwrap();
    assert_eq!(webhook, (LookupKind::Webhook, format!("/settings/webhooks/{}", s.bad)));
    for unknown in ["dlv_00000000000000000000000000", "evt_x", "rsv-x", "acr_x", "999", "something"] {
        refused(look_up(&s.root, unknown).await, NotFound);
    }
    // A user does not learn what exists.
    for hidden in [id.as_str(), &delivery.event_id.0, &s.reservations[3], &s.bad.to_string()] {
        refused(look_up(&s.alice, hidden).await, NotFound);
    }
    refused(look_up(&s.root, "  ").await, Invalid);
}

async fn metrics_have_the_backlog_that_the_actor_may_see(t: TestService) {
    let s = fixture(&t).await;
    let backlog = async |actor: &Actor, webhook_id| {
        let query = MetricsQuery { webhook_id, ..MetricsQuery::default() };
        t.service.deliveries().metrics(actor, &query).await.unwrap().backlog
    };
    assert_eq!(backlog(&s.root, None).await, Backlog::default());
    t.booking(&s.alice, s.resource, 40, 41).await;
    t.clock.advance(Duration::minutes(1));
    t.booking(&s.alice, s.resource, 42, 43).await;
    let all = backlog(&s.root, None).await;
    let oldest = t.deliveries(&s.root, DeliveryFilter::default()).await.remove(8);
    let expected = OldestDelivery {
        delivery_id: oldest.id,
        webhook_id: oldest.webhook_id,
        webhook_name: oldest.webhook_name,
        created_at: oldest.created_at,
    };
    assert_eq!((all.queued, all.oldest), (4, Some(expected)));
    assert_eq!(backlog(&s.root, Some(s.bad)).await.queued, 2);
    let owner = |slug: &str| {
        let owns = Ownership { resource_types: [slug.to_owned()].into(), ..Ownership::default() };
        Actor { owns, ..s.alice.clone() }
    };
    assert_eq!(backlog(&owner("gpu-cluster"), None).await.queued, 4);
    assert_eq!(backlog(&owner("other"), None).await, Backlog::default());
    drain(&t).await;
    assert_eq!(backlog(&s.root, None).await, Backlog::default());
}

async fn histogram_counts_attempts_or_matching_deliveries(t: TestService) {
    let s = fixture(&t).await;
    let histogram = async |filter: DeliveryFilter| t.service.deliveries().histogram(&s.root, &filter).await.unwrap();
    let sums = |histogram: &DeliveryHistogram| {
        (histogram.attempts, histogram.total.iter().sum::<u64>(), histogram.failed.iter().sum::<u64>())
    };
    let all = histogram(DeliveryFilter::default()).await;
    assert_eq!((sums(&all), all.step), ((true, 8, 4), 900));
    assert_eq!(all.total.len(), all.failed.len());
    assert!(all.from <= t.now() - Duration::hours(24));
    let of = |webhook| DeliveryFilter { webhook_id: Some(webhook), ..DeliveryFilter::default() };
    assert_eq!(sums(&histogram(of(s.bad)).await), (true, 4, 4));
    let event = DeliveryFilter { event_type: Some(EventType::ReservationExpired), ..DeliveryFilter::default() };
    assert_eq!(sums(&histogram(event).await), (true, 0, 0));
    let long = DeliveryFilter { since: Some(t.now() - Duration::days(3_000)), ..DeliveryFilter::default() };
    let long = histogram(long).await;
    assert_eq!((sums(&long), long.total.len() <= 101), ((true, 8, 4), true));
    // Counters know neither status nor search.
    let failed = DeliveryFilter { status: Some(DeliveryStatus::Failed), ..DeliveryFilter::default() };
    assert_eq!(sums(&histogram(failed).await), (false, 4, 4));
    let search = DeliveryFilter { q: Some("user:alice".into()), ..DeliveryFilter::default() };
    assert_eq!(sums(&histogram(search).await), (false, 6, 3));
    // A short period has steps below those of the counters.
    let recent = DeliveryFilter { since: Some(t.now() - Duration::minutes(5)), ..DeliveryFilter::default() };
    let until = Some(t.now() + Duration::seconds(1));
    let recent = histogram(DeliveryFilter { until, ..recent }).await;
    assert_eq!((sums(&recent), recent.step), ((false, 8, 4), 5));
    let empty = DeliveryFilter { since: Some(t.now()), until: Some(t.now()), ..DeliveryFilter::default() };
    let problem = refused(t.service.deliveries().histogram(&s.root, &empty).await, Invalid);
    assert_eq!(problem.errors[0].field, "since");
    refused(t.service.deliveries().histogram(&s.alice, &DeliveryFilter::default()).await, Forbidden);
}

async fn metrics_have_counts_and_percentiles(t: TestService) {
    let s = fixture(&t).await;
    let metrics = t.service.deliveries().metrics(&s.root, &MetricsQuery::default()).await.unwrap();
    assert_eq!((metrics.total.attempts, metrics.total.failed), (8, 4));
    assert_eq!(metrics.total.success_rate, Some(0.5));
    assert!(metrics.total.p50_ms.unwrap() <= metrics.total.p99_ms.unwrap());
    assert_eq!(metrics.series.iter().map(|point| point.counts.attempts).sum::<u64>(), 8);
    let classes: Vec<_> = metrics.by_class.iter().map(|class| (class.class, class.attempts)).collect();
    assert_eq!(classes, [(ResponseClass::Success, 4), (ResponseClass::ServerError, 4)]);
    assert_eq!((metrics.by_event.len(), metrics.by_event[0].attempts), (1, 8));
    let of_bad = MetricsQuery { webhook_id: Some(s.bad), ..Default::default() };
    let of_bad = t.service.deliveries().metrics(&s.root, &of_bad).await.unwrap();
    assert_eq!((of_bad.total.attempts, of_bad.total.success_rate), (4, Some(0.0)));
    // Each stored step has the same numbers.
    for step in [300, 3_600, 86_400] {
        let from = Some(t.now() - Duration::days(2));
        let query = MetricsQuery { from, step: Some(step), ..Default::default() };
        let metrics = t.service.deliveries().metrics(&s.root, &query).await.unwrap();
        assert_eq!((metrics.step, metrics.total.attempts, metrics.total.failed), (step, 8, 4));
    }
    let earlier = MetricsQuery { to: Some(t.now() - Duration::days(1)), ..Default::default() };
    let earlier = t.service.deliveries().metrics(&s.root, &earlier).await.unwrap();
    assert_eq!((earlier.total.attempts, earlier.total.success_rate, earlier.total.p95_ms), (0, None, None));
    t.webhooks().send_test(&s.root, s.good, Default::default()).await.unwrap();
    t.index().await;
    assert_eq!(total(&t, &s.root).await.0, 8, "test events are not counted");
    refused(t.service.deliveries().metrics(&s.alice, &MetricsQuery::default()).await, Forbidden);
}

async fn export_contains_every_match_and_is_audited(t: TestService) {
    let s = fixture(&t).await;
    let export = async |q: &str| {
        let mut export = t.service.deliveries().export(&s.root, &search(q), ExportFormat::Csv).await.unwrap();
        let mut items = Vec::new();
        while let Some(batch) = export.next_batch().await.unwrap() {
            items.extend(batch);
        }
        items
    };
    assert_eq!(export("").await, found(&t, &s.root, "").await);
    assert_eq!(export("code:5xx").await, found(&t, &s.root, "code:5xx").await);
    let filter = domain::audit::AuditFilter {
        action: Some(domain::audit::AuditAction::DeliveriesExported),
        ..Default::default()
    };
    let entries = t.audit().list(&s.root, &filter, &PageQuery::default()).await.unwrap().items;
    assert_eq!(entries.len(), 2);
    refused(t.service.deliveries().export(&s.alice, &search(""), ExportFormat::Csv).await.map(drop), Forbidden);
}

async fn texts_are_not_indexed_if_they_are_off(mut t: TestService) {
    let settings = service::Settings { search_text: false, ..t.settings.clone() };
    t.service = Service::open(settings, t.clock.source()).await.unwrap();
    let s = fixture(&t).await;
    assert_eq!((rows_of(&t, "delivery_index").await, rows_of(&t, "delivery_words").await), (8, 0));
    assert_eq!(found(&t, &s.root, "status:failed code:5xx").await.len(), 4);
    let problem = refused(t.service.deliveries().count_matching(&s.root, &search("training")).await, Invalid);
    assert!(problem.message_for("q").unwrap().contains("BERTH_SEARCH_TEXT"), "{problem}");
    // When it is on again, the missing texts are added.
    t.service = Service::open(t.settings.clone(), t.clock.source()).await.unwrap();
    assert_eq!(t.service.deliveries().count_matching(&s.root, &search("training")).await.unwrap().index.behind, 8);
    t.index().await;
    assert_eq!(found(&t, &s.root, "training").await.len(), 8);
}

/// PostgreSQL assigns positions before the commit, so that a smaller one can appear later.
async fn index_waits_for_a_transaction_that_is_not_committed(t: TestService) {
    let s = fixture(&t).await;
    let database = t.database().await;
    let copy =
        "INSERT INTO deliveries (id, event_id, event_type, webhook_id, ordering_key, reservation_id, body, status,
            test, attempts, max_attempts, created_at, updated_at)
        SELECT 'dlv_late', event_id, event_type, webhook_id, ordering_key, reservation_id, body, 'failed', test, 1,
            max_attempts, created_at, updated_at FROM deliveries ORDER BY seq LIMIT 1";
    database.execute_unprepared("BEGIN").await.unwrap();
    database.execute_unprepared(copy).await.unwrap();
    t.booking(&s.alice, s.resource, 20, 21).await;
    drain(&t).await;
    t.index().await;
    let reached = async || t.service.deliveries().count_matching(&s.root, &search("")).await.unwrap();
    assert_eq!((reached().await.count, reached().await.index.complete), (8, false));
    database.execute_unprepared("COMMIT").await.unwrap();
    t.index().await;
    assert_eq!(found(&t, &s.root, "").await.len(), 11);
    assert_eq!(found(&t, &s.root, "id:dlv_late").await.len(), 1);
    // A position of a transaction that was rolled back stays empty.
    database.execute_unprepared("BEGIN").await.unwrap();
    database.execute_unprepared(&copy.replace("dlv_late", "dlv_never")).await.unwrap();
    database.execute_unprepared("ROLLBACK").await.unwrap();
    t.booking(&s.alice, s.resource, 22, 23).await;
    drain(&t).await;
    t.index().await;
    assert!(!reached().await.index.complete);
    t.clock.advance(Duration::minutes(2));
    t.index().await;
    assert_eq!(found(&t, &s.root, "").await.len(), 13);
}
