//! Monitoring of webhooks and alerts: rules, health checks, mutes, the automatic pause, and notices.

use crate::support::{TestService, drain, refused};
use chrono::Duration;
use domain::ProblemKind;
use domain::alert::{
    AlertChannelsInput, AlertFilter, AlertKind, AlertPreferences, AlertRule, AlertRulesInput, AlertStatus, MuteInput,
    NoticeFormat, OperationsWebhookInput,
};
use domain::authorization::{Actor, Role};
use domain::pagination::PageQuery;
use domain::resource::ResourceStatus;
use domain::retry::RetryPolicy;
use domain::signature::{Secret, sign_body};
use domain::webhook::{HealthCheckStatus, MonitoringPatch, RecoverInput, WebhookPatch, WebhookState};
use sea_orm::{ConnectionTrait as _, Statement};
use service::alerts::HealthRound;
use service::groups::OwnedObject;
use service::{Service, SmtpSettings};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use test_support::{Receiver, Response, on_both_databases};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

on_both_databases![
    alert_fires_after_minimum_duration_and_ends_on_success,
    error_rate_and_latency_are_read_from_counters,
    health_check_is_run_once_by_two_replicas_and_fires,
    muted_alert_is_sent_when_the_mute_ends,
    failing_webhook_is_paused_and_recovery_is_offered_without_loss,
    recovered_webhook_is_resumed_by_rule,
    pause_needs_the_configured_time_and_ends_with_a_manual_resume,
    backlog_and_certificate_and_disabled_fire,
    alerts_of_a_deleted_webhook_end,
    concurrent_evaluations_create_one_alert,
    operations_webhook_is_signed_and_retried_after_a_restart,
    slack_format_has_a_text,
    emails_are_sent_to_managers_who_want_them,
    oauth_token_is_fetched_on_demand_and_its_failure_is_shown,
    owners_see_and_change_only_their_webhooks,
];

/// An administrator, a user, a resource, and a receiver with a status for events and one for health checks.
struct Scene {
    root: Actor,
    alice: Actor,
    resource: i64,
    receiver: Receiver,
    webhook: i64,
    events: Arc<AtomicU16>,
    health: Arc<AtomicU16>,
    hour: std::cell::Cell<i64>,
}

impl Scene {
    async fn new(t: &TestService) -> Self {
        let root = t.administrator().await;
        let alice = t.person("alice", Role::User).await;
        let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
        let receiver = Receiver::start().await;
        let (events, health) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(200)));
        let (for_events, for_health) = (events.clone(), health.clone());
        receiver.respond_with(move |request| {
            let status = if request.path == "/health" { &for_health } else { &for_events };
            Response::status(status.load(Ordering::Relaxed))
        });
        let webhook = t.webhook(&root, &receiver).await;
        let patch = WebhookPatch { retry: Some(RetryPolicy { delays: vec![] }), ..Default::default() };
        t.webhooks().update(&root, webhook, patch).await.unwrap();
        Self { root, alice, resource, receiver, webhook, events, health, hour: 1.into() }
    }

    /// The receiver responds with this status to events.
    fn events(&self, status: u16) {
        self.events.store(status, Ordering::Relaxed);
    }

    /// Reserves without sending the event.
    async fn reserve(&self, t: &TestService) {
        let hour = self.hour.replace(self.hour.get() + 2);
        t.booking(&self.alice, self.resource, hour, hour + 1).await;
    }

    /// Sends one event.
    async fn send(&self, t: &TestService, status: u16) {
        self.events(status);
        self.reserve(t).await;
        drain(t).await;
    }

    async fn set(&self, t: &TestService, patch: MonitoringPatch) {
        t.alerts().set_monitoring(&self.root, self.webhook, patch).await.unwrap();
    }

    /// Applies only these rules to the webhook.
    async fn rules(&self, t: &TestService, rules: Vec<AlertRule>) {
        let off = AlertKind::ALL.iter().filter(|kind| rules.iter().all(|rule| rule.kind != **kind));
        let off = off.map(|kind| AlertRule { enabled: false, ..AlertRule::built_in(*kind) });
        let rules = rules.iter().copied().chain(off).collect();
        self.set(t, MonitoringPatch { rules: Some(rules), ..Default::default() }).await;
    }

    async fn status(&self, t: &TestService, kind: AlertKind) -> AlertStatus {
        let monitoring = t.alerts().monitoring(&self.root, self.webhook).await.unwrap();
        monitoring.rules.iter().find(|rule| rule.rule.kind == kind).unwrap().status
    }

    /// The messages to administrators, newest first.
    async fn messages(&self, t: &TestService) -> Vec<String> {
        let notifications = t.notifications().list(&self.root).await.unwrap();
        let of_rules =
            notifications.into_iter().filter(|n| n.link.as_deref().unwrap_or_default().contains("tab=health"));
        of_rules.map(|n| n.message).collect()
    }

    async fn firing(&self, t: &TestService) -> Vec<AlertKind> {
        let filter = AlertFilter { webhook_id: Some(self.webhook), firing: Some(true) };
        let page = t.alerts().list(&self.root, &filter, &PageQuery::default()).await.unwrap();
        page.items.into_iter().map(|alert| alert.kind).collect()
    }

    async fn state(&self, t: &TestService) -> WebhookState {
        t.webhooks().get(&self.root, self.webhook).await.unwrap().state
    }
}

