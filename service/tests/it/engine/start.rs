//! Provisioning at the start (`provision: start`), and the events at the start and before the end of a reservation.

use super::{Fixture, fixture, of_webhook, retitled};
use crate::support::{TestService, drain, refused, webhook_input};
use chrono::{Duration, TimeDelta};
use domain::ProblemKind::Invalid;
use domain::delivery::DeliveryFilter;
use domain::event::EventType::{
    self, ReservationCancelled, ReservationCreated, ReservationEnding, ReservationExpired, ReservationStarted,
    ReservationUpdated,
};
use domain::id::WebhookId;
use domain::provisioning::ProvisioningStatus;
use domain::replay::{ReplayRequest, ReplaySource};
use domain::reservation::{Reservation, ReservationPatch};
use domain::resource::{ResourceStatus, ResourceTypePatch};
use domain::webhook::{EventFilter, ProvisionTime, WebhookPatch};
use sea_orm::ConnectionTrait as _;
use serde_json::json;
use test_support::{Receiver, Response, on_both_databases};

on_both_databases![
    creation_is_held_until_the_lead_time_before_the_start,
    change_rewrites_the_held_event_and_moves_it,
    cancellation_drops_the_held_event,
    reservation_within_the_lead_time_is_sent_at_booking,
    held_event_survives_a_restart_and_a_clock_that_is_set_back,
    replicas_publish_scheduled_events_once,
    events_after_an_outage_keep_their_order,
    held_event_of_a_paused_webhook_is_queued,
    held_event_of_a_deleted_webhook_fails_its_service,
    change_of_the_time_of_provisioning_applies_to_later_reservations,
    lead_time_moves_held_events,
    filter_is_applied_when_the_held_event_is_due,
    starts_and_endings_are_sent_to_webhooks_that_chose_them,
    moved_times_move_starts_and_endings,
    short_reservation_ends_after_its_start,
    starts_of_earlier_reservations_are_sent_once,
    missing_events_do_not_include_held_ones,
    missing_event_of_a_later_reservation_is_held,
    change_to_the_classic_format_sends_one_start,
    due_times_of_an_earlier_release_are_corrected,
    booking_that_overtakes_an_opt_in_is_scheduled,
    only_driving_webhooks_begin_provisioning,
    short_extension_announces_the_new_end,
    events_of_a_newer_release_stay,
    changes_of_notices_race_with_publication,
];

/// The lead time of the resource type in minutes.
const LEAD: i64 = 10;

async fn set_notices(t: &TestService, s: &Fixture, lead: i64, ending: i64) {
    let patch = ResourceTypePatch {
        lead_minutes: Some(lead.try_into().unwrap()),
        ending_notice_minutes: Some(ending.try_into().unwrap()),
        ..Default::default()
    };
    t.catalogue().update_type(&s.root, "gpu-cluster", patch).await.unwrap();
}

/// A webhook that provisions at the start and receives `events`, with its own receiver.
async fn at_start(t: &TestService, s: &Fixture, events: &[EventType]) -> (Receiver, WebhookId) {
    let receiver = Receiver::start().await;
    let mut input = webhook_input(&receiver.url);
    input.provision = Some(ProvisionTime::Start);
    input.events = events.to_vec();
    let webhook = t.webhooks().create(&s.root, input).await.unwrap().webhook;
    assert_eq!(webhook.provision, ProvisionTime::Start);
    (receiver, webhook.id)
}

async fn provisioner(t: &TestService, s: &Fixture) -> (Receiver, WebhookId) {
    set_notices(t, s, LEAD, 15).await;
    at_start(t, s, &EventType::ALL).await
}

/// Publishes due events as the worker does, and delivers.
async fn tick(t: &TestService) {
    t.reservations().start_due(100).await.unwrap();
    t.reservations().publish_scheduled(100).await.unwrap();
    t.reservations().expire_due(100).await.unwrap();
    drain(t).await;
}

fn events(receiver: &Receiver) -> Vec<EventType> {
    receiver.requests().iter().map(|got| EventType::parse(got.text("event_type")).unwrap()).collect()
}

