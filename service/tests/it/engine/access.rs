//! Access information before the start of a reservation, on every interface that users read.

use super::{Fixture, fixture, of_webhook};
use crate::support::{TestService, drain, webhook_input};
use chrono::{Duration, TimeDelta};
use domain::authorization::{Actor, Role};
use domain::delivery::{DeliveryFilter, ExportFormat};
use domain::id::{ReservationId, WebhookId};
use domain::ownership::Ownership;
use domain::pagination::PageQuery;
use domain::provisioning::{AccessBeforeStart, ProvisioningStatus};
use domain::reservation::{CalendarFilter, Reservation, ReservationFilter, ReservationPatch};
use domain::resource::ResourceTypePatch;
use domain::signature::{Secret, sign_body};
use domain::webhook::ProvisionTime;
use serde::Serialize;
use serde_json::json;
use service::Service;
use service::change_feed::Update;
use service::deliveries::{Deliveries, IndexBatch};
use test_support::{Receiver, Response, on_both_databases};
use tokio::sync::broadcast;

on_both_databases![
    access_information_never_appears_early,
    feed_announces_the_reservation_at_its_start,
    moved_start_moves_the_access,
    reservation_that_was_cancelled_before_its_start_never_shows_access,
    stored_access_information_survives_changes_while_it_is_hidden,
    status_update_response_hides_what_another_service_has_sent,
    change_of_the_setting_applies_to_existing_reservations,
];

/// Texts that the services send: the first at booking, the second from the lead time on.
const SECRETS: [&str; 2] = ["secretbooking", "secretstart"];
/// The lead time in minutes.
const LEAD: i64 = 10;

/// A response with access information and details that contain `secret`.
fn ready(secret: &str) -> Response {
    let access = json!({"ip_address": secret, "username": secret, "connection_command": format!("ssh {secret}")});
    let details = json!({"access_info": access, "console": secret, "ports": [{"host": secret}]});
    Response::json(200, json!({"status": "success", "message": "Done", "details": details}))
}

async fn set(t: &TestService, s: &Fixture, setting: AccessBeforeStart) {
    let patch = ResourceTypePatch {
        lead_minutes: Some(u32::try_from(LEAD).unwrap()),
        access_before_start: Some(setting),
        ..Default::default()
    };
    t.catalogue().update_type(&s.root, "gpu-cluster", patch).await.unwrap();
}

/// The webhook of the fixture provisions at booking; another one with its receiver provisions at the start.
async fn services(t: &TestService, s: &Fixture, setting: AccessBeforeStart) -> (Receiver, WebhookId) {
    set(t, s, setting).await;
    s.receiver.respond(ready(SECRETS[0]));
    let receiver = Receiver::start().await;
    receiver.respond(ready(SECRETS[1]));
    let mut input = webhook_input(&receiver.url);
    input.provision = Some(ProvisionTime::Start);
    let webhook = t.webhooks().create(&s.root, input).await.unwrap().webhook.id;
    (receiver, webhook)
}

async fn tick(t: &TestService) {
    t.reservations().publish_scheduled(100).await.unwrap();
    t.reservations().announce_access().await.unwrap();
    drain(t).await;
    log(t).index_batch(IndexBatch::LARGE).await.unwrap();
}

