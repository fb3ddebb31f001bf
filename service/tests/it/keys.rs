//! The master key: its rotation, and the binding of secrets to their rows.

use crate::support::{TestService, drain, step, webhook_input};
use domain::alert::{AlertChannelsInput, OperationsWebhookInput};
use domain::audit::{AuditAction, AuditFilter};
use domain::authorization::{Actor, Role};
use domain::delivery::{DeliveryFilter, DeliveryStatus};
use domain::id::{ReservationId, WebhookId};
use domain::resource::ResourceStatus;
use domain::signature::{Secret, verify_body};
use domain::webhook::{RotateInput, TlsInput};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::json;
use service::audit::Verdict;
use service::idempotency::Idempotent;
use service::{Rotated, Service, Settings};
use test_support::{MutualTlsReceiver, Receiver, on_both_databases};

on_both_databases![
    rotation_keeps_every_secret_and_status_url,
    rotation_names_secrets_that_no_key_decrypts,
    secrets_are_readable_for_the_previous_release_until_the_rotation,
    secret_of_another_webhook_is_not_used,
];

const OLD_KEY: [u8; 32] = [7; 32];
const NEW_KEY: [u8; 32] = [8; 32];

/// A process with these master keys on the same database.
async fn with_keys(t: &TestService, current: [u8; 32], previous: &[[u8; 32]]) -> Service {
    let settings = Settings {
        master_key: current.into(),
        previous_master_keys: previous.iter().map(|key| (*key).into()).collect(),
        ..t.settings.clone()
    };
    Service::open(settings, t.clock.source()).await.unwrap()
}

/// A webhook that has every kind of secret.
async fn webhook_with_all_secrets(t: &TestService, root: &Actor, receiver: &Receiver) -> WebhookId {
    let certificates = MutualTlsReceiver::start().await;
    let mut input = webhook_input(&receiver.url);
    input.auth = serde_json::from_value(json!({"method": "api_key", "header": "X-Api-Key", "key": "api key"})).unwrap();
    input.headers = serde_json::from_value(json!([{"name": "X-Auth-Token", "value": "header value"}])).unwrap();
    input.ed25519 = Some(true);
    let client = certificates.client("berth");
    input.tls = Some(TlsInput { client_certificate: client.certificate, client_key: client.key, ..Default::default() });
    let id = t.webhooks().create(root, input).await.unwrap().webhook.id;
    for secret in ["the second signing secret", "the third signing secret"] {
        let input = RotateInput { secret: Some(secret.into()), ..Default::default() };
        t.webhooks().rotate_secret(root, id, input).await.unwrap();
    }
    id
}

/// The encrypted texts of all webhooks.
async fn stored_secrets(t: &TestService) -> Vec<String> {
    let database = t.database().await;
    let sql =
        "SELECT secret || ' ' || previous_secret || ' ' || earlier_secrets || ' ' || signing_key || ' ' || auth_secret
               || ' ' || headers || ' ' || client_key AS texts FROM webhooks ORDER BY id";
    let rows = database.query_all_raw(Statement::from_string(database.get_database_backend(), sql)).await.unwrap();
    rows.iter().map(|row| row.try_get("", "texts").unwrap()).collect()
}

async fn execute(t: &TestService, sql: &str) {
    t.database().await.execute_unprepared(sql).await.unwrap();
}

