//! The audit log: entries of changes, the chain, retention, failures and streams.

use crate::support::{PASSWORD, TestService, drain, refused, webhook_input};
use chrono::Duration;
use domain::ProblemKind::{Forbidden, Invalid, Unauthenticated};
use domain::account::{ApiTokenInput, Credentials, UserPatch};
use domain::audit::{AuditAction, AuditEntry, AuditFilter, AuditOutcome, AuditTargetType};
use domain::authorization::{Actor, Role};
use domain::pagination::PageQuery;
use domain::resource::ResourceStatus;
use domain::webhook::{RotateInput, WebhookPatch};
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use service::audit::{Intact, StreamName, Verdict};
use service::audit_trail::Origin;
use test_support::{Receiver, Response, on_both_databases};

on_both_databases![
    change_has_one_entry_with_actor_origin_and_changed_fields,
    secrets_are_in_no_entry,
    system_and_receiver_are_authors,
    concurrent_changes_of_two_replicas_form_one_chain,
    rolled_back_change_has_no_entry,
    rows_cannot_be_changed_or_deleted,
    retention_deletes_from_the_front_and_the_rest_verifies,
    retention_keeps_entries_that_were_not_streamed,
    failed_log_ins_are_counted_per_minute,
    stream_is_in_order_and_has_one_sender,
    list_is_filtered_and_paged,
    repeated_view_within_a_minute_is_one_entry,
];

/// All entries, oldest first.
async fn entries(t: &TestService, root: &Actor, filter: AuditFilter) -> Vec<AuditEntry> {
    let page = PageQuery { limit: Some(200), cursor: None };
    let mut items = t.audit().list(root, &filter, &page).await.unwrap().items;
    items.reverse();
    items
}

async fn of_action(t: &TestService, root: &Actor, action: AuditAction) -> Vec<AuditEntry> {
    entries(t, root, AuditFilter { action: Some(action), ..Default::default() }).await
}

async fn intact(t: &TestService) -> Intact {
    match t.audit().verify(None).await.unwrap() {
        Verdict::Intact(intact) => intact,
        Verdict::Faulty(fault) => panic!("{fault:?}"),
    }
}

fn change(entry: &AuditEntry, field: &str) -> (Value, Value) {
    let change = entry.changes.iter().find(|change| change.field == field);
    let change = change.unwrap_or_else(|| panic!("{field} should be in {:?}", entry.changes));
    (change.before.clone(), change.after.clone())
}

async fn change_has_one_entry_with_actor_origin_and_changed_fields(t: TestService) {
    let root = t.administrator().await;
    t.resource(&root, "node-1", ResourceStatus::Available).await;
    let id = t.webhooks().create(&root, webhook_input("http://127.0.0.1:1")).await.unwrap().webhook.id;
    let session = t.logged_in("root").await;
    let patch: WebhookPatch = serde_json::from_value(json!({"name": "Renamed", "max_in_flight": 8})).unwrap();
    let origin = Origin::new("192.0.2.7".into(), "req_7".into());
    origin.scope(async { t.webhooks().update(&session, id, patch).await.unwrap() }).await;
    let updated = of_action(&t, &root, AuditAction::WebhookUpdated).await;
    assert_eq!(updated.len(), 1);
    let entry = &updated[0];
    assert_eq!(entry.actor.as_deref(), Some("root"));
    assert_eq!((entry.credential.kind.as_str(), &entry.credential.id), ("session", &session.session.unwrap().id));
    assert_eq!((entry.source.as_str(), entry.request_id.as_str()), ("192.0.2.7", "req_7"));
    assert_eq!((entry.target.kind.as_str(), entry.target.id.clone()), ("webhook", id.to_string()));
    assert_eq!(entry.outcome, AuditOutcome::Succeeded);
    assert_eq!(change(entry, "name"), (json!("Provisioner"), json!("Renamed")));
    assert_eq!(change(entry, "max_in_flight"), (json!(64), json!(8)));
    assert_eq!(entry.changes.len(), 2, "{:?}", entry.changes);
    // A token is named.
    let input = ApiTokenInput { name: "ci".into(), ..Default::default() };
    let token = t.accounts().create_token_as_operator("root", input).await.unwrap();
    let (actor, _) = t.accounts().authenticate_token(&token.token).await.unwrap();
    t.webhooks().pause(&actor, id).await.unwrap();
    let paused = of_action(&t, &root, AuditAction::WebhookPaused).await;
    let credential = &paused[0].credential;
    assert_eq!(
        (credential.kind.as_str(), credential.id.as_str(), credential.name.as_str()),
        ("api_token", token.id.as_str(), "ci")
    );
    assert_eq!(change(&paused[0], "state"), (json!("enabled"), json!("paused")));
    t.webhooks().delete(&actor, id).await.unwrap();
    let deleted = of_action(&t, &root, AuditAction::WebhookDeleted).await;
    assert_eq!(change(&deleted[0], "name"), (json!("Renamed"), Value::Null));
    intact(&t).await;
}

