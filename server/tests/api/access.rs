//! `/api/v1/access-requests`.

use crate::support::{PASSWORD, TestServer, time};
use serde_json::{Value, json};
use test_support::{Receiver, on_both_databases};

on_both_databases![access_request_is_delivered_and_approved, access_grant_can_be_withdrawn,];

on_both_databases![sqlite only: access_request_is_denied, invalid_access_request_fields_are_named, users_see_only_their_own_access_requests,];

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7pZLsoUSJmAfc4CAsqYFBZQCcdNI0JVXI9Qw5YbmLS alice@laptop";

async fn access_request_is_delivered_and_approved(t: TestServer) {
    let resource = t.resource("node-1", "restricted").await;
    let receiver = Receiver::start().await;
    let webhook = t.webhook(&receiver, json!({})).await.id();
    let profile = json!({"ssh_key": KEY, "current_password": PASSWORD});
    t.alice.patch("/users/alice", profile, 200).await;
    let made =
        t.alice.post("/access-requests", json!({"resource_id": resource, "reason": "A paper is due."}), 201).await;
    assert!(made.text("id").starts_with("acr_"));
    let expected = json!({
        "id": made.body["id"], "user_id": "alice", "resource_id": resource, "resource_name": "node-1",
        "resource_type": "gpu-cluster", "reason": "A paper is due.", "status": "pending",
        "requested_at": made.body["requested_at"], "decided_by": null, "decided_at": null,
    });
    assert_eq!(made.body, expected);
    let got = &receiver.wait_for(1).await[0];
    assert_eq!((got.path.as_str(), got.event()), ("/api/webhook/access-request", "user.access_requested"));
    let event = json!({
        "event_type": "user.access_requested", "event_id": got.header("webhook-id"), "timestamp": made.body["requested_at"],
        "webhook_id": webhook, "test": false, "access_request_id": made.body["id"], "user_id": "alice",
        "user_email": "alice@example.com", "resource_type": "gpu-cluster", "resource_id": resource, "resource_name": "node-1",
        "reason": "A paper is due.", "requested_at": made.body["requested_at"], "user_ssh_key": KEY,
    });
    assert_eq!(got.body, event);
    let delivery = &t.finished("event_type=user.access_requested", 1).await[0];
    assert_eq!((&delivery["status"], &delivery["reservation_id"]), (&json!("succeeded"), &Value::Null));
    // A request grants nothing yet, and a second one is a conflict.
    t.alice.post("/reservations", t.span(resource, 1, 2), 403).await;
    t.alice.post("/access-requests", json!({"resource_id": resource, "reason": "Please!"}), 409).await;
    let path = format!("/access-requests/{}/approve", made.text("id"));
    t.alice.post(&path, Value::Null, 403).await;
    t.anonymous.post(&path, Value::Null, 401).await;
    let approved = t.root.post(&path, Value::Null, 200).await;
    assert_eq!((&approved.body["status"], &approved.body["decided_by"]), (&json!("approved"), &json!("root")));
    assert!(time(&approved.body["decided_at"]) >= time(&made.body["requested_at"]));
    t.booking(&t.alice, resource, 1, 2).await;
    t.bob.post("/reservations", t.span(resource, 3, 4), 403).await;
    assert_eq!(t.alice.get(&format!("/resources/{resource}"), 200).await.body["bookable"], true);
    t.root.post(&path, Value::Null, 409).await;
}

async fn access_grant_can_be_withdrawn(t: TestServer) {
    let resource = t.resource("node-1", "restricted").await;
    let input = json!({"resource_id": resource, "reason": "A paper is due."});
    let made = t.alice.post("/access-requests", input.clone(), 201).await;
    let approve = format!("/access-requests/{}/approve", made.text("id"));
    let deny = approve.replace("approve", "deny");
    t.root.post(&approve, Value::Null, 200).await;
    let booked = t.booking(&t.alice, resource, 1, 2).await;
    t.alice.post(&deny, Value::Null, 403).await;
    let denied = t.root.post(&deny, Value::Null, 200).await;
    assert_eq!((&denied.body["status"], &denied.body["decided_by"]), (&json!("denied"), &json!("root")));
    assert!(time(&denied.body["decided_at"]) >= time(&made.body["requested_at"]));
    t.alice.post("/reservations", t.span(resource, 3, 4), 403).await;
    assert_eq!(t.alice.get(&format!("/resources/{resource}"), 200).await.body["bookable"], false);
    let notifications = t.alice.get("/notifications", 200).await;
    let notification = &notifications.items()[0];
    assert_eq!(notification["message"], "Your access to node-1 was withdrawn.");
    assert_eq!(notification["link"], json!(format!("/reserve?resource={resource}")));
    // Existing reservations are kept.
    let kept = t.alice.get(&format!("/reservations/{booked}"), 200).await;
    assert_eq!(kept.body["status"], "active");
    t.root.post(&deny, Value::Null, 409).await;
    t.root.post(&approve, Value::Null, 409).await;
    // A new request is possible.
    let again = t.alice.post("/access-requests", input, 201).await;
    t.root.post(&format!("/access-requests/{}/approve", again.text("id")), Value::Null, 200).await;
    t.booking(&t.alice, resource, 3, 4).await;
}

