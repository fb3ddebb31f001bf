//! Second factors, the second step of a log-in, and confirmations.

use crate::support::{PASSWORD, TestService, refused};
use chrono::Duration;
use domain::ProblemKind::*;
use domain::account::*;
use domain::audit::AuditFilter;
use domain::authorization::{Actor, Role, Scope};
use domain::delivery::ReplayInput;
use domain::pagination::PageQuery;
use domain::second_factor::*;
use domain::webhook::{AuthInput, RotateInput, WebhookPatch};
use domain::{Problem, ProblemKind};
use serde_json::json;
use service::Service;
use service::accounts::{LogIn, LogInClient, SecondStep};
use test_support::{Authenticator, Receiver, on_both_databases};

on_both_databases![
    passkey_is_the_second_step_of_a_log_in,
    passkey_logs_in_alone,
    code_of_the_app_is_accepted_once,
    recovery_code_is_accepted_once_and_counted,
    pending_log_in_is_no_session_and_expires,
    new_password_ends_pending_log_ins,
    challenge_is_answered_once_in_time_and_by_its_holder,
    passkey_of_another_user_or_origin_is_refused,
    passkey_with_an_old_counter_is_refused,
    concurrent_uses_of_one_code_open_one_session,
    code_guesses_are_limited_across_replicas,
    user_without_a_required_second_factor_can_only_set_one_up,
    last_required_second_factor_cannot_be_removed,
    administrator_and_operator_reset_second_factors,
    sensitive_changes_require_a_recent_confirmation,
    confirmation_by_password_code_or_passkey_counts_on_every_replica,
    api_token_changes_no_own_second_factor_and_needs_no_confirmation,
    second_factors_are_audited_and_notified,
];

const ORIGIN: &str = "https://berth.example.com";

/// The code that an app with this key shows.
fn code(t: &TestService, key: &str) -> String {
    let secret = totp_rs::Secret::try_from_base32(key).unwrap();
    let totp = totp_rs::Builder::new().with_secret(secret).build().unwrap();
    totp.generate(t.now().timestamp().unsigned_abs()).to_string()
}

async fn log_in(service: &Service, username: &str) -> LogIn {
    let credentials = Credentials { username: username.into(), password: PASSWORD.into() };
    service.accounts().log_in(credentials, "192.0.2.1").await.unwrap()
}

async fn second_step(service: &Service, username: &str) -> SecondStep {
    match log_in(service, username).await {
        LogIn::SecondStep(step) => step,
        LogIn::Started(_) => panic!("a session was opened without the second factor"),
    }
}

/// Adds a passkey in a new session.
async fn add_passkey(t: &TestService, actor: &Actor) -> (Authenticator, FactorAdded) {
    let mut authenticator = Authenticator::new(ORIGIN);
    let added = register(t, actor, &mut authenticator).await.unwrap();
    (authenticator, added)
}

async fn register(t: &TestService, actor: &Actor, with: &mut Authenticator) -> Result<FactorAdded, Problem> {
    let request = t.accounts().start_passkey(actor).await?;
    let response = answer_to(&request, with.register(&request.options));
    t.accounts().add_passkey(actor, "Laptop", response).await
}

fn answer_to(request: &PasskeyRequest, credential: String) -> PasskeyResponse {
    PasskeyResponse { challenge: request.challenge.clone(), credential }
}

/// Adds an authenticator app. Returns its key. The clock moves, so that its next code was not used.
async fn add_app(t: &TestService, actor: &Actor) -> (String, FactorAdded) {
    let enrolment = t.accounts().start_app(actor).await.unwrap();
    let code = code(t, &enrolment.key);
    let added = t.accounts().add_app(actor, &enrolment.challenge, &code).await.unwrap();
    t.clock.advance(Duration::seconds(30));
    (enrolment.key, added)
}

async fn finish(t: &TestService, step: &SecondStep, with: &mut Authenticator) -> Result<SessionInfo, Problem> {
    let request = t.accounts().start_second_step_with_passkey(Some(&step.token)).await?;
    let response = answer_to(&request, with.answer(&request.options));
    let client = LogInClient::from("192.0.2.1");
    Ok(t.accounts().finish_log_in_with_passkey(Some(&step.token), response, client).await?.info)
}

