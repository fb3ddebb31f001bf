//! Payload formats and content filters, from the change to the request, and the reported use of secrets.

use super::{Fixture, fixture, of_webhook, retitled};
use crate::support::{TestService, drain, refused, step, webhook_input};
use chrono::Duration;
use domain::ProblemKind::Invalid;
use domain::delivery::DeliveryStatus;
use domain::event::EventType;
use domain::id::WebhookId;
use domain::payload::PayloadFormat;
use domain::provisioning::ProvisioningStatus;
use domain::reservation::{Reservation, ReservationPatch};
use domain::resource::{ResourceStatus, ResourceTypePatch};
use domain::signature::{Secret, verify_body};
use domain::webhook::{RotateInput, TestInput, WebhookPatch};
use serde_json::{Value, json};
use test_support::{ReceivedRequest, Receiver, Response, on_both_databases};

on_both_databases![
    every_format_is_signed_and_redelivered_with_the_same_bytes,
    queued_delivery_keeps_its_format,
    every_format_drives_provisioning,
    format_of_a_newer_release_stays_queued,
    filter_excludes_events_of_other_resources,
    filter_compares_configuration_fields,
    service_that_has_received_a_reservation_receives_its_end,
    responses_report_the_secret_that_verified,
];

on_both_databases![sqlite only:
    test_events_have_the_format_of_the_webhook,
    filter_with_unknown_names_is_rejected,
    account_is_erased_from_payloads_of_each_format,
];

const URL: &str = "https://berth.example.com";

/// A receiver with a webhook whose input has these fields.
async fn with_webhook(t: &TestService, s: &Fixture, more: Value) -> (Receiver, WebhookId) {
    let receiver = Receiver::start().await;
    let mut input = serde_json::to_value(webhook_input(&receiver.url)).unwrap();
    // Only one webhook drives provisioning.
    input["provisions"] = false.into();
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let input = serde_json::from_value(input).unwrap();
    let id = t.webhooks().create(&s.root, input).await.unwrap().webhook.id;
    (receiver, id)
}

/// The formats of all events. `classic` has its own tests.
fn forms() -> impl Iterator<Item = PayloadFormat> + Clone {
    PayloadFormat::ALL.into_iter().filter(|format| *format != PayloadFormat::Classic)
}

async fn set_format(t: &TestService, s: &Fixture, webhook: WebhookId, format: PayloadFormat) {
    let patch = WebhookPatch { payload_format: Some(format), ..Default::default() };
    assert_eq!(t.webhooks().update(&s.root, webhook, patch).await.unwrap().payload_format, format);
}

/// The headers by which the format describes the event.
fn described_by(got: &ReceivedRequest) -> Vec<(String, String)> {
    let is_described = |name: &&str| name.starts_with("ce-") || *name == "content-type";
    got.header_names().into_iter().filter(is_described).map(|name| (name.into(), got.header(name).into())).collect()
}

fn events(receiver: &Receiver) -> Vec<String> {
    receiver.requests().iter().map(|got| got.event().to_owned()).collect()
}

async fn every_format_is_signed_and_redelivered_with_the_same_bytes(t: TestService) {
    let s = fixture(&t).await;
    let mut receivers = Vec::new();
    for format in forms() {
        let (receiver, webhook) = with_webhook(&t, &s, json!({"payload_format": format})).await;
        receivers.push((format, receiver, webhook));
    }
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    t.reservations().update(&s.alice, &reservation.id, retitled("Longer")).await.unwrap();
    t.reservations().cancel(&s.alice, &reservation.id, None).await.unwrap();
    drain(&t).await;
    let secret = Secret::parse("your-secret-key").unwrap();
    let usual: Vec<Value> = receivers[0].1.requests().into_iter().map(|got| got.body).collect();
    for (format, receiver, webhook) in &receivers {
        let sent = receiver.requests();
        assert_eq!(events(receiver), ["reservation.created", "reservation.updated", "reservation.cancelled"]);
        for (got, usual) in sent.iter().zip(&usual) {
            assert!(verify_body(&secret, &got.raw, got.header("x-webhook-signature")), "{format:?}");
            assert_eq!(got.header("content-type"), format.content_type());
            let mut usual = usual.clone();
            usual["webhook_id"] = json!(webhook);
            check_form(*format, got, &usual);
        }
        // Redeliveries keep bytes and format, also after the webhook has got another format.
        let other = if *format == PayloadFormat::Thin { PayloadFormat::Berth } else { PayloadFormat::Thin };
        set_format(&t, &s, *webhook, other).await;
        for (delivery, got) in t.deliveries(&s.root, of_webhook(*webhook)).await.iter().zip(&sent) {
            assert_eq!(t.delivery(&s.root, &delivery.id).await.body.as_bytes(), &got.raw[..]);
            t.service.deliveries().redeliver(&s.root, &delivery.id).await.unwrap();
        }
        drain(&t).await;
        let all = receiver.requests();
        assert_eq!(all.len(), 6);
        for (first, again) in sent.iter().zip(&all[3..]) {
            assert_eq!((&first.raw, described_by(first)), (&again.raw, described_by(again)), "{format:?}");
            assert_eq!(first.event_id(), again.event_id());
        }
    }
}

