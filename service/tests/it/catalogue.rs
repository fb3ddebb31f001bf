//! Resource types, resources and access requests.

use crate::support::{TestService, refused};
use chrono::Duration;
use domain::ProblemKind::*;
use domain::authorization::Role;
use domain::delivery::DeliveryFilter;
use domain::event::EventType;
use domain::id::{AccessRequestId, ResourceId};
use domain::pagination::PageQuery;
use domain::reservation::ReservationInput;
use domain::resource::*;
use domain::webhook::{AuthInput, WebhookInput};
use serde_json::json;
use test_support::on_both_databases;

on_both_databases![
    resource_type_is_created_updated_and_deleted,
    resource_type_in_use_cannot_be_deleted,
    resource_is_created_updated_and_deleted,
    lists_are_paginated,
    bookable_depends_on_status_and_role,
    only_administrators_change_the_catalogue,
    catalogue_changes_invalidate_the_cache,
    access_request_publishes_event_and_notifies_administrators,
    access_request_is_decided_once,
    nul_in_input_is_no_internal_error,
];

fn page(limit: u32, cursor: Option<String>) -> PageQuery {
    PageQuery { limit: Some(limit), cursor }
}

fn ask(resource_id: ResourceId) -> AccessRequestInput {
    AccessRequestInput { resource_id, reason: "A paper is due.".into() }
}

fn an_hour(t: &TestService, resource_id: ResourceId) -> ReservationInput {
    ReservationInput {
        resource_id,
        title: None,
        start_time: t.now() + Duration::hours(1),
        end_time: t.now() + Duration::hours(2),
        user_ssh_key: None,
        additional_config: None,
    }
}

fn webhook(resource_type: Option<&str>, events: &[EventType]) -> WebhookInput {
    let (resource_type, events) = (resource_type.map(str::to_owned), events.to_vec());
    let url = "http://127.0.0.1:9/api/webhook";
    WebhookInput { resource_type, events, ..WebhookInput::new("receiver", url, AuthInput::None) }
}

async fn resource_type_is_created_updated_and_deleted(t: TestService) {
    let root = t.administrator().await;
    let schema =
        json!({"type": "object", "properties": {"cores": {"type": "integer", "minimum": 1}}, "required": ["cores"]});
    let input = ResourceTypeInput {
        slug: "vm".into(),
        name: "Virtual machine".into(),
        color: Some("#00aa00".into()),
        config_schema: Some(schema.clone()),
        ..Default::default()
    };
    let made = t.catalogue().create_type(&root, input.clone()).await.unwrap();
    assert_eq!(
        (made.id.as_str(), made.color.as_str(), &made.config_schema, made.resources),
        ("vm", "#00aa00", &schema, 0)
    );
    assert!(refused(t.catalogue().create_type(&root, input.clone()).await, Conflict).detail.contains("vm"));

    let wrong = ResourceTypeInput {
        slug: "No Slug".into(),
        name: String::new(),
        color: Some("red".into()),
        config_schema: Some(json!({"type": "array"})),
        ..Default::default()
    };
    let problem = refused(t.catalogue().create_type(&root, wrong).await, Invalid);
    for field in ["slug", "name", "color"] {
        assert!(problem.message_for(field).is_some(), "{problem:?}");
    }
    assert!(problem.errors.iter().any(|error| error.field.starts_with("config_schema")), "{problem:?}");

    let patch = ResourceTypePatch { name: Some("VM".into()), ..Default::default() };
    let changed = t.catalogue().update_type(&root, "vm", patch).await.unwrap();
    assert_eq!((changed.name.as_str(), &changed.config_schema, changed.color.as_str()), ("VM", &schema, "#00aa00"));
    refused(t.catalogue().update_type(&root, "none", ResourceTypePatch::default()).await, NotFound);

    t.catalogue().delete_type(&root, "vm").await.unwrap();
    refused(t.catalogue().get_type(&root, "vm").await, NotFound);
    refused(t.catalogue().delete_type(&root, "vm").await, NotFound);
    // A type without a schema has no fields.
    let plain = ResourceTypeInput { color: None, config_schema: Some(serde_json::Value::Null), ..input };
    assert_eq!(t.catalogue().create_type(&root, plain).await.unwrap().config_schema, json!({}));
}

