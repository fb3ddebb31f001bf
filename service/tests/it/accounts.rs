//! Users, sessions and API tokens.

use crate::support::{PASSWORD, TestService, refused};
use chrono::Duration;
use domain::ProblemKind::*;
use domain::account::*;
use domain::authorization::{Actor, Role, Scope};
use domain::delivery::DeliveryFilter;
use domain::event::EventType;
use domain::id::ReservationId;
use domain::reservation::ReservationStatus;
use domain::resource::ResourceStatus;
use sea_orm::ConnectionTrait as _;
use service::accounts::LogInClient;
use test_support::{Receiver, on_both_databases};

on_both_databases![
    set_up_succeeds_only_once,
    replicas_share_one_setup_code,
    session_ends_at_expiry_or_logout,
    failed_logins_have_the_same_message,
    failed_logins_are_throttled_by_username_and_source,
    failed_logins_are_throttled_by_source,
    concurrent_logins_over_the_limit_get_429,
    password_change_ends_sessions,
    password_change_deletes_api_tokens_by_default,
    log_in_with_an_old_password_opens_no_session_after_its_change,
    own_session_survives_a_password_change,
    tokens_are_created_only_from_a_recent_session,
    token_lifetime_is_limited,
    session_ends_when_idle,
    session_of_an_earlier_release_has_no_idle_limit_before_its_use,
    log_in_ends_the_old_session_of_the_browser,
    users_list_and_end_their_sessions,
    account_budget_is_stored_and_shared,
    known_device_has_its_own_budget,
    change_of_email_or_key_requires_confirmation_and_sends_a_notification,
    current_password_guesses_are_limited_across_replicas,
    disabled_account_is_rejected_at_once,
    last_administrator_cannot_be_demoted_or_disabled,
    create_user_validates_fields_and_rejects_duplicates,
    users_change_only_their_own_account,
    concurrent_patches_of_different_fields_are_kept,
    revoked_token_is_rejected,
    token_expires_and_records_its_last_use,
    token_cannot_create_tokens,
    session_and_token_are_not_interchangeable,
];

on_both_databases![demo_marks_only_an_empty_database, published_demo_passwords_are_replaced];

on_both_databases![sqlite only: setup_code_of_another_master_key_is_replaced];

on_both_databases![reservations_of_a_disabled_account_are_kept_or_cancelled];

/// A valid new password.
const NEW_PASSWORD: &str = "battery horse correct";

fn setup(username: &str) -> SetupInput {
    let email = format!("{username}@example.com");
    SetupInput { code: None, username: username.into(), email, password: PASSWORD.into() }
}

fn credentials(username: &str, password: &str) -> Credentials {
    Credentials { username: username.into(), password: password.into() }
}

async fn log_in(t: &TestService, username: &str) -> String {
    t.accounts().log_in(credentials(username, PASSWORD), "192.0.2.1").await.unwrap().session().unwrap().token
}

fn token(name: &str) -> ApiTokenInput {
    ApiTokenInput { name: name.into(), ..Default::default() }
}

async fn set_up_succeeds_only_once(t: TestService) {
    assert!(t.accounts().needs_setup().await.unwrap());
    t.ready_to_race().await;
    let (one, other) = tokio::join!(t.accounts().set_up(setup("alice"), true), t.accounts().set_up(setup("bob"), true));
    let (won, lost) = if one.is_ok() { (one, other) } else { (other, one) };
    let won = won.unwrap();
    refused(lost, Conflict);
    assert_eq!(won.info.user.role, Role::Administrator);
    assert_eq!(t.accounts().authenticate_session(&won.token).await.unwrap().1, won.info);
    assert!(!t.accounts().needs_setup().await.unwrap());
    refused(t.accounts().set_up(setup("carol"), true).await, Conflict);
}

/// Each replica prints the link at its start; the link works on all of them.
async fn replicas_share_one_setup_code(t: TestService) {
    let other = t.replica().await;
    t.ready_to_race().await;
    let (one, two) = tokio::join!(t.accounts().setup_code(), other.accounts().setup_code());
    let code = one.unwrap().expect("no account exists");
    assert_eq!(two.unwrap().as_ref(), Some(&code));
    assert_eq!(t.replica().await.accounts().setup_code().await.unwrap().as_ref(), Some(&code), "after a restart");
    let database = t.database().await;
    let stored = async || -> Option<String> {
        let statement = sea_orm::Statement::from_string(database.get_database_backend(), "SELECT code FROM setup_code");
        database.query_one_raw(statement).await.unwrap().map(|row| row.try_get_by_index(0).unwrap())
    };
    assert!(!stored().await.expect("one row").contains(&code), "the code is encrypted");

    let with = |code: &str| SetupInput { code: Some(code.into()), ..setup("alice") };
    refused(other.accounts().set_up(with("0123456789abcdef0123456789abcdef"), false).await, Forbidden);
    refused(other.accounts().set_up(with(""), false).await, Forbidden);
    other.accounts().set_up(with(&code), false).await.unwrap();
    assert_eq!(t.accounts().setup_code().await.unwrap(), None);
    assert_eq!(stored().await, None, "the code is used up");
    refused(t.accounts().set_up(with(&code), false).await, Forbidden);
}

