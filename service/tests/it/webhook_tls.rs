//! TLS settings of webhooks: client certificates and own authorities.

use crate::support::{TestService, drain, refused, webhook_input};
use chrono::Duration;
use domain::ProblemKind;
use domain::alert::{AlertFilter, AlertKind, AlertRule};
use domain::authorization::{Actor, Role};
use domain::delivery::{DeliveryFilter, DeliveryStatus};
use domain::draft_check::DraftCheckInput;
use domain::resource::ResourceStatus;
use domain::webhook::{MonitoringPatch, TlsInput, WebhookInput, WebhookPatch};
use sea_orm::{ConnectionTrait as _, Statement};
use test_support::{ClientCertificate, MutualTlsReceiver, on_both_databases};

on_both_databases![
    settings_are_stored_and_used_and_removed,
    key_is_kept_only_for_its_certificate,
    draft_and_health_check_present_the_client_certificate,
    expiry_of_the_client_certificate_fires_the_alert,
];

fn tls(receiver: &MutualTlsReceiver, client: &ClientCertificate) -> TlsInput {
    TlsInput {
        ca_certificates: receiver.ca.clone(),
        client_certificate: client.certificate.clone(),
        client_key: client.key.clone(),
    }
}

fn with_tls(tls: TlsInput) -> WebhookPatch {
    WebhookPatch { tls: Some(tls), ..Default::default() }
}

fn input(receiver: &MutualTlsReceiver, client: &ClientCertificate) -> WebhookInput {
    WebhookInput { tls: Some(tls(receiver, client)), ..webhook_input(&receiver.url) }
}

/// Reserves the resource for the hour after `hour`, and returns the number of deliveries that have succeeded.
async fn deliver(t: &TestService, root: &Actor, alice: &Actor, resource: i64, hour: i64) -> usize {
    t.booking(alice, resource, hour, hour + 1).await;
    drain(t).await;
    let deliveries = t.deliveries(root, DeliveryFilter::default()).await;
    deliveries.iter().filter(|delivery| delivery.status == DeliveryStatus::Succeeded).count()
}

async fn settings_are_stored_and_used_and_removed(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = MutualTlsReceiver::start().await;
    let client = receiver.client("berth");
    let webhook = t.webhooks().create(&root, input(&receiver, &client)).await.unwrap().webhook;
    let id = webhook.id;
    let view = webhook.tls.unwrap();
    assert_eq!(
        (view.ca_certificates.as_str(), view.client_certificate.as_str()),
        (&*receiver.ca, &*client.certificate)
    );
    let shown = view.client().unwrap();
    assert!(shown.subject.contains("CN=berth") && shown.issuer.contains("CN=Test authority"), "{shown:?}");
    assert_eq!((shown.expires_at.to_rfc3339().as_str(), shown.sha256.len()), ("2090-01-01T00:00:00+00:00", 64));
    assert_eq!(deliver(&t, &root, &alice, resource, 1).await, 1);
    assert_eq!(receiver.receiver.count(), 1);
    let database = t.database().await;
    let stored = Statement::from_string(database.get_database_backend(), "SELECT client_key FROM webhooks");
    let stored = async || -> Option<String> {
        database.query_one_raw(stored.clone()).await.unwrap().unwrap().try_get_by_index(0).unwrap()
    };
    assert!(stored().await.is_some_and(|text| !text.contains("PRIVATE KEY")), "the key is encrypted");
    // Another field keeps them, and `{}` removes them.
    let patch = WebhookPatch { name: Some("Other".into()), ..Default::default() };
    assert_eq!(t.webhooks().update(&root, id, patch).await.unwrap().tls, Some(view));
    assert_eq!(t.webhooks().update(&root, id, with_tls(TlsInput::default())).await.unwrap().tls, None);
    assert_eq!(stored().await, None);
    assert_eq!(deliver(&t, &root, &alice, resource, 3).await, 1);
    assert_eq!(receiver.receiver.count(), 1);
    // A deleted webhook has no settings.
    t.webhooks().update(&root, id, with_tls(tls(&receiver, &client))).await.unwrap();
    t.webhooks().delete(&root, id).await.unwrap();
    assert_eq!(stored().await, None);
}

