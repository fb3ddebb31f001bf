//! The hand-over of a resource from one reservation to the next (docs/contract.md §11).

use super::{Fixture, fixture};
use crate::support::{TestService, drain, refused, webhook_input};
use chrono::Duration;
use domain::ProblemKind::{Conflict, Forbidden};
use domain::event::EventType::{
    self, ReservationCancelled, ReservationCreated, ReservationEnding, ReservationExpired, ReservationStarted,
};
use domain::id::WebhookId;
use domain::pagination::PageQuery;
use domain::provisioning::ProvisioningStatus;
use domain::reservation::{CalendarFilter, Reservation, ReservationPatch};
use domain::resource::ResourceTypePatch;
use domain::webhook::ProvisionTime;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use test_support::{Receiver, Response, on_both_databases};

on_both_databases![
    next_reservation_is_provisioned_after_the_confirmed_release,
    failed_release_alerts_and_is_confirmed_by_a_manager,
    late_release_alerts_once,
    release_that_was_never_sent_is_not_a_confirmation,
    turnaround_is_kept_free_and_delays_the_next_reservation,
    turnaround_follows_an_early_end,
    early_end_begins_release_and_turnaround,
    resource_that_is_prepared_cannot_be_reserved,
    reservation_in_the_lead_time_waits_too,
    late_creation_is_followed_by_the_missed_start,
    old_failed_release_is_superseded,
    reservation_that_ends_while_it_waits_is_not_provisioned,
    random_hand_overs_with_failures_and_replicas,
];

async fn set_type(t: &TestService, s: &Fixture, lead: u32, turnaround: u32, late: u32) {
    let patch = ResourceTypePatch {
        lead_minutes: Some(lead),
        turnaround_minutes: Some(turnaround),
        late_release_minutes: Some(late),
        ..Default::default()
    };
    t.catalogue().update_type(&s.root, "gpu-cluster", patch).await.unwrap();
}

/// The only driving webhook, which provisions at the start, with its receiver.
async fn driver(t: &TestService, s: &Fixture) -> (Receiver, WebhookId) {
    t.webhooks().delete(&s.root, s.webhook).await.unwrap();
    let receiver = Receiver::start().await;
    let mut input = webhook_input(&receiver.url);
    input.provision = Some(ProvisionTime::Start);
    input.events = EventType::ALL.to_vec();
    let webhook = t.webhooks().create(&s.root, input).await.unwrap().webhook.id;
    (receiver, webhook)
}

async fn tick(t: &TestService) {
    t.reservations().start_due(100).await.unwrap();
    t.reservations().publish_scheduled(100).await.unwrap();
    t.reservations().expire_due(100).await.unwrap();
    drain(t).await;
    // A confirmed release makes the next creation due.
    t.reservations().publish_scheduled(100).await.unwrap();
    drain(t).await;
}

/// Two reservations, one after the other. The first one is provisioned, and from now on the service answers 202, so that a release
/// is accepted and not confirmed.
async fn back_to_back(t: &TestService, s: &Fixture, receiver: &Receiver) -> (Reservation, Reservation) {
    let first = t.booking(&s.alice, s.resource, 1, 2).await;
    let second = t.booking(&s.alice, s.resource, 2, 3).await;
    t.clock.set(first.start_time);
    tick(t).await;
    receiver.respond(Response::status(202));
    (first, second)
}

fn events_of(receiver: &Receiver, reservation: &Reservation) -> Vec<EventType> {
    let own = receiver.requests().into_iter().filter(|got| got.text("reservation_id") == reservation.id.as_str());
    own.map(|got| EventType::parse(got.text("event_type")).unwrap()).collect()
}

async fn current(t: &TestService, s: &Fixture, reservation: &Reservation) -> Reservation {
    t.reservations().get(&s.root, &reservation.id).await.unwrap().reservation
}

async fn next_reservation_is_provisioned_after_the_confirmed_release(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = driver(&t, &s).await;
    let (a, b) = back_to_back(&t, &s, &receiver).await;
    assert_eq!(current(&t, &s, &a).await.provisioning.status, ProvisioningStatus::Ready);
    t.clock.set(b.start_time);
    tick(&t).await;
    assert_eq!(current(&t, &s, &a).await.provisioning.status, ProvisioningStatus::Releasing);
    assert!(events_of(&receiver, &b).is_empty(), "held");
    let waiting = current(&t, &s, &b).await;
    assert_eq!(waiting.provisioning.status, ProvisioningStatus::Waiting);
    assert!(waiting.provisioning.message.starts_with("Waits until the resource is released"), "{waiting:?}");
    assert_eq!(waiting.provisioning_begins_at, None);
    t.clock.set(b.start_time + Duration::minutes(5));
    tick(&t).await;
    assert!(!events_of(&receiver, &b).contains(&ReservationCreated));

    receiver.respond(Response::status(200));
    report(&t, webhook, &a, "released").await;
    assert!(current(&t, &s, &a).await.released_at.is_some());
    tick(&t).await;
    assert_eq!(events_of(&receiver, &b), [ReservationCreated, ReservationStarted]);
    let ready = current(&t, &s, &b).await;
    assert_eq!((ready.provisioning.status, ready.provisioning.message.as_str()), (ProvisioningStatus::Ready, ""));
}