fn rule(kind: AlertKind, threshold: f64, clear_threshold: f64, for_seconds: u32) -> AlertRule {
    AlertRule { kind, enabled: true, threshold, clear_threshold, for_seconds }
}

async fn evaluate(service: &Service) {
    service.alerts().evaluate().await.unwrap();
}

async fn alert_fires_after_minimum_duration_and_ends_on_success(t: TestService) {
    let s = Scene::new(&t).await;
    let kind = AlertKind::ConsecutiveFailures;
    s.rules(&t, vec![rule(kind, 2.0, 0.0, 60)]).await;
    s.send(&t, 500).await;
    evaluate(&t).await;
    assert_eq!(s.status(&t, kind).await, AlertStatus::Ok, "one failure is below the threshold");
    s.send(&t, 500).await;
    evaluate(&t).await;
    assert_eq!(s.status(&t, kind).await, AlertStatus::Pending);
    t.clock.advance(Duration::seconds(59));
    evaluate(&t).await;
    assert!(s.messages(&t).await.is_empty());
    t.clock.advance(Duration::seconds(1));
    for _ in 0..3 {
        evaluate(&t).await;
    }
    assert_eq!(s.status(&t, kind).await, AlertStatus::Firing);
    assert_eq!(s.messages(&t).await, ["The last 2 attempts to Provisioner failed (threshold 2)."], "once");
    t.clock.advance(Duration::seconds(30));
    s.send(&t, 200).await;
    evaluate(&t).await;
    assert_eq!(s.status(&t, kind).await, AlertStatus::Ok);
    assert!(s.messages(&t).await[0].contains("back to normal"));
    let all = t.alerts().list(&s.root, &AlertFilter::default(), &PageQuery::default()).await.unwrap().items;
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].value, all[0].threshold), (2.0, 2.0));
    assert_eq!(all[0].resolved_at.unwrap() - all[0].fired_at, Duration::seconds(30));
    // Test events do not count.
    s.events(500);
    for _ in 0..3 {
        t.webhooks().send_test(&s.root, s.webhook, Default::default()).await.unwrap();
    }
    t.clock.advance(Duration::minutes(5));
    evaluate(&t).await;
    assert_eq!(s.status(&t, kind).await, AlertStatus::Ok);
}

async fn error_rate_and_latency_are_read_from_counters(t: TestService) {
    let s = Scene::new(&t).await;
    let rules = vec![rule(AlertKind::ErrorRate, 0.5, 0.2, 0), rule(AlertKind::P95Latency, 1.0, 1.0, 0)];
    s.rules(&t, rules).await;
    for status in [500, 500, 500, 200] {
        s.send(&t, status).await;
    }
    t.index().await;
    evaluate(&t).await;
    assert!(s.firing(&t).await.is_empty(), "four attempts are too few");
    s.send(&t, 200).await;
    t.index().await;
    evaluate(&t).await;
    let firing = s.firing(&t).await;
    assert!(firing.contains(&AlertKind::ErrorRate), "{firing:?}");
    let monitoring = t.alerts().monitoring(&s.root, s.webhook).await.unwrap();
    let value = |kind| monitoring.rules.iter().find(|rule| rule.rule.kind == kind).unwrap().value;
    assert_eq!(value(AlertKind::ErrorRate), Some(0.6));
    assert!(value(AlertKind::P95Latency).is_some());
    // The attempts leave the period.
    t.clock.advance(Duration::minutes(30));
    evaluate(&t).await;
    assert!(s.firing(&t).await.is_empty());
}

