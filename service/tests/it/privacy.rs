//! Export of a user's data, and erasure of an account.

use crate::support::{PASSWORD, TestService, drain, refused, webhook_input};
use chrono::Duration;
use domain::ProblemKind::{ConfirmationRequired, Conflict, Forbidden, Invalid, NotFound, Unauthenticated};
use domain::access_request::AccessRequestInput;
use domain::account::{ApiTokenInput, Credentials, UserInput, UserPatch};
use domain::audit::{AuditAction, AuditEntry, AuditFilter};
use domain::authorization::{Actor, Role};
use domain::delivery::DeliveryFilter;
use domain::ownership::GroupInput;
use domain::pagination::PageQuery;
use domain::privacy::{AccountExport, ErasureInput};
use domain::reservation::ReservationFilter;
use domain::resource::ResourceStatus;
use sea_orm::ConnectionTrait as _;
use serde_json::json;
use service::accounts::LogInClient;
use service::audit::{Intact, Verdict};
use service::privacy::Export;
use test_support::{Receiver, Response, on_both_databases};

on_both_databases![
    erasure_leaves_no_trace_of_the_user_and_an_intact_log,
    erasure_waits_for_reservations_deliveries_and_releases,
    erasure_needs_permission_confirmation_and_another_administrator,
    erased_username_and_pseudonym_cannot_be_used_again,
    erasure_and_concurrent_changes_of_another_replica_form_one_chain,
    erasure_refuses_a_log_that_was_tampered_with,
    tampering_after_an_erasure_is_detected,
    noted_head_before_an_erasure_is_found,
    retention_continues_after_an_erasure,
    export_is_one_document_with_everything_about_the_user,
    new_browser_token_and_role_send_a_notification,
    access_information_of_ended_reservations_is_removed,
];

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJlcnRoIHRlc3Qga2V5IGZvciBlcmFzdXJlcyAwMDAw alice@laptop";

async fn entries(t: &TestService, root: &Actor, filter: AuditFilter) -> Vec<AuditEntry> {
    let page = PageQuery { limit: Some(200), cursor: None };
    t.audit().list(root, &filter, &page).await.unwrap().items
}

async fn intact(t: &TestService) -> Intact {
    match t.audit().verify(None).await.unwrap() {
        Verdict::Intact(intact) => intact,
        Verdict::Faulty(fault) => panic!("{fault:?}"),
    }
}

/// All texts of the database, to search for a name.
async fn dump(t: &TestService) -> String {
    let database = t.database().await;
    let mut text = String::new();
    for (table, columns) in [
        (
            "reservations",
            "username || ' ' || title || ' ' || user_ssh_key || ' ' || additional_config || ' ' || cancel_reason || ' ' || COALESCE(cancelled_by, '')",
        ),
        ("provisioning", "state"),
        ("access_requests", "username || ' ' || reason || ' ' || COALESCE(decided_by, '')"),
        ("deliveries", "body || ' ' || COALESCE(problem, '')"),
        ("attempts", "record"),
        ("notifications", "message || ' ' || COALESCE(username, '')"),
        (
            "audit_log",
            "COALESCE(actor, '') || ' ' || credential_name || ' ' || target_id || ' ' || target_name || ' ' || changes || ' ' || detail",
        ),
        ("users", "username || ' ' || email || ' ' || ssh_key"),
        ("sessions", "username"),
        ("api_tokens", "username || ' ' || name"),
        ("idempotency_keys", "username"),
        ("erased_usernames", "digest"),
    ] {
        let sql = format!("SELECT {columns} AS text FROM {table}");
        for row in
            database.query_all_raw(sea_orm::Statement::from_string(database.get_database_backend(), sql)).await.unwrap()
        {
            text.push_str(&format!("{table}: {}\n", row.try_get::<String>("", "text").unwrap()));
        }
    }
    text
}

