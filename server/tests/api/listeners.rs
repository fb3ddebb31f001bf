//! `/api/v1/webhooks/{id}/listener`: claims and results of local listeners. `processes/listen.rs` tests `berth listen`.

use crate::client::TestClient;
use crate::support::{TestServer, webhook_input};
use chrono::Duration;
use domain::signature::{Secret, sign_body};
use serde_json::{Value, json};
use test_support::{Receiver, on_both_databases};

on_both_databases![
    local_deliveries_are_handed_over_in_order_and_recorded,
    newest_listener_takes_over,
    waiting_claim_returns_with_the_next_event,
];

on_both_databases![sqlite only:
    lease_of_a_lost_response_is_handed_over_again_at_once,
    paused_and_deleted_webhooks_hand_nothing_over,
    local_webhook_has_no_credentials_and_is_never_called,
    invalid_claims_and_results_are_named,
];

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A local webhook with a receiver at its URL, which must get no request, and a connected listener.
struct Local<'a> {
    t: &'a TestServer,
    id: i64,
    path: String,
    listener: String,
    endpoint: Receiver,
}

impl<'a> Local<'a> {
    async fn open(t: &'a TestServer) -> Self {
        t.resource("node-1", "available").await;
        let endpoint = Receiver::start().await;
        let with = json!({"delivery_mode": "local", "secret": SECRET, "retry": {"waits": [1]}});
        let id = t.root.post("/webhooks", webhook_input(&endpoint.url, with), 201).await.id();
        let path = format!("/webhooks/{id}/listener");
        let mut local = Self { t, id, path, listener: String::new(), endpoint };
        local.listener = local.connect().await;
        local
    }

    async fn connect(&self) -> String {
        let connection = self.t.root.post(&self.path, Value::Null, 201).await;
        assert_eq!(connection.body["timeout_ms"], 5_000);
        connection.text("listener").to_owned()
    }

    async fn claim(&self, held: &[&str]) -> Vec<Value> {
        claim(&self.t.root, &self.path, &self.listener, held).await
    }

    /// Claims until a delivery arrives.
    async fn next(&self) -> Value {
        let input = json!({"listener": self.listener, "limit": 1, "wait_seconds": 30});
        let claimed = self.t.root.post(&format!("{}/claims", self.path), input, 200).await;
        claimed.body["deliveries"][0].clone()
    }

    async fn report(&self, delivery: &Value, result: Value) -> Value {
        let mut body = json!({"lease": delivery["lease"], "timings": timings()});
        for (name, value) in result.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.t.root.post(&format!("{}/results", self.path), body, 200).await.body
    }
}

async fn claim(client: &TestClient, path: &str, listener: &str, held: &[&str]) -> Vec<Value> {
    let input = json!({"listener": listener, "limit": 8, "held": held});
    let claimed = client.post(&format!("{path}/claims"), input, 200).await;
    claimed.body["deliveries"].as_array().unwrap().clone()
}

fn timings() -> Value {
    json!({"dns_ms": null, "connect_ms": 0.5, "tls_ms": null, "first_byte_ms": 1.5, "total_ms": 2.5, "reused": false, "resent": false})
}

/// A response with the body `{"status":"ready"}`.
fn ready() -> Value {
    let headers = json!([{"name": "content-type", "value": "application/json"}]);
    json!({"response": {"status_code": 200, "headers": headers, "body_base64": "eyJzdGF0dXMiOiJyZWFkeSJ9"}})
}

fn header<'a>(delivery: &'a Value, name: &str) -> &'a str {
    let headers = delivery["headers"].as_array().unwrap();
    headers.iter().find(|header| header["name"] == name).map_or("", |header| header["value"].as_str().unwrap())
}