async fn health_check_is_run_once_by_two_replicas_and_fires(t: TestService) {
    let s = Scene::new(&t).await;
    s.health.store(503, Ordering::Relaxed);
    let patch = MonitoringPatch {
        health_path: Some(Some("/health".into())),
        health_interval_seconds: Some(30),
        ..Default::default()
    };
    s.set(&t, patch).await;
    s.rules(&t, vec![rule(AlertKind::Health, 2.0, 0.0, 0)]).await;
    let other = t.replica().await;
    let (one, two) = tokio::join!(t.alerts().check_due_health(), other.alerts().check_due_health());
    assert_eq!(one.unwrap().checked + two.unwrap().checked, 1, "the lease belongs to one process");
    assert_eq!(s.receiver.count(), 1);
    assert_eq!(s.receiver.last().path, "/health");
    assert_eq!(s.receiver.last().header("x-webhook-signature"), "", "a health check is not signed");
    let health = t.alerts().monitoring(&s.root, s.webhook).await.unwrap().health;
    assert_eq!((health.status, health.status_code, health.failed_checks), (HealthCheckStatus::Failing, Some(503), 1));
    assert_eq!(health.error.as_deref(), Some("The health check returned 503."));
    evaluate(&t).await;
    assert!(s.firing(&t).await.is_empty());
    let round = t.alerts().check_due_health().await.unwrap();
    assert_eq!(round, HealthRound { checked: 0, next: Some(t.now() + Duration::seconds(30)) });
    assert_eq!(s.receiver.count(), 1, "the interval has not passed");
    t.clock.advance(Duration::seconds(30));
    t.alerts().check_due_health().await.unwrap();
    evaluate(&t).await;
    assert_eq!(s.firing(&t).await, [AlertKind::Health]);
    let since = t.now();
    t.clock.advance(Duration::seconds(30));
    s.health.store(204, Ordering::Relaxed);
    let health = t.alerts().check_health(&s.root, s.webhook).await.unwrap().health;
    assert_eq!((health.status, health.error), (HealthCheckStatus::Passing, None));
    assert!(health.since.unwrap() > since);
    evaluate(&t).await;
    assert!(s.firing(&t).await.is_empty());
    // Without a path there is no check.
    s.set(&t, MonitoringPatch { health_path: Some(None), ..Default::default() }).await;
    t.clock.advance(Duration::minutes(5));
    assert_eq!(t.alerts().check_due_health().await.unwrap(), HealthRound { checked: 0, next: None });
    refused(t.alerts().check_health(&s.root, s.webhook).await, ProblemKind::Conflict);
    let patch = MonitoringPatch { health_path: Some(Some("//evil.example".into())), ..Default::default() };
    let problem = refused(t.alerts().set_monitoring(&s.root, s.webhook, patch).await, ProblemKind::Invalid);
    assert!(problem.message_for("health_path").is_some());
}

async fn muted_alert_is_sent_when_the_mute_ends(t: TestService) {
    let s = Scene::new(&t).await;
    let kind = AlertKind::ConsecutiveFailures;
    s.rules(&t, vec![rule(kind, 1.0, 0.0, 0)]).await;
    let until = |at| MuteInput { kind: Some(kind), until: Some(at) };
    for at in [t.now(), t.now() + Duration::days(31)] {
        refused(t.alerts().mute(&s.root, s.webhook, until(at)).await, ProblemKind::Invalid);
    }
    t.alerts().mute(&s.root, s.webhook, until(t.now() + Duration::hours(1))).await.unwrap();
    s.send(&t, 500).await;
    evaluate(&t).await;
    assert_eq!(s.firing(&t).await, [kind]);
    assert!(s.messages(&t).await.is_empty(), "it is muted");
    t.clock.advance(Duration::hours(1));
    for _ in 0..2 {
        evaluate(&t).await;
    }
    assert_eq!(s.messages(&t).await.len(), 1, "it still fires");
    // An alert that ends while it is muted has no notice.
    t.alerts()
        .mute(&s.root, s.webhook, MuteInput { kind: None, until: Some(t.now() + Duration::hours(1)) })
        .await
        .unwrap();
    s.send(&t, 200).await;
    evaluate(&t).await;
    assert!(s.firing(&t).await.is_empty());
    assert_eq!(s.messages(&t).await.len(), 1);
    let monitoring = t.alerts().mute(&s.root, s.webhook, MuteInput::default()).await.unwrap();
    assert!(monitoring.rules.iter().all(|rule| rule.muted_until.is_none()));
}

