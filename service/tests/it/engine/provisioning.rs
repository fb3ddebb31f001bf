//! Provisioning: what responses, failures and cancellations do to a reservation.

use super::{any_delivery, fixture, retitled};
use crate::support::{TestService, drain, refused};
use chrono::Duration;
use domain::ProblemKind::*;
use domain::delivery::DeliveryStatus::*;
use domain::provisioning::{PendingChangeState, Provisioning, ProvisioningStatus};
use domain::reservation::ReservationStatus;
use domain::webhook::{ResumeInput, WebhookPatch};
use serde_json::json;
use service::outbox::WebhookSet;
use test_support::{Receiver, Response, on_both_databases};

on_both_databases![
    responses_drive_provisioning,
    responses_of_one_batch_apply_in_order,
    listen_only_webhook_does_not_drive_provisioning,
    late_response_to_created_does_not_undo_release,
    concurrent_first_response_and_cancellation_end_in_release,
    cancelled_delivery_leaves_no_reservation_waiting,
    late_202_does_not_override_newer_status_update,
    services_of_one_type_do_not_overwrite_each_other,
    failed_change_leaves_a_ready_reservation_ready,
    older_status_update_changes_nothing,
    doubtful_response_is_not_ready,
    webhook_added_later_does_not_change_the_headline,
    failed_redelivery_of_created_leaves_a_ready_reservation_ready,
];

/// The statuses and messages of the services.
fn services(state: &Provisioning) -> Vec<(ProvisioningStatus, &str)> {
    state.services.iter().map(|service| (service.status, service.message.as_str())).collect()
}

fn access(address: &str) -> serde_json::Value {
    json!({"status": "success", "message": "Done", "details": {"access_info": {"ip_address": address}}})
}

async fn responses_drive_provisioning(t: TestService) {
    let s = fixture(&t).await;
    let state = async |id: &domain::id::ReservationId| {
        t.reservations().get(&s.alice, id).await.unwrap().reservation.provisioning
    };
    s.receiver.respond(Response::json(202, json!({"message": "At work"})));
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
    s.receiver.respond(Response::json(200,
        json!({"status": "success", "message": "Done", "details": {"cluster_id": "c-1", "estimated_ready_time": "5 minutes",
            "access_info": {"ip_address": "192.0.2.1", "port": 22, "username": "user-alice", "connection_command": "ssh user-alice@192.0.2.1"}}})));
    t.reservations().update(&s.alice, &reservation.id, retitled("Changed")).await.unwrap();
    drain(&t).await;
    let ready = state(&reservation.id).await;
    assert_eq!(ready.status, ProvisioningStatus::Ready);
    assert_eq!(ready.access_info.unwrap().connection_command.as_deref(), Some("ssh user-alice@192.0.2.1"));
    assert_eq!(ready.estimated_ready_time.as_deref(), Some("5 minutes"));
    let cancelled = t.reservations().cancel(&s.alice, &reservation.id, Some("No need".into())).await.unwrap();
    assert_eq!(cancelled.provisioning.status, ProvisioningStatus::Releasing);
    drain(&t).await;
    assert_eq!(s.receiver.last().text("reason"), "No need");
    assert_eq!(state(&reservation.id).await.status, ProvisioningStatus::Released);
    // Without a receiver the release is complete at once.
    t.webhooks().delete(&s.root, s.webhook).await.unwrap();
    let alone = t.booking(&s.alice, s.resource, 5, 6).await;
    let cancelled = t.reservations().cancel(&s.alice, &alone.id, None).await.unwrap();
    assert_eq!(cancelled.provisioning.status, ProvisioningStatus::Released);
}