async fn local_deliveries_are_handed_over_in_order_and_recorded(t: TestServer) {
    let local = Local::open(&t).await;
    let resource = t.resource("node-2", "available").await;
    let reservation = t.booking(&t.alice, resource, 1, 2).await;
    t.alice.patch(&format!("/reservations/{reservation}"), json!({"title": "Renamed"}), 200).await;
    let claimed = local.claim(&[]).await;
    assert_eq!(claimed.len(), 1, "the second event waits for the first: {claimed:?}");
    let created = &claimed[0];
    assert_eq!((&created["event_type"], &created["attempt"]), (&json!("reservation.created"), &json!(1)));
    // The request is complete and signed.
    let body = created["body"].as_str().unwrap();
    let secret = Secret::parse(SECRET).unwrap();
    assert_eq!(header(created, "X-Webhook-Signature"), sign_body(&secret, body.as_bytes()));
    assert_eq!(header(created, "webhook-id"), created["event_id"].as_str().unwrap());
    assert_eq!(header(created, "X-Webhook-Event"), "reservation.created");
    let verified = domain::signature::sign_standard(
        &[secret],
        &[],
        header(created, "webhook-id"),
        header(created, "webhook-timestamp").parse().unwrap(),
        body.as_bytes(),
    );
    assert_eq!(header(created, "webhook-signature"), verified);

    let recorded = local.report(created, ready()).await;
    assert_eq!(recorded, json!({"recorded": true, "status": "succeeded", "next_attempt_at": null}));
    let seen = t.alice.get(&format!("/reservations/{reservation}"), 200).await.body;
    assert_eq!(seen["provisioning"]["status"], "ready");
    let again = local.report(created, ready()).await;
    assert_eq!(again["recorded"], false, "a repeated report changes nothing");

    let updated = local.next().await;
    assert_eq!(updated["event_type"], "reservation.updated");
    let refused = json!({"failure": {"code": "connection_refused", "message": "127.0.0.1 refused the connection.", "hint": "Start it."}});
    let recorded = local.report(&updated, refused).await;
    assert_eq!((&recorded["recorded"], &recorded["status"]), (&json!(true), &json!("retrying")));
    assert!(local.claim(&[]).await.is_empty(), "the retry is not due");
    t.clock.advance(Duration::seconds(2));
    let retry = local.next().await;
    assert_eq!((&retry["delivery_id"], &retry["attempt"]), (&updated["delivery_id"], &json!(2)));
    assert_eq!(retry["event_id"], updated["event_id"]);
    local.report(&retry, ready()).await;
    let detail = t.root.get(&format!("/deliveries/{}", updated["delivery_id"].as_str().unwrap()), 200).await.body;
    let attempts = detail["attempt_log"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0]["diagnosis"]["code"], "connection_refused");
    assert_eq!(attempts[1]["response"]["body"], r#"{"status":"ready"}"#);
    assert_eq!(attempts[1]["timings"]["first_byte_ms"], 1.5);
    let signature = attempts[1]["request"]["headers"].as_array().unwrap();
    let signature = signature.iter().find(|header| header["name"] == "X-Webhook-Signature").unwrap();
    assert_ne!(signature["value"], header(&retry, "X-Webhook-Signature"), "signatures are shortened in the log");
    assert!(local.endpoint.requests().is_empty(), "no dispatcher sends local deliveries");
}

async fn newest_listener_takes_over(t: TestServer) {
    let local = Local::open(&t).await;
    let resource = t.resource("node-2", "available").await;
    t.booking(&t.alice, resource, 1, 2).await;
    let first = local.next().await;
    let second = local.connect().await;
    let input = json!({"listener": local.listener, "limit": 1});
    t.root.post(&format!("{}/claims", local.path), input, 409).await;
    let taken = claim(&t.root, &local.path, &second, &[]).await;
    assert_eq!((&taken[0]["delivery_id"], &taken[0]["attempt"]), (&first["delivery_id"], &json!(1)));
    assert_eq!(local.report(&first, ready()).await["recorded"], false, "its lease was lost");
    assert_eq!(local.report(&taken[0], ready()).await["recorded"], true);
    let view = async || t.root.get(&format!("/webhooks/{}", local.id), 200).await.body["listener"].clone();
    assert_eq!(view().await["connected"], true);
    t.root.delete(&format!("{}?listener={}", local.path, local.listener), 204).await;
    assert_eq!(view().await["connected"], true, "the earlier listener cannot disconnect the present one");
    t.root.delete(&format!("{}?listener={second}", local.path), 204).await;
    assert_eq!(view().await["connected"], false);
    claim(&t.root, &local.path, &second, &[]).await;
    assert_eq!(view().await["connected"], true);
    t.clock.advance(Duration::seconds(46));
    assert_eq!(view().await["connected"], false, "no request for longer than 45 s");
}

async fn waiting_claim_returns_with_the_next_event(t: TestServer) {
    let local = Local::open(&t).await;
    let resource = t.resource("node-2", "available").await;
    let (delivery, _) = tokio::join!(local.next(), async {
        // Most likely the claim waits already; it must return in either order.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        t.booking(&t.alice, resource, 1, 2).await
    });
    assert_eq!(delivery["event_type"], "reservation.created");
    local.report(&delivery, ready()).await;
}