async fn secrets_are_in_no_entry(t: TestService) {
    let root = t.administrator().await;
    t.resource(&root, "node-1", ResourceStatus::Available).await;
    let mut input = webhook_input("http://127.0.0.1:1");
    input.auth =
        serde_json::from_value(json!({"method": "api_key", "header": "X-Api-Key", "key": "first-api-key"})).unwrap();
    input.headers = serde_json::from_value(json!([
        {"name": "X-Secret", "value": "first-header-value"}, {"name": "X-Team", "value": "public-value"},
    ]))
    .unwrap();
    let created = t.webhooks().create(&root, input).await.unwrap();
    let id = created.webhook.id;
    let patch: WebhookPatch = serde_json::from_value(json!({
        "auth": {"method": "api_key", "header": "X-Api-Key", "key": "second-api-key"},
        "headers": [{"name": "X-Secret", "value": "second-header-value"}, {"name": "X-Team", "value": "other-public"}],
        "ed25519": true,
    }))
    .unwrap();
    t.webhooks().update(&root, id, patch).await.unwrap();
    let rotated = t.webhooks().rotate_secret(&root, id, RotateInput::default()).await.unwrap();
    let patch = UserPatch { password: Some("another battery staple".into()), ..Default::default() };
    t.person("alice", Role::User).await;
    t.accounts().update_user(&root, "alice", patch).await.unwrap();
    let token = ApiTokenInput { name: "ci".into(), ..Default::default() };
    let token = t.accounts().create_token_as_operator("alice", token).await.unwrap();
    let credentials = Credentials { username: "my own password".into(), password: "wrong password".into() };
    refused(t.accounts().log_in(credentials, "192.0.2.1").await, Unauthenticated);
    let all = entries(&t, &root, AuditFilter::default()).await;
    let text = serde_json::to_string(&all).unwrap();
    for secret in [
        "your-secret-key",
        "first-api-key",
        "second-api-key",
        "first-header-value",
        "second-header-value",
        PASSWORD,
        "another battery staple",
        "wrong password",
        "my own password",
        &rotated.secret,
        &token.token,
        "whsk_",
        "v1.",
        "argon2",
    ] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    assert!(text.contains("public-value") && text.contains("other-public"));
    let is_secret =
        |entry: &AuditEntry, field: &str| entry.changes.iter().any(|change| change.field == field && change.secret);
    let updated = all.iter().find(|entry| entry.action == "webhook.updated").unwrap();
    assert!(is_secret(updated, "auth.secret") && is_secret(updated, "headers.X-Secret"), "{updated:?}");
    assert!(is_secret(updated, "signing_key"), "{updated:?}");
    let rotation = all.iter().find(|entry| entry.action == "webhook.secret_rotated").unwrap();
    assert!(is_secret(rotation, "secret") && is_secret(rotation, "signing_key"), "{rotation:?}");
    assert!(all.iter().any(|entry| entry.action == "user.updated" && is_secret(entry, "password")));
    assert!(all.iter().any(|entry| entry.action == "token.created" && is_secret(entry, "token")));
}