/// Changes rows as another release does. Returns their number.
async fn execute(t: &TestService, sql: &str) -> u64 {
    t.database().await.execute_unprepared(sql).await.unwrap().rows_affected()
}

async fn current(t: &TestService, s: &Fixture, reservation: &Reservation) -> Reservation {
    t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation
}

async fn creation_is_held_until_the_lead_time_before_the_start(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = provisioner(&t, &s).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let due = reservation.start_time - Duration::minutes(LEAD);
    assert_eq!(reservation.provisioning_begins_at, Some(due), "the response says why it waits");
    tick(&t).await;
    assert!(receiver.requests().is_empty(), "nothing before the lead time");
    assert_eq!(events(&s.receiver), [ReservationCreated], "other webhooks get the creation at booking");
    let seen = current(&t, &s, &reservation).await;
    assert_eq!(seen.provisioning_begins_at, Some(due));
    assert_eq!(seen.provisioning.status, ProvisioningStatus::Waiting);
    assert_eq!(t.reservations().next_due().await.unwrap(), Some(due));
    t.clock.set(due - TimeDelta::milliseconds(1));
    tick(&t).await;
    assert!(receiver.requests().is_empty());

    t.clock.set(due);
    tick(&t).await;
    assert_eq!(events(&receiver), [ReservationCreated]);
    let seen = current(&t, &s, &reservation).await;
    assert_eq!((seen.provisioning_begins_at, seen.provisioning.status), (None, ProvisioningStatus::Ready));
    tick(&t).await;
    assert_eq!(receiver.requests().len(), 1, "it is published once");
    assert_eq!(t.deliveries(&s.root, of_webhook(webhook)).await.len(), 1);

    t.reservations().update(&s.alice, &reservation.id, retitled("Later")).await.unwrap();
    tick(&t).await;
    t.clock.set(reservation.end_time);
    tick(&t).await;
    let all = [ReservationCreated, ReservationUpdated, ReservationStarted, ReservationEnding, ReservationExpired];
    assert_eq!(events(&receiver), all);
    assert_eq!(t.reservations().next_due().await.unwrap(), None, "no row is left");
}

async fn change_rewrites_the_held_event_and_moves_it(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = provisioner(&t, &s).await;
    let reservation = t.booking(&s.alice, s.resource, 4, 6).await;
    let earlier = reservation.start_time - Duration::hours(2);
    let patch = ReservationPatch { start_time: Some(earlier), ..Default::default() };
    let changed = t.reservations().update(&s.alice, &reservation.id, patch).await.unwrap();
    let due = earlier - Duration::minutes(LEAD);
    assert_eq!(changed.provisioning_begins_at, Some(due));
    t.reservations().update(&s.alice, &reservation.id, retitled("Final title")).await.unwrap();
    tick(&t).await;
    assert!(receiver.requests().is_empty());
    assert_eq!(events(&s.receiver), [ReservationCreated, ReservationUpdated, ReservationUpdated]);
    t.clock.set(due);
    tick(&t).await;
    assert_eq!(events(&receiver), [ReservationCreated], "changes have no event of their own");
    let body = &receiver.requests()[0].body;
    assert_eq!((&body["title"], &body["start_time"]), (&json!("Final title"), &json!(earlier)));
}

async fn cancellation_drops_the_held_event(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = provisioner(&t, &s).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let cancelled = t.reservations().cancel(&s.alice, &reservation.id, None).await.unwrap();
    assert_eq!(cancelled.provisioning_begins_at, None);
    t.clock.set(reservation.end_time);
    tick(&t).await;
    assert!(receiver.requests().is_empty());
    assert_eq!(events(&s.receiver), [ReservationCreated, ReservationCancelled]);
    let seen = current(&t, &s, &reservation).await.provisioning;
    assert_eq!(seen.status, ProvisioningStatus::Released);
    assert_eq!(t.reservations().next_due().await.unwrap(), None);
}

