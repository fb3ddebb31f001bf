//! Groups of users and owners: what owners may do with their objects, and attempts to reach those of other owners.

use crate::client::TestClient;
use crate::support::{TestServer, webhook_input};
use domain::account::ApiTokenInput;
use domain::authorization::{Role, Scope};
use serde_json::{Value, json};
use test_support::{Receiver, Response, on_both_databases};

on_both_databases![
    owner_manages_resources_webhooks_deliveries_requests_and_reservations_of_their_type,
    owner_of_another_type_reaches_no_object_of_the_team,
    owner_of_one_resource_manages_it_but_no_webhooks,
    lists_counts_and_replay_contain_owned_objects_only,
    groups_and_owners_are_validated,
];

on_both_databases![sqlite only:
    owner_cannot_create_or_widen_a_webhook_beyond_their_types,
    deliveries_from_before_a_webhook_was_limited_stay_hidden,
    change_of_members_owners_and_groups_takes_effect_at_once,
    owners_are_notified_of_access_requests_and_failing_webhooks,
    owners_read_the_changes_of_their_objects_without_addresses,
    ownership_gives_no_scope_and_lifts_no_role,
    owner_reserves_their_restricted_resources_without_a_request,
];

/// Two teams: alice owns `gpu-cluster` through a group, erin owns `fpga`. Bob owns nothing.
struct Teams {
    gpu: i64,
    restricted: i64,
    fpga: i64,
    restricted_fpga: i64,
    group: i64,
    erin: TestClient,
}

async fn teams(t: &TestServer) -> Teams {
    let (gpu, restricted) = (t.resource("node-1", "available").await, t.resource("node-2", "restricted").await);
    let (fpga, restricted_fpga) = (t.fpga("board-1", "available").await, t.fpga("board-2", "restricted").await);
    let erin = t.person("erin", Role::User).await;
    let group = t.root.post("/groups", json!({"name": "GPU team", "members": ["alice"]}), 201).await.id();
    t.owners("/resource-types/gpu-cluster", json!({"groups": [group]})).await;
    t.owners("/resource-types/fpga", json!({"users": ["erin"]})).await;
    Teams { gpu, restricted, fpga, restricted_fpga, group, erin }
}

/// The ids of the objects in a list.
async fn ids(client: &TestClient, path: &str) -> Vec<Value> {
    client.get(path, 200).await.items().iter().map(|item| item["id"].clone()).collect()
}

async fn owner_manages_resources_webhooks_deliveries_requests_and_reservations_of_their_type(t: TestServer) {
    let teams = teams(&t).await;
    let alice = &t.alice;
    let session = alice.get("/session", 200).await;
    assert_eq!(session.body["owns"], json!({"resource_types": ["gpu-cluster"], "resources": []}));

    // Resources: create, change, take out of service, delete.
    let input = json!({"name": "node-9", "resource_type": "gpu-cluster"});
    let made = alice.post("/resources", input, 201).await.id();
    alice.patch(&format!("/resources/{made}"), json!({"status": "maintenance"}), 200).await;
    alice.delete(&format!("/resources/{made}"), 204).await;

    // Webhooks, test events and deliveries.
    let receiver = Receiver::start().await;
    let webhook = alice.post("/webhooks", webhook_input(&receiver.url, json!({})), 201).await.id();
    let path = format!("/webhooks/{webhook}");
    assert_eq!(alice.post(&format!("{path}/test"), Value::Null, 200).await.text("outcome"), "succeeded");
    alice.patch(&path, json!({"name": "GPU Cluster Manager"}), 200).await;
    let reservation = t.booking(&t.bob, teams.gpu, 1, 2).await;
    let delivery = t.finished(&format!("reservation_id={reservation}"), 1).await[0]["id"].clone();
    let delivery = delivery.as_str().unwrap();
    let detail = alice.get(&format!("/deliveries/{delivery}"), 200).await;
    assert!(detail.text("body").contains(&reservation));
    alice.post(&format!("/deliveries/{delivery}/redeliver"), Value::Null, 202).await;
    t.finished(&format!("reservation_id={reservation}"), 2).await;
    assert_eq!(alice.get(&format!("{path}/stats?window=24h"), 200).await.body["succeeded"], 2);
    alice.post(&format!("{path}/pause"), Value::Null, 200).await;
    alice.post(&format!("{path}/resume"), Value::Null, 200).await;
    alice.post(&format!("{path}/rotate-secret"), Value::Null, 200).await;

    // Access requests.
    let ask = json!({"resource_id": teams.restricted, "reason": "A paper is due."});
    let request = t.bob.post("/access-requests", ask, 201).await.text("id").to_owned();
    let approved = alice.post(&format!("/access-requests/{request}/approve"), Value::Null, 200).await;
    assert_eq!((approved.text("status"), approved.text("decided_by")), ("approved", "alice"));
    alice.post(&format!("/access-requests/{request}/deny"), Value::Null, 200).await;

    // Reservations: whole, also in the calendar; modify and cancel.
    let path_of_reservation = format!("/reservations/{reservation}");
    let seen = alice.get(&path_of_reservation, 200).await;
    assert_eq!(seen.text("user_id"), "bob");
    let calendar = format!("/calendar?from={}&to={}", t.hours(0), t.hours(4));
    assert_eq!(alice.get(&calendar, 200).await.items()[0]["user_id"], "bob");
    alice.patch(&path_of_reservation, json!({"title": "Moved"}), 200).await;
    let reason = json!({"reason": "The node is broken."});
    let cancelled = alice.post(&format!("{path_of_reservation}/cancel"), reason, 200).await;
    assert_eq!((cancelled.text("status"), cancelled.text("cancelled_by")), ("cancelled", "alice"));
    alice.delete(&path, 204).await;

    // The type itself and its owners belong to administrators.
    alice.patch("/resource-types/gpu-cluster", json!({"name": "Mine"}), 403).await;
    alice.put("/resource-types/gpu-cluster/owners", json!({"users": ["alice"]}), 403).await;
    let owners = alice.get("/resource-types/gpu-cluster/owners", 200).await;
    assert_eq!(owners.body, json!({"users": [], "groups": [{"id": teams.group, "name": "GPU team"}]}));
    alice.get("/groups", 403).await;
}

