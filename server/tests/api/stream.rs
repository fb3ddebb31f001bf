//! `GET /api/v1/stream`: changes as server-sent events.

use crate::client::{TestClient, is_problem};
use crate::support::TestServer;
use bytes::Bytes;
use chrono::Duration;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use reqwest::Method;
use serde_json::{Value, json};
use test_support::{DEADLINE, Receiver, Response, eventually, on_both_databases};

on_both_databases![live_feed_sends_changes_as_they_commit];

on_both_databases![sqlite only:
    live_feed_sends_access_information_at_the_start,
    live_feed_hides_changes_of_other_users,
    live_feed_shows_owners_only_their_objects,
    live_feed_ends_after_a_change_of_ownership,
    live_feed_requires_authentication,
    live_feed_has_no_ids_and_answers_last_event_id_with_resync,
    live_feeds_are_limited_to_twenty_per_session_or_token,
    live_feed_ends_at_shutdown,
    live_feed_ends_after_role_change_or_revocation,
];

/// One event.
#[derive(Debug, Clone)]
struct Event {
    name: String,
    data: Value,
}

/// An open feed.
struct Feed {
    stream: BoxStream<'static, reqwest::Result<Bytes>>,
    read: String,
    /// Everything that was received.
    raw: String,
    seen: Vec<Event>,
}

impl Feed {
    /// Opens a feed that receives all changes from now on.
    async fn open(client: &TestClient) -> Self {
        Self::of(client.request(Method::GET, "/stream").send().await.unwrap()).await
    }

    async fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        let header = |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("content-encoding"), "", "compression would delay events");
        let mut feed =
            Self { stream: response.bytes_stream().boxed(), read: String::new(), raw: String::new(), seen: Vec::new() };
        assert_eq!(feed.next().await.expect("a first event").name, "hello");
        feed
    }

    /// The next event; `None` at the end of the feed.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
                };
                // `ping` only keeps the connection alive.
                let event = (!matches!(field("event"), "" | "ping")).then(|| Event {
                    name: field("event").to_owned(),
                    data: serde_json::from_str(field("data")).unwrap(),
                });
                self.read = rest.to_owned();
                if let Some(event) = event {
                    self.seen.push(event.clone());
                    return Some(event);
                }
                continue;
            }
            let chunk = tokio::time::timeout(DEADLINE, self.stream.next()).await.expect("an event in time")?;
            let chunk = chunk.unwrap();
            let text = std::str::from_utf8(&chunk).unwrap();
            self.read.push_str(text);
            self.raw.push_str(text);
        }
    }

    /// The next event with this name that meets the condition.
    async fn until(&mut self, name: &str, meant: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next().await.expect("the feed should go on");
            assert_ne!(event.name, "resync", "no change may be missed");
            if event.name == name && meant(&event.data) {
                return event.data;
            }
        }
    }
}