async fn lease_of_a_lost_response_is_handed_over_again_at_once(t: TestServer) {
    let local = Local::open(&t).await;
    let resource = t.resource("node-2", "available").await;
    t.booking(&t.alice, resource, 1, 2).await;
    let lost = local.next().await;
    let again = local.claim(&[]).await;
    assert_eq!((&again[0]["delivery_id"], &again[0]["attempt"]), (&lost["delivery_id"], &json!(1)));
    assert_ne!(again[0]["lease"], lost["lease"]);
    let held = again[0]["lease"].as_str().unwrap();
    assert!(local.claim(&[held]).await.is_empty(), "a held lease is kept");
    assert_eq!(local.report(&again[0], ready()).await["recorded"], true);
}

async fn paused_and_deleted_webhooks_hand_nothing_over(t: TestServer) {
    let local = Local::open(&t).await;
    let resource = t.resource("node-2", "available").await;
    t.root.post(&format!("/webhooks/{}/pause", local.id), Value::Null, 200).await;
    t.booking(&t.alice, resource, 1, 2).await;
    assert!(local.claim(&[]).await.is_empty());
    t.root.post(&format!("/webhooks/{}/resume", local.id), Value::Null, 200).await;
    let delivery = local.next().await;
    assert_eq!(local.report(&delivery, ready()).await["recorded"], true);
    t.booking(&t.alice, resource, 3, 4).await;
    t.root.delete(&format!("/webhooks/{}", local.id), 204).await;
    let input = json!({"listener": local.listener, "limit": 1});
    t.root.post(&format!("{}/claims", local.path), input, 404).await;
}

async fn local_webhook_has_no_credentials_and_is_never_called(t: TestServer) {
    let local = Local::open(&t).await;
    let with = |more: Value| {
        let mut input = webhook_input("http://10.1.2.3:8000/hook", json!({"delivery_mode": "local"}));
        for (name, value) in more.as_object().unwrap() {
            input[name] = value.clone();
        }
        input
    };
    let key = json!({"method": "api_key", "header": "X-API-Key", "key": "api-key-8675309"});
    t.root.post_invalid("/webhooks", with(json!({"auth": key})), &["auth"]).await;
    let secret = json!([{"name": "X-Key", "value": "api-key-8675309", "secret": true}]);
    t.root.post_invalid("/webhooks", with(json!({"headers": secret})), &["headers.0.value"]).await;
    t.root.post_invalid("/webhooks", with(json!({"endpoint_url": "ftp://localhost"})), &["endpoint_url"]).await;
    let other = t.root.post("/webhooks", with(json!({})), 201).await;
    assert_eq!(other.body["delivery_mode"], "local");
    let path = format!("/webhooks/{}", local.id);
    t.root.post(&format!("{path}/test"), Value::Null, 409).await;
    t.root.post(&format!("{path}/conformance"), Value::Null, 409).await;
    let draft = json!({"webhook": with(json!({}))});
    t.root.post("/tools/webhook-check", draft, 409).await;
    t.root.patch_invalid(&path, json!({"delivery_mode": "http"}), &["delivery_mode"]).await;
    t.root.patch(&path, json!({"endpoint_url": "http://192.168.0.7/hook"}), 200).await;
    let sent = t.webhook(&Receiver::start().await, json!({})).await.id();
    t.root.post(&format!("/webhooks/{sent}/listener"), Value::Null, 409).await;
    assert!(local.endpoint.requests().is_empty());
}

async fn invalid_claims_and_results_are_named(t: TestServer) {
    let local = Local::open(&t).await;
    let claims = format!("{}/claims", local.path);
    let input = json!({"listener": local.listener, "limit": 33, "wait_seconds": 31});
    t.root.post_invalid(&claims, input, &["limit", "wait_seconds"]).await;
    let results = format!("{}/results", local.path);
    let result = |more: Value| {
        let mut body = json!({"lease": "1/lst_1/2", "timings": timings()});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    t.root.post_invalid(&results, result(json!({})), &["response"]).await;
    let both = json!({"response": ready()["response"], "failure": {"code": "dns_failed", "message": "", "hint": ""}});
    t.root.post_invalid(&results, result(both), &["failure"]).await;
    let code = json!({"failure": {"code": "ok", "message": "", "hint": ""}});
    t.root.post_invalid(&results, result(code), &["failure.code"]).await;
    let status = json!({"response": {"status_code": 101, "headers": [], "body_base64": ""}});
    t.root.post_invalid(&results, result(status), &["response.status_code"]).await;
    let body = json!({"response": {"status_code": 200, "headers": [], "body_base64": "?"}});
    t.root.post_invalid(&results, result(body), &["response.body_base64"]).await;
    let mut lease = result(ready());
    lease["lease"] = json!("x");
    t.root.post_invalid(&results, lease, &["lease"]).await;
    let unknown = t.root.post(&results, result(ready()), 200).await;
    assert_eq!(unknown.body["recorded"], false);
}
