//! The end of reservations and overlapping ones, on a clock that stands still.

use crate::support::{TestService, refused};
use chrono::Duration;
use domain::ProblemKind;
use domain::authorization::Role;
use domain::pagination::PageQuery;
use domain::problem::ConflictSpan;
use domain::reservation::{ReservationFilter, ReservationPatch, ReservationStatus};
use domain::resource::ResourceStatus;
use test_support::on_both_databases;

on_both_databases![
    reservation_ends_at_its_end_time,
    overlap_is_reported_with_its_span,
    concurrent_overlapping_reservations_fill_each_span_once,
];

/// Between the end and the round of the worker that records the expiry.
async fn reservation_ends_at_its_end_time(t: TestService) {
    let root = t.administrator().await;
    let alice = t.person("alice", Role::User).await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let reservation = t.booking(&alice, resource, 0, 1).await;
    let id = &reservation.id;
    let retitle = ReservationPatch { title: Some("After".into()), ..Default::default() };
    let extend = ReservationPatch { end_time: Some(reservation.end_time + Duration::hours(1)), ..Default::default() };
    let listed = async |status| {
        let filter = ReservationFilter { status: Some(status), ..Default::default() };
        t.reservations().list(&alice, &filter, &PageQuery::default()).await.unwrap().items
    };

    t.clock.set(reservation.end_time - Duration::milliseconds(1));
    t.reservations().update(&alice, id, retitle.clone()).await.unwrap();
    assert_eq!(listed(ReservationStatus::Active).await.len(), 1);
    assert!(listed(ReservationStatus::Expired).await.is_empty());

    t.clock.set(reservation.end_time);
    for patch in [retitle, extend] {
        let problem = refused(t.reservations().update(&alice, id, patch).await, ProblemKind::Conflict);
        assert!(problem.detail.contains("expired"), "{problem}");
    }
    let problem = refused(t.reservations().cancel(&alice, id, None).await, ProblemKind::Conflict);
    assert!(problem.detail.contains("expired"), "{problem}");
    assert_eq!(t.reservations().get(&alice, id).await.unwrap().reservation.status, ReservationStatus::Expired);
    assert!(listed(ReservationStatus::Active).await.is_empty());
    assert_eq!(listed(ReservationStatus::Expired).await[0].status, ReservationStatus::Expired);

    assert_eq!(t.reservations().expire_due(10).await.unwrap(), 1);
    assert_eq!(listed(ReservationStatus::Expired).await[0].id, *id);
}

async fn overlap_is_reported_with_its_span(t: TestService) {
    let root = t.administrator().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let first = t.booking(&root, resource, 2, 4).await;
    let other = t.booking(&root, resource, 6, 7).await;
    let span = Some(ConflictSpan { start_time: first.start_time, end_time: first.end_time });
    let created = t.reservations().create(&root, t.span(resource, 3, 5)).await;
    assert_eq!(refused(created, ProblemKind::Conflict).conflict, span);
    let earlier = ReservationPatch { start_time: Some(t.now() + Duration::hours(3)), ..Default::default() };
    let moved = t.reservations().update(&root, &other.id, earlier).await;
    assert_eq!(refused(moved, ProblemKind::Conflict).conflict, span);
}

/// Requests that arrive together are written together.
async fn concurrent_overlapping_reservations_fill_each_span_once(t: TestService) {
    let root = t.administrator().await;
    let resource = t.resource(&root, "node-1", ResourceStatus::Available).await;
    let other = t.resource(&root, "node-2", ResourceStatus::Available).await;
    for round in 0..5 {
        let at = |hour: i64| round * 20 + hour;
        t.booking(&root, resource, at(4), at(6)).await;
        let spans = [
            // Overlaps the reservation above.
            (resource, at(1), at(5)),
            // Overlaps the request above, which fails.
            (resource, at(2), at(4)),
            // These overlap each other.
            (resource, at(6), at(9)),
            (resource, at(8), at(10)),
            // Another resource, and the time directly after.
            (other, at(6), at(9)),
            (other, at(9), at(10)),
        ];
        let requests = spans.map(|(resource, from, to)| {
            let reservations = t.reservations();
            let (root, input) = (&root, t.span(resource, from, to));
            async move { reservations.create(root, input).await }
        });
        let results = futures::future::join_all(requests).await;
        let reserved: Vec<bool> = results.iter().map(Result::is_ok).collect();
        assert_eq!((&reserved[..2], &reserved[4..]), (&[false, true][..], &[true, true][..]));
        assert_eq!(reserved[2..4].iter().filter(|reserved| **reserved).count(), 1, "{reserved:?}");
        for problem in results.into_iter().filter_map(Result::err) {
            assert_eq!(domain::Problem::from(problem).kind, ProblemKind::Conflict);
        }
    }
}