fn with_code(code: &str) -> SecondFactorInput {
    SecondFactorInput { code: Some(code.into()), recovery_code: None }
}

fn with_recovery_code(code: &str) -> SecondFactorInput {
    SecondFactorInput { code: None, recovery_code: Some(code.into()) }
}

async fn try_code(service: &Service, step: &SecondStep, input: SecondFactorInput) -> Result<SessionInfo, Problem> {
    let client = LogInClient::from("192.0.2.1");
    Ok(service.accounts().finish_log_in(Some(&step.token), input, client).await?.info)
}

fn invalid_field(problem: &Problem) -> &str {
    &problem.errors[0].field
}

async fn with_policy(t: &TestService, policy: SecondFactorPolicy) -> Service {
    let mut settings = t.settings.clone();
    settings.accounts.second_factor_required = policy;
    Service::open(settings, t.clock.source()).await.unwrap()
}

async fn passkey_is_the_second_step_of_a_log_in(t: TestService) {
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    let (mut passkey, added) = add_passkey(&t, &alice).await;
    assert_eq!(added.recovery_codes.unwrap().len(), RECOVERY_CODES);
    assert_eq!(added.factors.passkeys[0].name, "Laptop");
    let again = register(&t, &alice, &mut passkey.clone()).await;
    assert_eq!(invalid_field(&refused(again, Invalid)), "passkey", "it is registered already");

    let step = second_step(&t, "alice").await;
    assert_eq!((step.info.passkey, step.info.code, step.info.recovery_code), (true, false, true));
    let info = finish(&t, &step, &mut passkey).await.unwrap();
    assert_eq!(info.user.username, "alice");
    refused(finish(&t, &step, &mut passkey).await, Unauthenticated);
    let listed = t.accounts().second_factors(&alice, "alice").await.unwrap();
    assert_eq!(listed.passkeys[0].last_used_at, Some(t.now()));

    // A passkey that does not check its user is one factor only.
    passkey.verifies = false;
    let step = second_step(&t, "alice").await;
    assert_eq!(invalid_field(&refused(finish(&t, &step, &mut passkey).await, Invalid)), "passkey");
    passkey.verifies = true;
    finish(&t, &step, &mut passkey).await.unwrap();
}

async fn passkey_logs_in_alone(t: TestService) {
    t.person("alice", Role::User).await;
    let root = t.administrator().await;
    let alice = t.logged_in("alice").await;
    let (mut passkey, _) = add_passkey(&t, &alice).await;
    let log_in = async |passkey: &mut Authenticator| {
        let request = t.accounts().start_passkey_log_in("192.0.2.1").await.unwrap();
        assert!(!request.options.contains("alice"), "the request names no account");
        let response = answer_to(&request, passkey.answer(&request.options));
        t.accounts().log_in_with_passkey(response, LogInClient::from("192.0.2.1")).await
    };
    let session = log_in(&mut passkey).await.unwrap();
    assert_eq!(session.info.user.username, "alice");
    t.accounts().authenticate_session(&session.token).await.unwrap();
    // Without a check of the user, a stolen device would be enough.
    passkey.verifies = false;
    assert_eq!(invalid_field(&refused(log_in(&mut passkey).await, Invalid)), "passkey");
    passkey.verifies = true;
    let unknown = refused(log_in(&mut Authenticator::new(ORIGIN)).await, Invalid);
    assert_eq!(invalid_field(&unknown), "passkey");
    let disabled = UserPatch { disabled: Some(true), ..Default::default() };
    t.accounts().update_user(&root, "alice", disabled).await.unwrap();
    refused(log_in(&mut passkey).await, Forbidden);
}