async fn setup_code_of_another_master_key_is_replaced(t: TestService) {
    let code = t.accounts().setup_code().await.unwrap().unwrap();
    let settings = service::Settings { master_key: [8; 32].into(), ..t.settings.clone() };
    let other = service::Service::open(settings, t.clock.source()).await.unwrap();
    let replaced = other.accounts().setup_code().await.unwrap().unwrap();
    assert_ne!(replaced, code);
    other.accounts().set_up(SetupInput { code: Some(replaced), ..setup("alice") }, false).await.unwrap();
}

async fn session_ends_at_expiry_or_logout(t: TestService) {
    t.person("alice", Role::User).await;
    let logged_in = t.accounts().log_in(credentials("alice", PASSWORD), "192.0.2.1").await.unwrap().session().unwrap();
    let (actor, info) = t.accounts().authenticate_session(&logged_in.token).await.unwrap();
    assert_eq!((actor.username.as_str(), actor.role, actor.scopes), ("alice", Role::User, Scope::ALL.to_vec()));
    assert_eq!(actor.session.unwrap().logged_in_at, t.now());
    assert_eq!(info.expires_at, Some(t.now() + Duration::days(7)));

    for _ in 0..6 {
        t.clock.advance(Duration::hours(23));
        t.replica().await.accounts().authenticate_session(&logged_in.token).await.expect("use extends the idle limit");
    }
    t.clock.advance(Duration::days(7) - Duration::hours(6 * 23));
    refused(t.accounts().authenticate_session(&logged_in.token).await, Unauthenticated);

    let again = log_in(&t, "alice").await;
    t.accounts().authenticate_session(&again).await.unwrap();
    t.accounts().log_out(&again).await.unwrap();
    refused(t.accounts().authenticate_session(&again).await, Unauthenticated);
    t.accounts().log_out(&again).await.unwrap();

    // The database contains only the digest of the token.
    let third = log_in(&t, "alice").await;
    let rows = t.database().await;
    let sql = format!("SELECT token_hash FROM sessions WHERE token_hash LIKE '%{third}%'");
    assert!(
        rows.query_all_raw(sea_orm::Statement::from_string(rows.get_database_backend(), sql)).await.unwrap().is_empty()
    );
}

async fn failed_logins_have_the_same_message(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    t.person("mallory", Role::User).await;
    t.accounts().update_user(&root, "mallory", UserPatch { disabled: Some(true), ..Default::default() }).await.unwrap();
    let mut problems = Vec::new();
    for (username, password) in [
        ("alice", "wrong"),
        ("nobody", PASSWORD),
        ("mallory", PASSWORD),
        ("", ""),
        ("al\0ice", PASSWORD),
        ("alice", "\0"),
        ("' OR 1=1 --", PASSWORD),
    ] {
        problems
            .push(refused(t.accounts().log_in(credentials(username, password), "192.0.2.1").await, Unauthenticated));
    }
    problems.push(refused(
        t.accounts().log_in(credentials("alice", &"x".repeat(100_000)), "192.0.2.1").await,
        Unauthenticated,
    ));
    assert!(problems.windows(2).all(|pair| pair[0] == pair[1]), "{problems:?}");
}

async fn failed_logins_are_throttled_by_username_and_source(t: TestService) {
    t.person("alice", Role::User).await;
    let attempt =
        async |password: &str, source: &str| t.accounts().log_in(credentials("alice", password), source).await;
    for _ in 0..10 {
        refused(attempt("wrong", "192.0.2.1").await, Unauthenticated);
    }
    let throttled = refused(attempt(PASSWORD, "192.0.2.1").await, RateLimited);
    assert_eq!(throttled.retry_after, Some(30));
    attempt(PASSWORD, "192.0.2.2").await.expect("another address is not throttled");

    t.clock.advance(Duration::seconds(30));
    refused(attempt("wrong", "192.0.2.1").await, Unauthenticated);
    refused(attempt(PASSWORD, "192.0.2.1").await, RateLimited);
    t.clock.advance(Duration::seconds(30));
    attempt(PASSWORD, "192.0.2.1").await.expect("one try per 30 s");
    refused(attempt("wrong", "192.0.2.1").await, Unauthenticated);
    attempt(PASSWORD, "192.0.2.1").await.expect("success resets the failures");
}

async fn failed_logins_are_throttled_by_source(t: TestService) {
    t.person("alice", Role::User).await;
    let attempt =
        async |name: &str, password: &str| t.accounts().log_in(credentials(name, password), "192.0.2.1").await;
    for n in 0..29 {
        refused(attempt(&format!("person{n}"), "wrong").await, Unauthenticated);
    }
    attempt("alice", PASSWORD).await.expect("29 failures are not throttled");
    // A success with one account does not reset the limit for guesses at others.
    refused(attempt("person29", "wrong").await, Unauthenticated);
    let throttled = refused(attempt("alice", PASSWORD).await, RateLimited);
    assert_eq!(throttled.retry_after, Some(30));
    t.accounts().log_in(credentials("alice", PASSWORD), "192.0.2.2").await.expect("another source is not throttled");
    t.clock.advance(Duration::seconds(30));
    attempt("alice", PASSWORD).await.expect("one try per 30 s");
    refused(attempt("alice", PASSWORD).await, RateLimited);
    // The count starts again 15 minutes after the first failure, in spite of later ones.
    t.clock.advance(Duration::minutes(15) - Duration::seconds(30));
    for _ in 0..2 {
        attempt("alice", PASSWORD).await.expect("the failures have expired");
    }
}