async fn live_feed_sends_changes_as_they_commit(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let receiver = Receiver::start().await;
    let mut feed = Feed::open(&t.root).await;
    let webhook = t.webhook(&receiver, json!({})).await.id();
    assert_eq!(feed.until("webhook", |_| true).await, json!({"id": webhook, "deleted": false}));
    receiver.hold();
    let made = t.alice.post("/reservations", t.span(resource, 1, 2), 201).await.body;
    let id = made["id"].as_str().unwrap();
    assert_eq!(feed.until("reservation", |_| true).await, made, "same as the API response");
    let sending = feed.until("delivery", |_| true).await;
    assert_eq!(
        (&sending["status"], &sending["reservation_id"], &sending["attempts"]),
        (&json!("sending"), &json!(id), &json!(1))
    );
    let delivery = sending["id"].clone();
    receiver.release();
    // Reservation and delivery are sent together when the result is recorded.
    let ready = feed.until("reservation", |r| r["provisioning"]["status"] == "ready").await;
    assert_eq!(ready["id"], id);
    let done = feed.until("delivery", |d| d["id"] == delivery && d["status"] == "succeeded").await;
    assert_eq!(
        done,
        t.root.get(&format!("/deliveries?reservation_id={id}"), 200).await.items()[0],
        "same as in the log"
    );
    t.alice.post(&format!("/reservations/{id}/cancel"), Value::Null, 200).await;
    let cancelled = feed.until("reservation", |r| r["status"] == "cancelled").await;
    assert_eq!(cancelled["provisioning"]["status"], "releasing");
    feed.until("delivery", |d| d["event_type"] == "reservation.cancelled" && d["status"] == "succeeded").await;
    t.root.post(&format!("/webhooks/{webhook}/test"), Value::Null, 200).await;
    feed.until("delivery", |d| d["test"] == true).await;
    let restricted = t.resource("node-2", "restricted").await;
    t.alice.post("/access-requests", json!({"resource_id": restricted, "reason": "x"}), 201).await;
    let notification = feed.until("notification", |_| true).await;
    assert_eq!((&notification["severity"], &notification["read"]), (&json!("info"), &json!(false)));
    t.root.delete(&format!("/webhooks/{webhook}"), 204).await;
    feed.until("webhook", |w| *w == json!({"id": webhook, "deleted": true})).await;
}

/// A page that is open over the start shows the access information without a reload.
async fn live_feed_sends_access_information_at_the_start(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    t.root.patch("/resource-types/gpu-cluster", json!({"access_before_start": "hide"}), 200).await;
    let receiver = Receiver::start().await;
    let access = json!({"connection_command": "ssh user-alice@192.0.2.1"});
    receiver.respond(Response::json(200, json!({"status": "success", "access_info": access})));
    t.webhook(&receiver, json!({})).await;
    let mut feed = Feed::open(&t.alice).await;
    let id = t.booking(&t.alice, resource, 1, 2).await;
    let hidden = feed.until("reservation", |r| r["provisioning"]["status"] == "ready").await;
    assert_eq!(hidden["provisioning"]["access_available_at"], hidden["start_time"]);
    t.clock.advance(Duration::hours(1) + Duration::seconds(1));
    let shown = feed.until("reservation", |r| !r["provisioning"]["access_info"].is_null()).await;
    assert_eq!((&shown["id"], &shown["provisioning"]["access_info"]), (&json!(id), &access));
    let before = feed.raw.split("192.0.2.1").next().unwrap();
    assert!(before.contains("access_available_at"), "{before}");
}

async fn live_feed_hides_changes_of_other_users(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let restricted = t.resource("node-2", "restricted").await;
    let receiver = Receiver::start().await;
    let [mut of_alice, mut of_browser, mut of_root] =
        [Feed::open(&t.alice).await, Feed::open(&t.browser("alice").await).await, Feed::open(&t.root).await];
    let webhook = t.webhook(&receiver, json!({})).await.id();
    let of_bob = t.booking(&t.bob, resource, 1, 2).await;
    t.bob.patch(&format!("/reservations/{of_bob}"), json!({"title": "secret project"}), 200).await;
    t.bob.post("/access-requests", json!({"resource_id": restricted, "reason": "x"}), 201).await;
    t.finished(&format!("webhook_id={webhook}"), 3).await;
    let mine = t.booking(&t.alice, resource, 3, 4).await;
    t.finished(&format!("webhook_id={webhook}"), 4).await;
    let ask = t.alice.post("/access-requests", json!({"resource_id": restricted, "reason": "x"}), 201).await;
    t.root.post(&format!("/access-requests/{}/deny", ask.text("id")), Value::Null, 200).await;
    // A feed is ordered, so all earlier events have arrived.
    for feed in [&mut of_alice, &mut of_browser] {
        feed.until("notification", |n| n["username"] == "alice").await;
        let seen: Vec<&Event> = feed.seen.iter().filter(|event| event.name != "hello").collect();
        assert!(seen.iter().any(|event| event.name == "reservation" && event.data["id"] == mine.as_str()));
        for event in seen {
            let theirs = match event.name.as_str() {
                "reservation" => event.data["user_id"] == "alice",
                "notification" => event.data["username"] == "alice",
                _ => false,
            };
            assert!(theirs, "{event:?}");
        }
    }
    of_root.until("notification", |n| n["message"].as_str().unwrap().starts_with("alice")).await;
    let saw = |name: &str, text: &str| {
        of_root.seen.iter().any(|event| event.name == name && event.data.to_string().contains(text))
    };
    assert!(
        saw("reservation", "secret project")
            && saw("delivery", &of_bob)
            && saw("notification", "bob")
            && saw("webhook", "id")
    );
    assert!(
        !of_root.seen.iter().any(|event| event.data["username"] == "alice"),
        "notifications go only to their recipient"
    );
}