async fn resource_type_in_use_cannot_be_deleted(t: TestService) {
    let root = t.administrator().await;
    let id = t.resource(&root, "node-1", ResourceStatus::Available).await;
    refused(t.catalogue().delete_type(&root, "gpu-cluster").await, Conflict);
    t.catalogue().delete_resource(&root, id).await.unwrap();
    let webhook =
        t.webhooks().create(&root, webhook(Some("gpu-cluster"), &[EventType::ReservationCreated])).await.unwrap();
    refused(t.catalogue().delete_type(&root, "gpu-cluster").await, Conflict);
    t.webhooks().delete(&root, webhook.webhook.id).await.unwrap();
    t.catalogue().delete_type(&root, "gpu-cluster").await.unwrap();
}

async fn resource_is_created_updated_and_deleted(t: TestService) {
    let root = t.administrator().await;
    let id = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let input = |name: &str, resource_type: &str| ResourceInput {
        name: name.into(),
        resource_type: resource_type.into(),
        location: Some("Rack 4".into()),
        specs: Some("8 × H100".into()),
        status: None,
    };
    let problem = refused(t.catalogue().create_resource(&root, input("node-1", "no-such-type")).await, Invalid);
    assert!(problem.message_for("resource_type").is_some_and(|message| message.contains("no-such-type")));
    assert!(
        refused(t.catalogue().create_resource(&root, input("node-1", "gpu-cluster")).await, Conflict)
            .detail
            .contains("node-1")
    );
    let other = t.catalogue().create_resource(&root, input("node-2", "gpu-cluster")).await.unwrap();
    assert_eq!(
        (other.location.as_str(), other.specs.as_str(), other.status),
        ("Rack 4", "8 × H100", ResourceStatus::Available)
    );
    assert_eq!(t.catalogue().get_type(&root, "gpu-cluster").await.unwrap().resources, 2);

    let rename = |name: &str| ResourcePatch { name: Some(name.into()), ..Default::default() };
    refused(t.catalogue().update_resource(&root, other.id, rename("node-1")).await, Conflict);
    let renamed = t.catalogue().update_resource(&root, other.id, rename("node-3")).await.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.location.as_str()), ("node-3", "Rack 4"));
    refused(t.catalogue().update_resource(&root, 4_711, rename("x")).await, NotFound);

    t.catalogue().delete_resource(&root, other.id).await.unwrap();
    refused(t.catalogue().get_resource(&root, other.id).await, NotFound);
    t.reservations().create(&root, an_hour(&t, id)).await.unwrap();
    refused(t.catalogue().delete_resource(&root, id).await, Conflict);
}

async fn lists_are_paginated(t: TestService) {
    let root = t.administrator().await;
    for name in ["a", "b", "c", "d", "e"] {
        t.resource(&root, name, ResourceStatus::Available).await;
    }
    let mut names = Vec::new();
    let mut cursor = None;
    loop {
        let found = t.catalogue().list_resources(&root, Some("gpu-cluster"), &page(2, cursor)).await.unwrap();
        assert!(found.items.len() <= 2);
        names.extend(found.items.into_iter().map(|resource| resource.name));
        match found.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    assert!(t.catalogue().list_resources(&root, Some("other"), &page(2, None)).await.unwrap().items.is_empty());
    assert_eq!(
        t.catalogue().list_resources(&root, None, &page(5, None)).await.unwrap().next_cursor,
        None,
        "a full last page has no next cursor"
    );
    for wrong in ["!", "bm9udW1iZXI"] {
        refused(t.catalogue().list_resources(&root, None, &page(2, Some(wrong.into()))).await, Invalid);
    }
    refused(t.catalogue().list_resources(&root, None, &page(201, None)).await, Invalid);

    for slug in ["a-1", "a1", "zz"] {
        let input = ResourceTypeInput { slug: slug.into(), name: slug.into(), ..Default::default() };
        t.catalogue().create_type(&root, input).await.unwrap();
    }
    let first = t.catalogue().list_types(&root, &page(3, None)).await.unwrap();
    let second = t.catalogue().list_types(&root, &page(3, first.next_cursor.clone())).await.unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next_cursor), (3, 1, None));
}

async fn bookable_depends_on_status_and_role(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    for (status, for_user, for_administrator) in [
        (ResourceStatus::Available, true, true),
        (ResourceStatus::Restricted, false, true),
        (ResourceStatus::Maintenance, false, false),
    ] {
        let id = t.resource(&root, status.as_str(), status).await;
        assert_eq!(t.catalogue().get_resource(&alice, id).await.unwrap().bookable, for_user, "{status:?}");
        assert_eq!(t.catalogue().get_resource(&root, id).await.unwrap().bookable, for_administrator, "{status:?}");
        assert_eq!(t.reservations().create(&alice, an_hour(&t, id)).await.is_ok(), for_user, "{status:?}");
    }
}