async fn owner_of_another_type_reaches_no_object_of_the_team(t: TestServer) {
    let teams = teams(&t).await;
    let receiver = Receiver::start().await;
    let webhook = t.webhook(&receiver, json!({})).await.id();
    let of_all = t.webhook(&receiver, json!({"resource_type": null})).await.id();
    let reservation = t.booking(&t.bob, teams.gpu, 1, 2).await;
    let deliveries = t.finished(&format!("reservation_id={reservation}"), 2).await;
    let ask = json!({"resource_id": teams.restricted, "reason": "A paper is due."});
    let request = t.bob.post("/access-requests", ask, 201).await.text("id").to_owned();
    let erin = &teams.erin;
    for id in [webhook, of_all] {
        let path = format!("/webhooks/{id}");
        erin.get(&path, 404).await;
        erin.get(&format!("{path}/stats"), 404).await;
        erin.patch(&path, json!({"name": "Mine"}), 404).await;
        erin.patch(&path, json!({"resource_type": "fpga"}), 404).await;
        erin.delete(&path, 404).await;
        for verb in ["pause", "resume", "test", "rotate-secret"] {
            erin.post(&format!("{path}/{verb}"), Value::Null, 404).await;
        }
    }
    for delivery in deliveries {
        let path = format!("/deliveries/{}", delivery["id"].as_str().unwrap());
        erin.get(&path, 404).await;
        erin.post(&format!("{path}/redeliver"), Value::Null, 404).await;
    }
    for verb in ["approve", "deny"] {
        erin.post(&format!("/access-requests/{request}/{verb}"), Value::Null, 404).await;
    }
    let path = format!("/reservations/{reservation}");
    erin.get(&path, 404).await;
    erin.get(&format!("{path}/deliveries"), 404).await;
    erin.patch(&path, json!({"title": "Mine"}), 404).await;
    erin.post(&format!("{path}/cancel"), Value::Null, 404).await;
    let path = format!("/resources/{}", teams.gpu);
    erin.patch(&path, json!({"status": "maintenance"}), 403).await;
    erin.delete(&path, 403).await;
    erin.post("/resources", json!({"name": "x", "resource_type": "gpu-cluster"}), 403).await;
    erin.get(&format!("{path}/owners"), 403).await;
    erin.get("/resource-types/gpu-cluster/owners", 403).await;
    erin.put(&format!("{path}/owners"), json!({"users": ["erin"]}), 403).await;
    let calendar = format!("/calendar?from={}&to={}", t.hours(0), t.hours(4));
    assert_eq!(erin.get(&calendar, 200).await.items()[0]["user_id"], Value::Null);
    // Nothing has changed.
    assert_eq!(t.root.get(&format!("/webhooks/{webhook}"), 200).await.text("name"), "Provisioner");
    assert_eq!(t.root.get(&format!("/reservations/{reservation}"), 200).await.text("status"), "active");
    // A user who owns nothing gets the same response for existing and unknown objects.
    for id in [webhook, 999] {
        t.bob.get(&format!("/webhooks/{id}"), 403).await;
    }
    for id in [request.as_str(), "acr_unknown"] {
        t.bob.post(&format!("/access-requests/{id}/approve"), Value::Null, 403).await;
    }
}

