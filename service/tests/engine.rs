//! The delivery engine: from the committed change to the recorded answer, on both databases, against a real receiver.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/receiver.rs"]
mod receiver;
mod support;

use chrono::{DateTime, Duration, Utc};
use domain::ProblemKind::*;
use domain::authorization::{Actor, Role};
use domain::delivery::{DeliveryFilter, DeliveryStatus::*, DeliverySummary, DiagnosisCode, Outcome, ReplayInput};
use domain::event::EventType;
use domain::id::{DeliveryId, ReservationId};
use domain::provisioning::ProvisioningStatus;
use domain::reservation::{ReservationPatch, ReservationStatus};
use domain::resource::ResourceStatus;
use domain::webhook::{ResumeInput, WebhookHealth, WebhookPatch, WebhookState};
use parking_lot::Mutex;
use receiver::{Answer, Receiver, drain, step, webhook_input};
use sea_orm::ConnectionTrait as _;
use serde_json::json;
use service::Service;
use service::outbox::{ClaimedDelivery, Lease, WebhookSet};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use support::{Engine, TestService, on_both_engines, open, postgres, refused};

on_both_engines![
    an_event_is_published_with_its_change,
    a_change_that_fails_publishes_nothing,
    a_webhook_may_sign_with_ed25519_too_and_a_rotation_renews_its_key,
    changes_of_settings_at_once_do_not_undo_each_other,
    retries_come_after_1_2_and_4_seconds_and_then_it_has_failed,
    a_receiver_may_ask_to_wait_longer,
    the_events_of_one_reservation_come_in_order_and_others_overtake,
    events_of_a_paused_webhook_are_kept,
    what_waited_can_be_dropped_on_resuming,
    deleting_a_webhook_cancels_what_waits,
    gone_disables_the_webhook,
    administrators_hear_of_a_bad_spell_once_and_of_its_end,
    a_lapsed_lease_is_taken_up_by_another,
    a_late_result_moves_nothing,
    a_late_result_is_not_taken_for_that_of_a_later_claim,
    room_is_free_when_a_request_ends_and_not_when_it_is_recorded,
    a_renewed_lease_holds,
    what_is_open_is_found_by_its_status,
    a_success_is_told_of_its_attempt,
    what_comes_to_stand_before_a_mark_is_claimed,
    what_is_handed_back_was_not_an_attempt,
    two_dispatchers_never_send_the_same,
    no_webhook_waits_for_anothers_backlog,
    a_webhook_gets_no_more_at_once_than_it_may,
    only_the_queues_with_work_are_looked_at,
    a_delivery_of_an_unknown_event_waits_and_keeps_nobody_busy,
    what_comes_due_soon_is_known,
    a_silent_receiver_is_probed_one_request_at_a_time,
    a_rate_limit_is_kept,
    odd_answers_are_recorded,
    the_direct_lane_needs_no_claim,
    a_closed_lane_loses_nothing,
    answers_drive_provisioning,
    answers_of_one_batch_count_in_their_order,
    who_only_listens_drives_nothing,
    a_late_answer_to_created_does_not_undo_the_release,
    a_first_answer_and_a_cancellation_at_once_end_in_the_release,
    a_redelivery_is_a_new_delivery_of_the_same_event,
    failed_deliveries_can_be_replayed_in_bulk,
    what_is_cancelled_leaves_no_reservation_waiting,
    one_transaction_publishes_and_cancels_any_number,
    events_wait_for_a_webhook_whose_secrets_cannot_be_opened,
    a_late_word_of_beginning_undoes_no_status_update,
];

/// An administrator, a user, a resource, a receiver and its webhook.
struct Stage {
    root: Actor,
    alice: Actor,
    resource: i64,
    receiver: Receiver,
    webhook: i64,
}

async fn stage(t: &TestService) -> Stage {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = Receiver::start().await;
    let webhook = t.webhook(&root, &receiver).await;
    Stage { root, alice, resource, receiver, webhook }
}

fn all() -> DeliveryFilter {
    DeliveryFilter::default()
}

fn title(text: &str) -> ReservationPatch {
    ReservationPatch { title: Some(text.into()), ..Default::default() }
}

fn to(webhook: i64) -> DeliveryFilter {
    DeliveryFilter { webhook_id: Some(webhook), ..Default::default() }
}

async fn an_event_is_published_with_its_change(t: TestService) {
    let s = stage(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let waiting = t.deliveries(&s.root, all()).await;
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].status, waiting[0].attempts, waiting[0].max_attempts), (Pending, 0, 4));
    drain(&t).await;
    let got = s.receiver.last();
    assert_eq!(s.receiver.count(), 1);
    assert_eq!(got.path, "/api/webhook/reservation");
    assert_eq!(got.event(), "reservation.created");
    assert_eq!(got.header("x-webhook-attempt"), "1");
    assert_eq!(got.header("x-webhook-delivery"), waiting[0].id.as_str());
    assert_eq!(got.header("webhook-id"), waiting[0].event_id.as_str());
    assert_eq!(got.header("content-type"), "application/json");
    let secret = domain::signature::Secret::parse("your-secret-key").unwrap();
    assert!(domain::signature::verify_body(&secret, &got.raw, got.header("x-webhook-signature")));
    assert_eq!(got.text("reservation_id"), reservation.id.as_str());
    assert_eq!(got.text("user_id"), "alice");
    assert_eq!(got.text("user_email"), "alice@example.com");
    assert_eq!(got.text("user_ssh_key"), "");
    assert_eq!(got.body["additional_config"], json!({}));
    assert_eq!(got.body["webhook_id"], s.webhook);
    assert_eq!(
        got.text("status_url"),
        format!("https://berth.example.com/api/v1/reservations/{}/status", reservation.id)
    );
    let detail = t.delivery(&s.root, &waiting[0].id).await;
    assert_eq!((detail.delivery.status, detail.delivery.status_code), (Succeeded, Some(200)));
    assert_eq!(detail.body.as_bytes(), &got.raw[..], "the log shows the exact bytes that were signed");
    assert_eq!(detail.attempt_log.len(), 1);
    assert_eq!(detail.attempt_log[0].request.body, detail.body);
}

async fn a_change_that_fails_publishes_nothing(t: TestService) {
    let s = stage(&t).await;
    t.booking(&s.alice, s.resource, 1, 3).await;
    let later = t.booking(&s.alice, s.resource, 5, 6).await;
    assert_eq!(t.deliveries(&s.root, all()).await.len(), 2);
    refused(t.reserve(&s.alice, t.span(s.resource, 2, 4)).await, Conflict);
    // Here the event is in the transaction already when the clash shows.
    let clash = ReservationPatch { start_time: Some(t.now() + Duration::hours(2)), ..Default::default() };
    refused(t.patch_reservation(&s.alice, &later.id, clash).await, Conflict);
    assert_eq!(t.deliveries(&s.root, all()).await.len(), 2);
    assert_eq!(t.get_reservation(&s.alice, &later.id).await.unwrap().reservation, later);
}

/// The `v1a` signatures of a request, checked against `key`: how many there are, and which of them fit.
fn fits(got: &receiver::Got, key: &str) -> (usize, Vec<usize>) {
    let decode = |text: &str| base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
    let key: [u8; 32] = decode(key.strip_prefix("whpk_").unwrap()).try_into().unwrap();
    let key = ed25519_dalek::VerifyingKey::from_bytes(&key).unwrap();
    let head = format!("{}.{}.", got.header("webhook-id"), got.header("webhook-timestamp"));
    let message = [head.as_bytes(), &got.raw].concat();
    let signatures: Vec<_> =
        got.header("webhook-signature").split(' ').filter_map(|one| one.strip_prefix("v1a,")).map(decode).collect();
    let fitting = signatures.iter().enumerate().filter(|(_, signature)| {
        key.verify_strict(&message, &ed25519_dalek::Signature::from_slice(signature).unwrap()).is_ok()
    });
    (signatures.len(), fitting.map(|(n, _)| n).collect())
}

async fn a_webhook_may_sign_with_ed25519_too_and_a_rotation_renews_its_key(t: TestService) {
    let s = stage(&t).await;
    let mut hour = 1;
    let mut send = async || {
        t.booking(&s.alice, s.resource, hour, hour + 1).await;
        hour += 1;
        drain(&t).await;
        s.receiver.last()
    };
    assert!(!send().await.header("webhook-signature").contains("v1a,"));
    let set = async |ed25519| {
        let patch = WebhookPatch { ed25519: Some(ed25519), ..Default::default() };
        t.patch_webhook(&s.root, s.webhook, patch).await.unwrap().public_key
    };
    let first = set(true).await.unwrap();
    assert_eq!(set(true).await.as_ref(), Some(&first), "turning on what is on keeps the key");
    let got = send().await;
    assert_eq!(fits(&got, &first), (1, vec![0]));
    assert!(got.header("webhook-signature").starts_with("v1,"), "the symmetric one stays, and comes first");
    let rotation = domain::webhook::RotateInput { overlap_hours: Some(1), secret: None };
    let second = t.rotate_secret(&s.root, s.webhook, rotation).await.unwrap().webhook.public_key.unwrap();
    assert_ne!(first, second);
    let got = send().await;
    assert_eq!((fits(&got, &second), fits(&got, &first)), ((2, vec![0]), (2, vec![1])));
    t.clock.advance(Duration::hours(1));
    let got = send().await;
    assert_eq!((fits(&got, &second), fits(&got, &first)), ((1, vec![0]), (1, vec![])));
    assert_eq!(set(false).await, None);
    assert!(!send().await.header("webhook-signature").contains("v1a,"));
}

async fn changes_of_settings_at_once_do_not_undo_each_other(t: TestService) {
    let s = stage(&t).await;
    t.ready_to_race().await;
    let name = WebhookPatch { name: Some("Renamed".into()), ..Default::default() };
    let limit = WebhookPatch { rate_limit: Some(Some(7)), ..Default::default() };
    let room = WebhookPatch { max_in_flight: Some(9), ..Default::default() };
    let key = WebhookPatch { ed25519: Some(true), ..Default::default() };
    let patches = [name, limit, room, key].map(|patch| t.patch_webhook(&s.root, s.webhook, patch));
    let rotation = domain::webhook::RotateInput { overlap_hours: Some(0), secret: Some("a-secret-of-my-own".into()) };
    let (patched, rotated) =
        futures::join!(futures::future::join_all(patches), t.rotate_secret(&s.root, s.webhook, rotation));
    patched.into_iter().for_each(|result| drop(result.unwrap()));
    rotated.unwrap();
    let webhook = t.get_webhook(&s.root, s.webhook).await.unwrap();
    assert_eq!((webhook.name.as_str(), webhook.rate_limit, webhook.max_in_flight), ("Renamed", Some(7), 9));
    assert_eq!(webhook.secret_hint, "-own");
    assert!(webhook.public_key.is_some());
}