/// Fails one delivery, waits until the webhook is paused, and queues one more event.
async fn paused_scene(t: &TestService, resume_on_recovery: bool) -> Scene {
    let s = Scene::new(t).await;
    s.rules(t, vec![]).await;
    s.health.store(500, Ordering::Relaxed);
    let patch = MonitoringPatch {
        health_path: Some(Some("/health".into())),
        health_interval_seconds: Some(10),
        pause_after_minutes: Some(Some(5)),
        resume_on_recovery: Some(resume_on_recovery),
        ..Default::default()
    };
    s.set(t, patch).await;
    s.send(t, 500).await;
    t.alerts().check_due_health().await.unwrap();
    t.clock.advance(Duration::minutes(5));
    t.alerts().check_due_health().await.unwrap();
    evaluate(t).await;
    assert_eq!(s.state(t).await, WebhookState::Paused);
    s.reserve(t).await;
    drain(t).await;
    s
}

/// The created reservations of the receiver's successful requests, and all of them.
fn received(s: &Scene) -> Vec<String> {
    let events = s.receiver.requests().into_iter().filter(|request| request.path != "/health");
    events.map(|request| request.reservation().to_owned()).collect()
}

async fn failing_webhook_is_paused_and_recovery_is_offered_without_loss(t: TestService) {
    let s = paused_scene(&t, false).await;
    assert!(s.messages(&t).await[0].contains("was paused"), "{:?}", s.messages(&t).await);
    let pause = t.alerts().monitoring(&s.root, s.webhook).await.unwrap().pause.unwrap();
    assert_eq!((pause.queued, pause.failed, pause.recovered_at), (1, 1, None));
    let entries = t.audit().list(&s.root, &Default::default(), &PageQuery::default()).await.unwrap().items;
    let entry = entries.iter().find(|entry| entry.action == "webhook.paused").unwrap();
    assert_eq!((entry.credential.kind.as_str(), &entry.actor), ("system", &None));
    evaluate(&t).await;
    assert_eq!(s.messages(&t).await.len(), 1, "nothing recovers before a check passes");
    s.health.store(200, Ordering::Relaxed);
    t.clock.advance(Duration::seconds(10));
    t.alerts().check_due_health().await.unwrap();
    for _ in 0..2 {
        evaluate(&t).await;
    }
    assert_eq!(s.state(&t).await, WebhookState::Paused, "the owner decides");
    assert_eq!(s.messages(&t).await.len(), 2, "it is offered once");
    assert!(s.messages(&t).await[0].contains("healthy again"));
    let pause = t.alerts().monitoring(&s.root, s.webhook).await.unwrap().pause.unwrap();
    assert_eq!(pause.recovered_at, Some(t.now()));
    s.events(200);
    let failed = received(&s);
    assert_eq!(failed.len(), 1);
    let webhook = t.alerts().recover(&s.root, s.webhook, RecoverInput::default()).await.unwrap();
    assert_eq!(webhook.state, WebhookState::Enabled);
    drain(&t).await;
    let received = received(&s);
    assert_eq!(received.len(), 3, "the failed event and the queued one are sent");
    assert_eq!(received.iter().filter(|id| **id == failed[0]).count(), 2);
    assert_eq!(t.alerts().monitoring(&s.root, s.webhook).await.unwrap().pause, None);
    refused(t.alerts().recover(&s.root, s.webhook, RecoverInput::default()).await, ProblemKind::Conflict);
}

