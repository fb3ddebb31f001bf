//! Limits for each user.

use crate::support::TestService;
use chrono::Duration;
use domain::ProblemKind;
use domain::account::ApiTokenInput;
use domain::authorization::{Actor, Role};
use domain::problem::Problem;
use domain::reservation::ReservationPatch;
use domain::resource::ResourceStatus;
use service::{Quotas, Service, Settings};
use test_support::on_both_databases;

on_both_databases![
    active_reservations_of_a_user_are_limited,
    concurrent_reservations_cannot_exceed_the_limit,
    end_and_duration_of_reservations_are_limited,
    changes_of_a_reservation_are_limited_per_minute,
    tokens_of_a_user_are_limited,
];

/// A process with limits on the same database.
async fn with_quotas(t: &TestService, quotas: Quotas) -> Service {
    Service::open(Settings { quotas, ..t.settings.clone() }, t.clock.source()).await.unwrap()
}

async fn people(t: &TestService) -> (Actor, Actor, Actor) {
    (t.administrator().await, t.person("alice", Role::User).await, t.person("bob", Role::User).await)
}

fn ends_in(t: &TestService, hours: i64) -> ReservationPatch {
    ReservationPatch { end_time: Some(t.now() + Duration::hours(hours)), ..ReservationPatch::default() }
}

/// A problem that names the setting of the limit.
fn assert_limit(problem: &Problem, kind: ProblemKind, setting: &str) {
    assert_eq!(problem.kind, kind, "{problem}");
    let errors: String = problem.errors.iter().map(|error| error.message.as_str()).collect();
    assert!(format!("{}{errors}", problem.detail).contains(setting), "{problem}");
}

async fn active_reservations_of_a_user_are_limited(t: TestService) {
    let (root, alice, bob) = people(&t).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let limited = with_quotas(&t, Quotas { active_reservations: Some(2), ..Quotas::default() }).await;
    let create = async |actor: &Actor, from: i64| {
        limited
            .reservations()
            .create(actor, t.span(resource, from, from + 1))
            .await
            .map_err(service::Error::into_problem)
    };
    let first = create(&alice, 1).await.unwrap();
    create(&alice, 3).await.unwrap();
    let refused = create(&alice, 5).await.unwrap_err();
    assert_limit(&refused, ProblemKind::Conflict, "BERTH_MAX_ACTIVE_RESERVATIONS");
    create(&bob, 5).await.unwrap();
    limited.reservations().cancel(&alice, &first.id, None).await.unwrap();
    create(&alice, 7).await.unwrap();
    create(&alice, 9).await.unwrap_err();
    // An ended reservation does not count, also before it is marked as expired.
    t.clock.advance(Duration::hours(4));
    create(&alice, 9).await.unwrap();
}

async fn concurrent_reservations_cannot_exceed_the_limit(t: TestService) {
    let (root, alice, _) = people(&t).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let quotas = Quotas { active_reservations: Some(3), ..Quotas::default() };
    let replicas = [with_quotas(&t, quotas).await, with_quotas(&t, quotas).await];
    let requests = (0..12).map(|n| {
        let span = t.span(resource, 2 * n + 1, 2 * n + 2);
        let service = &replicas[usize::try_from(n).unwrap() % 2];
        let alice = &alice;
        async move { service.reservations().create(alice, span).await.is_ok() }
    });
    let results = futures::future::join_all(requests).await;
    assert_eq!(results.iter().filter(|created| **created).count(), 3, "{results:?}");
}

async fn end_and_duration_of_reservations_are_limited(t: TestService) {
    let (root, alice, _) = people(&t).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let quotas = Quotas { hours_ahead: Some(48), reservation_hours: Some(8), ..Quotas::default() };
    let limited = with_quotas(&t, quotas).await;
    for (from, to, setting) in [(47, 49, "BERTH_MAX_HOURS_AHEAD"), (1, 10, "BERTH_MAX_RESERVATION_HOURS")] {
        let problem =
            limited.reservations().create(&alice, t.span(resource, from, to)).await.unwrap_err().into_problem();
        assert_limit(&problem, ProblemKind::Invalid, setting);
        assert!(problem.message_for("end_time").is_some(), "{problem}");
    }
    let short = limited.reservations().create(&alice, t.span(resource, 1, 9)).await.unwrap();
    let problem = limited.reservations().update(&alice, &short.id, ends_in(&t, 10)).await.unwrap_err().into_problem();
    assert_limit(&problem, ProblemKind::Invalid, "BERTH_MAX_RESERVATION_HOURS");
    // A reservation from before the limit can be shortened, also to more than the limit.
    let long = t.booking(&alice, resource, 20, 40).await;
    let shortened = limited.reservations().update(&alice, &long.id, ends_in(&t, 35)).await.unwrap();
    assert_eq!(shortened.end_time, t.now() + Duration::hours(35));
    limited.reservations().update(&alice, &long.id, ends_in(&t, 36)).await.unwrap_err();
}

async fn changes_of_a_reservation_are_limited_per_minute(t: TestService) {
    let (root, alice, _) = people(&t).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let quotas = Quotas { changes_per_minute: Some(2), ..Quotas::default() };
    // Replicas share the count.
    let replicas = [with_quotas(&t, quotas).await, with_quotas(&t, quotas).await];
    let (one, other) = (t.booking(&alice, resource, 1, 2).await.id, t.booking(&alice, resource, 3, 4).await.id);
    let rename = |title: &str| ReservationPatch { title: Some(title.to_owned()), ..ReservationPatch::default() };
    for (n, service) in replicas.iter().enumerate() {
        service.reservations().update(&alice, &one, rename(&format!("change {n}"))).await.unwrap();
    }
    let problem = replicas[0].reservations().update(&alice, &one, rename("third")).await.unwrap_err().into_problem();
    assert_limit(&problem, ProblemKind::RateLimited, "BERTH_MAX_CHANGES_PER_MINUTE");
    assert!(problem.retry_after.is_some_and(|seconds| (1..=61).contains(&seconds)), "{problem:?}");
    assert_eq!(t.reservations().get(&alice, &one).await.unwrap().reservation.title, "change 1");
    replicas[0].reservations().update(&alice, &other, rename("another one")).await.unwrap();
    // A request without a change does not count.
    replicas[0].reservations().update(&alice, &one, rename("change 1")).await.unwrap();
    t.clock.advance(Duration::seconds(61));
    replicas[1].reservations().update(&alice, &one, rename("third")).await.unwrap();
}

async fn tokens_of_a_user_are_limited(t: TestService) {
    people(&t).await;
    let (alice, bob) = (t.logged_in("alice").await, t.logged_in("bob").await);
    let limited = with_quotas(&t, Quotas { tokens: Some(2), ..Quotas::default() }).await;
    let input = || ApiTokenInput { name: "ci".into(), ..ApiTokenInput::default() };
    let results = futures::future::join_all((0..6).map(|_| limited.accounts().create_token(&alice, input()))).await;
    let (created, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((created.len(), refused.len()), (2, 4));
    for result in refused {
        assert_limit(&result.unwrap_err(), ProblemKind::Conflict, "BERTH_MAX_TOKENS");
    }
    limited.accounts().create_token(&bob, input()).await.unwrap();
    let first = created.into_iter().next().unwrap().unwrap();
    limited.accounts().revoke_token(&alice, &first.id).await.unwrap();
    limited.accounts().create_token(&alice, input()).await.unwrap();
}