/// A user with a reservation that has ended, an access request and a token.
async fn alice(t: &TestService, root: &Actor) -> Actor {
    let alice = t.person("alice", Role::User).await;
    let patch = UserPatch { ssh_key: Some(KEY.into()), ..Default::default() };
    t.accounts().update_user(root, "alice", patch).await.unwrap();
    t.logged_in("alice").await;
    let input = ApiTokenInput { name: "token of alice".into(), ..Default::default() };
    t.accounts().create_token_as_operator("alice", input).await.unwrap();
    alice
}

fn erase() -> ErasureInput {
    ErasureInput::default()
}

async fn erasure_leaves_no_trace_of_the_user_and_an_intact_log(t: TestService) {
    let root = t.administrator().await;
    let receiver = Receiver::start().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    receiver.respond(Response::json(
        200,
        json!({"status": "ready", "message": "account alice created", "access_info": {"username": "alice"}}),
    ));
    t.webhooks().create(&root, webhook_input(&receiver.url)).await.unwrap();
    let restricted = t.resource(&root, "node-2", ResourceStatus::Restricted).await;
    let alice = alice(&t, &root).await;
    let mut input = t.span(resource, 1, 2);
    input.title = Some("Thesis of Alice".into());
    input.user_ssh_key = Some(KEY.into());
    let reservation = t.reservations().create(&alice, input).await.unwrap();
    let ask = AccessRequestInput { resource_id: restricted, reason: "alice needs it".into() };
    t.access_requests().create(&alice, ask).await.unwrap();
    drain(&t).await;
    // An administrator cancels it, and Alice one of nobody else.
    t.reservations().cancel(&root, &reservation.id, Some("alice is ill".into())).await.unwrap();
    receiver.respond(Response::json(200, json!({"status": "released", "message": "account alice removed"})));
    drain(&t).await;
    let wrong = Credentials { username: "alice".into(), password: "wrong password".into() };
    refused(t.accounts().log_in(wrong, "192.0.2.1").await, Unauthenticated);
    let before = intact(&t).await;
    assert!(dump(&t).await.contains("alice"));

    let erasure = t.privacy().erase(&root, "alice", erase()).await.unwrap();
    let text = dump(&t).await;
    for secret in ["alice", "Alice", "AAAAC3Nza"] {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(secret)).collect();
        assert!(lines.is_empty(), "{secret} is in {lines:#?}");
    }
    assert_eq!((erasure.reservations, erasure.access_requests, erasure.deliveries), (1, 1, 3));
    assert!(erasure.audit_entries >= 6, "{erasure:?}");
    let after = intact(&t).await;
    assert_eq!((after.entries, after.head), (before.entries + 1, before.head + 1));
    let entry = entries(&t, &root, AuditFilter { action: Some(AuditAction::AccountErased), ..Default::default() })
        .await
        .remove(0);
    assert_eq!((entry.actor.as_deref(), &entry.target.id), (Some("root"), &erasure.pseudonym));
    let stated = |field: &str| entry.changes.iter().find(|change| change.field == field).unwrap().after.clone();
    assert_eq!(stated("rewritten_entries"), json!(erasure.audit_entries));
    assert_eq!((stated("previous_head"), stated("previous_hash")), (json!(before.head), json!(before.hash)));
    // The history stays, under the pseudonym.
    let detail = t.reservations().get(&root, &reservation.id).await.unwrap();
    assert_eq!(detail.reservation.user_id, erasure.pseudonym);
    assert_eq!(detail.reservation.start_time, reservation.start_time);
    assert_eq!(detail.deliveries.len(), 2);
    let delivery = t.deliveries(&root, DeliveryFilter::default()).await.remove(0);
    let delivery = t.delivery(&root, &delivery.id).await;
    assert!(!delivery.attempt_log.is_empty(), "attempts can still be read");
    let filter = AuditFilter { actor: Some(erasure.pseudonym.clone()), ..Default::default() };
    assert!(entries(&t, &root, filter).await.len() >= 3);
    refused(
        t.accounts().log_in(Credentials { username: "alice".into(), password: PASSWORD.into() }, "192.0.2.1").await,
        Unauthenticated,
    );
    refused(t.privacy().erase(&root, "alice", erase()).await, NotFound);
}