async fn only_administrators_change_the_catalogue(t: TestService) {
    let root = t.administrator().await;
    let id = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let alice = t.person("alice", Role::User).await;
    let new_type = ResourceTypeInput { slug: "vm".into(), name: "VM".into(), ..Default::default() };
    refused(t.catalogue().create_type(&alice, new_type).await, Forbidden);
    refused(t.catalogue().update_type(&alice, "gpu-cluster", ResourceTypePatch::default()).await, Forbidden);
    refused(t.catalogue().delete_type(&alice, "gpu-cluster").await, Forbidden);
    let new_resource = ResourceInput {
        name: "n".into(),
        resource_type: "gpu-cluster".into(),
        location: None,
        specs: None,
        status: None,
    };
    refused(t.catalogue().create_resource(&alice, new_resource).await, Forbidden);
    refused(t.catalogue().update_resource(&alice, id, ResourcePatch::default()).await, Forbidden);
    refused(t.catalogue().delete_resource(&alice, id).await, Forbidden);
    refused(t.access_requests().approve(&alice, &AccessRequestId("acr_x".into())).await, Forbidden);
}

async fn catalogue_changes_invalidate_the_cache(t: TestService) {
    let root = t.administrator().await;
    let id = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let alice = t.person("alice", Role::User).await;
    // This reservation puts the resource into the cache…
    t.reservations().create(&alice, an_hour(&t, id)).await.unwrap();
    t.clock.advance(Duration::hours(2));
    // …and each of these changes invalidates it.
    let status = |status| ResourcePatch { status: Some(status), ..Default::default() };
    t.catalogue().update_resource(&root, id, status(ResourceStatus::Maintenance)).await.unwrap();
    refused(t.reservations().create(&alice, an_hour(&t, id)).await, Conflict);
    t.catalogue().update_resource(&root, id, status(ResourceStatus::Available)).await.unwrap();
    let schema = json!({"type": "object", "properties": {"cores": {"type": "integer"}}, "required": ["cores"]});
    let patch = ResourceTypePatch { config_schema: Some(schema), ..Default::default() };
    t.catalogue().update_type(&root, "gpu-cluster", patch).await.unwrap();
    refused(t.reservations().create(&alice, an_hour(&t, id)).await, Invalid);
}

async fn access_request_publishes_event_and_notifies_administrators(t: TestService) {
    let root = t.administrator().await;
    let id = t.resource(&root, "node-1", ResourceStatus::Restricted).await;
    let open = t.resource(&root, "node-2", ResourceStatus::Available).await;
    let closed = t.resource(&root, "node-3", ResourceStatus::Maintenance).await;
    let alice = t.person("alice", Role::User).await;
    let receiver = t
        .webhooks()
        .create(&root, webhook(Some("gpu-cluster"), &[EventType::AccessRequested]))
        .await
        .unwrap()
        .webhook
        .id;
    t.webhooks().create(&root, webhook(None, &[EventType::ReservationCreated])).await.unwrap();

    let request = t.access_requests().create(&alice, ask(id)).await.unwrap();
    assert_eq!((request.status, request.user_id.as_str()), (AccessStatus::Pending, "alice"));
    let deliveries =
        t.service.deliveries().list(&root, &DeliveryFilter::default(), &PageQuery::default()).await.unwrap().items;
    assert_eq!(deliveries.len(), 1, "only the subscribed webhook receives it: {deliveries:?}");
    let delivery = t.service.deliveries().get(&root, &deliveries[0].id).await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&delivery.body).unwrap();
    assert_eq!(
        body,
        json!({
            "event_type": "user.access_requested",
            "event_id": delivery.delivery.event_id.as_str(),
            "timestamp": "2026-03-02T09:00:00.250Z",
            "webhook_id": receiver,
            "test": false,
            "access_request_id": request.id.as_str(),
            "user_id": "alice",
            "user_email": "alice@example.com",
            "resource_type": "gpu-cluster",
            "resource_id": id,
            "resource_name": "node-1",
            "reason": "A paper is due.",
            "requested_at": "2026-03-02T09:00:00.250Z",
            "user_ssh_key": "",
        })
    );
    let notifications = t.notifications().list(&root).await.unwrap();
    assert!(notifications[0].message.contains("alice") && notifications[0].message.contains("node-1"));
    assert!(t.notifications().list(&alice).await.unwrap().is_empty());

    // A rejected request publishes and notifies nothing.
    refused(t.access_requests().create(&alice, ask(id)).await, Conflict);
    refused(t.access_requests().create(&alice, ask(open)).await, Conflict);
    refused(t.access_requests().create(&alice, ask(closed)).await, Conflict);
    refused(t.access_requests().create(&alice, ask(4_711)).await, NotFound);
    let without_reason = AccessRequestInput { resource_id: id, reason: " ".into() };
    assert!(refused(t.access_requests().create(&alice, without_reason).await, Invalid).message_for("reason").is_some());
    let all = t.service.deliveries().list(&root, &DeliveryFilter::default(), &PageQuery::default()).await.unwrap();
    assert_eq!(all.items.len(), 1);
    assert_eq!(t.notifications().list(&root).await.unwrap().len(), 1);
}