async fn recovered_webhook_is_resumed_by_rule(t: TestService) {
    let s = paused_scene(&t, true).await;
    s.events(200);
    s.health.store(200, Ordering::Relaxed);
    t.clock.advance(Duration::seconds(10));
    t.alerts().check_due_health().await.unwrap();
    evaluate(&t).await;
    assert_eq!(s.state(&t).await, WebhookState::Enabled);
    assert!(s.messages(&t).await[0].contains("1 failed deliveries are sent again"), "{:?}", s.messages(&t).await);
    drain(&t).await;
    assert_eq!(received(&s).len(), 3);
    evaluate(&t).await;
    assert_eq!(s.state(&t).await, WebhookState::Enabled, "it is not paused again");
}

async fn pause_needs_the_configured_time_and_ends_with_a_manual_resume(t: TestService) {
    let s = Scene::new(&t).await;
    s.rules(&t, vec![]).await;
    s.send(&t, 500).await;
    t.clock.advance(Duration::days(1));
    evaluate(&t).await;
    assert_eq!(s.state(&t).await, WebhookState::Enabled, "off by default");
    s.set(&t, MonitoringPatch { pause_after_minutes: Some(Some(60)), ..Default::default() }).await;
    s.send(&t, 200).await;
    t.clock.advance(Duration::minutes(2));
    s.send(&t, 500).await;
    t.clock.advance(Duration::minutes(59));
    evaluate(&t).await;
    assert_eq!(s.state(&t).await, WebhookState::Enabled);
    t.clock.advance(Duration::minutes(1));
    evaluate(&t).await;
    assert_eq!(s.state(&t).await, WebhookState::Paused);
    t.webhooks().resume(&s.root, s.webhook, Default::default()).await.unwrap();
    t.webhooks().pause(&s.root, s.webhook).await.unwrap();
    let monitoring = t.alerts().monitoring(&s.root, s.webhook).await.unwrap();
    assert_eq!(monitoring.pause, None, "a person paused it");
}