async fn erasure_waits_for_reservations_deliveries_and_releases(t: TestService) {
    let root = t.administrator().await;
    let receiver = Receiver::start().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    t.webhooks().create(&root, webhook_input(&receiver.url)).await.unwrap();
    let alice = alice(&t, &root).await;
    let reservation = t.reservations().create(&alice, t.span(resource, 1, 2)).await.unwrap();
    let detail = |problem: domain::Problem| problem.detail;
    let erased = async |input: ErasureInput| t.privacy().erase(&root, "alice", input).await;
    let problem = detail(erased(erase()).await.unwrap_err());
    assert!(problem.contains("1 active reservation."), "{problem}");
    drain(&t).await;
    t.reservations().cancel(&alice, &reservation.id, None).await.unwrap();
    let problem = detail(erased(erase()).await.unwrap_err());
    assert!(problem.contains("1 event about alice"), "{problem}");
    // The receiver works on the release.
    receiver.respond(Response::json(202, json!({"status": "accepted"})));
    drain(&t).await;
    let problem = detail(erased(erase()).await.unwrap_err());
    assert!(problem.contains("1 reservation is not released"), "{problem}");
    assert_eq!(
        t.reservations().get(&root, &reservation.id).await.unwrap().reservation.user_id,
        "alice",
        "nothing is changed"
    );
    refused(t.privacy().erase(&alice, "alice", ErasureInput { ignore_unreleased: true, ..erase() }).await, Forbidden);
    erased(ErasureInput { ignore_unreleased: true, ..erase() }).await.unwrap();
    intact(&t).await;
}

async fn erasure_needs_permission_confirmation_and_another_administrator(t: TestService) {
    let root = t.administrator().await;
    let bob = t.person("bob", Role::User).await;
    let auditor = t.person("dora", Role::Auditor).await;
    t.person("alice", Role::User).await;
    refused(t.privacy().erase(&bob, "alice", erase()).await, Forbidden);
    refused(t.privacy().erase(&auditor, "alice", erase()).await, Forbidden);
    refused(t.privacy().erase(&root, "nobody", erase()).await, NotFound);
    let confirmed = || ErasureInput { current_password: Some(PASSWORD.into()), ..erase() };
    refused(t.privacy().erase(&root, "root", confirmed()).await, Conflict);
    refused(t.privacy().erase(&bob, "bob", erase()).await, Invalid);
    let (session, administrator) = (t.logged_in("bob").await, t.logged_in("root").await);
    t.clock.advance(Duration::minutes(11));
    refused(t.privacy().erase(&session, "bob", erase()).await, ConfirmationRequired);
    refused(t.privacy().erase(&administrator, "bob", erase()).await, ConfirmationRequired);
    let wrong = ErasureInput { current_password: Some("wrong password".into()), ..erase() };
    refused(t.privacy().erase(&session, "bob", wrong).await, Invalid);
    let erasure = t.privacy().erase(&session, "bob", confirmed()).await.unwrap();
    let entry = entries(&t, &root, AuditFilter { action: Some(AuditAction::AccountErased), ..Default::default() })
        .await
        .remove(0);
    assert_eq!(entry.actor, Some(erasure.pseudonym), "the name of the author is a pseudonym too");
    intact(&t).await;
}