async fn concurrent_logins_over_the_limit_get_429(t: TestService) {
    t.person("alice", Role::User).await;
    let sources: Vec<String> = (0..40).map(|n| format!("192.0.2.{n}")).collect();
    let flood = sources.iter().map(|source| t.accounts().log_in(credentials("alice", PASSWORD), source));
    let results = futures::future::join_all(flood).await;
    let (accepted, rejected): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert!(accepted.len() >= 20 && !rejected.is_empty(), "{} accepted, {} rejected", accepted.len(), rejected.len());
    for result in rejected {
        let problem = result.err().unwrap();
        assert_eq!((problem.kind, problem.retry_after), (RateLimited, Some(1)));
    }
    // Rejected logins do not count as failed.
    for source in &sources {
        t.accounts().log_in(credentials("alice", PASSWORD), source).await.unwrap();
    }
}

async fn password_change_ends_sessions(t: TestService) {
    let alice = t.person("alice", Role::User).await;
    t.person("bob", Role::User).await;
    let (hers, his) = (log_in(&t, "alice").await, log_in(&t, "bob").await);
    t.accounts().authenticate_session(&hers).await.unwrap();
    let password = Some(NEW_PASSWORD.to_owned());
    let without_current = UserPatch { password: password.clone(), ..Default::default() };
    assert!(
        refused(t.accounts().update_user(&alice, "alice", without_current).await, Invalid)
            .message_for("current_password")
            .is_some()
    );
    let patch = UserPatch { password, current_password: Some(PASSWORD.into()), ..Default::default() };
    t.accounts().update_user(&alice, "alice", patch).await.unwrap();
    refused(t.accounts().authenticate_session(&hers).await, Unauthenticated);
    t.accounts().authenticate_session(&his).await.unwrap();
    refused(t.accounts().log_in(credentials("alice", PASSWORD), "192.0.2.1").await, Unauthenticated);
    t.accounts().log_in(credentials("alice", NEW_PASSWORD), "192.0.2.1").await.unwrap();
}

async fn password_change_deletes_api_tokens_by_default(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let create =
        async |username: &str| t.accounts().create_token_as_operator(username, token("ci")).await.unwrap().token;
    let (hers, his) = (create("alice").await, create("root").await);
    let change = |current: &str, new: &str, keep_tokens| UserPatch {
        password: Some(new.into()),
        current_password: Some(current.into()),
        keep_tokens,
        ..Default::default()
    };
    t.accounts().update_user(&alice, "alice", change(PASSWORD, NEW_PASSWORD, Some(true))).await.unwrap();
    t.accounts().authenticate_token(&hers).await.expect("the tokens are kept on request");
    t.accounts().update_user(&alice, "alice", change(NEW_PASSWORD, PASSWORD, None)).await.unwrap();
    refused(t.accounts().authenticate_token(&hers).await, Unauthenticated);
    let hers = create("alice").await;
    let lone = UserPatch { keep_tokens: Some(true), ..Default::default() };
    let problem = refused(t.accounts().update_user(&alice, "alice", lone).await, Invalid);
    assert!(problem.message_for("keep_tokens").is_some());
    let reset = UserPatch { password: Some(NEW_PASSWORD.into()), ..Default::default() };
    t.accounts().update_user(&root, "alice", reset).await.unwrap();
    refused(t.accounts().authenticate_token(&hers).await, Unauthenticated);
    t.accounts().authenticate_token(&his).await.unwrap();
    assert!(t.accounts().list_tokens(&alice).await.unwrap().is_empty());
}

async fn disabled_account_is_rejected_at_once(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    let session = log_in(&t, "alice").await;
    let bearer = t.accounts().create_token_as_operator("alice", token("ci")).await.unwrap().token;
    t.accounts().authenticate_session(&session).await.unwrap();
    t.accounts().authenticate_token(&bearer).await.unwrap();
    let disabled = |disabled| UserPatch { disabled: Some(disabled), ..Default::default() };
    assert!(t.accounts().update_user(&root, "alice", disabled(true)).await.unwrap().disabled);
    refused(t.accounts().authenticate_session(&session).await, Unauthenticated);
    refused(t.accounts().authenticate_token(&bearer).await, Unauthenticated);
    // Enabling the account restores neither its tokens nor its sessions.
    t.accounts().update_user(&root, "alice", disabled(false)).await.unwrap();
    refused(t.accounts().authenticate_token(&bearer).await, Unauthenticated);
    refused(t.accounts().authenticate_session(&session).await, Unauthenticated);
}

async fn last_administrator_cannot_be_demoted_or_disabled(t: TestService) {
    let root = t.administrator().await;
    let demote = || UserPatch { role: Some(Role::User), ..Default::default() };
    let disable = || UserPatch { disabled: Some(true), ..Default::default() };
    refused(t.accounts().update_user(&root, "root", demote()).await, Conflict);
    refused(t.accounts().update_user(&root, "root", disable()).await, Conflict);
    let other = t.person("other", Role::Administrator).await;
    t.ready_to_race().await;
    let (one, two) = tokio::join!(
        t.accounts().update_user(&root, "other", demote()),
        t.accounts().update_user(&other, "root", disable())
    );
    assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1, "exactly one of them stays administrator");
    let left = if one.is_ok() { &root } else { &other };
    let users = t.accounts().list_users(left).await.unwrap();
    assert_eq!(users.iter().filter(|user| user.role == Role::Administrator && !user.disabled).count(), 1);
}

