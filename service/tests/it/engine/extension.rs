//! Extensions and the early end of reservations.

use super::{Fixture, fixture};
use crate::support::{TestService, drain, refused, webhook_input};
use chrono::{Duration, TimeDelta};
use domain::ProblemKind::{Conflict, Forbidden, Invalid, NotFound};
use domain::audit::AuditFilter;
use domain::authorization::Role;
use domain::event::EventType::{
    self, ReservationCreated, ReservationEnding, ReservationExpired, ReservationStarted, ReservationUpdated,
};
use domain::pagination::PageQuery;
use domain::problem::{AlternativeResource, ConflictSpan, ExtensionOffer};
use domain::provisioning::ProvisioningStatus;
use domain::reservation::{ExtendInput, Reservation, ReservationStatus};
use domain::resource::{ResourcePatch, ResourceStatus};
use domain::webhook::WebhookPatch;
use serde_json::{Value, json};
use test_support::{Receiver, on_both_databases};

on_both_databases![
    extension_moves_the_end_and_is_announced,
    repeated_extension_changes_nothing,
    conflict_offers_the_longest_extension_and_free_resources,
    extension_is_limited_as_a_change_is,
    end_now_frees_the_rest_of_the_time_and_expires_the_reservation,
    end_now_needs_a_reservation_in_progress,
    early_end_publishes_the_start_first_and_no_ending,
    concurrent_ends_expire_once,
    extension_and_end_are_for_those_who_may_change_the_reservation,
];

fn by_minutes(minutes: u32) -> ExtendInput {
    ExtendInput { minutes: Some(minutes), end_time: None }
}

fn until(reservation: &Reservation, minutes: i64) -> ExtendInput {
    ExtendInput { minutes: None, end_time: Some(reservation.end_time + Duration::minutes(minutes)) }
}

fn events(receiver: &Receiver) -> Vec<EventType> {
    receiver.requests().iter().map(|got| EventType::parse(got.text("event_type")).unwrap()).collect()
}

/// The actor and the changed fields of the newest entry of the audit log about a reservation.
async fn last_entry(t: &TestService, s: &Fixture, reservation: &Reservation) -> (String, Option<String>, Vec<String>) {
    let filter = AuditFilter { target_id: Some(reservation.id.0.clone()), ..Default::default() };
    let entries = t.audit().list(&s.root, &filter, &PageQuery::default()).await.unwrap().items;
    let fields = entries[0].changes.iter().map(|change| change.field.clone()).collect();
    (entries[0].action.as_str().to_owned(), entries[0].actor.clone(), fields)
}

async fn extension_moves_the_end_and_is_announced(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 0, 1).await;
    t.clock.set(reservation.start_time + Duration::minutes(30));
    let extended = t.reservations().extend(&s.alice, &reservation.id, by_minutes(30)).await.unwrap();
    assert_eq!(extended.end_time, reservation.end_time + Duration::minutes(30));
    drain(&t).await;
    assert_eq!(events(&s.receiver), [ReservationCreated, ReservationUpdated]);
    let body = &s.receiver.last().body;
    assert_eq!(
        (&body["end_time"], &body["previous"]["end_time"]),
        (&json!(extended.end_time), &json!(reservation.end_time))
    );
    assert_eq!(body["previous"].as_object().unwrap().len(), 1);
    let entry = last_entry(&t, &s, &reservation).await;
    assert_eq!(entry, ("reservation.updated".into(), Some("alice".into()), vec!["end_time".into()]));
    t.clock.set(reservation.end_time);
    assert_eq!(t.reservations().expire_due(10).await.unwrap(), 0);
}

async fn repeated_extension_changes_nothing(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 0, 1).await;
    let input = until(&reservation, 30);
    let (one, other) = tokio::join!(
        t.reservations().extend(&s.alice, &reservation.id, input),
        t.reservations().extend(&s.alice, &reservation.id, input)
    );
    assert_eq!(one.unwrap().end_time, other.unwrap().end_time);
    drain(&t).await;
    assert_eq!(events(&s.receiver), [ReservationCreated, ReservationUpdated]);
    let earlier = until(&reservation, 15);
    refused(t.reservations().extend(&s.alice, &reservation.id, earlier).await, Invalid);
}