async fn erased_username_and_pseudonym_cannot_be_used_again(t: TestService) {
    let root = t.administrator().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let alice = alice(&t, &root).await;
    let reservation = t.reservations().create(&alice, t.span(resource, 1, 2)).await.unwrap();
    t.reservations().cancel(&alice, &reservation.id, None).await.unwrap();
    let erasure = t.privacy().erase(&root, "alice", erase()).await.unwrap();
    let new = |username: &str| UserInput {
        username: username.into(),
        email: "new@example.com".into(),
        password: PASSWORD.into(),
        role: Role::User,
    };
    refused(t.accounts().create_user(&root, new("alice")).await, Conflict);
    refused(t.accounts().create_user(&root, new(&erasure.pseudonym)).await, Conflict);
    refused(t.accounts().create_user_as_operator(new("alice")).await, Conflict);
    t.accounts().create_user(&root, new("alice2")).await.unwrap();
    // A request that was authenticated before cannot reserve in the old name.
    refused(
        t.reservations().create(&alice, t.span(resource, 3, 4)).await.map_err(service::Error::into_problem),
        NotFound,
    );
    let all = t.reservations().list(&root, &ReservationFilter::default(), &PageQuery::default()).await.unwrap().items;
    assert!(all.iter().all(|reservation| reservation.user_id == erasure.pseudonym), "{all:?}");
}

async fn erasure_and_concurrent_changes_of_another_replica_form_one_chain(t: TestService) {
    let root = t.administrator().await;
    for n in 0..6 {
        t.person(&format!("user{n}"), Role::User).await;
    }
    t.person("carol", Role::User).await;
    let replica = t.replica().await;
    t.ready_to_race().await;
    let changes = async {
        for n in 0..40 {
            let patch = UserPatch { email: Some(format!("carol{n}@example.com")), ..Default::default() };
            replica.accounts().update_user(&root, "carol", patch).await.unwrap();
        }
    };
    let erasures = async {
        for n in 0..6 {
            t.privacy().erase(&root, &format!("user{n}"), erase()).await.unwrap();
        }
    };
    futures::join!(changes, erasures);
    let log = intact(&t).await;
    assert_eq!(log.entries, u64::try_from(log.head).unwrap());
    let updated = AuditFilter { action: Some(AuditAction::UserUpdated), ..Default::default() };
    assert_eq!(entries(&t, &root, updated).await.len(), 40);
    assert!(!dump(&t).await.contains("user3@"));
}

/// Statements of an attacker who owns the database: first they drop the triggers.
async fn tamper(t: &TestService, sql: &str) {
    let database = t.database().await;
    let drop = if t.is_postgres() {
        "ALTER TABLE audit_log DISABLE TRIGGER USER"
    } else {
        "DROP TRIGGER IF EXISTS audit_log_no_update"
    };
    for sql in [drop, sql] {
        database.execute_unprepared(sql).await.unwrap();
    }
}

async fn erasure_refuses_a_log_that_was_tampered_with(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    t.person("bob", Role::User).await;
    let last = intact(&t).await.head;
    // A rewrite would give the changed entry a valid hash.
    tamper(&t, &format!("UPDATE audit_log SET detail = 'forged' WHERE seq = {last}")).await;
    let problem = t.privacy().erase(&root, "alice", erase()).await.unwrap_err();
    assert!(problem.detail.contains(&format!("not intact at entry {last}")), "{}", problem.detail);
    t.accounts()
        .log_in(Credentials { username: "alice".into(), password: PASSWORD.into() }, "192.0.2.1")
        .await
        .unwrap();
    assert!(matches!(t.audit().verify(None).await.unwrap(), Verdict::Faulty(_)));
}

async fn tampering_after_an_erasure_is_detected(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    t.resource(&root, "node-1", ResourceStatus::Available).await;
    t.accounts().end_all_sessions(&alice, "alice").await.unwrap();
    t.person("bob", Role::User).await;
    let erasure = t.privacy().erase(&root, "alice", erase()).await.unwrap();
    let head = intact(&t).await.head;
    for seq in 1..=head {
        tamper(&t, &format!("UPDATE audit_log SET detail = detail || 'x' WHERE seq = {seq}")).await;
        let Verdict::Faulty(fault) = t.audit().verify(None).await.unwrap() else { panic!("entry {seq} was changed") };
        assert_eq!(fault.seq, Some(seq));
        let restore = format!("UPDATE audit_log SET detail = substr(detail, 1, length(detail) - 1) WHERE seq = {seq}");
        tamper(&t, &restore).await;
    }
    // Somebody without the key cannot rename another user as an erasure does.
    tamper(&t, &format!("UPDATE audit_log SET target_id = '{}' WHERE target_id = 'bob'", erasure.pseudonym)).await;
    assert!(matches!(t.audit().verify(None).await.unwrap(), Verdict::Faulty(_)));
}