async fn create_user_validates_fields_and_rejects_duplicates(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let input = |username: &str, email: &str, password: &str| UserInput {
        username: username.into(),
        email: email.into(),
        password: password.into(),
        role: Role::User,
    };
    let problem = refused(t.accounts().create_user(&root, input("Alice", "nowhere", "short")).await, Invalid);
    let fields: Vec<&str> = problem.errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["username", "email", "password"]);
    refused(t.accounts().create_user(&root, input("alice", "alice2@example.com", PASSWORD)).await, Conflict);
    refused(t.accounts().create_user(&alice, input("bob", "bob@example.com", PASSWORD)).await, Forbidden);
    refused(t.accounts().list_users(&alice).await, Forbidden);
    t.accounts().create_user(&root, input("bob", "bob@example.com", PASSWORD)).await.unwrap();
    let names: Vec<String> =
        t.accounts().list_users(&root).await.unwrap().into_iter().map(|user| user.username).collect();
    assert_eq!(names, ["alice", "bob", "root"]);
}

async fn users_change_only_their_own_account(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ27n8VIZP0J7Sm4hPj/8UI4bGbO2Tq0nFWwT0TLxdbo alice@laptop";
    let patch =
        UserPatch { ssh_key: Some(format!(" {key}\n")), email: Some("a@example.org".into()), ..Default::default() };
    let confirmed = UserPatch { current_password: Some(PASSWORD.into()), ..patch };
    let user = t.accounts().update_user(&alice, "alice", confirmed).await.unwrap();
    assert_eq!((user.ssh_key.as_str(), user.email.as_str()), (key, "a@example.org"));
    let removed = t
        .accounts()
        .update_user(
            &alice,
            "alice",
            UserPatch { ssh_key: Some(String::new()), current_password: Some(PASSWORD.into()), ..Default::default() },
        )
        .await
        .unwrap();
    assert_eq!((removed.ssh_key.as_str(), removed.email.as_str()), ("", "a@example.org"));

    refused(
        t.accounts()
            .update_user(&alice, "alice", UserPatch { role: Some(Role::Administrator), ..Default::default() })
            .await,
        Forbidden,
    );
    refused(
        t.accounts()
            .update_user(&alice, "root", UserPatch { email: Some("a@example.org".into()), ..Default::default() })
            .await,
        Forbidden,
    );
    refused(t.accounts().update_user(&root, "nobody", UserPatch::default()).await, NotFound);
    let wrong = UserPatch { ssh_key: Some("-----BEGIN OPENSSH PRIVATE KEY-----".into()), ..Default::default() };
    assert!(refused(t.accounts().update_user(&alice, "alice", wrong).await, Invalid).message_for("ssh_key").is_some());
}

async fn concurrent_patches_of_different_fields_are_kept(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    t.ready_to_race().await;
    for round in 0..5 {
        let email = format!("round{round}@example.com");
        let role = if round % 2 == 0 { Role::Administrator } else { Role::User };
        let (one, two) = tokio::join!(
            t.accounts().update_user(&alice, "alice", UserPatch { email: Some(email.clone()), ..Default::default() }),
            t.accounts().update_user(&root, "alice", UserPatch { role: Some(role), ..Default::default() }),
        );
        one.unwrap();
        two.unwrap();
        let users = t.accounts().list_users(&root).await.unwrap();
        assert_eq!((users[0].email.as_str(), users[0].role), (email.as_str(), role));
    }
}

async fn revoked_token_is_rejected(t: TestService) {
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    let bob = t.person("bob", Role::User).await;
    let made = t.accounts().create_token(&alice, token("laptop")).await.unwrap();
    assert!(made.token.starts_with("berth_"));
    let (actor, info) = t.accounts().authenticate_token(&made.token).await.unwrap();
    assert_eq!((actor.username.as_str(), info.expires_at), ("alice", Some(t.now() + Duration::days(365))));
    assert_eq!(actor.session, None);
    assert_eq!(t.accounts().list_tokens(&alice).await.unwrap().len(), 1);
    assert!(t.accounts().list_tokens(&bob).await.unwrap().is_empty());
    refused(t.accounts().revoke_token(&bob, &made.id).await, NotFound);
    t.accounts().authenticate_token(&made.token).await.unwrap();
    t.accounts().revoke_token(&alice, &made.id).await.unwrap();
    refused(t.accounts().authenticate_token(&made.token).await, Unauthenticated);
    refused(t.accounts().revoke_token(&alice, &made.id).await, NotFound);
    refused(t.accounts().authenticate_token("").await, Unauthenticated);
    refused(t.accounts().authenticate_token("berth_\0").await, Unauthenticated);
}

async fn token_expires_and_records_its_last_use(t: TestService) {
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    let soon = t.now() + Duration::hours(1);
    let made =
        t.accounts().create_token(&alice, ApiTokenInput { expires_at: Some(soon), ..token("soon") }).await.unwrap();
    assert_eq!(t.accounts().list_tokens(&alice).await.unwrap()[0].last_used_at, None);
    let first = t.now();
    t.accounts().authenticate_token(&made.token).await.unwrap();
    assert_eq!(t.accounts().list_tokens(&alice).await.unwrap()[0].last_used_at, Some(first));
    // A new process has an empty cache, so each of its checks reads the row.
    t.clock.advance(Duration::seconds(59));
    t.replica().await.accounts().authenticate_token(&made.token).await.unwrap();
    assert_eq!(t.accounts().list_tokens(&alice).await.unwrap()[0].last_used_at, Some(first), "at most once a minute");
    t.clock.advance(Duration::seconds(2));
    t.replica().await.accounts().authenticate_token(&made.token).await.unwrap();
    assert_eq!(t.accounts().list_tokens(&alice).await.unwrap()[0].last_used_at, Some(t.now()));
    t.clock.set(soon);
    refused(t.accounts().authenticate_token(&made.token).await, Unauthenticated);
    let past = ApiTokenInput { expires_at: Some(soon), ..token("past") };
    assert!(refused(t.accounts().create_token(&alice, past).await, Invalid).message_for("expires_at").is_some());
}