fn log(t: &TestService) -> &Deliveries {
    Service::deliveries(t)
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

/// What the live feed has sent about reservations since the last call.
fn fed(feed: &mut broadcast::Receiver<Update>) -> Vec<String> {
    let mut texts = Vec::new();
    while let Ok(update) = feed.try_recv() {
        if let Update::Change(change) = update {
            texts.push(text(&*change));
        }
    }
    texts
}

/// Everything that a user can read about the reservation, with the name of the interface.
async fn interfaces(
    t: &TestService,
    actor: &Actor,
    reservation: &Reservation,
    secrets: &[String; 2],
) -> Vec<(&'static str, String)> {
    let all = PageQuery::default();
    let reservations = t.reservations();
    let span = CalendarFilter {
        from: reservation.start_time - Duration::days(1),
        to: reservation.end_time,
        resource_type: None,
        resource_id: None,
    };
    let mut read = vec![
        ("list", text(&reservations.list(actor, &ReservationFilter::default(), &all).await.unwrap().items)),
        ("next", text(&reservations.list_next(actor).await.unwrap())),
        ("detail", text(&reservations.get(actor, &reservation.id).await.unwrap())),
        ("deliveries", text(&reservations.list_deliveries(actor, &reservation.id, &all).await.unwrap().items)),
        ("calendar", text(&reservations.list_busy_spans(actor, &span, &all).await.unwrap().items)),
        ("notifications", text(&t.notifications().list(actor).await.unwrap())),
    ];
    if actor.role != Role::Auditor {
        // A change without a difference returns the reservation.
        let same = reservations.update(actor, &reservation.id, ReservationPatch::default()).await.unwrap();
        read.push(("update", text(&same)));
    }
    if actor.username == "alice" {
        let mut export = t.privacy().export(actor, "alice").await.unwrap();
        let mut exported = String::new();
        while let Some(piece) = export.next_piece().await.unwrap() {
            exported.push_str(&piece);
        }
        read.push(("account export", exported));
    }
    if actor.role.reads_everything() {
        read.push(("audit log", text(&t.audit().list(actor, &Default::default(), &all).await.unwrap().items)));
    }
    if actor.role == Role::Auditor {
        let filter = DeliveryFilter::default();
        let logged = log(t).list(actor, &filter, &all).await.unwrap().items;
        read.push(("delivery log", text(&logged)));
        for delivery in &logged {
            read.push(("delivery", text(&log(t).get(actor, &delivery.id).await.unwrap())));
        }
        read.push(("failures", text(&log(t).failures(actor, &filter).await.unwrap())));
        let mut export = log(t).export(actor, &filter, ExportFormat::Jsonl).await.unwrap();
        while let Some(batch) = export.next_batch().await.unwrap() {
            read.push(("export of deliveries", text(&batch)));
        }
        for secret in secrets {
            let filter = DeliveryFilter { q: Some(secret.clone()), ..Default::default() };
            let found = log(t).count_matching(actor, &filter).await.unwrap().count;
            let listed = log(t).list(actor, &filter, &all).await.unwrap().items.len();
            assert_eq!(found, listed as u64);
            read.push(("search", if found > 0 { secret.clone() } else { String::new() }));
        }
    }
    read
}

/// At each moment, for each setting and each reader, exactly the permitted access information appears.
async fn access_information_never_appears_early(t: TestService) {
    let s = fixture(&t).await;
    let auditor = t.person("eve", Role::Auditor).await;
    let mut owner = t.person("olga", Role::User).await;
    owner.owns = Ownership { resource_types: ["gpu-cluster".to_owned()].into(), ..Default::default() };
    let (receiver, _) = services(&t, &s, AccessBeforeStart::Automatic).await;
    let mut feed = t.change_feed().subscribe();
    for setting in AccessBeforeStart::ALL {
        set(&t, &s, setting).await;
        // Earlier reservations have others.
        let secrets = SECRETS.map(|secret| format!("{}{secret}", setting.as_str()));
        let [at_booking, at_start] = &secrets;
        s.receiver.respond(ready(at_booking));
        receiver.respond(ready(at_start));
        let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
        let start = reservation.start_time;
        let early: &[String] = match setting {
            AccessBeforeStart::Automatic => &secrets[..1],
            AccessBeforeStart::Show => &secrets,
            AccessBeforeStart::Hide => &[],
        };
        let moments = [
            (t.now(), early, 1),
            (start - Duration::minutes(LEAD), early, 2),
            (start - TimeDelta::milliseconds(1), early, 2),
            (start, &secrets, 2),
        ];
        for (now, permitted, sent) in moments {
            t.clock.set(now);
            tick(&t).await;
            let early_in = |text: &str| {
                let is_early = |secret: &&String| text.contains(secret.as_str()) && !permitted.contains(secret);
                secrets.iter().find(is_early).cloned()
            };
            for text in fed(&mut feed) {
                assert_eq!(early_in(&text), None, "{setting:?} at {now}: the live feed sends {text}");
            }
            for actor in [&s.alice, &s.root, &owner, &auditor] {
                let who = &actor.username;
                for (interface, text) in interfaces(&t, actor, &reservation, &secrets).await {
                    assert_eq!(early_in(&text), None, "{setting:?} at {now}: {interface} shows it to {who}: {text}");
                }
                let shown = t.reservations().get(actor, &reservation.id).await.unwrap().reservation.provisioning;
                let json = text(&shown);
                for secret in &secrets[..sent] {
                    let is_shown = json.contains(secret.as_str());
                    assert_eq!(is_shown, permitted.contains(secret), "{setting:?} at {now}: {json}");
                }
                let is_hidden = secrets[..sent].iter().any(|secret| !permitted.contains(secret));
                assert_eq!(shown.access_available_at, is_hidden.then_some(start), "{setting:?} at {now}");
            }
        }
        t.clock.set(reservation.end_time);
        t.reservations().expire_due(10).await.unwrap();
        tick(&t).await;
        fed(&mut feed);
    }
}

/// An open page shows the access information without a reload.
async fn feed_announces_the_reservation_at_its_start(t: TestService) {
    let s = fixture(&t).await;
    services(&t, &s, AccessBeforeStart::Hide).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    tick(&t).await;
    // A page that has loaded the reservation, and shows that it is hidden.
    let mut feed = t.change_feed().subscribe();
    let seen = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation;
    assert_eq!(seen.provisioning.access_available_at, Some(reservation.start_time));
    assert_eq!(t.reservations().next_access(), Some(reservation.start_time));
    t.clock.set(reservation.start_time - TimeDelta::milliseconds(1));
    assert_eq!(t.reservations().announce_access().await.unwrap(), 0);
    assert!(fed(&mut feed).is_empty());
    t.clock.set(reservation.start_time);
    assert_eq!(t.reservations().announce_access().await.unwrap(), 1);
    let announced = fed(&mut feed);
    assert_eq!(announced.len(), 1, "{announced:?}");
    assert!(announced[0].contains(&format!("ssh {}", SECRETS[0])), "{announced:?}");
    assert_eq!(t.reservations().announce_access().await.unwrap(), 0, "once");
    assert_eq!(t.reservations().next_access(), None);
}

async fn moved_start_moves_the_access(t: TestService) {
    let s = fixture(&t).await;
    services(&t, &s, AccessBeforeStart::Hide).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 4).await;
    tick(&t).await;
    let later = reservation.start_time + Duration::hours(1);
    let patch = ReservationPatch { start_time: Some(later), ..Default::default() };
    let moved = t.reservations().update(&s.alice, &reservation.id, patch).await.unwrap();
    assert_eq!(moved.provisioning.access_available_at, Some(later));
    t.clock.set(reservation.start_time);
    tick(&t).await;
    let seen = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation;
    assert_eq!((seen.provisioning.access_info, seen.provisioning.access_available_at), (None, Some(later)));
    t.clock.set(later);
    let seen = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation;
    assert!(seen.provisioning.access_info.is_some());
}