async fn code_of_the_app_is_accepted_once(t: TestService) {
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    let enrolment = t.accounts().start_app(&alice).await.unwrap();
    assert!(enrolment.qr.path.len() > 1_000);
    let wrong = t.accounts().add_app(&alice, &enrolment.challenge, "000000").await;
    assert_eq!(invalid_field(&refused(wrong, Invalid)), "code");
    assert!(log_in(&t, "alice").await.session().is_some(), "the app has no effect before a correct code");
    let first = code(&t, &enrolment.key);
    t.accounts().add_app(&alice, &enrolment.challenge, &first).await.unwrap();
    refused(t.accounts().start_app(&alice).await, Conflict);

    let step = second_step(&t, "alice").await;
    let replayed = refused(try_code(&t, &step, with_code(&first)).await, Invalid);
    assert_eq!(invalid_field(&replayed), "code");
    t.clock.advance(Duration::seconds(30));
    let second = code(&t, &enrolment.key);
    try_code(&t, &step, with_code(&second)).await.unwrap();
    let step = second_step(&t, "alice").await;
    refused(try_code(&t, &step, with_code(&second)).await, Invalid);
    let stored = t.accounts().second_factors(&alice, "alice").await.unwrap();
    assert_eq!(stored.authenticator_app.unwrap().last_used_at, t.now());
}

async fn recovery_code_is_accepted_once_and_counted(t: TestService) {
    t.person("alice", Role::User).await;
    t.person("bob", Role::User).await;
    let (alice, bob) = (t.logged_in("alice").await, t.logged_in("bob").await);
    refused(t.accounts().replace_recovery_codes(&alice).await, Conflict);
    let (_, added) = add_app(&t, &alice).await;
    let codes = added.recovery_codes.unwrap();
    add_app(&t, &bob).await;

    let step = second_step(&t, "bob").await;
    let of_another = refused(try_code(&t, &step, with_recovery_code(&codes[0])).await, Invalid);
    assert_eq!(invalid_field(&of_another), "recovery_code");
    let step = second_step(&t, "alice").await;
    try_code(&t, &step, with_recovery_code(&codes[0].replace('-', "").to_uppercase())).await.unwrap();
    let step = second_step(&t, "alice").await;
    refused(try_code(&t, &step, with_recovery_code(&codes[0])).await, Invalid);
    assert_eq!(t.accounts().second_factors(&alice, "alice").await.unwrap().recovery_codes_left, 9);
    let new = t.accounts().replace_recovery_codes(&alice).await.unwrap();
    refused(try_code(&t, &step, with_recovery_code(&codes[1])).await, Invalid);
    try_code(&t, &step, with_recovery_code(&new[0])).await.unwrap();
}

async fn pending_log_in_is_no_session_and_expires(t: TestService) {
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    let (key, _) = add_app(&t, &alice).await;
    let step = second_step(&t, "alice").await;
    refused(t.accounts().authenticate_session(&step.token).await, Unauthenticated);
    refused(t.accounts().authenticate_token(&step.token).await, Unauthenticated);
    assert_eq!(t.accounts().list_sessions(&alice).await.unwrap().len(), 1, "no session was opened");
    // Another browser does not have the cookie.
    let client = || LogInClient::from("192.0.2.1");
    for token in [None, Some(""), Some("x")] {
        refused(t.accounts().finish_log_in(token, with_code(&code(&t, &key)), client()).await, Unauthenticated);
    }
    assert_eq!(t.accounts().pending_log_in(Some(&step.token)).await.unwrap(), Some(step.info));
    t.clock.advance(Duration::minutes(5));
    assert_eq!(t.accounts().pending_log_in(Some(&step.token)).await.unwrap(), None);
    refused(try_code(&t, &step, with_code(&code(&t, &key))).await, Unauthenticated);
    let step = second_step(&t, "alice").await;
    t.accounts().cancel_log_in(Some(&step.token)).await.unwrap();
    refused(try_code(&t, &step, with_code(&code(&t, &key))).await, Unauthenticated);
}

async fn new_password_ends_pending_log_ins(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    let (key, _) = add_app(&t, &alice).await;
    let step = second_step(&t, "alice").await;
    let patch = UserPatch { password: Some("battery horse correct".into()), ..Default::default() };
    t.accounts().update_user(&root, "alice", patch).await.unwrap();
    refused(try_code(&t, &step, with_code(&code(&t, &key))).await, Unauthenticated);
}