async fn backlog_and_certificate_and_disabled_fire(t: TestService) {
    let s = Scene::new(&t).await;
    s.rules(&t, vec![rule(AlertKind::BacklogAge, 600.0, 60.0, 0)]).await;
    s.reserve(&t).await;
    t.clock.advance(Duration::seconds(599));
    evaluate(&t).await;
    assert!(s.firing(&t).await.is_empty());
    t.clock.advance(Duration::seconds(1));
    evaluate(&t).await;
    assert_eq!(s.firing(&t).await, [AlertKind::BacklogAge]);
    t.webhooks().pause(&s.root, s.webhook).await.unwrap();
    evaluate(&t).await;
    assert!(s.firing(&t).await.is_empty(), "the queue of a paused webhook grows on purpose");
    t.webhooks().resume(&s.root, s.webhook, Default::default()).await.unwrap();
    s.events(410);
    drain(&t).await;
    let built_in = [AlertKind::Disabled, AlertKind::CertificateExpiry].map(AlertRule::built_in);
    s.rules(&t, built_in.to_vec()).await;
    evaluate(&t).await;
    assert_eq!(s.firing(&t).await, [AlertKind::Disabled]);
    let patch = WebhookPatch { endpoint_url: Some("https://receiver.example.com/".into()), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    let at = t.now().timestamp_millis();
    let sql = format!(
        "UPDATE webhook_monitors SET certificate_expires_at = {}, certificate_seen_at = {at}",
        at + 10 * 86_400_000
    );
    t.database().await.execute_unprepared(&sql).await.unwrap();
    evaluate(&t).await;
    assert_eq!(s.firing(&t).await, [AlertKind::CertificateExpiry, AlertKind::Disabled]);
    assert!(s.messages(&t).await[0].contains("expires in 10 days"));
}

async fn alerts_of_a_deleted_webhook_end(t: TestService) {
    let s = Scene::new(&t).await;
    s.rules(&t, vec![rule(AlertKind::ConsecutiveFailures, 1.0, 0.0, 0)]).await;
    s.send(&t, 500).await;
    evaluate(&t).await;
    t.webhooks().delete(&s.root, s.webhook).await.unwrap();
    for _ in 0..2 {
        evaluate(&t).await;
    }
    let alerts = t.alerts().list(&s.root, &AlertFilter::default(), &PageQuery::default()).await.unwrap().items;
    assert_eq!((alerts.len(), alerts[0].resolved_at), (1, Some(t.now())));
    assert_eq!(s.messages(&t).await.len(), 1);
}

async fn concurrent_evaluations_create_one_alert(t: TestService) {
    let s = Scene::new(&t).await;
    s.rules(&t, vec![rule(AlertKind::ConsecutiveFailures, 1.0, 0.0, 0)]).await;
    s.send(&t, 500).await;
    let other = t.replica().await;
    let rounds = [t.alerts(), other.alerts(), t.alerts(), other.alerts()].map(|alerts| alerts.evaluate());
    for result in futures::future::join_all(rounds).await {
        result.unwrap();
    }
    assert_eq!(s.messages(&t).await.len(), 1);
    let alerts = t.alerts().list(&s.root, &AlertFilter::default(), &PageQuery::default()).await.unwrap().items;
    assert_eq!(alerts.len(), 1);
}

async fn set_channel(t: &TestService, root: &Actor, url: &str, format: NoticeFormat) -> String {
    let webhook = OperationsWebhookInput { url: Some(url.into()), format: Some(format), ..Default::default() };
    let input = AlertChannelsInput { webhook: Some(webhook) };
    t.alerts().set_channels(root, input).await.unwrap().secret.unwrap()
}

async fn operations_webhook_is_signed_and_retried_after_a_restart(t: TestService) {
    let s = Scene::new(&t).await;
    let operations = Receiver::start().await;
    operations.respond(Response::status(503));
    let url = format!("{}/hooks/very-secret-token", operations.url);
    let secret = set_channel(&t, &s.root, &url, NoticeFormat::Berth).await;
    let stored =
        Statement::from_string(t.database().await.get_database_backend(), "SELECT url || secret FROM alert_channel");
    let stored: String = t.database().await.query_one_raw(stored).await.unwrap().unwrap().try_get_by_index(0).unwrap();
    assert!(!stored.contains("very-secret") && !stored.contains(&secret), "secrets are encrypted");
    s.rules(&t, vec![rule(AlertKind::ConsecutiveFailures, 1.0, 0.0, 0)]).await;
    s.send(&t, 500).await;
    evaluate(&t).await;
    assert_eq!(t.alerts().send_notices().await.unwrap(), 1);
    assert_eq!(t.alerts().send_notices().await.unwrap(), 0, "the retry is not due");
    let channels = t.alerts().channels(&s.root).await.unwrap();
    assert_eq!((channels.webhook_status.queued, channels.secret), (1, None));
    let error = channels.webhook_status.last_error.unwrap();
    assert!(error.contains("503") && !error.contains("very-secret"), "{error}");
    // Another process sends it.
    operations.respond(Response::status(204));
    t.clock.advance(Duration::seconds(15));
    let restarted = t.replica().await;
    assert_eq!(restarted.alerts().send_notices().await.unwrap(), 1);
    let requests = operations.requests();
    assert_eq!(requests.len(), 2);
    let (first, last) = (&requests[0], &requests[1]);
    assert_eq!(first.raw, last.raw);
    assert_eq!(first.header("webhook-id"), last.header("webhook-id"));
    assert_eq!((last.header("x-webhook-event"), last.attempt()), ("alert.firing", 2));
    let secret = Secret::parse(&secret).unwrap();
    assert_eq!(last.header("x-webhook-signature"), sign_body(&secret, &last.raw));
    let body: serde_json::Value = serde_json::from_slice(&last.raw).unwrap();
    assert_eq!(body["event_type"], "alert.firing");
    assert_eq!((&body["alert"]["kind"], &body["alert"]["value"]), (&"consecutive_failures".into(), &1.0.into()));
    assert_eq!(body["webhook"]["name"], "Provisioner");
    let channels = t.alerts().channels(&s.root).await.unwrap();
    assert_eq!((channels.webhook_status.queued, channels.webhook_status.last_error), (0, None));
    assert_eq!(channels.webhook_status.last_sent_at, Some(t.now()));
    // A notice that fails for a day is given up.
    operations.respond(Response::status(500));
    s.send(&t, 200).await;
    evaluate(&t).await;
    for _ in 0..40 {
        t.alerts().send_notices().await.unwrap();
        t.clock.advance(Duration::hours(1));
    }
    assert_eq!(t.alerts().channels(&s.root).await.unwrap().webhook_status.queued, 0);
    // Removed with its secrets.
    t.alerts().set_channels(&s.root, AlertChannelsInput::default()).await.unwrap();
    assert_eq!(t.alerts().channels(&s.root).await.unwrap().webhook, None);
    refused(t.alerts().test_channels(&s.root).await, ProblemKind::Conflict);
    let input = AlertChannelsInput { webhook: Some(OperationsWebhookInput::default()) };
    let problem = refused(t.alerts().set_channels(&s.root, input).await, ProblemKind::Invalid);
    assert!(problem.message_for("webhook.url").is_some());
}

async fn slack_format_has_a_text(t: TestService) {
    let root = t.administrator().await;
    let chat = Receiver::start().await;
    set_channel(&t, &root, &format!("{}/services/T0", chat.url), NoticeFormat::Slack).await;
    let results = t.alerts().test_channels(&root).await.unwrap().results;
    assert_eq!(results.len(), 1);
    assert_eq!((results[0].channel.as_str(), &results[0].error), ("webhook", &None));
    let body: serde_json::Value = serde_json::from_slice(&chat.last().raw).unwrap();
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["text"]);
    assert!(body["text"].as_str().unwrap().contains("test alert"));
    assert_eq!(chat.last().header("x-webhook-test"), "true");
    chat.respond(Response::status(404));
    let results = t.alerts().test_channels(&root).await.unwrap().results;
    assert!(results[0].error.as_deref().unwrap().contains("404"));
}