async fn live_feed_shows_owners_only_their_objects(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let restricted = t.resource("node-2", "restricted").await;
    let fpga = t.fpga("board-1", "available").await;
    t.owners("/resource-types/gpu-cluster", json!({"users": ["alice"]})).await;
    let receiver = Receiver::start().await;
    let mut feed = Feed::open(&t.alice).await;
    // The other team's webhook, reservation and access request come first.
    let other = t.webhook(&receiver, json!({"resource_type": "fpga"})).await.id();
    t.webhook(&receiver, json!({"resource_type": null})).await;
    t.booking(&t.bob, fpga, 1, 2).await;
    t.finished(&format!("webhook_id={other}"), 1).await;
    let webhook = t.webhook(&receiver, json!({})).await.id();
    assert_eq!(feed.until("webhook", |_| true).await["id"], webhook);
    let reservation = t.booking(&t.bob, resource, 1, 2).await;
    assert_eq!(feed.until("reservation", |_| true).await["id"], reservation.as_str());
    let delivery = feed.until("delivery", |delivery| delivery["status"] == "succeeded").await;
    assert_eq!((&delivery["webhook_id"], &delivery["resource_type"]), (&json!(webhook), &json!("gpu-cluster")));
    t.bob.post("/access-requests", json!({"resource_id": restricted, "reason": "x"}), 201).await;
    let notification = feed.until("notification", |_| true).await;
    assert_eq!(notification["message"], "bob requests access to node-2.");
    // The owners lose sight of a webhook that leaves their type, and learn of the change.
    t.root.patch(&format!("/webhooks/{webhook}"), json!({"resource_type": "fpga"}), 200).await;
    assert_eq!(feed.until("webhook", |_| true).await, json!({"id": webhook, "deleted": false}));
    for event in &feed.seen {
        let of_other = event.data["webhook_id"] == other || event.data["resource_type"] == "fpga";
        assert!(!of_other, "{event:?}");
    }
}

async fn live_feed_ends_after_a_change_of_ownership(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let group = t.root.post("/groups", json!({"name": "GPU team", "members": ["alice"]}), 201).await.id();
    let path = format!("/groups/{group}");
    let mut hour = 0;
    for change in ["owners", "members", "group"] {
        t.root.patch(&path, json!({"members": ["alice"]}), 200).await;
        t.owners("/resource-types/gpu-cluster", json!({"groups": [group]})).await;
        let mut feed = Feed::open(&t.alice).await;
        hour += 2;
        let seen = t.booking(&t.bob, resource, hour, hour + 1).await;
        assert_eq!(feed.until("reservation", |_| true).await["id"], seen.as_str());
        match change {
            "owners" => drop(t.owners("/resource-types/gpu-cluster", json!({})).await),
            "members" => drop(t.root.patch(&path, json!({"members": []}), 200).await),
            _ => drop(t.root.delete(&path, 204).await),
        }
        hour += 2;
        t.booking(&t.bob, resource, hour, hour + 1).await;
        assert!(feed.next().await.is_none(), "{change}: {:?}", feed.seen.last());
    }
}