async fn challenge_is_answered_once_in_time_and_by_its_holder(t: TestService) {
    t.person("alice", Role::User).await;
    let (alice, other_session) = (t.logged_in("alice").await, t.logged_in("alice").await);
    let mut passkey = Authenticator::new(ORIGIN);
    let request = t.accounts().start_passkey(&alice).await.unwrap();
    let response = answer_to(&request, passkey.register(&request.options));
    refused(t.accounts().add_passkey(&other_session, "Laptop", response.clone()).await, Conflict);
    refused(t.accounts().add_passkey(&alice, "Laptop", response).await, Conflict);
    let request = t.accounts().start_passkey(&alice).await.unwrap();
    let response = answer_to(&request, passkey.register(&request.options));
    t.clock.advance(Duration::minutes(5));
    refused(t.accounts().add_passkey(&alice, "Laptop", response).await, Conflict);
    register(&t, &alice, &mut passkey).await.unwrap();

    // The response to one challenge is not accepted for another, nor twice.
    let (one, two) = (second_step(&t, "alice").await, second_step(&t, "alice").await);
    let request = t.accounts().start_second_step_with_passkey(Some(&one.token)).await.unwrap();
    let response = answer_to(&request, passkey.answer(&request.options));
    let client = || LogInClient::from("192.0.2.1");
    let stolen = t.accounts().finish_log_in_with_passkey(Some(&two.token), response.clone(), client()).await;
    refused(stolen, Conflict);
    refused(t.accounts().finish_log_in_with_passkey(Some(&one.token), response.clone(), client()).await, Conflict);
    let request = t.accounts().start_second_step_with_passkey(Some(&one.token)).await.unwrap();
    let old = answer_to(&request, response.credential);
    refused(t.accounts().finish_log_in_with_passkey(Some(&one.token), old, client()).await, Invalid);
    // A challenge of another purpose.
    let request = t.accounts().start_passkey_log_in("192.0.2.1").await.unwrap();
    let response = answer_to(&request, passkey.answer(&request.options));
    refused(t.accounts().finish_log_in_with_passkey(Some(&one.token), response, client()).await, Conflict);
    finish(&t, &one, &mut passkey).await.unwrap();
    let count = async |sql: &str| -> i64 {
        use sea_orm::ConnectionTrait as _;
        let database = t.database().await;
        let statement = sea_orm::Statement::from_string(database.get_database_backend(), sql);
        database.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
    };
    for _ in 0..30 {
        second_step(&t, "alice").await;
    }
    assert!(count("SELECT COUNT(*) FROM challenges").await <= 25, "the oldest ones are dropped");
    t.clock.advance(Duration::minutes(6));
    t.maintenance().retention_batch().await.unwrap();
    assert_eq!(count("SELECT COUNT(*) FROM challenges").await, 0);
}

async fn passkey_of_another_user_or_origin_is_refused(t: TestService) {
    t.person("alice", Role::User).await;
    t.person("bob", Role::User).await;
    let (alice, bob) = (t.logged_in("alice").await, t.logged_in("bob").await);
    add_passkey(&t, &alice).await;
    let (mut his, _) = add_passkey(&t, &bob).await;
    let step = second_step(&t, "alice").await;
    assert_eq!(invalid_field(&refused(finish(&t, &step, &mut his).await, Invalid)), "passkey");
    refused(t.accounts().remove_second_factor(&bob, "alice", "authenticator-app").await, Forbidden);
    let his_id = t.accounts().second_factors(&bob, "bob").await.unwrap().passkeys[0].id.clone();
    refused(t.accounts().remove_second_factor(&alice, "alice", &his_id).await, NotFound);
    refused(t.accounts().second_factors(&alice, "bob").await, Forbidden);
    let mut phished = Authenticator::new("https://berth.example.com.evil.example");
    assert_eq!(invalid_field(&refused(register(&t, &alice, &mut phished).await, Invalid)), "passkey");
    for nonsense in ["", "{}", "[]", "null", &"x".repeat(70_000)] {
        let request = t.accounts().start_passkey(&alice).await.unwrap();
        let response = answer_to(&request, nonsense.to_owned());
        refused(t.accounts().add_passkey(&alice, "Laptop", response).await, Invalid);
    }
}