async fn retries_come_after_1_2_and_4_seconds_and_then_it_has_failed(t: TestService) {
    let s = stage(&t).await;
    s.receiver.answer_status(500);
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let id = t.deliveries(&s.root, all()).await[0].id.clone();
    let owner = t.dispatcher();
    assert_eq!(step(&owner).await, 1);
    for (attempts, wait) in [(1, 1_000), (2, 2_000), (3, 4_000)] {
        let delivery = t.delivery(&s.root, &id).await.delivery;
        assert_eq!((delivery.status, delivery.attempts, delivery.status_code), (Retrying, attempts, Some(500)));
        assert_eq!(delivery.next_attempt_at, Some(t.now() + Duration::milliseconds(wait)));
        let still_waiting = t.get_reservation(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
        assert_eq!(still_waiting.status, ProvisioningStatus::Waiting);
        t.clock.advance(Duration::milliseconds(wait - 1));
        assert_eq!(step(&owner).await, 0, "nothing is sent before it is due");
        t.clock.advance(Duration::milliseconds(1));
        assert_eq!(step(&owner).await, 1);
    }
    let detail = t.delivery(&s.root, &id).await;
    assert_eq!((detail.delivery.status, detail.delivery.attempts), (Failed, 4));
    assert_eq!(detail.delivery.next_attempt_at, None);
    assert!(detail.delivery.problem.unwrap().contains("500"));
    assert_eq!(detail.attempt_log.iter().map(|a| a.attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    t.clock.advance(Duration::days(1));
    assert_eq!(step(&owner).await, 0);
    let got = s.receiver.got();
    assert_eq!(got.iter().map(|g| g.header("x-webhook-attempt")).collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    for name in ["webhook-id", "x-webhook-delivery"] {
        assert!(got.iter().all(|g| g.header(name) == got[0].header(name)), "{name} is stable across retries");
    }
    assert!(got.iter().all(|g| g.raw == got[0].raw));
    let provisioning = t.get_reservation(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
    assert_eq!(provisioning.status, ProvisioningStatus::Failed);
    assert!(provisioning.message.contains("500"), "{}", provisioning.message);
}

async fn a_receiver_may_ask_to_wait_longer(t: TestService) {
    let s = stage(&t).await;
    let asks = |status: u16, wait: &str| {
        let wait = wait.to_owned();
        move |_: &receiver::Got| Answer::Full { status, headers: vec![("retry-after", wait.clone())], body: Vec::new() }
    };
    let owner = t.dispatcher();
    for (n, (status, wait, expected)) in
        [(429, "60", 60), (503, "999999999999", 3_600), (503, "0", 1), (500, "60", 1), (429, "soon", 1)]
            .into_iter()
            .enumerate()
    {
        s.receiver.answer(asks(status, wait));
        let reservation = t.booking(&s.alice, s.resource, 10 + n as i64, 11 + n as i64).await;
        assert_eq!(step(&owner).await, 1);
        let filter = DeliveryFilter { reservation_id: Some(reservation.id.0), ..Default::default() };
        let next = t.deliveries(&s.root, filter).await[0].next_attempt_at;
        assert_eq!(next, Some(t.now() + Duration::seconds(expected)), "{status} with Retry-After {wait}");
    }
}

async fn the_events_of_one_reservation_come_in_order_and_others_overtake(t: TestService) {
    let s = stage(&t).await;
    let first = t.booking(&s.alice, s.resource, 1, 3).await;
    let troubled = first.id.0.clone();
    s.receiver.answer(move |got| Answer::Status(if got.text("reservation_id") == troubled { 500 } else { 200 }));
    let owner = t.dispatcher();
    assert_eq!(step(&owner).await, 1);
    t.patch_reservation(&s.alice, &first.id, title("Changed")).await.unwrap();
    t.cancel_reservation(&s.alice, &first.id, None).await.unwrap();
    t.booking(&s.alice, s.resource, 5, 6).await;
    assert_eq!(step(&owner).await, 1, "only the other reservation's event may go");
    assert_ne!(s.receiver.last().text("reservation_id"), first.id.as_str());
    assert_eq!(step(&owner).await, 0);
    // `created` fails for good after 1 + 2 + 4 s; only then `updated` goes, whose first attempt succeeds.
    for wait in [1, 2, 4] {
        t.clock.advance(Duration::seconds(wait));
        assert_eq!(step(&owner).await, 1);
        assert_eq!(s.receiver.last().event(), "reservation.created");
    }
    s.receiver.answer_status(200);
    assert_eq!(step(&owner).await, 1);
    assert_eq!(s.receiver.last().event(), "reservation.updated");
    assert_eq!(s.receiver.last().body["previous"], json!({"title": "Training"}));
    assert_eq!(step(&owner).await, 1);
    let last = s.receiver.last();
    assert_eq!((last.event(), last.path.as_str()), ("reservation.cancelled", "/api/webhook/reservation/cancel"));
    assert_eq!(last.text("cancelled_by"), "alice");
    assert_eq!(step(&owner).await, 0);
}

async fn events_of_a_paused_webhook_are_kept(t: TestService) {
    let s = stage(&t).await;
    let paused = t.pause_webhook(&s.root, s.webhook).await.unwrap();
    assert_eq!((paused.state, paused.enabled), (WebhookState::Paused, false));
    // The direct lane is closed to it too.
    let mut lane = t.dispatcher().open_fast_path();
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    t.patch_reservation(&s.alice, &reservation.id, title("Changed")).await.unwrap();
    assert!(lane.try_recv().is_err());
    t.dispatcher().close_fast_path();
    t.clock.advance(Duration::days(1));
    drain(&t).await;
    assert_eq!(s.receiver.count(), 0);
    assert!(t.deliveries(&s.root, all()).await.iter().all(|d| d.status == Pending));
    assert_eq!(t.get_webhook(&s.root, s.webhook).await.unwrap().summary.waiting, 2);
    t.resume_webhook(&s.root, s.webhook, ResumeInput { drop_pending: false }).await.unwrap();
    drain(&t).await;
    assert_eq!(
        s.receiver.got().iter().map(|g| g.event().to_owned()).collect::<Vec<_>>(),
        ["reservation.created", "reservation.updated"]
    );
}

async fn what_waited_can_be_dropped_on_resuming(t: TestService) {
    let s = stage(&t).await;
    t.pause_webhook(&s.root, s.webhook).await.unwrap();
    t.booking(&s.alice, s.resource, 1, 3).await;
    let mut feed = t.change_feed().subscribe();
    let resumed = t.resume_webhook(&s.root, s.webhook, ResumeInput { drop_pending: true }).await.unwrap();
    assert!(resumed.enabled);
    let dropped = &t.deliveries(&s.root, all()).await[0];
    assert_eq!((dropped.status, dropped.next_attempt_at), (Cancelled, None));
    let announced = std::iter::from_fn(|| feed.try_recv().ok())
        .any(|update| matches!(update, service::change_feed::Update::Change(change) if matches!(&*change, domain::change::Change::Delivery(d) if d.id == dropped.id && d.status == Cancelled)));
    assert!(announced, "the screens are told that it was dropped");
    t.booking(&s.alice, s.resource, 5, 6).await;
    drain(&t).await;
    assert_eq!(s.receiver.count(), 1, "what comes after is delivered");
}

async fn deleting_a_webhook_cancels_what_waits(t: TestService) {
    let s = stage(&t).await;
    s.receiver.answer_status(500);
    let first = t.booking(&s.alice, s.resource, 1, 3).await;
    t.patch_reservation(&s.alice, &first.id, title("Changed")).await.unwrap();
    let owner = t.dispatcher();
    let under_way = owner.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!(under_way.len(), 1);
    t.delete_webhook(&s.root, s.webhook).await.unwrap();
    refused(t.get_webhook(&s.root, s.webhook).await, NotFound);
    let finished = t.dispatcher().send_claimed(under_way).await;
    t.dispatcher().record_once(&finished).await.unwrap();
    drop(finished);
    // What was under way has failed and would be tried again, but there is nobody to try it with.
    t.dispatcher().reap_expired_leases(false).await.unwrap();
    let statuses: Vec<_> = t.deliveries(&s.root, all()).await.iter().map(|d| d.status).collect();
    assert_eq!(statuses, [Cancelled, Cancelled]);
    t.clock.advance(Duration::hours(1));
    drain(&t).await;
    assert_eq!(s.receiver.count(), 1);
    t.booking(&s.alice, s.resource, 5, 6).await;
    let log = t.deliveries(&s.root, all()).await;
    assert_eq!(log.len(), 2, "a deleted webhook is told nothing more");
    assert_eq!(log[0].webhook_name, "Provisioner", "the log keeps its name");
    refused(t.redeliver(&s.root, &log[0].id).await, Conflict);
}

async fn gone_disables_the_webhook(t: TestService) {
    let s = stage(&t).await;
    s.receiver.answer_status(410);
    t.booking(&s.alice, s.resource, 1, 3).await;
    drain(&t).await;
    let delivery = &t.deliveries(&s.root, all()).await[0];
    assert_eq!((delivery.status, delivery.attempts), (Failed, 1), "it is not tried again");
    let webhook = t.get_webhook(&s.root, s.webhook).await.unwrap();
    assert_eq!((webhook.state, webhook.enabled), (WebhookState::Gone, false));
    let told = t.notifications().list(&s.root).await.unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].message.contains("410"), "{}", told[0].message);
    assert_eq!(told[0].link.as_deref(), Some(format!("/settings/webhooks/{}", s.webhook).as_str()));
    assert!(t.notifications().list(&s.alice).await.unwrap().is_empty());
    t.booking(&s.alice, s.resource, 5, 6).await;
    drain(&t).await;
    assert_eq!(s.receiver.count(), 1, "its events are kept");
    s.receiver.answer_status(200);
    t.resume_webhook(&s.root, s.webhook, ResumeInput::default()).await.unwrap();
    drain(&t).await;
    assert_eq!(s.receiver.count(), 2);
}

async fn administrators_hear_of_a_bad_spell_once_and_of_its_end(t: TestService) {
    let s = stage(&t).await;
    let patch = WebhookPatch { retry: Some(domain::retry::RetryPolicy { delays: vec![] }), ..Default::default() };
    t.patch_webhook(&s.root, s.webhook, patch).await.unwrap();
    s.receiver.answer_status(500);
    for hour in 0..3 {
        t.booking(&s.alice, s.resource, 1 + hour, 2 + hour).await;
        drain(&t).await;
    }
    let messages = async || -> Vec<String> {
        t.notifications().list(&s.root).await.unwrap().into_iter().map(|n| n.message).collect()
    };
    assert_eq!(messages().await.len(), 1, "once for all failures");
    assert_eq!(t.get_webhook(&s.root, s.webhook).await.unwrap().summary.health, WebhookHealth::Failing);
    s.receiver.answer_status(200);
    t.booking(&s.alice, s.resource, 8, 9).await;
    drain(&t).await;
    assert_eq!(messages().await.len(), 2);
    assert!(messages().await[0].contains("succeed again"));
    // Success and failure by turns make no flood.
    for hour in 10..20 {
        s.receiver.answer_status(if hour % 2 == 0 { 500 } else { 200 });
        t.booking(&s.alice, s.resource, hour, hour + 1).await;
        drain(&t).await;
    }
    assert_eq!(messages().await.len(), 2);
    t.clock.advance(Duration::minutes(2));
    s.receiver.answer_status(500);
    t.booking(&s.alice, s.resource, 30, 31).await;
    drain(&t).await;
    assert_eq!(messages().await.len(), 3, "a new spell is told of");
}

async fn a_lapsed_lease_is_taken_up_by_another(t: TestService) {
    let s = stage(&t).await;
    t.booking(&s.alice, s.resource, 1, 3).await;
    let dead = t.dispatcher();
    let lost = dead.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!(lost.len(), 1);
    let sending = t.deliveries(&s.root, all()).await.remove(0);
    assert_eq!((sending.status, sending.attempts), (Sending, 1));
    // Its process ends here. The lease is the time-out (2 s in tests) and 15 s.
    drop(lost);
    let heir = t.dispatcher();
    t.clock.advance(Duration::seconds(17));
    assert_eq!(t.dispatcher().reap_expired_leases(false).await.unwrap(), 0);
    assert_eq!(step(&heir).await, 0);
    t.clock.advance(Duration::milliseconds(1));
    assert_eq!(t.dispatcher().reap_expired_leases(false).await.unwrap(), 1);
    assert_eq!(step(&heir).await, 1);
    assert_eq!(s.receiver.last().header("x-webhook-attempt"), "1", "an attempt without a result does not count");
    assert_eq!(t.deliveries(&s.root, all()).await[0].status, Succeeded);
    // After a crash, the only process of a database need not wait for its own leases.
    t.booking(&s.alice, s.resource, 5, 6).await;
    drop(dead.claim_once(&WebhookSet::All, 10).await.unwrap());
    assert_eq!(t.dispatcher().reap_expired_leases(true).await.unwrap(), 1);
    assert_eq!(step(&heir).await, 1);
}

async fn a_late_result_moves_nothing(t: TestService) {
    let s = stage(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let (slow, heir) = (t.dispatcher(), t.dispatcher());
    s.receiver.answer_status(500);
    let late = slow.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    let late = t.dispatcher().send_claimed(late).await;
    t.clock.advance(Duration::seconds(18));
    t.dispatcher().reap_expired_leases(false).await.unwrap();
    let taken_up = heir.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!(taken_up.len(), 1);
    // The first process was only slow: its result comes while the second is at it.
    assert!(t.dispatcher().record_once(&late).await.unwrap().due.is_empty());
    let delivery = t.deliveries(&s.root, all()).await.remove(0);
    assert_eq!(delivery.status, Sending);
    s.receiver.answer_status(200);
    let finished = t.dispatcher().send_claimed(taken_up).await;
    t.dispatcher().record_once(&finished).await.unwrap();
    // And once more, as after a commit whose answer was lost.
    t.dispatcher().record_once(&late).await.unwrap();
    t.dispatcher().record_once(&finished).await.unwrap();
    let detail = t.delivery(&s.root, &delivery.id).await;
    assert_eq!((detail.delivery.status, detail.delivery.attempts), (Succeeded, 1));
    assert_eq!(detail.attempt_log.len(), 1);
    assert_eq!(detail.attempt_log[0].outcome, Outcome::Succeeded, "the result that counted is the one that is shown");
    let provisioning = t.get_reservation(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
    assert_eq!(provisioning.status, ProvisioningStatus::Ready);
    let summary = t.get_webhook(&s.root, s.webhook).await.unwrap().summary;
    assert_eq!((summary.deliveries, summary.success_rate), (1, Some(1.0)));
}

/// A process that stalled takes its own lapsed delivery up again: two requests of one process for one attempt.
async fn a_late_result_is_not_taken_for_that_of_a_later_claim(t: TestService) {
    let s = stage(&t).await;
    t.booking(&s.alice, s.resource, 1, 3).await;
    let owner = t.dispatcher();
    s.receiver.answer_status(410);
    let first = owner.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    let first = t.dispatcher().send_claimed(first).await;
    t.clock.advance(Duration::seconds(18));
    assert_eq!(t.dispatcher().reap_expired_leases(false).await.unwrap(), 1);
    s.receiver.answer_status(200);
    let second = owner.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!((second.len(), second[0].request.attempt), (1, 1));
    t.dispatcher().record_once(&first).await.unwrap();
    assert_eq!(t.deliveries(&s.root, all()).await[0].status, Sending, "the second request is still under way");
    assert_eq!(t.get_webhook(&s.root, s.webhook).await.unwrap().state, WebhookState::Enabled);
    let second = t.dispatcher().send_claimed(second).await;
    t.dispatcher().record_once(&second).await.unwrap();
    assert_eq!(t.deliveries(&s.root, all()).await[0].status, Succeeded);
}

async fn room_is_free_when_a_request_ends_and_not_when_it_is_recorded(t: TestService) {
    let s = stage(&t).await;
    let patch = WebhookPatch { max_in_flight: Some(1), ..Default::default() };
    t.patch_webhook(&s.root, s.webhook, patch).await.unwrap();
    t.booking(&s.alice, s.resource, 1, 2).await;
    t.booking(&s.alice, s.resource, 2, 3).await;
    let owner = t.dispatcher();
    let first = owner.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!((first.len(), t.outbox().in_flight(), t.outbox().unrecorded()), (1, 1, 0));
    assert!(owner.claim_once(&WebhookSet::All, 10).await.unwrap().items.is_empty());
    let first = t.dispatcher().send_claimed(first).await;
    assert_eq!((t.outbox().in_flight(), t.outbox().unrecorded()), (0, 1));
    let second = owner.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!(second.len(), 1);
    t.dispatcher().record_once(&first).await.unwrap();
    drop(first);
    assert_eq!((t.outbox().in_flight(), t.outbox().unrecorded()), (1, 0));
}

async fn what_is_open_is_found_by_its_status(t: TestService) {
    let s = stage(&t).await;
    let owner = t.dispatcher();
    let mut made = Vec::new();
    t.booking(&s.alice, s.resource, 0, 1).await;
    drain(&t).await;
    s.receiver.answer_status(500);
    made.push(t.booking(&s.alice, s.resource, 1, 2).await);
    assert_eq!(step(&owner).await, 1);
    made.push(t.booking(&s.alice, s.resource, 2, 3).await);
    let under_way = owner.claim_once(&WebhookSet::All, 1).await.unwrap().items;
    assert_eq!(under_way.len(), 1);
    made.push(t.booking(&s.alice, s.resource, 3, 4).await);
    for (status, reservation) in [Retrying, Sending, Pending].into_iter().zip(&made) {
        let filter = DeliveryFilter { status: Some(status), ..Default::default() };
        let found = t.deliveries(&s.root, filter.clone()).await;
        assert_eq!(found.len(), 1, "{status:?}");
        assert_eq!((found[0].status, found[0].reservation_id.as_deref()), (status, Some(reservation.id.as_str())));
        let elsewhere = DeliveryFilter { webhook_id: Some(s.webhook + 1), ..filter };
        assert!(t.deliveries(&s.root, elsewhere).await.is_empty());
    }
    assert_eq!(t.deliveries(&s.root, all()).await.len(), 4);
}

/// Nothing is written into the log's row for a success: the log says what the attempt does.
async fn a_success_is_told_of_its_attempt(t: TestService) {
    let s = stage(&t).await;
    let owner = t.dispatcher();
    t.booking(&s.alice, s.resource, 0, 1).await;
    drain(&t).await;
    s.receiver.answer_status(500);
    let late = t.booking(&s.alice, s.resource, 1, 2).await;
    assert_eq!(step(&owner).await, 1);
    t.clock.advance(Duration::seconds(1));
    s.receiver.answer_status(202);
    let sent = t.now();
    assert_eq!(step(&owner).await, 1);
    let by = |status| DeliveryFilter { status: Some(status), ..all() };
    // Recorded long after it was answered: the feed and the log say the same of it.
    t.booking(&s.alice, s.resource, 4, 5).await;
    let claims = owner.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    let mut feed = t.change_feed().subscribe();
    let finished = t.dispatcher().send_claimed(claims).await;
    t.clock.advance(Duration::seconds(5));
    t.dispatcher().record_once(&finished).await.unwrap();
    let announced = std::iter::from_fn(|| feed.try_recv().ok()).find_map(|update| match update {
        service::change_feed::Update::Change(change) => match &*change {
            domain::change::Change::Delivery(delivery) => Some((**delivery).clone()),
            _ => None,
        },
        service::change_feed::Update::Resync => None,
    });
    assert_eq!(announced.as_ref(), t.deliveries(&s.root, by(Succeeded)).await.last());
    s.receiver.answer_status(410);
    t.booking(&s.alice, s.resource, 2, 3).await;
    assert_eq!(step(&owner).await, 1);
    let succeeded = t.deliveries(&s.root, by(Succeeded)).await;
    assert_eq!(
        succeeded.iter().map(|d| (d.attempts, d.status_code)).collect::<Vec<_>>(),
        [(1, Some(200)), (2, Some(202)), (1, Some(202))]
    );
    assert_eq!(succeeded[1].reservation_id.as_deref(), Some(late.id.as_str()));
    for delivery in &succeeded {
        assert_eq!((delivery.status, delivery.next_attempt_at, &delivery.problem), (Succeeded, None, &None));
    }
    assert!(succeeded[1].duration_ms.is_some() && succeeded[1].updated_at >= sent);
    assert_eq!(t.deliveries(&s.root, by(Failed)).await.len(), 1);
    for status in [Pending, Sending, Retrying, Cancelled] {
        assert!(t.deliveries(&s.root, by(status)).await.is_empty(), "{status:?}");
    }
    let everything = t.deliveries(&s.root, all()).await;
    assert_eq!(everything.iter().map(|d| d.status).collect::<Vec<_>>(), [Succeeded, Succeeded, Succeeded, Failed]);
    let detail = t.delivery(&s.root, &succeeded[1].id).await;
    assert_eq!(detail.delivery, succeeded[1]);
    assert_eq!(detail.attempt_log.iter().map(|a| a.status_code).collect::<Vec<_>>(), [Some(500), Some(202)]);
    let of_reservation = t.get_reservation(&s.alice, &late.id).await.unwrap().deliveries;
    assert_eq!(of_reservation, [succeeded[1].clone()]);
    let replay = ReplayInput { filter: by(Succeeded), dry_run: false };
    assert_eq!(t.replay(&s.root, &replay).await.unwrap().redelivered, 3);
    refused(t.redeliver(&s.root, &t.deliveries(&s.root, by(Pending)).await[0].id).await, Conflict);
}

async fn what_comes_to_stand_before_a_mark_is_claimed(t: TestService) {
    let s = stage(&t).await;
    let patch = WebhookPatch { max_in_flight: Some(2_000), ..Default::default() };
    t.patch_webhook(&s.root, s.webhook, patch).await.unwrap();
    for n in 0..60 {
        t.booking(&s.alice, s.resource, n, n + 1).await;
    }
    let owner = t.dispatcher();
    let database = t.database().await;
    // As another process does that hands its claims back.
    let requeue = async |leases: &[Lease]| {
        let seqs = leases.iter().map(|lease| lease.seq.to_string()).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "UPDATE outbox SET attempts = attempts - 1, lease_owner = NULL, lease_until = NULL WHERE seq IN ({seqs})"
        );
        database.execute_unprepared(&sql).await.unwrap();
    };
    let mut open = Vec::new();
    let mut claim = async |limit: u32| {
        let claim = owner.claim_once(&WebhookSet::All, limit).await.unwrap();
        let leases: Vec<Lease> = claim.items.iter().map(|claimed| claimed.lease.clone()).collect();
        open.extend(claim.items);
        leases
    };
    let first = claim(4).await;
    claim(4).await;
    requeue(&first).await;
    // In the crowd, among those that are due no earlier.
    let mut claims = 0;
    loop {
        claims += 1;
        let leases = claim(4).await;
        assert_eq!(leases.len(), 4);
        if leases.iter().map(|lease| lease.seq).eq(first.iter().map(|lease| lease.seq)) {
            break;
        }
        assert!(claims < 10, "what was put back waits behind everything else");
    }
    // And at once where nothing else is left to do.
    let second = claim(4).await;
    let left = 60 - 8 - 4 * (claims - 1) - 4;
    requeue(&second[..2]).await;
    assert_eq!(claim(60).await.len(), left + 2);
    assert!(claim(60).await.is_empty());
}

async fn a_renewed_lease_holds(t: TestService) {
    let s = stage(&t).await;
    t.booking(&s.alice, s.resource, 1, 3).await;
    let owner = t.dispatcher();
    let claims = owner.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    for _ in 0..5 {
        t.clock.advance(Duration::seconds(10));
        t.outbox().renew(&[claims[0].lease.clone()]).await.unwrap();
        assert_eq!(t.dispatcher().reap_expired_leases(false).await.unwrap(), 0);
    }
    let anothers = Lease { token: "another/0".into(), ..claims[0].lease.clone() };
    t.outbox().renew(&[anothers]).await.unwrap();
    t.clock.advance(Duration::seconds(18));
    assert_eq!(t.dispatcher().reap_expired_leases(false).await.unwrap(), 1, "nobody renews another's lease");
}

async fn what_is_handed_back_was_not_an_attempt(t: TestService) {
    let s = stage(&t).await;
    s.receiver.answer_status(500);
    t.booking(&s.alice, s.resource, 1, 3).await;
    let owner = t.dispatcher();
    step(&owner).await;
    t.clock.advance(Duration::seconds(1));
    let claims = owner.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    let leases: Vec<Lease> = claims.iter().map(|c| c.lease.clone()).collect();
    let anothers: Vec<Lease> = leases.iter().map(|l| Lease { token: "another/0".into(), ..l.clone() }).collect();
    t.outbox().release(&anothers).await.unwrap();
    assert_eq!(t.deliveries(&s.root, all()).await[0].status, Sending, "nobody hands back what another holds");
    t.outbox().release(&leases).await.unwrap();
    let delivery = &t.deliveries(&s.root, all()).await[0];
    assert_eq!((delivery.status, delivery.attempts), (Retrying, 1));
    step(&t.dispatcher()).await;
    assert_eq!(s.receiver.last().header("x-webhook-attempt"), "2");
}

async fn two_dispatchers_never_send_the_same(t: TestService) {
    let s = stage(&t).await;
    for n in 0..60 {
        let reservation = t.booking(&s.alice, s.resource, n, n + 1).await;
        if n % 3 == 0 {
            t.patch_reservation(&s.alice, &reservation.id, title("Changed")).await.unwrap();
        }
    }
    // On PostgreSQL two processes, on SQLite two dispatchers of one.
    let other = if t.is_postgres() { t.replica().await } else { t.service.clone() };
    let work = async |service: &service::Service| {
        let owner = service.dispatcher();
        let mut idle = 0;
        while idle < 3 {
            let claims = owner.claim_once(&WebhookSet::All, 7).await.unwrap().items;
            idle = if claims.is_empty() { idle + 1 } else { 0 };
            let finished = service.dispatcher().send_claimed(claims).await;
            if !finished.is_empty() {
                service.dispatcher().record_once(&finished).await.unwrap();
            }
        }
    };
    tokio::join!(work(&t), work(&other), work(&other));
    let deliveries = t.deliveries(&s.root, all()).await;
    assert_eq!(deliveries.len(), 80);
    assert!(deliveries.iter().all(|d| d.status == Succeeded && d.attempts == 1));
    let got = s.receiver.got();
    let distinct: HashSet<_> = got.iter().map(|g| g.header("x-webhook-delivery").to_owned()).collect();
    assert_eq!((got.len(), distinct.len()), (80, 80));
    let mut seen = HashSet::new();
    for request in &got {
        let created = request.event() == "reservation.created";
        assert_eq!(seen.insert(request.text("reservation_id").to_owned()), created, "created comes before updated");
    }
}

async fn no_webhook_waits_for_anothers_backlog(t: TestService) {
    let s = stage(&t).await;
    let mut greedy = webhook_input(&s.receiver.url);
    greedy.max_in_flight = Some(2_000);
    // One that is registered before the other two, and one after them.
    let patch = WebhookPatch { max_in_flight: Some(2_000), ..Default::default() };
    t.patch_webhook(&s.root, s.webhook, patch).await.unwrap();
    let modest = t.webhook(&s.root, &s.receiver).await;
    let last = t.create_webhook(&s.root, greedy).await.unwrap().webhook.id;
    for n in 0..60 {
        t.booking(&s.alice, s.resource, n, n + 1).await;
    }
    for _ in 0..3 {
        let owner = t.dispatcher();
        let claim = owner.claim_once(&WebhookSet::All, 12).await.unwrap();
        let mut share: HashMap<i64, usize> = HashMap::new();
        for item in &claim.items {
            *share.entry(item.webhook_id()).or_default() += 1;
        }
        assert_eq!(share, HashMap::from([(s.webhook, 4), (modest, 4), (last, 4)]));
        assert_eq!(claim.blocked, WebhookSet::All);
    }
    // Fewer places than webhooks: each gets its turn within as many claims as there are webhooks.
    let mut served = HashSet::new();
    for _ in 0..3 {
        let claim = t.dispatcher().claim_once(&WebhookSet::All, 1).await.unwrap();
        assert_eq!(claim.items.len(), 1);
        served.insert(claim.items[0].webhook_id());
    }
    assert_eq!(served.len(), 3);
}

/// More than one statement can take parameters.
async fn one_transaction_publishes_and_cancels_any_number(t: TestService) {
    let s = stage(&t).await;
    for _ in 1..40 {
        t.webhook(&s.root, &s.receiver).await;
    }
    // The first has a transaction of its own; those that come while it is written share the next.
    let bookings = (0..100).map(|n| t.booking(&s.alice, s.resource, n, n + 1));
    futures::future::join_all(bookings).await;
    let database = t.database().await;
    let count = async |sql: &str| {
        let row = database.query_one_raw(sea_orm::Statement::from_string(database.get_database_backend(), sql)).await;
        row.unwrap().unwrap().try_get_by_index::<i64>(0).unwrap()
    };
    assert_eq!(count("SELECT COUNT(*) FROM outbox").await, 4_000);
    assert_eq!(count("SELECT COUNT(*) FROM deliveries").await, 4_000);
    // As many again, and all of one webhook: what a long outage of its service leaves.
    let more = "INSERT INTO reservations (id, username, resource_id, title, start_at, end_at, user_ssh_key, additional_config, status, cancel_reason, provisioning, created_at, updated_at)
         SELECT 'res_' || n.seq || '_' || v.id, v.username, v.resource_id, v.title, v.start_at, v.end_at, v.user_ssh_key, v.additional_config, 'cancelled', '', REPLACE(v.provisioning, '\"waiting\"', '\"releasing\"'), v.created_at, v.updated_at
         FROM reservations v CROSS JOIN (SELECT seq FROM outbox ORDER BY seq LIMIT 400) n";
    database.execute_unprepared(more).await.unwrap();
    let more = "INSERT INTO provisioning (reservation_id, state) SELECT id, provisioning FROM reservations WHERE status = 'cancelled'";
    database.execute_unprepared(more).await.unwrap();
    let more = format!(
        "INSERT INTO deliveries (id, event_id, event_type, webhook_id, ordering_key, reservation_id, body, status, attempts, max_attempts, test, created_at, updated_at)
         SELECT 'dlv_' || v.id, 'evt_' || v.id, 'reservation.cancelled', {0}, v.id, v.id, '{{}}', 'pending', 0, 4, (SELECT test FROM deliveries LIMIT 1), 0, 0 FROM reservations v WHERE v.status = 'cancelled'",
        s.webhook
    );
    database.execute_unprepared(&more).await.unwrap();
    let more = "INSERT INTO outbox (seq, webhook_id, ordering_key, due_at, attempts, updated_at)
         SELECT seq, webhook_id, ordering_key, 0, 0, 0 FROM deliveries WHERE event_type = 'reservation.cancelled'";
    database.execute_unprepared(more).await.unwrap();
    let releasing = "SELECT COUNT(*) FROM provisioning WHERE state LIKE '%releasing%'";
    assert_eq!(count(releasing).await, 40_000);
    t.delete_webhook(&s.root, s.webhook).await.unwrap();
    assert_eq!(count("SELECT COUNT(*) FROM deliveries WHERE status = 'cancelled'").await, 40_100);
    assert_eq!(count("SELECT COUNT(*) FROM outbox").await, 3_900);
    assert_eq!(count(releasing).await, 0);
}

async fn a_webhook_gets_no_more_at_once_than_it_may(t: TestService) {
    let s = stage(&t).await;
    let patch = WebhookPatch { max_in_flight: Some(3), ..Default::default() };
    t.patch_webhook(&s.root, s.webhook, patch).await.unwrap();
    for n in 0..8 {
        t.booking(&s.alice, s.resource, n, n + 1).await;
    }
    let owner = t.dispatcher();
    let mut first = owner.claim_once(&WebhookSet::All, 100).await.unwrap();
    assert_eq!((first.items.len(), first.blocked), (3, s.webhook.into()));
    let second = owner.claim_once(&WebhookSet::All, 100).await.unwrap();
    assert_eq!((second.items.len(), second.blocked), (0, s.webhook.into()));
    first.items.pop();
    assert_eq!(
        owner.claim_once(&WebhookSet::All, 100).await.unwrap().items.len(),
        1,
        "a place that is given back is taken again"
    );
    // The direct lane has no more room than the queue.
    let rest = owner.claim_once(&WebhookSet::All, 100).await.unwrap();
    let mut lane = owner.open_fast_path();
    t.booking(&s.alice, s.resource, 20, 21).await;
    t.booking(&s.alice, s.resource, 21, 22).await;
    let direct: usize = std::iter::from_fn(|| lane.try_recv().ok()).map(|claims| claims.len()).sum();
    assert_eq!(direct + rest.items.len() + first.items.len(), 3);
}

/// Whose deliveries are due, as soon as that is told.
async fn wait_for_wakeup(t: &TestService) -> WebhookSet {
    tokio::time::timeout(std::time::Duration::from_secs(20), t.change_feed().wait_for_wakeup())
        .await
        .expect("nobody was told")
}

/// Who is woken is told whose deliveries are due, and claims those alone.
async fn only_the_queues_with_work_are_looked_at(t: TestService) {
    let s = stage(&t).await;
    let other = t.webhook(&s.root, &s.receiver).await;
    let patch = WebhookPatch { max_in_flight: Some(2), ..Default::default() };
    t.patch_webhook(&s.root, s.webhook, patch).await.unwrap();
    let both: WebhookSet = [s.webhook, other].into_iter().collect();
    assert_eq!(wait_for_wakeup(&t).await, both, "their settings are new");
    let mut reservations = Vec::new();
    for n in 0..3 {
        reservations.push(t.booking(&s.alice, s.resource, n, n + 1).await);
    }
    assert_eq!(wait_for_wakeup(&t).await, both);
    let owner = t.dispatcher();
    let claim = owner.claim_once(&s.webhook.into(), 10).await.unwrap();
    assert!(claim.items.len() == 2 && claim.items.iter().all(|item| item.webhook_id() == s.webhook));
    assert_eq!(claim.blocked, s.webhook.into(), "the third waits for the end of one of these");
    let again = owner.claim_once(&s.webhook.into(), 10).await.unwrap();
    assert_eq!((again.items.len(), again.blocked), (0, s.webhook.into()));
    let others = owner.claim_once(&other.into(), 10).await.unwrap();
    assert!(others.items.len() == 3 && others.items.iter().all(|item| item.webhook_id() == other));
    assert_eq!(others.blocked, WebhookSet::empty());
    // The end of an event tells whose next one may go.
    t.cancel_reservation(&s.alice, &reservations[0].id, None).await.unwrap();
    assert_eq!(wait_for_wakeup(&t).await, both);
    let mut finished = t.dispatcher().send_claimed(others.items).await;
    finished.sort_by_key(|finished| finished.lease().seq);
    t.dispatcher().record_once(&finished).await.unwrap();
    assert_eq!(wait_for_wakeup(&t).await, other.into());
    let next = owner.claim_once(&other.into(), 10).await.unwrap().items;
    assert_eq!(next.len(), 1);
    // A retry tells whose it is.
    s.receiver.answer_status(500);
    let recorded = t.dispatcher().record_once(&t.dispatcher().send_claimed(next).await).await.unwrap();
    assert_eq!(recorded.due.iter().map(|(_, webhook)| *webhook).collect::<Vec<_>>(), [other]);
}

/// An event of a later version, after going back to this one.
async fn a_delivery_of_an_unknown_event_waits_and_keeps_nobody_busy(t: TestService) {
    let s = stage(&t).await;
    t.booking(&s.alice, s.resource, 1, 2).await;
    t.booking(&s.alice, s.resource, 2, 3).await;
    let database = t.database().await;
    let first = "SELECT MIN(seq) FROM deliveries";
    let unknown = format!("UPDATE deliveries SET event_type = 'reservation.moved' WHERE seq = ({first})");
    database.execute_unprepared(&unknown).await.unwrap();
    let patch = WebhookPatch { max_in_flight: Some(1), ..Default::default() };
    t.patch_webhook(&s.root, s.webhook, patch).await.unwrap();
    wait_for_wakeup(&t).await;
    let first_claim = t.dispatcher().claim_once(&WebhookSet::All, 10).await.unwrap();
    assert_eq!(
        (first_claim.items.len(), first_claim.blocked),
        (0, WebhookSet::empty()),
        "it is no reason to look again"
    );
    let claim = t.dispatcher().claim_once(&WebhookSet::All, 10).await.unwrap();
    assert_eq!(claim.items.len(), 1, "it stands in nobody's way");
    let told = tokio::time::timeout(std::time::Duration::ZERO, t.change_feed().wait_for_wakeup()).await;
    assert!(told.is_err(), "who is told claims it again at once: {told:?}");
    drop(claim.items);
    let waiting = format!("SELECT attempts FROM outbox WHERE lease_owner IS NULL AND seq = ({first})");
    let waiting = sea_orm::Statement::from_string(database.get_database_backend(), waiting);
    let row = database.query_one_raw(waiting).await.unwrap().expect("it waits");
    assert_eq!(row.try_get_by_index::<i32>(0).unwrap(), 0);
    // After going forward again.
    let known = unknown.replace("reservation.moved", "reservation.created");
    database.execute_unprepared(&known).await.unwrap();
    t.clock.advance(Duration::minutes(1));
    assert_eq!(t.dispatcher().claim_once(&WebhookSet::All, 10).await.unwrap().items.len(), 1);
}

/// Retries that another process recorded.
async fn what_comes_due_soon_is_known(t: TestService) {
    let s = stage(&t).await;
    s.receiver.answer_status(500);
    t.booking(&s.alice, s.resource, 1, 2).await;
    t.booking(&s.alice, s.resource, 2, 3).await;
    assert_eq!(step(&t.dispatcher()).await, 2);
    let soon = async |seconds| t.outbox().due_within(std::time::Duration::from_secs(seconds)).await.unwrap();
    let due = t.now() + Duration::seconds(1);
    assert_eq!(soon(5).await, [(due, s.webhook)]);
    t.clock.advance(Duration::milliseconds(500));
    assert_eq!(soon(5).await, [(due, s.webhook)]);
    assert_eq!(soon(0).await, []);
    let queue = t.outbox().stats().await.unwrap();
    assert_eq!((queue.queued, queue.lag), (2, std::time::Duration::ZERO));
    t.clock.advance(Duration::seconds(2));
    assert_eq!(soon(5).await, [], "it is due already");
    let queue = t.outbox().stats().await.unwrap();
    assert_eq!((queue.queued, queue.lag), (2, std::time::Duration::from_millis(1_500)));
    t.patch_webhook(&s.root, s.webhook, WebhookPatch { enabled: Some(false), ..Default::default() }).await.unwrap();
    let queue = t.outbox().stats().await.unwrap();
    assert_eq!((queue.queued, queue.lag), (2, std::time::Duration::ZERO), "nobody is late for a paused webhook");
}

async fn a_silent_receiver_is_probed_one_request_at_a_time(t: TestService) {
    let s = stage(&t).await;
    // A port where nothing listens.
    let nowhere = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let patch = |url: &str| WebhookPatch { endpoint_url: Some(url.to_owned()), ..Default::default() };
    t.patch_webhook(&s.root, s.webhook, patch(&nowhere)).await.unwrap();
    for n in 0..30 {
        t.booking(&s.alice, s.resource, n, n + 1).await;
    }
    let owner = t.dispatcher();
    assert_eq!(step(&owner).await, 30, "the first requests go together");
    t.clock.advance(Duration::seconds(1));
    assert_eq!(step(&owner).await, 1);
    assert_eq!(step(&owner).await, 1, "one at a time, but it goes on");
    t.patch_webhook(&s.root, s.webhook, patch(&s.receiver.url)).await.unwrap();
    assert_eq!(step(&owner).await, 1);
    assert_eq!(step(&owner).await, 27, "an answer closes the breaker");
}

async fn a_rate_limit_is_kept(t: TestService) {
    let s = stage(&t).await;
    let patch = WebhookPatch { rate_limit: Some(Some(5)), ..Default::default() };
    t.patch_webhook(&s.root, s.webhook, patch).await.unwrap();
    for n in 0..14 {
        t.booking(&s.alice, s.resource, n, n + 1).await;
    }
    let owner = t.dispatcher();
    assert_eq!(step(&owner).await, 5);
    let claim = owner.claim_once(&WebhookSet::All, 10).await.unwrap();
    assert!(claim.blocked.contains(s.webhook), "it is to be asked again soon");
    assert_eq!(step(&owner).await, 0);
    t.clock.advance(Duration::milliseconds(400));
    assert_eq!(step(&owner).await, 2);
    t.clock.advance(Duration::hours(1));
    assert_eq!(step(&owner).await, 5, "what was not used is not saved up");
}

async fn odd_answers_are_recorded(t: TestService) {
    let s = stage(&t).await;
    let nul = br#"{"status":"su\u0000ccess","message":"a\u0000b","details":{"a\u0000":["\u0000"],"access_info":{"username":"u\u0000"}},"x\u0000":"\u0000"}"#;
    let long =
        json!({"message": "é".repeat(60_000 / 2), "details": {"estimated_ready_time": "x".repeat(4_000)}}).to_string();
    let answers: Vec<(u16, Vec<u8>, &str)> = vec![
        (200, nul.to_vec(), "NUL escaped"),
        (200, b"\0\0\0".to_vec(), "NUL"),
        (500, br#"{"detail":"a\u0000b\ud83d"}"#.to_vec(), "an error with NUL"),
        (500, vec![0, 159, 146, 150, 0xff], "invalid UTF-8"),
        (200, b"<html><body>It works</body></html>".to_vec(), "HTML"),
        (200, long.into_bytes(), "long"),
        (200, vec![b'x'; 1_000_000], "too long"),
        (200, br#"[1,2,3]"#.to_vec(), "an array"),
        (200, b"".to_vec(), "nothing"),
        (200, "[".repeat(50_000).into_bytes(), "nested"),
    ];
    for (n, (status, body, what)) in answers.into_iter().enumerate() {
        let n = n as i64;
        s.receiver.answer(move |_| Answer::Full { status, headers: Vec::new(), body: body.clone() });
        let reservation = t.booking(&s.alice, s.resource, n, n + 1).await;
        let owner = t.dispatcher();
        assert_eq!(step(&owner).await, 1, "{what}");
        let filter = DeliveryFilter { reservation_id: Some(reservation.id.0.clone()), ..Default::default() };
        let delivery = t.deliveries(&s.root, filter).await.remove(0);
        let expected = if what == "too long" || status == 500 { Retrying } else { Succeeded };
        assert_eq!(delivery.status, expected, "{what}");
        let detail = t.delivery(&s.root, &delivery.id).await;
        let response = detail.attempt_log[0].response.as_ref().unwrap();
        assert!(response.body.len() <= 3 * 64 * 1024 && !response.body.contains('\0'), "{what}");
        if what == "too long" {
            assert!(response.truncated);
            assert_eq!(detail.attempt_log[0].diagnosis.code, DiagnosisCode::ResponseTooLarge);
        }
        let provisioning = t.get_reservation(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
        assert!(provisioning.message.chars().count() <= 500, "{what}");
    }
}

async fn the_direct_lane_needs_no_claim(t: TestService) {
    let s = stage(&t).await;
    let owner = t.dispatcher();
    let mut lane = owner.open_fast_path();
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let sending = t.deliveries(&s.root, all()).await.remove(0);
    assert_eq!((sending.status, sending.attempts), (Sending, 1), "it is on its way when the reservation is answered");
    t.patch_reservation(&s.alice, &reservation.id, title("Changed")).await.unwrap();
    assert_eq!(step(&owner).await, 0, "what comes after it waits for it");
    let direct = lane.try_recv().unwrap();
    let finished = t.dispatcher().send_claimed(direct).await;
    t.dispatcher().record_once(&finished).await.unwrap();
    assert_eq!(step(&owner).await, 1);
    assert_eq!(
        s.receiver.got().iter().map(|g| g.event().to_owned()).collect::<Vec<_>>(),
        ["reservation.created", "reservation.updated"]
    );
    // Its lease lapses like any other.
    t.booking(&s.alice, s.resource, 5, 6).await;
    drop(lane);
    t.clock.advance(Duration::seconds(18));
    assert_eq!(t.dispatcher().reap_expired_leases(false).await.unwrap(), 1);
}

async fn a_closed_lane_loses_nothing(t: TestService) {
    let s = stage(&t).await;
    drop(t.dispatcher().open_fast_path());
    t.booking(&s.alice, s.resource, 1, 3).await;
    assert_eq!(t.deliveries(&s.root, all()).await[0].status, Pending);
    drain(&t).await;
    assert_eq!(s.receiver.count(), 1);
}

async fn answers_drive_provisioning(t: TestService) {
    let s = stage(&t).await;
    let state =
        async |id: &domain::id::ReservationId| t.get_reservation(&s.alice, id).await.unwrap().reservation.provisioning;
    s.receiver.answer_json(202, json!({"message": "At work"}));
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    assert_eq!(state(&reservation.id).await.status, ProvisioningStatus::Waiting);
    let mut feed = t.change_feed().subscribe();
    drain(&t).await;
    assert_eq!(state(&reservation.id).await.status, ProvisioningStatus::Provisioning);
    assert_eq!(state(&reservation.id).await.message, "At work");
    let announced: Vec<_> = std::iter::from_fn(|| feed.try_recv().ok())
        .filter_map(|update| match update {
            service::change_feed::Update::Change(change) => match &*change {
                domain::change::Change::Delivery(d) => Some(d.status.as_str()),
                domain::change::Change::Reservation(r) => Some(r.provisioning.status.as_str()),
                _ => None,
            },
            service::change_feed::Update::Resync => None,
        })
        .collect();
    assert_eq!(announced, ["sending", "provisioning", "succeeded"]);
    s.receiver.answer_json(
        200,
        json!({"status": "success", "message": "Done", "details": {"cluster_id": "c-1", "estimated_ready_time": "5 minutes",
            "access_info": {"ip_address": "192.0.2.1", "port": 22, "username": "user-alice", "connection_command": "ssh user-alice@192.0.2.1"}}}),
    );
    t.patch_reservation(&s.alice, &reservation.id, title("Changed")).await.unwrap();
    drain(&t).await;
    let ready = state(&reservation.id).await;
    assert_eq!(ready.status, ProvisioningStatus::Ready);
    assert_eq!(ready.access_info.unwrap().connection_command.as_deref(), Some("ssh user-alice@192.0.2.1"));
    assert_eq!(ready.estimated_ready_time.as_deref(), Some("5 minutes"));
    let cancelled = t.cancel_reservation(&s.alice, &reservation.id, Some("No need".into())).await.unwrap();
    assert_eq!(cancelled.provisioning.status, ProvisioningStatus::Releasing);
    drain(&t).await;
    assert_eq!(s.receiver.last().text("reason"), "No need");
    assert_eq!(state(&reservation.id).await.status, ProvisioningStatus::Released);
    // With nobody to tell, there is nothing to wait for.
    t.delete_webhook(&s.root, s.webhook).await.unwrap();
    let alone = t.booking(&s.alice, s.resource, 5, 6).await;
    let cancelled = t.cancel_reservation(&s.alice, &alone.id, None).await.unwrap();
    assert_eq!(cancelled.provisioning.status, ProvisioningStatus::Released);
}

async fn answers_of_one_batch_count_in_their_order(t: TestService) {
    let s = stage(&t).await;
    let other = Receiver::start().await;
    t.webhook(&s.root, &other).await;
    let owner = t.dispatcher();
    let deliver = async || {
        let mut claims = owner.claim_once(&WebhookSet::All, 10).await.unwrap().items;
        // Events of one transaction are numbered in no order of their webhooks.
        claims.sort_by_key(|claim| claim.webhook_id());
        let finished = t.dispatcher().send_claimed(claims).await;
        t.dispatcher().record_once(&finished).await.unwrap();
        finished.len()
    };
    let state = async |id: &domain::id::ReservationId| {
        let now = t.get_reservation(&s.alice, id).await.unwrap().reservation.provisioning;
        (now.status, now.message)
    };
    // The second webhook's answer finds what the first one's said, in the same batch.
    s.receiver.answer_json(202, json!({"message": "At work"}));
    other.answer_json(200, json!({"status": "success", "message": "Done"}));
    let first = t.booking(&s.alice, s.resource, 1, 2).await;
    let second = t.booking(&s.alice, s.resource, 3, 4).await;
    assert_eq!(deliver().await, 4);
    for reservation in [&first, &second] {
        assert_eq!(state(&reservation.id).await, (ProvisioningStatus::Ready, "Done".into()));
    }
    // One that nothing was said of, beside one that has been told of before.
    s.receiver.answer_json(200, json!({"status": "success", "message": "Done too"}));
    other.answer_json(200, json!({"status": "success", "message": "All done"}));
    t.patch_reservation(&s.alice, &first.id, title("Changed")).await.unwrap();
    let third = t.booking(&s.alice, s.resource, 5, 6).await;
    assert_eq!(deliver().await, 4);
    for reservation in [&first, &third] {
        assert_eq!(state(&reservation.id).await, (ProvisioningStatus::Ready, "All done".into()));
    }
    assert_eq!(state(&second.id).await, (ProvisioningStatus::Ready, "Done".into()));
    // A failure that came before an answer does not outlast it.
    s.receiver.answer_status(410);
    let last = t.booking(&s.alice, s.resource, 7, 8).await;
    assert_eq!(deliver().await, 2);
    assert_eq!(state(&last.id).await, (ProvisioningStatus::Ready, "All done".into()));
}

async fn who_only_listens_drives_nothing(t: TestService) {
    let s = stage(&t).await;
    let patch = WebhookPatch { provisions: Some(false), ..Default::default() };
    assert!(!t.patch_webhook(&s.root, s.webhook, patch).await.unwrap().provisions);
    let status = async |id| t.get_reservation(&s.alice, id).await.unwrap().reservation.provisioning.status;
    s.receiver.answer_status(410);
    let failing = t.booking(&s.alice, s.resource, 1, 2).await;
    drain(&t).await;
    assert_eq!(t.deliveries(&s.root, all()).await[0].status, Failed);
    assert_eq!(status(&failing.id).await, ProvisioningStatus::Waiting);
    // Nobody provisions, so nobody has to release.
    t.cancel_reservation(&s.alice, &failing.id, None).await.unwrap();
    assert_eq!(status(&failing.id).await, ProvisioningStatus::Released);

    // Beside one that provisions.
    t.resume_webhook(&s.root, s.webhook, ResumeInput { drop_pending: true }).await.unwrap();
    let other = Receiver::start().await;
    let provisioner = t.webhook(&s.root, &other).await;
    s.receiver.answer_status(200);
    other.answer_status(202);
    let reservation = t.booking(&s.alice, s.resource, 3, 4).await;
    drain(&t).await;
    assert_eq!((s.receiver.last().event(), other.last().event()), ("reservation.created", "reservation.created"));
    assert_eq!(status(&reservation.id).await, ProvisioningStatus::Provisioning);
    let body = json!({"status": "ready", "timestamp": t.now()}).to_string();
    let secret = domain::signature::Secret::parse("your-secret-key").unwrap();
    let signature = domain::signature::sign_body(&secret, body.as_bytes());
    let update = async |webhook: i64| {
        t.status_update(&reservation.id, Some(&webhook.to_string()), Some(&signature), body.as_bytes()).await
    };
    refused(update(s.webhook).await, Forbidden);
    assert_eq!(update(provisioner).await.unwrap().status, ProvisioningStatus::Ready);
}

async fn a_first_answer_and_a_cancellation_at_once_end_in_the_release(t: TestService) {
    let s = stage(&t).await;
    let reservations = futures::future::join_all((0..60).map(|n| t.booking(&s.alice, s.resource, n, n + 1))).await;
    let claims = t.dispatcher().claim_once(&WebhookSet::All, 100).await.unwrap().items;
    let mut finished = t.dispatcher().send_claimed(claims).await;
    // Two batches at once, as they are recorded on PostgreSQL.
    let later = finished.split_off(30);
    let cancellations =
        futures::future::join_all(reservations.iter().step_by(2).map(|r| t.cancel_reservation(&s.alice, &r.id, None)));
    let recorder = t.dispatcher();
    let (first, second, cancelled) =
        futures::join!(recorder.record_once(&finished), recorder.record_once(&later), cancellations);
    first.unwrap();
    second.unwrap();
    assert!(cancelled.iter().all(Result::is_ok));
    for (n, reservation) in reservations.iter().enumerate() {
        let state = t.get_reservation(&s.alice, &reservation.id).await.unwrap().reservation.provisioning.status;
        let expected = if n % 2 == 0 { ProvisioningStatus::Releasing } else { ProvisioningStatus::Ready };
        assert_eq!(state, expected, "reservation {n}");
    }
}

async fn a_late_answer_to_created_does_not_undo_the_release(t: TestService) {
    let s = stage(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let owner = t.dispatcher();
    let claims = owner.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    let cancelled = t.cancel_reservation(&s.alice, &reservation.id, None).await.unwrap();
    assert_eq!(cancelled.provisioning.status, ProvisioningStatus::Releasing);
    let finished = t.dispatcher().send_claimed(claims).await;
    t.dispatcher().record_once(&finished).await.unwrap();
    let after = t.get_reservation(&s.alice, &reservation.id).await.unwrap().reservation;
    assert_eq!(
        (after.status, after.provisioning.status),
        (ReservationStatus::Cancelled, ProvisioningStatus::Releasing)
    );
    drain(&t).await;
    let after = t.get_reservation(&s.alice, &reservation.id).await.unwrap().reservation;
    assert_eq!(after.provisioning.status, ProvisioningStatus::Released);
}

async fn a_redelivery_is_a_new_delivery_of_the_same_event(t: TestService) {
    let s = stage(&t).await;
    t.booking(&s.alice, s.resource, 1, 3).await;
    let first = t.deliveries(&s.root, all()).await.remove(0);
    refused(t.redeliver(&s.root, &first.id).await, Conflict);
    drain(&t).await;
    refused(t.redeliver(&s.alice, &first.id).await, Forbidden);
    refused(t.redeliver(&s.root, &"dlv_none".into()).await, NotFound);
    let again = t.redeliver(&s.root, &first.id).await.unwrap();
    assert_eq!((again.status, again.redelivery_of.as_ref()), (Pending, Some(&first.id)));
    assert_eq!(again.event_id, first.event_id);
    drain(&t).await;
    let got = s.receiver.got();
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].raw, got[1].raw);
    assert_eq!(got[0].header("webhook-id"), got[1].header("webhook-id"));
    assert_ne!(got[0].header("x-webhook-delivery"), got[1].header("x-webhook-delivery"));
}

async fn failed_deliveries_can_be_replayed_in_bulk(t: TestService) {
    let s = stage(&t).await;
    let patch = WebhookPatch { retry: Some(domain::retry::RetryPolicy { delays: vec![] }), ..Default::default() };
    t.patch_webhook(&s.root, s.webhook, patch).await.unwrap();
    s.receiver.answer_status(500);
    let troubled = t.booking(&s.alice, s.resource, 1, 2).await;
    drain(&t).await;
    t.patch_reservation(&s.alice, &troubled.id, title("Changed")).await.unwrap();
    drain(&t).await;
    s.receiver.answer_status(200);
    t.booking(&s.alice, s.resource, 3, 4).await;
    drain(&t).await;
    let replay = async |filter: DeliveryFilter, dry_run: bool| {
        let result = t.replay(&s.root, &ReplayInput { filter, dry_run }).await.unwrap();
        (result.matched, result.redelivered)
    };
    refused(t.replay(&s.alice, &ReplayInput::default()).await, Forbidden);
    let unfinished = DeliveryFilter { status: Some(Retrying), ..Default::default() };
    refused(t.replay(&s.root, &ReplayInput { filter: unfinished, dry_run: true }).await, Invalid);
    assert_eq!(replay(to(s.webhook + 1), false).await, (0, 0));
    assert_eq!(replay(all(), true).await, (2, 0));
    assert_eq!(s.receiver.count(), 3);
    assert_eq!(replay(all(), false).await, (2, 2));
    drain(&t).await;
    let events: Vec<_> = s.receiver.got()[3..].iter().map(|g| g.event().to_owned()).collect();
    assert_eq!(events, ["reservation.created", "reservation.updated"], "in the order in which they happened");
    assert_eq!(replay(all(), false).await, (0, 0), "asking twice sends nothing twice");
}

async fn what_is_cancelled_leaves_no_reservation_waiting(t: TestService) {
    let s = stage(&t).await;
    t.booking(&s.alice, s.resource, 1, 2).await;
    let ready = t.booking(&s.alice, s.resource, 3, 4).await;
    drain(&t).await;
    t.pause_webhook(&s.root, s.webhook).await.unwrap();
    let provisioning = async |id| {
        let state = t.get_reservation(&s.alice, id).await.unwrap().reservation.provisioning;
        (state.status, state.message)
    };
    t.cancel_reservation(&s.alice, &ready.id, None).await.unwrap();
    assert_eq!(provisioning(&ready.id).await.0, ProvisioningStatus::Releasing);
    t.resume_webhook(&s.root, s.webhook, ResumeInput { drop_pending: true }).await.unwrap();
    let (status, message) = provisioning(&ready.id).await;
    assert_eq!(status, ProvisioningStatus::Released);
    assert!(message.contains("an administrator dropped what waited"), "{message}");

    t.pause_webhook(&s.root, s.webhook).await.unwrap();
    let waiting = t.booking(&s.alice, s.resource, 5, 6).await;
    t.delete_webhook(&s.root, s.webhook).await.unwrap();
    let (status, message) = provisioning(&waiting.id).await;
    assert_eq!(status, ProvisioningStatus::Failed);
    assert!(message.contains("its webhook was deleted"), "{message}");
}

async fn events_wait_for_a_webhook_whose_secrets_cannot_be_opened(t: TestService) {
    let s = stage(&t).await;
    // A process with another master key, such as a replica that was started without it.
    let mut settings = t.settings.clone();
    settings.master_key = [8; 32].into();
    let stranger = Service::open(settings, t.clock.clone()).await.unwrap();
    let reservation = stranger.reserve(&s.alice, t.span(s.resource, 1, 2)).await.unwrap();
    let owner = stranger.dispatcher();
    assert_eq!(step(&owner).await, 0, "it cannot sign, so it does not send");
    assert_eq!(t.deliveries(&s.root, all()).await[0].status, Pending);
    drain(&t).await;
    assert_eq!(s.receiver.last().text("reservation_id"), reservation.id.as_str());
}

async fn a_late_word_of_beginning_undoes_no_status_update(t: TestService) {
    let s = stage(&t).await;
    s.receiver.answer_status(202);
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    let state = async || t.get_reservation(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
    let update = async |status: &str| {
        let body = json!({"status": status, "timestamp": t.now(), "message": "said by the service"}).to_string();
        let secret = domain::signature::Secret::parse("your-secret-key").unwrap();
        let signature = domain::signature::sign_body(&secret, body.as_bytes());
        t.status_update(&reservation.id, Some(&s.webhook.to_string()), Some(&signature), body.as_bytes()).await.unwrap()
    };
    // The service has failed and said so before its 202 is recorded.
    let owner = t.dispatcher();
    let finished = t.dispatcher().send_claimed(owner.claim_once(&WebhookSet::All, 10).await.unwrap().items).await;
    t.clock.advance(Duration::milliseconds(1));
    update("failed").await;
    t.dispatcher().record_once(&finished).await.unwrap();
    assert_eq!(
        (state().await.status, state().await.message.as_str()),
        (ProvisioningStatus::Failed, "said by the service")
    );
    update("ready").await;
    // A change that is taken up later shows as such.
    t.clock.advance(Duration::seconds(1));
    t.patch_reservation(&s.alice, &reservation.id, title("Changed")).await.unwrap();
    drain(&t).await;
    assert_eq!((state().await.status, state().await.message.as_str()), (ProvisioningStatus::Provisioning, ""));
}

/// A request as the receiver of [`nothing_reorders`] saw it.
struct Arrival {
    delivery: DeliveryId,
    attempt: u32,
    accepted: bool,
    /// Whether its lease may have lapsed before it was sent.
    late: bool,
}

/// What runs of [`nothing_reorders`] were troubled with, beside answers that refuse.
#[derive(Debug, Default)]
struct Trouble {
    direct: usize,
    late: usize,
    failed: usize,
    redelivered: usize,
}

/// Random failures, pauses, cancellations, redeliveries, replays and lapsed leases, by the direct lane and two dispatchers
/// which end, stall before they send or are slow to record. To each webhook, an event of a reservation is sent only when
/// every earlier one was accepted or had its last attempt, and from then on none of the earlier ones is sent any more. But
/// a redelivery comes whenever it is asked for, and whoever stalls does not know that its lease has lapsed.
async fn nothing_reorders(t: TestService, seed: u64, trouble: &mut Trouble) {
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let s = stage(&t).await;
    let second = t.webhook(&s.root, &s.receiver).await;
    // Two attempts instead of four, so that more deliveries fail for good.
    let retry = Some(domain::retry::RetryPolicy { delays: vec![1] });
    t.patch_webhook(&s.root, second, WebhookPatch { retry, ..Default::default() }).await.unwrap();
    let webhooks = [s.webhook, second];
    let arrivals: Arc<Mutex<Vec<Arrival>>> = Arc::default();
    let seen = arrivals.clone();
    let mut asked: HashMap<u64, u64> = HashMap::new();
    s.receiver.answer(move |got| {
        // By what is the same whenever a seed is run: ids are not, nor is the order of requests that are made at once.
        let mut this = DefaultHasher::new();
        (seed, got.body["webhook_id"].as_i64(), got.text("start_time"), got.event(), got.text("title")).hash(&mut this);
        let this = this.finish();
        let times = asked.entry(this).or_default();
        *times += 1;
        let accepted = StdRng::seed_from_u64(this ^ *times).random_bool(0.6);
        seen.lock().push(Arrival {
            delivery: got.header("x-webhook-delivery").into(),
            attempt: got.header("x-webhook-attempt").parse().unwrap(),
            accepted,
            late: false,
        });
        Answer::Status(if accepted { 200 } else { 503 })
    });
    let send_at_last = async |service: &Service, since: DateTime<Utc>, claims: Vec<ClaimedDelivery>| {
        let before = arrivals.lock().len();
        let finished = service.dispatcher().send_claimed(claims).await;
        // A lease is the time-out (2 s in tests) and 15 s; here nobody renews it.
        let late = t.now() - since > Duration::seconds(17);
        arrivals.lock()[before..].iter_mut().for_each(|arrival| arrival.late = late);
        finished
    };
    let line = |webhook: i64, reservation: &ReservationId| DeliveryFilter {
        reservation_id: Some(reservation.0.clone()),
        ..to(webhook)
    };
    let mut random = StdRng::seed_from_u64(seed);
    let other = if t.is_postgres() { t.replica().await } else { t.service.clone() };
    let dispatchers = [&t.service, &other].map(|service| [service.dispatcher(), service.dispatcher()]);
    let services = [&t.service, &other];
    // Each with what happened to it.
    let mut reservations: Vec<(ReservationId, Vec<EventType>)> = Vec::new();
    let mut unsent: Vec<(Service, DateTime<Utc>, Vec<ClaimedDelivery>)> = Vec::new();
    let mut unrecorded = Vec::new();
    for turn in 0..180 {
        let replica = random.random_range(0..2);
        let (service, owner) = (services[replica], &dispatchers[replica][random.random_range(0..2)]);
        let webhook = webhooks[random.random_range(0..2)];
        match random.random_range(0..18) {
            0 | 1 if reservations.len() < 8 => {
                let mut lane = dispatchers[0][0].open_fast_path();
                if random.random_bool(0.4) {
                    t.dispatcher().close_fast_path();
                }
                let n = reservations.len() as i64;
                let made = t.booking(&s.alice, s.resource, 1 + n, 2 + n).await;
                reservations.push((made.id, vec![EventType::ReservationCreated]));
                while let Ok(claims) = lane.try_recv() {
                    trouble.direct += claims.len();
                    unsent.push((t.service.clone(), t.now(), claims));
                }
                t.dispatcher().close_fast_path();
            }
            what @ 2..=5 if !reservations.is_empty() => {
                let n = random.random_range(0..reservations.len());
                let (id, happened) = &mut reservations[n];
                if happened.ends_with(&[EventType::ReservationCancelled]) {
                    continue;
                }
                if what < 5 {
                    service.patch_reservation(&s.alice, id, title(&format!("Step {turn}"))).await.unwrap();
                    happened.push(EventType::ReservationUpdated);
                } else if random.random_bool(0.3) {
                    service.cancel_reservation(&s.alice, id, None).await.unwrap();
                    happened.push(EventType::ReservationCancelled);
                }
            }
            6 if random.random_bool(0.3) => drop(t.pause_webhook(&s.root, webhook).await.unwrap()),
            6 => drop(t.resume_webhook(&s.root, webhook, ResumeInput::default()).await.unwrap()),
            // A process that claims and ends.
            7 => drop(service.dispatcher().claim_once(&WebhookSet::All, 2).await.unwrap()),
            // One that stalls before it sends.
            8 => {
                let claims = owner.claim_once(&WebhookSet::All, 2).await.unwrap().items;
                unsent.push((service.clone(), t.now(), claims));
            }
            9 if !unsent.is_empty() => {
                let (service, since, claims) = unsent.swap_remove(random.random_range(0..unsent.len()));
                let finished = send_at_last(&service, since, claims).await;
                unrecorded.push((service, finished));
            }
            // One that is slow to record.
            10 => {
                let claims = owner.claim_once(&WebhookSet::All, 3).await.unwrap().items;
                unrecorded.push((service.clone(), service.dispatcher().send_claimed(claims).await));
            }
            11 if !unrecorded.is_empty() => {
                let (service, finished) = unrecorded.swap_remove(random.random_range(0..unrecorded.len()));
                service.dispatcher().record_once(&finished).await.unwrap();
            }
            12 if !reservations.is_empty() => {
                let (id, _) = &reservations[random.random_range(0..reservations.len())];
                let mut ended = t.deliveries(&s.root, line(webhook, id)).await;
                ended.retain(|delivery| delivery.status.is_final());
                if !ended.is_empty() {
                    let again = &ended[random.random_range(0..ended.len())].id;
                    service.redeliver(&s.root, again).await.unwrap();
                }
            }
            13 => {
                service.replay(&s.root, &ReplayInput { filter: all(), dry_run: false }).await.unwrap();
            }
            _ => {
                t.clock.advance(Duration::milliseconds(random.random_range(0..6_000)));
                service.dispatcher().reap_expired_leases(false).await.unwrap();
                step(owner).await;
            }
        }
    }
    for (service, since, claims) in unsent {
        let finished = send_at_last(&service, since, claims).await;
        unrecorded.push((service, finished));
    }
    for (service, finished) in unrecorded {
        service.dispatcher().record_once(&finished).await.unwrap();
    }
    for webhook in webhooks {
        t.resume_webhook(&s.root, webhook, ResumeInput::default()).await.unwrap();
    }
    let mut idle = 0;
    // No retry waits longer than one of these steps, and no lease lasts longer than four.
    while idle < 5 {
        t.clock.advance(Duration::seconds(5));
        t.dispatcher().reap_expired_leases(false).await.unwrap();
        idle = if step(&dispatchers[0][0]).await == 0 { idle + 1 } else { 0 };
    }

    let arrivals = std::mem::take(&mut *arrivals.lock());
    let begin = |delivery: &DeliverySummary| arrivals.iter().position(|arrival| arrival.delivery == delivery.id);
    // The arrival of the attempt by which the log says that it ended.
    let end = |delivery: &DeliverySummary| {
        arrivals.iter().position(|arrival| {
            arrival.delivery == delivery.id
                && arrival.attempt == delivery.attempts
                && (arrival.accepted || delivery.status == Failed)
        })
    };
    let mut known = HashSet::new();
    for (id, happened) in &reservations {
        for webhook in webhooks {
            let log = t.deliveries(&s.root, line(webhook, id)).await;
            assert!(log.len() < 200, "seed {seed}: a page may not show all deliveries");
            for delivery in &log {
                let last = delivery.status == Succeeded
                    || (delivery.status == Failed && delivery.attempts == delivery.max_attempts);
                assert!(last, "seed {seed}: not at its end: {delivery:?}");
                assert!(end(delivery).is_some(), "seed {seed}: its end never arrived: {delivery:?}");
                trouble.failed += usize::from(delivery.status == Failed);
                known.insert(delivery.id.clone());
            }
            let (originals, again): (Vec<_>, Vec<_>) =
                log.iter().partition(|delivery| delivery.redelivery_of.is_none());
            trouble.redelivered += again.len();
            assert_eq!(
                originals.iter().map(|delivery| delivery.event_type).collect::<Vec<_>>(),
                *happened,
                "seed {seed}"
            );
            for pair in originals.windows(2) {
                let (earlier, later) = (pair[0], pair[1]);
                let began = begin(later).unwrap();
                assert!(end(earlier) < Some(began), "seed {seed}: {later:?} was sent before the end of {earlier:?}");
                let straggler = |arrival: &&Arrival| arrival.delivery == earlier.id && !arrival.late;
                let straggler = arrivals[began..].iter().find(straggler).map(|arrival| arrival.attempt);
                assert_eq!(straggler, None, "seed {seed}: {earlier:?} was sent once more after {later:?}");
            }
        }
    }
    trouble.late += arrivals.iter().filter(|arrival| arrival.late).count();
    assert!(arrivals.iter().all(|arrival| known.contains(&arrival.delivery)), "seed {seed}: sent, but never committed");
}

async fn nothing_reorders_on(engine: Engine) {
    let mut trouble = Trouble::default();
    if let Ok(seed) = std::env::var("BERTH_TEST_SEED") {
        let seed = seed.parse().expect("BERTH_TEST_SEED is a number");
        return nothing_reorders(open(engine).await, seed, &mut trouble).await;
    }
    // Some that are the same each time, and some that nobody has tried.
    for seed in (0..4).chain(std::iter::repeat_with(rand::random::<u64>).take(3)) {
        // Of a test that fails, what it printed is shown: the last of these repeats its failure.
        eprintln!("BERTH_TEST_SEED={seed}");
        nothing_reorders(open(engine).await, seed, &mut trouble).await;
    }
    let Trouble { direct, late, failed, redelivered } = trouble;
    assert!(
        ![direct, late, failed, redelivered].contains(&0),
        "these runs had too little trouble to tell: {trouble:?}"
    );
}

#[tokio::test]
async fn nothing_reorders_on_sqlite() {
    nothing_reorders_on(Engine::Sqlite).await;
}

#[tokio::test]
async fn nothing_reorders_on_postgres() {
    if postgres().is_some() {
        nothing_reorders_on(Engine::Postgres).await;
    }
}

/// For what only PostgreSQL does; nothing where there is none.
async fn stage_on_postgres() -> Option<(TestService, Stage)> {
    postgres()?;
    let t = open(Engine::Postgres).await;
    let s = stage(&t).await;
    Some((t, s))
}

/// A claim that waits for a row of another transaction would hold up every webhook.
#[tokio::test]
async fn a_locked_row_is_passed_over_on_postgres() {
    let Some((t, s)) = stage_on_postgres().await else { return };
    t.booking(&s.alice, s.resource, 1, 2).await;
    t.booking(&s.alice, s.resource, 2, 3).await;
    let database = t.database().await;
    let lock = sea_orm::TransactionTrait::begin(&database).await.unwrap();
    lock.execute_unprepared("SELECT seq FROM outbox ORDER BY seq LIMIT 1 FOR UPDATE").await.unwrap();
    let owner = t.dispatcher();
    assert_eq!(step(&owner).await, 1);
    lock.rollback().await.unwrap();
    assert_eq!(step(&owner).await, 1);
}

/// The database expects little of a table that grew since it was counted; to collect all of a day's attempts and sort them
/// would make the pages of a busy webhook slower with each of them.
#[tokio::test]
async fn a_webhooks_summary_reads_its_sample_and_no_more_on_postgres() {
    let Some((t, s)) = stage_on_postgres().await else { return };
    let database = t.database().await;
    let attempts = format!(
        "ALTER TABLE attempts SET (autovacuum_enabled = off);
         INSERT INTO attempts (delivery_seq, attempt, webhook_id, started_at, outcome, duration_ms, delivery_status, record)
         SELECT n, 1, {}, {} - n, 'succeeded', 1, 'succeeded', '' FROM generate_series(1, 60000) n;
         SELECT pg_stat_reset()",
        s.webhook,
        t.now().timestamp_millis()
    );
    database.execute_unprepared(&attempts).await.unwrap();
    assert_eq!(t.get_webhook(&s.root, s.webhook).await.unwrap().summary.deliveries, 5_000);
    // A session tells what it did when it ends.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.execute_unprepared(end).await.unwrap();
    let read = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'attempts_webhook'";
    let told = async {
        loop {
            let row = database
                .query_one_raw(sea_orm::Statement::from_string(database.get_database_backend(), read))
                .await
                .ok()
                .flatten()
                .map(|row| row.try_get_by_index::<i64>(0).unwrap());
            match row {
                Some(read) if read > 0 => return read,
                _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
    };
    let read = tokio::time::timeout(std::time::Duration::from_secs(30), told).await.unwrap();
    assert!(read <= 5_000, "{read} entries were read");
}

/// Renewing waits for nobody: who records holds rows and waits for others, and a ring of the two would stand for a second.
#[tokio::test]
async fn renewing_passes_over_what_is_being_recorded_on_postgres() {
    let Some((t, s)) = stage_on_postgres().await else { return };
    t.booking(&s.alice, s.resource, 1, 2).await;
    t.booking(&s.alice, s.resource, 2, 3).await;
    let claims = t.dispatcher().claim_once(&WebhookSet::All, 10).await.unwrap().items;
    let leases: Vec<Lease> = claims.iter().map(|claim| claim.lease.clone()).collect();
    let database = t.database().await;
    let recording = sea_orm::TransactionTrait::begin(&database).await.unwrap();
    recording.execute_unprepared("DELETE FROM outbox WHERE seq = (SELECT MIN(seq) FROM outbox)").await.unwrap();
    t.clock.advance(Duration::seconds(10));
    // It would wait for ever here.
    t.outbox().renew(&leases).await.unwrap();
    recording.commit().await.unwrap();
    t.clock.advance(Duration::seconds(10));
    assert_eq!(t.dispatcher().reap_expired_leases(false).await.unwrap(), 0, "the other one was renewed");
    assert_eq!(t.deliveries(&s.root, all()).await.iter().filter(|delivery| delivery.status == Sending).count(), 1);
}

/// On SQLite what is due is found before its leases are written: what is cancelled in between is not taken.
#[tokio::test]
async fn what_is_cancelled_during_a_claim_is_not_taken_on_sqlite() {
    let t = open(Engine::Sqlite).await;
    let s = stage(&t).await;
    for n in 0..3 {
        t.booking(&s.alice, s.resource, n, n + 1).await;
    }
    let database = t.database().await;
    let cancelling = sea_orm::TransactionTrait::begin(&database).await.unwrap();
    let first = "(SELECT MIN(seq) FROM outbox)";
    cancelling.execute_unprepared(&format!("DELETE FROM outbox WHERE seq = {first}")).await.unwrap();
    cancelling.execute_unprepared(&format!("UPDATE outbox SET attempts = 1 WHERE seq = {first}")).await.unwrap();
    let owner = t.dispatcher();
    let mut claim = std::pin::pin!(owner.claim_once(&WebhookSet::All, 10));
    // The one writer is taken, so that the claim can have read, but not written.
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), claim.as_mut()).await.is_err());
    cancelling.commit().await.unwrap();
    let claims = claim.await.unwrap().items;
    assert_eq!(claims.iter().map(|claim| claim.request.attempt).collect::<Vec<_>>(), [1]);
    let again = owner.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    assert_eq!(
        again.iter().map(|claim| claim.request.attempt).collect::<Vec<_>>(),
        [2],
        "read once more, it is as it is"
    );
}

/// What was recorded before there were transcripts is shown as before.
#[tokio::test]
async fn a_record_of_before_is_shown() {
    let t = open(Engine::Sqlite).await;
    let s = stage(&t).await;
    t.booking(&s.alice, s.resource, 1, 2).await;
    drain(&t).await;
    let id = t.deliveries(&s.root, all()).await[0].id.clone();
    let shown = t.delivery(&s.root, &id).await;
    let database = t.database().await;
    for (record, readable) in [(serde_json::to_string(&shown.attempt_log[0]).unwrap(), true), ("POST".into(), false)] {
        let sql = "UPDATE attempts SET record = $1";
        let statement = sea_orm::Statement::from_sql_and_values(sea_orm::DbBackend::Sqlite, sql, [record.into()]);
        database.execute_raw(statement).await.unwrap();
        assert_eq!(t.get_delivery(&s.root, &id).await.ok(), readable.then(|| shown.clone()));
    }
}

/// A receiver that does not answer holds its own places and nobody else's.
#[tokio::test]
async fn a_slow_receiver_delays_only_itself() {
    let t = open(Engine::Sqlite).await;
    let s = stage(&t).await;
    let slow = Receiver::start().await;
    let held = Arc::new(tokio::sync::Notify::new());
    let until = held.clone();
    slow.answer(move |_| Answer::Held(until.clone()));
    let slow_webhook = t.webhook(&s.root, &slow).await;
    for n in 0..100 {
        t.booking(&s.alice, s.resource, n, n + 1).await;
    }
    let owner = t.dispatcher();
    let mut stuck = Vec::new();
    loop {
        let claims = owner.claim_once(&WebhookSet::All, 256).await.unwrap().items;
        if claims.is_empty() {
            break;
        }
        let (slow, healthy): (Vec<_>, Vec<_>) = claims.into_iter().partition(|c| c.webhook_id() == slow_webhook);
        stuck.extend(slow);
        let finished = t.dispatcher().send_claimed(healthy).await;
        t.dispatcher().record_once(&finished).await.unwrap();
    }
    assert_eq!(s.receiver.count(), 100, "the healthy one got everything");
    assert_eq!(stuck.len(), 64, "the slow one holds its own places");
    drop(held);
}