async fn reservation_within_the_lead_time_is_sent_at_booking(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = at_start(&t, &s, &[ReservationCreated]).await;
    set_notices(&t, &s, 120, 0).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    assert_eq!(reservation.provisioning_begins_at, None);
    drain(&t).await;
    assert_eq!(events(&receiver), [ReservationCreated]);
    assert_eq!(t.reservations().publish_scheduled(100).await.unwrap(), 0);
}

async fn held_event_survives_a_restart_and_a_clock_that_is_set_back(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = provisioner(&t, &s).await;
    let reservation = t.booking(&s.alice, s.resource, 2, 4).await;
    let due = reservation.start_time - Duration::minutes(LEAD);
    let booked = t.clock.now();
    // Another process publishes it: the one that made the reservation has ended.
    let restarted = t.replica().await;
    t.clock.set(booked - Duration::hours(1));
    assert_eq!(restarted.reservations().publish_scheduled(100).await.unwrap(), 0, "an hour back");
    t.clock.set(reservation.start_time);
    assert_eq!(restarted.reservations().publish_scheduled(100).await.unwrap(), 1);
    // The clock was wrong. What was published is not published again, also after the webhooks are read again.
    t.clock.set(booked);
    let patch = WebhookPatch { name: Some("Renamed".into()), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    restarted.reservations().schedule_starts().await.unwrap();
    t.reservations().start_due(100).await.unwrap();
    for now in [due, reservation.start_time] {
        t.clock.set(now);
        tick(&t).await;
    }
    assert_eq!(events(&receiver), [ReservationCreated, ReservationStarted]);
}

async fn replicas_publish_scheduled_events_once(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = provisioner(&t, &s).await;
    let replica = t.replica().await;
    let mut last = None;
    for hour in 0..10 {
        let resource = t.resource(&s.root, &format!("rack-{hour}"), ResourceStatus::Available).await;
        last = Some(t.booking(&s.alice, resource, 1 + hour, 2 + hour).await);
    }
    t.clock.set(last.unwrap().start_time - Duration::minutes(LEAD));
    t.ready_to_race().await;
    let (one, other) = (t.reservations().clone(), replica.reservations().clone());
    let (one, other) = tokio::join!(one.publish_scheduled(100), other.publish_scheduled(100));
    assert!(one.unwrap() + other.unwrap() >= 10);
    drain(&t).await;
    let created = events(&receiver).into_iter().filter(|event| *event == ReservationCreated).count();
    let started = events(&receiver).into_iter().filter(|event| *event == ReservationStarted).count();
    assert_eq!((created, started), (10, 9));
}

async fn events_after_an_outage_keep_their_order(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = provisioner(&t, &s).await;
    let first = t.booking(&s.alice, s.resource, 1, 2).await;
    let other = t.resource(&s.root, "node-2", ResourceStatus::Available).await;
    let second = t.booking(&s.alice, other, 2, 3).await;
    // No worker ran until after both. One process expires the first before another one publishes.
    t.clock.set(second.end_time + Duration::hours(1));
    t.reservations().expire_due(1).await.unwrap();
    tick(&t).await;
    let all = [ReservationCreated, ReservationStarted, ReservationEnding, ReservationExpired];
    for reservation in [first, second] {
        let own = receiver.requests().into_iter().filter(|got| got.text("reservation_id") == reservation.id.as_str());
        let own: Vec<_> = own.map(|got| EventType::parse(got.text("event_type")).unwrap()).collect();
        assert_eq!(own, all);
    }
}

async fn held_event_of_a_paused_webhook_is_queued(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = provisioner(&t, &s).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    t.webhooks().pause(&s.root, webhook).await.unwrap();
    t.clock.set(reservation.start_time);
    tick(&t).await;
    assert!(receiver.requests().is_empty());
    receiver.respond(Response::status(200));
    t.webhooks().resume(&s.root, webhook, Default::default()).await.unwrap();
    tick(&t).await;
    assert_eq!(events(&receiver), [ReservationCreated, ReservationStarted]);
}

async fn held_event_of_a_deleted_webhook_fails_its_service(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = provisioner(&t, &s).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    t.webhooks().delete(&s.root, webhook).await.unwrap();
    t.clock.set(reservation.start_time);
    tick(&t).await;
    assert!(receiver.requests().is_empty());
    let state = current(&t, &s, &reservation).await.provisioning;
    let service = state.services.iter().find(|service| service.webhook_id == webhook).unwrap();
    assert!(service.message.contains("no longer receives"), "{service:?}");
}

async fn change_of_the_time_of_provisioning_applies_to_later_reservations(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = provisioner(&t, &s).await;
    let held = t.booking(&s.alice, s.resource, 1, 2).await;
    let provision = |provision| WebhookPatch { provision: Some(provision), ..Default::default() };
    t.webhooks().update(&s.root, webhook, provision(ProvisionTime::Booking)).await.unwrap();
    let at_once = t.booking(&s.alice, s.resource, 3, 4).await;
    drain(&t).await;
    let ids = || -> Vec<String> { receiver.requests().iter().map(|got| got.text("reservation_id").into()).collect() };
    assert_eq!(ids(), [at_once.id.as_str()]);
    t.reservations().update(&s.alice, &held.id, retitled("Still held")).await.unwrap();
    drain(&t).await;
    assert_eq!(receiver.requests().len(), 1);
    t.webhooks().update(&s.root, webhook, provision(ProvisionTime::Start)).await.unwrap();
    t.reservations().update(&s.alice, &at_once.id, retitled("Known")).await.unwrap();
    drain(&t).await;
    assert_eq!(events(&receiver), [ReservationCreated, ReservationUpdated], "the service knows this reservation");
    t.clock.set(held.start_time - Duration::minutes(LEAD));
    tick(&t).await;
    assert_eq!(ids()[2], held.id.as_str());
    let classic = WebhookPatch { payload_format: Some(domain::payload::PayloadFormat::Classic), ..Default::default() };
    let problem = refused(t.webhooks().update(&s.root, webhook, classic).await, Invalid);
    assert_eq!(problem.errors[0].field, "provision");
}

async fn lead_time_moves_held_events(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = provisioner(&t, &s).await;
    let reservation = t.booking(&s.alice, s.resource, 2, 4).await;
    set_notices(&t, &s, 90, 30).await;
    let due = reservation.start_time - Duration::minutes(90);
    assert_eq!(current(&t, &s, &reservation).await.provisioning_begins_at, Some(due));
    t.clock.set(due);
    tick(&t).await;
    assert_eq!(events(&receiver), [ReservationCreated]);
    t.clock.set(reservation.end_time - Duration::minutes(30));
    tick(&t).await;
    assert_eq!(events(&receiver), [ReservationCreated, ReservationStarted, ReservationEnding]);
    let wrong =
        ResourceTypePatch { lead_minutes: Some(1_441), ending_notice_minutes: Some(2_000), ..Default::default() };
    let problem = refused(t.catalogue().update_type(&s.root, "gpu-cluster", wrong).await, Invalid);
    let fields: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["lead_minutes", "ending_notice_minutes"]);
}