/// Checks the form of a request against the body of the default format.
fn check_form(format: PayloadFormat, got: &ReceivedRequest, usual: &Value) {
    let attributes = |name: &str| match format {
        PayloadFormat::CloudeventsBinary => json!(got.header(&format!("ce-{name}"))),
        _ => got.body[name].clone(),
    };
    let mut body = match format {
        PayloadFormat::CloudeventsStructured => got.body["data"].clone(),
        _ => got.body.clone(),
    };
    if format == PayloadFormat::Thin {
        assert_eq!(
            body["reservation_url"],
            format!("{URL}/api/v1/reservations/{}", usual["reservation_id"].as_str().unwrap())
        );
        assert_eq!(body["resource_url"], format!("{URL}/api/v1/resources/{}", usual["resource_id"]));
        assert!(body.get("user_id").is_none() && !body.to_string().contains("alice"));
        assert_eq!(body["reservation_id"], usual["reservation_id"]);
        return;
    }
    // Each webhook has its own URL for status updates.
    assert!(body["status_url"].as_str().unwrap().starts_with(URL));
    body["status_url"] = usual["status_url"].clone();
    assert_eq!(body, *usual);
    if format == PayloadFormat::Berth {
        assert_eq!(described_by(got).len(), 1);
        return;
    }
    assert_eq!((attributes("specversion"), attributes("source")), (json!("1.0"), json!(URL)));
    assert_eq!((attributes("id"), attributes("type")), (usual["event_id"].clone(), usual["event_type"].clone()));
    assert_eq!(
        (attributes("subject"), attributes("time")),
        (usual["reservation_id"].clone(), usual["timestamp"].clone())
    );
    assert_eq!(attributes("dataschema"), format!("{URL}/schemas/events/{}.json", got.event()));
}

async fn queued_delivery_keeps_its_format(t: TestService) {
    let s = fixture(&t).await;
    let (receiver, webhook) = with_webhook(&t, &s, json!({"payload_format": "cloudevents_structured"})).await;
    receiver.respond_in_order([Response::status(500)]);
    t.booking(&s.alice, s.resource, 1, 2).await;
    step(&t.dispatcher()).await;
    t.booking(&s.alice, s.resource, 3, 4).await;
    set_format(&t, &s, webhook, PayloadFormat::Berth).await;
    t.booking(&s.alice, s.resource, 5, 6).await;
    t.clock.advance(Duration::seconds(1));
    drain(&t).await;
    let mut types: Vec<_> = receiver.requests().iter().map(|got| got.header("content-type").to_owned()).collect();
    types.sort();
    let structured = "application/cloudevents+json";
    assert_eq!(types, [structured, structured, structured, "application/json"], "retries and queued ones keep theirs");
}

