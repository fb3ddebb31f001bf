//! Webhook health: alerts, 410 Gone, and the summary.

use super::{any_delivery, fixture};
use crate::support::{TestService, drain};
use chrono::Duration;
use domain::delivery::DeliveryStatus::*;
use domain::webhook::{ResumeInput, WebhookHealth, WebhookPatch, WebhookState};
use sea_orm::ConnectionTrait as _;
use test_support::{Response, eventually, on_both_databases};

on_both_databases![status_410_disables_webhook, failing_webhook_alerts_once_and_again_on_recovery];

on_both_databases![postgres only: webhook_summary_reads_only_its_sample];

async fn status_410_disables_webhook(t: TestService) {
    let s = fixture(&t).await;
    s.receiver.respond(Response::status(410));
    t.booking(&s.alice, s.resource, 1, 3).await;
    drain(&t).await;
    let delivery = &t.deliveries(&s.root, any_delivery()).await[0];
    assert_eq!((delivery.status, delivery.attempts), (Failed, 1), "it is not retried");
    let webhook = t.webhooks().get(&s.root, s.webhook).await.unwrap();
    assert_eq!((webhook.state, webhook.enabled), (WebhookState::Gone, false));
    let alerts = t.notifications().list(&s.root).await.unwrap();
    assert_eq!(alerts.len(), 1);
    assert!(alerts[0].message.contains("410"), "{}", alerts[0].message);
    assert_eq!(alerts[0].link.as_deref(), Some(format!("/settings/webhooks/{}", s.webhook).as_str()));
    assert!(t.notifications().list(&s.alice).await.unwrap().is_empty());
    t.booking(&s.alice, s.resource, 5, 6).await;
    drain(&t).await;
    assert_eq!(s.receiver.count(), 1, "its events are kept");
    s.receiver.respond(Response::status(200));
    t.webhooks().resume(&s.root, s.webhook, ResumeInput::default()).await.unwrap();
    drain(&t).await;
    assert_eq!(s.receiver.count(), 2);
}

async fn failing_webhook_alerts_once_and_again_on_recovery(t: TestService) {
    let s = fixture(&t).await;
    let patch = WebhookPatch { retry: Some(domain::retry::RetryPolicy { delays: vec![] }), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    s.receiver.respond(Response::status(500));
    for hour in 0..3 {
        t.booking(&s.alice, s.resource, 1 + hour, 2 + hour).await;
        drain(&t).await;
    }
    let messages = async || -> Vec<String> {
        t.notifications().list(&s.root).await.unwrap().into_iter().map(|n| n.message).collect()
    };
    assert_eq!(messages().await.len(), 1, "once for all failures");
    assert_eq!(t.webhooks().get(&s.root, s.webhook).await.unwrap().summary.health, WebhookHealth::Failing);
    s.receiver.respond(Response::status(200));
    t.booking(&s.alice, s.resource, 8, 9).await;
    drain(&t).await;
    assert_eq!(messages().await.len(), 2);
    assert!(messages().await[0].contains("succeed again"));
    // A flaky receiver does not cause a flood of alerts.
    for hour in 10..20 {
        s.receiver.respond(Response::status(if hour % 2 == 0 { 500 } else { 200 }));
        t.booking(&s.alice, s.resource, hour, hour + 1).await;
        drain(&t).await;
    }
    assert_eq!(messages().await.len(), 2);
    t.clock.advance(Duration::minutes(2));
    s.receiver.respond(Response::status(500));
    t.booking(&s.alice, s.resource, 30, 31).await;
    drain(&t).await;
    assert_eq!(messages().await.len(), 3, "the cooldown has passed");
}

/// The statistics of a growing table are outdated. A plan that collects and sorts all attempts of a day makes the page of a busy webhook
/// slower with each attempt.
async fn webhook_summary_reads_only_its_sample(t: TestService) {
    let s = fixture(&t).await;
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
    assert_eq!(t.webhooks().get(&s.root, s.webhook).await.unwrap().summary.deliveries, 5_000);
    // A session flushes its statistics when it ends.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.execute_unprepared(end).await.unwrap();
    let read = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'attempts_webhook'";
    let read = eventually("flushed statistics", async || {
        let statement = sea_orm::Statement::from_string(database.get_database_backend(), read);
        // The connection was terminated too; its first use fails.
        let row = database.query_one_raw(statement).await.ok()??;
        row.try_get_by_index::<i64>(0).ok().filter(|read| *read > 0)
    })
    .await;
    assert!(read <= 5_000, "{read} entries were read");
}