async fn filter_is_applied_when_the_held_event_is_due(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = provisioner(&t, &s).await;
    let other = t.resource(&s.root, "node-2", ResourceStatus::Available).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let filter = EventFilter { resource_ids: vec![other], fields: Vec::new() };
    let patch = WebhookPatch { filter: Some(filter), ..Default::default() };
    t.webhooks().update(&s.root, webhook, patch).await.unwrap();
    t.clock.set(reservation.end_time);
    tick(&t).await;
    assert!(receiver.requests().is_empty(), "{:?}", events(&receiver));
}

async fn starts_and_endings_are_sent_to_webhooks_that_chose_them(t: TestService) {
    let s = fixture(&t).await;
    set_notices(&t, &s, 0, 15).await;
    let receiver = Receiver::start().await;
    let mut input = webhook_input(&receiver.url);
    input.events = EventType::ALL.to_vec();
    t.webhooks().create(&s.root, input).await.unwrap();
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let cancelled = t.booking(&s.alice, s.resource, 4, 6).await;
    tick(&t).await;
    t.reservations().cancel(&s.alice, &cancelled.id, None).await.unwrap();
    let times = [
        reservation.start_time - TimeDelta::milliseconds(1),
        reservation.start_time,
        reservation.end_time - Duration::minutes(15) - TimeDelta::milliseconds(1),
        reservation.end_time - Duration::minutes(15),
        reservation.end_time,
        cancelled.end_time,
    ];
    let mut seen = Vec::new();
    for time in times {
        t.clock.set(time);
        tick(&t).await;
        seen.push(receiver.requests().len() - 3);
    }
    assert_eq!(seen, [0, 1, 1, 2, 3, 3]);
    let requests = receiver.requests();
    let got: Vec<_> = requests[3..].iter().map(|got| (got.event(), got.path.as_str(), got.text("status"))).collect();
    assert_eq!(
        got,
        [
            ("reservation.started", "/api/webhook/reservation/start", "active"),
            ("reservation.ending", "/api/webhook/reservation/ending", "active"),
            ("reservation.expired", "/api/webhook/reservation/cancel", "expired"),
        ]
    );
    let state = current(&t, &s, &reservation).await.provisioning.status;
    assert_eq!(state, ProvisioningStatus::Released);
    let default = events(&s.receiver);
    assert_eq!(default.len(), 4, "both events are opt-in: {default:?}");
}