async fn conflict_offers_the_longest_extension_and_free_resources(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 0, 2).await;
    let bob = t.person("bob", Role::User).await;
    let mut next = t.span(s.resource, 3, 4);
    next.title = Some("Private work of Bob".into());
    let next = t.reservations().create(&bob, next).await.unwrap();
    let free = t.resource(&s.root, "node-10", ResourceStatus::Available).await;
    let second = t.resource(&s.root, "node-9", ResourceStatus::Available).await;
    t.resource(&s.root, "node-3", ResourceStatus::Restricted).await;
    t.resource(&s.root, "node-4", ResourceStatus::Maintenance).await;
    let taken = t.resource(&s.root, "node-5", ResourceStatus::Available).await;
    t.booking(&bob, taken, 3, 5).await;
    // It ends when the added time begins.
    let adjacent = t.resource(&s.root, "node-6", ResourceStatus::Available).await;
    t.booking(&bob, adjacent, 1, 2).await;

    let problem = refused(t.reservations().extend(&s.alice, &reservation.id, by_minutes(120)).await, Conflict);
    let span = ConflictSpan { start_time: next.start_time, end_time: next.end_time };
    assert_eq!(problem.conflict, Some(span));
    let named = |id, name: &str| AlternativeResource { id, name: name.into() };
    let offer = ExtensionOffer {
        extend_until: Some(next.start_time),
        alternatives: vec![named(adjacent, "node-6"), named(second, "node-9"), named(free, "node-10")],
    };
    assert_eq!(problem.extension.as_deref(), Some(&offer));
    let text = serde_json::to_string(&problem).unwrap();
    assert!(!text.contains("Private") && !text.contains("bob"), "{text}");

    let input = ExtendInput { minutes: None, end_time: offer.extend_until };
    let extended = t.reservations().extend(&s.alice, &reservation.id, input).await.unwrap();
    assert_eq!(extended.end_time, next.start_time);
    let problem = refused(t.reservations().extend(&s.alice, &reservation.id, by_minutes(30)).await, Conflict);
    assert_eq!(problem.extension.unwrap().extend_until, None, "the next one begins at the present end");
    // A change of the end has no offer.
    let patch = domain::reservation::ReservationPatch { end_time: Some(next.end_time), ..Default::default() };
    assert_eq!(refused(t.reservations().update(&s.alice, &reservation.id, patch).await, Conflict).extension, None);
}

async fn extension_is_limited_as_a_change_is(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 0, 1).await;
    let too_long = t.reservations().extend(&s.alice, &reservation.id, by_minutes(366 * 24 * 60)).await;
    assert_eq!(refused(too_long, Invalid).errors[0].field, "end_time");
    let patch = ResourcePatch { status: Some(ResourceStatus::Restricted), ..Default::default() };
    t.catalogue().update_resource(&s.root, s.resource, patch).await.unwrap();
    refused(t.reservations().extend(&s.alice, &reservation.id, by_minutes(30)).await, Forbidden);
    t.reservations().extend(&s.root, &reservation.id, by_minutes(30)).await.unwrap();
    t.clock.set(reservation.end_time + Duration::hours(1));
    let problem = refused(t.reservations().extend(&s.alice, &reservation.id, by_minutes(30)).await, Conflict);
    assert!(problem.detail.contains("expired") && problem.extension.is_none(), "{problem}");
}