async fn responses_of_one_batch_apply_in_order(t: TestService) {
    let s = fixture(&t).await;
    let other = Receiver::start().await;
    t.webhook(&s.root, &other).await;
    let dispatcher = t.dispatcher();
    let deliver = async || {
        let mut claims = dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items;
        // The events of one transaction are not numbered in the order of their webhooks.
        claims.sort_by_key(|claim| claim.webhook_id());
        let results = dispatcher.send_claimed(claims).await;
        dispatcher.record_once(&results).await.unwrap();
        results.len()
    };
    let state = async |id: &domain::id::ReservationId| {
        t.reservations().get(&s.alice, id).await.unwrap().reservation.provisioning
    };
    use ProvisioningStatus::{Failed, Provisioning, Ready};
    // The second webhook's response is applied after the first one's, in the same batch.
    s.receiver.respond(Response::json(202, json!({"message": "At work"})));
    other.respond(Response::json(200, json!({"status": "success", "message": "Done"})));
    let first = t.booking(&s.alice, s.resource, 1, 2).await;
    let second = t.booking(&s.alice, s.resource, 3, 4).await;
    assert_eq!(deliver().await, 4);
    for reservation in [&first, &second] {
        let state = state(&reservation.id).await;
        assert_eq!(services(&state), [(Provisioning, "At work"), (Ready, "Done")]);
        assert_eq!((state.status, state.message.as_str()), (Provisioning, "At work"));
    }
    // A first response beside a later one, in the same batch.
    s.receiver.respond(Response::json(200, json!({"status": "success", "message": "Done too"})));
    other.respond(Response::json(200, json!({"status": "success", "message": "All done"})));
    t.reservations().update(&s.alice, &first.id, retitled("Changed")).await.unwrap();
    let third = t.booking(&s.alice, s.resource, 5, 6).await;
    assert_eq!(deliver().await, 4);
    for reservation in [&first, &third] {
        let state = state(&reservation.id).await;
        assert_eq!(services(&state), [(Ready, "Done too"), (Ready, "All done")]);
        assert_eq!(state.status, Ready);
    }
    assert_eq!(state(&second.id).await.status, Provisioning);
    // A failure of one service is not hidden by the success of the other.
    s.receiver.respond(Response::status(410));
    let last = t.booking(&s.alice, s.resource, 7, 8).await;
    assert_eq!(deliver().await, 2);
    let last = state(&last.id).await;
    assert_eq!((last.status, last.services[0].status, last.services[1].status), (Failed, Failed, Ready));
}

async fn services_of_one_type_do_not_overwrite_each_other(t: TestService) {
    let s = fixture(&t).await;
    let other = Receiver::start().await;
    t.webhook(&s.root, &other).await;
    s.receiver.respond(Response::json(200, access("192.0.2.1")));
    other.respond(Response::json(200, access("192.0.2.2")));
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    assert_eq!(services(&reservation.provisioning), [(ProvisioningStatus::Waiting, ""); 2]);
    drain(&t).await;
    let state = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
    let address = |n: usize| state.services[n].access_info.clone().unwrap().ip_address.unwrap();
    assert_eq!(
        (state.status, address(0), address(1)),
        (ProvisioningStatus::Ready, "192.0.2.1".into(), "192.0.2.2".into())
    );
    assert_eq!(
        state.services.iter().map(|s| s.webhook_name.as_str()).collect::<Vec<_>>(),
        ["Provisioner", "Provisioner"]
    );
    // Deleting one webhook affects only its entry.
    t.webhooks().pause(&s.root, s.webhook).await.unwrap();
    t.reservations().update(&s.alice, &reservation.id, retitled("Changed")).await.unwrap();
    drain(&t).await;
    t.webhooks().delete(&s.root, s.webhook).await.unwrap();
    let state = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
    assert_eq!(services(&state), [(ProvisioningStatus::Ready, "Done"), (ProvisioningStatus::Ready, "Done")]);
    assert!(state.services[0].pending_change.as_ref().unwrap().message.contains("its webhook was deleted"));
    assert_eq!(state.services[1].pending_change, None);
}

async fn failed_change_leaves_a_ready_reservation_ready(t: TestService) {
    let s = fixture(&t).await;
    s.receiver.respond(Response::json(200, access("192.0.2.1")));
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    drain(&t).await;
    s.receiver.respond(Response::status(500));
    let changed = t.reservations().update(&s.alice, &reservation.id, retitled("Changed")).await.unwrap();
    let change = |state: &Provisioning| state.services[0].pending_change.clone().unwrap();
    assert_eq!(change(&changed.provisioning).state, PendingChangeState::Sent);
    let state = async || t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
    let dispatcher = t.dispatcher();
    let claims = dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    dispatcher.record_once(&dispatcher.send_claimed(claims).await).await.unwrap();
    let retrying = change(&state().await);
    assert_eq!(retrying.state, PendingChangeState::Retrying);
    assert!(
        retrying.next_attempt_at.is_some_and(|at| at > t.now()) && retrying.message.contains("500"),
        "{retrying:?}"
    );
    for _ in 0..3 {
        t.clock.advance(Duration::seconds(5));
        drain(&t).await;
    }
    let failed = state().await;
    assert_eq!(change(&failed).state, PendingChangeState::Failed);
    assert_eq!((failed.status, failed.message.as_str()), (ProvisioningStatus::Ready, "Done"));
    assert_eq!(failed.access_info.unwrap().ip_address.as_deref(), Some("192.0.2.1"));
    s.receiver.respond(Response::status(200));
    t.reservations().update(&s.alice, &reservation.id, retitled("Changed again")).await.unwrap();
    drain(&t).await;
    assert_eq!(state().await.services[0].pending_change, None);
}