async fn reservation_that_was_cancelled_before_its_start_never_shows_access(t: TestService) {
    let s = fixture(&t).await;
    services(&t, &s, AccessBeforeStart::Hide).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    tick(&t).await;
    s.receiver.respond(Response::status(200));
    let cancelled = t.reservations().cancel(&s.alice, &reservation.id, None).await.unwrap();
    assert_eq!((cancelled.provisioning.access_info, cancelled.provisioning.access_available_at), (None, None));
    t.clock.set(reservation.end_time);
    tick(&t).await;
    let seen = t.reservations().get(&s.root, &reservation.id).await.unwrap();
    assert!(!text(&seen).contains(SECRETS[0]));
}

/// The hidden state is never written.
async fn stored_access_information_survives_changes_while_it_is_hidden(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, _) = services(&t, &s, AccessBeforeStart::Hide).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    tick(&t).await;
    for (receiver, minutes) in [(&s.receiver, 30), (&receiver, 5)] {
        receiver.respond(Response::json(200, json!({"status": "success"})));
        t.clock.set(reservation.start_time - Duration::minutes(minutes));
        let patch = ReservationPatch { title: Some(format!("{minutes} min")), ..Default::default() };
        let changed = t.reservations().update(&s.alice, &reservation.id, patch).await.unwrap();
        assert_eq!(changed.provisioning.access_info, None);
        tick(&t).await;
    }
    t.clock.set(reservation.start_time);
    let seen = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
    assert_eq!(seen.access_info.unwrap().ip_address.as_deref(), Some(SECRETS[0]));
    assert_eq!(seen.details["console"], SECRETS[0]);
}

async fn status_update_response_hides_what_another_service_has_sent(t: TestService) {
    let s = fixture(&t).await;
    let (_, webhook) = services(&t, &s, AccessBeforeStart::Hide).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    tick(&t).await;
    t.clock.set(reservation.start_time - Duration::minutes(LEAD));
    tick(&t).await;
    let mac = t.status_url(&reservation.id, webhook);
    let mac = mac.split("mac=").nth(1).unwrap();
    let update = async |status: &str| {
        let body = json!({"status": status, "timestamp": t.now(), "reservation_id": reservation.id}).to_string();
        let signature = sign_body(&Secret::parse("your-secret-key").unwrap(), body.as_bytes());
        let id = webhook.to_string();
        let body = body.as_bytes();
        t.reservations()
            .apply_status_update(&reservation.id, Some(mac), Some(&id), Some(&signature), body)
            .await
            .unwrap()
    };
    let state = update("provisioning").await;
    assert!(!text(&state).contains("secret"), "{state:?}");
    assert_eq!(state.access_available_at, Some(reservation.start_time));
    t.clock.set(reservation.start_time);
    let state = update("ready").await;
    assert!(SECRETS.iter().all(|secret| text(&state).contains(secret)), "{state:?}");
}

async fn change_of_the_setting_applies_to_existing_reservations(t: TestService) {
    let s = fixture(&t).await;
    let (_, webhook) = services(&t, &s, AccessBeforeStart::Automatic).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    t.clock.set(reservation.start_time - Duration::minutes(LEAD));
    tick(&t).await;
    let seen = async |id: &ReservationId| t.reservations().get(&s.alice, id).await.unwrap().reservation.provisioning;
    let state = seen(&reservation.id).await;
    assert_eq!(state.status, ProvisioningStatus::Ready);
    assert_eq!(state.access_info.unwrap().ip_address.as_deref(), Some(SECRETS[0]));
    assert_eq!(state.services[1].access_available_at, Some(reservation.start_time));
    // A deleted webhook keeps its setting.
    t.webhooks().delete(&s.root, webhook).await.unwrap();
    assert_eq!(seen(&reservation.id).await.services[1].access_info, None);
    set(&t, &s, AccessBeforeStart::Show).await;
    let state = seen(&reservation.id).await;
    assert_eq!((state.access_available_at, state.services[1].access_available_at), (None, None));
    assert!(state.services[1].access_info.is_some());
    assert_eq!(t.deliveries(&s.root, of_webhook(webhook)).await.len(), 1);
}