async fn passkey_with_an_old_counter_is_refused(t: TestService) {
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    let (mut passkey, _) = add_passkey(&t, &alice).await;
    let mut copy = passkey.clone();
    let step = second_step(&t, "alice").await;
    finish(&t, &step, &mut passkey).await.unwrap();
    let step = second_step(&t, "alice").await;
    let problem = refused(finish(&t, &step, &mut copy).await, Invalid);
    assert!(problem.detail.contains("copied"), "{problem}");
    // Both started before one of them was used.
    let (one, two) = (second_step(&t, "alice").await, second_step(&t, "alice").await);
    let mut copy = passkey.clone();
    let start = async |step: &SecondStep, with: &mut Authenticator| {
        let request = t.accounts().start_second_step_with_passkey(Some(&step.token)).await.unwrap();
        answer_to(&request, with.answer(&request.options))
    };
    let (first, second) = (start(&one, &mut passkey).await, start(&two, &mut copy).await);
    let client = || LogInClient::from("192.0.2.1");
    t.accounts().finish_log_in_with_passkey(Some(&one.token), first, client()).await.unwrap();
    refused(t.accounts().finish_log_in_with_passkey(Some(&two.token), second, client()).await, Invalid);
}

async fn concurrent_uses_of_one_code_open_one_session(t: TestService) {
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    let (key, _) = add_app(&t, &alice).await;
    let (one, two) = (second_step(&t, "alice").await, second_step(&t, "alice").await);
    let code = code(&t, &key);
    let other = t.replica().await;
    t.ready_to_race().await;
    let (first, second) = tokio::join!(try_code(&t, &one, with_code(&code)), try_code(&other, &two, with_code(&code)));
    assert_ne!(first.is_ok(), second.is_ok(), "{first:?} {second:?}");
    assert_eq!(t.accounts().list_sessions(&alice).await.unwrap().len(), 2);
}

async fn code_guesses_are_limited_across_replicas(t: TestService) {
    t.person("alice", Role::User).await;
    t.person("bob", Role::User).await;
    let (alice, bob) = (t.logged_in("alice").await, t.logged_in("bob").await);
    let (key, added) = add_app(&t, &alice).await;
    let (his_key, _) = add_app(&t, &bob).await;
    let other = t.replica().await;
    for n in 0..10 {
        // A new log-in gives no new guesses, and the ways share them.
        let service = if n % 2 == 0 { &t.service } else { &other };
        let step = second_step(service, "alice").await;
        let input = if n % 3 == 0 { with_recovery_code("x") } else { with_code("000000") };
        refused(try_code(service, &step, input).await, Invalid);
    }
    let step = second_step(&other, "alice").await;
    refused(try_code(&other, &step, with_code(&code(&t, &key))).await, RateLimited);
    refused(try_code(&t, &step, with_recovery_code(&added.recovery_codes.unwrap()[0])).await, RateLimited);
    let input = ConfirmationInput { code: Some(code(&t, &key)), password: None };
    refused(t.accounts().confirm(&alice, input).await, RateLimited);
    let his = second_step(&t, "bob").await;
    try_code(&t, &his, with_code(&code(&t, &his_key))).await.expect("another account");
    t.clock.advance(Duration::minutes(3));
    try_code(&t, &step, with_code(&code(&t, &key))).await.expect("one attempt per 3 minutes");
}

async fn user_without_a_required_second_factor_can_only_set_one_up(t: TestService) {
    t.person("alice", Role::User).await;
    t.person("root", Role::Administrator).await;
    let service = with_policy(&t, SecondFactorPolicy::Administrators).await;
    let session = log_in(&service, "root").await.session().expect("a session without a second factor");
    assert!(session.info.needs_second_factor);
    let (root, _) = service.accounts().authenticate_session(&session.token).await.unwrap();
    let only_set_up = |problem: Problem| assert_eq!(problem.kind, SecondFactorSetupRequired);
    only_set_up(service.accounts().list_users(&root).await.unwrap_err());
    only_set_up(service.accounts().list_tokens(&root).await.unwrap_err());
    only_set_up(service.webhooks().list(&root, &PageQuery::default()).await.unwrap_err().into());
    let listed = service.reservations().list(&root, &Default::default(), &PageQuery::default()).await;
    only_set_up(listed.unwrap_err().into());
    only_set_up(service.accounts().reset_second_factors(&root, "alice").await.unwrap_err());
    let tokens = ApiTokenInput { name: "ci".into(), ..Default::default() };
    let token = service.accounts().create_token_as_operator("root", tokens).await.unwrap();
    let (by_token, _) = service.accounts().authenticate_token(&token.token).await.unwrap();
    service.accounts().list_users(&by_token).await.expect("API tokens keep working");

    let enrolment = service.accounts().start_app(&root).await.unwrap();
    let code = code(&t, &enrolment.key);
    service.accounts().add_app(&root, &enrolment.challenge, &code).await.unwrap();
    let (root, info) = service.accounts().authenticate_session(&session.token).await.unwrap();
    assert!(!info.needs_second_factor);
    service.accounts().list_users(&root).await.unwrap();
    let hers = log_in(&service, "alice").await.session().unwrap();
    assert!(!hers.info.needs_second_factor, "the policy covers administrators only");
    let everyone = with_policy(&t, SecondFactorPolicy::Everyone).await;
    assert!(everyone.accounts().authenticate_session(&hers.token).await.unwrap().1.needs_second_factor);
}