async fn system_and_receiver_are_authors(t: TestService) {
    let root = t.administrator().await;
    let receiver = Receiver::start().await;
    receiver.respond(Response::status(410));
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let webhook = t.webhook(&root, &receiver).await;
    t.booking(&root, resource, 1, 2).await;
    drain(&t).await;
    let disabled = of_action(&t, &root, AuditAction::WebhookDisabled).await;
    assert_eq!((disabled.len(), disabled[0].credential.kind.as_str()), (1, "system"));
    assert_eq!(disabled[0].target.id, webhook.to_string());
    t.clock.advance(Duration::hours(3));
    assert_eq!(t.reservations().expire_due(10).await.unwrap(), 1);
    let expired = of_action(&t, &root, AuditAction::ReservationExpired).await;
    assert_eq!((expired[0].credential.kind.as_str(), &expired[0].actor), ("system", &None));
    assert_eq!(change(&expired[0], "status"), (json!("active"), json!("expired")));
    // A signature that nobody made.
    let id = "rsv-1".into();
    refused(
        t.reservations().apply_status_update(&id, None, Some("1"), Some("sha256=ab"), b"{}").await,
        Unauthenticated,
    );
    let rejected = of_action(&t, &root, AuditAction::StatusUpdateRejected).await;
    assert_eq!((rejected.len(), rejected[0].outcome), (1, AuditOutcome::Refused));
    intact(&t).await;
}

async fn concurrent_changes_of_two_replicas_form_one_chain(t: TestService) {
    let root = t.administrator().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let replica = t.replica().await;
    t.ready_to_race().await;
    let before = intact(&t).await.entries;
    let book = async |n: i64| {
        let service = if n % 2 == 0 { &*t } else { &replica };
        service.reservations().create(&root, t.span(resource, n, n + 1)).await.unwrap();
    };
    futures::future::join_all((1..=60).map(book)).await;
    let patch = |n: i64| {
        let (service, root) = (if n % 2 == 0 { (*t).clone() } else { replica.clone() }, root.clone());
        async move {
            let input = webhook_input(&format!("http://127.0.0.1:{}", 1_000 + n));
            service.webhooks().create(&root, input).await.unwrap();
        }
    };
    futures::future::join_all((0..10).map(patch)).await;
    let log = intact(&t).await;
    assert_eq!((log.entries, log.head), (before + 70, (before + 70) as i64));
}

async fn rolled_back_change_has_no_entry(t: TestService) {
    let root = t.administrator().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    t.booking(&root, resource, 1, 2).await;
    let before = intact(&t).await.entries;
    t.reservations().create(&root, t.span(resource, 1, 2)).await.unwrap_err();
    t.catalogue().delete_resource(&root, resource).await.unwrap_err();
    assert_eq!(intact(&t).await.entries, before);
}