/// A mail server that accepts everything, and passes each e-mail on. It ends with the test.
async fn mail_server() -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, mails) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                stream.write_all(b"220 test\r\n").await.unwrap();
                let (mut mail, mut is_data, mut line) = (String::new(), false, String::new());
                while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
                    let reply = match line.trim_end() {
                        "." if is_data => {
                            is_data = false;
                            sender.send(std::mem::take(&mut mail)).unwrap();
                            "250 ok\r\n"
                        }
                        _ if is_data => "",
                        "DATA" => {
                            is_data = true;
                            "354 go\r\n"
                        }
                        "QUIT" => "221 bye\r\n",
                        _ => "250 ok\r\n",
                    };
                    mail.push_str(&line);
                    line.clear();
                    stream.write_all(reply.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (port, mails)
}

async fn emails_are_sent_to_managers_who_want_them(mut t: TestService) {
    let s = Scene::new(&t).await;
    let (port, mut mails) = mail_server().await;
    t.settings.smtp =
        Some(SmtpSettings { url: format!("smtp://127.0.0.1:{port}").into(), from: "Berth <berth@example.com>".into() });
    t.service = t.replica().await;
    let bob = t.person("bob", Role::User).await;
    let quiet = t.person("quiet", Role::Administrator).await;
    let owners = domain::ownership::OwnersInput { users: vec![bob.username.clone()], groups: vec![] };
    t.owners().set(&s.root, OwnedObject::Type("gpu-cluster"), owners).await.unwrap();
    assert!(t.alerts().preferences(&quiet).await.unwrap().email, "on by default");
    t.alerts().set_preferences(&quiet, AlertPreferences { email: false }).await.unwrap();
    s.rules(&t, vec![rule(AlertKind::ConsecutiveFailures, 1.0, 0.0, 0)]).await;
    s.send(&t, 500).await;
    evaluate(&t).await;
    assert_eq!(t.alerts().send_notices().await.unwrap(), 2);
    let mut recipients = Vec::new();
    for _ in 0..2 {
        let mail = mails.recv().await.unwrap();
        recipients
            .push(["bob", "root"].into_iter().find(|name| mail.contains(&format!("{name}@example.com"))).unwrap());
        assert!(mail.contains("Subject: [Berth] Firing: Consecutive failures of Provisioner"), "{mail}");
        assert!(mail.contains("Threshold: 1"), "{mail}");
    }
    recipients.sort_unstable();
    assert_eq!(recipients, ["bob", "root"]);
    let channels = t.alerts().channels(&s.root).await.unwrap();
    assert_eq!((channels.email_from.as_deref(), channels.email.queued), (Some("Berth <berth@example.com>"), 0));
    let results = t.alerts().test_channels(&s.root).await.unwrap().results;
    assert_eq!((results[0].recipient.as_str(), &results[0].error), ("root@example.com", &None));
    assert!(mails.recv().await.unwrap().contains("Subject: [Berth] Test alert"));
}