async fn every_format_drives_provisioning(t: TestService) {
    let s = fixture(&t).await;
    for (hour, format) in (1..).zip(forms()) {
        set_format(&t, &s, s.webhook, format).await;
        s.receiver.respond(Response::json(200, json!({"status": "success", "message": format.as_str()})));
        let reservation = t.booking(&s.alice, s.resource, hour, hour + 1).await;
        drain(&t).await;
        let state = t.reservations().get(&s.alice, &reservation.id).await.unwrap().reservation.provisioning;
        assert_eq!((state.status, state.message.as_str()), (ProvisioningStatus::Ready, format.as_str()));
    }
}

async fn format_of_a_newer_release_stays_queued(t: TestService) {
    use sea_orm::ConnectionTrait as _;
    let s = fixture(&t).await;
    t.booking(&s.alice, s.resource, 1, 2).await;
    let database = t.database().await;
    database.execute_unprepared("UPDATE deliveries SET payload_format = 'avro'").await.unwrap();
    drain(&t).await;
    assert_eq!(s.receiver.count(), 0);
    assert_eq!(t.deliveries(&s.root, of_webhook(s.webhook)).await[0].status, DeliveryStatus::Pending);
    database.execute_unprepared("UPDATE deliveries SET payload_format = NULL").await.unwrap();
    t.clock.advance(Duration::minutes(1));
    drain(&t).await;
    assert_eq!(s.receiver.count(), 1);
    let unknown =
        format!("UPDATE webhooks SET payload_format = 'avro', revision = revision + 1 WHERE id = {}", s.webhook);
    database.execute_unprepared(&unknown).await.unwrap();
    t.booking(&s.alice, s.resource, 3, 4).await;
    drain(&t).await;
    assert_eq!(s.receiver.count(), 1, "its webhook is not deliverable");
    set_format(&t, &s, s.webhook, PayloadFormat::Thin).await;
    drain(&t).await;
    assert_eq!(s.receiver.count(), 2);
}

async fn filter_excludes_events_of_other_resources(t: TestService) {
    let s = fixture(&t).await;
    let other = t.resource(&s.root, "node-2", ResourceStatus::Restricted).await;
    let (receiver, webhook) = with_webhook(&t, &s, json!({"filter": {"resource_ids": [other]}})).await;
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    t.reservations().update(&s.alice, &reservation.id, retitled("Longer")).await.unwrap();
    t.reservations().cancel(&s.alice, &reservation.id, None).await.unwrap();
    drain(&t).await;
    assert_eq!((receiver.count(), s.receiver.count()), (0, 3));
    assert!(t.deliveries(&s.root, of_webhook(webhook)).await.is_empty(), "nothing was enqueued");
    let input = domain::resource::AccessRequestInput { resource_id: other, reason: "a project".into() };
    t.access_requests().create(&s.alice, input).await.unwrap();
    t.booking(&s.root, other, 1, 3).await;
    drain(&t).await;
    let mut got = events(&receiver);
    got.sort();
    assert_eq!(got, ["reservation.created", "user.access_requested"]);
    let cleared = WebhookPatch { filter: Some(Default::default()), ..Default::default() };
    assert!(t.webhooks().update(&s.root, webhook, cleared).await.unwrap().filter.is_empty());
    t.booking(&s.alice, s.resource, 5, 6).await;
    drain(&t).await;
    assert_eq!(receiver.count(), 3);
}

/// Gives the resource type the configuration fields `gpu` and `count`.
async fn with_fields(t: &TestService, s: &Fixture) {
    let schema = json!({"type": "object", "properties": {"gpu": {"type": "string"}, "count": {"type": "integer"}}});
    let patch = ResourceTypePatch { config_schema: Some(schema), ..Default::default() };
    t.catalogue().update_type(&s.root, "gpu-cluster", patch).await.unwrap();
}

async fn configured(t: &TestService, s: &Fixture, hour: i64, config: Value) -> Reservation {
    let mut input = t.span(s.resource, hour, hour + 1);
    input.additional_config = Some(config.as_object().unwrap().clone());
    t.reservations().create(&s.alice, input).await.unwrap()
}