async fn moved_times_move_starts_and_endings(t: TestService) {
    let s = fixture(&t).await;
    set_notices(&t, &s, 0, 15).await;
    let (receiver, _) = at_start(&t, &s, &[ReservationStarted, ReservationEnding]).await;
    let reservation = t.booking(&s.alice, s.resource, 4, 6).await;
    let shift = |hours| ReservationPatch {
        start_time: Some(reservation.start_time + Duration::hours(hours)),
        end_time: Some(reservation.end_time + Duration::hours(hours)),
        ..Default::default()
    };
    t.reservations().update(&s.alice, &reservation.id, shift(2)).await.unwrap();
    t.clock.set(reservation.start_time);
    tick(&t).await;
    assert!(receiver.requests().is_empty());
    t.clock.set(reservation.end_time + Duration::minutes(105));
    tick(&t).await;
    assert_eq!(events(&receiver), [ReservationStarted, ReservationEnding]);
    // An extended reservation announces its new end.
    let longer = ReservationPatch { end_time: Some(reservation.end_time + Duration::hours(4)), ..Default::default() };
    t.reservations().update(&s.alice, &reservation.id, longer).await.unwrap();
    tick(&t).await;
    assert_eq!(receiver.requests().len(), 2);
    t.clock.set(reservation.end_time + Duration::minutes(225));
    tick(&t).await;
    assert_eq!(events(&receiver), [ReservationStarted, ReservationEnding, ReservationEnding]);
}

async fn short_reservation_ends_after_its_start(t: TestService) {
    let s = fixture(&t).await;
    set_notices(&t, &s, 0, 1_440).await;
    let (receiver, _) = at_start(&t, &s, &EventType::ALL).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    t.clock.set(reservation.start_time - Duration::minutes(1));
    tick(&t).await;
    assert!(receiver.requests().is_empty());
    t.clock.set(reservation.start_time);
    tick(&t).await;
    assert_eq!(events(&receiver), [ReservationCreated, ReservationStarted, ReservationEnding]);
}