async fn older_status_update_changes_nothing(t: TestService) {
    let s = fixture(&t).await;
    s.receiver.respond(Response::status(202));
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    drain(&t).await;
    let update = async |status: &str, at: chrono::DateTime<chrono::Utc>, progress: u8| {
        let body = json!({"reservation_id": reservation.id, "status": status, "timestamp": at, "progress": progress})
            .to_string();
        let secret = domain::signature::Secret::parse("your-secret-key").unwrap();
        let signature = domain::signature::sign_body(&secret, body.as_bytes());
        let webhook = s.webhook.to_string();
        t.reservations()
            .apply_status_update(&reservation.id, None, Some(&webhook), Some(&signature), body.as_bytes())
            .await
            .unwrap()
    };
    assert_eq!(update("ready", t.now(), 100).await.status, ProvisioningStatus::Ready);
    let late = update("provisioning", t.now() - Duration::seconds(30), 90).await;
    assert_eq!(late.status, ProvisioningStatus::Ready);
    let state = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
    assert_eq!((state.status, state.progress), (ProvisioningStatus::Ready, Some(100)));
}

/// `{"status":"failed"}`, encoded.
const FAILED_GZIP: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xabV*.I,)-V\xb2RJK\xcc\xccIMQ\xaa\x05\x00t\xff\xa9\x1f\x13\x00\x00\x00";
const FAILED_ZLIB: &[u8] = b"x\x9c\xabV*.I,)-V\xb2RJK\xcc\xccIMQ\xaa\x05\x00D\xad\x06\xc4";