async fn rows_cannot_be_changed_or_deleted(t: TestService) {
    t.administrator().await;
    let database = t.database().await;
    for sql in
        ["UPDATE audit_log SET actor = 'mallory'", "DELETE FROM audit_log", "DELETE FROM audit_log WHERE seq = 1"]
    {
        let error = database.execute_unprepared(sql).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    if t.is_postgres() {
        let error = database.execute_unprepared("TRUNCATE audit_log").await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{error}");
    }
    assert_eq!(intact(&t).await.entries, 1);
}

async fn retention_deletes_from_the_front_and_the_rest_verifies(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    let noted = intact(&t).await.hash;
    t.clock.advance(Duration::days(200));
    t.person("bob", Role::User).await;
    assert_eq!(t.audit().retention_batch().await.unwrap(), 0, "nothing is old enough");
    t.clock.advance(Duration::days(166));
    assert_eq!(t.audit().retention_batch().await.unwrap(), 2);
    assert_eq!(t.audit().retention_batch().await.unwrap(), 0);
    let log = intact(&t).await;
    assert_eq!((log.entries, log.head, log.pruned), (1, 3, 2));
    // The noted head is the last deleted entry, whose hash is kept.
    assert!(matches!(t.audit().verify(Some(&noted)).await.unwrap(), Verdict::Intact(_)));
    t.person("carol", Role::User).await;
    assert_eq!(entries(&t, &root, AuditFilter::default()).await.first().unwrap().seq, 3);
    t.clock.advance(Duration::days(1_000));
    assert_eq!(t.audit().retention_batch().await.unwrap(), 2, "all of them");
    let empty = intact(&t).await;
    assert_eq!((empty.entries, empty.head, empty.pruned), (0, 4, 4));
    t.person("dave", Role::User).await;
    assert_eq!(intact(&t).await.head, 5);
}

async fn retention_keeps_entries_that_were_not_streamed(t: TestService) {
    t.administrator().await;
    t.person("alice", Role::User).await;
    t.clock.advance(Duration::days(400));
    let settings = service::Settings { audit_is_streamed: true, ..t.settings.clone() };
    let streaming = service::Service::open(settings, t.clock.source()).await.unwrap();
    assert_eq!(streaming.audit().retention_batch().await.unwrap(), 0, "nothing was sent");
    assert_eq!(streaming.audit().next_to_stream(StreamName::Syslog, "a").await.unwrap().unwrap().len(), 2);
    streaming.audit().mark_streamed(StreamName::Syslog, "a", 1).await.unwrap();
    assert_eq!(streaming.audit().retention_batch().await.unwrap(), 1);
    intact(&t).await;
}

async fn failed_log_ins_are_counted_per_minute(t: TestService) {
    let root = t.administrator().await;
    let fail = async |username: &str| {
        let credentials = Credentials { username: username.into(), password: "wrong".into() };
        let origin = Origin::new("192.0.2.9".into(), String::new());
        origin.scope(async { t.accounts().log_in(credentials, "192.0.2.9").await.err().expect("a refusal") }).await;
    };
    for _ in 0..5 {
        fail("root").await;
    }
    fail("nobody-of-that-name").await;
    let rejected = of_action(&t, &root, AuditAction::SessionRejected).await;
    let counts = |entries: &[AuditEntry]| entries.iter().map(|e| (e.target.id.clone(), e.count)).collect::<Vec<_>>();
    assert_eq!(counts(&rejected), [("root".to_owned(), 1), (String::new(), 1)], "the first of each is written at once");
    assert_eq!((rejected[0].source.as_str(), rejected[0].outcome), ("192.0.2.9", AuditOutcome::Refused));
    assert_eq!(rejected[0].credential.kind, "none");
    t.audit().flush_failures(false).await.unwrap();
    assert_eq!(of_action(&t, &root, AuditAction::SessionRejected).await.len(), 2);
    t.clock.advance(Duration::minutes(1));
    t.audit().flush_failures(false).await.unwrap();
    let rejected = of_action(&t, &root, AuditAction::SessionRejected).await;
    assert_eq!(counts(&rejected)[2..], [("root".to_owned(), 4)]);
    intact(&t).await;
}

async fn stream_is_in_order_and_has_one_sender(t: TestService) {
    t.administrator().await;
    for n in 0..3 {
        t.person(&format!("user{n}"), Role::User).await;
    }
    let replica = t.replica().await;
    let (one, other) = (t.audit(), replica.audit());
    let seqs = |entries: Option<Vec<AuditEntry>>| entries.unwrap().iter().map(|e| e.seq).collect::<Vec<_>>();
    assert_eq!(seqs(one.next_to_stream(StreamName::Syslog, "a").await.unwrap()), [1, 2, 3, 4]);
    assert!(other.next_to_stream(StreamName::Syslog, "b").await.unwrap().is_none(), "the lease is taken");
    assert_eq!(seqs(other.next_to_stream(StreamName::Otlp, "b").await.unwrap()), [1, 2, 3, 4], "another stream");
    // Sent again until it is marked.
    assert_eq!(seqs(one.next_to_stream(StreamName::Syslog, "a").await.unwrap()), [1, 2, 3, 4]);
    one.mark_streamed(StreamName::Syslog, "a", 3).await.unwrap();
    assert_eq!(seqs(one.next_to_stream(StreamName::Syslog, "a").await.unwrap()), [4]);
    t.clock.advance(Duration::seconds(31));
    assert_eq!(seqs(other.next_to_stream(StreamName::Syslog, "b").await.unwrap()), [4], "the lease has ended");
    one.mark_streamed(StreamName::Syslog, "a", 4).await.unwrap();
    assert_eq!(seqs(other.next_to_stream(StreamName::Syslog, "b").await.unwrap()), [4], "not by the former holder");
    other.mark_streamed(StreamName::Syslog, "b", 4).await.unwrap();
    assert!(seqs(other.next_to_stream(StreamName::Syslog, "b").await.unwrap()).is_empty());
}

async fn list_is_filtered_and_paged(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    refused(t.audit().list(&alice, &AuditFilter::default(), &PageQuery::default()).await, Forbidden);
    refused(t.audit().export(&alice, AuditFilter::default()).await, Forbidden);
    let page = PageQuery { limit: Some(0), cursor: None };
    refused(t.audit().list(&root, &AuditFilter::default(), &page).await, Invalid);
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    t.clock.advance(Duration::hours(1));
    let begin = t.now();
    t.booking(&alice, resource, 1, 2).await;
    let count = async |filter: AuditFilter| entries(&t, &root, filter).await.len();
    assert_eq!(count(AuditFilter { actor: Some("alice".into()), ..Default::default() }).await, 1);
    assert_eq!(count(AuditFilter { target_type: Some(AuditTargetType::User), ..Default::default() }).await, 2);
    let alices =
        AuditFilter { target_type: Some(AuditTargetType::User), target_id: Some("alice".into()), ..Default::default() };
    assert_eq!(count(alices).await, 1);
    assert_eq!(count(AuditFilter { since: Some(begin), ..Default::default() }).await, 1);
    assert_eq!(count(AuditFilter { until: Some(begin), ..Default::default() }).await, 4);
    assert_eq!(count(AuditFilter { outcome: Some(AuditOutcome::Refused), ..Default::default() }).await, 0);
    assert_eq!(count(AuditFilter { source: Some("192.0.2.1".into()), ..Default::default() }).await, 0);
    let mut page = PageQuery { limit: Some(2), cursor: None };
    let mut seqs = Vec::new();
    loop {
        let read = t.audit().list(&root, &AuditFilter::default(), &page).await.unwrap();
        seqs.extend(read.items.iter().map(|entry| entry.seq));
        page.cursor = read.next_cursor;
        if page.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seqs, [5, 4, 3, 2, 1]);
    let mut export = t.audit().export(&root, AuditFilter::default()).await.unwrap();
    let exported = export.next_batch().await.unwrap().unwrap();
    assert_eq!(exported.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(export.next_batch().await.unwrap().is_none());
    assert_eq!(of_action(&t, &root, AuditAction::AuditLogExported).await.len(), 1);
}

async fn repeated_view_within_a_minute_is_one_entry(t: TestService) {
    let root = t.administrator().await;
    let receiver = Receiver::start().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    t.webhook(&root, &receiver).await;
    t.booking(&root, resource, 1, 2).await;
    drain(&t).await;
    let delivery = t.deliveries(&root, Default::default()).await[0].id.clone();
    for _ in 0..3 {
        t.delivery(&root, &delivery).await;
    }
    let viewed = of_action(&t, &root, AuditAction::DeliveryViewed).await;
    assert_eq!((viewed.len(), viewed[0].target.id.as_str()), (1, delivery.as_str()));
    t.clock.advance(Duration::minutes(1));
    t.delivery(&root, &delivery).await;
    assert_eq!(of_action(&t, &root, AuditAction::DeliveryViewed).await.len(), 2);
}