async fn owner_of_one_resource_manages_it_but_no_webhooks(t: TestServer) {
    let teams = teams(&t).await;
    t.owners("/resource-types/gpu-cluster", json!({})).await;
    t.owners(&format!("/resources/{}", teams.restricted), json!({"users": ["alice"]})).await;
    let ask = |resource: i64| json!({"resource_id": resource, "reason": "A paper is due."});
    let request = t.bob.post("/access-requests", ask(teams.restricted), 201).await.text("id").to_owned();
    let other = t.bob.post("/access-requests", ask(teams.restricted_fpga), 201).await.text("id").to_owned();
    assert_eq!(ids(&t.alice, "/access-requests").await, [json!(request)]);
    t.alice.post(&format!("/access-requests/{request}/approve"), Value::Null, 200).await;
    t.alice.post(&format!("/access-requests/{other}/approve"), Value::Null, 404).await;
    let (mine, theirs) = (t.booking(&t.bob, teams.restricted, 1, 2).await, t.booking(&t.bob, teams.gpu, 1, 2).await);
    assert_eq!(ids(&t.alice, "/reservations").await, [json!(mine)]);
    t.alice.get(&format!("/reservations/{theirs}"), 404).await;
    t.alice.post(&format!("/reservations/{mine}/cancel"), Value::Null, 200).await;
    t.alice.patch(&format!("/resources/{}", teams.restricted), json!({"location": "Rack 2"}), 200).await;
    t.alice.patch(&format!("/resources/{}", teams.gpu), json!({"location": "Rack 2"}), 403).await;
    t.alice.post("/resources", json!({"name": "x", "resource_type": "gpu-cluster"}), 403).await;
    let receiver = Receiver::start().await;
    assert!(t.webhook(&receiver, json!({})).await.id() > 0);
    assert!(ids(&t.alice, "/webhooks").await.is_empty());
    let reply = t.alice.post_invalid("/webhooks", webhook_input(&receiver.url, json!({})), &["resource_type"]).await;
    assert!(reply.text.contains("Ask an administrator"), "{}", reply.text);
}