/// `X-Webhook-Signature` as docs/contract.md §1 defines it.
fn signature(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"your-secret-key").unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// Sends a signed status update, as the service of a webhook does.
async fn report(t: &TestService, webhook: WebhookId, reservation: &Reservation, status: &str) {
    let now = t.clock.now();
    let body = serde_json::json!({"status": status, "reservation_id": reservation.id, "timestamp": now}).to_string();
    let signature = signature(body.as_bytes());
    let id = webhook.to_string();
    t.reservations()
        .apply_status_update(&reservation.id, None, Some(&id), Some(&signature), body.as_bytes())
        .await
        .unwrap();
}

async fn failed_release_alerts_and_is_confirmed_by_a_manager(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = driver(&t, &s).await;
    let (a, b) = back_to_back(&t, &s, &receiver).await;
    t.clock.set(b.start_time);
    tick(&t).await;
    report(&t, webhook, &a, "failed").await;
    t.clock.set(b.start_time + Duration::minutes(1));
    tick(&t).await;
    let waiting = current(&t, &s, &b).await.provisioning;
    assert!(waiting.message.contains("has failed"), "{waiting:?}");
    let notices = t.notifications().list(&s.root).await.unwrap();
    let told: Vec<_> = notices.iter().filter(|one| one.message.contains("has failed: the reservation")).collect();
    assert_eq!(told.len(), 1, "{notices:?}");
    assert_eq!(told[0].link.as_deref(), Some(format!("/reservations/{}", a.id).as_str()));
    assert!(t.notifications().list(&s.alice).await.unwrap().iter().all(|one| !one.message.contains("has failed")));

    refused(t.reservations().confirm_release(&s.alice, &a.id).await, Forbidden);
    refused(t.reservations().confirm_release(&s.root, &b.id).await, Conflict);
    let confirmed = t.reservations().confirm_release(&s.root, &a.id).await.unwrap();
    assert_eq!(confirmed.provisioning.status, ProvisioningStatus::Released);
    assert!(confirmed.provisioning.message.contains("Confirmed by"), "{confirmed:?}");
    refused(t.reservations().confirm_release(&s.root, &a.id).await, Conflict);
    receiver.respond(Response::status(200));
    tick(&t).await;
    assert_eq!(events_of(&receiver, &b), [ReservationCreated, ReservationStarted]);
}

async fn late_release_alerts_once(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = driver(&t, &s).await;
    set_type(&t, &s, 0, 0, 20).await;
    let a = t.booking(&s.alice, s.resource, 1, 2).await;
    let b = t.booking(&s.alice, s.resource, 2, 4).await;
    t.clock.set(a.start_time);
    tick(&t).await;
    receiver.respond(Response::status(202));
    let mut told = Vec::new();
    for minutes in [0, 19, 20, 21, 40] {
        t.clock.set(a.end_time + Duration::minutes(minutes));
        tick(&t).await;
        // A change by the user does not repeat the alert.
        t.reservations().update(&s.alice, &b.id, super::retitled(&format!("After {minutes}"))).await.unwrap();
        let notices = t.notifications().list(&s.root).await.unwrap();
        told.push(notices.iter().filter(|one| one.message.contains("is late: the reservation")).count());
    }
    assert_eq!(told, [0, 0, 1, 1, 1]);
    assert!(current(&t, &s, &b).await.provisioning.message.contains("not released"));
}

async fn release_that_was_never_sent_is_not_a_confirmation(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = driver(&t, &s).await;
    let a = t.booking(&s.alice, s.resource, 1, 2).await;
    let b = t.booking(&s.alice, s.resource, 3, 4).await;
    t.clock.set(a.start_time);
    tick(&t).await;
    t.webhooks().pause(&s.root, webhook).await.unwrap();
    t.clock.set(a.end_time);
    tick(&t).await;
    let drop = domain::webhook::ResumeInput { drop_pending: true };
    t.webhooks().resume(&s.root, webhook, drop).await.unwrap();
    assert_eq!(current(&t, &s, &a).await.released_at, None);
    t.clock.set(b.start_time);
    tick(&t).await;
    assert!(!events_of(&receiver, &b).contains(&ReservationCreated));
    t.reservations().confirm_release(&s.root, &a.id).await.unwrap();
    tick(&t).await;
    assert!(events_of(&receiver, &b).contains(&ReservationCreated));
}