async fn oauth_token_is_fetched_on_demand_and_its_failure_is_shown(t: TestService) {
    let s = Scene::new(&t).await;
    refused(t.alerts().fetch_token(&s.root, s.webhook).await, ProblemKind::Conflict);
    let issuer = Receiver::start().await;
    issuer.respond(Response::json(
        200,
        serde_json::json!({"access_token": "t-1", "token_type": "Bearer", "expires_in": 3600}),
    ));
    let auth = domain::webhook::AuthInput::Oauth2 {
        token_url: format!("{}/token", issuer.url),
        client_id: "berth".into(),
        client_secret: "s3cret-s3cret".into(),
        scope: None,
        audience: None,
    };
    let patch = WebhookPatch { auth: Some(auth), ..Default::default() };
    t.webhooks().update(&s.root, s.webhook, patch).await.unwrap();
    let token = t.alerts().fetch_token(&s.root, s.webhook).await.unwrap();
    assert_eq!((token.error, token.failed_at), (None, None));
    let lifetime = token.expires_at.unwrap() - t.now();
    assert!((Duration::seconds(3_595)..=Duration::seconds(3_605)).contains(&lifetime), "{lifetime}");
    t.clock.advance(Duration::minutes(1));
    issuer.respond(Response::json(400, serde_json::json!({"error": "invalid_scope"})));
    let token = t.alerts().fetch_token(&s.root, s.webhook).await.unwrap();
    assert!(token.error.unwrap().contains("invalid_scope"));
    assert!(token.failed_at > token.obtained_at, "the earlier token is kept");
    // Another process reads the stored state.
    let other = t.replica().await;
    let stored = other.alerts().monitoring(&s.root, s.webhook).await.unwrap().token.unwrap();
    assert!(stored.error.is_some() && stored.obtained_at.is_some());
    // A delivery fetches a token too.
    issuer.respond(Response::json(
        200,
        serde_json::json!({"access_token": "t-2", "token_type": "Bearer", "expires_in": 60}),
    ));
    t.clock.advance(Duration::hours(2));
    s.send(&t, 200).await;
    evaluate(&t).await;
    let stored = other.alerts().monitoring(&s.root, s.webhook).await.unwrap().token.unwrap();
    assert_eq!(stored.error, None);
    assert!(t.now() - stored.obtained_at.unwrap() < Duration::minutes(1));
}

async fn owners_see_and_change_only_their_webhooks(t: TestService) {
    let s = Scene::new(&t).await;
    s.rules(&t, vec![rule(AlertKind::ConsecutiveFailures, 1.0, 0.0, 0)]).await;
    s.send(&t, 500).await;
    evaluate(&t).await;
    let owns = |types: &[&str]| domain::ownership::Ownership {
        resource_types: types.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let owner = Actor { owns: owns(&["gpu-cluster"]), ..s.alice.clone() };
    let other = Actor { owns: owns(&["fpga"]), ..s.alice.clone() };
    let list = async |actor: &Actor| {
        t.alerts().list(actor, &AlertFilter::default(), &PageQuery::default()).await.map(|page| page.items.len())
    };
    assert_eq!((list(&owner).await.unwrap(), list(&other).await.unwrap()), (1, 0));
    refused(list(&s.alice).await, ProblemKind::Forbidden);
    let patch = || MonitoringPatch { pause_after_minutes: Some(Some(5)), ..Default::default() };
    t.alerts().set_monitoring(&owner, s.webhook, patch()).await.unwrap();
    refused(t.alerts().set_monitoring(&other, s.webhook, patch()).await, ProblemKind::NotFound);
    refused(t.alerts().monitoring(&other, s.webhook).await, ProblemKind::NotFound);
    refused(t.alerts().channels(&owner).await, ProblemKind::Forbidden);
    let rules = AlertRulesInput { rules: vec![rule(AlertKind::Health, 3.0, 0.0, 0)] };
    refused(t.alerts().set_rules(&owner, rules.clone()).await, ProblemKind::Forbidden);
    let rules = t.alerts().set_rules(&s.root, rules).await.unwrap().rules;
    assert_eq!(rules.len(), AlertKind::ALL.len());
    assert_eq!(rules.iter().find(|rule| rule.kind == AlertKind::Health).unwrap().threshold, 3.0);
    assert_eq!(t.alerts().rules(&owner).await.unwrap().rules, rules);
}
