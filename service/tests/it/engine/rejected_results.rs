//! Results that the database rejects, although it is available.

use super::{fixture, of_webhook};
use crate::support::TestService;
use domain::delivery::{DeliveryDetail, DeliveryStatus, Outcome};
use domain::webhook::WebhookPatch;
use sea_orm::ConnectionTrait as _;
use service::outbox::WebhookSet;
use test_support::{Receiver, Response, eventually, on_both_databases};
use tokio_util::sync::CancellationToken;

on_both_databases![rejected_response_is_dropped_and_blocks_no_other_result];

/// The text of the responses that the database rejects.
const UNSTORABLE: &str = "unstorable";
/// The message in place of a rejected response.
const DROPPED: &str = "The response could not be stored.";

/// Makes the database reject each attempt whose transcript contains [`UNSTORABLE`].
async fn reject_responses(t: &TestService) {
    let sql = if t.is_postgres() {
        format!("ALTER TABLE attempts ADD CONSTRAINT storable CHECK (record NOT LIKE '%{UNSTORABLE}%')")
    } else {
        format!(
            "CREATE TRIGGER storable BEFORE INSERT ON attempts WHEN NEW.record LIKE '%{UNSTORABLE}%'
             BEGIN SELECT RAISE(ABORT, 'unstorable'); END"
        )
    };
    t.database().await.execute_unprepared(&sql).await.unwrap();
}

/// The only delivery of a webhook, once it has ended.
async fn ended(t: &TestService, root: &domain::authorization::Actor, webhook: i64) -> DeliveryDetail {
    eventually("the end of the delivery", async || {
        let deliveries = t.deliveries(root, of_webhook(webhook)).await;
        assert_eq!(deliveries.len(), 1);
        let ended = deliveries[0].status.is_final();
        if ended { Some(t.delivery(root, &deliveries[0].id).await) } else { None }
    })
    .await
}

async fn rejected_response_is_dropped_and_blocks_no_other_result(t: TestService) {
    let s = fixture(&t).await;
    let [failing, good] = [Receiver::start().await, Receiver::start().await];
    s.receiver.respond(Response::json(200, serde_json::json!({"message": UNSTORABLE})));
    failing.respond(Response::status(500).with_body(UNSTORABLE));
    let failing_webhook = t.webhook(&s.root, &failing).await;
    let once = WebhookPatch { retry: Some(domain::retry::RetryPolicy { delays: vec![] }), ..Default::default() };
    t.webhooks().update(&s.root, failing_webhook, once).await.unwrap();
    let good_webhook = t.webhook(&s.root, &good).await;
    reject_responses(&t).await;
    t.booking(&s.alice, s.resource, 1, 2).await;
    // The three results arrive while the dispatcher runs, so that they share a batch or delay each other.
    let cancel = CancellationToken::new();
    let running = tokio::spawn(t.dispatcher().run(cancel.clone()));

    let accepted = ended(&t, &s.root, s.webhook).await;
    assert_eq!(accepted.delivery.status, DeliveryStatus::Succeeded, "the outcome is kept");
    assert_eq!((accepted.delivery.attempts, accepted.delivery.status_code), (1, Some(200)));
    let attempt = &accepted.attempt_log[0];
    assert_eq!(
        (attempt.outcome, &attempt.response, attempt.diagnosis.message.as_str()),
        (Outcome::Succeeded, &None, DROPPED)
    );
    assert!(attempt.request.headers.iter().any(|header| header.name == "webhook-id"), "the request is kept");

    let refused = ended(&t, &s.root, failing_webhook).await;
    assert_eq!((refused.delivery.status, refused.delivery.status_code), (DeliveryStatus::Failed, Some(500)));
    assert_eq!(refused.delivery.problem.as_deref(), Some(DROPPED));
    assert_eq!((&refused.attempt_log[0].response, refused.attempt_log.len()), (&None, 1));

    let stored = ended(&t, &s.root, good_webhook).await;
    assert_eq!(stored.delivery.status, DeliveryStatus::Succeeded);
    assert!(stored.attempt_log[0].response.is_some(), "only rejected responses are dropped");

    cancel.cancel();
    running.await.unwrap();
    let left = t.dispatcher().claim_once(&WebhookSet::All, 10).await.unwrap();
    assert!(left.items.is_empty(), "nothing is sent again");
    assert_eq!((s.receiver.count(), failing.count(), good.count()), (1, 1, 1));
}