async fn doubtful_response_is_not_ready(t: TestService) {
    let s = fixture(&t).await;
    let response = |content_type: &str, body: &'static [u8]| {
        Response::status(200).with_header("content-type", content_type).with_body(body)
    };
    let html = |body: &'static str| response("text/html", body.as_bytes());
    let typed = |body: &'static [u8]| response("application/json", body);
    let encoded =
        |encoding: &str, body: &'static [u8]| response("text/html", body).with_header("content-encoding", encoding);
    for (hour, response, expected) in [
        (1, typed(br#"{"status":"FAILED"}"#), ProvisioningStatus::Failed),
        (2, typed(b"\xEF\xBB\xBF{\"status\":\"failed\"}"), ProvisioningStatus::Failed),
        (3, typed(br#"{"status":"exploded"}"#), ProvisioningStatus::Provisioning),
        (4, typed(b"oops"), ProvisioningStatus::Provisioning),
        (5, typed(b""), ProvisioningStatus::Ready),
        (6, html("<p>ok</p>"), ProvisioningStatus::Ready),
        (7, encoded("gzip", FAILED_GZIP), ProvisioningStatus::Failed),
        (8, encoded("deflate", FAILED_ZLIB), ProvisioningStatus::Failed),
        (9, encoded("gzip", b"\x1f\x8b\x08broken"), ProvisioningStatus::Provisioning),
        (10, typed(b"{\"message\":\"\xff\"}"), ProvisioningStatus::Provisioning),
    ] {
        s.receiver.respond(response);
        let reservation = t.booking(&s.alice, s.resource, hour, hour + 1).await;
        drain(&t).await;
        let state = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
        assert_eq!(state.status, expected, "hour {hour}");
        assert_eq!(state.message.is_empty(), expected != ProvisioningStatus::Provisioning, "{}", state.message);
    }
}

async fn webhook_added_later_does_not_change_the_headline(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    drain(&t).await;
    let other = Receiver::start().await;
    t.webhook(&s.root, &other).await;
    other.respond(Response::status(410));
    t.reservations().update(&s.alice, &reservation.id, retitled("Changed")).await.unwrap();
    drain(&t).await;
    let state = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
    assert_eq!(state.status, ProvisioningStatus::Ready);
    assert_eq!(
        state.services.iter().map(|s| (s.status, s.required)).collect::<Vec<_>>(),
        [(ProvisioningStatus::Ready, true), (ProvisioningStatus::Failed, false),]
    );
}

async fn listen_only_webhook_does_not_drive_provisioning(t: TestService) {
    let s = fixture(&t).await;
    let patch = WebhookPatch { provisions: Some(false), ..Default::default() };
    assert!(!t.webhooks().update(&s.root, s.webhook, patch).await.unwrap().provisions);
    let status = async |id| t.reservations().get(&s.alice, id).await.unwrap().reservation.provisioning.status;
    s.receiver.respond(Response::status(410));
    let failing = t.booking(&s.alice, s.resource, 1, 2).await;
    drain(&t).await;
    assert_eq!(t.deliveries(&s.root, any_delivery()).await[0].status, Failed);
    assert_eq!(status(&failing.id).await, ProvisioningStatus::Waiting);
    // No webhook drives provisioning, so the release is complete at once.
    t.reservations().cancel(&s.alice, &failing.id, None).await.unwrap();
    assert_eq!(status(&failing.id).await, ProvisioningStatus::Released);

    // Beside a webhook that drives provisioning.
    t.webhooks().resume(&s.root, s.webhook, ResumeInput { drop_pending: true }).await.unwrap();
    let other = Receiver::start().await;
    let provisioner = t.webhook(&s.root, &other).await;
    s.receiver.respond(Response::status(200));
    other.respond(Response::status(202));
    let reservation = t.booking(&s.alice, s.resource, 3, 4).await;
    drain(&t).await;
    assert_eq!((s.receiver.last().event(), other.last().event()), ("reservation.created", "reservation.created"));
    assert_eq!(status(&reservation.id).await, ProvisioningStatus::Provisioning);
    let body = json!({"reservation_id": reservation.id, "status": "ready", "timestamp": t.now()}).to_string();
    let secret = domain::signature::Secret::parse("your-secret-key").unwrap();
    let signature = domain::signature::sign_body(&secret, body.as_bytes());
    let update = async |webhook: i64| {
        t.reservations()
            .apply_status_update(&reservation.id, None, Some(&webhook.to_string()), Some(&signature), body.as_bytes())
            .await
    };
    refused(update(s.webhook).await, Forbidden);
    assert_eq!(update(provisioner).await.unwrap().status, ProvisioningStatus::Ready);
}

async fn late_response_to_created_does_not_undo_release(t: TestService) {
    let s = fixture(&t).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    let dispatcher = t.dispatcher();
    let claims = dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items;
    let cancelled = t.reservations().cancel(&s.alice, &reservation.id, None).await.unwrap();
    assert_eq!(cancelled.provisioning.status, ProvisioningStatus::Releasing);
    let results = dispatcher.send_claimed(claims).await;
    dispatcher.record_once(&results).await.unwrap();
    let after = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation;
    assert_eq!(
        (after.status, after.provisioning.status),
        (ReservationStatus::Cancelled, ProvisioningStatus::Releasing)
    );
    drain(&t).await;
    let after = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation;
    assert_eq!(after.provisioning.status, ProvisioningStatus::Released);
}

async fn concurrent_first_response_and_cancellation_end_in_release(t: TestService) {
    let s = fixture(&t).await;
    let reservations = futures::future::join_all((0..60).map(|n| t.booking(&s.alice, s.resource, n, n + 1))).await;
    let claims = t.dispatcher().claim_once(&WebhookSet::All, 100).await.unwrap().items;
    let mut results = t.dispatcher().send_claimed(claims).await;
    // Two concurrent batches, as on PostgreSQL.
    let later = results.split_off(30);
    let cancellations = futures::future::join_all(
        reservations.iter().step_by(2).map(|r| t.reservations().cancel(&s.alice, &r.id, None)),
    );
    let recorder = t.dispatcher();
    let (first, second, cancelled) =
        futures::join!(recorder.record_once(&results), recorder.record_once(&later), cancellations);
    first.unwrap();
    second.unwrap();
    assert!(cancelled.iter().all(Result::is_ok));
    for (n, reservation) in reservations.iter().enumerate() {
        let state = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning.status;
        let expected = if n % 2 == 0 { ProvisioningStatus::Releasing } else { ProvisioningStatus::Ready };
        assert_eq!(state, expected, "reservation {n}");
    }
}

async fn cancelled_delivery_leaves_no_reservation_waiting(t: TestService) {
    let s = fixture(&t).await;
    t.booking(&s.alice, s.resource, 1, 2).await;
    let ready = t.booking(&s.alice, s.resource, 3, 4).await;
    drain(&t).await;
    t.webhooks().pause(&s.root, s.webhook).await.unwrap();
    let provisioning = async |id| {
        let state = t.reservations().get(&s.alice, id).await.unwrap().reservation.provisioning;
        (state.status, state.message)
    };
    t.reservations().cancel(&s.alice, &ready.id, None).await.unwrap();
    assert_eq!(provisioning(&ready.id).await.0, ProvisioningStatus::Releasing);
    t.webhooks().resume(&s.root, s.webhook, ResumeInput { drop_pending: true }).await.unwrap();
    let (status, message) = provisioning(&ready.id).await;
    assert_eq!(status, ProvisioningStatus::Released);
    assert!(message.contains("was discarded by an administrator"), "{message}");

    t.webhooks().pause(&s.root, s.webhook).await.unwrap();
    let waiting = t.booking(&s.alice, s.resource, 5, 6).await;
    t.webhooks().delete(&s.root, s.webhook).await.unwrap();
    let (status, message) = provisioning(&waiting.id).await;
    assert_eq!(status, ProvisioningStatus::Failed);
    assert!(message.contains("its webhook was deleted"), "{message}");
}

async fn late_202_does_not_override_newer_status_update(t: TestService) {
    let s = fixture(&t).await;
    s.receiver.respond(Response::status(202));
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    let state = async || t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
    let update = async |status: &str| {
        let body = json!({
            "reservation_id": reservation.id, "status": status, "timestamp": t.now(), "message": "reported by the receiver",
        })
        .to_string();
        let secret = domain::signature::Secret::parse("your-secret-key").unwrap();
        let signature = domain::signature::sign_body(&secret, body.as_bytes());
        t.reservations()
            .apply_status_update(&reservation.id, None, Some(&s.webhook.to_string()), Some(&signature), body.as_bytes())
            .await
            .unwrap()
    };
    // The receiver reports a failure before its 202 is recorded.
    let dispatcher = t.dispatcher();
    let results = dispatcher.send_claimed(dispatcher.claim_once(&WebhookSet::All, 10).await.unwrap().items).await;
    t.clock.advance(Duration::milliseconds(1));
    update("failed").await;
    dispatcher.record_once(&results).await.unwrap();
    assert_eq!(
        (state().await.status, state().await.message.as_str()),
        (ProvisioningStatus::Failed, "reported by the receiver")
    );
    update("ready").await;
    // A later change is accepted. The resource stays usable until the service reports the result.
    t.clock.advance(Duration::seconds(1));
    t.reservations().update(&s.alice, &reservation.id, retitled("Changed")).await.unwrap();
    drain(&t).await;
    assert_eq!(state().await.status, ProvisioningStatus::Ready);
    assert_eq!(state().await.services[0].pending_change.as_ref().unwrap().state, PendingChangeState::Sent);
    t.clock.advance(Duration::seconds(1));
    update("ready").await;
    assert_eq!(state().await.status, ProvisioningStatus::Ready);
    assert_eq!(state().await.services[0].pending_change, None);
}

async fn failed_redelivery_of_created_leaves_a_ready_reservation_ready(t: TestService) {
    let s = fixture(&t).await;
    s.receiver.respond(Response::json(200, access("192.0.2.1")));
    let reservation = t.booking(&s.alice, s.resource, 1, 2).await;
    drain(&t).await;
    let details = t.reservations().get(&s.root, &reservation.id).await.unwrap();
    s.receiver.respond(Response::status(500));
    t.service.deliveries().redeliver(&s.root, &details.deliveries[0].id).await.unwrap();
    for _ in 0..4 {
        drain(&t).await;
        t.clock.advance(Duration::minutes(5));
    }
    let details = t.reservations().get(&s.root, &reservation.id).await.unwrap();
    assert!(details.deliveries.iter().any(|delivery| delivery.status == Failed));
    let state = details.reservation.provisioning;
    let address = state.access_info.and_then(|access| access.ip_address);
    assert_eq!((state.status, address.as_deref()), (ProvisioningStatus::Ready, Some("192.0.2.1")));
}