async fn lists_counts_and_replay_contain_owned_objects_only(t: TestServer) {
    let teams = teams(&t).await;
    let receiver = Receiver::start().await;
    let mine = t.webhook(&receiver, json!({})).await.id();
    let theirs = t.webhook(&receiver, json!({"resource_type": "fpga"})).await.id();
    t.webhook(&receiver, json!({"resource_type": null, "name": "Inventory"})).await;
    receiver.respond(Response::status(500));
    let of_gpu = t.booking(&t.bob, teams.gpu, 1, 2).await;
    let of_fpga = t.booking(&t.bob, teams.fpga, 1, 2).await;
    let own = t.booking(&t.alice, teams.fpga, 3, 4).await;
    for resource in [teams.restricted, teams.restricted_fpga] {
        t.bob.post("/access-requests", json!({"resource_id": resource, "reason": "x"}), 201).await;
    }
    t.finished("", 10).await;
    let alice = &t.alice;
    assert_eq!(ids(alice, "/webhooks").await, [json!(mine)]);
    assert_eq!(ids(&teams.erin, "/webhooks").await, [json!(theirs)]);
    let deliveries = alice.get("/deliveries", 200).await;
    assert_eq!(deliveries.items().len(), 2, "one of the reservation and one of the access request");
    assert!(deliveries.items().iter().all(|delivery| delivery["webhook_id"] == mine), "{}", deliveries.text);
    for filter in
        ["status=failed", "status=pending", &format!("webhook_id={theirs}"), &format!("reservation_id={of_fpga}")]
    {
        let count = alice.get(&format!("/deliveries?{filter}"), 200).await.items().len();
        assert_eq!(count, if filter == "status=failed" { 2 } else { 0 }, "{filter}");
    }
    assert_eq!(ids(alice, "/reservations").await, [json!(own), json!(of_gpu)]);
    assert_eq!(ids(alice, "/reservations?mine=true").await, [json!(own)]);
    assert_eq!(ids(&t.bob, "/reservations").await, [json!(of_fpga), json!(of_gpu)]);
    let requests = alice.get("/access-requests", 200).await;
    assert_eq!(requests.items().len(), 1);
    assert_eq!(requests.items()[0]["resource_id"], teams.restricted);
    // Owners see why their deliveries fail; the user of the reservation and the other team do not.
    let problem = async |client: &TestClient, reservation: &str, webhook: i64| {
        let reply = client.get(&format!("/reservations/{reservation}/deliveries"), 200).await;
        reply.items().iter().find(|delivery| delivery["webhook_id"] == webhook).unwrap()["problem"].clone()
    };
    assert!(problem(alice, &of_gpu, mine).await.is_string());
    assert!(problem(&t.bob, &of_gpu, mine).await.is_null());
    assert!(problem(alice, &own, theirs).await.is_null());
    receiver.respond(Response::status(200));
    let replayed = alice.post("/deliveries/replay", json!({"filter": {}}), 200).await;
    assert_eq!((&replayed.body["matched"], &replayed.body["redelivered"]), (&json!(2), &json!(2)));
    let none = alice.post("/deliveries/replay", json!({"filter": {"webhook_id": theirs}}), 200).await;
    assert_eq!(none.body["matched"], 0);
    t.finished("", 12).await;
}

async fn owner_cannot_create_or_widen_a_webhook_beyond_their_types(t: TestServer) {
    teams(&t).await;
    let receiver = Receiver::start().await;
    let webhook = t.alice.post("/webhooks", webhook_input(&receiver.url, json!({})), 201).await.id();
    for filter in [Value::Null, json!("fpga"), json!("unknown")] {
        let input = webhook_input(&receiver.url, json!({"resource_type": filter}));
        let reply = t.alice.post_invalid("/webhooks", input, &["resource_type"]).await;
        assert!(reply.text.contains("gpu-cluster"), "the remedy names the owned types: {}", reply.text);
        let patch = json!({"name": "Wider", "resource_type": filter});
        t.alice.patch_invalid(&format!("/webhooks/{webhook}"), patch, &["resource_type"]).await;
    }
    let stored = t.root.get(&format!("/webhooks/{webhook}"), 200).await;
    assert_eq!((stored.text("name"), stored.text("resource_type")), ("Provisioner", "gpu-cluster"));
    t.bob.post("/webhooks", webhook_input(&receiver.url, json!({})), 403).await;
    // The owner of two types may move the webhook between them.
    t.owners("/resource-types/fpga", json!({"users": ["alice"]})).await;
    t.alice.patch(&format!("/webhooks/{webhook}"), json!({"resource_type": "fpga"}), 200).await;
}

async fn deliveries_from_before_a_webhook_was_limited_stay_hidden(t: TestServer) {
    let teams = teams(&t).await;
    let receiver = Receiver::start().await;
    let webhook = t.webhook(&receiver, json!({"resource_type": null})).await.id();
    let of_fpga = t.booking(&t.bob, teams.fpga, 1, 2).await;
    let of_gpu = t.booking(&t.bob, teams.gpu, 1, 2).await;
    t.bob.post("/access-requests", json!({"resource_id": teams.restricted_fpga, "reason": "x"}), 201).await;
    t.bob.post("/access-requests", json!({"resource_id": teams.restricted, "reason": "x"}), 201).await;
    t.finished("", 4).await;
    assert!(ids(&t.alice, "/deliveries").await.is_empty());
    t.root.patch(&format!("/webhooks/{webhook}"), json!({"resource_type": "gpu-cluster"}), 200).await;
    let visible = t.alice.get("/deliveries", 200).await;
    assert_eq!(visible.items().len(), 2);
    assert!(visible.items().iter().any(|delivery| delivery["reservation_id"] == of_gpu.as_str()));
    let hidden = t.root.get(&format!("/deliveries?reservation_id={of_fpga}"), 200).await;
    let hidden = hidden.items()[0]["id"].as_str().unwrap();
    t.alice.get(&format!("/deliveries/{hidden}"), 404).await;
    t.alice.post(&format!("/deliveries/{hidden}/redeliver"), Value::Null, 404).await;
}