async fn noted_head_before_an_erasure_is_found(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    let earlier = intact(&t).await.hash;
    t.person("bob", Role::User).await;
    let noted = intact(&t).await.hash;
    t.privacy().erase(&root, "alice", erase()).await.unwrap();
    assert!(matches!(t.audit().verify(Some(&noted)).await.unwrap(), Verdict::Intact(_)));
    let Verdict::Faulty(fault) = t.audit().verify(Some(&earlier)).await.unwrap() else { panic!("it was rewritten") };
    assert!(fault.reason.contains("account.erased"), "{}", fault.reason);
}

async fn retention_continues_after_an_erasure(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    t.person("bob", Role::User).await;
    t.clock.advance(Duration::days(366));
    t.privacy().erase(&root, "alice", erase()).await.unwrap();
    assert!(t.audit().retention_batch().await.unwrap() >= 3);
    assert_eq!(intact(&t).await.entries, 1, "the entry of the erasure is new");
    t.privacy().erase(&root, "bob", erase()).await.unwrap();
    intact(&t).await;
}

async fn text_of(mut export: Export) -> (String, usize) {
    let (mut text, mut pieces) = (String::new(), 0);
    while let Some(piece) = export.next_piece().await.unwrap() {
        text.push_str(&piece);
        pieces += 1;
    }
    (text, pieces)
}

async fn export_is_one_document_with_everything_about_the_user(t: TestService) {
    let root = t.administrator().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let restricted = t.resource(&root, "node-2", ResourceStatus::Restricted).await;
    let alice = alice(&t, &root).await;
    for n in 0..401 {
        t.reservations().create(&alice, t.span(resource, 1 + 2 * n, 2 + 2 * n)).await.unwrap();
    }
    let ask = AccessRequestInput { resource_id: restricted, reason: "A paper is due.".into() };
    let request = t.access_requests().create(&alice, ask).await.unwrap();
    t.access_requests().approve(&root, &request.id).await.unwrap();
    let group = GroupInput { name: "Physics".into(), description: None, members: Some(vec!["alice".into()]) };
    t.groups().create(&root, group).await.unwrap();
    let other = t.person("bob", Role::User).await;
    t.reservations().create(&other, t.span(resource, 2_000, 2_001)).await.unwrap();

    let (text, pieces) = text_of(t.privacy().export(&alice, "alice").await.unwrap()).await;
    let export: AccountExport = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(pieces > 6, "{pieces}");
    assert_eq!((export.user.username.as_str(), export.user.ssh_key.as_str()), ("alice", KEY));
    assert_eq!((export.sessions.len(), export.tokens.len(), export.grants.len()), (1, 1, 1));
    assert_eq!(export.grants[0].resource_name, "node-2");
    assert_eq!((export.groups, export.second_factors.is_empty()), (vec!["Physics".to_owned()], true));
    assert_eq!((export.access_requests.len(), export.reservations.len()), (1, 401));
    assert!(export.notifications.iter().any(|notification| notification.message.contains("You may now reserve")));
    assert!(export.audit_log.len() > 402, "{}", export.audit_log.len());
    assert!(export.audit_log.is_sorted_by_key(|entry| entry.seq));
    for secret in ["argon2", "bob", "token_hash"] {
        assert!(!text.contains(secret), "{secret}");
    }
    // An empty list is a list too.
    let (text, _) = text_of(t.privacy().export(&root, "bob").await.unwrap()).await;
    let export: AccountExport = serde_json::from_str(&text).unwrap();
    assert_eq!((export.access_requests.len(), export.reservations.len()), (0, 1));
    refused(t.privacy().export(&other, "alice").await.map(|_| ()), Forbidden);
    refused(t.privacy().export(&root, "nobody").await.map(|_| ()), NotFound);
    let exported = AuditFilter { action: Some(AuditAction::AccountExported), ..Default::default() };
    assert_eq!(entries(&t, &root, exported).await.len(), 2);
}