async fn filter_compares_configuration_fields(t: TestService) {
    let s = fixture(&t).await;
    with_fields(&t, &s).await;
    let filter = json!({"fields": [
        {"field": "gpu", "operator": "one_of", "values": ["a100", "h100"]},
        {"field": "count", "operator": "equals", "values": ["4"]},
    ]});
    let (receiver, _) = with_webhook(&t, &s, json!({"filter": filter, "provisions": true})).await;
    let mut services = Vec::new();
    for (hour, config) in [
        json!({"gpu": "a100", "count": 4}),
        json!({"gpu": "a100", "count": 5}),
        json!({"gpu": "l40", "count": 4}),
        json!({"gpu": "h100", "count": 4}),
        json!({}),
    ]
    .into_iter()
    .enumerate()
    {
        let reservation = configured(&t, &s, 1 + hour as i64, config).await;
        services.push(reservation.provisioning.services.len());
    }
    drain(&t).await;
    let gpus: Vec<_> = receiver.requests().iter().map(|got| got.body["additional_config"]["gpu"].clone()).collect();
    assert_eq!(gpus.len(), 2);
    assert!(gpus.contains(&json!("a100")) && gpus.contains(&json!("h100")));
    assert_eq!(services, [2, 1, 1, 2, 1], "only services that are notified are required");
    assert_eq!(s.receiver.count(), 5);
}

async fn service_that_has_received_a_reservation_receives_its_end(t: TestService) {
    let s = fixture(&t).await;
    with_fields(&t, &s).await;
    let filter = json!({"fields": [{"field": "gpu", "operator": "equals", "values": ["a100"]}]});
    let (receiver, webhook) = with_webhook(&t, &s, json!({"filter": filter, "provisions": true})).await;
    let matching = configured(&t, &s, 1, json!({"gpu": "a100"})).await;
    let other = configured(&t, &s, 2, json!({"gpu": "l40"})).await;
    let change = |gpu: &str| {
        let config = json!({"gpu": gpu}).as_object().unwrap().clone();
        ReservationPatch { additional_config: Some(config), ..Default::default() }
    };
    t.reservations().update(&s.alice, &matching.id, change("l40")).await.unwrap();
    t.reservations().cancel(&s.alice, &matching.id, None).await.unwrap();
    t.reservations().cancel(&s.alice, &other.id, None).await.unwrap();
    drain(&t).await;
    assert_eq!(events(&receiver), ["reservation.created", "reservation.updated", "reservation.cancelled"]);
    assert!(receiver.requests().iter().all(|got| got.reservation() == matching.id.as_str()));
    let state = t.reservations().get(&s.alice, &matching.id).await.unwrap().reservation.provisioning;
    assert_eq!(state.status, ProvisioningStatus::Released);
    let state = t.reservations().get(&s.alice, &other.id).await.unwrap().reservation.provisioning;
    assert!(state.services.iter().all(|service| service.webhook_id != webhook), "{state:?}");
    // A change that makes a reservation match is its first event for the webhook.
    let third = configured(&t, &s, 3, json!({"gpu": "l40"})).await;
    t.reservations().update(&s.alice, &third.id, change("a100")).await.unwrap();
    drain(&t).await;
    assert_eq!(receiver.last().event(), "reservation.updated");
    assert_eq!(receiver.last().reservation(), third.id.as_str());
}

async fn responses_report_the_secret_that_verified(t: TestService) {
    let s = fixture(&t).await;
    let used = async || t.webhooks().get(&s.root, s.webhook).await.unwrap().secret_use;
    let report = |value: &str| s.receiver.respond(Response::status(200).with_header("x-webhook-secret-used", value));
    report("current");
    t.booking(&s.alice, s.resource, 1, 2).await;
    drain(&t).await;
    assert_eq!(used().await, None, "there is no overlap");
    t.clock.advance(Duration::minutes(1));
    let rotation = RotateInput { overlap_hours: Some(1), secret: None };
    t.webhooks().rotate_secret(&s.root, s.webhook, rotation).await.unwrap();
    let counts = async || used().await.map(|used| (used.deliveries, used.current, used.previous));
    assert_eq!(counts().await, Some((0, 0, 0)), "earlier reports are about the old secret");
    for (hour, value) in (2..).zip(["previous", "current", "current", "other"]) {
        report(value);
        t.booking(&s.alice, s.resource, hour, hour + 1).await;
        drain(&t).await;
    }
    s.receiver.respond(Response::status(200));
    t.booking(&s.alice, s.resource, 7, 8).await;
    drain(&t).await;
    assert_eq!(counts().await, Some((5, 2, 1)));
    let page = domain::pagination::PageQuery::default();
    assert_eq!(t.webhooks().list(&s.root, &page).await.unwrap().items[0].secret_use, used().await);
    t.clock.advance(Duration::hours(1));
    assert_eq!(used().await, None, "the overlap has ended");
}