async fn change_of_members_owners_and_groups_takes_effect_at_once(t: TestServer) {
    let teams = teams(&t).await;
    let browser = t.browser("alice").await;
    let can = async |expected: u16| {
        for client in [&t.alice, &browser] {
            client.get("/webhooks", expected).await;
        }
    };
    let path = format!("/groups/{}", teams.group);
    can(200).await;
    t.root.patch(&path, json!({"members": ["bob"]}), 200).await;
    can(403).await;
    t.bob.get("/webhooks", 200).await;
    t.root.patch(&path, json!({"members": ["alice", "bob"]}), 200).await;
    can(200).await;
    t.owners("/resource-types/gpu-cluster", json!({})).await;
    can(403).await;
    t.owners("/resource-types/gpu-cluster", json!({"groups": [teams.group]})).await;
    can(200).await;
    t.root.delete(&path, 204).await;
    can(403).await;
    assert_eq!(t.root.get("/resource-types/gpu-cluster/owners", 200).await.body, json!({"users": [], "groups": []}));
    // A deleted resource has no owner any more.
    let resource = t.resource("node-9", "available").await;
    t.owners(&format!("/resources/{resource}"), json!({"users": ["alice"]})).await;
    can(200).await;
    t.root.delete(&format!("/resources/{resource}"), 204).await;
    can(403).await;
}

async fn owners_are_notified_of_access_requests_and_failing_webhooks(t: TestServer) {
    let teams = teams(&t).await;
    // An administrator and a disabled member get no second notification.
    t.person("carol", Role::User).await;
    t.root.patch(&format!("/groups/{}", teams.group), json!({"members": ["alice", "carol", "root"]}), 200).await;
    t.root.patch("/users/carol", json!({"disabled": true}), 200).await;
    let receiver = Receiver::start().await;
    let webhook = t.webhook(&receiver, json!({})).await.id();
    receiver.respond(Response::status(500));
    t.bob.post("/access-requests", json!({"resource_id": teams.restricted, "reason": "x"}), 201).await;
    t.finished("", 1).await;
    for client in [&t.alice, &t.root] {
        let notifications = client.get("/notifications", 200).await;
        let messages: Vec<&str> = notifications.items().iter().map(|item| item["message"].as_str().unwrap()).collect();
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert!(messages[0].starts_with("Deliveries to Provisioner fail"), "{messages:?}");
        assert_eq!(messages[1], "bob requests access to node-2.");
        assert_eq!(notifications.items()[0]["link"], format!("/settings/webhooks/{webhook}"));
    }
    for client in [&t.bob, &teams.erin] {
        assert!(client.get("/notifications", 200).await.items().is_empty());
    }
}

async fn owners_read_the_changes_of_their_objects_without_addresses(t: TestServer) {
    let teams = teams(&t).await;
    let receiver = Receiver::start().await;
    let webhook = t.webhook(&receiver, json!({})).await.id();
    let theirs = t.webhook(&receiver, json!({"resource_type": "fpga"})).await.id();
    let of_all = t.webhook(&receiver, json!({"resource_type": null})).await.id();
    let reservation = t.booking(&t.bob, teams.gpu, 1, 2).await;
    let own = [
        ("webhook", webhook.to_string()),
        ("resource", teams.gpu.to_string()),
        ("resource_type", "gpu-cluster".to_owned()),
        ("reservation", reservation),
    ];
    for (kind, id) in own {
        let entries = t.alice.get(&format!("/audit?target_type={kind}&target_id={id}"), 200).await;
        assert!(!entries.items().is_empty(), "{kind}");
        for entry in entries.items() {
            assert_eq!((&entry["source"], &entry["credential"]["id"]), (&json!(""), &json!("")), "{entry}");
        }
    }
    let source = format!("/audit?target_type=webhook&target_id={webhook}&source=127.0.0.1");
    let refused = [
        "/audit".to_owned(),
        "/audit/export".to_owned(),
        "/audit?target_type=webhook".to_owned(),
        "/audit?target_type=user&target_id=bob".to_owned(),
        format!("/audit?target_type=webhook&target_id={theirs}"),
        format!("/audit?target_type=webhook&target_id={of_all}"),
        "/audit?target_type=webhook&target_id=999".to_owned(),
        format!("/audit?target_type=resource&target_id={}", teams.fpga),
        source,
    ];
    for path in refused {
        t.alice.get(&path, 403).await;
    }
    t.bob.get(&format!("/audit?target_type=webhook&target_id={webhook}"), 403).await;
}