async fn token_cannot_create_tokens(t: TestService) {
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    let read = ApiTokenInput { scopes: Some(vec![Scope::Read, Scope::Read]), ..token("read") };
    let made = t.accounts().create_token(&alice, read).await.unwrap();
    let (reader, info) = t.accounts().authenticate_token(&made.token).await.unwrap();
    assert_eq!((reader.scopes.clone(), info.scopes), (vec![Scope::Read], vec![Scope::Read]));
    refused(t.accounts().create_token(&reader, token("more")).await, Forbidden);
    refused(t.accounts().list_tokens(&reader).await, Forbidden);

    // Not even one with all scopes and the password: it could outlive its own revocation.
    let made = t.accounts().create_token(&alice, token("all")).await.unwrap();
    let (all, _) = t.accounts().authenticate_token(&made.token).await.unwrap();
    let with_password = ApiTokenInput { current_password: Some(PASSWORD.into()), ..token("heir") };
    refused(t.accounts().create_token(&all, with_password).await, Forbidden);
    assert_eq!(t.accounts().list_tokens(&alice).await.unwrap().len(), 2);

    let none = ApiTokenInput { scopes: Some(vec![]), ..token("none") };
    assert!(refused(t.accounts().create_token(&alice, none).await, Invalid).message_for("scopes").is_some());
    assert!(refused(t.accounts().create_token(&alice, token(" ")).await, Invalid).message_for("name").is_some());
    refused(t.accounts().create_token_as_operator("nobody", token("ci")).await, NotFound);
}

async fn session_and_token_are_not_interchangeable(t: TestService) {
    t.person("alice", Role::User).await;
    let session = log_in(&t, "alice").await;
    let bearer = t.accounts().create_token_as_operator("alice", token("ci")).await.unwrap().token;
    t.accounts().authenticate_session(&session).await.unwrap();
    t.accounts().authenticate_token(&bearer).await.unwrap();
    refused(t.accounts().authenticate_token(&session).await, Unauthenticated);
    refused(t.accounts().authenticate_session(&bearer).await, Unauthenticated);
}

async fn reservations_of_a_disabled_account_are_kept_or_cancelled(t: TestService) {
    let root = t.administrator().await;
    let (alice, bob) = (t.person("alice", Role::User).await, t.person("bob", Role::User).await);
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let receiver = Receiver::start().await;
    t.webhook(&root, &receiver).await;
    let ended = t.booking(&alice, resource, 1, 2).await;
    t.reservations().cancel(&alice, &ended.id, None).await.unwrap();
    let (running, later) = (t.booking(&alice, resource, 1, 3).await, t.booking(&alice, resource, 5, 6).await);
    let other = t.booking(&bob, resource, 3, 4).await;
    let status = async |id: &ReservationId| t.reservations().get(&root, id).await.unwrap().reservation.status;
    let patch = |disabled, reservations| UserPatch { disabled: Some(disabled), reservations, ..Default::default() };

    let wrong = t.update_user(&root, "alice", patch(false, Some(ReservationsOfDisabled::Cancel))).await;
    assert!(refused(wrong, Invalid).message_for("reservations").is_some());
    t.update_user(&root, "alice", patch(true, Some(ReservationsOfDisabled::Keep))).await.unwrap();
    assert_eq!(status(&running.id).await, ReservationStatus::Active);
    t.update_user(&root, "alice", patch(false, None)).await.unwrap();

    refused(t.update_user(&bob, "alice", patch(true, Some(ReservationsOfDisabled::Cancel))).await, Forbidden);
    t.update_user(&root, "alice", patch(true, Some(ReservationsOfDisabled::Cancel))).await.unwrap();
    for id in [&running.id, &later.id] {
        let cancelled = t.reservations().get(&root, id).await.unwrap().reservation;
        assert_eq!(cancelled.status, ReservationStatus::Cancelled);
        assert_eq!(cancelled.cancelled_by.as_deref(), Some("root"));
        assert_eq!(cancelled.cancel_reason, "The account was disabled.");
    }
    assert_eq!(status(&other.id).await, ReservationStatus::Active, "another account");
    let events = DeliveryFilter { event_type: Some(EventType::ReservationCancelled), ..Default::default() };
    let cancelled: Vec<_> =
        t.deliveries(&root, events).await.into_iter().filter_map(|delivery| delivery.reservation_id).collect();
    assert_eq!(cancelled, [&ended.id, &running.id, &later.id].map(|id| id.0.clone()));
}

fn own_change(password: &str, current: &str) -> UserPatch {
    UserPatch { password: Some(password.into()), current_password: Some(current.into()), ..Default::default() }
}

