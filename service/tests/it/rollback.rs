//! Rows of a newer release, read after a rollback: values that this release does not know.

use crate::support::{TestService, drain};
use domain::authorization::Role;
use domain::delivery::DeliveryFilter;
use domain::pagination::PageQuery;
use domain::provisioning::{AccessBeforeStart, ProvisioningStatus};
use domain::reservation::{ReservationFilter, ReservationStatus};
use domain::resource::ResourceStatus;
use domain::webhook::{StatsWindow, WebhookPatch, WebhookState};
use sea_orm::{ConnectionTrait as _, Statement};
use test_support::{Receiver, on_both_databases};

on_both_databases![unknown_enum_values_do_not_make_reads_fail, webhook_with_unknown_settings_keeps_its_queue];

async fn unknown_enum_values_do_not_make_reads_fail(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Restricted).await;
    let webhook = t.webhook(&root, &Receiver::start().await).await;
    let access = domain::access_request::AccessRequestInput { resource_id: resource, reason: "Thesis".into() };
    t.access_requests().create(&alice, access).await.unwrap();
    let token = domain::account::ApiTokenInput { name: "ci".into(), ..Default::default() };
    let token = t.accounts().create_token_as_operator("alice", token).await.unwrap().token;
    let reservation = t.booking(&root, resource, 1, 2).await;
    drain(&t).await;

    let database = t.database().await;
    for sql in [
        "UPDATE users SET role = 'owner' WHERE username = 'alice'",
        "UPDATE resources SET status = 'draining'",
        "UPDATE resource_types SET access_before_start = 'after_approval'",
        "UPDATE access_requests SET status = 'escalated'",
        "UPDATE api_tokens SET scopes = '[\"read\",\"audit\"]'",
        "UPDATE webhooks SET state = 'throttled', events = '[\"reservation.moved\",\"reservation.created\"]'",
        "UPDATE deliveries SET status = 'archived', event_type = 'reservation.moved'",
        "UPDATE attempts SET outcome = 'partial', delivery_status = 'archived'",
        "UPDATE notifications SET severity = 'critical'",
        "UPDATE reservations SET status = 'suspended'",
        "UPDATE reservations SET provisioning = REPLACE(provisioning, '\"waiting\"', '\"hibernating\"')",
        "UPDATE provisioning SET state = REPLACE(state, '\"ready\"', '\"hibernating\"')",
    ] {
        database.execute_unprepared(sql).await.unwrap();
    }
    let page = PageQuery::default();
    let users = t.accounts().list_users(&root).await.unwrap();
    assert_eq!(users[0].role, Role::User);
    let resources = t.catalogue().list_resources(&root, None, &page).await.unwrap();
    assert_eq!(resources.items[0].status, ResourceStatus::Maintenance);
    let resource_type = t.catalogue().get_type(&root, "gpu-cluster").await.unwrap();
    assert_eq!(resource_type.access_before_start, AccessBeforeStart::Hide);
    t.access_requests().list(&root, None, &page).await.unwrap();
    let (actor, _) = t.accounts().authenticate_token(&token).await.unwrap();
    assert_eq!(actor.scopes, [domain::authorization::Scope::Read]);
    t.accounts().list_tokens(&alice).await.unwrap();
    t.notifications().list(&root).await.unwrap();
    let listed = t.webhooks().get(&root, webhook).await.unwrap();
    assert_eq!((listed.state, listed.events.len()), (WebhookState::Paused, 1));
    t.webhooks().stats(&root, webhook, StatsWindow::Day).await.unwrap();
    let filter = ReservationFilter::default();
    let found = &t.reservations().list(&root, &filter, &page).await.unwrap().items[0];
    assert_eq!(found.status, ReservationStatus::Cancelled);
    assert_eq!(found.provisioning.status, ProvisioningStatus::Provisioning);
    t.reservations().get(&root, &reservation.id).await.unwrap();
    for delivery in t.deliveries(&root, DeliveryFilter::default()).await {
        t.delivery(&root, &delivery.id).await;
    }
}

/// Requests without the right authentication, or to other paths, would be wrong. A change of other settings keeps them.
async fn webhook_with_unknown_settings_keeps_its_queue(t: TestService) {
    let root = t.administrator().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = Receiver::start().await;
    let webhook = t.webhook(&root, &receiver).await;
    let database = t.database().await;
    let auth = r#"{"method":"mtls","certificate":"x"}"#;
    let sql = format!("UPDATE webhooks SET auth = '{auth}', revision = revision + 1");
    database.execute_unprepared(&sql).await.unwrap();
    t.booking(&root, resource, 1, 2).await;
    drain(&t).await;
    assert_eq!(receiver.count(), 0);
    let patch = WebhookPatch { name: Some("Renamed".into()), ..Default::default() };
    assert_eq!(t.webhooks().update(&root, webhook, patch).await.unwrap().name, "Renamed");
    let statement = Statement::from_string(database.get_database_backend(), "SELECT auth FROM webhooks");
    let stored: String = database.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap();
    assert_eq!(stored, auth);
    let patch = WebhookPatch { auth: Some(domain::webhook::AuthInput::None), ..Default::default() };
    t.webhooks().update(&root, webhook, patch).await.unwrap();
    drain(&t).await;
    assert_eq!(receiver.count(), 1, "the queued event is delivered after the webhook has known settings");
}