async fn end_now_frees_the_rest_of_the_time_and_expires_the_reservation(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 0, 4).await;
    drain(&t).await;
    let now = reservation.start_time + Duration::hours(1);
    t.clock.set(now);
    let bob = t.person("bob", Role::User).await;
    let wanted = t.span(s.resource, 0, 1);
    refused(t.reservations().create(&bob, wanted.clone()).await, Conflict);
    let ended = t.reservations().end(&s.alice, &reservation.id).await.unwrap();
    assert_eq!((ended.status, ended.end_time), (ReservationStatus::Expired, now));
    assert_eq!(ended.provisioning.status, ProvisioningStatus::Releasing);
    t.reservations().create(&bob, wanted).await.unwrap();
    let stored = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation;
    assert_eq!((stored.status, stored.end_time), (ReservationStatus::Expired, now));
    drain(&t).await;
    let requests = s.receiver.requests();
    let of_this: Vec<&Value> =
        requests.iter().map(|got| &got.body).filter(|body| body["reservation_id"] == json!(reservation.id)).collect();
    let types: Vec<&Value> = of_this.iter().map(|body| &body["event_type"]).collect();
    assert_eq!(types, ["reservation.created", "reservation.expired"]);
    assert_eq!((&of_this[1]["end_time"], &of_this[1]["status"]), (&json!(now), &json!("expired")));
    let released = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning.status;
    assert_eq!(released, ProvisioningStatus::Released);
    let entry = last_entry(&t, &s, &reservation).await;
    let fields = vec!["end_time".to_owned(), "status".to_owned()];
    assert_eq!(entry, ("reservation.expired".into(), Some("alice".into()), fields));
    // The worker does not expire it again.
    t.clock.set(reservation.end_time);
    t.reservations().expire_due(10).await.unwrap();
    drain(&t).await;
    let expired = s.receiver.requests().iter().filter(|got| got.body["event_type"] == "reservation.expired").count();
    assert_eq!(expired, 2, "one for each reservation");
}

async fn end_now_needs_a_reservation_in_progress(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    let problem = refused(t.reservations().end(&s.alice, &reservation.id).await, Conflict);
    assert!(problem.detail.contains("Cancel it"), "{problem}");
    t.clock.set(reservation.start_time - TimeDelta::milliseconds(1));
    refused(t.reservations().end(&s.alice, &reservation.id).await, Conflict);
    t.clock.set(reservation.end_time);
    let problem = refused(t.reservations().end(&s.alice, &reservation.id).await, Conflict);
    assert!(problem.detail.contains("expired"), "{problem}");
    // At its first moment it can end.
    let other = t.booking(&s.alice, s.resource, 1, 2).await;
    t.clock.set(other.start_time);
    assert_eq!(t.reservations().end(&s.alice, &other.id).await.unwrap().end_time, other.start_time);
    t.booking(&s.alice, s.resource, 0, 1).await;
}

async fn early_end_publishes_the_start_first_and_no_ending(t: TestService) {
    let s = fixture(&t).await;
    let patch = WebhookPatch { events: Some(EventType::ALL.to_vec()), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    let held = Receiver::start().await;
    let mut input = webhook_input(&held.url);
    input.provision = Some(domain::webhook::ProvisionTime::Start);
    t.webhooks().create(&s.root, input).await.unwrap();
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    // The worker has not published the start yet.
    t.clock.set(reservation.start_time + TimeDelta::milliseconds(1));
    t.reservations().end(&s.alice, &reservation.id).await.unwrap();
    drain(&t).await;
    assert_eq!(events(&s.receiver), [ReservationCreated, ReservationStarted, ReservationExpired]);
    assert_eq!(events(&held), [ReservationCreated, ReservationExpired]);
    assert!(!events(&s.receiver).contains(&ReservationEnding));
    assert_eq!(t.reservations().next_due().await.unwrap(), None, "nothing is left");
}

async fn concurrent_ends_expire_once(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 0, 1).await;
    let (one, other) =
        tokio::join!(t.reservations().end(&s.alice, &reservation.id), t.reservations().end(&s.root, &reservation.id));
    assert_ne!(one.is_ok(), other.is_ok());
    drain(&t).await;
    assert_eq!(events(&s.receiver), [ReservationCreated, ReservationExpired]);
}

async fn extension_and_end_are_for_those_who_may_change_the_reservation(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 0, 1).await;
    for (name, role, kind) in [("bob", Role::User, NotFound), ("eve", Role::Auditor, Forbidden)] {
        let actor = t.person(name, role).await;
        refused(t.reservations().extend(&actor, &reservation.id, by_minutes(30)).await, kind);
        refused(t.reservations().end(&actor, &reservation.id).await, kind);
    }
    t.reservations().extend(&s.root, &reservation.id, by_minutes(30)).await.unwrap();
    t.reservations().end(&s.root, &reservation.id).await.unwrap();
    let (_, actor, _) = last_entry(&t, &s, &reservation).await;
    assert_eq!(actor.as_deref(), Some("root"));
}
