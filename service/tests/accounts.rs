//! People, sessions, API tokens.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use chrono::Duration;
use domain::ProblemKind::*;
use domain::account::*;
use domain::authorization::{Actor, Role, Scope};
use sea_orm::ConnectionTrait as _;
use support::{PASSWORD, TestService, on_both_engines, refused};

on_both_engines![
    the_first_visit_sets_up_once,
    logging_in_gives_a_session_that_ends,
    every_wrong_log_in_reads_the_same,
    failures_are_throttled_by_name_and_address,
    failures_of_one_source_are_throttled_whatever_the_name,
    a_flood_of_log_ins_is_told_to_come_back,
    a_new_password_ends_sessions,
    a_password_set_by_an_administrator_deletes_the_accounts_tokens,
    a_disabled_account_is_out_at_once,
    an_administrator_always_remains,
    accounts_are_checked_and_unique,
    people_change_only_what_is_theirs,
    changes_at_once_keep_each_other,
    tokens_are_shown_once_and_revoked_for_good,
    tokens_expire_and_note_their_use,
    a_token_gives_no_more_than_it_has,
    sessions_and_tokens_are_not_each_other,
];

fn setup(username: &str) -> SetupInput {
    let email = format!("{username}@example.com");
    SetupInput { code: None, username: username.into(), email, password: PASSWORD.into() }
}

fn credentials(username: &str, password: &str) -> Credentials {
    Credentials { username: username.into(), password: password.into() }
}

async fn log_in(t: &TestService, username: &str) -> String {
    t.log_in(credentials(username, PASSWORD), "192.0.2.1").await.unwrap().token
}

fn token(name: &str) -> ApiTokenInput {
    ApiTokenInput { name: name.into(), scopes: None, expires_at: None }
}

async fn the_first_visit_sets_up_once(t: TestService) {
    assert!(t.needs_setup().await.unwrap());
    t.ready_to_race().await;
    let (one, other) = tokio::join!(t.set_up(setup("alice"), true, ""), t.set_up(setup("bob"), true, ""));
    let (won, lost) = if one.is_ok() { (one, other) } else { (other, one) };
    let won = won.unwrap();
    refused(lost, Conflict);
    assert_eq!(won.info.user.role, Role::Administrator);
    assert_eq!(t.actor_of_session(&won.token).await.unwrap().1, won.info);
    assert!(!t.needs_setup().await.unwrap());
    refused(t.set_up(setup("carol"), true, "").await, Conflict);
}

async fn logging_in_gives_a_session_that_ends(t: TestService) {
    t.person("alice", Role::User).await;
    let logged_in = t.log_in(credentials("alice", PASSWORD), "192.0.2.1").await.unwrap();
    let (actor, info) = t.actor_of_session(&logged_in.token).await.unwrap();
    assert_eq!(actor, Actor { username: "alice".into(), role: Role::User, scopes: Scope::ALL.to_vec() });
    assert_eq!(info.expires_at, Some(t.now() + Duration::days(7)));

    t.clock.advance(Duration::days(7));
    refused(t.actor_of_session(&logged_in.token).await, Unauthenticated);

    let again = log_in(&t, "alice").await;
    t.actor_of_session(&again).await.unwrap();
    t.log_out(&again).await.unwrap();
    refused(t.actor_of_session(&again).await, Unauthenticated);
    t.log_out(&again).await.unwrap();

    // The token itself is not in the database.
    let third = log_in(&t, "alice").await;
    let rows = t.database().await;
    let sql = format!("SELECT token_hash FROM sessions WHERE token_hash LIKE '%{third}%'");
    assert!(
        rows.query_all_raw(sea_orm::Statement::from_string(rows.get_database_backend(), sql)).await.unwrap().is_empty()
    );
}