async fn live_feed_requires_authentication(t: TestServer) {
    t.anonymous.get("/stream", 401).await;
    t.anonymous.with_token("berth_nonsense").get("/stream", 401).await;
    t.anonymous.with_session("nonsense").get("/stream", 401).await;
    let session = t.log_in("alice", crate::support::PASSWORD, 200).await.session();
    t.clock.advance(Duration::days(8));
    t.anonymous.with_session(&session).get("/stream", 401).await;
}

/// An id would promise that the feed continues after it.
async fn live_feed_has_no_ids_and_answers_last_event_id_with_resync(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    let request = t.alice.request(Method::GET, "/stream").header("last-event-id", "7");
    let mut feed = Feed::of(request.send().await.unwrap()).await;
    assert_eq!(feed.next().await.unwrap().name, "resync");
    let mine = t.booking(&t.alice, resource, 1, 2).await;
    assert_eq!(feed.until("reservation", |_| true).await["id"], mine.as_str());
    assert!(!feed.raw.lines().any(|line| line.starts_with("id:")), "{}", feed.raw);
    let mut feed = Feed::open(&t.alice).await;
    t.booking(&t.alice, resource, 3, 4).await;
    assert_eq!(feed.next().await.unwrap().name, "reservation", "without Last-Event-ID nothing was missed");
}

async fn live_feeds_are_limited_to_twenty_per_session_or_token(t: TestServer) {
    let mut feeds = Vec::new();
    for _ in 0..20 {
        feeds.push(Feed::open(&t.alice).await);
    }
    let reply = t.alice.get("/stream", 429).await;
    is_problem(&reply, 429);
    Feed::open(&t.bob).await;
    // People who share an account do not share the limit.
    Feed::open(&t.browser("alice").await).await;
    Feed::open(&t.browser("alice").await).await;
    // Closing a feed allows another one.
    feeds.pop();
    eventually("room for another feed", async || {
        let response = t.alice.request(Method::GET, "/stream").send().await.unwrap();
        (response.status() == 200).then_some(())
    })
    .await;
}

async fn live_feed_ends_at_shutdown(mut t: TestServer) {
    let mut feed = Feed::open(&t.alice).await;
    t.stop().await;
    assert!(feed.next().await.is_none());
}

async fn live_feed_ends_after_role_change_or_revocation(t: TestServer) {
    let resource = t.resource("node-1", "available").await;
    t.root.patch("/users/alice", json!({"role": "administrator"}), 200).await;
    let browser = t.browser("alice").await;
    let mut feeds = [Feed::open(&t.alice).await, Feed::open(&browser).await];
    let mut of_root = Feed::open(&t.root).await;
    let before = t.booking(&t.bob, resource, 1, 2).await;
    for feed in &mut feeds {
        feed.until("reservation", |r| r["id"] == before.as_str()).await;
    }
    t.root.patch("/users/alice", json!({"role": "user"}), 200).await;
    let after = t.booking(&t.bob, resource, 3, 4).await;
    for feed in &mut feeds {
        assert!(feed.next().await.is_none(), "{:?}", feed.seen.last());
    }
    of_root.until("reservation", |r| r["id"] == after.as_str()).await;
    // A new feed has the permissions of the new role.
    let mut feed = Feed::open(&browser).await;
    t.booking(&t.bob, resource, 5, 6).await;
    let mine = t.booking(&t.alice, resource, 7, 8).await;
    assert_eq!(feed.until("reservation", |_| true).await["id"], mine.as_str());
    // Logging out ends the session's feed; the token's feed of the same user continues.
    let mut of_token = Feed::open(&t.alice).await;
    browser.delete("/session", 204).await;
    let last = t.booking(&t.alice, resource, 9, 10).await;
    assert!(feed.next().await.is_none());
    of_token.until("reservation", |r| r["id"] == last.as_str()).await;
}