async fn starts_of_earlier_reservations_are_sent_once(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    tick(&t).await;
    let patch = WebhookPatch { events: Some(EventType::ALL.to_vec()), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    tick(&t).await;
    assert_eq!(t.reservations().next_due().await.unwrap(), Some(reservation.start_time));
    t.clock.set(reservation.start_time);
    tick(&t).await;
    tick(&t).await;
    assert_eq!(events(&s.receiver), [ReservationCreated, ReservationStarted]);
}

async fn missing_events_do_not_include_held_ones(t: TestService) {
    let s = fixture(&t).await;
    let (_receiver, webhook) = provisioner(&t, &s).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let matched = async || {
        let request = ReplayRequest {
            source: ReplaySource::Missing,
            filter: DeliveryFilter { webhook_id: Some(webhook), ..Default::default() },
            ..Default::default()
        };
        t.replays().preview(&s.root, &request).await.unwrap().matched
    };
    assert_eq!(matched().await, 0, "the creation is held, not missing");
    t.clock.set(reservation.start_time);
    tick(&t).await;
    assert_eq!(matched().await, 0);
}

async fn missing_event_of_a_later_reservation_is_held(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 2, 3).await;
    drain(&t).await;
    let (receiver, webhook) = provisioner(&t, &s).await;
    let request = ReplayRequest {
        source: ReplaySource::Missing,
        filter: DeliveryFilter { webhook_id: Some(webhook), ..Default::default() },
        ..Default::default()
    };
    assert_eq!(t.replays().preview(&s.root, &request).await.unwrap().matched, 1);
    t.replays().start(&s.root, &request).await.unwrap();
    while t.replays().run_due().await.unwrap().is_some() {}
    tick(&t).await;
    assert!(receiver.requests().is_empty(), "its service provisions at the start");
    assert_eq!(t.replays().preview(&s.root, &request).await.unwrap().matched, 0);
    t.clock.set(reservation.start_time - Duration::minutes(LEAD));
    tick(&t).await;
    assert_eq!(events(&receiver), [ReservationCreated]);
}

async fn change_to_the_classic_format_sends_one_start(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = provisioner(&t, &s).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let patch = WebhookPatch {
        provision: Some(ProvisionTime::Booking),
        payload_format: Some(domain::payload::PayloadFormat::Classic),
        ..Default::default()
    };
    t.webhooks().update(&s.root, webhook, patch).await.unwrap();
    t.reservations().start_due(1).await.unwrap();
    t.clock.set(reservation.start_time);
    tick(&t).await;
    let names: Vec<_> = receiver.requests().iter().map(|got| got.text("eventType").to_owned()).collect();
    assert_eq!(names, ["EVENT_START"]);
    let state = current(&t, &s, &reservation).await.provisioning;
    assert!(state.services.iter().all(|service| !service.message.contains("no longer receives")), "{state:?}");
}

async fn due_times_of_an_earlier_release_are_corrected(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = provisioner(&t, &s).await;
    let reservation = t.booking(&s.alice, s.resource, 2, 4).await;
    // A process of an earlier release moves the reservation, and not its events.
    let start = reservation.start_time + Duration::hours(1);
    let moved =
        format!("UPDATE reservations SET start_at = {} WHERE id = '{}'", start.timestamp_millis(), reservation.id);
    execute(&t, &moved).await;
    t.clock.set(reservation.start_time);
    tick(&t).await;
    assert!(receiver.requests().is_empty());
    let due = start - Duration::minutes(LEAD);
    assert_eq!(t.reservations().next_due().await.unwrap(), Some(due));
    t.clock.set(start);
    tick(&t).await;
    assert_eq!(events(&receiver), [ReservationCreated, ReservationStarted]);
}