async fn every_wrong_log_in_reads_the_same(t: TestService) {
    let root = t.administrator().await;
    t.person("alice", Role::User).await;
    t.person("mallory", Role::User).await;
    t.patch_user(&root, "mallory", UserPatch { disabled: Some(true), ..Default::default() }).await.unwrap();
    let mut answers = Vec::new();
    for (username, password) in [
        ("alice", "wrong"),
        ("nobody", PASSWORD),
        ("mallory", PASSWORD),
        ("", ""),
        ("al\0ice", PASSWORD),
        ("alice", "\0"),
        ("' OR 1=1 --", PASSWORD),
    ] {
        answers.push(refused(t.log_in(credentials(username, password), "192.0.2.1").await, Unauthenticated));
    }
    answers.push(refused(t.log_in(credentials("alice", &"x".repeat(100_000)), "192.0.2.1").await, Unauthenticated));
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

async fn failures_are_throttled_by_name_and_address(t: TestService) {
    t.person("alice", Role::User).await;
    let attempt = async |password: &str, source: &str| t.log_in(credentials("alice", password), source).await;
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
    attempt(PASSWORD, "192.0.2.1").await.expect("success forgets the failures");
}

async fn failures_of_one_source_are_throttled_whatever_the_name(t: TestService) {
    t.person("alice", Role::User).await;
    let attempt = async |name: &str, password: &str| t.log_in(credentials(name, password), "192.0.2.1").await;
    for n in 0..29 {
        refused(attempt(&format!("person{n}"), "wrong").await, Unauthenticated);
    }
    attempt("alice", PASSWORD).await.expect("29 are free");
    // Success with one's own account buys no tries with others.
    refused(attempt("person29", "wrong").await, Unauthenticated);
    let throttled = refused(attempt("alice", PASSWORD).await, RateLimited);
    assert_eq!(throttled.retry_after, Some(30));
    t.log_in(credentials("alice", PASSWORD), "192.0.2.2").await.expect("another source is not throttled");
    t.clock.advance(Duration::seconds(30));
    attempt("alice", PASSWORD).await.expect("one try per 30 s");
    refused(attempt("alice", PASSWORD).await, RateLimited);
    // 15 minutes after the first failure it begins anew, although others came since.
    t.clock.advance(Duration::minutes(15) - Duration::seconds(30));
    for _ in 0..2 {
        attempt("alice", PASSWORD).await.expect("forgotten");
    }
}

async fn a_flood_of_log_ins_is_told_to_come_back(t: TestService) {
    t.person("alice", Role::User).await;
    let sources: Vec<String> = (0..40).map(|n| format!("192.0.2.{n}")).collect();
    let flood = sources.iter().map(|source| t.log_in(credentials("alice", PASSWORD), source));
    let answers = futures::future::join_all(flood).await;
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert!(done.len() >= 20 && !refused.is_empty(), "{} done, {} refused", done.len(), refused.len());
    for answer in refused {
        let problem = answer.err().unwrap();
        assert_eq!((problem.kind, problem.retry_after), (RateLimited, Some(1)));
    }
    // Nobody was counted as failed for it.
    for source in &sources {
        t.log_in(credentials("alice", PASSWORD), source).await.unwrap();
    }
}

async fn a_new_password_ends_sessions(t: TestService) {
    let alice = t.person("alice", Role::User).await;
    t.person("bob", Role::User).await;
    let (hers, his) = (log_in(&t, "alice").await, log_in(&t, "bob").await);
    t.actor_of_session(&hers).await.unwrap();
    let password = Some("another long one".to_owned());
    let bare = UserPatch { password: password.clone(), ..Default::default() };
    assert!(refused(t.patch_user(&alice, "alice", bare).await, Invalid).message_for("current_password").is_some());
    let patch = UserPatch { password, current_password: Some(PASSWORD.into()), ..Default::default() };
    t.patch_user(&alice, "alice", patch).await.unwrap();
    refused(t.actor_of_session(&hers).await, Unauthenticated);
    t.actor_of_session(&his).await.unwrap();
    refused(t.log_in(credentials("alice", PASSWORD), "192.0.2.1").await, Unauthenticated);
    t.log_in(credentials("alice", "another long one"), "192.0.2.1").await.unwrap();
}

async fn a_password_set_by_an_administrator_deletes_the_accounts_tokens(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let hers = t.create_token(&alice, token("ci")).await.unwrap().token;
    let his = t.create_token(&root, token("ci")).await.unwrap().token;
    let own = UserPatch {
        password: Some("another long one".into()),
        current_password: Some(PASSWORD.into()),
        ..Default::default()
    };
    t.patch_user(&alice, "alice", own).await.unwrap();
    t.actor_of_token(&hers).await.expect("one's own tokens outlive one's own change");
    let reset = UserPatch { password: Some("yet another one".into()), ..Default::default() };
    t.patch_user(&root, "alice", reset).await.unwrap();
    refused(t.actor_of_token(&hers).await, Unauthenticated);
    t.actor_of_token(&his).await.unwrap();
    assert!(t.list_tokens(&alice).await.unwrap().is_empty());
}

async fn a_disabled_account_is_out_at_once(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let session = log_in(&t, "alice").await;
    let bearer = t.create_token(&alice, token("ci")).await.unwrap().token;
    t.actor_of_session(&session).await.unwrap();
    t.actor_of_token(&bearer).await.unwrap();
    let disabled = |disabled| UserPatch { disabled: Some(disabled), ..Default::default() };
    assert!(t.patch_user(&root, "alice", disabled(true)).await.unwrap().disabled);
    refused(t.actor_of_session(&session).await, Unauthenticated);
    refused(t.actor_of_token(&bearer).await, Unauthenticated);
    // Enabled again, the tokens work; whoever held the session must log in.
    t.patch_user(&root, "alice", disabled(false)).await.unwrap();
    t.actor_of_token(&bearer).await.unwrap();
    refused(t.actor_of_session(&session).await, Unauthenticated);
}

async fn an_administrator_always_remains(t: TestService) {
    let root = t.administrator().await;
    let demote = || UserPatch { role: Some(Role::User), ..Default::default() };
    let disable = || UserPatch { disabled: Some(true), ..Default::default() };
    refused(t.patch_user(&root, "root", demote()).await, Conflict);
    refused(t.patch_user(&root, "root", disable()).await, Conflict);
    let other = t.person("other", Role::Administrator).await;
    t.ready_to_race().await;
    let (one, two) = tokio::join!(t.patch_user(&root, "other", demote()), t.patch_user(&other, "root", disable()));
    assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1, "exactly one of them stays administrator");
    let left = if one.is_ok() { &root } else { &other };
    let users = t.list_users(left).await.unwrap();
    assert_eq!(users.iter().filter(|user| user.role == Role::Administrator && !user.disabled).count(), 1);
}