async fn turnaround_is_kept_free_and_delays_the_next_reservation(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = driver(&t, &s).await;
    set_type(&t, &s, 0, 30, 60).await;
    let a = t.booking(&s.alice, s.resource, 1, 2).await;
    let at = |minutes: i64| a.end_time + Duration::minutes(minutes);
    let mut wanted = t.span(s.resource, 2, 3);
    let problem = refused(t.reservations().create(&s.alice, wanted.clone()).await, Conflict);
    assert!(problem.detail.contains("stays free for 30 minutes"), "{problem}");
    assert_eq!(problem.conflict.unwrap().end_time, at(30));
    // Before it, too: its own turnaround would reach into A.
    let mut before = t.span(s.resource, 0, 1);
    before.start_time = a.start_time - Duration::minutes(50);
    before.end_time = a.start_time - Duration::minutes(20);
    refused(t.reservations().create(&s.alice, before).await, Conflict);
    wanted.start_time = at(30);
    let b = t.reservations().create(&s.alice, wanted).await.unwrap();
    let longer = ReservationPatch { end_time: Some(at(10)), ..Default::default() };
    refused(t.reservations().update(&s.alice, &a.id, longer).await, Conflict);
    let (from, to) = (a.start_time, b.end_time);
    let filter = CalendarFilter { from, to, resource_type: None, resource_id: Some(s.resource) };
    let spans = t.reservations().list_busy_spans(&s.alice, &filter, &PageQuery::default()).await.unwrap().items;
    assert_eq!(
        spans.iter().map(|span| span.busy_until).collect::<Vec<_>>(),
        [Some(at(30)), Some(b.end_time + Duration::minutes(30))]
    );

    t.clock.set(a.start_time);
    tick(&t).await;
    receiver.respond(Response::status(202));
    t.clock.set(at(10));
    tick(&t).await;
    // The release is late by ten minutes, so the turnaround ends ten minutes after the start of B.
    report(&t, webhook, &a, "released").await;
    receiver.respond(Response::status(200));
    t.clock.set(at(30));
    tick(&t).await;
    assert!(!events_of(&receiver, &b).contains(&ReservationCreated));
    assert_eq!(current(&t, &s, &b).await.provisioning_begins_at, Some(at(40)));
    t.clock.set(at(40));
    tick(&t).await;
    assert!(events_of(&receiver, &b).contains(&ReservationCreated));
}

async fn turnaround_follows_an_early_end(t: TestService) {
    let s = fixture(&t).await;
    let (_receiver, _) = driver(&t, &s).await;
    set_type(&t, &s, 0, 30, 60).await;
    let a = t.booking(&s.alice, s.resource, 1, 5).await;
    let never = t.booking(&s.alice, s.resource, 6, 7).await;
    t.reservations().cancel(&s.alice, &never.id, None).await.unwrap();
    let again = t.booking(&s.alice, s.resource, 6, 7).await;
    assert_eq!(again.start_time, never.start_time, "a reservation that was never used has no turnaround");
    t.clock.set(a.start_time + Duration::hours(1));
    t.reservations().cancel(&s.alice, &a.id, None).await.unwrap();
    let mut wanted = t.span(s.resource, 2, 3);
    (wanted.start_time, wanted.end_time) =
        (t.clock.now() + Duration::minutes(20), t.clock.now() + Duration::minutes(50));
    let problem = refused(t.reservations().create(&s.alice, wanted.clone()).await, Conflict);
    assert_eq!(problem.conflict.unwrap().end_time, t.clock.now() + Duration::minutes(30));
    wanted.start_time = t.clock.now() + Duration::minutes(30);
    t.reservations().create(&s.alice, wanted).await.unwrap();
}