async fn booking_that_overtakes_an_opt_in_is_scheduled(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    tick(&t).await;
    let patch = WebhookPatch { events: Some(EventType::ALL.to_vec()), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    t.reservations().start_due(1).await.unwrap();
    // The booking read the settings before, and is committed after the search for earlier reservations.
    execute(&t, "DELETE FROM scheduled_events").await;
    t.clock.set(t.clock.now() + Duration::seconds(61));
    t.reservations().schedule_starts().await.unwrap();
    t.clock.set(reservation.end_time - Duration::minutes(1));
    tick(&t).await;
    assert_eq!(events(&s.receiver), [ReservationCreated, ReservationStarted, ReservationEnding]);
}

async fn only_driving_webhooks_begin_provisioning(t: TestService) {
    let s = fixture(&t).await;
    let (_receiver, webhook) = provisioner(&t, &s).await;
    let first = t.booking(&s.alice, s.resource, 1, 2).await;
    assert!(first.provisioning_begins_at.is_some());
    let listens = WebhookPatch { provisions: Some(false), ..Default::default() };
    t.webhooks().update(&s.root, webhook, listens).await.unwrap();
    assert_eq!(t.booking(&s.alice, s.resource, 2, 3).await.provisioning_begins_at, None);
    assert_eq!(current(&t, &s, &first).await.provisioning_begins_at, None);
    let drives = WebhookPatch { provisions: Some(true), ..Default::default() };
    t.webhooks().update(&s.root, webhook, drives).await.unwrap();
    assert!(current(&t, &s, &first).await.provisioning_begins_at.is_some());
    t.webhooks().delete(&s.root, webhook).await.unwrap();
    assert_eq!(current(&t, &s, &first).await.provisioning_begins_at, None);
}

async fn short_extension_announces_the_new_end(t: TestService) {
    let s = fixture(&t).await;
    set_notices(&t, &s, 0, 15).await;
    let (receiver, _) = at_start(&t, &s, &[ReservationEnding]).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    t.clock.set(reservation.end_time - Duration::minutes(10));
    tick(&t).await;
    let end = reservation.end_time + Duration::minutes(4);
    let longer = ReservationPatch { end_time: Some(end), ..Default::default() };
    t.reservations().update(&s.alice, &reservation.id, longer).await.unwrap();
    tick(&t).await;
    assert_eq!(events(&receiver), [ReservationEnding, ReservationEnding]);
    assert_eq!(receiver.requests()[1].body["end_time"], json!(end));
}

async fn events_of_a_newer_release_stay(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = provisioner(&t, &s).await;
    let reservation = t.booking(&s.alice, s.resource, 2, 4).await;
    let newer = format!(
        "INSERT INTO scheduled_events (reservation_id, event_type, webhook_id, due_at) VALUES ('{}', 'reservation.newer', 0, 1)",
        reservation.id
    );
    execute(&t, &newer).await;
    let due = reservation.start_time - Duration::minutes(LEAD);
    assert_eq!(t.reservations().next_due().await.unwrap(), Some(due));
    t.clock.set(reservation.start_time);
    tick(&t).await;
    assert_eq!(events(&receiver), [ReservationCreated, ReservationStarted]);
    let kept = "DELETE FROM scheduled_events WHERE event_type = 'reservation.newer' AND due_at = 1";
    assert_eq!(execute(&t, kept).await, 1);
}

/// While reservations are published, their notices change to and fro. Each event is published once.
async fn changes_of_notices_race_with_publication(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = provisioner(&t, &s).await;
    let mut last = None;
    for hour in 0..12 {
        let resource = t.resource(&s.root, &format!("rack-{hour}"), ResourceStatus::Available).await;
        last = Some(t.booking(&s.alice, resource, 1 + hour, 2 + hour).await);
    }
    let last = last.unwrap();
    let replica = t.replica().await;
    t.ready_to_race().await;
    t.clock.set(last.start_time - Duration::minutes(30));
    let publish = async || {
        for _ in 0..6 {
            replica.reservations().publish_scheduled(3).await.unwrap();
        }
    };
    let change = async || {
        for lead in [60, 5, 90, 10, 45, 20] {
            set_notices(&t, &s, lead, lead).await;
        }
    };
    let cancel = async || {
        t.reservations().cancel(&s.alice, &last.id, None).await.unwrap();
    };
    tokio::join!(publish(), change(), cancel());
    t.clock.set(last.end_time - TimeDelta::milliseconds(1));
    tick(&t).await;
    let mut seen = std::collections::HashMap::new();
    for got in receiver.requests() {
        *seen.entry((got.text("reservation_id").to_owned(), got.text("event_type").to_owned())).or_insert(0) += 1;
    }
    let of_last = seen.keys().filter(|(id, _)| *id == last.id.0).count();
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");
    // Eleven reservations with three events each and their ends, but the eleventh, which ends with the last one.
    let scheduled = seen.keys().filter(|(id, event)| *id != last.id.0 && !event.ends_with("expired")).count();
    assert_eq!(scheduled, 33, "{seen:?}");
    assert!(of_last == 0 || of_last == 2, "created with cancelled, or nothing: {seen:?}");
}