async fn key_is_kept_only_for_its_certificate(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = MutualTlsReceiver::start().await;
    let (client, other) = (receiver.client("one"), receiver.client("other"));
    let id = t.webhooks().create(&root, input(&receiver, &client)).await.unwrap().webhook.id;
    let without_key = |client: &ClientCertificate| TlsInput { client_key: String::new(), ..tls(&receiver, client) };
    t.webhooks().update(&root, id, with_tls(without_key(&client))).await.unwrap();
    assert_eq!(deliver(&t, &root, &alice, resource, 1).await, 1);
    let mismatch = TlsInput { client_key: client.key.clone(), ..tls(&receiver, &other) };
    let expired = receiver.client_until("expired", 2_026);
    let no_certificate = TlsInput { client_certificate: String::new(), ..tls(&receiver, &client) };
    for (tls, field, expected) in [
        (without_key(&other), "tls.client_key", "does not belong"),
        (mismatch, "tls.client_key", "does not belong"),
        (tls(&receiver, &expired), "tls.client_certificate", "expired on 2026-01-01"),
        (no_certificate, "tls.client_certificate", "Enter the certificate"),
    ] {
        let problem = refused(t.webhooks().update(&root, id, with_tls(tls)).await, ProblemKind::Invalid);
        assert!(problem.message_for(field).is_some_and(|message| message.contains(expected)), "{problem:?}");
    }
    let problem = refused(
        t.webhooks()
            .create(&root, WebhookInput { tls: Some(without_key(&client)), ..webhook_input(&receiver.url) })
            .await,
        ProblemKind::Invalid,
    );
    assert!(problem.message_for("tls.client_key").is_some(), "{problem:?}");
    t.webhooks().update(&root, id, with_tls(tls(&receiver, &other))).await.unwrap();
    assert_eq!(deliver(&t, &root, &alice, resource, 3).await, 2);
    // Only the authority changes; the certificate that has expired since is kept.
    let authority = MutualTlsReceiver::start().await.ca;
    let both = TlsInput { ca_certificates: format!("{}{authority}", receiver.ca), ..without_key(&other) };
    t.clock.advance(Duration::days(366 * 70));
    let webhook = t.webhooks().update(&root, id, with_tls(both)).await.unwrap();
    assert_eq!(webhook.tls.unwrap().ca_details.len(), 2);
}

async fn draft_and_health_check_present_the_client_certificate(t: TestService) {
    let root = t.administrator().await;
    t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = MutualTlsReceiver::start().await;
    let client = receiver.client("berth");
    let check = async |webhook: WebhookInput, webhook_id| {
        let before = receiver.receiver.count();
        t.webhooks().check_draft(&root, DraftCheckInput { webhook, webhook_id }).await.unwrap();
        receiver.receiver.count() > before
    };
    assert!(check(input(&receiver, &client), None).await);
    assert!(!check(webhook_input(&receiver.url), None).await, "no certificate");
    let id = t.webhooks().create(&root, input(&receiver, &client)).await.unwrap().webhook.id;
    assert!(check(webhook_input(&receiver.url), Some(id)).await, "the stored settings");
    let stored_key = TlsInput { client_key: String::new(), ..tls(&receiver, &client) };
    assert!(check(WebhookInput { tls: Some(stored_key), ..webhook_input(&receiver.url) }, Some(id)).await);
    let none = WebhookInput { tls: Some(TlsInput::default()), ..webhook_input(&receiver.url) };
    assert!(!check(none, Some(id)).await);
    let patch = MonitoringPatch { health_path: Some(Some("/health".into())), ..Default::default() };
    t.alerts().set_monitoring(&root, id, patch).await.unwrap();
    t.clock.advance(Duration::hours(1));
    assert_eq!(t.alerts().check_due_health().await.unwrap().checked, 1);
    assert_eq!(receiver.receiver.last().path, "/health");
}

async fn expiry_of_the_client_certificate_fires_the_alert(t: TestService) {
    let root = t.administrator().await;
    t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = MutualTlsReceiver::start().await;
    let client = receiver.client_until("berth", 2_027);
    let id = t.webhooks().create(&root, input(&receiver, &client)).await.unwrap().webhook.id;
    let rules = vec![AlertRule::built_in(AlertKind::CertificateExpiry)];
    t.alerts().set_monitoring(&root, id, MonitoringPatch { rules: Some(rules), ..Default::default() }).await.unwrap();
    let messages = async || -> Vec<String> {
        t.alerts().evaluate().await.unwrap();
        let alerts = t.alerts().list(&root, &AlertFilter::default(), &Default::default()).await.unwrap().items;
        alerts.into_iter().map(|alert| alert.message).collect()
    };
    assert_eq!(messages().await, [""; 0]);
    t.clock.set("2026-12-29T00:00:00Z".parse().unwrap());
    let messages = messages().await;
    assert!(messages.len() == 1 && messages[0].contains("The client certificate of"), "{messages:?}");
    assert!(messages[0].contains("expires in 3 days"), "{messages:?}");
}