async fn early_end_begins_release_and_turnaround(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = driver(&t, &s).await;
    set_type(&t, &s, 0, 30, 60).await;
    let a = t.booking(&s.alice, s.resource, 1, 5).await;
    t.clock.set(a.start_time);
    tick(&t).await;
    receiver.respond(Response::status(202));
    t.clock.set(a.start_time + Duration::hours(1));
    let ended = t.reservations().end(&s.alice, &a.id).await.unwrap();
    assert_eq!((ended.end_time, ended.released_at), (t.clock.now(), None));
    let until = ended.end_time + Duration::minutes(30);
    let mut wanted = t.span(s.resource, 2, 3);
    (wanted.start_time, wanted.end_time) = (until - Duration::minutes(1), until + Duration::hours(1));
    let problem = refused(t.reservations().create(&s.alice, wanted.clone()).await, Conflict);
    assert_eq!(problem.conflict.unwrap().end_time, until, "the rest of its time is free");
    wanted.start_time = until;
    let b = t.reservations().create(&s.alice, wanted).await.unwrap();
    t.clock.set(until);
    tick(&t).await;
    assert!(events_of(&receiver, &b).is_empty(), "A is not released");
    report(&t, webhook, &a, "released").await;
    receiver.respond(Response::status(200));
    t.clock.set(until + Duration::minutes(30));
    tick(&t).await;
    assert!(events_of(&receiver, &b).contains(&ReservationCreated));
}

async fn resource_that_is_prepared_cannot_be_reserved(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = driver(&t, &s).await;
    set_type(&t, &s, 60, 0, 60).await;
    let b = t.booking(&s.alice, s.resource, 2, 3).await;
    t.clock.set(b.start_time - Duration::minutes(50));
    tick(&t).await;
    assert_eq!(events_of(&receiver, &b), [ReservationCreated]);
    let mut wanted = t.span(s.resource, 0, 1);
    (wanted.start_time, wanted.end_time) = (b.start_time - Duration::minutes(40), b.start_time - Duration::minutes(5));
    let problem = refused(t.reservations().create(&s.alice, wanted.clone()).await, Conflict);
    assert_eq!(problem.conflict.unwrap().start_time, b.start_time - Duration::minutes(50));
    t.reservations().cancel(&s.alice, &b.id, None).await.unwrap();
    tick(&t).await;
    assert_eq!(events_of(&receiver, &b), [ReservationCreated, ReservationCancelled]);
    t.reservations().create(&s.alice, wanted).await.unwrap();
}

async fn reservation_in_the_lead_time_waits_too(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = driver(&t, &s).await;
    set_type(&t, &s, 120, 0, 60).await;
    let a = t.booking(&s.alice, s.resource, 1, 2).await;
    tick(&t).await;
    assert_eq!(events_of(&receiver, &a), [ReservationCreated]);
    // Its lead time has begun, and A uses the resource.
    let b = t.booking(&s.alice, s.resource, 2, 3).await;
    assert_eq!((b.provisioning_begins_at, b.provisioning.status), (None, ProvisioningStatus::Waiting));
    assert!(b.provisioning.message.starts_with("Waits for the end"), "{b:?}");
    receiver.respond(Response::status(202));
    t.clock.set(a.end_time);
    tick(&t).await;
    assert!(events_of(&receiver, &b).is_empty());
    report(&t, webhook, &a, "released").await;
    tick(&t).await;
    assert!(events_of(&receiver, &b).contains(&ReservationCreated));
}

async fn late_creation_is_followed_by_the_missed_start(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = driver(&t, &s).await;
    let (a, b) = back_to_back(&t, &s, &receiver).await;
    t.clock.set(b.end_time - Duration::minutes(5));
    tick(&t).await;
    assert!(events_of(&receiver, &b).is_empty());
    report(&t, webhook, &a, "released").await;
    receiver.respond(Response::status(200));
    tick(&t).await;
    assert_eq!(events_of(&receiver, &b), [ReservationCreated, ReservationStarted, ReservationEnding]);
}

async fn old_failed_release_is_superseded(t: TestService) {
    let s = fixture(&t).await;
    // Services that provision at booking do not wait.
    let a = t.booking(&s.alice, s.resource, 1, 2).await;
    let b = t.booking(&s.alice, s.resource, 2, 3).await;
    tick(&t).await;
    s.receiver.respond(Response::json(200, serde_json::json!({"status": "failed"})));
    t.clock.set(a.end_time);
    tick(&t).await;
    assert_eq!(current(&t, &s, &a).await.released_at, None);
    s.receiver.respond(Response::status(200));
    t.clock.set(b.end_time);
    tick(&t).await;
    assert!(current(&t, &s, &b).await.released_at.is_some());
    let (receiver, _) = driver(&t, &s).await;
    let mut wanted = t.span(s.resource, 1, 2);
    (wanted.start_time, wanted.end_time) = (t.clock.now() + Duration::hours(1), t.clock.now() + Duration::hours(2));
    let c = t.reservations().create(&s.alice, wanted).await.unwrap();
    t.clock.set(c.start_time);
    tick(&t).await;
    assert_eq!(events_of(&receiver, &c), [ReservationCreated, ReservationStarted]);
}