async fn ownership_gives_no_scope_and_lifts_no_role(t: TestServer) {
    teams(&t).await;
    let receiver = Receiver::start().await;
    let webhook = t.webhook(&receiver, json!({})).await.id();
    let limited = async |scope: Scope| {
        let input = ApiTokenInput { name: "ci".into(), scopes: Some(vec![scope]), ..Default::default() };
        let token = t.service.accounts().create_token_as_operator("alice", input).await.unwrap();
        t.anonymous.with_token(&token.token)
    };
    let reader = limited(Scope::Read).await;
    reader.get(&format!("/webhooks/{webhook}"), 200).await;
    reader.post(&format!("/webhooks/{webhook}/pause"), Value::Null, 403).await;
    limited(Scope::Reserve).await.post(&format!("/webhooks/{webhook}/pause"), Value::Null, 403).await;
    let auditor = t.person("dora", Role::Auditor).await;
    t.owners("/resource-types/gpu-cluster", json!({"users": ["dora"]})).await;
    auditor.get(&format!("/webhooks/{webhook}"), 200).await;
    auditor.post(&format!("/webhooks/{webhook}/pause"), Value::Null, 403).await;
}

async fn owner_reserves_their_restricted_resources_without_a_request(t: TestServer) {
    let teams = teams(&t).await;
    assert_eq!(t.alice.get(&format!("/resources/{}", teams.restricted), 200).await.body["bookable"], true);
    t.booking(&t.alice, teams.restricted, 1, 2).await;
    t.alice.post("/reservations", t.span(teams.restricted_fpga, 1, 2), 403).await;
    t.bob.post("/reservations", t.span(teams.restricted, 3, 4), 403).await;
}

async fn groups_and_owners_are_validated(t: TestServer) {
    let teams = teams(&t).await;
    let path = format!("/groups/{}", teams.group);
    t.root.post("/groups", json!({"name": "GPU team"}), 409).await;
    t.root.post_invalid("/groups", json!({"name": " "}), &["name"]).await;
    t.root.post_invalid("/groups", json!({"name": "x", "members": ["nobody"]}), &["members"]).await;
    t.root.patch_invalid(&path, json!({"description": "x".repeat(1_001)}), &["description"]).await;
    t.root.patch_invalid(&path, json!({"members": ["alice", "nobody"]}), &["members"]).await;
    t.root.patch("/groups/999", json!({}), 404).await;
    let other = t.root.post("/groups", json!({"name": " FPGA team "}), 201).await;
    assert_eq!(other.text("name"), "FPGA team");
    t.root.patch(&path, json!({"name": "FPGA team"}), 409).await;
    assert_eq!(t.root.get(&path, 200).await.body["members"], json!(["alice"]), "nothing has changed");
    assert_eq!(t.root.pages("/groups", 1).await.len(), 2);
    for owners in ["/resource-types/fpga/owners", &format!("/resources/{}/owners", teams.fpga)] {
        let reply = t.root.put(owners, json!({"users": ["nobody"]}), 422).await;
        assert_eq!(reply.invalid_fields(), ["users"]);
        assert_eq!(t.root.put(owners, json!({"groups": [999]}), 422).await.invalid_fields(), ["groups"]);
        let twice = json!({"users": ["bob", "bob"], "groups": [teams.group, teams.group]});
        let set = t.root.put(owners, twice, 200).await;
        assert_eq!(set.body, json!({"users": ["bob"], "groups": [{"id": teams.group, "name": "GPU team"}]}));
        assert_eq!(t.root.get(owners, 200).await.body, set.body);
    }
    t.root.put("/resource-types/unknown/owners", json!({}), 404).await;
    t.root.put("/resources/999/owners", json!({}), 404).await;
    t.root.delete(&path, 204).await;
    t.root.get(&path, 404).await;
    assert_eq!(t.root.get("/resource-types/fpga/owners", 200).await.body, json!({"users": ["bob"], "groups": []}));
}