async fn last_required_second_factor_cannot_be_removed(t: TestService) {
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    add_app(&t, &alice).await;
    let (_, added) = add_passkey(&t, &alice).await;
    assert_eq!(added.recovery_codes, None, "the account has codes");
    let service = with_policy(&t, SecondFactorPolicy::Everyone).await;
    service.accounts().remove_second_factor(&alice, "alice", APP_ID).await.expect("another one is left");
    let id = added.factors.passkeys[0].id.as_str();
    refused(service.accounts().remove_second_factor(&alice, "alice", id).await, Conflict);
    t.accounts().remove_second_factor(&alice, "alice", id).await.expect("not required");
    let left = t.accounts().second_factors(&alice, "alice").await.unwrap();
    assert!(left.is_empty());
    assert_eq!(left.recovery_codes_left, 0, "recovery codes do not outlive the last second factor");
    assert!(log_in(&t, "alice").await.session().is_some());
}

async fn administrator_and_operator_reset_second_factors(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    refused(t.accounts().reset_second_factors(&root, "alice").await, Conflict);
    add_passkey(&t, &alice).await;
    add_app(&t, &alice).await;
    refused(t.accounts().reset_second_factors(&alice, "alice").await, Forbidden);
    refused(t.accounts().reset_second_factors(&root, "root").await, Conflict);
    refused(t.accounts().reset_second_factors(&root, "nobody").await, NotFound);
    t.accounts().reset_second_factors(&root, "alice").await.unwrap();
    assert!(log_in(&t, "alice").await.session().is_some());
    let alice = t.logged_in("alice").await;
    add_app(&t, &alice).await;
    t.accounts().reset_second_factors_as_operator("alice").await.unwrap();
    assert!(t.accounts().second_factors(&root, "alice").await.unwrap().is_empty());
}