async fn access_request_is_denied(t: TestServer) {
    let resource = t.resource("node-1", "restricted").await;
    let input = json!({"resource_id": resource, "reason": "A paper is due."});
    let made = t.alice.post("/access-requests", input.clone(), 201).await;
    let path = format!("/access-requests/{}/deny", made.text("id"));
    t.bob.post(&path, Value::Null, 403).await;
    let denied = t.root.post(&path, Value::Null, 200).await;
    assert_eq!((&denied.body["status"], &denied.body["decided_by"]), (&json!("denied"), &json!("root")));
    t.alice.post("/reservations", t.span(resource, 1, 2), 403).await;
    assert!(t.alice.get("/notifications", 200).await.items()[0]["message"].as_str().unwrap().contains("denied"));
    t.root.post(&path, Value::Null, 409).await;
    t.root.post("/access-requests/acr_nothing/approve", Value::Null, 404).await;
    // A new request is possible after a denial.
    t.alice.post("/access-requests", input, 201).await;
}

async fn invalid_access_request_fields_are_named(t: TestServer) {
    let resource = t.resource("node-1", "restricted").await;
    for (input, invalid_fields) in [
        (json!({"resource_id": resource, "reason": " "}), &["reason"][..]),
        (json!({"resource_id": resource, "reason": "x".repeat(1_001)}), &["reason"]),
        (json!({"resource_id": resource, "reason": "a\0"}), &["reason"]),
        (json!({"resource_id": "x", "reason": "x"}), &["resource_id"]),
        (json!({"resource_id": resource}), &["reason"]),
    ] {
        t.alice.post_invalid("/access-requests", input, invalid_fields).await;
    }
    t.alice.post("/access-requests", json!({"resource_id": 999_999, "reason": "x"}), 404).await;
    t.root.post("/access-requests", json!({"resource_id": resource, "reason": "x"}), 409).await;
    let free = t.resource("node-2", "available").await;
    t.alice.post("/access-requests", json!({"resource_id": free, "reason": "x"}), 409).await;
    let closed = t.resource("node-3", "maintenance").await;
    t.alice.post("/access-requests", json!({"resource_id": closed, "reason": "x"}), 409).await;
    t.anonymous.post("/access-requests", json!({"resource_id": resource, "reason": "x"}), 401).await;
    assert!(t.root.get("/access-requests", 200).await.items().is_empty());
}

async fn users_see_only_their_own_access_requests(t: TestServer) {
    let first = t.resource("node-1", "restricted").await;
    let second = t.resource("node-2", "restricted").await;
    let ask = async |client: &crate::client::TestClient, resource: i64| {
        let input = json!({"resource_id": resource, "reason": "x"});
        client.post("/access-requests", input, 201).await.body["id"].clone()
    };
    let a = ask(&t.alice, first).await;
    let b = ask(&t.bob, first).await;
    let c = ask(&t.alice, second).await;
    t.root.post(&format!("/access-requests/{}/approve", b.as_str().unwrap()), Value::Null, 200).await;
    let ids = async |client: &crate::client::TestClient, query: &str| -> Vec<Value> {
        client.pages(&format!("/access-requests?{query}"), 1).await.iter().map(|item| item["id"].clone()).collect()
    };
    assert_eq!(ids(&t.root, "").await, [c.clone(), b.clone(), a.clone()]);
    assert_eq!(ids(&t.root, "status=pending").await, [c.clone(), a.clone()]);
    assert_eq!(ids(&t.root, "status=approved").await, std::slice::from_ref(&b));
    assert_eq!(ids(&t.alice, "").await, [c, a]);
    assert_eq!(ids(&t.bob, "").await, [b]);
    assert_eq!(t.root.get("/access-requests?status=open", 422).await.invalid_fields(), ["status"]);
}