async fn access_request_is_decided_once(t: TestService) {
    let root = t.administrator().await;
    let one = t.resource(&root, "node-1", ResourceStatus::Restricted).await;
    let two = t.resource(&root, "node-2", ResourceStatus::Restricted).await;
    let alice = t.person("alice", Role::User).await;
    let bob = t.person("bob", Role::User).await;
    let granted = t.access_requests().create(&alice, ask(one)).await.unwrap().id;
    let denied = t.access_requests().create(&alice, ask(two)).await.unwrap().id;
    t.access_requests().create(&bob, ask(one)).await.unwrap();
    refused(t.reservations().create(&alice, an_hour(&t, one)).await, Forbidden);

    let decided = t.access_requests().approve(&root, &granted).await.unwrap();
    assert_eq!(
        (decided.status, decided.decided_by.as_deref(), decided.decided_at),
        (AccessStatus::Approved, Some("root"), Some(t.now()))
    );
    refused(t.access_requests().approve(&root, &granted).await, Conflict);
    t.access_requests().deny(&root, &denied).await.unwrap();
    refused(t.access_requests().approve(&root, &denied).await, Conflict);
    refused(t.access_requests().approve(&root, &AccessRequestId("acr_none".into())).await, NotFound);

    assert!(t.catalogue().get_resource(&alice, one).await.unwrap().bookable);
    t.reservations().create(&alice, an_hour(&t, one)).await.unwrap();
    refused(t.reservations().create(&alice, an_hour(&t, two)).await, Forbidden);
    refused(t.reservations().create(&bob, an_hour(&t, one)).await, Forbidden);
    assert_eq!(t.notifications().list(&alice).await.unwrap().len(), 2);
    // A user may repeat a denied request.
    t.access_requests().create(&alice, ask(two)).await.unwrap();

    let list = async |actor, status, limit| t.access_requests().list(actor, status, &page(limit, None)).await.unwrap();
    assert_eq!(list(&alice, None, 50).await.items.len(), 3);
    assert_eq!(list(&bob, None, 50).await.items.len(), 1);
    assert_eq!(list(&root, Some(AccessStatus::Pending), 50).await.items.len(), 2);
    let first = list(&root, None, 3).await;
    let rest = t.access_requests().list(&root, None, &page(3, first.next_cursor)).await.unwrap();
    assert_eq!((rest.items.len(), &rest.items[0].id, rest.next_cursor), (1, &granted, None), "newest first");
}

async fn nul_in_input_is_no_internal_error(t: TestService) {
    let root = t.administrator().await;
    let problem = t.catalogue().get_type(&root, "a\0b").await.unwrap_err();
    assert!([NotFound, Malformed].contains(&problem.kind), "{problem}");
    let problem = t.catalogue().list_resources(&root, Some("\0"), &PageQuery::default()).await.err();
    assert!(problem.is_none_or(|problem| problem.kind == Malformed));
    let problem = t.access_requests().approve(&root, &AccessRequestId("\0".into())).await.unwrap_err();
    assert!([NotFound, Malformed].contains(&problem.kind), "{problem}");
    let input =
        ResourceInput { name: "n".into(), resource_type: "\0".into(), location: None, specs: None, status: None };
    let problem = t.catalogue().create_resource(&root, input).await.unwrap_err();
    assert!([Invalid, Malformed].contains(&problem.kind), "{problem}");
}