async fn sensitive_changes_require_a_recent_confirmation(t: TestService) {
    t.person("root", Role::Administrator).await;
    t.person("alice", Role::User).await;
    let root = t.logged_in("root").await;
    let receiver = Receiver::start().await;
    let auth = AuthInput::ApiKey { header: "X-Api-Key".into(), key: "k3y-of-the-service".into() };
    let input = serde_json::from_value(json!({
        "name": "GPU", "endpoint_url": format!("{}/hook", receiver.url), "events": ["reservation.created"],
        "auth": {"method": "none"},
    }));
    t.clock.advance(Duration::minutes(10));
    let webhook = t.webhooks().create(&root, input.unwrap()).await.expect("creation needs no confirmation").webhook;
    t.webhooks().send_test(&root, webhook.id, Default::default()).await.expect("a test needs no confirmation");
    let rename = WebhookPatch { name: Some("Renamed".into()), ..Default::default() };
    t.webhooks().update(&root, webhook.id, rename).await.expect("no credential is changed");
    let same_server = WebhookPatch { endpoint_url: Some(format!("{}/other", receiver.url)), ..Default::default() };
    t.webhooks().update(&root, webhook.id, same_server).await.expect("the same server");

    let is_required = |kind: ProblemKind, what: &str| assert_eq!(kind, ConfirmationRequired, "{what}");
    let user = UserInput {
        username: "erin".into(),
        email: "erin@example.com".into(),
        password: PASSWORD.into(),
        role: Role::User,
    };
    let accounts = t.accounts();
    is_required(accounts.create_user(&root, user).await.unwrap_err().kind, "new user");
    for patch in [
        UserPatch { role: Some(Role::Administrator), ..Default::default() },
        UserPatch { disabled: Some(true), ..Default::default() },
        UserPatch { password: Some("battery horse correct".into()), ..Default::default() },
        UserPatch { email: Some("mallory@example.com".into()), ..Default::default() },
    ] {
        is_required(accounts.update_user(&root, "alice", patch).await.unwrap_err().kind, "change of a user");
    }
    is_required(accounts.end_all_sessions(&root, "alice").await.unwrap_err().kind, "sessions of another user");
    is_required(accounts.reset_second_factors(&root, "alice").await.unwrap_err().kind, "reset of second factors");
    is_required(accounts.remove_second_factor(&root, "alice", APP_ID).await.unwrap_err().kind, "second factor");
    is_required(accounts.start_passkey(&root).await.unwrap_err().kind, "new passkey");
    is_required(accounts.start_app(&root).await.unwrap_err().kind, "new app");
    for patch in [
        WebhookPatch { auth: Some(auth), ..Default::default() },
        WebhookPatch { endpoint_url: Some("http://127.0.0.1:9/hook".into()), ..Default::default() },
        serde_json::from_value(json!({"headers": [{"name": "X-Secret", "value": "s3cret", "secret": true}]})).unwrap(),
    ] {
        let error: Problem = t.webhooks().update(&root, webhook.id, patch).await.unwrap_err().into();
        is_required(error.kind, "change of a webhook");
    }
    let rotated = t.webhooks().rotate_secret(&root, webhook.id, RotateInput::default()).await;
    is_required(Problem::from(rotated.err().unwrap()).kind, "rotation");
    assert_eq!(t.webhooks().get(&root, webhook.id).await.unwrap().name, "Renamed");

    let confirmation = ConfirmationInput { password: Some(PASSWORD.into()), code: None };
    accounts.confirm(&root, confirmation).await.unwrap();
    t.webhooks().rotate_secret(&root, webhook.id, RotateInput::default()).await.expect("just confirmed");
    accounts.end_all_sessions(&root, "alice").await.expect("just confirmed");
    t.service.deliveries().replay(&root, &ReplayInput::default()).await.expect("just confirmed");
    t.clock.advance(Duration::minutes(10));
    is_required(accounts.end_all_sessions(&root, "alice").await.unwrap_err().kind, "10 minutes later");
}

async fn confirmation_by_password_code_or_passkey_counts_on_every_replica(t: TestService) {
    t.person("root", Role::Administrator).await;
    t.person("alice", Role::User).await;
    let root = t.logged_in("root").await;
    let (key, _) = add_app(&t, &root).await;
    let (mut passkey, _) = add_passkey(&t, &root).await;
    let other = t.replica().await;
    let methods = t.accounts().confirmation_methods(&root).await.unwrap();
    assert_eq!((methods.password, methods.code, methods.passkey), (true, true, true));
    let by = |password: Option<&str>, code: Option<&str>| ConfirmationInput {
        password: password.map(str::to_owned),
        code: code.map(str::to_owned),
    };
    for way in ["password", "code", "passkey"] {
        t.clock.advance(Duration::minutes(10));
        refused(t.accounts().end_all_sessions(&root, "alice").await, ConfirmationRequired);
        match way {
            "password" => {
                let wrong = refused(t.accounts().confirm(&root, by(Some("wrong"), None)).await, Invalid);
                assert_eq!(invalid_field(&wrong), "password");
                t.accounts().confirm(&root, by(Some(PASSWORD), None)).await.unwrap();
            }
            "code" => {
                let wrong = refused(t.accounts().confirm(&root, by(None, Some("000000"))).await, Invalid);
                assert_eq!(invalid_field(&wrong), "code");
                let code = code(&t, &key);
                t.accounts().confirm(&root, by(None, Some(&code))).await.unwrap();
                refused(t.accounts().confirm(&root, by(None, Some(&code))).await, Invalid);
            }
            _ => {
                let request = t.accounts().start_confirmation(&root).await.unwrap();
                let response = answer_to(&request, passkey.answer(&request.options));
                t.accounts().confirm_with_passkey(&root, response.clone()).await.unwrap();
                refused(t.accounts().confirm_with_passkey(&root, response).await, Conflict);
            }
        }
        t.accounts().end_all_sessions(&root, "alice").await.expect(way);
        other.accounts().end_all_sessions(&root, "alice").await.expect("on another replica");
    }
    refused(t.accounts().confirm(&root, by(None, None)).await, Invalid);
    refused(t.accounts().confirm(&root, by(Some(PASSWORD), Some("000000"))).await, Invalid);
    // A confirmation belongs to its session.
    t.clock.advance(Duration::minutes(10));
    let second = second_step(&t, "root").await;
    finish(&t, &second, &mut passkey).await.unwrap();
    refused(t.accounts().end_all_sessions(&root, "alice").await, ConfirmationRequired);
}

