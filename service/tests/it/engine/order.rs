//! Order: the events of one reservation reach a webhook in the order in which they happened.

use super::{any_delivery, fixture, retitled};
use crate::support::{TestService, step};
use chrono::Duration;
use domain::delivery::DeliveryStatus::*;
use serde_json::json;
use service::outbox::WebhookSet;
use std::collections::HashSet;
use test_support::{Response, on_both_databases};

on_both_databases![
    events_of_one_reservation_keep_order_and_others_overtake,
    two_dispatchers_never_send_the_same_delivery,
];

async fn events_of_one_reservation_keep_order_and_others_overtake(t: TestService) {
    let s = fixture(&t).await;
    let first = t.booking(&s.alice, s.resource, 1, 3).await;
    let failing = first.id.0.clone();
    s.receiver.respond_with(move |got| Response::status(if got.reservation() == failing { 500 } else { 200 }));
    let dispatcher = t.dispatcher();
    assert_eq!(step(&dispatcher).await, 1);
    t.reservations().update(&s.alice, &first.id, retitled("Changed")).await.unwrap();
    t.reservations().cancel(&s.alice, &first.id, None).await.unwrap();
    t.booking(&s.alice, s.resource, 5, 6).await;
    assert_eq!(step(&dispatcher).await, 1, "only the other reservation's event is sent");
    assert_ne!(s.receiver.last().text("reservation_id"), first.id.as_str());
    assert_eq!(step(&dispatcher).await, 0);
    // `created` fails for good after 1 + 2 + 4 s; only then `updated` is sent, whose first attempt succeeds.
    for wait in [1, 2, 4] {
        t.clock.advance(Duration::seconds(wait));
        assert_eq!(step(&dispatcher).await, 1);
        assert_eq!(s.receiver.last().event(), "reservation.created");
    }
    s.receiver.respond(Response::status(200));
    assert_eq!(step(&dispatcher).await, 1);
    assert_eq!(s.receiver.last().event(), "reservation.updated");
    assert_eq!(s.receiver.last().body["previous"], json!({"title": "Training"}));
    assert_eq!(step(&dispatcher).await, 1);
    let last = s.receiver.last();
    assert_eq!((last.event(), last.path.as_str()), ("reservation.cancelled", "/api/webhook/reservation/cancel"));
    assert_eq!(last.text("cancelled_by"), "alice");
    assert_eq!(step(&dispatcher).await, 0);
}

async fn two_dispatchers_never_send_the_same_delivery(t: TestService) {
    let s = fixture(&t).await;
    for n in 0..60 {
        let reservation = t.booking(&s.alice, s.resource, n, n + 1).await;
        if n % 3 == 0 {
            t.reservations().update(&s.alice, &reservation.id, retitled("Changed")).await.unwrap();
        }
    }
    // On PostgreSQL two processes, on SQLite two dispatchers of one process.
    let other = if t.is_postgres() { t.replica().await } else { t.service.clone() };
    let work = async |service: &service::Service| {
        let dispatcher = service.dispatcher();
        let mut idle = 0;
        while idle < 3 {
            let claims = dispatcher.claim_once(&WebhookSet::All, 7).await.unwrap().items;
            idle = if claims.is_empty() { idle + 1 } else { 0 };
            let results = service.dispatcher().send_claimed(claims).await;
            if !results.is_empty() {
                service.dispatcher().record_once(&results).await.unwrap();
            }
        }
    };
    tokio::join!(work(&t), work(&other), work(&other));
    let deliveries = t.deliveries(&s.root, any_delivery()).await;
    assert_eq!(deliveries.len(), 80);
    assert!(deliveries.iter().all(|d| d.status == Succeeded && d.attempts == 1));
    let got = s.receiver.requests();
    let distinct: HashSet<_> = got.iter().map(|g| g.header("x-webhook-delivery").to_owned()).collect();
    assert_eq!((got.len(), distinct.len()), (80, 80));
    let mut seen = HashSet::new();
    for request in &got {
        let created = request.event() == "reservation.created";
        assert_eq!(seen.insert(request.text("reservation_id").to_owned()), created, "created comes before updated");
    }
}