async fn accounts_are_checked_and_unique(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let input = |username: &str, email: &str, password: &str| UserInput {
        username: username.into(),
        email: email.into(),
        password: password.into(),
        role: Role::User,
    };
    let problem = refused(t.create_user(&root, input("Alice", "nowhere", "short")).await, Invalid);
    let fields: Vec<&str> = problem.errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["username", "email", "password"]);
    refused(t.create_user(&root, input("alice", "alice2@example.com", PASSWORD)).await, Conflict);
    refused(t.create_user(&alice, input("bob", "bob@example.com", PASSWORD)).await, Forbidden);
    refused(t.list_users(&alice).await, Forbidden);
    t.create_user(&root, input("bob", "bob@example.com", PASSWORD)).await.unwrap();
    let names: Vec<String> = t.list_users(&root).await.unwrap().into_iter().map(|user| user.username).collect();
    assert_eq!(names, ["alice", "bob", "root"]);
}

async fn people_change_only_what_is_theirs(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ27n8VIZP0J7Sm4hPj/8UI4bGbO2Tq0nFWwT0TLxdbo alice@laptop";
    let patch =
        UserPatch { ssh_key: Some(format!(" {key}\n")), email: Some("a@example.org".into()), ..Default::default() };
    let user = t.patch_user(&alice, "alice", patch).await.unwrap();
    assert_eq!((user.ssh_key.as_str(), user.email.as_str()), (key, "a@example.org"));
    let removed =
        t.patch_user(&alice, "alice", UserPatch { ssh_key: Some(String::new()), ..Default::default() }).await.unwrap();
    assert_eq!((removed.ssh_key.as_str(), removed.email.as_str()), ("", "a@example.org"));

    refused(
        t.patch_user(&alice, "alice", UserPatch { role: Some(Role::Administrator), ..Default::default() }).await,
        Forbidden,
    );
    refused(
        t.patch_user(&alice, "root", UserPatch { email: Some("a@example.org".into()), ..Default::default() }).await,
        Forbidden,
    );
    refused(t.patch_user(&root, "nobody", UserPatch::default()).await, NotFound);
    let wrong = UserPatch { ssh_key: Some("-----BEGIN OPENSSH PRIVATE KEY-----".into()), ..Default::default() };
    assert!(refused(t.patch_user(&alice, "alice", wrong).await, Invalid).message_for("ssh_key").is_some());
}

async fn changes_at_once_keep_each_other(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    t.ready_to_race().await;
    for round in 0..5 {
        let email = format!("round{round}@example.com");
        let role = if round % 2 == 0 { Role::Administrator } else { Role::User };
        let (one, two) = tokio::join!(
            t.patch_user(&alice, "alice", UserPatch { email: Some(email.clone()), ..Default::default() }),
            t.patch_user(&root, "alice", UserPatch { role: Some(role), ..Default::default() }),
        );
        one.unwrap();
        two.unwrap();
        let users = t.list_users(&root).await.unwrap();
        assert_eq!((users[0].email.as_str(), users[0].role), (email.as_str(), role));
    }
}