async fn api_token_changes_no_own_second_factor_and_needs_no_confirmation(t: TestService) {
    t.person("root", Role::Administrator).await;
    t.person("alice", Role::User).await;
    let root = t.logged_in("root").await;
    let (_, added) = add_passkey(&t, &root).await;
    let token = ApiTokenInput { name: "ci".into(), scopes: Some(Scope::ALL.to_vec()), ..Default::default() };
    let token = t.accounts().create_token(&root, token).await.unwrap();
    let (by_token, _) = t.accounts().authenticate_token(&token.token).await.unwrap();
    t.clock.advance(Duration::minutes(10));
    t.accounts().end_all_sessions(&by_token, "alice").await.expect("API tokens need no confirmation");
    let own = &added.factors.passkeys[0].id;
    refused(t.accounts().remove_second_factor(&by_token, "root", own).await, Forbidden);
    refused(t.accounts().start_passkey(&by_token).await, Forbidden);
    refused(t.accounts().start_app(&by_token).await, Forbidden);
    refused(t.accounts().replace_recovery_codes(&by_token).await, Forbidden);
    let input = ConfirmationInput { password: Some(PASSWORD.into()), code: None };
    refused(t.accounts().confirm(&by_token, input).await, Forbidden);
}

async fn second_factors_are_audited_and_notified(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    let (key, added) = add_app(&t, &alice).await;
    let (mut passkey, _) = add_passkey(&t, &alice).await;
    let step = second_step(&t, "alice").await;
    refused(try_code(&t, &step, with_code("000000")).await, Invalid);
    try_code(&t, &step, with_recovery_code(&added.recovery_codes.unwrap()[0])).await.unwrap();
    let input = ConfirmationInput { code: Some(code(&t, &key)), password: None };
    t.accounts().confirm(&alice, input).await.unwrap();
    let request = t.accounts().start_passkey_log_in("192.0.2.1").await.unwrap();
    let response = answer_to(&request, passkey.answer(&request.options));
    t.accounts().log_in_with_passkey(response, LogInClient::from("192.0.2.1")).await.unwrap();
    t.accounts().remove_second_factor(&alice, "alice", APP_ID).await.unwrap();
    t.accounts().reset_second_factors(&root, "alice").await.unwrap();
    let page = PageQuery { limit: Some(200), cursor: None };
    let log = t.audit().list(&root, &AuditFilter::default(), &page).await.unwrap().items;
    let actions: Vec<&str> = log.iter().rev().map(|entry| entry.action.as_str()).skip(2).collect();
    assert_eq!(
        actions,
        [
            "session.started",
            "second_factor.added",
            "recovery_codes.created",
            "second_factor.added",
            "second_factor.rejected",
            "recovery_code.used",
            "session.started",
            "session.confirmed",
            "session.started",
            "second_factor.removed",
            "second_factor.reset",
        ]
    );
    let text = serde_json::to_string(&log).unwrap();
    assert!(!text.contains(&key), "the key is not logged");
    assert!(text.contains("\"passkey\""), "the credential of the last log-in");
    let messages = t.notifications().list(&alice).await.unwrap();
    assert_eq!(messages.len(), 5, "{messages:?}");
}