async fn new_browser_token_and_role_send_a_notification(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let messages = async || -> Vec<String> {
        let list = t.notifications().list(&alice).await.unwrap();
        list.into_iter().map(|notification| notification.message).collect()
    };
    let log_in = async |user_agent: &str, device: Option<String>| {
        let credentials = Credentials { username: "alice".into(), password: PASSWORD.into() };
        let client = LogInClient { source: "192.0.2.1".into(), user_agent: user_agent.into(), device, session: None };
        t.accounts().log_in(credentials, client).await.unwrap().session().unwrap()
    };
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    log_in("curl/8.5.0", None).await;
    assert!(messages().await.is_empty(), "a script has no cookies");
    let first = log_in(firefox, None).await;
    assert!(messages().await[0].contains("a new browser: Firefox on Linux at 192.0.2.1"), "{:?}", messages().await);
    let session = t.accounts().authenticate_session(&first.token).await.unwrap().0;
    log_in(firefox, Some(first.device)).await;
    assert_eq!(messages().await.len(), 1, "the browser is known");
    let input = ApiTokenInput { name: "ci".into(), ..Default::default() };
    t.accounts().create_token(&session, input).await.unwrap();
    assert!(messages().await[0].contains("The API token ci was created."), "{:?}", messages().await);
    let patch = UserPatch { role: Some(Role::Auditor), ..Default::default() };
    t.accounts().update_user(&root, "alice", patch).await.unwrap();
    assert_eq!(messages().await[0], "Your role was changed by root.");
    // The same role again is no change.
    let patch = UserPatch { role: Some(Role::Auditor), ..Default::default() };
    t.accounts().update_user(&root, "alice", patch).await.unwrap();
    assert_eq!(messages().await.len(), 3);
}

async fn access_information_of_ended_reservations_is_removed(t: TestService) {
    let root = t.administrator().await;
    let receiver = Receiver::start().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    t.webhook(&root, &receiver).await;
    let access = json!({"ip_address": "192.0.2.7", "username": "u1"});
    receiver.respond(Response::json(200, json!({"status": "ready", "access_info": access, "details": {"node": "7"}})));
    let alice = t.person("alice", Role::User).await;
    let ended = t.booking(&alice, resource, 1, 2).await.id;
    let lasting = t.booking(&alice, resource, 3, 24 * 200).await.id;
    drain(&t).await;
    let has_access = async |id| {
        let provisioning = t.reservations().get(&root, id).await.unwrap().reservation.provisioning;
        let service = &provisioning.services[0];
        assert_eq!(provisioning.access_info.is_some(), service.access_info.is_some());
        provisioning.access_info.is_some() || !provisioning.details.is_empty() || !service.details.is_empty()
    };
    t.clock.advance(Duration::hours(3));
    t.reservations().expire_due(10).await.unwrap();
    t.clock.advance(Duration::days(89));
    assert_eq!(t.maintenance().access_info_batch().await.unwrap(), 0);
    assert!(has_access(&ended).await && has_access(&lasting).await);
    t.clock.advance(Duration::days(2));
    assert_eq!(t.maintenance().access_info_batch().await.unwrap(), 1);
    assert!(!has_access(&ended).await && has_access(&lasting).await, "a reservation that has not ended keeps it");
    assert_eq!(t.maintenance().access_info_batch().await.unwrap(), 0);
}