async fn tokens_are_shown_once_and_revoked_for_good(t: TestService) {
    let alice = t.person("alice", Role::User).await;
    let bob = t.person("bob", Role::User).await;
    let made = t.create_token(&alice, token("laptop")).await.unwrap();
    assert!(made.token.starts_with("berth_"));
    let (actor, info) = t.actor_of_token(&made.token).await.unwrap();
    assert_eq!((actor.username.as_str(), info.expires_at), ("alice", None));
    assert_eq!(t.list_tokens(&alice).await.unwrap().len(), 1);
    assert!(t.list_tokens(&bob).await.unwrap().is_empty());
    refused(t.revoke_token(&bob, &made.id).await, NotFound);
    t.actor_of_token(&made.token).await.unwrap();
    t.revoke_token(&alice, &made.id).await.unwrap();
    refused(t.actor_of_token(&made.token).await, Unauthenticated);
    refused(t.revoke_token(&alice, &made.id).await, NotFound);
    refused(t.actor_of_token("").await, Unauthenticated);
    refused(t.actor_of_token("berth_\0").await, Unauthenticated);
}

async fn tokens_expire_and_note_their_use(t: TestService) {
    let alice = t.person("alice", Role::User).await;
    let soon = t.now() + Duration::hours(1);
    let made = t.create_token(&alice, ApiTokenInput { expires_at: Some(soon), ..token("soon") }).await.unwrap();
    assert_eq!(t.list_tokens(&alice).await.unwrap()[0].last_used_at, None);
    let first = t.now();
    t.actor_of_token(&made.token).await.unwrap();
    assert_eq!(t.list_tokens(&alice).await.unwrap()[0].last_used_at, Some(first));
    // Another process has nothing remembered, so each of its checks reads the row.
    t.clock.advance(Duration::seconds(59));
    t.replica().await.actor_of_token(&made.token).await.unwrap();
    assert_eq!(t.list_tokens(&alice).await.unwrap()[0].last_used_at, Some(first), "at most once a minute");
    t.clock.advance(Duration::seconds(2));
    t.replica().await.actor_of_token(&made.token).await.unwrap();
    assert_eq!(t.list_tokens(&alice).await.unwrap()[0].last_used_at, Some(t.now()));
    t.clock.set(soon);
    refused(t.actor_of_token(&made.token).await, Unauthenticated);
    let past = ApiTokenInput { expires_at: Some(soon), ..token("past") };
    assert!(refused(t.create_token(&alice, past).await, Invalid).message_for("expires_at").is_some());
}

async fn a_token_gives_no_more_than_it_has(t: TestService) {
    let alice = t.person("alice", Role::User).await;
    let read = ApiTokenInput { scopes: Some(vec![Scope::Read, Scope::Read]), ..token("read") };
    let made = t.create_token(&alice, read).await.unwrap();
    let (reader, info) = t.actor_of_token(&made.token).await.unwrap();
    assert_eq!((reader.scopes.clone(), info.scopes), (vec![Scope::Read], vec![Scope::Read]));
    refused(t.create_token(&reader, token("more")).await, Forbidden);
    refused(t.list_tokens(&reader).await, Forbidden);

    let admin = Actor { scopes: vec![Scope::Admin], ..alice.clone() };
    let made = t.create_token(&admin, token("same")).await.unwrap();
    assert_eq!(t.actor_of_token(&made.token).await.unwrap().0.scopes, [Scope::Admin], "as much as its maker has");

    let none = ApiTokenInput { scopes: Some(vec![]), ..token("none") };
    assert!(refused(t.create_token(&alice, none).await, Invalid).message_for("scopes").is_some());
    assert!(refused(t.create_token(&alice, token(" ")).await, Invalid).message_for("name").is_some());
    refused(t.create_token_as_operator("nobody", token("ci")).await, NotFound);
}

async fn sessions_and_tokens_are_not_each_other(t: TestService) {
    let alice = t.person("alice", Role::User).await;
    let session = log_in(&t, "alice").await;
    let bearer = t.create_token(&alice, token("ci")).await.unwrap().token;
    t.actor_of_session(&session).await.unwrap();
    t.actor_of_token(&bearer).await.unwrap();
    refused(t.actor_of_token(&session).await, Unauthenticated);
    refused(t.actor_of_session(&bearer).await, Unauthenticated);
}