async fn reservation_that_ends_while_it_waits_is_not_provisioned(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = driver(&t, &s).await;
    let c = t.booking(&s.alice, s.resource, 3, 4).await;
    let (a, b) = back_to_back(&t, &s, &receiver).await;
    t.clock.set(b.end_time);
    tick(&t).await;
    report(&t, webhook, &a, "released").await;
    tick(&t).await;
    assert!(!events_of(&receiver, &b).contains(&ReservationCreated));
    assert!(events_of(&receiver, &c).contains(&ReservationCreated), "B, which was never provisioned, does not block");
    assert_eq!(current(&t, &s, &b).await.provisioning.status, ProvisioningStatus::Released);
}

/// Back-to-back reservations of several resources. The service fails, answers late, and releases late or not at all, and three
/// replicas publish, expire and deliver. A service never gets the creation of a reservation while an earlier one is unreleased.
async fn random_hand_overs_with_failures_and_replicas(t: TestService) {
    const RESOURCES: usize = 4;
    const TURNS: i64 = 12;
    let s = fixture(&t).await;
    let (receiver, webhook) = driver(&t, &s).await;
    set_type(&t, &s, 10, 5, 20).await;
    let mut reservations: Vec<Vec<Reservation>> = Vec::new();
    for n in 0..RESOURCES {
        let resource = t.resource(&s.root, &format!("rack-{n}"), domain::resource::ResourceStatus::Available).await;
        let mut own = Vec::new();
        for turn in 0..TURNS {
            let mut wanted = t.span(resource, 1, 2);
            wanted.start_time += Duration::hours(turn);
            wanted.end_time = wanted.start_time + Duration::minutes(55);
            own.push(t.reservations().create(&s.alice, wanted).await.unwrap());
        }
        reservations.push(own);
    }
    // A linear congruential generator: the same sequence in each run.
    let mut state: u64 = 0x2545_F491_4F6C_DD1D;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let replicas = [t.replica().await, t.replica().await];
    let failures = std::sync::atomic::AtomicU64::new(1);
    receiver.respond_with(move |got| {
        let n = failures.fetch_add(7, std::sync::atomic::Ordering::Relaxed) % 10;
        match (got.event(), n) {
            (_, 0 | 1) => Response::status(503),
            ("reservation.cancelled" | "reservation.expired", 2..=4) => Response::status(202),
            ("reservation.cancelled" | "reservation.expired", 5) => {
                Response::json(200, serde_json::json!({"status": "failed"}))
            }
            _ => Response::status(200),
        }
    });
    let last = reservations[0].last().unwrap().end_time + Duration::hours(2);
    while t.clock.now() < last {
        t.clock.set(t.clock.now() + Duration::seconds(60 + i64::try_from(random(400)).unwrap()));
        let publish = async |service: &service::Service| {
            service.reservations().start_due(10).await.unwrap();
            service.reservations().publish_scheduled(10).await.unwrap();
            service.reservations().expire_due(10).await.unwrap();
        };
        tokio::join!(publish(&t), publish(&replicas[0]), publish(&replicas[1]));
        drain(&replicas[usize::try_from(random(2)).unwrap()]).await;
        for own in &reservations {
            for one in own {
                let now = current(&t, &s, one).await;
                if now.status == domain::reservation::ReservationStatus::Active || now.released_at.is_some() {
                    continue;
                }
                match now.provisioning.status {
                    ProvisioningStatus::Releasing if random(3) == 0 => report(&t, webhook, one, "released").await,
                    ProvisioningStatus::Failed if random(4) == 0 => {
                        t.reservations().confirm_release(&s.root, &one.id).await.unwrap();
                    }
                    _ => {}
                }
            }
        }
        // The invariant, read from what the service has received.
        for own in &reservations {
            for (earlier, later) in own.iter().zip(&own[1..]) {
                if events_of(&receiver, later).contains(&ReservationCreated) {
                    let before = current(&t, &s, earlier).await;
                    assert!(
                        before.released_at.is_some(),
                        "{before:?} is not released, and {} is provisioned",
                        later.id
                    );
                }
            }
        }
    }
    for own in &reservations {
        for one in own {
            let events = events_of(&receiver, one);
            let first = |event| events.iter().position(|got| *got == event);
            if let Some(created) = first(ReservationCreated) {
                assert_eq!(created, 0, "{events:?}");
                assert!(first(ReservationExpired) > first(ReservationStarted), "{events:?}");
            } else {
                assert!(
                    events.is_empty(),
                    "a service that does not know a reservation gets none of its events: {events:?}"
                );
            }
        }
    }
}