/// The log-in reads the hash before the change and inserts its session after it.
async fn log_in_with_an_old_password_opens_no_session_after_its_change(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    t.ready_to_race().await;
    let mut password = PASSWORD.to_owned();
    for round in 0..3 {
        let next = format!("{NEW_PASSWORD} {round}");
        let reset = UserPatch { password: Some(next.clone()), ..Default::default() };
        // More log-ins than concurrent hashes, so that some verify the old hash when the change has committed.
        let log_ins = (0..10).map(|n| t.accounts().log_in(credentials("alice", &password), SOURCES[n % 2]));
        let log_ins = futures::future::join_all(log_ins);
        let (results, changed) = tokio::join!(log_ins, t.accounts().update_user(&root, "alice", reset));
        changed.unwrap();
        for session in results.into_iter().flatten() {
            let session = session.session().unwrap();
            refused(t.accounts().authenticate_session(&session.token).await, Unauthenticated);
        }
        assert_eq!(count(&t, "sessions WHERE username = 'alice'").await, 0, "no session of the old password is left");
        password = next;
    }
}

/// Sources that share no limit.
const SOURCES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

async fn count(t: &TestService, from: &str) -> i64 {
    let rows = t.database().await;
    let sql = format!("SELECT COUNT(*) FROM {from}");
    let statement = sea_orm::Statement::from_string(rows.get_database_backend(), sql);
    rows.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

async fn own_session_survives_a_password_change(t: TestService) {
    t.person("alice", Role::User).await;
    let (here, there) = (log_in(&t, "alice").await, log_in(&t, "alice").await);
    let alice = t.accounts().authenticate_session(&here).await.unwrap().0;
    t.accounts().update_user(&alice, "alice", own_change(NEW_PASSWORD, PASSWORD)).await.unwrap();
    t.accounts().authenticate_session(&here).await.expect("the session of the change continues");
    refused(t.accounts().authenticate_session(&there).await, Unauthenticated);
    let messages: Vec<String> =
        t.notifications().list(&alice).await.unwrap().into_iter().map(|notification| notification.message).collect();
    assert_eq!(messages.len(), 1);
    assert!(
        messages[0].contains("password was changed") && messages[0].contains("tokens were revoked"),
        "{messages:?}"
    );
}

async fn tokens_are_created_only_from_a_recent_session(t: TestService) {
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    t.accounts().create_token(&alice, token("new")).await.expect("just logged in");
    t.clock.advance(Duration::minutes(10));
    refused(t.accounts().create_token(&alice, token("old")).await, ConfirmationRequired);
    let confirmed = |password: &str| ApiTokenInput { current_password: Some(password.into()), ..token("old") };
    refused(t.accounts().create_token(&alice, confirmed("wrong")).await, Invalid);
    t.accounts().create_token(&alice, confirmed(PASSWORD)).await.unwrap();
    assert_eq!(t.accounts().list_tokens(&alice).await.unwrap().len(), 2);
    // A request that was authenticated before the session ended.
    t.accounts().end_all_sessions(&alice, "alice").await.unwrap();
    refused(t.accounts().create_token(&alice, confirmed(PASSWORD)).await, Unauthenticated);
    assert_eq!(count(&t, "api_tokens").await, 2);
}

async fn token_lifetime_is_limited(t: TestService) {
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    let year = t.now() + Duration::days(365);
    let until = |at| ApiTokenInput { expires_at: Some(at), ..token("until") };
    let problem = refused(t.accounts().create_token(&alice, until(year + Duration::hours(1))).await, Invalid);
    assert!(problem.message_for("expires_at").unwrap().contains("365 days"), "{problem}");
    t.accounts().create_token(&alice, token("default")).await.unwrap();
    // The clock of the page can be ahead.
    t.accounts().create_token(&alice, until(year + Duration::minutes(1))).await.unwrap();
    for listed in t.accounts().list_tokens(&alice).await.unwrap() {
        assert_eq!(listed.expires_at, Some(year), "{}", listed.name);
    }
    // Tokens of earlier releases keep working.
    let database = t.database().await;
    let made = t.accounts().create_token_as_operator("alice", token("forever")).await.unwrap();
    database.execute_unprepared("UPDATE api_tokens SET expires_at = NULL").await.unwrap();
    t.clock.advance(Duration::days(1_000));
    t.accounts().authenticate_token(&made.token).await.unwrap();
}

async fn session_ends_when_idle(t: TestService) {
    t.person("alice", Role::User).await;
    let session = log_in(&t, "alice").await;
    t.clock.advance(Duration::hours(24) - Duration::milliseconds(1));
    // A new process has an empty cache, so its check reads and writes the row.
    t.replica().await.accounts().authenticate_session(&session).await.expect("the use extends the limit");
    t.clock.advance(Duration::hours(24) - Duration::milliseconds(1));
    t.replica().await.accounts().check_session(&session).await.expect("not idle for long enough");
    t.clock.advance(Duration::milliseconds(1));
    refused(t.replica().await.accounts().authenticate_session(&session).await, Unauthenticated);
    let alice = t.logged_in("alice").await;
    assert_eq!(t.accounts().list_sessions(&alice).await.unwrap().len(), 1, "the idle session is not listed");
}

async fn session_of_an_earlier_release_has_no_idle_limit_before_its_use(t: TestService) {
    t.person("alice", Role::User).await;
    let session = log_in(&t, "alice").await;
    t.database().await.execute_unprepared("UPDATE sessions SET last_used_at = NULL").await.unwrap();
    t.clock.advance(Duration::hours(30));
    t.replica().await.accounts().authenticate_session(&session).await.unwrap();
    t.clock.advance(Duration::hours(25));
    refused(t.replica().await.accounts().authenticate_session(&session).await, Unauthenticated);
}

async fn log_in_ends_the_old_session_of_the_browser(t: TestService) {
    t.person("alice", Role::User).await;
    t.person("bob", Role::User).await;
    let (old, other) = (log_in(&t, "alice").await, log_in(&t, "alice").await);
    t.accounts().authenticate_session(&old).await.unwrap();
    let client = LogInClient { session: Some(old.clone()), ..LogInClient::from("192.0.2.1") };
    refused(t.accounts().log_in(credentials("bob", "wrong"), client.clone()).await, Unauthenticated);
    t.accounts().authenticate_session(&old).await.expect("a failed log-in ends nothing");
    t.accounts().log_in(credentials("bob", PASSWORD), client).await.unwrap();
    refused(t.accounts().authenticate_session(&old).await, Unauthenticated);
    t.accounts().authenticate_session(&other).await.unwrap();
}

async fn users_list_and_end_their_sessions(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    let bob = t.person("bob", Role::User).await;
    let firefox = LogInClient {
        user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0".into(),
        ..LogInClient::from("192.0.2.7")
    };
    let first = t.accounts().log_in(credentials("alice", PASSWORD), firefox).await.unwrap().session().unwrap().token;
    t.clock.advance(Duration::minutes(1));
    let second = log_in(&t, "alice").await;
    let alice = t.accounts().authenticate_session(&second).await.unwrap().0;
    let listed = t.accounts().list_sessions(&alice).await.unwrap();
    assert_eq!(listed.iter().map(|session| session.current).collect::<Vec<_>>(), [true, false]);
    assert_eq!((listed[1].device.as_str(), listed[1].source.as_str()), ("Firefox on Linux", "192.0.2.7"));
    assert!(listed.iter().all(|session| !first.contains(&session.id) && session.id.starts_with("ses_")));
    refused(t.accounts().end_session(&bob, &listed[1].id).await, NotFound);
    for invalid in ["", "ses_", "ses_%", "ses_0123456789abcdef0123456789abcdef"] {
        refused(t.accounts().end_session(&alice, invalid).await, NotFound);
    }
    t.accounts().end_session(&alice, &listed[1].id).await.unwrap();
    refused(t.accounts().authenticate_session(&first).await, Unauthenticated);
    t.accounts().authenticate_session(&second).await.unwrap();
    let reader = Actor { scopes: vec![Scope::Read], session: None, ..alice.clone() };
    refused(t.accounts().list_sessions(&reader).await, Forbidden);
    refused(t.accounts().end_all_sessions(&bob, "alice").await, Forbidden);
    refused(t.accounts().end_all_sessions(&root, "nobody").await, NotFound);
    t.accounts().end_all_sessions(&root, "alice").await.unwrap();
    refused(t.accounts().authenticate_session(&second).await, Unauthenticated);
}

/// Many sources, several replicas and restarts do not give an attacker more guesses.
async fn account_budget_is_stored_and_shared(t: TestService) {
    t.person("alice", Role::User).await;
    t.person("bob", Role::User).await;
    for n in 0..50 {
        let source = format!("2001:db8:{n:x}:1::/64");
        refused(t.replica().await.accounts().log_in(credentials("alice", "wrong"), &source).await, Unauthenticated);
    }
    let fresh = t.replica().await;
    let throttled = refused(fresh.accounts().log_in(credentials("alice", PASSWORD), "198.51.100.1").await, RateLimited);
    assert_eq!(throttled.retry_after, Some(300));
    fresh.accounts().log_in(credentials("bob", PASSWORD), "198.51.100.1").await.expect("another account");
    // An unknown username has the same limit, so that it does not differ from a known one.
    t.clock.advance(Duration::minutes(5));
    fresh.accounts().log_in(credentials("alice", PASSWORD), "198.51.100.1").await.expect("one attempt per 5 minutes");
    fresh.accounts().log_in(credentials("alice", PASSWORD), "198.51.100.1").await.expect("success returns the attempt");
    refused(fresh.accounts().log_in(credentials("alice", "wrong"), "198.51.100.1").await, Unauthenticated);
    refused(fresh.accounts().log_in(credentials("alice", PASSWORD), "198.51.100.1").await, RateLimited);
    // The budget expires and is deleted.
    t.clock.advance(Duration::minutes(5 * 51));
    while t.maintenance().retention_batch().await.unwrap() > 0 {}
    assert_eq!(count(&t, "login_budgets").await, 0);
}

async fn known_device_has_its_own_budget(t: TestService) {
    t.person("alice", Role::User).await;
    t.person("bob", Role::User).await;
    let device =
        t.accounts().log_in(credentials("alice", PASSWORD), "192.0.2.1").await.unwrap().session().unwrap().device;
    for n in 0..50 {
        let source = format!("203.0.113.{n}");
        refused(t.accounts().log_in(credentials("alice", "wrong"), &source).await, Unauthenticated);
    }
    let from = |device: &str| LogInClient { device: Some(device.into()), ..LogInClient::from("192.0.2.1") };
    refused(t.accounts().log_in(credentials("alice", PASSWORD), "192.0.2.1").await, RateLimited);
    let again = t.accounts().log_in(credentials("alice", PASSWORD), from(&device)).await.unwrap().session().unwrap();
    // Invented cookies, and those of other accounts, are not exempt.
    let other = t.accounts().log_in(credentials("bob", PASSWORD), "192.0.2.1").await.unwrap().session().unwrap().device;
    for wrong in ["", "v1.AAAA", &other] {
        refused(t.accounts().log_in(credentials("alice", PASSWORD), from(wrong)).await, RateLimited);
    }
    // The device itself allows ten failures; a new cookie of the same device does not add any.
    for _ in 0..10 {
        refused(t.accounts().log_in(credentials("alice", "wrong"), from(&device)).await, Unauthenticated);
    }
    refused(t.accounts().log_in(credentials("alice", PASSWORD), from(&again.device)).await, RateLimited);
    t.clock.advance(Duration::minutes(1));
    t.accounts().log_in(credentials("alice", PASSWORD), from(&again.device)).await.unwrap();
    t.clock.advance(Duration::days(365));
    for n in 0..50 {
        let source = format!("203.0.113.{n}");
        refused(t.accounts().log_in(credentials("alice", "wrong"), &source).await, Unauthenticated);
    }
    refused(t.accounts().log_in(credentials("alice", PASSWORD), from(&device)).await, RateLimited);
}

async fn change_of_email_or_key_requires_confirmation_and_sends_a_notification(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    let alice = t.logged_in("alice").await;
    let email = |email: &str, password: Option<&str>| UserPatch {
        email: Some(email.into()),
        current_password: password.map(str::to_owned),
        ..Default::default()
    };
    t.accounts().update_user(&alice, "alice", email("a1@example.com", None)).await.expect("just logged in");
    t.clock.advance(Duration::minutes(10));
    for password in [None, Some("")] {
        let patch = email("a2@example.com", password);
        refused(t.accounts().update_user(&alice, "alice", patch).await, ConfirmationRequired);
    }
    let patch = email("a2@example.com", Some("wrong"));
    let problem = refused(t.accounts().update_user(&alice, "alice", patch).await, Invalid);
    assert!(problem.message_for("current_password").is_some());
    t.accounts().update_user(&alice, "alice", email("a1@example.com", None)).await.expect("nothing changes");
    t.accounts().update_user(&alice, "alice", email("a2@example.com", Some(PASSWORD))).await.unwrap();
    t.accounts().update_user(&root, "alice", email("a3@example.com", None)).await.expect("an administrator");
    let messages: Vec<String> =
        t.notifications().list(&alice).await.unwrap().into_iter().map(|notification| notification.message).collect();
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(messages[0].contains("e-mail address was changed by root"), "{messages:?}");
    assert!(messages[1].contains("e-mail address was changed. If this was not you"), "{messages:?}");
    assert!(t.notifications().list(&root).await.unwrap().is_empty());
}

async fn current_password_guesses_are_limited_across_replicas(t: TestService) {
    let alice = t.person("alice", Role::User).await;
    for _ in 0..10 {
        let wrong = own_change(NEW_PASSWORD, "wrong");
        refused(t.replica().await.accounts().update_user(&alice, "alice", wrong).await, Invalid);
    }
    let right = own_change(NEW_PASSWORD, PASSWORD);
    refused(t.replica().await.accounts().update_user(&alice, "alice", right.clone()).await, RateLimited);
    t.clock.advance(Duration::minutes(3));
    t.accounts().update_user(&alice, "alice", right).await.unwrap();
}

async fn demo_marks_only_an_empty_database(t: TestService) {
    assert!(t.accounts().mark_as_demo().await.unwrap());
    t.administrator().await;
    assert!(t.accounts().mark_as_demo().await.unwrap(), "an earlier demo marked it");
    t.database().await.execute_unprepared("DELETE FROM demo").await.unwrap();
    assert!(!t.accounts().mark_as_demo().await.unwrap(), "it has other accounts");
}

/// The Argon2id hash of `berth-demo-admin`.
const PUBLISHED_HASH: &str =
    "$argon2id$v=19$m=1024,t=1,p=1$8QN8c1V1tv4bAXAHrXftzw$XGMEpbUgaqYfUDJCAFDw+tWUR+ePfEhMVsHO/F1cdN4";

/// Earlier releases created the accounts of the demo with passwords that are in their source code.
async fn published_demo_passwords_are_replaced(t: TestService) {
    let account = |password: &str| UserInput {
        username: "admin".into(),
        email: "admin@example.com".into(),
        password: password.into(),
        role: Role::Administrator,
    };
    let prepare = async |password: &str, replace: bool| {
        t.accounts().prepare_demo_account(account(password), replace).await.unwrap()
    };
    let logs_in = async |password: &str| {
        let credentials = Credentials { username: "admin".into(), password: password.into() };
        t.accounts().log_in(credentials, "test").await.is_ok()
    };
    t.accounts().create_user_as_operator(account(PASSWORD)).await.unwrap();
    // New passwords must not contain the username.
    let sql = format!("UPDATE users SET password_hash = '{PUBLISHED_HASH}'");
    t.database().await.execute_unprepared(&sql).await.unwrap();
    assert_eq!(t.accounts().accounts_with_published_password().await.unwrap(), ["admin"]);
    assert!(prepare("first random password", false).await);
    assert!(t.accounts().accounts_with_published_password().await.unwrap().is_empty());
    assert!(!logs_in("berth-demo-admin").await && logs_in("first random password").await);
    assert!(!prepare("second random password", false).await, "an own password is kept");
    assert!(logs_in("first random password").await);
    assert!(prepare("second random password", true).await);
    assert!(!logs_in("first random password").await && logs_in("second random password").await);
}