async fn test_events_have_the_format_of_the_webhook(t: TestService) {
    let s = fixture(&t).await;
    for format in forms() {
        set_format(&t, &s, s.webhook, format).await;
        for event in EventType::ALL {
            let input = TestInput { event_type: Some(event), payload: None };
            let attempt = t.webhooks().send_test(&s.root, s.webhook, input).await.unwrap();
            let got = s.receiver.last();
            assert_eq!(got.header("content-type"), format.content_type());
            let logged = t.delivery(&s.root, &attempt.delivery_id).await;
            assert_eq!((logged.body.as_bytes(), attempt.request.body.as_bytes()), (&got.raw[..], &got.raw[..]));
            let named: Vec<_> =
                attempt.request.headers.iter().filter(|header| header.name.starts_with("Ce-")).collect();
            assert_eq!(named.len(), if format == PayloadFormat::CloudeventsBinary { 7 } else { 0 });
            let test = if format == PayloadFormat::CloudeventsStructured {
                &got.body["data"]["test"]
            } else {
                &got.body["test"]
            };
            assert_eq!(test, true);
        }
    }
}

async fn filter_with_unknown_names_is_rejected(t: TestService) {
    let s = fixture(&t).await;
    let update = async |more: Value| {
        let patch: WebhookPatch = serde_json::from_value(more).unwrap();
        t.webhooks().update(&s.root, s.webhook, patch).await
    };
    let condition = |field: &str| json!([{"field": field, "operator": "equals", "values": ["1"]}]);
    let problem = refused(update(json!({"filter": {"resource_ids": [s.resource, 99]}})).await, Invalid);
    assert_eq!(problem.errors[0].field, "filter.resource_ids");
    assert!(problem.errors[0].message.contains("no resource 99 of the type gpu-cluster"), "{problem}");
    refused(update(json!({"filter": {"fields": condition("gpu")}})).await, Invalid);
    with_fields(&t, &s).await;
    let problem = refused(update(json!({"filter": {"fields": condition("gpus")}})).await, Invalid);
    assert_eq!(problem.errors[0].field, "filter.fields.0.field");
    assert!(problem.errors[0].message.contains("Use one of: count, gpu."), "{problem}");
    let kept = json!({"resource_ids": [s.resource], "fields": condition("gpu")});
    update(json!({"filter": kept})).await.unwrap();
    // A later patch of another setting does not check the stored filter again.
    t.catalogue().delete_resource(&s.root, s.resource).await.unwrap();
    let renamed = update(json!({"name": "Renamed"})).await.unwrap();
    assert_eq!(serde_json::to_value(&renamed.filter).unwrap(), kept);
}

async fn account_is_erased_from_payloads_of_each_format(t: TestService) {
    let s = fixture(&t).await;
    let mut webhooks = vec![s.webhook];
    let mut receivers = Vec::new();
    for format in PayloadFormat::ALL {
        let (receiver, webhook) = with_webhook(&t, &s, json!({"payload_format": format})).await;
        receivers.push(receiver);
        webhooks.push(webhook);
    }
    let reservation = t.booking(&s.alice, s.resource, 1, 3).await;
    t.clock.set(reservation.start_time);
    assert_eq!(t.reservations().start_due(10).await.unwrap(), 1);
    t.reservations().cancel(&s.alice, &reservation.id, None).await.unwrap();
    drain(&t).await;
    t.privacy().erase(&s.root, "alice", Default::default()).await.unwrap();
    for webhook in webhooks {
        for delivery in t.deliveries(&s.root, of_webhook(webhook)).await {
            let body = t.delivery(&s.root, &delivery.id).await.body;
            assert!(!body.contains("alice"), "{body}");
        }
    }
}