async fn rotation_keeps_every_secret_and_status_url(t: TestService) {
    let root = t.administrator().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = Receiver::start().await;
    let webhook = webhook_with_all_secrets(&t, &root, &receiver).await;
    t.idempotency().begin(&root, "key-1", "fingerprint").await.unwrap();
    t.idempotency().finish(&root, "key-1", 201, "{}").await.unwrap();
    let channel = OperationsWebhookInput { url: Some(format!("{}/operations", receiver.url)), ..Default::default() };
    t.alerts().set_channels(&root, AlertChannelsInput { webhook: Some(channel) }).await.unwrap();
    let reservation = ReservationId("res_1".into());
    let status_url = t.status_url(&reservation, webhook);
    let before = stored_secrets(&t).await;

    let rotating = with_keys(&t, NEW_KEY, &[OLD_KEY]).await;
    assert_eq!(rotating.status_url(&reservation, webhook), status_url);
    let rotated = rotating.maintenance().rotate_master_key().await.unwrap();
    // The webhook, the response, the operations webhook, and the keys of the status URLs and of the audit log.
    assert_eq!(rotated, Rotated { encrypted: 5, current: 0, unreadable: Vec::new() });
    let again = rotating.maintenance().rotate_master_key().await.unwrap();
    assert_eq!(again, Rotated { encrypted: 0, current: 4, unreadable: Vec::new() });
    let after = stored_secrets(&t).await;
    let texts = |stored: &[String]| -> Vec<String> {
        stored[0].split([' ', '"']).filter(|text| text.starts_with("v2.")).map(str::to_owned).collect()
    };
    assert_eq!((texts(&before).len(), texts(&after).len()), (8, 8));
    assert!(texts(&after).iter().all(|text| !texts(&before).contains(text)));

    // The new key alone reads everything, and verifies entries of before.
    let new = with_keys(&t, NEW_KEY, &[]).await;
    let filter = AuditFilter { action: Some(AuditAction::MasterKeyRotated), ..Default::default() };
    let recorded = new.audit().list(&root, &filter, &Default::default()).await.unwrap().items;
    assert_eq!((recorded.len(), recorded[0].credential.kind.as_str()), (2, "operator"));
    assert!(matches!(new.audit().verify(None).await.unwrap(), Verdict::Intact(log) if log.entries > 2));
    assert_eq!(new.status_url(&reservation, webhook), status_url);
    assert_eq!(new.alerts().test_channels(&root).await.unwrap().results[0].error, None);
    let alice = t.person("alice", Role::User).await;
    new.reservations().create(&alice, t.span(resource, 1, 2)).await.unwrap();
    drain(&new).await;
    let got = receiver.last();
    assert_eq!((got.header("x-api-key"), got.header("x-auth-token")), ("api key", "header value"));
    let secret = Secret::parse("the third signing secret").unwrap();
    assert!(verify_body(&secret, &got.raw, got.header("x-webhook-signature")));
    let signatures = got.header("webhook-signature");
    assert_eq!(signatures.matches("v1,").count(), 3, "{signatures}");
    assert_eq!(signatures.matches("v1a,").count(), 3, "{signatures}");
    match new.idempotency().begin(&root, "key-1", "fingerprint").await.unwrap() {
        Idempotent::Replay(status, body) => assert_eq!((status, body.as_str()), (201, "{}")),
        Idempotent::New => panic!("the response is lost"),
    }
}

async fn rotation_names_secrets_that_no_key_decrypts(t: TestService) {
    let root = t.administrator().await;
    t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = Receiver::start().await;
    let first = t.webhook(&root, &receiver).await;
    let second =
        with_keys(&t, [9; 32], &[]).await.webhooks().create(&root, webhook_input(&receiver.url)).await.unwrap();
    let deleted = t.webhook(&root, &receiver).await;
    t.webhooks().delete(&root, deleted).await.unwrap();
    let rotating = with_keys(&t, NEW_KEY, &[OLD_KEY]).await;
    let rotated = rotating.maintenance().rotate_master_key().await.unwrap();
    assert_eq!(rotated.unreadable, [format!("webhook {}", second.webhook.id)]);
    assert_eq!(rotated.encrypted, 3, "webhook {first}, and the keys of the status URLs and of the audit log");
}

async fn secrets_are_readable_for_the_previous_release_until_the_rotation(t: TestService) {
    let root = t.administrator().await;
    t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = Receiver::start().await;
    // An upgrade leaves this mark in a database with webhooks.
    execute(&t, "INSERT INTO unbound_secrets (id) VALUES (1)").await;
    let upgraded = t.replica().await;
    upgraded.webhooks().create(&root, webhook_input(&receiver.url)).await.unwrap();
    let form = async || {
        let database = t.database().await;
        let sql = Statement::from_string(database.get_database_backend(), "SELECT secret FROM webhooks");
        database.query_one_raw(sql).await.unwrap().unwrap().try_get::<String>("", "secret").unwrap()[..3].to_owned()
    };
    assert_eq!(form().await, "v1.");
    assert_eq!(upgraded.maintenance().rotate_master_key().await.unwrap().encrypted, 1);
    assert_eq!(form().await, "v2.");
    let restarted = t.replica().await;
    assert_eq!(restarted.maintenance().rotate_master_key().await.unwrap().encrypted, 0);
}

async fn secret_of_another_webhook_is_not_used(t: TestService) {
    let root = t.administrator().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let (victim, attacker) = (Receiver::start().await, Receiver::start().await);
    webhook_with_all_secrets(&t, &root, &victim).await;
    t.webhook(&root, &attacker).await;
    // Somebody who can write the database, but has no key, gives the credentials of one webhook to another.
    execute(
        &t,
        "UPDATE webhooks SET revision = revision + 1, auth = (SELECT auth FROM webhooks WHERE id = 1),
         auth_secret = (SELECT auth_secret FROM webhooks WHERE id = 1) WHERE id = 2",
    )
    .await;
    let restarted = t.replica().await;
    let alice = t.person("alice", Role::User).await;
    restarted.reservations().create(&alice, t.span(resource, 1, 2)).await.unwrap();
    let dispatcher = restarted.dispatcher();
    while step(&dispatcher).await > 0 {}
    assert_eq!((victim.count(), attacker.count()), (1, 0));
    let waiting = DeliveryFilter { webhook_id: Some(2), ..Default::default() };
    assert_eq!(t.deliveries(&root, waiting).await[0].status, DeliveryStatus::Pending);
}
